//! Why bytes did not get where they were to get.

use crate::ctl::exit::Exit;
use std::fmt;
use std::io;

/// Why bytes did not get where they were to get.
#[derive(Debug)]
pub(crate) struct TransferError {
    pub(crate) exit: Exit,
    /// Empty where the reader of standard output has gone, which is no failure.
    pub(crate) message: String,
}

impl TransferError {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> TransferError {
        TransferError { exit, message: message.into() }
    }

    pub(super) fn usage(message: impl Into<String>) -> TransferError {
        TransferError::new(Exit::Usage, message)
    }

    pub(super) fn io(what: impl fmt::Display, error: &io::Error) -> TransferError {
        TransferError::new(Exit::Failed, format!("cannot {what}: {error}"))
    }
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
