//! The examples against `docs/examples.md`: each is run as a reader of the page would, and says what the page shows; the
//! code on the page is that of the examples.
//!
//! What always holds: the page is what decides; `UPDATE_DOCS=1 cargo test --test house examples` writes what was seen into it.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::difference::assert_same;
use crate::docs::pages::{blocks, commands, read, root};
use crate::fixtures::world::{SOON, World, built, patient};
use rpc_plugin_system::host::{Host, PluginConfig};
use std::path::Path;
use std::process::Command;

const EXAMPLES: [&str; 6] = ["greeter", "kv", "bidirectional", "negotiated", "streaming", PACKAGES];
/// The one whose plugins are scripts in packages, which lie in the repository.
const PACKAGES: &str = "packages";
const PAGE: &str = "docs/examples.md";

/// The section of an example, from its heading to the next.
fn section<'p>(page: &'p str, name: &str) -> &'p str {
    let start = page.find(&format!("\n## {name}\n")).unwrap_or_else(|| panic!("no section {name}"));
    let rest = &page[start + 1..];
    rest.find("\n## ").map_or(rest, |end| &rest[..end])
}

/// Words as a shell would make them; single quotes are all the quoting there is.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

/// Runs a program of the world in a folder that has nothing to do with it.
fn run(world: &World, program: &Path, args: &[&str]) -> (bool, String, String) {
    let elsewhere = world.path().join("elsewhere");
    std::fs::create_dir_all(&elsewhere).unwrap();
    let mut command = Command::new(program);
    command.args(args).current_dir(&elsewhere).env("TMPDIR", world.path());
    let ended = command.output().unwrap();
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0, "it left something where it was started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (ended.status.success(), text(ended.stdout), text(ended.stderr))
}

/// What the command of a transcript prints here.
fn printed(world: &World, command: &str) -> String {
    if command == "cargo build --examples" {
        return String::new();
    }
    if let Some(example) = command.strip_prefix("cargo run -q --example ") {
        for name in EXAMPLES.iter().filter(|name| **name != PACKAGES) {
            world.program(&format!("{name}-plugin"));
        }
        let (is_good, stdout, stderr) = run(world, &world.program(example), &[]);
        assert!(is_good && stderr.is_empty(), "{example}: {stderr}");
        return stdout;
    }
    let words = words(command);
    assert_eq!(words[0], "rpcpluginctl", "{command}");
    let runtime_dir = world.runtime_dir();
    let mut args = vec!["--runtime-dir", runtime_dir.to_str().unwrap()];
    args.extend(words[1..].iter().map(String::as_str));
    let (_, stdout, stderr) = run(world, &built("rpcpluginctl"), &args);
    stdout + &stderr
}

/// The same with each line as the block has it where the two differ only in how a plugin ended that the host refused:
/// it goes by itself once it has read why, and the host's SIGTERM comes at the same time. Both are right.
fn as_the_page_says(block: &str, printed: &str) -> String {
    let without_end = |line: &str| {
        let (before, end) = line.strip_suffix(" [not_sent]")?.split_once("] (")?;
        let is_its_end = end == "signal 15 (SIGTERM))" || end.starts_with("exit status 77)");
        is_its_end.then(|| before.to_owned())
    };
    let as_shown = |line: &str| {
        let same = |shown: &&str| without_end(line).is_some_and(|text| without_end(shown) == Some(text));
        format!("{}\n", block.lines().find(same).unwrap_or(line))
    };
    printed.lines().map(as_shown).collect()
}

#[test]
fn a_refused_plugin_may_end_either_way_and_nothing_else_may_differ() {
    let shown = "a\nfuture: it serves [1, 2] (signal 15 (SIGTERM)) [not_sent]\nb";
    let other = "future: it serves [1, 2] (exit status 77); its last words on stderr: no [not_sent]\n";
    assert_eq!(as_the_page_says(shown, other), shown.lines().nth(1).unwrap().to_owned() + "\n");
    for text in ["c\n", "future: it serves [1, 2] (signal 9 (SIGKILL)) [not_sent]\n"] {
        assert_eq!(as_the_page_says(shown, text), text);
    }
    let third = other.replace("[1, 2]", "[1, 3]");
    assert_eq!(as_the_page_says(shown, &third), third);
}

