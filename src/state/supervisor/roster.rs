//! The plugins in a supervisor's care: who is taken in, given another configuration, and given up.
//!
//! What always holds: an id is given once until it is given up; a key is never used twice.

use super::Supervisor;
use crate::state::action::{Action, Note};
use crate::state::keys::PluginKey;
use crate::state::plugin::{Plugin, reconfigure};
use crate::state::plugin_config::PluginConfig;
use crate::state::time::Time;
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::{Generation, PluginId};
use std::sync::Arc;

/// Why a configuration is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigRefusal {
    /// There is a plugin of that id already.
    Exists,
    /// There is no plugin of that id.
    Unknown,
    /// Everything is being brought down.
    Ending,
    /// It would be started after itself: over which others.
    Circle(Vec<PluginId>),
}

impl Supervisor {
    /// Takes a plugin into its care, down. `last` is the last generation that was ever used.
    ///
    /// # Errors
    /// There is one of that id, it would be started after itself, or everything is being brought down.
    pub fn add(
        &mut self,
        config: impl Into<Arc<PluginConfig>>,
        last: Option<Generation>,
    ) -> Result<PluginKey, ConfigRefusal> {
        let config = config.into();
        if self.ending {
            return Err(ConfigRefusal::Ending);
        }
        if self.keys.contains_key(&config.id) {
            return Err(ConfigRefusal::Exists);
        }
        self.check_circle(&config)?;
        let key = PluginKey(self.next_key);
        self.next_key += 1;
        let mut note = Note::new(EventKind::PluginAdded, config.shown_executable());
        note.plugin_id = Some(config.id.clone());
        self.actions.push_back(Action::Note(Box::new(note)));
        self.keys.insert(config.id.clone(), key);
        self.order.set(&config.id, key, &config.after);
        self.plugins.insert(key, Plugin::new(key, config, last));
        Ok(key)
    }

    /// Replaces the configuration of the plugin of the same id, as one value. Its next launch is made from it; a generation that
    /// is there goes on by what it was launched with.
    ///
    /// # Errors
    /// There is none of that id, it would be started after itself, or everything is being brought down.
    pub fn reconfigure(
        &mut self,
        now: Time,
        config: impl Into<Arc<PluginConfig>>,
    ) -> Result<PluginKey, ConfigRefusal> {
        let config = config.into();
        if self.ending {
            return Err(ConfigRefusal::Ending);
        }
        let key = self.find(&config.id).ok_or(ConfigRefusal::Unknown)?;
        self.check_circle(&config)?;
        self.order.set(&config.id, key, &config.after);
        self.with_plugin(now, key, |plugin, step| reconfigure(plugin, step, config));
        self.look_after_order(now, key);
        Ok(key)
    }

    fn check_circle(&self, config: &PluginConfig) -> Result<(), ConfigRefusal> {
        self.order
            .circle(&config.id, &config.after)
            .map_or(Ok(()), |circle| Err(ConfigRefusal::Circle(circle)))
    }

    /// Removes a stopped plugin from supervision; whether it was stopped.
    pub fn remove(&mut self, now: Time, key: PluginKey) -> bool {
        let down = self.plugins.get(&key).is_some_and(|plugin| plugin.is_quiet() && !plugin.state().is_up());
        if down {
            // Leaves no timer behind, and no call that waits for it.
            self.with_plugin(now, key, |plugin, step| plugin.stop(step));
        }
        if let Some(plugin) = self.plugins.get(&key).filter(|_| down) {
            let mut note = Note::new(EventKind::PluginRemoved, "given up");
            let id = plugin.id().clone();
            note.plugin_id = Some(id.clone());
            self.keys.remove(&id);
            self.order.remove(&id);
            self.plugins.remove(&key);
            self.routes.forget(key);
            self.caller_records.forget(key);
            self.actions.push_back(Action::Note(Box::new(note)));
            self.waits.abandon(key, &mut self.timers, &mut self.actions);
            self.end_retries_of(now, &id);
        }
        down
    }
}
