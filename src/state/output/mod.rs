//! What plugins print: from bytes to lines, from lines to events, no more of them than may be.
//!
//! What this folder is for: one stream of one generation. `lines` cuts bytes into lines, `report` keeps the
//! lines of one panic or traceback together, `structured` reads lines that say their level, `tail` keeps the last ones, `rate` bounds what goes
//! on record; [`Capture`] is all of it. What it deliberately does not do: read pipes, record, keep time.
//!
//! What always holds: any split of the same bytes gives the same events; an event is text, and its bytes are
//! bounded, as is what is kept in here; a plugin that prints too much waits for an interval at once, and never hangs in a
//! print.

mod lines;
mod printed;
mod rate;
mod report;
mod structured;
mod tail;
mod taker;
#[cfg(test)]
mod tests;

pub use printed::{Printed, ReportKind};
pub use structured::Structured;
pub use taker::{LineTaker, Output, PrintedLine};

use super::time::Time;
use super::unasked::Unasked;
pub(super) use rate::Rate;

use lines::Lines;
use report::{Report, ReportEnd, Taken};
use std::fmt;
use tail::Tail;

/// One of the two streams that a program prints to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl fmt::Display for OutputStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            OutputStream::Stdout => "stdout",
            OutputStream::Stderr => "stderr",
        })
    }
}

/// What is to be made of the lines of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// Events for the record, of at most so many bytes per second.
    Events {
        /// The bound, as in [`Policy::output_bytes_per_second_max`](super::policy::Policy).
        bytes_per_second_max: usize,
    },
    /// Each line as it is, however many they are: for a program that takes them itself.
    Lines,
}

/// One stream of one generation.
#[derive(Debug)]
pub struct Capture {
    lines: Lines,
    /// `None` but for standard error.
    tail: Option<Tail>,
    /// `None`: each line as it is.
    rate: Option<Rate>,
    /// What was beyond the rate.
    unasked: Unasked,
    report: Option<Box<Report>>,
}

impl Capture {
    /// Of standard error, the last lines are kept.
    #[must_use]
    pub fn new(stream: OutputStream, treatment: Treatment) -> Capture {
        let rate = match treatment {
            Treatment::Events { bytes_per_second_max } => Some(Rate::new(bytes_per_second_max)),
            Treatment::Lines => None,
        };
        let tail = (stream == OutputStream::Stderr).then(Tail::default);
        Capture { lines: Lines::default(), tail, rate, unasked: Unasked::of_lines(), report: None }
    }

    /// Takes printed bytes; appends the events that they complete.
    pub fn push(&mut self, now: Time, mut bytes: &[u8], out: &mut Vec<Printed>) {
        while let Some((line, rest)) = self.lines.push(bytes) {
            bytes = rest;
            self.take_line(now, line, out);
        }
    }

    /// What was beyond the rate, which says until when the stream is not to be read.
    pub fn unasked(&mut self) -> &mut Unasked {
        &mut self.unasked
    }

    /// When [`Capture::handle_time`] is to be called, if nothing comes before.
    #[must_use]
    pub fn next_at(&self) -> Option<Time> {
        let resumes_at = self.rate.as_ref().and_then(Rate::next_at);
        [self.report.as_ref().map(|report| report.next_at()), resumes_at].into_iter().flatten().min()
    }

    /// Time has passed: appends what needs not wait any longer.
    pub fn handle_time(&mut self, now: Time, out: &mut Vec<Printed>) {
        if self.report.as_ref().is_some_and(|report| report.next_at() <= now) {
            self.end_report(now, out);
        }
        if let Some(rate) = &mut self.rate {
            out.extend(rate.resume(now));
        }
    }

    /// The stream ended: what stands without a line end is a line too, and nothing waits any longer.
    pub fn finish(&mut self, now: Time, out: &mut Vec<Printed>) {
        if let Some(line) = self.lines.finish() {
            self.take_line(now, line, out);
        }
        self.end_report(now, out);
        if let Some(rate) = &mut self.rate {
            out.extend(rate.finish());
        }
    }

    /// The last lines, for the record of the exit; whatever became of them.
    pub fn take_tail(&mut self) -> Vec<String> {
        self.tail.as_mut().map(Tail::take).unwrap_or_default()
    }

    fn take_line(&mut self, now: Time, line: String, out: &mut Vec<Printed>) {
        if let Some(tail) = &mut self.tail {
            tail.push(now, &line);
        }
        if self.rate.is_none() {
            return out.push(Printed::Line(line));
        }
        if let Some(report) = &mut self.report {
            match report.take(now, &line) {
                Taken::More(None) => return,
                Taken::More(Some(part)) => return self.admit(now, part, out),
                Taken::Last => return self.end_report(now, out),
                Taken::No => self.end_report(now, out),
            }
        }
        self.report = Report::begin(now, &line).map(Box::new);
        if self.report.is_none() {
            self.take_ordinary(now, line, out);
        }
    }

    fn end_report(&mut self, now: Time, out: &mut Vec<Printed>) {
        let Some(report) = self.report.take() else { return };
        let is_after_blank = report.holds_blank();
        match report.finish() {
            ReportEnd::Nothing => {}
            ReportEnd::Whole(whole) => self.admit(now, whole, out),
            // It only began like one.
            ReportEnd::Lines(text) => {
                text.split('\n').for_each(|line| self.take_ordinary(now, line.to_owned(), out));
            }
        }
        if is_after_blank {
            self.take_ordinary(now, String::new(), out);
        }
    }

    fn take_ordinary(&mut self, now: Time, line: String, out: &mut Vec<Printed>) {
        // What is dropped anyway is not parsed before.
        if self.rate.as_mut().is_some_and(|rate| rate.refuse(now, 1, line.len(), out)) {
            return self.unasked.refused(now, 1, line.len());
        }
        let printed = match structured::parse(&line) {
            Some(structured) => Printed::Structured(structured),
            None => Printed::Line(line),
        };
        out.push(printed);
    }

    fn admit(&mut self, now: Time, printed: Printed, out: &mut Vec<Printed>) {
        let (lines, bytes) = match &printed {
            Printed::Report { text, lines, .. } => (*lines, text.len()),
            Printed::Line(_) | Printed::Structured(_) | Printed::Dropped { .. } => (1, 0),
        };
        if self.rate.as_mut().is_some_and(|rate| rate.refuse(now, lines, bytes, out)) {
            return self.unasked.refused(now, lines, bytes);
        }
        out.push(printed);
    }
}
