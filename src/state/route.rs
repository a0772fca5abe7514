//! Whom a call goes to: a plugin by its id, or one of those that serve a capability.
//!
//! What it deliberately does not do: wait for a provider, or call it.
//!
//! What always holds: a capability goes to the routable provider with the fewest calls in flight, and of
//! several such to the one that was picked longest ago; so equals take turns. What is remembered for that
//! is one number a plugin.

use super::keys::PluginKey;
use super::plugin::{Plugin, is_started_for};
use rpc_plugin_wire::life::PluginState;
use rpc_plugin_wire::{CallError, ErrorCode};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Providers that an error names.
const NAMED_MAX: usize = 16;

/// Whether a method belongs to one of these capabilities: it has the capability's name, or goes on behind that with `.`, `/` or
/// `:` (protocol section 2).
pub(super) fn serves_method(capabilities: &[String], method: &str) -> bool {
    capabilities.iter().any(|capability| {
        let rest = method.strip_prefix(capability.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '/', ':']))
    })
}

/// Which plugins were picked when.
#[derive(Debug, Default)]
pub struct Routes {
    /// The number of the last pick of each plugin.
    picked: BTreeMap<PluginKey, u64>,
    picks: u64,
}

impl Routes {
    /// The plugin that a call by this capability would go to now.
    #[must_use]
    pub fn next(&self, plugins: &BTreeMap<PluginKey, Plugin>, capability: &str) -> Option<PluginKey> {
        let routable = plugins.iter().filter(|(_, plugin)| plugin.state().is_routable());
        let providers = routable.filter(|(_, plugin)| plugin.serves(capability));
        let rank = |key| self.picked.get(key).copied();
        providers.min_by_key(|(key, plugin)| (plugin.call_counts().0, rank(key))).map(|(key, _)| *key)
    }

    /// Picks a plugin for one call by this capability.
    ///
    /// # Errors
    /// No provider takes calls: `overloaded` where one says that it is, else `unavailable`. It names those that
    /// said that they serve it, and their states.
    pub fn pick(
        &mut self,
        plugins: &BTreeMap<PluginKey, Plugin>,
        capability: &str,
    ) -> Result<PluginKey, CallError> {
        let key = self.next(plugins, capability).or_else(|| {
            // One that the call starts.
            plugins.iter().find(|(_, plugin)| is_started_for(plugin, capability)).map(|(key, _)| *key)
        });
        let Some(key) = key else { return Err(nobody(plugins, capability)) };
        self.picks += 1;
        self.picked.insert(key, self.picks);
        Ok(key)
    }

    /// The plugin was given up.
    pub fn forget(&mut self, key: PluginKey) {
        self.picked.remove(&key);
    }
}

fn nobody(plugins: &BTreeMap<PluginKey, Plugin>, capability: &str) -> CallError {
    let mut providers: Vec<&Plugin> = plugins.values().filter(|plugin| plugin.serves(capability)).collect();
    // Those that are up say most.
    providers.sort_by_key(|plugin| Reverse(plugin.state().is_up()));
    let shown: Vec<String> = providers
        .iter()
        .take(NAMED_MAX)
        .map(|plugin| format!("{} is {}", plugin.id(), plugin.state()))
        .collect();
    let more = providers.len().saturating_sub(NAMED_MAX);
    let who = match (providers.is_empty(), more) {
        (true, _) => format!("none of {} plugins has said that it serves it", plugins.len()),
        (false, 0) => shown.join(", "),
        (false, more) => format!("{}, and {more} more", shown.join(", ")),
    };
    let is_overloaded = providers.iter().any(|plugin| plugin.state() == PluginState::Overloaded);
    let code = if is_overloaded { ErrorCode::Overloaded } else { ErrorCode::Unavailable };
    CallError::not_sent(code, format!("no plugin takes calls for the capability {capability:?}: {who}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_belongs_to_each_capability_that_it_begins_with() {
        let serves =
            |capability: &str, method| serves_method(&["other".to_owned(), capability.to_owned()], method);
        for (capability, method) in [
            ("kv", "kv"),
            ("kv", "kv.get"),
            ("kv", "kv/get"),
            ("kv", "kv:get"),
            ("org.kv", "org.kv"),
            ("org.kv", "org.kv.get"),
        ] {
            assert!(serves(capability, method), "{capability} {method}");
        }
        for (capability, method) in
            [("kv", "kvs"), ("kv", "k"), ("kv", "kv-get"), ("org.kv", "org"), ("org.kv", "org.kvs")]
        {
            assert!(!serves(capability, method), "{capability} {method}");
        }
    }
}
