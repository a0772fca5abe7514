//! Every setting of the daemon in one table, from which file keys, flags and documentation come.
//!
//! What this file is for: [`POLICY`], the settings of a plugin, [`DAEMON`], those of the daemon itself,
//! [`LOG`], those of the record, and [`SINK`], those of one of its sinks; reading one from a text and showing it. What it deliberately does not do: parse a command
//! line or a file.
//!
//! What always holds: every field of [`Policy`], [`Limits`] and [`LogSettings`] has exactly one row; what a row
//! shows, it reads back as the same value; a row takes no value outside of what it says is allowed.
//! Whether settings contradict each other is for [`Policy::check`].

pub use super::value::{AUTO, Kind, UNLIMITED, Value};
use super::value::{Checked, show_bytes};
use crate::eventlog::sinks::{BATCH_MAX, SinkOptions};
use crate::eventlog::{Durability, LogOptions, QUEUE_MAX_DEFAULT};
use crate::state::policy::{OUTPUT_BYTES_RANGE, Policy, RestartPolicy, RpcAudit, Transport};
use rpc_plugin_wire::event::Level;
use rpc_plugin_wire::limits::FRAME_BYTES_MAX_RANGE;
use std::time::Duration;

/// What the daemon itself may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Control clients that may be connected at once.
    pub admin_clients_max: usize,
    /// Events that may wait to be written to the record.
    pub event_queue_max: usize,
    /// Plugins that may be starting at once; `None`: two for each core, at least 4.
    pub starting_max: Option<usize>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { admin_clients_max: 64, event_queue_max: QUEUE_MAX_DEFAULT, starting_max: None }
    }
}

/// How the record is kept, as far as one value says it. See [`LogOptions`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct LogSettings {
    pub durability: Durability,
    pub sync_interval: Duration,
    pub hold_max: Duration,
    pub file_bytes_max: usize,
    pub files_max: usize,
    pub file_age_max: Duration,
    pub chain: bool,
    pub compress: bool,
}

impl Default for LogSettings {
    fn default() -> LogSettings {
        let options = LogOptions::default();
        LogSettings {
            durability: options.durability,
            sync_interval: options.sync_interval,
            hold_max: options.hold_max,
            file_bytes_max: usize::try_from(options.file_bytes_max).unwrap_or(usize::MAX),
            files_max: options.files_max,
            file_age_max: options.file_age_max,
            chain: options.chain,
            compress: options.compress,
        }
    }
}

/// What is handed over to a sink of the record, and how patiently. See [`SinkOptions`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SinkSettings {
    pub level: Level,
    pub host: bool,
    pub batch_max: usize,
    pub timeout: Duration,
    pub backoff_initial: Duration,
    pub backoff_max: Duration,
}

impl Default for SinkSettings {
    fn default() -> SinkSettings {
        SinkSettings::of(&SinkOptions::new(""))
    }
}

impl SinkSettings {
    /// Those of a sink.
    #[must_use]
    pub fn of(options: &SinkOptions) -> SinkSettings {
        let SinkOptions { level, host, batch_max, timeout, backoff_initial, backoff_max, .. } = *options;
        SinkSettings { level, host, batch_max, timeout, backoff_initial, backoff_max }
    }
}

/// One setting of `T`.
pub struct Setting<T: 'static> {
    /// Its key in the configuration file.
    pub key: &'static str,
    /// Its flag, without the leading `--`.
    pub flag: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// One sentence, for help and documentation.
    pub doc: &'static str,
    apply: fn(&mut T, Checked),
    read: fn(&T) -> Checked,
}

/// A type of field that settings can have.
trait Field {
    fn put(&mut self, value: Checked);
    fn get(&self) -> Checked;
}

impl Field for Duration {
    fn put(&mut self, value: Checked) {
        if let Checked::Duration(duration) = value {
            *self = duration;
        }
    }
    fn get(&self) -> Checked {
        Checked::Duration(*self)
    }
}

impl Field for usize {
    fn put(&mut self, value: Checked) {
        if let Checked::Number(number) = value {
            *self = usize::try_from(number).unwrap_or(usize::MAX);
        }
    }
    fn get(&self) -> Checked {
        Checked::Number(*self as u64)
    }
}

