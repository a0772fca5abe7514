//! A cancel goes down every level of calls within calls, between a live host and real plugins, and is seen in every way
//! that there is to see it.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub)]

use crate::fixtures::nested::{self, Launch, Plan, Scene};
use crate::fixtures::world::{SOON, eventually, signal};
use nix::sys::signal::Signal;
use rpc_plugin_sdk::{Call, HandlerError, PendingCall};
use rpc_plugin_system::host::{CallOptions, CancelToken, PluginHandle};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Instant;

const BODY: &str = "cancel";

/// The plugin that these tests start.
pub(crate) fn serve_nested() {
    let plugin = nested::plugin().method("work.change_of_mind", |call: &Call, plan: Plan| {
        let begun: PendingCall<Value> = call.host().call_start("nested.go", &plan)?;
        // Until it is there.
        call.host().call::<_, ()>("nested.entered", &())?;
        begun.cancel_with("a change of mind");
        drop(begun);
        Ok::<_, HandlerError>("dropped")
    });
    // Where this fails the host that started it says why.
    let _ = plugin.run();
}

/// A thread for each service that hangs, and one for reports.
fn scene() -> Scene {
    Scene::with(BODY, |builder| builder.service_threads(2))
}

/// Much longer than the test may take.
fn options() -> CallOptions {
    CallOptions::default().timeout(SOON * 30)
}

/// What each of them reports that is cancelled while it waits, for this cause.
fn all_ways(of: &[&str], cause: Option<&str>) -> BTreeSet<String> {
    let woke = cause.map_or("woke: cancelled".to_owned(), |cause| format!("woke: cancelled: {cause}"));
    let ways = |at: &&str| ["function", "fd", &*woke].map(|way| format!("{at} {way}"));
    of.iter().flat_map(ways).collect()
}

/// Waits until all of these work on it; reports of plugins and of the host overtake each other.
fn assert_entered(scene: &Scene, who: &[&str]) {
    let entered: BTreeSet<String> = who.iter().map(|_| scene.report()).collect();
    assert_eq!(entered, who.iter().map(|who| format!("{who} entered")).collect());
}

/// Waits until everybody has reported everything.
fn assert_cancelled(scene: &Scene, of: &[&str], cause: Option<&str>) {
    let (begin, mut missing) = (Instant::now(), all_ways(of, cause));
    while !missing.is_empty() {
        let Ok(report) = scene.reports.recv_timeout(SOON) else { panic!("not reported: {missing:?}") };
        assert!(missing.remove(&report), "{report} was not expected, or came twice; missing: {missing:?}");
    }
    assert!(begin.elapsed() < SOON, "far before the deadlines");
}

fn assert_idle(plugins: &[&PluginHandle]) {
    for plugin in plugins {
        eventually("nothing is in flight", || (plugin.status().unwrap().calls_in_flight == 0).then_some(()));
        assert_eq!(nested::generation(plugin), 1, "nobody was replaced");
    }
}

#[test]
fn dropping_the_outermost_call_ends_every_level_at_once() {
    let scene = scene();
    let (a, b) = (scene.up("a", &Launch::default()), scene.up("b", &Launch::default()));
    let table: [(&[&str], &[&str]); 3] =
        [(&["host", "b"], &["a", "host", "b"]), (&["b"], &["a", "b"]), (&["host"], &["a", "host"])];
    for (hops, all) in table {
        let call = a.call_start("work.go", &Plan::of(hops).that_hangs().watched(), options()).unwrap();
        assert_entered(&scene, all);
        drop(call);
        assert_cancelled(&scene, all, None);
        assert_idle(&[&a, &b]);
    }
    let levels: Vec<Value> = a.call("work.go", &Plan::of(&["host", "b"])).unwrap();
    assert_eq!(levels.len(), 3, "all serve on");
}

