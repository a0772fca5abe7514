//! What a plugin says about itself while it lives (protocol section 4), and the states that the host
//! keeps of it.

use crate::event::Level;
use crate::handshake::{HelloError, check_capabilities};
use crate::ident::{Generation, PluginId};
use crate::limits::VERSION_BYTES_MAX;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use std::fmt;
use std::str::FromStr;

/// The request for a heartbeat, which the host sends at each interval; answered with [`Heartbeat`].
pub const METHOD_HEARTBEAT: &str = "plugin.heartbeat";
/// The request for the capabilities, once after authentication; answered with [`Capabilities`].
pub const METHOD_CAPABILITIES: &str = "plugin.capabilities";
/// The request to end; answered with `{}`.
pub const METHOD_SHUTDOWN: &str = "plugin.shutdown";
/// Notification, or request that is answered with `{}`: a plugin has something for the host's record.
pub const METHOD_LOG: &str = "host.log";
/// Notification: the sender of a request wants it to end.
pub const METHOD_CANCEL: &str = "rpc.cancel";

/// Either side to the other, as a notification: a request is under way.
pub const METHOD_PROGRESS: &str = "rpc.progress";

/// The plugin to the host: call another plugin.
pub const METHOD_CALL: &str = "host.call";

/// The plugin to the host: something happened that others may want to know.
pub const METHOD_EVENT: &str = "host.event";

/// Either side to the other: call back into a call that is under way.
pub const METHOD_CALLBACK: &str = "rpc.callback";

/// Params of [`METHOD_LOG`].
#[derive(Debug, Clone, Deserialize)]
pub struct PluginLog {
    /// How much it matters.
    pub level: Level,
    /// One sentence for a person.
    pub message: String,
    /// The plugin's own name for what happened.
    #[serde(default)]
    pub event: Option<String>,
    /// The method that it is about.
    #[serde(default)]
    pub method: Option<String>,
    /// The id of the host's request that it is about.
    #[serde(default)]
    pub request: Option<u64>,
    /// What failed.
    #[serde(default)]
    pub error: Option<String>,
    /// What else a program may want to know.
    #[serde(default)]
    pub details: Option<Value>,
}

/// How a plugin says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum HealthStatus {
    /// Not ready for calls yet.
    Starting,
    /// The plugin takes calls.
    Healthy,
    /// The plugin takes calls, and reports a problem.
    Degraded,
    /// Alive, and wants no further calls for now.
    Overloaded,
    /// Alive, and cannot do its work.
    Unhealthy,
}

impl TryFrom<String> for HealthStatus {
    type Error = String;

    // By hand, because a derived enum would also take `{"healthy":null}`.
    fn try_from(text: String) -> Result<Self, String> {
        Ok(match text.as_str() {
            "starting" => HealthStatus::Starting,
            "healthy" => HealthStatus::Healthy,
            "degraded" => HealthStatus::Degraded,
            "overloaded" => HealthStatus::Overloaded,
            "unhealthy" => HealthStatus::Unhealthy,
            _ => {
                return Err(format!(
                    "{text:?} is not a status; one of starting, healthy, degraded, overloaded, unhealthy"
                ));
            }
        })
    }
}

/// `result` of `plugin.heartbeat`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// How it is.
    pub status: HealthStatus,
    /// Since it started. Milliseconds.
    #[serde(default)]
    pub uptime_ms: u64,
    /// Calls it has served.
    #[serde(default)]
    pub work_count: u64,
    /// When it last served one with success. Milliseconds since 1970 (UTC); absent: never.
    #[serde(default)]
    pub last_success_unix_ms: Option<u64>,
    /// Calls that failed.
    #[serde(default)]
    pub error_count: u64,
}

/// `result` of `plugin.capabilities`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Its id, which must match.
    pub plugin_id: PluginId,
    /// Its own version.
    pub version: String,
    /// Its generation, which must match.
    pub generation: Generation,
    /// What it can do.
    pub capabilities: Vec<String>,
}

impl Capabilities {
    /// Checks everything about it that needs no knowledge of whom the host launched.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn check(&self) -> Result<(), HelloError> {
        if self.version.len() > VERSION_BYTES_MAX {
            return Err(HelloError::TooMuch("version", self.version.len(), VERSION_BYTES_MAX));
        }
        check_capabilities(&self.capabilities)
    }
}

/// `params` of `rpc.cancel`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// The request that shall end.
    pub id: crate::request_id::RequestId,
}

/// How far a request is: [`METHOD_PROGRESS`].
#[derive(Debug, Clone, Deserialize)]
pub struct Progress {
    /// Of which request.
    pub id: crate::request_id::RequestId,
    /// What its handler says.
    pub value: Box<RawValue>,
}

/// What a plugin calls through its host: [`METHOD_CALL`]. One of `plugin_id` and `capability`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostCall {
    /// This plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_id: Option<PluginId>,
    /// Any plugin that has this capability and is healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<String>,
    /// What to call.
    pub method: String,
    /// With what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Box<RawValue>>,
    /// Whether the host may repeat it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub idempotent: bool,
}

/// For members that are left out where they say nothing.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
pub(crate) fn is_false(value: &bool) -> bool {
    !*value
}

/// What a plugin tells whoever listens at the host: [`METHOD_EVENT`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostEvent {
    /// The plugin's own name for it, 1 to 64 bytes.
    pub name: String,
    /// What else there is to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

/// A call back into a call that is under way: [`METHOD_CALLBACK`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CallBack {
    /// The number that stood in the call's params.
    pub id: u64,
    /// With what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Box<RawValue>>,
}

macro_rules! states {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// The state of a plugin as the host sees it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case", try_from = "String")]
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
        !matches!(self, PluginState::Stopped | PluginState::Backoff | PluginState::Failed)
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
