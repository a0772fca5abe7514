//! The group of a child, for whoever may have to kill it from another thread than the one that reaps it.
//!
//! What always holds: a group is signalled by number only while its leader is known not to be reaped, because a zombie
//! keeps its number. Whoever uses this sees to it that nobody reaps the child meanwhile; what this asks the kernel before
//! shows only what happened before.
#![forbid(unsafe_code)]

use super::process::Child;
use super::raw::{self, Collect};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The group of a child that leads it.
#[derive(Debug)]
pub struct ProcessGroup {
    leader: Pid,
    /// A duplicate: the child is closed by whoever reaps it.
    pidfd: OwnedFd,
}

impl ProcessGroup {
    /// The group of this child.
    ///
    /// # Errors
    /// `EMFILE` without a descriptor.
    pub fn of(child: &Child) -> io::Result<ProcessGroup> {
        let leader = Pid::from_raw(i32::try_from(child.pid()).map_err(io::Error::other)?);
        Ok(ProcessGroup { leader, pidfd: child.as_fd().try_clone_to_owned()? })
    }

    /// Kills all of it. The child must not be reaped by another thread meanwhile.
    ///
    /// # Errors
    /// `ECHILD` where somebody else in this process has reaped it, and then nothing was killed; `EPERM` where every process
    /// of the group runs as another user by now.
    pub fn kill(&self) -> io::Result<()> {
        raw::waitid(self.pidfd.as_fd(), Collect::Peek)?;
        match killpg(self.leader, Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}
