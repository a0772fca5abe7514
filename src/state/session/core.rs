//! A session behind its inbox: what each message means at each stage.

use super::streams::Streams;
use super::types::{Asked, Expectation, Fault, SessionEvent};
use crate::state::fds::{Fd, Fds};
use crate::state::incoming::{Entered, Incoming};
use crate::state::keys::{Caller, Cx};
use crate::state::outbox::Outbox;
use crate::state::outgoing::Outgoing;
use crate::state::policy::Policy;
use rpc_plugin_wire::CallError;
use rpc_plugin_wire::fds::Waiting;
use rpc_plugin_wire::handshake::METHOD_HELLO;
use rpc_plugin_wire::life::{Cancel, METHOD_CANCEL, METHOD_EVENT, METHOD_LOG, METHOD_PROGRESS, Progress};
use rpc_plugin_wire::limits::FDS_PER_FRAME_MAX;
use rpc_plugin_wire::message::params_into;
use rpc_plugin_wire::stream::StreamFrame;
use rpc_plugin_wire::{
    ErrorCode, ErrorObject, FrameError, Message, Notification, Request, RequestId, Response, message,
};
use serde_json::value::RawValue;
use std::collections::VecDeque;
use std::time::Duration;

/// Bytes of an answer's frame beside its result, at the most.
const ANSWER_ENVELOPE_BYTES: usize = 512;
/// An error's frame of so many bytes is always told as it is.
const ERROR_BYTES_SMALL: usize = 4096;
/// Characters that are kept of the message of one that does not fit.
const ERROR_TEXT_CHARS: usize = 256;
/// Descriptors that may wait for a peer to read them. Those of one frame always may.
pub(super) const OUTBOX_FDS_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Greeting,
    Open,
    Closed,
}

/// A session without its inbox, so that a frame can be borrowed while it is handled.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) expectation: Expectation,
    pub(super) stage: Stage,
    pub(super) outbox: Outbox,
    pub(super) outgoing: Outgoing,
    pub(super) incoming: Incoming,
    /// Descriptors that came, and why they are a fault.
    pub(super) came: Waiting<Fd>,
    pub(super) came_wrong: Option<String>,
    /// Whether the peer takes descriptors.
    pub(super) takes_fds: bool,
    pub(super) streams: Streams,
    pub(super) events: VecDeque<SessionEvent>,
    pub(super) frame_bytes_max: usize,
    pub(super) outbox_bytes_max: usize,
    pub(super) calls_in_flight_max: usize,
    pub(super) cancel_grace: Duration,
    pub(super) heartbeat_interval: Duration,
}

impl Core {
    pub(super) fn new(expectation: Expectation, policy: &Policy) -> Core {
        Core {
            expectation,
            stage: Stage::Greeting,
            outbox: Outbox::default(),
            outgoing: Outgoing::default(),
            incoming: Incoming::default(),
            came: Waiting::default(),
            came_wrong: None,
            takes_fds: false,
            streams: Streams::default(),
            events: VecDeque::new(),
            frame_bytes_max: policy.frame_bytes_max,
            outbox_bytes_max: policy.outbox_bytes_max,
            calls_in_flight_max: policy.calls_in_flight_max,
            cancel_grace: policy.cancel_grace,
            heartbeat_interval: policy.heartbeat_interval,
        }
    }

    pub(super) fn handle_frame(&mut self, cx: &mut Cx<'_>, frame: &[u8]) {
        let message = match Message::parse(frame) {
            Ok(message) => message,
            Err(error) => {
                let object = ErrorObject::new(error.code(), error.to_string());
                return self.refuse(cx, None, object, error.to_string());
            }
        };
        let announced = match &message {
            Message::Request(m) => m.fds,
            Message::Notification(m) => m.fds,
            Message::Response(m) => m.fds,
        };
        let fds = match announced {
            0 => Fds::new(),
            count => match self.came.take(count.into()) {
                Ok(fds) => fds,
                Err(error) => return self.refuse_fds(cx, error.to_string()),
            },
        };
        let came = match &message {
            Message::Request(m) => m.streams.as_slice(),
            Message::Response(m) => m.streams.as_slice(),
            Message::Notification(_) => &[],
        };
        if let Err(why) = self.streams.came(came) {
            return self.refuse_fds(cx, why);
        }
        match (self.stage, message) {
            (Stage::Closed, _) => {}
            (Stage::Greeting, Message::Request(request)) if request.method == METHOD_HELLO => {
                self.handle_hello(cx, &request);
            }
            (Stage::Greeting, Message::Request(request)) => {
                let why = format!("the first frame is a request of {:?}, not {METHOD_HELLO}", request.method);
                self.reject(cx, Some(&request.id), why);
            }
            (Stage::Greeting, Message::Notification(notification)) => {
                let why = format!(
                    "the first frame is the notification {:?}, not {METHOD_HELLO}",
                    notification.method
                );
                self.reject(cx, None, why);
            }
            (Stage::Greeting, Message::Response(_)) => {
                self.reject(cx, None, format!("the first frame is an answer, not {METHOD_HELLO}"));
            }
            (Stage::Open, Message::Request(request)) => self.handle_request(cx, request, fds),
            (Stage::Open, Message::Notification(notification)) => {
                self.handle_notification(cx, &notification);
            }
            (Stage::Open, Message::Response(response)) => self.handle_response(cx, response, fds),
        }
    }

