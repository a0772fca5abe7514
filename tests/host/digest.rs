//! Plugins whose executable has to have a SHA-256.

use crate::fixtures::world::{SOON, World, patient, put_executable, put_script};
use rpc_plugin_system::host::PluginConfig;
use rpc_plugin_wire::life::PluginState;
use std::path::Path;

/// What sha256sum(1) says of a file, from its folder.
fn sum(path: &Path) -> String {
    let mut tool = std::process::Command::new("sha256sum");
    let output = tool.arg(path.file_name().unwrap()).current_dir(path.parent().unwrap()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn digest(path: &Path) -> String {
    sum(path)[..64].to_owned()
}

#[test]
fn an_executable_of_another_digest_is_never_launched_and_the_right_one_is() {
    let world = World::new();
    let host = world.host();
    let echo = world.program("echo");
    let program = world.path().join("program");
    let marker = world.path().join("it-ran");
    put_executable(&echo, &program);
    let expected = digest(&program);
    // Programs and scripts alike: what is compared is the file that is named.
    put_script(&program, &format!("#!/bin/sh\ntouch {}\nexec {}\n", marker.display(), echo.display()));
    let seen = digest(&program);
    let config = PluginConfig::new("kv".parse().unwrap(), &program).policy(patient()).sha256(&expected);
    let plugin = host.add(config).unwrap();
    plugin.start().unwrap();
    let status = plugin.wait_for(PluginState::Failed, SOON).unwrap();
    let error = status.last_error.unwrap();
    let told =
        format!("executable {} is another file: expected SHA-256 {expected}, seen {seen}", program.display());
    assert!(error.contains(&told) && error.contains("looked at every 30s"), "{error}");
    assert_eq!((status.generation.unwrap().get(), status.restarts), (1, 0), "it comes again at every launch");
    assert!(!marker.exists(), "nothing of it ran");
    std::fs::remove_file(&program).unwrap();
    put_executable(&echo, &program);
    plugin.start().unwrap();
    plugin.wait_routable(None, SOON).unwrap();
}

#[test]
fn a_script_is_compared_with_a_list_that_is_read_at_each_launch() {
    let world = World::new();
    let host = world.host();
    let echo = world.program("echo");
    let script = world.script("script", &format!("#!/bin/sh\nexec {}\n", echo.display()));
    let list = world.path().join("SHA256SUMS");
    std::fs::write(&list, sum(&script)).unwrap();
    let config = PluginConfig::new("kv".parse().unwrap(), &script).policy(patient()).sha256_file(&list);
    let plugin = host.add(config).unwrap();
    plugin.start().unwrap();
    plugin.wait_routable(None, SOON).unwrap();
    // An update of both; the script has the same length.
    put_script(&script, &format!("#!/bin/sh\nexec  {}", echo.display()));
    plugin.restart().unwrap();
    let error = plugin.wait_for(PluginState::Failed, SOON).unwrap().last_error.unwrap();
    assert!(error.contains(&format!("(of {}), seen {}", list.display(), digest(&script))), "{error}");
    std::fs::write(&list, sum(&script)).unwrap();
    plugin.start().unwrap();
    plugin.wait_routable(None, SOON).unwrap();
    std::fs::remove_file(&list).unwrap();
    plugin.restart().unwrap();
    let error = plugin.wait_for(PluginState::Failed, SOON).unwrap().last_error.unwrap();
    assert!(error.contains(&format!("sha256_file {}: ", list.display())), "{error}");
}
