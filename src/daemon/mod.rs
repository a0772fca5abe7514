//! The daemon around the host library: configuration, signals, the tour.
//!
//! What this folder is for: `rpcplugind`, from its arguments to its exit code. What it deliberately does
//! not do: anything that an embedding program would miss; that belongs to `host`.

mod by_hand;
mod check;
pub mod config;
mod daemon_error;
mod demo;
#[path = "../../examples/echo/plugin.rs"]
mod echo;
mod first_round;
mod flags;
mod original;
#[cfg(feature = "package")]
mod packages;
mod run;
mod says;
pub(crate) mod signals;
mod stderr_events;

pub use crate::sys::large_pieces::KeepingAllocator;
pub use flags::PROGRAM;
pub use run::main;
