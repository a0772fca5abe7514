//! A configuration that replaces another: which launch takes it.
//!
//! What always holds: a generation lives by the one configuration that it was launched with; the next launch takes the newest as
//! a whole.

use super::{Phase, Plugin, Step};
use crate::state::action::Note;
use crate::state::plugin_config::PluginConfig;
use rpc_plugin_wire::event::EventKind;
use std::sync::Arc;

/// Replaces a plugin's configuration, for its next launch; at once where nothing lives by the one it has.
pub fn reconfigure(plugin: &mut Plugin, step: &mut Step<'_>, config: Arc<PluginConfig>) {
    debug_assert!(config.id == plugin.config.id, "a configuration of another plugin");
    plugin.next_config = Some(config);
    if matches!(
        plugin.phase,
        Phase::Stopped | Phase::Waiting(_) | Phase::Failed | Phase::Backoff(_) | Phase::Queued(_)
    ) {
        take_config(plugin);
    }
    let text = match is_reconfigured(plugin) {
        true => "its configuration was replaced; its next launch takes it",
        false => "its configuration was replaced",
    };
    plugin.note(step, Note::new(EventKind::PluginReconfigured, text));
}

/// Takes the configuration that waits for a launch, which begins now.
pub(super) fn take_config(plugin: &mut Plugin) {
    let Some(config) = plugin.next_config.take() else { return };
    plugin.policy = config.policy_in_force();
    plugin.events.set_bytes_per_second_max(plugin.policy.output_bytes_per_second_max);
    plugin.config = config;
}

/// Whether the next launch is made from another configuration than the current generation.
#[must_use]
pub fn is_reconfigured(plugin: &Plugin) -> bool {
    plugin.next_config.is_some()
}
