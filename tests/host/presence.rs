//! When plugins are started and stopped, with real processes: after others, by the first call, and when nobody uses them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::world::{SOON, World, next_event, patient};
use rpc_plugin_system::host::{Desired, ErrorCode, Host, HostError, PluginConfig, PluginState, StartMode};
use rpc_plugin_wire::event::EventKind;
use serde_json::{Value, json};
use std::time::Duration;

fn config(world: &World, id: &str, after: &[&str]) -> PluginConfig {
    let config = PluginConfig::new(id.parse().unwrap(), world.program("echo")).policy(patient());
    config.after(after.iter().map(|id| id.parse().unwrap()))
}

/// The ids of the plugins whose processes ended, in order.
fn ends(host: &Host, end: impl FnOnce()) -> Vec<String> {
    let events = host.subscribe(1024).unwrap();
    end();
    let ended = events.into_iter().filter(|event| event.note.kind == EventKind::Exited);
    ended.map(|event| event.note.plugin_id.unwrap().to_string()).collect()
}

#[test]
fn plugins_start_in_order_stop_against_it_and_are_not_stopped_under_others() {
    let world = World::new();
    let host = world.host();
    let web = host.add(config(&world, "web", &["api"])).unwrap();
    let api = host.add(config(&world, "api", &["db"])).unwrap();
    let circle = host.add(config(&world, "db", &["web"])).unwrap_err().to_string();
    assert!(circle.contains("started after itself: db after web after api after db"), "{circle}");
    let db = host.add(config(&world, "db", &[])).unwrap();
    web.start().unwrap();
    let status = api.start().unwrap();
    assert_eq!((status.state, status.waits_for), (PluginState::Waiting, vec![db.id().clone()]));
    db.start().unwrap();
    web.wait_routable(None, SOON).unwrap();

    let error = db.stop().unwrap_err();
    assert!(matches!(&error, HostError::Call(error) if error.code == ErrorCode::Unavailable), "{error}");
    assert!(error.to_string().contains("run: api; stop them first"), "{error}");
    let before = db.status().unwrap().generation;
    db.restart().unwrap();
    db.wait_routable(before, SOON).unwrap();
    assert_eq!(web.status().unwrap().generation.unwrap().get(), 1, "nobody is stopped with it");

    assert_eq!(ends(&host, || host.shutdown()), ["web", "api", "db"]);
}

#[test]
fn the_first_calls_start_a_plugin_once_and_wait_for_it() {
    let world = World::new();
    let host = world.host();
    let echo = host.add(config(&world, "echo", &[]).start(StartMode::OnDemand)).unwrap();
    let status = echo.status().unwrap();
    assert_eq!((status.state, status.desired), (PluginState::Stopped, Desired::Up));
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let call = |number| {
            let echo = &echo;
            scope.spawn(move || {
                let reply: Value = echo.call("echo", &json!({"number": number})).unwrap();
                reply
            })
        };
        let threads: Vec<_> = (0..8).map(call).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let numbers: Vec<u64> = answers.iter().map(|answer| answer["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7]);
    let status = echo.status().unwrap();
    assert_eq!((status.generation.unwrap().get(), status.calls_total), (1, 8));

    echo.stop().unwrap();
    echo.wait_for(PluginState::Stopped, SOON).unwrap();
    let error = echo.call::<_, Value>("echo", &json!({})).unwrap_err();
    assert!(error.to_string().contains("the plugin is stopped"), "{error}");
    assert_eq!(echo.status().unwrap().generation.unwrap().get(), 1);
}

#[test]
fn who_waits_for_a_start_that_fails_is_told_why() {
    let world = World::new();
    let host = world.host();
    let config = PluginConfig::new("gone".parse().unwrap(), world.path().join("gone"));
    let gone = host.add(config.policy(patient()).start(StartMode::OnDemand)).unwrap();
    let error = gone.call::<_, Value>("echo", &json!({})).unwrap_err().to_string();
    assert!(error.contains("the plugin is failed") && error.contains("gone"), "{error}");
}

#[test]
fn what_nobody_uses_is_stopped_and_the_next_call_starts_it_again() {
    let world = World::new();
    let host = world.host();
    let echo = host.add(config(&world, "echo", &[]).idle_stop(Duration::from_secs(1))).unwrap();
    let events = host.subscribe(1024).unwrap();
    let _: Value = echo.call("echo", &json!({"a": 1})).unwrap();
    next_event(&events, EventKind::PluginIdle);
    let status = echo.wait_for(PluginState::Stopped, SOON).unwrap();
    assert_eq!((status.desired, status.restarts), (Desired::Up, 0));
    let _: Value = echo.call("echo", &json!({"a": 2})).unwrap();
    assert_eq!(echo.status().unwrap().generation.unwrap().get(), 2);
}
