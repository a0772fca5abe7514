//! The record's schema: one JSON object a line in `events.jsonl`, the same for host and plugins.
//!
//! What it deliberately does not do: write, rotate or read files; the host's event log does.

use crate::cut::shown;
use crate::ident::{Generation, PluginId};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::fmt;

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Level {
    /// For who looks closely.
    Debug,
    /// The ordinary course.
    Info,
    /// Something was wrong and was dealt with.
    Warn,
    /// Something failed.
    Error,
}

impl Level {
    /// Every level, the least first.
    pub const ALL: [Level; 4] = [Level::Debug, Level::Info, Level::Warn, Level::Error];

    /// The level of that name; `None` for one that this version does not know.
    #[must_use]
    pub fn named(name: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.as_str() == name)
    }

    /// The level that loggers call so, in any case: `WARNING`, `err`, `fatal`, `notice`; with an offset too, as in `INFO+2`.
    #[must_use]
    pub fn said(name: &str) -> Option<Level> {
        const NAMES: [(&str, Level); 24] = [
            ("trace", Level::Debug),
            ("debug", Level::Debug),
            ("verbose", Level::Debug),
            ("silly", Level::Debug),
            ("dbg", Level::Debug),
            ("info", Level::Info),
            ("information", Level::Info),
            ("informational", Level::Info),
            ("notice", Level::Info),
            ("default", Level::Info),
            ("warn", Level::Warn),
            ("warning", Level::Warn),
            ("wrn", Level::Warn),
            ("error", Level::Error),
            ("err", Level::Error),
            ("severe", Level::Error),
            ("critical", Level::Error),
            ("crit", Level::Error),
            ("fatal", Level::Error),
            ("panic", Level::Error),
            ("dpanic", Level::Error),
            ("alert", Level::Error),
            ("emergency", Level::Error),
            ("emerg", Level::Error),
        ];
        let name = name.split(['+', '-']).next().unwrap_or(name);
        NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, level)| *level)
    }

    /// The name in the record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

/// Which part of the host speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Component {
    /// Processes: launch, exit, signals, files.
    Kernel,
    /// Messages and calls.
    Rpc,
    /// Proof of identity.
    Auth,
    /// The plugin's life: states, health, restarts.
    Runtime,
    /// Operators' actions.
    Admin,
    /// Captured standard output.
    Stdout,
    /// Captured standard error.
    Stderr,
    /// The plugin itself, in words of its author.
    Plugin,
}

impl Component {
    /// The name in the record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Component::Kernel => "kernel",
            Component::Rpc => "rpc",
            Component::Auth => "auth",
            Component::Runtime => "runtime",
            Component::Admin => "admin",
            Component::Stdout => "stdout",
            Component::Stderr => "stderr",
            Component::Plugin => "plugin",
        }
    }
}

/// Reads a level as loggers write it; see [`Level::said`].
pub(crate) fn level_as_said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Level, D::Error> {
    let name = String::deserialize(deserializer)?;
    Level::said(&name).ok_or_else(|| {
        D::Error::custom(format_args!("{:?} is no level; one of debug, info, warn, error", shown(&name, 80)))
    })
}

macro_rules! events {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $component:ident, $level:ident;)*) => {
        /// Every event that the host records.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum EventKind { $($(#[$doc])* $variant,)* }

        impl EventKind {
            /// Every kind, in the order of a life.
            pub const ALL: &'static [EventKind] = &[$(EventKind::$variant,)*];

            /// The name in the record.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(EventKind::$variant => $name,)* }
            }

            /// The part of the host that speaks.
            #[must_use]
            pub fn component(self) -> Component {
                match self { $(EventKind::$variant => Component::$component,)* }
            }

            /// How much it matters.
            #[must_use]
            pub fn level(self) -> Level {
                match self { $(EventKind::$variant => Level::$level,)* }
            }
        }
    };
}

