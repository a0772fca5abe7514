//! Processes that a dead host left behind.
//!
//! What this file is for: the parent-death signal ends plugins with their host, but neither the processes that plugins
//! started nor a plugin that cleared it. The next host on the same folder finds them by what the dead one wrote down
//! ([`super::host_identity`]): a mark that only it can have made, or the session of a leader that it launched. What it
//! deliberately does not do: look at processes of other users, take a variable that anybody can set for a proof, or guess
//! where it cannot know: in another pid namespace, or after another boot, nothing is killed.
//!
//! What always holds: a process is killed only through a pidfd that was opened before it was looked at the second time, so
//! a recycled pid is never hit; its real user is ours. Nothing is killed while the host that launched it lives.
#![forbid(unsafe_code)]

use super::host_identity::{HostIdentity, Mark, ProcessIdentity, ProcessStat};
use super::process::{Signal, wait_readable};
use super::{proc_file, raw};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
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
    /// Pids of those that carry the mark of a host that nothing is known of: they are left alone.
    pub unknown: Vec<u32>,
    /// The host that still has the folder, and a process of it: nothing was killed.
    pub in_use: Option<(u32, u32)>,
}

/// How leftovers are known.
#[derive(Debug, Clone)]
pub struct Search {
    /// The host that looks.
    pub host: HostIdentity,
    /// The host that had the folder before, if it said so.
    pub before: Option<HostIdentity>,
    /// The leaders that it wrote down.
    pub leaders: Vec<ProcessIdentity>,
    /// The runtime folder; absolute, without links.
    pub runtime_dir: PathBuf,
}

/// Kills every process of our real user that the host before launched, or that is of a session that it launched, and waits
/// until they have ended, at most `timeout`. Never this process itself, but its own plugins too, so call it before the first
/// launch. Blocks; reading an environment may hang.
///
/// # Errors
/// Those of reading `/proc`; `EMFILE` without a descriptor for a pidfd.
pub fn kill_leftovers(search: &Search, timeout: Duration) -> io::Result<Leftovers> {
    let begin = Instant::now();
    let mut found = Leftovers::default();
    // Again and again, because a process may have made another one before it was killed.
    loop {
        let mut alive = Vec::new();
        found.unknown.clear();
        let mut leftovers = Vec::new();
        for pid in pids_of_our_user()? {
            match search.judge(pid) {
                Judgement::Stranger => {}
                Judgement::Unknown => found.unknown.push(pid),
                Judgement::InUse(host) => {
                    found.in_use = Some((host, pid));
                    return Ok(found);
                }
                Judgement::Leftover => leftovers.push(pid),
            }
        }
        for pid in leftovers {
            let Some(pidfd) = search.open(pid)? else { continue };
            // Nothing to do about one that refuses: it shows as remaining.
            let _ = raw::pidfd_send_signal(pidfd.as_fd(), Signal::SIGKILL);
            if !found.killed.contains(&pid) {
                found.killed.push(pid);
            }
            alive.push((pid, pidfd));
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

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judgement {
    /// None of this folder's.
    Stranger,
    /// It has a mark of this folder, which nothing that is written down confirms.
    Unknown,
    /// The host of that pid launched it, and lives.
    InUse(u32),
    /// A dead host launched it, or the session that it is in.
    Leftover,
}

impl Search {
    fn judge(&self, pid: u32) -> Judgement {
        let before = self.before.as_ref().filter(|before| before.is_beside(&self.host));
        let variable = mark_of(pid, &self.runtime_dir);
        let mark = variable.as_ref().and_then(|variable| Mark::parse(variable, &self.runtime_dir));
        // A host that this process had before is no other one.
        let host = mark.as_ref().map(|mark| mark.process).filter(|host| host.pid != std::process::id());
        if let Some(host) = host.filter(|host| host.runs()) {
            return Judgement::InUse(host.pid);
        }
        let is_proven = before.zip(mark.as_ref()).is_some_and(|(before, mark)| before.made(mark));
        // Whatever a plugin made of its mark: its session is that of the leader that was launched.
        if is_proven || before.is_some() && self.is_of_a_leader(pid) {
            Judgement::Leftover
        } else if mark.is_some() {
            Judgement::Unknown
        } else {
            Judgement::Stranger
        }
    }

    /// Whether a process is of a session that the host before launched.
    fn is_of_a_leader(&self, pid: u32) -> bool {
        // One that has ended, and waits to be reaped by whoever inherited it, is nobody's.
        let stat = ProcessStat::of(pid).filter(|stat| stat.runs);
        let Some(ProcessStat { session, .. }) = stat else { return false };
        // A session's number is not given away while anybody is in it. If its leader is another process than the one
        // that was launched, it is another session.
        self.leaders.iter().any(|leader| {
            leader.pid == session && ProcessIdentity::of(leader.pid).is_none_or(|now| now == *leader)
        })
    }

    fn open(&self, pid: u32) -> io::Result<Option<OwnedFd>> {
        match raw::pidfd_open(pid) {
            Ok(pidfd) => {
                let is_still = is_of_our_user(pid) && self.judge(pid) == Judgement::Leftover;
                Ok(is_still.then_some(pidfd))
            }
            Err(error) if error.raw_os_error() == Some(libc::EMFILE) => Err(error),
            // Gone, or a thread.
            Err(_) => Ok(None),
        }
    }
}

/// The variable in the environment of a process that is a mark of a launch in that folder.
fn mark_of(pid: u32, runtime_dir: &Path) -> Option<Vec<u8>> {
    let environment = environment(pid)?;
    let mut variables = environment.split(|b| *b == 0);
    variables.find(|variable| Mark::parse(variable, runtime_dir).is_some()).map(<[u8]>::to_vec)
}

/// Whether the environment of a process sets just this: `NAME=value`.
pub(super) fn has_exact_entry(pid: u32, entry: &OsStr) -> bool {
    environment(pid).is_some_and(|all| all.split(|b| *b == 0).any(|variable| variable == entry.as_bytes()))
}

/// A process that has ended, a zombie too, has none.
fn environment(pid: u32) -> Option<Vec<u8>> {
    let mut environment = Vec::new();
    let file = File::open(format!("/proc/{pid}/environ")).ok()?;
    file.take(ENVIRONMENT_BYTES_MAX).read_to_end(&mut environment).ok()?;
    Some(environment)
}

fn pids_of_our_user() -> io::Result<Vec<u32>> {
    let own = std::process::id();
    Ok(proc_file::pids()?.into_iter().filter(|pid| *pid != own && is_of_our_user(*pid)).collect())
}

/// Whether its real user is ours. The owner of its folder in `/proc` is not that: what cannot be traced is shown as root's,
/// and a set-uid program as its effective user's.
fn is_of_our_user(pid: u32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let real = uids.and_then(|uids| uids.split_whitespace().next()?.parse::<u32>().ok());
    real == Some(nix::unistd::getuid().as_raw())
}

#[cfg(test)]
#[path = "leftovers_tests.rs"]
mod tests;