#[test]
fn a_cause_is_seen_at_every_level_and_on_record() {
    let scene = scene();
    let (a, b) = (scene.up("a", &Launch::default()), scene.up("b", &Launch::default()));
    let cause = Some("the user\\u{1b} went home");
    for (hops, all) in [(&["host", "b"][..], &["a", "host", "b"][..]), (&["b", "host"], &["a", "b", "host"])]
    {
        let plan = Plan::of(hops).that_hangs().watched();
        let call = a.call_start("work.go", &plan, options()).unwrap();
        assert_entered(&scene, all);
        call.cancel_with("the user\u{1b} went home");
        assert_cancelled(&scene, all, cause);
        assert_idle(&[&a, &b]);
    }
    // By a token, of a call that waits.
    let (token, plan) = (CancelToken::new(), Plan::of(&["b"]).that_hangs().watched());
    let error = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| a.cancelled_by(&token).call::<_, Value>("work.go", &plan).unwrap_err());
        assert_entered(&scene, &["a", "b"]);
        token.cancel_with("x".repeat(300));
        token.cancel_with("the second one");
        waiting.join().unwrap()
    });
    let long = "x".repeat(256);
    assert_cancelled(&scene, &["a", "b"], Some(&long));
    assert!(error.message.contains(&format!("its caller cancelled the call: {long};")), "{error}");
    assert!(scene.host.flush_events(SOON));
    for id in ["a", "b"] {
        let record = scene.world.record(id);
        assert!(record.contains("does not wait for it any more: the user\\\\u{1b} went home"), "{record}");
    }
}

#[test]
fn a_deadline_ends_every_level_as_a_cancel_does() {
    let scene = scene();
    let (a, b) = (scene.up("a", &Launch::default()), scene.up("b", &Launch::default()));
    let short = CallOptions::default().timeout(std::time::Duration::from_secs(3));
    let call = a.call_start("work.go", &Plan::of(&["host", "b"]).that_hangs().watched(), short).unwrap();
    assert_entered(&scene, &["a", "host", "b"]);
    assert!(call.wait().is_err());
    // The innermost is cancelled; those above may see the end of what they wait for first.
    let reports: Vec<String> =
        std::iter::repeat_with(|| scene.report()).take_while(|it| it != "b fd").collect();
    assert!(reports.iter().all(|report| !report.contains("entered")), "{reports:?}");
    assert_idle(&[&a, &b]);
}

#[test]
fn a_call_that_a_plugin_drops_is_cancelled_at_its_host() {
    let entered = std::sync::Arc::new(std::sync::Barrier::new(2));
    let at_service = std::sync::Arc::clone(&entered);
    let scene = Scene::with(BODY, |builder| {
        builder.service_threads(2).service("nested.entered", move |_, (): ()| {
            at_service.wait();
            Ok::<_, HandlerError>(())
        })
    });
    let (a, b) = (scene.up("a", &Launch::default()), scene.up("b", &Launch::default()));
    let plan = Plan::of(&["b"]).that_hangs().watched();
    let call = a.call_start("work.change_of_mind", &plan, options()).unwrap();
    assert_entered(&scene, &["host", "b"]);
    entered.wait();
    assert_cancelled(&scene, &["host", "b"], Some("a change of mind"));
    assert_eq!(call.wait().unwrap().result.get(), "\"dropped\"");
    assert_idle(&[&a, &b]);
}

#[test]
fn what_a_dead_plugin_waited_for_is_cancelled() {
    let scene = scene();
    let (a, b) = (scene.up("a", &Launch::default()), scene.up("b", &Launch::default()));
    let table: [(&[&str], &[&str]); 3] =
        [(&["host", "b"], &["host", "b"]), (&["host"], &["host"]), (&["b"], &["b"])];
    for (hops, all) in table {
        a.wait_routable(None, SOON).unwrap();
        let call = a.call_start("work.go", &Plan::of(hops).that_hangs().watched(), options()).unwrap();
        assert_entered(&scene, &[&["a"], all].concat());
        signal(a.status().unwrap().pid.unwrap(), Signal::SIGKILL);
        assert_cancelled(&scene, all, Some("its caller is gone"));
        assert!(call.wait().is_err());
        assert_idle(&[&b]);
    }
}

#[test]
fn two_hundred_calls_of_two_levels_are_cancelled_together() {
    let scene = Scene::with(BODY, |builder| builder.service_threads(4).service_queue_max(1024));
    let (a, b) = (scene.up("a", &Launch::default()), scene.up("b", &Launch::default()));
    let begin = Instant::now();
    for hops in [&["host", "b"][..], &["b", "host"]] {
        let plan = Plan::of(hops).that_hangs();
        let calls: Vec<_> = (0..200).map(|_| a.call_start("work.go", &plan, options()).unwrap()).collect();
        eventually("some are on their way", || (b.status().unwrap().calls_in_flight > 0).then_some(()));
        drop(calls);
        assert_idle(&[&a, &b]);
        let levels: Vec<Value> = a.call_with("work.go", &Plan::of(hops), options()).unwrap();
        assert_eq!(levels.len(), 3);
    }
    assert!(begin.elapsed() < SOON, "{:?}", json!(begin.elapsed().as_millis() as u64));
}
