//! Lines that belong together: a Rust panic with its backtrace, a Python traceback with the exceptions that
//! led to it, a sanitizer's report.
//!
//! What it deliberately does not do: understand them. Lines are told by how they begin.
//!
//! What always holds: a report is at most [`REPORT_LINES_MAX`] lines and [`REPORT_BYTES_MAX`] bytes, and one
//! line; a longer one goes on in the next, so nothing of it is lost. None waits longer than
//! [`REPORT_TIME_MAX`] for its end.

use super::printed::{Printed, ReportKind};
use super::structured;
use crate::state::time::Time;
use std::time::Duration;

/// Lines of one event; a longer report goes on in another.
const REPORT_LINES_MAX: usize = 500;
/// The same in bytes.
const REPORT_BYTES_MAX: usize = 32 * 1024;
/// How long a report waits for a further line where it may be whole.
const WHOLE_WAIT: Duration = Duration::from_millis(200);
/// How long where it is not: the first frame of a backtrace takes its time, because symbols are read for it.
const PART_WAIT: Duration = Duration::from_secs(2);
/// From the first line of an event until it is ended, whatever follows.
const REPORT_TIME_MAX: Duration = Duration::from_secs(10);
/// Lines that a panic's message may have: nothing marks its end where Rust says nothing of a backtrace.
const MESSAGE_LINES_MAX: usize = 16;

const PYTHON_HEADER: &str = "Traceback (most recent call last):";
/// What Python says between two tracebacks of one failure, each between blank lines.
const PYTHON_LINKS: [&str; 2] = [
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
];

/// What a line was to an open report.
#[derive(Debug, PartialEq)]
pub(super) enum Taken {
    /// A line of it. With it, the part that is full, if that is so.
    More(Option<Printed>),
    /// Its last line.
    Last,
    /// No line of it: it has ended before.
    No,
}

/// Place in a report where its last line stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReportPhase {
    /// In the message of a panic, with so many lines of it.
    PanicMessage(usize),
    /// In the backtrace of a panic.
    PanicFrames,
    /// In a traceback, whose last line begins without a space.
    PythonFrames,
    /// In the traceback of an exception group, all of which is indented.
    PythonGroup,
    /// After the exception's own line.
    PythonException,
    /// After that, and a blank line, which belongs to it if one of [`PYTHON_LINKS`] follows.
    PythonBlank,
    /// After one of these.
    PythonLink,
    Sanitizer,
}

/// An open report.
#[derive(Debug)]
pub(super) struct Report {
    kind: ReportKind,
    phase: ReportPhase,
    text: String,
    lines: usize,
    begun: Time,
    last: Time,
}

fn begins_group(line: &str) -> bool {
    line.trim_start().starts_with("+ Exception Group Traceback (most recent call last):")
}

fn is_indented(line: &str) -> bool {
    line.starts_with([' ', '\t'])
}

fn first_phase(line: &str) -> Option<(ReportKind, ReportPhase)> {
    if line.starts_with("thread '") && line.contains(" panicked at ") {
        // Since Rust 1.73 the message begins in the next line.
        let lines = usize::from(!line.ends_with(':'));
        Some((ReportKind::Panic, ReportPhase::PanicMessage(lines)))
    } else if line == PYTHON_HEADER {
        Some((ReportKind::Traceback, ReportPhase::PythonFrames))
    } else if begins_group(line) {
        Some((ReportKind::Traceback, ReportPhase::PythonGroup))
    } else if line.starts_with("==") && line.contains("==ERROR: ") && line.contains("Sanitizer: ") {
        Some((ReportKind::Sanitizer, ReportPhase::Sanitizer))
    } else {
        None
    }
}

/// What a line does: the phase after it, or the end, before it or with it.
enum ReportStep {
    Next(ReportPhase),
    Last,
    No,
}

