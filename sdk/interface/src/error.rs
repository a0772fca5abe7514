//! The error that a handler may answer with, in a plugin and in a host.
//!
//! What always holds: it has a code, a message of bounded length, and data that is JSON.

use rpc_plugin_wire::{CallError, ErrorCode, ErrorObject, Outcome};
use serde::Serialize;
use std::any::Any;
use std::collections::BTreeMap;
use std::error::Error;
use std::{fmt, io};

/// Most sources of one error that its text names.
const SOURCES_MAX: usize = 16;

/// The error that a handler answers with: a code, one sentence for a person, and data for a program.
///
/// `?` makes one of anything that displays: of an error, a `String`, a `Box<dyn Error>` or an `anyhow::Error`, as
/// `internal_error` with its text. An [`ErrorObject`], and the [`CallError`] of a nested call, keep their code and data,
/// also within a `Box<dyn Error>` (and, with feature `anyhow`, within an `anyhow::Error`).
///
/// The text of a `Box<dyn Error>` and of an `anyhow::Error` names all sources, that of an error by itself what it displays:
/// `?` cannot see more of it. [`HandlerError::from_error`] joins its sources, too.
///
/// It implements neither [`Display`](fmt::Display) nor [`Error`], because then it could not be made of all that does;
/// [`HandlerError::object`] does both, and `?` makes a `Box<dyn Error>` of it.
#[derive(Clone)]
pub struct HandlerError(ErrorObject);

