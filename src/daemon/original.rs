//! Variables by which the Go system's failure plugin was told what to do, where it is started as it was there.
//!
//! What it deliberately does not do: set or read them; a plugin is passed those of the daemon's own environment.
//!
//! What always holds: only the plugin that `--plugin-id` names is passed them, whose command line they are typed before.

use super::config::Config;
use std::ffi::OsString;

/// Beginning of their names.
const PREFIX: &str = "RPC_PLUGIN_SYSTEM_PLUGIN_BEHAVIOR_";

/// The rest of their names.
const NAMES: [&str; 13] = [
    "CAPABILITIES_MODE",
    "CLOSE_ON_ACCEPT",
    "CLOSE_ON_ECHO",
    "CRASH_ON_ECHO",
    "FAIL_AUTH",
    "GENERATION_OFFSET",
    "HEARTBEAT_DELAY_MS",
    "HEARTBEAT_ERRORS",
    "HEARTBEAT_STATUS",
    "ID",
    "SHUTDOWN_DELAY_MS",
    "SLEEP_SCALE",
    "VERSION",
];

/// Passes those that are set on to the plugin of that id.
pub(super) fn pass_behaviour(config: &mut Config, id: &str, is_set: impl Fn(&str) -> bool) {
    for plugin in config.plugins.iter_mut().filter(|plugin| plugin.config.id.as_str() == id) {
        for name in NAMES.map(|name| format!("{PREFIX}{name}")).into_iter().filter(|name| is_set(name)) {
            let name = OsString::from(name);
            let named = &mut plugin.config.pass_env;
            if !named.contains(&name) && !plugin.config.env.iter().any(|(set, _)| *set == name) {
                named.push(name);
            }
        }
    }
}
