//! Plugins that are started by the first call.

use super::tests_order::{Bench, config, id};
use super::*;
use crate::state::held_calls::HELD_MAX;
use crate::state::plugin::status_of;
use crate::state::start_mode::StartMode;
use rpc_plugin_wire::life::{Desired, PluginState};
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);

fn bench() -> Bench {
    Bench::of([config("kv", &[]).start(StartMode::OnDemand).interface("store", &[1])])
}

impl Bench {
    fn call_of(&mut self, number: u64, caller: Party, target: Target, timeout: Option<Duration>) {
        let mut request = CallRequest { caller, timeout, ..CallRequest::new(target, "echo") };
        self.host.call(self.now, CallKey(number), &mut request);
        self.drain();
    }

    fn call(&mut self, number: u64, timeout: Duration) {
        self.call_of(number, Party::Program, Target::Plugin(id("kv")), Some(timeout));
    }

    fn take_ends(&mut self) -> Vec<String> {
        std::mem::take(&mut self.ends)
    }
}

#[test]
fn the_first_call_starts_it_once_and_all_are_sent_in_their_order() {
    let mut bench = Bench::of([config("kv", &[]).start(StartMode::OnDemand)]);
    let status = status_of(bench.host.plugin(bench.key("kv")).unwrap(), bench.now);
    assert_eq!((status.state, status.desired), (PluginState::Stopped, Desired::Up));
    assert_eq!((status.start.as_deref(), status.calls_total), (Some("on-demand"), 0));
    for number in [5, 3, 9] {
        bench.call(number, SECOND);
    }
    assert_eq!((bench.take_log(), bench.take_ends()), (vec!["launch kv".to_owned()], vec![]));
    bench.rise("kv");
    let calls: Vec<u64> =
        bench.write("kv").iter().filter(|(method, _)| method == "echo").map(|(_, id)| *id).collect();
    assert_eq!(calls.len(), 3);
    for id in calls {
        bench.frame("kv", &json!({"jsonrpc": "2.0", "id": id, "result": {}}));
    }
    assert_eq!(bench.take_ends(), ["5 ok", "3 ok", "9 ok"]);
    let status = status_of(bench.host.plugin(bench.key("kv")).unwrap(), bench.now);
    assert_eq!((status.calls_total, status.calls_failed, status.restarts), (3, 0, 0));
}

#[test]
fn a_call_waits_within_its_own_deadline_which_goes_on_once_it_is_sent() {
    let mut bench = Bench::of([config("kv", &[]).start(StartMode::OnDemand)]);
    bench.call(1, SECOND / 2);
    bench.call(2, SECOND);
    bench.pass(SECOND / 2);
    assert_eq!(
        bench.take_ends(),
        ["1 deadline_exceeded: it did not take calls within 500ms; it is starting"]
    );
    bench.rise("kv");
    bench.write("kv");
    bench.pass(SECOND / 2 - Duration::from_millis(2));
    assert!(bench.take_ends().is_empty());
    bench.pass(Duration::from_millis(3));
    assert_eq!(bench.take_ends().len(), 1, "half of it was over when it was sent");
    assert_eq!(status_of(bench.host.plugin(bench.key("kv")).unwrap(), bench.now).calls_total, 2);
}

#[test]
fn who_waits_is_told_why_it_does_not_start_and_backoff_ends_calls_at_once() {
    let mut bench = bench();
    bench.call(1, SECOND);
    bench.launch_fails("kv");
    assert_eq!(bench.state("kv"), PluginState::Failed);
    let ends = bench.take_ends();
    assert!(
        ends[0].starts_with("1 unavailable: the plugin is failed; ") && ends[0].contains("no such file"),
        "{ends:?}"
    );
    bench.call(2, SECOND);
    assert!(bench.take_ends()[0].contains("no such file"));

    let mut bench = Bench::of([config("kv", &[]).start(StartMode::OnDemand)]);
    bench.call(1, SECOND);
    bench.rise("kv");
    bench.write("kv");
    bench.exit("kv", false);
    assert_eq!(bench.state("kv"), PluginState::Backoff);
    bench.take_ends();
    bench.call(2, SECOND);
    let ends = bench.take_ends();
    assert!(ends[0].starts_with("2 unavailable: the plugin is in backoff; "), "{ends:?}");
    assert_eq!(bench.host.timers_pending(), 1, "the backoff alone");
}

#[test]
fn a_call_while_it_is_ended_waits_for_the_next_generation() {
    let mut bench = Bench::of([config("kv", &[]).start(StartMode::OnDemand)]);
    bench.wish("kv", Wish::Start).unwrap();
    bench.rise("kv");
    bench.wish("kv", Wish::Restart).unwrap();
    bench.call(1, SECOND);
    assert!(bench.take_ends().is_empty());
    bench.exit("kv", true);
    bench.rise("kv");
    assert_eq!(bench.take_log(), ["launch kv", "stop kv", "launch kv"]);
    let (_, id) = bench.write("kv").pop().unwrap();
    bench.frame("kv", &json!({"jsonrpc": "2.0", "id": id, "result": {}}));
    assert_eq!(bench.take_ends(), ["1 ok"]);
}

