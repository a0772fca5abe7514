//! Requests that this plugin has made and the host has not answered, with the functions that came with them.
//!
//! What it deliberately does not do: write frames, or wait.
//!
//! What always holds: at most [`CALLS_MAX`] are unanswered, those that nobody waits for any more included; each
//! ends once; an answer goes to its request or is dropped with what came beside it; functions that came with a
//! request can be called until it ends.

use crate::hello::HELLO_ID;
use crate::reply_slot::ReplySlot;
use rpc_plugin_interface::caller::Reply;
use rpc_plugin_interface::parcel::CallBackFn;
use rpc_plugin_peer::{GivenUp, NewRequest, RequestsOut, Span, Time, Violation};
use rpc_plugin_wire::carried_error::carried_error;
use rpc_plugin_wire::{CallError, CancelCause, ErrorCode, RequestId, Response};
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::mem::take;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Requests to the host that are not answered.
const CALLS_MAX: usize = 4096;
/// Functions that the host may call back.
const CALLBACKS_MAX: usize = 4096;

struct RequestTable {
    requests: RequestsOut<Arc<ReplySlot>>,
    /// With the request that each came with.
    callbacks: HashMap<u64, (u64, CallBackFn)>,
    is_closed: bool,
}

/// The unanswered requests of one session. Any thread may use it.
pub(crate) struct HostRequests(Mutex<RequestTable>);

impl Default for HostRequests {
    fn default() -> HostRequests {
        let requests = RequestsOut::new(HELLO_ID + 1);
        HostRequests(Mutex::new(RequestTable { requests, callbacks: HashMap::new(), is_closed: false }))
    }
}

impl HostRequests {
    /// Takes a request in. Returns its id.
    ///
    /// # Errors
    /// `overloaded` and `unavailable`, not sent.
    pub(crate) fn open(
        &self,
        request: NewRequest,
        slot: &Arc<ReplySlot>,
        callbacks: Vec<(u64, CallBackFn)>,
    ) -> Result<u64, CallError> {
        let mut table = self.lock();
        if table.is_closed {
            return Err(CallError::not_sent(ErrorCode::Unavailable, "the session with the host has ended"));
        }
        if table.callbacks.len() + callbacks.len() > CALLBACKS_MAX {
            let text = format!("the host may call {CALLBACKS_MAX} functions back, and no more");
            return Err(CallError::not_sent(ErrorCode::Overloaded, text));
        }
        if table.requests.calls() >= CALLS_MAX {
            let text = format!("{CALLS_MAX} calls wait for an answer, which is the most");
            return Err(CallError::not_sent(ErrorCode::Overloaded, text));
        }
        let id = table.requests.open(request, Arc::clone(slot), Time::ZERO);
        table.callbacks.extend(callbacks.into_iter().map(|(number, function)| (number, (id, function))));
        Ok(id)
    }

    /// Notes where its frame lies among all that is sent. Returns whether anybody still waits for it.
    pub(crate) fn sent(&self, id: u64, frame: Span) -> bool {
        self.lock().requests.sent(id, frame)
    }

    /// Forgets one that was never written.
    pub(crate) fn not_sent(&self, id: u64) {
        let mut table = self.lock();
        table.requests.remove(id);
        let unwanted = table.functions_of(id);
        drop(table);
        drop(unwanted);
    }

    /// Ends a request with the host's answer. The host can have seen the beginning of `begun` bytes.
    ///
    /// # Errors
    /// It was never made, or is answered already.
    pub(crate) fn answer(
        &self,
        response: Response<'_>,
        fds: Vec<OwnedFd>,
        begun: u64,
    ) -> Result<(), Violation> {
        let mut table = self.lock();
        let request = table.requests.answer(&response, begun)?;
        let unwanted = table.functions_of(request.id);
        drop(table);
        drop(unwanted);
        if !request.is_over {
            let result = response.result.map(|result| Reply { result: result.to_owned(), fds });
            request.waiter.end(result.map_err(carried_error));
        }
        Ok(())
    }

