//! Plugins that send without end what nobody asked for: they are read a part of the time, told of, and served as before;
//! whoever sends what was asked for is read as fast as it comes.
//!
//! What it deliberately does not do: how much that is; `src/state/unasked.rs` and the tests of sessions do.

use crate::fixtures::raw::{self, Raw, frame};
use crate::fixtures::world::{SOON, World, calm, eventually, up};
use rpc_plugin_system::host::{CallOptions, Host, MayCall, PluginHandle, ServiceCall};
use rpc_plugin_wire::event::EventKind;
use serde_json::{Value, json};
use std::io::Write;

const CAPABILITIES: [&str; 2] = ["flood", "echo"];

/// The plugin: it sends one frame as often as it is told to, or prints, and then answers.
pub(crate) fn flood_body() {
    let mut raw = Raw::greet(&CAPABILITIES);
    let mut asked = 0_u64;
    while let Some(call) = raw.next_call(&CAPABILITIES) {
        let params = &call["params"];
        let result = match call["method"].as_str() {
            Some("flood") => {
                let count = params["count"].as_u64().unwrap();
                if let Some(line) = params["line"].as_str() {
                    let lines = format!("{line}\n").repeat(count as usize);
                    std::io::stdout().write_all(lines.as_bytes()).unwrap();
                } else {
                    let mut bytes = Vec::new();
                    for _ in 0..count {
                        let mut members = params["frame"].clone();
                        if members["id"] == json!("next") {
                            asked += 1;
                            members["id"] = json!(asked);
                        }
                        bytes.extend(frame(members));
                    }
                    raw.send(&bytes, &[]);
                }
                json!({})
            }
            Some("echo") => params.clone(),
            _ => continue,
        };
        raw.say(json!({"id": call["id"], "result": result}));
    }
    std::process::exit(0);
}

fn flooder(world: &World, host: &Host, id: &str) -> PluginHandle {
    let mut config = raw::plugin(world, id, "floods", "").policy(calm());
    config.may_call = MayCall { plugins: vec!["echo".to_owned()], capabilities: Vec::new() };
    up(host.add(config).unwrap())
}

fn options() -> CallOptions {
    CallOptions::default().timeout(SOON)
}

/// The sources of that plugin that were told to be read a part of the time.
fn paused(world: &World, host: &Host, id: &str) -> Vec<String> {
    assert!(host.flush_events(SOON));
    let record = world.record(id);
    let lines = record.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let paused = lines.filter(|line| line["event"] == EventKind::ReadingPaused.as_str());
    paused.map(|line| line["details"]["source"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn whatever_nobody_asked_for_is_read_a_part_of_the_time_and_told() {
    let world = World::new();
    let host = world.host();
    let echo = up(world.echo(&host, "echo"));
    let host_call = json!({"plugin_id": "echo", "method": "nosuch"});
    let denied = json!({"plugin_id": "other", "method": "x"});
    let padding = "x".repeat(600_000);
    let kinds = [
        ("unknown", json!({"count": 6000, "frame": {"method": "x"}}), "connection"),
        (
            "cancel",
            json!({"count": 6000, "frame": {"method": "rpc.cancel", "params": {"id": 99}}}),
            "connection",
        ),
        (
            "log",
            json!({"count": 9000, "frame": {"method": "host.log", "params": {"level": "info", "message": "m"}}}),
            "connection",
        ),
        ("service", json!({"count": 6000, "frame": {"id": "next", "method": "nosuch"}}), "connection"),
        (
            "call",
            json!({"count": 6000, "frame": {"id": "next", "method": "host.call", "params": host_call}}),
            "connection",
        ),
        (
            "denied",
            json!({"count": 6000, "frame": {"id": "next", "method": "host.call", "params": denied}}),
            "connection",
        ),
        (
            "large",
            json!({"count": 3, "frame": {"method": "x", "params": {"padding": padding}}}),
            "connection",
        ),
        (
            "beside",
            json!({"count": 3, "frame": {"id": "next", "method": "nosuch", "more": padding}}),
            "connection",
        ),
        ("lines", json!({"count": 60_000, "line": ""}), "stdout"),
    ];
    for (id, flood, source) in kinds {
        let plugin = flooder(&world, &host, id);
        let flooding = plugin.call_start("flood", &flood, options()).unwrap();
        let other: Value = echo.call_with("echo", &json!({"n": 1}), options()).unwrap();
        assert_eq!(other, json!({"n": 1}));
        flooding.wait().unwrap();
        assert_eq!(
            plugin.call_with::<_, Value>("echo", &json!({"n": 2}), options()).unwrap(),
            json!({"n": 2})
        );
        assert_eq!(paused(&world, &host, id), [source], "{id}");
        assert_eq!(plugin.status().unwrap().generation.unwrap().get(), 1, "{id}");
        plugin.stop().unwrap();
    }
}

#[test]
fn what_was_asked_for_is_read_as_fast_as_it_comes() {
    let world = World::new();
    let count = |_: &ServiceCall, params: Value| -> Result<Value, std::io::Error> { Ok(params) };
    let host = world.builder().service("count", count).service_queue_max(100_000).start().unwrap();
    let plugin = flooder(&world, &host, "busy");
    let _echo = up(world.echo(&host, "echo"));
    // Answers, small and large.
    for round in 0..20 {
        let params = json!({"n": round, "text": "x".repeat(if round % 5 == 0 { 3 << 20 } else { 0 })});
        let calls: Vec<_> = (0..if round % 5 == 0 { 1 } else { 500 })
            .map(|_| plugin.call_start("echo", &params, options()).unwrap())
            .collect();
        calls.into_iter().for_each(|call| drop(call.wait().unwrap()));
    }
    // Requests that are served, by the program and by another plugin.
    for frame in [
        json!({"id": "next", "method": "count", "params": {"n": 1}}),
        json!({"id": "next", "method": "host.call", "params": {"plugin_id": "echo", "method": "echo", "params": {"n": 1}}}),
    ] {
        for _ in 0..10 {
            let flood = json!({"count": 400, "frame": frame});
            let _: Value = plugin.call_with("flood", &flood, options()).unwrap();
            // It has read all of them once it has answered this one, and once they are answered there is room for as many.
            let _: Value = plugin.call_with("echo", &json!({}), options()).unwrap();
            eventually("those before are answered", || {
                let counts = host.call_counts().unwrap();
                (counts.in_flight + counts.services_running + counts.services_waiting == 0).then_some(())
            });
        }
    }
    // What goes on record of what it logs and prints.
    let log = json!({"method": "host.log", "params": {"level": "info", "message": "m"}});
    let _: Value = plugin.call_with("flood", &json!({"count": 500, "frame": log}), options()).unwrap();
    let _: Value = plugin.call_with("flood", &json!({"count": 500, "line": "a line"}), options()).unwrap();
    assert_eq!(paused(&world, &host, "busy"), Vec::<String>::new());
}
