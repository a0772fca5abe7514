//! What the tests of this folder share: a private temporary folder, files with exact modes, waiting.
#![forbid(unsafe_code)]

use super::folder::{Trust, open_trusted};
use super::pidfd_slot::PidfdSlot;
use super::private_folder::PrivateFolder;
use super::process::{Child, ExitStatus, wait_readable};
use super::spawn::{SpawnError, SpawnSpec, Spawned, spawn};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// No test waits longer for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Runs the body of the test that calls this in a process of its own, which runs nothing else. Where it fails this fails.
pub(crate) fn alone<F: FnOnce()>(body: F) {
    const ALONE: &str = "RPC_PLUGIN_SYSTEM_TEST_ALONE";
    // The type of a closure in a test is named after it: `crate::module::test::{{closure}}`.
    let path = std::any::type_name::<F>().strip_suffix("::{{closure}}");
    let (_, name) = path.and_then(|path| path.split_once("::")).unwrap();
    if std::env::var_os(ALONE).is_some_and(|running| running == name) {
        return body();
    }
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let output = command.args([name, "--exact", "--nocapture"]).env(ALONE, name).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        output.status.success() && said.contains("test result: ok. 1 passed"),
        "{}\n{said}",
        output.status
    );
}

/// A folder with mode 0700, whatever the umask; without links in its path.
pub(crate) fn folder() -> tempfile::TempDir {
    // Not TMPDIR: it may lie under a folder that this code refuses, which is not what is tested here.
    let folder = tempfile::Builder::new().prefix("rps").tempdir_in("/tmp").unwrap();
    chmod(folder.path(), 0o700);
    folder
}

/// A private folder by its path.
pub(super) fn private(path: &Path) -> PrivateFolder {
    let parent = open_trusted(path.parent().unwrap(), Trust::current()).unwrap();
    PrivateFolder::open_or_create(&parent.fd, path.file_name().unwrap(), path).unwrap()
}

/// Makes a folder and those above it that are missing, each with mode 0700, whatever the umask.
pub(crate) fn subfolder(path: &Path) -> PathBuf {
    if !path.exists() {
        subfolder(path.parent().unwrap());
        std::fs::create_dir(path).unwrap();
        chmod(path, 0o700);
    }
    path.to_owned()
}

pub(super) fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

pub(super) fn file(folder: &Path, name: &str, content: impl AsRef<[u8]>, mode: u32) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    chmod(&path, mode);
    path
}

/// Gives a file a capability, as setcap(8) does. Whether this user may, and its file system can.
pub(crate) fn set_capabilities(path: &Path) -> bool {
    let set = std::process::Command::new("setcap").arg("cap_net_raw=ep").arg(path).output();
    set.is_ok_and(|set| set.status.success())
}

pub(crate) fn script(folder: &Path, body: &str) -> PathBuf {
    file(folder, "script", format!("#!/bin/sh\n{body}\n"), 0o755)
}

/// An ELF file for that machine (`e_machine`) that names a loader, and has nothing to run.
pub(crate) fn elf_that_names(loader: &str, is_64_bit: bool, is_little_endian: bool, machine: u16) -> Vec<u8> {
    let (header_bytes, entry_bytes) = if is_64_bit { (64, 56) } else { (52, 32) };
    let path_at = header_bytes + 2 * entry_bytes;
    let mut elf = vec![0; path_at];
    let mut put = |at: usize, length: usize, number: usize| {
        let bytes = (number as u64).to_le_bytes();
        elf[at..at + length].copy_from_slice(&bytes[..length]);
        if !is_little_endian {
            elf[at..at + length].reverse();
        }
    };
    put(16, 2, 2); // e_type: ET_EXEC
    put(18, 2, machine.into());
    put(20, 4, 1); // e_version
    let interp_at = header_bytes + entry_bytes;
    put(interp_at, 4, 3); // p_type: PT_INTERP, the second of two
    // e_phoff, e_ehsize, e_phentsize, e_phnum, p_offset, p_filesz
    let (word, places) = if is_64_bit { (8, [32, 52, 54, 56, 8, 32]) } else { (4, [28, 40, 42, 44, 4, 16]) };
    put(places[0], word, header_bytes);
    put(places[1], 2, header_bytes);
    put(places[2], 2, entry_bytes);
    put(places[3], 2, 2);
    put(interp_at + places[4], word, path_at);
    put(interp_at + places[5], word, loader.len() + 1);
    elf[..4].copy_from_slice(b"\x7fELF");
    (elf[4], elf[5], elf[6]) = (1 + u8::from(is_64_bit), 2 - u8::from(is_little_endian), 1);
    elf.extend_from_slice(loader.as_bytes());
    elf.push(0);
    elf
}

