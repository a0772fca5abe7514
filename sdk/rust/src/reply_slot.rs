//! One request to the host, as whoever waits for its end sees it.
//!
//! What always holds: it ends once; of progress that nobody has looked at, the newest is kept.

use rpc_plugin_interface::caller::Reply;
use rpc_plugin_interface::context::Context;
use rpc_plugin_wire::{CallError, CancelCause};
use serde_json::value::RawValue;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Values of progress that are kept for one request. The oldest goes.
pub(crate) const PROGRESS_MAX: usize = 64;

/// Where the end of one request arrives, and progress before it.
pub(crate) struct ReplySlot {
    state: Mutex<ReplyState>,
    /// Notified at the end and at each value of progress.
    pub(crate) changed: Condvar,
    /// The call that the request is made for.
    context: Option<Context>,
}

/// What has arrived and was not taken.
#[derive(Default)]
pub(crate) struct ReplyState {
    pub(crate) end: Option<Result<Reply, CallError>>,
    pub(crate) progress: VecDeque<Box<RawValue>>,
    /// `end` is there, or was.
    is_over: bool,
}

impl ReplySlot {
    pub(crate) fn new(context: Option<Context>) -> Arc<ReplySlot> {
        Arc::new(ReplySlot { state: Mutex::default(), changed: Condvar::new(), context })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, ReplyState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the request has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.lock().is_over
    }

    /// Whether the call that the request is made for is cancelled.
    pub(crate) fn is_for_cancelled(&self) -> bool {
        self.context.as_ref().is_some_and(Context::is_cancelled)
    }

    /// Why the call that the request is made for is cancelled, where that is known.
    pub(crate) fn cancel_cause(&self) -> Option<CancelCause> {
        self.context.as_ref().and_then(Context::cancel_cause)
    }

    /// Ends the request, unless it has ended.
    pub(crate) fn end(&self, with: Result<Reply, CallError>) {
        let mut state = self.lock();
        if !std::mem::replace(&mut state.is_over, true) {
            state.end = Some(with);
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Keeps a value of progress.
    pub(crate) fn progress(&self, value: Box<RawValue>) {
        let mut state = self.lock();
        if state.progress.len() >= PROGRESS_MAX {
            state.progress.pop_front();
        }
        state.progress.push_back(value);
        drop(state);
        self.changed.notify_all();
    }
}
