//! Bytes, descriptors and signals that no honest peer sends, against a live host and against what is pure.
#![allow(missing_docs, unreachable_pub, dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::type_complexity)]

mod bad_input;
mod descriptors;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod fuzz_corpus;
mod stress;
mod transcript;

/// What this program is when a test starts it once more, by name.
const BODIES: &[(&str, fn())] = &[
    ("attacker", descriptors::attacker_body),
    ("lingerer", descriptors::closing::lingerer_body),
    ("taker", descriptors::limits::taker_body),
];
