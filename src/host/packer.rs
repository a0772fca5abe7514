//! Compresses rotated files of the record with a program that the operator names.
//!
//! What this file is for: one thread that gives the program a rotated file to read and keeps what it prints
//! as `FILE.packed`. What it deliberately does not do: unpack, or touch the current file or the newest
//! rotated one, in which the writer looks for the last number.
//!
//! What always holds: a file is removed only when the whole packed one is on the disk under its name; a
//! half-made one is removed, at the latest by the next start; the packed one is never larger, so that the
//! bound on all bytes holds; a file that a sink has not read is not packed; the writer waits for nothing.

use super::sinks::Around;
use crate::eventlog::sinks::{Bell, CommandLine};
use crate::eventlog::{Entry, EventLog, FILE_NAME};
use crate::sys::attendants::Attendants;
use crate::sys::executable;
use crate::sys::process::ExitStatus;
use crate::sys::spawn::{SpawnSpec, Spawned, spawn_reading};
use nix::fcntl::OFlag;
use rpc_plugin_record::{PACKED_SUFFIX, Segment, segments};
use rpc_plugin_wire::PluginId;
use rpc_plugin_wire::event::EventKind;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{File, OpenOptions, remove_file, rename};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a file is called while it is made. No reader takes it for a part of the record.
const PACKING_SUFFIX: &str = ".packing";
/// How long the program may take for one file.
const PACK_TIMEOUT: Duration = Duration::from_secs(120);
/// Folders are looked at, at most, once in this time.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Files that could not be packed are remembered, so that they are not tried again; at most so many.
const FAILED_MAX: usize = 1024;
/// How often the record tells of failures, at most.
const TELL_INTERVAL: Duration = Duration::from_secs(60);
/// The one variable of the program's environment.
const ENV_PACK: &str = "RPC_PLUGIN_SYSTEM_LOG_PACK";
/// Read at once of what the program prints. Bytes.
const BLOCK_BYTES: usize = 64 * 1024;

type Whose = Option<PluginId>;
type IsTaken = Box<dyn Fn(&Whose, u64) -> bool + Send>;

/// The thread. Dropping it ends the program that runs, and waits for both.
#[derive(Debug)]
pub(super) struct Packer {
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

struct Packing {
    runtime_dir: PathBuf,
    program: CommandLine,
    is_taken: IsTaken,
    attendants: Attendants,
    log: EventLog,
    bell: Arc<Bell>,
    waiting: BTreeSet<Whose>,
    failed: BTreeSet<PathBuf>,
    told_at: Option<Instant>,
}

impl Packer {
    /// `is_taken` says whether nobody needs the lines of a stream up to a number any more.
    pub(super) fn start(around: &Around<'_>, program: CommandLine, is_taken: IsTaken) -> io::Result<Packer> {
        let bell = Arc::new(Bell::new()?);
        let packing = Packing {
            runtime_dir: around.runtime_dir.to_owned(),
            program,
            is_taken,
            attendants: around.attendants.clone(),
            log: around.log.clone(),
            bell: Arc::clone(&bell),
            waiting: BTreeSet::new(),
            failed: BTreeSet::new(),
            told_at: None,
        };
        let thread = std::thread::Builder::new().name("log-pack".into()).spawn(move || packing.run())?;
        Ok(Packer { bell, thread: Some(thread) })
    }

    pub(super) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }
}

impl Drop for Packer {
    fn drop(&mut self) {
        self.bell.end_by(Instant::now());
        if let Some(thread) = self.thread.take() {
            // A panic in it is a bug that the panic handler has reported.
            let _ = thread.join();
        }
    }
}

impl Packing {
    fn run(mut self) {
        self.begin();
        while self.bell.ends().is_none() {
            let waiting = std::mem::take(&mut self.waiting);
            for whose in waiting {
                self.look(&whose);
                if self.bell.ends().is_some() {
                    return;
                }
            }
            let next = Instant::now() + LOOK_INTERVAL;
            // At once if something was rung; then for the rest of the interval, or until the end.
            let _ = self.bell.sleep(None, &[]);
            self.waiting.extend(self.bell.take());
            while self.bell.ends().is_none() && Instant::now() < next {
                let _ = self.bell.sleep(Some(next), &[]);
                self.waiting.extend(self.bell.take());
            }
        }
    }

    fn folder(&self, whose: &Whose) -> PathBuf {
        whose.as_ref().map_or_else(|| self.runtime_dir.clone(), |id| self.runtime_dir.join(id.as_str()))
    }

