//! Every way in which the control client fails: exit code, words for people, JSON for programs.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::ctl::{FakeDaemon, Folder, Reply, Run};
use rpc_plugin_system::ctl::Exit;
use rpc_plugin_wire::{ErrorCode, ErrorObject};
use std::os::unix::net::UnixListener;

/// An answer to a call.
const CALL: &str = r#"{"plugin_id":"echo","generation":3,"result":{"b":1.50,"a":[]},"duration_us":412}"#;

#[test]
fn errors_of_the_daemon_become_exit_codes_with_nothing_on_standard_output() {
    let data = serde_json::json!({"outcome": "indeterminate", "plugin_id": "echo"});
    for code in ErrorCode::DEFINED.iter().copied().chain([ErrorCode::Application(42)]) {
        let error = ErrorObject::new(code, "no \u{1b}]0;luck\u{7}").with_data(&data);
        let daemon = FakeDaemon::new(Reply::Error(error));
        let text = daemon.run(&["call", "echo", "x"]);
        assert_eq!((text.exit, &*text.stdout), (Exit::from(code), ""));
        let hint = match code {
            ErrorCode::UnknownPlugin => "'rpcpluginctl plugins' lists the plugins",
            _ => "the plugin may have carried the call out; find out before repeating it",
        };
        let (name, number) = (code.name(), code.code());
        // An application's data is its own.
        let hint = if number == 42 { String::new() } else { format!("  {hint}\n") };
        let expected = format!("rpcpluginctl: error: {name} ({number}): no \\x1b]0;luck\\x07\n{hint}");
        assert_eq!(text.stderr, expected);
        let json = daemon.run(&["call", "echo", "x", "--json"]);
        assert_eq!((json.exit, &*json.stdout), (Exit::from(code), ""));
        let document: serde_json::Value = serde_json::from_str(&json.stderr).unwrap();
        assert_eq!(json.stderr.lines().count(), 1);
        assert_eq!(document["error"]["name"], code.name());
        assert_eq!(document["error"]["code"], code.code());
        assert_eq!(document["error"]["exit_code"], Exit::from(code).code());
        assert_eq!(document["error"]["data"], data);
    }
}

#[test]
fn what_a_plugin_answered_is_never_told_as_the_hosts() {
    for code in
        [ErrorCode::Unavailable, ErrorCode::DeadlineExceeded, ErrorCode::Denied, ErrorCode::from(-32050)]
    {
        let data =
            serde_json::json!({"outcome": "answered", "plugin_id": "echo", "generation": 3, "data": 7});
        let message = format!("the plugin answered {}: not today", code.code());
        let daemon = FakeDaemon::new(Reply::Error(ErrorObject::new(code, message.clone()).with_data(&data)));
        let text = daemon.run(&["call", "echo", "x"]);
        assert_eq!(
            (text.exit, text.stderr),
            (Exit::PluginAnswered, format!("rpcpluginctl: error: {message}\n"))
        );
        let json = daemon.run(&["call", "echo", "x", "--json"]);
        let error: serde_json::Value = serde_json::from_str(&json.stderr).unwrap();
        let expected = serde_json::json!({"error": {
            "name": "plugin_answered", "message": message, "exit_code": 9, "code": code.code(), "data": data,
        }});
        assert_eq!(error, expected);
    }
}

#[test]
fn hints_are_about_what_was_asked() {
    let data = serde_json::json!({"outcome": "not_sent", "plugin_id": "kv"});
    let error = |code| ErrorObject::new(code, "the plugin is failed: no disk").with_data(&data);
    let mend = "'rpcpluginctl plugin kv' and 'rpcpluginctl logs kv' tell more; mend it, then 'rpcpluginctl start kv'";
    let more = "it goes on; 'rpcpluginctl plugin kv' tells how far it is, and --timeout allows more time";
    let acts: [&[&str]; 3] = [&["start", "kv"], &["restart", "kv"], &["wait", "kv", "--for", "healthy"]];
    for words in acts {
        for (code, hint) in [(ErrorCode::Unavailable, mend), (ErrorCode::DeadlineExceeded, more)] {
            let ran = FakeDaemon::new(Reply::Error(error(code))).run(words);
            assert!(ran.stderr.ends_with(&format!("no disk\n  {hint}\n")), "{words:?}: {}", ran.stderr);
        }
    }
    let ran = FakeDaemon::new(Reply::Error(error(ErrorCode::Unavailable))).run(&["call", "kv", "x"]);
    assert!(
        ran.stderr.ends_with("the plugin did not see the call; repeating it is safe\n"),
        "{}",
        ran.stderr
    );
    let ran = FakeDaemon::new(Reply::Error(error(ErrorCode::UnknownPlugin))).run(&["stop", "kv"]);
    assert!(ran.stderr.ends_with("'rpcpluginctl plugins' lists the plugins\n"), "{}", ran.stderr);
}

