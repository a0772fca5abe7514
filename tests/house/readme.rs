//! README.md: what it promises and shows is what there is.
//!
//! What it deliberately does not do: look at the other pages; `docs.rs` does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::docs::pages::{blocks, read};
use crate::fixtures::world::{SOON, World, built, patient};
use rpc_plugin_system::host::PluginConfig;
use std::process::Command;

#[test]
fn the_two_commands_stand_in_blocks_of_their_own() {
    let page = read("README.md");
    let commands: Vec<String> =
        blocks(&page, "").into_iter().filter(|block| block.starts_with("cargo ")).collect();
    assert_eq!(commands, ["cargo run --release -- demo\n", "cargo test --workspace\n"]);
}

#[test]
fn the_plugin_is_the_example_and_is_short() {
    let body = |path: &str| -> String {
        let is_head = |line: &&str| line.starts_with("//!") || line.starts_with("#![") || line.is_empty();
        let text = read(path);
        // Their tests are shown elsewhere.
        let own = text.split("\n#[cfg(test)]").next().unwrap_or_default();
        own.lines().skip_while(is_head).map(|line| format!("{line}\n")).collect()
    };
    let shown = blocks(&read("README.md"), "rust");
    assert_eq!(shown[0], body("examples/greeter/interface.rs"));
    assert_eq!(shown[1], body("examples/greeter/plugin.rs"));
    let lines = shown[0].lines().count() + shown[1].lines().count();
    assert!(lines <= 35, "{lines} lines");
}

#[test]
fn the_embedding_program_is_the_compiled_one_and_is_short() {
    let shown = &blocks(&read("README.md"), "rust")[2];
    assert!(shown.lines().count() <= 20, "{} lines", shown.lines().count());
    assert_eq!(*shown, blocks(&read("docs/embedding.md"), "rust,no_run")[0]);
}

#[test]
fn the_plugin_of_the_readme_greets() {
    let world = World::new();
    let host = world.host();
    let config = PluginConfig::new("hello".parse().unwrap(), world.program("hello")).policy(patient());
    let hello = host.add(config).unwrap();
    hello.start().unwrap();
    hello.wait_routable(None, SOON).unwrap();
    let greeting: String = hello.call("greet", &serde_json::json!({"name": "world"})).unwrap();
    assert_eq!(greeting, "Hello, world!");
}

#[test]
fn the_status_of_the_readme_has_the_lines_that_are_printed() {
    let names = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split("  ").next().unwrap_or_default().to_owned()).collect()
    };
    let page = read("README.md");
    let (_, shown) = page.split_once("$ rpcpluginctl status\n").unwrap();
    let (shown, _) = shown.split_once("\n$ ").unwrap();
    let world = World::new();
    let host = world.builder().admin_socket(true).start().unwrap();
    let mut status = Command::new(built("rpcpluginctl"));
    let output = status.arg("--runtime-dir").arg(world.runtime_dir()).arg("status").output().unwrap();
    host.shutdown();
    assert_eq!(names(shown), names(&String::from_utf8_lossy(&output.stdout)), "{output:?}");
}
