//! Calling: the same for a plugin by its id and for a capability, watched or not.
//!
//! What it deliberately does not do: wait for a call that was begun ([`super::pending`] does), or choose the plugin
//! (`state/route.rs` does).
//!
//! What always holds: progress is told on the thread that waits for the call, before it returns.

use super::call_reply::{CallReply, at, reply};
use super::cancel_token::CancelToken;
use super::pending::PendingCall;
use super::services::callback_table::RegisteredCallbacks;
use super::services::current_call::{inherit, wait_for};
use super::shared::HostShared;
use crate::engine::{PostError, ReplySlot};
use crate::reactor::NewCall;
use crate::state::call::{CallRequest, Target};
use crate::state::closing::from_owned;
use rpc_plugin_interface::client::unpack;
use rpc_plugin_interface::{CallOptions, Caller, Outgoing, Parcel, Reply, caller};
use rpc_plugin_peer::check_params;
use rpc_plugin_wire::message::raw_into_text;
use rpc_plugin_wire::{CallError, ErrorCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// The target of calls: what a [`PluginHandle`](super::PluginHandle) and a
/// [`CapabilityHandle`](super::CapabilityHandle) have in common. It keeps the host alive.
#[derive(Clone)]
pub struct Callee {
    pub(super) host: Arc<HostShared>,
    pub(super) target: Target,
}

/// Takes a call of a client apart: its method, params, what travels beside them, and its options.
fn unpacked(call: Outgoing, progress: bool) -> (Cow<'static, str>, Option<String>, Parcel, CallOptions) {
    let Outgoing { method, params, parcel, timeout, idempotent, retry } = call;
    let mut options = CallOptions::default().idempotent(idempotent).progress(progress);
    (options.timeout, options.retry) = (timeout, retry);
    (method, params, parcel, options)
}

impl fmt::Debug for Callee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Callee").field(&self.target).finish()
    }
}

