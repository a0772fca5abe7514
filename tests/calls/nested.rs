//! Calls within calls between a live host and real plugins: services, depth, cycles, deadlines, and who may call whom.
//!
//! What it deliberately does not do: cancelling (`nested_cancel.rs`), streams (`nested_streams.rs`), load
//! (`nested_load.rs`).
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout)]
#![allow(unreachable_pub)]

use crate::fixtures::nested::{self, Count, Launch, Level, Made, Once, Plan, Scene};
use crate::fixtures::world::{SOON, eventually, next_event, signal};
use nix::sys::signal::Signal;
use rpc_plugin_interface::{CallFailure, Context, Failure, HandlerError};
use rpc_plugin_sdk::Call;
use rpc_plugin_system::host::{CallError, CallOptions, ErrorCode, Outcome, PluginHandle};
use rpc_plugin_wire::event::EventKind;
use serde_json::{Value, json};
use std::fmt;
use std::time::{Duration, Instant};

rpc_plugin_interface::interface! {
    pub trait Zone = "zone" version 1, client ZoneClient {
        fn of(city: String) -> Result<String, ZoneError>;
    }
}

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ZoneError {
    unknown: String,
}

impl fmt::Display for ZoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nobody knows {:?}", self.unknown)
    }
}

impl rpc_plugin_interface::AppError for ZoneError {}

struct Zones;

#[derive(serde::Deserialize)]
struct Asked {
    city: String,
}

impl Zone for Zones {
    fn of(&self, _: &Context, city: String) -> Result<String, Failure<ZoneError>> {
        if city == "Bern" { Ok("CET".to_owned()) } else { Err(ZoneError { unknown: city }.into()) }
    }
}

const BODY: &str = "nested";

/// The plugin that these tests start.
pub(crate) fn serve_nested() {
    let plugin = nested::plugin().method("work.zone", |call: &Call, asked: Asked| {
        match ZoneClient::new(call).of(asked.city) {
            Ok(zone) => Ok(zone),
            Err(CallFailure::App(ZoneError { unknown })) => Ok(format!("no zone of {unknown}")),
            Err(CallFailure::Call(error)) => Err(HandlerError::from(error)),
            Err(other) => Err(HandlerError::internal(other)),
        }
    });
    // Where this fails the host that started it says why.
    let _ = plugin.run();
}

fn options() -> CallOptions {
    CallOptions::default().timeout(SOON)
}

fn go(plugin: &PluginHandle, hops: &[&str]) -> Result<Vec<Level>, CallError> {
    plugin.call_with("work.go", &Plan::of(hops), options())
}

fn make(plugin: &PluginHandle, made: &Made) -> Result<Value, CallError> {
    plugin.call_with("work.call", made, options())
}

fn service(method: &str, params: Value) -> Made {
    Made { method: method.to_owned(), params, ..Made::default() }
}

fn of_plugin(id: &str, method: &str, params: Value) -> Made {
    Made { plugin: Some(id.to_owned()), ..service(method, params) }
}

