//! Sinks: where events go beside their files, each at least once.
//!
//! What this folder is for: one thread a sink reads the record's own files, from a cursor that survives the
//! host, and hands events to a [`EventTarget`]. The files are the queue: a sink that is down or slow is behind, and
//! nothing else waits for it. What it deliberately does not do: know plugins, processes or the event loop;
//! the targets that need them are in `src/host/sinks`.
//!
//! What always holds: the cursor moves only over events that the other side has taken; what retention removed
//! before a sink took it is counted and told, on record and in the sink; memory is one batch a sink; a
//! sink that waits holds no file open.

mod batch;
mod cursor;
mod datagram;
mod format;
mod options;
mod runner;
mod sink;
mod status;
mod stderr;
mod target;
mod unrecorded;
mod window;

pub use cursor::FOLDER;
pub use datagram::{DatagramFormat, DatagramSink};
pub use format::json_line;
pub use options::{BATCH_MAX, CommandLine, Prefix, SINKS_MAX, SinkOptions, SinkTarget, SyslogFormat};
pub use sink::Sink;
pub use status::Status;
pub use stderr::{StderrSink, write_patiently};
pub use target::{Event, EventTarget, SinkFault};
pub use unrecorded::Unrecorded;
pub use window::{Window, wait_until_read, write_by};
