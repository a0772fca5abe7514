//! Streams in band: between the descriptors that this program holds and the frames that a plugin behind pipes sees
//! (protocol section 6).
//!
//! What it deliberately does not do: keep account of credit ([`StreamAccount`] does); decide which stream sends next
//! ([`StreamTurns`] does); read, write or close a descriptor, which may make whoever does it wait
//! ([`RelayThreads`] do).
//!
//! What always holds: nothing here blocks; of each stream no more than one window waits in either direction; a stream
//! ends when both ways are over, or with its connection.

use super::hub::Hub;
use super::relay_threads::{RelayHandle, RelayThreads};
use crate::state::call::CallEnd;
use crate::state::fds::{Fd, Fds};
use crate::state::keys::PluginKey;
use crate::state::stream_turns::{StreamTurn, StreamTurns, WAITING_BYTES_MAX};
use crate::state::time::Time;
use rpc_plugin_interface::stream_account::StreamAccount;
use rpc_plugin_interface::stream_descriptor::StreamReport;
use rpc_plugin_peer::Named;
use rpc_plugin_wire::Generation;
use rpc_plugin_wire::stream::StreamFrame;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// One generation's connection.
type ConnectionName = (PluginKey, Generation);

/// One stream that is open.
struct OpenStream {
    account: StreamAccount,
    /// `None`: nobody here has to do with it.
    relay: Option<RelayHandle>,
}

/// The streams of one connection.
#[derive(Default)]
struct ConnectionStreams {
    open: BTreeMap<u64, OpenStream>,
    turns: StreamTurns,
}

/// All streams in band. Bounded by the streams of each connection.
pub(super) struct InBandStreams {
    connections: BTreeMap<ConnectionName, ConnectionStreams>,
    /// The stream that each relay belongs to.
    by_relay: BTreeMap<u64, (ConnectionName, u64)>,
    threads: RelayThreads,
}

impl InBandStreams {
    /// None is open.
    pub(super) fn new(threads: RelayThreads) -> InBandStreams {
        InBandStreams { connections: BTreeMap::new(), by_relay: BTreeMap::new(), threads }
    }

    /// How many are open with a connection.
    pub(super) fn open_of(&self, name: ConnectionName) -> usize {
        self.connections.get(&name).map_or(0, |streams| streams.open.len())
    }

    /// Bytes went to a plugin: begins streams whose frames were among them, and goes on with others as far as there
    /// is room now.
    pub(super) fn go_on(&mut self, hub: &mut Hub, name: ConnectionName, announced: Named<Fd>) {
        if announced.is_empty() && self.connections.is_empty() {
            return;
        }
        let now = hub.now();
        for (number, fd) in announced {
            self.open(hub, now, name, number, Some(fd));
        }
        self.give_turns(hub, now, name);
    }

    /// Makes a descriptor of each stream that came, and relays its other end. All or none: where that fails, all have
    /// ended.
    pub(super) fn accept(&mut self, hub: &mut Hub, now: Time, name: ConnectionName, numbers: &[u64]) -> Fds {
        let pairs: io::Result<Vec<(UnixStream, UnixStream)>> =
            numbers.iter().map(|_| UnixStream::pair()).collect();
        match pairs {
            Ok(pairs) => {
                let mut theirs = Fds::new();
                for (number, (ours, other)) in numbers.iter().zip(pairs) {
                    theirs.push(Fd::from(OwnedFd::from(other)));
                    self.open(hub, now, name, *number, Some(OwnedFd::from(ours).into()));
                }
                theirs
            }
            Err(error) => {
                hub.fault("streams of a plugin cannot be made", &error);
                self.refuse(hub, now, name, numbers);
                Fds::new()
            }
        }
    }

    /// The same for those that came with a result.
    pub(super) fn accept_of(&mut self, hub: &mut Hub, now: Time, end: &mut CallEnd) {
        let key = end.plugin_id.as_ref().and_then(|id| hub.supervisor.find(id));
        if let (Some(key), Some(generation)) = (key, end.generation) {
            let numbers = std::mem::take(&mut end.streams);
            end.fds.extend(self.accept(hub, now, (key, generation), &numbers));
        }
    }

    /// Ends streams that nobody takes: nothing comes of them, and nothing of them is wanted.
    pub(super) fn refuse(&mut self, hub: &mut Hub, now: Time, name: ConnectionName, numbers: &[u64]) {
        for number in numbers {
            self.open(hub, now, name, *number, None);
        }
    }