events! {
    /// A plugin was added to the host.
    PluginAdded = "plugin_added", Runtime, Info;
    /// The configuration of a plugin was replaced. Its next launch takes the new one as a whole.
    PluginReconfigured = "plugin_reconfigured", Runtime, Info;
    /// A plugin was removed from the host.
    PluginRemoved = "plugin_removed", Runtime, Info;
    /// Files and processes that a dead host left behind were removed.
    LeftoversSwept = "leftovers_swept", Kernel, Warn;
    /// A version of a package was installed, and is the active one.
    PackageInstalled = "package_installed", Runtime, Info;
    /// Another version of a package is the active one: a stored one, or that in its folder.
    PackageActivated = "package_activated", Runtime, Info;
    /// A version on trial was healthy for a minute, and is kept.
    PackageKept = "package_kept", Runtime, Info;
    /// A version on trial failed: the version that was healthy last is the active one again.
    PackageRolledBack = "package_rolled_back", Runtime, Warn;
    /// A version on trial failed and stays, as there is no version to go back to.
    PackageTrialFailed = "package_trial_failed", Runtime, Warn;
    /// Versions of a package were removed from the store.
    PackageRemoved = "package_removed", Runtime, Info;
    /// A package was found in a folder of `plugins_dirs`, or is as it was imported again.
    PackageFound = "package_found", Runtime, Info;
    /// The files of a package in a folder of `plugins_dirs` are others than those that run.
    PackageChanged = "package_changed", Runtime, Info;
    /// The folder of a package is gone. What was imported of it runs on until it is stopped.
    PackageGone = "package_gone", Runtime, Warn;
    /// A package's plugin may not run.
    PackageInvalid = "package_invalid", Runtime, Warn;
    /// A launch was prepared: generation number and token written, socket listening, executable checked.
    LaunchPrepared = "launch_prepared", Kernel, Info;
    /// The executable of a launch, or its interpreter, has file capabilities. The kernel clears the parent-death signal of such a
    /// program, so it may outlive a host that is killed.
    ExecutableHasCapabilities = "executable_has_capabilities", Kernel, Warn;
    /// A launch is confined less than its plugin's policy says, because this kernel cannot do it.
    ConfinementLacks = "confinement_lacks", Kernel, Warn;
    /// A generation waits for its process to be started by hand.
    Awaited = "awaited", Kernel, Info;
    /// The plugin's process was launched.
    Launched = "launched", Kernel, Info;
    /// A generation ended before its process ran.
    LaunchFailed = "launch_failed", Kernel, Error;
    /// The process that was launched is awaited on the generation's socket.
    ConnectionAwaited = "connection_awaited", Auth, Debug;
    /// A process connected to the generation's socket.
    Connected = "connected", Auth, Debug;
    /// A connection was refused; the generation still waits for its own process.
    ConnectionRefused = "connection_refused", Auth, Warn;
    /// The proof of identity began: the plugin's `host.hello` is awaited.
    AuthenticationStarted = "authentication_started", Auth, Debug;
    /// The proof of identity succeeded: token, id, generation and versions are right.
    Authenticated = "authenticated", Auth, Info;
    /// The proof of identity failed.
    AuthenticationFailed = "authentication_failed", Auth, Error;
    /// The plugin was asked for its capabilities.
    CapabilitiesRequested = "capabilities_requested", Runtime, Debug;
    /// The plugin reported its capabilities.
    CapabilitiesReported = "capabilities_reported", Runtime, Info;
    /// The plugin's state changed.
    StateChanged = "state_changed", Runtime, Info;
    /// A plugin was used by nobody for as long as `idle_stop` says. It is stopped, and the next call starts it.
    PluginIdle = "plugin_idle", Runtime, Info;
    /// A heartbeat was not answered in time, or with an error.
    HeartbeatMissed = "heartbeat_missed", Runtime, Warn;
    /// A peer broke the protocol; its connection ends.
    ProtocolViolation = "protocol_violation", Rpc, Error;
    /// A frame came that is no message. It cost what it was about, and nothing else.
    BadFrame = "bad_frame", Rpc, Warn;
    /// A member of a hello or heartbeat that only informs has another type than the protocol gives it, and is ignored. Once for
    /// each member and generation.
    MemberIgnored = "member_ignored", Rpc, Info;
    /// An answer came for a call that had ended; it was dropped.
    LateAnswer = "late_answer", Rpc, Warn;
    /// A call's deadline passed.
    CallTimedOut = "call_timed_out", Rpc, Warn;
    /// A cancelled call was not answered in time; the connection cannot be trusted any more.
    ConnectionPoisoned = "connection_poisoned", Rpc, Error;
    /// A call was sent to the plugin. Only with `rpc_audit` `all`.
    CallStarted = "call_started", Rpc, Debug;
    /// A call was answered with a result. Only with `rpc_audit` `all`.
    CallSucceeded = "call_succeeded", Rpc, Debug;
    /// A call failed otherwise than by its deadline.
    CallFailed = "call_failed", Rpc, Warn;
    /// An idempotent call that did not succeed is sent again.
    CallRepeated = "call_repeated", Rpc, Info;
    /// A call that the plugin made of another one failed (`host.call`). In the record of the plugin that called.
    HostCallFailed = "host_call_failed", Rpc, Warn;
    /// The connection ended.
    ConnectionLost = "connection_lost", Rpc, Warn;
    /// The plugin was asked to end.
    ShutdownRequested = "shutdown_requested", Runtime, Info;
    /// A signal was sent to the plugin's process group.
    SignalSent = "signal_sent", Kernel, Warn;
    /// Processes that left their plugin's group, and outlived it, were sent SIGKILL.
    OrphansKilled = "orphans_killed", Kernel, Warn;
    /// A generation that was started by hand is over; its process is left alone.
    LetGo = "let_go", Kernel, Info;
    /// The process ended.
    Exited = "exited", Kernel, Info;
    /// What was made for a generation whose process ran is removed: its socket, its token file, its connection.
    CleanupCompleted = "cleanup_completed", Kernel, Debug;
    /// A restart is scheduled.
    RestartScheduled = "restart_scheduled", Runtime, Warn;
    /// The plugin is `failed`: it is not restarted until an operator acts or, after a permanent failure, its files have changed.
    GaveUp = "gave_up", Runtime, Error;
    /// An operator acted through the admin socket.
    AdminAction = "admin_action", Admin, Info;
    /// An admin connection or action was refused.
    AdminDenied = "admin_denied", Admin, Warn;
    /// The host's process got a signal that does not end it.
    SignalIgnored = "signal_ignored", Admin, Info;
    /// The host started.
    HostStarted = "host_started", Runtime, Info;
    /// The host ended. Its last event.
    HostStopped = "host_stopped", Runtime, Info;
    /// Something in the environment failed, and the host goes on.
    HostFault = "host_fault", Kernel, Error;
    /// The host lacks descriptors, processes, memory, room on a disk, or a disk that works. What it was needed for waits and is tried again.
    HostShortage = "host_shortage", Kernel, Error;
    /// The host did not run for a while (stopped, frozen, starved of the processor), or the machine was suspended. No deadline
    /// passes meanwhile.
    HostStoodStill = "host_stood_still", Kernel, Warn;
    /// The runtime folder, its lock or an admin socket was removed or replaced, and was made again.
    RuntimeDirMade = "runtime_dir_made", Kernel, Error;
    /// The host has again what it lacked.
    HostShortageOver = "host_shortage_over", Kernel, Info;
    /// The record ended in the middle of a line, which was removed.
    RecordRepaired = "record_repaired", Kernel, Warn;
    /// Events are missing before this one, or may be missing after a power failure.
    RecordGap = "record_gap", Kernel, Warn;
    /// A sink of the record cannot be reached, or takes nothing. Its events are kept for it as long as the record keeps them.
    SinkFailed = "sink_failed", Kernel, Warn;
    /// The sink takes events again.
    SinkRecovered = "sink_recovered", Kernel, Info;
    /// Events were removed from the record, or were in a damaged part of a packed file, before a sink took them.
    SinkGap = "sink_gap", Kernel, Warn;
    /// A line that the plugin printed to standard output.
    Stdout = "stdout", Stdout, Info;
    /// A line that the plugin printed to standard error.
    Stderr = "stderr", Stderr, Info;
    /// An event that the plugin sent to the host's record (`host.log`).
    PluginLogged = "plugin_logged", Plugin, Info;
    /// An event that the plugin sent to the host's subscribers (`host.event`).
    PluginEvent = "plugin_event", Plugin, Info;
    /// So much comes from the plugin that nobody asked for that the host does not read it all the time. Told once a minute.
    ReadingPaused = "reading_paused", Runtime, Warn;
    /// Printed lines were dropped because they came too fast.
    OutputDropped = "output_dropped", Kernel, Warn;
}

