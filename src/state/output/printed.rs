//! What printed bytes become: lines, structured lines, reports, and what was dropped.

use super::structured::Structured;

/// What a report is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportKind {
    /// A Rust thread that panicked.
    Panic,
    /// A Python exception that nobody caught, or that somebody printed.
    Traceback,
    /// What a sanitizer of C or C++ found.
    Sanitizer,
}

impl ReportKind {
    /// The name in the record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ReportKind::Panic => "panic",
            ReportKind::Traceback => "traceback",
            ReportKind::Sanitizer => "sanitizer",
        }
    }
}

/// What became of printed bytes.
#[derive(Debug, Clone, PartialEq)]
pub enum Printed {
    /// A line, or a piece of a long one.
    Line(String),
    /// A line that was a JSON object with a level and a message.
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