/// An executable whose exec hangs until its child is killed, or this is dropped.
pub(crate) struct HangingExecutable {
    pub(crate) path: PathBuf,
    /// Whoever opens a file on which another has a lease waits until it is given up (fcntl(2), F_SETLEASE).
    _lease: std::fs::File,
}

impl HangingExecutable {
    /// A copy of the shell, which names a copy of its loader, which nobody may open. The folder's path has to be short.
    pub(crate) fn new(folder: &Path, name: &str) -> HangingExecutable {
        let mut shell = std::fs::read("/bin/sh").unwrap();
        let begin = shell.windows(4).position(|bytes| bytes == b"/ld-" || bytes == b"/lib").unwrap();
        let length = shell[begin..].iter().position(|byte| *byte == 0).unwrap();
        let loader = folder.join("l").join(name);
        subfolder(loader.parent().unwrap());
        let text = std::str::from_utf8(&shell[begin..begin + length]).unwrap().to_owned();
        std::fs::copy(&text, &loader).unwrap();
        chmod(&loader, 0o755);
        let short = loader.to_str().unwrap().as_bytes();
        assert!(short.len() <= length, "{} is longer than {text}", loader.display());
        shell[begin..begin + length].fill(0);
        shell[begin..begin + short.len()].copy_from_slice(short);
        let path = file(folder, &format!("hangs{name}"), shell, 0o755);
        let lease = std::fs::File::open(&loader).unwrap();
        // What wrote it is in the hands of whatever another test is just launching.
        eventually("a lease on the loader", || super::raw::hold_lease(lease.as_fd()).is_ok());
        HangingExecutable { path, _lease: lease }
    }
}

/// A process that std launched, killed and reaped when the test ends, however it ends.
pub(super) struct Sleeper(std::process::Child);

impl Sleeper {
    /// Sleeps with exactly this environment.
    pub(super) fn new(environment: &[(&str, &Path)]) -> Sleeper {
        let mut command = std::process::Command::new("/bin/sleep");
        command.arg("1000").env_clear().envs(environment.iter().copied());
        Sleeper(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(super) fn runs(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Until the condition holds; fails the test after [`DEADLINE`].
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Launches, and repeats that while the file is busy: a child that another test's thread is just launching
/// holds a copy of the descriptor that wrote the file, until it executes.
pub(super) fn patiently(
    mut launch: impl FnMut() -> Result<Spawned, SpawnError>,
) -> Result<Spawned, SpawnError> {
    let end = Instant::now() + DEADLINE;
    loop {
        match launch() {
            Err(error) if error.is_text_busy() && Instant::now() < end => std::thread::yield_now(),
            other => return other,
        }
    }
}

/// The same with [`spawn`].
pub(super) fn spawn_patiently(spec: &SpawnSpec<'_>) -> Result<Spawned, SpawnError> {
    patiently(|| spawn(spec, &PidfdSlot::default()))
}

/// Everything it wrote to stdout and stderr, and how it ended.
pub(super) fn finish(mut spawned: Spawned) -> (String, String, ExitStatus) {
    let status = ended(&mut spawned.child);
    let read = |fd: Option<std::os::fd::OwnedFd>| {
        let Some(fd) = fd else { return String::new() };
        let mut content = Vec::new();
        let mut file = std::fs::File::from(fd);
        loop {
            // The end may come later than the child's: another test's thread that is just launching holds
            // a copy of the writing end until its exec.
            assert!(wait_readable(file.as_fd(), DEADLINE).unwrap());
            let before = content.len();
            match file.read_to_end(&mut content) {
                Ok(_) => return String::from_utf8(content).unwrap(),
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "after {before} bytes")
                }
            }
        }
    };
    (read(spawned.stdout), read(spawned.stderr), status)
}

/// Waits for the end and reaps.
pub(super) fn ended(child: &mut Child) -> ExitStatus {
    assert!(child.wait_exit(DEADLINE).unwrap(), "process {} did not end", child.pid());
    child.reap().unwrap().unwrap()
}
