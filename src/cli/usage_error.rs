//! Why a command line was refused, with where to read what is allowed.

use super::{Command, Program};
use std::fmt;

/// A command line that the program does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageError {
    /// What is wrong, in one sentence, safe to print.
    pub message: String,
    /// Where to read what is allowed.
    pub hint: String,
}

impl UsageError {
    pub(super) fn new(program: &Program, command: Option<&Command>, message: String) -> UsageError {
        let hint = match command {
            Some(command) => format!("'{} {} --help' shows what it takes", program.name, command.name),
            None => format!("'{} --help' shows what it takes", program.name),
        };
        UsageError { message, hint }
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.message, self.hint)
    }
}

impl std::error::Error for UsageError {}
