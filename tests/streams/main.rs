//! Streams over the transports that pass descriptors and over those that do not.
#![allow(missing_docs, unreachable_pub, dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod attacks;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod nested;
mod stdio;
