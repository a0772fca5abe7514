//! `rpcpluginctl` against a live daemon: every command, as text and as JSON, and every exit code.
//!
//! How each answer is laid out is tested against a fake daemon; here both programs meet.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::daemon::{self, Daemon, bare, ctl, run};
use crate::fixtures::world::{World, built, eventually, is_alive};
use serde_json::{Value, json};
use std::io::Write;
use std::process::Stdio;

/// A daemon with a healthy echo plugin, and another that is down.
fn daemon(world: &World) -> Daemon {
    let path = world.path().join("config.json");
    let echo = world.program("echo");
    let plugins = json!({"plugins": {
        "echo": {"executable": echo}, "down": {"executable": echo, "autostart": false},
    }});
    std::fs::write(&path, plugins.to_string()).unwrap();
    let daemon = Daemon::start(world, &["--config", path.to_str().unwrap()]);
    daemon.wait_for("echo", "healthy");
    daemon
}

#[test]
fn every_command_that_looks_shows_the_living_daemon() {
    let world = World::new();
    let daemon = daemon(&world);
    let pid = daemon.pid().to_string();
    let version = env!("CARGO_PKG_VERSION");
    // The command, what its text has, and a pointer into its JSON with what is there.
    let table: [(&[&str], &[&str], &str, Value); 13] = [
        (&["status"], &[&pid, version, "plugins"], "/pid", json!(daemon.pid())),
        (&["plugins"], &["echo", "healthy", "down", "stopped"], "/plugins/1/state", json!("healthy")),
        (&["plugin", "echo"], &["healthy", "echo, sleep"], "/plugin_id", json!("echo")),
        (&["plugin", "--plugin-id", "down"], &["stopped"], "/desired", json!("down")),
        (&["capabilities"], &["crash", "sleep"], "/plugins/1/capabilities/1", json!("echo")),
        (&["capabilities", "echo"], &["crash", "sleep"], "/capabilities/2", json!("sleep")),
        (&["routes"], &["direct-plugin-id", "healthy", "echo"], "/routes/0/mode", json!("direct-plugin-id")),
        (&["heartbeat", "echo"], &["healthy"], "/heartbeat/status", json!("healthy")),
        (
            &["echo", "echo", "--message", "grüß\u{1b}[2J"],
            &["grüß\\x1b[2J\n"],
            "/result/message",
            json!("grüß\u{1b}[2J"),
        ),
        (&["call", "echo", "echo", "{\"a\": [1]}"], &["{\"a\": [1]}"], "/result/a/0", json!(1)),
        (&["routes"], &["capability  "], "/routes/3/mode", json!("capability")),
        (
            &["call", "--capability", "echo", "echo", "{\"a\": [1]}", "--idempotent", "--progress"],
            &["{\"a\": [1]}"],
            "/plugin_id",
            json!("echo"),
        ),
        (&["version"], &[version, "protocol"], "/protocol", json!(1)),
    ];
    for (words, parts, pointer, expected) in table {
        let ran = daemon.ctl(words);
        assert_eq!((ran.code, &*ran.stderr), (0, ""), "{words:?}: {ran:?}");
        for part in parts {
            assert!(ran.stdout.contains(part), "{words:?}: {} lacks {part:?}", ran.stdout);
        }
        assert!(!ran.stdout.contains('\u{1b}'), "{words:?}: {:?}", ran.stdout);
        let document = daemon.json(words);
        assert_eq!(document.pointer(pointer), Some(&expected), "{words:?}: {document}");
    }
    let help = daemon.ctl(&["help"]);
    assert!(help.code == 0 && help.stdout.contains("Exit codes"), "{help:?}");
}

