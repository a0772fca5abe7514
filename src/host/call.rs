//! Calling: the same for a plugin by its id and for a capability.
//!
//! What it deliberately does not do: wait for a call that was begun ([`super::pending`] does), or choose the plugin
//! (`state/route.rs` does).

use super::Inner;
use super::pending::PendingCall;
use crate::reactor::{NewCall, PostError, Slot};
use crate::state::action::CallEnd;
use crate::state::call_error::CallError;
use crate::state::route::{CallRequest, Target};
use crate::state::session::CallSpec;
use rpc_plugin_wire::message::{fits_nesting, params_text};
use rpc_plugin_wire::{ErrorCode, Generation, Outcome, PluginId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;

/// How one call is to be made. The default is what the plugin's policy says, made once, without progress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallOptions {
    timeout: Option<Duration>,
    idempotent: bool,
    progress: bool,
}

impl CallOptions {
    /// When the call ends at the latest; at most a day. It is for all tries together.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> CallOptions {
        self.timeout = Some(timeout);
        self
    }

    /// Whether the plugin may execute the call more than once. The host then repeats it by itself, within its
    /// deadline, when it could not be sent, when the plugin was lost meanwhile, and when the plugin has too much to
    /// do; also across a restart. What the plugin answers is never repeated. See [`CallError::tries`].
    #[must_use]
    pub fn idempotent(mut self, idempotent: bool) -> CallOptions {
        self.idempotent = idempotent;
        self
    }

    /// Whether the plugin is asked to tell of the call's progress; see [`PendingCall::progress`].
    #[must_use]
    pub fn progress(mut self, progress: bool) -> CallOptions {
        self.progress = progress;
        self
    }
}

/// What a call came to, unparsed.
#[derive(Debug)]
pub struct CallReply {
    /// The result as the plugin sent it.
    pub result: Box<RawValue>,
    /// The plugin that answered.
    pub plugin_id: Option<PluginId>,
    /// The generation that answered.
    pub generation: Option<Generation>,
    /// From the host's send to the answer; of several tries, of the last.
    pub took: Duration,
}

impl CallReply {
    /// Reads the result as a type.
    ///
    /// # Errors
    /// What serde says.
    pub fn parse<R: DeserializeOwned>(&self) -> Result<R, serde_json::Error> {
        serde_json::from_str(self.result.get())
    }
}

/// Whom calls are made to: what a [`PluginHandle`](super::PluginHandle) and a
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
        let params = self.text_of(params)?;
        let reply = self.call_text(method, params, options)?;
        reply.parse().map_err(|error| CallError {
            outcome: Outcome::Answered,
            plugin_id: reply.plugin_id,
            generation: reply.generation,
            ..CallError::not_sent(
                ErrorCode::InternalError,
                format!("the result of {method} is not what was expected: {error}"),
            )
        })
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
        self.call_text(method, params.map(text_of_raw), options)
    }

    fn call_text(
        &self,
        method: &str,
        params: Option<String>,
        options: CallOptions,
    ) -> Result<CallReply, CallError> {
        let slot = Slot::default();
        let call = self.new_call(method, params, options, &slot)?;
        let end = self.host.engine.call(call, &slot).map_err(|error| not_taken(error, &self.target))?;
        reply(end, &self.target)
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
        self.start_text(method, self.text_of(params)?, options)
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
        self.start_text(method, params.map(text_of_raw), options)
    }

    fn text_of<P: Serialize + ?Sized>(&self, params: &P) -> Result<Option<String>, CallError> {
        params_text(params).map_err(|error| {
            at(CallError::not_sent(ErrorCode::from(error.code), error.message), &self.target)
        })
    }

    fn start_text(
        &self,
        method: &str,
        params: Option<String>,
        options: CallOptions,
    ) -> Result<PendingCall, CallError> {
        let slot = Slot::default();
        let call = self.new_call(method, params, options, &slot)?;
        self.host.engine.begin(call).map_err(|error| not_taken(error, &self.target))?;
        Ok(PendingCall::new(slot, Arc::clone(&self.host), self.target.clone()))
    }

    fn new_call(
        &self,
        method: &str,
        params: Option<String>,
        options: CallOptions,
        slot: &Slot,
    ) -> Result<NewCall, CallError> {
        let refuse = |message: &'static str| {
            Err(at(CallError::not_sent(ErrorCode::InvalidParams, message), &self.target))
        };
        if params.as_ref().is_some_and(|params| !params.starts_with('{')) {
            return refuse("params are not a JSON object");
        }
        if params.as_ref().is_some_and(|params| !fits_nesting(params.as_bytes())) {
            return refuse("params are nested deeper than 127 levels, which is the most");
        }
        let request = CallRequest {
            target: self.target.clone(),
            idempotent: options.idempotent,
            spec: CallSpec {
                method: method.to_owned(),
                params,
                timeout: options.timeout.map(|timeout| timeout.min(crate::state::policy::DURATION_MAX)),
                progress: options.progress,
                ..CallSpec::default()
            },
        };
        Ok(NewCall { request, reply: slot.fill() })
    }
}

/// The error with the plugin, where the caller named one.
fn at(error: CallError, target: &Target) -> CallError {
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
    Ok(CallReply { result, plugin_id: end.plugin_id, generation: end.generation, took: end.took })
}

fn text_of_raw(raw: Box<RawValue>) -> String {
    String::from(Box::<str>::from(raw))
}
