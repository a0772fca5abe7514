//! Why an archive is refused: what is wrong with it, and with which entry.

use std::fmt;
use std::io;

/// What is wrong with an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ArchiveError {
    /// Which entry it is, counted from 1, if it is one.
    entry: Option<usize>,
    problem: String,
}

impl ArchiveError {
    pub(super) fn new(problem: impl Into<String>) -> ArchiveError {
        ArchiveError { entry: None, problem: problem.into() }
    }

    /// What is wrong with an entry.
    pub(super) fn at(entry: usize, problem: String) -> ArchiveError {
        ArchiveError { entry: Some(entry), problem }
    }

    /// It could not be read on.
    pub(super) fn of_reading(error: io::Error) -> ArchiveError {
        ArchiveError::new(match error.kind() {
            io::ErrorKind::UnexpectedEof => "is cut off".to_owned(),
            _ => format!("cannot be read: {error}"),
        })
    }

    /// It could not be unpacked.
    pub(super) fn of_writing(error: io::Error) -> ArchiveError {
        ArchiveError::new(format!("cannot be unpacked: {error}"))
    }
}

/// Follows the archive's name and a colon.
impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry {
            Some(entry) => write!(f, "entry {entry}: {}", self.problem),
            None => f.write_str(&self.problem),
        }
    }
}
