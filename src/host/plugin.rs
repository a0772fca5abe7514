//! One plugin, as an embedding program holds it.

use super::Inner;
use super::error::HostError;
use crate::reactor::{Command, NewCall, PostError, Slot};
use crate::state::action::CallEnd;
use crate::state::call_error::CallError;
use crate::state::supervisor::Wish;
use crate::state::waits::Goal;
use rpc_plugin_wire::admin::PluginStatus;
use rpc_plugin_wire::life::PluginState;
use rpc_plugin_wire::message::{fits_nesting, params_text};
use rpc_plugin_wire::{ErrorCode, Generation, Outcome, PluginId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;

/// How one call is to be made. The default is what the plugin's policy says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallOptions {
    /// When the call ends at the latest; at most a day.
    pub timeout: Option<Duration>,
}

impl CallOptions {
    /// A deadline.
    #[must_use]
    pub fn timeout(timeout: Duration) -> CallOptions {
        CallOptions { timeout: Some(timeout) }
    }
}

/// What a call came to, unparsed.
#[derive(Debug)]
pub struct CallReply {
    /// The result as the plugin sent it.
    pub result: Box<RawValue>,
    /// The generation that answered.
    pub generation: Option<Generation>,
    /// From the host's send to the answer.
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

/// A plugin of a host. Clones are the same plugin; it keeps the host alive.
#[derive(Clone)]
pub struct PluginHandle {
    host: Arc<Inner>,
    id: PluginId,
}

impl std::fmt::Debug for PluginHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginHandle").field("id", &self.id).finish_non_exhaustive()
    }
}

impl PluginHandle {
    pub(super) fn new(host: Arc<Inner>, id: PluginId) -> PluginHandle {
        PluginHandle { host, id }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &PluginId {
        &self.id
    }

    /// Wants it up. Returns at once, with the state it is in then; see
    /// [`PluginHandle::wait_routable`].
    ///
    /// # Errors
    /// The plugin was removed, or the host has ended.
    pub fn start(&self) -> Result<PluginStatus, HostError> {
        self.wish(Wish::Start)
    }

    /// Wants it down. Returns at once; see [`PluginHandle::wait_for`].
    ///
    /// # Errors
    /// As [`PluginHandle::start`].
    pub fn stop(&self) -> Result<PluginStatus, HostError> {
        self.wish(Wish::Stop)
    }

    /// Wants a new generation of it. Returns at once, with the state it is in then. To wait for the new
    /// one, take the generation from [`PluginHandle::status`] before, and give it to
    /// [`PluginHandle::wait_routable`]: a plugin without a process has its new generation at once.
    ///
    /// # Errors
    /// As [`PluginHandle::start`].
    pub fn restart(&self) -> Result<PluginStatus, HostError> {
        self.wish(Wish::Restart)
    }

    fn wish(&self, wish: Wish) -> Result<PluginStatus, HostError> {
        let answer = self.host.ask(|reply| Command::Wish(self.id.clone(), wish, reply))?;
        Ok(*answer?)
    }

    /// The state it is in.
    ///
    /// # Errors
    /// As [`PluginHandle::start`].
    pub fn status(&self) -> Result<PluginStatus, HostError> {
        let answer = self.host.ask(|reply| Command::Status(self.id.clone(), reply))?;
        answer.map(|status| *status).ok_or_else(|| {
            let error = CallError::not_sent(ErrorCode::UnknownPlugin, "there is no plugin of that id");
            HostError::Call(error.at(&self.id, None))
        })
    }

    /// Waits until it is in that state.
    ///
    /// # Errors
    /// `deadline_exceeded` when it is not within `timeout`; as [`PluginHandle::start`].
    pub fn wait_for(&self, state: PluginState, timeout: Duration) -> Result<PluginStatus, HostError> {
        self.wait(Goal::State(state), timeout)
    }

    /// Waits until it takes calls: healthy or degraded, in a generation after `after` (`None`: in any).
    ///
    /// # Errors
    /// `unavailable` with the reason when it is down or given up; else as [`PluginHandle::wait_for`].
    pub fn wait_routable(
        &self,
        after: Option<Generation>,
        timeout: Duration,
    ) -> Result<PluginStatus, HostError> {
        self.wait(Goal::RoutableAfter(after), timeout)
    }

    fn wait(&self, goal: Goal, timeout: Duration) -> Result<PluginStatus, HostError> {
        let answer = self.host.ask(|reply| Command::Wait(self.id.clone(), goal, timeout, reply))?;
        Ok(*answer?)
    }

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
    /// As [`PluginHandle::call`].
    pub fn call_with<P, R>(&self, method: &str, params: &P, options: CallOptions) -> Result<R, CallError>
    where
        P: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let params = self.text_of(params)?;
        let reply = self.call_text(method, params, options)?;
        reply.parse().map_err(|error| CallError {
            code: ErrorCode::InternalError,
            outcome: Outcome::Answered,
            message: format!("the result of {method} is not what was expected: {error}").into(),
            plugin_id: Some(self.id.clone()),
            generation: reply.generation,
            data: None,
        })
    }