/// The kv plugin where operators can reach it, for what is typed on the page.
fn texts(world: &World) -> Host {
    let folder = world.path().join("texts");
    std::fs::create_dir(&folder).unwrap();
    let host = world.builder().admin_socket(true).start().unwrap();
    let config = PluginConfig::new("texts".parse().unwrap(), world.program("kv-plugin"));
    host.launch(config.working_folder(folder).policy(patient()), SOON).unwrap();
    host
}

#[test]
fn each_example_prints_what_the_page_shows() {
    let world = World::new();
    let host = texts(&world);
    let page = read(PAGE);
    let (mut seen, mut count) = (page.clone(), 0);
    for name in EXAMPLES {
        let of_host = format!("cargo run -q --example {name}-host");
        let transcripts = blocks(section(&page, name), "console");
        assert!(transcripts.iter().any(|block| block.contains(&of_host)), "{name} is not run on the page");
        for block in transcripts {
            let mut now = String::new();
            for (command, _) in commands(&block) {
                let printed = printed(&world, command);
                now += &format!("$ {command}\n{}", as_the_page_says(&block, &printed));
                count += 1;
            }
            seen = seen.replace(&format!("```console\n{block}"), &format!("```console\n{now}"));
        }
    }
    assert!(count >= 10, "{count} commands");
    host.shutdown();
    // Their hosts took everything away with them.
    let left = std::fs::read_dir(world.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with("rpc-plugins")).collect();
    assert!(left.is_empty(), "{left:?}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(root().join(PAGE), seen).unwrap();
        return;
    }
    let what = format!("{PAGE} shows something else; UPDATE_DOCS=1 cargo test --test house examples");
    assert_same(&what, &page, &seen);
}

#[test]
fn the_code_on_the_page_is_that_of_the_examples() {
    let page = read(PAGE);
    let mut count = 0;
    for name in EXAMPLES {
        let files: &[&str] = if name == PACKAGES { &["host"] } else { &["interface", "plugin", "host"] };
        let sources: Vec<String> =
            files.iter().map(|file| read(&format!("examples/{name}/{file}.rs"))).collect();
        for block in blocks(section(&page, name), "rust") {
            let is_there = sources.iter().any(|source| source.contains(&block));
            assert!(is_there, "the section {name} shows what no file of examples/{name} has:\n{block}");
            count += 1;
        }
    }
    assert!(count >= 10, "{count} blocks");
}

#[test]
fn a_host_without_its_plugin_says_what_is_missing() {
    let world = World::new();
    let (is_good, stdout, stderr) = run(&world, &world.program("greeter-host"), &[]);
    assert!(!is_good && stdout.is_empty());
    assert!(stderr.starts_with("greeter-host: ") && stderr.contains("greeter-plugin"), "{stderr}");
}

#[test]
fn a_file_that_is_no_store_ends_the_kv_plugin_with_its_name() {
    let world = World::new();
    let folder = world.path().join("texts");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("kv.json"), "{\"colour\":").unwrap();
    world.program("kv-plugin");
    let host = world.host();
    let policy = rpc_plugin_system::host::Policy {
        restart: rpc_plugin_system::host::RestartPolicy::Never,
        ..patient()
    };
    let config = PluginConfig::new("texts".parse().unwrap(), world.program("kv-plugin"));
    let error = host.launch(config.working_folder(&folder).policy(policy), SOON).unwrap_err().to_string();
    assert!(error.contains("kv.json in the working folder") && error.contains("mend it"), "{error}");
    host.shutdown();
}
