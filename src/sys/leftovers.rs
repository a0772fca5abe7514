//! Processes that a dead host left behind.
//!
//! What this file is for: the parent-death signal ends plugins with their host, but not the processes
//! that plugins started. They still carry a variable that only this host's plugins are given, and so the
//! next host on the same folder finds them. What it deliberately does not do: look at other users'
//! processes, or at processes that hide their environment from us.
//!
//! What always holds: a process is killed only through a pidfd that was opened before its environment was
//! read the second time, so a recycled pid is never hit. The caller holds the lock of the folder, so the
//! processes cannot belong to a living host.
#![forbid(unsafe_code)]

use super::process::{Signal, wait_readable};
use super::raw;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How much of an environment is looked at. Bytes.
const ENVIRONMENT_BYTES_MAX: u64 = 1024 * 1024;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Pids of those that were killed.
    pub killed: Vec<u32>,
    /// Pids of those that were still there when the time was over.
    pub remaining: Vec<u32>,
}

/// Kills every process of our user whose environment sets one of `variables` to a file in a folder of `folder`
/// (`FOLDER/NAME/FILE`, absolute, without links), and waits until they have ended, at most `timeout`. One that
/// has `sparing` in its environment was not launched by a host, but by a person, and is left alone. Never
/// this process itself, but its own plugins too, so call it before the first launch. Blocks.
///
/// # Errors
/// Those of reading `/proc`; `EMFILE` without a descriptor for a pidfd.
pub fn kill_leftovers(
    variables: &[&str],
    sparing: &str,
    folder: &Path,
    timeout: Duration,
) -> io::Result<Leftovers> {
    let begin = Instant::now();
    let marks = Marks::new(variables, sparing, folder);
    let mut found = Leftovers::default();
    // Again and again, because a process may have made another one before it was killed.
    loop {
        let mut alive = Vec::new();
        for pid in pids_of_our_user()? {
            if let Some(pidfd) = leftover(pid, &marks)? {
                // Nothing to do about one that refuses: it shows as remaining.
                let _ = raw::pidfd_send_signal(pidfd.as_fd(), Signal::SIGKILL);
                if !found.killed.contains(&pid) {
                    found.killed.push(pid);
                }
                alive.push((pid, pidfd));
            }
        }
        if alive.is_empty() {
            return Ok(found);
        }
        for (pid, pidfd) in alive {
            let left = timeout.saturating_sub(begin.elapsed());
            if !wait_readable(pidfd.as_fd(), left)? {
                found.killed.retain(|killed| *killed != pid);
                found.remaining.push(pid);
            }
        }
        if !found.remaining.is_empty() || begin.elapsed() >= timeout {
            return Ok(found);
        }
    }
}

/// How a leftover is known.
struct Marks {
    /// `NAME=FOLDER/`.
    entries: Vec<OsString>,
    /// `NAME=`.
    sparing: String,
}

impl Marks {
    fn new(variables: &[&str], sparing: &str, folder: &Path) -> Marks {
        let entry = |variable: &&str| {
            let mut entry = OsString::from(format!("{variable}="));
            entry.push(folder.join(""));
            entry
        };
        Marks { entries: variables.iter().map(entry).collect(), sparing: format!("{sparing}=") }
    }

    fn are_on(&self, pid: u32) -> bool {
        // Exactly one folder in between: a host whose folder lies deeper is another host.
        let is_inside = |rest: &[u8]| rest.iter().filter(|b| **b == b'/').count() == 1;
        let is_ours = |variable: &[u8]| {
            let mut entries = self.entries.iter();
            entries.any(|entry| variable.strip_prefix(entry.as_bytes()).is_some_and(is_inside))
        };
        any_variable(pid, is_ours)
            && !any_variable(pid, |variable| variable.starts_with(self.sparing.as_bytes()))
    }
}

fn leftover(pid: u32, marks: &Marks) -> io::Result<Option<OwnedFd>> {
    if !marks.are_on(pid) {
        return Ok(None);
    }
    match raw::pidfd_open(pid) {
        Ok(pidfd) => Ok(marks.are_on(pid).then_some(pidfd)),
        Err(error) if error.raw_os_error() == Some(libc::EMFILE) => Err(error),
        // Gone, or a thread.
        Err(_) => Ok(None),
    }
}

/// Whether the environment of a process sets just this: `NAME=value`.
pub(super) fn has_exact_entry(pid: u32, entry: &OsStr) -> bool {
    any_variable(pid, |variable| variable == entry.as_bytes())
}

/// A process that has ended, a zombie too, has no environment.
fn any_variable(pid: u32, is_it: impl Fn(&[u8]) -> bool) -> bool {
    let mut environment = Vec::new();
    let Ok(file) = File::open(format!("/proc/{pid}/environ")) else { return false };
    if file.take(ENVIRONMENT_BYTES_MAX).read_to_end(&mut environment).is_err() {
        return false;
    }
    environment.split(|b| *b == 0).any(is_it)
}

fn pids_of_our_user() -> io::Result<Vec<u32>> {
    let (own, uid) = (std::process::id(), nix::unistd::geteuid().as_raw());
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if pid != own && entry.metadata().is_ok_and(|metadata| metadata.uid() == uid) {
            pids.push(pid);
        }
    }
    Ok(pids)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{DEADLINE, Sleeper, eventually, folder};
    use super::*;

    #[test]
    fn those_of_the_folder_are_killed_and_no_others() {
        let (ours, sibling) = (folder(), folder());
        let (variable, second, sparing) = ("RPS_TEST_TOKEN_FILE", "RPS_TEST_LAUNCH", "RPS_TEST_SPARED");
        let sleeper = |variable, path: &Path| Sleeper::new(&[(variable, path)]);
        let mut left = [
            sleeper(variable, &ours.path().join("echo/token.1")),
            sleeper(second, &ours.path().join("kv/9")),
        ];
        let mut other = [
            sleeper(variable, &sibling.path().join("echo/token.1")),
            sleeper("RPS_TEST_OTHER", &ours.path().join("echo/token.1")),
            sleeper(variable, &ours.path().with_extension("x").join("token.1")),
            sleeper(variable, &ours.path().join("inner/echo/token.1")),
            Sleeper::new(&[(variable, &ours.path().join("echo/token.2")), (sparing, Path::new("1"))]),
        ];
        let mut expected: Vec<u32> = left.iter().map(Sleeper::pid).collect();
        // Before its exec, a child shows the environment of this test.
        let marks = Marks::new(&[variable, second], sparing, ours.path());
        eventually("sleepers run", || expected.iter().all(|pid| marks.are_on(*pid)));
        let kill = || kill_leftovers(&[variable, second], sparing, ours.path(), DEADLINE).unwrap();
        let mut found = kill();
        expected.sort_unstable();
        found.killed.sort_unstable();
        assert_eq!(found, Leftovers { killed: expected, remaining: vec![] });
        assert!(left.iter_mut().all(|sleeper| !sleeper.runs()));
        assert!(other.iter_mut().all(Sleeper::runs), "a stranger was killed");
        assert_eq!(kill(), Leftovers::default());
    }
}
