//! What operators want of plugins: up, down, anew, and everything down.
//!
//! What always holds: nothing is brought up any more while everything is being brought down.

use super::Supervisor;
use crate::state::keys::PluginKey;
use crate::state::time::Time;

/// What an operator wants of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// It is brought up, unless it is.
    Start,
    /// It is brought down.
    Stop,
    /// It is replaced by a new generation.
    Restart,
}

impl Supervisor {
    /// An operator acts.
    pub fn wish(&mut self, now: Time, key: PluginKey, wish: Wish) {
        let wish = if self.ending { Wish::Stop } else { wish };
        self.with_plugin(now, key, |plugin, step| match wish {
            Wish::Start => plugin.start(step),
            Wish::Stop => plugin.stop(step),
            Wish::Restart => plugin.restart(step),
        });
    }

    /// Brings everything down, all plugins at once.
    pub fn end(&mut self, now: Time) {
        self.ending = true;
        let keys: Vec<PluginKey> = self.plugins.keys().copied().collect();
        for key in keys {
            self.wish(now, key, Wish::Stop);
        }
        self.end_all_retries();
    }
}
