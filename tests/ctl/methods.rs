//! `rpcpluginctl methods` against a daemon that is played, and methods that were mistyped.

use crate::fixtures::ctl::{FakeDaemon, Reply};
use rpc_plugin_system::ctl::Exit;
use rpc_plugin_wire::{ErrorCode, ErrorObject};
use serde_json::{Value, json};

fn described() -> Value {
    json!({"plugin_id": "kv", "generation": 2, "methods": [
        {"name": "kv.get", "docs": "Returns the value of a key. Or null.\n\nMore.", "params": {"type": "object",
            "properties": {"key": {"type": "string"}, "any": {}}, "required": ["key"]},
            "result": {"type": ["string", "null"]}},
        {"name": "kv.import", "params": {"type": "object", "properties": {"source": {"type": "object",
            "format": "stream"}}, "required": ["source"]}, "streams": ["params.source"]},
    ]})
}

#[test]
fn methods_are_listed_and_one_is_shown_whole() {
    let daemon = FakeDaemon::new(Reply::Result(described().to_string()));
    let list = daemon.run(&["methods", "kv"]);
    let lines: Vec<&str> = list.stdout.lines().collect();
    assert_eq!(lines[0], "METHOD     PARAMS                  RESULT         DOCS", "{list:?}");
    assert_eq!(lines[1], "kv.get     any?: any, key: string  string | null  Returns the value of a key.");
    assert_eq!(lines[2], "kv.import  source: stream          any            -");
    let whole = daemon.run(&["methods", "kv", "kv.get"]).stdout;
    for part in ["method   kv.get\n", "\nMore.\n", "JSON Schema of params:\n{\n", "\"required\": [\n"] {
        assert!(whole.contains(part), "{whole} lacks {part:?}");
    }
    assert!(daemon.run(&["methods", "kv", "kv.import"]).stdout.contains("streams  params.source\n"));
    let all: Value = serde_json::from_str(&daemon.run(&["methods", "kv", "--json"]).stdout).unwrap();
    assert_eq!(all, described());
    let one = daemon.run(&["methods", "kv", "kv.get", "--json"]);
    let one: Value = serde_json::from_str(&one.stdout).unwrap();
    assert_eq!(one, described()["methods"][0]);
    let asked = daemon.asked();
    assert!(asked.iter().all(|asked| asked.method == "admin.describe"), "{asked:?}");
    assert_eq!(asked[0].params, r#"{"plugin_id":"kv"}"#);
}

#[test]
fn a_method_that_was_mistyped_is_told_from_the_one_that_was_meant() {
    let daemon = FakeDaemon::new(Reply::Result(described().to_string()));
    let ran = daemon.run(&["methods", "kv", "kv.gte"]);
    assert_eq!((ran.exit, &*ran.stdout), (Exit::Failed, ""));
    for part in
        ["kv describes no method \"kv.gte\"", "did you mean 'kv.get'? 'rpcpluginctl methods kv' lists"]
    {
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
    let far = daemon.run(&["methods", "kv", "frobnicate"]).stderr;
    assert!(far.contains("lists what it has") && !far.contains("did you mean"), "{far}");
}

#[test]
fn the_error_of_a_call_says_which_method_was_meant() {
    let error = ErrorObject::new(ErrorCode::MethodNotFound, "no such method");
    let of = |described: Reply| {
        let replies = vec![
            ("admin.call".to_owned(), Reply::Error(error.clone())),
            ("admin.describe".to_owned(), described),
        ];
        FakeDaemon::new(Reply::ByMethod(replies)).run(&["call", "kv", "kv.gte"])
    };
    let ran = of(Reply::Result(described().to_string()));
    assert_eq!(ran.exit, Exit::Failed);
    assert!(
        ran.stderr.contains("no such method") && ran.stderr.contains("did you mean 'kv.get'?"),
        "{}",
        ran.stderr
    );
    // A plugin that does not say, or a daemon that is older, costs nothing but the advice.
    let ran = of(Reply::Error(error.clone()));
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.stderr.contains("no such method") && !ran.stderr.contains("did you mean"), "{}", ran.stderr);
}

#[test]
fn a_plugin_that_does_not_describe_itself_is_told_with_what_to_do() {
    let error = ErrorObject::new(ErrorCode::MethodNotFound, "the plugin does not say what its methods are");
    let ran = FakeDaemon::new(Reply::Error(error)).run(&["methods", "kv"]);
    assert_eq!((ran.exit, &*ran.stdout), (Exit::Failed, ""));
    assert!(ran.stderr.contains("'rpcpluginctl capabilities kv' shows"), "{}", ran.stderr);
}
