//! One stream in band, between the descriptor that a program holds and the frames that its peer sees (protocol
//! section 6), on one thread.
//!
//! What it deliberately does not do: wait, or send frames; who keeps it does, on an epoll(7) or poll(2) of its own.
//!
//! What always holds: what [`StreamAccount`] and [`StreamDescriptor`] hold; the one is told at once what the other says.

use crate::stream_account::StreamAccount;
use crate::stream_descriptor::{StreamDescriptor, StreamReport};
use rpc_plugin_wire::stream::{StreamFault, StreamFrame};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// One stream in band: its descriptor, and the account of what is under way in each direction.
#[derive(Debug)]
pub struct Relay {
    account: StreamAccount,
    descriptor: StreamDescriptor,
}

impl Relay {
    /// A relay to `fd`, which does not block from now on (O_NONBLOCK is of the open file: whoever shares that sees
    /// it). Frames have at most `frame_bytes_max` bytes.
    ///
    /// # Errors
    /// As fstat(2) and fcntl(2).
    pub fn new(stream: u64, fd: OwnedFd, frame_bytes_max: usize) -> io::Result<Relay> {
        let account = StreamAccount::new(stream, frame_bytes_max);
        let descriptor = StreamDescriptor::new(fd, account.piece_bytes_max())?;
        Ok(Relay { account, descriptor })
    }

    /// One of a stream that nobody here has to do with: it ends as soon as the peer agrees.
    #[must_use]
    pub fn refused(stream: u64, frame_bytes_max: usize) -> Relay {
        Relay { account: StreamAccount::new(stream, frame_bytes_max), descriptor: StreamDescriptor::none() }
    }

    /// The descriptor, where it can be waited for. A relay that is pumped once and then whenever the descriptor may
    /// have become readable or writable, or has been hung up (EPOLLET), misses nothing.
    #[must_use]
    pub fn waited_fd(&self) -> Option<BorrowedFd<'_>> {
        self.descriptor.waited_fd()
    }

    /// Whether the descriptor has served its purpose. It is to be closed then ([`Relay::take_fd`]): that is how the
    /// end is told to whoever has the other end of a pipe.
    #[must_use]
    pub fn is_fd_done(&self) -> bool {
        self.descriptor.is_done()
    }

    /// Gives the descriptor away, to be closed.
    pub fn take_fd(&mut self) -> Option<OwnedFd> {
        self.descriptor.take_fd()
    }

    /// Whether both sides have said all that there is to say of both ways: the number is free again.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.account.is_over()
    }

    /// Takes in what the peer sent; [`Relay::pump`] is to follow.
    ///
    /// # Errors
    /// What the peer did wrong; the connection is to end.
    pub fn take(&mut self, frame: StreamFrame) -> Result<(), StreamFault> {
        self.account.take(frame).map(|order| self.descriptor.order(order))
    }

    /// Moves what can be moved, and appends the frames that are to be sent, at most `data_max` of them with data.
    /// Whether there may be more to send at once.
    pub fn pump(&mut self, data_max: usize, frames: &mut Vec<StreamFrame>) -> bool {
        let mut report = StreamReport::default();
        let has_more = self.descriptor.pump(data_max, &mut report);
        self.account.report(report, frames);
        self.account.send(usize::MAX, frames);
        has_more
    }
}

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;
