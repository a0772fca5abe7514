//! Which host is which, and which processes it launched: across a crash, and without trusting a variable.
//!
//! What this file is for: a process that outlives its host carries a mark in its environment, which anybody may set; and it
//! may have cleared it. So a host writes down who it is and a secret, and who the leader of each plugin's session is. Marks
//! are made with the secret, so that only those of that host's launches hold. What it deliberately does not do: signal.
//!
//! What always holds: what cannot be read, or is of another boot or pid namespace, proves nothing.
#![forbid(unsafe_code)]

use super::file_error::FileError;
use super::private_folder::{PrivateFolder, PrivateFolderError};
use super::{proc_file, raw};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use rpc_plugin_wire::handshake::ENV_LAUNCH;
use rpc_plugin_wire::{Generation, PluginId};
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// The file in the runtime folder that says which host has, or had, it.
pub const HOST_FILE: &str = "host.json";
/// The file in a plugin's folder that says who led its last session.
pub const LEADER_FILE: &str = "leader";
/// A host's own file is not longer. Bytes.
const HOST_BYTES_MAX: usize = 1024;
/// Nor is that of a leader. Bytes.
const LEADER_BYTES_MAX: usize = 128;
/// What the kernel says of a process is not longer. Bytes.
const STAT_BYTES_MAX: usize = 2048;
/// What a mark ends with: 16 bytes in hexadecimal digits.
const NONCE_BYTES: usize = 16;

/// A process, told from a later one of the same number by when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Its pid.
    pub pid: u32,
    /// When it began, in clock ticks since the machine did (proc_pid_stat(5)).
    pub started: u64,
}

impl ProcessIdentity {
    /// The process that has this pid now, if there is one.
    #[must_use]
    pub fn of(pid: u32) -> Option<ProcessIdentity> {
        Some(ProcessIdentity { pid, started: ProcessStat::of(pid)?.started })
    }

    /// Whether it still runs. A zombie, which its parent may never reap, does not.
    #[must_use]
    pub fn runs(self) -> bool {
        ProcessStat::of(self.pid).is_some_and(|stat| stat.started == self.started && stat.runs)
    }
}

/// What the kernel says of a process, as far as it is wanted here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProcessStat {
    pub(super) session: u32,
    started: u64,
    /// It is neither a zombie nor about to be none any more.
    pub(super) runs: bool,
}

impl ProcessStat {
    pub(super) fn of(pid: u32) -> Option<ProcessStat> {
        let mut bytes = [0; STAT_BYTES_MAX];
        ProcessStat::parse(proc_file::read(&format!("/proc/{pid}/stat"), &mut bytes)?)
    }

    fn parse(stat: &[u8]) -> Option<ProcessStat> {
        // The name in parentheses may hold anything, so the fields are counted from the last one on: the state is the third.
        let after_name = stat.get(stat.iter().rposition(|byte| *byte == b')')?.checked_add(1)?..)?;
        let mut fields = std::str::from_utf8(after_name).ok()?.split_whitespace();
        let runs = !matches!(fields.next()?, "Z" | "X" | "x");
        let session = fields.nth(2)?.parse().ok()?;
        Some(ProcessStat { session, started: fields.nth(15)?.parse().ok()?, runs })
    }
}

/// A host: one run of one.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostIdentity {
    /// Which boot of which machine (/proc/sys/kernel/random/boot_id); empty: unknown.
    boot_id: String,
    /// In which pid namespace its pids are meant; 0: unknown.
    pid_namespace: u64,
    process: ProcessIdentity,
    /// What its marks are made with, in hexadecimal digits. Never given to a plugin.
    secret: String,
}

/// The secret is not shown.
impl std::fmt::Debug for HostIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostIdentity").field("process", &self.process).finish_non_exhaustive()
    }
}

