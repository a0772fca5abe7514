//! What a plugin says about itself while it lives (protocol section 4), and the protocol's methods.

pub use crate::cancel::Cancel;
use crate::handshake::{HelloError, check_capabilities};
pub use crate::health_status::HealthStatus;
use crate::ident::{Generation, PluginId};
use crate::informational::{as_set, informational};
use crate::limits::VERSION_BYTES_MAX;
pub use crate::plugin_state::{Desired, PluginState};
pub use crate::services::{CallBack, HostCall, HostEvent, PluginLog};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

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

/// `result` of `plugin.heartbeat`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// How it is.
    pub status: HealthStatus,
    /// Since it started. Milliseconds.
    #[serde(default, deserialize_with = "informational")]
    pub uptime_ms: u64,
    /// Calls it has served.
    #[serde(default, deserialize_with = "informational")]
    pub work_count: u64,
    /// When it last served one with success. Milliseconds since 1970 (UTC); absent: never.
    #[serde(default, deserialize_with = "informational")]
    pub last_success_unix_ms: Option<u64>,
    /// Calls that failed.
    #[serde(default, deserialize_with = "informational")]
    pub error_count: u64,
}

/// `result` of `plugin.capabilities`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Its id, which must match.
    pub plugin_id: PluginId,
    /// Its own version.
    #[serde(deserialize_with = "informational")]
    pub version: String,
    /// Its generation, which must match.
    pub generation: Generation,
    /// What it can do.
    #[serde(deserialize_with = "as_set")]
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

/// How far a request is: [`METHOD_PROGRESS`].
#[derive(Debug, Clone, Deserialize)]
pub struct Progress {
    /// Of which request.
    pub id: crate::request_id::RequestId,
    /// What its handler says.
    pub value: Box<RawValue>,
}
