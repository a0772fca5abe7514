//! The record: its files, faults of the disk, kills, packing and sinks.
#![allow(missing_docs, unreachable_pub, dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

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
