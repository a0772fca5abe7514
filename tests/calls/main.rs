//! Calls in every direction: from the host, from plugins, through plugins, and what bounds them.
#![allow(missing_docs, unreachable_pub, dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod both_full;
mod bounds;
mod callbacks;
mod cancel;
mod capability;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod from_host;
mod from_plugin;
mod interfaces;
mod load;
mod nested;
mod pending;
mod progress;