    fn open(&mut self, hub: &mut Hub, now: Time, name: ConnectionName, number: u64, fd: Option<Fd>) {
        // With the connection gone, so are its streams: the descriptor is closed.
        let Some(session) = hub.supervisor.session_mut(name.0, name.1) else { return };
        let account = StreamAccount::new(number, session.frame_bytes_max());
        // What a plugin passed may hang its own streams, and what nobody passed those of the one that it goes to.
        let add = |fd: Fd| {
            let owner = fd.passer().unwrap_or(name.0);
            self.threads.add(owner, fd, account.piece_bytes_max())
        };
        let relay = match fd.map(add).transpose() {
            Ok(relay) => relay,
            Err(error) => {
                hub.fault("a stream cannot be relayed", &error);
                None
            }
        };
        if let Some(relay) = &relay {
            self.by_relay.insert(relay.number(), (name, number));
        }
        let is_refused = relay.is_none();
        let streams = self.connections.entry(name).or_default();
        streams.open.insert(number, OpenStream { account, relay });
        if is_refused {
            let over = StreamReport { is_read_over: true, is_write_over: true, ..StreamReport::default() };
            self.advance(hub, now, name, number, over);
        }
    }

    /// Takes in what the threads moved.
    pub(super) fn take_reports(&mut self, hub: &mut Hub, now: Time) {
        let mut names = Vec::new();
        for (relay, report) in self.threads.take_reports() {
            // Of one that ended meanwhile, nobody wants to know.
            let Some((name, number)) = self.by_relay.get(&relay).copied() else { continue };
            self.advance(hub, now, name, number, report);
            if names.last() != Some(&name) {
                names.push(name);
            }
        }
        for name in names {
            self.give_turns(hub, now, name);
        }
    }

    /// Takes in a frame of a stream.
    pub(super) fn take(&mut self, hub: &mut Hub, now: Time, name: ConnectionName, frame: StreamFrame) {
        let number = frame.stream();
        let Some(stream) = self.connections.get_mut(&name).and_then(|streams| streams.open.get_mut(&number))
        else {
            return;
        };
        match stream.account.take(frame) {
            Ok(order) => {
                if let Some(relay) = &stream.relay {
                    relay.order(order);
                }
                self.advance(hub, now, name, number, StreamReport::default());
            }
            Err(fault) => self.send(hub, now, name, &[], Err(format!("stream {number}: {fault}"))),
        }
    }

    /// Has streams send, in turns, as far as there is room before the plugin.
    fn give_turns(&mut self, hub: &mut Hub, now: Time, name: ConnectionName) {
        while let Some(streams) = self.connections.get_mut(&name) {
            let session = hub.supervisor.session_mut(name.0, name.1);
            let waiting = session.map_or(WAITING_BYTES_MAX, |session| session.queue().waiting_bytes());
            let Some(StreamTurn { stream, frames_max }) = streams.turns.next(waiting) else { return };
            self.send_some(hub, now, name, stream, frames_max, Vec::new());
        }
    }

    /// Takes in what was done with the descriptor of a stream, and sends what need not wait for its turn.
    fn advance(&mut self, hub: &mut Hub, now: Time, name: ConnectionName, number: u64, report: StreamReport) {
        let Some(streams) = self.connections.get_mut(&name) else { return };
        let Some(stream) = streams.open.get_mut(&number) else { return };
        let mut frames = Vec::new();
        stream.account.report(report, &mut frames);
        self.send_some(hub, now, name, number, 0, frames);
    }

    /// Sends these frames of a stream, and at most so many with data behind them.
    fn send_some(
        &mut self,
        hub: &mut Hub,
        now: Time,
        name: ConnectionName,
        number: u64,
        frames_max: usize,
        mut frames: Vec<StreamFrame>,
    ) {
        let Some(streams) = self.connections.get_mut(&name) else { return };
        let Some(stream) = streams.open.get_mut(&number) else { return };
        let wants = stream.account.send(frames_max, &mut frames);
        streams.turns.set_wanting(number, wants);
        if stream.account.is_over() {
            if let Some(relay) = streams.open.remove(&number).and_then(|stream| stream.relay) {
                self.by_relay.remove(&relay.number());
            }
            if streams.open.is_empty() {
                self.connections.remove(&name);
            }
        }
        if !frames.is_empty() {
            self.send(hub, now, name, &frames, Ok(()));
        }
    }

    /// Sends frames to a plugin, or ends its connection because it broke the protocol of a stream.
    fn send(
        &self,
        hub: &mut Hub,
        now: Time,
        (key, generation): ConnectionName,
        frames: &[StreamFrame],
        taken: Result<(), String>,
    ) {
        hub.supervisor.with_session(now, key, generation, |session, cx| session.relay(cx, frames, taken));
    }

    /// Closes all streams of a connection that ended. What it passed itself goes on as long as others have it.
    pub(super) fn close(&mut self, name: ConnectionName) {
        let streams = self.connections.remove(&name).map(|streams| streams.open).unwrap_or_default();
        for relay in streams.into_values().filter_map(|stream| stream.relay) {
            self.by_relay.remove(&relay.number());
        }
        self.threads.end(name.0);
    }
}