impl EventKind {
    /// Whether it tells of the life of host or plugin, or of what an operator did. Where there is no room for all events,
    /// these have room of their own.
    #[must_use]
    pub fn is_lifecycle(self) -> bool {
        match self.component() {
            Component::Kernel | Component::Auth | Component::Runtime | Component::Admin => {
                self != EventKind::OutputDropped
            }
            Component::Rpc => matches!(
                self,
                EventKind::ProtocolViolation | EventKind::ConnectionPoisoned | EventKind::ConnectionLost
            ),
            Component::Stdout | Component::Stderr | Component::Plugin => false,
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One line of the record. Absent members are left out.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct Record {
    /// RFC 3339, UTC, milliseconds.
    pub time: String,
    /// Its number in its file and those that were rotated out of it: from 1, one more for each line, so
    /// that a gap shows. Absent in records from before numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// Which part speaks.
    pub component: String,
    /// What happened: a name of [`EventKind`].
    pub event: String,
    /// The plugin it happened to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_id: Option<PluginId>,
    /// The generation it happened to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation_id: Option<Generation>,
    /// The process it happened to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The socket it happened on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket_path: Option<String>,
    /// The capability that the method belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability_id: Option<String>,
    /// What somebody asked for, of which this is a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
    /// The same in all events of one call, also in the plugin's own record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The method it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// How it ended: `ok` or `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// How long it took. Milliseconds, to the microsecond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<f64>,
    /// The class of the error: a name of the protocol's error table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_class: Option<String>,
    /// One sentence for a person.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What else a program may want to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<RawValue>>,
    /// In a hash chain: the SHA-256 of the line before, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev: Option<String>,
}
