//! A Unix stream socket that takes JSON lines.
//!
//! What it deliberately does not do: read. What the other side sends is thrown away.
//!
//! What always holds: an event counts as taken when the other side has read it from its socket; when the
//! connection ends before, the event is sent again over the next one.

use crate::eventlog::sinks::{Event, EventTarget, SinkFault, Window, json_line, wait_until_read, write_by};
use crate::sys::unread;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Size of the buffer for what the other side sends, which is thrown away. Bytes.
const BLOCK_BYTES: usize = 4096;

/// A sink that writes events to a stream socket.
#[derive(Debug)]
pub(super) struct StreamSink {
    path: PathBuf,
    stream: Option<UnixStream>,
    /// The other side has ended its sending, which says nothing about its reading.
    is_silent: bool,
    window: Window,
}

impl StreamSink {
    pub(super) fn new(path: PathBuf) -> StreamSink {
        StreamSink { path, stream: None, is_silent: false, window: Window::default() }
    }

    fn connect(&self) -> io::Result<UnixStream> {
        // Nonblocking from the start: connect(2) waits where the listener's queue is full.
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect(std::os::fd::AsRawFd::as_raw_fd(&fd), &UnixAddr::new(&self.path)?)?;
        Ok(UnixStream::from(fd))
    }

    /// The connection is of no use any more.
    fn fault(&mut self, error: impl std::fmt::Display) -> SinkFault {
        (self.stream, self.is_silent) = (None, false);
        let unread = self.window.clear();
        SinkFault { unread, ..SinkFault::down(0, format!("{}: {error}", self.path.display())) }
    }
}

impl EventTarget for StreamSink {
    fn deliver(&mut self, events: &[Event], timeout: Duration) -> Result<(), SinkFault> {
        let mut stream = match self.stream.take().map_or_else(|| self.connect(), Ok) {
            Ok(stream) => stream,
            Err(error) => return Err(self.fault(error)),
        };
        let lines: Vec<Vec<u8>> = events.iter().map(json_line).collect();
        let write_once = |stream: &UnixStream, bytes: &[u8]| {
            let mut stream = stream;
            stream.write(bytes)
        };
        let written = write_by(&mut stream, &lines.concat(), timeout, write_once, |_| Vec::new(), |_| ());
        if let Err(error) = written {
            return Err(self.fault(error));
        }
        lines.iter().for_each(|line| self.window.push(line.len()));
        self.stream = Some(stream);
        Ok(())
    }

    fn unread(&mut self) -> Result<usize, SinkFault> {
        let Some(stream) = &self.stream else { return Ok(0) };
        // In this order: what a side that is gone did not read is called read by the kernel.
        let unread = unread::of_socket(stream);
        let mut fds = [PollFd::new(stream.as_fd(), PollFlags::empty())];
        let is_gone = poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0);
        match unread {
            Ok(_) if is_gone => Err(self.fault("the other side closed the connection")),
            Ok(bytes) => Ok(self.window.settle(bytes)),
            Err(error) => Err(self.fault(error)),
        }
    }

    fn watched(&self) -> Vec<BorrowedFd<'_>> {
        self.stream.iter().filter(|_| !self.is_silent).map(AsFd::as_fd).collect()
    }

    fn tend(&mut self) -> Result<(), SinkFault> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        match stream.read(&mut [0; BLOCK_BYTES]) {
            Ok(0) => self.is_silent = true,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(self.fault(error)),
        }
        self.unread().map(drop)
    }

    fn finish(&mut self, deadline: Instant) -> usize {
        wait_until_read(deadline, || {
            let in_window = self.window.len();
            self.unread().map_err(|_| in_window)
        })
    }
}
