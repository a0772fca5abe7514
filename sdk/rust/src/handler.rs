//! What a handler is, and the error that it may answer with.
//!
//! What it deliberately does not do: run handlers; the pool does that.
//!
//! What always holds: every handler is one shape inside, whatever its types: raw params in, JSON appended.

use crate::call::Call;
use crate::log::Log;
use crate::pace::Pace;
use rpc_plugin_wire::json::write_json;
use rpc_plugin_wire::message::params_into;
use rpc_plugin_wire::{ErrorCode, ErrorObject};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::any::Any;
use std::fmt;

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
        match (&error as &dyn Any).downcast_ref::<ErrorObject>() {
            // It has a code of its own already.
            Some(object) => HandlerError(object.clone()),
            None => HandlerError::internal(error.to_string()),
        }
    }
}

/// Raw params in; appends the result as JSON. What it appended before an error is thrown away.
pub(crate) type Handler =
    dyn Fn(&Call, Option<&RawValue>, &mut Vec<u8>) -> Result<(), HandlerError> + Send + Sync;

/// One method of a plugin.
pub(crate) struct Method {
    pub(crate) name: Box<str>,
    /// In the order in which the author named them.
    pub(crate) number: usize,
    pub(crate) handler: Box<Handler>,
    pub(crate) pace: Pace,
    pub(crate) log: Log,
}

impl Method {
    pub(crate) fn new(name: &str, number: usize, handler: Box<Handler>) -> Method {
        Method { name: name.into(), number, handler, pace: Pace::new(), log: Log::off() }
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
        let params: P = params_into(params.filter(|params| !is_empty(params)))?;
        let result = handler(call, params).map_err(Into::into)?;
        write_json(out, &result)
            .map_err(|error| HandlerError::internal(format!("the result does not serialise: {error}")))
    })
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
        let result = handler(call, params).map_err(Into::into)?;
        out.extend_from_slice(result.get().as_bytes());
        Ok(())
    })
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
