//! The admin interface: what a control client asks the daemon, and what it answers.
//!
//! Same frames, same envelope, same error codes as between host and plugin. Every method takes an
//! object and answers with an object.

use crate::describe::MethodDescription;
use crate::error::{ErrorCode, ErrorObject};
use crate::ident::{Generation, PluginId};
use crate::life::{Desired, Heartbeat, PluginState};
use crate::services::{is_false, is_zero};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// `{}` → [`DaemonStatus`].
pub const METHOD_STATUS: &str = "admin.status";
/// `{}` → [`PluginList`].
pub const METHOD_PLUGINS: &str = "admin.plugins";
/// [`PluginRef`] → [`PluginStatus`].
pub const METHOD_PLUGIN: &str = "admin.plugin";
/// `{}` → [`RouteList`].
pub const METHOD_ROUTES: &str = "admin.routes";
/// [`PluginRef`] → [`HeartbeatReply`]: asks the plugin now.
pub const METHOD_HEARTBEAT: &str = "admin.heartbeat";
/// [`PluginRef`] → [`DescribeReply`]: what the plugin says of its methods.
pub const METHOD_DESCRIBE: &str = "admin.describe";
/// [`CallParams`] → the plugin's own result inside [`CallReply`].
pub const METHOD_CALL: &str = "admin.call";
/// [`ActParams`] → [`PluginStatus`] once the plugin is where the action leads, or at the deadline
/// `deadline_exceeded`.
pub const METHOD_START: &str = "admin.start";
/// [`StopParams`], else as [`METHOD_START`].
pub const METHOD_STOP: &str = "admin.stop";
/// As [`METHOD_START`].
pub const METHOD_RESTART: &str = "admin.restart";
/// [`WaitParams`] → [`PluginStatus`].
pub const METHOD_WAIT: &str = "admin.wait";
/// `{}` → `{}`; then the daemon ends.
pub const METHOD_SHUTDOWN: &str = "admin.shutdown";

/// Every admin method, for help, fuzzing and tests.
pub const METHODS: &[&str] = &[
    METHOD_STATUS,
    METHOD_PLUGINS,
    METHOD_PLUGIN,
    METHOD_ROUTES,
    METHOD_HEARTBEAT,
    METHOD_DESCRIBE,
    METHOD_CALL,
    METHOD_START,
    METHOD_STOP,
    METHOD_RESTART,
    METHOD_WAIT,
    METHOD_SHUTDOWN,
];

/// Deadline of an admin action that names none. Milliseconds.
pub const DEADLINE_MS_DEFAULT: u64 = 30_000;
/// Longest deadline an admin action may name. Milliseconds (a day).
pub const DEADLINE_MS_MAX: u64 = 86_400_000;

/// `params` of the methods that take none: an empty object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

/// Names a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginRef {
    /// The plugin.
    pub plugin_id: PluginId,
}

/// `params` of stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopParams {
    /// The plugin.
    pub plugin_id: PluginId,
    /// How long to wait for it. Milliseconds; 0 answers at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Whether the plugins that are started after it are stopped before it, where some run. Otherwise it is refused then.
    #[serde(default, skip_serializing_if = "is_false")]
    pub with_dependents: bool,
}

/// `params` of start and restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActParams {
    /// The plugin.
    pub plugin_id: PluginId,
    /// How long to wait for it. Milliseconds; 0 answers at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// `params` of wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitParams {
    /// The plugin.
    pub plugin_id: PluginId,
    /// The state to wait for.
    pub state: PluginState,
    /// How long. Milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// `params` of call.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallParams {
    /// The plugin; or, in its place, `capability`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_id: Option<PluginId>,
    /// A capability that the plugin has to serve; which one it is the daemon chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<String>,
    /// The method to call.
    pub method: String,
    /// Its params, passed on as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Box<RawValue>>,
    /// The call's deadline. Milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Whether the call may be executed more than once, so that the daemon may repeat it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub idempotent: bool,
    /// Whether to tell of its progress, as `rpc.progress` with the id of this request.
    #[serde(default, skip_serializing_if = "is_false")]
    pub progress: bool,
    /// Whether the client takes the file descriptors of the result: they come with the answer, which says in its `fds` how
    /// many. Otherwise they are closed, and `dropped` of the answer counts them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub take_fds: bool,
}

