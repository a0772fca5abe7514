//! Calling: the same for a plugin by its id and for a capability.
//!
//! What it deliberately does not do: wait for a call that was begun ([`super::pending`] does), or choose the plugin
//! (`state/route.rs` does).

use super::Inner;
use super::pending::PendingCall;
use super::services::Registered;
use super::services::current::{inherit, wait_for};
use crate::engine::{PostError, ReplySlot};
use crate::reactor::LoopCommand;
use crate::state::call::CallEnd;
use crate::state::call::{CallRequest, Target};
use rpc_plugin_interface::arrived::{Arrived, provide};
use rpc_plugin_interface::client::unpack;
use rpc_plugin_interface::{CallOptions, Caller, Outgoing, Parcel, Reply, caller};
use rpc_plugin_peer::check_params;
use rpc_plugin_wire::message::raw_into_text;
use rpc_plugin_wire::{CallError, ErrorCode, Generation, PluginId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// What a call came to, unparsed.
#[derive(Debug)]
pub struct CallReply {
    /// The result as the plugin sent it.
    pub result: Box<RawValue>,
    /// File descriptors that came with it.
    pub fds: Vec<OwnedFd>,
    /// The plugin that answered.
    pub plugin_id: Option<PluginId>,
    /// The generation that answered.
    pub generation: Option<Generation>,
    /// From the host's send to the answer; of several tries, of the last.
    pub took: Duration,
}

impl CallReply {
    /// Reads the result as a type. A stream in it can be read once; see [`CallReply::into_typed`].
    ///
    /// # Errors
    /// What serde says.
    pub fn parse<R: DeserializeOwned>(&self) -> Result<R, serde_json::Error> {
        serde_json::from_str(self.result.get())
    }

    /// Reads the result, and the streams and blobs in it, as a type.
    ///
    /// # Errors
    /// What serde says.
    pub fn into_typed<R: DeserializeOwned>(self) -> Result<R, serde_json::Error> {
        let arrived = Arrived { fds: self.fds, ..Arrived::default() };
        provide(arrived, || serde_json::from_str(self.result.get()))
    }
}

/// The target of calls: what a [`PluginHandle`](super::PluginHandle) and a
/// [`CapabilityHandle`](super::CapabilityHandle) have in common. It keeps the host alive.
#[derive(Clone)]
pub struct Callee {
    pub(super) host: Arc<Inner>,
    pub(super) target: Target,
}

impl std::fmt::Debug for Callee {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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

    /// The same with options.
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
        let (call, _registered) = self.request(method, params, parcel, options)?;
        self.finish(call)
    }

    /// Makes a call and waits for its end.
    fn finish(&self, call: CallRequest) -> Result<CallReply, CallError> {
        let slot = ReplySlot::default();
        let call = LoopCommand::Call(call, slot.sender());
        let mut taken = Ok(());
        let wait = || match self.host.engine.call(call, &slot) {
            Ok(end) => end,
            Err(error) => {
                taken = Err(not_taken(error, &self.target));
                None
            }
        };
        let end = wait_for(|| canceller(&self.host, &slot), wait)?;
        taken?;
        reply(end, &self.target)
    }

    /// Makes a call that is packed already; `is_callback`: into a call of the plugin's own.
    pub(super) fn make_call(&self, call: Outgoing, is_callback: bool) -> Result<Reply, CallError> {
        let Outgoing { method, params, parcel, timeout, idempotent } = call;
        let options = CallOptions { timeout, idempotent, progress: false };
        let (mut call, _registered) = self.request(&method, params, parcel, options)?;
        call.is_callback = is_callback;
        let CallReply { result, fds, .. } = self.finish(call)?;
        Ok(Reply { result, fds })
    }

    /// Begins a call with typed params as [`Callee::start_raw`] does.
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
    pub fn start_raw(
        &self,
        method: &str,
        params: Option<Box<RawValue>>,
        options: CallOptions,
    ) -> Result<PendingCall, CallError> {
        self.start_text(method, params.map(raw_into_text), Parcel::default(), options)
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
        let (call, registered) = self.request(method, params, parcel, options)?;
        let slot = ReplySlot::default();
        let call = LoopCommand::Call(call, slot.sender());
        self.host.engine.begin(call).map_err(|error| not_taken(error, &self.target))?;
        Ok(PendingCall::new(slot, Arc::clone(&self.host), self.target.clone(), registered))
    }

    /// A call for the loop; and what of it is to be kept until it ends.
    fn request(
        &self,
        method: &str,
        params: Option<String>,
        parcel: Parcel,
        options: CallOptions,
    ) -> Result<(CallRequest, Option<Registered>), CallError> {
        check_params(params.as_deref()).map_err(|refused| at(refused.into(), &self.target))?;
        let mut request = CallRequest {
            params,
            timeout: options.timeout.map(|timeout| timeout.min(crate::state::policy::DURATION_MAX)),
            idempotent: options.idempotent,
            progress: options.progress,
            fds: parcel.fds,
            ..CallRequest::new(self.target.clone(), method.to_owned())
        };
        inherit(&mut request).map_err(|error| at(error, &self.target))?;
        let registered = self.host.called_back.register(&self.target, parcel.callbacks);
        Ok((request, registered))
    }
}

/// For typed clients of an interface.
impl Caller for Callee {
    fn make(&self, call: Outgoing) -> Result<Reply, CallError> {
        self.make_call(call, false)
    }
}

/// What cancels the call of that slot.
pub(super) fn canceller(host: &Arc<Inner>, slot: &ReplySlot) -> Box<dyn FnOnce() + Send> {
    let (host, slot) = (Arc::clone(host), slot.clone());
    Box::new(move || host.engine.execute(LoopCommand::Cancel(vec![slot])))
}

/// The error with the plugin, where the caller named one.
pub(super) fn at(error: CallError, target: &Target) -> CallError {
    match target {
        Target::Plugin(id) => error.at(id, None),
        Target::Capability(_) => error,
    }
}

fn not_taken(error: PostError, target: &Target) -> CallError {
    let (code, message) = match error {
        PostError::Full => (ErrorCode::Overloaded, "too much is asked of the host at once"),
        PostError::Ended => (ErrorCode::Unavailable, "the host has ended"),
    };
    at(CallError::not_sent(code, message), target)
}

/// What the caller is told. `None`: the host ended before the call did.
pub(super) fn reply(end: Option<CallEnd>, target: &Target) -> Result<CallReply, CallError> {
    let Some(end) = end else {
        let error = CallError::indeterminate(ErrorCode::PluginLost, "the host ended during the call");
        return Err(at(error, target));
    };
    let result = end.result?;
    let CallEnd { plugin_id, generation, took, fds, .. } = end;
    Ok(CallReply { result, fds, plugin_id, generation, took })
}
