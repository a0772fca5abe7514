//! `rpcpluginctl` against daemons that are played, and its reading of the record.
#![allow(missing_docs, unreachable_pub, dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::type_complexity)]

mod binary;
mod call;
mod commands;
mod complete;
mod failures;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod install;
mod logs;
mod logs_chain;
mod logs_choose;
mod logs_follow;
mod logs_large;
mod methods;
mod package;

/// What this program is when a test starts it once more, by name.
const BODIES: &[(&str, fn())] =
    &[("serve_until_standard_input_ends", binary::serve_until_standard_input_ends)];
