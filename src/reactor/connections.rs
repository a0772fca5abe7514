//! Connections of plugins: reading what they sent, writing what waits for them.
//!
//! What it deliberately does not do: understand a byte; the session of the plugin does, in `state`.
//!
//! What always holds: a turn of one connection is bounded, however much its peer sends; a burst of writes to one peer is
//! one system call where the kernel takes it.

use super::closers::OwnerCloser;
use super::hub::Hub;
use super::poller::Source;
use super::watchdog::Touched;
use crate::state::closing::Passed;
use crate::state::fds::Fd;
use crate::state::keys::PluginKey;
use crate::state::time::Time;
use crate::sys::credentials::request_buffer_bytes;
use mio::Interest;
use nix::errno::Errno;
use rpc_plugin_interface::scm::{self, Received};
use rpc_plugin_peer::Named;
use rpc_plugin_wire::Generation;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Bytes read from a plugin at once.
const READ_BYTES: usize = 64 * 1024;
/// Bytes read at once inside a frame that is longer than [`READ_BYTES`]: what a socket buffer may hold.
const LONG_READ_BYTES: usize = SOCKET_BUFFER_BYTES;
/// Kernel buffers of a plugin's connection, as far as the system allows. Bytes.
const SOCKET_BUFFER_BYTES: usize = 256 * 1024;
/// Reads from one plugin in a turn; then others have theirs.
const READS_PER_TURN: usize = 4;

/// One connection.
#[derive(Debug)]
struct Connection {
    generation: Generation,
    stream: Passed<UnixStream>,
    /// What closes the descriptors that come over it.
    closer: Arc<OwnerCloser>,
    source: u64,
    /// It takes no more bytes for now, and is watched until it does.
    full: bool,
}

/// The connection of each plugin that has one.
#[derive(Debug, Default)]
pub(super) struct Connections {
    by_plugin: BTreeMap<PluginKey, Connection>,
    /// Buffer that every connection is read into; one without a part of a frame waiting holds no memory.
    read_buffer: Vec<u8>,
}

impl Connections {
    /// Takes over a generation's connection.
    pub(super) fn add(
        &mut self,
        hub: &mut Hub,
        now: Time,
        (key, generation): (PluginKey, Generation),
        stream: UnixStream,
    ) {
        match watched(hub, key, generation, stream) {
            Ok(connection) => drop(self.by_plugin.insert(key, connection)),
            Err(error) => {
                // The connection ends here, as if the plugin had closed it.
                hub.fault("a plugin's connection could not be watched", &error);
                hub.supervisor.handle_end_of_stream(now, key, generation);
            }
        }
    }

    /// Reads what a plugin sent, within its turn. `closed`: the kernel said that the plugin has closed its end.
    pub(super) fn read(
        &mut self,
        hub: &mut Hub,
        now: Time,
        (key, generation): (PluginKey, Generation),
        closed: bool,
    ) {
        if let Some(session) = hub.supervisor.session_mut(key, generation) {
            session.receiver_mut().lend(&mut self.read_buffer);
        }
        self.read_turn(hub, now, key, generation, closed);
        // A session that ended meanwhile has taken the buffer along; the next read makes another.
        if let Some(session) = hub.supervisor.session_mut(key, generation) {
            session.receiver_mut().give_back(&mut self.read_buffer);
        }
    }

