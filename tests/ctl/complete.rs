//! Completion for shells, against a daemon that is played.

use crate::fixtures::ctl::{FakeDaemon, Folder, Reply, Run, plugin_json};
use rpc_plugin_system::ctl::Exit;
use serde_json::json;
use std::path::Path;

fn daemon() -> FakeDaemon {
    let described = json!({"plugin_id": "kv", "generation": 2, "methods": [
        {"name": "kv.get"}, {"name": "kv.get:all"}, {"name": "kv.put"}, {"name": "evil\u{1b}[31m $(reboot)"},
    ]});
    let plugins =
        format!(r#"{{"plugins":[{},{}]}}"#, plugin_json("kv", "healthy"), plugin_json("other", "healthy"));
    FakeDaemon::new(Reply::ByMethod(vec![
        ("admin.describe".to_owned(), Reply::Result(described.to_string())),
        ("admin.plugins".to_owned(), Reply::Result(plugins)),
    ]))
}

/// What completes the line; `word` is what bash takes for the word at the cursor.
fn completed_as(folder: &Path, line: &str, word: &str) -> Vec<String> {
    let point = line.len().to_string();
    let variables = [("COMP_LINE", line), ("COMP_POINT", &*point)];
    let run = Run { variables: &variables, ..Run::new(folder) };
    let ran = run.run(&["complete", "--", "rpcpluginctl", word, "before"]);
    assert_eq!((ran.exit, &*ran.stderr), (Exit::Ok, ""), "{line}");
    ran.stdout.lines().map(str::to_owned).collect()
}

fn completed(folder: &Path, line: &str) -> Vec<String> {
    completed_as(folder, line, line.rsplit(' ').next().unwrap())
}

#[test]
fn commands_flags_plugins_methods_and_states_are_completed() {
    let daemon = daemon();
    let table: [(&str, &[&str]); 16] = [
        ("rpcpluginctl pl", &["plugin", "plugins"]),
        ("rpcpluginctl help cap", &["capabilities"]),
        ("rpcpluginctl call --idem", &["--idempotent"]),
        ("rpcpluginctl plugin ", &["kv", "other"]),
        ("rpcpluginctl --timeout 3s --json plugin o", &["other"]),
        ("rpcpluginctl logs kv o", &["other"]),
        ("rpcpluginctl call kv ", &["kv.get", "kv.get:all", "kv.put"]),
        ("rpcpluginctl methods kv kv.p", &["kv.put"]),
        ("rpcpluginctl call --progress --plugin-id kv kv.p", &["kv.put"]),
        ("rpcpluginctl call --plugin-id=kv kv.p", &["kv.put"]),
        ("rpcpluginctl call --plugin-id k", &["kv"]),
        ("rpcpluginctl wait kv --for he", &["healthy"]),
        ("rpcpluginctl call kv kv.get ", &[]),
        ("rpcpluginctl call kv --timeout ", &[]),
        ("rpcpluginctl nonsense ", &["acknowledge", "approve", "call"]),
        ("", &["acknowledge", "approve", "call"]),
    ];
    for (line, expected) in table {
        let seen = completed(&daemon.folder.0, line);
        let seen: Vec<&str> = seen.iter().map(String::as_str).take(3).collect();
        assert_eq!(seen, expected, "{line:?}");
    }
}

#[test]
fn a_shell_that_breaks_words_at_a_colon_gets_the_rest() {
    let daemon = daemon();
    let folder = &daemon.folder.0;
    assert_eq!(completed_as(folder, "rpcpluginctl call kv kv.get:a", "a"), ["all"]);
    assert_eq!(completed_as(folder, "rpcpluginctl call kv kv.get:a", "kv.get:a"), ["kv.get:all"]);
    assert_eq!(completed_as(folder, "rpcpluginctl call kv kv.get:", ""), ["all"]);
}

#[test]
fn without_a_daemon_there_is_less_to_choose_from_and_no_failure() {
    let folder = Folder::new();
    assert_eq!(completed(&folder.0, "rpcpluginctl call kv "), Vec::<String>::new());
    assert_eq!(completed(&folder.0, "rpcpluginctl rou"), ["routes"]);
    let elsewhere = daemon();
    let line = format!("rpcpluginctl --runtime-dir {} plugin k", elsewhere.folder.0.display());
    assert_eq!(completed(&folder.0, &line), ["kv"]);
    let long = format!("rpcpluginctl {}", "x".repeat(1 << 20));
    assert_eq!(completed(&folder.0, &long), Vec::<String>::new());
}