#[test]
fn several_plugins_are_chosen_by_a_pattern_or_all_and_each_has_a_line() {
    let world = World::new();
    let path = world.path().join("config.json");
    let echo = world.program("echo");
    let plugins = json!({"plugins": {
        "db": {"executable": echo, "start": "manual"}, "kv-1": {"executable": echo, "start": "manual", "after": ["db"]},
        "kv-2": {"executable": echo, "start": "manual", "after": ["kv-1"]},
        "broken": {"executable": "/does/not/exist", "start": "manual"},
    }});
    std::fs::write(&path, plugins.to_string()).unwrap();
    let daemon = Daemon::start(&world, &["--config", path.to_str().unwrap()]);
    let lines = |words: &[&str]| -> (i32, Vec<String>) {
        let ran = daemon.ctl(words);
        let first = |line: &str| line.split([',', ' ']).take(2).collect::<Vec<_>>().join(" ");
        (ran.code, ran.stdout.lines().map(first).collect())
    };
    // Those that wait for one another come up together, whatever their order; the exit code is that of the one that fails.
    let (code, up) = lines(&["start", "--all"]);
    assert_eq!(code, 5);
    assert_eq!(up, ["broken: unavailable", "db: healthy", "kv-1: healthy", "kv-2: healthy"]);
    let list = daemon.json(&["restart", "kv-?"]);
    assert_eq!(list["plugins"][1]["status"]["generation"], 2, "{list}");

    let refused = daemon.ctl(&["stop", "db"]);
    assert_eq!(refused.code, 5);
    assert!(refused.stderr.contains("run: kv-1; stop them first"), "{refused:?}");
    assert_eq!(lines(&["stop", "kv-*"]), (0, vec!["kv-1: stopped".to_owned(), "kv-2: stopped".to_owned()]));
    assert_eq!(lines(&["start", "*[bv]*"]).0, 2, "that is no pattern of ids");
    assert_eq!(lines(&["start", "x*"]), (4, vec![]));
    assert_eq!(lines(&["start", "kv-*"]).0, 0);
    let stopped = daemon.ctl(&["stop", "db", "--with-dependents"]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert_eq!(daemon.json(&["plugin", "kv-2"])["state"], "stopped");
    let waiting = daemon.json(&["start", "kv-2", "--timeout", "0"]);
    assert_eq!((&waiting["state"], &waiting["waits_for"]), (&json!("starting"), &json!(["kv-1"])));
    let text = daemon.ctl(&["plugin", "kv-2"]).stdout;
    assert!(text.contains("waiting") && text.contains("waits for kv-1, which is stopped"), "{text}");
}

#[test]
fn every_command_that_acts_waits_until_it_is_done() {
    let world = World::new();
    let mut daemon = daemon(&world);
    let first = daemon.json(&["plugin", "echo"]);
    let restarted = daemon.ctl(&["restart", "echo"]);
    assert!(restarted.code == 0 && restarted.stdout.contains("healthy"), "{restarted:?}");
    let second = daemon.json(&["plugin", "echo"]);
    assert_eq!(second["generation"], first["generation"].as_u64().unwrap() + 1);
    assert!(!is_alive(first["pid"].as_u64().unwrap() as u32));

    assert!(daemon.ctl(&["stop", "echo"]).stdout.contains("stopped"));
    assert!(!is_alive(second["pid"].as_u64().unwrap() as u32));
    assert_eq!(daemon.json(&["plugin", "echo"])["pid"], Value::Null);
    assert_eq!(daemon.ctl(&["wait", "echo", "--for", "stopped"]).code, 0);
    let third = daemon.json(&["start", "echo"]);
    assert_eq!((&third["state"], &third["desired"]), (&json!("healthy"), &json!("up")));
    // Without waiting, the state at once.
    assert_eq!(daemon.json(&["stop", "echo", "--timeout", "0"])["desired"], "down");
    assert_eq!(daemon.json(&["start", "down"])["state"], "healthy");

    let ended = daemon.ctl(&["shutdown"]);
    assert_eq!((ended.code, &*ended.stdout), (0, "the daemon has ended\n"));
    assert_eq!(daemon.ended().code(), Some(0));
    // The record can be read without a daemon.
    let logs = daemon.ctl(&["logs", "echo", "-n", "1000"]);
    for part in ["launched", "authenticated", "admin_action", "exited"] {
        assert!(logs.code == 0 && logs.stdout.contains(part), "{part}: {logs:?}");
    }
    let own = daemon.ctl(&["logs", "--daemon", "--json"]);
    let last: Value = serde_json::from_str(own.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "host_stopped");
}

#[test]
fn params_are_read_from_standard_input() {
    let world = World::new();
    let daemon = daemon(&world);
    let mut command = bare(&built("rpcpluginctl"));
    command.args(["call", "echo", "echo", "-", "--runtime-dir"]).arg(&daemon.runtime_dir);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // More than a pipe or a socket buffer holds.
    let params = json!({"text": "x".repeat(1 << 20)}).to_string();
    child.stdin.take().unwrap().write_all(params.as_bytes()).unwrap();
    let ran = daemon::Ran::from(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stdout.trim_end() == params), (0, true), "{}", ran.stderr);
}

#[test]
fn a_plugin_that_answers_with_a_code_of_the_host_has_an_exit_code_of_its_own() {
    let world = World::new();
    let path = world.path().join("config.json");
    let plugins = json!({"plugins": {"failure": {"executable": world.program("failure")}}});
    std::fs::write(&path, plugins.to_string()).unwrap();
    let daemon = Daemon::start(&world, &["--config", path.to_str().unwrap()]);
    daemon.wait_for("failure", "healthy");
    let params = json!({"error": {"code": -32007, "message": "not you", "data": 7}}).to_string();
    let ran = daemon.ctl(&["call", "failure", "work", &params, "--json"]);
    let error: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!((ran.code, &error["error"]["name"]), (9, &json!("plugin_answered")), "{ran:?}");
    assert_eq!(error["error"]["data"]["data"], 7, "{error}");
}

