//! One request to the host, as whoever waits for its end sees it.
//!
//! What always holds: it ends once; of progress that nobody has looked at, the newest is kept.

use rpc_plugin_interface::caller::Reply;
use rpc_plugin_interface::context::Context;
use rpc_plugin_wire::CallError;
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
    wants_progress: bool,
}

/// What has arrived and was not taken.
#[derive(Default)]
pub(crate) struct ReplyState {
    pub(crate) end: Option<Result<Reply, CallError>>,
    pub(crate) progress: VecDeque<Box<RawValue>>,
    /// `end` is there, or was.
    is_over: bool,
    is_sent: bool,
}

impl ReplySlot {
    pub(crate) fn new(context: Option<Context>, wants_progress: bool) -> Arc<ReplySlot> {
        Arc::new(ReplySlot { state: Mutex::default(), changed: Condvar::new(), context, wants_progress })
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

    /// Notes that the request has been written. Returns whether it had ended before.
    pub(crate) fn sent(&self) -> bool {
        let mut state = self.lock();
        state.is_sent = true;
        state.is_over
    }

    /// Ends the request, unless it has ended. Returns whether it was sent before.
    pub(crate) fn end(&self, with: impl FnOnce(bool) -> Result<Reply, CallError>) -> bool {
        let mut state = self.lock();
        let is_sent = state.is_sent;
        if !state.is_over {
            state.is_over = true;
            state.end = Some(with(is_sent));
            drop(state);
            self.changed.notify_all();
        }
        is_sent
    }

    /// Keeps a value of progress, if the request asked for any.
    pub(crate) fn progress(&self, value: Box<RawValue>) {
        if !self.wants_progress {
            return;
        }
        let mut state = self.lock();
        if state.progress.len() >= PROGRESS_MAX {
            state.progress.pop_front();
        }
        state.progress.push_back(value);
        drop(state);
        self.changed.notify_all();
    }
}