impl Callee {
    /// Calls a method and waits for its result. Any number of threads may call at once.
    ///
    /// # Errors
    /// Exactly one [`CallError`] tells what happened and whether the plugin can have seen the call.
    pub fn call<P, R>(&self, method: &str, params: &P) -> Result<R, CallError>
    where
        P: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        self.call_with(method, params, CallOptions::default())
    }

    /// Calls a method with options and waits for its result.
    ///
    /// # Errors
    /// As [`Callee::call`].
    pub fn call_with<P, R>(&self, method: &str, params: &P, options: CallOptions) -> Result<R, CallError>
    where
        P: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let (params, parcel) = self.pack(params)?;
        let reply = self.call_text(method, params, parcel, options)?;
        let (plugin_id, generation) = (reply.plugin_id.clone(), reply.generation);
        let unexpected = |error| CallError { plugin_id, generation, ..error };
        unpack(method, Reply { result: reply.result, fds: reply.fds }).map_err(unexpected)
    }

    /// Calls a method with params that are JSON already: an object, or nothing.
    ///
    /// # Errors
    /// As [`Callee::call`].
    pub fn call_raw(
        &self,
        method: &str,
        params: Option<Box<RawValue>>,
        options: CallOptions,
    ) -> Result<CallReply, CallError> {
        self.call_text(method, params.map(raw_into_text), Parcel::default(), options)
    }

    fn call_text(
        &self,
        method: &str,
        params: Option<String>,
        parcel: Parcel,
        options: CallOptions,
    ) -> Result<CallReply, CallError> {
        let mut call = CallRequest::new(self.target.clone(), method.to_owned());
        let _registered = self.fill(&mut call, params, parcel, options)?;
        self.finish(&mut call).map_err(|error| self.host.descriptions.advise(method, error))
    }

    /// Makes a call and waits for its end.
    pub(super) fn finish(&self, request: &mut CallRequest) -> Result<CallReply, CallError> {
        let slot = ReplySlot::default();
        let call = NewCall { request, reply: slot.sender() };
        let mut taken = Ok(());
        let wait = || match self.host.engine.call(call, &slot) {
            Ok(end) => end,
            Err(error) => {
                taken = Err(not_taken(error, &self.target));
                None
            }
        };
        let end = wait_for(|| self.host.canceller(&slot), wait)?;
        taken?;
        reply(end, &self.target)
    }

    /// Makes a call that is packed already; `is_callback`: into a call of the plugin's own.
    pub(super) fn make_call(&self, call: Outgoing, is_callback: bool) -> Result<Reply, CallError> {
        let (method, params, parcel, options) = unpacked(call, false);
        let mut call = CallRequest::new(self.target.clone(), method);
        let _registered = self.fill(&mut call, params, parcel, options)?;
        call.is_protocol = is_callback;
        let CallReply { result, fds, .. } = self.finish(&mut call)?;
        Ok(Reply { result, fds })
    }

    /// Begins a call with typed params as [`Callee::call_raw_start`] does.
    ///
    /// # Errors
    /// The params do not serialise to an object, or the host did not take the call; the plugin never sees it.
    pub fn call_start<P: Serialize + ?Sized>(
        &self,
        method: &str,
        params: &P,
        options: CallOptions,
    ) -> Result<PendingCall, CallError> {
        let (params, parcel) = self.pack(params)?;
        self.start_text(method, params, parcel, options)
    }

    /// Begins a call as [`Callee::call_raw`] does, and returns at once: one thread can have many
    /// calls in flight. While another call to the plugin is unanswered it may wait for more to travel with:
    /// until somebody waits for an answer, or 16 KiB are there, or a millisecond is over.
    ///
    /// # Errors
    /// The host did not take the call, and the plugin never sees it.
    pub fn call_raw_start(
        &self,
        method: &str,
        params: Option<Box<RawValue>>,
        options: CallOptions,
    ) -> Result<PendingCall, CallError> {
        self.start_text(method, params.map(raw_into_text), Parcel::default(), options)
    }

    #[cfg(feature = "daemon")]
    /// The same with descriptors, whose places the params name.
    pub(crate) fn start_with_fds(
        &self,
        method: &str,
        params: Option<Box<RawValue>>,
        fds: Vec<std::os::fd::OwnedFd>,
        options: CallOptions,
    ) -> Result<PendingCall, CallError> {
        let parcel = Parcel { fds, ..Parcel::default() };
        self.start_text(method, params.map(raw_into_text), parcel, options)
    }

    fn pack<P: Serialize + ?Sized>(&self, params: &P) -> Result<(Option<String>, Parcel), CallError> {
        caller::pack(params).map_err(|error| at(error, &self.target))
    }

    pub(super) fn start_text(
        &self,
        method: &str,
        params: Option<String>,
        parcel: Parcel,
        options: CallOptions,
    ) -> Result<PendingCall, CallError> {
        let mut call = CallRequest::new(self.target.clone(), method.to_owned());
        let registered = self.fill(&mut call, params, parcel, options)?;
        let slot = ReplySlot::default();
        let call = NewCall { request: &mut call, reply: slot.sender() };
        self.host.engine.begin(call).map_err(|error| not_taken(error, &self.target))?;
        Ok(PendingCall::new(slot, Arc::clone(&self.host), self.target.clone(), registered))
    }

    /// Makes calls that report their progress. `tell` gets each value on the thread that made the call; one
    /// that is no `T` is passed over. Of what comes faster than it is told, the newest 256 are.
    #[must_use]
    pub fn on_progress<'a, T: DeserializeOwned>(&self, tell: impl Fn(T) + 'a) -> Watched<'a> {
        Watched { callee: self.clone(), tell: None, token: None }.on_progress(tell)
    }

    /// Makes calls that end, as `cancelled`, once `token` is cancelled.
    #[must_use]
    pub fn cancelled_by(&self, token: &CancelToken) -> Watched<'static> {
        Watched { callee: self.clone(), tell: None, token: Some(token.clone()) }
    }

    /// Describes a call for the loop, where its caller has it: it is not moved. What is to be kept until it ends.
    fn fill(
        &self,
        request: &mut CallRequest,
        params: Option<String>,
        parcel: Parcel,
        options: CallOptions,
    ) -> Result<Option<RegisteredCallbacks>, CallError> {
        check_params(params.as_deref()).map_err(|refused| at(refused.into(), &self.target))?;
        request.params = params;
        let left = options.time_left(Instant::now).map_err(|error| at(error, &self.target))?;
        request.timeout = left.map(|left| left.min(crate::state::policy::DURATION_MAX));
        (request.idempotent, request.progress) = (options.idempotent, options.progress);
        request.retry = options.retry;
        request.fds = from_owned(parcel.fds);
        inherit(request).map_err(|error| at(error, &self.target))?;
        Ok(self.host.called_back.register(&self.target, parcel.callbacks))
    }
}

/// For typed clients of an interface.
impl Caller for Callee {
    fn make(&self, call: Outgoing) -> Result<Reply, CallError> {
        self.make_call(call, false)
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

impl<'a> Watched<'a> {
    /// Reports the progress of calls too; see [`Callee::on_progress`].
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

    /// Lets `token` cancel the calls too; see [`Callee::cancelled_by`].
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
        let (method, params, parcel, options) = unpacked(call, self.tell.is_some());
        let pending = self.callee.start_text(&method, params, parcel, options)?;
        let CallReply { result, fds, .. } =
            pending.wait_watched(self.tell.as_deref(), self.token.as_ref())?;
        Ok(Reply { result, fds })
    }
}

fn not_taken(error: PostError, target: &Target) -> CallError {
    let (code, message) = match error {
        PostError::Full => (ErrorCode::Overloaded, "too much is asked of the host at once"),
        PostError::Ended => (ErrorCode::Unavailable, "the host has ended"),
    };
    at(CallError::not_sent(code, message), target)
}