impl CallParams {
    /// Whether they name one of plugin and capability.
    ///
    /// # Errors
    /// `invalid_params`.
    pub fn check(&self) -> Result<(), ErrorObject> {
        if self.plugin_id.is_some() != self.capability.is_some() {
            return Ok(());
        }
        let text = "a call names a plugin_id or a capability: one of them, and not both";
        Err(ErrorObject::new(ErrorCode::InvalidParams, text))
    }
}

/// `result` of describe.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DescribeReply<M = Vec<MethodDescription>> {
    /// The plugin that said it.
    pub plugin_id: PluginId,
    /// The generation that said it.
    pub generation: Generation,
    /// Its methods, ordered by name.
    pub methods: M,
}

/// `result` of call.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CallReply {
    /// The plugin that answered.
    pub plugin_id: PluginId,
    /// The generation that answered.
    pub generation: Generation,
    /// What it answered, passed on as it came.
    pub result: Box<RawValue>,
    /// From the daemon's send to the answer. Microseconds.
    pub duration_us: u64,
    /// Streams and blobs that came with the result and were closed, since the request did not say `take_fds`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u32,
}

/// `result` of heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatReply {
    /// The plugin that answered.
    pub plugin_id: PluginId,
    /// The generation that answered.
    pub generation: Generation,
    /// What it answered.
    pub heartbeat: Heartbeat,
    /// From the daemon's send to the answer. Microseconds.
    pub duration_us: u64,
}

/// `result` of status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// The daemon's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Since it started. Milliseconds.
    pub uptime_ms: u64,
    /// Where its sockets and records are.
    pub runtime_dir: String,
    /// Plugins in its care.
    pub plugins: u32,
    /// Of these, routable ones.
    pub routable: u32,
    /// Of these, given up.
    pub failed: u32,
    /// Calls that wait for an answer now, over all plugins.
    pub calls_in_flight: u64,
    /// Idempotent calls that wait for their next try.
    #[serde(default)]
    pub calls_to_repeat: u64,
    /// Calls of plugins that services of the host work on.
    #[serde(default)]
    pub services_running: u64,
    /// Calls of plugins that wait for a thread of the services.
    #[serde(default)]
    pub services_waiting: u64,
    /// Whether the host takes no more calls.
    #[serde(default, skip_serializing_if = "is_false")]
    pub draining: bool,
    /// Calls made since the start, over all plugins.
    pub calls_total: u64,
    /// Control clients connected now.
    pub clients: u32,
    /// Events that could not be written.
    pub events_dropped: u64,
    /// Why it is ending, once it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<String>,
    /// What the host itself lacks now, with what to do: see `host_shortage`. What one plugin's launch lacks stands with that
    /// plugin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shortages: Vec<String>,
    /// The sinks of the record, in the order of the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sinks: Vec<SinkStatus>,
}

