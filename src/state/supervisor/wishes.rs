//! What operators want of plugins: up, down, anew, and everything down; and what follows for others when a plugin's state is another.
//!
//! What always holds: nothing is brought up any more while everything is being brought down; a plugin that others are started
//! after is not stopped under them, unless they are to stop too, and then they stop first.

use super::Supervisor;
use crate::state::keys::{CallKey, PluginKey};
use crate::state::plugin::{awaited, end_held, others_changed, wake};
use crate::state::time::Time;
use rpc_plugin_wire::life::PluginState;
use rpc_plugin_wire::{CallError, ErrorCode};
use std::time::Duration;

/// What an operator wants of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// It is brought up, unless it is.
    Start,
    /// It is brought down, if none that is started after it runs.
    Stop,
    /// It is brought down, after those that are started after it.
    StopWithDependents,
    /// It is replaced by a new generation.
    Restart,
}

impl Supervisor {
    /// An operator acts.
    ///
    /// # Errors
    /// `unavailable`: the plugin is not stopped, since others that are started after it run.
    pub fn wish(&mut self, now: Time, key: PluginKey, wish: Wish) -> Result<(), CallError> {
        let Some(plugin) = self.plugins.get(&key).filter(|_| !self.ending) else { return Ok(()) };
        let id = plugin.id().clone();
        if wish == Wish::Stop
            && let Some(names) = self.order.dependents_text(&id)
        {
            let text = format!(
                "plugins that are started after it run: {names}; stop them first, or all of them with --with-dependents \
                 (`with_dependents`)"
            );
            return Err(CallError::not_sent(ErrorCode::Unavailable, text).at(&id, plugin.generation()));
        }
        if wish == Wish::StopWithDependents {
            let ids = self.order.with_dependents(&id);
            let others = ids.iter().filter(|other| **other != id);
            // Who is down stays as it is: one that is started on demand may be called again later.
            let is_down = |state| matches!(state, Some(PluginState::Stopped | PluginState::Failed) | None);
            let others = others.filter(|other| !is_down(self.order.state(other)));
            let keys = others.chain([&id]).filter_map(|id| self.order.key(id)).collect();
            self.depart(now, keys);
            return Ok(());
        }
        self.order.stay(&id);
        self.with_plugin(now, key, |plugin, step| match wish {
            Wish::Start => plugin.start(step),
            Wish::Restart => plugin.restart(step),
            Wish::Stop | Wish::StopWithDependents => plugin.stop(step),
        });
        Ok(())
    }

    /// Brings everything down: all plugins at once, but each after those that are started after it.
    pub fn end(&mut self, now: Time) {
        self.ending = true;
        self.depart(now, self.plugins.keys().copied().collect());
        self.end_all_retries();
    }

    fn depart(&mut self, now: Time, keys: Vec<PluginKey>) {
        let mut last = None;
        for key in &keys {
            let Some(plugin) = self.plugins.get_mut(key) else { continue };
            if !plugin.is_quiet() {
                plugin.depart();
                self.order.depart(plugin.id());
                last = Some(*key);
            }
        }
        for key in keys {
            // Without a process there is nothing that anybody could need.
            self.with_plugin(now, key, |plugin, step| {
                if plugin.is_quiet() {
                    plugin.stop(step);
                }
            });
        }
        if let Some(key) = last {
            self.look_after_order(now, key);
        }
        self.give_places(now);
    }

    /// The deadline of a call that waits for a generation has come.
    pub(super) fn handle_held_timer(&mut self, now: Time, call: CallKey) {
        if let Some(key) = self.held.plugin_of(call) {
            self.with_plugin(now, key, |plugin, step| end_held(plugin, step, call));
        }
    }

    /// A plugin's state is another. What that leads to for others may change further states, which are looked at here too, one
    /// after the other and not within one another.
    pub(super) fn look_after_order(&mut self, now: Time, key: PluginKey) {
        if let Some(plugin) = self.plugins.get(&key) {
            self.order.note_state(plugin.id(), plugin.state());
        }
        if !self.order.begin_look() {
            return;
        }
        while let Some(waiting) = self.order.take_changed() {
            while let Some(key) = self.order.next_departure() {
                self.step_plugin(now, key, |plugin, step| plugin.stop(step));
            }
            for key in waiting {
                self.step_plugin(now, key, others_changed);
                self.wake_awaited(now, key);
            }
        }
    }

    /// Starts those that are started on demand and that a plugin waits for.
    fn wake_awaited(&mut self, now: Time, key: PluginKey) {
        let ids = self.plugins.get(&key).map_or(&[][..], awaited);
        let keys: Vec<PluginKey> = ids.iter().filter_map(|(id, _)| self.order.key(id)).collect();
        for key in keys {
            self.step_plugin(now, key, wake);
        }
    }

    /// How many calls wait for the plugins that they started.
    #[must_use]
    pub fn calls_held(&self) -> usize {
        self.held.len()
    }

    /// How long bringing everything down takes at the most, SIGKILL included.
    #[must_use]
    pub fn stop_timeout(&self) -> Duration {
        let timeout = |key: PluginKey| self.plugins.get(&key).map(|plugin| plugin.policy().stop_timeout());
        self.order.stop_timeout(|key| timeout(key).unwrap_or_default())
    }
}
