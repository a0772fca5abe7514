//! The descriptor of a stream in band: what is written to it, and what is read from it.
//!
//! What it deliberately does not do: know the peer's frames ([`StreamAccount`](crate::stream_account::StreamAccount)
//! does); wait.
//!
//! What always holds: no more than was ordered is read or written, and of each way no more than the credit for it waits
//! here; whatever the descriptor is and whatever is done at its other end, each way is over at some time, unless the peer
//! holds it open. Nothing here waits by itself, but whoever shares the open file can make any of its calls wait: by
//! taking O_NONBLOCK away, or by holding the kernel's lock in a page fault. So a thread whose waiting would harm others
//! does not run it.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};
use nix::sys::stat::{SFlag, fstat};
use nix::sys::uio::pread;
use rpc_plugin_wire::limits::STREAM_WINDOW_BYTES;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Bytes of a stream, in pieces that each fit into a frame. Of two neighbours, no frame could hold both, so that many
/// small reads take no more memory than their bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pieces(VecDeque<Vec<u8>>);

impl Pieces {
    /// Appends bytes, at most `piece_bytes_max` of them.
    pub fn push(&mut self, mut bytes: Vec<u8>, piece_bytes_max: usize) {
        match self.0.back_mut() {
            Some(last) if last.len() + bytes.len() <= piece_bytes_max => last.append(&mut bytes),
            _ => {
                bytes.shrink_to_fit();
                self.0.push_back(bytes);
            }
        }
    }

    /// Appends all of another one's.
    pub fn append(&mut self, others: Pieces, piece_bytes_max: usize) {
        others.0.into_iter().for_each(|piece| self.push(piece, piece_bytes_max));
    }

    /// Takes the oldest piece out.
    pub fn pop(&mut self) -> Option<Vec<u8>> {
        self.0.pop_front()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Drops all of them.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// What is to be done with a descriptor. The default: nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct StreamOrder {
    /// Bytes that are to be written.
    pub data: Vec<u8>,
    /// Bytes more that may be read.
    pub credit: usize,
    /// Nothing is to be written after `data`: whoever reads at the other end is to see the end.
    pub is_last: bool,
    /// Nothing more is to be read.
    pub is_unwanted: bool,
}

impl StreamOrder {
    /// Adds what is ordered after this.
    pub fn merge(&mut self, mut later: StreamOrder) {
        match self.data.is_empty() {
            true => self.data = later.data,
            false => self.data.append(&mut later.data),
        }
        self.credit += later.credit;
        self.is_last |= later.is_last;
        self.is_unwanted |= later.is_unwanted;
    }
}

/// What was done with a descriptor. The default: nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct StreamReport {
    /// What was read.
    pub read: Pieces,
    /// Bytes that were written, or given up.
    pub written: usize,
    /// Nothing will be read after `read`.
    pub is_read_over: bool,
    /// Nothing will be written any more: all of it was, or nobody reads it.
    pub is_write_over: bool,
}

impl StreamReport {
    /// Whether nothing was done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read.is_empty() && self.written == 0 && !self.is_read_over && !self.is_write_over
    }

    /// Adds what was done after this.
    pub fn merge(&mut self, later: StreamReport, piece_bytes_max: usize) {
        self.read.append(later.read, piece_bytes_max);
        self.written += later.written;
        self.is_read_over |= later.is_read_over;
        self.is_write_over |= later.is_write_over;
    }
}

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

/// The descriptor of one stream.
#[derive(Debug)]
pub struct StreamDescriptor {
    /// `None`: nobody here has to do with it any more.
    fd: Option<OwnedFd>,
    kind: Kind,
    /// Bytes that the descriptor has not taken. Bounded by the window.
    pending: Vec<u8>,
    is_last: bool,
    is_unwanted: bool,
    /// Bytes that may be read.
    credit: usize,
    piece_bytes_max: usize,
    is_read_over: bool,
    is_write_over: bool,
}

impl StreamDescriptor {
    /// Takes over `fd`, which does not block from now on (O_NONBLOCK is of the open file: whoever shares that sees it). A
    /// window may be read of it, in pieces of at most `piece_bytes_max` bytes.
    ///
    /// # Errors
    /// As fstat(2) and fcntl(2).
    pub fn new(fd: OwnedFd, piece_bytes_max: usize) -> io::Result<StreamDescriptor> {
        let mode = SFlag::from_bits_truncate(fstat(&fd)?.st_mode & SFlag::S_IFMT.bits());
        let kind = match mode {
            SFlag::S_IFSOCK => Kind::Socket,
            SFlag::S_IFREG => Kind::File { offset: 0 },
            _ => Kind::Pipe,
        };
        if kind == Kind::Pipe {
            let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
            fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        }
        Ok(StreamDescriptor { fd: Some(fd), kind, piece_bytes_max, ..StreamDescriptor::none() })
    }

