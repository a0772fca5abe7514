//! What is told about a plugin.

use super::Plugin;
use crate::state::time::{Time, millis};
use rpc_plugin_wire::admin::PluginStatus;

impl Plugin {
    /// Everything that is known about it.
    #[must_use]
    pub fn status(&self, now: Time) -> PluginStatus {
        let introduction = self.introduction.as_ref();
        PluginStatus {
            plugin_id: self.config.id.clone(),
            state: self.state(),
            desired: self.desired,
            generation: self.generation,
            pid: self.pid(),
            executable: self.config.shown_executable(),
            version: introduction.map(|introduction| introduction.version.clone()),
            sdk: introduction.map(|introduction| introduction.sdk.clone()),
            capabilities: self.capabilities().to_vec(),
            interfaces: (*self.interfaces()).clone(),
            uptime_ms: self.process.map(|process| millis(now.since(process.launched_at))),
            restarts: self.counts.restarts,
            next_launch_ms: self.backoff_until().map(|until| millis(until.since(now))),
            calls_in_flight: self.call_counts().0,
            calls_total: self.counts.calls,
            calls_failed: self.counts.calls_failed,
            late_answers: self.counts.late_answers,
            heartbeat: self.heartbeat.as_ref().map(|(_, heartbeat)| heartbeat.clone()),
            heartbeat_age_ms: self.heartbeat.as_ref().map(|(at, _)| millis(now.since(*at))),
            heartbeats_missed: self.heartbeats_missed,
            last_error: self.last_error.clone(),
        }
    }
}
