//! The small things of what both programs print: outputs that nobody reads, the longest ids, counts of one, no text,
//! texts of several lines, durations as they were asked for, and nothing but ASCII of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::daemon::{Daemon, Ran, bare, command, run};
use crate::fixtures::world::{World, built, eventually};
use serde_json::{Value, json};
use std::process::{Command, Stdio};

/// What prints without a daemon.
const ALONE: &[(&str, &str)] = &[
    ("rpcpluginctl", "help"),
    ("rpcpluginctl", "help call"),
    ("rpcpluginctl", "--help"),
    ("rpcpluginctl", "--version"),
    ("rpcpluginctl", "--version --json"),
    ("rpcpluginctl", "version"),
    ("rpcplugind", "--help"),
    ("rpcplugind", "--version"),
    ("rpcplugind", "--version --json"),
];

/// What asks a daemon that has the plugin `echo`, or reads its record. The last ends it.
const ASKING: &[&str] = &[
    "call echo echo {\"message\":\"hello\"}",
    "capabilities",
    "capabilities echo",
    "echo echo --message hello",
    "heartbeat echo",
    "logs echo",
    "logs --all --json",
    "logs --daemon --summary",
    "logs --follow --all --timeout 100ms",
    "plugin echo",
    "plugins",
    "plugins --json",
    "restart echo",
    "routes",
    "start echo",
    "status",
    "status --json",
    "stop echo",
    "wait echo --for stopped",
    "shutdown",
];

/// Runs a program with its standard output closed, or led to somebody who has gone.
fn unread(program: &str, words: &[&str], is_closed: bool) -> Ran {
    let mut command = bare("/bin/sh".as_ref());
    let redirected = if is_closed { "exec \"$@\" >&-" } else { "exec \"$@\"" };
    command.args(["-c", redirected, "sh"]).arg(built(program)).args(words);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    drop(command);
    child.wait_with_output().unwrap().into()
}

#[test]
fn an_output_that_nobody_reads_is_no_error_of_any_command() {
    for is_closed in [true, false] {
        for (program, line) in ALONE {
            let ran = unread(program, &line.split(' ').collect::<Vec<_>>(), is_closed);
            assert!(ran.code == 0 && ran.stderr.is_empty(), "{program} {line}, closed: {is_closed}: {ran:?}");
        }
        let world = World::new();
        let echo = world.program("echo");
        let daemon = Daemon::start(&world, &["--plugin", &format!("echo={}", echo.display())]);
        daemon.wait_for("echo", "healthy");
        let dir = world.runtime_dir();
        for line in ASKING {
            let mut words: Vec<&str> = line.split(' ').collect();
            words.extend(["--runtime-dir", dir.to_str().unwrap()]);
            let ran = unread("rpcpluginctl", &words, is_closed);
            // How long it followed the record is told by its exit code, unless nobody reads what it prints.
            let expected: &[i32] = if line.contains("--follow") { &[0, 6] } else { &[0] };
            assert!(expected.contains(&ran.code), "{line}, closed: {is_closed}: {ran:?}");
            assert!(ran.code != 0 || ran.stderr.is_empty(), "{line}, closed: {is_closed}: {ran:?}");
        }
        let check = unread(
            "rpcplugind",
            &[
                "--check-config",
                "--plugin",
                &format!("echo={}", echo.display()),
                "--runtime-dir",
                dir.to_str().unwrap(),
            ],
            is_closed,
        );
        assert!(check.code == 0 && check.stderr.is_empty(), "closed: {is_closed}: {check:?}");
        let dev = unread("rpcpluginctl", &["dev", echo.to_str().unwrap()], is_closed);
        assert!(dev.code == 0 && dev.stderr.is_empty(), "closed: {is_closed}: {dev:?}");
    }
}

