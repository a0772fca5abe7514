//! What plugins say of their methods, by host and admin socket: honest plugins, and such as would do harm by it.

use crate::fixtures::raw::{self, Raw, role};
use crate::fixtures::world::{SOON, World, eventually};
use rpc_plugin_system::host::{
    CallError, CallOptions, ErrorCode, Host, HostError, Outcome, PluginHandle, PluginState,
};
use serde_json::{Value, json};

/// A plugin that answers `plugin.describe` as its role says, counts how often, and tells that by its own method.
pub fn describes() {
    let capabilities = ["count"];
    let mut plugin = Raw::greet(&capabilities);
    let mut count = 0;
    while let Some(call) = plugin.next_call(&capabilities) {
        if call.get("id").is_none() {
            // A heartbeat that came too late on a busy machine is cancelled, and that is no request.
            continue;
        }
        let mut answer = json!({"id": call["id"]});
        match call["method"].as_str().unwrap() {
            "plugin.describe" => {
                count += 1;
                if role() == "silent" {
                    continue;
                }
                answer["result"] = description(&role());
                if role() == "unknown" {
                    answer.as_object_mut().unwrap().remove("result");
                    answer["error"] = json!({"code": -32601, "message": "no such method"});
                }
            }
            "count" => answer["result"] = json!(count),
            _ => answer["error"] = json!({"code": -32601, "message": "no such method"}),
        }
        plugin.say(answer);
    }
}

fn description(role: &str) -> Value {
    let methods = |methods: Value| json!({ "methods": methods });
    match role {
        "good" => methods(
            json!([{"name": "count.all", "docs": "Counts."}, {"name": "count", "result": {"type": "integer"}}]),
        ),
        "many" => methods((0..5000).map(|n| json!({"name": format!("m{n}")})).collect()),
        "large" => methods(json!([{"name": "count", "docs": "x".repeat(1 << 20)}])),
        "deep" => methods(
            json!([{"name": "count", "params": (0..90).fold(json!({}), |inner, _| json!({"items": inner}))}]),
        ),
        "controls" => methods(json!([{"name": "count\u{1b}[31m"}])),
        "types" => methods(json!([{"name": "count", "docs": 7}])),
        "shape" => json!([1]),
        _ => Value::Null,
    }
}

fn launched(world: &World, host: &Host, role: &str) -> PluginHandle {
    host.launch(raw::plugin(world, "counter", "describes", role), SOON).unwrap()
}

fn count(plugin: &PluginHandle) -> u64 {
    plugin.call("count", &()).unwrap()
}

fn call_error(error: HostError) -> CallError {
    match error {
        HostError::Call(error) => error,
        other => panic!("{other}"),
    }
}

#[test]
fn a_plugin_is_asked_once_a_generation_and_when_somebody_wants_to_know() {
    let world = World::new();
    let host = Host::builder(world.runtime_dir()).start().unwrap();
    let plugin = launched(&world, &host, "good");
    assert_eq!(count(&plugin), 0, "no start asks for it");
    let described = plugin.describe().unwrap();
    let names: Vec<&str> = described.methods.iter().map(|method| &*method.name).collect();
    assert_eq!(names, ["count", "count.all"]);
    assert_eq!(described.methods[1].docs, "Counts.");
    plugin.describe().unwrap();
    assert_eq!(count(&plugin), 1);

    // A name that the host refuses is told from what is known, and only then.
    let error = plugin.call::<_, Value>("cuont", &()).unwrap_err();
    assert_eq!((error.code, error.outcome), (ErrorCode::MethodNotFound, Outcome::NotSent));
    assert!(error.message.contains("did you mean \"count\"?"), "{error}");

    let before = plugin.status().unwrap().generation;
    plugin.restart().unwrap();
    plugin.wait_routable(before, SOON).unwrap();
    let error = plugin.call::<_, Value>("cuont", &()).unwrap_err();
    assert!(!error.message.contains("did you mean"), "{error}");
    assert_eq!(count(&plugin), 0);
    plugin.describe().unwrap();

    plugin.stop().unwrap();
    plugin.wait_for(PluginState::Stopped, SOON).unwrap();
    assert_eq!(plugin.describe().unwrap().methods.len(), 2, "its last generation said it");
    host.shutdown();
}