#[test]
fn a_daemon_that_does_not_answer_is_given_up_at_the_deadline() {
    let daemon = FakeDaemon::new(Reply::Silence);
    for words in [&["status"][..], &["restart", "echo"], &["call", "echo", "x"]] {
        let ran = daemon.run(&[words, &["--timeout", "20ms"]].concat());
        assert_eq!(ran.exit, Exit::Deadline, "{words:?}");
        assert!(
            ran.stderr.contains("no answer to admin.") && ran.stderr.contains("admin.sock"),
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn a_daemon_that_takes_no_connection_is_given_up_at_the_deadline() {
    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
    };
    use std::os::fd::AsRawFd;
    let folder = Folder::new();
    let make = |flags| socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
    let address = UnixAddr::new(&folder.0.join("admin.sock")).unwrap();
    let listener = make(SockFlag::SOCK_CLOEXEC);
    bind(listener.as_raw_fd(), &address).unwrap();
    listen(&listener, Backlog::new(1).unwrap()).unwrap();
    let mut waiting = Vec::new();
    loop {
        let client = make(SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK);
        if connect(client.as_raw_fd(), &address).is_err() {
            break;
        }
        waiting.push(client);
        assert!(waiting.len() < 100);
    }
    let ran = Run::new(&folder.0).run(&["status", "--timeout", "20ms"]);
    assert_eq!(ran.exit, Exit::Deadline);
    assert!(ran.stderr.contains("took no connection within 20ms"), "{}", ran.stderr);
}

#[test]
fn what_does_not_speak_the_protocol_is_told_from_what_is_gone() {
    let refusal = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32007,"message":"not you"}}"#;
    let late = r#"{"jsonrpc":"2.0","method":"rpc.hint"}"#;
    let right = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    let table: Vec<(Reply, Exit, &str)> = vec![
        (Reply::Raw(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()), Exit::Failed, "not one JSON object"),
        (Reply::Raw(b"{\"jsonrpc\":\"2.0\",\"id\":1,\n".to_vec()), Exit::Failed, "not one JSON object"),
        (Reply::Raw(b"{\"jsonrpc\":\"2.0\"}\n".to_vec()), Exit::Failed, "neither `method` nor `id`"),
        (Reply::Raw(b"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}\n".to_vec()), Exit::Failed, "request 7"),
        (
            Reply::Raw(b"{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"x\"}\n".to_vec()),
            Exit::Failed,
            "sent a request",
        ),
        (Reply::Raw(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"res".to_vec()), Exit::Failed, "28 bytes into a frame"),
        (Reply::Raw(b"{\"a\":\"\xff\"}\n".to_vec()), Exit::Failed, "not UTF-8"),
        (Reply::Raw(Vec::new()), Exit::Unreachable, "hung up without an answer"),
        (Reply::RawAtOnce(Vec::new()), Exit::Unreachable, "hung up without an answer"),
        (Reply::RawAtOnce(format!("{refusal}\n").into_bytes()), Exit::Denied, "denied (-32007): not you"),
        (Reply::Raw(format!("{late}\n{right}\n").into_bytes()), Exit::Ok, ""),
        (Reply::Result("[]".to_owned()), Exit::Ok, ""),
    ];
    for (reply, exit, part) in table {
        let ran = FakeDaemon::new(reply).run(&["shutdown"]);
        assert_eq!(ran.exit, exit, "{}", ran.stderr);
        assert!(ran.stderr.contains(part), "{part} is not in {}", ran.stderr);
    }
    let ran = FakeDaemon::new(Reply::Result("{\"pid\":\"x\"}".to_owned())).run(&["status"]);
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.stderr.contains("answer to admin.status is not what this version expects"), "{}", ran.stderr);
    let ran = FakeDaemon::new(Reply::Result(CALL.to_owned())).run(&["echo", "echo", "--message", "x"]);
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.stderr.contains("echo answered without a \"message\": {\"b\""), "{}", ran.stderr);
}

