//! Decisions, pure: events and the time in, actions out.
//!
//! What this folder is for: every rule about plugins, sessions and calls. What it deliberately does
//! not have: a clock, a thread, a file, hash order; descriptors pass through unopened (`fds`). So a whole supervisor
//! runs in a test, in virtual time, from a seed (`tests/sim`).
#![forbid(unsafe_code)]

pub mod action;
pub mod call;
pub mod callback;
pub mod closing;
pub mod config_error;
pub mod confine;
pub mod exit_report;
pub mod failed_calls;
pub mod fds;
pub mod hang;
pub mod held_calls;
pub mod keys;
pub mod launch_failure;
pub mod liveness;
pub mod note;
pub mod order;
pub mod output;
pub mod permit;
pub mod plugin;
pub mod plugin_config;
pub mod policy;
mod presence;
mod restarts;
pub mod route;
pub mod session;
pub mod shortage;
pub mod standstill;
pub mod start_mode;
pub mod start_places;
pub mod stream_turns;
pub mod supervisor;
pub mod time;
pub mod unasked;
pub mod waits;
pub mod wheel;
