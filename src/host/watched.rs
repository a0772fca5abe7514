//! Calls that are watched while they last: told of their progress, and cancelled from elsewhere.
//!
//! For typed clients, whose methods return when the call has ended; who begins a call has both through its
//! [`PendingCall`](super::PendingCall).
//!
//! What always holds: what is told is told on the thread that waits for the call, before it returns.

use super::call::{CallReply, Callee, at};
use rpc_plugin_interface::client::unpack;
use rpc_plugin_interface::context::{Context, Hook, Served};
use rpc_plugin_interface::{CallOptions, Caller, Outgoing, Reply, caller};
use rpc_plugin_wire::{CallError, ErrorCode, RequestId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::fmt;

/// Cancels calls from elsewhere: another thread, a signal handler's thread, the function that is told of progress.
/// Clones are the same; once cancelled, it stays so, and calls made with it end at once.
#[derive(Clone)]
pub struct CancelToken(Context);

impl CancelToken {
    /// One that is not cancelled.
    #[must_use]
    pub fn new() -> CancelToken {
        CancelToken(Context::new(RequestId::Number(0), Served::default()))
    }

    /// Cancels the calls that are made with it. Their plugins are told, and they return.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Whether it was.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    pub(super) fn hook(&self, function: impl FnOnce() + Send + 'static) -> Hook<'_> {
        self.0.hook(function)
    }
}

impl Default for CancelToken {
    fn default() -> CancelToken {
        CancelToken::new()
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CancelToken").field(&self.is_cancelled()).finish()
    }
}

/// Takes a value of progress.
type Tell<'a> = Box<dyn Fn(&RawValue) + 'a>;

/// A target of calls with what is to happen while they last; from [`Callee::on_progress`] and
/// [`Callee::cancelled_by`], which a [`PluginHandle`](super::PluginHandle) and a
/// [`CapabilityHandle`](super::CapabilityHandle) have. A typed client of it is `Client::new(watched)`.
pub struct Watched<'a> {
    callee: Callee,
    tell: Option<Tell<'a>>,
    token: Option<CancelToken>,
}

impl fmt::Debug for Watched<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("callee", &self.callee).finish_non_exhaustive()
    }
}

impl Callee {
    /// The same for calls that are asked how far they are. `tell` gets each value on the thread that made the call; one
    /// that is no `T` is passed over. Of what comes faster than it is told, the newest 256 are.
    #[must_use]
    pub fn on_progress<'a, T: DeserializeOwned>(&self, tell: impl Fn(T) + 'a) -> Watched<'a> {
        Watched { callee: self.clone(), tell: None, token: None }.on_progress(tell)
    }

    /// The same for calls that end, as `cancelled`, once `token` is cancelled.
    #[must_use]
    pub fn cancelled_by(&self, token: &CancelToken) -> Watched<'static> {
        Watched { callee: self.clone(), tell: None, token: Some(token.clone()) }
    }
}

impl<'a> Watched<'a> {
    /// As [`Callee::on_progress`].
    #[must_use]
    pub fn on_progress<'b, T: DeserializeOwned>(self, tell: impl Fn(T) + 'b) -> Watched<'b>
    where
        'a: 'b,
    {
        let tell = move |value: &RawValue| {
            if let Ok(value) = serde_json::from_str(value.get()) {
                tell(value);
            }
        };
        Watched { callee: self.callee, tell: Some(Box::new(tell)), token: self.token }
    }

    /// As [`Callee::cancelled_by`].
    #[must_use]
    pub fn cancelled_by(self, token: &CancelToken) -> Watched<'a> {
        Watched { token: Some(token.clone()), ..self }
    }

    /// Calls a method and waits for its result.
    ///
    /// # Errors
    /// As [`Callee::call`]; `cancelled` where it was.
    pub fn call<P, R>(&self, method: &str, params: &P) -> Result<R, CallError>
    where
        P: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let made =
            caller::outgoing(method.to_owned(), params).map_err(|error| at(error, &self.callee.target))?;
        unpack(method, self.make(made)?)
    }
}

impl Caller for Watched<'_> {
    fn make(&self, call: Outgoing) -> Result<Reply, CallError> {
        if self.token.as_ref().is_some_and(CancelToken::is_cancelled) {
            let error = CallError::not_sent(ErrorCode::Cancelled, "its caller had cancelled the call before");
            return Err(at(error, &self.callee.target));
        }
        let Outgoing { method, params, parcel, timeout, idempotent } = call;
        let options = CallOptions { timeout, idempotent, progress: self.tell.is_some() };
        let pending = self.callee.start_text(&method, params, parcel, options)?;
        let CallReply { result, fds, .. } =
            pending.wait_watched(self.tell.as_deref(), self.token.as_ref())?;
        Ok(Reply { result, fds })
    }
}
