//! One plugin that asks for all there is: what it gets, what it is told, and what the others get (protocol section 5).
//!
//! What it deliberately does not do: the scheme itself; `sdk/peer/src/shares.rs` tests that. The queue of the record is
//! in `tests/record/host.rs`.

use crate::fixtures::raw::{self, Raw};
use crate::fixtures::world::{SOON, World, calm, eventually, up};
use rpc_plugin_system::host::{CallOptions, Host, MayCall, PluginHandle, Policy, ServiceCall};
use rpc_plugin_wire::event::EventKind;
use serde_json::{Value, json};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

const CAPABILITIES: [&str; 5] = ["go", "told", "wait", "echo", "deaf"];

/// The plugin: it asks for the same thing as often as it is told to, and tells what it was answered.
pub(crate) fn asker_body() {
    let mut raw = Raw::greet(&CAPABILITIES);
    let (mut told, mut asked) = (Vec::new(), 0);
    while let Some(frame) = raw.next_call(&CAPABILITIES) {
        let params = &frame["params"];
        let result = match frame["method"].as_str() {
            Some("go") => {
                let mut request = params["request"].clone();
                if let Some(bytes) = params["bytes"].as_u64() {
                    request["params"]["params"] = json!({"padding": "x".repeat(bytes as usize)});
                }
                for _ in 0..params["count"].as_u64().unwrap() {
                    asked += 1;
                    request["id"] = json!(asked);
                    raw.say(request.clone());
                }
                json!({})
            }
            Some("told") => json!({"told": told}),
            Some("echo") => params.clone(),
            // Reads no more, until it is killed.
            Some("deaf") => {
                raw.say(json!({"id": frame["id"], "result": {}}));
                loop {
                    std::thread::park();
                }
            }
            // Never answered, nor is what nobody waits for any more.
            Some(_) => continue,
            None => {
                told.push(frame);
                continue;
            }
        };
        raw.say(json!({"id": frame["id"], "result": result}));
    }
    std::process::exit(0);
}

fn asker(world: &World, host: &Host, id: &str, policy: Policy) -> PluginHandle {
    let mut config = raw::plugin(world, id, "shares", "").policy(policy);
    let any = vec!["*".to_owned()];
    config.may_call = MayCall { plugins: any.clone(), capabilities: any };
    up(host.add(config).unwrap())
}

fn options() -> CallOptions {
    CallOptions::default().timeout(SOON)
}

fn go(plugin: &PluginHandle, count: u32, bytes: Option<u32>, request: &Value) {
    let params = json!({"count": count, "bytes": bytes, "request": request});
    let _: Value = plugin.call_with("go", &params, options()).unwrap();
}

/// What the plugin was answered, once it was so often.
fn told(plugin: &PluginHandle, count: usize) -> Vec<Value> {
    eventually("the plugin is answered", || {
        let told: Value = plugin.call_with("told", &json!({}), options()).unwrap();
        let told = told["told"].as_array().unwrap().clone();
        (told.len() >= count).then_some(told)
    })
}

/// Whether it was refused because the share of the plugin `flood` is used up.
fn is_used_up(answer: &Value) -> bool {
    let (error, text) = (&answer["error"], answer["error"]["message"].as_str().unwrap_or_default());
    error["code"] == -32005 && text.contains("the share of plugin \"flood\" is used up")
}

fn host_call(plugin: &str, method: &str) -> Value {
    let params = json!({"plugin_id": plugin, "method": method});
    json!({"method": "host.call", "deadline_ms": 600_000, "params": params})
}

#[test]
fn one_caller_takes_half_of_a_callees_places_and_others_still_call_it() {
    let world = World::new();
    let host = world.host();
    let callee = asker(&world, &host, "callee", Policy { calls_in_flight_max: 16, ..calm() });
    let flood = asker(&world, &host, "flood", calm());
    let other = asker(&world, &host, "other", calm());
    go(&flood, 20, None, &host_call("callee", "wait"));
    let refused = told(&flood, 12);
    assert!(refused.len() == 12 && refused.iter().all(is_used_up), "{refused:?}");
    assert!(refused.iter().all(|answer| answer["error"]["data"]["outcome"] == "not_sent"), "{refused:?}");
    let _: Value = callee.call_with("echo", &json!({}), options()).unwrap();
    go(&other, 2, None, &host_call("callee", "echo"));
    let answers = told(&other, 2);
    assert!(answers.iter().all(|answer| answer.get("error").is_none()), "{answers:?}");
    assert_eq!(callee.status().unwrap().calls_in_flight, 8);
}