    /// Keeps what the host says of how far a request is, if its maker asked.
    ///
    /// # Errors
    /// It was never made.
    pub(crate) fn progress(&self, id: &RequestId, value: Box<RawValue>, begun: u64) -> Result<(), Violation> {
        let slot = self.lock().requests.progress(id, begun)?.cloned();
        if let Some(slot) = slot {
            slot.progress(value);
        }
        Ok(())
    }

    /// Ends a request with an error of ours, which is told whether it was sent. Returns whether the host is to be told.
    pub(crate) fn end(&self, id: u64, with: impl FnOnce(bool) -> CallError) -> bool {
        let mut table = self.lock();
        let unwanted = table.functions_of(id);
        let is_sent = table.give_up(id, with);
        drop(table);
        drop(unwanted);
        is_sent
    }

    /// Ends all requests that were made for calls which are cancelled now. Returns those that the host is to be told of, and
    /// why.
    pub(crate) fn end_cancelled(&self) -> Vec<(u64, Option<CancelCause>)> {
        let mut table = self.lock();
        let cancelled_calls = table.requests.iter().filter(|request| request.waiter.is_for_cancelled());
        let mut ids: Vec<_> =
            cancelled_calls.map(|request| (request.id, request.waiter.cancel_cause())).collect();
        let unwanted: Vec<_> = ids.iter().flat_map(|(id, _)| table.functions_of(*id)).collect();
        ids.retain(|(id, _)| table.give_up(*id, cancelled));
        drop(table);
        drop(unwanted);
        ids
    }

    /// The connection has ended, for this reason: so do all requests, and no more are taken.
    pub(crate) fn close(&self, why: &str) {
        let mut table = self.lock();
        table.is_closed = true;
        let callbacks = take(&mut table.callbacks);
        let open: Vec<_> = std::iter::from_fn(|| table.requests.pop()).collect();
        drop(table);
        drop(callbacks);
        for request in open {
            let lost = format!("the connection to the host ended before it answered: {why}");
            request.waiter.end(Err(CallError::indeterminate(ErrorCode::PluginLost, lost)));
        }
    }

    /// The function of that number, as long as its request lasts.
    pub(crate) fn callback(&self, number: u64) -> Option<CallBackFn> {
        self.lock().callbacks.get(&number).map(|(_, function)| Arc::clone(function))
    }

    fn lock(&self) -> MutexGuard<'_, RequestTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestTable {
    /// Ends a request for whoever waits; its answer is still to come. Returns whether the host is to be told: not when
    /// it has ended, nor while it has not been sent. Then whoever sends it is told by [`HostRequests::sent`].
    fn give_up(&mut self, id: u64, with: impl FnOnce(bool) -> CallError) -> bool {
        let Some(GivenUp::Sent(request)) = self.requests.cancel(id, false) else { return false };
        let is_sent = request.frame().is_some();
        request.waiter.end(Err(with(is_sent)));
        is_sent
    }

    /// Takes the functions of a request out. They are to be dropped without the lock, because they are their author's.
    fn functions_of(&mut self, id: u64) -> Vec<CallBackFn> {
        if self.callbacks.is_empty() {
            return Vec::new();
        }
        self.callbacks.extract_if(|_, (owner, _)| *owner == id).map(|(_, (_, function))| function).collect()
    }
}

/// The end of a request whose maker, or the call that it was made for, gave up.
pub(crate) fn cancelled(is_sent: bool) -> CallError {
    let text = "it was cancelled by its caller, or with the call that it was made for";
    if is_sent {
        CallError::indeterminate(ErrorCode::Cancelled, text)
    } else {
        CallError::not_sent(ErrorCode::Cancelled, text)
    }
}

#[cfg(test)]
#[path = "requests_out_tests.rs"]
mod tests;
