//! The record: its files, faults of the disk, kills, packing and sinks.
#![allow(missing_docs, unreachable_pub, dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::type_complexity)]

mod chain;
mod daemon;
mod entry;
mod faults;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod host;
mod kill;
mod packed_files;
mod packing;
mod sinks;
mod stream;

/// What this program is when a test starts it once more, by name.
const BODIES: &[(&str, fn())] = &[
    ("record_until_killed", kill::record_until_killed),
    ("on_a_small_disk", faults::on_a_small_disk),
    ("daemon_on_a_small_disk", faults::daemon_on_a_small_disk),
    ("pack_until_killed", packing::pack_until_killed),
];
