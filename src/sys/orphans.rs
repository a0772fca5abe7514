//! Processes that plugins left behind while this process lives.
//!
//! What this file is for: becoming the parent of every descendant whose own parent ends (prctl(2),
//! PR_SET_CHILD_SUBREAPER), then reaping those that have ended and killing those that belong to nothing
//! that lives. What it deliberately does not do: any of this by itself. It concerns every child of the
//! process, so it is for the daemon, not for a library inside another program.
//!
//! What always holds: only children of this process are signalled, through a pidfd for which the kernel
//! has confirmed that it is our child. A child is reaped here and nowhere else, but for the leaders, so
//! until then its pid is its own: what is read about it by its pid is about no other process.
#![forbid(unsafe_code)]

use super::command_name::command_of;
use super::known_children::{KnownChildren, Leader};
use super::leftovers::has_exact_entry;
use super::proc_file;
use super::process::{ExitStatus, Signal, wait_readable};
use super::raw::{self, Collect};
use nix::sys::prctl::set_child_subreaper;
use nix::unistd::{Pid, getsid};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Whether a child of ours that is not reaped is a leader's own. One that cannot be asked is nobody's: it has just ended, or
/// hides its environment.
fn owns(leader: &Leader, pid: u32) -> bool {
    let session = i32::try_from(pid).ok().and_then(|pid| getsid(Some(Pid::from_raw(pid))).ok());
    session.is_some_and(|session| session.as_raw().unsigned_abs() == leader.pid)
        || has_exact_entry(pid, &leader.mark)
}

/// A process that nobody looked after and that was sent SIGKILL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KilledOrphan {
    /// Its pid.
    pub pid: u32,
    /// Its name, where that could be read.
    pub command: Option<String>,
}

/// What one [`sweep`] found.
#[derive(Debug, Default)]
pub struct Sweep {
    /// Orphans that are gone now: pid, and how each ended.
    pub reaped: Vec<(u32, ExitStatus)>,
    /// Orphans of nobody that were sent SIGKILL and have not ended yet, each with a pidfd to wait on.
    pub dying: Vec<(KilledOrphan, OwnedFd)>,
    /// Where the next sweep is to go on; `None`: all were looked at.
    pub next: Option<u32>,
}

/// Living children that one sweep reads about, at most.
const LOOKS_MAX: usize = 256;
/// How long a sweep waits for launches that are on their way.
const LAUNCH_TIMEOUT: Duration = Duration::from_secs(1);

/// Makes this process the parent of its orphaned descendants.
///
/// # Errors
/// Those of prctl(2).
pub fn become_subreaper() -> io::Result<()> {
    Ok(set_child_subreaper(true)?)
}

/// The pids of this process's children, zombies included, in ascending order. Others may come and go
/// meanwhile.
///
/// # Errors
/// Those of reading `/proc`.
pub fn children() -> io::Result<Vec<u32>> {
    let mut pids = match children_of_threads()? {
        Some(pids) => pids,
        None => children_by_search()?,
    };
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// Reaps children that have ended and that nobody looks after, and sends SIGKILL to those that belong to nothing that
/// lives: neither are they known, nor their own. Looks at children of pids from `from` on, and at `LOOKS_MAX` living ones at
/// the most. The children of a killed one become ours when it ends, so repeat until both lists are empty and nothing is
/// left to look at. May hang, where an environment cannot be read.
///
/// # Errors
/// Those of reading `/proc`; `EMFILE` without a descriptor for a pidfd.
pub fn sweep(children: &KnownChildren, from: u32) -> io::Result<Sweep> {
    let mut sweep = Sweep::default();
    // First those that are there, then those that are known: what is launched in between is not among the first.
    let pids = self::children()?;
    let Some(snapshot) = children.snapshot(LAUNCH_TIMEOUT) else {
        return Ok(Sweep { next: Some(from), ..sweep });
    };
    let leaders = &snapshot.known;
    let is_leader = |pid: &u32| leaders.iter().any(|leader| leader.pid == *pid);
    let mut looks = 0;
    for pid in pids.into_iter().filter(|pid| *pid >= from && !is_leader(pid)) {
        let pidfd = match raw::pidfd_open(pid) {
            Ok(pidfd) => pidfd,
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => continue,
            Err(error) => return Err(error),
        };
        // Confirms that it is our child: any other process is ECHILD, also one with a recycled pid.
        let Ok(ended) = raw::waitid(pidfd.as_fd(), Collect::Peek) else { continue };
        if ended.is_none() {
            looks += 1;
            if looks > LOOKS_MAX {
                sweep.next = Some(pid);
                break;
            }
            if leaders.iter().any(|leader| owns(leader, pid)) {
                continue;
            }
        }
        if children.has_launched_since(&snapshot) {
            // A leader was reaped meanwhile, and its pid may be that of a new one.
            sweep.next = Some(pid);
            break;
        }
        match raw::waitid(pidfd.as_fd(), Collect::Reap) {
            Ok(Some(status)) => sweep.reaped.push((pid, status)),
            Ok(None) => {
                // An orphan that changed its user may refuse (EPERM); it stays in `dying`.
                let command = command_of(pid);
                let _ = raw::pidfd_send_signal(pidfd.as_fd(), Signal::SIGKILL);
                sweep.dying.push((KilledOrphan { pid, command }, pidfd));
            }
            Err(_) => {}
        }
    }
    Ok(sweep)
}

/// A child of this process that somebody else launched and reaps, held so that it can be signalled without
/// mistaking another process for it.
#[derive(Debug)]
pub struct HeldChild(OwnedFd);

impl HeldChild {
    /// Takes hold of the child that has this pid now. Who has to be sure that it still is the one that was meant
    /// asks its launcher again afterwards: a pid that was not reaped meanwhile was not used again.
    ///
    /// # Errors
    /// `ECHILD` if it is no child of ours, `ESRCH` if there is no such process.
    pub fn hold(pid: u32) -> io::Result<HeldChild> {
        let pidfd = raw::pidfd_open(pid)?;
        raw::waitid(pidfd.as_fd(), Collect::Peek)?;
        Ok(HeldChild(pidfd))
    }

    /// Signals it.
    ///
    /// # Errors
    /// `ESRCH` once it was reaped, `EPERM` where it runs as another user by now.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        raw::pidfd_send_signal(self.0.as_fd(), signal)
    }
}

