//! What a handler is, and the error that it may answer with.
//!
//! What it deliberately does not do: run handlers; the pool does that.
//!
//! What always holds: every handler is one shape inside, whatever its types: raw params in, JSON appended.

use crate::call::Call;
use crate::link::Link;
use crate::log::Log;
use crate::pace::Pace;
use rpc_plugin_interface::transfer::{Arrived, Parcel, collect, provide};
use rpc_plugin_wire::json::write_json;
use rpc_plugin_wire::life::{CallBack, METHOD_CALLBACK};
use rpc_plugin_wire::message::params_into;
use rpc_plugin_wire::{CallError, ErrorCode, ErrorObject, Outcome};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// The error that a handler answers with: a code, one sentence for a person, and data for a program.
///
/// Any [`std::error::Error`] becomes one through `?`, as `internal_error` with its message. It does not
/// implement that trait itself, because then it could not be made from all the others.
#[derive(Clone)]
pub struct HandlerError(ErrorObject);

impl HandlerError {
    /// An error of any code. The message is cut at 2048 bytes.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> HandlerError {
        HandlerError(ErrorObject::new(code, message.into()))
    }

    /// `internal_error`: the handler failed for a reason of its own.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> HandlerError {
        HandlerError::new(ErrorCode::InternalError, message)
    }

    /// `invalid_params`: the params have the right types and still make no sense.
    #[must_use]
    pub fn invalid_params(message: impl Into<String>) -> HandlerError {
        HandlerError::new(ErrorCode::InvalidParams, message)
    }

    /// `cancelled`: the handler stopped because its caller gave up.
    #[must_use]
    pub fn cancelled() -> HandlerError {
        HandlerError::new(ErrorCode::Cancelled, "the call was cancelled")
    }

    /// The same with `data`. A value that cannot be written as JSON is left out.
    #[must_use]
    pub fn with_data<T: Serialize + ?Sized>(self, data: &T) -> HandlerError {
        HandlerError(self.0.with_data(data))
    }

    /// The code by name.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.0.kind()
    }

    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    pub(crate) fn into_object(self) -> ErrorObject {
        self.0
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<E: std::error::Error + 'static> From<E> for HandlerError {
    fn from(error: E) -> HandlerError {
        let text = error.to_string();
        let error: &dyn Any = &error;
        // These have a code of their own already.
        if let Some(object) = error.downcast_ref::<ErrorObject>() {
            return HandlerError(object.clone());
        }
        if let Some(error) = error.downcast_ref::<CallError>() {
            return HandlerError(of_nested(error));
        }
        HandlerError::internal(text)
    }
}

/// A call that failed while another was served, as the end of that one. What is known about the inner call is told
/// as such: the outer one has been seen, and is not to be repeated because the inner one was not sent.
fn of_nested(error: &CallError) -> ErrorObject {
    let object = error.to_object();
    match (error.outcome, &object.data) {
        (Outcome::NotSent | Outcome::Indeterminate, Some(data)) => {
            let nested = BTreeMap::from([("nested", data)]);
            ErrorObject { data: None, ..object.clone() }.with_data(&nested)
        }
        _ => object,
    }
}

/// Raw params in; appends the result as JSON and gives the descriptors that travel with it. What it appended
/// before an error is thrown away.
pub(crate) type Handler =
    dyn Fn(&Call, Option<&RawValue>, &mut Vec<u8>) -> Result<Vec<OwnedFd>, HandlerError> + Send + Sync;

/// One method of a plugin.
pub(crate) struct Method {
    pub(crate) name: Box<str>,
    /// In the order in which the author named them.
    pub(crate) number: usize,
    pub(crate) handler: Box<Handler>,
    pub(crate) pace: Pace,
    pub(crate) log: Log,
    pub(crate) link: Link,
}

impl Method {
    pub(crate) fn new(name: &str, number: usize, handler: Box<Handler>) -> Method {
        Method {
            name: name.into(),
            number,
            handler,
            pace: Pace::new(),
            log: Log::off(),
            link: Link::default(),
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
        let arrived = Arrived { fds: call.take_fds(), callee: call.callee().cloned() };
        let params = params.filter(|params| !is_empty(params));
        let params: P = provide(arrived, || params_into(params))?;
        let result = handler(call, params).map_err(Into::into)?;
        let (written, parcel) = collect(|| write_json(out, &result));
        written.map_err(|error| HandlerError::internal(format!("the result does not serialise: {error}")))?;
        beside_result(parcel)
    })
}

/// The descriptors of a result, which has nothing else beside it.
pub(crate) fn beside_result(parcel: Parcel) -> Result<Vec<OwnedFd>, HandlerError> {
    if parcel.callbacks.is_empty() {
        return Ok(parcel.fds);
    }
    Err(HandlerError::internal("a callback can only stand in the params of a call, not in a result"))
}

/// Absent params are the same as an empty object (protocol section 1), so `()` has to take both.
fn is_empty(params: &RawValue) -> bool {
    let inside = params.get().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    inside.is_some_and(|inside| inside.trim_ascii().is_empty())
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
        beside_result(parcel)
    })
}

/// What serves `rpc.callback`: the functions that came with calls of this plugin's.
pub(crate) fn callback_method(number: usize, link: &Link, log: &Log) -> Arc<Method> {
    let session = link.clone();
    let handler = move |call: &Call, params: Option<&RawValue>, out: &mut Vec<u8>| {
        let CallBack { id, params } = params_into(params)?;
        let function = session.session()?.calls.callback(id).ok_or_else(|| {
            let text = format!("there is no callback {id}, or the call that it came with has ended");
            HandlerError::new(ErrorCode::MethodNotFound, text)
        })?;
        let (result, parcel) = collect(|| function(params.as_deref(), call.take_fds()));
        out.extend_from_slice(result?.as_bytes());
        beside_result(parcel)
    };
    let mut method = Method::new(METHOD_CALLBACK, number, Box::new(handler));
    (method.link, method.log) = (link.clone(), log.clone());
    Arc::new(method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_errors_become_internal_and_error_objects_keep_their_code() {
        let from_io: HandlerError = std::io::Error::other("no disk").into();
        assert_eq!((from_io.code(), from_io.0.message.as_ref()), (ErrorCode::InternalError, "no disk"));
        let object = ErrorObject::new(ErrorCode::Denied, "not you");
        assert_eq!(HandlerError::from(object).code(), ErrorCode::Denied);
    }
}
