//! The first round: whether each plugin that the daemon starts came up, and why the others did not.
//!
//! What always holds: it ends, at the latest when its time is over; what it says of a plugin is escaped; a plugin that is not
//! wanted up any more, as an operator stopped it or it ended well, is no failure.

use crate::cli::text::{count, escape, one_line};
use crate::host::{Desired, EventKind, EventStream, Host, Level, PluginId, PluginState, PluginStatus};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The longest first round, unless `--require-healthy` gives it another time.
const ROUND_MAX: Duration = Duration::from_secs(60);
/// State changes that wait to be looked at. Further ones are missed, which does no harm: states are read, not counted.
pub(super) const EVENTS_MAX: usize = 16;
/// From a change of state until all are looked at.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// Plugins whose reasons are told one by one.
const REASONS_MAX: usize = 100;

/// Whether a change of such an event may end the round.
pub(super) fn is_watched(kind: EventKind, _: Level) -> bool {
    kind == EventKind::StateChanged
}

/// What must have come of the plugins before the daemon goes on (`--require-healthy[=T]`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Required {
    /// The plugins may be in any state.
    Nothing,
    /// All take calls at the end of the first round.
    InFirstRound,
    /// All take calls within this time, however often they were tried.
    Within(Duration),
}

impl Required {
    /// Whether no more is to be expected of a plugin.
    fn is_settled(self, status: &PluginStatus) -> bool {
        match (self, status.state) {
            _ if status.desired == Desired::Down => true,
            (_, PluginState::Failed | PluginState::Stopped) => true,
            (_, state) if state.is_routable() => true,
            // Those that it waits for are looked at too: where no more is to be expected of them, none is of it.
            (_, PluginState::Waiting) => true,
            (Required::Within(_), _) => false,
            // Its first generation has failed, whatever the next one does. One that an operator restarts has no error.
            (_, PluginState::Starting | PluginState::Stopping) => {
                status.restarts > 0 && status.last_error.is_some()
            }
            _ => true,
        }
    }
}

/// What came of the first round.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RoundOutcome {
    healthy: usize,
    started: usize,
    /// Plugins that a person has to start.
    by_hand: usize,
    /// Plugins that are not wanted up any more: an operator stopped them, or they ended well.
    stopped: usize,
    /// The others, each with its state and the reason for it.
    others: Vec<(PluginId, PluginState, String)>,
}

impl RoundOutcome {
    fn of(statuses: &[PluginStatus], by_hand: usize) -> RoundOutcome {
        let started = statuses.iter().filter(|status| status.desired == Desired::Up).count();
        let others =
            statuses.iter().filter(|status| status.desired == Desired::Up && !status.state.is_routable());
        let others: Vec<_> =
            others.map(|status| (status.plugin_id.clone(), status.state, reason(status))).collect();
        let stopped = statuses.len() - started;
        RoundOutcome { healthy: started - others.len(), started, by_hand, stopped, others }
    }

    pub(super) fn all_healthy(&self) -> bool {
        self.others.is_empty()
    }

    /// How many are healthy, in words.
    pub(super) fn summary(&self) -> String {
        let healthy = format!("{} of {} healthy", self.healthy, count(self.started as u64, "plugin"));
        let parts = [
            (self.started, healthy),
            (self.stopped, format!("{} stopped", self.stopped)),
            (self.by_hand, format!("{} to be started by hand", self.by_hand)),
        ];
        let parts: Vec<_> = parts.into_iter().filter(|(count, _)| *count > 0).map(|(_, text)| text).collect();
        if parts.is_empty() { "no plugin to start".to_owned() } else { parts.join(", ") }
    }

    /// Why the others are not, a line each.
    pub(super) fn reasons(&self) -> String {
        let others = self.others.iter().take(REASONS_MAX);
        let mut text: String = others
            .map(|(id, state, reason)| match reason.as_str() {
                "" => format!("  {id} is {state}\n"),
                reason => format!("  {id} is {state}: {}\n", escape(&one_line(reason))),
            })
            .collect();
        if let Some(more @ 1..) = self.others.len().checked_sub(REASONS_MAX) {
            text += &format!("  and {more} more; see rpcpluginctl plugins\n");
        }
        text
    }

    /// The same for programs.
    pub(super) fn members(&self) -> Value {
        let others = self.others.iter().take(REASONS_MAX);
        let others: Vec<_> = others
            .map(|(id, state, reason)| json!({"plugin_id": id, "state": state.as_str(), "reason": reason}))
            .collect();
        json!({
            "healthy": self.healthy, "plugins": self.started, "stopped": self.stopped, "by_hand": self.by_hand,
            "not_healthy": others,
        })
    }
}

/// Why a plugin does not take calls.
fn reason(status: &PluginStatus) -> String {
    let exit = status.last_exit.as_ref().map(|exit| format!("its process ended with {}", exit.text));
    status.last_error.clone().or_else(|| status.launch_waits.clone()).or(exit).unwrap_or_default()
}

