//! All plugins together: finding them, waits and their bound, the end of all.

use super::*;
use crate::state::plugin_config::PluginConfig;
use crate::state::policy::{Policy, RestartPolicy};
use crate::state::waits::WAITS_MAX;
use rpc_plugin_wire::life::PluginState;

const SECOND: Duration = Duration::from_secs(1);

fn config(id: &str) -> PluginConfig {
    PluginConfig::new(id.parse().unwrap(), format!("/{id}"))
}

fn id(text: &str) -> PluginId {
    text.parse().unwrap()
}

/// How calls and waits ended since the last time: `ok` or the code and the outcome.
fn ends(host: &mut Supervisor) -> Vec<String> {
    let text = |error: &CallError| format!("{} {}", error.code.name(), error.outcome.as_str());
    let ends = std::iter::from_fn(|| host.poll_action()).filter_map(|action| match action {
        Action::Complete(_, end) => Some(end.result.as_ref().map_or_else(text, |_| "ok".to_owned())),
        Action::Waited(_, result) => Some(result.as_ref().map_or_else(text, |_| "ok".to_owned())),
        _ => None,
    });
    ends.collect()
}

#[test]
fn an_id_is_given_once_until_it_is_given_up() {
    let mut host = Supervisor::new(0);
    let key = host.add(config("a"), None).unwrap();
    assert!(host.add(config("a"), None) == Err(ConfigRefusal::Exists));
    host.wish(Time::ZERO, key, Wish::Start).unwrap();
    assert!(!host.remove(Time::ZERO, key), "it is up");
    host.wish(Time::ZERO, key, Wish::Stop).unwrap();
    assert!(!host.remove(Time::ZERO, key), "its preparation has not returned");
    host.with_plugin(Time::ZERO, key, |plugin, step| {
        plugin.handle_prepared(step, Generation::FIRST, Err("no".to_owned().into()))
    });
    assert!(host.remove(Time::ZERO, key) && !host.remove(Time::ZERO, key));
    let again = host.add(config("a"), None).unwrap();
    assert!(again > key, "a key is never used twice");
    assert_eq!(host.timers_pending(), 0);
}

#[test]
fn what_nobody_knows_ends_at_once() {
    let mut host = Supervisor::new(0);
    host.call(Time::ZERO, CallKey(1), &mut CallRequest::new(Target::Plugin(id("x")), "echo"));
    host.probe(Time::ZERO, CallKey(2), &id("x"), Party::Program, None);
    host.wait(Time::ZERO, (WaitKey(3), Party::Program), &id("x"), Goal::RoutableAfter(None), SECOND);
    host.cancel(Time::ZERO, CallKey(4), Some(PluginKey(7)), None);
    assert_eq!(ends(&mut host), ["unknown_plugin not_sent"; 3]);
    assert_eq!(host.next_at(), None);
}

#[test]
fn a_wait_ends_when_it_is_so_when_it_can_never_be_or_when_its_time_is_over() {
    let mut host = Supervisor::new(0);
    let key = host.add(config("a"), None).unwrap();
    let wait = |host: &mut Supervisor, number, goal| {
        host.wait(Time::ZERO, (WaitKey(number), Party::Program), &id("a"), goal, SECOND);
        ends(host)
    };
    assert_eq!(wait(&mut host, 1, Goal::State(PluginState::Stopped)), ["ok"]);
    assert_eq!(wait(&mut host, 2, Goal::RoutableAfter(None)), ["unavailable not_sent"]);
    assert!(wait(&mut host, 3, Goal::State(PluginState::Starting)).is_empty());
    assert!(wait(&mut host, 4, Goal::State(PluginState::Degraded)).is_empty());
    assert!(wait(&mut host, 5, Goal::State(PluginState::Degraded)).is_empty());
    host.forget_wait(WaitKey(5));
    host.wish(Time::ZERO, key, Wish::Start).unwrap();
    assert_eq!(ends(&mut host), ["ok"], "the third");
    host.handle_time(Time::ZERO.plus(SECOND));
    assert_eq!(ends(&mut host), ["deadline_exceeded not_sent"], "the fourth, not the forgotten one");
}

/// The message of the only wait that ended.
fn message(host: &mut Supervisor) -> String {
    let mut ends = std::iter::from_fn(|| host.poll_action()).filter_map(|action| match action {
        Action::Waited(_, result) => Some(result.expect_err("it did not get there").message.into_owned()),
        _ => None,
    });
    ends.next().expect("a wait has ended")
}