/// A number that may be left to the daemon.
impl Field for Option<usize> {
    fn put(&mut self, value: Checked) {
        *self = match value {
            Checked::Number(number) => Some(usize::try_from(number).unwrap_or(usize::MAX)),
            _ => None,
        };
    }
    fn get(&self) -> Checked {
        self.map_or(Checked::Word(AUTO), |number| Checked::Number(number as u64))
    }
}

impl Field for u32 {
    fn put(&mut self, value: Checked) {
        match value {
            Checked::Number(number) => *self = u32::try_from(number).unwrap_or(u32::MAX),
            Checked::Word(UNLIMITED) => *self = Policy::RESTARTS_UNLIMITED,
            _ => {}
        }
    }
    fn get(&self) -> Checked {
        match *self {
            Policy::RESTARTS_UNLIMITED => Checked::Word(UNLIMITED),
            number => Checked::Number(u64::from(number)),
        }
    }
}

impl Field for bool {
    fn put(&mut self, value: Checked) {
        if let Checked::Switch(switch) = value {
            *self = switch;
        }
    }
    fn get(&self) -> Checked {
        Checked::Switch(*self)
    }
}

impl Field for Level {
    fn put(&mut self, value: Checked) {
        if let Checked::Word(word) = value
            && let Some(level) = Level::named(word)
        {
            *self = level;
        }
    }
    fn get(&self) -> Checked {
        Checked::Word(self.as_str())
    }
}

/// Types with a list of their values and names.
macro_rules! named_fields {
    ($($type:ident)*) => {
        $(impl Field for $type {
            fn put(&mut self, value: Checked) {
                if let Checked::Word(word) = value
                    && let Some((named, _)) = $type::ALL.iter().find(|(_, name)| *name == word)
                {
                    *self = *named;
                }
            }
            fn get(&self) -> Checked {
                let named = $type::ALL.iter().find(|(named, _)| named == self);
                Checked::Word(named.map_or("", |(_, name)| *name))
            }
        })*
    };
}

named_fields!(RestartPolicy RpcAudit Transport Durability);

