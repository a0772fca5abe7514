//! JSON-RPC 2.0 on the admin socket: the examples of section 7 of its specification, with what docs/protocol.md says is
//! otherwise, and what scripts do to a connection.

use crate::fixtures::daemon::{Daemon, Raw};
use crate::fixtures::world::{SOON, World, eventually};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

fn daemon(world: &World) -> Daemon {
    let echo = format!("echo={}", world.program("echo").display());
    let daemon = Daemon::start(world, &["--plugin", &echo]);
    daemon.wait_for("echo", "healthy");
    daemon
}

/// What is answered to these bytes by a daemon whose client then closes its sending end.
fn answers(daemon: &Daemon, bytes: &[u8]) -> Vec<Value> {
    let mut stream = UnixStream::connect(daemon.runtime_dir.join("admin.sock")).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let lines = BufReader::new(stream).lines().map(Result::unwrap);
    lines.map(|line| serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// Section 7, example by example, over one connection each; after each of them the connection still serves.
#[test]
fn section_7_of_the_specification_holds_but_for_batches_and_positions() {
    let world = World::new();
    let daemon = daemon(&world);
    let call = r#"{"jsonrpc":"2.0","method":"admin.call","params":{"plugin_id":"echo","method":"echo","params":{"minuend":42}},"id":3}"#;
    type Expected<'a> = &'a [(Value, i64)];
    let null = Value::Null;
    let table: [(&str, &str, Expected<'_>); 18] = [
        (
            "positional parameters",
            r#"{"jsonrpc":"2.0","method":"admin.plugin","params":["echo"],"id":1}"#,
            &[(json!(1), -32602)],
        ),
        (
            "the same in another order",
            r#"{"jsonrpc":"2.0","method":"admin.plugin","params":[23,42],"id":2}"#,
            &[(json!(2), -32602)],
        ),
        ("named parameters", call, &[(json!(3), 0)]),
        (
            "an id that is a string",
            r#"{"jsonrpc":"2.0","method":"admin.status","id":"1"}"#,
            &[(json!("1"), 0)],
        ),
        ("a notification", r#"{"jsonrpc":"2.0","method":"update","params":[1,2,3,4,5]}"#, &[]),
        ("a notification without params", r#"{"jsonrpc":"2.0","method":"foobar"}"#, &[]),
        ("one that would act as a request", r#"{"jsonrpc":"2.0","method":"admin.shutdown"}"#, &[]),
        (
            "a method that does not exist",
            r#"{"jsonrpc":"2.0","method":"foobar","id":"1"}"#,
            &[(json!("1"), -32601)],
        ),
        (
            "invalid JSON",
            r#"{"jsonrpc":"2.0","method":"foobar, "params":"bar","baz]"#,
            &[(null.clone(), -32700)],
        ),
        ("no request object", r#"{"jsonrpc":"2.0","method":1,"params":"bar"}"#, &[(null.clone(), -32600)]),
        ("another version", r#"{"jsonrpc":"1.0","method":"admin.status","id":4}"#, &[(json!(4), -32600)]),
        (
            "an id that is none",
            r#"{"jsonrpc":"2.0","method":"admin.status","id":1.5}"#,
            &[(null.clone(), -32600)],
        ),
        ("an answer", r#"{"jsonrpc":"2.0","id":5,"result":{}}"#, &[(json!(5), -32600)]),
        (
            "a batch of invalid JSON",
            r#"[{"jsonrpc":"2.0","method":"sum","id":"1"},{"jsonrpc":"2.0","method"]"#,
            &[(null.clone(), -32700)],
        ),
        ("an empty array", "[]", &[(null.clone(), -32600)]),
        // What is documented to be otherwise: one error for the whole array.
        ("an invalid batch", "[1,2,3]", &[(null.clone(), -32600)]),
        (
            "a batch",
            r#"[{"jsonrpc":"2.0","method":"admin.status","id":"1"},{"foo":"boo"}]"#,
            &[(null.clone(), -32600)],
        ),
        ("a batch of notifications", r#"[{"jsonrpc":"2.0","method":"update"}]"#, &[(null, -32600)]),
    ];
    for (what, request, expected) in table {
        let bytes =
            format!("{request}\n{{\"jsonrpc\":\"2.0\",\"method\":\"admin.status\",\"id\":\"last\"}}\n");
        let answers = answers(&daemon, bytes.as_bytes());
        assert!(answers.iter().all(|answer| answer["jsonrpc"] == "2.0"), "{what}: {answers:?}");
        let (last, others): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer["id"] == "last");
        assert!(
            last.len() == 1 && last[0]["result"].is_object(),
            "{what}: the connection goes on: {answers:?}"
        );
        let seen: Vec<_> = others
            .iter()
            .map(|answer| (answer["id"].clone(), answer["error"]["code"].as_i64().unwrap_or_default()))
            .collect();
        assert_eq!(seen, expected, "{what}: {answers:?}");
    }
}

#[test]
fn a_client_that_closes_its_sending_end_gets_its_answers_and_what_is_around_a_line_does_not_matter() {
    let world = World::new();
    let daemon = daemon(&world);
    let sleep = r#"{"jsonrpc":"2.0","id":1,"method":"admin.call","params":{"plugin_id":"echo","method":"sleep","params":{"ms":300}}}"#;
    let status = r#"{"jsonrpc":"2.0","id":2,"method":"admin.status"}"#;
    let answered = answers(&daemon, format!("\n  {sleep}\t \r\n\r\n{status} \n").as_bytes());
    let ids: Vec<_> =
        answered.iter().map(|answer| (answer["id"].clone(), answer["result"].is_object())).collect();
    assert_eq!(ids, [(json!(2), true), (json!(1), true)], "{answered:?}");
    // What has no line end is no frame; what was asked before it is answered all the same.
    let answered = answers(&daemon, format!("{status}\n{status}").as_bytes());
    assert_eq!(answered.len(), 2);
    assert!(answered[1]["id"].is_null() && answered[1]["error"]["code"] == -32700, "{answered:?}");
}

#[test]
fn a_hang_up_cancels_what_a_closed_sending_end_does_not() {
    let world = World::new();
    let daemon = daemon(&world);
    let mut client = Raw::connect(&daemon.runtime_dir);
    let params =
        json!({"plugin_id": "echo", "method": "sleep", "params": {"ms": 600_000}, "timeout_ms": 600_000});
    client.request(1, "admin.call", &params);
    client.stream.get_mut().shutdown(Shutdown::Write).unwrap();
    let in_flight = || daemon.json(&["status"])["calls_in_flight"].as_u64().unwrap();
    eventually("the call is in flight", || (in_flight() == 1).then_some(()));
    assert!(Raw::connect(&daemon.runtime_dir).is_served());
    assert_eq!(in_flight(), 1, "its client may still read");
    drop(client);
    eventually("it is cancelled ten minutes early", || (in_flight() == 0).then_some(()));
}

#[test]
fn a_cancel_ends_the_request_of_that_id_and_no_other() {
    let world = World::new();
    let daemon = daemon(&world);
    let mut client = Raw::connect(&daemon.runtime_dir);
    let sleep =
        json!({"plugin_id": "echo", "method": "sleep", "params": {"ms": 600_000}, "timeout_ms": 600_000});
    let wait = json!({"plugin_id": "echo", "state": "failed", "timeout_ms": 600_000});
    client.request(1, "admin.call", &sleep);
    client.request(2, "admin.wait", &wait);
    client.request(3, "admin.call", &sleep);
    // An id is one request's until that is answered.
    client.request(1, "admin.status", &json!({}));
    let refused = client.next().unwrap();
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&Value::Null, &json!(-32600)), "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("id 1 is not answered yet"), "{refused}");
    for id in [1, 1, 2, 77] {
        client
            .send(format!("{{\"jsonrpc\":\"2.0\",\"method\":\"rpc.cancel\",\"params\":{{\"id\":{id}}}}}\n"));
    }
    for id in [1, 2] {
        let cancelled = client.next().unwrap();
        assert_eq!(
            (&cancelled["id"], &cancelled["error"]["code"]),
            (&json!(id), &json!(-32800)),
            "{cancelled}"
        );
    }
    client.request(1, "admin.status", &json!({}));
    let status = client.next().unwrap();
    assert_eq!(status["id"], 1, "nothing was answered twice, and the id is free: {status}");
    eventually("the plugin is told", || (daemon.json(&["status"])["calls_in_flight"] == 1).then_some(()));
}

#[test]
fn content_length_framing_is_explained_before_the_close() {
    let world = World::new();
    let daemon = daemon(&world);
    let mut client = Raw::connect(&daemon.runtime_dir);
    client.send("Content-Length: 48\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"admin.status\"}");
    let answer = client.next().unwrap();
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&Value::Null, &json!(-32700)), "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("one JSON object a line"), "{answer}");
    let mut rest = Vec::new();
    let _ = client.stream.read_to_end(&mut rest);
    assert!(rest.is_empty(), "the connection ends");
}
