//! `rpcplugind` as a process: configuration, control socket, events, ends, and `rpcpluginctl dev`.
#![allow(missing_docs, unreachable_pub, dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod admin_socket;
mod config;
mod ctl;
mod dev;
mod events;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod life;
mod nested;
