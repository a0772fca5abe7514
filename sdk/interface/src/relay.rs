//! One stream in band, between the descriptor that a program holds and the frames that its peer sees (protocol
//! section 6). Host and SDK each keep one for every stream that is open.
//!
//! What it deliberately does not do: wait, or send frames; who keeps it does, on an epoll(7) or poll(2) of its own.
//!
//! What always holds: nothing here blocks; no more than one window waits in either direction; what the peer sent is
//! passed on whole, in order, before its end is; whatever the descriptor is and whatever is done at its other end,
//! each way comes to its end and its drop, unless the peer holds it open.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};
use nix::sys::stat::{SFlag, fstat};
use nix::sys::uio::pread;
use rpc_plugin_wire::stream::{Inflow, Outflow, StreamFault, StreamFrame};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// What the descriptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Socket,
    /// Or anything else that can be waited for.
    Pipe,
    /// A regular file, such as the memory of a blob: read from its beginning, always ready, never written.
    File {
        offset: i64,
    },
}

/// One stream in band: its descriptor, and the account of what is under way in each direction.
#[derive(Debug)]
pub struct Relay {
    /// `None`: nobody here has to do with it any more.
    fd: Option<OwnedFd>,
    kind: Kind,
    outflow: Outflow,
    inflow: Inflow,
    /// Bytes of the peer that the descriptor has not taken. Bounded by the window.
    pending: Vec<u8>,
}

impl Relay {
    /// A relay to `fd`, which does not block from now on (O_NONBLOCK is of the open file: whoever shares that sees
    /// it). Frames have at most `frame_bytes_max` bytes.
    ///
    /// # Errors
    /// As fstat(2) and fcntl(2).
    pub fn new(stream: u64, fd: OwnedFd, frame_bytes_max: usize) -> io::Result<Relay> {
        let mode = SFlag::from_bits_truncate(fstat(&fd)?.st_mode & SFlag::S_IFMT.bits());
        let kind = match mode {
            SFlag::S_IFSOCK => Kind::Socket,
            SFlag::S_IFREG => Kind::File { offset: 0 },
            _ => Kind::Pipe,
        };
        let mut relay = Relay { fd: None, kind, ..Relay::refused(stream, frame_bytes_max) };
        if kind == Kind::Pipe {
            let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
            fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        }
        relay.fd = Some(fd);
        Ok(relay)
    }

    /// One of a stream that nobody here has to do with: it ends as soon as the peer agrees.
    #[must_use]
    pub fn refused(stream: u64, frame_bytes_max: usize) -> Relay {
        let (outflow, inflow) = (Outflow::new(stream, frame_bytes_max), Inflow::new(stream));
        Relay { fd: None, kind: Kind::Pipe, outflow, inflow, pending: Vec::new() }
    }

