//! Every way in which `examples/failure` misbehaves, and what the host does about it: what it says, to whom;
//! that a replacement recovers; that nothing else is harmed.
//!
//! What it deliberately does not do: forge proofs from outside, or send what no mode sends; other tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod scene;
mod table;

use crate::fixtures::world::{self, SOON, World, eventually, is_alive, up, waited};
use rpc_plugin_system::host::{CallOptions, Policy};
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::life::PluginState;
use rpc_plugin_wire::{ErrorCode, Outcome};
use scene::{Case, MS, Scene};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Instant;
use table::{AFTER_A_HEARTBEAT, AT_WORK, BAD_ANSWERS, BEFORE_IT_IS_READY, Failing};

/// Modes whose test is below, because no replacement follows from them.
const HARMLESS: [&str; 12] = [
    "invalid-utf8",
    "malformed-frame",
    "none",
    "second-connection",
    "heartbeat-degraded",
    "heartbeat-overloaded",
    "call-slow",
    "call-late",
    "stdout-flood",
    "stderr-flood",
    "grandchild-holds-pipes",
    "ignore-shutdown",
];
const HARMLESS_TOO: [&str; 1] = ["ignore-shutdown-and-term"];
/// What no replacement would mend.
const PERMANENT: [&str; 1] = ["wrong-protocol"];

/// Waits as long as it takes on a busy machine; a case shortens the wait that it is about.
fn patient() -> Policy {
    Policy {
        heartbeat_interval: 5000 * MS,
        heartbeat_timeout: 5000 * MS,
        backoff_initial: 10 * MS,
        backoff_max: 100 * MS,
        shutdown_grace: 500 * MS,
        term_grace: 2000 * MS,
        call_timeout: 1500 * MS,
        cancel_grace: 300 * MS,
        ..Policy::default()
    }
}

#[test]
fn every_mode_has_a_test() {
    let list =
        std::process::Command::new(world::built("failure")).env("FAILURE_MODE", "list").output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let modes: BTreeSet<&str> = list.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    let failing = [BEFORE_IT_IS_READY, AFTER_A_HEARTBEAT, AT_WORK].concat();
    let tested: BTreeSet<&str> =
        failing.iter().map(|case| case.mode).chain(HARMLESS).chain(HARMLESS_TOO).chain(PERMANENT).collect();
    assert_eq!(modes, tested);
    assert!(modes.len() >= 47);
}

fn policy_of(case: &Failing) -> Policy {
    let mut policy = patient();
    (case.tweak)(&mut policy);
    policy
}

/// What every failure has in common.
fn check(case: &Case<'_>, failing: &Failing) {
    if let Some(kind) = failing.kind {
        let told = case.the(kind);
        case.says(told.error.as_deref().unwrap_or(&told.message), failing.says);
        assert!(told.pid.is_some() && !told.message.is_empty());
    }
    case.replaced_because(failing.says, failing.ends);
}

#[test]
fn a_plugin_that_fails_before_it_is_ready_is_replaced() {
    Scene::new().play(
        BEFORE_IT_IS_READY,
        |case| case.mode,
        |scene, failing| {
            let mut case = scene.start(failing.mode, &[], policy_of(failing));
            case.until_recovered();
            check(&case, failing);
            let states = case.told(EventKind::StateChanged);
            assert!(
                states.iter().all(|note| !note.message.contains("-> healthy")),
                "{}: {states:?}",
                failing.mode
            );
        },
    );
}

#[test]
fn a_plugin_that_speaks_no_version_of_the_protocol_in_common_is_failed_at_once() {
    let scene = Scene::new();
    for mode in PERMANENT {
        let case = scene.start(mode, &[], patient());
        let status = case.plugin.wait_for(PluginState::Failed, SOON).unwrap();
        let error = status.last_error.unwrap();
        case.says(
            &error,
            &["no protocol version in common: the host speaks [1], the plugin [999]", "looked at every 30s"],
        );
        assert_eq!((status.generation.unwrap().get(), status.restarts), (1, 0), "{mode}: {error}");
        // An operator's word is enough; what it is has not changed, but it behaves from now on.
        case.plugin.start().unwrap();
        case.plugin.wait_routable(None, SOON).unwrap();
    }
}

#[test]
fn a_plugin_whose_heartbeats_fail_is_replaced() {
    Scene::new().play(
        AFTER_A_HEARTBEAT,
        |case| case.mode,
        |scene, failing| {
            let mut case =
                scene.start(failing.mode, &[("FAILURE_AFTER_HEARTBEATS", "1")], policy_of(failing));
            case.until_routable();
            case.until_recovered();
            case.replaced_because(failing.says, failing.ends);
            if failing.mode == "heartbeat-silent" {
                let scheduled = case.the(EventKind::RestartScheduled).reason.as_deref().unwrap();
                assert!(waited(scheduled) >= policy_of(failing).heartbeat_timeout, "{scheduled}");
            }
            let unhealthy = case.told(EventKind::StateChanged);
            let unhealthy = unhealthy.iter().find(|note| note.message == "healthy -> unhealthy");
            case.says(unhealthy.unwrap().error.as_deref().unwrap(), &["of 3 heartbeats in a row failed"]);
            if let Some(kind) = failing.kind {
                assert!(case.told(kind).len() >= 3, "{}", failing.mode);
            }
        },
    );
}

