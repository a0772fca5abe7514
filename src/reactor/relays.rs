//! Streams in band: between the descriptors that this program holds and the frames that a plugin behind pipes sees
//! (protocol section 6).
//!
//! What it deliberately does not do: keep account of credit, or read and write descriptors;
//! [`rpc_plugin_interface::relay`] does.
//!
//! What always holds: nothing here blocks; of each stream no more than one window waits in either direction, and of
//! all streams of a connection no more than [`WAITING_BYTES_MAX`] and a frame wait to be written, so that calls and
//! heartbeats need not wait behind them for long; a relay ends when its stream is over, or with its connection.

use super::{Reactor, Source};
use crate::state::call::CallEnd;
use crate::state::fds::Fds;
use crate::state::keys::PluginKey;
use crate::state::time::Time;
use mio::Interest;
use rpc_plugin_interface::relay::Relay;
use rpc_plugin_peer::Named;
use rpc_plugin_wire::Generation;
use rpc_plugin_wire::limits::STREAM_DATA_BYTES_MAX;
use rpc_plugin_wire::stream::{StreamFault, StreamFrame};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// Bytes that wait for a plugin to read them, from which on nothing more is read from streams to it.
const WAITING_BYTES_MAX: usize = 256 * 1024;

/// The name of one stream.
pub(super) type Name = (PluginKey, Generation, u64);

/// All relays. Bounded by the streams of each connection.
#[derive(Default)]
pub(super) struct Relays {
    open: BTreeMap<Name, Entry>,
    /// The number of the one that had the last room there was. The next one has its turn before it.
    last: u64,
}

struct Entry {
    relay: Relay,
    /// Of its descriptor, as long as it is waited for.
    source: Option<u64>,
    /// It may have more to send once there is room.
    has_more: bool,
}

impl Relays {
    fn of(&self, key: PluginKey, generation: Generation) -> impl Iterator<Item = (&Name, &Entry)> {
        self.open.range((key, generation, 0)..=(key, generation, u64::MAX))
    }
}

impl Reactor {
    /// Bytes went to a plugin: begins streams whose frames were among them, and goes on with others as far as there
    /// is room now.
    pub(super) fn go_on_with_streams(
        &mut self,
        key: PluginKey,
        generation: Generation,
        announced: Named<OwnedFd>,
    ) {
        if announced.is_empty() && self.relays.open.is_empty() {
            return;
        }
        let now = self.now();
        for (number, fd) in announced {
            self.open_stream(now, (key, generation, number), Some(fd));
        }
        let held = |(name, entry): (&Name, &Entry)| entry.has_more.then_some(*name);
        loop {
            let mut names: Vec<Name> = self.relays.of(key, generation).filter_map(held).collect();
            let served = names.partition_point(|name| name.2 <= self.relays.last);
            names.rotate_left(served);
            if names.is_empty() || self.stream_room(key, generation) == 0 {
                return;
            }
            for name in names {
                if self.stream_room(key, generation) == 0 {
                    return;
                }
                self.relays.last = name.2;
                self.pump_some(now, name, 1, Ok(()));
            }
        }
    }

    /// How many more frames with data may be put before a plugin.
    fn stream_room(&mut self, key: PluginKey, generation: Generation) -> usize {
        let session = self.supervisor.session_mut(key, generation);
        let waiting = session.map_or(WAITING_BYTES_MAX, |session| session.waiting_bytes());
        WAITING_BYTES_MAX.saturating_sub(waiting).div_ceil(STREAM_DATA_BYTES_MAX * 4 / 3)
    }

