//! One admin connection: a client that asks, bounded, and not trusted beyond its peer credentials.
//!
//! What this file is for: frames in and out. What it deliberately does not do: know a method;
//! [`AdminService`](super::admin_service::AdminService) does.
//!
//! What always holds: a client that does not read, or sends what is no frame, costs its own connection only.

use super::closers::OwnerCloser;
use crate::state::closing::{Closer, Passed};
use crate::state::fds::Fd;
use crate::state::plugin::PeerIdentity;
use rpc_plugin_interface::scm::{self, Received};
use rpc_plugin_peer::SendQueue;
use rpc_plugin_wire::{ErrorCode, ErrorObject, FrameDecoder, Message, RequestId, message};
use serde_json::value::RawValue;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Answer of an admin method.
pub(crate) type AdminAnswer = Result<Box<RawValue>, ErrorObject>;

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
    outbox: SendQueue<Fd>,
    /// Requests that are not answered.
    unanswered: usize,
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
    /// The connection is over, and the client is told why where it broke the protocol.
    Over(Option<ErrorObject>),
}

/// The next frame of a client.
pub(super) enum NextFrame {
    /// A request.
    Request(AdminRequest),
    /// A frame that needs no answer.
    Passed,
    /// There is no whole frame.
    Nothing,
    /// The client does not read its answers: its frames wait until it does.
    Paused,
    /// A frame that is no request. It ends the connection; the client is told why.
    Fault(ErrorObject),
}

/// A request, out of its frame.
pub(super) struct AdminRequest {
    pub(super) id: RequestId,
    pub(super) method: String,
    pub(super) params: Option<Box<RawValue>>,
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
            outbox: SendQueue::default(),
            unanswered: 0,
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
                ReadOutcome::Over(error)
            }
            Ok(Received { bytes, fds, truncated }) => {
                self.inbox.filled(bytes);
                // A short read has drained the socket, and epoll(7) tells when there is more; but a read also ends behind
                // bytes with descriptors, whatever follows.
                let is_all = bytes < READ_BYTES && fds.is_empty() && !truncated;
                // Nothing here takes descriptors. Where they cannot be closed, no more are let in.
                fds.into_iter().for_each(|fd| self.closer.close(fd));
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
            Ok(None) => return NextFrame::Nothing,
            Err(error) => return NextFrame::Fault(ErrorObject::new(error.code(), error.to_string())),
            Ok(Some(frame)) => frame,
        };
        match Message::parse(frame) {
            Err(error) => NextFrame::Fault(ErrorObject::new(error.code(), error.to_string())),
            Ok(Message::Request(request)) => NextFrame::Request(AdminRequest {
                id: request.id,
                method: request.method.into_owned(),
                params: request.params.map(ToOwned::to_owned),
            }),
            Ok(Message::Notification(_)) => NextFrame::Passed,
            Ok(Message::Response(_)) => NextFrame::Fault(ErrorObject::new(
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
        if self.unanswered >= REQUESTS_PER_CLIENT_MAX {
            let text = format!("{REQUESTS_PER_CLIENT_MAX} requests of this client wait already");
            let error = ErrorObject::new(ErrorCode::Overloaded, text);
            self.outbox.write(|out| message::write_error(out, Some(id), &error));
            return false;
        }
        self.unanswered += 1;
        true
    }

    /// Answers a request that was entered.
    pub(super) fn answer(&mut self, id: &RequestId, answer: &AdminAnswer) {
        self.unanswered = self.unanswered.saturating_sub(1);
        let bytes = answer.as_ref().map_or(0, |result| result.get().len());
        let has_room = self.outbox.has_room(bytes);
        self.outbox.write(|out| match answer {
            Ok(result) if has_room => message::write_result(out, id, result, 0, &[]),
            Ok(_) => {
                let text = format!("the host has no memory for the {bytes} bytes of the result");
                message::write_error(out, Some(id), &ErrorObject::new(ErrorCode::Overloaded, text));
            }
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
        let Some(mut stream) = self.stream.get() else { return false };
        while !self.outbox.is_empty() {
            match stream.write(self.outbox.waiting().0) {
                Ok(bytes) => self.outbox.wrote(bytes),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        self.outbox.waiting_bytes() <= OUTBOX_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn client() -> (AdminConnection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let closers = crate::reactor::closers::Closers::new(Default::default(), drop);
        let (closer, peer) = (Arc::clone(&closers.clients), PeerIdentity { pid: 1, uid: 1 });
        (AdminConnection::new(closer.guard(ours), closer, peer, 1024), theirs)
    }

    fn answer_of(bytes: usize) -> AdminAnswer {
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
                assert!(matches!(client.take(), NextFrame::Request(asked) if asked.method == "m"), "{count}");
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
        assert!(matches!(client.take(), NextFrame::Paused) && !client.resumes());
        let mut read = Vec::new();
        while !client.outbox.is_empty() {
            assert!(client.write());
            let mut buffer = vec![0; 1 << 20];
            let bytes = theirs.read(&mut buffer).unwrap();
            read.extend_from_slice(&buffer[..bytes]);
        }
        assert!(client.resumes() && !client.resumes(), "once");
        assert!(matches!(client.take(), NextFrame::Request(asked) if asked.method == "m"));
        assert!(matches!(client.take(), NextFrame::Nothing));
    }
}
