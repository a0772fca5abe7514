//! What goes wrong, told on the daemon's standard error: events of level warn and above, as text.
//!
//! What it deliberately does not do: replace the record, which has all events; tell anything where a sink writes to standard
//! error, which tells it already.
//!
//! What always holds: a reader that stands still costs lines, and holds nothing up for longer than [`PATIENCE`]; what a plugin
//! said is escaped, and cannot look like another event.

use super::says::PATIENCE;
use crate::cli::text::{escape, one_line};
use crate::eventlog::sinks::{Prefix, StderrSink};
use crate::host::{EventKind, Level, LifecycleEvent};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Events in a second that are told one by one; further ones are counted.
const EVENTS_PER_SECOND_MAX: u32 = 100;
/// Whether events of this kind and level are told: what goes wrong, and the end of what the daemon lacked.
pub(super) fn is_told(kind: EventKind, level: Level) -> bool {
    level >= Level::Warn || kind == EventKind::HostShortageOver
}

/// The writer of events to standard error.
pub(super) struct StderrEvents {
    stderr: StderrSink,
    /// Characters of the longest id of a plugin, with the brackets around it.
    who_columns: usize,
    pace: Pace,
    /// Whether the reader took nothing the last time.
    is_stuck: bool,
    /// Events that were missed, left out or not taken since the last line.
    untold: u64,
}

impl StderrEvents {
    /// For plugins whose ids have at most so many characters.
    pub(super) fn new(id_chars_max: usize) -> StderrEvents {
        StderrEvents {
            stderr: StderrSink::new(Prefix::Auto),
            who_columns: id_chars_max + 2,
            pace: Pace::default(),
            is_stuck: false,
            untold: 0,
        }
    }

    /// Tells of an event, unless too many came in this second.
    pub(super) fn tell(&mut self, event: &LifecycleEvent) {
        self.untold += event.missed;
        if !self.pace.admits(Instant::now()) {
            self.untold += 1;
            return;
        }
        self.tell_untold();
        let prefix = self.stderr.prefix(level_of(event));
        if !self.write(&text(event, self.who_columns, &prefix)) {
            self.untold += 1;
        }
    }

    /// Tells how many events were not told.
    pub(super) fn tell_untold(&mut self) {
        if self.untold == 0 {
            return;
        }
        let prefix = self.stderr.prefix(Level::Warn);
        let (count, them) = (self.untold, if self.untold == 1 { "event is" } else { "events are" });
        let text = format!(
            "{prefix}rpcplugind: {count} more {them} on record: rpcpluginctl logs --all --level warn\n"
        );
        if self.write(&text) {
            self.untold = 0;
        }
    }

    /// Whether the reader took it.
    fn write(&mut self, text: &str) -> bool {
        // Once it has taken nothing for that long, lines are tried once until it takes one.
        let patience = if self.is_stuck { Duration::ZERO } else { PATIENCE };
        // Nowhere is left to tell why not.
        self.is_stuck = self.stderr.write(text.as_bytes(), patience).is_err();
        !self.is_stuck
    }
}

/// How many events were told in the present second.
#[derive(Debug, Default)]
struct Pace {
    second: Option<Instant>,
    told: u32,
}

impl Pace {
    /// Whether one more may be told.
    fn admits(&mut self, now: Instant) -> bool {
        if self.second.is_none_or(|begin| now.duration_since(begin) >= Duration::from_secs(1)) {
            (self.second, self.told) = (Some(now), 0);
        }
        self.told = self.told.saturating_add(1);
        self.told <= EVENTS_PER_SECOND_MAX
    }
}

fn level_of(event: &LifecycleEvent) -> Level {
    event.note.level.unwrap_or_else(|| event.note.kind.level())
}

/// An event as lines of text: the second and further lines of its message stand below, marked.
fn text(event: &LifecycleEvent, who_columns: usize, prefix: &str) -> String {
    let note = &event.note;
    let time = humantime::format_rfc3339_millis(event.at);
    let who = note.plugin_id.as_ref().map_or(String::new(), |id| format!("[{id}]"));
    let mut lines = note.message.lines().map(escape);
    let mut out = format!("{prefix}{time} {:5} {who:who_columns$} {}", level_of(event).as_str(), note.kind);
    // Writing to memory does not fail, here and below.
    if let Some(first) = lines.next() {
        let _ = write!(out, ": {first}");
    }
    for (name, text) in [("method", &note.method), ("error", &note.error), ("reason", &note.reason)] {
        if let Some(text) = text.as_ref().filter(|text| !text.is_empty()) {
            let _ = write!(out, "; {name}: {}", escape(&one_line(text)));
        }
    }
    out.push('\n');
    for line in lines {
        let _ = writeln!(out, "{prefix}    | {line}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Note;
    use std::time::SystemTime;

    fn event(note: Note) -> LifecycleEvent {
        LifecycleEvent { at: SystemTime::UNIX_EPOCH, note, missed: 0 }
    }

    #[test]
    fn lines_are_aligned_and_what_a_plugin_printed_looks_like_no_other_event() {
        let mut report = Note::new(EventKind::Stderr, "thread 'main' panicked:\n\u{1b}[2J1970 error [kv] x")
            .level(Level::Error);
        report.plugin_id = Some("kv".parse().unwrap());
        let fault =
            event(Note::new(EventKind::HostFault, "a pipe broke").error("Broken pipe").reason("a\nb"));
        assert_eq!(
            text(&event(report), 9, "<3>"),
            "<3>1970-01-01T00:00:00.000Z error [kv]      stderr: thread 'main' panicked:\n\
             <3>    | \\x1b[2J1970 error [kv] x\n"
        );
        assert_eq!(
            text(&fault, 9, ""),
            "1970-01-01T00:00:00.000Z error           host_fault: a pipe broke; error: Broken pipe; reason: a | b\n"
        );
    }

    #[test]
    fn what_is_told_is_what_went_wrong() {
        assert!(is_told(EventKind::Stderr, Level::Error) && is_told(EventKind::HeartbeatMissed, Level::Warn));
        assert!(is_told(EventKind::HostShortageOver, Level::Info), "the shortage was told");
        assert!(!is_told(EventKind::Stderr, Level::Info) && !is_told(EventKind::CallStarted, Level::Debug));
    }

    #[test]
    fn in_a_second_so_many_are_told_and_no_more() {
        let (mut pace, begin) = (Pace::default(), Instant::now());
        let admitted = |pace: &mut Pace, at| (0..300).filter(|_| pace.admits(at)).count();
        assert_eq!(admitted(&mut pace, begin), EVENTS_PER_SECOND_MAX as usize);
        assert_eq!(admitted(&mut pace, begin + Duration::from_millis(999)), 0);
        assert_eq!(admitted(&mut pace, begin + Duration::from_secs(1)), EVENTS_PER_SECOND_MAX as usize);
    }
}
