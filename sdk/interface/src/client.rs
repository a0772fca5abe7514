//! What the clients of interfaces are made of.
//!
//! What it deliberately does not do: know an interface. The code that [`interface!`](crate::interface!) writes is
//! short because of what is here.

use crate::arguments::{Writer, write_arguments};
use crate::arrived::{Arrived, provide};
use crate::caller::{Caller, Outgoing, Reply, outgoing};
use rpc_plugin_wire::retry_limits::RetryLimits;
use rpc_plugin_wire::{CallError, ErrorCode, Outcome};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::time::{Duration, Instant};

/// How a call is to be made. The default is what whoever carries it says (a host: the plugin's policy), made once,
/// without progress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallOptions {
    /// See [`CallOptions::timeout()`].
    pub timeout: Option<Duration>,
    /// See [`CallOptions::deadline()`].
    pub deadline: Option<Instant>,
    /// See [`CallOptions::idempotent()`].
    pub idempotent: bool,
    /// See [`CallOptions::retry()`].
    pub retry: Option<RetryLimits>,
    /// See [`CallOptions::progress()`].
    pub progress: bool,
}

impl CallOptions {
    /// How long the call may take; at most a day. It is for all tries together. Where a deadline is given too, the earlier
    /// of both counts.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> CallOptions {
        self.timeout = Some(timeout);
        self
    }

    /// When the call ends at the latest, for calls that share one point in time; at most a day from now. Where a timeout is
    /// given too, the earlier of both counts. A call whose deadline has passed before it is made is not sent.
    ///
    /// An [`Instant`] does not move with the clock on the wall. A time of day is converted when the call is made:
    /// `Instant::now() + time.duration_since(SystemTime::now())?`; what sets the clock after that changes nothing.
    #[must_use]
    pub fn deadline(mut self, deadline: Instant) -> CallOptions {
        self.deadline = Some(deadline);
        self
    }

    /// What is left for the call at `now`: the earlier of timeout and deadline; `None` where neither is given.
    ///
    /// # Errors
    /// `deadline_exceeded`, not sent: the deadline has passed.
    #[doc(hidden)]
    pub fn time_left(&self, now: impl FnOnce() -> Instant) -> Result<Option<Duration>, CallError> {
        let Some(deadline) = self.deadline else { return Ok(self.timeout) };
        let left = deadline.saturating_duration_since(now());
        if left.is_zero() {
            let text = "its deadline had passed before it was made";
            return Err(CallError::not_sent(ErrorCode::DeadlineExceeded, text));
        }
        Ok(Some(self.timeout.map_or(left, |timeout| timeout.min(left))))
    }

    /// Whether the call may be executed more than once. The host then repeats it by itself, within its deadline, when
    /// it could not be sent, when the plugin was lost meanwhile, and when the plugin has too much to do; also across
    /// a restart. What the plugin answers is never repeated. See [`CallError::tries`].
    #[must_use]
    pub fn idempotent(mut self, idempotent: bool) -> CallOptions {
        self.idempotent = idempotent;
        self
    }

    /// Makes the call idempotent, and bounds its repeats: it is tried `attempts` times at the most, the first time included,
    /// within its deadline all the same. The wait before the second try is `backoff`, at most a minute, and each further
    /// one twice as long up to a minute; less up to half of it by chance. Without this an idempotent call is repeated until
    /// its deadline, with waits of 10 ms up to a second.
    ///
    /// A wait ends early when the plugin becomes routable, and time in which no plugin takes calls costs no attempt. The
    /// error of the last try is the end of the call, with its [`CallError::tries`].
    #[must_use]
    pub fn retry(mut self, attempts: u32, backoff: Duration) -> CallOptions {
        self.idempotent = true;
        self.retry = Some(RetryLimits::new(attempts, backoff));
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
    let timeout = options.time_left(Instant::now)?;
    let CallOptions { idempotent, retry, .. } = options;
    let method = Cow::Borrowed(method);
    let reply =
        caller.make(Outgoing { method: method.clone(), params, parcel, timeout, idempotent, retry })?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_timeout_and_deadline_the_earlier_counts() {
        let now = Instant::now();
        let after = |ms| now + Duration::from_millis(ms);
        let options = CallOptions::default();
        assert_eq!(options.time_left(|| now).unwrap(), None);
        let left = |options: CallOptions| options.time_left(|| now).unwrap().map(|left| left.as_millis());
        assert_eq!(left(options.deadline(after(300))), Some(300));
        assert_eq!(left(options.deadline(after(300)).timeout(Duration::from_millis(200))), Some(200));
        assert_eq!(left(options.timeout(Duration::from_millis(400)).deadline(after(300))), Some(300));
        let passed = options.deadline(now).timeout(Duration::from_secs(1)).time_left(|| now).unwrap_err();
        assert_eq!((passed.code, passed.outcome), (ErrorCode::DeadlineExceeded, Outcome::NotSent));
    }
}