/// Waits until the round is over: each of these plugins takes calls, or has failed. `None`: the host has ended. `events` are
/// those that [`is_watched`] names.
pub(super) fn wait(
    host: &Host,
    events: &EventStream,
    (started, by_hand): (&BTreeSet<PluginId>, usize),
    required: Required,
) -> Option<RoundOutcome> {
    let time = if let Required::Within(time) = required { time } else { ROUND_MAX };
    let until = Instant::now() + time;
    loop {
        let mut statuses = host.plugins().ok()?;
        statuses.retain(|status| started.contains(&status.plugin_id));
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || statuses.iter().all(|status| required.is_settled(status)) {
            return Some(RoundOutcome::of(&statuses, by_hand));
        }
        if events.next_within(left).is_some() {
            // Where many change at once, they are looked at together.
            let pause_ends = Instant::now() + LOOK_PAUSE;
            while events.next_within(pause_ends.saturating_duration_since(Instant::now())).is_some()
                && Instant::now() < pause_ends
            {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(id: &str, state: &str, restarts: u64, error: Option<&str>) -> PluginStatus {
        let json = json!({
            "plugin_id": id, "state": state, "desired": "up", "generation": 1, "pid": null, "executable": "/x",
            "version": null, "sdk": null, "capabilities": [], "uptime_ms": null, "restarts": restarts,
            "next_launch_ms": null, "calls_in_flight": 0, "calls_total": 0, "calls_failed": 0, "late_answers": 0,
            "heartbeat": null, "heartbeat_age_ms": null, "heartbeats_missed": 0, "last_error": error,
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_round_is_over_when_each_has_come_up_or_failed_once() {
        let (round, within) = (Required::InFirstRound, Required::Within(Duration::from_secs(1)));
        let table = [
            ("healthy", 0, true, true),
            ("degraded", 0, true, true),
            ("starting", 0, false, false),
            ("stopping", 0, false, false),
            // Its first generation has failed: who has time waits for the next.
            ("starting", 1, true, false),
            ("backoff", 1, true, false),
            ("failed", 0, true, true),
            ("stopped", 0, true, true),
        ];
        for (state, restarts, in_round, in_time) in table {
            let status = status("kv", state, restarts, (restarts > 0).then_some("it failed"));
            assert_eq!(round.is_settled(&status), in_round, "{state} after {restarts} restarts");
            assert_eq!(Required::Nothing.is_settled(&status), in_round, "{state} after {restarts} restarts");
            assert_eq!(within.is_settled(&status), in_time, "{state} after {restarts} restarts");
        }
        for state in ["starting", "stopping"] {
            assert!(!round.is_settled(&status("kv", state, 1, None)), "{state}, as an operator asked");
        }
    }

    #[test]
    fn who_is_not_wanted_up_any_more_is_no_failure() {
        let mut stopped = status("x", "stopping", 0, None);
        stopped.desired = Desired::Down;
        for required in [Required::Nothing, Required::InFirstRound, Required::Within(ROUND_MAX)] {
            assert!(required.is_settled(&stopped), "{required:?}");
        }
        let outcome = RoundOutcome::of(&[status("echo", "healthy", 0, None), stopped.clone()], 1);
        assert!(outcome.all_healthy());
        assert_eq!(outcome.summary(), "1 of 1 plugin healthy, 1 stopped, 1 to be started by hand");
        assert_eq!(outcome.members()["stopped"], 1);
        let outcome = RoundOutcome::of(&[stopped], 0);
        assert!(outcome.all_healthy() && outcome.summary() == "1 stopped", "{}", outcome.summary());
    }

    #[test]
    fn what_came_of_it_is_told_with_the_reasons_of_the_others() {
        let error = "its process could not be started: \u{1b}[2J no\nsuch";
        let outcome = RoundOutcome::of(
            &[
                status("echo", "healthy", 0, None),
                status("kv", "backoff", 1, Some(error)),
                status("x", "starting", 0, None),
            ],
            1,
        );
        assert!(!outcome.all_healthy());
        assert_eq!(outcome.summary(), "1 of 3 plugins healthy, 1 to be started by hand");
        assert_eq!(
            outcome.reasons(),
            "  kv is backoff: its process could not be started: \\x1b[2J no | such\n  x is starting\n"
        );
        assert_eq!(outcome.members()["not_healthy"][0]["reason"], error);
        assert_eq!(
            (outcome.members()["healthy"].clone(), outcome.members()["plugins"].clone()),
            (1.into(), 3.into())
        );
        let many: Vec<_> = (0..103).map(|number| status(&format!("p{number}"), "failed", 0, None)).collect();
        assert!(RoundOutcome::of(&many, 0).reasons().ends_with("  and 3 more; see rpcpluginctl plugins\n"));
        assert_eq!(
            RoundOutcome::of(&[status("a", "healthy", 0, None)], 0).summary(),
            "1 of 1 plugin healthy"
        );
        assert_eq!(RoundOutcome::of(&[], 2).summary(), "2 to be started by hand");
        assert_eq!(RoundOutcome::of(&[], 0).summary(), "no plugin to start");
    }
}
