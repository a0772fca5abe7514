//! Stops of plugins that nobody uses: after how long, and what counts as use.
//!
//! What always holds: a plugin is stopped so only where its configuration says so, the next call starts it again, and nothing was
//! seen that uses it for at least as long as is configured.

use super::{Phase, Plugin, Step, Why};
use crate::state::action::{Action, Note};
use crate::state::keys::Timer;
use crate::state::presence::Idle;
use crate::state::time::rounded;
use rpc_plugin_wire::Generation;
use rpc_plugin_wire::event::EventKind;

/// How often it is looked at within the time after which it is stopped. So it is stopped at most a quarter later.
const LOOKS: u32 = 4;

/// What is outside of a plugin's connection and shows that it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Use {
    /// Sockets, and pipes whose other end another process has, that its process holds.
    pub streams: usize,
    /// Processes that it has started.
    pub children: usize,
}

/// Begins to look, or ends it.
pub(super) fn settle_idle(plugin: &mut Plugin, step: &mut Step<'_>) {
    if matches!(plugin.phase, Phase::Running(_)) {
        if plugin.presence.idle.timer.is_none() {
            arm(plugin, step);
        }
    } else if let Some(timer) = plugin.presence.idle.timer.take() {
        step.timers.cancel(timer);
        plugin.presence.idle = Idle::default();
    }
}

fn arm(plugin: &mut Plugin, step: &mut Step<'_>) {
    let Some(after) = plugin.config.idle_stop else { return };
    let at = step.now.plus(after / LOOKS);
    plugin.presence.idle.timer = Some(step.timers.insert(at, Timer::Use(plugin.key)));
}

/// Asks for what it holds before anybody can call it.
pub(super) fn look_before_use(plugin: &mut Plugin, step: &mut Step<'_>) {
    plugin.presence.idle = Idle::default();
    if plugin.config.idle_stop.is_some() {
        plugin.act(step, Action::LookAtUse);
    }
}

/// Whether it may not be called yet, because what it holds by itself could not be told from what calls bring.
pub(super) fn is_use_unknown(plugin: &Plugin) -> bool {
    plugin.config.idle_stop.is_some() && plugin.presence.idle.own_streams.is_none()
}

/// It is time to look whether the plugin is used.
pub fn handle_use_due(plugin: &mut Plugin, step: &mut Step<'_>) {
    plugin.presence.idle.timer = None;
    if is_used(plugin, step) {
        plugin.presence.idle.unused = 0;
    } else {
        plugin.presence.idle.unused += 1;
        // Once: the answer stops it, or has the looks counted anew.
        if plugin.presence.idle.unused == LOOKS {
            plugin.act(step, Action::LookAtUse);
        }
    }
    arm(plugin, step);
}

/// Whether the host knows of a use now, or of one since the look before.
fn is_used(plugin: &mut Plugin, step: &Step<'_>) -> bool {
    let calls = plugin.counts.calls;
    let was_called = std::mem::replace(&mut plugin.presence.idle.calls, calls) != calls;
    let is_asking = plugin.session.as_ref().is_some_and(|session| session.has_open_requests());
    was_called || is_asking || step.order.is_needed(&plugin.config.id)
}

/// What shows outside that the plugin is used. `None`: that could not be seen, and counts as use.
pub fn handle_use(plugin: &mut Plugin, step: &mut Step<'_>, generation: Generation, seen: Option<Use>) {
    if plugin.generation != Some(generation) {
        return;
    }
    if is_use_unknown(plugin) {
        plugin.presence.idle.own_streams = Some(seen.map_or(0, |seen| seen.streams));
        return plugin.check_ready(step);
    }
    let Some(after) = plugin.config.idle_stop else { return };
    if !matches!(plugin.phase, Phase::Running(_)) || plugin.presence.idle.unused < LOOKS {
        return;
    }
    let own = plugin.presence.idle.own_streams.unwrap_or(0);
    let is_used = seen.is_none_or(|seen| seen.streams > own || seen.children > 0);
    if is_used || self::is_used(plugin, step) {
        plugin.presence.idle.unused = 0;
        return;
    }
    let text = format!("nobody used it for {:?}; it is stopped, and the next call starts it", rounded(after));
    plugin.note(step, Note::new(EventKind::PluginIdle, text));
    plugin.replace_with(step, Why::Stop);
}
