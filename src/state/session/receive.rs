//! What each message of the plugin means, at each stage.

use super::hello::check_hello;
use super::late_frames;
use super::peer_features::PeerFeatures;
use super::proof_error::reject_hello;
use super::types::{Asked, Fault, SessionEvent};
use super::{Session, Stage};
use crate::state::closing::{check_answer_kinds, check_kinds};
use crate::state::fds::{Fd, Fds};
use crate::state::keys::{Caller, Cx};
use crate::state::unasked::useful_bytes;
use rpc_plugin_peer::{Agreed, NotEntered, Receiver, Role, Unanswered, Unread, Violation};
use rpc_plugin_wire::brief::brief;
use rpc_plugin_wire::handshake::{FEATURE_STREAMS, METHOD_HELLO};
use rpc_plugin_wire::life::{Cancel, METHOD_CANCEL, METHOD_EVENT, METHOD_LOG, METHOD_PROGRESS, Progress};
use rpc_plugin_wire::message::{params_into, write_error, write_result};
use rpc_plugin_wire::stream::StreamFrame;
use rpc_plugin_wire::{
    CallError, ErrorCode, ErrorObject, Message, Notification, Request, RequestId, Response,
};
use serde_json::value::to_raw_value;
use std::time::Duration;

impl Session {
    /// Handles up to `frames_max` of the frames that are there; whether there may be more.
    pub fn handle_frames(&mut self, cx: &mut Cx<'_>, frames_max: usize) -> bool {
        // Messages borrow from it while they are handled.
        let mut receiver = std::mem::replace(&mut self.receiver, Receiver::new(Role::Host, 0));
        let may_be_more = self.handle_frames_of(cx, &mut receiver, frames_max);
        self.receiver = receiver;
        may_be_more
    }

    fn handle_frames_of(&mut self, cx: &mut Cx<'_>, receiver: &mut Receiver<Fd>, frames_max: usize) -> bool {
        for _ in 0..frames_max {
            if self.stage == Stage::Closed {
                return false;
            }
            let was_greeting = self.stage == Stage::Greeting;
            match receiver.next() {
                Ok(None) => return false,
                Ok(Some((message, fds))) => self.handle_message(cx, message, fds),
                Err(Unread::Violation(violation)) => self.refuse(cx, None, violation),
                Err(Unread::BadFrame(bad)) => self.handle_bad_frame(cx, &bad),
                Err(Unread::FdsLost(meant)) => self.handle_lost_fds(cx, &meant),
            }
            if was_greeting && self.stage == Stage::Open {
                let (frame_bytes_max, streams) = (self.frame_bytes_max, self.streams.are_agreed());
                receiver.agree(Agreed { frame_bytes_max, fds: self.features.fds, streams });
            }
        }
        true
    }

    /// The peer closed its end. Frames that arrived before it count.
    pub fn handle_end_of_stream(&mut self, cx: &mut Cx<'_>) {
        while self.handle_frames(cx, usize::MAX) {}
        match self.receiver.finish() {
            Err(truncated) if self.stage != Stage::Closed => self.refuse(cx, None, truncated),
            _ => self.fault(cx, Fault::EndOfStream),
        }
    }

    fn handle_message(&mut self, cx: &mut Cx<'_>, message: Message<'_>, fds: Fds) {
        self.unasked.frame(useful_bytes(&message));
        let came = match &message {
            Message::Request(request) => request.streams.as_slice(),
            Message::Response(response) => response.streams.as_slice(),
            Message::Notification(_) => &[],
        };
        if let Err(violation) = self.streams.came(came) {
            return self.refuse(cx, None, violation);
        }
        if !fds.is_empty() {
            self.has_fds_again();
        }
        match message {
            _ if self.stage == Stage::Greeting => self.handle_greeting(cx, &message),
            Message::Request(request) => self.handle_request(cx, request, fds),
            Message::Notification(notification) => self.handle_notification(cx, &notification),
            Message::Response(response) => self.handle_response(cx, response, fds),
        }
    }

    fn handle_greeting(&mut self, cx: &mut Cx<'_>, message: &Message<'_>) {
        let (id, why) = match message {
            Message::Request(request) if request.method == METHOD_HELLO => {
                return self.handle_hello(cx, request);
            }
            Message::Request(request) => (Some(&request.id), format!("a request of {:?}", request.method)),
            Message::Notification(notification) => {
                (None, format!("the notification {:?}", notification.method))
            }
            Message::Response(_) => (None, "an answer".to_owned()),
        };
        self.reject(cx, id, format!("the first frame is {why}, not {METHOD_HELLO}"));
    }

    fn handle_hello(&mut self, cx: &mut Cx<'_>, request: &Request<'_>) {
        let checked = check_hello(&self.expectation, request, self.frame_bytes_max, self.heartbeat_interval);
        let (introduction, result) = match checked {
            Ok(checked) => checked,
            Err(error) => return reject_hello(self, cx, &request.id, &error),
        };
        let Ok(result) = to_raw_value(&result) else {
            return self.reject(cx, Some(&request.id), "the answer does not serialise".into());
        };
        self.queue.write(|out| write_result(out, &request.id, &result, 0, &[]));
        self.stage = Stage::Open;
        self.features = PeerFeatures::of(&introduction.features);
        if introduction.features.iter().any(|feature| feature == FEATURE_STREAMS) {
            self.streams.agree();
        }
        self.events.push_back(SessionEvent::Authenticated(Box::new(introduction)));
    }