#[test]
fn a_command_that_fails_says_so_though_nobody_reads_its_output() {
    let world = World::new();
    let dir = world.runtime_dir();
    for is_closed in [true, false] {
        let ran = unread("rpcpluginctl", &["status", "--runtime-dir", dir.to_str().unwrap()], is_closed);
        assert!(ran.code == 3 && ran.stderr.starts_with("rpcpluginctl: error: "), "{ran:?}");
    }
    // One that takes no more is one that fails.
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ran = bare(&built("rpcpluginctl")).arg("help").stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let ran: Ran = ran.wait_with_output().unwrap().into();
    assert!(ran.code == 1 && ran.stderr.contains("cannot write to standard output"), "{ran:?}");
}

/// Where the words of a table's heading begin; every line must have a gap before each.
fn assert_aligned(table: &str, heading: &[&str]) {
    let mut lines = table.lines();
    let head = lines
        .find(|line| heading.iter().all(|word| line.contains(word)))
        .unwrap_or_else(|| panic!("{table}"));
    for word in &heading[1..] {
        let at = head.find(word).unwrap();
        for line in lines.clone().take_while(|line| !line.is_empty()) {
            let chars: Vec<char> = line.chars().collect();
            assert!(chars.get(at - 1).is_none_or(|before| *before == ' '), "{word} at {at}: {line}\n{table}");
            assert!(chars.get(at).is_none_or(|first| *first != ' '), "{word} at {at}: {line}\n{table}");
        }
    }
}

#[test]
fn the_longest_id_moves_no_column_of_any_table() {
    let world = World::new();
    // Of 64 bytes at the most, and twice in the path of a socket, which has 107.
    let longest = (100 - world.runtime_dir().as_os_str().len()) / 2;
    let (echo, long) = (world.program("echo"), "i".repeat(longest.min(64)));
    let mut daemon = Daemon::start(
        &world,
        &["--plugin", &format!("{long}={}", echo.display()), "--plugin", &format!("e={}", echo.display())],
    );
    for id in [&long, "e"] {
        daemon.wait_for(id, "healthy");
    }
    let table = |words: &[&str]| {
        let ran = daemon.ctl(words);
        assert_eq!(ran.code, 0, "{words:?}: {ran:?}");
        ran.stdout
    };
    let plugins = ["ID", "STATE", "DESIRED", "GEN", "PID", "UPTIME", "RESTARTS", "CALLS", "LAST ERROR"];
    assert_aligned(&table(&["plugins"]), &plugins);
    assert_aligned(&table(&["capabilities"]), &["ID", "STATE", "VERSION", "CAPABILITIES"]);
    assert_aligned(&table(&["routes"]), &["CAPABILITY", "PLUGIN", "MODE", "HEALTH", "GEN"]);
    let summary =
        ["RECORD", "EVENTS", "ERRORS", "WARNINGS", "FIRST", "LAST", "SEQ", "MISSING", "CORRUPT", "DAMAGED"];
    assert_aligned(&table(&["logs", "--all", "--summary"]), &summary);
    let logs = table(&["logs", "--all", "--event", "state_changed"]);
    let columns: Vec<usize> = logs.lines().map(|line| line.find("state_changed").unwrap()).collect();
    assert!(columns.len() >= 4 && columns.iter().all(|at| *at == columns[0]), "{logs}");
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(daemon.ended().success());
}

#[test]
fn versions_are_told_to_programs_too() {
    for (program, words) in [
        ("rpcpluginctl", &["--version", "--json"][..]),
        ("rpcpluginctl", &["--json", "--version"]),
        ("rpcpluginctl", &["version", "--json"]),
        ("rpcplugind", &["--version", "--json"]),
        ("rpcplugind", &["--json", "--version"]),
    ] {
        let ran = run(bare(&built(program)).args(words));
        let told: Value =
            serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{words:?}: {e}: {ran:?}"));
        let expected = json!({"program": program, "version": env!("CARGO_PKG_VERSION"), "protocol": 1});
        assert_eq!((ran.code, told), (0, expected), "{words:?}");
    }
}

