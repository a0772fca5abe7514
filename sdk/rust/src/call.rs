//! One call as its handler sees it: all that [`Context`] tells, which method it is, the plugin's record, and the
//! way back to the host.
//!
//! What it deliberately does not do: stop a handler by force. A handler that never asks is never stopped.

use crate::handler::Method;
use crate::host::Host;
use crate::log::{Log, OfCall};
use crate::service::unpanicked;
use rpc_plugin_interface::caller::{Caller, Outgoing, Reply};
use rpc_plugin_interface::context::{Context, Served};
use rpc_plugin_wire::{CallError, RequestId};
use std::fmt;
use std::mem::take;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

/// A call that a handler works on. Clones are the same call, for handlers with threads of their own.
///
/// It is a [`Context`] and has all its methods: id, deadline, cancellation, progress.
#[derive(Clone)]
pub struct Call {
    context: Context,
    method: Arc<Method>,
    /// Only where some came.
    fds: Option<Arc<Mutex<Vec<OwnedFd>>>>,
}

impl Call {
    pub(crate) fn new(id: RequestId, method: Arc<Method>, served: Served, fds: Vec<OwnedFd>) -> Call {
        let fds = (!fds.is_empty()).then(|| Arc::new(Mutex::new(fds)));
        Call { context: Context::new(id, served), method, fds }
    }

    /// The method that was called.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method.name
    }

    /// The plugin's own record; what is recorded through it names this call.
    #[must_use]
    pub fn log(&self) -> Log {
        self.method.log.of_call(&self.method, self.request())
    }

    /// The host, to make calls for this one: its chain and what is left of its deadline go along, and when it is
    /// cancelled they are.
    #[must_use]
    pub fn host(&self) -> Host {
        Host::new(self.method.link.clone(), Some(self.context.clone()))
    }

    /// The file descriptors that came with the call, for handlers of raw params; once. Handlers of typed params
    /// have them in their [`Stream`](crate::Stream)s and [`Blob`](crate::Blob)s. What is not taken is closed when the
    /// handler returns.
    #[must_use]
    pub fn take_fds(&self) -> Vec<OwnedFd> {
        let Some(fds) = &self.fds else { return Vec::new() };
        take(&mut fds.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn close_fds(&self) {
        drop(self.take_fds());
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// The id of the request, where it is a number, as those of hosts are.
    fn request(&self) -> Option<u64> {
        match self.id() {
            RequestId::Number(id) => Some(*id),
            RequestId::Text(_) => None,
        }
    }

    pub(crate) fn for_log(&self) -> OfCall {
        OfCall { method: Arc::clone(&self.method), request: self.request() }
    }

    /// Cancels it. What its author wants to be run then may panic.
    pub(crate) fn cancel(&self) {
        // There is nobody to tell; the panic's own message is on stderr.
        let _ = unpanicked("on_cancel", || self.context.cancel());
    }

    pub(crate) fn inner_method(&self) -> &Method {
        &self.method
    }
}

impl Deref for Call {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}

/// Calls services of the host, as [`Call::host`] does.
impl Caller for Call {
    fn make(&self, call: Outgoing) -> Result<Reply, CallError> {
        self.host().make(call)
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("id", self.id())
            .field("method", &self.method.name)
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}
