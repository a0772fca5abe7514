//! Admin connections: accepting them, checking who connects, serving them in turns.
//!
//! What always holds: a turn of one client is bounded, however much it sends; answers to a client that has gone are
//! dropped; only the host's own user, root, and members of the group that was named are served.

use super::admin_connection::{
    AdminAnswer, AdminConnection, AdminTicket, FRAMES_PER_TURN, NextFrame, ReadOutcome,
};
use super::admin_frame::AdminFrame;
use super::admin_service::{AdminCx, AdminReply, AdminService, HostFacts, SinkQuestions};
use super::closers::{ClientClosers, Closers, OwnerCloser};
use super::held_until_recorded::HeldReplies;
use super::hub::{ACCEPTS_PER_TURN, Hub};
use super::loop_commands::{AdminCommand, LoopCommand};
use super::pending_replies::PendingReplies;
use super::plugin_requests::PluginRequests;
use super::poller::Source;
use super::runtime_folder::{AdminFiles, MadeSockets, RuntimeFolder};
use super::slab::Slab;
use crate::engine::CommandSender;
use crate::state::action::Note;
use crate::state::closing::Closer;
use crate::state::fds::Fds;
use crate::state::plugin::PeerIdentity;
use crate::state::time::Time;
use crate::sys::credentials::{effective_uid, peer_credentials};
use crate::sys::group_socket::GroupSocketFile;
use crate::sys::peer_groups::peer_groups;
use crate::sys::private_file::PrivateFile;
use crate::sys::runtime_dir::RuntimeDir;
use mio::Interest;
use rpc_plugin_peer::Party;
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::{CancelCause, ErrorCode, ErrorObject};
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

/// The admin socket of a host, and what serves it.
pub(crate) struct AdminSocket {
    pub(crate) listener: UnixListener,
    /// Its file, which goes with it.
    pub(crate) file: Arc<PrivateFile>,
    /// The socket of a group of operators, if there is one.
    pub(crate) group: Option<AdminGroupSocket>,
    pub(crate) service: Box<dyn AdminService>,
    /// Whether clients have to wait for [`AdminCommand::Open`].
    pub(crate) held: bool,
    pub(crate) clients_max: usize,
    pub(crate) frame_bytes_max: usize,
    /// How each sink of the record does.
    pub(crate) sinks: SinkQuestions,
}

/// The admin socket of a group of operators.
pub(crate) struct AdminGroupSocket {
    pub(crate) listener: UnixListener,
    /// Its file, which goes with it.
    pub(crate) file: Arc<GroupSocketFile>,
    /// The group whose members are served.
    pub(crate) gid: u32,
}

/// What serving a client takes of the loop.
pub(super) struct AdminTables<'a> {
    /// Why the host is ending, once it is. Clients are served until it has ended.
    pub(super) ending: Option<&'a str>,
    pub(super) pending: &'a mut PendingReplies,
    pub(super) held: &'a mut HeldReplies,
    pub(super) requests: &'a PluginRequests,
}

/// The admin socket and its connections.
pub(super) struct AdminConnections {
    /// `None`: nobody is served.
    socket: Option<AdminSocket>,
    /// Registration of the listener, once clients are let in.
    listener_source: Option<u64>,
    /// The same of the group's listener.
    group_source: Option<u64>,
    clients: Slab<AdminConnection>,
    /// Clients that may have bytes to write.
    answered: BTreeSet<u64>,
    /// What closes what clients passed.
    closers: ClientClosers,
    /// What closes listeners.
    closer: Arc<OwnerCloser>,
    uid: u32,
    runtime_dir: Arc<RuntimeDir>,
    /// Where answers of other threads come in.
    commands: CommandSender<LoopCommand>,
}

