//! A process that somebody else launched: watched, and nothing else.
#![forbid(unsafe_code)]

use super::process::wait_readable;
use super::raw;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// A process of somebody else's that is watched: never signalled, never reaped.
#[derive(Debug)]
pub struct Attached {
    pid: u32,
    pidfd: OwnedFd,
}

impl Attached {
    /// The process that has this pid now.
    ///
    /// # Errors
    /// `ESRCH` if it has ended, `EMFILE` without a descriptor.
    pub fn open(pid: u32) -> io::Result<Attached> {
        Ok(Attached { pid, pidfd: raw::pidfd_open(pid)? })
    }

    /// Its pid, to be shown.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has ended; how is its parent's to know. Never blocks.
    ///
    /// # Errors
    /// Those of poll(2).
    pub fn has_ended(&self) -> io::Result<bool> {
        wait_readable(self.pidfd.as_fd(), Duration::ZERO)
    }
}

/// The pidfd, which becomes readable when the process has ended.
impl AsFd for Attached {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}