    pub(super) fn handle_unreadable(&mut self, cx: &mut Cx<'_>, error: FrameError) {
        let code = match error {
            FrameError::TooLong { .. } => ErrorCode::TooLarge,
            FrameError::Truncated { .. } => ErrorCode::ParseError,
        };
        self.refuse(cx, None, ErrorObject::new(code, error.to_string()), error.to_string());
    }

    /// What came beside the bytes breaks the protocol.
    pub(super) fn refuse_fds(&mut self, cx: &mut Cx<'_>, why: String) {
        if self.stage == Stage::Greeting {
            return self.reject(cx, None, why);
        }
        self.refuse(cx, None, ErrorObject::new(ErrorCode::InvalidRequest, why.clone()), why);
    }

    pub(super) fn handle_request(&mut self, cx: &mut Cx<'_>, request: Request<'_>, fds: Fds) {
        if request.method == METHOD_HELLO {
            let why = format!("a second {METHOD_HELLO}");
            let error = ErrorObject::new(ErrorCode::InvalidRequest, why.clone());
            return self.refuse(cx, Some(&request.id), error, why);
        }
        match self.incoming.enter(&request.id, fds.len()) {
            Entered::Waiting => {
                let deadline = request.deadline_ms.map(|ms| cx.now.plus(Duration::from_millis(ms)));
                self.events.push_back(SessionEvent::Asked(Box::new(Asked {
                    id: request.id,
                    method: request.method.into_owned(),
                    params: request.params.map(ToOwned::to_owned),
                    deadline,
                    chain: request.chain,
                    progress: request.progress,
                    fds,
                    streams: request.streams,
                })));
            }
            Entered::Full(what) => {
                self.refuse_streams(request.streams);
                let text = format!("too many {what} wait for the host");
                let error = ErrorObject::new(ErrorCode::Overloaded, text);
                message::write_error(self.outbox.buffer(), Some(&request.id), &error);
                self.check_outbox(cx);
            }
            Entered::Duplicate => {
                let why = format!("request id {} waits for an answer already", request.id);
                let error = ErrorObject::new(ErrorCode::InvalidRequest, why.clone());
                self.refuse(cx, None, error, why);
            }
        }
    }

    /// The protocol's own notifications; one that nobody knows is for a later version of it.
    fn handle_notification(&mut self, cx: &mut Cx<'_>, notification: &Notification<'_>) {
        let params = || notification.params.map(ToOwned::to_owned);
        match &*notification.method {
            METHOD_LOG => self.events.push_back(SessionEvent::Told(METHOD_LOG, params())),
            METHOD_EVENT => self.events.push_back(SessionEvent::Told(METHOD_EVENT, params())),
            METHOD_CANCEL => match params_into::<Cancel>(notification.params) {
                // An id that does not wait means that the answer was faster.
                Ok(Cancel { id }) if self.incoming.contains(&id) => {
                    self.events.push_back(SessionEvent::Abandoned(id));
                }
                Ok(_) => {}
                Err(error) => self.refuse_params(cx, METHOD_CANCEL, error),
            },
            METHOD_PROGRESS => match params_into::<Progress>(notification.params) {
                Ok(progress) => self.handle_progress(cx, progress),
                Err(error) => self.refuse_params(cx, METHOD_PROGRESS, error),
            },
            method => match StreamFrame::read(method, notification.params) {
                Ok(None) => {}
                Ok(Some(frame)) => match self.streams.named(frame.stream()) {
                    Ok(()) => self.events.push_back(SessionEvent::Stream(frame)),
                    Err(why) => self.refuse_fds(cx, why),
                },
                Err(why) => self.refuse_fds(cx, why),
            },
        }
    }

    fn refuse_params(&mut self, cx: &mut Cx<'_>, method: &str, error: ErrorObject) {
        let why = format!("{method} has {}", error.message);
        self.refuse(cx, None, ErrorObject::new(ErrorCode::InvalidParams, why.clone()), why);
    }

