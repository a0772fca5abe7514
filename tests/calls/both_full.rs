//! Host and plugin send each other more than their sockets hold, both at once: nobody waits for ever, and every call
//! of both sides ends once.
//!
//! What it deliberately does not do: ask how fast that is.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs
)]

use crate::fixtures::raw::{self, Raw, frame};
use crate::fixtures::world::{SOON, World, calm, up};
use rpc_plugin_system::host::{CallOptions, ErrorCode, HandlerError, PluginHandle, Policy, ServiceCall};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const CAPABILITIES: [&str; 2] = ["go", "swallow"];
/// Of params and results.
const LARGE: usize = 1 << 20;
/// Requests of the plugin, and calls of the host.
const EACH: usize = 12;
/// Threads of the host that call.
const CALLERS: usize = 4;

fn large() -> String {
    "x".repeat(LARGE)
}

fn options() -> CallOptions {
    CallOptions::default().timeout(SOON * 3)
}

/// How the plugin treats its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    /// Only when all is written.
    Last,
    /// One byte at a time.
    BytesOne,
    /// One frame for each that it writes.
    Between,
}

const WAYS: [(&str, Reads); 3] =
    [("last", Reads::Last), ("byte by byte", Reads::BytesOne), ("in turns", Reads::Between)];

/// The plugin: this program, started by the hosts of these tests.
pub(crate) fn full_body() {
    let role = raw::role();
    let reads = WAYS.iter().find(|(name, _)| *name == role).unwrap().1;
    let mut raw = Raw::greet(&CAPABILITIES);
    let go = raw.until("go", &CAPABILITIES);
    let mut seen = [0; 3];
    if reads == Reads::Between {
        // A request, then whatever there is, and again.
        for id in 0..EACH {
            request(&raw, id);
            take(&mut raw, &mut seen);
        }
    } else {
        (0..EACH).for_each(|id| request(&raw, id));
    }
    if reads == Reads::BytesOne {
        raw.piece_bytes = 1;
    }
    while seen[0] + seen[1] < EACH || seen[2] < EACH {
        take(&mut raw, &mut seen);
        if seen.iter().sum::<usize>() == 2 {
            // That was enough of it.
            raw.piece_bytes = 64 * 1024;
        }
    }
    raw.piece_bytes = 64 * 1024;
    raw.say(json!({"id": go["id"], "result": {"results": seen[0], "overloaded": seen[1], "calls": seen[2]}}));
    raw.live(&CAPABILITIES)
}

fn request(raw: &Raw, id: usize) {
    let request = json!({"id": id, "method": "mirror", "params": {"text": large()}});
    assert!(raw.send(&frame(request), &[]), "the host takes all of it");
}

/// Takes what comes next: a call of the host, or an answer of it.
fn take(raw: &mut Raw, seen: &mut [usize; 3]) {
    let frame = raw.next_call(&CAPABILITIES).unwrap();
    if frame["method"] == "swallow" {
        seen[2] += 1;
        swallowed(raw, &frame["id"]);
    } else {
        count(&frame, seen);
    }
}

fn swallowed(raw: &Raw, id: &Value) {
    assert!(raw.send(&frame(json!({"id": id, "result": {"text": large()}})), &[]));
}

/// An answer to a request of the plugin's own.
fn count(frame: &Value, seen: &mut [usize; 3]) {
    if frame["result"]["text"].as_str().is_some_and(|text| text.len() == LARGE) {
        seen[0] += 1;
    } else {
        assert_eq!(frame["error"]["code"], -32005, "{frame}");
        seen[1] += 1;
    }
}

/// Calls from several threads; how many were answered. The host may have no room for some: those are called again.
fn call_from_all(plugin: &PluginHandle) -> (usize, usize) {
    let (answered, again) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let mut left = EACH / CALLERS;
                while left > 0 {
                    let params = json!({"text": large()});
                    match plugin.call_with::<_, Value>("swallow", &params, options()) {
                        Ok(answer) => {
                            assert_eq!(answer["text"].as_str().unwrap().len(), LARGE);
                            answered.fetch_add(1, Ordering::SeqCst);
                            left -= 1;
                        }
                        Err(error) => {
                            assert_eq!(error.code, ErrorCode::Overloaded, "{error}");
                            again.fetch_add(1, Ordering::SeqCst);
                            std::thread::park_timeout(std::time::Duration::from_millis(5));
                        }
                    }
                }
            });
        }
    });
    (answered.into_inner(), again.into_inner())
}

#[test]
fn both_directions_full_at_once_is_no_deadlock() {
    // The last time with room for few answers and calls at once.
    let roomy = Policy::default().outbox_bytes_max;
    let ways = WAYS.iter().map(|(name, _)| (*name, roomy)).chain([("last", 5 << 20)]);
    for (name, outbox_bytes_max) in ways {
        let world = World::new();
        let mirror = |_: &ServiceCall, params: Value| Ok::<_, HandlerError>(params);
        let host = world.builder().service("mirror", mirror).start().unwrap();
        let echo = up(world.echo(&host, "echo"));
        let policy = Policy { ready_timeout: SOON, hello_timeout: SOON, outbox_bytes_max, ..calm() };
        let config = raw::plugin(&world, "full", "both_full", name).policy(policy);
        let plugin = up(host.add(config).unwrap());
        let begun = Instant::now();
        let go = plugin.call_start("go", &json!({}), options()).unwrap();
        let (answered, again) = call_from_all(&plugin);
        let seen: Value = go.wait().unwrap().parse().unwrap();
        assert_eq!(answered, EACH);
        assert_eq!(seen["results"].as_u64().unwrap() + seen["overloaded"].as_u64().unwrap(), EACH as u64);
        assert_eq!(seen["calls"], json!(EACH));
        assert!(seen["results"].as_u64().unwrap() > 0, "{seen}");
        let generation = plugin.status().unwrap().generation.map(|seen| seen.get());
        assert_eq!(generation, Some(1), "{name}: it broke no rule");
        assert_eq!(seen["overloaded"] != json!(0), outbox_bytes_max < roomy, "{name}: {seen}");
        let small: Value = echo.call("echo", &json!({"n": 1})).unwrap();
        assert_eq!(small, json!({"n": 1}));
        println!(
            "reads {name}: {EACH} requests and {EACH} calls of a MiB each way at once: {seen}, {again} calls made again, {:?}",
            begun.elapsed()
        );
        assert!(begun.elapsed() < SOON * 3, "{name}");
    }
}
