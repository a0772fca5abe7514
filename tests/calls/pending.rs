//! Calls that were begun: waiting for one, any, and many; cancelling, leaving alone, callbacks; repeats across a
//! restart.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::fixtures::world::{SOON, World, calm, eventually, next_event, up};
use rpc_plugin_system::host::{
    CallOptions, CallSet, ErrorCode, EventKind, Host, Outcome, PendingCall, PluginConfig, PluginHandle,
    Policy, wait_any,
};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::mpsc;
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);

fn options() -> CallOptions {
    CallOptions::default().timeout(SOON)
}

/// A plugin whose `sleep` can be cancelled, and that never ends by itself in these tests.
fn sleeper(world: &World, host: &Host) -> PluginHandle {
    up(world.failing(host, "sleeper", &[], Policy { cancel_grace: SOON, ..calm() }))
}

fn sleep(plugin: &PluginHandle, ms: u64) -> PendingCall {
    plugin.call_start("sleep", &json!({"ms": ms}), options()).unwrap()
}

fn in_flight(plugin: &PluginHandle, wanted: u64) {
    let what = format!("{wanted} calls are in flight");
    eventually(&what, || (plugin.status().unwrap().calls_in_flight == wanted).then_some(()));
}

#[test]
fn one_thread_keeps_thousands_in_flight_and_takes_each_once() {
    let world = World::new();
    let host = world.host();
    let config = PluginConfig::new("echo".parse().unwrap(), world.program("echo"));
    let echo = up(host.add(config.policy(Policy { calls_in_flight_max: 12_000, ..calm() })).unwrap());
    // The loop may be slower than this thread, which is told so.
    let start = |number: u32| {
        eventually("the host takes one more", || {
            match echo.call_start("echo", &json!({"number": number}), options()) {
                Err(error) if error.code == ErrorCode::Overloaded => None,
                started => Some(started.unwrap()),
            }
        })
    };
    let mut calls = CallSet::new();
    let mut seen = BTreeSet::new();
    for number in 0..5000_u32 {
        calls.add(number, start(number));
    }
    assert_eq!(calls.len(), 5000);
    assert_eq!((calls.metrics().submitted, calls.metrics().unfinished()), (5000, 5000));
    // More while some are taken.
    for number in 5000..6000_u32 {
        calls.add(number, start(number));
        let (key, result) = calls.next().unwrap();
        assert_eq!(result.unwrap().parse::<serde_json::Value>().unwrap(), json!({"number": key}));
        assert!(seen.insert(key));
    }
    while let Some((key, result)) = calls.next_within(SOON) {
        assert_eq!(result.unwrap().parse::<serde_json::Value>().unwrap(), json!({"number": key}));
        assert!(seen.insert(key), "{key} is taken twice");
    }
    assert_eq!((seen.len(), calls.len(), calls.is_empty()), (6000, 0, true));
    assert!(calls.next().is_none());
    let metrics = calls.metrics();
    assert_eq!((metrics.submitted, metrics.succeeded, metrics.failed), (6000, 6000, 0));
    assert_eq!((metrics.attempts, metrics.unfinished()), (6000, 0));
    let (shortest, longest, mean) =
        (metrics.shortest.unwrap(), metrics.longest.unwrap(), metrics.mean().unwrap());
    assert!(shortest <= mean && mean <= longest && longest <= metrics.total, "{metrics:?}");
    assert_eq!(echo.status().unwrap().calls_failed, 0);
}

#[test]
fn a_wait_with_a_time_gives_the_call_back() {
    let world = World::new();
    let host = world.host();
    let plugin = sleeper(&world, &host);
    let begun = Instant::now();
    let call = sleep(&plugin, 600_000).wait_timeout(30 * MS).unwrap_err();
    assert!(begun.elapsed() >= 30 * MS && !call.is_done());
    let call = call.try_wait().unwrap_err();
    let mut set = CallSet::new();
    set.add("slow", call);
    assert!(set.next_within(10 * MS).is_none() && set.len() == 1);
    set.add("quick", sleep(&plugin, 20));
    let (key, result) = set.next_within(SOON).unwrap();
    assert_eq!((key, result.unwrap().result.get()), ("quick", "{}"));
    let quick = sleep(&plugin, 20).wait_timeout(SOON).unwrap().unwrap();
    assert_eq!((quick.result.get(), quick.plugin_id.as_ref()), ("{}", Some(plugin.id())));
}

