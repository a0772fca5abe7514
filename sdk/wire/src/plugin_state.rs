//! The states that a host keeps of a plugin, by the names that control clients and the record see.

use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

macro_rules! states {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// The state of a plugin as the host sees it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case", try_from = "String")]
        #[non_exhaustive]
        pub enum PluginState { $($(#[$doc])* $variant,)* }

        impl PluginState {
            /// Every state, in the order of a life.
            pub const ALL: &'static [PluginState] = &[$(PluginState::$variant,)*];

            /// The name on the wire and in tables.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(PluginState::$variant => $name,)* }
            }
        }
    };
}

states! {
    /// No process, and none wanted.
    Stopped = "stopped";
    /// Wanted up, and not launched before the plugins that it is started after take calls.
    Waiting = "waiting";
    /// From the decision to launch until the first good heartbeat.
    Starting = "starting";
    /// Trusted and routable.
    Healthy = "healthy";
    /// Routable, and says that something is not as it should be.
    Degraded = "degraded";
    /// Says that it wants no calls for now; calls are answered `overloaded`.
    Overloaded = "overloaded";
    /// Says that it cannot work, or misses heartbeats; not routable.
    Unhealthy = "unhealthy";
    /// Being ended.
    Stopping = "stopping";
    /// The plugin failed and waits for its next launch.
    Backoff = "backoff";
    /// The plugin is not launched again until an operator starts it.
    Failed = "failed";
}

impl PluginState {
    /// Whether calls are sent to a plugin in this state.
    #[must_use]
    pub fn is_routable(self) -> bool {
        matches!(self, PluginState::Healthy | PluginState::Degraded)
    }

    /// Whether there is, or is about to be, a process.
    #[must_use]
    pub fn is_up(self) -> bool {
        !matches!(
            self,
            PluginState::Stopped | PluginState::Waiting | PluginState::Backoff | PluginState::Failed
        )
    }

    /// The state as it stands in answers, for clients from before `waiting`: `starting` in its place.
    pub(crate) fn serialize_known<S: Serializer>(
        state: &PluginState,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let known = if *state == PluginState::Waiting { PluginState::Starting } else { *state };
        known.serialize(serializer)
    }
}

impl fmt::Display for PluginState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for PluginState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        PluginState::ALL.iter().find(|state| state.as_str() == text).copied().ok_or_else(|| {
            let names: Vec<&str> = PluginState::ALL.iter().map(|state| state.as_str()).collect();
            format!("{text:?} is not a state; one of {}", names.join(", "))
        })
    }
}

impl TryFrom<String> for PluginState {
    type Error = String;

    // By hand, because a derived enum would also take `{"healthy":null}`.
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// What the operator wants of a plugin, apart from the state it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Desired {
    /// A process shall run.
    Up,
    /// None shall.
    Down,
}

impl fmt::Display for Desired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Desired::Up => "up",
            Desired::Down => "down",
        })
    }
}