impl AdminConnections {
    pub(super) fn new(
        socket: Option<AdminSocket>,
        closers: &Closers,
        runtime_dir: Arc<RuntimeDir>,
        commands: &CommandSender<LoopCommand>,
    ) -> AdminConnections {
        AdminConnections {
            socket,
            listener_source: None,
            group_source: None,
            clients: Slab::default(),
            answered: BTreeSet::new(),
            closers: closers.of_clients(),
            closer: Arc::clone(&closers.program),
            uid: effective_uid(),
            runtime_dir,
            commands: commands.clone(),
        }
    }

    /// Begins to accept clients, unless they have to wait for [`AdminConnections::open`].
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub(super) fn start(&mut self, hub: &mut Hub) -> io::Result<()> {
        if self.socket.as_ref().is_some_and(|socket| !socket.held) { self.open(hub) } else { Ok(()) }
    }

    /// Begins to accept clients of each socket of which it has not begun; those that have connected are waiting.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub(super) fn open(&mut self, hub: &mut Hub) -> io::Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        let mut register =
            |fd: RawFd| hub.poller.register(fd, Source::AdminListener, Interest::READABLE).map(Some);
        if self.listener_source.is_none() {
            self.listener_source = register(socket.listener.as_raw_fd())?;
        }
        if let (Some(group), None) = (&socket.group, self.group_source) {
            self.group_source = register(group.listener.as_raw_fd())?;
        }
        Ok(())
    }

    /// Does what another thread asks.
    pub(super) fn handle(&mut self, hub: &mut Hub, held: &mut HeldReplies, command: AdminCommand) {
        match command {
            AdminCommand::Open => {
                if let Err(error) = self.open(hub) {
                    hub.fault("the admin socket cannot be watched", &error);
                }
            }
            AdminCommand::Answer(ticket, answer) => self.answer(hub, held, &ticket, *answer),
            AdminCommand::Progress(ticket, value) => self.progress(&ticket, &value),
        }
    }

    /// The files of the admin sockets.
    pub(super) fn files(&self) -> AdminFiles {
        let Some(socket) = &self.socket else { return AdminFiles::default() };
        let group = socket.group.as_ref().map(|group| Arc::clone(&group.file));
        AdminFiles { own: Some(Arc::clone(&socket.file)), group }
    }

    /// Has the socket of a group watched.
    pub(super) fn watch_group(&self, folder: &RuntimeFolder) {
        folder.watch_group(self.runtime_dir.path(), &self.files());
    }

    /// Listens on the sockets that were made in the place of those before.
    pub(super) fn replace(&mut self, hub: &mut Hub, made: MadeSockets) {
        let Some(socket) = self.socket.as_mut() else { return };
        // Where clients are still held back, nothing is watched yet.
        let is_open = self.listener_source.is_some();
        let mut before = Vec::new();
        if let Some((listener, file)) = made.own {
            socket.file = Arc::new(file);
            before.push((std::mem::replace(&mut socket.listener, listener), self.listener_source.take()));
        }
        if let (Some((listener, file)), Some(group)) = (made.group, &mut socket.group) {
            group.file = Arc::new(file);
            before.push((std::mem::replace(&mut group.listener, listener), self.group_source.take()));
        }
        for (listener, source) in before {
            if let Some(source) = source {
                hub.poller.unregister(listener.as_raw_fd(), source);
            }
            self.closer.close(listener);
        }
        if is_open && let Err(error) = self.open(hub) {
            hub.fault("the admin socket cannot be watched", &error);
        }
    }

    /// Accepts clients, within its turn, of each socket.
    pub(super) fn accept(&mut self, hub: &mut Hub, now: Time) {
        self.accept_of(hub, now, self.listener_source, |socket| Some(&socket.listener));
        self.accept_of(hub, now, self.group_source, |socket| {
            socket.group.as_ref().map(|group| &group.listener)
        });
    }

    fn accept_of(
        &mut self,
        hub: &mut Hub,
        now: Time,
        source: Option<u64>,
        listener: fn(&AdminSocket) -> Option<&UnixListener>,
    ) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = self.socket.as_ref().and_then(listener) else { return };
            if self.closers.is_full() {
                let error =
                    io::Error::other("too many file descriptors of control clients wait to be closed");
                return hub.accept_failed(now, source, "a control connection", &error);
            }
            match listener.accept() {
                Ok((stream, _)) => {
                    hub.accepted();
                    if let Err(error) = self.admit(hub, stream) {
                        hub.fault("a control connection could not be watched", &error);
                    }
                }
                // accept(2) wants a descriptor before it looks for a connection: that it looked says that there is one.
                Err(error) if error.kind() == ErrorKind::WouldBlock => return hub.accepted(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    return hub.accept_failed(now, source, "a control connection", &error);
                }
            }
        }
        hub.poller.go_on_later(source);
    }

    fn admit(&mut self, hub: &mut Hub, stream: UnixStream) -> io::Result<()> {
        let peer = stream.set_nonblocking(true).and_then(|()| peer_credentials(stream.as_fd()));
        let group = self.socket.as_ref().and_then(|socket| socket.group.as_ref()).map(|group| group.gid);
        let is_member = group.is_some_and(|gid| peer_groups(&stream).is_ok_and(|of| of.contains(&gid)));
        // Whoever cannot be told has no pid, and all such are one.
        let pid = peer.as_ref().map_or(0, |peer| peer.pid);
        let (closer, is_let_in) = self.closers.of_process(pid);
        let (fd, stream) = (stream.as_raw_fd(), closer.guard(stream));
        let Some(socket) = &self.socket else { return Ok(()) };
        let (frame_bytes_max, clients_max) = (socket.frame_bytes_max, socket.clients_max);
        let peer = peer.map(|peer| PeerIdentity { pid: peer.pid, uid: peer.uid })?;
        let mut client = AdminConnection::new(stream, closer, peer, frame_bytes_max);
        if peer.uid != self.uid && peer.uid != 0 && !is_member {
            let members = group.map_or(String::new(), |gid| format!(", and members of group {gid}"));
            let text = format!(
                "user {} may not control this host; its own user {} and root may{members}",
                peer.uid, self.uid
            );
            let note = Note::new(EventKind::AdminDenied, "a control connection was refused");
            let details = serde_json::json!({"peer_pid": peer.pid, "peer_uid": peer.uid});
            hub.recorder.record(note.error(text.clone()).details(details).by(Party::Client(peer.pid)));
            client.refuse(&ErrorObject::new(ErrorCode::Denied, text));
            return Ok(());
        }
        if !is_let_in {
            let text = "too many file descriptors that this process passed wait to be closed";
            client.refuse(&ErrorObject::new(ErrorCode::Overloaded, text));
            return Ok(());
        }
        if self.clients.len() >= clients_max {
            let text = format!("{clients_max} control clients are connected, which is the most");
            client.refuse(&ErrorObject::new(ErrorCode::Overloaded, text));
            return Ok(());
        }
        let key = self.clients.insert(client);
        match hub.poller.register(fd, Source::AdminConnection(key), Interest::READABLE) {
            Ok(source) => {
                if let Some(client) = self.clients.get_mut(key) {
                    client.source = source;
                }
                Ok(())
            }
            Err(error) => {
                self.clients.remove(key);
                Err(error)
            }
        }
    }

    /// Serves a client, within its turn: frames that wait from an earlier turn, then new ones. Why the host is to end,
    /// where the client asked for that.
    pub(super) fn read(
        &mut self,
        hub: &mut Hub,
        tables: &mut AdminTables<'_>,
        now: Time,
        key: u64,
        closed: bool,
    ) -> Option<String> {
        let client = self.clients.get(key)?;
        let source = client.source;
        // Readable or writable: what waits for it may go on.
        self.answered.insert(key);
        if client.has_ended() {
            return None;
        }
        let (mut frames_left, mut end) = (FRAMES_PER_TURN, None);
        let mut next = self.serve_frames(hub, tables, now, key, &mut frames_left, &mut end);
        let mut outcome = ReadOutcome::Drained;
        if matches!(next, NextFrame::Nothing)
            && let Some(client) = self.clients.get_mut(key)
        {
            outcome = client.read(closed);
            next = self.serve_frames(hub, tables, now, key, &mut frames_left, &mut end);
        }
        match (next, outcome) {
            (NextFrame::Fault(error), _) => self.end(hub, tables.pending, now, key, Some(&error)),
            // Goes on when its answers are written.
            (NextFrame::Paused, _) => {}
            (NextFrame::Nothing, ReadOutcome::Over(error)) => {
                self.end(hub, tables.pending, now, key, error.as_ref());
            }
            // Its answers are written, and then it is dropped.
            (NextFrame::Nothing, ReadOutcome::Ended(error)) => {
                if let Some(client) = self.clients.get_mut(key) {
                    client.ends(error.as_ref());
                }
            }
            (NextFrame::Nothing, ReadOutcome::Drained) => {}
            _ => hub.poller.go_on_later(Some(source)),
        }
        end
    }

    /// Serves whole frames until there is none, the client is to wait, or its turn is over; what came last.
    fn serve_frames(
        &mut self,
        hub: &mut Hub,
        tables: &mut AdminTables<'_>,
        now: Time,
        key: u64,
        frames_left: &mut usize,
        end: &mut Option<String>,
    ) -> NextFrame {
        while *frames_left > 0 {
            *frames_left -= 1;
            let Some(client) = self.clients.get_mut(key) else { return NextFrame::Nothing };
            let request = match client.take() {
                NextFrame::Frame(AdminFrame::Request(request)) => request,
                NextFrame::Frame(AdminFrame::Bad(id, error)) => {
                    client.answer_bad(id.as_ref(), &error);
                    continue;
                }
                NextFrame::Frame(AdminFrame::Cancel(id, cause)) => {
                    if client.cancels(&id) {
                        self.cancel(hub, tables, now, (&AdminTicket { client: key, id }, cause));
                    }
                    continue;
                }
                NextFrame::Frame(_) => continue,
                last => return last,
            };
            if client.enter(&request.id) {
                let ticket = AdminTicket { client: key, id: request.id };
                let (method, params) = (request.method, request.params.as_deref());
                let asked = (&*method, params, request.fds);
                let (reply, end_asked) = self.serve(hub, tables, now, &ticket, asked);
                *end = end.take().or(end_asked);
                tables.held.expect_answer();
                if let AdminReply::Now(answer) = reply {
                    self.answer(hub, tables.held, &ticket, answer);
                }
            }
        }
        NextFrame::Frame(AdminFrame::Passed)
    }

    /// Ends the call or wait that a request is for. What it did until then stays.
    fn cancel(
        &mut self,
        hub: &mut Hub,
        tables: &mut AdminTables<'_>,
        now: Time,
        (ticket, cause): (&AdminTicket, Option<CancelCause>),
    ) {
        if tables.pending.cancel_of(&mut hub.supervisor, now, ticket, cause.as_ref()) {
            let error = ErrorObject::new(ErrorCode::Cancelled, "the client has cancelled it");
            self.answer(hub, tables.held, ticket, Err(error));
        }
    }

    /// Serves one request. Why the host is to end, where it asks for that.
    fn serve(
        &mut self,
        hub: &mut Hub,
        tables: &mut AdminTables<'_>,
        now: Time,
        ticket: &AdminTicket,
        (method, params, fds): (&str, Option<&RawValue>, Fds),
    ) -> (AdminReply, Option<String>) {
        let peer = self.clients.get(ticket.client).map(|client| client.peer);
        let (Some(socket), Some(peer)) = (self.socket.as_mut(), peer) else {
            return (AdminReply::Later, None);
        };
        let facts = HostFacts {
            uptime: now.since(Time::ZERO),
            runtime_dir: self.runtime_dir.path(),
            clients: self.clients.len() as u32,
            events_dropped: hub.recorder.dropped(),
            ending: tables.ending,
            shortages: hub.shortages(),
            sinks: Arc::clone(&socket.sinks),
        };
        let (mut end, mut notes, mut asked) = (false, Vec::new(), None);
        let mut cx = AdminCx {
            now,
            supervisor: &mut hub.supervisor,
            facts,
            peer_uid: peer.uid,
            peer_pid: peer.pid,
            fds,
            notes: &mut notes,
            asked: &mut asked,
            end: &mut end,
            pending: tables.pending,
            requests: tables.requests,
            commands: &self.commands,
            ticket: ticket.clone(),
        };
        let reply = socket.service.handle(&mut cx, method, params);
        for note in notes {
            hub.recorder.record(note);
        }
        if let Some(call) = asked {
            hub.recorder.asked(call);
        }
        let why = || format!("an operator asked for it (process {}, user {})", peer.pid, peer.uid);
        (reply, end.then(why))
    }

    /// Ends a connection that is not in step any more.
    fn end(
        &mut self,
        hub: &mut Hub,
        pending: &mut PendingReplies,
        now: Time,
        key: u64,
        error: Option<&ErrorObject>,
    ) {
        if let Some(client) = self.clients.get_mut(key) {
            match error {
                Some(error) => client.refuse(error),
                None => drop(client.write()),
            }
        }
        self.drop_client(hub, pending, now, key);
    }

    /// Answers a client once what it asked is on record; the bytes go out at the end of the turn.
    pub(super) fn answer(
        &mut self,
        hub: &mut Hub,
        held: &mut HeldReplies,
        ticket: &AdminTicket,
        answer: AdminAnswer,
    ) {
        if let Some(answer) = held.hold_answer(hub, ticket, answer) {
            self.answer_now(ticket, answer);
        }
    }

    /// Answers a client, whether what it asked is on record or not.
    pub(super) fn answer_now(&mut self, ticket: &AdminTicket, answer: AdminAnswer) {
        if let Some(client) = self.clients.get_mut(ticket.client) {
            client.answer(&ticket.id, answer);
            self.answered.insert(ticket.client);
        }
    }

    /// Tells a client how far its call is.
    pub(super) fn progress(&mut self, ticket: &AdminTicket, value: &RawValue) {
        if let Some(client) = self.clients.get_mut(ticket.client) {
            client.progress(&ticket.id, value);
            self.answered.insert(ticket.client);
        }
    }

    /// Writes what waits for clients, as far as they take it.
    pub(super) fn write(&mut self, hub: &mut Hub, pending: &mut PendingReplies, now: Time) {
        while let Some(key) = self.answered.pop_first() {
            let Some(client) = self.clients.get_mut(key) else { continue };
            if !client.write() || client.is_done() {
                self.drop_client(hub, pending, now, key);
                continue;
            }
            if client.resumes() {
                hub.poller.go_on_later(Some(client.source));
            }
            if let Some(full) = client.fullness_changed() {
                hub.watch_writing(client.stream.as_raw_fd(), client.source, full);
            }
        }
    }

    fn drop_client(&mut self, hub: &mut Hub, pending: &mut PendingReplies, now: Time, key: u64) {
        let Some(client) = self.clients.remove(key) else { return };
        hub.poller.unregister(client.stream.as_raw_fd(), client.source);
        pending.cancel_all_of(&mut hub.supervisor, now, key);
    }
}

/// Clients that nobody has accepted may have passed descriptors too.
impl Drop for AdminConnections {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take() {
            self.closer.close(socket.listener);
            if let Some(group) = socket.group {
                self.closer.close(group.listener);
            }
        }
    }
}
