//! Reports of how processes ended, from what the kernel says.

use crate::state::plugin::ExitReport;
use crate::sys::process::ExitStatus;
use std::io;

/// The report of a child that was reaped.
pub(super) fn report_of(status: ExitStatus) -> ExitReport {
    let (exit_code, signal) = match status {
        ExitStatus::Code(code) => (Some(code), None),
        ExitStatus::Signal { signal, .. } => (None, Some(signal)),
    };
    let (clean, text) = (status.success(), status.to_string());
    ExitReport { clean, text, exit_code, signal, stderr_tail: Vec::new() }
}

/// The report of a child whose status cannot be read: somebody else in this process reaped it.
pub(super) fn unread(error: &io::Error) -> ExitReport {
    let text = format!("a status that could not be read: {error}");
    ExitReport { text, ..ExitReport::default() }
}

/// The report of a process that a person started.
pub(super) fn of_stranger() -> ExitReport {
    let text = "a status that only its parent knows".to_owned();
    ExitReport { clean: true, text, ..ExitReport::default() }
}
