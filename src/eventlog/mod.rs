//! The record of what happened: JSON lines, one stream of files a plugin and one for the host.
//!
//! What this module is for: taking events from any thread without ever making it wait, writing them in the
//! order in which they came to `RUNTIME/ID/events.jsonl` (events of a plugin) and `RUNTIME/events.jsonl`
//! (events of the host itself), in groups, and saying how far they are recorded. How a line looks, and how
//! files are rotated, repaired, read and verified, is in the crate `rpc-plugin-record`.
//!
//! What it deliberately does not do: read or filter; decide what is worth recording.
//!
//! What always holds: [`EventLog::record`] never blocks and never fails; an event that was handed over is
//! written, still waits, or is counted in [`EventLog::dropped`]; an event that was called recorded is in its file, in
//! mode strict on the disk; memory and file descriptors are bounded.

mod lane;
mod lanes;
mod log;
mod options;
mod owner;
mod packer;
mod progress;
mod queue;
pub mod sinks;
mod syncer;
mod thread;
mod trouble;
mod waker;
mod writer;
mod written;

pub use log::EventLog;
pub use options::{COMPRESS_FILES_MIN, Durability, LogOptions, QUEUE_MAX_DEFAULT};
pub use owner::StreamOwner;
pub use packer::Packer;
pub use progress::{Settled, Ticket};
pub use queue::{QUEUE_BYTES_MAX, RESERVED_ONE_IN};
pub use rpc_plugin_record::{Correlation, Disk, Entry, FILE_NAME, LINE_BYTES_MAX, Place, SystemDisk};
pub use trouble::RecordTrouble;
pub use waker::StreamWaker;
pub use written::WrittenLines;
