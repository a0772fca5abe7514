//! Lines that belong together: a panic of Rust or Go with its stacks, a Python traceback with the exceptions that
//! led to it, an exception of Node, Java or Ruby, the last words of C++, a sanitizer's report.
//!
//! What it deliberately does not do: understand them. Lines are told by how they begin.
//!
//! What always holds: what only begins like a report and does not go on like one is ordinary lines; a report is at most [`REPORT_LINES_MAX`] lines and [`REPORT_BYTES_MAX`] bytes, and one
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
    /// In the messages of a Go panic, before its first goroutine.
    GoMessage,
    /// In the stack of a goroutine.
    GoFrames,
    /// After a blank line, which belongs to it if a goroutine, or the end, follows.
    GoBlank,
    /// After a line that names a place in a source file, as Node begins. The source, a line of carets, and the exception are to
    /// come, and it is no report before the carets.
    NodePlace,
    /// After the source.
    NodeSource,
    /// After the carets: a blank line and the exception.
    NodeException,
    /// After a line that names an exception, which is no report unless a frame of a stack follows.
    ExceptionLine,
    /// In the frames of a stack, and what Node and Java print among them.
    StackFrames,
    /// After a blank line, which belongs to it if Node's version follows.
    StackBlank,
    /// In what C++ says of the exception.
    Terminate,
}

impl ReportPhase {
    /// Whether a blank line waits until it is known whose it is.
    fn holds_blank(self) -> bool {
        matches!(self, ReportPhase::PythonBlank | ReportPhase::GoBlank | ReportPhase::StackBlank)
    }

    /// Whether what there is may still be ordinary lines.
    fn is_tentative(self) -> bool {
        matches!(self, ReportPhase::NodePlace | ReportPhase::NodeSource | ReportPhase::ExceptionLine)
    }
}

/// What a report came to.
#[derive(Debug, PartialEq)]
pub(super) enum ReportEnd {
    /// All of it was handed on before.
    Nothing,
    /// The report, or the rest of it.
    Whole(Printed),
    /// Lines that only began like one.
    Lines(String),
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
    } else if line.starts_with("panic: ") || line.starts_with("fatal error: ") {
        Some((ReportKind::Panic, ReportPhase::GoMessage))
    } else if line.starts_with("terminate called ") {
        Some((ReportKind::Terminate, ReportPhase::Terminate))
    } else if line.starts_with("Exception in thread \"") || is_ruby_exception(line) {
        Some((ReportKind::Exception, ReportPhase::StackFrames))
    } else if is_place(line) {
        Some((ReportKind::Exception, ReportPhase::NodePlace))
    } else if is_exception(line) {
        Some((ReportKind::Exception, ReportPhase::ExceptionLine))
    } else {
        None
    }
}

/// A line such as ``/srv/x.rb:2:in `foo': boom (RuntimeError)``; since Ruby 3.4 with two straight quotes.
fn is_ruby_exception(line: &str) -> bool {
    let place = line.split_once(":in `").or_else(|| line.split_once(":in '"));
    place.is_some_and(|(place, rest)| {
        let number = place.rsplit_once(':').is_some_and(|(_, number)| is_number(number));
        number && rest.contains("': ") && rest.ends_with(')')
    })
}

