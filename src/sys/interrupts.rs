//! Signals that end this process, held back while something is to be ended in order first.
//!
//! What it deliberately does not do: take them. Once they are let through they end the process as they always do, so that
//! whoever started it sees that.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// SIGINT, SIGTERM and SIGHUP, held back from this thread and those that it starts. Dropping it lets through what came.
#[derive(Debug)]
pub struct Interrupts {
    came: SignalFd,
    before: SigSet,
}

impl Interrupts {
    /// Holds them back.
    ///
    /// # Errors
    /// Those of pthread_sigmask(3) and signalfd(2).
    pub fn hold() -> io::Result<Interrupts> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        let came = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let before = signals.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(Interrupts { came, before })
    }

    /// Whether one came.
    #[must_use]
    pub fn came(&self) -> bool {
        let mut polled = [PollFd::new(self.came.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO).is_ok_and(|count| count > 0)
    }
}

/// Becomes readable once one came. It is not to be read.
impl AsFd for Interrupts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.came.as_fd()
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        // Of this thread's own mask; there is no way for it to fail.
        let _ = self.before.thread_set_mask();
    }
}
