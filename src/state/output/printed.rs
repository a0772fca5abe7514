//! What printed bytes become: lines, structured lines, reports, and what was dropped.

use super::structured::Structured;

/// What a report is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportKind {
    /// A Rust thread or a Go program that panicked.
    Panic,
    /// A Python exception that nobody caught, or that somebody printed.
    Traceback,
    /// What a sanitizer of C or C++ found.
    Sanitizer,
    /// An exception of Node, Java or Ruby that nobody caught, or that somebody printed with its stack.
    Exception,
    /// A C++ program that was ended by an exception that nobody caught.
    Terminate,
}

impl ReportKind {
    /// The name in the record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ReportKind::Panic => "panic",
            ReportKind::Traceback => "traceback",
            ReportKind::Sanitizer => "sanitizer",
            ReportKind::Exception => "exception",
            ReportKind::Terminate => "terminate",
        }
    }
}

/// What became of printed bytes.
#[derive(Debug, Clone, PartialEq)]
pub enum Printed {
    /// A line, or a piece of a long one.
    Line(String),
    /// A line that says its level: a JSON object with a level and a message, or text that begins with its level.
    Structured(Structured),
    /// The lines of one panic, traceback or sanitizer's report, or a part of a long one.
    Report {
        /// What it is.
        kind: ReportKind,
        /// Its lines.
        text: String,
        /// How many they are.
        lines: usize,
    },
    /// So much was dropped since the event before, because it came too fast.
    Dropped {
        /// How many lines it was.
        lines: u64,
        /// How many bytes it was, without line ends.
        bytes: u64,
    },
}
