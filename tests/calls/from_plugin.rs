//! Plugins that call: another plugin through the host, services of the embedding program, and both while they are
//! called themselves.
//!
//! What it deliberately does not do: use the SDK for who calls; its own tests do. Here the caller says exactly what it
//! wants to say, and shows exactly what it is answered.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs
)]

use crate::fixtures::raw::{self, Raw};
use crate::fixtures::world::{SOON, World, calm, eventually, up};
use rpc_plugin_system::host::{
    CallError, CallOptions, Host, MayCall, PendingCall, PluginHandle, Policy, RestartPolicy, ServiceCall,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const CAPABILITIES: [&str; 8] = ["relay", "give_up", "die", "show", "wait", "tell", "once", "cancels"];

/// A plugin that makes the requests that it is told to, and serves what others want of it.
#[derive(Default)]
struct Relay {
    /// Requests of its own: for which call each is made, and the progress that it was told.
    asked: BTreeMap<u64, (Value, Vec<Value>)>,
    next: u64,
    /// Calls that wait to be cancelled.
    waiting: Vec<Value>,
    /// All that ever did.
    waited: Vec<Value>,
    /// How often one of those was cancelled; a heartbeat is too, where a busy machine answers it late.
    cancels: u64,
}

impl Relay {
    fn handle(&mut self, raw: &Raw, frame: &Value) {
        let id = &frame["id"];
        match frame["method"].as_str() {
            Some("relay") => self.ask(raw, frame),
            Some("give_up") => {
                for id in self.asked.keys() {
                    raw.say(json!({"method": "rpc.cancel", "params": {"id": id}}));
                }
                raw.say(json!({"id": id, "result": {}}));
            }
            Some("die") => std::process::exit(0),
            Some("once") if raw.config.generation.get() == 1 => std::process::exit(0),
            Some("once" | "show") => {
                raw.say(json!({"id": id, "result": frame}));
            }
            Some("wait") => {
                self.waiting.push(id.clone());
                self.waited.push(id.clone());
            }
            Some("cancels") => {
                raw.say(json!({"id": id, "result": {"cancels": self.cancels}}));
            }
            Some("tell") => {
                for value in 1..=3 {
                    raw.say(json!({"method": "rpc.progress", "params": {"id": id, "value": value}}));
                }
                raw.say(json!({"id": id, "result": {}}));
            }
            Some("rpc.cancel") => {
                let id = &frame["params"]["id"];
                self.cancels += u64::from(self.waited.contains(id));
                if self.waiting.contains(id) {
                    self.waiting.retain(|waiting| waiting != id);
                    raw.say(json!({"id": id, "error": {"code": -32800, "message": "given up"}}));
                }
            }
            Some("rpc.progress") => {
                let id = frame["params"]["id"].as_u64().unwrap();
                self.asked.get_mut(&id).unwrap().1.push(frame["params"]["value"].clone());
            }
            Some(other) => panic!("{other} is no method"),
            None => {
                let (relay, progress) = self.asked.remove(&id.as_u64().unwrap()).expect("it was asked");
                raw.say(json!({"id": relay, "result": {"answer": frame, "progress": progress}}));
            }
        }
    }

    fn ask(&mut self, raw: &Raw, frame: &Value) {
        let mut request = frame["params"].clone();
        request["id"] = json!(self.next);
        if request.get("chain").is_none() {
            // As an SDK does: what led here, and the call that this one is made for.
            let mut chain = frame["chain"].as_array().cloned().unwrap_or_default();
            let (id, generation) = (&raw.config.plugin_id, raw.config.generation);
            chain.push(json!(format!("{id}/{generation}/{}", frame["id"])));
            if chain.len() > 32 {
                let error = json!({"code": -32009, "message": "too deep"});
                raw.say(json!({"id": frame["id"], "error": error}));
                return;
            }
            request["chain"] = json!(chain);
        }
        self.asked.insert(self.next, (frame["id"].clone(), Vec::new()));
        self.next += 1;
        raw.say(request);
    }
}

/// The plugin: this program, started by the hosts of these tests.
pub(crate) fn relay_body() {
    let mut raw = Raw::greet(&CAPABILITIES);
    let mut relay = Relay::default();
    while let Some(frame) = raw.next_call(&CAPABILITIES) {
        relay.handle(&raw, &frame);
    }
    std::process::exit(0);
}

fn options() -> CallOptions {
    CallOptions::default().timeout(SOON)
}

fn policy() -> Policy {
    Policy { ready_timeout: SOON, hello_timeout: SOON, restart: RestartPolicy::Always, ..calm() }
}

/// A plugin of this kind that may call these.
fn relay(world: &World, host: &Host, id: &str, plugins: &[&str], capabilities: &[&str]) -> PluginHandle {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let mut config = raw::plugin(world, id, "relay", "relay").policy(policy());
    config.may_call = MayCall { plugins: names(plugins), capabilities: names(capabilities) };
    up(host.add(config).unwrap())
}

fn begin(caller: &PluginHandle, request: Value) -> PendingCall {
    caller.call_start("relay", &request, options()).unwrap()
}

/// What the host answers when the plugin asks this, and the progress before.
fn ask(caller: &PluginHandle, request: Value) -> Value {
    begin(caller, request).wait().unwrap().parse().unwrap()
}

fn call(plugin: &str, method: &str, params: &Value) -> Value {
    json!({"method": "host.call", "params": {"plugin_id": plugin, "method": method, "params": params}})
}

fn cancels(callee: &PluginHandle) -> u64 {
    let seen: Value = callee.call_with("cancels", &json!({}), options()).unwrap();
    seen["cancels"].as_u64().unwrap()
}

fn waits(callee: &PluginHandle) {
    eventually("the callee has the call", || (callee.status().unwrap().calls_in_flight == 1).then_some(()));
}

#[test]
fn a_result_and_an_error_come_back_as_they_are() {
    let world = World::new();
    let host = world.host();
    let _echo = up(world.echo(&host, "echo"));
    let _failure = up(world.failing(&host, "failure", &[], calm()));
    let caller = relay(&world, &host, "caller", &["echo", "failure"], &[]);
    let params = json!({"text": "é\u{1}", "numbers": [1.5, -7, 0], "deep": {"a": {"b": null}}});
    assert_eq!(ask(&caller, call("echo", "echo", &params))["answer"]["result"], params);
    let error = json!({"code": 4711, "message": "no such key", "data": {"key": "k", "more": [1]}});
    let seen = &ask(&caller, call("failure", "work", &json!({"error": error})))["answer"]["error"];
    assert_eq!((&seen["code"], &seen["message"]), (&error["code"], &error["message"]), "{seen}");
    assert_eq!(seen["data"], error["data"], "{seen}");
    // What the host would say comes through as the plugin's word.
    let error = json!({"code": -32002, "message": "down", "data": {"outcome": "not_sent"}});
    let seen = &ask(&caller, call("failure", "work", &json!({"error": error})))["answer"]["error"];
    let data = json!({"outcome": "answered", "plugin_id": "failure", "generation": 1, "data": {"outcome": "not_sent"}});
    assert_eq!((&seen["code"], &seen["data"]), (&json!(-32002), &data), "{seen}");
    assert_eq!(seen["message"], "the plugin answered -32002: down", "{seen}");
    let large = json!({"text": "x".repeat(3 << 20)});
    // On a busy machine this passes the deadline that a call has otherwise.
    let mut request = call("echo", "echo", &large);
    request["deadline_ms"] = json!(SOON.as_millis() as u64);
    let seen = &ask(&caller, request)["answer"];
    assert!(seen["result"] == large, "{:.300}", seen.to_string());
}

#[test]
fn only_what_is_permitted_and_there_is_called() {
    let world = World::new();
    let host = world.host();
    let echo = up(world.echo(&host, "echo"));
    let caller = relay(&world, &host, "caller", &["echo", "nobody"], &["echo", "nothing"]);
    let by = |capability: &str, method: &str| {
        let params = json!({"capability": capability, "method": method, "params": {"n": 1}});
        ask(&caller, json!({"method": "host.call", "params": params}))["answer"].clone()
    };
    assert_eq!(by("echo", "echo")["result"], json!({"n": 1}));
    for (answer, code) in [
        (by("sleep", "sleep"), -32007),
        (by("nothing", "nothing"), -32002),
        (ask(&caller, call("caller", "show", &json!({})))["answer"].clone(), -32007),
        (ask(&caller, call("other", "x", &json!({})))["answer"].clone(), -32007),
        (ask(&caller, call("nobody", "x", &json!({})))["answer"].clone(), -32008),
        (ask(&caller, call("echo", "plugin.shutdown", &json!({})))["answer"].clone(), -32007),
        (ask(&caller, call("echo", "unknown", &json!({})))["answer"].clone(), -32601),
        (ask(&caller, json!({"method": "host.call", "params": {}}))["answer"].clone(), -32602),
        (ask(&caller, json!({"method": "host.call"}))["answer"].clone(), -32602),
        (ask(&caller, json!({"method": "no.service", "params": {}}))["answer"].clone(), -32601),
    ] {
        assert_eq!(answer["error"]["code"], code, "{answer}");
    }
    echo.stop().unwrap();
    let answer = ask(&caller, call("echo", "echo", &json!({})))["answer"].clone();
    assert_eq!(
        (&answer["error"]["code"], &answer["error"]["data"]["outcome"]),
        (&json!(-32002), &json!("not_sent"))
    );
    assert_eq!(caller.status().unwrap().generation.map(|seen| seen.get()), Some(1), "it broke no rule");
}

#[test]
fn what_is_given_up_is_cancelled_at_the_callee_and_answered() {
    let world = World::new();
    let host = world.host();
    let callee = relay(&world, &host, "callee", &[], &[]);
    let caller = relay(&world, &host, "caller", &["callee"], &[]);
    let waiting = begin(&caller, call("callee", "wait", &json!({})));
    waits(&callee);
    let _: Value = caller.call_with("give_up", &json!({}), options()).unwrap();
    let seen: Value = waiting.wait().unwrap().parse().unwrap();
    assert_eq!(seen["answer"]["error"]["code"], -32800, "{seen}");
    assert_eq!(cancels(&callee), 1);
    // Also one that the callee sleeps in, with an SDK.
    let echo = up(world.echo(&host, "echo"));
    let sleeper = relay(&world, &host, "sleeper", &["*"], &[]);
    let asleep = begin(&sleeper, call("echo", "sleep", &json!({"ms": 600_000})));
    waits(&echo);
    let _: Value = sleeper.call_with("give_up", &json!({}), options()).unwrap();
    let seen: Value = asleep.wait().unwrap().parse().unwrap();
    assert_eq!(seen["answer"]["error"]["code"], -32800, "{seen}");
    eventually("echo answers what was cancelled", || {
        (echo.status().unwrap().calls_in_flight == 0).then_some(())
    });
    assert_eq!(echo.status().unwrap().generation.map(|seen| seen.get()), Some(1));
}

#[test]
fn a_caller_that_dies_gives_up_what_it_waits_for() {
    let world = World::new();
    let host = world.host();
    let callee = relay(&world, &host, "callee", &[], &[]);
    let caller = relay(&world, &host, "caller", &["callee"], &[]);
    let waiting = begin(&caller, call("callee", "wait", &json!({})));
    waits(&callee);
    let _dies = caller.call_start("die", &json!({}), options()).unwrap();
    assert!(waiting.wait().is_err(), "its own call ends with it");
    eventually("the callee is told", || (cancels(&callee) == 1).then_some(()));
    assert_eq!(callee.status().unwrap().generation.map(|seen| seen.get()), Some(1));
}

#[test]
fn deadline_chain_and_progress_are_handed_on() {
    let world = World::new();
    let host = world.host();
    let callee = relay(&world, &host, "callee", &[], &[]);
    let caller = relay(&world, &host, "caller", &["callee"], &[]);
    let mut request = call("callee", "show", &json!({"n": 7}));
    request["deadline_ms"] = json!(5000);
    request["chain"] = json!(["a/1/2"]);
    let seen = ask(&caller, request.clone())["answer"]["result"].clone();
    let left = seen["deadline_ms"].as_u64().unwrap();
    assert!((1..=5000).contains(&left), "{seen}");
    assert_eq!(seen["params"], json!({"n": 7}));
    assert_eq!(seen["chain"], json!(["a/1/2"]), "{seen}");
    assert_eq!(seen.get("progress"), None);
    let mut late = call("callee", "wait", &json!({}));
    late["deadline_ms"] = json!(100);
    let seen = ask(&caller, late);
    assert_eq!(seen["answer"]["error"]["code"], -32003, "{seen}");
    eventually("the callee is told", || (cancels(&callee) == 1).then_some(()));
    let mut told = call("callee", "tell", &json!({}));
    assert_eq!(ask(&caller, told.clone())["progress"], json!([]), "nobody asked");
    told["progress"] = json!(true);
    let seen = ask(&caller, told);
    assert_eq!((&seen["progress"], &seen["answer"]["result"]), (&json!([1, 2, 3]), &json!({})));
}

#[test]
fn an_idempotent_call_is_repeated_when_the_callee_is_replaced() {
    let world = World::new();
    let host = world.host();
    let callee = relay(&world, &host, "callee", &[], &[]);
    let caller = relay(&world, &host, "caller", &["*"], &["*"]);
    let mut request = call("callee", "once", &json!({}));
    request["params"]["idempotent"] = json!(true);
    request["deadline_ms"] = json!(20_000);
    let seen = ask(&caller, request);
    assert!(seen["answer"]["result"].is_object(), "{seen}");
    assert_eq!(callee.status().unwrap().generation.map(|seen| seen.get()), Some(2));
    let other = relay(&world, &host, "other", &[], &[]);
    let seen = ask(&caller, call("other", "once", &json!({})));
    assert_eq!(seen["answer"]["error"]["code"], -32004, "{seen}");
    assert_eq!(seen["answer"]["error"]["data"]["outcome"], "indeterminate", "{seen}");
    other.wait_routable(None, SOON).unwrap();
}

/// A host whose service `again` calls back to who called it, until something ends that; `how` it waits.
fn nesting(world: &World, how: &'static str) -> (Host, PluginHandle) {
    let plugin = std::sync::Arc::new(std::sync::OnceLock::<PluginHandle>::new());
    let of_service = std::sync::Arc::clone(&plugin);
    let again = move |call: &ServiceCall, params: Value| -> Result<Value, CallError> {
        let left = params["depth"].as_u64().unwrap();
        if left == 0 {
            return Ok(json!({"chain": call.chain().len()}));
        }
        let plugin = of_service.get().unwrap();
        let request = json!({"method": "again", "params": {"depth": left - 1}});
        match how {
            "call" => plugin.call("relay", &request),
            "wait" => Ok(plugin.call_start("relay", &request, options())?.wait()?.parse().unwrap()),
            "wait_timeout" => {
                let pending = plugin.call_start("relay", &request, options())?;
                Ok(pending.wait_timeout(SOON).expect("it ends")?.parse().unwrap())
            }
            "any" => {
                let mut calls = vec![plugin.call_start("relay", &request, options())?];
                Ok(rpc_plugin_system::host::wait_any(&mut calls).unwrap().1?.parse().unwrap())
            }
            _ => {
                let mut calls = rpc_plugin_system::host::CallSet::new();
                calls.add(0, plugin.call_start("relay", &request, options())?);
                Ok(calls.next().unwrap().1?.parse().unwrap())
            }
        }
    };
    let host = world.builder().service("again", again).service_threads(1).start().unwrap();
    let handle = relay(world, &host, "caller", &[], &[]);
    assert!(plugin.set(handle.clone()).is_ok());
    (host, handle)
}

#[test]
fn calls_go_back_and_forth_with_one_thread_however_it_waits() {
    for how in ["call", "wait", "wait_timeout", "any", "set"] {
        let world = World::new();
        let (host, plugin) = nesting(&world, how);
        let mut seen = ask(&plugin, json!({"method": "again", "params": {"depth": 10}}));
        for _ in 0..=10 {
            seen = seen["answer"]["result"].take();
        }
        // Each level is a call of the host and one of the plugin; the innermost does not count itself.
        assert_eq!(seen, json!({"chain": 21}), "{how}");
        host.shutdown();
    }
}

#[test]
fn a_chain_without_an_end_is_told_so_by_its_depth() {
    let world = World::new();
    let (_host, plugin) = nesting(&world, "call");
    let seen = ask(&plugin, json!({"method": "again", "params": {"depth": 1000}}));
    let text = seen.to_string();
    assert!(text.contains("-32009"), "{text}");
    assert_eq!(plugin.status().unwrap().generation.map(|seen| seen.get()), Some(1));
    let again = ask(&plugin, json!({"method": "again", "params": {"depth": 1}}));
    assert!(again["answer"]["result"].is_object(), "nothing is stuck: {again}");
}

/// More calls at once than there can be threads, each of which needs another: some are refused, and all end soon.
#[test]
fn more_nested_calls_than_threads_end_all_the_same() {
    let world = World::new();
    let (_host, plugin) = nesting(&world, "call");
    let begun = std::time::Instant::now();
    let calls: Vec<_> =
        (0..40).map(|_| begin(&plugin, json!({"method": "again", "params": {"depth": 5}}))).collect();
    let (mut served, mut refused) = (0, 0);
    for call in calls {
        let text = call.wait().unwrap().result.get().to_owned();
        if text.contains("-32009") {
            refused += 1;
        } else {
            assert!(!text.contains("error"), "{text}");
            served += 1;
        }
    }
    println!(
        "40 calls of depth 5 with one thread: {served} served, {refused} would_deadlock, {:?}",
        begun.elapsed()
    );
    assert!(begun.elapsed() < SOON, "none waited for its deadline");
    assert!(served > 0);
}

#[test]
fn a_service_that_is_given_up_stops_waiting_for_the_plugin_that_it_calls() {
    let world = World::new();
    let callee = std::sync::Arc::new(std::sync::OnceLock::<PluginHandle>::new());
    let of_service = std::sync::Arc::clone(&callee);
    let service = move |_: &ServiceCall, _: Value| -> Result<Value, CallError> {
        of_service.get().unwrap().call_with("wait", &json!({}), options())
    };
    let host = world.builder().service("waits", service).start().unwrap();
    assert!(callee.set(relay(&world, &host, "callee", &[], &[])).is_ok());
    let callee = callee.get().unwrap();
    let caller = relay(&world, &host, "caller", &[], &[]);
    let waiting = begin(&caller, json!({"method": "waits"}));
    waits(callee);
    let _: Value = caller.call_with("give_up", &json!({}), options()).unwrap();
    let seen: Value = waiting.wait().unwrap().parse().unwrap();
    assert_eq!(seen["answer"]["error"]["code"], -32800, "{seen}");
    eventually("the callee is told", || (cancels(callee) == 1).then_some(()));
    // The deadline of a service's caller is that of what it calls.
    let seen = ask(&caller, json!({"method": "waits", "deadline_ms": 100}));
    assert_eq!(seen["answer"]["error"]["code"], -32003, "{seen}");
    eventually("the callee is told", || (cancels(callee) == 2).then_some(()));
}
