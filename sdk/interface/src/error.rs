//! The error that a handler may answer with, in a plugin and in a host.
//!
//! What always holds: it has a code, a message of bounded length, and data that is JSON.

use rpc_plugin_wire::{CallError, ErrorCode, ErrorObject, Outcome};
use serde::Serialize;
use std::any::Any;
use std::collections::BTreeMap;
use std::{fmt, io};

/// The error that a handler answers with: a code, one sentence for a person, and data for a program.
///
/// Any [`std::error::Error`] becomes one through `?`, as `internal_error` with its message; an [`ErrorObject`] keeps
/// its code and data, and so does the [`CallError`] of a nested call. It does not
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

    /// The sentence for a person.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What goes over the wire.
    #[must_use]
    pub fn into_object(self) -> ErrorObject {
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
        // That of a stream whose call was cancelled.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(object) = inner.and_then(|inner| inner.downcast_ref::<ErrorObject>()) {
            return HandlerError(object.clone());
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

    #[test]
    fn what_is_known_of_a_nested_call_is_told_as_that() {
        let lost = CallError::indeterminate(ErrorCode::PluginLost, "it is gone");
        let outer = HandlerError::from(lost).into_object();
        assert_eq!(outer.kind(), ErrorCode::PluginLost);
        assert_eq!(outer.data.unwrap().get(), r#"{"nested":{"outcome":"indeterminate"}}"#);
        let denied = ErrorObject::new(ErrorCode::Denied, "not you").with_data(&1);
        let answered = HandlerError::from(CallError::answered(denied)).into_object();
        assert_eq!((answered.kind(), answered.data.unwrap().get()), (ErrorCode::Denied, "1"));
    }
}