    /// Calls a method with params that are JSON already: an object, or nothing.
    ///
    /// # Errors
    /// As [`PluginHandle::call`].
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
        let end = self.host.engine.call(call, &slot).map_err(|error| self.not_taken(error))?;
        self.reply(end)
    }

    /// Begins a call with typed params as [`PluginHandle::start_raw`] does.
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

    /// Begins a call as [`PluginHandle::call_raw`] does, and returns at once: one thread can have many
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
            CallError::not_sent(ErrorCode::from(error.code), error.message).at(&self.id, None)
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
        self.host.engine.begin(call).map_err(|error| self.not_taken(error))?;
        Ok(PendingCall { slot, plugin: self.clone() })
    }

    fn new_call(
        &self,
        method: &str,
        params: Option<String>,
        options: CallOptions,
        slot: &Slot,
    ) -> Result<NewCall, CallError> {
        let refuse = |message: &'static str| {
            Err(CallError::not_sent(ErrorCode::InvalidParams, message).at(&self.id, None))
        };
        if params.as_ref().is_some_and(|params| !params.starts_with('{')) {
            return refuse("params are not a JSON object");
        }
        if params.as_ref().is_some_and(|params| !fits_nesting(params.as_bytes())) {
            return refuse("params are nested deeper than 127 levels, which is the most");
        }
        Ok(NewCall {
            plugin_id: self.id.clone(),
            method: method.to_owned(),
            params,
            timeout: options.timeout.map(|timeout| timeout.min(crate::state::policy::DURATION_MAX)),
            reply: slot.fill(),
        })
    }

    fn not_taken(&self, error: PostError) -> CallError {
        let (code, message) = match error {
            PostError::Full => (ErrorCode::Overloaded, "too much is asked of the host at once"),
            PostError::Ended => (ErrorCode::Unavailable, "the host has ended"),
        };
        CallError::not_sent(code, message).at(&self.id, None)
    }

    fn reply(&self, end: Option<CallEnd>) -> Result<CallReply, CallError> {
        let Some(end) = end else {
            let error = CallError::indeterminate(ErrorCode::PluginLost, "the host ended during the call");
            return Err(error.at(&self.id, None));
        };
        let result = end.result?;
        Ok(CallReply { result, generation: end.generation, took: end.took })
    }
}

fn text_of_raw(raw: Box<RawValue>) -> String {
    String::from(Box::<str>::from(raw))
}

/// A call on its way. Dropping it leaves the call to itself.
#[must_use]
pub struct PendingCall {
    slot: Slot,
    plugin: PluginHandle,
}

impl std::fmt::Debug for PendingCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingCall").field("plugin", &self.plugin.id).finish_non_exhaustive()
    }
}

impl PendingCall {
    /// Waits for the end of the call, which comes by its deadline.
    ///
    /// # Errors
    /// As [`PluginHandle::call`].
    pub fn wait(self) -> Result<CallReply, CallError> {
        self.plugin.reply(self.plugin.host.engine.wait(&self.slot))
    }
}
