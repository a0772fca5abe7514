//! `docs/plugin-authors.md`: what it shows is what is there, and what is printed.
//!
//! What it deliberately does not do: compile its Rust blocks; the SDK's doc tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::difference::assert_same;
use crate::docs::pages::{blocks, commands, read};
use crate::fixtures::daemon::{Daemon, command};
use crate::fixtures::world::{World, built};
use nix::sys::signal::Signal;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

fn page() -> String {
    read("docs/plugin-authors.md")
}

/// What a transcript shows of one command: what is typed into it, and what it prints.
struct Shown {
    command: String,
    typed: String,
    printed: String,
}

/// The transcripts of the page, command by command.
fn transcripts() -> Vec<Shown> {
    let mut all = Vec::new();
    for block in blocks(&page(), "console") {
        for (command, lines) in commands(&block) {
            let is_typed = |line: &&str| {
                command.starts_with("rpcpluginctl dev") && line.starts_with(|c: char| c.is_ascii_lowercase())
            };
            let (typed, printed): (Vec<_>, Vec<_>) = lines.split_inclusive('\n').partition(is_typed);
            all.push(Shown { command: command.to_owned(), typed: typed.concat(), printed: printed.concat() });
        }
    }
    all
}

/// A line without what differs each time: the time, how long a call took, the name of a temporary folder.
fn without_chance(line: &str) -> String {
    let mut line = line.to_owned();
    if let Some((time, rest)) = line.split_once("s  ")
        && time.trim().parse::<f64>().is_ok()
    {
        line = format!("TIME  {rest}");
    }
    if let Some((before, _)) = line.split_once(" took ") {
        line = format!("{before} took TIME");
    }
    if let Some((before, rest)) = line.split_once("rpcpluginctl-dev-") {
        let before = before.rsplit_once(' ').map_or(before, |(before, _)| before);
        line = format!("{before} FOLDER{}", rest.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
    }
    line
}

/// The lines of `dev` by whom they are about, since those come beside one another: itself, the plugin, calls.
fn lines_of_dev(text: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(without_chance).collect();
    lines.sort_by_key(|line| match line.strip_prefix("TIME  ").map(|rest| rest.split(' ').next()) {
        Some(Some("note")) => 0,
        Some(Some("event" | "state")) => 1,
        _ => 2,
    });
    lines.join("\n") + "\n"
}

/// Runs a command of the page in a shell whose PATH has our programs, with a plugin where the page has it.
fn dev(world: &World, shown: &Shown) -> String {
    let at = shown.command.find("target/debug/").unwrap();
    let path = &shown.command[at..];
    let name = Path::new(path).file_name().unwrap().to_str().unwrap();
    let (program, ctl) = (world.program(name), built("rpcpluginctl"));
    let script = shown.command.replace(path, program.to_str().unwrap());
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &script]).current_dir(world.path()).env("TMPDIR", world.path());
    shell.env("PATH", format!("{}:/usr/bin:/bin", ctl.parent().unwrap().display()));
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = shell.spawn().unwrap();
    running.stdin.take().unwrap().write_all(shown.typed.as_bytes()).unwrap();
    let ended = running.wait_with_output().unwrap();
    assert!(ended.status.success(), "{script}: {ended:?}");
    assert!(ended.stderr.is_empty(), "{script}: {ended:?}");
    let project = if path.contains("examples") { "rpc_plugin_system" } else { name };
    let there = format!("/home/you/{project}/{path}");
    String::from_utf8(ended.stdout).unwrap().replace(program.to_str().unwrap(), &there)
}

#[test]
fn dev_prints_what_the_page_shows() {
    let world = World::new();
    let mut count = 0;
    for shown in transcripts().iter().filter(|shown| shown.command.contains("rpcpluginctl dev")) {
        let printed = dev(&world, shown);
        let what = format!("the page shows something else of: {}", shown.command);
        assert_same(&what, &lines_of_dev(&shown.printed), &lines_of_dev(&printed));
        count += 1;
    }
    assert_eq!(count, 2);
}

#[test]
fn a_plugin_that_is_started_by_hand_is_told_of_as_the_page_shows() {
    let shown = transcripts().into_iter().find(|shown| shown.command.contains("--wait echo")).unwrap();
    let (world, program) = (World::new(), "/usr/lib/plugins/echo");
    let echo = world.program("echo");
    let words = shown.command.replace(program, echo.to_str().unwrap());
    let words = words.strip_prefix("rpcplugind ").unwrap().split(' ');
    let mut daemon = Daemon::of(command(&world).args(words), &world.runtime_dir());
    let pid = daemon.pid().to_string();
    let as_here = |line: &str| {
        let here = line.replace("/run/rpcplugind", world.runtime_dir().to_str().unwrap());
        here.replace(program, echo.to_str().unwrap()).replace("=4242", &format!("={pid}"))
    };
    // The first line is the one that it has started with; that it is ready comes beside those about the plugin.
    let shown: Vec<String> = shown.printed.lines().skip(1).map(as_here).collect();
    let printed: Vec<String> = shown.iter().map(|_| daemon.any_line().trim_end().to_owned()).collect();
    let sorted = |lines: Vec<String>| {
        let (own, told): (Vec<_>, Vec<_>) =
            lines.into_iter().partition(|line| line.starts_with("rpcplugind "));
        [told, own].concat().join("\n")
    };
    assert_same("the page shows something else of --wait", &sorted(shown), &sorted(printed));
    daemon.signal(Signal::SIGTERM);
    daemon.ended();
}

/// The part of a source that is shown: without its first comment, and its tests.
fn shown_part(source: &str) -> String {
    let own = source.split("\n#[cfg(test)]").next().unwrap();
    let lines = own.lines().skip_while(|line| line.starts_with("//!") || line.is_empty());
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_first_plugin_is_the_example_and_is_short() {
    let page = page();
    let first = &blocks(&page, "rust,no_run")[0];
    assert_eq!(*first, shown_part(&read("examples/hello.rs")));
    assert!(first.lines().count() <= 15, "{} lines", first.lines().count());
    assert!(page.find("rpcpluginctl dev") < page.find("## A plugin and a host"), "dev comes first");
}

#[test]
fn the_three_projects_are_those_outside() {
    let page = page();
    let (tables, sources) = (blocks(&page, "toml"), blocks(&page, "rust,ignore"));
    let names = ["interface/src/lib.rs", "plugin/src/main.rs", "host/src/main.rs"];
    for (name, source) in names.iter().zip(&sources) {
        assert_eq!(*source, shown_part(&read(&format!("examples/outside/{name}"))), "{name}");
    }
    assert!(read("examples/outside/Cargo.toml").ends_with(&tables[1]));
    for (name, table) in ["interface", "plugin", "host"].iter().zip(&tables[2..]) {
        let manifest = read(&format!("examples/outside/{name}/Cargo.toml"));
        let (_, dependencies) = manifest.split_once("[dependencies]\n").unwrap();
        assert_eq!(*table, format!("[dependencies]\n{dependencies}"), "{name}");
    }
    assert_eq!((tables.len(), sources.len()), (5, 3));
    // What they print is compared by the gate, which builds them.
    let gate = read(".ci/run");
    for line in blocks(&page, "text")[0].lines() {
        assert!(gate.contains(line), "{line}");
    }
}
