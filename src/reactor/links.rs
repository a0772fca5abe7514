//! Sockets: the generations' listeners and connections, and the control clients'.

use super::control::{Client, ControlCx, FRAMES_PER_TURN, HostFacts, ReadOutcome, Reply, Taken};
use super::instance::Link;
use super::pending_replies::Ticket;
use super::{Answer, Reactor, Source};
use crate::state::action::Note;
use crate::state::keys::PluginKey;
use crate::state::plugin::PeerIdentity;
use crate::state::time::Time;
use crate::sys::credentials::{peer_credentials, request_buffer_bytes};
use crate::sys::process::Attached;
use mio::Interest;
use rpc_plugin_interface::scm::{self, Received};
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::{ErrorCode, ErrorObject, Generation};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;

/// Bytes read from a plugin at once.
const READ_BYTES: usize = 64 * 1024;
/// The same inside a frame that is longer than that: what a socket buffer may hold.
const LONG_READ_BYTES: usize = SOCKET_BUFFER_BYTES;
/// Kernel buffers of a plugin's connection, as far as the system allows. Bytes.
const SOCKET_BUFFER_BYTES: usize = 256 * 1024;
/// Reads from one plugin in a turn; then others have theirs.
const READS_PER_TURN: usize = 4;
/// Connections accepted from one listener in a turn.
const ACCEPTS_PER_TURN: usize = 16;

