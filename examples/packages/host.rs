//! A host that takes the packages of a folder: all of them, and then only those that a key has signed:
//!
//! ```bash
//! cargo run --example packages-host
//! ```
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program may print")]

use rpc_plugin_system::host::Host;
use rpc_plugin_system::host::packages::{
    AddedPackages, PackageOptions, PackageSet, TrustedKey, VerifyPolicy,
};
use serde_json::{Value, json};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// What `minisign -G` writes into `minisign.pub`. The secret of this one is no secret: it is for tests.
const KEY: &str = "RWRzZWdha2NhcB2y7djUcyRgK9Sln9zXAiKv430cYFF6xfzi5HIBc53M";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("packages-host: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    // `cargo run` says where the project is; else it is where this was built.
    let project = std::env::var_os("CARGO_MANIFEST_DIR");
    let project = project.map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let folder = project.join("examples/packages");
    all_of(&folder)?;
    signed_ones_of(&folder)
}

/// Every package whose files are those that its manifest lists.
fn all_of(folder: &Path) -> Result<(), Box<dyn Error>> {
    let host = Host::temporary().start()?;
    show(&host.discover(folder)?)?;
    let greeting: Value = host.plugin(&"greeter".parse()?)?.call("greet", &json!({"name": "Ann"}))?;
    let sum: Value = host.plugin(&"adder".parse()?)?.call("add", &json!({"a": 2, "b": 3}))?;
    println!("{greeting} {sum}");
    Ok(())
}

/// Only what the holder of a key has signed.
fn signed_ones_of(folder: &Path) -> Result<(), Box<dyn Error>> {
    let host = Host::temporary().start()?;
    // One that lasts, such as /var/lib/my-program, remembers whose each package is.
    let state_dir = host.runtime_dir().join("@packages");
    let trusted = TrustedKey::of_any_package(KEY.parse()?);
    let options = PackageOptions::new(state_dir).with(|options| {
        options.plugins_dirs = vec![folder.to_owned()];
        options.verify = VerifyPolicy::new(None, vec![trusted]);
    });
    let mut set = PackageSet::open(options)?;
    show(&host.add_packages(&mut set)?)
}

fn show(added: &AddedPackages) -> Result<(), Box<dyn Error>> {
    for plugin in &added.plugins {
        plugin.start()?;
        plugin.wait_routable(None, Duration::from_secs(10))?;
        println!("{} runs", plugin.id());
    }
    for package in &added.invalid {
        let id = package.id.as_ref().map_or("a package", |id| id.as_str());
        println!("{id} does not run: {}", package.why);
    }
    Ok(())
}
