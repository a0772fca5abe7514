//! Calls by capability: which provider gets them, what a caller is told where there is none, and what happens when one
//! goes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::fixtures::world::{SOON, World, calm, eventually, signal, up};
use nix::sys::signal::Signal;
use rpc_plugin_system::host::{CallOptions, CallSet, CapabilityHandle, ErrorCode, Outcome, Policy};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn options() -> CallOptions {
    CallOptions::default().timeout(SOON)
}

fn who(capability: &CapabilityHandle) -> String {
    capability.call_raw("work", None, options()).unwrap().plugin_id.unwrap().to_string()
}

#[test]
fn providers_take_turns_and_the_one_that_is_busy_gets_less() {
    let world = World::new();
    let host = world.host();
    let work = host.capability("work");
    assert_eq!(work.name(), "work");
    let error = work.call_raw("work", None, options()).unwrap_err();
    assert_eq!(
        (error.code, error.outcome, error.plugin_id.as_ref()),
        (ErrorCode::Unavailable, Outcome::NotSent, None)
    );
    assert!(error.message.contains("\"work\""), "{error}");
    let plugins: Vec<_> =
        ["a", "b", "c"].iter().map(|id| up(world.failing(&host, id, &[], calm()))).collect();
    let turns: Vec<String> = (0..6).map(|_| who(&work)).collect();
    assert_eq!(turns, ["a", "b", "c", "a", "b", "c"]);
    let answer: Value = work.call_with("work", &json!({"typed": true}), options()).unwrap();
    assert_eq!(answer, json!({"typed": true}));
    // Two calls keep `b` busy.
    let busy: Vec<_> =
        (0..2).map(|_| plugins[1].call_start("sleep", &json!({"ms": 600_000}), options()).unwrap()).collect();
    eventually("b is busy", || (plugins[1].status().unwrap().calls_in_flight == 2).then_some(()));
    let mut calls = CallSet::new();
    for number in 0..4 {
        calls.add(number, work.call_start("sleep", &json!({"ms": 100}), options()).unwrap());
    }
    let mut took = BTreeMap::new();
    for (_, result) in &mut calls {
        *took.entry(result.unwrap().plugin_id.unwrap().to_string()).or_insert(0) += 1;
    }
    assert_eq!(took, BTreeMap::from([("a".to_owned(), 2), ("c".to_owned(), 2)]));
    drop(busy);
}

#[test]
fn when_one_goes_the_others_serve_and_an_idempotent_call_is_taken_over() {
    let world = World::new();
    let host = world.host();
    let work = host.capability("work");
    let slow = Policy { backoff_initial: SOON * 10, backoff_max: SOON * 10, ..calm() };
    let slow = Policy { restarts_max: 1, restart_window: SOON * 100, ..slow };
    let plugins: Vec<_> =
        ["a", "b"].iter().map(|id| up(world.failing(&host, id, &[], slow.clone()))).collect();
    let call = work.call_start("sleep", &json!({"ms": 300}), options().idempotent(true)).unwrap();
    eventually("a is busy", || (plugins[0].status().unwrap().calls_in_flight == 1).then_some(()));
    signal(plugins[0].status().unwrap().pid.unwrap(), Signal::SIGKILL);
    let reply = call.wait().unwrap();
    assert_eq!(reply.plugin_id.as_ref(), Some(plugins[1].id()));
    assert_eq!((who(&work), who(&work)), ("b".to_owned(), "b".to_owned()));
    plugins[1].stop().unwrap();
    let error = work.call_raw("work", None, options()).unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert!(error.message.contains("b is stop") && error.message.contains("a is backoff"), "{error}");
}
