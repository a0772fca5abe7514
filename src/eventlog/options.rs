//! How the record is kept: what an operator or an embedding program may decide about it.
//!
//! What it deliberately does not do: read a configuration; `daemon/` does.

use rpc_plugin_record::{LINE_BYTES_MAX, PackLimits, StreamOptions};
use std::time::Duration;

/// How sure an event is to survive the end of the host's process, and a power failure. What was handed to the kernel
/// survives the former in every mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// What is on record is answered only when it was handed to the kernel. Synced, beside that, at most once in
    /// [`LogOptions::sync_interval`], and at once for events of level warn and above.
    #[default]
    Relaxed,
    /// Synced as soon as possible; what is on record is answered only when it is on the disk.
    Strict,
    /// Never synced by the host, and nothing waits for it; the kernel writes when it likes.
    None,
}

impl Durability {
    /// Every mode with its name in configurations.
    pub const ALL: [(Durability, &'static str); 3] =
        [(Durability::Relaxed, "relaxed"), (Durability::Strict, "strict"), (Durability::None, "none")];
}

/// Most events that wait for the writer, unless the host says otherwise. Of these one party has 3/8 at the most.
pub const QUEUE_MAX_DEFAULT: usize = 16384;

/// The least [`LogOptions::files_max`] with [`LogOptions::compress`]: the current file, the newest rotated one, and
/// one that is being packed.
pub const COMPRESS_FILES_MIN: usize = 3;

/// What may be decided about the record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct LogOptions {
    /// When events are synced, and what waits for it.
    pub durability: Durability,
    /// The longest time that an event of level info or debug stays unsynced, in mode relaxed.
    pub sync_interval: Duration,
    /// In modes relaxed and strict: how long an answer is held for its record. Then it is released, and counted.
    pub hold_max: Duration,
    /// A file is rotated before it would become larger. Bytes; 64 KiB is the least.
    pub file_bytes_max: u64,
    /// Files of one plugin, and of the host, the current one counted; 2 is the least.
    pub files_max: usize,
    /// A file is rotated, with the next event, when its first event is older. Zero is never.
    pub file_age_max: Duration,
    /// Whether each line carries the hash of the one before.
    pub chain: bool,
    /// Whether rotated files are packed, but the newest. With it, a file less is kept, so that there is room for the
    /// one that is being made. Needs feature `compress`.
    pub compress: bool,
    /// Events that may wait for the writer; further ones are dropped and counted.
    pub queue_max: usize,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        let stream = StreamOptions::default();
        LogOptions {
            durability: Durability::Relaxed,
            sync_interval: Duration::from_millis(200),
            hold_max: Duration::from_secs(2),
            file_bytes_max: stream.file_bytes_max,
            files_max: stream.files_max,
            file_age_max: Duration::ZERO,
            chain: false,
            compress: false,
            queue_max: QUEUE_MAX_DEFAULT,
        }
    }
}

impl LogOptions {
    /// Changes what differs: `LogOptions::default().with(|log| log.chain = true)`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut LogOptions)) -> LogOptions {
        change(&mut self);
        self
    }

    pub(super) fn stream(&self) -> StreamOptions {
        StreamOptions {
            file_bytes_max: self.file_bytes_max,
            files_max: self.files_max - usize::from(self.compress && self.files_max >= COMPRESS_FILES_MIN),
            file_age_max: Some(self.file_age_max).filter(|age_max| !age_max.is_zero()),
            chain: self.chain,
            is_durable: self.durability != Durability::None,
            syncs_beside: self.durability == Durability::Relaxed,
        }
    }

    pub(super) fn pack_limits(&self) -> PackLimits {
        let is_durable = self.durability != Durability::None;
        PackLimits { bytes_max: self.file_bytes_max.max(LINE_BYTES_MAX as u64), is_durable }
    }
}