impl HostIdentity {
    /// A new host, of this process.
    ///
    /// # Errors
    /// No random bytes.
    pub fn new() -> std::io::Result<HostIdentity> {
        let secret: [u8; 32] = raw::random_bytes()?;
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let pid = std::process::id();
        Ok(HostIdentity {
            boot_id: boot_id.trim().to_owned(),
            pid_namespace: fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino()),
            process: ProcessIdentity::of(pid).unwrap_or(ProcessIdentity { pid, started: 0 }),
            secret: hex(&secret),
        })
    }

    /// The host that had the folder last, if it said so.
    #[must_use]
    pub fn read(folder: &PrivateFolder) -> Option<HostIdentity> {
        let content = folder.read(HOST_FILE, HOST_BYTES_MAX).ok()??;
        serde_json::from_slice(&content).ok()
    }

    /// Says that this host has the folder.
    ///
    /// # Errors
    /// The system call that failed.
    pub fn write(&self, folder: &PrivateFolder) -> Result<(), FileError> {
        let mut content = serde_json::to_vec(self).unwrap_or_default();
        content.push(b'\n');
        replace(folder, HOST_FILE, &content)
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> ProcessIdentity {
        self.process
    }

    /// Whether pids mean the same to both: the same boot of a machine, and the same pid namespace.
    #[must_use]
    pub fn is_beside(&self, other: &HostIdentity) -> bool {
        !self.boot_id.is_empty()
            && self.pid_namespace != 0
            && (&self.boot_id, self.pid_namespace) == (&other.boot_id, other.pid_namespace)
    }

    /// The value of the variable that marks a launch, [`ENV_LAUNCH`]: the plugin's folder and generation, which host
    /// launched it, and what only that host can have made.
    #[must_use]
    pub fn mark(&self, runtime_dir: &Path, id: &PluginId, generation: Generation) -> OsString {
        let launch = format!("{id}/{generation}");
        let ProcessIdentity { pid, started } = self.process;
        let mut mark = runtime_dir.join(&launch).into_os_string();
        mark.push(format!("#{pid}.{started}.{}", self.nonce(&launch)));
        mark
    }

    /// Whether it made this mark.
    #[must_use]
    pub fn made(&self, mark: &Mark<'_>) -> bool {
        mark.process == self.process && self.nonce(mark.launch) == mark.nonce
    }

    fn nonce(&self, launch: &str) -> String {
        let mac = hmac_sha256::HMAC::mac(launch.as_bytes(), self.secret.as_bytes());
        hex(mac.get(..NONCE_BYTES).unwrap_or_default())
    }

    /// Writes down who leads a plugin's session, for the next host.
    ///
    /// # Errors
    /// The system call that failed.
    pub fn write_leader(&self, folder: &PrivateFolder, leader: ProcessIdentity) -> Result<(), FileError> {
        // Always of one length, so that nothing of the leader before stays behind.
        let content = format!("{} {:010} {:020}\n", self.nonce(""), leader.pid, leader.started);
        overwrite(folder, LEADER_FILE, content.as_bytes()).map(drop)
    }

    /// Who led the session of a plugin that this host launched last.
    #[must_use]
    pub fn read_leader(&self, folder: &PrivateFolder) -> Option<ProcessIdentity> {
        let content = folder.read(LEADER_FILE, LEADER_BYTES_MAX).ok()??;
        let text = String::from_utf8(content).ok()?;
        let mut words = text.split_whitespace();
        if words.next()? != self.nonce("") {
            return None;
        }
        Some(ProcessIdentity { pid: words.next()?.parse().ok()?, started: words.next()?.parse().ok()? })
    }
}

/// A mark that was found in an environment, taken apart. Nothing of it is proven.
#[derive(Debug, PartialEq, Eq)]
pub struct Mark<'a> {
    /// `ID/GENERATION`.
    launch: &'a str,
    /// The host that it names.
    pub process: ProcessIdentity,
    nonce: &'a str,
}