    /// The descriptor, where it can be waited for. A relay that is pumped once and then whenever the descriptor may
    /// have become readable or writable, or has been hung up (EPOLLET), misses nothing.
    #[must_use]
    pub fn waited_fd(&self) -> Option<BorrowedFd<'_>> {
        if matches!(self.kind, Kind::File { .. }) { None } else { self.fd.as_ref().map(AsFd::as_fd) }
    }

    /// Whether the descriptor has served its purpose. It is to be closed then ([`Relay::take_fd`]): that is how the
    /// end is told to whoever has the other end of a pipe.
    #[must_use]
    pub fn is_fd_done(&self) -> bool {
        self.fd.is_some() && self.outflow.is_ended() && self.inflow.is_dropped()
    }

    /// Gives the descriptor away, to be closed.
    pub fn take_fd(&mut self) -> Option<OwnedFd> {
        self.fd.take()
    }

    /// Whether both sides have said all that there is to say of both ways: the number is free again.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.outflow.is_over() && self.inflow.is_over()
    }

    /// Takes in what the peer sent; [`Relay::pump`] is to follow.
    ///
    /// # Errors
    /// What the peer did wrong; the connection is to end.
    pub fn take(&mut self, frame: StreamFrame) -> Result<(), StreamFault> {
        match frame {
            StreamFrame::Data { seq, data, .. } => {
                if self.inflow.received(seq, data.len())? {
                    self.pending.extend_from_slice(&data);
                }
                Ok(())
            }
            StreamFrame::End { .. } => self.inflow.ended(),
            StreamFrame::Ack { credit, .. } => self.outflow.acknowledged(credit),
            StreamFrame::Drop { .. } => self.outflow.dropped(),
        }
    }

    /// Moves what can be moved, and appends the frames that are to be sent, at most `data_max` of them with data.
    /// Whether there may be more to send at once.
    pub fn pump(&mut self, data_max: usize, frames: &mut Vec<StreamFrame>) -> bool {
        self.pump_in(frames);
        let has_more = self.pump_out(data_max, frames);
        if self.outflow.is_ended() && !self.inflow.is_dropped() && self.is_deserted() {
            self.give_up(frames);
        }
        has_more
    }

    /// Writes what came.
    fn pump_in(&mut self, frames: &mut Vec<StreamFrame>) {
        if self.inflow.is_dropped() {
            return;
        }
        let mut taken = 0;
        let mut is_broken = self.fd.is_none() || matches!(self.kind, Kind::File { .. });
        while let Some(rest) = self.pending.get(taken..).filter(|rest| !rest.is_empty() && !is_broken) {
            match self.write(rest) {
                Ok(bytes) => taken += bytes,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                // Nobody reads it any more, or nobody ever could.
                Err(_) => is_broken = true,
            }
        }
        self.pending.drain(..taken);
        self.inflow.taken(taken);
        if is_broken {
            return self.give_up(frames);
        }
        frames.extend(self.inflow.acknowledge());
        if self.inflow.is_ended() && self.pending.is_empty() {
            if let Some(fd) = &self.fd {
                // Of a pipe it fails: there the end is told by closing it.
                let _ = shutdown(fd.as_raw_fd(), Shutdown::Write);
            }
            frames.extend(self.inflow.give_up());
        }
    }

    fn write(&self, bytes: &[u8]) -> nix::Result<usize> {
        match (&self.fd, self.kind) {
            (Some(fd), Kind::Socket) => {
                send(fd.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)
            }
            (Some(fd), Kind::Pipe) => nix::unistd::write(fd, bytes),
            _ => Err(Errno::EBADF),
        }
    }

    /// The end of the interest in what the peer sends.
    fn give_up(&mut self, frames: &mut Vec<StreamFrame>) {
        self.inflow.taken(self.pending.len());
        self.pending = Vec::new();
        frames.extend(self.inflow.give_up());
    }

    /// Reads what may be sent now.
    fn pump_out(&mut self, data_max: usize, frames: &mut Vec<StreamFrame>) -> bool {
        if self.outflow.is_dropped() && !self.outflow.is_ended() {
            if let Some(fd) = &self.fd {
                // Whoever writes to a socket learns that nobody reads; to a pipe, when it is closed.
                let _ = shutdown(fd.as_raw_fd(), Shutdown::Read);
            }
            frames.extend(self.outflow.end());
        }
        for _ in 0..data_max {
            let allowance = self.outflow.allowance();
            if allowance == 0 {
                return false;
            }
            let mut data = vec![0; allowance];
            match self.read(&mut data) {
                Ok(bytes) if bytes > 0 => {
                    data.truncate(bytes);
                    frames.push(self.outflow.send(data));
                }
                Err(Errno::EAGAIN) => return false,
                Err(Errno::EINTR) => {}
                // The end, or nothing that can be read from: what was sent before is all.
                _ => frames.extend(self.outflow.end()),
            }
        }
        self.outflow.allowance() > 0
    }

    fn read(&mut self, buffer: &mut [u8]) -> nix::Result<usize> {
        let Some(fd) = &self.fd else { return Ok(0) };
        match &mut self.kind {
            Kind::Socket => recv(fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT),
            Kind::Pipe => nix::unistd::read(fd, buffer),
            Kind::File { offset } => {
                let bytes = pread(fd, buffer, *offset)?;
                *offset = offset.saturating_add_unsigned(bytes as u64);
                Ok(bytes)
            }
        }
    }

    /// Whether nobody can read what is written to the descriptor: a socket whose peer is closed, or a pipe without
    /// readers. Not known of one that is still to be read from.
    fn is_deserted(&self) -> bool {
        let Some(fd) = &self.fd else { return true };
        let mut polled = [PollFd::new(fd.as_fd(), PollFlags::empty())];
        let is_told = poll(&mut polled, PollTimeout::ZERO).is_ok_and(|count| count > 0);
        let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
        is_told && polled.iter().any(|polled| polled.revents().is_some_and(|seen| seen.intersects(gone)))
    }
}

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;