/// A plugin that is never ready says in its heartbeats why.
#[test]
fn a_plugin_that_never_becomes_ready_is_replaced_and_its_heartbeats_say_why() {
    let modes = [
        ("heartbeat-starting", "says starting"),
        ("heartbeat-overloaded", "says overloaded"),
        ("heartbeat-unhealthy", "says unhealthy"),
        ("heartbeat-error", "fails on purpose"),
        ("heartbeat-silent", "did not answer a heartbeat"),
        ("heartbeat-malformed", "\"splendid\" is not a status"),
    ];
    Scene::new().play(
        &modes,
        |(mode, _)| mode,
        |scene, (mode, why)| {
            let ready_timeout = 700 * MS;
            let (heartbeat_interval, heartbeat_timeout) = (200 * MS, 200 * MS);
            let policy = Policy { ready_timeout, heartbeat_interval, heartbeat_timeout, ..patient() };
            let mut case = scene.start(mode, &[], policy);
            case.until_recovered();
            case.replaced_because(
                &["proved its identity", "a good heartbeat did not come within 700ms; last: ", why],
                &["signal 15 (SIGTERM)", "exit status 0"],
            );
        },
    );
}

#[test]
fn an_answer_that_is_no_message_costs_its_call_only() {
    let world = World::new();
    let host = world.host();
    for (mode, said) in BAD_ANSWERS {
        let plugin = up(world.failing(&host, mode, &[("FAILURE_MODE", mode)], patient()));
        let options = CallOptions::default().timeout(SOON);
        let error = plugin.call_with::<_, serde_json::Value>("work", &json!({}), options).unwrap_err();
        assert_eq!(
            (error.code, error.outcome),
            (ErrorCode::InvalidResponse, Outcome::Indeterminate),
            "{error}"
        );
        assert!(error.message.contains(said), "{mode}: {error}");
        let status = plugin.status().unwrap();
        assert_eq!((status.generation.unwrap().get(), status.restarts), (1, 0), "{mode}: {status:?}");
    }
}

#[test]
fn a_plugin_that_fails_at_work_is_replaced() {
    Scene::new().play(
        AT_WORK,
        |case| case.mode,
        |scene, failing| {
            let mut case = scene.start(failing.mode, &[], policy_of(failing));
            case.until_routable();
            let timeout = if failing.mode == "call-hang" { 1500 * MS } else { SOON };
            let params = json!({"text": "work"});
            let result: Result<serde_json::Value, _> =
                case.plugin.call_with("work", &params, CallOptions::default().timeout(timeout));
            match (result, failing.call) {
                (Ok(result), None) => assert_eq!(result, params),
                (Err(error), Some(expected)) => {
                    assert_eq!((error.code, error.outcome), expected, "{}: {error}", failing.mode);
                    assert_eq!(error.generation.unwrap().get(), 1);
                }
                (result, expected) => panic!("{}: {result:?} instead of {expected:?}", failing.mode),
            }
            case.until_recovered();
            check(&case, failing);
        },
    );
}

#[test]
fn what_is_slow_or_late_or_too_much_costs_nobody_a_generation() {
    let modes =
        ["none", "second-connection", "heartbeat-degraded", "heartbeat-overloaded", "call-slow", "call-late"];
    Scene::new().play(
        &modes,
        |mode| mode,
        |scene, mode| {
            let (heartbeat_interval, heartbeat_timeout) = (500 * MS, 500 * MS);
            let policy =
                Policy { heartbeat_interval, heartbeat_timeout, heartbeat_misses_max: 1000, ..patient() };
            let policy = Policy { cancel_grace: SOON, ..policy };
            let mut case = scene.start(mode, &[("FAILURE_AFTER_HEARTBEATS", "1")], policy);
            let first = case.until_routable();
            let params = json!({"ms": 100, "n": 1});
            match *mode {
                "heartbeat-degraded" => {
                    case.until("degraded", |note| note.message == "healthy -> degraded");
                    assert_eq!(case.work(&params).unwrap(), params);
                }
                "heartbeat-overloaded" => {
                    case.until("overloaded", |note| note.message == "healthy -> overloaded");
                    let error = case.work(&params).unwrap_err();
                    assert_eq!((error.code, error.outcome), (ErrorCode::Overloaded, Outcome::NotSent));
                }
                "call-slow" => {
                    let begun = Instant::now();
                    assert_eq!(case.work(&params).unwrap(), params);
                    assert!(begun.elapsed() >= 100 * MS);
                }
                "call-late" => {
                    let options = CallOptions::default().timeout(1500 * MS);
                    let error =
                        case.plugin.call_with::<_, serde_json::Value>("work", &params, options).unwrap_err();
                    assert_eq!(
                        (error.code, error.outcome),
                        (ErrorCode::DeadlineExceeded, Outcome::Indeterminate)
                    );
                    let late = case.until("the late answer", |note| note.kind == EventKind::LateAnswer);
                    assert_eq!(late.method.as_deref(), Some("work"));
                    assert_eq!(case.plugin.status().unwrap().late_answers, 1);
                }
                _ => assert_eq!(case.work(&params).unwrap(), params),
            }
            let now = case.plugin.status().unwrap();
            assert_eq!((now.pid, now.generation, now.restarts), (first.pid, first.generation, 0), "{mode}");
            case.plugin.stop().unwrap();
            case.until("its end", |note| note.kind == EventKind::Exited);
            case.ended_with(&["exit status 0"]);
        },
    );
}

