//! Over a hundred ways in which a host can break the protocol, and what the SDK says to each: one clear
//! error, no panic, no hang.
//!
//! What it deliberately does not do: faults of the environment; `environment.rs` does.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub, dead_code)]

use crate::fake_host::{FakeHost, HELLO_ANSWER, code, config};
use crate::methods::plugin;
use rpc_plugin_peer::BAD_FRAMES_MAX;
use rpc_plugin_sdk::{Call, Error, HandlerError};
use serde_json::{Value, json};

/// What the host does after its bytes.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    /// Keeps the connection: the bytes alone must end the session.
    Waits,
    /// Sends no more.
    Closes,
}
use Then::{Closes, Waits};

/// Runs one case; the error that the plugin ended with.
fn ends_with(greeted: bool, bytes: &[u8], then: Then) -> Error {
    let mut host = if greeted { FakeHost::greeted(plugin()) } else { FakeHost::start(plugin(), config()) };
    // One frame that is no message may cost no more than what it is about; the seventeenth ends the session.
    let times = if greeted && then == Waits && bytes.len() < 10_000 { BAD_FRAMES_MAX + 1 } else { 1 };
    host.send(&bytes.repeat(times));
    if then == Closes {
        host.end_of_stream();
    }
    match host.end() {
        Err(error) => error,
        Ok(end) => panic!("{:?} was taken as good: {end:?}", String::from_utf8_lossy(bytes)),
    }
}

fn check(greeted: bool, bytes: &[u8], then: Then, expected: &str, exit_code: u8) {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    let error = ends_with(greeted, bytes, then);
    let text = error.to_string();
    assert!(text.contains(expected), "{shown:?}\n  says   {text:?}\n  wanted {expected:?}");
    assert_eq!(error.exit_code(), exit_code, "{shown:?}: {text}");
}

fn hello_result(result: &str) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{result}}}\n")
}

fn changed(from: &str, to: &str) -> String {
    assert!(HELLO_ANSWER.contains(from), "{from}");
    format!("{}\n", HELLO_ANSWER.replace(from, to))
}

