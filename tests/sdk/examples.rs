//! The tests that stand in the example plugins, as their authors write them.
#![allow(dead_code, unreachable_pub, reason = "the programs around them are not run here")]
#![allow(clippy::duplicate_mod, reason = "each is a program with modules of its own")]

#[path = "../../examples/bidirectional/plugin.rs"]
mod bidirectional;
#[path = "../../examples/greeter/plugin.rs"]
mod greeter;
#[path = "../../examples/kv/plugin.rs"]
mod kv;
#[path = "../../examples/negotiated/plugin.rs"]
mod negotiated;
#[path = "../../examples/streaming/plugin.rs"]
mod streaming;