impl Reactor {
    /// Somebody connected to a generation's socket.
    pub(super) fn accept(&mut self, now: Time, key: PluginKey, generation: Generation) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(instance) = self.instances.get_mut(&key) else { return };
            let Some(ready) = instance.ready.as_ref().filter(|ready| ready.generation == generation) else {
                return;
            };
            let Some(listening) = ready.listening.as_ref() else { return };
            let stream = match listening.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    let source = listening.source;
                    return self.accept_failed(now, source, "a plugin's connection", &error);
                }
            };
            self.accepted();
            if self.admit(now, key, generation, stream) {
                // One connection is taken: nobody else needs to be listened to.
                return self.stop_listening(key, generation);
            }
        }
        let listening =
            self.instances.get(&key).and_then(|instance| instance.ready.as_ref()?.listening.as_ref());
        self.unfinished.extend(listening.and_then(|listening| listening.source));
    }

    /// Takes a connection if it is the one that is awaited.
    fn admit(&mut self, now: Time, key: PluginKey, generation: Generation, stream: UnixStream) -> bool {
        let peer = match peer_credentials(stream.as_fd()) {
            Ok(peer) => PeerIdentity { pid: peer.pid, uid: peer.uid },
            Err(error) => {
                self.fault("a connection's peer could not be identified", &error);
                return false;
            }
        };
        let is_by_hand = self.supervisor.plugin(key).is_some_and(|plugin| plugin.config().is_by_hand());
        // A process that has ended meanwhile is nobody to wait for.
        let attached = match is_by_hand.then(|| Attached::open(peer.pid)).transpose() {
            Ok(attached) => attached,
            Err(error) => {
                self.fault("whoever connected could not be watched", &error);
                return false;
            }
        };
        if !self.supervisor.handle_connection(now, key, generation, peer, self.uid) {
            return false;
        }
        if let Some(Err(error)) = attached.map(|attached| self.attach(key, generation, attached)) {
            // The end of its connection tells its end.
            self.fault("a plugin that was started by hand could not be watched", &error);
        }
        self.take_link(now, key, generation, stream);
        true
    }

    /// Takes over a generation's connection.
    pub(super) fn take_link(
        &mut self,
        now: Time,
        key: PluginKey,
        generation: Generation,
        stream: UnixStream,
    ) {
        if let Err(error) = self.add_link(key, generation, stream) {
            // The connection ends here, as if the plugin had closed it.
            self.fault("a plugin's connection could not be watched", &error);
            self.supervisor.handle_end_of_stream(now, key, generation);
        }
    }

    fn add_link(&mut self, key: PluginKey, generation: Generation, stream: UnixStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        request_buffer_bytes(stream.as_fd(), SOCKET_BUFFER_BYTES);
        let source = self.register(stream.as_raw_fd(), Source::Link(key, generation), Interest::READABLE)?;
        if let Some(instance) = self.instances.get_mut(&key) {
            instance.link = Some(Link { generation, stream, source, full: false });
        }
        Ok(())
    }

    /// Reads what a plugin sent, within its turn.
    pub(super) fn read_link(&mut self, now: Time, key: PluginKey, generation: Generation, closed: bool) {
        let mut buffer = std::mem::take(&mut self.read_buffer);
        if let Some(session) = self.supervisor.session_mut(key, generation) {
            session.lend(&mut buffer);
        }
        self.read_turn(now, key, generation, closed);
        // A session that ended meanwhile has taken the buffer along; the next read makes another.
        if let Some(session) = self.supervisor.session_mut(key, generation) {
            session.give_back(&mut buffer);
        }
        self.read_buffer = buffer;
    }

    fn read_turn(&mut self, now: Time, key: PluginKey, generation: Generation, closed: bool) {
        for _ in 0..READS_PER_TURN {
            let Some(link) = self.instances.get(&key).and_then(|instance| instance.link.as_ref()) else {
                return;
            };
            let Some(session) = self.supervisor.session_mut(key, generation) else { return };
            let is_long = session.unfinished_bytes() >= READ_BYTES;
            let space = session.space(if is_long { LONG_READ_BYTES } else { READ_BYTES });
            let room = space.len();
            match scm::receive(link.stream.as_fd(), space) {
                Ok(Received { bytes: 0, .. }) => {
                    return self.supervisor.handle_end_of_stream(now, key, generation);
                }
                Ok(Received { bytes, fds, truncated }) => {
                    // A read ends behind bytes with descriptors, whatever follows.
                    let is_all = bytes < room && fds.is_empty() && !truncated;
                    session.filled(bytes, fds);
                    if truncated {
                        session.fds_were_dropped();
                    }
                    self.supervisor.handle_frames(now, key, generation, usize::MAX);
                    // A short read has drained the socket: epoll(7) tells when there is more.
                    if is_all && !closed {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // ECONNRESET: it closed with bytes of ours unread.
                Err(_) => return self.supervisor.handle_end_of_stream(now, key, generation),
            }
        }
        let source =
            self.instances.get(&key).and_then(|instance| instance.link.as_ref()).map(|link| link.source);
        self.unfinished.extend(source);
    }

    /// Writes as much as a plugin takes.
    pub(super) fn write_link(&mut self, key: PluginKey, generation: Generation) {
        let mut full = false;
        while !full {
            let link = self.instances.get(&key).and_then(|instance| instance.link.as_ref());
            let Some(link) = link.filter(|link| link.generation == generation) else { return };
            let Some(session) = self.supervisor.session_mut(key, generation) else { return };
            if session.waiting().is_empty() {
                break;
            }
            let fds = session.waiting_fds();
            let written = match fds.is_empty() {
                true => (&link.stream).write(session.waiting()),
                false => scm::send(link.stream.as_fd(), session.waiting(), fds, false),
            };
            match written {
                Ok(bytes) => session.wrote(bytes),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => full = true,
                // Those of all programs of this user count, until they are received: it may well be another's fault.
                Err(error) if error.raw_os_error() == Some(nix::libc::ETOOMANYREFS) => {
                    let why = error.to_string();
                    self.supervisor.handle_fds_refused(self.now(), key, generation, &why);
                }
                // Broken: reading tells the end.
                Err(_) => return,
            }
        }
        let announced =
            self.supervisor.session_mut(key, generation).map(|session| session.announced_streams());
        let link = self.instances.get_mut(&key).and_then(|instance| instance.link.as_mut());
        if let Some(link) = link.filter(|link| link.full != full) {
            link.full = full;
            let (fd, source) = (link.stream.as_raw_fd(), link.source);
            self.watch_writing(fd, source, full);
        }
        self.go_on_with_streams(key, generation, announced.unwrap_or_default());
    }

    /// Closes a connection, after one try to write the last bytes.
    pub(super) fn close_link(&mut self, key: PluginKey, generation: Generation, last: &[u8]) {
        let Some(instance) = self.instances.get_mut(&key) else { return };
        if let Some(link) = instance.link.take_if(|link| link.generation == generation) {
            // It is over either way; the peer learns why if it can.
            let _ = (&link.stream).write(last);
            self.unregister(link.stream.as_raw_fd(), link.source);
        }
    }

    /// Accepts control clients.
    pub(super) fn accept_clients(&mut self, now: Time) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(control) = &self.control else { return };
            match control.listener.accept() {
                Ok((stream, _)) => {
                    self.accepted();
                    if let Err(error) = self.admit_client(stream) {
                        self.fault("a control connection could not be watched", &error);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    return self.accept_failed(now, self.control_source, "a control connection", &error);
                }
            }
        }
        self.unfinished.extend(self.control_source);
    }

    /// A connection could not be accepted, for want of descriptors or memory most likely. It waits in the kernel, and no
    /// further edge tells of it.
    fn accept_failed(&mut self, now: Time, source: Option<u64>, whose: &str, error: &io::Error) {
        self.accept_later.extend(source);
        if self.accepting.failed(now) {
            let text = format!("{whose} could not be accepted, and is tried again; raise `ulimit -n`");
            self.recorder.record(Note::new(EventKind::HostShortage, text).error(error.to_string()));
        }
    }

    /// A connection was accepted.
    fn accepted(&mut self) {
        if self.accept_later.is_empty() && self.accepting.passed() {
            self.recorder.record(Note::new(EventKind::HostShortageOver, "connections are accepted again"));
        }
    }

    /// Accepts what could not be accepted before, once it is time.
    pub(super) fn accept_again(&mut self, now: Time) {
        if self.accepting.is_due(now) {
            for source in std::mem::take(&mut self.accept_later) {
                self.handle_source(now, source, false);
            }
        }
    }

    fn admit_client(&mut self, stream: UnixStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let Some(control) = &self.control else { return Ok(()) };
        let frame_bytes_max = control.frame_bytes_max;
        let clients_max = control.clients_max;
        let peer = peer_credentials(stream.as_fd())?;
        let peer = PeerIdentity { pid: peer.pid, uid: peer.uid };
        if peer.uid != self.uid && peer.uid != 0 {
            let text = format!(
                "user {} may not control this host; its own user {} and root may",
                peer.uid, self.uid
            );
            let note = Note::new(EventKind::AdminDenied, "a control connection was refused");
            let details = serde_json::json!({"peer_pid": peer.pid, "peer_uid": peer.uid});
            self.recorder.record(note.error(text.clone()).details(details));
            let error = ErrorObject::new(ErrorCode::Denied, text);
            Client::new(stream, peer, frame_bytes_max).refuse(&error);
            return Ok(());
        }
        if self.clients.len() >= clients_max {
            let text = format!("{clients_max} control clients are connected, which is the most");
            let error = ErrorObject::new(ErrorCode::Overloaded, text);
            Client::new(stream, peer, frame_bytes_max).refuse(&error);
            return Ok(());
        }
        let fd = stream.as_raw_fd();
        let client = self.clients.insert(Client::new(stream, peer, frame_bytes_max));
        match self.register(fd, Source::ControlClient(client), Interest::READABLE) {
            Ok(source) => {
                if let Some(client) = self.clients.get_mut(client) {
                    client.source = source;
                }
                Ok(())
            }
            Err(error) => {
                self.clients.remove(client);
                Err(error)
            }
        }
    }

    /// Serves a control client, within its turn: frames that wait from an earlier turn, then new ones.
    pub(super) fn read_client(&mut self, now: Time, key: u64, closed: bool) {
        let Some(source) = self.clients.get(key).map(|client| client.source) else { return };
        // Readable or writable: what waits for it may go on.
        self.answered.insert(key);
        let mut frames_left = FRAMES_PER_TURN;
        let mut taken = self.serve_frames(now, key, &mut frames_left);
        let mut outcome = ReadOutcome::Drained;
        if matches!(taken, Taken::Nothing) {
            let Some(client) = self.clients.get_mut(key) else { return };
            outcome = client.read(closed);
            taken = self.serve_frames(now, key, &mut frames_left);
        }
        match (taken, outcome) {
            (Taken::Fault(error), _) => self.end_client(now, key, Some(&error)),
            // Goes on when its answers are written.
            (Taken::Paused, _) => {}
            (Taken::Nothing, ReadOutcome::Over(error)) => self.end_client(now, key, error.as_ref()),
            (Taken::Nothing, ReadOutcome::Drained) => {}
            _ => self.unfinished.push_back(source),
        }
    }

    /// Serves whole frames until there is none, the client is to wait, or its turn is over; what came last.
    fn serve_frames(&mut self, now: Time, key: u64, frames_left: &mut usize) -> Taken {
        while *frames_left > 0 {
            *frames_left -= 1;
            let Some(client) = self.clients.get_mut(key) else { return Taken::Nothing };
            let request = match client.take() {
                Taken::Request(request) => request,
                Taken::Passed => continue,
                last => return last,
            };
            if client.enter(&request.id) {
                let ticket = Ticket { client: key, id: request.id };
                let reply = self.serve(now, &ticket, &request.method, request.params.as_deref());
                if let Reply::Now(answer) = reply {
                    self.answer_client(&ticket, answer);
                }
            }
        }
        Taken::Passed
    }

    /// Ends a connection. A client that asks and closes its sending end still reads what was answered at
    /// once.
    fn end_client(&mut self, now: Time, key: u64, error: Option<&ErrorObject>) {
        if let Some(client) = self.clients.get_mut(key) {
            match error {
                Some(error) => client.refuse(error),
                None => drop(client.write()),
            }
        }
        self.drop_client(now, key);
    }

    fn serve(
        &mut self,
        now: Time,
        ticket: &Ticket,
        method: &str,
        params: Option<&serde_json::value::RawValue>,
    ) -> Reply {
        let facts = HostFacts {
            uptime: now.since(Time::ZERO),
            runtime_dir: self.runtime_dir.path(),
            clients: self.clients.len() as u32,
            events_dropped: self.recorder.dropped(),
            sinks: self.sinks.clone(),
        };
        let peer = self.clients.get(ticket.client).map(|client| client.peer);
        let (Some(control), Some(peer)) = (self.control.as_mut(), peer) else { return Reply::Later };
        let (mut end, mut notes) = (false, Vec::new());
        let mut cx = ControlCx {
            now,
            supervisor: &mut self.supervisor,
            facts,
            peer_uid: peer.uid,
            peer_pid: peer.pid,
            notes: &mut notes,
            end: &mut end,
            ends: &mut self.ends,
            ticket: ticket.clone(),
        };
        let reply = control.service.handle(&mut cx, method, params);
        for note in notes {
            self.recorder.record(note);
        }
        if end {
            self.begin_end(
                now,
                format!("an operator asked for it (process {}, user {})", peer.pid, peer.uid),
            );
        }
        reply
    }

    /// Answers a control client; the bytes go out at the end of the turn.
    pub(super) fn answer_client(&mut self, ticket: &Ticket, answer: Answer) {
        if let Some(answer) = self.hold_answer(ticket, answer) {
            self.answer_client_now(ticket, &answer);
        }
    }

    /// The same, whether its record is durable or not.
    pub(super) fn answer_client_now(&mut self, ticket: &Ticket, answer: &Answer) {
        if let Some(client) = self.clients.get_mut(ticket.client) {
            client.answer(&ticket.id, answer);
            self.answered.insert(ticket.client);
        }
    }

    /// Writes what waits for control clients, as far as they take it.
    pub(super) fn write_clients(&mut self, now: Time) {
        while let Some(key) = self.answered.pop_first() {
            let Some(client) = self.clients.get_mut(key) else { continue };
            if !client.write() {
                self.drop_client(now, key);
                continue;
            }
            if client.resumes() {
                self.unfinished.push_back(client.source);
            }
            if let Some(full) = client.fullness_changed() {
                let (fd, source) = (client.stream.as_raw_fd(), client.source);
                self.watch_writing(fd, source, full);
            }
        }
    }

    fn drop_client(&mut self, now: Time, key: u64) {
        let Some(client) = self.clients.remove(key) else { return };
        self.unregister(client.stream.as_raw_fd(), client.source);
        let (calls, waits) = self.ends.forget_client(key);
        for (call, plugin) in calls {
            self.supervisor.cancel(now, call, plugin);
        }
        for wait in waits {
            self.supervisor.forget_wait(wait);
        }
    }

    /// The environment failed and the host goes on.
    pub(super) fn fault(&mut self, what: &str, error: &io::Error) {
        self.recorder.record(Note::new(EventKind::HostFault, what).error(error.to_string()));
    }
}
