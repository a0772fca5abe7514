//! Requests of ours: how each begins, and the one way in which each ends (protocol section 5).

use super::core::{Core, Stage};
use super::types::{Cancelled, Fault, NewCall, SessionEvent};
use crate::state::fds::Fds;
use crate::state::keys::{Caller, Cx, Timer};
use crate::state::outgoing::Pending;
use crate::state::time::{millis, rounded};
use rpc_plugin_wire::message::{self, NewRequest};
use rpc_plugin_wire::{CallError, ErrorCode, ErrorObject};
use serde_json::value::RawValue;

/// The host's own requests that may wait at once: heartbeats that were missed, one by one, between others
/// that were answered. A peer that leaves more unanswered has lost count.
pub(super) const OWN_MAX: usize = 256;

impl Core {
    pub(super) fn request(&mut self, cx: &mut Cx<'_>, call: NewCall) -> Result<(), CallError> {
        self.check_request(&call)?;
        let (id, offset) = (self.outgoing.next_id(), self.outbox.next_offset());
        let in_band = if self.takes_fds { 0 } else { call.fds.len() };
        let numbers = self.streams.next_numbers(in_band);
        let buffer = self.outbox.buffer();
        let start = buffer.len();
        let deadline_ms = Some(millis(call.timeout));
        let (method, params) = (&*call.method, call.params.as_deref());
        let (progress, chain) = (call.progress, &call.chain);
        let fds = if self.takes_fds { call.fds.len() } else { 0 };
        let streams = numbers.as_slice();
        let request = NewRequest { id, method, params, deadline_ms, progress, fds, chain, streams };
        message::write_request(buffer, &request);
        // The line end does not count.
        let frame_bytes = (buffer.len() - start).saturating_sub(1);
        if frame_bytes > self.frame_bytes_max {
            buffer.truncate(start);
            return Err(self.too_large(frame_bytes));
        }
        let (plugin, generation) = (self.expectation.plugin, self.expectation.generation);
        if self.takes_fds {
            self.outbox.attach(offset, call.fds, None);
        } else if !call.fds.is_empty() {
            self.streams.open(offset, call.fds);
        }
        let timer = cx.timers.insert(cx.now.plus(call.timeout), Timer::Call(plugin, generation, id));
        self.outgoing.insert(Pending {
            caller: Some(call.caller),
            id,
            method: call.method,
            timer: Some(timer),
            offset,
            end_offset: self.outbox.next_offset(),
            sent_at: cx.now,
            poisons: matches!(call.caller, Caller::Call(_)),
            in_grace: false,
            progress: call.progress,
        });
        Ok(())
    }

    /// Whether a request can go out, as far as that is known before it is written.
    fn check_request(&self, call: &NewCall) -> Result<(), CallError> {
        let expected = &self.expectation;
        let refuse = |code, message: String| {
            Err(CallError::not_sent(code, message).at(&expected.plugin_id, Some(expected.generation)))
        };
        if self.stage != Stage::Open {
            return refuse(ErrorCode::Unavailable, "the connection is not open".into());
        }
        let is_call = matches!(call.caller, Caller::Call(_));
        if is_call && self.outgoing.calls() >= self.calls_in_flight_max {
            let max = self.calls_in_flight_max;
            return refuse(
                ErrorCode::Overloaded,
                format!("{max} calls wait for an answer, which is the most"),
            );
        }
        // A first check by a bound, so that a huge call is refused before it is copied; and before the
        // outbox is looked at, which says `overloaded`, as if it could ever fit.
        let params_bytes = call.params.as_ref().map_or(0, String::len);
        if params_bytes > self.frame_bytes_max {
            return Err(self.too_large(params_bytes));
        }
        if is_call && self.outbox.waiting_bytes() + params_bytes > self.outbox_bytes_max {
            return refuse(
                ErrorCode::Overloaded,
                format!(
                    "the call's {params_bytes} bytes do not fit: {} wait to be written to the plugin already, \
                     at most {} may",
                    self.outbox.waiting_bytes(),
                    self.outbox_bytes_max
                ),
            );
        }
        if let Err((code, text)) = self.check_fds(&call.fds) {
            return refuse(code, text);
        }
        Ok(())
    }

    fn too_large(&self, frame_bytes: usize) -> CallError {
        let text = format!("the call takes {frame_bytes} bytes, a frame may have {}", self.frame_bytes_max);
        let expected = &self.expectation;
        CallError::not_sent(ErrorCode::TooLarge, text).at(&expected.plugin_id, Some(expected.generation))
    }

    pub(super) fn cancel(&mut self, cx: &mut Cx<'_>, caller: Caller) -> Option<Cancelled> {
        let id = self.outgoing.find(caller)?;
        let pending = self.outgoing.get_mut(id)?;
        pending.caller = None;
        let (method, took) = (pending.method.clone(), cx.now.since(pending.sent_at));
        let (from, to) = (pending.offset, pending.end_offset);
        let was_sent = !self.withdraw(from, to);
        if was_sent {
            message::write_cancel(self.outbox.buffer(), id);
        } else if let Some(pending) = self.outgoing.remove(id) {
            self.settle(cx, &pending);
        }
        Some(Cancelled { id, method, was_sent, took })
    }