/// A line that is a path of a source file and the number of a line, as Node names where it threw.
fn is_place(line: &str) -> bool {
    let begins = line.starts_with('/') || line.starts_with("node:") || line.starts_with("file:///");
    let place = line.rsplit_once(':').filter(|_| begins);
    place.is_some_and(|(path, number)| is_number(number) && !path.contains(char::is_whitespace))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A line that begins with the name of an error or an exception: `TypeError: x`, `java.lang.IllegalStateException`,
/// `Uncaught Error: x`, `Error [ERR_X]: x`.
fn is_exception(line: &str) -> bool {
    let line = line.strip_prefix("Uncaught ").unwrap_or(line);
    let end = line.find([':', ' ']).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._$".contains(&byte));
    let goes_on = rest.is_empty() || rest.starts_with(": ") || rest.starts_with(" [");
    is_name && goes_on && (name.ends_with("Error") || name.ends_with("Exception"))
}

fn is_carets(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && line.bytes().all(|byte| byte == b'^')
}

fn is_frame(line: &str) -> bool {
    is_indented(line) && (line.trim_start().starts_with("at ") || line.trim_start().starts_with("from "))
}

/// A line that begins a report whatever follows.
fn begins_for_sure(line: &str) -> bool {
    first_phase(line).is_some_and(|(_, phase)| !phase.is_tentative())
}

/// A line with which a stack of Go begins: of a goroutine, of its runtime, or the registers after them.
fn begins_goroutine(line: &str) -> bool {
    line.starts_with("goroutine ") || line.starts_with("runtime stack:") || is_register(line)
}

fn is_register(line: &str) -> bool {
    line.split_once(' ').is_some_and(|(name, value)| name.len() <= 6 && value.trim().starts_with("0x"))
}

/// A line of such a stack: a function, a place, a register.
fn is_of_goroutine(line: &str) -> bool {
    let begins = ["goroutine ", "created by ", "\t", "..."];
    begins.iter().any(|begin| line.starts_with(begin)) || line.ends_with(')') || is_register(line)
}

/// What a line does: the phase after it, or the end, before it or with it.
enum ReportStep {
    Next(ReportPhase),
    Last,
    No,
}

fn step(phase: ReportPhase, line: &str) -> ReportStep {
    match phase {
        ReportPhase::GoMessage if line.starts_with("panic: ") => ReportStep::Next(phase),
        _ if begins_for_sure(line) && phase != ReportPhase::PythonLink => ReportStep::No,
        ReportPhase::NodePlace => ReportStep::Next(ReportPhase::NodeSource),
        ReportPhase::NodeSource if is_carets(line) => ReportStep::Next(ReportPhase::NodeException),
        ReportPhase::NodeSource => ReportStep::No,
        ReportPhase::NodeException if line.is_empty() => ReportStep::Next(phase),
        ReportPhase::NodeException => ReportStep::Next(ReportPhase::StackFrames),
        ReportPhase::GoMessage | ReportPhase::GoFrames if line.is_empty() => {
            ReportStep::Next(ReportPhase::GoBlank)
        }
        ReportPhase::GoMessage | ReportPhase::GoFrames | ReportPhase::GoBlank
            if line.starts_with("exit status ") =>
        {
            ReportStep::Last
        }
        ReportPhase::GoBlank if begins_goroutine(line) => ReportStep::Next(ReportPhase::GoFrames),
        ReportPhase::GoMessage if is_indented(line) || line.starts_with("[signal ") => {
            ReportStep::Next(phase)
        }
        ReportPhase::GoMessage if begins_goroutine(line) => ReportStep::Next(ReportPhase::GoFrames),
        ReportPhase::GoFrames if is_of_goroutine(line) => ReportStep::Next(phase),
        ReportPhase::GoMessage | ReportPhase::GoFrames | ReportPhase::GoBlank => ReportStep::No,
        ReportPhase::ExceptionLine if is_frame(line) => ReportStep::Next(ReportPhase::StackFrames),
        ReportPhase::ExceptionLine => ReportStep::No,
        ReportPhase::StackFrames if line.is_empty() => ReportStep::Next(ReportPhase::StackBlank),
        ReportPhase::StackFrames
            if is_indented(line)
                || line == "}"
                || line.starts_with("Caused by: ")
                || line.starts_with("(Use `node ") =>
        {
            ReportStep::Next(phase)
        }
        ReportPhase::StackBlank if line.starts_with("Node.js v") => ReportStep::Last,
        ReportPhase::StackFrames | ReportPhase::StackBlank => ReportStep::No,
        ReportPhase::Terminate if is_indented(line) => ReportStep::Next(phase),
        ReportPhase::Terminate => ReportStep::No,
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
            ReportStep::Next(phase) if phase.holds_blank() => {
                // Kept as the phase until it is known whose it is.
                (self.phase, self.last) = (phase, now);
                return Taken::More(None);
            }
            ReportStep::Next(phase) => Some(phase),
        };
        if self.phase.holds_blank() {
            self.add(now, "");
            // The blank line has its place: none waits any more.
            self.phase = ReportPhase::StackFrames;
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
        self.phase.holds_blank()
    }

    /// When it is ended if nothing comes.
    pub(super) fn next_at(&self) -> Time {
        let may_be_whole = match self.phase {
            ReportPhase::PanicMessage(lines) => lines > 0,
            ReportPhase::PythonException | ReportPhase::PythonBlank | ReportPhase::PythonGroup => true,
            ReportPhase::GoMessage | ReportPhase::GoFrames | ReportPhase::GoBlank => true,
            ReportPhase::NodePlace | ReportPhase::NodeSource | ReportPhase::ExceptionLine => true,
            ReportPhase::StackFrames | ReportPhase::StackBlank | ReportPhase::Terminate => true,
            ReportPhase::NodeException
            | ReportPhase::PanicFrames
            | ReportPhase::PythonFrames
            | ReportPhase::PythonLink
            | ReportPhase::Sanitizer => false,
        };
        let wait = if may_be_whole { WHOLE_WAIT } else { PART_WAIT };
        self.last.plus(wait).min(self.begun.plus(REPORT_TIME_MAX))
    }

    /// What there is of it.
    pub(super) fn finish(mut self) -> ReportEnd {
        if self.phase.is_tentative() {
            return ReportEnd::Lines(self.text);
        }
        self.take_part().map_or(ReportEnd::Nothing, ReportEnd::Whole)
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

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
