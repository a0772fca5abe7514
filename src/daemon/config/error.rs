//! What is wrong with a configuration, said so that an operator can put it right at once.
//!
//! What it deliberately does not do: stop at the first error.
//!
//! What always holds: an error names where, what is wrong, and what is allowed; at most
//! [`ERRORS_MAX`] are kept and the rest is counted; no value of an environment variable is in one.

use std::fmt;

/// Most errors that are told in full; more are counted.
pub const ERRORS_MAX: usize = 20;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where: `FILE:LINE: key "KEY"`, `FILE`, `--FLAG`, or the name of an environment variable.
    pub place: String,
    /// What is wrong there.
    pub problem: String,
    /// What is allowed there.
    pub allowed: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; allowed: {}", self.place, self.problem, self.allowed)
    }
}

/// Everything that is wrong, a line each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigErrors {
    /// The first [`ERRORS_MAX`], in the order in which they were found.
    pub errors: Vec<ConfigError>,
    /// How many more there are.
    pub more: usize,
}

impl ConfigErrors {
    pub(super) fn add(&mut self, place: String, problem: impl Into<String>, allowed: impl Into<String>) {
        if self.is_full() {
            self.more += 1;
        } else {
            self.errors.push(ConfigError { place, problem: problem.into(), allowed: allowed.into() });
        }
    }

    /// Whether further errors are only counted.
    pub(super) fn is_full(&self) -> bool {
        self.errors.len() >= ERRORS_MAX
    }

    /// How many were found.
    #[must_use]
    pub fn count(&self) -> usize {
        self.errors.len() + self.more
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.errors.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more errors", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// The name among `allowed` that was probably meant by `seen`, if one is near enough.
pub(super) fn nearest<'a>(seen: &str, allowed: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Two slips, and not more than a third of the word: beyond that it is a guess.
    let bound = 2.min(seen.len().div_ceil(3));
    allowed
        .filter(|name| name.len().abs_diff(seen.len()) <= bound)
        .map(|name| (edits(seen, name), name))
        .filter(|(edits, _)| *edits <= bound)
        .min()
        .map(|(_, name)| name)
}

/// Letters to insert, remove or replace to get from one word to the other (Levenshtein), case and
/// `-` for `_` not counted.
fn edits(one: &str, other: &str) -> usize {
    let plain = |b: u8| if b == b'-' { b'_' } else { b.to_ascii_lowercase() };
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, a) in one.bytes().enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        for (cell, b) in row.iter_mut().skip(1).zip(other.bytes()) {
            let replaced = diagonal + usize::from(plain(a) != plain(b));
            diagonal = *cell;
            left = replaced.min(left + 1).min(diagonal + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = line + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}
