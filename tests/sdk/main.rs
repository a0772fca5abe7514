//! The SDK: wire, interfaces, and plugins against a host that is played.
#![allow(missing_docs, unreachable_pub, dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::type_complexity)]

mod bad_input;
mod both_full;
mod calls;
mod conformance;
mod describe;
mod environment;
mod examples;
mod fake_host;
mod fd_attacks;
mod fds;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod interface;
mod interfaces;
mod log;
mod methods;
mod nested_storm;
mod process;
mod quick_calls;
mod session;
mod standstill;
mod testing;
mod typed_calls;
mod wire_conformance;
mod wrong_uses;

/// What this program is when a test starts it once more, by name.
const BODIES: &[(&str, fn())] = &[];
