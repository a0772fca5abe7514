//! README.md: what it promises and shows is what there is.
//!
//! What it deliberately does not do: look at the other pages; `docs.rs` does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod fixture;

use fixture::{SOON, World, patient};
use rpc_plugin_system::host::PluginConfig;
use std::path::PathBuf;

fn read(path: &str) -> String {
    let root = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    std::fs::read_to_string(PathBuf::from(root).join(path)).unwrap()
}

/// The blocks of a page whose fence begins with this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut block: Option<(bool, String)> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), &mut block) {
            (Some(fence), None) => {
                block = Some((fence.split(',').next() == Some(language), String::new()));
            }
            (Some(_), Some((wanted, text))) => {
                found.extend(wanted.then(|| std::mem::take(text)));
                block = None;
            }
            (None, Some((_, text))) => *text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    found
}

#[test]
fn the_two_commands_stand_in_blocks_of_their_own() {
    let page = read("README.md");
    let commands: Vec<String> =
        blocks(&page, "").into_iter().filter(|block| block.starts_with("cargo ")).collect();
    assert_eq!(commands, ["cargo run --release -- demo\n", "cargo test --workspace\n"]);
}

#[test]
fn the_plugin_is_the_example_and_is_short() {
    let example = read("examples/hello.rs");
    let body: String = example
        .lines()
        .skip_while(|line| line.starts_with("//!") || line.is_empty())
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(body.lines().count() <= 15, "{} lines", body.lines().count());
    assert_eq!(blocks(&read("README.md"), "rust")[0], body);
    assert_eq!(blocks(&read("docs/plugin-authors.md"), "rust")[0], body, "the same in the guide");
}

#[test]
fn the_embedding_program_is_the_compiled_one_and_is_short() {
    let shown = &blocks(&read("README.md"), "rust")[1];
    assert!(shown.lines().count() <= 20, "{} lines", shown.lines().count());
    assert_eq!(*shown, blocks(&read("docs/embedding.md"), "rust")[0]);
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
