//! A program that embeds the host library: it launches one plugin, calls it, and ends it.
//!
//! Build the echo plugin with `cargo build --example echo`, then `cargo run --example embed`. The plugin's
//! path may be given as argument; otherwise it is the program `echo` beside this one.
#![forbid(unsafe_code)]

use rpc_plugin_system::host::{CallOptions, Host, HostError, PluginConfig, Policy};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Serialize, Deserialize)]
struct Greeting {
    message: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let plugin = match std::env::args_os().nth(1) {
        Some(path) => std::path::absolute(path)?,
        None => std::env::current_exe()?.with_file_name("echo"),
    };
    // Sockets, tokens and events live here. A service would take a folder of its own below /run.
    let runtime_dir = std::env::temp_dir().join(format!("embed-{}", std::process::id()));
    let result = greet(plugin, &runtime_dir);
    std::fs::remove_dir_all(&runtime_dir)?;
    result
}

fn greet(plugin: PathBuf, runtime_dir: &PathBuf) -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout();
    let host = Host::builder(runtime_dir).start()?;
    let policy = Policy::default().with(|policy| policy.call_timeout = Duration::from_secs(10));
    let echo = host.add(PluginConfig::new("echo".parse()?, plugin).policy(policy))?;
    echo.start()?;
    let status = echo.wait_routable(None, Duration::from_secs(10))?;
    writeln!(out, "echo is {} and can do {}", status.state, status.capabilities.join(", "))?;

    let answer: Greeting = echo.call("echo", &Greeting { message: "hello".to_owned() })?;
    writeln!(out, "it answers {:?}", answer.message)?;

    // An error says what happened, and whether the plugin can have seen the call.
    let options = CallOptions::default().timeout(Duration::from_millis(100));
    let result: Result<Greeting, _> = echo.call_with("paint", &Greeting { message: String::new() }, options);
    if let Err(error) = result {
        writeln!(out, "it cannot paint: {} ({})", error.code.name(), error.outcome.as_str())?;
    }

    // Dropping the last handle would end it as well.
    host.shutdown();
    if let Err(HostError::Ended) = echo.status() {
        writeln!(out, "it has ended")?;
    }
    Ok(())
}
