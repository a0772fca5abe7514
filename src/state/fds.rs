//! File descriptors on their way through the state machines: owned and never looked at, so that whatever ends a
//! call closes what travelled with it. The only file of `state` that names them.

/// A descriptor passing through unopened.
pub type Fd = std::os::fd::OwnedFd;

/// The descriptors of one frame, in order.
pub type Fds = Vec<Fd>;

/// Makes a descriptor that means nothing.
#[cfg(test)]
pub(crate) fn any() -> Fd {
    std::io::pipe().unwrap().0.into()
}

/// Descriptors whose other ends tell whether they are open somewhere.
#[cfg(test)]
pub(crate) struct Held(Vec<std::os::unix::net::UnixStream>);

/// Makes `count` of them, and what tells how many are open.
#[cfg(test)]
pub(crate) fn held(count: usize) -> (Held, Fds) {
    let pairs = (0..count).map(|_| std::os::unix::net::UnixStream::pair().unwrap());
    let (ours, theirs): (Vec<_>, Vec<_>) = pairs.map(|(ours, theirs)| (ours, theirs.into())).unzip();
    (Held(ours), theirs)
}

#[cfg(test)]
impl Held {
    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        let is_open = |stream: &&std::os::unix::net::UnixStream| {
            stream.set_nonblocking(true).unwrap();
            std::io::Read::read(&mut &**stream, &mut [0; 1]).is_err()
        };
        self.0.iter().filter(is_open).count()
    }
}
