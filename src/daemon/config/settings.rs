//! Every setting of the daemon in one table, from which file keys, flags and documentation come.
//!
//! What this file is for: [`DAEMON`], the settings of the daemon itself, [`LOG`], those of the record, and [`SINK`],
//! those of one of its sinks; beside [`POLICY`], those of a plugin. What it deliberately does not do: parse a command
//! line or a file.
//!
//! What always holds: every field of [`Limits`], [`LogSettings`] and [`SinkSettings`] has exactly one row.

use crate::eventlog::sinks::{BATCH_MAX, SinkOptions};
use crate::eventlog::{Durability, LogOptions, QUEUE_MAX_DEFAULT};
pub use crate::settings::{AUTO, Kind, POLICY, Setting, UNLIMITED, Value};
use crate::settings::{Checked, Field, WAIT, named_fields, settings};
use rpc_plugin_wire::event::Level;
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

named_fields!(Durability);

/// Names of [`Durability::ALL`]; a test holds them together.
const DURABILITIES: &[&str] = &["relaxed", "strict", "none"];
/// Names of [`Level::ALL`].
const LEVELS: &[&str] = &["debug", "info", "warn", "error"];

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
