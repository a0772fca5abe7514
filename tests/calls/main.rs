//! Calls in every direction: from the host, from plugins, through plugins, and what bounds them.
#![allow(missing_docs, unreachable_pub, dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::type_complexity)]

mod both_full;
mod bounds;
mod callbacks;
mod cancel;
mod capability;
mod drain;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod from_host;
mod from_plugin;
mod interfaces;
mod load;
mod nested;
mod pending;
mod progress;
mod shares;
mod standstill;

/// What this program is when a test starts it once more, by name.
const BODIES: &[(&str, fn())] = &[
    ("callbacks", callbacks::serve_nested),
    ("cancel", cancel::serve_nested),
    ("drain", drain::serve_nested),
    ("nested", nested::serve_nested),
    ("load", load::serve_nested),
    ("both_full", both_full::full_body),
    ("relay", from_plugin::relay_body),
    ("shares", shares::asker_body),
    ("interfaces", interfaces::serve_two_versions),
];
