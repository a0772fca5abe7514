//! Streams in band: between the descriptors that this program holds and the frames that a plugin behind pipes sees
//! (protocol section 6).
//!
//! What it deliberately does not do: keep account of credit, or read and write descriptors
//! ([`rpc_plugin_interface::relay`] does); decide which stream sends next ([`StreamTurns`] does).
//!
//! What always holds: nothing here blocks; of each stream no more than one window waits in either direction; a stream
//! ends when both ways are over, or with its connection.

use super::hub::Hub;
use super::poller::Source;
use crate::state::call::CallEnd;
use crate::state::fds::{Fd, Fds};
use crate::state::keys::PluginKey;
use crate::state::stream_turns::{StreamTurn, StreamTurns, WAITING_BYTES_MAX};
use crate::state::time::Time;
use mio::Interest;
use rpc_plugin_interface::relay::Relay;
use rpc_plugin_peer::Named;
use rpc_plugin_wire::Generation;
use rpc_plugin_wire::stream::{StreamFault, StreamFrame};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// One generation's connection.
type ConnectionName = (PluginKey, Generation);

/// One stream that is open.
struct OpenStream {
    relay: Relay,
    /// Registration with epoll; `None` once its descriptor is no longer watched.
    source: Option<u64>,
}

/// The streams of one connection.
#[derive(Default)]
struct ConnectionStreams {
    open: BTreeMap<u64, OpenStream>,
    turns: StreamTurns,
}

/// All streams in band. Bounded by the streams of each connection.
#[derive(Default)]
pub(super) struct InBandStreams(BTreeMap<ConnectionName, ConnectionStreams>);

impl InBandStreams {
    /// Bytes went to a plugin: begins streams whose frames were among them, and goes on with others as far as there
    /// is room now.
    pub(super) fn go_on(&mut self, hub: &mut Hub, name: ConnectionName, announced: Named<Fd>) {
        if announced.is_empty() && self.0.is_empty() {
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
                    theirs.push(other.into());
                    self.open(hub, now, name, *number, Some(ours.into()));
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

    fn open(&mut self, hub: &mut Hub, now: Time, name: ConnectionName, number: u64, fd: Option<OwnedFd>) {
        // With the connection gone, so are its streams: the descriptor is closed here.
        let Some(session) = hub.supervisor.session_mut(name.0, name.1) else { return };
        let frame_bytes_max = session.frame_bytes_max();
        let stream = match fd.map(|fd| watched(hub, name, number, fd, frame_bytes_max)).transpose() {
            Ok(watched) => watched,
            Err(error) => {
                hub.fault("a stream cannot be watched", &error);
                None
            }
        };
        let refused = || OpenStream { relay: Relay::refused(number, frame_bytes_max), source: None };
        self.0.entry(name).or_default().open.insert(number, stream.unwrap_or_else(refused));
        self.pump(hub, now, name, number);
    }

    /// Moves what can be moved: the descriptor of a stream may be read or written.
    pub(super) fn pump(&mut self, hub: &mut Hub, now: Time, name: ConnectionName, number: u64) {
        self.pump_some(hub, now, name, number, 0, Ok(()));
        self.give_turns(hub, now, name);
    }

    /// Takes in a frame of a stream.
    pub(super) fn take(&mut self, hub: &mut Hub, now: Time, name: ConnectionName, frame: StreamFrame) {
        let number = frame.stream();
        let Some(stream) = self.0.get_mut(&name).and_then(|streams| streams.open.get_mut(&number)) else {
            return;
        };
        let taken = stream.relay.take(frame);
        self.pump_some(hub, now, name, number, 0, taken);
        self.give_turns(hub, now, name);
    }

    /// Has streams send, in turns, as far as there is room before the plugin.
    fn give_turns(&mut self, hub: &mut Hub, now: Time, name: ConnectionName) {
        while let Some(streams) = self.0.get_mut(&name) {
            let session = hub.supervisor.session_mut(name.0, name.1);
            let waiting = session.map_or(WAITING_BYTES_MAX, |session| session.waiting_bytes());
            let Some(StreamTurn { stream, frames_max }) = streams.turns.next(waiting) else { return };
            self.pump_some(hub, now, name, stream, frames_max, Ok(()));
        }
    }

    fn pump_some(
        &mut self,
        hub: &mut Hub,
        now: Time,
        name: ConnectionName,
        number: u64,
        frames_max: usize,
        taken: Result<(), StreamFault>,
    ) {
        let Some(streams) = self.0.get_mut(&name) else { return };
        let Some(stream) = streams.open.get_mut(&number) else { return };
        let mut frames = Vec::new();
        let taken = match taken {
            Ok(()) => {
                let wants = stream.relay.pump(frames_max, &mut frames);
                let (is_over, is_fd_done) = (stream.relay.is_over(), stream.relay.is_fd_done());
                if is_over || is_fd_done {
                    close_fd(hub, stream);
                }
                streams.turns.set_wanting(number, wants && !is_over);
                if is_over {
                    streams.open.remove(&number);
                    if streams.open.is_empty() {
                        self.0.remove(&name);
                    }
                }
                Ok(())
            }
            Err(fault) => Err(format!("stream {number}: {fault}")),
        };
        if !frames.is_empty() || taken.is_err() {
            let (key, generation) = name;
            hub.supervisor
                .with_session(now, key, generation, |session, cx| session.relay(cx, &frames, taken));
        }
    }

    /// Closes all streams of a connection that ended.
    pub(super) fn close(&mut self, hub: &mut Hub, name: ConnectionName) {
        for mut stream in self.0.remove(&name).into_iter().flat_map(|streams| streams.open.into_values()) {
            close_fd(hub, &mut stream);
        }
    }
}

fn watched(
    hub: &mut Hub,
    (key, generation): ConnectionName,
    number: u64,
    fd: OwnedFd,
    frame_bytes_max: usize,
) -> io::Result<OpenStream> {
    let relay = Relay::new(number, fd, frame_bytes_max)?;
    let raw = relay.waited_fd().map(|fd| fd.as_raw_fd());
    let (source, both) =
        (Source::InBandStream(key, generation, number), Interest::READABLE | Interest::WRITABLE);
    let source = raw.map(|raw| hub.poller.register(raw, source, both)).transpose()?;
    Ok(OpenStream { relay, source })
}

fn close_fd(hub: &mut Hub, stream: &mut OpenStream) {
    if let (Some(fd), Some(source)) = (stream.relay.take_fd(), stream.source.take()) {
        hub.poller.unregister(fd.as_raw_fd(), source);
    }
}
