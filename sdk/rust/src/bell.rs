//! What wakes the main thread: an eventfd(2), so that it can wait for a bell, for the socket to take more
//! bytes, and for a time, in one poll(2).
//!
//! What it deliberately does not do: say what for; who hears it looks around.
//!
//! What always holds: a ring is heard by the wait that goes on or by the next one.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

pub(crate) struct Bell(EventFd);

impl Bell {
    pub(crate) fn new() -> io::Result<Bell> {
        Ok(Bell(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?))
    }

    /// Wakes the one who waits.
    pub(crate) fn ring(&self) {
        // It fails only at 2^64 rings unheard, and then it is ringing.
        let _ = self.0.write(1);
    }

    /// Waits for a ring; also until `writable` takes bytes, where one is given; at most for `time`, rounded
    /// up to milliseconds.
    pub(crate) fn wait(&self, writable: Option<&UnixStream>, time: Option<Duration>) {
        let timeout = match time.map(|time| u16::try_from(time.as_micros().div_ceil(1000))) {
            None => PollTimeout::NONE,
            Some(millis) => PollTimeout::from(millis.unwrap_or(u16::MAX)),
        };
        let bell = PollFd::new(self.0.as_fd(), PollFlags::POLLIN);
        // An interrupted wait is one that ended early, which its callers have to take in any case.
        let _: Result<i32, Errno> = match writable {
            Some(socket) => poll(&mut [bell, PollFd::new(socket.as_fd(), PollFlags::POLLOUT)], timeout),
            None => poll(&mut [bell], timeout),
        };
        let _ = self.0.read();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::time::Instant;

    #[test]
    fn a_ring_before_the_wait_is_heard_once() {
        let bell = Bell::new().unwrap();
        bell.ring();
        bell.ring();
        bell.wait(None, None);
        let begin = Instant::now();
        bell.wait(None, Some(Duration::from_micros(1500)));
        assert!(begin.elapsed() >= Duration::from_micros(1500), "both were heard by the first wait");
    }

    #[test]
    fn a_socket_that_takes_bytes_again_ends_the_wait() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        while ours.write(&[0; 4096]).is_ok() {}
        let bell = Bell::new().unwrap();
        let reader = std::thread::spawn(move || while theirs.read(&mut [0; 65536]).is_ok_and(|n| n > 0) {});
        bell.wait(Some(&ours), None);
        assert!(ours.write(&[0]).is_ok());
        drop(ours);
        reader.join().unwrap();
    }
}
