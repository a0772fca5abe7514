//! What the clients of interfaces are made of.
//!
//! What it deliberately does not do: know an interface. The code that [`interface!`](crate::interface!) writes is
//! short because of what is here.

use crate::arguments::{Writer, write_arguments};
use crate::arrived::{Arrived, provide};
use crate::caller::{Caller, Outgoing, Reply, outgoing};
use rpc_plugin_wire::{CallError, ErrorCode, Outcome};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::time::Duration;

/// How a call is to be made. The default is what whoever carries it says (a host: the plugin's policy), made once,
/// without progress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallOptions {
    /// See [`CallOptions::timeout()`].
    pub timeout: Option<Duration>,
    /// See [`CallOptions::idempotent()`].
    pub idempotent: bool,
    /// See [`CallOptions::progress()`].
    pub progress: bool,
}

impl CallOptions {
    /// When the call ends at the latest; at most a day. It is for all tries together.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> CallOptions {
        self.timeout = Some(timeout);
        self
    }

    /// Whether the call may be executed more than once. The host then repeats it by itself, within its deadline, when
    /// it could not be sent, when the plugin was lost meanwhile, and when the plugin has too much to do; also across
    /// a restart. What the plugin answers is never repeated. See [`CallError::tries`].
    #[must_use]
    pub fn idempotent(mut self, idempotent: bool) -> CallOptions {
        self.idempotent = idempotent;
        self
    }

    /// Whether the other side is asked to tell of the call's progress: for calls that are begun, and can be asked for
    /// it meanwhile. Whoever makes the calls of a client is given a function instead (`on_progress`).
    #[must_use]
    pub fn progress(mut self, progress: bool) -> CallOptions {
        self.progress = progress;
        self
    }
}

/// Makes a call with arguments by name.
///
/// # Errors
/// As [`Caller::make`]; `invalid_params` when an argument does not serialise; `internal_error` when the result is
/// not what was expected.
#[doc(hidden)]
pub fn make<C: Caller + ?Sized, R: DeserializeOwned>(
    caller: &C,
    options: CallOptions,
    method: &'static str,
    arguments: impl FnOnce(&mut Writer),
) -> Result<R, CallError> {
    let (params, parcel) = write_arguments(arguments)?;
    let CallOptions { timeout, idempotent, .. } = options;
    let method = Cow::Borrowed(method);
    let reply = caller.make(Outgoing { method: method.clone(), params, parcel, timeout, idempotent })?;
    unpack(&method, reply)
}

/// Makes a call with typed params and result.
///
/// # Errors
/// As [`Caller::make`]; `invalid_params` when params do not serialise; `internal_error` when the result is not what
/// was expected.
pub fn call<C, P, R>(caller: &C, method: &'static str, params: &P) -> Result<R, CallError>
where
    C: Caller + ?Sized,
    P: Serialize + ?Sized,
    R: DeserializeOwned,
{
    let reply = caller.make(outgoing(method, params)?)?;
    unpack(method, reply)
}

/// Reads a typed result.
///
/// # Errors
/// `internal_error`, answered, when it is not what was expected.
pub fn unpack<R: DeserializeOwned>(method: &str, reply: Reply) -> Result<R, CallError> {
    let Reply { result, fds } = reply;
    provide(Arrived { fds, call: None }, || serde_json::from_str(result.get())).map_err(|error| {
        let message = format!("the result of {method} is not what was expected: {error}");
        CallError { outcome: Outcome::Answered, ..CallError::not_sent(ErrorCode::InternalError, message) }
    })
}

/// Whether an interface can be called this, and why not. Evaluated by the compiler.
///
/// # Panics
/// It cannot.
#[doc(hidden)]
pub const fn check_name(name: &str) {
    let bytes = name.as_bytes();
    assert!(!bytes.is_empty() && bytes.len() <= 64, "the name of an interface has 1 to 64 letters");
    let mut rest = bytes;
    while let [byte, after @ ..] = rest {
        assert!(
            byte.is_ascii_alphanumeric() || *byte == b'-' || *byte == b'_',
            "the name of an interface has ASCII letters, digits, `-` and `_` only: it is the capability that its \
             methods begin with"
        );
        rest = after;
    }
}

/// The same for a method, whose whole name this is.
///
/// # Panics
/// It cannot.
#[doc(hidden)]
pub const fn check_method(name: &str) {
    assert!(name.len() <= 128, "the name of a method has, with its interface's, at most 128 letters");
    let mut rest = name.as_bytes();
    while let [byte, after @ ..] = rest {
        assert!(byte.is_ascii() && *byte != b'#', "a method's name has ASCII letters, digits and `_` only");
        rest = after;
    }
}
