//! Bounds of calls: sizes, queues, deadlines (protocol sections 1 and 5).
//!
//! What it deliberately does not do: the other errors of a call; `host_calls` does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::world::{SOON, World, calm, eventually, signal, up};
use nix::sys::signal::Signal;
use rpc_plugin_system::host::{CallError, CallOptions, PluginConfig, PluginHandle, Policy};
use rpc_plugin_wire::limits::FRAME_BYTES_MAX_DEFAULT;
use rpc_plugin_wire::{ErrorCode, Outcome};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

fn echo_of(plugin: &PluginHandle, bytes: usize) -> Result<Value, CallError> {
    plugin.call_with("work", &json!({"text": "x".repeat(bytes)}), CallOptions::default().timeout(SOON))
}

/// The whole numbers in a text.
fn numbers(text: &str) -> Vec<usize> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[test]
fn a_frame_may_have_exactly_its_limit() {
    for limit in [FRAME_BYTES_MAX_DEFAULT, 64 * 1024] {
        let world = World::new();
        let host = world.host();
        let policy = Policy { frame_bytes_max: limit, ..calm() };
        let plugin = up(world.failing(&host, "echo", &[], policy));
        let bytes = limit - 20;
        let error = echo_of(&plugin, bytes).unwrap_err();
        assert_eq!((error.code, error.outcome), (ErrorCode::TooLarge, Outcome::NotSent), "{error}");
        let seen = *numbers(&error.message).iter().find(|number| **number > limit).unwrap();
        assert!(numbers(&error.message).contains(&limit), "{error} does not name the limit {limit}");
        // What is refused uses no id up: the next frame differs by its text alone.
        let fits = bytes - (seen - limit);
        let answer = echo_of(&plugin, fits).unwrap();
        assert_eq!(answer["text"].as_str().unwrap().len(), fits);
        let error = echo_of(&plugin, fits + 1).unwrap_err();
        assert!(numbers(&error.message).contains(&(limit + 1)), "{error}");
        let after = plugin.status().unwrap();
        assert_eq!(after.generation.unwrap().get(), 1);
    }
}

#[test]
fn a_call_that_could_never_fit_is_too_large_and_not_overloaded() {
    let world = World::new();
    let host = world.host();
    let plugin = up(world.failing(&host, "echo", &[], calm()));
    let error = echo_of(&plugin, plugin_outbox_bytes_max() + 1).unwrap_err();
    assert_eq!((error.code, error.outcome), (ErrorCode::TooLarge, Outcome::NotSent), "{error}");
}

fn plugin_outbox_bytes_max() -> usize {
    calm().outbox_bytes_max
}

#[test]
fn large_payloads_go_both_ways_without_waiting_for_a_heartbeat() {
    let world = World::new();
    let host = world.host();
    // Without heartbeats, nothing but the kernel's word that there is room makes the host write on.
    let plugin = up(world.failing(&host, "echo", &[], calm()));
    thread::scope(|scope| {
        for caller in 0..4 {
            let plugin = &plugin;
            scope.spawn(move || {
                let text = char::from(b'a' + caller).to_string().repeat(1 << 20);
                let params = json!({"text": text});
                let answer: Value =
                    plugin.call_with("work", &params, CallOptions::default().timeout(SOON)).unwrap();
                assert!(answer == params, "what came back is something else");
            });
        }
    });
}

#[test]
fn calls_in_flight_are_bounded_and_their_ends_make_room() {
    // One caller gets half of them.
    let world = World::new();
    let host = world.host();
    let plugin = up(world.failing(&host, "busy", &[], Policy { calls_in_flight_max: 6, ..calm() }));
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let plugin = &plugin;
                scope.spawn(move || -> Result<Value, CallError> {
                    let options = CallOptions::default().timeout(Duration::from_secs(2));
                    plugin.call_with("sleep", &json!({"ms": 600_000}), options)
                })
            })
            .collect();
        eventually("three calls wait", || (plugin.status().unwrap().calls_in_flight == 3).then_some(()));
        let error = echo_of(&plugin, 1).unwrap_err();
        assert_eq!((error.code, error.outcome), (ErrorCode::Overloaded, Outcome::NotSent), "{error}");
        assert!(numbers(&error.message).contains(&6), "{error} does not name the bound");
        for waiting in waiting {
            assert_eq!(waiting.join().unwrap().unwrap_err().code, ErrorCode::DeadlineExceeded);
        }
    });
    // They were cancelled, and the plugin says so at once.
    eventually("there is room again", || echo_of(&plugin, 1).ok());
    assert_eq!(plugin.status().unwrap().generation.unwrap().get(), 1);
}

