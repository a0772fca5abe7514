//! How a process ended, as its end is told: in words, with the last that it said.

use super::time::{Time, millis};
use rpc_plugin_wire::Generation;
use rpc_plugin_wire::admin::LastExit;
use rpc_plugin_wire::cut::beginning;
use serde_json::{Map, Value};

/// What of its last words becomes part of a reason. Bytes; the event of the exit has them all.
const LAST_WORDS_BYTES_MAX: usize = 4096;

/// How a process ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExitReport {
    /// Whether it ended by itself with exit status 0.
    pub clean: bool,
    /// `exit status 3`, `signal 9 (SIGKILL)`.
    pub text: String,
    /// The status that it exited with, if it did and that is known.
    pub exit_code: Option<i32>,
    /// The number of the signal that ended it, if one did.
    pub signal: Option<i32>,
    /// The last lines that it printed to standard error.
    pub stderr_tail: Vec<String>,
}

/// The end of a process of a plugin, kept for its status whatever comes after.
#[derive(Debug)]
pub(super) struct PastExit {
    pub(super) at: Time,
    pub(super) generation: Generation,
    pub(super) report: ExitReport,
}

impl PastExit {
    /// The same as the status shows it at `now`.
    pub(super) fn shown(&self, now: Time) -> LastExit {
        let ExitReport { text, exit_code, signal, stderr_tail, .. } = self.report.clone();
        let age_ms = millis(now.since(self.at));
        LastExit { generation: self.generation, text, exit_code, signal, age_ms, stderr_tail }
    }
}

impl ExitReport {
    /// The details of its event, if there are any.
    pub(super) fn details(&self) -> Option<Value> {
        let code = self.exit_code.map(|code| ("exit_code", Value::from(code)));
        let signal = self.signal.map(|signal| ("signal", Value::from(signal)));
        let tail = Some(&self.stderr_tail).filter(|tail| !tail.is_empty());
        let tail = tail.map(|tail| ("stderr_tail", Value::from(tail.clone())));
        let members = [code, signal, tail].into_iter().flatten();
        let members: Map<_, _> = members.map(|(name, value)| (name.to_owned(), value)).collect();
        (!members.is_empty()).then_some(members.into())
    }

    /// A reason with how the process ended and the last it said, escaped: it is shown in many places.
    #[must_use]
    pub(super) fn with_reason(&self, reason: &str) -> String {
        let mut text = format!("{reason} ({})", self.text);
        let mut words: Vec<String> = Vec::new();
        let mut left = LAST_WORDS_BYTES_MAX;
        // The last ones say most.
        for line in self.stderr_tail.iter().rev() {
            let mut shown = String::new();
            for c in line.chars() {
                if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
            }
            let end = beginning(&shown, left).len();
            left -= end;
            shown.truncate(end);
            if !shown.is_empty() || line.is_empty() {
                words.push(shown);
            }
        }
        words.reverse();
        if !words.is_empty() {
            text = format!("{text}; its last words on stderr: {}", words.join(" | "));
        }
        text
    }
}