    pub(super) fn handle_timer(&mut self, cx: &mut Cx<'_>, id: u64) {
        let grace_end = cx.now.plus(self.cancel_grace);
        let Some(pending) = self.outgoing.get_mut(id) else { return };
        pending.timer = None;
        let (method, in_grace, poisons) = (pending.method.clone(), pending.in_grace, pending.poisons);
        let (from, to) = (pending.offset, pending.end_offset);
        if self.withdraw(from, to) {
            return self.expire_unsent(cx, id);
        }
        if in_grace {
            return self.fault(cx, Fault::Poisoned(method.into_owned(), self.cancel_grace));
        }
        if !poisons && self.outgoing.own() > OWN_MAX {
            return self.fault(cx, Fault::Poisoned(method.into_owned(), self.cancel_grace));
        }
        let Some(pending) = self.outgoing.get_mut(id) else { return };
        if pending.poisons {
            let (plugin, generation) = (self.expectation.plugin, self.expectation.generation);
            pending.in_grace = true;
            pending.timer = Some(cx.timers.insert(grace_end, Timer::Call(plugin, generation, id)));
        }
        // Without a caller it was cancelled before, and the peer knows.
        let Some(caller) = pending.caller.take() else { return };
        let took = cx.now.since(pending.sent_at);
        message::write_cancel(self.outbox.buffer(), id);
        let message = format!("no answer within {:?}", rounded(took));
        let expected = &self.expectation;
        let error = CallError::indeterminate(ErrorCode::DeadlineExceeded, message)
            .at(&expected.plugin_id, Some(expected.generation));
        self.events.push_back(SessionEvent::Completed {
            caller,
            id,
            method,
            result: Err(error),
            took,
            fds: Fds::new(),
            streams: Vec::new(),
        });
    }

    /// Ends a request whose deadline passed before a byte of it was written. Its frame is withdrawn.
    fn expire_unsent(&mut self, cx: &mut Cx<'_>, id: u64) {
        let Some(pending) = self.outgoing.remove(id) else { return };
        let Some(caller) = pending.caller else { return };
        let took = cx.now.since(pending.sent_at);
        let message = format!("the plugin did not read it within {:?}", rounded(took));
        let expected = &self.expectation;
        let error = CallError::not_sent(ErrorCode::DeadlineExceeded, message)
            .at(&expected.plugin_id, Some(expected.generation));
        self.complete(cx, pending, caller, Err(error), Default::default());
    }

    /// Ends every request. What was not begun to be written is withdrawn, so that the plugin cannot see it
    /// even if last bytes are still sent.
    pub(super) fn end_calls(&mut self, cx: &mut Cx<'_>) {
        while let Some(pending) = self.outgoing.pop() {
            let withdrawn = self.withdraw(pending.offset, pending.end_offset);
            let Some(caller) = self.settle(cx, &pending) else { continue };
            let error = if withdrawn {
                CallError::not_sent(
                    ErrorCode::Unavailable,
                    "the connection ended before the call was written",
                )
            } else {
                CallError::indeterminate(
                    ErrorCode::PluginLost,
                    "the connection ended before the answer came; the plugin may have executed the call",
                )
            };
            let expected = &self.expectation;
            let error = error.at(&expected.plugin_id, Some(expected.generation));
            self.complete(cx, pending, caller, Err(error), Default::default());
        }
    }

    /// The next frame's descriptors cannot be sent: it is not sent at all.
    pub(super) fn refuse_parcel(&mut self, cx: &mut Cx<'_>, why: &str) {
        let Some((offset, answers)) = self.outbox.withdraw_parcel() else { return };
        let text = format!("file descriptors could not be sent along: {why}");
        if let Some(id) = answers {
            let error = ErrorObject::new(ErrorCode::Overloaded, text);
            return message::write_error(self.outbox.buffer(), Some(&id), &error);
        }
        let id = self.outgoing.find_at(offset);
        let Some(pending) = id.and_then(|id| self.outgoing.remove(id)) else { return };
        let Some(caller) = self.settle(cx, &pending) else { return };
        let expected = &self.expectation;
        let error = CallError::not_sent(ErrorCode::Overloaded, text)
            .at(&expected.plugin_id, Some(expected.generation));
        self.complete(cx, pending, caller, Err(error), Default::default());
    }

    /// Cancels the timer of a request that left the table, and takes its caller.
    pub(super) fn settle(&self, cx: &mut Cx<'_>, pending: &Pending) -> Option<Caller> {
        if let Some(timer) = pending.timer {
            cx.timers.cancel(timer);
        }
        pending.caller
    }

    pub(super) fn complete(
        &mut self,
        cx: &Cx<'_>,
        pending: Pending,
        caller: Caller,
        result: Result<Box<RawValue>, CallError>,
        came: (Fds, Vec<u64>),
    ) {
        let took = cx.now.since(pending.sent_at);
        let Pending { id, method, .. } = pending;
        let (fds, streams) = came;
        self.events.push_back(SessionEvent::Completed { caller, id, method, result, took, fds, streams });
    }
}
