//! Who waits for a plugin to get somewhere: operators' commands, and callers of the host library.
//!
//! What always holds: a wait ends exactly once, unless who waits has gone; the table is bounded.

use super::action::Action;
use super::keys::{PluginKey, Timer, WaitKey};
use super::plugin::{Plugin, status_of};
use super::time::Time;
use super::wheel::{TimerKey, Wheel};
use rpc_plugin_peer::{Amount, Party, Shares};
use rpc_plugin_wire::life::PluginState;
use rpc_plugin_wire::{CallError, ErrorCode, Generation};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Waits at once, of which each party has a share; a further one ends at once as `overloaded`.
pub const WAITS_MAX: usize = 4096;

/// Where a plugin shall get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// This state.
    State(PluginState),
    /// Routable, in a generation after this one.
    RoutableAfter(Option<Generation>),
}

/// The state of a plugin that is not where it is waited for, with what is known of the cause.
fn state_with_cause(plugin: &Plugin) -> String {
    let state = plugin.state();
    let status = status_of(plugin, Time::ZERO);
    if let Some(waits) = status.launch_waits {
        return format!("{state}, and {waits}");
    }
    match (status.last_error, status.last_exit) {
        (Some(error), _) => format!("{state}: {error}"),
        (None, Some(exit)) if !state.is_up() => {
            format!("{state}: the process of generation {} ended with {}", exit.generation, exit.text)
        }
        _ => state.to_string(),
    }
}

enum Verdict {
    There,
    Never(String),
    NotYet,
}

impl Goal {
    fn judge(self, plugin: &Plugin) -> Verdict {
        let state = plugin.state();
        let there = match self {
            Goal::State(wanted) => state == wanted,
            Goal::RoutableAfter(generation) => state.is_routable() && plugin.generation() > generation,
        };
        match (self, state) {
            _ if there => Verdict::There,
            // Only an operator gets a plugin out of these two, and who waits for a state may wait for that operator; one
            // that failed is told of all the same, since its cause is to be mended first.
            (_, PluginState::Failed) | (Goal::RoutableAfter(_), PluginState::Stopped) => {
                Verdict::Never(format!("the plugin is {}", state_with_cause(plugin)))
            }
            _ => Verdict::NotYet,
        }
    }

    fn text(self) -> String {
        match self {
            Goal::State(state) => state.to_string(),
            Goal::RoutableAfter(_) => "healthy".to_owned(),
        }
    }
}

#[derive(Debug)]
struct Wait {
    plugin: PluginKey,
    goal: Goal,
    timer: TimerKey,
    timeout: Duration,
    party: Party,
}

/// Table of the waits for states.
#[derive(Debug)]
pub struct Waits {
    waits: BTreeMap<WaitKey, Wait>,
    places: Shares,
}

impl Default for Waits {
    fn default() -> Waits {
        Waits { waits: BTreeMap::new(), places: Shares::new(Amount::of(WAITS_MAX)) }
    }
}

impl Waits {
    /// Enters a wait that begins now.
    ///
    /// # Errors
    /// `overloaded`: there is no room, or the share of its party is used up.
    pub fn add(
        &mut self,
        now: Time,
        (key, party): (WaitKey, Party),
        plugin: PluginKey,
        goal: Goal,
        timeout: Duration,
        timers: &mut Wheel<Timer>,
    ) -> Result<(), CallError> {
        if let Err(used) = self.places.enter(&party, Amount::ONE) {
            return Err(CallError::not_sent(ErrorCode::Overloaded, used.tell(&party, "waits for plugins")));
        }
        let timer = timers.insert(now.plus(timeout), Timer::Wait(key));
        self.waits.insert(key, Wait { plugin, goal, timer, timeout, party });
        Ok(())
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waits.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waits.is_empty()
    }

    /// Ends the waits that are over now that `plugin` has changed. Whether its process still runs is asked before anybody is
    /// told of it: `is_confirmed` says that it does.
    pub fn check(
        &mut self,
        now: Time,
        key: PluginKey,
        plugin: &Plugin,
        is_confirmed: bool,
        timers: &mut Wheel<Timer>,
        actions: &mut VecDeque<Action>,
    ) {
        let asks = plugin.pid().and(plugin.generation()).filter(|_| !is_confirmed);
        let mut asked = None;
        self.waits.retain(|wait_key, wait| {
            if wait.plugin != key {
                return true;
            }
            let result = match wait.goal.judge(plugin) {
                Verdict::NotYet => return true,
                Verdict::There if asks.is_some() => {
                    asked = asks;
                    return true;
                }
                Verdict::There => Ok(Box::new(status_of(plugin, now))),
                Verdict::Never(why) => {
                    Err(CallError::not_sent(ErrorCode::Unavailable, why).at(plugin.id(), plugin.generation()))
                }
            };
            timers.cancel(wait.timer);
            self.places.leave(&wait.party, Amount::ONE);
            actions.push_back(Action::Waited(*wait_key, result));
            false
        });
        actions.extend(asked.map(|generation| Action::Confirm(key, generation)));
    }

    /// A wait's time is over.
    pub fn expire(
        &mut self,
        key: WaitKey,
        plugins: &BTreeMap<PluginKey, Plugin>,
        actions: &mut VecDeque<Action>,
    ) {
        let Some(wait) = self.waits.remove(&key) else { return };
        self.places.leave(&wait.party, Amount::ONE);
        let mut message = format!("it was not {} within {:?}", wait.goal.text(), wait.timeout);
        let mut error = CallError::not_sent(ErrorCode::DeadlineExceeded, message.clone());
        if let Some(plugin) = plugins.get(&wait.plugin) {
            message = format!("{message}; it is {}", state_with_cause(plugin));
            error = CallError::not_sent(ErrorCode::DeadlineExceeded, message)
                .at(plugin.id(), plugin.generation());
        }
        actions.push_back(Action::Waited(key, Err(error)));
    }

    /// Who waited has gone.
    pub fn forget(&mut self, key: WaitKey, timers: &mut Wheel<Timer>) {
        if let Some(wait) = self.waits.remove(&key) {
            self.places.leave(&wait.party, Amount::ONE);
            timers.cancel(wait.timer);
        }
    }

    /// The plugin has gone.
    pub fn abandon(&mut self, plugin: PluginKey, timers: &mut Wheel<Timer>, actions: &mut VecDeque<Action>) {
        self.waits.retain(|key, wait| {
            if wait.plugin == plugin {
                self.places.leave(&wait.party, Amount::ONE);
                timers.cancel(wait.timer);
                let error = CallError::not_sent(ErrorCode::UnknownPlugin, "the plugin was removed");
                actions.push_back(Action::Waited(*key, Err(error)));
            }
            wait.plugin != plugin
        });
    }
}
