//! A stream that is read or written while a call is served, by a handler that is to wake when the call is cancelled.
//!
//! What it deliberately does not do: change the descriptor. Its other holders see it as blocking as it was.
//!
//! What always holds: once the call is cancelled, a read or write that waits ends, and every further one fails.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send};
use rpc_plugin_wire::{ErrorCode, ErrorObject};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// What poll(2) calls room in a pipe takes so many bytes without waiting (PIPE_BUF, pipe(7)).
const PIPE_BYTES: usize = libc::PIPE_BUF;

/// A stream whose reads and writes end once a call is cancelled: [`Stream::during`](crate::Stream::during).
#[derive(Debug)]
pub struct StreamDuring {
    fd: OwnedFd,
    cancelled: OwnedFd,
}

impl StreamDuring {
    /// `cancelled` becomes readable once the call is cancelled.
    pub(crate) fn new(fd: OwnedFd, cancelled: OwnedFd) -> StreamDuring {
        StreamDuring { fd, cancelled }
    }

    /// Waits until the stream is ready, or the call is cancelled.
    fn wait(&self, flags: PollFlags) -> io::Result<BorrowedFd<'_>> {
        let mut fds =
            [PollFd::new(self.cancelled.as_fd(), PollFlags::POLLIN), PollFd::new(self.fd.as_fd(), flags)];
        loop {
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
                Ok(_) if fds.iter().take(1).any(|fd| fd.any().unwrap_or(true)) => {
                    let error = ErrorObject::new(ErrorCode::Cancelled, "the call was cancelled");
                    return Err(io::Error::new(ErrorKind::ConnectionAborted, error));
                }
                Ok(_) => return Ok(self.fd.as_fd()),
            }
        }
    }
}

impl Read for StreamDuring {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let fd = self.wait(PollFlags::POLLIN)?;
            // Another holder of a socket may have read what was there.
            match recv(fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(Errno::ENOTSOCK) => return Ok(nix::unistd::read(fd, buffer)?),
                read => return Ok(read?),
            }
        }
    }
}

impl Write for StreamDuring {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let fd = self.wait(PollFlags::POLLOUT)?;
            match send(fd.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(Errno::ENOTSOCK) => {
                    let part = bytes.get(..PIPE_BYTES).unwrap_or(bytes);
                    return Ok(nix::unistd::write(fd, part)?);
                }
                sent => return Ok(sent?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HandlerError;
    use crate::context::Context;
    use crate::context::Served;
    use crate::fd::Stream;
    use rpc_plugin_wire::RequestId;
    use std::sync::mpsc::channel;

    fn context() -> Context {
        Context::new(RequestId::Number(1), Served::default())
    }

    #[test]
    fn bytes_go_through_sockets_and_pipes_to_their_end() {
        let call = context();
        for (reader, writer) in [Stream::pair().unwrap(), Stream::pipe().unwrap()] {
            let sent: Vec<u8> = (0..300_000_u32).map(|number| number as u8).collect();
            let mut writer = writer.during(&call).unwrap();
            let bytes = sent.clone();
            let writing = std::thread::spawn(move || writer.write_all(&bytes).unwrap());
            let mut seen = Vec::new();
            reader.during(&call).unwrap().read_to_end(&mut seen).unwrap();
            writing.join().unwrap();
            assert_eq!(seen, sent);
        }
    }

    /// Blocks in a thread, is cancelled, and gives the code that the handler would answer with.
    fn cancelled(block: impl FnOnce(&Context) -> io::Result<()> + Send + 'static) -> ErrorCode {
        let call = context();
        let (of_thread, (begun, begins)) = (call.clone(), channel());
        let thread = std::thread::spawn(move || {
            begun.send(()).unwrap();
            block(&of_thread)
        });
        begins.recv().unwrap();
        call.cancel(None);
        HandlerError::from(thread.join().unwrap().unwrap_err()).code()
    }

    #[test]
    fn a_cancel_wakes_who_reads_and_who_writes() {
        for make in [Stream::pair, Stream::pipe] {
            let (reader, writer) = make().unwrap();
            let read = move |call: &Context| reader.during(call)?.read(&mut [0]).map(drop);
            assert_eq!(cancelled(read), ErrorCode::Cancelled);
            drop(writer);
            // More than there is room for, and nobody reads.
            let (reader, writer) = make().unwrap();
            let write = move |call: &Context| writer.during(call)?.write_all(&[0; 4 << 20]);
            assert_eq!(cancelled(write), ErrorCode::Cancelled);
            drop(reader);
        }
    }
}
