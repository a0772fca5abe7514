//! Streams in band: between the descriptors that this program holds and the frames that a plugin behind pipes sees
//! (protocol section 6).
//!
//! What it deliberately does not do: keep account of credit; [`rpc_plugin_wire::stream`] does.
//!
//! What always holds: nothing here blocks; of each stream no more than one window waits in either direction; a relay
//! ends with both its directions, or with its connection.

use super::{Reactor, Source};
use crate::state::action::CallEnd;
use crate::state::fds::Fds;
use crate::state::keys::PluginKey;
use crate::state::time::Time;
use mio::Interest;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{Shutdown, shutdown};
use nix::sys::stat::{SFlag, fstat};
use nix::sys::uio::pread;
use rpc_plugin_wire::Generation;
use rpc_plugin_wire::stream::{Inflow, Outflow, StreamFault, StreamFrame};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// The name of one stream.
pub(super) type Name = (PluginKey, Generation, u64);

/// All relays. Bounded by the streams of each connection.
pub(super) type Relays = BTreeMap<Name, Relay>;

/// One stream.
pub(super) struct Relay {
    fd: OwnedFd,
    /// `None` for a regular file, which is always ready: the place where it is read next.
    source: Option<u64>,
    offset: i64,
    outflow: Outflow,
    inflow: Inflow,
    /// Bytes of the plugin that the descriptor has not taken.
    pending: Vec<u8>,
    /// Whether the descriptor was told that no more bytes come.
    is_told: bool,
}

impl Relay {
    fn is_over(&self) -> bool {
        self.outflow.is_over() && self.inflow.is_over() && self.pending.is_empty()
    }

    /// Reads what may be sent now.
    fn pump_out(&mut self, frames: &mut Vec<StreamFrame>) {
        loop {
            let allowance = self.outflow.allowance();
            if allowance == 0 {
                return;
            }
            let mut data = vec![0; allowance];
            let read = match self.source {
                Some(_) => nix::unistd::read(&self.fd, &mut data),
                None => pread(&self.fd, &mut data, self.offset),
            };
            match read {
                Ok(bytes) if bytes > 0 => {
                    data.truncate(bytes);
                    self.offset += i64::try_from(bytes).unwrap_or(0);
                    frames.push(self.outflow.send(data));
                }
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => {}
                // The end, or nothing that can be read from: what was sent before is all.
                _ => frames.extend(self.outflow.end()),
            }
        }
    }

    /// Writes what came.
    fn pump_in(&mut self, frames: &mut Vec<StreamFrame>) {
        let mut taken = 0;
        while let Some(rest) = self.pending.get(taken..).filter(|rest| !rest.is_empty()) {
            match nix::unistd::write(&self.fd, rest) {
                Ok(bytes) => taken += bytes,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                // Nobody reads it any more, or nobody ever could.
                Err(_) => {
                    frames.extend(self.inflow.give_up());
                    taken = self.pending.len();
                }
            }
        }
        self.pending.drain(..taken);
        self.inflow.taken(taken);
        frames.extend(self.inflow.acknowledge());
        if self.inflow.is_over() && self.pending.is_empty() && !self.is_told {
            self.is_told = true;
            // A pipe's end is told by closing it, which the end of the relay does.
            let _ = shutdown(self.fd.as_raw_fd(), Shutdown::Write);
        }
    }

    fn take(&mut self, frame: StreamFrame, frames: &mut Vec<StreamFrame>) -> Result<(), StreamFault> {
        match frame {
            StreamFrame::Data { seq, data, .. } => {
                if self.inflow.received(seq, data.len())? {
                    self.pending.extend_from_slice(&data);
                    self.pump_in(frames);
                }
            }
            StreamFrame::End { .. } => {
                self.inflow.ended()?;
                self.pump_in(frames);
            }
            StreamFrame::Ack { credit, .. } => {
                self.outflow.acknowledged(credit)?;
                self.pump_out(frames);
            }
            StreamFrame::Drop { .. } => {
                self.outflow.dropped();
                // Whoever writes to it learns that nobody reads.
                let _ = shutdown(self.fd.as_raw_fd(), Shutdown::Read);
            }
        }
        Ok(())
    }
}

impl Reactor {
    /// Descriptors went out as streams in band.
    pub(super) fn open_streams(
        &mut self,
        now: Time,
        key: PluginKey,
        generation: Generation,
        named: Vec<(u64, OwnedFd)>,
    ) {
        for (number, fd) in named {
            self.open_stream(now, (key, generation, number), fd);
        }
    }

