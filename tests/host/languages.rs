//! Plugins in six languages, written from docs/protocol.md alone and without any library of this project: each is launched,
//! proves itself, is called, answers what it does not know, and ends when it is asked to.
//!
//! What is not installed is not tested, and says so: `cargo test --test host languages -- --nocapture` prints which ran.

use crate::fixtures::world::{SOON, World, patient, put_executable, put_script};
use rpc_plugin_system::host::{PluginConfig, PluginState, Transport};
use rpc_plugin_wire::ErrorCode;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What plugins find as their `PATH`.
const PATH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Whether this machine has the program, and can run it.
fn has(program: &str, version: &str) -> bool {
    let found = PATH.iter().map(|folder| Path::new(folder).join(program)).find(|path| path.is_file());
    let run = |path| {
        let mut command = Command::new(path);
        command.arg(version).stdout(Stdio::null()).stderr(Stdio::null()).status()
    };
    found.is_some_and(|path| run(path).is_ok_and(|status| status.success()))
}

/// Has a compiler make a program of a source file.
fn compiled(world: &World, file: &str, source: &str, command: &[&str]) -> PathBuf {
    let (path, built) = (world.path().join(file), world.path().join("built"));
    std::fs::write(&path, source).unwrap();
    let mut compiler = Command::new(command[0]);
    compiler.args(&command[1..]).arg(&built).arg(&path).env("GOCACHE", world.path().join("cache"));
    let output = compiler.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let program = world.path().join("program");
    put_executable(&built, &program);
    program
}

fn script(world: &World, file: &str, source: &str) -> PathBuf {
    let path = world.path().join(file);
    put_script(&path, source);
    path
}

/// Runs the test with the plugin that `make` makes, if the machine can.
fn try_language(language: &str, is_there: bool, transport: Transport, make: &dyn Fn(&World) -> PathBuf) {
    if !is_there {
        println!("language {language}: not installed, not tested");
        return;
    }
    let world = World::new();
    let mut policy = patient();
    policy.transport = transport;
    let host = world.host();
    let config = PluginConfig::new("stranger".parse().unwrap(), make(&world)).policy(policy);
    let plugin = host.add(config).unwrap();
    plugin.start().unwrap();
    plugin.wait_routable(None, SOON).unwrap_or_else(|error| panic!("{language}: {error}"));
    for name in ["world", "Zoë Ångström"] {
        let answer: Value = plugin.call("greet", &json!({"name": name})).unwrap();
        assert_eq!(answer, json!({"greeting": format!("Hello, {name}!")}), "{language}");
    }
    let error = plugin.call::<_, Value>("greet.none", &json!({})).unwrap_err();
    assert_eq!(error.code, ErrorCode::MethodNotFound, "{language}: {error}");
    let first = plugin.status().unwrap();
    assert_eq!((first.version.as_deref(), &*first.capabilities), (Some("1.0.0"), &["greet".to_owned()][..]));
    plugin.restart().unwrap();
    plugin.wait_routable(first.generation, SOON).unwrap_or_else(|error| panic!("{language}: {error}"));
    plugin.stop().unwrap();
    plugin.wait_for(PluginState::Stopped, SOON).unwrap();
    let record = world.record("stranger");
    assert!(record.contains("exit status 0"), "{language}: {record}");
    assert!(!record.contains("protocol_violation") && !record.contains("SIGTERM"), "{language}: {record}");
    println!("language {language}: ran");
}

#[test]
fn python_needs_no_more_than_the_page() {
    let make = |world: &World| script(world, "plugin.py", include_str!("../fixtures/languages/plugin.py"));
    try_language("python", has("python3", "--version"), Transport::Unix, &make);
}

#[test]
fn perl_needs_no_more_than_the_page() {
    let make = |world: &World| script(world, "plugin.pl", include_str!("../fixtures/languages/plugin.pl"));
    try_language("perl", has("perl", "-MJSON::PP"), Transport::Unix, &make);
}

#[test]
fn node_needs_no_more_than_the_page() {
    let make = |world: &World| script(world, "plugin.js", include_str!("../fixtures/languages/plugin.js"));
    try_language("node", has("node", "--version"), Transport::Unix, &make);
}

#[test]
fn a_shell_needs_no_more_than_the_page() {
    let make = |world: &World| script(world, "plugin.sh", include_str!("../fixtures/languages/plugin.sh"));
    try_language("sh", true, Transport::Stdio, &make);
}

#[test]
fn c_needs_no_more_than_the_page() {
    let source = include_str!("../fixtures/languages/plugin.c");
    let make = |world: &World| compiled(world, "plugin.c", source, &["cc", "-O1", "-Wall", "-o"]);
    try_language("c", has("cc", "--version"), Transport::Unix, &make);
}

#[test]
fn go_needs_no_more_than_the_page() {
    let source = include_str!("../fixtures/languages/plugin.go");
    let make = |world: &World| compiled(world, "plugin.go", source, &["go", "build", "-o"]);
    try_language("go", has("go", "version"), Transport::Unix, &make);
}