    /// Finds the streams, and removes what a host that was killed left half made.
    fn begin(&mut self) {
        self.waiting.insert(None);
        for entry in std::fs::read_dir(&self.runtime_dir).into_iter().flatten().flatten() {
            let id = entry.file_name().to_str().and_then(|name| name.parse::<PluginId>().ok());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.waiting.extend(id.map(Some));
            }
        }
        for whose in &self.waiting {
            let folder = self.folder(whose);
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let Some(name) = name.to_str().filter(|name| name.starts_with(FILE_NAME)) else { continue };
                let original = name.strip_suffix(PACKED_SUFFIX).map(|plain| folder.join(plain));
                // Both are there: it was stopped before it removed the original, which is as good.
                if name.ends_with(PACKING_SUFFIX) || original.is_some_and(|path| path.exists()) {
                    let _ = remove_file(entry.path());
                }
            }
        }
    }

    fn look(&mut self, whose: &Whose) {
        let Ok(all) = segments(&self.folder(whose), FILE_NAME) else { return };
        let rotated: Vec<Segment> = all.into_iter().filter(|segment| segment.first_seq.is_some()).collect();
        for pair in rotated.windows(2) {
            let [segment, next] = pair else { continue };
            if segment.is_packed || segment.first_seq == next.first_seq || self.failed.contains(&segment.path)
            {
                continue;
            }
            if !(self.is_taken)(whose, next.first_seq.unwrap_or(0).saturating_sub(1)) {
                // Whatever is written next asks again.
                self.waiting.insert(whose.clone());
                return;
            }
            if let Err(error) = self.pack(segment) {
                if self.bell.ends().is_some() {
                    return;
                }
                self.fail(&segment.path, &error);
            }
        }
    }

    fn fail(&mut self, path: &Path, error: &str) {
        if self.failed.len() >= FAILED_MAX {
            self.failed.pop_first();
        }
        self.failed.insert(path.to_owned());
        if self.told_at.is_none_or(|at| at.elapsed() >= TELL_INTERVAL) {
            self.told_at = Some(Instant::now());
            let program = self.program.program.display();
            let entry = Entry::new(EventKind::HostFault)
                .message("a rotated file of the record could not be packed; it stays as it is")
                .error(format!("{}: {program}: {error}", path.display()));
            let _ = self.log.record(entry);
        }
    }

    fn pack(&mut self, segment: &Segment) -> Result<(), String> {
        let with = |suffix: &str| {
            let mut path = segment.path.clone().into_os_string();
            path.push(suffix);
            PathBuf::from(path)
        };
        let (packing, packed) = (with(PACKING_SUFFIX), with(PACKED_SUFFIX));
        let result = self.pack_into(segment, &packing);
        let result = result.and_then(|()| rename(&packing, &packed).map_err(|error| error.to_string()));
        if result.is_err() {
            let _ = remove_file(&packing);
            return result;
        }
        let text = |error: io::Error| error.to_string();
        let folder = segment.path.parent().unwrap_or(&self.runtime_dir);
        // The new name first, then the old one goes.
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(text)?;
        match remove_file(&segment.path) {
            // Retention took the original meanwhile, and did not know the packed one.
            Err(error) if error.kind() == ErrorKind::NotFound => remove_file(&packed).map_err(text),
            other => other.map_err(text),
        }
    }

    fn pack_into(&mut self, segment: &Segment, packing: &Path) -> Result<(), String> {
        let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
        let open = |options: &mut OpenOptions, path: &Path| {
            options.custom_flags(flags).open(path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let source = open(OpenOptions::new().read(true), &segment.path)?;
        let mut out = open(OpenOptions::new().write(true).create_new(true).mode(0o600), packing)?;
        let executable = executable::open(&self.program.program).map_err(|error| error.to_string())?;
        let args: Vec<OsString> = self.program.args.iter().map(OsString::from).collect();
        let value = std::process::id().to_string();
        let env = [(OsString::from(ENV_PACK), OsString::from(&value))];
        let spec = SpawnSpec { args: &args, env: &env, ..SpawnSpec::new(&executable) };
        let launch = || spawn_reading(&spec, OwnedFd::from(source));
        let (spawned, _known) = self
            .attendants
            .launch(format!("{ENV_PACK}={value}").into(), launch, |spawned: &Spawned| spawned.child.pid())
            .map_err(|error| error.to_string())?;
        // Declared after `_known`, so it is reaped before it is forgotten.
        let Spawned { mut child, stdout, stderr } = spawned;
        let mut streams = [stdout, stderr].map(|fd| fd.map(File::from));
        let (mut left, until) = (segment.bytes, Instant::now() + PACK_TIMEOUT);
        while streams.iter().any(Option::is_some) || child.peek_exit().is_ok_and(|ended| ended.is_none()) {
            self.waiting.extend(self.bell.take());
            if self.bell.ends().is_some() {
                return Err("the host ends".into());
            }
            if Instant::now() >= until {
                return Err(format!("it took longer than {PACK_TIMEOUT:?}"));
            }
            if !copy_some(&mut streams, &mut out, &mut left)? {
                let is_over = child.peek_exit().is_ok_and(|ended| ended.is_some());
                if is_over {
                    // Somebody else holds the pipes; nothing more comes from the program itself.
                    break;
                }
                let mut watched = vec![child.as_fd()];
                watched.extend(streams.iter().flatten().map(AsFd::as_fd));
                let _ = self.bell.sleep(Some(until), &watched);
            }
        }
        match child.reap().map_err(|error| error.to_string())? {
            Some(ExitStatus::Code(0)) => {}
            Some(status) => return Err(status.to_string()),
            None => return Err("it closed its output and lives on".into()),
        }
        if left == segment.bytes {
            return Err("it printed nothing".into());
        }
        out.sync_all().map_err(|error| format!("{}: {error}", packing.display()))
    }
}

/// Copies what is there; whether there was anything. What comes from the second stream is thrown away.
fn copy_some(streams: &mut [Option<File>; 2], out: &mut File, left: &mut u64) -> Result<bool, String> {
    let (mut block, mut any) = (vec![0; BLOCK_BYTES], false);
    for (index, stream) in streams.iter_mut().enumerate() {
        let Some(file) = stream else { continue };
        match file.read(&mut block) {
            Ok(0) => *stream = None,
            Ok(count) if index == 0 => {
                *left = left.checked_sub(count as u64).ok_or("what it prints is not smaller")?;
                let bytes = block.get(..count).unwrap_or_default();
                out.write_all(bytes).map_err(|error| format!("writing failed: {error}"))?;
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.to_string()),
        }
        any = true;
    }
    Ok(any)
}