#[test]
fn a_flood_of_output_is_cut_and_starves_nobody() {
    let modes = [("stdout-flood", EventKind::Stdout), ("stderr-flood", EventKind::Stderr)];
    for flood in modes {
        Scene::new().play(
            &[flood],
            |(mode, _)| mode,
            |scene, (mode, kind)| {
                let mut case = scene.start(mode, &[], patient());
                let first = case.until_routable();
                let dropped = case.until("dropped lines", |note| note.kind == EventKind::OutputDropped);
                case.says(&dropped.message, &["lines", kind.as_str(), "too fast"]);
                assert_eq!(case.work(&json!({"n": 1})).unwrap(), json!({"n": 1}));
                case.plugin.stop().unwrap();
                case.until("its end", |note| note.kind == EventKind::Exited);
                let now = case.plugin.wait_for(PluginState::Stopped, SOON).unwrap();
                assert_eq!((now.generation, now.restarts), (first.generation, 0));
                let line = format!("\"event\":\"{kind}\"");
                eventually("its lines are in the record", || {
                    scene
                        .world
                        .record(mode)
                        .lines()
                        .any(|l| l.contains(&line) && l.contains("flood flood"))
                        .then_some(())
                });
            },
        );
    }
}

/// The processes whose parent is this one.
fn children_of(parent: u32) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        rest.split_whitespace().nth(1) == Some(&parent.to_string())
    })
    .collect()
}

#[test]
fn a_grandchild_that_holds_the_pipes_holds_nothing_up() {
    Scene::new().play(
        &["grandchild-holds-pipes"],
        |mode| mode,
        |scene, mode| {
            let policy = Policy { shutdown_grace: SOON, term_grace: SOON, ..patient() };
            let mut case = scene.start(mode, &[("FAILURE_GENERATIONS", "2")], policy);
            let first = case.until_routable();
            let grandchild = |pid: u32| eventually("the grandchild", || children_of(pid).first().copied());
            let left = grandchild(first.pid.unwrap());
            world::signal(first.pid.unwrap(), nix::sys::signal::Signal::SIGKILL);
            case.until("the end of the first", |note| note.kind == EventKind::Exited);
            eventually("the first grandchild has ended", || (!is_alive(left)).then_some(()));
            case.until_recovered();
            case.replaced_because(&["while it was running"], &["signal 9 (SIGKILL)"]);

            let second = case.plugin.status().unwrap().pid.unwrap();
            let left = grandchild(second);
            let begun = Instant::now();
            case.plugin.stop().unwrap();
            case.plugin.wait_for(PluginState::Stopped, SOON).unwrap();
            assert!(begun.elapsed() < SOON, "the pipes' end was waited for");
            eventually("the second grandchild has ended", || (!is_alive(left)).then_some(()));
        },
    );
}

#[test]
fn a_plugin_that_does_not_want_to_end_is_ended() {
    let modes = [
        ("ignore-shutdown", "signal 15 (SIGTERM)", 1),
        ("ignore-shutdown-and-term", "signal 9 (SIGKILL)", 2),
    ];
    Scene::new().play(
        &modes,
        |(mode, ..)| mode,
        |scene, (mode, end, rungs)| {
            let (shutdown_grace, term_grace) = (300 * MS, 200 * MS);
            let policy = Policy { shutdown_grace, term_grace, ..patient() };
            let mut case = scene.start(mode, &[], policy);
            let first = case.until_routable();
            let begun = Instant::now();
            case.plugin.stop().unwrap();
            case.until("its end", |note| note.kind == EventKind::Exited);
            let least = shutdown_grace + term_grace * (*rungs as u32 - 1);
            assert!(begun.elapsed() >= least, "{mode} ended after {:?}", begun.elapsed());
            case.ended_with(&[end]);
            assert_eq!(case.the(EventKind::ShutdownRequested).reason.as_deref(), Some("stop"));
            let signals = case.told(EventKind::SignalSent);
            assert_eq!(signals.len(), *rungs, "{signals:?}");
            case.says(&signals[0].message, &["SIGTERM was sent to its process group"]);
            let stopped = case.plugin.wait_for(PluginState::Stopped, SOON).unwrap();
            assert_eq!((stopped.pid, stopped.last_error, stopped.restarts), (None, None, 0));
            assert!(!is_alive(first.pid.unwrap()));
        },
    );
}
