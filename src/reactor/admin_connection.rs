//! One admin connection: a client that asks, bounded, and not trusted beyond its peer credentials.
//!
//! What this file is for: frames in and out. What it deliberately does not do: know a method;
//! [`AdminService`](super::admin_service::AdminService) does.
//!
//! What always holds: a client that does not read, or sends what is no frame, costs its own connection only; no two of its
//! requests that are under way have one id.

use super::admin_fds::AdminFds;
use super::admin_frame::{AdminFrame, AdminRequest};
use super::closers::OwnerCloser;
use crate::state::closing::Passed;
use crate::state::fds::{Fd, Fds};
use crate::state::plugin::PeerIdentity;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rpc_plugin_interface::scm::{self, Received};
use rpc_plugin_peer::SendQueue;
use rpc_plugin_wire::{ErrorCode, ErrorObject, FrameDecoder, Message, RequestId, message};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Answer of an admin method.
pub(crate) type AdminAnswer = Result<AdminResult, ErrorObject>;

/// Result of an admin method.
#[derive(Debug)]
pub(crate) struct AdminResult {
    /// The result, as JSON.
    pub(crate) json: Box<RawValue>,
    /// Descriptors that go with it, to a client that takes them.
    pub(crate) fds: Fds,
}

impl From<Box<RawValue>> for AdminResult {
    fn from(json: Box<RawValue>) -> AdminResult {
        AdminResult { json, fds: Fds::new() }
    }
}

/// Name of one request of one admin connection.
#[derive(Debug, Clone)]
pub(crate) struct AdminTicket {
    /// The connection.
    pub(super) client: u64,
    /// The id that the client gave.
    pub(super) id: RequestId,
}

/// Requests of one client that may wait at once; a further one is answered `overloaded`.
const REQUESTS_PER_CLIENT_MAX: usize = 256;
/// Bytes that may wait to be written to one client; beyond it the client is dropped.
const OUTBOX_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Answers that wait for one client, beyond which no further request of it is taken until it has read
/// some. Bytes. Answers to calls that are under way may still come on top.
const OUTBOX_BYTES_PAUSE: usize = 1024 * 1024;
/// Descriptors that may wait to be written to one client, beside those of one answer.
const OUTBOX_FDS_MAX: usize = 16;
/// Frames of one client that are served in a turn of the loop; then others have theirs.
pub(super) const FRAMES_PER_TURN: usize = 32;
/// Bytes read from one client in a turn of the loop.
const READ_BYTES: usize = 64 * 1024;

/// A connection, and what waits on it.
#[derive(Debug)]
pub(super) struct AdminConnection {
    pub(super) stream: Passed<UnixStream>,
    /// What closes the descriptors that come over it.
    closer: Arc<OwnerCloser>,
    pub(super) source: u64,
    pub(super) peer: PeerIdentity,
    inbox: FrameDecoder,
    fds: AdminFds,
    outbox: SendQueue<Fd>,
    /// Requests that are not answered, and whether the client has cancelled them.
    unanswered: BTreeMap<RequestId, bool>,
    /// It has closed its sending end, and asks no more.
    has_ended: bool,
    /// Nothing more is taken from it until it has read.
    paused: bool,
    /// It takes no more bytes for now, and is watched until it does.
    full: bool,
}

/// Outcome of reading once.
#[derive(Debug)]
pub(super) enum ReadOutcome {
    /// Nothing more for now.
    Drained,
    /// There may be more.
    More,
    /// The client asks no more; why, where what came last is no frame.
    Ended(Option<ErrorObject>),
    /// The connection is over, and the client is told why where it broke the protocol.
    Over(Option<ErrorObject>),
}

/// The next frame of a client.
pub(super) enum NextFrame {
    /// A frame.
    Frame(AdminFrame),
    /// There is no whole frame.
    Nothing,
    /// The client does not read its answers: its frames wait until it does.
    Paused,
    /// What is no frame. It ends the connection; the client is told why.
    Fault(ErrorObject),
}