#[test]
fn bytes_that_wait_are_bounded_and_those_that_were_taken_arrive() {
    let world = World::new();
    let host = world.host();
    let frame_bytes_max = 256 * 1024;
    let policy = Policy { frame_bytes_max, outbox_bytes_max: frame_bytes_max * 2, ..calm() };
    let plugin = up(world.failing(&host, "stopped", &[], policy));
    let pid = plugin.status().unwrap().pid.unwrap();
    // From here on it does not read; the kernel's buffers take some, the host's outbox the rest.
    signal(pid, Signal::SIGSTOP);
    let (sender, ended) = mpsc::channel();
    let calls = 40;
    thread::scope(|scope| {
        for _ in 0..calls {
            let (plugin, sender) = (&plugin, sender.clone());
            scope.spawn(move || sender.send(echo_of(plugin, 100_000)).unwrap());
        }
        let mut results = vec![ended.recv_timeout(SOON).expect("one of the calls is refused")];
        signal(pid, Signal::SIGCONT);
        results.extend((1..calls).map(|_| ended.recv_timeout(SOON).expect("every call ends")));
        let (taken, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert!(!taken.is_empty() && !refused.is_empty(), "{} were taken", taken.len());
        for error in refused.into_iter().map(Result::unwrap_err) {
            assert_eq!((error.code, error.outcome), (ErrorCode::Overloaded, Outcome::NotSent), "{error}");
            assert!(numbers(&error.message).contains(&(frame_bytes_max * 2)), "{error} names no bound");
        }
    });
    assert_eq!(plugin.status().unwrap().generation.unwrap().get(), 1);
}

#[test]
fn a_deadline_that_passes_before_the_call_was_written_says_so() {
    let world = World::new();
    let host = world.host();
    let plugin = up(world.failing(&host, "stopped", &[], Policy { cancel_grace: SOON, ..calm() }));
    let pid = plugin.status().unwrap().pid.unwrap();
    signal(pid, Signal::SIGSTOP);
    thread::scope(|scope| {
        // More than the kernel's buffers take: its end stays in the outbox, and so does what follows.
        let large = scope.spawn(|| echo_of(&plugin, 2 << 20));
        eventually("the large call is on its way", || {
            (plugin.status().unwrap().calls_in_flight == 1).then_some(())
        });
        let options = CallOptions::default().timeout(Duration::from_millis(100));
        let result: Result<Value, CallError> = plugin.call_with("work", &json!({"n": 1}), options);
        let error = result.unwrap_err();
        assert_eq!((error.code, error.outcome), (ErrorCode::DeadlineExceeded, Outcome::NotSent), "{error}");
        signal(pid, Signal::SIGCONT);
        large.join().unwrap().unwrap();
    });
    let status = plugin.status().unwrap();
    assert_eq!((status.generation.unwrap().get(), status.late_answers), (1, 0), "it was never asked");
}

#[test]
fn a_deadline_is_never_early() {
    let world = World::new();
    let host = world.host();
    let plugin = up(world.failing(&host, "sleeper", &[], Policy { cancel_grace: SOON, ..calm() }));
    let noise = PluginConfig::new("noise".parse().unwrap(), world.program("echo")).policy(calm());
    let noise = up(host.add(noise).unwrap());
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        // Long turns of the loop, in which a deadline must not begin before its call was made.
        for _ in 0..4 {
            scope.spawn(|| {
                let params = json!({"text": "x".repeat(1 << 20)});
                while !over.load(Ordering::Relaxed) {
                    let options = CallOptions::default().timeout(SOON);
                    let _: Value = noise.call_with("echo", &params, options).unwrap();
                }
            });
        }
        let callers: Vec<_> = (0..8u64)
            .map(|caller| {
                let plugin = &plugin;
                scope.spawn(move || {
                    for round in 0..20 {
                        let timeout = Duration::from_millis(20 + caller * 5 + round);
                        let begun = Instant::now();
                        let result: Result<Value, CallError> = plugin.call_with(
                            "sleep",
                            &json!({"ms": 600_000}),
                            CallOptions::default().timeout(timeout),
                        );
                        let took = begun.elapsed();
                        assert_eq!(result.unwrap_err().code, ErrorCode::DeadlineExceeded);
                        assert!(took >= timeout, "{timeout:?} were over after {took:?}");
                        assert!(took < timeout + SOON, "{timeout:?} were over only after {took:?}");
                    }
                })
            })
            .collect();
        let results: Vec<_> = callers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        assert!(results.iter().all(Result::is_ok), "a deadline was early or far too late");
    });
    let status = plugin.status().unwrap();
    assert_eq!((status.generation.unwrap().get(), status.calls_failed), (1, 160));
}
