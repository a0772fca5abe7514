//! Progress of calls: what the plugin tells, what the caller gets of it, and who is not told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::fixtures::daemon::Daemon;
use crate::fixtures::world::{SOON, World, calm, eventually, up};
use rpc_plugin_system::host::{CallOptions, PendingCall, PluginHandle};
use serde_json::{Value, json};
use std::time::Duration;

#[derive(Debug, PartialEq, serde::Deserialize)]
struct Step {
    step: u64,
    of: u64,
}

fn sleep(plugin: &PluginHandle, ms: u64, steps: u64, wanted: bool) -> PendingCall {
    let options = CallOptions::default().timeout(SOON).progress(wanted);
    plugin.call_start("sleep", &json!({"ms": ms, "progress": steps}), options).unwrap()
}

#[test]
fn progress_comes_in_order_and_ends_with_the_call() {
    let world = World::new();
    let host = world.host();
    let plugin = up(world.failing(&host, "steps", &[], calm()));
    let call = sleep(&plugin, 30, 5, true);
    let steps: Vec<Step> = call.progress_as().map(Result::unwrap).collect();
    assert_eq!(steps, (1..=5).map(|step| Step { step, of: 5 }).collect::<Vec<_>>());
    assert!(call.is_done() && call.progress().next().is_none());
    assert_eq!((call.progress().missed(), call.wait().unwrap().result.get()), (0, "{}"));
    // As another type it is an error, and the next is read all the same.
    let call = sleep(&plugin, 0, 3, true);
    assert_eq!(call.progress_as::<String>().filter(Result::is_err).count(), 3);
    // Who did not ask is told nothing.
    let call = sleep(&plugin, 0, 3, false);
    assert!(call.progress().next().is_none() && call.wait().is_ok());
}

#[test]
fn a_wait_for_progress_ends_at_its_time_and_comes_before_the_end() {
    let world = World::new();
    let host = world.host();
    let plugin = up(world.failing(&host, "steps", &[], calm()));
    let call = sleep(&plugin, 600_000, 1, true);
    let mut progress = call.progress();
    let first = progress.next_within(SOON).unwrap();
    assert_eq!(serde_json::from_str::<Value>(first.get()).unwrap(), json!({"step": 1, "of": 1}));
    assert!(progress.next_within(Duration::from_millis(20)).is_none() && !call.is_done());
    call.cancel();
    eventually("it is cancelled", || (plugin.status().unwrap().calls_in_flight == 0).then_some(()));
}

#[test]
fn what_nobody_takes_is_bounded_and_counted() {
    let world = World::new();
    let host = world.host();
    let plugin = up(world.failing(&host, "steps", &[], calm()));
    let call = sleep(&plugin, 0, 1000, true);
    eventually("it has ended", || call.is_done().then_some(()));
    let steps: Vec<Step> = call.progress_as().map(Result::unwrap).collect();
    assert_eq!((steps.len(), steps[0].step, steps[255].step), (256, 745, 1000));
    assert_eq!(call.progress().missed(), 744);
    assert!(call.wait().is_ok());
}

#[test]
fn operators_see_progress_on_standard_error() {
    let world = World::new();
    let path = world.path().join("config.json");
    let steps = json!({"plugins": {"steps": {"executable": world.program("failure")}}});
    std::fs::write(&path, steps.to_string()).unwrap();
    let daemon = Daemon::start(&world, &["--config", path.to_str().unwrap()]);
    daemon.wait_for("steps", "healthy");
    let words = ["call", "--capability", "sleep", "sleep", "{\"ms\": 20, \"progress\": 2}", "--progress"];
    let ran = daemon.ctl(&words);
    assert_eq!((ran.code, &*ran.stdout), (0, "{}\n"), "{ran:?}");
    let seen: Vec<Step> = ran.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(seen, [Step { step: 1, of: 2 }, Step { step: 2, of: 2 }]);
    assert_eq!(daemon.ctl(&words[..5]).stderr, "", "who did not ask is told nothing");
}
