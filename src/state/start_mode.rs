//! When a plugin is started.

use std::fmt;

/// When a plugin is started, as its configuration or its package says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StartMode {
    /// With the daemon; by a program that embeds the library, when it says so.
    #[default]
    Auto,
    /// By the first call.
    OnDemand,
    /// By an operator or the embedding program.
    Manual,
}

impl StartMode {
    /// Every mode, with the name that it has in files.
    pub const ALL: &'static [(StartMode, &'static str)] =
        &[(StartMode::Auto, "auto"), (StartMode::OnDemand, "on-demand"), (StartMode::Manual, "manual")];

    /// The name in files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        let known = StartMode::ALL.iter().find(|(mode, _)| *mode == self);
        known.map_or("", |(_, name)| name)
    }
}

impl fmt::Display for StartMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
