//! A plugin and its host over a socket pair: what a session does from the hello to its end.
//!
//! What it deliberately does not do: bytes that break the protocol; `bad_input.rs` does.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub, dead_code, clippy::type_complexity)]

use crate::fake_host::{FakeHost, HELLO_ANSWER, PATIENCE, code, config};
use crate::methods::plugin;
use rpc_plugin_sdk::{Call, End, Error, HandlerError, HealthStatus, Plugin};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

#[test]
fn the_hello_says_who_the_plugin_is() {
    let plugin =
        plugin().method("kv.get", |_: &Call, (): ()| Ok::<_, HandlerError>(1)).interface("kv", [1, 2]);
    let mut host = FakeHost::start(plugin, config());
    let hello = host.recv();
    assert_eq!(
        hello["params"],
        json!({
            "token": "07".repeat(32), "plugin_id": "tested", "generation": 3, "protocols": [1],
            "version": "1.2.3", "sdk": concat!("rust/", env!("CARGO_PKG_VERSION")),
            "capabilities": ["big", "block", "echo", "fail", "kv", "panic"],
            "interfaces": {"kv": [1, 2]}, "features": ["cancel", "progress", "fds", "callbacks", "chain"],
        })
    );
    host.end_of_stream();
    assert!(matches!(host.end(), Err(Error::HelloUnanswered(_))));
}

#[test]
fn a_plugin_that_does_one_thing_at_a_time_says_so() {
    let mut host = FakeHost::start(plugin().serial(), config());
    let features = host.recv()["params"]["features"].clone();
    assert_eq!(features, json!(["cancel", "progress", "fds", "callbacks", "chain", "serial"]));
    host.end_of_stream();
    assert!(matches!(host.end(), Err(Error::HelloUnanswered(_))));
    let mut host = FakeHost::start(plugin().serial().threads(2), config());
    let Err(Error::Definition(faults)) = host.end() else { panic!("it has two threads") };
    assert_eq!(faults, ["it is serial, and has 2 threads instead of 1"]);
}

#[test]
fn the_protocols_own_methods_are_provided() {
    let mut host = FakeHost::greeted(plugin());
    host.request(1, "plugin.capabilities", &json!({}));
    let capabilities = json!({"plugin_id": "tested", "version": "1.2.3", "generation": 3,
        "capabilities": ["big", "block", "echo", "fail", "panic"]});
    assert_eq!(host.recv(), json!({"jsonrpc": "2.0", "id": 1, "result": capabilities}));
    host.request(2, "echo", &json!({"a": [1, "é\n"]}));
    assert_eq!(host.recv()["result"], json!({"a": [1, "é\n"]}));
    host.request(3, "fail", &json!({}));
    let failure = host.recv();
    assert_eq!(failure["error"], json!({"code": 77, "message": "as asked", "data": {"why": [1, 2]}}));
    host.request(4, "plugin.heartbeat", &json!({}));
    let beat = host.recv()["result"].clone();
    assert_eq!(
        (&beat["status"], &beat["work_count"], &beat["error_count"]),
        (&json!("healthy"), &json!(2), &json!(1))
    );
    assert!(beat["last_success_unix_ms"].as_u64().unwrap() > 1_700_000_000_000, "{beat}");
    host.request(5, "plugin.shutdown", &json!({}));
    assert_eq!(host.recv(), json!({"jsonrpc": "2.0", "id": 5, "result": {}}));
    assert_eq!(host.end().unwrap(), End::Shutdown);
    assert_eq!(host.try_recv(), None);
}

#[test]
fn an_id_is_free_as_soon_as_its_answer_is_there() {
    let mut host = FakeHost::greeted(plugin());
    for round in 0..500 {
        host.request(1, "echo", &json!({"round": round}));
        assert_eq!(host.recv()["result"], json!({"round": round}));
    }
}

