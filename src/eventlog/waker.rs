//! How a thread that works on the record's files, a sink's or the packer's, learns that there is something to do.
//!
//! What it deliberately does not do: hold events; they are in the files.
//!
//! What always holds: waking never blocks; a thread that sleeps is woken once, by one byte in a pipe; what was
//! told before a look is seen by it; an idle thread does not wake up.

use super::owner::StreamOwner;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{pipe2, read, write};
use rpc_plugin_wire::PluginId;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Wakes one thread, and tells it which streams of the record changed.
#[derive(Debug)]
pub struct StreamWaker {
    state: Mutex<WakerState>,
    wake: OwnedFd,
    woken: OwnedFd,
}

#[derive(Debug, Default)]
struct WakerState {
    /// The newest line of each stream.
    newest: BTreeMap<StreamOwner, u64>,
    /// Streams that changed since the last look.
    changed: BTreeSet<StreamOwner>,
    end_by: Option<Instant>,
    /// A byte is in the pipe.
    is_woken: bool,
}

impl StreamWaker {
    /// A waker that has nothing to tell.
    ///
    /// # Errors
    /// Those of pipe2(2).
    pub fn new() -> io::Result<StreamWaker> {
        let (woken, wake) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        Ok(StreamWaker { state: Mutex::default(), wake, woken })
    }

    fn state(&self) -> MutexGuard<'_, WakerState> {
        // Nothing in this file panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that a stream changed, and has lines up to this number.
    pub fn notify(&self, owner: Option<&PluginId>, seq: u64) {
        let mut state = self.state();
        match state.newest.get_mut(&owner.cloned()) {
            Some(newest) => *newest = seq.max(*newest),
            None => drop(state.newest.insert(owner.cloned(), seq)),
        }
        state.changed.insert(owner.cloned());
        self.wake(&mut state);
    }

    /// Wakes the thread, which finds elsewhere what there is to do.
    pub fn wake_up(&self) {
        self.wake(&mut self.state());
    }

    /// Asks the thread to end.
    pub fn end_by(&self, deadline: Instant) {
        let mut state = self.state();
        state.end_by = Some(state.end_by.map_or(deadline, |before| before.min(deadline)));
        self.wake(&mut state);
    }

    fn wake(&self, state: &mut WakerState) {
        if !std::mem::replace(&mut state.is_woken, true) {
            // An empty pipe takes a byte.
            let _ = write(&self.wake, &[0]);
        }
    }

    /// The streams that changed since the last look.
    pub fn take(&self) -> BTreeSet<StreamOwner> {
        let mut state = self.state();
        if std::mem::take(&mut state.is_woken) {
            let _ = read(&self.woken, &mut [0]);
        }
        std::mem::take(&mut state.changed)
    }

    /// By when the thread is to end, if it is.
    pub fn ends(&self) -> Option<Instant> {
        self.state().end_by
    }

    /// The newest line of each stream.
    pub(crate) fn newest(&self) -> BTreeMap<StreamOwner, u64> {
        self.state().newest.clone()
    }

    /// Sleeps until it is woken, a watched descriptor is readable or closed, or the time is there. True if it is a
    /// watched one.
    ///
    /// # Errors
    /// Those of poll(2).
    pub fn sleep(&self, until: Option<Instant>, watched: &[BorrowedFd<'_>]) -> io::Result<bool> {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        // Rounded up, so that the last wait is not a busy one of 0 ms.
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            let ms = left.as_millis().saturating_add(u128::from(!left.is_zero()));
            PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX)
        });
        let mut fds: Vec<PollFd<'_>> = vec![PollFd::new(self.woken.as_fd(), PollFlags::POLLIN)];
        fds.extend(watched.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)));
        match poll(&mut fds, timeout) {
            Ok(_) => Ok(fds.iter().skip(1).any(|fd| fd.any().unwrap_or(true))),
            Err(nix::errno::Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}