fn step(phase: ReportPhase, line: &str) -> ReportStep {
    match phase {
        _ if first_phase(line).is_some() && phase != ReportPhase::PythonLink => ReportStep::No,
        ReportPhase::PanicMessage(_) if line == "stack backtrace:" => {
            ReportStep::Next(ReportPhase::PanicFrames)
        }
        ReportPhase::PanicMessage(_) | ReportPhase::PanicFrames if line.starts_with("note: ") => {
            ReportStep::Last
        }
        ReportPhase::PanicMessage(lines) if lines > 0 && structured::parse(line).is_some() => ReportStep::No,
        ReportPhase::PanicMessage(lines) if lines + 1 >= MESSAGE_LINES_MAX => ReportStep::Last,
        ReportPhase::PanicMessage(lines) => ReportStep::Next(ReportPhase::PanicMessage(lines + 1)),
        ReportPhase::PanicFrames | ReportPhase::PythonGroup if !is_indented(line) => ReportStep::No,
        ReportPhase::PythonFrames if !is_indented(line) => ReportStep::Next(ReportPhase::PythonException),
        ReportPhase::PythonException if line.is_empty() => ReportStep::Next(ReportPhase::PythonBlank),
        ReportPhase::PythonBlank if PYTHON_LINKS.contains(&line) => ReportStep::Next(ReportPhase::PythonLink),
        ReportPhase::PythonException | ReportPhase::PythonBlank => ReportStep::No,
        ReportPhase::PythonLink => match first_phase(line) {
            Some((ReportKind::Traceback, next)) => ReportStep::Next(next),
            _ if line.is_empty() => ReportStep::Next(phase),
            _ => ReportStep::No,
        },
        ReportPhase::Sanitizer if line.ends_with("==ABORTING") => ReportStep::Last,
        ReportPhase::PanicFrames
        | ReportPhase::PythonFrames
        | ReportPhase::PythonGroup
        | ReportPhase::Sanitizer => ReportStep::Next(phase),
    }
}

impl Report {
    /// A report, if this is how one begins.
    pub(super) fn begin(now: Time, line: &str) -> Option<Report> {
        let (kind, phase) = first_phase(line)?;
        Some(Report { kind, phase, text: line.to_owned(), lines: 1, begun: now, last: now })
    }

    /// Takes the next line, if it belongs to it.
    pub(super) fn take(&mut self, now: Time, line: &str) -> Taken {
        let next = match step(self.phase, line) {
            ReportStep::No => return Taken::No,
            ReportStep::Last => None,
            ReportStep::Next(ReportPhase::PythonBlank) => {
                // Kept as the phase until it is known whose it is.
                (self.phase, self.last) = (ReportPhase::PythonBlank, now);
                return Taken::More(None);
            }
            ReportStep::Next(phase) => Some(phase),
        };
        if self.phase == ReportPhase::PythonBlank {
            self.add(now, "");
        }
        let full = (self.lines >= REPORT_LINES_MAX || self.text.len() + line.len() >= REPORT_BYTES_MAX)
            .then(|| self.take_part())
            .flatten();
        self.add(now, line);
        match next {
            // A part that is full goes before its last line.
            None if full.is_none() => Taken::Last,
            next => {
                self.phase = next.unwrap_or(self.phase);
                Taken::More(full)
            }
        }
    }

    /// Whether a blank line waits that turns out not to belong to it.
    pub(super) fn holds_blank(&self) -> bool {
        self.phase == ReportPhase::PythonBlank
    }

    /// When it is ended if nothing comes.
    pub(super) fn next_at(&self) -> Time {
        let may_be_whole = match self.phase {
            ReportPhase::PanicMessage(lines) => lines > 0,
            ReportPhase::PythonException | ReportPhase::PythonBlank | ReportPhase::PythonGroup => true,
            ReportPhase::PanicFrames
            | ReportPhase::PythonFrames
            | ReportPhase::PythonLink
            | ReportPhase::Sanitizer => false,
        };
        let wait = if may_be_whole { WHOLE_WAIT } else { PART_WAIT };
        self.last.plus(wait).min(self.begun.plus(REPORT_TIME_MAX))
    }

    /// What there is of it.
    pub(super) fn finish(mut self) -> Option<Printed> {
        self.take_part()
    }

    fn add(&mut self, now: Time, line: &str) {
        if self.lines > 0 {
            self.text.push('\n');
        } else {
            self.begun = now;
        }
        self.text.push_str(line);
        (self.lines, self.last) = (self.lines + 1, now);
    }

    fn take_part(&mut self) -> Option<Printed> {
        let (text, lines) = (std::mem::take(&mut self.text), std::mem::take(&mut self.lines));
        (lines > 0).then_some(Printed::Report { kind: self.kind, text, lines })
    }
}