    /// Passed on only while somebody waits who asked for it.
    fn handle_progress(&mut self, cx: &mut Cx<'_>, progress: Progress) {
        let known = match &progress.id {
            RequestId::Number(id) if *id < self.outgoing.next_id() => Some(*id),
            _ => None,
        };
        let Some(id) = known else {
            let why = format!("{METHOD_PROGRESS} names request {}, which was never made", progress.id);
            return self.fault(cx, Fault::Violation(why));
        };
        let pending = self.outgoing.get(id);
        if pending.is_some_and(|pending| !self.outbox.has_begun(pending.offset)) {
            let why = format!("{METHOD_PROGRESS} names request {id}, which has not been asked yet");
            return self.fault(cx, Fault::Violation(why));
        }
        let pending = pending.filter(|pending| pending.progress);
        if let Some(Caller::Call(key)) = pending.and_then(|pending| pending.caller) {
            self.events.push_back(SessionEvent::Progress(key, progress.value));
        }
    }

    pub(super) fn handle_response(&mut self, cx: &mut Cx<'_>, response: Response<'_>, fds: Fds) {
        let id = match response.id {
            Some(RequestId::Number(id)) => id,
            Some(id) => return self.fault(cx, Fault::Violation(format!("an answer to unknown id {id}"))),
            None => {
                let error = response.result.err().map(|error| error.to_string()).unwrap_or_default();
                return self.fault(cx, Fault::Violation(format!("it could not read a frame: {error}")));
            }
        };
        // An answer to what has not been asked yet is a guess, and must not pass for the answer.
        let asked = self.outgoing.get(id).is_some_and(|pending| self.outbox.has_begun(pending.offset));
        let Some(pending) = asked.then(|| self.outgoing.remove(id)).flatten() else {
            let why = format!("an answer to unknown id {id}, which {}", self.why_unknown(id));
            return self.fault(cx, Fault::Violation(why));
        };
        let caller = self.settle(cx, &pending);
        let mut streams = response.streams;
        if !matches!(caller, Some(Caller::Call(_))) || response.result.is_err() {
            self.refuse_streams(std::mem::take(&mut streams));
        }
        let Some(caller) = caller else {
            // An answer to what its caller cancelled is as the protocol wants it, within the deadline.
            if !pending.in_grace {
                return;
            }
            return self.events.push_back(SessionEvent::LateAnswer(pending.method));
        };
        let result = match response.result {
            Ok(raw) => Ok(raw.to_owned()),
            Err(object) => {
                let expected = &self.expectation;
                Err(CallError::answered(object).at(&expected.plugin_id, Some(expected.generation)))
            }
        };
        self.complete(cx, pending, caller, result, (fds, streams));
    }

