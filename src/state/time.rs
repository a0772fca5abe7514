//! The time as the state machines know it: handed in, never read.

pub use rpc_plugin_peer::time::{Time, millis, rounded};
