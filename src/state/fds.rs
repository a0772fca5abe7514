//! File descriptors on their way through the state machines: owned and never looked at, so that whatever ends a
//! call closes what travelled with it. The only file of `state` that names them.

use super::closing::Passed;
use std::os::fd::OwnedFd;

/// A descriptor passing through unopened. Who drops it does not close it, unless it is this program's own.
pub type Fd = Passed<OwnedFd>;

/// The descriptors of one frame, in order.
pub type Fds = Vec<Fd>;

/// Makes a descriptor that means nothing.
#[cfg(test)]
pub(crate) fn any() -> Fd {
    Fd::from(OwnedFd::from(std::io::pipe().unwrap().0))
}

/// Descriptors that a peer passed: how many there were, and who closes them.
#[cfg(test)]
pub(crate) struct Held(usize, std::sync::Arc<Counted>);

/// Closes at once, and counts.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct Counted(std::sync::atomic::AtomicUsize);

#[cfg(test)]
impl super::closing::Closer<OwnedFd> for Counted {
    fn close(&self, fd: OwnedFd) {
        drop(fd);
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

/// Makes `count` of them, and what tells how many are open.
#[cfg(test)]
pub(crate) fn held(count: usize) -> (Held, Fds) {
    let closer = std::sync::Arc::<Counted>::default();
    let passed = |fd: std::io::PipeReader| Fd::new(fd.into(), closer.clone());
    let fds = (0..count).map(|_| passed(std::io::pipe().unwrap().0)).collect();
    (Held(count, closer), fds)
}

#[cfg(test)]
impl Held {
    /// How many are open: all that were not handed to who is to close them.
    pub(crate) fn open(&self) -> usize {
        self.0 - self.1.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}
