//! Wake-up of the main thread through an eventfd(2), which it polls together with the socket and a timeout.
//!
//! What it deliberately does not do: say what for; who wakes up looks around.
//!
//! What always holds: a wake-up ends the wait that goes on or the next one.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// An eventfd(2) that one thread waits for and any thread writes to.
pub(crate) struct WakePipe(EventFd);

impl WakePipe {
    pub(crate) fn new() -> io::Result<WakePipe> {
        Ok(WakePipe(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?))
    }

    /// Ends the wait of the main thread, or its next one.
    pub(crate) fn wake(&self) {
        // It fails only at 2^64 wake-ups that nobody took, and then it is readable.
        let _ = self.0.write(1);
    }

    /// Waits for a wake-up; also until `writable` takes bytes, where one is given; at most for `time`, rounded
    /// up to milliseconds.
    pub(crate) fn wait(&self, writable: Option<&UnixStream>, time: Option<Duration>) {
        let timeout = match time.map(|time| u16::try_from(time.as_micros().div_ceil(1000))) {
            None => PollTimeout::NONE,
            Some(millis) => PollTimeout::from(millis.unwrap_or(u16::MAX)),
        };
        let woken = PollFd::new(self.0.as_fd(), PollFlags::POLLIN);
        // An interrupted wait is one that ended early, which its callers have to take in any case.
        let _: Result<i32, Errno> = match writable {
            Some(socket) => poll(&mut [woken, PollFd::new(socket.as_fd(), PollFlags::POLLOUT)], timeout),
            None => poll(&mut [woken], timeout),
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
    fn a_wake_up_before_the_wait_ends_one_wait() {
        let wake_pipe = WakePipe::new().unwrap();
        wake_pipe.wake();
        wake_pipe.wake();
        wake_pipe.wait(None, None);
        let begin = Instant::now();
        wake_pipe.wait(None, Some(Duration::from_micros(1500)));
        assert!(begin.elapsed() >= Duration::from_micros(1500), "both ended the first wait");
    }

    #[test]
    fn a_socket_that_takes_bytes_again_ends_the_wait() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        while ours.write(&[0; 4096]).is_ok() {}
        let wake_pipe = WakePipe::new().unwrap();
        let reader = std::thread::spawn(move || while theirs.read(&mut [0; 65536]).is_ok_and(|n| n > 0) {});
        wake_pipe.wait(Some(&ours), None);
        assert!(ours.write(&[0]).is_ok());
        drop(ours);
        reader.join().unwrap();
    }
}
