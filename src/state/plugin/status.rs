//! What is told about a plugin.

use super::demand::is_at_rest;
use super::{Phase, Plugin, awaited, is_reconfigured};
use crate::state::order::Awaited;
use crate::state::start_mode::StartMode;
use crate::state::time::{Time, millis};
use rpc_plugin_wire::admin::PluginStatus;

/// Whether a launch waits for its backoff, and until when.
#[must_use]
pub fn backoff_until(plugin: &Plugin) -> Option<Time> {
    match plugin.phase {
        Phase::Backoff(until) => Some(until),
        _ => None,
    }
}

/// Why a plugin's next generation is not launched yet, while that waits for its turn to start.
#[must_use]
pub fn launch_waits(plugin: &Plugin) -> Option<String> {
    match plugin.phase {
        Phase::Stopped if is_at_rest(plugin) => Some("is started by the next call".to_owned()),
        Phase::Waiting(_) => Some(waits_text(awaited(plugin))),
        Phase::Queued(1) => Some("waits for its turn: another is starting".to_owned()),
        Phase::Queued(others) => Some(format!("waits for its turn: {others} others are starting")),
        _ => None,
    }
}

fn waits_text(awaited: &[Awaited]) -> String {
    let of_one = |(id, state): &Awaited| match state {
        Some(state) => format!("{id}, which is {state}"),
        None => format!("{id}, which is not there"),
    };
    format!("waits for {}", awaited.iter().map(of_one).collect::<Vec<_>>().join("; "))
}

/// Everything that is known about a plugin.
#[must_use]
pub fn status_of(plugin: &Plugin, now: Time) -> PluginStatus {
    let introduction = plugin.introduction.as_ref();
    PluginStatus {
        plugin_id: plugin.config.id.clone(),
        state: plugin.state(),
        desired: plugin.desired,
        generation: plugin.generation,
        pid: plugin.pid(),
        executable: plugin.config.shown_executable(),
        version: introduction.map(|introduction| introduction.version.clone()),
        sdk: introduction.map(|introduction| introduction.sdk.clone()),
        capabilities: plugin.capabilities().to_vec(),
        interfaces: (*plugin.interfaces()).clone(),
        uptime_ms: plugin.process.map(|process| millis(now.since(process.launched_at))),
        restarts: plugin.counts.restarts,
        next_launch_ms: backoff_until(plugin).map(|until| millis(until.since(now))),
        launch_waits: launch_waits(plugin),
        waits_for: awaited(plugin).iter().map(|(id, _)| id.clone()).collect(),
        start: (plugin.config.start != StartMode::Auto).then(|| plugin.config.start.as_str().to_owned()),
        reconfigured: is_reconfigured(plugin),
        calls_in_flight: plugin.call_counts().0,
        calls_total: plugin.counts.calls,
        calls_failed: plugin.counts.calls_failed,
        late_answers: plugin.counts.late_answers,
        heartbeat: plugin.heartbeat.as_ref().map(|(_, heartbeat)| heartbeat.clone()),
        heartbeat_age_ms: plugin.heartbeat.as_ref().map(|(at, _)| millis(now.since(*at))),
        heartbeats_missed: plugin.heartbeats_missed,
        last_error: plugin.last_error.clone(),
        last_exit: plugin.last_exit.as_ref().map(|exit| exit.shown(now)),
    }
}