#[test]
fn each_way_of_being_unreachable_has_its_own_words() {
    let folder = Folder::new();
    let at = |name: &str| {
        let path = folder.0.join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    let (empty, refused, file) = (at("empty"), at("refused"), at("file"));
    drop(UnixListener::bind(refused.join("admin.sock")).unwrap());
    std::fs::write(file.join("admin.sock"), "").unwrap();
    let long = folder.0.join("x".repeat(108));
    let missing = folder.0.join("missing");
    let table = [
        (&missing, "no runtime folder at", "(from --runtime-dir)"),
        (&empty, "no admin socket at", "is rpcplugind running? with which --runtime-dir?"),
        (&refused, "nobody listens at", "connection refused"),
        (&file, "admin.sock\" is not a socket", "is rpcplugind running?"),
        (&long, "a Unix socket takes 107", "shorter path"),
    ];
    for (path, part, hint) in table {
        let ran = Run::new(&folder.0).run(&["status", "--runtime-dir", path.to_str().unwrap()]);
        assert_eq!(ran.exit, Exit::Unreachable);
        let names = ran.stderr.contains(path.file_name().unwrap().to_str().unwrap());
        assert!(ran.stderr.contains(part) && ran.stderr.contains(hint) && names, "{}", ran.stderr);
    }
    let json = Run::new(&missing).run(&["status", "--json"]);
    assert!(json.stderr.starts_with("{\"error\":{\"name\":\"unreachable\","), "{}", json.stderr);
}

#[test]
fn wrong_command_lines_are_refused_before_anything_is_sent() {
    let daemon = FakeDaemon::new(Reply::Silence);
    let table: &[(&[&str], &str)] = &[
        (&[], "a command is missing"),
        (&["statsu"], "did you mean 'status'?"),
        (&["status", "extra"], "does not take \"extra\""),
        (&["status", "--jsn"], "did you mean --json?"),
        (&["plugin"], "'plugin' lacks its ID"),
        (&["plugin", "a/b"], "ID \"a/b\": contains '/'"),
        (&["plugin", "--plugin-id", ".."], "--plugin-id \"..\": is '.' or '..'"),
        (&["call", "echo"], "lacks its METHOD"),
        (&["call", "echo", "a b"], "METHOD \"a b\": contains ' '"),
        (&["call", "echo", "m", "{"], "JSON \"{\": not JSON"),
        (&["call", "echo", "m", "[1]"], "params are a JSON object"),
        (&["call", "echo", "m", "-"], "not JSON: EOF"),
        (&["echo", "echo"], "--message TEXT is missing"),
        (&["wait", "echo"], "--for STATE is missing"),
        (&["wait", "echo", "--for", "well"], "is not a state; one of stopped"),
        (&["status", "--timeout", "5"], "time unit needed"),
        (&["status", "--timeout", "0"], "only start, stop and restart"),
        (&["call", "echo", "m", "--timeout", "0"], "takes longer"),
        (&["status", "--timeout", "25h"], "longer than a day"),
        (&["status", "--timeout", "10us"], "shorter than 1ms"),
        (&["status", "--runtime-dir", ""], "--runtime-dir is empty"),
        (&["logs", "-n", "100001"], "more than 100000"),
        (&["logs", "echo", "--daemon"], "--daemon and an ID exclude each other"),
        (&["logs", "echo", "--all"], "--all and an ID exclude each other"),
        (&["logs", "--daemon", "--source", "plugin"], "only plugins keep"),
        (&["logs", "--source", "host"], "it is kernel or plugin"),
        (&["logs", "--level", "fatal"], "one of debug, info, warn or error"),
        (&["logs", "--since", "tomorrow"], "write it like 15m"),
        (&["logs", "--since", "2026-01-01T00"], "write it like 15m"),
        (&["logs", "--since", "1m", "--until", "1h"], "--until is before --since"),
        (&["logs", "--format", "xml"], "it is text or json"),
        (&["logs", "--follow", "--summary"], "--follow and --summary exclude each other"),
        (&["logs", "--verify", "--level", "warn"], "--verify and --level exclude each other"),
        (&["logs", "--follow", "--until", "1h"], "--follow and --until exclude each other"),
        (&["logs", "--summary", "-n", "1"], "--summary and --limit exclude each other"),
        (&["help", "nope"], "unknown command \"nope\""),
    ];
    for (words, part) in table {
        let text = daemon.run(words);
        assert_eq!((text.exit, &*text.stdout), (Exit::Usage, ""), "{words:?}");
        assert!(text.stderr.contains(part), "{words:?}: {part} is not in {}", text.stderr);
        let json = daemon.run(&[&["--json"], *words].concat());
        assert_eq!((json.exit, &*json.stdout), (Exit::Usage, ""), "{words:?}");
        let document: serde_json::Value = serde_json::from_str(&json.stderr).unwrap();
        assert_eq!(document["error"]["exit_code"], 2, "{words:?}");
    }
    assert_eq!(daemon.asked(), []);
    // No runtime folder to ask at. (Root has a default, so a wrong variable stands for it.)
    let folder = std::path::Path::new("");
    let none = Run { variables: &[("RUNTIME_DIRECTORY", "x")], ..Run::new(folder) }.run(&["status"]);
    assert_eq!(none.exit, Exit::Usage);
    assert!(
        none.stderr.contains("RUNTIME_DIRECTORY is \"x\"; it must be an absolute path"),
        "{}",
        none.stderr
    );
}

#[test]
fn a_refusal_is_read_even_when_the_request_cannot_be_sent() {
    let refusal = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32007,"message":"not you"}}"#;
    let daemon = FakeDaemon::new(Reply::RawAtOnce(format!("{refusal}\n").into_bytes()));
    // More than the socket's buffers hold, so that the write is under way when the fake hangs up.
    let params = format!("{{\"x\":\"{}\"}}", "x".repeat(4 << 20));
    let run = Run { stdin: params.as_bytes(), ..Run::new(&daemon.folder.0) };
    let ran = run.run(&["call", "echo", "m", "-"]);
    assert_eq!(ran.exit, Exit::Denied, "{}", ran.stderr);
}