    /// One of a stream that nobody here has to do with: both ways are over as soon as that is asked.
    #[must_use]
    pub fn none() -> StreamDescriptor {
        StreamDescriptor {
            fd: None,
            kind: Kind::Pipe,
            pending: Vec::new(),
            is_last: false,
            is_unwanted: false,
            credit: STREAM_WINDOW_BYTES,
            piece_bytes_max: 1,
            is_read_over: false,
            is_write_over: false,
        }
    }

    /// The descriptor, where it can be waited for. One that is pumped once and then whenever the descriptor may have
    /// become readable or writable, or has been hung up (EPOLLET), misses nothing.
    #[must_use]
    pub fn waited_fd(&self) -> Option<BorrowedFd<'_>> {
        if matches!(self.kind, Kind::File { .. }) { None } else { self.fd.as_ref().map(AsFd::as_fd) }
    }

    /// Whether the descriptor has served its purpose. It is to be closed then ([`StreamDescriptor::take_fd`]): that is
    /// how the end is told to whoever has the other end of a pipe.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.fd.is_some() && self.is_read_over && self.is_write_over
    }

    /// Gives the descriptor away, to be closed.
    pub fn take_fd(&mut self) -> Option<OwnedFd> {
        self.fd.take()
    }

    /// Takes an order in; [`StreamDescriptor::pump`] is to follow.
    pub fn order(&mut self, order: StreamOrder) {
        let StreamOrder { mut data, credit, is_last, is_unwanted } = order;
        match self.pending.is_empty() {
            true => self.pending = data,
            false => self.pending.append(&mut data),
        }
        self.credit += credit;
        self.is_last |= is_last;
        self.is_unwanted |= is_unwanted;
    }

    /// Moves what can be moved, reading at most `reads_max` times, and adds it to the report. Whether there may be more
    /// to read at once.
    pub fn pump(&mut self, reads_max: usize, report: &mut StreamReport) -> bool {
        self.pump_in(report);
        let has_more = self.pump_out(reads_max, report);
        if self.is_read_over && !self.is_write_over && self.is_deserted() {
            self.give_up(report);
        }
        has_more
    }

    /// Writes what came.
    fn pump_in(&mut self, report: &mut StreamReport) {
        if self.is_write_over {
            return self.give_up(report);
        }
        let mut written = 0;
        let mut is_broken = self.fd.is_none() || matches!(self.kind, Kind::File { .. });
        while let Some(rest) = self.pending.get(written..).filter(|rest| !rest.is_empty() && !is_broken) {
            match self.write(rest) {
                Ok(bytes) => written += bytes,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                // Nobody reads it any more, or nobody ever could.
                Err(_) => is_broken = true,
            }
        }
        self.pending.drain(..written);
        report.written += written;
        if is_broken {
            self.give_up(report);
        } else if self.is_last && self.pending.is_empty() {
            if let Some(fd) = &self.fd {
                // Of a pipe it fails: there the end is told by closing it.
                let _ = shutdown(fd.as_raw_fd(), Shutdown::Write);
            }
            self.give_up(report);
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

    /// Nothing more is written.
    fn give_up(&mut self, report: &mut StreamReport) {
        report.written += std::mem::take(&mut self.pending).len();
        report.is_write_over = true;
        self.is_write_over = true;
    }

    /// Reads what may be read now.
    fn pump_out(&mut self, reads_max: usize, report: &mut StreamReport) -> bool {
        if self.is_unwanted && !self.is_read_over {
            if let Some(fd) = &self.fd {
                // Whoever writes to a socket learns that nobody reads; to a pipe, when it is closed.
                let _ = shutdown(fd.as_raw_fd(), Shutdown::Read);
            }
            self.is_read_over = true;
        }
        for _ in 0..reads_max {
            let allowance = self.allowance();
            if allowance == 0 {
                break;
            }
            let mut data = vec![0; allowance];
            match self.read(&mut data) {
                Ok(bytes) if bytes > 0 => {
                    data.truncate(bytes);
                    self.credit -= bytes;
                    report.read.push(data, self.piece_bytes_max);
                }
                Err(Errno::EAGAIN) => return false,
                Err(Errno::EINTR) => {}
                // The end, or nothing that can be read from: what was read before is all.
                _ => self.is_read_over = true,
            }
        }
        report.is_read_over |= self.is_read_over;
        self.allowance() > 0
    }

    /// Bytes that may be read at once.
    fn allowance(&self) -> usize {
        if self.is_read_over { 0 } else { self.credit.min(self.piece_bytes_max) }
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
