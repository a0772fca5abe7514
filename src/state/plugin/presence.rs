//! What follows of a change of state for whoever waits for the plugin, and for how long it stays.

use super::demand::go_on_with_calls;
use super::idle::settle_idle;
use super::{Phase, Plugin, Step};
use crate::state::order::Awaited;

/// Goes on after a change of state that was noted: with calls that wait, and with looks whether the plugin is used.
pub fn state_changed(plugin: &mut Plugin, step: &mut Step<'_>) {
    if plugin.state().is_routable() && plugin.presence.capabilities != plugin.capabilities() {
        plugin.presence.capabilities = plugin.capabilities().to_vec();
    }
    settle_idle(plugin, step);
    go_on_with_calls(plugin, step);
    if plugin.settle(step) {
        state_changed(plugin, step);
    }
}

/// Whether its launch waits for plugins that it is started after. It is entered as waiting then.
pub(super) fn waits_for_others(plugin: &mut Plugin, step: &mut Step<'_>) -> bool {
    let awaited = step.order.awaited(&plugin.config.after);
    let waits = !awaited.is_empty();
    if waits {
        plugin.enter(step, Phase::Waiting(awaited), None);
    }
    waits
}

/// The state of another plugin changed: launches this one if it waited for that, or notes for whom it waits now.
pub fn others_changed(plugin: &mut Plugin, step: &mut Step<'_>) {
    if matches!(plugin.phase, Phase::Waiting(_)) {
        plugin.launch(step);
    }
}

/// The plugins that its launch waits for.
#[must_use]
pub fn awaited(plugin: &Plugin) -> &[Awaited] {
    if let Phase::Waiting(awaited) = &plugin.phase { awaited } else { &[] }
}
