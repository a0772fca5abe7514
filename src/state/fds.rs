//! File descriptors on their way through the state machines: owned and never looked at, so that whatever ends a
//! call closes what travelled with it.

use std::os::fd::OwnedFd;

/// Those of one frame, in order.
pub type Fds = Vec<OwnedFd>;
