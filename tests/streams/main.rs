//! Streams over the transports that pass descriptors and over those that do not.
#![allow(missing_docs, unreachable_pub, dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::type_complexity)]

mod attacks;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod nested;
mod stdio;

/// What this program is when a test starts it once more, by name.
const BODIES: &[(&str, fn())] =
    &[("nested", nested::serve_nested), ("stdio", stdio::serve_streams), ("bare", attacks::serve_bare)];