#[test]
fn every_exit_code_is_what_the_help_says() {
    let world = World::new();
    let daemon = daemon(&world);
    let sleep = ["call", "echo", "sleep", "{\"ms\": 600000}", "--timeout", "200ms"];
    // The command, its exit code, the name of the error, and what standard error has.
    let table: [(&[&str], i32, &str, &str); 17] = [
        (&["call", "echo", "nothing"], 1, "method_not_found", "no capability \"nothing\""),
        (&["call", "echo", "sleep", "{\"ms\": \"long\"}"], 1, "invalid_params", "-32602"),
        (&["call", "echo", "crash", "{\"how\": \"panic\"}"], 1, "internal_error", ""),
        (&["nonsense"], 2, "usage", "nonsense"),
        (&["plugin"], 2, "usage", "ID"),
        (&["call", "echo", "echo", "[1]"], 2, "usage", "object"),
        (&["wait", "echo", "--for", "splendid"], 2, "usage", "splendid"),
        (&["plugin", "nobody"], 4, "unknown_plugin", "nobody"),
        (&["restart", "nobody"], 4, "unknown_plugin", "nobody"),
        (&["echo", "down", "--message", "x"], 5, "unavailable", "the plugin is stopped"),
        (&["call", "--capability", "kv", "kv.get"], 5, "unavailable", "for the capability \"kv\""),
        (&["heartbeat", "down"], 5, "unavailable", "stopped"),
        (&sleep, 6, "deadline_exceeded", "may have carried the call out"),
        (
            &["wait", "down", "--for", "healthy", "--timeout", "100ms"],
            6,
            "deadline_exceeded",
            "it is stopped",
        ),
        (&["call", "echo", "plugin.shutdown"], 7, "denied", "belong to the protocol"),
        (&["call", "echo", "host.hello"], 7, "denied", "belong to the protocol"),
        (
            &["call", "echo", "crash", "{\"how\": \"kill\"}"],
            5,
            "plugin_lost",
            "may have carried the call out",
        ),
    ];
    for (words, code, name, part) in table {
        let ran = daemon.ctl(words);
        assert_eq!((ran.code, &*ran.stdout), (code, ""), "{words:?}: {ran:?}");
        assert!(ran.stderr.starts_with("rpcpluginctl: ") && ran.stderr.contains(part), "{words:?}: {ran:?}");
        if words.contains(&"crash") {
            // Once is enough; the same is asked no second time.
            continue;
        }
        let ran = daemon.ctl(&[words, &["--json"]].concat());
        assert_eq!(ran.code, code, "{words:?}: {ran:?}");
        let error: Value = serde_json::from_str(&ran.stderr).unwrap();
        assert_eq!(
            (&error["error"]["name"], &error["error"]["exit_code"]),
            (&json!(name), &json!(code)),
            "{words:?}: {error}"
        );
    }
    let nowhere = ctl(&world.path().join("nowhere"), &["status"]);
    assert_eq!(nowhere.code, 3, "{nowhere:?}");
    assert!(
        nowhere.stderr.contains("no runtime folder at") && nowhere.stderr.contains("is rpcplugind running?")
    );
    drop(daemon);
    // Its socket is left, since it was killed. A child that it was just launching has a copy until it ends too.
    let dead = eventually("nobody listens any more", || {
        let ran = ctl(&world.runtime_dir(), &["status"]);
        ran.stderr.contains("connection refused").then_some(ran)
    });
    assert_eq!(dead.code, 3, "{dead:?}");
    let unknown = run(bare(&built("rpcpluginctl")).arg("status").env("RUNTIME_DIRECTORY", "relative"));
    assert_eq!(unknown.code, 2, "{unknown:?}");
}

#[test]
fn many_clients_at_once_are_all_served() {
    let world = World::new();
    let daemon = daemon(&world);
    let runs: Vec<_> = (0..16)
        .map(|n| {
            let runtime_dir = daemon.runtime_dir.clone();
            std::thread::spawn(move || {
                ctl(&runtime_dir, &["echo", "echo", "--message", &format!("hello {n}")])
            })
        })
        .collect();
    for (n, run) in runs.into_iter().enumerate() {
        assert_eq!(run.join().unwrap().stdout, format!("hello {n}\n"));
    }
}