#[test]
fn heartbeat_and_shutdown_can_be_overridden() {
    let (told, shut_down) = mpsc::channel();
    let plugin = plugin().health(|| HealthStatus::Degraded).on_shutdown(move || told.send(()).unwrap());
    let mut host = FakeHost::greeted(plugin);
    host.request(1, "plugin.heartbeat", &json!({}));
    assert_eq!(host.recv()["result"]["status"], "degraded");
    host.request(2, "plugin.shutdown", &json!({}));
    assert_eq!(host.end().unwrap(), End::Shutdown);
    shut_down.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn a_health_check_that_panics_is_an_error_and_nothing_more() {
    let mut host = FakeHost::greeted(plugin().health(|| panic!("no pulse")));
    host.request(1, "plugin.heartbeat", &json!({}));
    let answer = host.recv();
    assert_eq!(code(&answer), -32603);
    assert!(answer["error"]["message"].as_str().unwrap().contains("no pulse"), "{answer}");
    host.request(2, "echo", &json!({}));
    assert_eq!(host.recv()["result"], json!({}));
}

#[test]
fn a_panicking_handler_answers_and_the_plugin_lives_on() {
    let mut host = FakeHost::greeted(plugin().threads(1));
    for id in 1..=3 {
        host.request(id, "panic", &json!({}));
        let answer = host.recv();
        assert_eq!(code(&answer), -32603);
        assert_eq!(answer["error"]["message"], "the handler panicked: on purpose");
    }
    host.request(4, "echo", &json!({"still": "here"}));
    assert_eq!(host.recv()["result"], json!({"still": "here"}));
}

#[test]
fn a_slow_handler_stops_neither_heartbeat_nor_others() {
    let mut host = FakeHost::greeted(plugin().threads(2));
    host.request(1, "block", &json!({}));
    host.request(2, "plugin.heartbeat", &json!({}));
    assert_eq!(host.recv()["id"], 2);
    host.request(3, "echo", &json!({}));
    assert_eq!(host.recv()["id"], 3);
    // Both threads taken, and the heartbeat still comes.
    host.request(4, "block", &json!({}));
    host.request(5, "plugin.heartbeat", &json!({}));
    assert_eq!(host.recv()["id"], 5);
    host.cancel(4);
    host.cancel(1);
    let mut cancelled = [host.recv(), host.recv()];
    cancelled.sort_by_key(|answer| answer["id"].as_u64());
    assert_eq!((&cancelled[0]["id"], code(&cancelled[0])), (&json!(1), -32800));
    assert_eq!((&cancelled[1]["id"], code(&cancelled[1])), (&json!(4), -32800));
}

#[test]
fn what_is_cancelled_in_the_queue_never_runs() {
    let ran = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&ran);
    let plugin = plugin().threads(1).method("mark", move |_: &Call, (): ()| {
        seen.store(true, Ordering::SeqCst);
        Ok::<_, HandlerError>(())
    });
    let mut host = FakeHost::greeted(plugin);
    host.request(1, "block", &json!({}));
    host.request(2, "mark", &json!({}));
    host.cancel(2);
    let answer = host.recv();
    assert_eq!((&answer["id"], code(&answer)), (&json!(2), -32800));
    host.cancel(2); // answered already: means nothing
    host.cancel(99); // never there: means nothing
    host.cancel(1);
    assert_eq!(host.recv()["id"], 1);
    host.request(2, "echo", &json!({}));
    assert_eq!(host.recv()["result"], json!({}), "an answered id may be used again");
    assert!(!ran.load(Ordering::SeqCst));
}

