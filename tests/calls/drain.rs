//! The ways to end a host: to take no more calls, to end when those under way are done, and in time where they are not.

use crate::fixtures::nested::{self, Launch, Scene};
use crate::fixtures::world::{SOON, World, calm, eventually, up};
use rpc_plugin_sdk::{Call, CallError, HandlerError, Host as PluginsHost};
use rpc_plugin_system::host::{CallOptions, ErrorCode, Outcome};
use serde_json::{Value, json};
use std::sync::{Arc, Barrier};
use std::time::Duration;

const BODY: &str = "drain";

/// What a call comes to that no other call led to.
fn refused(end: Result<Value, CallError>) -> String {
    end.map_or_else(
        |error| format!("{} {}: {}", error.code.name(), error.outcome.as_str(), error.message),
        |value| value.to_string(),
    )
}

/// The plugin that these tests start: `work.late` calls before and after its host is drained, for the call that it serves,
/// and as a thread of the plugin's own would.
pub(crate) fn serve_nested() {
    let plugin = nested::plugin();
    let own: PluginsHost = plugin.host().timeout(SOON);
    let plugin = plugin.method("work.late", move |call: &Call, (): ()| {
        call.host().call::<_, ()>("gate", &())?;
        let at_host: Value = call.host().call("nested.echo", &json!({"at": "host"}))?;
        let at_plugin: Value = call.host().plugin("b").call("work.echo", &json!({"at": "b"}))?;
        let by_itself =
            [own.call("nested.echo", &json!({})), own.plugin("b").call("work.echo", &json!({}))].map(refused);
        Ok::<_, HandlerError>(json!({"during": [at_host, at_plugin], "by_itself": by_itself}))
    });
    // Where this fails the host that started it says why.
    let _ = plugin.run();
}

fn options() -> CallOptions {
    CallOptions::default().timeout(SOON)
}

#[test]
fn a_drained_host_takes_nothing_new_and_serves_what_is_under_way_to_its_end() {
    let gate = Arc::new(Barrier::new(2));
    let at_gate = Arc::clone(&gate);
    let scene = Scene::with(BODY, |builder| {
        builder.service_threads(2).service("gate", move |_, (): ()| {
            at_gate.wait();
            at_gate.wait();
            Ok::<_, HandlerError>(())
        })
    });
    let (a, b) = (scene.up("a", &Launch::default()), scene.up("b", &Launch::default()));
    let late = a.call_start("work.late", &(), options()).unwrap();
    gate.wait();
    let counts = scene.host.call_counts().unwrap();
    assert_eq!((counts.in_flight, counts.to_repeat, counts.is_draining), (1, 0, false));
    assert_eq!((counts.services_running, counts.services_waiting), (1, 0));
    scene.host.drain().unwrap();
    scene.host.drain().unwrap();
    assert!(scene.host.call_counts().unwrap().is_draining);
    let by_capability = scene.host.capability("work");
    for end in [
        b.call_raw("work.echo", None, options()),
        b.call_raw("work.echo", None, options().idempotent(true)),
        by_capability.call_raw("work.echo", None, options()),
    ] {
        let error = end.unwrap_err();
        assert_eq!((error.code, error.outcome), (ErrorCode::Unavailable, Outcome::NotSent));
        assert_eq!(error.message, "the host takes no more calls");
    }
    gate.wait();
    let said: Value = late.wait().unwrap().parse().unwrap();
    assert_eq!(said["during"], json!([{"at": "host"}, {"at": "b"}]));
    let no_more = "unavailable not_sent: the host takes no more calls";
    assert_eq!(said["by_itself"], json!([no_more, no_more]));
    assert!(scene.host.shutdown_when_done(SOON), "nothing is left");
}

#[test]
fn a_host_ends_once_its_calls_are_done_those_that_are_repeated_too() {
    let world = World::new();
    let host = world.host();
    let plugin = world.failing(&host, "later", &[], calm());
    let call = plugin.call_start("work", &json!({"x": 1}), options().idempotent(true)).unwrap();
    eventually("it waits for its next try", || (host.call_counts().unwrap().to_repeat == 1).then_some(()));
    std::thread::scope(|scope| {
        let ending = scope.spawn(|| host.shutdown_when_done(SOON));
        eventually("it takes no more calls", || host.call_counts().unwrap().is_draining.then_some(()));
        plugin.start().unwrap();
        assert_eq!(call.wait().unwrap().result.get(), "{\"x\":1}");
        assert!(ending.join().unwrap());
    });
    let reason = host.end_reason().unwrap();
    assert!(reason.contains("all calls were done"), "{reason}");
    assert!(!host.shutdown_when_done(SOON), "it has ended before");
}

#[test]
fn a_host_does_not_wait_for_ever_for_its_calls() {
    let world = World::new();
    let host = world.host();
    let plugin = up(world.failing(&host, "sleeper", &[], calm()));
    let call = plugin.call_start("sleep", &json!({"ms": 600_000}), options()).unwrap();
    assert!(!host.shutdown_when_done(Duration::from_millis(30)));
    assert!(call.wait().is_err());
    let reason = host.end_reason().unwrap();
    assert!(reason.contains("were not done in time"), "{reason}");
}
