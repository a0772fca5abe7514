//! Control clients: many connections, each bounded, none trusted beyond its peer credentials.
//!
//! What this file is for: accepting, checking who connects, frames in and out. What it deliberately
//! does not do: know a method; a [`ControlService`] does.
//!
//! What always holds: a client that does not read, or sends what is no frame, costs its own
//! connection only; answers to a client that has gone are dropped.

use super::ends::{Ends, Ticket};
use super::slab::Slab;
use crate::state::action::{CallEnd, Note};
use crate::state::call_error::CallError;
use crate::state::outbox::Outbox;
use crate::state::plugin::PeerIdentity;
use crate::state::supervisor::Supervisor;
use crate::state::time::Time;
use crate::state::waits::Goal;
use rpc_plugin_wire::admin::PluginStatus;
use rpc_plugin_wire::{ErrorCode, ErrorObject, FrameDecoder, Message, PluginId, RequestId, message};
use serde_json::value::RawValue;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// What a control method answers.
pub(crate) type Answer = Result<Box<RawValue>, ErrorObject>;

/// When it answers.
pub(crate) enum Reply {
    /// This.
    Now(Answer),
    /// By a call or a wait that was begun.
    Later,
}

/// What serves control requests. Runs on the event loop: it must not block.
pub(crate) trait ControlService: Send {
    /// Serves one request.
    fn handle(&mut self, cx: &mut ControlCx<'_>, method: &str, params: Option<&RawValue>) -> Reply;
}

/// What a host knows about itself.
#[derive(Debug, Clone)]
pub(crate) struct HostFacts<'a> {
    pub(crate) uptime: Duration,
    pub(crate) runtime_dir: &'a Path,
    pub(crate) clients: u32,
    pub(crate) events_dropped: u64,
}

/// What a control method may look at and do.
pub(crate) struct ControlCx<'a> {
    pub(crate) now: Time,
    pub(crate) supervisor: &'a mut Supervisor,
    pub(crate) facts: HostFacts<'a>,
    /// Who asks.
    pub(crate) peer_uid: u32,
    pub(crate) peer_pid: u32,
    /// Notes to record.
    pub(crate) notes: &'a mut Vec<Note>,
    /// Set to end the host.
    pub(crate) end: &'a mut bool,
    pub(super) ends: &'a mut Ends,
    pub(super) ticket: Ticket,
}

impl ControlCx<'_> {
    /// Calls a plugin; `then` makes the answer of what comes back.
    pub(crate) fn call(
        &mut self,
        id: &PluginId,
        method: String,
        params: Option<Box<RawValue>>,
        timeout: Option<Duration>,
        then: impl FnOnce(CallEnd) -> Answer + Send + 'static,
    ) -> Reply {
        let key = self.ends.add_call_of(self.ticket.clone(), id.clone(), Box::new(then));
        self.supervisor.call(self.now, key, id, method, params, timeout);
        Reply::Later
    }

    /// Asks a plugin for a heartbeat; `then` makes the answer of what comes back.
    pub(crate) fn probe(
        &mut self,
        id: &PluginId,
        then: impl FnOnce(CallEnd) -> Answer + Send + 'static,
    ) -> Reply {
        let key = self.ends.add_call_of(self.ticket.clone(), id.clone(), Box::new(then));
        self.supervisor.probe(self.now, key, id, None);
        Reply::Later
    }

    /// Waits for a plugin; `then` makes the answer of what comes of it.
    pub(crate) fn wait(
        &mut self,
        id: &PluginId,
        goal: Goal,
        timeout: Duration,
        then: impl FnOnce(Result<Box<PluginStatus>, CallError>) -> Answer + Send + 'static,
    ) -> Reply {
        let key = self.ends.add_wait_of(self.ticket.clone(), Box::new(then));
        self.supervisor.wait(self.now, key, id, goal, timeout);
        Reply::Later
    }
}

/// Requests of one client that may wait at once; a further one is answered `overloaded`.
const REQUESTS_PER_CLIENT_MAX: usize = 256;
/// Bytes that may wait to be written to one client; beyond it the client is dropped.
const OUTBOX_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes read from one client in a turn of the loop.
const READ_BYTES: usize = 64 * 1024;

/// One connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: UnixStream,
    pub(super) source: u64,
    pub(super) peer: PeerIdentity,
    inbox: FrameDecoder,
    outbox: Outbox,
    waiting: usize,
}

