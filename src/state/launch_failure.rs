//! Why a generation did not come to be, as whoever prepares and launches it says.
//!
//! What it deliberately does not do: decide what follows; the plugin's machine does.

use super::policy::{Policy, RestartPolicy};
use rpc_plugin_wire::Generation;
use std::time::Duration;

/// Pause between two looks at the files of a plugin that failed permanently.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// Fingerprint of the files that a launch is made from, which is another one once they have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaunchFiles(pub u64);

/// What is known of a generation's permanent failure.
#[derive(Debug, Clone, Copy, Default)]
pub struct PermanentFault {
    /// Files as its preparation found them. `None` where it did not come to that.
    pub(crate) files: Option<LaunchFiles>,
    /// Whether it failed permanently.
    pub(crate) is_permanent: bool,
}

impl PermanentFault {
    /// When the files are looked at after the failure; `None`: never.
    pub(crate) fn look_after(self, policy: &Policy) -> Option<Duration> {
        (self.is_permanent && policy.restart != RestartPolicy::Never).then_some(LOOK_INTERVAL)
    }
}

/// Why a process did not come to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpawnFailure {
    /// In words.
    pub reason: String,
    /// Whether the executable was open for writing (ETXTBSY), which passes.
    pub busy: bool,
    /// Whether the host lacks something, such as descriptors or processes: no fault of the plugin.
    pub shortage: bool,
    /// Whether a further attempt fails too, until files of the launch are changed.
    pub permanent: bool,
}

/// Why a generation could not be prepared for launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrepareFailure {
    /// In words.
    pub reason: String,
    /// The number that turned out to have been used already, if that is why. The next one is the one after it.
    pub used: Option<Generation>,
    /// Whether the host lacks something, such as room on its disk: no fault of the plugin.
    pub shortage: bool,
    /// Whether a further attempt fails too, until files of the launch are changed.
    pub permanent: bool,
}

impl From<String> for PrepareFailure {
    fn from(reason: String) -> PrepareFailure {
        PrepareFailure { reason, used: None, shortage: false, permanent: false }
    }
}
