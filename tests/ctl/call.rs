//! `rpcpluginctl call` by capability, repeated, and with progress, against a fake daemon.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::ctl::{FakeDaemon, Reply};
use rpc_plugin_system::ctl::Exit;
use serde_json::{Value, json};

const CALL: &str = r#"{"plugin_id":"kv2","generation":3,"result":{"value":7},"duration_us":412}"#;

#[test]
fn a_capability_takes_the_place_of_the_plugin() {
    let daemon = FakeDaemon::new(Reply::Result(CALL.to_owned()));
    let ran = daemon.run(&["call", "--capability", "kv", "kv.get", r#"{"key":1}"#]);
    assert_eq!((ran.exit, &*ran.stdout, &*ran.stderr), (Exit::Ok, "{\"value\":7}\n", ""));
    let ran = daemon.run(&["call", "kv.get", "--capability", "kv", "--idempotent", "--json"]);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document["plugin_id"], "kv2", "which one answered");
    let asked: Vec<Value> =
        daemon.asked().iter().map(|asked| serde_json::from_str(&asked.params).unwrap()).collect();
    let bare = json!({"capability": "kv", "method": "kv.get", "timeout_ms": 30_000});
    let (mut first, mut second) = (bare.clone(), bare);
    first["params"] = json!({"key": 1});
    second["idempotent"] = json!(true);
    assert_eq!(asked, [first, second]);
}

#[test]
fn what_contradicts_itself_or_lacks_a_word_is_refused_before_anything_is_asked() {
    let daemon = FakeDaemon::new(Reply::Result(CALL.to_owned()));
    let table: [(&[&str], &str); 4] = [
        (
            &["call", "--capability", "kv", "--plugin-id", "a", "kv.get"],
            "--plugin-id names the plugin already",
        ),
        (&["call", "--capability", "kv"], "'call' lacks its METHOD"),
        (&["call", "kv.get"], "'call' lacks its METHOD"),
        (&["call", "--capability", "kv", "kv.get", "{}", "more"], "--capability already stands for ID"),
    ];
    for (words, why) in table {
        let ran = daemon.run(words);
        assert_eq!(ran.exit, Exit::Usage, "{words:?}");
        assert!(ran.stderr.contains(why), "{words:?}: {}", ran.stderr);
    }
    assert!(daemon.asked().is_empty());
}

#[test]
fn progress_goes_to_standard_error_and_the_result_to_standard_output() {
    let progress = |id: u64, value: &str| {
        format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"rpc.progress\",\"params\":{{\"id\":{id},\"value\":{value}}}}}\n"
        )
    };
    let frames = [
        progress(1, "{\"percent\": 10}"),
        // Of another request, of no request, and something else: passed over.
        progress(2, "\"another\""),
        "{\"jsonrpc\":\"2.0\",\"method\":\"rpc.progress\",\"params\":{\"value\":1}}\n".to_owned(),
        "{\"jsonrpc\":\"2.0\",\"method\":\"rpc.progress\"}\n".to_owned(),
        "{\"jsonrpc\":\"2.0\",\"method\":\"rpc.other\",\"params\":{\"id\":1,\"value\":2}}\n".to_owned(),
        progress(1, "\"\u{9b}2J done\""),
        format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{CALL}}}\n"),
    ];
    let daemon = FakeDaemon::new(Reply::Raw(frames.concat().into_bytes()));
    let ran = daemon.run(&["call", "kv", "kv.fill", "--progress"]);
    assert_eq!((ran.exit, &*ran.stdout), (Exit::Ok, "{\"value\":7}\n"));
    assert_eq!(ran.stderr, "{\"percent\": 10}\n\"\\u009b2J done\"\n");
    let asked: Value = serde_json::from_str(&daemon.asked()[0].params).unwrap();
    assert_eq!(asked["progress"], true);
    let ran = daemon.run(&["call", "kv", "kv.fill", "--progress", "--json"]);
    assert_eq!(ran.stdout.trim_end(), CALL);
    let lines: Vec<Value> = ran.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, [json!({"progress": {"percent": 10}}), json!({"progress": "\u{9b}2J done"})]);
}
