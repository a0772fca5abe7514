//! Requests of ours: how each begins, and the one way in which each ends (protocol section 5).

use super::outbox_shares::check_outbox;
use super::types::{Cancelled, Fault, SessionEvent};
use super::{OwnRequest, Session, Stage};
use crate::state::call::{CallEnd, CallRequest};
use crate::state::keys::{Caller, Cx, Timer};
use crate::state::time::{Time, millis, rounded};
use rpc_plugin_peer::{Amount, Expired, GivenUp, NewRequest, Refused, ShareUsed, Span, Unanswered};
use rpc_plugin_wire::message::{self, write_cancel, write_error, write_request};
use rpc_plugin_wire::{CallError, CancelCause, Chain, ErrorCode, ErrorObject, Message, describe};
use serde_json::value::RawValue;
use std::mem::take;

impl Session {
    /// Sends a request, which is unanswered for its timeout at the most, or as long as a call may take. What is kept of it
    /// is taken out of `call`, unless it is refused.
    ///
    /// # Errors
    /// `unavailable` when the session is not open, `too_large`, `overloaded`.
    pub fn request(&mut self, cx: &mut Cx<'_>, by: Caller, call: &mut CallRequest) -> Result<(), Refused> {
        let is_call = matches!(by, Caller::Call(_)) && call.method != describe::METHOD_DESCRIBE;
        self.check_room(call, is_call)?;
        let timeout = call.timeout.unwrap_or(self.call_timeout);
        let params_bytes = call.params.as_ref().map_or(0, String::len);
        if !self.queue.has_room(params_bytes) {
            return Err(Refused::new(ErrorCode::Overloaded, no_memory(params_bytes)));
        }
        let (fds, numbers) = self.pack(take(&mut call.fds))?;
        let request = message::NewRequest {
            id: self.requests.next_id(),
            method: &call.method,
            params: call.params.as_deref(),
            deadline_ms: self.features.cancel.then(|| millis(timeout)),
            progress: call.progress && self.features.progress,
            fds: fds.len(),
            chain: if self.features.chain { &call.chain } else { Chain::EMPTY },
            streams: &numbers,
        };
        let written = self.queue.write_within(self.frame_bytes_max, |out| write_request(out, &request));
        let span = written.map_err(|frame_bytes| {
            self.streams.never_sent(&numbers);
            self.too_large(frame_bytes)
        })?;
        self.send_beside(span, fds, &numbers);
        // Not kept while its caller waits.
        call.params = None;
        let asked = NewRequest { method: take(&mut call.method), is_call, wants_progress: call.progress };
        let party = take(&mut call.caller);
        if is_call {
            self.places.add(&party, Amount::ONE);
        }
        let waiter = OwnRequest { caller: by, party, timer: None, timeout, begun_at: None };
        let id = self.requests.open(asked, waiter, cx.now);
        self.requests.sent(id, span);
        self.arm(cx, id, cx.now.plus(timeout));
        Ok(())
    }

    /// Whether a request can go out, as far as that is known before it is written.
    fn check_room(&self, call: &CallRequest, is_call: bool) -> Result<(), Refused> {
        if self.stage != Stage::Open {
            return Err(Refused::new(ErrorCode::Unavailable, "the connection is not open"));
        }
        if is_call {
            let told = |used: ShareUsed| used.tell(&call.caller, "calls in flight");
            let checked = self.places.check(&call.caller, Amount::ONE);
            checked.map_err(|used| Refused::new(ErrorCode::Overloaded, told(used)))?;
        }
        // A first check by a bound, so that a huge call is refused before it is copied; and before the
        // queue is looked at, which says `overloaded`, as if it could ever fit.
        let params_bytes = call.params.as_ref().map_or(0, String::len);
        if params_bytes > self.frame_bytes_max {
            return Err(self.too_large(params_bytes));
        }
        if is_call {
            let outbox = (&self.queue, self.outbox_bytes_max);
            check_outbox(outbox, &self.requests, &call.caller, params_bytes)?;
        }
        Ok(())
    }

