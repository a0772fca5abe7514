//! Control clients: many connections, each bounded, none trusted beyond its peer credentials.
//!
//! What this file is for: accepting, checking who connects, frames in and out. What it deliberately
//! does not do: know a method; a [`ControlService`] does.
//!
//! What always holds: a client that does not read, or sends what is no frame, costs its own
//! connection only; answers to a client that has gone are dropped.

use super::SinkQuestions;
use super::pending_replies::{PendingReplies, Ticket};
use super::slab::Slab;
use crate::state::action::Note;
use crate::state::call::CallEnd;
use crate::state::call::CallRequest;
use crate::state::fds::Fd;
use crate::state::plugin::PeerIdentity;
use crate::state::supervisor::Supervisor;
use crate::state::time::Time;
use crate::state::waits::Goal;
use rpc_plugin_interface::scm::{self, Received};
use rpc_plugin_peer::SendQueue;
use rpc_plugin_wire::admin::PluginStatus;
use rpc_plugin_wire::{
    CallError, ErrorCode, ErrorObject, FrameDecoder, Message, PluginId, RequestId, message,
};
use serde_json::value::RawValue;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
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
#[derive(Clone)]
pub(crate) struct HostFacts<'a> {
    pub(crate) uptime: Duration,
    pub(crate) runtime_dir: &'a Path,
    pub(crate) clients: u32,
    pub(crate) events_dropped: u64,
    pub(crate) sinks: SinkQuestions,
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
    pub(super) ends: &'a mut PendingReplies,
    pub(super) ticket: Ticket,
}

