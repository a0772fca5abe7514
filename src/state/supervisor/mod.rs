//! All plugins together: the one machine that the event loop drives.
//!
//! What this folder is for: finding the plugin that an event concerns, waits for states, the end of all; `retry` repeats
//! calls that may be executed more than once, `records` says on whose record calls stand, `roster` takes plugins in and gives them
//! up, `wishes` does what operators want. What it deliberately does not do: anything that concerns one plugin only; its machine
//! does.
//!
//! What always holds: after every step the actions it asks for are in [`Supervisor::poll_action`],
//! and the plugins with bytes to write in [`Supervisor::poll_waiting`].

mod records;
mod retry;
mod roster;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_demand;
#[cfg(test)]
mod tests_order;
mod wishes;

pub use roster::ConfigRefusal;
pub use wishes::Wish;

use crate::state::action::Action;
use crate::state::call::{CallEnd, CallRequest, Target};
use crate::state::failed_calls::CallerRecords;
use crate::state::held_calls::HeldCalls;
use crate::state::keys::{CallKey, Cx, PluginKey, Timer, WaitKey};
use crate::state::order::Order;
use crate::state::plugin::{Plugin, Step, handle_use_due, state_changed};
use crate::state::route::Routes;
use crate::state::session::Session;
use crate::state::start_places::StartPlaces;
use crate::state::time::Time;
use crate::state::waits::{Goal, Waits};
use crate::state::wheel::Wheel;
use retry::Retries;
use rpc_plugin_peer::Party;
use rpc_plugin_wire::{CallError, CancelCause, ErrorCode, Generation, PluginId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// All plugins of one host, as one state machine.
#[derive(Debug)]
pub struct Supervisor {
    plugins: BTreeMap<PluginKey, Plugin>,
    keys: BTreeMap<PluginId, PluginKey>,
    next_key: u32,
    timers: Wheel<Timer>,
    actions: VecDeque<Action>,
    /// Plugins whose session may have bytes to write.
    waiting: BTreeSet<PluginKey>,
    waits: Waits,
    routes: Routes,
    retries: Retries,
    caller_records: CallerRecords,
    places: StartPlaces,
    order: Order,
    held: HeldCalls,
    rng: fastrand::Rng,
    ending: bool,
}

impl Supervisor {
    /// A supervisor without plugins. The seed is for the jitter of backoffs only.
    #[must_use]
    pub fn new(seed: u64) -> Supervisor {
        Supervisor {
            plugins: BTreeMap::new(),
            keys: BTreeMap::new(),
            next_key: 0,
            timers: Wheel::default(),
            actions: VecDeque::new(),
            waiting: BTreeSet::new(),
            waits: Waits::default(),
            routes: Routes::default(),
            retries: Retries::default(),
            caller_records: CallerRecords::default(),
            places: StartPlaces::default(),
            order: Order::default(),
            held: HeldCalls::default(),
            rng: fastrand::Rng::with_seed(seed),
            ending: false,
        }
    }

    /// Says how many generations may be starting at once; 4 unless this says otherwise. Before plugins are launched.
    pub fn set_starting_max(&mut self, starting_max: usize) {
        self.places = StartPlaces::new(starting_max);
    }

    /// The plugin of that id.
    #[must_use]
    pub fn find(&self, id: &PluginId) -> Option<PluginKey> {
        self.keys.get(id).copied()
    }

    /// A plugin.
    #[must_use]
    pub fn plugin(&self, key: PluginKey) -> Option<&Plugin> {
        self.plugins.get(&key)
    }

    /// All plugins, by key.
    pub fn plugins(&self) -> impl Iterator<Item = (PluginKey, &Plugin)> {
        self.plugins.iter().map(|(key, plugin)| (*key, plugin))
    }

    /// All plugins, by id.
    pub fn plugins_by_id(&self) -> impl Iterator<Item = &Plugin> {
        self.keys.values().filter_map(|key| self.plugins.get(key))
    }

    /// The connection of a generation, if that is the plugin's current one.
    pub fn session_mut(&mut self, key: PluginKey, generation: Generation) -> Option<&mut Session> {
        self.plugins.get_mut(&key)?.session_mut(generation)
    }

    /// The next effect to carry out.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next plugin that has bytes to write, with its generation.
    pub fn poll_waiting(&mut self) -> Option<(PluginKey, Generation)> {
        while let Some(key) = self.waiting.pop_first() {
            if let Some(plugin) = self.plugins.get(&key)
                && let Some(generation) = plugin.generation()
                && plugin.has_waiting_bytes()
            {
                return Some((key, generation));
            }
        }
        None
    }

    /// When [`Supervisor::handle_time`] wants to be called next.
    #[must_use]
    pub fn next_at(&self) -> Option<Time> {
        [self.timers.next_at(), self.places.next_at()].into_iter().flatten().min()
    }

    /// Timers that wait, over all plugins, calls and waits.
    #[must_use]
    pub fn timers_pending(&self) -> usize {
        self.timers.len()
    }

    /// Handles everything that is due at `now`.
    pub fn handle_time(&mut self, now: Time) {
        while let Some(timer) = self.timers.pop_expired(now) {
            match timer {
                Timer::Life(key, timer) => {
                    self.with_plugin(now, key, |plugin, step| plugin.handle_timer(step, timer));
                }
                Timer::Call(key, generation, id) => {
                    self.with_session(now, key, generation, |session, cx| session.handle_timer(cx, id));
                }
                Timer::Wait(wait) => self.waits.expire(wait, &self.plugins, &mut self.actions),
                Timer::Retry(call) => self.handle_retry_timer(now, call),
                Timer::Held(call) => self.handle_held_timer(now, call),
                Timer::Use(key) => drop(self.with_plugin(now, key, handle_use_due)),
            };
        }
        self.give_places(now);
    }

    /// Whether nothing of any plugin is left outside.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.plugins.values().all(Plugin::is_quiet)
    }

    /// Makes a call; it ends with [`Action::Complete`]. Gives the plugin that is called.
    pub fn call(&mut self, now: Time, call: CallKey, request: &mut CallRequest) -> Option<PluginKey> {
        // What can be sent once only cannot be repeated.
        if request.idempotent && request.fds.is_empty() {
            return self.call_repeatedly(now, call, request.take());
        }
        let key = match self.route(&request.target) {
            Ok(key) => key,
            Err(error) => {
                self.refuse_call(now, call, request, error);
                return None;
            }
        };
        self.with_plugin(now, key, |plugin, step| plugin.call(step, call, request));
        Some(key)
    }

    /// The plugin that a call goes to.
    fn route(&mut self, target: &Target) -> Result<PluginKey, CallError> {
        match target {
            Target::Plugin(id) => self.find(id).ok_or_else(|| unknown(id)),
            Target::Capability(name) => self.routes.pick(&self.plugins, name),
        }
    }

    /// The plugin that a call by this capability would go to now.
    #[must_use]
    pub fn next_provider(&self, capability: &str) -> Option<PluginKey> {
        self.routes.next(&self.plugins, capability)
    }

    /// Asks for a heartbeat now, for that party; it ends with [`Action::Complete`].
    pub fn probe(
        &mut self,
        now: Time,
        call: CallKey,
        id: &PluginId,
        party: Party,
        timeout: Option<Duration>,
    ) {
        let Some(key) = self.find(id) else { return self.refuse(call, unknown(id)) };
        self.with_plugin(now, key, |plugin, step| plugin.probe(step, call, party, timeout));
    }

    /// The caller of a call has gone; the call does not end with an action any more. `at` is what
    /// [`Supervisor::call`] gave.
    pub fn cancel(&mut self, now: Time, call: CallKey, at: Option<PluginKey>, cause: Option<&CancelCause>) {
        let at = if self.retries.has(call) { self.forget_retry(call) } else { at };
        if let Some(key) = at {
            self.with_plugin(now, key, |plugin, step| plugin.cancel(step, call, cause));
        }
    }

    /// Ends a call that goes to no plugin.
    fn refuse(&mut self, call: CallKey, error: CallError) {
        self.actions.push_back(Action::Complete(call, CallEnd::refused(error)));
    }

    /// Waits until a plugin is where `goal` says; ends with [`Action::Waited`], at once where it can.
    pub fn wait(
        &mut self,
        now: Time,
        (wait, party): (WaitKey, Party),
        id: &PluginId,
        goal: Goal,
        timeout: Duration,
    ) {
        let Some(key) = self.find(id) else {
            return self.actions.push_back(Action::Waited(wait, Err(unknown(id))));
        };
        if let Err(error) = self.waits.add(now, (wait, party), key, goal, timeout, &mut self.timers) {
            return self.actions.push_back(Action::Waited(wait, Err(error.at(id, None))));
        }
        if let Some(plugin) = self.plugins.get(&key) {
            self.waits.check(now, key, plugin, false, &mut self.timers, &mut self.actions);
        }
    }

    /// The process of a generation still runs: who waits for it is told.
    pub fn handle_confirmed(&mut self, now: Time, key: PluginKey, generation: Generation) {
        if let Some(plugin) = self.plugins.get(&key).filter(|plugin| plugin.generation() == Some(generation))
        {
            self.waits.check(now, key, plugin, true, &mut self.timers, &mut self.actions);
        }
    }

    /// Who waited has gone.
    pub fn forget_wait(&mut self, wait: WaitKey) {
        self.waits.forget(wait, &mut self.timers);
    }

    /// The peer of a generation's connection closed its end.
    pub fn handle_end_of_stream(&mut self, now: Time, key: PluginKey, generation: Generation) {
        self.with_session(now, key, generation, Session::handle_end_of_stream);
    }

    /// Lets the session of a generation take a step, and deals with all that it reports. `None` where it is gone.
    pub fn with_session<R>(
        &mut self,
        now: Time,
        key: PluginKey,
        generation: Generation,
        act: impl FnOnce(&mut Session, &mut Cx<'_>) -> R,
    ) -> Option<R> {
        self.with_plugin(now, key, |plugin, step| plugin.with_session(step, generation, act))?
    }

    /// Lets one plugin take a step, and does what follows from any step. `None` where there is no such plugin.
    pub fn with_plugin<R>(
        &mut self,
        now: Time,
        key: PluginKey,
        run: impl FnOnce(&mut Plugin, &mut Step<'_>) -> R,
    ) -> Option<R> {
        let result = self.step_plugin(now, key, run)?;
        self.give_places(now);
        Some(result)
    }

    /// Has those launched that waited until fewer others are starting.
    fn give_places(&mut self, now: Time) {
        while !self.ending
            && let Some(key) = self.places.next(now)
        {
            self.step_plugin(now, key, |plugin, step| plugin.handle_place(step));
        }
    }

    fn step_plugin<R>(
        &mut self,
        now: Time,
        key: PluginKey,
        run: impl FnOnce(&mut Plugin, &mut Step<'_>) -> R,
    ) -> Option<R> {
        let before = self.actions.len();
        let plugin = self.plugins.get_mut(&key)?;
        let (timers, actions, rng) = (&mut self.timers, &mut self.actions, &mut self.rng);
        let (places, order, held) = (&mut self.places, &mut self.order, &mut self.held);
        let mut step = Step { now, timers, actions, rng, places, order, held };
        let result = run(plugin, &mut step);
        let is_changed = plugin.settle(&mut step);
        if is_changed {
            state_changed(plugin, &mut step);
            self.waits.check(now, key, plugin, false, &mut self.timers, &mut self.actions);
        }
        if plugin.has_waiting_bytes() {
            self.waiting.insert(key);
        }
        if !self.retries.is_empty() {
            self.look_after_retries(now, before, is_changed.then_some(key));
        }
        if is_changed {
            self.look_after_order(now, key);
        }
        Some(result)
    }
}

/// The error of a call, a wait or a question about a plugin that is not there.
pub(crate) fn unknown(id: &PluginId) -> CallError {
    CallError::not_sent(ErrorCode::UnknownPlugin, format!("there is no plugin {:?}", id.as_str()))
        .at(id, None)
}
