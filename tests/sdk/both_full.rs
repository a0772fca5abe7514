//! A host that writes until it has written everything, and reads only then, against a plugin that writes as much:
//! both directions are full, and still every call ends. And one that never reads.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub, dead_code)]

use crate::fake_host::{FakeHost, PATIENCE};
use crate::methods::plugin;
use rpc_plugin_sdk::{Call, Error, HandlerError, Plugin};
use serde_json::{Value, json};
use std::sync::mpsc;
use std::time::Duration;

const MIB: usize = 1024 * 1024;

/// `both` calls the host with its own params and gives them back.
fn both() -> Plugin {
    plugin().method("both", |call: &Call, params: Value| {
        let host = call.host().timeout(PATIENCE);
        Ok::<Value, HandlerError>(host.call("svc", &params)?)
    })
}

/// Reads everything, answering the plugin's own calls with their params, until so many answers are there. How many
/// calls of the plugin there were.
fn read_all(host: &mut FakeHost, calls: usize, check: impl Fn(&Value)) -> usize {
    let (mut seen, mut nested) = (vec![false; calls], 0);
    let mut left = calls;
    while left > 0 {
        let frame = host.recv();
        if frame["method"] == "svc" {
            nested += 1;
            host.answer(&frame, &frame["params"]);
            continue;
        }
        check(&frame);
        let id = usize::try_from(frame["id"].as_u64().unwrap()).unwrap();
        assert!(!std::mem::replace(&mut seen[id], true), "{id} was answered twice");
        left -= 1;
    }
    nested
}

/// 4 MiB of calls to the plugin, each of which makes one of the same size to the host, while a thread of the
/// author's makes 4 MiB more: nobody reads at the host until all are written.
#[test]
fn four_mebibytes_of_calls_each_way_all_end() {
    const PAD: usize = 16 * 1024;
    const CALLS: usize = 4 * MIB / PAD;
    for (threads, is_reentrant) in [(1, true), (4, true), (4, false)] {
        let plugin = both().threads(threads).reentrant(is_reentrant);
        let own = plugin.host().timeout(PATIENCE);
        let mut host = FakeHost::greeted_with_all(plugin);
        host.request(0, "echo", &json!({}));
        assert_eq!(host.recv()["id"], 0);
        let pad = "x".repeat(PAD);
        let (told, ended) = mpsc::channel();
        let params = json!({"pad": pad});
        let sent = params.clone();
        std::thread::spawn(move || {
            let started: Result<Vec<_>, _> =
                (0..CALLS).map(|_| own.call_start::<_, Value>("svc", &sent)).collect();
            let ended: Result<Vec<Value>, _> =
                started.and_then(|calls| calls.into_iter().map(rpc_plugin_sdk::PendingCall::wait).collect());
            told.send(ended.map(|results| results.iter().filter(|result| **result == sent).count()))
        });
        (0..CALLS).for_each(|id| host.request(id as u64, "both", &params));
        let mut nested = read_all(&mut host, CALLS, |frame| assert_eq!(frame["result"], params, "{threads}"));
        // What is left of the thread's.
        while nested < 2 * CALLS {
            let request = host.expect("svc");
            host.answer(&request, &request["params"]);
            nested += 1;
        }
        assert_eq!(ended.recv_timeout(PATIENCE).unwrap().unwrap(), CALLS);
        assert_eq!(nested, 2 * CALLS);
    }
}

/// 4 MiB of small calls: most find the queue full, and every answer waits for the host.
#[test]
fn four_mebibytes_of_small_calls_are_all_answered() {
    let mut host = FakeHost::greeted_with_all(both());
    let mut bytes = String::new();
    let mut calls = 0;
    while bytes.len() < 4 * MIB {
        let method = ["echo", "both", "plugin.heartbeat"][calls % 3];
        bytes += &format!("{{\"jsonrpc\":\"2.0\",\"id\":{calls},\"method\":\"{method}\",\"params\":{{}}}}\n");
        calls += 1;
    }
    host.send(bytes.as_bytes());
    let is_answer = |frame: &Value| {
        let is_overloaded = frame["error"]["code"] == -32005;
        assert!(frame.get("result").is_some() || is_overloaded, "{frame}");
    };
    read_all(&mut host, calls, is_answer);
}

/// The bound of what waits for a host that asks and never reads.
#[test]
fn a_host_that_never_reads_is_found_out() {
    let mut host = FakeHost::greeted_with_all(both());
    host.set_write_timeout(Duration::from_secs(10));
    let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{}\"}}\n", "x".repeat(100));
    // An answer is longer than its question: less than this is enough.
    let many = line.repeat(MIB / line.len());
    (0..24).for_each(|_| host.send(many.as_bytes()));
    let error = host.end().unwrap_err();
    assert!(matches!(&error, Error::Violation(what) if what.contains("does not read")), "{error}");
}
