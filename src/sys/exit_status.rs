//! How a process ended.
#![forbid(unsafe_code)]

use nix::sys::signal::Signal;
use std::fmt;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// It exited with this status, 0 to 255.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// The signal's number.
        signal: i32,
        /// Whether the kernel wrote a core file.
        core_dumped: bool,
    },
}

impl ExitStatus {
    /// Whether it exited with status 0.
    #[must_use]
    pub fn success(self) -> bool {
        self == ExitStatus::Code(0)
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ExitStatus::Code(code) => write!(f, "exit status {code}"),
            ExitStatus::Signal { signal, core_dumped } => {
                write!(f, "signal {signal}")?;
                match Signal::try_from(signal) {
                    Ok(known) => write!(f, " ({})", known.as_str())?,
                    Err(_) if (34..=64).contains(&signal) => write!(f, " (real-time)")?,
                    Err(_) => {}
                }
                if core_dumped { write!(f, ", core dumped") } else { Ok(()) }
            }
        }
    }
}
