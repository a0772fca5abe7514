//! File descriptors on their way through the state machines: owned and never looked at, so that whatever ends a
//! call closes what travelled with it. The only file of `state` that names them.

/// One.
pub type Fd = std::os::fd::OwnedFd;

/// Those of one frame, in order.
pub type Fds = Vec<Fd>;

/// Any.
#[cfg(test)]
pub(crate) fn any() -> Fd {
    std::io::pipe().unwrap().0.into()
}