    fn too_large(&self, frame_bytes: usize) -> Refused {
        let text = format!("the call takes {frame_bytes} bytes, a frame may have {}", self.frame_bytes_max);
        Refused::new(ErrorCode::TooLarge, text)
    }

    /// Names this plugin and generation in an error.
    pub(super) fn here(&self, error: CallError) -> CallError {
        error.at(&self.expectation.plugin_id, Some(self.expectation.generation))
    }

    fn arm(&mut self, cx: &mut Cx<'_>, id: u64, at: Time) {
        let timer = Timer::Call(self.expectation.plugin, self.expectation.generation, id);
        let timer = cx.timers.insert(at, timer);
        if let Some(request) = self.requests.get_mut(id) {
            request.waiter.timer = Some(timer);
        }
    }

    /// Gives back what a request had that left the table: its timer and its place.
    pub(super) fn release(&mut self, cx: &mut Cx<'_>, request: &Unanswered<OwnRequest>) {
        if request.asked.is_call {
            self.places.leave(&request.waiter.party, Amount::ONE);
        }
        if let Some(timer) = request.waiter.timer {
            cx.timers.cancel(timer);
        }
    }

    /// Takes the frame of a request back, with the streams that it would have begun, if nothing of it was written.
    fn withdraw(&mut self, frame: Option<Span>) -> bool {
        let Some(frame) = frame.filter(|frame| self.queue.withdraw(*frame)) else { return false };
        self.streams.withdrawn(frame);
        true
    }

    /// The caller of a request has gone: withdraws it, or tells the peer and drops its answer. `None`: there is no
    /// such request.
    pub fn cancel(
        &mut self,
        cx: &mut Cx<'_>,
        caller: Caller,
        cause: Option<&CancelCause>,
    ) -> Option<Cancelled> {
        let is_meant =
            |request: &&Unanswered<OwnRequest>| request.waiter.caller == caller && !request.is_over;
        let request = self.requests.iter().find(is_meant)?;
        let (id, frame) = (request.id, request.frame());
        let withdrawn = self.withdraw(frame);
        let cancelled = |request: &Unanswered<OwnRequest>, was_sent| Cancelled {
            id,
            caller: request.waiter.party.clone(),
            method: request.asked.method.clone(),
            was_sent,
            took: cx.now.since(request.made_at),
        };
        match self.requests.cancel(id, withdrawn)? {
            GivenUp::Unsent(request) => {
                let cancelled = cancelled(&request, false);
                self.release(cx, &request);
                Some(cancelled)
            }
            GivenUp::Sent(request) => {
                let cancelled = cancelled(request, true);
                self.write_cancel(id, cause);
                Some(cancelled)
            }
        }
    }

    fn write_cancel(&mut self, id: u64, cause: Option<&CancelCause>) {
        if self.features.cancel {
            self.queue.write(|out| write_cancel(out, id, cause));
        }
    }

    /// The deadline of request `id` passed, or the time after which it poisons the connection. That is the plugin's own
    /// time for a call where the caller had less patience, and the grace.
    pub fn handle_timer(&mut self, cx: &mut Cx<'_>, id: u64) {
        let withdrawn = self.withdraw(self.requests.get(id).and_then(Unanswered::frame));
        // Who cannot be told to give a call up is not held to it.
        let (call_timeout, grace, takes_cancel) =
            (self.call_timeout, self.cancel_grace, self.features.cancel);
        let poisons_at = |request: &Unanswered<OwnRequest>| {
            let had = request.waiter.begun_at.unwrap_or(request.made_at);
            let at = had.plus(request.waiter.timeout.max(call_timeout)).plus(grace);
            (request.asked.is_call && takes_cancel).then_some(at)
        };
        let (poisons_at, told) = match self.requests.expire(id, withdrawn) {
            None => return,
            Some(Expired::Unsent(request)) => {
                self.release(cx, &request);
                let waited = rounded(request.waiter.timeout);
                let message = format!("the plugin did not read it within {waited:?}");
                let error = CallError::not_sent(ErrorCode::DeadlineExceeded, message);
                return self.complete_with(cx, request, error);
            }
            Some(Expired::Poisoned(method)) => {
                return self.fault(cx, Fault::Poisoned(method.into_owned(), self.cancel_grace));
            }
            Some(Expired::Cancelled(request)) => (poisons_at(request), None),
            Some(Expired::Late(request)) => {
                let waiter = &request.waiter;
                let times = (request.made_at, waiter.timeout);
                let told = (waiter.caller, waiter.party.clone(), request.asked.method.clone(), times);
                (poisons_at(request), Some(told))
            }
        };
        if let Some(at) = poisons_at {
            self.arm(cx, id, at);
        }
        let Some((caller, party, method, (made_at, timeout))) = told else { return };
        self.write_cancel(id, Some(&CancelCause::DEADLINE));
        let took = cx.now.since(made_at);
        let message = format!("no answer within {:?}", rounded(timeout));
        let error = self.here(CallError::indeterminate(ErrorCode::DeadlineExceeded, message));
        let mut end = self.end(Err(error));
        end.took = took;
        self.events.push_back(SessionEvent::Completed { caller, party, id, method, end });
    }