    /// Streams in band came: each becomes a descriptor, whose other end is relayed. All or none: where that fails,
    /// all have ended.
    pub(super) fn accept_streams(
        &mut self,
        now: Time,
        key: PluginKey,
        generation: Generation,
        numbers: &[u64],
    ) -> Fds {
        let pairs: io::Result<Vec<(UnixStream, UnixStream)>> =
            numbers.iter().map(|_| UnixStream::pair()).collect();
        match pairs {
            Ok(pairs) => {
                let mut theirs = Fds::new();
                for (number, (ours, other)) in numbers.iter().zip(pairs) {
                    theirs.push(other.into());
                    self.open_stream(now, (key, generation, *number), Some(ours.into()));
                }
                theirs
            }
            Err(error) => {
                self.fault("streams of a plugin cannot be made", &error);
                self.refuse_streams(now, key, generation, numbers);
                Fds::new()
            }
        }
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

    /// Streams came that nobody takes: nothing comes of them, and nothing of them is wanted.
    pub(super) fn refuse_streams(
        &mut self,
        now: Time,
        key: PluginKey,
        generation: Generation,
        numbers: &[u64],
    ) {
        for number in numbers {
            self.open_stream(now, (key, generation, *number), None);
        }
    }

    fn open_stream(&mut self, now: Time, name: Name, fd: Option<OwnedFd>) {
        let (key, generation, number) = name;
        // With the connection gone, so are its streams: the descriptor is closed here.
        let Some(session) = self.supervisor.session_mut(key, generation) else { return };
        let frame_bytes_max = session.frame_bytes_max();
        let entry = match fd.map(|fd| self.watched(name, fd, frame_bytes_max)).transpose() {
            Ok(watched) => watched,
            Err(error) => {
                self.fault("a stream cannot be watched", &error);
                None
            }
        };
        let refused = || {
            let relay = Relay::refused(number, frame_bytes_max);
            Entry { relay, source: None, has_more: false }
        };
        self.relays.open.insert(name, entry.unwrap_or_else(refused));
        self.pump_stream(now, name);
    }

    fn watched(&mut self, name: Name, fd: OwnedFd, frame_bytes_max: usize) -> io::Result<Entry> {
        let (key, generation, number) = name;
        let relay = Relay::new(number, fd, frame_bytes_max)?;
        let raw = relay.waited_fd().map(|fd| fd.as_raw_fd());
        let interest = Interest::READABLE | Interest::WRITABLE;
        let source = raw
            .map(|raw| self.register(raw, Source::Stream(key, generation, number), interest))
            .transpose()?;
        Ok(Entry { relay, source, has_more: false })
    }

    /// The descriptor of a stream may be read or written.
    pub(super) fn pump_stream(&mut self, now: Time, name: Name) {
        let room = self.stream_room(name.0, name.1);
        self.pump_some(now, name, room, Ok(()));
    }

    /// A frame of a stream came.
    pub(super) fn take_stream(
        &mut self,
        now: Time,
        key: PluginKey,
        generation: Generation,
        frame: StreamFrame,
    ) {
        let name = (key, generation, frame.stream());
        let Some(entry) = self.relays.open.get_mut(&name) else { return };
        let taken = entry.relay.take(frame);
        let room = self.stream_room(key, generation);
        self.pump_some(now, name, room, taken);
    }

    fn pump_some(&mut self, now: Time, name: Name, data_max: usize, taken: Result<(), StreamFault>) {
        let Some(entry) = self.relays.open.get_mut(&name) else { return };
        let mut frames = Vec::new();
        let (key, generation, number) = name;
        let taken = match taken {
            Ok(()) => {
                entry.has_more = entry.relay.pump(data_max, &mut frames);
                let (is_over, is_fd_done) = (entry.relay.is_over(), entry.relay.is_fd_done());
                if is_over || is_fd_done {
                    self.close_fd(name);
                }
                if is_over {
                    self.relays.open.remove(&name);
                }
                Ok(())
            }
            Err(fault) => Err(format!("stream {number}: {fault}")),
        };
        if !frames.is_empty() || taken.is_err() {
            self.supervisor.relay(now, (key, generation), &frames, taken);
        }
    }

    fn close_fd(&mut self, name: Name) {
        let Some(entry) = self.relays.open.get_mut(&name) else { return };
        let (fd, source) = (entry.relay.take_fd(), entry.source.take());
        if let (Some(fd), Some(source)) = (fd, source) {
            self.unregister(fd.as_raw_fd(), source);
        }
    }

    /// A connection ended, and its streams with it.
    pub(super) fn close_streams(&mut self, key: PluginKey, generation: Generation) {
        let names: Vec<Name> = self.relays.of(key, generation).map(|(name, _)| *name).collect();
        for name in names {
            self.close_fd(name);
            self.relays.open.remove(&name);
        }
    }
}
