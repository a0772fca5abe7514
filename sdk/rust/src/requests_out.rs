//! Requests that this plugin has made and the host has not answered.
//!
//! What it deliberately does not do: write frames, or wait.
//!
//! What always holds: at most [`CALLS_MAX`] are unanswered, those that nobody waits for any more included; each
//! ends once; an answer goes to its request or is dropped with what came beside it; functions that came with a
//! request can be called until it ends.

use crate::hello::HELLO_ID;
use crate::ids::Keyed;
use crate::reply_slot::ReplySlot;
use rpc_plugin_interface::caller::Reply;
use rpc_plugin_interface::parcel::CallBackFn;
use rpc_plugin_wire::error::ErrorData;
use rpc_plugin_wire::{CallError, ErrorCode, ErrorObject, Generation, RequestId};
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::mem::take;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Requests to the host that are not answered.
const CALLS_MAX: usize = 4096;
/// Functions that the host may call back.
const CALLBACKS_MAX: usize = 4096;

#[derive(Default)]
struct RequestTable {
    last: u64,
    /// `None`: nobody waits for the answer any more, which is still to come.
    open: HashMap<u64, Option<Arc<ReplySlot>>, Keyed>,
    /// With the request that each came with.
    callbacks: HashMap<u64, (u64, CallBackFn), Keyed>,
    is_closed: bool,
}

#[derive(Default)]
/// The table, which any thread may use.
pub(crate) struct RequestsOut(Mutex<RequestTable>);

impl RequestsOut {
    /// Takes a request in; its id.
    ///
    /// # Errors
    /// `overloaded` and `unavailable`, not sent.
    pub(crate) fn open(
        &self,
        slot: &Arc<ReplySlot>,
        callbacks: Vec<(u64, CallBackFn)>,
    ) -> Result<u64, CallError> {
        let mut table = self.lock();
        if table.is_closed {
            return Err(CallError::not_sent(ErrorCode::Unavailable, "the session with the host has ended"));
        }
        if table.open.len() >= CALLS_MAX {
            let text = format!("{CALLS_MAX} requests to the host are unanswered, which is the most");
            return Err(CallError::not_sent(ErrorCode::Overloaded, text));
        }
        if table.callbacks.len() + callbacks.len() > CALLBACKS_MAX {
            let text = format!("the host may call {CALLBACKS_MAX} functions back, and no more");
            return Err(CallError::not_sent(ErrorCode::Overloaded, text));
        }
        // At a million a second, numbers that a double holds last for 285 years.
        table.last = table.last.max(HELLO_ID) + 1;
        let id = table.last;
        table.open.insert(id, Some(Arc::clone(slot)));
        table.callbacks.extend(callbacks.into_iter().map(|(number, function)| (number, (id, function))));
        Ok(id)
    }

    /// Notes that it has been written. Whether it was given up meanwhile, and is to be cancelled.
    pub(crate) fn sent(&self, id: u64) -> bool {
        let mut unwanted = Vec::new();
        let mut table = self.lock();
        let Some(Some(slot)) = table.open.get(&id) else { return false };
        slot.sent() && table.give_up(id, &mut unwanted)
    }

    /// Forgets one that was never written.
    pub(crate) fn not_sent(&self, id: u64) {
        let mut table = self.lock();
        table.open.remove(&id);
        let unwanted = table.functions_of(id);
        drop(table);
        drop(unwanted);
    }

    /// Ends a request with the host's answer. `false`: it was never made, or is answered already.
    pub(crate) fn answer(
        &self,
        id: Option<&RequestId>,
        result: Result<&RawValue, ErrorObject>,
        fds: Vec<OwnedFd>,
    ) -> bool {
        let Some(RequestId::Number(id)) = id else { return false };
        let mut table = self.lock();
        let Some(slot) = table.open.remove(id) else { return false };
        let unwanted = table.functions_of(*id);
        drop(table);
        drop(unwanted);
        if let Some(slot) = slot {
            let result = result.map(|result| Reply { result: result.to_owned(), fds });
            slot.end(|_| result.map_err(understand));
        }
        true
    }

    /// Keeps what the host says of how far a request is, if its maker asked.
    pub(crate) fn progress(&self, id: &RequestId, value: Box<RawValue>) {
        let RequestId::Number(id) = id else { return };
        let Some(Some(slot)) = self.lock().open.get(id).cloned() else { return };
        slot.progress(value);
    }

    /// Ends a request with an error of ours. Whether the host is to be told.
    pub(crate) fn end(&self, id: u64, with: impl FnOnce(bool) -> CallError) -> bool {
        let mut unwanted = Vec::new();
        let mut table = self.lock();
        let Some(Some(slot)) = table.open.get(&id) else { return false };
        slot.end(|is_sent| Err(with(is_sent))) && table.give_up(id, &mut unwanted)
    }

    /// Ends all requests that were made for calls which are cancelled now. Those that the host is to be told of.
    pub(crate) fn end_cancelled(&self) -> Vec<u64> {
        let mut unwanted = Vec::new();
        let mut table = self.lock();
        let of_cancelled = |slot: &Arc<ReplySlot>| slot.is_for_cancelled();
        let ids: Vec<u64> = table
            .open
            .iter()
            .filter_map(|(id, slot)| slot.as_ref().is_some_and(of_cancelled).then_some(*id))
            .collect();
        let mut end = |id: &u64| {
            let Some(Some(slot)) = table.open.get(id) else { return false };
            slot.end(|is_sent| Err(cancelled(is_sent))) && table.give_up(*id, &mut unwanted)
        };
        ids.into_iter().filter(|id| end(id)).collect()
    }

    /// The connection has ended: so do all requests, and no more are taken.
    pub(crate) fn close(&self) {
        let mut table = self.lock();
        table.is_closed = true;
        let (open, callbacks) = (take(&mut table.open), take(&mut table.callbacks));
        drop(table);
        drop(callbacks);
        for slot in open.into_values().flatten() {
            let lost = "the connection to the host ended before it answered";
            slot.end(|_| Err(CallError::indeterminate(ErrorCode::PluginLost, lost)));
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
    /// Gives a request up for whoever waited; its answer is still to come. Its functions are to be dropped without
    /// the lock, because they are their author's.
    fn give_up(&mut self, id: u64, unwanted: &mut Vec<CallBackFn>) -> bool {
        unwanted.extend(self.functions_of(id));
        self.open.get_mut(&id).is_some_and(|slot| slot.take().is_some())
    }

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

/// An error of the host. What it says about a call that it could not make, or lost, is known as such.
fn understand(error: ErrorObject) -> CallError {
    let data = error.data.as_ref().and_then(|data| serde_json::from_str::<ErrorData>(data.get()).ok());
    let is_of_protocol = !matches!(error.kind(), ErrorCode::Application(_));
    let Some(data) = data.filter(|_| is_of_protocol) else { return CallError::answered(error) };
    CallError {
        outcome: data.outcome,
        plugin_id: data.plugin_id.and_then(|id| id.parse().ok()),
        generation: data.generation.and_then(|number| Generation::try_from(number).ok()),
        data: None,
        ..CallError::answered(error)
    }
}

#[cfg(test)]
#[path = "requests_out_tests.rs"]
mod tests;
