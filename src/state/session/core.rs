//! A session behind its inbox: what each message means at each stage.

use super::types::{Expectation, Fault, SessionEvent};
use crate::state::call_error::CallError;
use crate::state::incoming::{Entered, Incoming};
use crate::state::keys::Cx;
use crate::state::outbox::Outbox;
use crate::state::outgoing::Outgoing;
use crate::state::policy::Policy;
use rpc_plugin_wire::handshake::METHOD_HELLO;
use rpc_plugin_wire::life::{Cancel, METHOD_CANCEL, METHOD_LOG};
use rpc_plugin_wire::message::params_into;
use rpc_plugin_wire::{
    ErrorCode, ErrorObject, FrameError, Message, Notification, Request, RequestId, Response, message,
};
use serde_json::value::RawValue;
use std::collections::VecDeque;
use std::time::Duration;

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
        let fds = match &message {
            Message::Request(m) => m.fds,
            Message::Notification(m) => m.fds,
            Message::Response(m) => m.fds,
        };
        if fds > 0 {
            let why = format!("a frame announces {fds} file descriptors and none came with it");
            return self.refuse(cx, None, ErrorObject::new(ErrorCode::InvalidRequest, why.clone()), why);
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
            (Stage::Open, Message::Request(request)) => self.handle_request(cx, &request),
            (Stage::Open, Message::Notification(notification)) => {
                self.handle_notification(cx, &notification);
            }
            (Stage::Open, Message::Response(response)) => self.handle_response(cx, response),
        }
    }

    pub(super) fn handle_unreadable(&mut self, cx: &mut Cx<'_>, error: FrameError) {
        let code = match error {
            FrameError::TooLong { .. } => ErrorCode::TooLarge,
            FrameError::Truncated { .. } => ErrorCode::ParseError,
        };
        self.refuse(cx, None, ErrorObject::new(code, error.to_string()), error.to_string());
    }

    pub(super) fn handle_request(&mut self, cx: &mut Cx<'_>, request: &Request<'_>) {
        if request.method == METHOD_HELLO {
            let why = format!("a second {METHOD_HELLO}");
            let error = ErrorObject::new(ErrorCode::InvalidRequest, why.clone());
            return self.refuse(cx, Some(&request.id), error, why);
        }
        match self.incoming.enter(&request.id) {
            Entered::Waiting => self.events.push_back(SessionEvent::Asked {
                id: request.id.clone(),
                method: request.method.to_string(),
                params: request.params.filter(|_| request.method == METHOD_LOG).map(ToOwned::to_owned),
            }),
            Entered::Full => {
                let error = ErrorObject::new(ErrorCode::Overloaded, "too many requests wait for the host");
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

    /// What the plugin asks is answered at once, so there is nothing to cancel; but a cancel of nothing that can
    /// be an id breaks the protocol. The application's own notifications have no taker.
    fn handle_notification(&mut self, cx: &mut Cx<'_>, notification: &Notification<'_>) {
        if notification.method == METHOD_LOG {
            let params = notification.params.map(ToOwned::to_owned);
            return self.events.push_back(SessionEvent::Logged(params));
        }
        if notification.method != METHOD_CANCEL {
            return;
        }
        if let Err(error) = params_into::<Cancel>(notification.params) {
            let why = format!("{METHOD_CANCEL} has {}", error.message);
            self.refuse(cx, None, ErrorObject::new(ErrorCode::InvalidParams, why.clone()), why);
        }
    }

    pub(super) fn handle_response(&mut self, cx: &mut Cx<'_>, response: Response<'_>) {
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
        let Some(caller) = self.settle(cx, &pending) else {
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
        self.complete(cx, pending, caller, result);
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

    pub(super) fn answer(&mut self, cx: &mut Cx<'_>, id: &RequestId, result: Result<&RawValue, ErrorObject>) {
        if self.stage != Stage::Open || !self.incoming.leave(id) {
            return;
        }
        match result {
            Ok(result) => message::write_result(self.outbox.buffer(), id, result),
            Err(error) => message::write_error(self.outbox.buffer(), Some(id), &error),
        }
        self.check_outbox(cx);
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
