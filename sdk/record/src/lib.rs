//! The record: what happened, as JSON lines in files that rotate, survive crashes and can be verified.
//!
//! What this crate is for: one event as a line ([`Entry`]); one stream of lines in a folder, written by one
//! writer ([`Stream`]) and read by any number of readers ([`Forward`], [`Backward`], [`verify`]), also
//! while it is written and rotated. Host and SDK write their records through it, `rpcpluginctl` reads them.
//!
//! Rotated files may be packed ([`pack`], feature `compress`); the readers read them as any other.
//!
//! What it deliberately does not do: start threads, decide what is worth recording or when to sync; lock
//! the folder: who writes a stream must be the only one.
//!
//! What always holds: the lines of a stream are numbered without a gap by `seq`, across rotation and
//! restart; the files of a stream never take more than [`StreamOptions::bytes_max`]; a line is at most
//! [`LINE_BYTES_MAX`] long; no symbolic link is followed below the stream's base folder.
#![forbid(unsafe_code)]

mod backward;
mod chain;
mod content;
mod cut;
mod disk;
mod entry;
mod file_lines;
mod forward;
mod line;
mod member;
mod pack;
mod packed_file;
mod printable;
mod recover;
mod segment;
mod stream;
mod time;
mod verify;

pub use backward::Backward;
pub use chain::{Hash, hash_line};
pub use disk::{Disk, Place, SystemDisk, plugin_folders};
pub use entry::{Correlation, Entry};
pub use forward::{Forward, Position};
pub use line::{Line, record_of};
pub use pack::{PackLimits, Packing, pack, remove_leftovers};
pub use packed_file::Damage;
pub use printable::{escape, escape_with, is_unsafe};
pub use recover::Repair;
pub use segment::{PACKED_SUFFIX, Segment, segments};
pub use stream::{Stream, StreamOptions, StreamSync};
pub use time::{format_time, parse_time};
pub use verify::{Fault, FaultKind, Verified, verify};

/// The name of a record's current file in its folder. Rotated ones have the first `seq` in them after it:
/// `events.jsonl.1`.
pub const FILE_NAME: &str = "events.jsonl";

/// The name of the file in which a plugin itself keeps its record.
pub const PLUGIN_FILE_NAME: &str = "plugin-events.jsonl";

/// Longest line, its line end included. Bytes. Longer events have their texts cut, with a marker.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