    fn read_turn(&mut self, hub: &mut Hub, now: Time, key: PluginKey, generation: Generation, closed: bool) {
        let Some(connection) = self.by_plugin.get(&key) else { return };
        let Some(stream) = connection.stream.get() else { return };
        // What has ended is read out: it brings no more than is there.
        if hub.is_paused(connection.source) && !closed {
            return;
        }
        for _ in 0..READS_PER_TURN {
            // It is told when fewer wait.
            if connection.closer.is_full() {
                return;
            }
            let Some(session) = hub.supervisor.session_mut(key, generation) else { return };
            let before = session.unfinished_bytes();
            let is_long = before >= READ_BYTES;
            let space = session.receiver_mut().space(if is_long { LONG_READ_BYTES } else { READ_BYTES });
            let room = space.len();
            let receive = || scm::receive(stream.as_fd(), space);
            match hub.watchdog.during((key, generation), Touched::ConnectionRead, receive) {
                Ok(Received { bytes: 0, .. }) => {
                    return hub.supervisor.handle_end_of_stream(now, key, generation);
                }
                Ok(Received { bytes, fds, truncated }) => {
                    // A read ends behind bytes with descriptors, whatever follows.
                    let is_all = bytes < room && fds.is_empty() && !truncated;
                    session.receiver_mut().filled(bytes, connection.closer.take_in(fds), truncated);
                    let paused = hub.supervisor.with_session(now, key, generation, |session, cx| {
                        session.handle_frames(cx, usize::MAX);
                        let handled_bytes = (before + bytes).saturating_sub(session.unfinished_bytes());
                        session.unasked().pause_after(now, handled_bytes)
                    });
                    if let Some((until, tells)) = paused.flatten() {
                        let watched = (stream.as_raw_fd(), connection.source, connection.full);
                        return hub.pause(watched, until, tells.then_some((key, "connection")));
                    }
                    // A short read has drained the socket: epoll(7) tells when there is more.
                    if is_all && !closed {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // ECONNRESET: it closed with bytes of ours unread.
                Err(_) => return hub.supervisor.handle_end_of_stream(now, key, generation),
            }
        }
        hub.poller.go_on_later(Some(connection.source));
    }

    /// Writes as much as a plugin takes. The streams in band that are to begin, because their frames were among it.
    pub(super) fn write(
        &mut self,
        hub: &mut Hub,
        key: PluginKey,
        generation: Generation,
    ) -> Option<Named<Fd>> {
        let connection = self.by_plugin.get_mut(&key)?;
        if connection.generation != generation {
            return None;
        }
        let stream = connection.stream.get()?;
        let (mut full, late) = (false, connection.full.then(|| hub.latest()));
        while !full {
            let session = hub.supervisor.session_mut(key, generation)?;
            let (waiting, fds) = session.queue().waiting();
            if waiting.is_empty() {
                break;
            }
            let write = || match fds.is_empty() {
                true => (&*stream).write(waiting),
                false => scm::send(stream.as_fd(), waiting, fds, false),
            };
            match hub.watchdog.during((key, generation), Touched::ConnectionWritten, write) {
                Ok(bytes) => match late {
                    None => session.queue_mut().wrote(bytes),
                    Some(now) => session.wrote_late(bytes, now),
                },
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => full = true,
                // Those of all programs of this user count, until they are received: it may well be another's fault.
                Err(error) if error.raw_os_error() == Some(Errno::ETOOMANYREFS as i32) => {
                    let now = hub.now();
                    hub.supervisor.with_session(now, key, generation, |session, cx| {
                        session.fds_were_refused(cx, &error.to_string())
                    });
                }
                // Broken: reading tells the end.
                Err(_) => return None,
            }
        }
        if connection.full != full {
            connection.full = full;
            hub.watch_writing(connection.stream.as_raw_fd(), connection.source, full);
        }
        hub.supervisor.session_mut(key, generation).map(|session| session.announced_streams())
    }

    /// Goes on reading from a plugin, of whose descriptors too many had waited to be closed.
    pub(super) fn go_on(&self, hub: &mut Hub, key: PluginKey) {
        hub.poller.go_on_later(self.by_plugin.get(&key).map(|connection| connection.source));
    }

    /// Closes a connection, after one try to write the last bytes.
    pub(super) fn close(&mut self, hub: &mut Hub, key: PluginKey, generation: Generation, last: &[u8]) {
        if self.by_plugin.get(&key).is_some_and(|connection| connection.generation == generation)
            && let Some(connection) = self.by_plugin.remove(&key)
        {
            // It is over either way; the peer learns why if it can.
            let write = || connection.stream.get().map(|mut stream| stream.write(last));
            let _ = hub.watchdog.during((key, generation), Touched::ConnectionWritten, write);
            hub.poller.unregister(connection.stream.as_raw_fd(), connection.source);
        }
    }
}

fn watched(
    hub: &mut Hub,
    key: PluginKey,
    generation: Generation,
    stream: UnixStream,
) -> io::Result<Connection> {
    stream.set_nonblocking(true)?;
    request_buffer_bytes(stream.as_fd(), SOCKET_BUFFER_BYTES);
    let closer = Arc::clone(hub.closers.of_plugin(key));
    let stream = closer.guard(stream);
    let source = Source::Connection(key, generation);
    let source = hub.poller.register(stream.as_raw_fd(), source, Interest::READABLE)?;
    Ok(Connection { generation, stream, closer, source, full: false })
}
