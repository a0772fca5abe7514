//! Hosts that break the rules about file descriptors: the session ends and says why, and nothing is left open.
//!
//! The only test of its process, because it counts what the process has open.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub, dead_code)]

use crate::fake_host::{FakeHost, HELLO_ANSWER, HELLO_ANSWER_ALL, PATIENCE, config};
use crate::fixtures::child::alone;
use crate::methods::plugin;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rpc_plugin_sdk::{Call, End, Error, HandlerError};
use serde_json::{Value, json};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Instant;

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn pipes(count: usize) -> (Vec<OwnedFd>, Vec<OwnedFd>) {
    (0..count).map(|_| io::pipe().unwrap()).map(|(reader, writer)| (reader.into(), writer.into())).unzip()
}

/// What a host sends: lines, each with so many descriptors, whatever it announces.
type Attack = (&'static str, &'static [(&'static str, usize)], &'static str);

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"echo","fds":"#;

/// After a hello that agreed on descriptors. `+` at the end of a line: no line end follows.
const AFTER: &[Attack] = &[
    (
        "too few",
        &[(r#"{"jsonrpc":"2.0","id":1,"method":"echo","fds":3}"#, 2)],
        "announces 3 file descriptors, 2",
    ),
    (
        "none of one",
        &[(r#"{"jsonrpc":"2.0","id":1,"method":"echo","fds":1}"#, 0)],
        "announces 1 file descriptors, 0",
    ),
    (
        "too many",
        &[(r#"{"jsonrpc":"2.0","id":1,"method":"echo","fds":1}"#, 3)],
        "2 file descriptors came that no",
    ),
    ("unannounced", &[(r#"{"jsonrpc":"2.0","id":1,"method":"echo"}"#, 1)], "1 file descriptors came that no"),
    (
        "with a heartbeat",
        &[(r#"{"jsonrpc":"2.0","id":1,"method":"plugin.heartbeat"}"#, 16)],
        "16 file descriptors",
    ),
    ("with an answer to nothing", &[(r#"{"jsonrpc":"2.0","id":9,"result":1,"fds":1}"#, 1)], "never asked"),
    (
        "unannounced in a notification",
        &[(r#"{"jsonrpc":"2.0","method":"later"}"#, 2)],
        "2 file descriptors came",
    ),
    (
        "an id twice",
        &[
            (r#"{"jsonrpc":"2.0","id":1,"method":"block","fds":2}"#, 2),
            (r#"{"jsonrpc":"2.0","id":1,"method":"block","fds":2}"#, 2),
        ],
        "request id 1 waits for an answer already",
    ),
    ("piled up", &[("{+", 9), ("\"+", 9)], "more than 16 file descriptors"),
    (
        "more announced than may be",
        &[(r#"{"jsonrpc":"2.0","id":1,"method":"echo","fds":17}"#, 16)],
        "`fds` is more",
    ),
    ("with what is no frame", &[("no frame", 5)], "not one JSON object"),
];

const BEFORE: &[Attack] = &[
    ("unannounced", &[(r#"{"jsonrpc":"2.0","method":"later"}"#, 2)], "2 file descriptors came"),
    ("announced", &[(r#"{"jsonrpc":"2.0","method":"later","fds":2}"#, 2)], "not agreed on"),
    ("with the answer", &[(HELLO_ANSWER_ALL, 1)], "1 file descriptors came"),
    ("in a request", &[(r#"{"jsonrpc":"2.0","id":1,"method":"echo","fds":1}"#, 1)], "not agreed on"),
];

/// Not agreed on.
const WITHOUT: &[Attack] = &[
    ("announced", &[(r#"{"jsonrpc":"2.0","id":1,"method":"echo","fds":1}"#, 1)], "not agreed on"),
    ("unannounced", &[(r#"{"jsonrpc":"2.0","id":1,"method":"echo"}"#, 1)], "file descriptors came"),
];

fn attack(host: &mut FakeHost, (name, lines, says): &Attack) {
    for (line, count) in *lines {
        let (readers, writers) = pipes(*count);
        match line.strip_suffix('+') {
            Some(part) => host.send_part_with(part, &writers),
            None => host.send_line_with(line, &writers),
        }
        drop((readers, writers));
    }
    match host.end() {
        Err(Error::Violation(what)) => assert!(what.contains(says), "{name}: {what}"),
        other => panic!("{name}: {other:?}"),
    }
}

/// More than the sixteen that a read takes: the kernel drops some and says so.
fn more_than_one_read_takes(host: &mut FakeHost) {
    let (_readers, writers) = pipes(20);
    let raw: Vec<RawFd> = writers.iter().map(AsRawFd::as_raw_fd).collect();
    let parts = [io::IoSlice::new(b"{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"fds\":16}\n")];
    sendmsg::<()>(host.raw_fd(), &parts, &[ControlMessage::ScmRights(&raw)], MsgFlags::empty(), None)
        .unwrap();
    match host.end() {
        Err(Error::Violation(what)) => assert!(what.contains("more file descriptors came at once"), "{what}"),
        other => panic!("{other:?}"),
    }
}

/// What is allowed and ends in the middle: nothing may be left over from it either.
fn the_connection_ends_in_between(host: &mut FakeHost) {
    let (_readers, writers) = pipes(4);
    host.send_line_with(&format!("{CALL}2}}"), &writers[..2]);
    host.send_part_with("{\"jsonrpc\":\"2.0\",", &writers[2..]);
    host.end_of_stream();
    assert!(matches!(host.end(), Err(Error::Violation(what)) if what.contains("bytes into a frame")));
}

fn allowed(host: &mut FakeHost) {
    let (_readers, writers) = pipes(16);
    host.send_line_with(r#"{"jsonrpc":"2.0","method":"later","fds":3}"#, &writers[..3]);
    host.send_line_with(r#"{"jsonrpc":"2.0","id":3,"method":"no.such","fds":2}"#, &writers[..2]);
    assert_eq!(host.recv()["id"], 3);
    host.send_line_with(r#"{"jsonrpc":"2.0","id":4,"method":"echo","fds":16}"#, &writers);
    assert_eq!(host.recv()["id"], 4);
    host.send_line_with(r#"{"jsonrpc":"2.0","id":5,"method":"block","fds":16}"#, &writers);
    host.send_line_with(r#"{"jsonrpc":"2.0","id":6,"method":"panic","fds":16}"#, &writers);
    assert_eq!(host.recv()["id"], 6);
    host.end_of_stream();
    assert_eq!(host.end().unwrap(), End::HostGone);
}

fn greeted(answer: &str) -> FakeHost {
    let mut host = FakeHost::start(plugin(), config());
    assert_eq!(host.recv()["method"], "host.hello");
    host.send_line(answer);
    host
}

/// Runs one case, and waits until as much is open as before.
fn without_a_leak(name: &str, run: impl FnOnce()) {
    let before = open_descriptors();
    run();
    let deadline = Instant::now() + PATIENCE;
    // The last threads of the session go after it.
    while open_descriptors() != before {
        assert!(Instant::now() < deadline, "{name}: {} are open, {before} were", open_descriptors());
        std::thread::yield_now();
    }
}

#[test]
fn no_attack_leaves_a_descriptor_open() {
    alone(|| {
        let mut cases = 0;
        for _ in 0..3 {
            for case in AFTER {
                without_a_leak(case.0, || attack(&mut greeted(HELLO_ANSWER_ALL), case));
            }
            for case in WITHOUT {
                without_a_leak(case.0, || attack(&mut greeted(HELLO_ANSWER), case));
            }
            for case in BEFORE {
                without_a_leak(case.0, || {
                    let mut host = FakeHost::start(plugin(), config());
                    assert_eq!(host.recv()["method"], "host.hello");
                    attack(&mut host, case);
                });
            }
            without_a_leak("twenty at once", || more_than_one_read_takes(&mut greeted(HELLO_ANSWER_ALL)));
            without_a_leak("an end", || the_connection_ends_in_between(&mut greeted(HELLO_ANSWER_ALL)));
            without_a_leak("allowed", || allowed(&mut greeted(HELLO_ANSWER_ALL)));
            cases += AFTER.len() + WITHOUT.len() + BEFORE.len() + 3;
        }
        assert_eq!(cases, 60);
    });
}

/// The kernel cuts what it passes where this process may open no more (MSG_CTRUNC): nobody did anything wrong.
#[test]
fn a_plugin_that_can_open_no_more_loses_one_call_each_and_no_connection() {
    alone(|| {
        let plugin = plugin().method("ask", |call: &Call, (): ()| {
            Ok::<Value, HandlerError>(call.host().call("svc", &json!({}))?)
        });
        let mut host = FakeHost::greeted_with_all(plugin);
        host.request(1, "echo", &json!({}));
        assert_eq!(host.recv()["result"], json!({}));
        let (given, _kept) = pipes(3);
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 200.min(soft), hard).unwrap();
        let mut filling: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        // There is room for one of three.
        filling.pop();
        host.send_line_with(r#"{"jsonrpc":"2.0","id":2,"method":"echo","params":{},"fds":3}"#, &given);
        let refused = host.recv();
        assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(2), &json!(-32005)), "{refused}");
        assert!(refused["error"]["message"].as_str().unwrap().contains("RLIMIT_NOFILE"), "{refused}");
        host.request(3, "ask", &json!({}));
        let asked = host.expect("svc");
        let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {}, "fds": 3}).to_string();
        host.send_line_with(&answer, &given);
        let told = host.recv();
        assert_eq!(
            (&told["id"], &told["error"]["data"]["nested"]["outcome"]),
            (&json!(3), &json!("indeterminate")),
            "{told}"
        );
        assert!(told["error"]["message"].as_str().unwrap().contains("RLIMIT_NOFILE"), "{told}");
        // A notification brings them for nobody.
        host.send_line_with(r#"{"jsonrpc":"2.0","method":"later","fds":3}"#, &given);
        host.request(4, "echo", &json!({"n": 4}));
        assert_eq!(host.recv()["result"], json!({"n": 4}), "others go on");
        drop(filling);
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        host.send_line_with(r#"{"jsonrpc":"2.0","id":5,"method":"echo","params":{"n":5},"fds":3}"#, &given);
        assert_eq!(host.recv()["result"], json!({"n": 5}), "there is room again");
    });
}
