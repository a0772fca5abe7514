//! Params of what a plugin asks of its host: `host.log`, `host.call`, `host.event`; and of `rpc.callback` (protocol
//! sections 4 and 5).

use crate::event::{Level, level_as_said};
use crate::ident::PluginId;
use crate::objects;
use crate::retry_limits::RetryLimits;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// Params of [`METHOD_LOG`](crate::life::METHOD_LOG).
#[derive(Debug, Clone, Deserialize)]
pub struct PluginLog {
    /// How much it matters, as loggers say it.
    #[serde(deserialize_with = "level_as_said")]
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

/// What a plugin calls through its host: [`METHOD_CALL`](crate::life::METHOD_CALL). One of `plugin_id` and `capability`.
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
    /// The limits within which the host repeats it, which says that it may.
    #[serde(default, deserialize_with = "objects::optional", skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryLimits>,
}

/// What a plugin tells whoever listens at the host: [`METHOD_EVENT`](crate::life::METHOD_EVENT).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostEvent {
    /// The plugin's own name for it, 1 to 64 bytes.
    pub name: String,
    /// What else there is to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

/// A call back into a call that is under way: [`METHOD_CALLBACK`](crate::life::METHOD_CALLBACK).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CallBack {
    /// The number that stood in the call's params.
    pub id: u64,
    /// With what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Box<RawValue>>,
}

/// For members that are left out where they say nothing.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
pub(crate) fn is_false(value: &bool) -> bool {
    !*value
}

/// For numbers that are left out where they are none.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
pub(crate) fn is_zero(value: &u32) -> bool {
    *value == 0
}
