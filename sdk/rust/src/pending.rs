//! A call to the host that is under way.
//!
//! What always holds: it ends by its deadline, with the session, with the call that it was made for, or with its
//! answer, whichever is first; dropping it cancels it.

use crate::calls::{Slot, SlotState, cancelled};
use crate::worker::Shared;
use rpc_plugin_interface::caller::Reply;
use rpc_plugin_interface::client::unpack;
use rpc_plugin_wire::{CallError, ErrorCode};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

/// What is told of progress.
pub(crate) type OnProgress = Arc<dyn Fn(&RawValue) + Send + Sync>;

/// A call that is under way. Dropping it cancels it.
pub(crate) struct Started {
    pub(crate) session: Arc<Shared>,
    pub(crate) id: u64,
    pub(crate) slot: Arc<Slot>,
    pub(crate) deadline: Instant,
    pub(crate) on_progress: Option<OnProgress>,
    pub(crate) method: Cow<'static, str>,
}

impl Started {
    pub(crate) fn cancel(&self) {
        if self.session.calls.end(self.id, cancelled) {
            self.session.send_cancels([self.id]);
        }
    }

    /// Waits for the end, with the result in JSON and what came beside it.
    pub(crate) fn wait(self) -> Result<Reply, CallError> {
        if !self.slot.is_over() {
            let suspended = self.session.suspend(&self.slot);
            let place = suspended.map_err(|text| CallError::indeterminate(ErrorCode::WouldDeadlock, text))?;
            self.wait_over();
            // Without the slot's lock: whoever has that of the places may ask for the slot's.
            drop(place);
        }
        let end = self.tell(self.slot.lock()).end.take();
        end.unwrap_or_else(|| Err(cancelled(true)))
    }

    /// Waits until it is over, telling of progress meanwhile.
    fn wait_over(&self) {
        let mut state = self.slot.lock();
        while state.end.is_none() {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() && state.progress.is_empty() {
                drop(state);
                self.give_up();
                return;
            }
            state = self.tell(state);
            if state.end.is_none() && state.progress.is_empty() {
                let waited = self.slot.changed.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// The deadline has passed.
    fn give_up(&self) {
        let late = |is_sent| {
            let text = format!("the host did not answer {} in time", self.method);
            let make = if is_sent { CallError::indeterminate } else { CallError::not_sent };
            make(ErrorCode::DeadlineExceeded, Cow::Owned(text))
        };
        if self.session.calls.end(self.id, late) {
            self.session.send_cancels([self.id]);
        }
    }

    /// Tells what has come of progress, without the lock.
    fn tell<'s>(&'s self, mut state: MutexGuard<'s, SlotState>) -> MutexGuard<'s, SlotState> {
        while let Some(value) = state.progress.pop_front() {
            drop(state);
            if let Some(on_progress) = &self.on_progress {
                on_progress(&value);
            }
            state = self.slot.lock();
        }
        state
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// A call that is under way, from [`Host::start`](crate::Host::start) or [`Remote::start`](crate::Remote::start).
/// Its result is an `R`. Dropping it cancels it.
#[must_use = "dropping it cancels the call"]
pub struct Pending<R> {
    started: Started,
    /// What the caller called, which is another method than the host's where that passes calls on.
    method: String,
    result: PhantomData<fn() -> R>,
}

impl<R> Pending<R> {
    pub(crate) fn new(started: Started, method: &str) -> Pending<R> {
        Pending { started, method: method.to_owned(), result: PhantomData }
    }

    /// Cancels the call: it ends with `cancelled` at once, and the host is told.
    pub fn cancel(&self) {
        self.started.cancel();
    }
}

impl<R: DeserializeOwned> Pending<R> {
    /// Waits for the end. A handler that waits gives its place to other calls.
    ///
    /// # Errors
    /// As [`Host::call`](crate::Host::call).
    pub fn wait(self) -> Result<R, CallError> {
        unpack(&self.method, self.started.wait()?)
    }

    /// The end, if it is there; once. Does not wait.
    ///
    /// # Errors
    /// As [`Host::call`](crate::Host::call).
    pub fn try_wait(&mut self) -> Option<Result<R, CallError>> {
        let started = &self.started;
        let mut state = started.tell(started.slot.lock());
        if state.end.is_none() && started.deadline <= Instant::now() {
            drop(state);
            started.give_up();
            state = started.slot.lock();
        }
        let end = state.end.take()?;
        drop(state);
        Some(end.and_then(|reply| unpack(&self.method, reply)))
    }
}

impl<R> fmt::Debug for Pending<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("method", &self.method)
            .field("id", &self.started.id)
            .finish_non_exhaustive()
    }
}
