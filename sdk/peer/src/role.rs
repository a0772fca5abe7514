//! Which side of a connection this one is.

use std::fmt;

/// The side of a connection that a part is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Launched the plugin.
    Host,
    /// Was launched.
    Plugin,
}

impl Role {
    /// The other side.
    #[must_use]
    pub fn other(self) -> Role {
        match self {
            Role::Host => Role::Plugin,
            Role::Plugin => Role::Host,
        }
    }

    /// Whether streams of that number are this side's: the host's are even, the plugin's odd.
    #[must_use]
    pub fn owns(self, stream: u64) -> bool {
        stream.is_multiple_of(2) == (self == Role::Host)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Host => "host",
            Role::Plugin => "plugin",
        })
    }
}