impl<'a> Mark<'a> {
    /// The mark in a variable `NAME=value`, if it is one of a launch in that runtime folder.
    #[must_use]
    pub fn parse(variable: &'a [u8], runtime_dir: &Path) -> Option<Mark<'a>> {
        let value = variable.strip_prefix(ENV_LAUNCH.as_bytes())?.strip_prefix(b"=")?;
        let rest = value.strip_prefix(runtime_dir.as_os_str().as_bytes())?.strip_prefix(b"/")?;
        let (launch, made) = OsStr::from_bytes(rest).to_str()?.rsplit_once('#')?;
        // Exactly one folder in between: a host whose folder lies deeper is another host.
        let (id, generation) = launch.split_once('/')?;
        id.parse::<PluginId>().ok()?;
        generation.parse::<Generation>().ok()?;
        let (process, nonce) = made.rsplit_once('.')?;
        let (pid, started) = process.split_once('.')?;
        let process = ProcessIdentity { pid: pid.parse().ok()?, started: started.parse().ok()? };
        Some(Mark { launch, process, nonce })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes the begin of a small file anew, by one write within one page, which the end of this process cannot tear.
fn overwrite(folder: &PrivateFolder, name: &str, content: &[u8]) -> Result<File, FileError> {
    let path = || folder.path().join(name);
    let file = folder
        .open_file(name, OFlag::O_WRONLY | OFlag::O_CREAT)
        .map_err(|errno| FileError::new("open", &path(), errno))?;
    file.write_all_at(content, 0).map_err(|error| FileError::io("write", &path(), &error))?;
    Ok(file)
}

/// The same, and cuts off what is behind it.
fn replace(folder: &PrivateFolder, name: &str, content: &[u8]) -> Result<(), FileError> {
    let file = overwrite(folder, name, content)?;
    let cut = |error| FileError::io("cut", &folder.path().join(name), &error);
    file.set_len(content.len() as u64).map_err(cut)
}

/// The leaders that a host wrote down, of all plugins whose folders can be read.
///
/// # Errors
/// The runtime folder cannot be listed.
pub fn leaders_of(host: &HostIdentity, runtime: &PrivateFolder) -> Result<Vec<ProcessIdentity>, FileError> {
    let mut leaders = Vec::new();
    for (name, _) in runtime.entries()? {
        let Some(id) = name.to_str().filter(|name| name.parse::<PluginId>().is_ok()) else { continue };
        let path = runtime.path().join(id);
        match PrivateFolder::open(runtime.fd(), &name, &path) {
            Ok(folder) => leaders.extend(host.read_leader(&folder)),
            // What is not a plugin's folder has no leader, and a damaged one fails its plugin.
            Err(PrivateFolderError::File(FileError { errno: Errno::EMFILE | Errno::ENFILE, .. })) => {
                return Err(FileError::new("open folder", &path, Errno::EMFILE));
            }
            Err(_) => {}
        }
    }
    Ok(leaders)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{eventually, file, folder, private};
    use super::*;

    fn id(text: &str) -> PluginId {
        text.parse().unwrap()
    }

    #[test]
    fn only_the_host_that_made_a_mark_knows_it_as_its_own() {
        let (one, other) = (HostIdentity::new().unwrap(), HostIdentity::new().unwrap());
        let runtime = Path::new("/run/a b#c");
        let mark = one.mark(runtime, &id("echo"), Generation::FIRST);
        let text = format!("{ENV_LAUNCH}={}", mark.to_str().unwrap());
        let parsed = Mark::parse(text.as_bytes(), runtime).unwrap();
        assert!(one.made(&parsed) && !other.made(&parsed));
        assert_eq!(parsed.process, one.process());
        // Whoever knows the mark of one plugin does not know another's.
        for (from, to) in [("echo", "kv"), ("/1#", "/2#")] {
            let forged = text.replace(from, to);
            assert!(!one.made(&Mark::parse(forged.as_bytes(), runtime).unwrap()), "{forged}");
        }
        assert!(!text.contains(&one.secret) && !format!("{one:?}").contains(&one.secret));
        for strange in [
            "RPC_PLUGIN_SYSTEM_LAUNCH=/run/a b#c/echo/1",
            "RPC_PLUGIN_SYSTEM_LAUNCH=/run/a b#c/in/echo/1#1.2.ab",
            "RPC_PLUGIN_SYSTEM_LAUNCH=/run/a b#cc/echo/1#1.2.ab",
            "RPC_PLUGIN_SYSTEM_LAUNCH=/run/a b#c/echo/0#1.2.ab",
            "RPC_PLUGIN_SYSTEM_LAUNCH=/run/a b#c/echo/1#x.2.ab",
            "OTHER=/run/a b#c/echo/1#1.2.ab",
        ] {
            assert_eq!(Mark::parse(strange.as_bytes(), runtime), None, "{strange}");
        }
    }

    #[test]
    fn a_process_is_told_from_a_later_one_of_its_number() {
        let own = ProcessIdentity::of(std::process::id()).unwrap();
        assert!(own.runs());
        assert!(!ProcessIdentity { started: own.started + 1, ..own }.runs());
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let ended = ProcessIdentity::of(child.id()).unwrap();
        eventually("it is a zombie", || !ended.runs());
        assert_eq!(ProcessIdentity::of(child.id()), Some(ended), "which nobody has reaped");
        child.wait().unwrap();
        assert!(ProcessIdentity::of(u32::MAX / 2).is_none());
        let stat = ProcessStat::of(own.pid).unwrap();
        let session = nix::unistd::getsid(None).unwrap().as_raw();
        assert_eq!(stat.session, session.unsigned_abs());
        let odd_name = b"17 (a ) R 1 (b) S 1 17 17 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 9 0 8812 11 12";
        let expected = ProcessStat { session: 17, started: 8812, runs: true };
        assert_eq!(ProcessStat::parse(odd_name), Some(expected));
        assert_eq!(ProcessStat::parse(b"17 (cut) S 1"), None);
    }

    #[test]
    fn a_host_is_read_back_and_what_is_damaged_is_nobody() {
        let root = folder();
        let runtime = private(&root.path().join("run"));
        assert_eq!(HostIdentity::read(&runtime), None);
        let host = HostIdentity::new().unwrap();
        host.write(&runtime).unwrap();
        assert_eq!(HostIdentity::read(&runtime).unwrap(), host);
        let next = HostIdentity::new().unwrap();
        assert!(host.is_beside(&next) && host != next);
        for (boot_id, pid_namespace) in
            [("", host.pid_namespace), ("other", host.pid_namespace), (&*host.boot_id, 7)]
        {
            let elsewhere = HostIdentity { boot_id: boot_id.into(), pid_namespace, ..next.clone() };
            assert!(!elsewhere.is_beside(&host) && !host.is_beside(&elsewhere));
        }
        let leader = ProcessIdentity { pid: 17, started: 4711 };
        let longer = ProcessIdentity { pid: u32::MAX, started: u64::MAX };
        for (name, leader) in [("echo", longer), ("echo", leader), ("kv", leader)] {
            host.write_leader(&private(&runtime.path().join(name)), leader).unwrap();
        }
        assert_eq!(leaders_of(&host, &runtime).unwrap(), [leader, leader]);
        assert_eq!(leaders_of(&next, &runtime).unwrap(), [], "another host wrote them");
        for garbage in ["", "{}", "\0\0\0", "x 17 4711\n"] {
            file(&runtime.path().join("kv"), LEADER_FILE, garbage, 0o600);
            file(runtime.path(), HOST_FILE, garbage, 0o600);
            assert_eq!(HostIdentity::read(&runtime), None, "{garbage:?}");
        }
        assert_eq!(leaders_of(&host, &runtime).unwrap(), [leader]);
    }
}