    /// Fails the proof: tells the peer why and ends.
    pub(super) fn reject(&mut self, cx: &mut Cx<'_>, id: Option<&RequestId>, why: String) {
        self.refuse(cx, id, Violation { code: ErrorCode::NotAuthenticated, why });
    }

    fn handle_request(&mut self, cx: &mut Cx<'_>, request: Request<'_>, fds: Fds) {
        if request.method == METHOD_HELLO {
            let violation = Violation::invalid(format!("a second {METHOD_HELLO}"));
            return self.refuse(cx, Some(&request.id), violation);
        }
        match self.incoming.enter(&request.id, fds.len(), ()) {
            Ok(()) => {
                if let Err(error) = check_kinds(&fds) {
                    self.refuse_streams(request.streams);
                    return self.answer(cx, &request.id, Err(error), Fds::new());
                }
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
            Err(NotEntered::Full(error)) => {
                self.unasked.was_useless();
                self.refuse_streams(request.streams);
                self.queue.write(|out| write_error(out, Some(&request.id), &error));
                self.check_queue(cx);
            }
            Err(NotEntered::Violation(violation)) => self.refuse(cx, None, violation),
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
                Ok(Cancel { id, reason }) if self.incoming.get(&id).is_some() => {
                    self.events.push_back(SessionEvent::Abandoned(id, reason));
                }
                Ok(_) => self.unasked.was_useless(),
                Err(error) => self.handle_bad_params(cx, METHOD_CANCEL, &error),
            },
            METHOD_PROGRESS => match params_into::<Progress>(notification.params) {
                Ok(progress) => self.handle_progress(cx, progress),
                Err(error) => self.handle_bad_params(cx, METHOD_PROGRESS, &error),
            },
            method => {
                let read = StreamFrame::read(method, notification.params).map_err(Violation::invalid);
                let checked = read.and_then(|frame| {
                    frame.as_ref().map_or(Ok(()), |frame| self.streams.received(frame))?;
                    Ok(frame)
                });
                match checked {
                    Ok(Some(frame)) => self.events.push_back(SessionEvent::Stream(frame)),
                    Ok(None) => self.unasked.was_useless(),
                    Err(violation) => self.refuse(cx, None, violation),
                }
            }
        }
    }

    /// Passed on only while somebody waits who asked for it.
    fn handle_progress(&mut self, cx: &mut Cx<'_>, progress: Progress) {
        match self.requests.progress(&progress.id, self.queue.begun()) {
            Ok(waiter) => match waiter.map(|waiter| waiter.caller) {
                Some(Caller::Call(key)) => {
                    self.events.push_back(SessionEvent::Progress(key, progress.value));
                }
                _ => self.unasked.was_useless(),
            },
            Err(violation) => self.refuse(cx, None, violation),
        }
    }

    fn handle_response(&mut self, cx: &mut Cx<'_>, response: Response<'_>, fds: Fds) {
        let request = match self.requests.answer(&response, self.queue.begun()) {
            Ok(request) => request,
            Err(violation) => return self.refuse(cx, None, violation),
        };
        self.release(cx, &request);
        let Response { result, mut streams, .. } = response;
        let is_taken = !request.is_over && matches!(request.waiter.caller, Caller::Call(_)) && result.is_ok();
        if !is_taken {
            self.refuse_streams(std::mem::take(&mut streams));
        }
        if request.is_over {
            // An answer to what its caller cancelled is as the protocol wants it, within the deadline.
            if request.is_late {
                let gave_up = late_frames::gave_up(&request, &result, cx.now, self.cancel_grace);
                let Unanswered { asked, waiter, .. } = request;
                self.events.push_back(SessionEvent::LateAnswer(asked.method, waiter.party, gave_up));
            }
            return;
        }
        let result = match result {
            Ok(raw) => check_answer_kinds(&fds).map(|()| raw.to_owned()).map_err(|error| self.here(error)),
            Err(object) if request.asked.is_call => Err(self.here(CallError::answered(object))),
            // Of an answer to the host itself nothing is passed on.
            Err(object) => Err(self.here(CallError::answered(brief(&object)))),
        };
        let mut end = self.end(result);
        (end.fds, end.streams) = (fds, streams);
        self.complete(cx, request, end);
    }

    /// Streams came that nobody will take.
    fn refuse_streams(&mut self, numbers: Vec<u64>) {
        if !numbers.is_empty() {
            self.events.push_back(SessionEvent::Unwanted(numbers));
        }
    }

    /// Sends these frames of a stream in band, or ends the connection because the plugin broke the stream's protocol.
    pub fn relay(&mut self, cx: &mut Cx<'_>, frames: &[StreamFrame], taken: Result<(), String>) {
        frames.iter().for_each(|frame| self.send_stream(frame));
        if let Err(why) = taken {
            self.refuse(cx, None, Violation::invalid(why));
        }
    }

    /// Ends because of what the peer sent, and tells it why.
    pub(super) fn refuse(&mut self, cx: &mut Cx<'_>, id: Option<&RequestId>, violation: Violation) {
        if self.stage == Stage::Closed {
            return;
        }
        let Violation { code, why } = violation;
        let error = ErrorObject::new(code, why.clone());
        self.queue.write(|out| write_error(out, id, &error));
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
        self.end_calls(cx, &fault.to_string());
        self.events.push_back(SessionEvent::Fault(fault));
    }
}
