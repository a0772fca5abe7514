//! `rpcplugind` as a process: configuration, control socket, events, ends, and `rpcpluginctl dev`.
#![allow(missing_docs, unreachable_pub, dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::type_complexity)]

mod admin_socket;
mod config;
mod ctl;
mod ctl_streams;
mod dev;
mod events;
mod first_round;
#[path = "../fixtures/mod.rs"]
mod fixtures;
#[cfg(feature = "package")]
mod found_packages;
mod json_rpc;
mod life;
mod memory;
mod nested;
mod original;
#[cfg(feature = "package")]
mod packages;
mod packages_trust;
mod plain_output;
mod standstill;
mod umask;

/// What this program is when a test starts it once more, by name.
const BODIES: &[(&str, fn())] =
    &[("nested", nested::serve_nested), ("ask_as_somebody_else", admin_socket::ask_as_somebody_else)];