/// What is sent, and a part of what is said to it.
type Case = (Vec<u8>, &'static str);

fn text(line: &str) -> Vec<u8> {
    format!("{line}\n").into_bytes()
}

/// Lines that are not JSON objects of this protocol.
fn never_frames() -> Vec<Case> {
    let deep = |levels: usize| {
        let nested = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        text(&format!("{{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"x\":{nested}}}"))
    };
    vec![
        (text(""), "not one JSON object"),
        (text(" "), "not one JSON object"),
        (text("\r"), "not one JSON object"),
        (text("null"), "not one JSON object"),
        (text("[]"), "not one JSON object"),
        (text("[{}]"), "not one JSON object"),
        (text("\"{}\""), "not one JSON object"),
        (text("HTTP/1.1 400 Bad Request"), "not one JSON object"),
        (text(" {}"), "not one JSON object"),
        (text("{} "), "not one JSON object"),
        (text("{}\r"), "not one JSON object"),
        (text("\u{feff}{}"), "not one JSON object"),
        (text("{"), "not one JSON object"),
        (text("}"), "not one JSON object"),
        (b"\0\0\0\n".to_vec(), "not one JSON object"),
        (b"{\"a\":\"\xff\"}\n".to_vec(), "not UTF-8 at byte 6"),
        (b"{\xc3}\n".to_vec(), "not UTF-8 at byte 1"),
        (b"{\"a\":\"\xed\xa0\x80\"}\n".to_vec(), "not UTF-8 at byte 6"),
        (b"{\"a\":\"\xc0\xaf\"}\n".to_vec(), "not UTF-8 at byte 6"),
        (text("{}{}"), "does not parse"),
        (text("{a:1}"), "does not parse"),
        (text("{'a':1}"), "does not parse"),
        (text("{\"a\":}"), "does not parse"),
        (text("{\"a\":1,}"), "does not parse"),
        (text("{\"a\":01}"), "does not parse"),
        (text("{\"a\":NaN}"), "does not parse"),
        (text("{\"a\":\"\t\"}"), "does not parse"),
        (text("{\"a\":\"\\x\"}"), "does not parse"),
        (text("{\"a\":[}"), "does not parse"),
        (text("{\"jsonrpc\":2.0,\"method\":\"m\"}"), "is not a message"),
        (deep(128), "nested deeper than 128"),
        (deep(4000), "nested deeper than 128"),
    ]
}

/// Objects that are not messages.
fn never_messages() -> Vec<Case> {
    vec![
        (text("{}"), "`jsonrpc` is not"),
        (text("{\"jsonrpc\":\"1.0\",\"method\":\"m\"}"), "`jsonrpc` is not"),
        (text("{\"method\":\"m\"}"), "`jsonrpc` is not"),
        (text("{\"jsonrpc\":\"2.0\"}"), "neither `method` nor `id`"),
        (text("{\"jsonrpc\":\"2.0\",\"id\":1}"), "no `method`, `result` or `error`"),
        (text("{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"m\"}"), "`id` of a request is null"),
        (text("{\"jsonrpc\":\"2.0\",\"id\":-1,\"method\":\"m\"}"), "is not a message"),
        (text("{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"m\"}"), "is not a message"),
        (text("{\"jsonrpc\":\"2.0\",\"id\":true,\"method\":\"m\"}"), "is not a message"),
        (text("{\"jsonrpc\":\"2.0\",\"id\":\"\",\"method\":\"m\"}"), "is not a message"),
        (text("{\"jsonrpc\":\"2.0\",\"id\":[1],\"method\":\"m\"}"), "is not a message"),
        (text("{\"jsonrpc\":\"2.0\",\"id\":9007199254740992,\"method\":\"m\"}"), "is not a message"),
        (
            text(&format!("{{\"jsonrpc\":\"2.0\",\"id\":\"{}\",\"method\":\"m\"}}", "x".repeat(65))),
            "is not a message",
        ),
        (text("{\"jsonrpc\":\"2.0\",\"id\":2,\"id\":3,\"method\":\"m\"}"), "is there twice"),
        (text("{\"jsonrpc\":\"2.0\",\"jsonrpc\":\"2.0\",\"method\":\"m\"}"), "is there twice"),
        (text("{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"m\\u0065thod\":\"m\"}"), "is there twice"),
        (text("{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"params\":{},\"params\":{}}"), "is there twice"),
        (text("{\"jsonrpc\":\"2.0\",\"method\":1}"), "is not a message"),
        (text("{\"jsonrpc\":\"2.0\",\"method\":null}"), "is not a message"),
        (text("{\"jsonrpc\":\"2.0\",\"method\":\"\"}"), "method name is empty"),
        (text("{\"jsonrpc\":\"2.0\",\"method\":\"a b\"}"), "method name contains ' '"),
        (text("{\"jsonrpc\":\"2.0\",\"method\":\"\\u0000\"}"), "method name contains"),
        (text(&format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{}\"}}", "m".repeat(129))), "method name has 129"),
        (text("{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"params\":[]}"), "`params` is not an object"),
        (text("{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"params\":null}"), "`params` is not an object"),
        (text("{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"params\":\"{}\"}"), "`params` is not an object"),
        (text("{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"deadline_ms\":-1}"), "is not a message"),
        (text("{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"deadline_ms\":\"1\"}"), "is not a message"),
        (text("{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"fds\":17}"), "`fds` is more than 16"),
        (text("{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"fds\":-1}"), "is not a message"),
        (text("{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"chain\":{}}"), "`chain`: it is an object"),
        (text("{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"progress\":1}"), "is not a message"),
        (text("{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"result\":1}"), "`method` and an answer"),
        (
            text("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":1,\"error\":{\"code\":1,\"message\":\"\"}}"),
            "`result` and `error`",
        ),
        (text("{\"jsonrpc\":\"2.0\",\"id\":null,\"result\":1}"), "null `id`"),
        (text("{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":\"no\"}"), "is not a message"),
        (
            text("{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":\"1\",\"message\":\"\"}}"),
            "is not a message",
        ),
        (text("{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":1}}"), "is not a message"),
    ]
}

#[test]
fn frames_that_are_none_end_the_session_before_and_after_the_hello() {
    let cases = [never_frames(), never_messages()].concat();
    assert!(cases.len() >= 70, "{}", cases.len());
    for (bytes, expected) in cases {
        check(false, &bytes, Waits, expected, 76);
        check(true, &bytes, Waits, expected, 76);
    }
}

#[test]
fn frames_over_the_limit_end_the_session_while_they_arrive() {
    // Before the hello is answered the limit is 16 KiB, whatever the answer will say.
    check(false, &vec![b'x'; 16 * 1024 + 1], Waits, "longer than the 16384 bytes", 76);
    check(false, format!("{}{HELLO_ANSWER}\n", " ".repeat(17_000)).as_bytes(), Waits, "16384", 76);
    // After it, the one that the answer named.
    check(true, &vec![b'{'; 65536 + 1], Waits, "longer than the 65536 bytes", 76);
    check(true, &vec![b'\0'; 200_000], Waits, "longer than the 65536 bytes", 76);
}

