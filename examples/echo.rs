//! The echo plugin: what most people start a plugin of their own from. Its methods are in
//! `echo/plugin.rs`, which `rpcplugind demo` uses as well.
//!
//! Build it with `cargo build --example echo` and run it with
//! `rpcplugind --plugin echo=/absolute/path/of/target/debug/examples/echo`.
#![forbid(unsafe_code)]

#[path = "echo/plugin.rs"]
mod plugin;

fn main() -> std::process::ExitCode {
    plugin::echo_plugin().run()
}
