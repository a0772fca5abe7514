//! Who drives the event loop: callers that wait take turns with the loop's own thread, and nobody is forgotten.
//!
//! What it deliberately does not do: measure; `cargo bench` does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::child::alone;
use crate::fixtures::world::{SOON, World, calm, eventually, is_alive, patient, signal, up};
use nix::sys::signal::Signal;
use rpc_plugin_system::host::{CallOptions, Host, PendingCall, PluginHandle, Policy, RestartPolicy};
use rpc_plugin_wire::{ErrorCode, Outcome};
use serde_json::json;
use serde_json::value::to_raw_value;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// How often the loop's own thread of this test's host went to sleep so far.
fn sleeps_of_loop() -> u64 {
    sleeps_of("rpcplugin-loop")
}

/// How often that thread of this test's host went to sleep so far. Hosts of other tests in this process have threads of
/// the same name, so the test that asks is run in a process of its own.
fn sleeps_of(thread: &str) -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let is_it = |task: &PathBuf| {
        let name = std::fs::read_to_string(task.join("comm")).unwrap_or_default();
        name.trim() == thread
    };
    let task = tasks.map(|task| task.unwrap().path()).find(is_it).expect("the host has one");
    let status = std::fs::read_to_string(task.join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    line.trim().parse().unwrap()
}

fn begin(plugin: &PluginHandle, method: &str, params: &serde_json::Value) -> PendingCall {
    let params = to_raw_value(params).unwrap();
    plugin.call_raw_start(method, Some(params), CallOptions::default().timeout(SOON)).unwrap()
}

#[test]
fn a_caller_that_is_alone_drives_and_an_idle_host_sleeps() {
    alone(|| {
        let world = World::new();
        let host = world.builder().spin(Duration::ZERO).start().unwrap();
        let plugin = up(world.failing(&host, "failure", &[], calm()));
        let call = || plugin.call::<_, serde_json::Value>("work", &json!({})).unwrap();
        (0..10).for_each(|_| drop(call()));
        let (before, begun) = (sleeps_of_loop(), Instant::now());
        const CALLS: u64 = 3000;
        (0..CALLS).for_each(|_| drop(call()));
        // Asked for each call it would have slept once for each. It looks once in a millisecond, and when that was
        // one without a call, because somebody else had the core, it drives for some calls.
        let looks = u64::try_from(begun.elapsed().as_millis()).unwrap() + 1;
        let slept = sleeps_of_loop() - before;
        let most = (looks * 6).max(CALLS * 3 / 4);
        assert!(slept < most, "{slept} times asleep during {CALLS} calls in {looks} ms, at most {most}");
        eventually("the loop's thread sleeps once nobody calls, and so does its watchdog", || {
            let sleeps = || (sleeps_of_loop(), sleeps_of("rpcplugin-watch"));
            let before = sleeps();
            // Longer than the watchdog waits while the loop works.
            thread::park_timeout(Duration::from_millis(300));
            (sleeps() == before).then_some(())
        });
        host.shutdown();
    });
}

/// A plugin lives no longer than the thread that launched it, so callers must not launch.
#[test]
fn a_plugin_that_is_replaced_while_callers_drive_outlives_them() {
    let world = World::new();
    let host = world.host();
    let policy = Policy { restart: RestartPolicy::Always, restarts_max: 20, ..calm() };
    let plugin = up(world.failing(&host, "failure", &[], policy));
    let caller = {
        let plugin = plugin.clone();
        thread::spawn(move || {
            for _ in 0..5 {
                let status = plugin.wait_routable(None, SOON).unwrap();
                let (pid, generation) = (status.pid.unwrap(), status.generation);
                (0..100).for_each(|_| drop(plugin.call::<_, serde_json::Value>("work", &json!({})).unwrap()));
                signal(pid, Signal::SIGKILL);
                // The end of the process and the launch of the next are driven by this caller's calls, as
                // far as a caller can.
                eventually("calls fail and then work again", || {
                    let _ = plugin.call::<_, serde_json::Value>("work", &json!({}));
                    (plugin.status().unwrap().generation > generation).then_some(())
                });
                plugin.wait_routable(generation, SOON).unwrap();
            }
            plugin.status().unwrap().pid.unwrap()
        })
    };
    let pid = caller.join().unwrap();
    assert_eq!(plugin.call::<_, serde_json::Value>("work", &json!({"a": 1})).unwrap(), json!({"a": 1}));
    assert!(is_alive(pid), "the plugin ended with the thread that called it");
    assert_eq!(plugin.status().unwrap().pid, Some(pid));
}