impl ControlCx<'_> {
    /// The request, in the record: the client's number and the id it gave.
    pub(crate) fn operation_id(&self) -> String {
        format!("{}.{}", self.ticket.client, self.ticket.id)
    }

    /// Makes a call; `then` makes the answer of what comes back.
    pub(crate) fn call(
        &mut self,
        request: CallRequest,
        then: impl FnOnce(CallEnd) -> Answer + Send + 'static,
    ) -> Reply {
        let key = self.ends.add_call_of(self.ticket.clone(), Box::new(then));
        let at = self.supervisor.call(self.now, key, request);
        self.ends.place_call(key, at);
        Reply::Later
    }

    /// Asks a plugin for a heartbeat; `then` makes the answer of what comes back.
    pub(crate) fn probe(
        &mut self,
        id: &PluginId,
        then: impl FnOnce(CallEnd) -> Answer + Send + 'static,
    ) -> Reply {
        let key = self.ends.add_call_of(self.ticket.clone(), Box::new(then));
        self.ends.place_call(key, self.supervisor.find(id));
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
/// Answers that wait for one client, beyond which no further request of it is taken until it has read
/// some. Bytes. Answers to calls that are under way may still come on top.
const OUTBOX_BYTES_PAUSE: usize = 1024 * 1024;
/// Frames of one client that are served in a turn of the loop; then others have theirs.
pub(super) const FRAMES_PER_TURN: usize = 32;
/// Bytes read from one client in a turn of the loop.
const READ_BYTES: usize = 64 * 1024;

/// One connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: UnixStream,
    pub(super) source: u64,
    pub(super) peer: PeerIdentity,
    inbox: FrameDecoder,
    outbox: SendQueue<Fd>,
    waiting: usize,
    /// Nothing more is taken from it until it has read.
    paused: bool,
    /// It takes no more bytes for now, and is watched until it does.
    full: bool,
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

/// What the next frame of a client was.
pub(super) enum Taken {
    /// A request.
    Request(Asked),
    /// Something that needs no answer.
    Passed,
    /// There is no whole frame.
    Nothing,
    /// It does not read its answers: its frames wait until it does.
    Paused,
    /// What is no request ends the connection; the client is told why.
    Fault(ErrorObject),
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
            outbox: SendQueue::default(),
            waiting: 0,
            paused: false,
            full: false,
        }
    }

    /// Reads once. `closed`: the kernel said that the client has closed its end.
    pub(super) fn read(&mut self, closed: bool) -> ReadOutcome {
        // Nothing here takes descriptors: those that come are closed.
        match scm::receive(self.stream.as_fd(), self.inbox.space(READ_BYTES)) {
            Ok(Received { bytes: 0, .. }) => {
                let truncated = self.inbox.finish().err();
                let error = truncated.map(|error| ErrorObject::new(ErrorCode::ParseError, error.to_string()));
                ReadOutcome::Over(error)
            }
            Ok(Received { bytes, fds, truncated }) => {
                self.inbox.filled(bytes);
                // A short read has drained the socket, and epoll(7) tells when there is more; but a read also ends behind
                // bytes with descriptors, whatever follows.
                let is_all = bytes < READ_BYTES && fds.is_empty() && !truncated;
                if is_all && !closed { ReadOutcome::Drained } else { ReadOutcome::More }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => ReadOutcome::Drained,
            Err(error) if error.kind() == ErrorKind::Interrupted => ReadOutcome::More,
            Err(_) => ReadOutcome::Over(None),
        }
    }

    /// Takes the next frame that is whole.
    pub(super) fn take(&mut self) -> Taken {
        if self.outbox.waiting_bytes() > OUTBOX_BYTES_PAUSE {
            self.paused = true;
            return Taken::Paused;
        }
        let frame = match self.inbox.next_frame() {
            Ok(None) => return Taken::Nothing,
            Err(error) => return Taken::Fault(ErrorObject::new(ErrorCode::TooLarge, error.to_string())),
            Ok(Some(frame)) => frame,
        };
        match Message::parse(frame) {
            Err(error) => Taken::Fault(ErrorObject::new(error.code(), error.to_string())),
            Ok(Message::Request(request)) => Taken::Request(Asked {
                id: request.id,
                method: request.method.into_owned(),
                params: request.params.map(ToOwned::to_owned),
            }),
            Ok(Message::Notification(_)) => Taken::Passed,
            Ok(Message::Response(_)) => Taken::Fault(ErrorObject::new(
                ErrorCode::InvalidRequest,
                "an answer, where nothing was asked of the client",
            )),
        }
    }

    /// Whether its frames waited for it to read, and need wait no more.
    pub(super) fn resumes(&mut self) -> bool {
        let resumes = self.paused && self.outbox.waiting_bytes() <= OUTBOX_BYTES_PAUSE;
        if resumes {
            self.paused = false;
        }
        resumes
    }

    /// Whether it takes no more bytes for now, where that has changed since it was last asked.
    pub(super) fn fullness_changed(&mut self) -> Option<bool> {
        let full = !self.outbox.is_empty();
        (std::mem::replace(&mut self.full, full) != full).then_some(full)
    }

    /// Enters a request; false when too many wait, and then it has been answered.
    pub(super) fn enter(&mut self, id: &RequestId) -> bool {
        if self.waiting >= REQUESTS_PER_CLIENT_MAX {
            let text = format!("{REQUESTS_PER_CLIENT_MAX} requests of this client wait already");
            let error = ErrorObject::new(ErrorCode::Overloaded, text);
            self.outbox.write(|out| message::write_error(out, Some(id), &error));
            return false;
        }
        self.waiting += 1;
        true
    }

    /// Answers a request that was entered.
    pub(super) fn answer(&mut self, id: &RequestId, answer: &Answer) {
        self.waiting = self.waiting.saturating_sub(1);
        self.outbox.write(|out| match answer {
            Ok(result) => message::write_result(out, id, result, 0),
            Err(error) => message::write_error(out, Some(id), error),
        });
    }

    /// Tells of the progress of what it asked for. A client that does not read misses it, and is not dropped for it.
    pub(super) fn progress(&mut self, id: &RequestId, value: &RawValue) {
        if self.outbox.waiting_bytes() <= OUTBOX_BYTES_PAUSE {
            self.outbox.write(|out| message::write_progress(out, id, value.get()));
        }
    }

    /// Says why the client is not served.
    pub(super) fn refuse(&mut self, error: &ErrorObject) {
        self.outbox.write(|out| message::write_error(out, None, error));
        self.write();
    }

    /// Writes as much as the client takes; false when the connection is over.
    pub(super) fn write(&mut self) -> bool {
        while !self.outbox.is_empty() {
            match (&self.stream).write(self.outbox.waiting().0) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn client() -> (Client, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Client::new(ours, PeerIdentity { pid: 1, uid: 1 }, 1024), theirs)
    }

    fn answer_of(bytes: usize) -> Answer {
        Ok(RawValue::from_string(format!("\"{}\"", "x".repeat(bytes))).unwrap())
    }

    #[test]
    fn a_client_that_takes_nothing_is_over_at_its_bound() {
        let (mut client, _theirs) = client();
        let answer = answer_of(1 << 20);
        let fits = OUTBOX_BYTES_MAX / (1 << 20) - 1;
        for id in 0..fits {
            client.answer(&RequestId::Number(id as u64), &answer);
            assert!(client.write(), "{id}");
        }
        client.answer(&RequestId::Number(99), &answer);
        client.answer(&RequestId::Number(100), &answer);
        assert!(!client.write());
    }

    #[test]
    fn a_client_that_attaches_descriptors_does_not_stall_itself_and_they_are_closed() {
        let (mut client, mut theirs) = client();
        let request = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\"}\n";
        // 16 are received, 20 are more than that.
        for count in [1, 16, 20] {
            let (mut reader, writer) = std::io::pipe().unwrap();
            let raw = vec![std::os::fd::AsRawFd::as_raw_fd(&writer); count];
            let parts = [std::io::IoSlice::new(request)];
            let rights = [nix::sys::socket::ControlMessage::ScmRights(&raw)];
            let (fd, flags) = (std::os::fd::AsRawFd::as_raw_fd(&theirs), nix::sys::socket::MsgFlags::empty());
            nix::sys::socket::sendmsg::<()>(fd, &parts, &rights, flags, None).unwrap();
            drop(writer);
            theirs.write_all(request).unwrap();
            assert!(
                matches!(client.read(false), ReadOutcome::More),
                "{count}: the kernel ends the read there"
            );
            assert!(matches!(client.read(false), ReadOutcome::Drained), "{count}");
            for _ in 0..2 {
                assert!(matches!(client.take(), Taken::Request(asked) if asked.method == "m"), "{count}");
            }
            assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0, "{count}: nobody has its other end");
        }
    }

    #[test]
    fn requests_wait_while_answers_do_and_go_on_once_they_are_read() {
        let (mut client, mut theirs) = client();
        theirs.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\"}\n").unwrap();
        assert!(matches!(client.read(false), ReadOutcome::Drained));
        client.answer(&RequestId::Number(0), &answer_of(OUTBOX_BYTES_PAUSE));
        assert!(matches!(client.take(), Taken::Paused) && !client.resumes());
        let mut read = Vec::new();
        while !client.outbox.is_empty() {
            assert!(client.write());
            let mut buffer = vec![0; 1 << 20];
            let bytes = theirs.read(&mut buffer).unwrap();
            read.extend_from_slice(&buffer[..bytes]);
        }
        assert!(client.resumes() && !client.resumes(), "once");
        assert!(matches!(client.take(), Taken::Request(asked) if asked.method == "m"));
        assert!(matches!(client.take(), Taken::Nothing));
    }
}