/// What became of reading.
#[derive(Debug)]
pub(super) enum ReadOutcome {
    /// Nothing more for now.
    Drained,
    /// There may be more.
    More,
    /// The connection is over, and the client is told why where it broke the protocol.
    Over(Option<ErrorObject>),
}

/// A request, out of its frame.
pub(super) struct Asked {
    pub(super) id: RequestId,
    pub(super) method: String,
    pub(super) params: Option<Box<RawValue>>,
}

impl Client {
    /// A client that is not watched yet.
    pub(super) fn new(stream: UnixStream, peer: PeerIdentity, frame_bytes_max: usize) -> Client {
        Client {
            stream,
            source: u64::MAX,
            peer,
            inbox: FrameDecoder::new(frame_bytes_max),
            outbox: Outbox::default(),
            waiting: 0,
        }
    }

    /// Reads once, and takes the requests that are whole. What is no request ends the connection.
    /// `closed`: the kernel said that the client has closed its end.
    pub(super) fn read(&mut self, closed: bool, asked: &mut Vec<Asked>) -> ReadOutcome {
        let outcome = match (&self.stream).read(self.inbox.space(READ_BYTES)) {
            Ok(0) => {
                let truncated = self.inbox.finish().err();
                let error = truncated.map(|error| ErrorObject::new(ErrorCode::ParseError, error.to_string()));
                return ReadOutcome::Over(error);
            }
            Ok(bytes) => {
                self.inbox.filled(bytes);
                // A short read has drained the socket: epoll(7) tells when there is more.
                if bytes < READ_BYTES && !closed { ReadOutcome::Drained } else { ReadOutcome::More }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return ReadOutcome::Drained,
            Err(error) if error.kind() == ErrorKind::Interrupted => return ReadOutcome::More,
            Err(_) => return ReadOutcome::Over(None),
        };
        loop {
            let parsed = match self.inbox.next_frame() {
                Ok(None) => return outcome,
                Err(error) => Err(ErrorObject::new(ErrorCode::TooLarge, error.to_string())),
                Ok(Some(frame)) => match Message::parse(frame) {
                    Err(error) => Err(ErrorObject::new(error.code(), error.to_string())),
                    Ok(Message::Request(request)) => Ok(Some(Asked {
                        id: request.id,
                        method: request.method.into_owned(),
                        params: request.params.map(ToOwned::to_owned),
                    })),
                    Ok(Message::Notification(_)) => Ok(None),
                    Ok(Message::Response(_)) => Err(ErrorObject::new(
                        ErrorCode::InvalidRequest,
                        "an answer, where nothing was asked of the client",
                    )),
                },
            };
            match parsed {
                Ok(Some(request)) => asked.push(request),
                Ok(None) => {}
                Err(error) => return ReadOutcome::Over(Some(error)),
            }
        }
    }

    /// Enters a request; false when too many wait, and then it has been answered.
    pub(super) fn enter(&mut self, id: &RequestId) -> bool {
        if self.waiting >= REQUESTS_PER_CLIENT_MAX {
            let text = format!("{REQUESTS_PER_CLIENT_MAX} requests of this client wait already");
            let error = ErrorObject::new(ErrorCode::Overloaded, text);
            message::write_error(self.outbox.buffer(), Some(id), &error);
            return false;
        }
        self.waiting += 1;
        true
    }

    /// Answers a request that was entered.
    pub(super) fn answer(&mut self, id: &RequestId, answer: &Answer) {
        self.waiting = self.waiting.saturating_sub(1);
        match answer {
            Ok(result) => message::write_result(self.outbox.buffer(), id, result),
            Err(error) => message::write_error(self.outbox.buffer(), Some(id), error),
        }
    }

    /// Says why the client is not served.
    pub(super) fn refuse(&mut self, error: &ErrorObject) {
        message::write_error(self.outbox.buffer(), None, error);
        self.write();
    }

    /// Writes as much as the client takes; false when the connection is over.
    pub(super) fn write(&mut self) -> bool {
        while !self.outbox.is_empty() {
            match (&self.stream).write(self.outbox.waiting()) {
                Ok(bytes) => self.outbox.wrote(bytes),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        self.outbox.waiting_bytes() <= OUTBOX_BYTES_MAX
    }
}

/// All connections.
pub(super) type Clients = Slab<Client>;
