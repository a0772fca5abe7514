//! A call of a test, under way.

use super::connection::{Begun, Connection, Told};
use rpc_plugin_interface::Reply;
use rpc_plugin_interface::client::unpack;
use rpc_plugin_wire::{CallError, CancelCause, ErrorCode};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// A call that a [`TestHost`](super::TestHost) began. Dropping it leaves it to itself.
pub struct TestCall {
    connection: Arc<Connection>,
    begun: Begun,
    /// Its end, where that came while progress was waited for.
    ended: Option<Result<Reply, CallError>>,
}

impl fmt::Debug for TestCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestCall")
            .field("method", &self.begun.method)
            .field("id", &self.begun.id)
            .finish_non_exhaustive()
    }
}

impl TestCall {
    pub(super) fn new(connection: &Arc<Connection>, begun: Begun) -> TestCall {
        TestCall { connection: Arc::clone(connection), begun, ended: None }
    }

    /// Tells the plugin that nobody waits for the result any more. The call ends as its handler ends it, with `cancelled` if
    /// that heeds it.
    pub fn cancel(&self) {
        self.connection.cancel(self.begun.id, None);
    }

    /// The same for this cause, which the handler sees as [`Context::cancel_cause`](crate::Context::cancel_cause).
    pub fn cancel_with(&self, cause: impl Into<CancelCause>) {
        self.connection.cancel(self.begun.id, Some(cause.into()));
    }

    /// Waits for the next progress that the handler tells; `None` once the call has ended.
    pub fn next_progress(&mut self) -> Option<Box<RawValue>> {
        if self.ended.is_some() {
            return None;
        }
        match self.next() {
            Told::Progress(value) => Some(value),
            Told::End(end) => {
                self.ended = Some(end);
                None
            }
        }
    }

    /// Waits for the result, which comes by the deadline of the call.
    ///
    /// # Errors
    /// As [`TestHost::call`](super::TestHost::call).
    pub fn wait<R: DeserializeOwned>(self) -> Result<R, CallError> {
        let method = self.begun.method.clone();
        unpack(&method, self.end()?)
    }

    pub(super) fn end(mut self) -> Result<Reply, CallError> {
        if let Some(end) = self.ended.take() {
            return end;
        }
        loop {
            if let Told::End(end) = self.next() {
                return end;
            }
        }
    }

    fn next(&self) -> Told {
        let left = self.begun.deadline.saturating_duration_since(Instant::now());
        self.begun.told.recv_timeout(left).unwrap_or_else(|_| {
            self.cancel_with(CancelCause::DEADLINE);
            let text = "no answer by its deadline";
            Told::End(Err(CallError::indeterminate(ErrorCode::DeadlineExceeded, text)))
        })
    }
}
