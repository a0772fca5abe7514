//! The table of bad inputs against a live admin socket: each client gets one clear error, and nobody else notices.

use crate::fixtures::conformance::{self, ANYONE, Fault, Row, Stage};
use crate::fixtures::world::{SOON, World};
use rpc_plugin_system::host::PluginHandle;
use rpc_plugin_wire::ErrorCode;
use rpc_plugin_wire::limits::FRAME_BYTES_MAX_DEFAULT;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A host with an admin socket and one healthy plugin.
fn with_host(test: impl FnOnce(&Path, &PluginHandle)) {
    let world = World::new();
    let host = world.builder().admin_socket(true).start().unwrap();
    let echo = world.echo(&host, ANYONE.plugin_id);
    echo.start().unwrap();
    echo.wait_routable(None, SOON).unwrap();
    test(&world.runtime_dir().join("admin.sock"), &echo);
    let answer: Value = echo.call("echo", &json!({"still": "here"})).unwrap();
    assert_eq!(answer, json!({"still": "here"}));
    let status = echo.status().unwrap();
    assert!(status.state.is_routable() && status.restarts == 0, "{status:?}");
    let lines = ask(
        &world.runtime_dir().join("admin.sock"),
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"admin.status\"}\n",
    );
    assert_eq!(lines[0]["result"]["plugins"], 1, "the daemon serves on");
}

fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    stream
}

/// Sends bytes and nothing more; every frame that comes back until the host closes.
fn ask(socket: &Path, bytes: &[u8]) -> Vec<Value> {
    let mut stream = connect(socket);
    // The host may close before it has read all of it: that is its right.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let lines = BufReader::new(stream).lines();
    lines.map_while(Result::ok).map(|line| serde_json::from_str(&line).unwrap()).collect()
}

fn rows(stages: &[Stage]) -> Vec<Row> {
    conformance::bad().into_iter().filter(|row| stages.contains(&row.stage)).collect()
}

/// Rows of the table that control clients are forgiven: what stands around a line.
const FORGIVEN: [&str; 10] = [
    "an empty line",
    "an empty line before a frame",
    "an empty line after a frame",
    "CR LF",
    "a carriage return alone on a line",
    "a space before",
    "a tab before",
    "a space after",
    "a tab after",
    "white space only",
];

/// The code and a part of the message that a row is answered with.
fn expected(row: &Row) -> (i64, &str) {
    match &*row.name {
        "a Content-Length header" | "an HTTP request" | "an HTTP/2 preface" => {
            (ErrorCode::ParseError.code(), "one JSON object a line")
        }
        "a batch" | "an empty batch" | "an array" => (ErrorCode::InvalidRequest.code(), "array"),
        _ if row.says == "`params` is not an object" && row.name != "params null" => {
            (ErrorCode::InvalidParams.code(), &row.says)
        }
        _ => (row.fault().code().map_or(ErrorCode::ParseError.code(), ErrorCode::code), &row.says),
    }
}

#[test]
fn bytes_that_are_no_request_are_answered_with_an_error_and_disturb_nobody() {
    with_host(|socket, _| {
        // A bystander whose connection was there before and is there after.
        let mut bystander = BufReader::new(connect(socket));
        let mut wrong = Vec::new();
        // The limit for a control client is the larger one, see below.
        let rows: Vec<Row> = rows(&[Stage::Frame, Stage::Message])
            .into_iter()
            .filter(|row| row.fault() != Fault::TooLong)
            .collect();
        assert!(rows.len() >= 300);
        for row in &rows {
            let told = ask(socket, &row.bytes(&ANYONE));
            if FORGIVEN.contains(&&*row.name) {
                // The method of the frame beside it, if there is one, is none.
                let unknown = ErrorCode::MethodNotFound.code();
                if !told.iter().all(|answer| answer["error"]["code"] == unknown) {
                    wrong.push(format!("{}: wanted to be passed over, got {told:?}", row.name));
                }
                continue;
            }
            let (code, says) = expected(row);
            // The answer to a whole frame before it waits for its record, and may come later.
            let is_told = |answer: &Value| {
                let message = answer["error"]["message"].as_str().unwrap_or_default();
                message.contains(says) && answer["error"]["code"] == code
            };
            if !told.iter().any(is_told) {
                wrong.push(format!("{}: wanted {code} saying {says:?}, got {told:?}", row.name));
            }
        }
        assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
        let told = ask(socket, &vec![b'{'; FRAME_BYTES_MAX_DEFAULT + 1]);
        assert_eq!(told.last().unwrap()["error"]["code"], ErrorCode::TooLarge.code(), "{told:?}");
        request(&mut bystander, b"{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"admin.plugins\"}\n");
    });
}

/// Sends one frame on a connection that stays; the answer.
fn request(stream: &mut BufReader<UnixStream>, frame: &[u8]) -> Value {
    stream.get_mut().write_all(frame).unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

#[test]
fn requests_that_say_too_little_or_too_much_are_answered_and_nothing_is_done() {
    with_host(|socket, _| {
        let mut client = BufReader::new(connect(socket));
        let rows = rows(&[Stage::Admin]);
        assert!(rows.len() >= 100);
        let mut wrong = Vec::new();
        for row in &rows {
            let told = request(&mut client, &row.bytes(&ANYONE));
            let message = told["error"]["message"].as_str().unwrap_or_default();
            let code = row.fault().code().unwrap();
            if !message.contains(&row.says) || told["error"]["code"] != code.code() {
                wrong.push(format!("{}: wanted {code:?} saying {:?}, got {told}", row.name, row.says));
            }
        }
        assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    });
}