    /// Why no request of that id waits for an answer.
    fn why_unknown(&self, id: u64) -> &'static str {
        if id >= self.outgoing.next_id() {
            "was never asked"
        } else if self.outgoing.get(id).is_some() {
            "has not been asked yet"
        } else {
            "does not wait any more: it was answered before, or withdrawn before it was sent"
        }
    }

    /// An answer that the plugin would not take, or that does not fit beside what waits for it, is an error.
    pub(super) fn answer(
        &mut self,
        cx: &mut Cx<'_>,
        id: &RequestId,
        result: Result<&RawValue, ErrorObject>,
        fds: Fds,
    ) {
        if self.stage != Stage::Open || !self.incoming.leave(id) {
            return;
        }
        let result = result.and_then(|raw| self.check_answer(raw, &fds).map(|()| raw));
        match result {
            Ok(result) if fds.is_empty() || self.takes_fds => {
                let offset = self.outbox.next_offset();
                message::write_result(self.outbox.buffer(), id, result, fds.len());
                self.outbox.attach(offset, fds, Some(id));
            }
            Ok(result) => {
                let (offset, numbers) = (self.outbox.next_offset(), self.streams.next_numbers(fds.len()));
                message::write_result_with_streams(self.outbox.buffer(), id, result, &numbers);
                self.streams.open(offset, fds);
            }
            Err(error) => self.write_answer_error(id, &error),
        }
        self.check_outbox(cx);
    }

    /// Whether descriptors can go out: as they are, beside those that the peer has not read yet, or as streams in band.
    pub(super) fn check_fds(&self, fds: &Fds) -> Result<(), (ErrorCode, String)> {
        if fds.is_empty() {
            return Ok(());
        }
        let (count, count_max) = (fds.len(), usize::from(FDS_PER_FRAME_MAX));
        if count > count_max {
            let text = format!("it comes with {count} file descriptors, a frame may have {count_max}");
            return Err((ErrorCode::InvalidParams, text));
        }
        if !self.takes_fds {
            return self.streams.check(count);
        }
        let waiting = self.outbox.waiting_fds_count();
        if waiting > 0 && waiting + count > OUTBOX_FDS_MAX {
            let text = format!(
                "its {count} file descriptors do not fit: {waiting} wait to be read already, at most {OUTBOX_FDS_MAX} may"
            );
            return Err((ErrorCode::Overloaded, text));
        }
        Ok(())
    }

    /// Streams came that nobody will take.
    fn refuse_streams(&mut self, numbers: Vec<u64>) {
        if !numbers.is_empty() {
            self.events.push_back(SessionEvent::Unwanted(numbers));
        }
    }

    /// Takes a request back, with the streams that it would have begun, if nothing of it was written.
    pub(super) fn withdraw(&mut self, from: u64, to: u64) -> bool {
        let is_withdrawn = self.outbox.withdraw(from, to);
        if is_withdrawn {
            self.streams.withdrawn(from);
        }
        is_withdrawn
    }

    fn check_answer(&self, result: &RawValue, fds: &Fds) -> Result<(), ErrorObject> {
        let (bytes, bytes_max) = (result.get().len(), self.frame_bytes_max - ANSWER_ENVELOPE_BYTES);
        if bytes > bytes_max {
            let text = format!("the result has {bytes} bytes, at most {bytes_max} fit a frame");
            return Err(ErrorObject::new(ErrorCode::TooLarge, text));
        }
        let waiting = self.outbox.waiting_bytes();
        if waiting > 0 && waiting + bytes > self.outbox_bytes_max {
            let text = format!("the result's {bytes} bytes do not fit: {waiting} wait to be read already");
            return Err(ErrorObject::new(ErrorCode::Overloaded, text));
        }
        self.check_fds(fds).map_err(|(code, text)| {
            // It is no fault of who asked.
            let code = if code == ErrorCode::InvalidParams { ErrorCode::InternalError } else { code };
            ErrorObject::new(code, text)
        })
    }

    /// An error can be large too: that of another plugin, handed on. Then it is told without what makes it so.
    fn write_answer_error(&mut self, id: &RequestId, error: &ErrorObject) {
        let waiting = self.outbox.waiting_bytes();
        let buffer = self.outbox.buffer();
        let start = buffer.len();
        message::write_error(buffer, Some(id), error);
        let bytes = buffer.len() - start;
        let fits = bytes <= self.frame_bytes_max && waiting + bytes <= self.outbox_bytes_max;
        if bytes > ERROR_BYTES_SMALL && !fits {
            buffer.truncate(start);
            let mut text: String = error.message.chars().take(ERROR_TEXT_CHARS).collect();
            text.push_str(" (the rest of the error does not fit)");
            let short = ErrorObject { code: error.code, message: text.into(), data: None };
            message::write_error(buffer, Some(id), &short);
        }
    }

    /// Says how far a request of the peer is. Dropped where the peer does not read: it is worth nothing later.
    pub(super) fn progress(&mut self, id: &RequestId, value: &RawValue) {
        let fits = value.get().len() <= self.frame_bytes_max - ANSWER_ENVELOPE_BYTES
            && self.outbox.waiting_bytes() + value.get().len() <= self.outbox_bytes_max;
        if self.stage == Stage::Open && self.incoming.contains(id) && fits {
            message::write_progress(self.outbox.buffer(), id, value.get());
        }
    }

    /// A peer that asks and does not read the answers would make the outbox grow without end.
    pub(super) fn check_outbox(&mut self, cx: &mut Cx<'_>) {
        let allowed = self.outbox_bytes_max + self.frame_bytes_max;
        if self.outbox.waiting_bytes() > allowed {
            let why = format!("it asks without reading the answers; {allowed} bytes wait for it");
            self.fault(cx, Fault::Violation(why));
        }
    }

    /// Ends because of what the peer sent, and tells it why.
    pub(super) fn refuse(
        &mut self,
        cx: &mut Cx<'_>,
        id: Option<&RequestId>,
        error: ErrorObject,
        why: String,
    ) {
        if self.stage == Stage::Closed {
            return;
        }
        message::write_error(self.outbox.buffer(), id, &error);
        let fault = match self.stage {
            Stage::Greeting => Fault::NotAuthenticated(why),
            _ => Fault::Violation(why),
        };
        self.fault(cx, fault);
    }

    pub(super) fn fault(&mut self, cx: &mut Cx<'_>, fault: Fault) {
        if self.stage == Stage::Closed {
            return;
        }
        self.stage = Stage::Closed;
        self.end_calls(cx);
        self.events.push_back(SessionEvent::Fault(fault));
    }
}
