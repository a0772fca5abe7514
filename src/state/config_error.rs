//! What is wrong with a configuration, so that an operator can put it right at once.
//!
//! What this file deliberately does not do: stop at the first error; know what is configured.
//!
//! What always holds: an error names where, what is wrong, and what is allowed; at most
//! [`ERRORS_MAX`] are kept and the rest is counted; no value of an environment variable is in one.

use rpc_plugin_wire::phrase::count;
use std::fmt;

/// Maximum number of errors that are told in full; more are counted.
pub const ERRORS_MAX: usize = 20;

/// Longest text from outside that an error quotes. Characters.
const QUOTED_CHARS_MAX: usize = 60;

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigError {
    /// Where it is wrong: a member such as `args[3]`, or where the daemon read it, such as `FILE:LINE: key "KEY"`.
    pub place: String,
    /// Further settings that take part in it, by their names.
    pub with: &'static [&'static str],
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

/// Everything that is wrong with a configuration. Displayed as one line each.
#[derive(Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ConfigErrors {
    /// The first 20, in the order in which they were found.
    pub errors: Vec<ConfigError>,
    /// How many more there are.
    pub more: usize,
}

impl ConfigErrors {
    /// Adds an error in which one member takes part.
    pub fn add(&mut self, place: impl Into<String>, problem: impl Into<String>, allowed: impl Into<String>) {
        self.add_together(place, &[], problem, allowed);
    }

    /// Adds an error in which several settings take part.
    pub fn add_together(
        &mut self,
        place: impl Into<String>,
        with: &'static [&'static str],
        problem: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        if self.is_full() {
            self.more += 1;
        } else {
            let (place, problem, allowed) = (place.into(), problem.into(), allowed.into());
            self.errors.push(ConfigError { place, with, problem, allowed });
        }
    }

    /// Whether further errors are only counted.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.errors.len() >= ERRORS_MAX
    }

    /// The number of errors found.
    #[must_use]
    pub fn count(&self) -> usize {
        self.errors.len() + self.more
    }

    /// `Ok` if there are none.
    ///
    /// # Errors
    /// Itself, if there are any.
    pub fn into_result(self) -> Result<(), ConfigErrors> {
        if self.count() == 0 { Ok(()) } else { Err(self) }
    }
}

impl fmt::Debug for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
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
            write!(f, "\nand {}", count(self.more as u64, "more error"))?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// A text from outside in quotes, with its control characters escaped, cut after 60 characters.
#[must_use]
pub fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{:?}...", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}