#[test]
fn one_caller_fills_half_of_what_waits_for_a_slow_plugin_and_others_still_call_it() {
    let world = World::new();
    let host = world.host();
    let callee = asker(&world, &host, "callee", calm());
    let flood = asker(&world, &host, "flood", calm());
    let other = asker(&world, &host, "other", calm());
    let _: Value = callee.call_with("deaf", &json!({}), options()).unwrap();
    go(&flood, 20, Some(1 << 20), &host_call("callee", "echo"));
    let in_flight = || callee.status().unwrap().calls_in_flight;
    let (refused, of_flood) = eventually("each is refused or waits", || {
        let (refused, waiting) = (told(&flood, 0), in_flight());
        (refused.len() + waiting as usize == 20).then_some((refused, waiting))
    });
    // Of 16 MiB eight wait before one is refused; the socket holds a part of another.
    assert!((8..=10).contains(&of_flood) && refused.iter().all(is_used_up), "{of_flood}");
    go(&other, 1, Some(1 << 20), &host_call("callee", "echo"));
    eventually("the other's call waits too", || (in_flight() == of_flood + 1).then_some(()));
}

#[test]
fn one_caller_has_half_of_what_is_repeated_and_others_have_theirs() {
    let world = World::new();
    let host = world.host();
    let flood = asker(&world, &host, "flood", calm());
    let echo = asker(&world, &host, "callee", calm());
    let params = json!({"capability": "nobody", "method": "nobody", "idempotent": true});
    let request = json!({"method": "host.call", "deadline_ms": 600_000, "params": params});
    go(&flood, 12, Some((4 << 20) - 1000), &request);
    let refused = told(&flood, 3);
    assert!(refused.len() == 3 && refused.iter().all(is_used_up), "{refused:?}");
    let large = json!({"text": "x".repeat(1 << 20)});
    let answer: Value = echo.call_with("echo", &large, options().idempotent(true)).unwrap();
    assert!(answer == large);
}

#[test]
fn one_plugin_has_half_of_the_queue_of_services_and_others_have_theirs() {
    let world = World::new();
    let ((release, held), (serve, served)) = (channel::<()>(), channel::<()>());
    let (held, serve) = (Arc::new(Mutex::new(held)), Arc::new(Mutex::new(serve)));
    let hold = move |_: &ServiceCall, _: Value| -> Result<Value, std::io::Error> {
        let _ = serve.lock().unwrap().send(());
        let _ = held.lock().unwrap().recv();
        Ok(json!({}))
    };
    let builder = world.builder().service("hold", hold).service_threads(1).service_queue_max(16);
    let host = builder.start().unwrap();
    let flood = asker(&world, &host, "flood", calm());
    let other = asker(&world, &host, "other", calm());
    go(&flood, 1, None, &json!({"method": "hold", "params": {}}));
    served.recv_timeout(SOON).unwrap();
    // One is served, eight wait.
    go(&flood, 19, None, &json!({"method": "hold", "params": {}}));
    let refused = told(&flood, 11);
    assert!(refused.len() == 11 && refused.iter().all(is_used_up), "{refused:?}");
    go(&other, 3, None, &json!({"method": "hold", "params": {}}));
    let refused = told(&other, 1);
    assert!(refused.len() == 1 && refused[0]["error"]["code"] == -32005, "{refused:?}");
    drop(release);
    let served = told(&other, 3);
    assert_eq!(served.iter().filter(|answer| answer["result"].is_object()).count(), 2);
}

/// A flood of calls that fail stands on the record of the plugin that makes them. On that of the plugin that is called it
/// leaves what happened there.
#[test]
fn failing_calls_stand_on_the_callers_record_and_do_not_wash_away_the_callees() {
    let world = World::new();
    let host = world.host();
    let _victim = asker(&world, &host, "victim", calm());
    let flood = asker(&world, &host, "flood", calm());
    go(&flood, 300, None, &host_call("victim", "nosuch"));
    go(&flood, 1, None, &host_call("nobody", "x"));
    told(&flood, 301);
    assert!(host.flush_events(SOON));
    let count = |id: &str, kind: EventKind| {
        let lines = world.record(id);
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["event"] == kind.as_str()).collect::<Vec<Value>>()
    };
    let failed = count("victim", EventKind::CallFailed);
    assert_eq!(failed.len(), 64);
    assert!(failed.iter().all(|line| line["details"]["caller"] == "flood"), "{failed:?}");
    let own = count("flood", EventKind::HostCallFailed);
    assert_eq!(own.len(), 301);
    assert_eq!((&own[0]["details"]["callee"], &own[0]["method"]), (&json!("victim"), &json!("nosuch")));
    assert_eq!(own[300]["details"]["callee"], "nobody", "{:?}", own[300]);
    assert!(own[300]["error"].as_str().unwrap().contains("there is no plugin"), "{:?}", own[300]);
}
