//! What a frame of the plugin costs that is no message, or whose descriptors could not be opened: the one call that it
//! answers, or the one request that it is (protocol section 1).
//!
//! What it deliberately does not do: read frames, or say which belong to nobody; the wire crate does. What always holds:
//! only a call that was asked, and whose answer is still awaited, is ended by a bad answer, and never with a result; what
//! leaves in doubt whose a frame is ends the connection.

use super::types::SessionEvent;
use super::{Session, Stage};
use crate::state::keys::Cx;
use rpc_plugin_peer::{FDS_LOST, Violation};
use rpc_plugin_wire::message::write_error;
use rpc_plugin_wire::{BadFrame, CallError, ErrorCode, ErrorObject, Meant, RequestId, Response};

impl Session {
    /// Deals with a frame that is no message.
    pub(super) fn handle_bad_frame(&mut self, cx: &mut Cx<'_>, bad: &BadFrame) {
        let why = bad.to_string();
        let answer = ErrorObject::new(
            ErrorCode::InvalidResponse,
            format!("the plugin's answer cannot be read: {why}"),
        );
        let taken = self.settle(cx, &bad.meant, answer, ErrorObject::new(bad.code(), why));
        if let Err(violation) = taken {
            return self.refuse(cx, None, violation);
        }
        if bad.is_deadline() || self.stage == Stage::Closed {
            return;
        }
        self.events.push_back(SessionEvent::BadFrame(bad.meant.to_string(), bad.to_string()));
        if let Err(violation) = self.bad_frames.count(cx.now, bad) {
            self.refuse(cx, None, violation);
        }
    }

    /// Deals with a notification that is a message, and whose params are not those of its method.
    pub(super) fn handle_bad_params(&mut self, cx: &mut Cx<'_>, method: &str, error: &ErrorObject) {
        let why = format!("{method} has {}", error.message);
        self.events.push_back(SessionEvent::BadFrame(Meant::Notification.to_string(), why.clone()));
        let counted = self.bad_frames.count_params(cx.now, Violation { code: ErrorCode::InvalidParams, why });
        if let Err(violation) = counted {
            self.refuse(cx, None, violation);
        }
    }

    /// Deals with a message whose descriptors this process could not open.
    pub(super) fn handle_lost_fds(&mut self, cx: &mut Cx<'_>, meant: &Meant) {
        let error = ErrorObject::new(ErrorCode::Overloaded, FDS_LOST);
        if let Err(violation) = self.settle(cx, meant, error.clone(), error) {
            return self.refuse(cx, None, violation);
        }
        if !std::mem::replace(&mut self.lacks_fds, true) {
            self.events.push_back(SessionEvent::LacksFds(true));
        }
    }

    /// Descriptors came that could be opened.
    pub(super) fn has_fds_again(&mut self) {
        if std::mem::take(&mut self.lacks_fds) {
            self.events.push_back(SessionEvent::LacksFds(false));
        }
    }

    /// Ends the call that was answered with `answer`, or answers the request with `request`.
    fn settle(
        &mut self,
        cx: &mut Cx<'_>,
        meant: &Meant,
        answer: ErrorObject,
        request: ErrorObject,
    ) -> Result<(), Violation> {
        match meant {
            Meant::Answer(id) => self.end_by_bad_answer(cx, id, answer),
            Meant::Request(id) => self.answer_bad_request(cx, id, &request),
            Meant::Notification => Ok(()),
        }
    }

    fn end_by_bad_answer(
        &mut self,
        cx: &mut Cx<'_>,
        id: &RequestId,
        error: ErrorObject,
    ) -> Result<(), Violation> {
        let answer =
            Response { id: Some(id.clone()), result: Err(error.clone()), fds: 0, streams: Vec::new() };
        let request = self
            .requests
            .answer(&answer, self.queue.begun())
            .map_err(|violation| Violation::invalid(format!("{}; it is {}", error.message, violation.why)))?;
        self.release(cx, &request);
        if !request.is_over {
            let error = CallError::indeterminate(error.kind(), error.message);
            self.complete_with(cx, request, error);
        } else if request.is_late {
            self.events.push_back(SessionEvent::LateAnswer(
                request.asked.method,
                request.waiter.party,
                false,
            ));
        }
        Ok(())
    }

    fn answer_bad_request(
        &mut self,
        cx: &mut Cx<'_>,
        id: &RequestId,
        error: &ErrorObject,
    ) -> Result<(), Violation> {
        if self.incoming.get(id).is_some() {
            let why = format!("{}; request id {id} waits for an answer already", error.message);
            return Err(Violation::invalid(why));
        }
        self.queue.write(|out| write_error(out, Some(id), error));
        self.check_queue(cx);
        Ok(())
    }
}
