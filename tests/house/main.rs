//! The rules of the source text, and what the pages, the README and the examples promise.
#![allow(missing_docs, unreachable_pub, dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::type_complexity)]

mod authors;
mod difference;
mod docs;
mod examples;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod protocol_doc;
mod readme;
mod tidy;

/// What this program is when a test starts it once more, by name.
const BODIES: &[(&str, fn())] = &[];
