//! Calls of plugins that fail: on whose record they stand, and how many of them.
//!
//! A call that a plugin makes through its host and that fails stands on that plugin's own record, within the plugin's
//! allowance. On the record of the plugin that was called it stands too, but only so often that nobody's calls wash away
//! what happened there (`src/state/supervisor/records.rs` asks this file). The program and control clients are trusted to call
//! as they like.
//!
//! What always holds: what is left out is counted, and told with the next that is not.

use super::keys::PluginKey;
use super::note::Note;
use super::output::{Printed, Rate};
use super::policy::Policy;
use super::time::Time;
use rpc_plugin_wire::event::{EventKind, Level};
use rpc_plugin_wire::life::METHOD_CALL;
use rpc_plugin_wire::phrase::count;
use rpc_plugin_wire::{CallError, ErrorCode, Outcome};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// Events about its calls that a plugin may have on the records of others in a burst.
pub const ELSEWHERE_MAX: u32 = 64;
/// Time after which a plugin may have one such event more.
pub const ELSEWHERE_EVERY: Duration = Duration::from_secs(10);

/// The allowances of plugins whose calls failed.
#[derive(Debug, Default)]
pub(super) struct CallerRecords(BTreeMap<PluginKey, FailedCalls>);

impl CallerRecords {
    /// The allowance of a plugin with that policy.
    pub(super) fn of(&mut self, key: PluginKey, policy: &Policy) -> &mut FailedCalls {
        let bytes_per_second_max = policy.output_bytes_per_second_max;
        let failed = self.0.entry(key).or_insert_with(|| FailedCalls::new(bytes_per_second_max));
        // A plugin may be given another policy.
        failed.rate.set_bytes_per_second_max(bytes_per_second_max);
        failed
    }

    /// Forgets a plugin that is given up.
    pub(super) fn forget(&mut self, key: PluginKey) {
        self.0.remove(&key);
    }
}

/// The allowance of one plugin for its calls that fail.
#[derive(Debug)]
pub(super) struct FailedCalls {
    /// For its own record.
    rate: Rate,
    /// When it may again have as many on the records of others as in the beginning.
    rested_at: Time,
    /// Left out on the records of others since the last that was not.
    left_out: u64,
}

impl FailedCalls {
    /// With an allowance of so many bytes per second on its own record.
    pub(super) fn new(bytes_per_second_max: usize) -> FailedCalls {
        FailedCalls { rate: Rate::new(bytes_per_second_max), rested_at: Time::ZERO, left_out: 0 }
    }

    /// The notes for its own record: of those that came too fast before, and of this one unless it does too.
    pub(super) fn notes(
        &mut self,
        now: Time,
        callee: &str,
        method: &str,
        error: &CallError,
    ) -> (Option<Note>, Option<Note>) {
        let mut printed = Vec::new();
        let is_refused = self.rate.refuse(now, 1, method.len() + error.message.len(), &mut printed);
        let dropped = printed.into_iter().find_map(|printed| match printed {
            Printed::Dropped { lines, bytes } => Some(note_of_dropped(lines, bytes)),
            _ => None,
        });
        (dropped, (!is_refused).then(|| note_of(callee, method, error)))
    }

    /// Whether one more event may stand on another's record; how many before it did not.
    pub(super) fn take_elsewhere(&mut self, now: Time) -> Option<u64> {
        if self.rested_at.since(now) > ELSEWHERE_EVERY * (ELSEWHERE_MAX - 1) {
            self.left_out += 1;
            return None;
        }
        self.rested_at = self.rested_at.max(now).plus(ELSEWHERE_EVERY);
        Some(std::mem::take(&mut self.left_out))
    }
}

fn note_of_dropped(lines: u64, bytes: u64) -> Note {
    let calls = count(lines, "call");
    let text = format!("{calls} of it that failed came too fast; see output_bytes_per_second_max");
    let details = json!({"stream": METHOD_CALL, "lines": lines, "bytes": bytes});
    Note::new(EventKind::OutputDropped, text).details(details)
}

fn note_of(callee: &str, method: &str, error: &CallError) -> Note {
    let note = Note::new(EventKind::HostCallFailed, format!("its call of {callee} failed")).method(method);
    let (outcome, class) = (error.outcome.as_str(), error.code.name());
    // What a plugin answers is its own business, and its text may quote params.
    if error.outcome == Outcome::Answered {
        let details =
            json!({"callee": callee, "outcome": outcome, "class": class, "code": error.code.code()});
        return note.level(Level::Info).details(details);
    }
    let note = note.error(error.message.clone());
    let note = if error.code == ErrorCode::Cancelled { note.level(Level::Info) } else { note };
    note.details(json!({"callee": callee, "outcome": outcome, "class": class}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> CallError {
        CallError::not_sent(ErrorCode::MethodNotFound, "the plugin has no capability")
    }

    #[test]
    fn a_flood_of_failing_calls_is_bounded_on_the_callers_record_and_told() {
        let mut calls = FailedCalls::new(1024);
        let at = Time::ZERO.plus(Duration::from_secs(1));
        let notes: Vec<_> = (0..100).map(|_| calls.notes(at, "victim", "nosuch", &failed())).collect();
        let taken = notes.iter().filter(|(_, note)| note.is_some()).count();
        assert!((1..5).contains(&taken), "{taken} in one moment");
        let note = notes[0].1.as_ref().unwrap();
        assert_eq!((note.kind, note.method.as_deref()), (EventKind::HostCallFailed, Some("nosuch")));
        assert_eq!(note.details.as_ref().unwrap()["callee"], "victim");
        let later = at.plus(Duration::from_secs(60));
        let (dropped, note) = calls.notes(later, "victim", "nosuch", &failed());
        assert_eq!(dropped.unwrap().details.unwrap()["lines"], 100 - taken);
        assert!(note.is_some());
    }

    #[test]
    fn on_the_records_of_others_it_has_a_burst_and_then_one_now_and_then() {
        let mut calls = FailedCalls::new(1024);
        let mut now = Time::ZERO.plus(Duration::from_secs(5));
        let taken = (0..1000).filter(|_| calls.take_elsewhere(now).is_some()).count();
        assert_eq!(taken, ELSEWHERE_MAX as usize);
        let mut later = 0;
        for _ in 0..3600 {
            now = now.plus(Duration::from_secs(1));
            later += usize::from(calls.take_elsewhere(now).is_some());
        }
        assert!((359..=361).contains(&later), "{later} within an hour");
        while calls.take_elsewhere(now).is_some() {}
        now = now.plus(ELSEWHERE_EVERY);
        assert_eq!((calls.take_elsewhere(now), calls.take_elsewhere(now)), (Some(1), None));
    }
}