/// How one sink of the record does. Counts are since the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkStatus {
    /// Its name.
    pub name: String,
    /// What it is, such as `syslog`.
    pub kind: String,
    /// Events that it has taken.
    pub delivered: u64,
    /// Lines of the record that it has not been given yet, or has not read.
    pub behind: u64,
    /// Events that were removed, or damaged, before it took them.
    pub lost: u64,
    /// Events that it can never take, such as those that are too long for it.
    pub refused: u64,
    /// Whether the last attempt failed.
    pub is_failing: bool,
    /// What failed last, if something did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// `result` of plugin: all that is known about one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginStatus {
    /// Its id.
    pub plugin_id: PluginId,
    /// The state it is in. On the wire [`PluginState::Waiting`] is `starting` with `waits_for`, because clients from before know no
    /// other state; [`PluginStatus::shown_state`] tells them apart.
    #[serde(serialize_with = "PluginState::serialize_known")]
    pub state: PluginState,
    /// The state it should be in.
    pub desired: Desired,
    /// The current generation, or the last one; absent before the first.
    pub generation: Option<Generation>,
    /// Its process, while there is one.
    pub pid: Option<u32>,
    /// The executable as configured.
    pub executable: String,
    /// The plugin's own version, once it said so.
    pub version: Option<String>,
    /// Its SDK, once it said so.
    pub sdk: Option<String>,
    /// What it can do, once it said so.
    pub capabilities: Vec<String>,
    /// The version of each application interface that its connection uses.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub interfaces: BTreeMap<String, u32>,
    /// Since this generation's process was launched. Milliseconds.
    pub uptime_ms: Option<u64>,
    /// Replacements since the daemon started.
    pub restarts: u64,
    /// Until the next launch, in backoff. Milliseconds.
    pub next_launch_ms: Option<u64>,
    /// Why it is wanted up and not launched yet: it waits for others, for its turn, or for a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_waits: Option<String>,
    /// The plugins that it waits for while it is `waiting`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<PluginId>,
    /// When it is started, unless that is `auto`: `on-demand` or `manual`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Whether its configuration was replaced since this generation's launch: the next launch takes the new one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub reconfigured: bool,
    /// Calls that wait for an answer now.
    pub calls_in_flight: u64,
    /// Calls made since the daemon started.
    pub calls_total: u64,
    /// Of these, calls that ended with an error.
    pub calls_failed: u64,
    /// Answers that came after their call had ended.
    pub late_answers: u64,
    /// The last heartbeat's answer.
    pub heartbeat: Option<Heartbeat>,
    /// Since that answer. Milliseconds.
    pub heartbeat_age_ms: Option<u64>,
    /// Heartbeats missed in a row.
    pub heartbeats_missed: u32,
    /// Why the last generation ended, or the current one is not healthy.
    pub last_error: Option<String>,
    /// How the last of its processes ended, whatever came after; absent before the first end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<LastExit>,
}

impl PluginStatus {
    /// The state it is in, also where the status came over the wire.
    #[must_use]
    pub fn shown_state(&self) -> PluginState {
        match self.state {
            PluginState::Starting if !self.waits_for.is_empty() => PluginState::Waiting,
            state => state,
        }
    }
}

/// How a process of a plugin ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastExit {
    /// The generation that it was.
    pub generation: Generation,
    /// The same in words: `exit status 3`, `signal 9 (SIGKILL)`.
    pub text: String,
    /// The status that it exited with, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The number of the signal that ended it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Since its end. Milliseconds.
    pub age_ms: u64,
    /// The last lines that it printed to standard error. Left out of a list of plugins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stderr_tail: Vec<String>,
}

/// `result` of plugins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginList {
    /// Ordered by id.
    pub plugins: Vec<PluginStatus>,
}

/// One way to reach a capability.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The capability.
    pub capability: String,
    /// The plugin that serves it.
    pub plugin_id: PluginId,
    /// How a caller reaches it: `direct-plugin-id`, or `capability` for the one plugin that a call by the capability
    /// would go to now.
    pub mode: String,
    /// The plugin's state; `starting` for one that is `waiting`.
    #[serde(serialize_with = "PluginState::serialize_known")]
    pub health: PluginState,
    /// The plugin's generation.
    pub generation: Option<Generation>,
}

/// The mode of a route whose caller names the capability.
pub const ROUTE_MODE_CAPABILITY: &str = "capability";
/// The mode of a route whose caller names the plugin.
pub const ROUTE_MODE_DIRECT: &str = "direct-plugin-id";

/// `result` of routes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteList {
    /// Ordered by capability, then plugin.
    pub routes: Vec<Route>,
}