#[test]
fn what_an_operator_stopped_is_started_by_no_call() {
    let mut bench = Bench::of([config("kv", &[]).start(StartMode::OnDemand)]);
    bench.call(1, SECOND);
    bench.wish("kv", Wish::Stop).unwrap();
    let ends = bench.take_ends();
    assert_eq!(ends, ["1 unavailable: the plugin is stopping"]);
    let key = bench.key("kv");
    bench.host.with_plugin(bench.now, key, |plugin, step| {
        plugin.handle_prepared(step, Generation::FIRST, Err("no".to_owned().into()));
    });
    bench.call(2, SECOND);
    assert_eq!(bench.take_ends(), ["2 unavailable: the plugin is stopped"]);
    bench.wish("kv", Wish::Start).unwrap();
    assert_eq!(bench.state("kv"), PluginState::Starting);
}

#[test]
fn it_is_found_by_what_it_serves_also_while_it_is_down() {
    let mut bench = bench();
    bench.call_of(1, Party::Program, Target::Capability("store".into()), Some(SECOND));
    assert_eq!(bench.take_log(), ["launch kv"], "by the interface that is configured");
    bench.call_of(2, Party::Program, Target::Capability("echo".into()), Some(SECOND));
    assert!(
        bench.take_ends()[0].starts_with("2 unavailable: no plugin takes calls"),
        "nobody knows yet that it can"
    );

    let mut bench = Bench::of([config("kv", &[]).start(StartMode::OnDemand)]);
    bench.wish("kv", Wish::Start).unwrap();
    bench.rise("kv");
    bench.wish("kv", Wish::Restart).unwrap();
    bench.exit("kv", true);
    bench.call_of(3, Party::Program, Target::Capability("echo".into()), Some(SECOND));
    assert!(bench.take_ends().is_empty(), "it was able to");
}

#[test]
fn calls_that_wait_are_bounded_and_shared() {
    let mut bench = Bench::of([config("kv", &[]).start(StartMode::OnDemand)]);
    let target = || Target::Plugin(id("kv"));
    let max = u64::try_from(HELD_MAX).unwrap();
    for number in 0..max {
        bench.call_of(number, Party::Program, target(), Some(SECOND));
    }
    let ends = bench.take_ends();
    assert_eq!(ends.len(), HELD_MAX / 2);
    assert!(ends[0].contains("overloaded: the share of the program itself is used up"), "{}", ends[0]);
    bench.call_of(max, Party::Client(7), target(), Some(SECOND));
    assert!(bench.take_ends().is_empty());
    bench.host.cancel(bench.now, CallKey(0), Some(bench.key("kv")), None);
    bench.call_of(max + 1, Party::Program, target(), Some(SECOND));
    assert!(bench.take_ends()[0].contains("the share of the program itself"), "not to whoever had most");
    bench.pass(SECOND);
    assert_eq!(bench.take_ends().len(), HELD_MAX / 2, "one was cancelled, one is a client's");
}

#[test]
fn a_call_that_may_be_repeated_waits_and_starts_it_again() {
    let mut bench = Bench::of([config("kv", &[]).start(StartMode::OnDemand)]);
    let target = Target::Plugin(id("kv"));
    let mut request =
        CallRequest { idempotent: true, timeout: Some(30 * SECOND), ..CallRequest::new(target, "echo") };
    bench.host.call(bench.now, CallKey(1), &mut request);
    bench.drain();
    bench.rise("kv");
    bench.write("kv");
    bench.exit("kv", false);
    assert!(bench.take_ends().is_empty());
    bench.pass(SECOND);
    bench.rise("kv");
    let (_, id) = bench.write("kv").pop().unwrap();
    bench.frame("kv", &json!({"jsonrpc": "2.0", "id": id, "result": {}}));
    assert_eq!(bench.take_ends(), ["1 ok"]);
}

#[test]
fn one_that_ends_well_waits_for_the_next_call() {
    let mut config = config("kv", &[]).start(StartMode::OnDemand);
    config.policy.restart = crate::state::policy::RestartPolicy::OnFailure;
    let mut bench = Bench::of([config]);
    bench.wish("kv", Wish::Start).unwrap();
    bench.rise("kv");
    bench.exit("kv", true);
    assert_eq!(bench.state("kv"), PluginState::Stopped);
    bench.call(1, SECOND);
    assert_eq!((bench.state("kv"), bench.take_ends()), (PluginState::Starting, vec![]));
}