#[test]
fn a_call_that_was_begun_leaves_although_nobody_waits() {
    let world = World::new();
    let host = world.host();
    let policy = Policy { restart: RestartPolicy::Never, ..calm() };
    let plugin = up(world.failing(&host, "failure", &[("FAILURE_MODE", "call-crash")], policy));
    let pid = plugin.status().unwrap().pid.unwrap();
    // The first leaves at once and stays unanswered; the second may wait for company, for a tick.
    let asleep = begin(&plugin, "sleep", &json!({"ms": 60_000}));
    let crash = begin(&plugin, "work", &json!({}));
    // Asking the host would make it look; the process table does not.
    eventually("the second call has reached the plugin and ended it", || (!is_alive(pid)).then_some(()));
    for call in [asleep, crash] {
        assert_eq!(call.wait().unwrap_err().outcome, Outcome::Indeterminate);
    }
}

/// Callers of every kind at once, on several plugins: each call ends once, and soon.
fn mixed(host: &Host, plugins: &[PluginHandle], seed: u64) {
    thread::scope(|scope| {
        for number in 0..6 {
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(seed * 100 + number);
                for n in 0..200 {
                    let plugin = rng.choice(plugins).unwrap();
                    let begun = Instant::now();
                    match rng.u32(0..10) {
                        0 => drop(begin(plugin, "work", &json!({"n": n}))),
                        1 => drop(host.plugins().unwrap()),
                        2..5 => {
                            let calls: Vec<_> = (0..rng.usize(1..20))
                                .map(|m| (m, begin(plugin, "work", &json!({"n": n, "m": m}))))
                                .collect();
                            for (m, call) in calls {
                                let value: serde_json::Value = call.wait().unwrap().parse().unwrap();
                                assert_eq!(value, json!({"n": n, "m": m}));
                            }
                        }
                        5 => {
                            let options = CallOptions::default().timeout(Duration::from_millis(2));
                            let error = plugin
                                .call_with::<_, serde_json::Value>("sleep", &json!({"ms": 20_000}), options)
                                .unwrap_err();
                            assert_eq!(error.code, ErrorCode::DeadlineExceeded, "{error}");
                        }
                        _ => {
                            let params = json!({"n": n, "by": number});
                            assert_eq!(plugin.call::<_, serde_json::Value>("work", &params).unwrap(), params);
                        }
                    }
                    assert!(begun.elapsed() < SOON, "a caller was forgotten");
                }
            });
        }
    });
}

#[test]
fn callers_of_every_kind_take_turns_and_none_is_forgotten() {
    let world = World::new();
    for (seed, spin) in [Duration::ZERO, Duration::from_micros(50)].into_iter().enumerate() {
        let host = world.builder().spin(spin).start().unwrap();
        let policy = Policy { cancel_grace: SOON, ..patient() };
        let add = |n| world.failing(&host, &format!("p{n}"), &[], policy.clone());
        let plugins: Vec<_> = (0..3).map(|n| up(add(n))).collect();
        mixed(&host, &plugins, seed as u64);
        host.shutdown();
    }
}

#[test]
fn a_host_that_ends_ends_the_wait_of_the_caller_that_drives() {
    let world = World::new();
    let host = world.host();
    let plugin = up(world.failing(&host, "failure", &[], calm()));
    let waiting = {
        let plugin = plugin.clone();
        thread::spawn(move || {
            // Some first, so that callers drive.
            (0..20).for_each(|_| drop(plugin.call::<_, serde_json::Value>("work", &json!({})).unwrap()));
            plugin.call::<_, serde_json::Value>("sleep", &json!({"ms": 60_000})).unwrap_err()
        })
    };
    eventually("the long call is under way", || {
        let status = plugin.status().unwrap();
        (status.calls_total >= 21 && status.calls_in_flight == 1).then_some(())
    });
    host.shutdown();
    let error = waiting.join().unwrap();
    assert_ne!(error.outcome, Outcome::NotSent, "{error}");
    let error = plugin.call::<_, serde_json::Value>("work", &json!({})).unwrap_err();
    assert_eq!((error.code, error.outcome), (ErrorCode::Unavailable, Outcome::NotSent), "{error}");
}
