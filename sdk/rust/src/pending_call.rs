//! A call to the host that is under way, with a typed result.

use crate::requester::OpenRequest;
use rpc_plugin_interface::client::unpack;
use rpc_plugin_wire::{CallError, CancelCause};
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;

/// A call that is under way, from [`Host::call_start`](crate::Host::call_start) or [`Remote::call_start`](crate::Remote::call_start).
/// Its result is an `R`. Dropping it cancels it.
#[must_use = "dropping it cancels the call"]
pub struct PendingCall<R> {
    request: OpenRequest,
    /// What the caller called, which is another method than the host's where that passes calls on.
    method: String,
    result: PhantomData<fn() -> R>,
}

impl<R> PendingCall<R> {
    pub(crate) fn new(request: OpenRequest, method: &str) -> PendingCall<R> {
        PendingCall { request, method: method.to_owned(), result: PhantomData }
    }

    /// Cancels the call: it ends with `cancelled` at once, and the host is told.
    pub fn cancel(&self) {
        self.request.cancel(None);
    }

    /// The same for this cause: at most 256 bytes, cut at a character. Whoever serves the call is told.
    pub fn cancel_with(&self, cause: impl Into<CancelCause>) {
        self.request.cancel(Some(cause.into()));
    }
}

impl<R: DeserializeOwned> PendingCall<R> {
    /// Waits for the end. A handler that waits gives its place to other calls.
    ///
    /// # Errors
    /// As [`Host::call`](crate::Host::call).
    pub fn wait(self) -> Result<R, CallError> {
        unpack(&self.method, self.request.wait()?)
    }

    /// The end, if it is there; once. Does not wait.
    ///
    /// # Errors
    /// As [`Host::call`](crate::Host::call).
    pub fn try_wait(&mut self) -> Option<Result<R, CallError>> {
        let end = self.request.try_wait()?;
        Some(end.and_then(|reply| unpack(&self.method, reply)))
    }
}

impl<R> fmt::Debug for PendingCall<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingCall")
            .field("method", &self.method)
            .field("id", &self.request.id)
            .finish_non_exhaustive()
    }
}
