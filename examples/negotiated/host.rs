//! A host that launches the thermometer three times: as an old program, as a new one, and as one from the future.
//!
//! ```bash
//! cargo build --examples && cargo run --example negotiated-host
//! ```
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program may print")]

mod interface;

use interface::{v1, v2};
use rpc_plugin_system::host::{Host, PluginConfig, PluginHandle, Policy, RestartPolicy};
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

const NAME: &str = v2::ThermometerClient::NAME;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("negotiated-host: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let program = std::env::current_exe()?.with_file_name("negotiated-plugin");
    let host = Host::temporary().start()?;
    for (id, accepted) in [("old", &[1][..]), ("new", &[1, 2]), ("future", &[3])] {
        let policy = Policy::default().with(|policy| policy.restart = RestartPolicy::Never);
        let config = PluginConfig::new(id.parse()?, &program).interface(NAME, accepted).policy(policy);
        match host.launch(config, Duration::from_secs(10)) {
            Ok(plugin) => println!("{id}: {}", measure(&plugin)?),
            Err(error) => println!("{id}: {error}"),
        }
    }
    Ok(())
}

/// Calls the version that was agreed on.
fn measure(plugin: &PluginHandle) -> Result<String, Box<dyn Error>> {
    match plugin.status()?.interfaces.get(NAME) {
        Some(1) => Ok(format!("version 1, {} degrees", v1::ThermometerClient::new(plugin).read()?)),
        Some(2) => {
            let kelvin = v2::ThermometerClient::new(plugin).read(v2::Unit::Kelvin)?;
            Ok(format!("version 2, {kelvin} kelvin"))
        }
        other => {
            Err(format!("version {other:?} of {NAME:?} was agreed on, and this host knows 1 and 2").into())
        }
    }
}