    /// Streams in band came: each becomes a descriptor, whose other end is relayed. Where that fails, the stream has
    /// ended.
    pub(super) fn accept_streams(
        &mut self,
        now: Time,
        key: PluginKey,
        generation: Generation,
        numbers: &[u64],
    ) -> Fds {
        let mut fds = Fds::new();
        for number in numbers {
            match UnixStream::pair() {
                Ok((ours, theirs)) => {
                    fds.push(theirs.into());
                    self.open_stream(now, (key, generation, *number), ours.into());
                }
                Err(error) => {
                    self.fault("a stream of a plugin cannot be made", &error);
                    self.refuse_stream(now, (key, generation, *number));
                }
            }
        }
        fds
    }

    /// The same for those that came with a result.
    pub(super) fn accept_streams_of(&mut self, now: Time, end: &mut CallEnd) {
        if end.streams.is_empty() {
            return;
        }
        let key = end.plugin_id.as_ref().and_then(|id| self.supervisor.find(id));
        if let (Some(key), Some(generation)) = (key, end.generation) {
            let numbers = std::mem::take(&mut end.streams);
            end.fds.extend(self.accept_streams(now, key, generation, &numbers));
        }
    }

    fn open_stream(&mut self, now: Time, name: Name, fd: OwnedFd) {
        match self.watch_stream(name, &fd) {
            Ok(source) => {
                let (outflow, inflow) = (Outflow::new(name.2), Inflow::new(name.2));
                let pending = Vec::new();
                let relay = Relay { fd, source, offset: 0, outflow, inflow, pending, is_told: false };
                self.relays.insert(name, relay);
                self.pump_stream(now, name);
            }
            Err(error) => {
                self.fault("a stream cannot be watched", &error);
                self.refuse_stream(now, name);
            }
        }
    }

    fn watch_stream(&mut self, name: Name, fd: &OwnedFd) -> io::Result<Option<u64>> {
        let kind = SFlag::from_bits_truncate(fstat(fd)?.st_mode);
        if kind.contains(SFlag::S_IFREG) && !kind.contains(SFlag::S_IFSOCK) {
            return Ok(None);
        }
        let flags = OFlag::from_bits_retain(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
        fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        let (key, generation, number) = name;
        let source = Source::Stream(key, generation, number);
        self.register(fd.as_raw_fd(), source, Interest::READABLE | Interest::WRITABLE).map(Some)
    }

    /// Tells the plugin that nothing comes of a stream, and that nothing of it is wanted.
    fn refuse_stream(&mut self, now: Time, (key, generation, stream): Name) {
        let frames = [StreamFrame::End { stream }, StreamFrame::Drop { stream }];
        self.supervisor.relay(now, (key, generation), &frames, Ok(Some(stream)));
    }

    /// The descriptor of a stream may be read or written.
    pub(super) fn pump_stream(&mut self, now: Time, name: Name) {
        let Some(relay) = self.relays.get_mut(&name) else { return };
        let mut frames = Vec::new();
        relay.pump_in(&mut frames);
        relay.pump_out(&mut frames);
        self.after_stream(now, name, &frames, Ok(()));
    }

    /// A frame of a stream came. One of a stream that has ended here was on its way.
    pub(super) fn take_stream(
        &mut self,
        now: Time,
        key: PluginKey,
        generation: Generation,
        frame: StreamFrame,
    ) {
        let name = (key, generation, frame.stream());
        let Some(relay) = self.relays.get_mut(&name) else { return };
        let mut frames = Vec::new();
        let taken = relay.take(frame, &mut frames);
        self.after_stream(now, name, &frames, taken);
    }

    fn after_stream(
        &mut self,
        now: Time,
        name: Name,
        frames: &[StreamFrame],
        taken: Result<(), StreamFault>,
    ) {
        let (key, generation, number) = name;
        let is_over = self.relays.get(&name).is_some_and(Relay::is_over);
        if is_over {
            self.close_stream(name);
        }
        let ended = match taken {
            Ok(()) => Ok(is_over.then_some(number)),
            Err(fault) => Err(format!("stream {number}: {fault}")),
        };
        if !frames.is_empty() || ended != Ok(None) {
            self.supervisor.relay(now, (key, generation), frames, ended);
        }
    }

    fn close_stream(&mut self, name: Name) {
        if let Some(relay) = self.relays.remove(&name)
            && let Some(source) = relay.source
        {
            self.unregister(relay.fd.as_raw_fd(), source);
        }
    }

    /// A connection ended, and its streams with it.
    pub(super) fn close_streams(&mut self, key: PluginKey, generation: Generation) {
        let names = self.relays.range((key, generation, 0)..=(key, generation, u64::MAX));
        let names: Vec<Name> = names.map(|(name, _)| *name).collect();
        names.into_iter().for_each(|name| self.close_stream(name));
    }
}