#[test]
fn a_stream_that_ends_inside_a_frame_is_named_as_such() {
    for bytes in [&b"{"[..], b"{}", b"x", b"\0", b"{\"jsonrpc\":\"2.0\",\"method\":\"m\"}"] {
        check(false, bytes, Closes, &format!("ended {} bytes into a frame", bytes.len()), 76);
        check(true, bytes, Closes, &format!("ended {} bytes into a frame", bytes.len()), 76);
    }
    check(false, b"", Closes, "closed the connection", 69);
}

#[test]
fn answers_to_the_hello_that_agree_on_nothing_are_refused() {
    let request = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"plugin.heartbeat\"}\n".to_owned();
    let cases: Vec<(String, &str, u8)> = vec![
        (hello_result("null"), "does not parse", 76),
        (hello_result("{}"), "`protocol` is missing", 76),
        (hello_result("[]"), "does not parse", 76),
        (hello_result("\"ok\""), "does not parse", 76),
        (hello_result("true"), "does not parse", 76),
        (changed("\"protocol\":1", "\"protocol\":2"), "chose protocol 2", 76),
        (changed("\"protocol\":1", "\"protocol\":0"), "chose protocol 0", 76),
        (changed("\"protocol\":1", "\"protocol\":-1"), "does not parse", 76),
        (changed("\"protocol\":1", "\"protocol\":4294967297"), "does not parse", 76),
        (changed("\"protocol\":1", "\"protocol\":\"1\""), "does not parse", 76),
        (changed("\"protocol\":1,", "\"protocol\":1,\"protocol\":1,"), "is there twice", 76),
        (changed("\"host\":\"test/1\",", ""), "`host` is missing", 76),
        (changed("\"test/1\"", "7"), "does not parse", 76),
        (changed("\"frame_bytes_max\":65536,", ""), "`frame_bytes_max` is missing", 76),
        (changed("65536", "0"), "frame_bytes_max of 0, allowed is 16384 to 268435456", 76),
        (changed("65536", "16383"), "frame_bytes_max of 16383", 76),
        (changed("65536", "268435457"), "frame_bytes_max of 268435457", 76),
        (changed("65536", "18446744073709551616"), "does not parse", 76),
        (changed("65536", "65536.5"), "does not parse", 76),
        (changed("65536", "null"), "does not parse", 76),
        (changed("1000", "-1"), "does not parse", 76),
        (changed("\"interfaces\":{}", "\"interfaces\":[]"), "does not parse", 76),
        (changed("\"interfaces\":{}", "\"interfaces\":{\"kv\":\"2\"}"), "does not parse", 76),
        (changed("[\"cancel\"]", "\"cancel\""), "does not parse", 76),
        (changed("[\"cancel\"]", "[1]"), "does not parse", 76),
        (changed("\"id\":1,", "\"id\":2,"), "has the id 2 instead of 1", 76),
        (changed("\"id\":1,", "\"id\":\"1\","), "has the id \"1\" instead of 1", 76),
        (changed("\"id\":1,", "\"id\":1,\"fds\":1,"), "file descriptors", 76),
        (request, "\"plugin.heartbeat\" before it answered the hello", 76),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32001,\"message\":\"wrong token\"}}\n"
                .to_owned(),
            "rejected this plugin's hello: not_authenticated (-32001): wrong token",
            77,
        ),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700,\"message\":\"what?\"}}\n"
                .to_owned(),
            "parse_error (-32700): what?",
            77,
        ),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":5,\"error\":{\"code\":1,\"message\":\"\"}}\n".to_owned(),
            "has the id 5 instead of 1",
            76,
        ),
    ];
    assert!(cases.len() >= 30);
    for (bytes, expected, exit_code) in cases {
        check(false, bytes.as_bytes(), Waits, expected, exit_code);
    }
}

#[test]
fn a_notification_before_the_answer_means_nothing() {
    let bytes = format!("{{\"jsonrpc\":\"2.0\",\"method\":\"rpc.later\"}}\n{HELLO_ANSWER}\nx\n");
    check(false, bytes.as_bytes(), Waits, "not one JSON object", 76);
}

