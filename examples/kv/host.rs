//! A host that keeps two texts in the kv plugin, which lies beside it, and restarts it in between:
//!
//! ```bash
//! cargo build --examples && cargo run --example kv-host
//! ```
//!
//! The texts are in a temporary folder, or in the one that is given as argument, where they stay.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program may print")]

mod interface;

use interface::{KvClient, KvError};
use rpc_plugin_system::host::{CallOptions, Host, PluginConfig};
use rpc_plugin_system::interface::CallFailure;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kv-host: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    match std::env::args_os().nth(1) {
        Some(folder) => keep_texts(&std::path::absolute(folder)?),
        None => keep_texts(tempfile::tempdir()?.path()),
    }
}

fn keep_texts(folder: &Path) -> Result<(), Box<dyn Error>> {
    let program = std::env::current_exe()?.with_file_name("kv-plugin");
    let host = Host::temporary().start()?;
    let config = PluginConfig::new("texts".parse()?, program).working_folder(folder);
    let plugin = host.launch(config, SOON)?;

    let kv = KvClient::new(&plugin);
    kv.put("colour", "blue")?;
    kv.put("size", "large")?;
    println!("colour is {}", kv.get("colour")?);
    match kv.get("weight") {
        Err(CallFailure::App(KvError::Missing { key })) => println!("nobody has set {key}"),
        other => println!("weight is {}", other?),
    }

    // Any plugin with the capability will do, and the host repeats the call until the plugin is back.
    plugin.restart()?;
    let options = CallOptions::default().timeout(SOON).idempotent(true);
    let kv = KvClient::new(host.capability(KvClient::NAME));
    println!("after a restart, colour is {}", kv.with(options).get("colour")?);
    kv.remove("colour")?;
    println!("left are {:?}", kv.keys(None)?);
    Ok(())
}
