//! More than 300 bad inputs against the host: its pure session, a live plugin's connection, the admin socket.
//! A clear error each, no panic, no hang, nothing else harmed.
//!
//! What it deliberately does not do: faults that need no bytes (a plugin that is silent, slow or gone).
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::print_stderr)]

mod admin;
pub mod life;
mod live;
mod pure;
pub mod replay;
