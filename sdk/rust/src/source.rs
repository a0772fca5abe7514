//! What the host sends: bytes until they are frames, and descriptors until the frames that announce them.
//!
//! What it deliberately does not do: understand frames.
//!
//! What always holds: every read takes the descriptors along, so that none is left to anybody else; what breaks
//! the protocol's rules about them ends the session, and closes them.

use crate::error::{End, Error};
use rpc_plugin_interface::scm;
use rpc_plugin_wire::FrameDecoder;
use rpc_plugin_wire::fds::Waiting;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// Bytes asked of the socket at a time.
const READ_BYTES: usize = 64 * 1024;

/// One connection's input. Goes from thread to thread with the reading role.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) decoder: FrameDecoder,
    pub(crate) fds: Waiting<OwnedFd>,
}

impl Source {
    pub(crate) fn new(frame_bytes_max: usize) -> Source {
        Source { decoder: FrameDecoder::new(frame_bytes_max), fds: Waiting::default() }
    }

    /// Waits for bytes; gives the end where there are no more.
    pub(crate) fn read(&mut self, connection: &UnixStream) -> Result<Option<End>, Error> {
        loop {
            match self.read_once(connection, READ_BYTES)? {
                Ok(0) => {
                    self.decoder.finish().map_err(violation)?;
                    self.check()?;
                    return Ok(Some(End::HostGone));
                }
                Ok(_) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_gone(&error) => return Ok(Some(End::HostGone)),
                Err(source) => return Err(Error::Os { step: "read from the host", source }),
            }
        }
    }

    /// Reads once; how many bytes that were, or what the kernel said instead.
    pub(crate) fn read_once(
        &mut self,
        connection: &UnixStream,
        bytes_max: usize,
    ) -> Result<io::Result<usize>, Error> {
        let received = match scm::receive(connection.as_fd(), self.decoder.space(bytes_max)) {
            Ok(received) => received,
            Err(error) => return Ok(Err(error)),
        };
        self.decoder.filled(received.bytes);
        if received.truncated {
            let text = "more file descriptors came at once than 16, or than this process can have";
            return Err(violation(text));
        }
        self.fds.received(received.bytes, received.fds).map_err(violation)?;
        Ok(Ok(received.bytes))
    }

    /// To be asked when all whole frames are handled.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.fds.check(self.decoder.buffered_bytes()).map_err(violation)
    }
}

fn violation(what: impl ToString) -> Error {
    Error::Violation(what.to_string())
}

/// Whether a read failed because nobody is there any more.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected
    )
}