macro_rules! settings {
    ($(#[$doc:meta])* $table:ident of $type:ident; $($key:ident $flag:literal $kind:expr, $text:literal;)*) => {
        $(#[$doc])*
        pub static $table: &[Setting<$type>] = &[$(Setting {
            key: stringify!($key),
            flag: $flag,
            kind: $kind,
            doc: $text,
            apply: |target, value| target.$key.put(value),
            read: |source| source.$key.get(),
        },)*];

        impl $type {
            /// Does nothing. A field without a row, or a row without a field, does not compile.
            const _EVERY_FIELD_HAS_A_ROW: fn($type) = |value| { let $type { $($key: _,)* } = value; };
        }
    };
}

const WAIT: Kind = Kind::Duration { zero: None };
/// Names of [`RestartPolicy::ALL`]; a test holds them together.
const RESTARTS: &[&str] = &["always", "on-failure", "never"];
/// Names of [`Transport::ALL`].
const TRANSPORTS: &[&str] = &["unix", "fd", "stdio"];
/// Names of [`RpcAudit::ALL`], and of [`Durability::ALL`].
const AUDITS: &[&str] = &["off", "failures", "all"];
const DURABILITIES: &[&str] = &["relaxed", "strict", "none"];
/// Names of [`Level::ALL`].
const LEVELS: &[&str] = &["debug", "info", "warn", "error"];

settings! {
    /// The settings of a plugin: in `defaults` and in each plugin of the file, and as flags.
    POLICY of Policy;
    restart "restart" Kind::Choice(RESTARTS),
        "When a plugin whose process ended by itself is restarted.";
    prepare_timeout "prepare-timeout" WAIT,
        "Deadline of preparing a launch, from when a thread begins with it; and then of executing it.";
    connect_timeout "connect-timeout" WAIT,
        "Deadline from the launch until the plugin has connected.";
    hello_timeout "hello-timeout" WAIT,
        "Deadline from the connection until the whole hello has arrived.";
    ready_timeout "ready-timeout" WAIT,
        "Deadline from the hello until capabilities and the first good heartbeat have arrived.";
    heartbeat_interval "heartbeat-interval" Kind::Duration { zero: Some("no heartbeats") },
        "Time between heartbeats.";
    heartbeat_timeout "heartbeat-timeout" WAIT,
        "Deadline of one heartbeat; not longer than `heartbeat_interval`.";
    heartbeat_misses_max "heartbeat-misses-max" Kind::Count(1, 1000),
        "Heartbeats in a row that may be missed or report `unhealthy` before the plugin is replaced.";
    shutdown_grace "shutdown-grace" Kind::Duration { zero: Some("SIGTERM at once") },
        "Time from the shutdown request until SIGTERM.";
    term_grace "term-grace" Kind::Duration { zero: Some("SIGKILL at once") },
        "Time from SIGTERM until SIGKILL.";
    backoff_initial "backoff-initial" WAIT,
        "First wait before a restart that is not immediate; it doubles with each failure in a row.";
    backoff_max "backoff-max" WAIT,
        "Longest wait before a restart; not shorter than `backoff_initial`.";
    backoff_jitter_percent "backoff-jitter-percent" Kind::Count(0, 50),
        "Random deviation of such a wait, up or down, in percent.";
    healthy_stretch "healthy-stretch" WAIT,
        "A plugin that was healthy this long counts as recovered: its row of failures ends.";
    restarts_max "restarts-max" Kind::CountOr(0, 1000, UNLIMITED),
        "Restarts within `restart_window` before the plugin is `failed`; must be reachable in that time.";
    restart_window "restart-window" WAIT,
        "Time within which restarts are counted against `restarts_max`.";
    call_timeout "call-timeout" WAIT,
        "Deadline of a call that sets none.";
    cancel_grace "cancel-grace" WAIT,
        "How long a call may stay unanswered beyond its deadline and `call_timeout` before its plugin is restarted.";
    calls_in_flight_max "calls-in-flight-max" Kind::Count(1, 1 << 20),
        "Most unanswered calls to a plugin at once; a further one ends `overloaded`.";
    outbox_bytes_max "outbox-bytes-max" Kind::Bytes(0, 1 << 30),
        "Most bytes that wait to be sent to a plugin; more than `frame_bytes_max`.";
    frame_bytes_max "frame-bytes-max"
        Kind::Bytes(*FRAME_BYTES_MAX_RANGE.start() as u64, *FRAME_BYTES_MAX_RANGE.end() as u64),
        "Largest frame to or from a plugin.";
    rpc_audit "rpc-audit" Kind::Choice(AUDITS),
        "Which calls are recorded; params and results never are.";
    output_bytes_per_second_max "output-bytes-per-second-max"
        Kind::Bytes(*OUTPUT_BYTES_RANGE.start() as u64, *OUTPUT_BYTES_RANGE.end() as u64),
        "Most bytes a second that are recorded of each of stdout and stderr; more is dropped and counted.";
    transport "transport" Kind::Choice(TRANSPORTS),
        "How a plugin is connected: by its socket, an inherited descriptor, or its stdin and stdout.";
}

settings! {
    /// The settings of the daemon itself: at the top of the file, and as flags.
    DAEMON of Limits;
    admin_clients_max "admin-clients-max" Kind::Count(1, 1024),
        "Most control clients that are connected at once.";
    event_queue_max "event-queue-max" Kind::Count(16, 1 << 20),
        "Most events that wait to be written to the record; a further one is dropped and counted.";
    starting_max "starting-max" Kind::CountOr(1, 4096, AUTO),
        "Most plugins that are starting at once; others wait for their turn. `auto`: two for each core, at least 4.";
}

settings! {
    /// The settings of the record: in `log` of the file, and as flags.
    LOG of LogSettings;
    durability "log-durability" Kind::Choice(DURABILITIES),
        "When events are synced to the disk. Answers wait for that with `strict`, for write(2) with `relaxed`.";
    sync_interval "log-sync-interval" WAIT,
        "With `relaxed`: longest time that an event below level warn stays unsynced.";
    hold_max "log-hold-max" WAIT,
        "With `relaxed` and `strict`: longest time that an answer waits for its record; then it is sent, and counted.";
    file_bytes_max "log-file-bytes-max" Kind::Bytes(64 * 1024, 1 << 30),
        "Size at which a file of the record is rotated; it never becomes larger.";
    files_max "log-files-max" Kind::Count(2, 64),
        "Most files of one record (each plugin has one, and the daemon), the current file included; the oldest is removed.";
    file_age_max "log-file-age-max" Kind::Duration { zero: Some("never") },
        "A file whose first event is older is rotated with the next event.";
    chain "log-chain" Kind::Switch,
        "Whether each line carries the hash of the line before.";
    compress "log-compress" Kind::Switch,
        "Whether rotated files are packed, but the newest; needs `files_max` of at least 3.";
}

settings! {
    /// The settings of a sink of the record: in each element of `log.sinks` of the file. They have no flags.
    SINK of SinkSettings;
    level "" Kind::Choice(LEVELS),
        "Lowest level of events that are sent.";
    host "" Kind::Switch,
        "Whether the daemon's own events are sent too.";
    batch_max "" Kind::Count(1, BATCH_MAX as u64),
        "Most events sent at once.";
    timeout "" WAIT,
        "How long the sink may accept nothing before the attempt counts as failed.";
    backoff_initial "" WAIT,
        "First wait after a failure; it doubles with each further one.";
    backoff_max "" WAIT,
        "Longest such wait.";
}

impl<T> Setting<T> {
    /// Reads a value and puts it into `target`; a refused one changes nothing.
    ///
    /// # Errors
    /// Says what is wrong with the value; [`Setting::allowed`] says what would be right.
    pub fn set(&self, target: &mut T, value: Value<'_>) -> Result<(), String> {
        (self.apply)(target, self.kind.check(value)?);
        Ok(())
    }

    /// The value as it would be written.
    #[must_use]
    pub fn show(&self, source: &T) -> String {
        match (self.read)(source) {
            Checked::Duration(duration) => humantime::format_duration(duration).to_string(),
            Checked::Word(word) => word.to_owned(),
            Checked::Switch(switch) => switch.to_string(),
            Checked::Number(number) if matches!(self.kind, Kind::Bytes(..)) => show_bytes(number),
            Checked::Number(number) => number.to_string(),
        }
    }

    /// The value as it stands in a file: a number where a number is meant.
    #[must_use]
    pub fn show_json(&self, source: &T) -> serde_json::Value {
        match (self.kind, (self.read)(source)) {
            (Kind::Count(..) | Kind::CountOr(..), Checked::Number(number)) => number.into(),
            (_, Checked::Switch(switch)) => switch.into(),
            _ => self.show(source).into(),
        }
    }

    /// Whether both have the same value of this setting.
    #[must_use]
    pub fn is_same(&self, one: &T, other: &T) -> bool {
        (self.read)(one) == (self.read)(other)
    }

    /// Gives `target` the value that `source` has.
    pub fn copy(&self, source: &T, target: &mut T) {
        (self.apply)(target, (self.read)(source));
    }

    /// What is allowed, for error messages and documentation.
    #[must_use]
    pub fn allowed(&self) -> String {
        self.kind.to_string()
    }

    /// What stands for the value in help: `--heartbeat-interval DURATION`.
    #[must_use]
    pub fn placeholder(&self) -> &'static str {
        match self.kind {
            Kind::Duration { .. } => "DURATION",
            Kind::Count(..) | Kind::CountOr(..) => "N",
            Kind::Bytes(..) => "BYTES",
            Kind::Choice(_) => "WORD",
            Kind::Switch => "BOOL",
        }
    }
}

/// What help and the command line need of a setting, of whichever table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagRow {
    /// The flag, without the leading `--`.
    pub flag: &'static str,
    /// What stands for its value in help.
    pub placeholder: &'static str,
    /// One sentence.
    pub doc: &'static str,
    /// What is allowed.
    pub allowed: String,
    /// The value without the flag.
    pub default: String,
}

/// Every setting as a flag; each takes one value.
#[must_use]
pub fn flag_rows() -> Vec<FlagRow> {
    fn rows<T: Default>(table: &[Setting<T>]) -> impl Iterator<Item = FlagRow> {
        table.iter().map(|setting| FlagRow {
            flag: setting.flag,
            placeholder: setting.placeholder(),
            doc: setting.doc,
            allowed: setting.allowed(),
            default: setting.show(&T::default()),
        })
    }
    rows(POLICY).chain(rows(DAEMON)).chain(rows(LOG)).collect()
}