#[test]
fn a_call_that_nobody_waits_for_any_more_is_cancelled_in_the_plugin() {
    let world = World::new();
    let host = world.host();
    let plugin = sleeper(&world, &host);
    drop(sleep(&plugin, 600_000));
    sleep(&plugin, 600_000).cancel();
    // It was sent for sure: the next one was answered.
    let sent = sleep(&plugin, 600_000);
    sleep(&plugin, 0).wait().unwrap();
    drop(sent);
    in_flight(&plugin, 0);
    let mut set = CallSet::new();
    (0..40).for_each(|number| set.add(number, sleep(&plugin, 600_000)));
    sleep(&plugin, 0).wait().unwrap();
    in_flight(&plugin, 40);
    drop(set);
    in_flight(&plugin, 0);
    let status = plugin.status().unwrap();
    assert_eq!((status.late_answers, status.restarts, status.calls_failed), (0, 0, 43));
    // The end of a cancelled call is on record, for nobody else.
    assert!(host.flush_events(SOON));
    let record = world.record("sleeper");
    assert!(record.contains("its caller does not wait for it any more"), "{record}");
}

#[test]
fn calls_share_one_deadline_and_what_is_made_after_it_is_not_sent() {
    let world = World::new();
    let host = world.host();
    let plugin = sleeper(&world, &host);
    let deadline = Instant::now() + 300 * MS;
    let until = options().deadline(deadline);
    let start = |options| plugin.call_start("sleep", &json!({"ms": 600_000}), options).unwrap();
    let mut calls = CallSet::new();
    calls.add("deadline", start(until));
    calls.add("timeout", start(until.timeout(20 * MS)));
    for wanted in ["timeout", "deadline"] {
        let (key, result) = calls.next().unwrap();
        assert_eq!((key, result.unwrap_err().code), (wanted, ErrorCode::DeadlineExceeded));
    }
    assert!(Instant::now() >= deadline);
    let metrics = calls.metrics();
    assert_eq!((metrics.failed, metrics.attempts, metrics.longest), (2, 2, None));
    let error = plugin.call_start("sleep", &json!({"ms": 0}), until).unwrap_err();
    assert_eq!((error.code, error.outcome), (ErrorCode::DeadlineExceeded, Outcome::NotSent));
    assert_eq!((error.plugin_id.as_ref(), plugin.status().unwrap().calls_total), (Some(plugin.id()), 2));
}

#[test]
fn a_call_left_to_itself_is_executed() {
    let world = World::new();
    let host = world.host();
    let plugin = sleeper(&world, &host);
    sleep(&plugin, 30).detach();
    in_flight(&plugin, 0);
    let status = plugin.status().unwrap();
    assert_eq!((status.calls_total, status.calls_failed, status.late_answers), (1, 0, 0));
}

#[test]
fn the_first_of_several_is_taken_out() {
    let world = World::new();
    let host = world.host();
    let plugin = sleeper(&world, &host);
    let mut calls: Vec<_> = [600_000, 600_000, 600_000, 20]
        .into_iter()
        .map(|milliseconds| sleep(&plugin, milliseconds))
        .collect();
    let (place, result) = wait_any(&mut calls).unwrap();
    assert_eq!((place, result.is_ok(), calls.len()), (3, true, 3));
    calls[1] = sleep(&plugin, 20);
    let (place, result) = wait_any(&mut calls).unwrap();
    assert_eq!((place, result.is_ok(), calls.len()), (1, true, 2));
    host.shutdown();
    let (place, result) = wait_any(&mut calls).unwrap();
    assert!(place < 2 && result.is_err());
    assert!(wait_any(&mut calls).unwrap().1.is_err() && wait_any(&mut calls).is_none());
}

#[test]
fn callbacks_run_elsewhere_may_call_and_may_panic() {
    let world = World::new();
    let host = world.host();
    let plugin = sleeper(&world, &host);
    let (sender, ends) = mpsc::channel();
    sleep(&plugin, 5).on_done(|_| panic!("as this test wants"));
    sleep(&plugin, 5).on_done(|_| panic!("as this test wants"));
    sleep(&plugin, 5).on_done(|_| panic!("as this test wants"));
    for number in 0..50 {
        let (sender, plugin) = (sender.clone(), plugin.clone());
        sleep(&plugin, number % 7).on_done(move |result| {
            let again: serde_json::Value = plugin.call_with("sleep", &json!({"ms": 1}), options()).unwrap();
            sender.send((number, result.is_ok(), again)).unwrap();
        });
    }
    let mut seen: Vec<_> = (0..50).map(|_| ends.recv_timeout(SOON).unwrap()).collect();
    seen.sort_by_key(|(number, ..)| *number);
    assert!(seen.iter().enumerate().all(|(place, end)| *end == (place as u64, true, json!({}))));
    // One that has ended already, and one that ends with the host.
    let done = sleep(&plugin, 0);
    eventually("it has ended", || done.is_done().then_some(()));
    let (told, done_ends) = mpsc::channel();
    let told_too = told.clone();
    done.on_done(move |result| told.send(result.map(drop).map_err(|error| error.code)).unwrap());
    assert_eq!(done_ends.recv_timeout(SOON).unwrap(), Ok(()));
    sleep(&plugin, 600_000).on_done(move |result| {
        told_too.send(result.map(drop).map_err(|error| error.code)).unwrap();
    });
    host.shutdown();
    assert!(done_ends.recv_timeout(SOON).unwrap().is_err());
}

