//! Cancelling calls from elsewhere, through a token that they are made with.

use rpc_plugin_interface::context::{Context, Hook, Served};
use rpc_plugin_wire::{CancelCause, RequestId};
use std::fmt;

/// Cancels calls from elsewhere: another thread, a signal handler's thread, the function that is told of progress.
/// Clones are the same; once cancelled, it stays so, and calls made with it end at once.
#[derive(Clone)]
pub struct CancelToken(Context);

impl CancelToken {
    /// Makes a token that is not cancelled.
    #[must_use]
    pub fn new() -> CancelToken {
        CancelToken(Context::new(RequestId::Number(0), Served::default()))
    }

    /// Cancels the calls that are made with it. Their plugins are told, and they return.
    pub fn cancel(&self) {
        self.0.cancel(None);
    }

    /// Cancels the calls that are made with it, for this cause: at most 256 bytes, cut at a character. The handler of each,
    /// the record, and whatever is cancelled because of it are told. The first cause counts.
    pub fn cancel_with(&self, cause: impl Into<CancelCause>) {
        self.0.cancel(Some(cause.into()));
    }

    /// Why the token was cancelled, where that was said.
    #[must_use]
    pub fn cancel_cause(&self) -> Option<CancelCause> {
        self.0.cancel_cause()
    }

    /// Whether the token was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    pub(super) fn hook(&self, function: impl FnOnce(Option<CancelCause>) + Send + 'static) -> Hook<'_> {
        self.0.hook(function)
    }
}

impl Default for CancelToken {
    fn default() -> CancelToken {
        CancelToken::new()
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CancelToken").field(&self.is_cancelled()).finish()
    }
}
