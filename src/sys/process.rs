//! A child that this host launched: watching, signalling and reaping it.
//!
//! What this file is for: making it impossible to signal a stranger. What it deliberately does not do:
//! decide when a plugin has had time enough; the wait here is for tests and for dropping.
//!
//! What always holds: the leader is signalled through its pidfd. Its group is signalled by number, and
//! only before the leader is reaped: a zombie keeps its pid, so the number cannot belong to another
//! group. Reaping kills what is left of the group first. A dropped [`Child`] is killed and reaped.
#![forbid(unsafe_code)]

pub use super::exit_status::ExitStatus;
use super::raw::{self, Collect};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::killpg;
use nix::unistd::Pid;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

pub use nix::sys::signal::Signal;

/// How long dropping a child that was not reaped waits for it to die of SIGKILL. One that hangs in the
/// kernel for longer is left to whoever inherits it. [`end_all`] ends many at once, and waits once.
const DROP_TIMEOUT: Duration = Duration::from_secs(1);

/// A child of this process that leads its own session and group.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    ended: Option<ExitStatus>,
}

impl Child {
    /// For the launch alone: the pid and pidfd of a process that made its own session.
    pub(super) fn new(pid: i32, pidfd: OwnedFd) -> Child {
        Child { pid: Pid::from_raw(pid), pidfd, ended: None }
    }

    /// Its pid, to be shown and compared with peer credentials. Not to be signalled.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// How it ended, without reaping it: it stays a zombie, and its group stays safe to signal. `None`
    /// while it runs. Never blocks.
    ///
    /// # Errors
    /// `ECHILD` if somebody else in this process reaped it (a `wait` for any child, or SIGCHLD ignored).
    pub fn peek_exit(&self) -> io::Result<Option<ExitStatus>> {
        match self.ended {
            Some(status) => Ok(Some(status)),
            None => raw::waitid(self.pidfd.as_fd(), Collect::Peek),
        }
    }

    /// If it has ended: kills what is left of its group, reaps it, and says how it ended, also when asked
    /// again. `None` while it runs. Never blocks.
    ///
    /// # Errors
    /// As [`Child::peek_exit`].
    pub fn reap(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.peek_exit()?.is_none() {
            return Ok(None);
        }
        // Nobody else can be asked to do it later: once reaped, the group's number is not ours any more.
        // What refuses (EPERM: a set-uid program of another user) is left.
        let _ = self.signal_group(Signal::SIGKILL);
        if self.ended.is_none() {
            self.ended = raw::waitid(self.pidfd.as_fd(), Collect::Reap)?;
        }
        Ok(self.ended)
    }

    /// Signals the process itself. Nothing happens to one that has ended.
    ///
    /// # Errors
    /// `EPERM` where it runs as another user by now.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match raw::pidfd_send_signal(self.pidfd.as_fd(), signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other,
        }
    }

    /// Signals every process of its group. Nothing happens once it is reaped, or if none is left.
    ///
    /// # Errors
    /// `EPERM` where every process of the group runs as another user by now; those of
    /// [`Child::peek_exit`], and then nothing was signalled.
    pub fn signal_group(&self, signal: Signal) -> io::Result<()> {
        if self.ended.is_some() {
            return Ok(());
        }
        // If somebody else reaped the leader, the number may be another group's by now.
        self.peek_exit()?;
        match killpg(self.pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Sends SIGKILL to it and its group. Errors have nowhere to go: whoever cares has reaped it before.
    fn kill(&self) {
        let _ = self.signal_group(Signal::SIGKILL);
        let _ = self.signal(Signal::SIGKILL);
    }

    /// Blocks until it has ended (it is not reaped) or the time is over, and says whether it has ended.
    /// Not for the event loop, which waits for the pidfd to become readable.
    ///
    /// # Errors
    /// Those of poll(2).
    pub fn wait_exit(&self, timeout: Duration) -> io::Result<bool> {
        if self.ended.is_some() { Ok(true) } else { wait_readable(self.pidfd.as_fd(), timeout) }
    }
}

/// The pidfd, which becomes readable when the process has ended.
impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.kill();
            let _ = self.wait_exit(DROP_TIMEOUT);
            let _ = self.reap();
        }
    }
}

/// Kills children and reaps them, all side by side: each is sent SIGKILL before the first is waited for, and all of them
/// together are waited for no longer than `timeout`. One that hangs in the kernel for longer is left to whoever inherits
/// it.
pub fn end_all(mut children: Vec<Child>, timeout: Duration) {
    children.iter().for_each(Child::kill);
    let end = Instant::now() + timeout;
    for child in &mut children {
        let _ = child.wait_exit(end.saturating_duration_since(Instant::now()));
        let _ = child.reap();
        // Its time is over: dropping it waits no more.
        child.ended.get_or_insert(ExitStatus::Signal { signal: libc::SIGKILL, core_dumped: false });
    }
}

/// Lets the kernel keep the exit statuses of this process's children, if it was started with SIGCHLD
/// ignored: an ignored signal is inherited, and then children are reaped unseen. For a program's `main`;
/// a library does not touch its host's signals.
///
/// # Errors
/// Those of sigaction(2).
pub fn keep_exit_statuses() -> io::Result<()> {
    if raw::sigchld_discards_statuses()? { raw::reset_sigchld() } else { Ok(()) }
}

/// Waits until a descriptor is readable, at most that long (and a day), and says whether it is.
pub(super) fn wait_readable(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<bool> {
    let end = Instant::now() + timeout.min(Duration::from_secs(86_400));
    loop {
        // Rounded up, so that the last wait is not a busy one of 0 ms.
        let left = end.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
        let left_ms = PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], left_ms) {
            Ok(0) if Instant::now() < end => {}
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Children that SIGKILL does not end, as where they hang in the kernel: what stands for their pidfd never becomes
/// readable while the other end is kept. No process stands behind them.
#[cfg(test)]
pub(crate) fn hung(count: usize) -> (Vec<Child>, Vec<io::PipeWriter>) {
    let pair = |_| {
        let (reader, writer) = io::pipe().unwrap();
        (Child::new(i32::MAX, reader.into()), writer)
    };
    (0..count).map(pair).unzip()
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
