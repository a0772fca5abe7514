//! More than 300 bad inputs against the host: its pure session, a live plugin's connection, the admin socket.
//! A clear error each, no panic, no hang, nothing else harmed.
//!
//! What it deliberately does not do: faults that need no bytes (a plugin that is silent, slow or gone).
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::print_stderr)]

#[path = "bad_input/admin.rs"]
mod admin;
mod conformance;
mod fixture;
#[path = "bad_input/life.rs"]
mod life;
#[path = "bad_input/live.rs"]
mod live;
#[path = "bad_input/pure.rs"]
mod pure;
#[path = "bad_input/replay.rs"]
mod replay;
