//! A host that launches the greeter, which lies beside it, and calls it twice:
//!
//! ```bash
//! cargo build --examples && cargo run --example greeter-host
//! ```
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program may print")]

mod interface;

use interface::GreeterClient;
use rpc_plugin_system::host::{Host, PluginConfig};
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("greeter-host: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let program = std::env::current_exe()?.with_file_name("greeter-plugin");
    let host = Host::temporary().start()?;
    let plugin = host.launch(PluginConfig::new("greeter".parse()?, program), Duration::from_secs(10))?;

    let greeter = GreeterClient::new(&plugin);
    println!("{}", greeter.greet("Ann")?);
    if let Err(error) = greeter.greet("") {
        println!("refused: {error}");
    }
    Ok(()) // the last handle goes, and the plugin with it
}