#[test]
fn a_plugin_that_is_down_and_was_never_asked_says_nothing() {
    let world = World::new();
    let host = Host::builder(world.runtime_dir()).start().unwrap();
    let plugin = host.add(raw::plugin(&world, "counter", "describes", "good")).unwrap();
    assert_eq!(call_error(plugin.describe().unwrap_err()).code, ErrorCode::Unavailable);
    host.shutdown();
}

#[test]
fn a_description_that_is_none_is_refused_and_costs_the_plugin_nothing() {
    let table = [
        ("many", ErrorCode::InvalidResponse, "it has 5000 methods, at most 1024"),
        ("large", ErrorCode::InvalidResponse, "at most 262144 are taken"),
        ("deep", ErrorCode::InvalidResponse, "params is nested deeper than 64"),
        ("controls", ErrorCode::InvalidResponse, "method 0: name contains '\\u{1b}'"),
        ("types", ErrorCode::InvalidResponse, "it is the integer `7`, and has to be"),
        ("shape", ErrorCode::InvalidResponse, "it is not a JSON object"),
        (
            "unknown",
            ErrorCode::MethodNotFound,
            "does not say what its methods are (plugin.describe): no such method",
        ),
    ];
    let world = World::new();
    let host = Host::builder(world.runtime_dir()).start().unwrap();
    for (role, code, says) in table {
        let plugin = launched(&world, &host, role);
        let error = call_error(plugin.describe().unwrap_err());
        assert_eq!((error.code, error.outcome), (code, Outcome::Answered), "{role}: {error}");
        assert!(error.message.contains(says) && error.message.len() < 1000, "{role}: {error}");
        assert!(!error.message.contains('\u{1b}'), "{role}");
        assert_eq!(count(&plugin), 1, "{role}: it lives on");
        let again = call_error(plugin.describe().unwrap_err());
        assert_eq!((again.code, again.outcome), (code, Outcome::Answered), "{role}: {again}");
        assert!(again.message.contains("it is asked again in 30 s"), "{role}: {again}");
        assert_eq!(count(&plugin), 1, "{role}: it is not asked again at once");
        assert_eq!(plugin.status().unwrap().restarts, 0, "{role}");
        plugin.stop().unwrap();
        plugin.wait_for(PluginState::Stopped, SOON).unwrap();
        host.remove(plugin.id()).unwrap();
    }
    host.shutdown();
}

#[test]
fn while_one_waits_for_a_description_no_other_is_asked_for() {
    let world = World::new();
    let host = Host::builder(world.runtime_dir()).start().unwrap();
    let plugin = launched(&world, &host, "silent");
    let first = std::thread::spawn({
        let plugin = plugin.clone();
        move || call_error(plugin.describe().unwrap_err())
    });
    eventually("somebody asked", || (count(&plugin) > 0).then_some(()));
    let error = call_error(plugin.describe().unwrap_err());
    assert_eq!((error.code, error.outcome), (ErrorCode::Overloaded, Outcome::NotSent), "{error}");
    assert_eq!(count(&plugin), 1);
    let before = plugin.status().unwrap().generation;
    plugin.restart().unwrap();
    plugin.wait_routable(before, SOON).unwrap();
    assert_eq!(first.join().unwrap().code, ErrorCode::PluginLost);
    host.shutdown();
}

#[test]
fn the_methods_of_the_protocol_stay_closed_to_callers() {
    let world = World::new();
    let host = Host::builder(world.runtime_dir()).start().unwrap();
    let plugin = launched(&world, &host, "good");
    let error = plugin.call_raw("plugin.describe", None, CallOptions::default()).unwrap_err();
    assert_eq!((error.code, error.outcome), (ErrorCode::Denied, Outcome::NotSent));
    host.shutdown();
}
