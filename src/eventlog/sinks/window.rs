//! Bytes on their way to a reader that does not answer: a stream socket, or a program's standard input.
//!
//! What this file is for: writing without waiting for ever, and knowing which events the other side has read by
//! how much still lies in the kernel. What it deliberately does not do: ask the kernel; the target does.
//!
//! What always holds: an event counts as read only when all its bytes do.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// How often the end of a sink asks whether everything was read. Milliseconds.
const LOOK_MS: u8 = 5;

/// The events that were written and may not have been read.
#[derive(Debug, Default)]
pub struct Window {
    written: u64,
    /// Where each ends.
    ends: VecDeque<u64>,
}

impl Window {
    /// An event of so many bytes was written.
    pub fn push(&mut self, bytes: usize) {
        self.written += bytes as u64;
        self.ends.push_back(self.written);
    }

    /// So many bytes, at most, were not read; how many events that leaves.
    pub fn settle(&mut self, unread_bytes: u64) -> usize {
        let read = self.written.saturating_sub(unread_bytes);
        while self.ends.front().is_some_and(|end| *end <= read) {
            self.ends.pop_front();
        }
        self.ends.len()
    }

    /// How many events it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether everything was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Forgets everything, since the other side is gone; how many events it has not read.
    pub fn clear(&mut self) -> usize {
        std::mem::take(&mut self.ends).len()
    }
}

/// Waits until the other side has read everything, or `deadline`; how many of the events it has not read, as
/// `unread` says, and what `unread` says at a failure is all that waited.
pub fn wait_until_read(deadline: Instant, mut unread: impl FnMut() -> Result<usize, usize>) -> usize {
    loop {
        match unread() {
            Ok(0) => return 0,
            Ok(left) if Instant::now() >= deadline => return left,
            Ok(_) => {}
            Err(waiting) => return waiting,
        }
        let _ = poll(&mut [], LOOK_MS);
    }
}

/// Writes all bytes through `write_once`, waiting while the other side takes none, for `timeout` at a time.
/// `also` are watched meanwhile for something to read, which `tend` does.
///
/// # Errors
/// Those of the write; `TimedOut` when nothing was taken for `timeout`.
pub fn write_by<T: AsFd>(
    target: &mut T,
    bytes: &[u8],
    timeout: Duration,
    write_once: impl Fn(&T, &[u8]) -> io::Result<usize>,
    also: impl Fn(&T) -> Vec<BorrowedFd<'_>>,
    tend: impl Fn(&mut T),
) -> io::Result<()> {
    let mut rest = bytes;
    let mut until = Instant::now() + timeout;
    while !rest.is_empty() {
        match write_once(target, rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => {
                rest = rest.get(count..).unwrap_or_default();
                until = Instant::now() + timeout;
                continue;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(ErrorKind::TimedOut, format!("nothing was taken for {timeout:?}")));
        }
        let must_tend = {
            let watched = also(target);
            let mut fds = vec![PollFd::new(target.as_fd(), PollFlags::POLLOUT)];
            fds.extend(watched.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)));
            let ms = left.as_millis().saturating_add(1);
            match poll(&mut fds, PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX)) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            fds.iter().skip(1).any(|fd| fd.any().unwrap_or(true))
        };
        if must_tend {
            tend(target);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_when_its_last_byte_is() {
        let mut window = Window::default();
        for bytes in [10, 20, 30] {
            window.push(bytes);
        }
        assert_eq!(window.settle(60), 3);
        assert_eq!(window.settle(50), 2);
        assert_eq!(window.settle(31), 2);
        assert_eq!(window.settle(30), 1);
        assert_eq!(window.settle(0), 0);
        window.push(5);
        assert_eq!((window.settle(1000), window.len()), (1, 1));
    }
}
