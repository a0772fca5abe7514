//! How the daemon tells why it ends, and what it prints.

use crate::host::HostError;
use std::io::Write;

/// Exit codes; the help lists them.
const FAILED: u8 = 1;
const USAGE: u8 = 2;

/// Why the daemon ends with another exit code than 0.
pub(super) struct DaemonError {
    pub(super) code: u8,
    pub(super) message: String,
}

impl DaemonError {
    pub(super) fn usage(message: impl ToString) -> DaemonError {
        DaemonError { code: USAGE, message: message.to_string() }
    }

    pub(super) fn failed(message: impl ToString) -> DaemonError {
        DaemonError { code: FAILED, message: message.to_string() }
    }
}

impl From<HostError> for DaemonError {
    fn from(error: HostError) -> DaemonError {
        DaemonError::failed(error)
    }
}

impl From<std::io::Error> for DaemonError {
    fn from(error: std::io::Error) -> DaemonError {
        DaemonError::failed(error)
    }
}

/// Prints to standard output. A reader that has gone (EPIPE) is no failure.
pub(super) fn print(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