#[test]
fn what_was_asked_for_is_what_is_said_and_lines_and_no_text_make_no_mess() {
    let world = World::new();
    let (echo, failure) = (world.program("echo"), world.program("failure"));
    let daemon = Daemon::start(
        &world,
        &[
            "--plugin",
            &format!("echo={}", echo.display()),
            "--plugin",
            &format!("failure={}", failure.display()),
        ],
    );
    for id in ["echo", "failure"] {
        daemon.wait_for(id, "healthy");
    }
    let late = daemon.ctl(&["call", "echo", "sleep", "{\"ms\": 60000}", "--timeout", "200ms"]);
    assert!(late.code == 6 && late.stderr.contains("no answer within 200ms\n"), "{late:?}");
    let error = |message: &str| {
        let params = json!({"error": {"code": 7, "message": message}}).to_string();
        let ran = daemon.ctl(&["call", "failure", "work", &params]);
        assert_eq!(ran.code, 1, "{ran:?}");
        ran.stderr
    };
    assert_eq!(error("no such key"), "rpcpluginctl: error: application (7): no such key\n");
    assert_eq!(error(""), "rpcpluginctl: error: application (7)\n");
    assert_eq!(error("first\n\n  second\r\n"), "rpcpluginctl: error: application (7): first |   second\n");
    let failed = eventually("they are on record", || {
        let logs = daemon.ctl(&["logs", "failure", "--event", "call_failed"]).stdout;
        (logs.lines().count() == 3).then_some(logs)
    });
    assert!(failed.is_ascii() && !failed.contains("()") && !failed.contains(": )"), "{failed}");
}

#[test]
fn both_programs_say_nothing_of_their_own_that_is_not_ascii() {
    let world = World::new();
    let ascii = |command: &mut Command| {
        let ran = run(command.env("LC_ALL", "C"));
        assert!(ran.stdout.is_ascii() && ran.stderr.is_ascii(), "{ran:?}");
        ran
    };
    // Long values, which are cut, and more errors than are told: one more.
    let long = "v".repeat(200);
    let settings: serde_json::Map<String, Value> =
        (0..21).map(|number| (format!("p{number}"), json!({"executable": "/x", "restart": long}))).collect();
    let config = world.path().join("config.json");
    std::fs::write(&config, json!({"plugins": settings}).to_string()).unwrap();
    let ran = ascii(command(&world).arg("--config").arg(&config));
    assert!(
        ran.code == 2 && ran.stderr.contains("\"...") && ran.stderr.contains("\nand 1 more error\n"),
        "{ran:?}"
    );
    let pages = [
        "call",
        "capabilities",
        "dev",
        "echo",
        "heartbeat",
        "logs",
        "plugin",
        "plugins",
        "restart",
        "routes",
    ];
    for page in pages.iter().chain(&["shutdown", "start", "status", "stop", "version", "wait", "help"]) {
        assert_eq!(ascii(bare(&built("rpcpluginctl")).args(["help", page])).code, 0, "{page}");
    }
    assert_eq!(ascii(bare(&built("rpcplugind")).arg("--help")).code, 0);
}

#[test]
fn the_folder_of_sinks_is_no_plugins_record() {
    let world = World::new();
    let sink = format!("unix-datagram={}", world.path().join("sink").display());
    let daemon = Daemon::start(
        &world,
        &["--plugin", &format!("e={}", world.program("echo").display()), "--log-sink", &sink],
    );
    daemon.wait_for("e", "healthy");
    let ran = daemon.ctl(&["logs", "sinks"]);
    assert!(ran.code == 4 && ran.stderr.contains("\"sinks\" is no plugin"), "{ran:?}");
    assert!(ran.stderr.contains("--daemon shows the daemon's own events"), "{ran:?}");
    let all = daemon.ctl(&["logs", "--all"]);
    assert!(all.code == 0 && !all.stdout.contains(" sinks "), "{all:?}");
    // Without an ID it is the one plugin's.
    assert!(daemon.ctl(&["logs"]).stdout.contains("e#1"));
}
