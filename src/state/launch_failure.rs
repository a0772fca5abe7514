//! Why a generation did not come to be, as whoever prepares and launches it says.
//!
//! What it deliberately does not do: decide what follows; the plugin's machine does.

use rpc_plugin_wire::Generation;

/// Why a process did not come to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpawnFailure {
    /// In words.
    pub reason: String,
    /// Whether the executable was open for writing (ETXTBSY), which passes.
    pub busy: bool,
    /// Whether the host lacks something, such as descriptors or processes: no fault of the plugin.
    pub shortage: bool,
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
}

impl From<String> for PrepareFailure {
    fn from(reason: String) -> PrepareFailure {
        PrepareFailure { reason, used: None, shortage: false }
    }
}