/// Sends SIGKILL to a child of this process, for a test or a tour of what follows.
///
/// # Errors
/// As [`HeldChild::hold`] and [`HeldChild::signal`].
pub fn kill_child(pid: u32) -> io::Result<()> {
    HeldChild::hold(pid)?.signal(Signal::SIGKILL)
}

/// Rounds in which [`kill_all_children`] kills at the most.
const KILL_ROUNDS_MAX: usize = 50;
/// How long it waits between two.
const KILL_PAUSE: Duration = Duration::from_millis(20);

/// Sends SIGKILL to every child of this process, and to those that become its children by that, until a round finds no
/// living one, or for a second. Reaps none. For a process that is about to end.
pub fn kill_all_children() {
    for _ in 0..KILL_ROUNDS_MAX {
        let held = children().unwrap_or_default().into_iter().filter_map(|pid| HeldChild::hold(pid).ok());
        let living = held.filter(|child| matches!(raw::waitid(child.0.as_fd(), Collect::Peek), Ok(None)));
        let living: Vec<HeldChild> = living.collect();
        if living.is_empty() {
            return;
        }
        for child in &living {
            // What refuses (EPERM: a set-uid program of another user) is left.
            let _ = child.signal(Signal::SIGKILL);
        }
        std::thread::park_timeout(KILL_PAUSE);
    }
}

/// Repeats [`sweep`] until nothing is left but what is known and what is theirs, or the time is over. Adds to `killed`
/// whom it killed, each once. Blocks.
///
/// # Returns
/// The reaped, and the pids of those that did not end in time.
///
/// # Errors
/// As [`sweep`].
pub fn kill_and_reap_orphans(
    children: &KnownChildren,
    timeout: Duration,
    killed: &mut Vec<KilledOrphan>,
) -> io::Result<(Vec<u32>, Vec<u32>)> {
    let begin = Instant::now();
    let (mut gone, mut from) = (Vec::new(), 0);
    loop {
        let found = sweep(children, from)?;
        for (orphan, _) in &found.dying {
            if !killed.iter().any(|known| known.pid == orphan.pid) {
                killed.push(orphan.clone());
            }
        }
        gone.extend(found.reaped.iter().map(|(pid, _)| *pid));
        let left = timeout.saturating_sub(begin.elapsed());
        from = found.next.unwrap_or(0);
        match found.dying.first() {
            None if found.reaped.is_empty() && found.next.is_none() => return Ok((gone, Vec::new())),
            _ if left.is_zero() => {
                return Ok((gone, found.dying.iter().map(|(orphan, _)| orphan.pid).collect()));
            }
            // Those of the reaped may be ours now.
            None => {}
            Some((_, pidfd)) => drop(wait_readable(pidfd.as_fd(), left)?),
        }
    }
}

/// From the kernel's own lists, one for each thread. `None` where it does not keep them
/// (CONFIG_PROC_CHILDREN).
fn children_of_threads() -> io::Result<Option<Vec<u32>>> {
    let mut pids = Vec::new();
    for thread in fs::read_dir("/proc/self/task")? {
        match fs::read_to_string(thread?.path().join("children")) {
            Ok(list) => pids.extend(list.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok())),
            // A thread that has ended meanwhile has no folder any more; one without the file, no lists.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !fs::exists("/proc/thread-self/children")? {
                    return Ok(None);
                }
            }
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(pids))
}

fn children_by_search() -> io::Result<Vec<u32>> {
    let own = std::process::id();
    let mut pids = Vec::new();
    for pid in proc_file::pids()? {
        // The name in parentheses may hold anything, so the fields are counted from the last one on.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
        if parent.and_then(|parent| parent.parse().ok()) == Some(own) {
            pids.push(pid);
        }
    }
    Ok(pids)
}

#[cfg(test)]
#[path = "orphans_tests.rs"]
mod tests;