impl HandlerError {
    /// An error of any code. The message is cut at 2048 bytes.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl fmt::Display) -> HandlerError {
        HandlerError(ErrorObject::new(code, message.to_string()))
    }

    /// An error with the text of `error` and of its sources, as `internal_error`. Where it or a source is an
    /// [`ErrorObject`] or a [`CallError`], code and data are that one's. At most 16 sources are looked at.
    #[must_use]
    pub fn from_error(error: &(dyn Error + 'static)) -> HandlerError {
        if let Some(object) = known(error) {
            return HandlerError(object);
        }
        let mut text = error.to_string();
        let mut object = None;
        let sources = std::iter::successors(source(error), |error| source(*error));
        for error in sources.take(SOURCES_MAX) {
            let of_source = error.to_string();
            // Many errors repeat the text of their source in their own.
            if !text.contains(&of_source) {
                text = format!("{text}: {of_source}");
            }
            object = object.or_else(|| known(error));
        }
        let mut whole = ErrorObject::new(ErrorCode::InternalError, text);
        if let Some(object) = object {
            whole = ErrorObject { message: whole.message, ..object };
        }
        HandlerError(whole)
    }

    /// `internal_error`: the handler failed for a reason of its own.
    #[must_use]
    pub fn internal(message: impl fmt::Display) -> HandlerError {
        HandlerError::new(ErrorCode::InternalError, message)
    }

    /// `invalid_params`: the params have the right types and still make no sense.
    #[must_use]
    pub fn invalid_params(message: impl fmt::Display) -> HandlerError {
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

    /// The error as it goes over the wire, which displays and is an [`Error`].
    #[must_use]
    pub fn object(&self) -> &ErrorObject {
        &self.0
    }

    /// The same, owned.
    #[must_use]
    pub fn into_object(self) -> ErrorObject {
        self.0
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<E: fmt::Display + 'static> From<E> for HandlerError {
    fn from(error: E) -> HandlerError {
        match as_error(&error) {
            Some(error) => HandlerError::from_error(error),
            // The alternate form of errors that collect a context is that with all their sources.
            None => HandlerError::internal(format_args!("{error:#}")),
        }
    }
}

impl From<HandlerError> for Box<dyn Error + Send + Sync> {
    fn from(error: HandlerError) -> Self {
        Box::new(error.0)
    }
}

impl From<HandlerError> for Box<dyn Error> {
    fn from(error: HandlerError) -> Self {
        Box::new(error.0)
    }
}

#[cfg(feature = "anyhow")]
impl From<HandlerError> for anyhow::Error {
    fn from(error: HandlerError) -> Self {
        anyhow::Error::new(error.0)
    }
}

/// The value as an error, where its type is one of those that can be or hold an error with a code of its own.
fn as_error(value: &dyn Any) -> Option<&(dyn Error + 'static)> {
    fn of<T: Error + 'static>(value: &dyn Any) -> Option<&(dyn Error + 'static)> {
        value.downcast_ref::<T>().map(|error| error as _)
    }
    if let Some(error) = value.downcast_ref::<Box<dyn Error + Send + Sync>>() {
        return Some(error.as_ref());
    }
    if let Some(error) = value.downcast_ref::<Box<dyn Error + Send>>() {
        return Some(error.as_ref());
    }
    if let Some(error) = value.downcast_ref::<Box<dyn Error>>() {
        return Some(error.as_ref());
    }
    #[cfg(feature = "anyhow")]
    if let Some(error) = value.downcast_ref::<anyhow::Error>() {
        return Some(error.as_ref());
    }
    of::<ErrorObject>(value).or_else(|| of::<CallError>(value)).or_else(|| of::<io::Error>(value))
}

/// What caused an error. An [`io::Error`] tells that of what it is made of, and not that itself.
fn source<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

/// The error object of an error that has one.
fn known(error: &(dyn Error + 'static)) -> Option<ErrorObject> {
    if let Some(object) = error.downcast_ref::<ErrorObject>() {
        return Some(object.clone());
    }
    if let Some(error) = error.downcast_ref::<CallError>() {
        return Some(of_nested(error));
    }
    // The error of a stream whose call was cancelled displays as that.
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inner.and_then(|inner| inner.downcast_ref::<ErrorObject>()).cloned()
}

/// A call that failed while another was served, as the end of that one. What is known about the inner call is told
/// as such: the outer one has been seen, and is not to be repeated because the inner one was not sent.
fn of_nested(error: &CallError) -> ErrorObject {
    if error.outcome == Outcome::Answered {
        let (code, message) = (error.code.code(), error.message.clone());
        return ErrorObject { code, message, data: error.data.clone() };
    }
    let object = error.to_object();
    match &object.data {
        Some(data) => {
            let nested = BTreeMap::from([("nested", data)]);
            ErrorObject { data: None, ..object.clone() }.with_data(&nested)
        }
        None => object,
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

    /// An error with a source, as programs declare them.
    #[derive(Debug)]
    struct Loading(io::Error);

    impl fmt::Display for Loading {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "the store cannot be loaded")
        }
    }

    impl Error for Loading {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    fn message<T>(result: Result<T, HandlerError>) -> String {
        result.err().unwrap().message().to_owned()
    }

    #[test]
    fn anything_that_displays_is_an_error_and_boxes_name_their_sources() {
        let loading = || Loading(io::Error::other("no disk"));
        let with_question_mark = |error: Box<dyn Error>| -> Result<(), HandlerError> { Err(error)? };
        assert_eq!(message(with_question_mark(loading().into())), "the store cannot be loaded: no disk");
        let shared: Box<dyn Error + Send + Sync> = loading().into();
        assert_eq!(HandlerError::from(shared).message(), "the store cannot be loaded: no disk");
        assert_eq!(HandlerError::from_error(&loading()).message(), "the store cannot be loaded: no disk");
        assert_eq!(HandlerError::from(loading()).message(), "the store cannot be loaded");
        assert_eq!(HandlerError::from("plain").message(), "plain");
        assert_eq!(HandlerError::from(format!("{}", 1)).message(), "1");
        let repeats: Box<dyn Error> = io::Error::other(io::Error::other("no disk")).into();
        assert_eq!(HandlerError::from(repeats).message(), "no disk", "a source's text stands once");
    }

    #[test]
    fn an_error_with_a_code_keeps_it_within_others() {
        let denied = || ErrorObject::new(ErrorCode::Denied, "not you").with_data(&7);
        let boxed: Box<dyn Error> = Box::new(denied());
        let plain = HandlerError::from(boxed);
        assert_eq!((plain.code(), plain.message()), (ErrorCode::Denied, "not you"));
        let silent = HandlerError::from(ErrorObject::new(ErrorCode::Denied, ""));
        assert_eq!((silent.code(), silent.message()), (ErrorCode::Denied, ""));
        let wrapped = HandlerError::from_error(&Loading(io::Error::other(denied())));
        assert_eq!(wrapped.code(), ErrorCode::Denied);
        assert_eq!(wrapped.message(), "the store cannot be loaded: denied (-32007): not you");
        assert_eq!(wrapped.object().data.as_ref().unwrap().get(), "7");
        let back: Box<dyn Error> = plain.clone().into();
        assert_eq!(HandlerError::from(back).code(), ErrorCode::Denied);
        let back: Box<dyn Error + Send + Sync> = plain.into();
        assert_eq!(back.to_string(), "denied (-32007): not you");
    }

    #[cfg(feature = "anyhow")]
    #[test]
    fn errors_of_anyhow_come_and_go_by_the_question_mark() {
        fn handler() -> Result<(), HandlerError> {
            Err(anyhow::Error::new(Loading(io::Error::other("no disk"))).context("at the start"))?
        }
        fn other() -> anyhow::Result<()> {
            Ok(handler()?)
        }
        assert_eq!(message(handler()), "at the start: the store cannot be loaded: no disk");
        let error = other().unwrap_err();
        assert!(error.downcast_ref::<ErrorObject>().is_some());
        let denied = anyhow::Error::new(ErrorObject::new(ErrorCode::Denied, "not you")).context("outer");
        assert_eq!(HandlerError::from(denied).code(), ErrorCode::Denied);
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