#[test]
fn messages_out_of_place_end_the_session() {
    let cases = [
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            "an answer to unknown id 1, which does not wait any more",
        ),
        (r#"{"jsonrpc":"2.0","id":2,"result":null}"#, "unknown id 2, which was never asked"),
        (r#"{"jsonrpc":"2.0","id":"x","error":{"code":1,"message":""}}"#, "an answer to unknown id \"x\""),
        (r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}"#, "it could not read a frame"),
        (r#"{"jsonrpc":"2.0","id":3,"method":"echo","fds":1}"#, "file descriptors"),
        (r#"{"jsonrpc":"2.0","method":"echo","fds":16}"#, "file descriptors"),
        (r#"{"jsonrpc":"2.0","method":"rpc.cancel"}"#, "rpc.cancel has invalid params"),
        (r#"{"jsonrpc":"2.0","method":"rpc.cancel","params":{}}"#, "rpc.cancel has invalid params"),
        (r#"{"jsonrpc":"2.0","method":"rpc.cancel","params":{"id":null}}"#, "rpc.cancel has invalid params"),
        (r#"{"jsonrpc":"2.0","method":"rpc.cancel","params":{"id":-1}}"#, "rpc.cancel has invalid params"),
        (r#"{"jsonrpc":"2.0","method":"rpc.cancel","params":{"id":{}}}"#, "rpc.cancel has invalid params"),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"block\"}\n{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"block\"}",
            "request id 7 waits for an answer already",
        ),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"block\"}\n{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"plugin.heartbeat\"}",
            "request id \"a\" waits for an answer already",
        ),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"block\"}\n{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"unknown\"}",
            "request id 7 waits for an answer already",
        ),
    ];
    for (line, expected) in cases {
        check(true, format!("{line}\n").as_bytes(), Waits, expected, 76);
    }
}

#[test]
fn any_byte_changed_in_a_session_is_no_panic_and_no_hang() {
    let good = format!(
        "{HELLO_ANSWER}\n{}\n{}\n{}\n",
        r#"{"jsonrpc":"2.0","id":1,"method":"echo","params":{"a":1}}"#,
        r#"{"jsonrpc":"2.0","method":"rpc.cancel","params":{"id":1}}"#,
        r#"{"jsonrpc":"2.0","id":2,"method":"plugin.heartbeat"}"#,
    );
    for at in 0..good.len() {
        for bad in [b'\n', b'"', b'9', 0xff] {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = bad;
            let mut host = FakeHost::start(plugin().threads(1), config());
            host.send(&bytes);
            host.end_of_stream();
            // Either is right; `end` panics on a hang or a panic.
            let _ = host.end();
        }
    }
}

#[test]
fn a_frame_that_is_no_message_costs_what_it_is_about() {
    let asking = plugin().method("ask", |call: &Call, (): ()| {
        let error = call.host().call::<_, Value>("svc", &()).unwrap_err();
        Ok::<_, HandlerError>(json!([error.code.name(), error.outcome.as_str(), error.message]))
    });
    let mut host = FakeHost::greeted(asking);
    for id in 0..3 {
        host.request(id, "ask", &json!({}));
    }
    let nested: Vec<Value> = (0..3).map(|_| host.expect("svc")["id"].clone()).collect();
    host.send_line(&format!(r#"{{"jsonrpc":"2.0","result":{{"mean":NaN}},"id":{}}}"#, nested[1]));
    let answer = host.recv();
    assert_eq!(
        (&answer["result"][0], &answer["result"][1]),
        (&json!("invalid_response"), &json!("indeterminate"))
    );
    assert!(answer["result"][2].as_str().unwrap().contains("`NaN` at column 35"), "{answer}");
    // A bad request is answered, and one whose deadline is beyond its range as often as it comes.
    host.send_line(r#"{"jsonrpc":"2.0","id":7,"method":"echo","params":null}"#);
    let answer = host.recv();
    assert!(answer["id"] == 7 && code(&answer) == -32600, "{answer}");
    for _ in 0..2 * BAD_FRAMES_MAX {
        host.send_line(r#"{"jsonrpc":"2.0","id":8,"method":"echo","deadline_ms":18446744073709551616}"#);
        let answer = host.recv();
        assert!(answer["id"] == 8 && code(&answer) == -32600, "{answer}");
    }
    host.send_line(r#"{"jsonrpc":"2.0","method":"rpc.cancel","params":{"id":-1}}"#);
    // The other calls go on; who waits at the end is told why.
    host.answer(&json!({"id": nested[0]}), &json!(1));
    assert_eq!(host.recv()["error"]["code"], -32603, "its handler wants an error");
    host.send_line("[]");
    assert!(host.end().unwrap_err().to_string().contains("not one JSON object"));
}