#[test]
fn who_waits_for_a_plugin_that_fails_is_told_the_cause_at_once() {
    for goal in [Goal::State(PluginState::Healthy), Goal::RoutableAfter(None)] {
        for restart in [RestartPolicy::Never, RestartPolicy::Always] {
            let mut host = Supervisor::new(0);
            let policy = Policy { restart, ..Policy::default() };
            let key = host.add(config("a").policy(policy), None).unwrap();
            host.wish(Time::ZERO, key, Wish::Start).unwrap();
            host.wait(Time::ZERO, (WaitKey(1), Party::Program), &id("a"), goal, SECOND);
            host.with_plugin(Time::ZERO, key, |plugin, step| {
                plugin.handle_prepared(step, Generation::FIRST, Err("its disk is on fire".to_owned().into()))
            });
            let told = match restart {
                RestartPolicy::Never => message(&mut host),
                // It is tried again, and the time that it has is not over.
                _ => {
                    assert!(ends(&mut host).is_empty(), "it is being retried");
                    host.handle_time(Time::ZERO.plus(SECOND));
                    message(&mut host)
                }
            };
            assert!(told.contains("its disk is on fire"), "{goal:?} {restart}: {told}");
        }
    }
    let mut host = Supervisor::new(0);
    let key = host.add(config("a"), None).unwrap();
    host.wait(Time::ZERO, (WaitKey(1), Party::Program), &id("a"), Goal::RoutableAfter(None), SECOND);
    assert_eq!(message(&mut host), "the plugin is stopped");
    assert!(host.plugin(key).is_some());
}

#[test]
fn a_wait_for_a_plugin_that_is_given_up_ends() {
    let mut host = Supervisor::new(0);
    let key = host.add(config("a"), None).unwrap();
    host.wait(Time::ZERO, (WaitKey(1), Party::Program), &id("a"), Goal::State(PluginState::Healthy), SECOND);
    assert!(host.remove(Time::ZERO, key));
    assert_eq!(ends(&mut host), ["unknown_plugin not_sent"]);
    assert_eq!(host.timers_pending(), 0);
}

#[test]
fn waits_are_bounded() {
    let mut host = Supervisor::new(0);
    host.add(config("a"), None).unwrap();
    let mut numbers = 0..;
    let mut wait = |host: &mut Supervisor, party| {
        let (wait, goal) = (WaitKey(numbers.next().unwrap()), Goal::State(PluginState::Healthy));
        host.wait(Time::ZERO, (wait, party), &id("a"), goal, SECOND);
        ends(host)
    };
    // One has half, and each other one an eighth.
    for _ in 0..WAITS_MAX / 2 {
        assert!(wait(&mut host, Party::Client(1)).is_empty());
    }
    assert_eq!(wait(&mut host, Party::Client(1)), ["overloaded not_sent"]);
    for party in [Party::Program, Party::Client(2), Party::Client(3), Party::Client(4)] {
        for _ in 0..WAITS_MAX / 8 {
            assert!(wait(&mut host, party.clone()).is_empty());
        }
    }
    assert_eq!(wait(&mut host, Party::Client(5)), ["overloaded not_sent"], "there is no room");
    assert_eq!(host.timers_pending(), WAITS_MAX);
    // Who has gone leaves room, and who waited long enough.
    host.forget_wait(WaitKey(0));
    assert!(wait(&mut host, Party::Client(5)).is_empty());
    host.handle_time(Time::ZERO.plus(SECOND));
    assert_eq!(ends(&mut host).len(), WAITS_MAX);
    for _ in 0..WAITS_MAX / 2 {
        assert!(wait(&mut host, Party::Client(1)).is_empty());
    }
}

#[test]
fn a_host_that_ends_brings_nothing_up_any_more() {
    let mut host = Supervisor::new(0);
    let key = host.add(config("a"), None).unwrap();
    host.end(Time::ZERO);
    host.wish(Time::ZERO, key, Wish::Start).unwrap();
    host.wish(Time::ZERO, key, Wish::Restart).unwrap();
    assert!(host.add(config("b"), None) == Err(ConfigRefusal::Ending) && host.is_quiet());
    assert_eq!(host.plugin(key).map(Plugin::state), Some(PluginState::Stopped));
}
