//! One call as its handler sees it: what was called, until when, and whether the caller gave up.
//!
//! What it deliberately does not do: stop a handler by force. A handler that never asks is never stopped.
//!
//! What always holds: once cancelled, a call stays cancelled, and nobody waits in [`Call::wait`] any more.

use crate::handler::{HandlerError, Method};
use crate::log::{Log, OfCall};
use rpc_plugin_wire::RequestId;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A call that a handler works on. Clones are the same call, for handlers with threads of their own.
#[derive(Clone)]
pub struct Call(Arc<Inner>);

struct Inner {
    id: RequestId,
    method: Arc<Method>,
    deadline: Option<Instant>,
    cancelled: AtomicBool,
    /// Held while `cancelled` changes, so that a waiter cannot miss it.
    gate: Mutex<()>,
    changed: Condvar,
}

impl Call {
    pub(crate) fn new(id: RequestId, method: Arc<Method>, deadline: Option<Instant>) -> Call {
        Call(Arc::new(Inner {
            id,
            method,
            deadline,
            cancelled: AtomicBool::new(false),
            gate: Mutex::new(()),
            changed: Condvar::new(),
        }))
    }

    /// The method that was called.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.0.method.name
    }

    /// The request's id, unique among the calls that are unanswered now.
    #[must_use]
    pub fn id(&self) -> &RequestId {
        &self.0.id
    }

    /// When the host stops waiting for the answer; `None` when it named no deadline.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.0.deadline
    }

    /// Time left until [`Call::deadline`], zero once it has passed; `None` when there is none.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.0.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Whether the caller gave up, or the plugin is ending. The handler should answer soon: with a
    /// result, or with [`HandlerError::cancelled`].
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }

    /// Goes on unless the call is cancelled; for use with `?` between steps of work.
    ///
    /// # Errors
    /// [`HandlerError::cancelled`] once the call is cancelled.
    pub fn check(&self) -> Result<(), HandlerError> {
        if self.is_cancelled() { Err(HandlerError::cancelled()) } else { Ok(()) }
    }

    /// Sleeps for `time`, or until the call is cancelled.
    ///
    /// # Errors
    /// [`HandlerError::cancelled`] as soon as the call is cancelled.
    pub fn wait(&self, time: Duration) -> Result<(), HandlerError> {
        let gate = self.0.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.changed.wait_timeout_while(gate, time, |()| !self.is_cancelled());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.check()
    }

    /// The plugin's own record; what is recorded through it names this call.
    #[must_use]
    pub fn log(&self) -> Log {
        self.0.method.log.of_call(&self.0.method, self.request())
    }

    /// The id of the request, where it is a number, as those of hosts are.
    fn request(&self) -> Option<u64> {
        match &self.0.id {
            RequestId::Number(id) => Some(*id),
            RequestId::Text(_) => None,
        }
    }

    pub(crate) fn for_log(&self) -> OfCall {
        OfCall { method: Arc::clone(&self.0.method), request: self.request() }
    }

    pub(crate) fn cancel(&self) {
        let gate = self.0.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.cancelled.store(true, Ordering::Release);
        drop(gate);
        self.0.changed.notify_all();
    }

    pub(crate) fn inner_method(&self) -> &Method {
        &self.0.method
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("id", &self.0.id)
            .field("method", &self.0.method.name)
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(deadline: Option<Instant>) -> Call {
        let handler = crate::handler::typed(|_: &Call, (): ()| Ok::<(), HandlerError>(()));
        Call::new(RequestId::Number(1), Arc::new(Method::new("m", 0, handler)), deadline)
    }

    #[test]
    fn a_cancel_wakes_every_waiter_and_stays() {
        let call = call(None);
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let call = call.clone();
                std::thread::spawn(move || call.wait(Duration::MAX).unwrap_err().code())
            })
            .collect();
        call.cancel();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), rpc_plugin_wire::ErrorCode::Cancelled);
        }
        assert!(call.wait(Duration::MAX).is_err() && call.check().is_err());
    }

    #[test]
    fn the_time_left_never_goes_below_zero() {
        assert_eq!(call(None).remaining(), None);
        assert_eq!(call(Some(Instant::now())).remaining(), Some(Duration::ZERO));
        call(None).wait(Duration::ZERO).unwrap();
    }
}