#[test]
fn a_full_queue_answers_overloaded() {
    let (started, running) = mpsc::channel();
    let plugin = plugin().threads(1).queue_max(2).method("hold", move |call: &Call, (): ()| {
        started.send(()).unwrap();
        call.wait(PATIENCE * 10)
    });
    let mut host = FakeHost::greeted(plugin);
    host.request(1, "hold", &json!({}));
    running.recv_timeout(PATIENCE).unwrap();
    for id in 2..=5 {
        host.request(id, "echo", &json!({}));
    }
    for id in 4..=5 {
        let answer = host.recv();
        assert_eq!((&answer["id"], code(&answer)), (&json!(id), -32005));
    }
    host.cancel(1);
    let left: Vec<Value> = (0..3).map(|_| host.recv()["id"].clone()).collect();
    assert_eq!(left, [1, 2, 3]);
}

#[test]
fn the_deadline_reaches_the_handler() {
    let plugin = plugin().method("left", |call: &Call, (): ()| {
        assert_eq!((call.method(), call.id().to_string()), ("left", call.id().to_string()));
        Ok::<_, HandlerError>(call.remaining().map(|left| left.as_millis()))
    });
    let mut host = FakeHost::greeted(plugin);
    host.send_line(r#"{"jsonrpc":"2.0","id":1,"method":"left","deadline_ms":90000}"#);
    let left = host.recv()["result"].as_u64().unwrap();
    assert!((60_000..=90_000).contains(&left), "{left}");
    host.send_line(r#"{"jsonrpc":"2.0","id":"two","method":"left"}"#);
    assert_eq!(host.recv(), json!({"jsonrpc": "2.0", "id": "two", "result": null}));
    host.send_line(&format!(r#"{{"jsonrpc":"2.0","id":3,"method":"left","deadline_ms":{}}}"#, u64::MAX));
    assert_eq!(host.recv()["id"], 3);
}

#[test]
fn an_answer_over_the_limit_names_size_and_limit() {
    let mut host = FakeHost::greeted(plugin());
    host.request(1, "big", &json!({"bytes": 65000}));
    assert_eq!(host.recv()["result"].as_str().unwrap().len(), 65000);
    host.request(2, "big", &json!({"bytes": 66000}));
    let answer = host.recv();
    assert_eq!(code(&answer), -32006);
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("66036") && message.contains("65536"), "{message}");
}

#[test]
fn unknown_methods_and_wrong_params_are_answered() {
    let mut host = FakeHost::greeted(plugin());
    let cases = [
        ("nothing", json!({}), -32601),
        ("plugin.nothing", json!({}), -32601),
        ("block", json!({"a": 1}), -32602),
    ];
    for (id, (method, params, expected)) in (1..).zip(cases) {
        host.request(id, method, &params);
        assert_eq!(code(&host.recv()), expected, "{method}");
    }
    host.send_line(r#"{"jsonrpc":"2.0","method":"rpc.later","params":{"x":1}}"#);
    host.send_line(r#"{"jsonrpc":"2.0","method":"echo"}"#);
    host.request(9, "echo", &json!({}));
    assert_eq!(host.recv()["id"], 9, "notifications are not answered");
}

#[test]
fn the_end_of_the_host_is_the_end_of_the_plugin() {
    let mut host = FakeHost::greeted(plugin());
    host.request(1, "block", &json!({}));
    host.end_of_stream();
    assert_eq!(host.end().unwrap(), End::HostGone);
}

#[test]
fn a_handler_that_heeds_nothing_does_not_keep_the_plugin() {
    let (started, running) = mpsc::channel();
    let (free, held) = mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let plugin = plugin().method("stuck", move |_: &Call, (): ()| {
        started.send(()).unwrap();
        let _ = held.lock().unwrap().recv();
        Ok::<_, HandlerError>(())
    });
    let mut host = FakeHost::greeted(plugin);
    host.request(1, "stuck", &json!({}));
    running.recv_timeout(PATIENCE).unwrap();
    host.request(2, "plugin.shutdown", &json!({}));
    assert_eq!(host.recv()["id"], 2);
    assert_eq!(host.end().unwrap(), End::Shutdown);
    assert_eq!(host.try_recv(), None, "the connection is closed though the handler still runs");
    drop(free);
}

#[test]
fn shutdown_answers_what_runs_and_what_waits() {
    let mut host = FakeHost::greeted(plugin().threads(1));
    for id in 1..=3 {
        host.request(id, "block", &json!({}));
    }
    host.request(4, "plugin.shutdown", &json!({}));
    let mut answers: Vec<Value> = std::iter::from_fn(|| host.try_recv()).collect();
    assert_eq!(answers.remove(0), json!({"jsonrpc": "2.0", "id": 4, "result": {}}));
    answers.sort_by_key(|answer| answer["id"].as_u64());
    let ids: Vec<(u64, i64)> = answers.iter().map(|a| (a["id"].as_u64().unwrap(), code(a))).collect();
    assert_eq!(ids, [(1, -32800), (2, -32800), (3, -32800)]);
    assert_eq!(host.end().unwrap(), End::Shutdown);
}

#[test]
fn a_host_that_floods_before_it_reads_gets_every_answer() {
    let mut host = FakeHost::greeted(plugin().queue_max(10_000));
    let mut bytes = Vec::new();
    for id in 0..10_000u64 {
        let method = if id % 100 == 0 { "plugin.heartbeat" } else { "echo" };
        bytes.extend_from_slice(
            format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":{method:?},\"params\":{{\"pad\":\"{}\"}}}}\n",
                "x".repeat(40)
            )
            .as_bytes(),
        );
    }
    host.send(&bytes);
    let mut seen = vec![false; 10_000];
    for _ in 0..10_000 {
        let answer = host.recv();
        let id = usize::try_from(answer["id"].as_u64().unwrap()).unwrap();
        assert!(answer.get("result").is_some(), "{answer}");
        assert!(!std::mem::replace(&mut seen[id], true), "{id} was answered twice");
    }
    host.end_of_stream();
    assert_eq!(host.end().unwrap(), End::HostGone);
}

#[test]
fn a_hello_that_is_never_answered_ends_at_its_deadline() {
    let config = rpc_plugin_sdk::Config { hello_timeout: Duration::from_millis(50), ..config() };
    let mut host = FakeHost::start(plugin(), config);
    // One byte now and then must not prolong it for ever.
    host.send(b"{");
    let error = host.end().unwrap_err();
    assert!(matches!(error, Error::HelloUnanswered(_)) && error.exit_code() == 69, "{error}");
    assert!(error.to_string().contains("50ms"), "{error}");
}

#[test]
fn a_wrong_definition_is_named_whole_before_anything_is_sent() {
    fn nothing(_: &Call, (): ()) -> Result<(), HandlerError> {
        Ok(())
    }
    let cases: [(&str, fn(Plugin) -> Plugin); 11] = [
        ("\"echo\" is there twice", |p| p.method("echo", nothing)),
        ("\"host.x\" is reserved", |p| p.method("host.x", nothing)),
        ("\"plugin.heartbeat\" is reserved", |p| p.method("plugin.heartbeat", nothing)),
        ("\"admin.x\" is reserved", |p| p.method("admin.x", nothing)),
        ("\"rpc.x\" is reserved", |p| p.method("rpc.x", nothing)),
        ("\"a b\" contains ' '", |p| p.method("a b", nothing)),
        ("\"\" is empty", |p| p.method("", nothing)),
        ("\"\" of method", |p| p.method("/b", nothing)),
        ("threads is 0", |p| p.threads(0)),
        ("queue_max is 0", |p| p.queue_max(0)),
        ("\"kv\" is there twice", |p| p.interface("kv", [1]).interface("kv", [2])),
    ];
    for (expected, break_it) in cases {
        let plugin = break_it(Plugin::new("v".repeat(65)).method("echo", nothing));
        let mut host = FakeHost::start(plugin, config());
        let error = host.end().unwrap_err();
        assert_eq!(error.exit_code(), 70);
        let text = error.to_string();
        assert!(text.contains(expected) && text.contains("version has 65 bytes"), "{text}");
        assert_eq!(host.try_recv(), None);
    }
    let mut host = FakeHost::start(Plugin::new("1"), config());
    assert!(host.end().unwrap_err().to_string().contains("no capabilities"));
}

/// Requests 2 to 5, a notification and a cancel for nothing.
fn transcript() -> Vec<String> {
    [
        HELLO_ANSWER,
        r#"{"jsonrpc":"2.0","id":1,"method":"plugin.capabilities"}"#,
        r#"{"jsonrpc":"2.0","id":2,"method":"plugin.heartbeat","params":{}}"#,
        r#"{"jsonrpc":"2.0","id":3,"method":"echo","params":{"text":"ä\u00e4\n"},"deadline_ms":5000}"#,
        r#"{"jsonrpc":"2.0","method":"rpc.cancel","params":{"id":77}}"#,
        r#"{"jsonrpc":"2.0","id":"four","method":"unknown","x":[1,{"y":null}]}"#,
        r#"{"jsonrpc":"2.0","id":5,"method":"panic"}"#,
    ]
    .map(|line| format!("{line}\n"))
    .to_vec()
}

/// Plays the transcript in these packets and checks every answer.
fn play_in_packets<'p>(packets: impl IntoIterator<Item = &'p [u8]>, name: &str) {
    let mut host = FakeHost::start_in_packets(plugin().threads(1), config());
    packets.into_iter().filter(|packet| !packet.is_empty()).for_each(|packet| host.send(packet));
    assert_eq!(host.recv()["method"], "host.hello");
    let mut answers: Vec<Value> = (0..5).map(|_| host.recv()).collect();
    answers.sort_by_key(|answer| answer["id"].to_string());
    assert_eq!(answers[0]["id"], "four", "{name}");
    assert_eq!(code(&answers[0]), -32601, "{name}");
    assert_eq!(answers[1]["result"]["plugin_id"], "tested", "{name}");
    assert_eq!(answers[2]["result"]["status"], "healthy", "{name}");
    assert_eq!(answers[3]["result"], json!({"text": "ää\n"}), "{name}");
    assert_eq!((&answers[4]["id"], code(&answers[4])), (&json!(5), -32603), "{name}");
    host.end_of_stream();
    assert_eq!(host.end().unwrap(), End::HostGone, "{name}");
}

#[test]
fn a_session_split_at_every_byte_is_the_same_session() {
    let bytes = transcript().concat().into_bytes();
    for at in 0..bytes.len() {
        let (first, second) = bytes.split_at(at);
        play_in_packets([first, second], &format!("split at {at}"));
    }
    play_in_packets(bytes.chunks(1), "byte by byte");
}

#[test]
fn a_session_cut_at_every_byte_ends_cleanly_or_says_why() {
    let mut lines = transcript();
    lines.push("{\"jsonrpc\":\"2.0\",\"id\":6,\"method\":\"plugin.shutdown\"}\n".to_owned());
    let bytes = lines.concat().into_bytes();
    let hello_end = lines[0].len();
    for at in 0..=bytes.len() {
        let mut host = FakeHost::start(plugin().threads(1), config());
        host.send(&bytes[..at]);
        host.end_of_stream();
        let at_line_end = at == 0 || bytes[at - 1] == b'\n';
        match host.end() {
            Ok(End::Shutdown) => assert_eq!(at, bytes.len()),
            Ok(End::HostGone) => assert!(at_line_end && at >= hello_end && at < bytes.len(), "cut at {at}"),
            Err(Error::HelloUnanswered(what)) => {
                assert_eq!((at, what.as_str()), (0, "it closed the connection"));
            }
            Err(Error::Violation(what)) => {
                assert!(!at_line_end && what.contains("bytes into a frame"), "cut at {at}: {what}");
            }
            other => panic!("cut at {at}: {other:?}"),
        }
    }
}