    /// Ends every request. What was not begun to be written is withdrawn, so that the plugin cannot see it
    /// even if last bytes are still sent. Who waits is told why the connection ended.
    pub(super) fn end_calls(&mut self, cx: &mut Cx<'_>, why: &str) {
        while let Some(request) = self.requests.pop() {
            let withdrawn = self.withdraw(request.frame());
            self.release(cx, &request);
            if request.is_over {
                continue;
            }
            let error = if withdrawn {
                let text = format!("the connection ended before the call was written: {why}");
                CallError::not_sent(ErrorCode::Unavailable, text)
            } else {
                let text =
                    "the connection ended before the answer came; the plugin may have executed the call";
                CallError::indeterminate(ErrorCode::PluginLost, format!("{text}: {why}"))
            };
            self.complete_with(cx, request, error);
        }
    }

    /// The system does not pass on the descriptors that go with the next bytes now: their frame is taken back, and who
    /// waits for it is told. Calls end with an event, `overloaded`, `not_sent`.
    pub fn fds_were_refused(&mut self, cx: &mut Cx<'_>, why: &str) {
        let Some((span, frame)) = self.queue.withdraw_attached() else { return };
        let text = format!("file descriptors could not be sent along: {why}");
        if let Ok(Message::Response(answer)) = Message::parse(frame.trim_ascii_end()) {
            let error = ErrorObject::new(ErrorCode::Overloaded, text);
            self.queue.write(|out| write_error(out, answer.id.as_ref(), &error));
            return;
        }
        let id = self.requests.iter().find(|request| request.frame() == Some(span)).map(|request| request.id);
        let Some(request) = id.and_then(|id| self.requests.remove(id)) else { return };
        self.release(cx, &request);
        self.complete_with(cx, request, CallError::not_sent(ErrorCode::Overloaded, text));
    }

    pub(super) fn complete_with(&mut self, cx: &Cx<'_>, request: Unanswered<OwnRequest>, error: CallError) {
        let end = self.end(Err(self.here(error)));
        self.complete(cx, request, end);
    }

    /// The end of a request to this plugin.
    pub(super) fn end(&self, result: Result<Box<RawValue>, CallError>) -> Box<CallEnd> {
        CallEnd::of(result, Some(self.expectation.plugin_id.clone()), Some(self.expectation.generation))
    }

    /// Tells the end of a request to whoever waits for it.
    pub(super) fn complete(&mut self, cx: &Cx<'_>, request: Unanswered<OwnRequest>, mut end: Box<CallEnd>) {
        end.took = cx.now.since(request.made_at);
        let Unanswered { id, asked, waiter: OwnRequest { caller, party, .. }, .. } = request;
        self.events.push_back(SessionEvent::Completed { caller, party, id, method: asked.method, end });
    }
}

/// Says that a frame was not written because the host lacks memory.
pub(super) fn no_memory(bytes: usize) -> String {
    format!("the host has no memory for its {bytes} bytes")
}