impl AdminConnection {
    /// A client that is not watched yet. `closer` closes it, and the descriptors that come over it.
    pub(super) fn new(
        stream: Passed<UnixStream>,
        closer: Arc<OwnerCloser>,
        peer: PeerIdentity,
        frame_bytes_max: usize,
    ) -> AdminConnection {
        AdminConnection {
            stream,
            closer,
            source: u64::MAX,
            peer,
            inbox: FrameDecoder::new(frame_bytes_max),
            fds: AdminFds::default(),
            outbox: SendQueue::default(),
            unanswered: BTreeMap::new(),
            has_ended: false,
            paused: false,
            full: false,
        }
    }

    /// Reads once. `closed`: the kernel said that the client has closed its end.
    pub(super) fn read(&mut self, closed: bool) -> ReadOutcome {
        let Some(stream) = self.stream.get() else { return ReadOutcome::Over(None) };
        match scm::receive(stream.as_fd(), self.inbox.space(READ_BYTES)) {
            Ok(Received { bytes: 0, .. }) => {
                let truncated = self.inbox.finish().err();
                let error = truncated.map(|error| ErrorObject::new(ErrorCode::ParseError, error.to_string()));
                ReadOutcome::Ended(error)
            }
            Ok(Received { bytes, fds, truncated }) => {
                self.inbox.filled(bytes);
                // A short read has drained the socket, and epoll(7) tells when there is more; but a read also ends behind
                // bytes with descriptors, whatever follows.
                let is_all = bytes < READ_BYTES && fds.is_empty() && !truncated;
                self.fds.received(bytes, self.closer.take_in(fds), truncated);
                // Where they cannot be closed, no more are let in.
                if !is_all && self.closer.is_full() {
                    let text = "too many file descriptors of control clients wait to be closed";
                    return ReadOutcome::Over(Some(ErrorObject::new(ErrorCode::Overloaded, text)));
                }
                if is_all && !closed { ReadOutcome::Drained } else { ReadOutcome::More }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => ReadOutcome::Drained,
            Err(error) if error.kind() == ErrorKind::Interrupted => ReadOutcome::More,
            Err(_) => ReadOutcome::Over(None),
        }
    }

    /// Takes the next frame that is whole.
    pub(super) fn take(&mut self) -> NextFrame {
        if self.outbox.waiting_bytes() > OUTBOX_BYTES_PAUSE {
            self.paused = true;
            return NextFrame::Paused;
        }
        let frame = match self.inbox.next_frame() {
            Ok(None) => None,
            Err(error) => return NextFrame::Fault(ErrorObject::new(error.code(), error.to_string())),
            Ok(Some(frame)) => Some(AdminFrame::read(frame)),
        };
        let frame = frame.map(|frame| self.with_fds(frame));
        self.fds.settle(self.inbox.buffered_bytes());
        match frame {
            None => NextFrame::Nothing,
            Some(AdminFrame::Fault(error)) => NextFrame::Fault(error),
            Some(frame) => NextFrame::Frame(frame),
        }
    }

    /// The same with the descriptors that it announces.
    fn with_fds(&mut self, frame: AdminFrame) -> AdminFrame {
        match frame {
            AdminFrame::Request(request) => match self.fds.take(request.announced.into()) {
                Ok(fds) => AdminFrame::Request(AdminRequest { fds, ..request }),
                Err(error) => AdminFrame::Bad(Some(request.id), error),
            },
            AdminFrame::Bad(id, error) => {
                // Which of them are its own cannot be told.
                self.fds.clear();
                AdminFrame::Bad(id, error)
            }
            other => other,
        }
    }

    /// Notes that the client asks no more. What it has asked is answered.
    pub(super) fn ends(&mut self, error: Option<&ErrorObject>) {
        self.has_ended = true;
        if let Some(error) = error {
            self.answer_bad(None, error);
        }
    }

    /// Whether it asks no more.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether it asks no more and has its answers, or reads none any more.
    pub(super) fn is_done(&self) -> bool {
        self.has_ended && (self.unanswered.is_empty() && self.outbox.is_empty() || self.is_hung_up())
    }

    /// Whether the client has closed both ends: a closed sending end alone says nothing of the other.
    fn is_hung_up(&self) -> bool {
        let Some(stream) = self.stream.get() else { return true };
        let mut looked_at = [PollFd::new(stream.as_fd(), PollFlags::empty())];
        let is_known = poll(&mut looked_at, PollTimeout::ZERO).is_ok();
        let [seen] = looked_at;
        let flags = PollFlags::POLLHUP | PollFlags::POLLERR;
        is_known && seen.revents().is_some_and(|events| events.intersects(flags))
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

    /// Enters a request; false when too many wait or one has its id, and then it has been answered.
    pub(super) fn enter(&mut self, id: &RequestId) -> bool {
        if self.unanswered.contains_key(id) {
            // With its id it would pass for the answer to the other one.
            let text = format!("a request of id {id} is not answered yet; expected an id of its own");
            self.answer_bad(None, &ErrorObject::new(ErrorCode::InvalidRequest, text));
            return false;
        }
        if self.unanswered.len() >= REQUESTS_PER_CLIENT_MAX {
            let text = format!("{REQUESTS_PER_CLIENT_MAX} requests of this client wait already");
            self.answer_bad(Some(id), &ErrorObject::new(ErrorCode::Overloaded, text));
            return false;
        }
        self.unanswered.insert(id.clone(), false);
        true
    }

    /// Notes that the client has cancelled a request; whether it is not answered, and was not cancelled before.
    pub(super) fn cancels(&mut self, id: &RequestId) -> bool {
        self.unanswered.get_mut(id).is_some_and(|is_cancelled| !std::mem::replace(is_cancelled, true))
    }

    /// Answers a frame that is no request, or a request that was not entered.
    pub(super) fn answer_bad(&mut self, id: Option<&RequestId>, error: &ErrorObject) {
        self.outbox.write(|out| message::write_error(out, id, error));
    }

    /// Answers a request that was entered.
    pub(super) fn answer(&mut self, id: &RequestId, answer: AdminAnswer) {
        self.unanswered.remove(id);
        match answer.and_then(|result| self.check_room(result)) {
            Ok(AdminResult { json, fds }) => {
                let span = self.outbox.write(|out| message::write_result(out, id, &json, fds.len(), &[]));
                self.outbox.attach(span, fds);
            }
            Err(error) => self.answer_bad(Some(id), &error),
        }
    }

    /// Gives a result back for which there is room.
    fn check_room(&mut self, result: AdminResult) -> Result<AdminResult, ErrorObject> {
        let (bytes, count) = (result.json.get().len(), result.fds.len());
        let waiting = self.outbox.waiting_fds();
        let text = if count > 0 && waiting > 0 && waiting + count > OUTBOX_FDS_MAX {
            format!(
                "the {count} file descriptors of the result do not fit: {waiting} wait to be read already, at most \
                 {OUTBOX_FDS_MAX} may"
            )
        } else if self.outbox.has_room(bytes) {
            return Ok(result);
        } else {
            format!("the host has no memory for the {bytes} bytes of the result")
        };
        Err(ErrorObject::new(ErrorCode::Overloaded, text))
    }

    /// Tells of the progress of what it asked for. A client that does not read misses it, and is not dropped for it.
    pub(super) fn progress(&mut self, id: &RequestId, value: &RawValue) {
        if self.outbox.waiting_bytes() <= OUTBOX_BYTES_PAUSE {
            self.outbox.write(|out| message::write_progress(out, id, value.get()));
        }
    }

    /// Says why the client is not served.
    pub(super) fn refuse(&mut self, error: &ErrorObject) {
        self.answer_bad(None, error);
        self.write();
    }

    /// Writes as much as the client takes; false when the connection is over.
    pub(super) fn write(&mut self) -> bool {
        while !self.outbox.is_empty() {
            let Some(stream) = self.stream.get() else { return false };
            let (bytes, fds) = self.outbox.waiting();
            match scm::send(stream.as_fd(), bytes, fds, false) {
                Ok(bytes) => self.outbox.wrote(bytes),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.raw_os_error() == Some(Errno::ETOOMANYREFS as i32) => {
                    if !self.answer_without_fds(&error) {
                        return false;
                    }
                }
                Err(_) => return false,
            }
        }
        self.outbox.waiting_bytes() <= OUTBOX_BYTES_MAX
    }

    /// Puts an error in the place of the next answer, whose descriptors the kernel does not take; whether there was one.
    fn answer_without_fds(&mut self, error: &io::Error) -> bool {
        let Some((_, frame)) = self.outbox.withdraw_attached() else { return false };
        let Ok(Message::Response(answer)) = Message::parse(frame.trim_ascii_end()) else { return false };
        let text = format!("the file descriptors of the result cannot be passed on: {error}");
        self.answer_bad(answer.id.as_ref(), &ErrorObject::new(ErrorCode::Overloaded, text));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn client() -> (AdminConnection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let closers = crate::reactor::closers::Closers::new(Default::default(), drop);
        let (closer, peer) = (Arc::clone(&closers.program), PeerIdentity { pid: 1, uid: 1 });
        (AdminConnection::new(closer.guard(ours), closer, peer, 1024), theirs)
    }

    fn answer_of(bytes: usize) -> AdminAnswer {
        Ok(RawValue::from_string(format!("\"{}\"", "x".repeat(bytes))).unwrap().into())
    }

    fn asks_m(next: NextFrame) -> bool {
        matches!(next, NextFrame::Frame(AdminFrame::Request(asked)) if asked.method == "m")
    }

    #[test]
    fn two_requests_under_way_have_two_ids_and_a_cancel_counts_once() {
        let (mut client, mut theirs) = client();
        let (one, other) = (RequestId::Number(1), RequestId::Text("1".into()));
        assert!(client.enter(&one) && client.enter(&other) && !client.enter(&one));
        assert!(client.write());
        let mut buffer = [0; 1024];
        let bytes = theirs.read(&mut buffer).unwrap();
        let said = std::str::from_utf8(&buffer[..bytes]).unwrap();
        assert!(
            said.contains("\"id\":null") && said.contains("a request of id 1 is not answered yet"),
            "{said}"
        );
        assert!(client.cancels(&one) && !client.cancels(&one) && !client.cancels(&RequestId::Number(2)));
        client.answer(&one, answer_of(1));
        assert!(client.enter(&one), "it was answered");
    }

    #[test]
    fn a_client_that_asks_no_more_is_done_when_it_has_its_answers_or_hangs_up() {
        let (mut client, theirs) = client();
        client.enter(&RequestId::Number(1));
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(matches!(client.read(true), ReadOutcome::Ended(None)));
        client.ends(None);
        assert!(!client.is_done(), "it still reads");
        client.answer(&RequestId::Number(1), answer_of(1));
        assert!(!client.is_done() && client.write() && client.is_done());
        client.enter(&RequestId::Number(2));
        assert!(!client.is_done());
        drop(theirs);
        assert!(client.is_done(), "nobody reads the answer");
    }

    #[test]
    fn a_client_that_takes_nothing_is_over_at_its_bound() {
        let (mut client, _theirs) = client();
        let fits = OUTBOX_BYTES_MAX / (1 << 20) - 1;
        for id in 0..fits {
            client.answer(&RequestId::Number(id as u64), answer_of(1 << 20));
            assert!(client.write(), "{id}");
        }
        client.answer(&RequestId::Number(99), answer_of(1 << 20));
        client.answer(&RequestId::Number(100), answer_of(1 << 20));
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
                assert!(asks_m(client.take()), "{count}");
            }
            assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0, "{count}: nobody has its other end");
        }
    }

    #[test]
    fn requests_wait_while_answers_do_and_go_on_once_they_are_read() {
        let (mut client, mut theirs) = client();
        theirs.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\"}\n").unwrap();
        assert!(matches!(client.read(false), ReadOutcome::Drained));
        client.answer(&RequestId::Number(0), answer_of(OUTBOX_BYTES_PAUSE));
        assert!(matches!(client.take(), NextFrame::Paused) && !client.resumes());
        let mut read = Vec::new();
        while !client.outbox.is_empty() {
            assert!(client.write());
            let mut buffer = vec![0; 1 << 20];
            let bytes = theirs.read(&mut buffer).unwrap();
            read.extend_from_slice(&buffer[..bytes]);
        }
        assert!(client.resumes() && !client.resumes(), "once");
        assert!(asks_m(client.take()));
        assert!(matches!(client.take(), NextFrame::Nothing));
    }
}