#[test]
fn an_idempotent_call_is_repeated_across_a_restart_and_another_is_not() {
    let world = World::new();
    let host = world.host();
    let events = host.subscribe(4096).unwrap();
    let env = [("FAILURE_MODE", "call-crash"), ("FAILURE_GENERATIONS", "2")];
    let plugin = up(world.failing(&host, "crashing", &env, Policy { restarts_max: 50, ..calm() }));
    let error = plugin.call_raw("work", None, options()).unwrap_err();
    assert_eq!((error.code, error.outcome, error.tries), (ErrorCode::PluginLost, Outcome::Indeterminate, 1));
    // While it is replaced, and crashing once more.
    let reply = plugin.call_raw("work", None, options().idempotent(true)).unwrap();
    assert_eq!((reply.generation.unwrap().get(), reply.result.get()), (3, "{}"));
    assert!(reply.tries > 1, "{reply:?}");
    let repeated = next_event(&events, EventKind::CallRepeated).note;
    assert_eq!(repeated.method.as_deref(), Some("work"));
    let down = world.failing(&host, "down", &[], calm());
    let error = down.call_raw("work", None, options().timeout(50 * MS).idempotent(true)).unwrap_err();
    assert_eq!((error.code, error.outcome), (ErrorCode::DeadlineExceeded, Outcome::NotSent));
    assert!(error.message.contains("the plugin is stopped"), "{error}");
}

#[test]
fn an_idempotent_call_waits_for_a_plugin_that_is_not_up_yet() {
    let world = World::new();
    let host = world.host();
    let plugin = world.failing(&host, "later", &[], calm());
    let call = plugin.call_start("work", &json!({"x": 1}), options().idempotent(true)).unwrap();
    let call = call.wait_timeout(20 * MS).unwrap_err();
    plugin.start().unwrap();
    let mut set = CallSet::new();
    set.add("later", call);
    let reply = set.next().unwrap().1.unwrap();
    assert_eq!(reply.parse::<serde_json::Value>().unwrap(), json!({"x": 1}));
    assert!(reply.tries > 1 && set.metrics().attempts == u64::from(reply.tries), "{reply:?}");
    // One whose caller goes while it waits for its next try is never sent.
    plugin.stop().unwrap();
    plugin.wait_for(rpc_plugin_system::host::PluginState::Stopped, SOON).unwrap();
    let before = plugin.status().unwrap().calls_total;
    drop(plugin.call_start("work", &json!({}), options().idempotent(true)).unwrap());
    let plugin = up(plugin);
    assert_eq!(plugin.status().unwrap().calls_total, before + 1, "its first try, which was not sent");
}

#[test]
fn a_set_may_hold_calls_of_two_hosts() {
    let worlds = [World::new(), World::new()];
    let hosts = [worlds[0].host(), worlds[1].host()];
    let plugins = [sleeper(&worlds[0], &hosts[0]), sleeper(&worlds[1], &hosts[1])];
    let mut set = CallSet::new();
    for round in 0..20_u64 {
        set.add((0, round), sleep(&plugins[0], 40 + round));
        set.add((1, round), sleep(&plugins[1], 2 * round));
    }
    let mut seen = BTreeSet::new();
    for (key, result) in &mut set {
        result.unwrap();
        assert!(seen.insert(key));
        // A call of the thread's own in between.
        sleep(&plugins[1], 0).wait().unwrap();
    }
    assert_eq!(seen.len(), 40);
}

#[test]
fn many_threads_wait_in_every_way_at_once() {
    let world = World::new();
    let host = world.host();
    let echo = up(world.echo(&host, "echo"));
    std::thread::scope(|scope| {
        for thread in 0..6_u32 {
            let echo = &echo;
            scope.spawn(move || {
                let start = |number: u32| echo.call_start("echo", &json!({"n": number}), options()).unwrap();
                for round in 0..60_u32 {
                    match thread % 4 {
                        0 => {
                            let mut set = CallSet::new();
                            (0..20).for_each(|number| set.add(number, start(number)));
                            let mut left = 15;
                            while left > 0 {
                                let (_, result) = set.next_within(SOON).expect("one ends in time");
                                result.unwrap();
                                left -= 1;
                            }
                        }
                        1 => {
                            let mut calls: Vec<_> = (0..5).map(start).collect();
                            while let Some((_, result)) = wait_any(&mut calls) {
                                result.unwrap();
                            }
                        }
                        2 => drop((0..10).map(start).collect::<Vec<_>>()),
                        _ => {
                            let answer: serde_json::Value =
                                echo.call_with("echo", &json!({"n": round}), options()).unwrap();
                            assert_eq!(answer, json!({"n": round}));
                            start(round).wait_timeout(SOON).unwrap().unwrap();
                        }
                    }
                }
            });
        }
    });
    in_flight(&echo, 0);
}
