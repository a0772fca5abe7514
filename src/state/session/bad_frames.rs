//! What a frame of the plugin costs that is no message: the one call that it answers, or the one request that it is
//! (protocol section 1).
//!
//! What it deliberately does not do: read frames, or say which belong to nobody; the wire crate does. What always holds:
//! only a call that was asked, and whose answer is still awaited, is ended by a bad answer, and never with a result; what
//! leaves in doubt whose a frame is ends the connection.

use super::types::SessionEvent;
use super::{Session, Stage};
use crate::state::keys::Cx;
use rpc_plugin_peer::Violation;
use rpc_plugin_wire::message::write_error;
use rpc_plugin_wire::{BadFrame, CallError, ErrorCode, ErrorObject, Meant, RequestId, Response};

impl Session {
    /// Deals with a frame that is no message.
    pub(super) fn handle_bad_frame(&mut self, cx: &mut Cx<'_>, bad: &BadFrame) {
        let taken = match &bad.meant {
            Meant::Answer(id) => self.end_by_bad_answer(cx, id, bad),
            Meant::Request(id) => self.answer_bad_request(cx, id, bad),
            Meant::Notification => Ok(()),
        };
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

    fn end_by_bad_answer(
        &mut self,
        cx: &mut Cx<'_>,
        id: &RequestId,
        bad: &BadFrame,
    ) -> Result<(), Violation> {
        let error = ErrorObject::new(ErrorCode::InvalidResponse, "");
        let answer = Response { id: Some(id.clone()), result: Err(error), fds: 0, streams: Vec::new() };
        let request = self.requests.answer(&answer, self.queue.begun()).map_err(|violation| Violation {
            code: bad.code(),
            why: format!("{bad}; it is {}", violation.why),
        })?;
        self.release(cx, &request);
        if !request.is_over {
            let text = format!("the plugin's answer cannot be read: {bad}");
            let error = CallError::indeterminate(ErrorCode::InvalidResponse, text);
            self.complete_with(cx, request, error);
        } else if request.is_late {
            self.events.push_back(SessionEvent::LateAnswer(request.asked.method, request.waiter.party));
        }
        Ok(())
    }

    fn answer_bad_request(
        &mut self,
        cx: &mut Cx<'_>,
        id: &RequestId,
        bad: &BadFrame,
    ) -> Result<(), Violation> {
        if self.incoming.get(id).is_some() {
            let why = format!("{bad}; request id {id} waits for an answer already");
            return Err(Violation { code: bad.code(), why });
        }
        let error = ErrorObject::new(bad.code(), bad.to_string());
        self.queue.write(|out| write_error(out, Some(id), &error));
        self.check_queue(cx);
        Ok(())
    }
}
