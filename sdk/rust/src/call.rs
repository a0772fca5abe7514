//! Methods of a plugin, their handlers, and one call as its handler sees it.
//!
//! What it deliberately does not do: run handlers, or stop one by force. A handler that never asks whether it is
//! cancelled is never stopped.
//!
//! What always holds: every handler is one shape inside, whatever its types: raw params in, JSON appended.

use crate::host::{Host, HostLink};
use crate::log::{Log, OfCall};
use crate::monitor::Pace;
use rpc_plugin_interface::HandlerError;
use rpc_plugin_interface::caller::{Caller, Outgoing, Reply};
use rpc_plugin_interface::context::{Context, Served};
use rpc_plugin_interface::parcel::collect;
use rpc_plugin_interface::table::{beside_result, serve_typed};
use rpc_plugin_wire::life::{CallBack, METHOD_CALLBACK};
use rpc_plugin_wire::message::params_into;
use rpc_plugin_wire::{CallError, CancelCause, ErrorCode, RequestId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::any::Any;
use std::fmt;
use std::mem::take;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

/// Raw params in; appends the result as JSON and gives the descriptors that travel with it. What it appended
/// before an error is thrown away.
pub(crate) type Handler =
    dyn Fn(&Call, Option<&RawValue>, &mut Vec<u8>) -> Result<Vec<OwnedFd>, HandlerError> + Send + Sync;

/// One method of a plugin.
pub(crate) struct Method {
    pub(crate) name: Arc<str>,
    /// In the order in which the author named them.
    pub(crate) number: usize,
    pub(crate) handler: Box<Handler>,
    pub(crate) pace: Pace,
    pub(crate) log: Log,
    pub(crate) link: HostLink,
}

impl Method {
    pub(crate) fn new(name: &str, number: usize, handler: Box<Handler>) -> Method {
        Method {
            name: name.into(),
            number,
            handler,
            pace: Pace::new(),
            log: Log::off(),
            link: HostLink::default(),
        }
    }
}

pub(crate) fn typed<P, R, E, F>(handler: F) -> Box<Handler>
where
    P: DeserializeOwned,
    R: Serialize,
    E: Into<HandlerError>,
    F: Fn(&Call, P) -> Result<R, E> + Send + Sync + 'static,
{
    Box::new(move |call, params, out| {
        let handle = |params| handler(call, params).map_err(|error| error.into().into_object());
        Ok(serve_typed::<P, R>(call.context(), params, call.take_fds(), out, handle)?)
    })
}

pub(crate) fn raw<E, F>(handler: F) -> Box<Handler>
where
    E: Into<HandlerError>,
    F: Fn(&Call, Option<&RawValue>) -> Result<Box<RawValue>, E> + Send + Sync + 'static,
{
    Box::new(move |call, params, out| {
        // Around all of it: the handler serialises its result itself.
        let (result, parcel) = collect(|| handler(call, params));
        out.extend_from_slice(result.map_err(Into::into)?.get().as_bytes());
        Ok(beside_result(parcel)?)
    })
}

/// What serves `rpc.callback`: the functions that came with calls of this plugin's.
pub(crate) fn callback_method(number: usize, link: &HostLink, log: &Log) -> Arc<Method> {
    let session = link.clone();
    let handler = move |call: &Call, params: Option<&RawValue>, out: &mut Vec<u8>| {
        let CallBack { id, params } = params_into(params)?;
        let function = session.requester()?.requests.callback(id).ok_or_else(|| {
            let text = format!("there is no callback {id}, or the call that it came with has ended");
            HandlerError::new(ErrorCode::MethodNotFound, text)
        })?;
        let (result, parcel) = collect(|| function(params.as_deref(), call.take_fds()));
        out.extend_from_slice(result?.as_bytes());
        Ok(beside_result(parcel)?)
    };
    let mut method = Method::new(METHOD_CALLBACK, number, Box::new(handler));
    (method.link, method.log) = (link.clone(), log.clone());
    Arc::new(method)
}

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
        self.method.log.of_call(self.for_log())
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
        if let RequestId::Number(id) = self.id() { Some(*id) } else { None }
    }

    pub(crate) fn for_log(&self) -> OfCall {
        OfCall { method: Arc::clone(&self.method.name), request: self.request() }
    }

    /// Cancels it for this cause. What its author wants to be run then may panic.
    pub(crate) fn cancel(&self, cause: Option<CancelCause>) {
        // There is nobody to tell; the panic's own message is on stderr.
        let _ = catch("on_cancel", || self.context.cancel(cause));
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

/// Runs what the plugin's author wrote; a panic in it is an error. What was shared with it may be half
/// changed: that is the author's to guard, as with any other thread that panics.
pub(crate) fn catch<T>(what: &str, run: impl FnOnce() -> T) -> Result<T, HandlerError> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        HandlerError::internal(match panic_message(&*payload) {
            Some(message) => format!("{what} panicked: {message}"),
            None => format!("{what} panicked"),
        })
    })
}

fn panic_message(payload: &(dyn Any + Send)) -> Option<&str> {
    payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}
