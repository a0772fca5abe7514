//! Errors of typed methods: the application's own, which arrive as themselves, beside those of calls.
//!
//! What it deliberately does not do: decide which errors a method has; its declaration does.
//!
//! What always holds: an application error is code 1 on the wire, with its text as message and itself as data, so
//! that a person with a terminal can read it, too.

use crate::error::HandlerError;
use rpc_plugin_wire::{CallError, ErrorCode, ErrorObject, Outcome};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::error::Error;
use std::{fmt, io};

/// The code on the wire of every [`AppError`].
pub const APP_ERROR_CODE: i64 = 1;

/// An error of the application: the `E` of a method that gives `Result<T, E>`. It is written as JSON, and read at
/// the other side; what it displays is the sentence for people.
///
/// ```
/// #[derive(Debug, serde::Serialize, serde::Deserialize)]
/// enum KvError { Full { bytes_max: u64 } }
///
/// impl std::fmt::Display for KvError {
///     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
///         let KvError::Full { bytes_max } = self;
///         write!(f, "the store is full at {bytes_max} bytes")
///     }
/// }
///
/// impl rpc_plugin_interface::AppError for KvError {}
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of an interface's method",
    label = "is no `AppError`",
    note = "derive Serialize and Deserialize for `{Self}`, implement Display, and write `impl AppError for {Self} {{}}`"
)]
pub trait AppError: Serialize + DeserializeOwned + fmt::Display + 'static {}

/// Why a served method that declares an error of its own gives no result. `?` and `.into()` make it of that error, of
/// a [`HandlerError`] and of an [`ErrorObject`] such as `cancelled`, of the error of a nested call, of
/// [`io::Error`], `Box<dyn Error>` and (feature `anyhow`) `anyhow::Error`; of anything else that displays,
/// [`Failure::internal`] does.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure<E> {
    /// The error that the method declares. It arrives as itself.
    App(E),
    /// Any other.
    Other(HandlerError),
}

impl<E> Failure<E> {
    /// `internal_error`: the method failed for a reason of its own that its caller need not tell from others.
    #[must_use]
    pub fn internal(error: impl fmt::Display) -> Failure<E> {
        Failure::Other(HandlerError::internal(error))
    }
}

/// As it is answered.
impl<E: AppError> From<Failure<E>> for HandlerError {
    fn from(failure: Failure<E>) -> HandlerError {
        match failure {
            Failure::App(error) => {
                let code = ErrorCode::Application(APP_ERROR_CODE);
                HandlerError::new(code, error.to_string()).with_data(&error)
            }
            Failure::Other(error) => error,
        }
    }
}

impl<E: AppError> From<E> for Failure<E> {
    fn from(error: E) -> Failure<E> {
        Failure::App(error)
    }
}

impl<E> From<HandlerError> for Failure<E> {
    fn from(error: HandlerError) -> Failure<E> {
        Failure::Other(error)
    }
}

impl<E> From<ErrorObject> for Failure<E> {
    fn from(error: ErrorObject) -> Failure<E> {
        Failure::Other(error.into())
    }
}

/// What a nested call came to.
impl<E> From<CallError> for Failure<E> {
    fn from(error: CallError) -> Failure<E> {
        Failure::Other(error.into())
    }
}

/// The same error of a nested call is passed on as itself.
impl<E> From<CallFailure<E>> for Failure<E> {
    fn from(error: CallFailure<E>) -> Failure<E> {
        match error {
            CallFailure::App(error) => Failure::App(error),
            CallFailure::Call(error) => error.into(),
        }
    }
}

impl<E> From<io::Error> for Failure<E> {
    fn from(error: io::Error) -> Failure<E> {
        Failure::Other(error.into())
    }
}

impl<E> From<Box<dyn Error>> for Failure<E> {
    fn from(error: Box<dyn Error>) -> Failure<E> {
        Failure::Other(error.into())
    }
}

impl<E> From<Box<dyn Error + Send + Sync>> for Failure<E> {
    fn from(error: Box<dyn Error + Send + Sync>) -> Failure<E> {
        Failure::Other(error.into())
    }
}

#[cfg(feature = "anyhow")]
impl<E> From<anyhow::Error> for Failure<E> {
    fn from(error: anyhow::Error) -> Failure<E> {
        Failure::Other(error.into())
    }
}

/// Why a call of a method that declares an error of its own gives no result.
#[derive(Clone)]
#[non_exhaustive]
pub enum CallFailure<E> {
    /// The error that the method declares, as it was given.
    App(E),
    /// The call failed otherwise.
    Call(CallError),
}

impl<E: DeserializeOwned> From<CallError> for CallFailure<E> {
    /// An answer with the code of application errors whose data is such an error is that error.
    fn from(error: CallError) -> CallFailure<E> {
        let is_app = error.outcome == Outcome::Answered && error.code.code() == APP_ERROR_CODE;
        let data = error.data.as_ref().filter(|_| is_app);
        match data.and_then(|data| serde_json::from_str(data.get()).ok()) {
            Some(app) => CallFailure::App(app),
            None => CallFailure::Call(error),
        }
    }
}

impl<E: fmt::Display> fmt::Display for CallFailure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallFailure::App(error) => error.fmt(f),
            CallFailure::Call(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Display> fmt::Debug for CallFailure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<E: fmt::Display> std::error::Error for CallFailure<E> {}