#[test]
fn services_answer_a_plugin_that_serves_a_call_and_their_errors_arrive_as_themselves() {
    let scene =
        Scene::with(BODY, |builder| builder.service_threads(1).serve_interface(Zone::into_table(Zones)));
    let a = scene.up("a", &Launch::default());
    assert_eq!(make(&a, &service("nested.echo", json!({"x": [1, "ü"]}))).unwrap(), json!({"x": [1, "ü"]}));
    assert_eq!(make(&a, &service("zone.of", json!({"city": "Bern"}))).unwrap(), "CET");
    let missing = make(&a, &service("zone.of", json!({"city": "Ur"}))).unwrap_err();
    assert_eq!((missing.code, &*missing.message), (ErrorCode::Application(1), "nobody knows \"Ur\""));
    assert_eq!(missing.data.unwrap().get(), r#"{"unknown":"Ur"}"#);
    let refused = [
        (service("nested.panic", json!({})), ErrorCode::InternalError, "panicked"),
        (
            service("nested.none", json!({})),
            ErrorCode::MethodNotFound,
            "the host has no service \"nested.none\"; it has",
        ),
        (service("zone.of", json!({"town": "Ur"})), ErrorCode::InvalidParams, "town"),
        (service("nested.progress", json!({"n": "x"})), ErrorCode::InvalidParams, "`n`: it is the string"),
        (service("host.none", json!({})), ErrorCode::MethodNotFound, "host.none"),
        (of_plugin("none", "work.go", json!({})), ErrorCode::UnknownPlugin, "none"),
        (of_plugin("a", "other.go", json!({})), ErrorCode::MethodNotFound, "other"),
    ];
    for (made, code, text) in refused {
        let error = make(&a, &made).unwrap_err();
        assert_eq!(error.code, code, "{made:?}: {error}");
        assert!(error.message.contains(text), "{made:?}: {error}");
    }
    // The plugin is as well as before.
    assert_eq!(go(&a, &["host", "a"]).unwrap().len(), 3);
}

#[test]
fn a_typed_client_within_a_plugin_reads_the_error_of_a_service_of_the_host() {
    let scene = Scene::with(BODY, |builder| builder.serve_interface(Zone::into_table(Zones)));
    let a = scene.up("a", &Launch::default());
    for (city, zone) in [("Bern", "CET"), ("Ur", "no zone of Ur")] {
        assert_eq!(a.call::<_, String>("work.zone", &json!({"city": city})).unwrap(), zone);
    }
}

#[test]
fn calls_go_back_and_forth_to_the_depth_of_a_chain_with_one_thread_on_each_side() {
    let scene = Scene::new(BODY);
    let a = scene.up("a", &Launch::default());
    let hops: Vec<&str> = ["host", "a"].into_iter().cycle().take(33).collect();
    let levels = go(&a, &hops[..32]).unwrap();
    assert_eq!(levels.len(), 33, "sixteen each way, and the first");
    for (depth, level) in levels.iter().enumerate() {
        assert_eq!((level.chain.len(), &*level.at), (depth, if depth % 2 == 0 { "a" } else { "host" }));
        let entry = if depth % 2 == 1 { "a/1/" } else { "host:a/1/" };
        assert!(level.chain.last().is_none_or(|last| last.starts_with(entry)), "{level:?}");
    }
    let error = go(&a, &hops).unwrap_err();
    assert_eq!(error.code, ErrorCode::WouldDeadlock, "{error}");
    assert!(error.message.contains("a/1/") && error.message.contains("host:a/1/"), "{error}");
}

#[test]
fn the_same_depth_is_reached_through_two_plugins_and_their_host() {
    let scene = Scene::new(BODY);
    let a = scene.up("a", &Launch::default());
    let _b = scene.up("b", &Launch::default());
    let hops: Vec<&str> = ["b", "host", "a", "b", "a", "host"].into_iter().cycle().take(33).collect();
    assert_eq!(go(&a, &hops[..32]).map(|levels| levels.len()).unwrap(), 33);
    assert_eq!(go(&a, &hops).unwrap_err().code, ErrorCode::WouldDeadlock);
}

#[test]
fn a_thousand_calls_crosswise_between_two_plugins_of_one_thread_all_end() {
    let scene = Scene::new(BODY);
    let plugins = [scene.up("a", &Launch::default()), scene.up("b", &Launch::default())];
    let begin = Instant::now();
    std::thread::scope(|threads| {
        for number in 0..8 {
            let plugin = &plugins[number % 2];
            let hops: &[&str] = if number % 2 == 0 { &["b", "a", "b"] } else { &["a", "b", "host", "a"] };
            threads.spawn(move || {
                for _ in 0..125 {
                    assert_eq!(go(plugin, hops).unwrap().len(), hops.len() + 1);
                }
            });
        }
    });
    println!("1000 crosswise calls, 4500 in all, in {:?}", begin.elapsed());
    for plugin in &plugins {
        assert_eq!(plugin.status().unwrap().calls_in_flight, 0);
    }
}

#[test]
fn a_plugin_calls_itself_through_its_host() {
    let scene = Scene::new(BODY);
    let a = scene.up("a", &Launch::default());
    assert_eq!(go(&a, &["a"; 32]).unwrap().len(), 33);
}

#[test]
fn a_plugin_that_keeps_its_only_place_is_told_of_its_cycle_at_once() {
    let scene = Scene::new(BODY);
    let a = scene.up("a", &Launch { is_reentrant: false, ..Launch::default() });
    let _b = scene.up("b", &Launch::default());
    let begin = Instant::now();
    for hops in [&["a"][..], &["b", "a"], &["host", "a"], &["b", "host", "a"]] {
        let error = go(&a, hops).unwrap_err();
        assert_eq!(error.code, ErrorCode::WouldDeadlock, "{hops:?}: {error}");
        assert!(error.message.contains("a/1/"), "{hops:?}: {error}");
    }
    assert!(begin.elapsed() < SOON / 2, "not at the deadline");
    assert_eq!(go(&a, &["b", "host", "b"]).unwrap().len(), 4, "what does not come back is served");
}

#[test]
fn another_free_place_serves_the_cycle() {
    let scene = Scene::new(BODY);
    let a = scene.up("a", &Launch { is_reentrant: false, threads: 2, ..Launch::default() });
    assert_eq!(go(&a, &["a"]).unwrap().len(), 2);
    assert_eq!(go(&a, &["host", "a"]).unwrap().len(), 3);
    assert_eq!(go(&a, &["a", "a"]).unwrap_err().code, ErrorCode::WouldDeadlock);
}

#[test]
fn what_is_left_of_the_deadline_goes_along_and_ends_every_level() {
    let scene = Scene::new(BODY);
    let (a, b) = (scene.up("a", &Launch::default()), scene.up("b", &Launch::default()));
    let levels = go(&a, &["host", "b", "host", "a"]).unwrap();
    let left: Vec<u64> = levels.iter().map(|level| level.left_ms.unwrap()).collect();
    assert!(left.is_sorted_by(|outer, inner| outer >= inner), "{left:?}");
    assert!(left[0] <= SOON.as_millis() as u64 && left[4] > 0, "{left:?}");
    let begin = Instant::now();
    let plan = Plan::of(&["host", "b", "host", "b"]).that_hangs();
    let short = CallOptions::default().timeout(Duration::from_millis(200));
    let error = a.call_with::<_, Value>("work.go", &plan, short).unwrap_err();
    // The plugin that waits knows of the same deadline, and may be the first to say so.
    assert_eq!(error.code, ErrorCode::DeadlineExceeded, "{error}");
    assert_ne!(error.outcome, Outcome::NotSent);
    for plugin in [&a, &b] {
        eventually("nothing is in flight", || (plugin.status().unwrap().calls_in_flight == 0).then_some(()));
        assert_eq!(nested::generation(plugin), 1, "nobody was replaced");
    }
    assert!(begin.elapsed() < SOON / 2);
    assert_eq!(go(&a, &["host", "b", "host"]).unwrap().len(), 4);
}

#[test]
fn a_nested_call_that_may_be_repeated_survives_the_restart_of_whom_it_calls() {
    let scene = Scene::new(BODY);
    let (a, b) = (scene.up("a", &Launch::default()), scene.up("b", &Launch::default()));
    let params = |name: &str| serde_json::to_value(Once { mark: scene.world.path().join(name) }).unwrap();
    let lost = make(&a, &of_plugin("b", "work.die_once", params("one"))).unwrap_err();
    // It was answered by the plugin that made it: this outer call is not lost.
    assert_eq!((lost.code, lost.outcome), (ErrorCode::PluginLost, Outcome::Answered), "{lost}");
    assert!(lost.data.unwrap().get().contains("indeterminate"));
    b.wait_routable(None, SOON).unwrap();
    let made = Made { is_idempotent: true, ..of_plugin("b", "work.die_once", params("two")) };
    assert_eq!(make(&a, &made).unwrap(), "alive");
    assert_eq!(nested::generation(&b), 3);
}

#[test]
fn a_nested_call_is_lost_with_whom_it_calls_and_not_with_who_makes_it() {
    let scene = Scene::new(BODY);
    let (a, b) = (scene.up("a", &Launch::default()), scene.up("b", &Launch::default()));
    let call = a.call_start("work.go", &Plan::of(&["host", "b"]).that_hangs().watched(), options()).unwrap();
    while scene.report() != "b entered" {}
    signal(b.status().unwrap().pid.unwrap(), Signal::SIGKILL);
    let error = call.wait().unwrap_err();
    assert_eq!((error.code, error.outcome), (ErrorCode::PluginLost, Outcome::Answered), "{error}");
    assert_eq!(nested::generation(&a), 1);
}

#[test]
fn progress_reaches_whoever_asked_on_every_way() {
    let scene = Scene::new(BODY);
    let (a, _b) = (scene.up("a", &Launch::default()), scene.up("b", &Launch::default()));
    for n in [20, 10_000] {
        let params = serde_json::to_value(Count { n }).unwrap();
        // From a plugin to its host, where nobody takes any until the end.
        let call = a.call_start("work.progress", &params, options().progress(true)).unwrap();
        eventually("it ends", || call.is_done().then_some(()));
        let mut progress = call.progress_as::<u64>();
        let seen: Vec<u64> = progress.by_ref().map(Result::unwrap).collect();
        let missed = call.progress().missed();
        rising(&seen, n);
        assert!(
            seen.len() <= 256 && seen.len() as u64 + missed <= n && (n > 256) == (missed > 0),
            "{missed}"
        );
        assert_eq!(call.wait().unwrap().result.get(), n.to_string());
        // From a service to a plugin, and from one plugin to another.
        for made in [service("nested.progress", params.clone()), of_plugin("b", "work.progress", params)] {
            let result = make(&a, &Made { has_progress: true, ..made }).unwrap();
            assert_eq!(result["end"], n);
            rising(&serde_json::from_value::<Vec<u64>>(result["seen"].clone()).unwrap(), n);
        }
    }
    // Who did not ask is told nothing, and nobody minds.
    assert_eq!(make(&a, &service("nested.progress", json!({"n": 5}))).unwrap(), 5);
}

/// Few arrive all; of many, some.
fn rising(seen: &[u64], n: u64) {
    assert!(!seen.is_empty() && seen.is_sorted_by(|one, next| one < next), "{seen:?}");
    assert!(n > 64 || seen.len() as u64 == n, "{seen:?}");
}

#[test]
fn events_of_plugins_reach_subscribers() {
    let scene = Scene::new(BODY);
    let a = scene.up("a", &Launch::default());
    let events = scene.host.subscribe(64).unwrap();
    let params = json!({"name": "cache.full", "data": {"entries": 7}});
    make(&a, &service("host.event", params)).unwrap();
    let event = next_event(&events, EventKind::PluginEvent);
    let note = format!("{:?}", event.note);
    assert!(note.contains("cache.full") && note.contains("entries"), "{note}");
    let wrong = make(&a, &service("host.event", json!({"name": ""}))).unwrap_err();
    assert_eq!(wrong.code, ErrorCode::InvalidParams, "{wrong}");
}

#[test]
fn nobody_is_called_whom_the_configuration_does_not_name() {
    let scene = Scene::new(BODY);
    let _b = scene.up("b", &Launch::default());
    let a = scene.up("a", &Launch { may_call: vec![], ..Launch::default() });
    let c = scene.up("c", &Launch { may_call: vec!["b"], ..Launch::default() });
    let by_capability = || Made {
        capability: Some("work".into()),
        method: "work.go".into(),
        ..service("work.go", json!({}))
    };
    let table = [
        (&a, of_plugin("b", "work.go", json!({})), "plugin \"b\", see may_call"),
        (&a, by_capability(), "capability \"work\", see may_call_capabilities"),
        (&c, of_plugin("a", "work.go", json!({})), "plugin \"a\", see may_call"),
        (&c, by_capability(), "capability \"work\", see may_call_capabilities"),
    ];
    for (plugin, made, text) in table {
        let error = make(plugin, &made).unwrap_err();
        assert_eq!(error.code, ErrorCode::Denied, "{made:?}: {error}");
        assert!(error.message.contains(text), "{made:?}: {error}");
    }
    assert_eq!(make(&c, &of_plugin("b", "work.go", json!({}))).unwrap()[0]["at"], "b");
}
