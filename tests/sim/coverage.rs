//! What happened at least once: so that the simulation cannot silently become vacuous.

use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::life::PluginState;
use std::collections::BTreeMap;

/// Kinds that other parts of the host record, never the state machines.
const ELSEWHERE: [EventKind; 32] = [
    EventKind::ConfinementLacks,
    EventKind::PackageInstalled,
    EventKind::PackageActivated,
    EventKind::PackageKept,
    EventKind::PackageRolledBack,
    EventKind::PackageTrialFailed,
    EventKind::PackageRemoved,
    EventKind::PackageFound,
    EventKind::PackageChanged,
    EventKind::PackageGone,
    EventKind::PackageInvalid,
    EventKind::ExecutableHasCapabilities,
    EventKind::OrphansKilled,
    EventKind::ReadingPaused,
    EventKind::HostStoodStill,
    EventKind::RuntimeDirMade,
    EventKind::Awaited,
    EventKind::LetGo,
    EventKind::RecordRepaired,
    EventKind::RecordGap,
    EventKind::SinkFailed,
    EventKind::SinkRecovered,
    EventKind::SinkGap,
    EventKind::LeftoversSwept,
    EventKind::AdminAction,
    EventKind::AdminDenied,
    EventKind::HostStarted,
    EventKind::HostStopped,
    EventKind::SignalIgnored,
    EventKind::Stdout,
    EventKind::Stderr,
    EventKind::OutputDropped,
];

/// What must happen beside every event kind and every state. Calls are `call CODE OUTCOME`.
const WANTED: [&str; 70] = [
    "call ok",
    "call unavailable not_sent",
    "call overloaded not_sent",
    "call too_large not_sent",
    "call unknown_plugin not_sent",
    "call denied not_sent",
    "call method_not_found not_sent",
    "call invalid_request not_sent",
    "call deadline_exceeded indeterminate",
    "call deadline_exceeded not_sent",
    "call plugin_lost indeterminate",
    "call internal_error answered",
    "call deadline_exceeded answered",
    "call overloaded answered",
    "call application answered",
    "call cancelled by its caller",
    "call repeated across a restart ok",
    "asked call ok",
    "placed elsewhere",
    "asked call denied",
    "asked call deadline_exceeded",
    "asked call given up",
    "asked call of one that is gone",
    "asked call goes on",
    "probe ok",
    "wait ok",
    "wait deadline_exceeded not_sent",
    "wait unavailable not_sent",
    "wait unknown_plugin not_sent",
    "prepare hangs",
    "prepare fails",
    "prepare fails permanently",
    "prepare shortage",
    "prepare waits for a thread",
    "prepare waits for a thread for long",
    "launch hangs",
    "launch called off on its way",
    "launch given up and returned late",
    "spawn fails",
    "spawn shortage",
    "a wait is about to end with a dead process",
    "spawn busy",
    "process survives SIGKILL for a while",
    "last bytes reach the child",
    "write blocked",
    "write split",
    "frames left for the next turn",
    "stale frames",
    "stale end of stream",
    "stale exit",
    "stale connection",
    "stale preparation",
    "inherited connection",
    "second connection refused",
    "stranger refused",
    "exit seen before the end of the stream",
    "end of the stream seen before the exit",
    "link cut",
    "restart at once after a healthy stretch",
    "restart with backoff",
    "backoff cut short by an operator",
    "start out of failed",
    "plugin removed and added again",
    "a launch waits for its turn",
    "a launch that waits for its turn is called off",
    "the host ends while a launch waits for its turn",
    "a configuration waits for the next launch",
    "a stop is refused, as others need the plugin",
    "a plugin is stopped with those that are started after it",
    "a call waits for the plugin that it starts",
];

/// See the module's text.
#[derive(Debug, Default)]
pub struct Coverage {
    seen: BTreeMap<String, u64>,
}

impl Coverage {
    pub fn saw(&mut self, what: &str) {
        match self.seen.get_mut(what) {
            Some(count) => *count += 1,
            None => {
                self.seen.insert(what.to_owned(), 1);
            }
        }
    }

    pub fn has_seen(&self, what: &str) -> bool {
        self.seen.contains_key(what)
    }

    pub fn merge(&mut self, other: &Coverage) {
        for (what, count) in &other.seen {
            *self.seen.entry(what.clone()).or_default() += count;
        }
    }

    /// Everything that must happen did.
    pub fn check(&self) {
        let events = EventKind::ALL.iter().filter(|kind| !ELSEWHERE.contains(kind));
        let events = events.map(|kind| format!("event {kind}"));
        let states = PluginState::ALL.iter().map(|state| format!("state {state}"));
        let wanted = WANTED.iter().map(|what| (*what).to_owned());
        let missing: Vec<String> =
            events.chain(states).chain(wanted).filter(|what| !self.seen.contains_key(what)).collect();
        for (what, count) in &self.seen {
            eprintln!("{count:>9} {what}");
        }
        assert!(missing.is_empty(), "never happened in any run: {missing:?}");
    }
}
