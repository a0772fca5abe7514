//! One plugin, as an embedding program holds it.

use super::call::Callee;
use super::checked::checked;
use super::error::HostError;
use super::services::current_call::inherit;
use super::shared::HostShared;
use crate::reactor::PluginCommand;
use crate::state::call::Target;
use crate::state::config_error::ConfigErrors;
use crate::state::plugin_config::PluginConfig;
use crate::state::supervisor::Wish;
use crate::state::waits::Goal;
use rpc_plugin_interface::{Caller, Outgoing, Reply};
use rpc_plugin_wire::admin::PluginStatus;
use rpc_plugin_wire::describe::Description;
use rpc_plugin_wire::life::PluginState;
use rpc_plugin_wire::{CallError, Generation, PluginId};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// A plugin of a host. Clones are the same plugin; it keeps the host alive. Its calls are those of [`Callee`].
#[derive(Clone)]
pub struct PluginHandle {
    id: PluginId,
    callee: Callee,
}

impl std::fmt::Debug for PluginHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginHandle").field("id", &self.id).finish_non_exhaustive()
    }
}

impl PluginHandle {
    pub(super) fn new(host: Arc<HostShared>, id: PluginId) -> PluginHandle {
        PluginHandle { callee: Callee { host, target: Target::Plugin(id.clone()) }, id }
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
    /// `unavailable`, where plugins that are started after it ([`PluginConfig::after`]) run; as [`PluginHandle::start`].
    pub fn stop(&self) -> Result<PluginStatus, HostError> {
        self.wish(Wish::Stop)
    }

    /// Wants it down, and before it all that are started after it and run. Returns at once.
    ///
    /// # Errors
    /// As [`PluginHandle::start`].
    pub fn stop_with_dependents(&self) -> Result<PluginStatus, HostError> {
        self.wish(Wish::StopWithDependents)
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

    /// Replaces its configuration, as one value: executable, arguments, variables, policy, all of it. The generation that is
    /// there goes on by what it was launched with; the next launch, whatever brings it about, takes the new one. Returns at once;
    /// [`PluginHandle::restart`] has it taken now. Variables that it lets through are looked up now.
    ///
    /// # Errors
    /// The configuration is of another plugin or contradicts itself; else as [`PluginHandle::start`].
    pub fn reconfigure(&self, config: PluginConfig) -> Result<PluginStatus, HostError> {
        if config.id != self.id {
            let mut errors = ConfigErrors::default();
            let problem = format!("it is that of plugin {}", config.id);
            errors.add("id", problem, self.id.as_str());
            return Err(HostError::Config(self.id.clone(), errors));
        }
        let config = checked(config)?;
        let answer = self.callee.host.ask_about(|reply| PluginCommand::Reconfigure(config, reply))?;
        answer.map(|status| *status).map_err(|refusal| HostError::refused(&self.id, refusal))
    }

    fn wish(&self, wish: Wish) -> Result<PluginStatus, HostError> {
        let answer = self.callee.host.ask_about(|reply| PluginCommand::Wish(self.id.clone(), wish, reply))?;
        Ok(*answer?)
    }

    /// The state it is in.
    ///
    /// # Errors
    /// As [`PluginHandle::start`].
    pub fn status(&self) -> Result<PluginStatus, HostError> {
        let answer = self.callee.host.ask_about(|reply| PluginCommand::Status(self.id.clone(), reply))?;
        answer.map(|status| *status).ok_or_else(|| HostError::unknown(&self.id))
    }

    /// Waits until it is in that state.
    ///
    /// # Errors
    /// `unavailable` with the cause, at once, when it is failed and `state` is another; `deadline_exceeded` when it is not
    /// there within `timeout`; as [`PluginHandle::start`].
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

    /// What the plugin says of its methods: their params and results as JSON Schema, their docs and streams. It is asked once a
    /// generation, at most for five seconds, and what it said is kept; of one that is down, what its last generation said. A failure is told again, without asking, for half a minute, and twice
    /// as long after each further one of the generation.
    ///
    /// # Errors
    /// `method_not_found` when the plugin does not say, `invalid_response` when what it says is no description or beyond
    /// its bounds, `unavailable` when it is down and was not asked before, `overloaded` while another thread or client waits for its
    /// answer; as [`PluginHandle::start`].
    pub fn describe(&self) -> Result<Arc<Description>, HostError> {
        let (known, generation) = (&self.callee.host.descriptions, self.status()?.generation);
        if let Some(description) = generation.and_then(|generation| known.known(&self.id, generation)) {
            return Ok(description);
        }
        let (mut call, asking) = known.ask(&self.id, generation).map_err(HostError::Call)?;
        let reply = inherit(&mut call).and_then(|()| self.callee.finish(&mut call));
        let answer = reply.as_ref().map_err(Clone::clone);
        let answer = answer.map(|reply| (&*reply.result, reply.generation.unwrap_or(Generation::FIRST)));
        asking.end(answer).map_err(HostError::Call)
    }

    fn wait(&self, goal: Goal, timeout: Duration) -> Result<PluginStatus, HostError> {
        let answer =
            self.callee.host.ask_about(|reply| PluginCommand::Wait(self.id.clone(), goal, timeout, reply))?;
        Ok(*answer?)
    }
}

impl Deref for PluginHandle {
    type Target = Callee;

    fn deref(&self) -> &Callee {
        &self.callee
    }
}

/// For typed clients of an interface: `Client::new(&handle)`, or of a clone.
impl Caller for PluginHandle {
    fn make(&self, call: Outgoing) -> Result<Reply, CallError> {
        self.callee.make(call)
    }
}
