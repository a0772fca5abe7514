//! Health and replacement: backoff, limits, policies, heartbeats, restarts by hand, generation numbers.
//!
//! What it deliberately does not do: the many ways to fail; `host_failures` has each of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::world::{SOON, World, eventually, is_alive, next_event, patient, quick, signal, waited};
use nix::sys::signal::Signal;
use rpc_plugin_system::host::{
    CallError, EventStream, Host, HostError, LifecycleEvent, PluginConfig, PluginHandle, Policy,
    RestartPolicy,
};
use rpc_plugin_wire::admin::PluginStatus;
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::life::{Desired, PluginState};
use rpc_plugin_wire::{ErrorCode, Outcome};
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime};

const MS: Duration = Duration::from_millis(1);

fn up(plugin: &PluginHandle) -> PluginStatus {
    plugin.start().unwrap();
    plugin.wait_routable(None, SOON).unwrap()
}

/// What the record says about the next replacement: when, and why.
fn next_replacement(events: &EventStream) -> (u64, LifecycleEvent) {
    let event = next_event(events, EventKind::RestartScheduled);
    let delay_ms = event.note.details.as_ref().unwrap()["delay_ms"].as_u64().unwrap();
    (delay_ms, event)
}

fn refusal(plugin: &PluginHandle) -> CallError {
    plugin.call::<_, Value>("work", &json!({})).expect_err("the call has to be refused")
}

#[test]
fn the_first_replacement_after_a_healthy_stretch_is_immediate() {
    let world = World::new();
    let host = world.host();
    // With the stretch behind it, and with a stretch that it cannot have behind it.
    for (id, healthy_stretch, expected_ms, message) in [
        ("steady", 200 * MS, 0, "a replacement is launched at once"),
        ("unsteady", 3_600_000 * MS, 300, "a replacement is launched in 300ms"),
    ] {
        let events = host.subscribe(4096).unwrap();
        let (backoff_initial, backoff_max) = (300 * MS, 300 * MS);
        let policy =
            Policy { healthy_stretch, backoff_initial, backoff_max, backoff_jitter_percent: 0, ..patient() };
        let plugin = world.failing(&host, id, &[], policy);
        let first = up(&plugin);
        let healthy_since = Instant::now();
        eventually("a stretch is over", || (healthy_since.elapsed() > 250 * MS).then_some(()));
        // Events are stamped when they are recorded, which on a busy machine is a while after what they tell of.
        let killed_at = SystemTime::now();
        signal(first.pid.unwrap(), Signal::SIGKILL);
        let (delay_ms, scheduled) = next_replacement(&events);
        assert_eq!((delay_ms, scheduled.note.message.as_str()), (expected_ms, message));
        let reason = scheduled.note.reason.unwrap();
        assert!(reason.contains("while it was running") && reason.contains("signal 9 (SIGKILL)"), "{reason}");
        let launched = next_event(&events, EventKind::Launched);
        let waited = launched.at.duration_since(killed_at).unwrap();
        assert!(waited >= delay_ms as u32 * MS, "launched after {waited:?}");
        assert_eq!(plugin.wait_routable(first.generation, SOON).unwrap().restarts, 1);
    }
}

#[test]
fn backoff_grows_to_its_cap_and_the_limit_ends_it_until_somebody_acts() {
    let world = World::new();
    let host = world.host();
    let events = host.subscribe(4096).unwrap();
    let policy = Policy {
        backoff_initial: 20 * MS,
        backoff_max: 100 * MS,
        backoff_jitter_percent: 0,
        restarts_max: 5,
        ..patient()
    };
    let plugin = world.failing(&host, "hopeless", &[("FAILURE_MODE", "exit-at-once")], policy);
    plugin.start().unwrap();
    let mut before = next_event(&events, EventKind::Launched);
    for expected_ms in [20, 40, 80, 100, 100] {
        assert_eq!(next_replacement(&events).0, expected_ms);
        let launched = next_event(&events, EventKind::Launched);
        // From the launch before: an event has the time of its recording, which comes after that of its cause.
        let waited = launched.at.duration_since(before.at).unwrap();
        assert!(waited >= expected_ms as u32 * MS, "launched {waited:?} after the one that it replaces");
        before = launched;
    }
    let gave_up = next_event(&events, EventKind::GaveUp).note;
    let failed = plugin.wait_for(PluginState::Failed, SOON).unwrap();
    for said in [gave_up.error.unwrap(), failed.last_error.unwrap()] {
        for text in ["5 restarts within 60s", "exit status 3", "before it connected", "mode exit-at-once"] {
            assert!(said.contains(text), "{said:?} should say {text:?}");
        }
    }
    assert_eq!((failed.desired, failed.pid, failed.restarts), (Desired::Up, None, 5));
    let HostError::Call(error) = plugin.wait_routable(None, SOON).unwrap_err() else {
        panic!("another error")
    };
    assert_eq!((error.code, error.outcome), (ErrorCode::Unavailable, Outcome::NotSent));
    assert!(error.message.contains("failed") && error.message.contains("exit status 3"), "{error}");

    // By hand it begins anew: the first wait is the shortest again.
    plugin.start().unwrap();
    assert_eq!(next_replacement(&events).0, 20);
    let again = plugin.wait_for(PluginState::Failed, SOON).unwrap();
    assert_eq!(again.generation.unwrap().get(), failed.generation.unwrap().get() + 6);
}

#[test]
fn the_restart_policy_decides_what_follows_an_end() {
    use RestartPolicy::{Always, Never, OnFailure};
    let world = World::new();
    let host = world.host();
    let (clean, three, kill) =
        (json!({"how": "exit", "code": 0}), json!({"how": "exit", "code": 3}), json!({"how": "kill"}));
    // Replaced (None), or the state it ends in and what the error then says.
    let table = [
        (Always, &clean, None),
        (Always, &three, None),
        (Always, &kill, None),
        (OnFailure, &clean, Some((PluginState::Stopped, ""))),
        (OnFailure, &three, None),
        (OnFailure, &kill, None),
        (Never, &clean, Some((PluginState::Stopped, ""))),
        (Never, &three, Some((PluginState::Failed, "exit status 3"))),
        (Never, &kill, Some((PluginState::Failed, "signal 9 (SIGKILL)"))),
    ];
    for (number, (restart, how, expected)) in table.into_iter().enumerate() {
        let id = format!("p{number}").parse().unwrap();
        let policy = Policy { restart, ..patient() };
        let plugin = host.add(PluginConfig::new(id, world.program("echo")).policy(policy)).unwrap();
        let first = up(&plugin);
        let lost: CallError = plugin.call::<_, Value>("crash", how).unwrap_err();
        assert_eq!(lost.code, ErrorCode::PluginLost, "{restart} {how}");
        match expected {
            None => {
                let second = plugin.wait_routable(first.generation, SOON).unwrap();
                assert_eq!((second.restarts, second.desired), (1, Desired::Up), "{restart} {how}");
            }
            Some((state, text)) => {
                let ended = plugin.wait_for(state, SOON).unwrap();
                let desired = if state == PluginState::Stopped { Desired::Down } else { Desired::Up };
                assert_eq!((ended.restarts, ended.desired, ended.pid), (0, desired, None), "{restart} {how}");
                let error = ended.last_error.unwrap_or_default();
                let expected = if text.is_empty() { "" } else { "the restart policy is never" };
                assert!(error.contains(text) && error.contains(expected), "{restart} {how}: {error:?}");
                // Somebody who wants it up again gets it up again.
                assert!(up(&plugin).generation > first.generation);
            }
        }
    }
}

#[test]
fn a_heartbeat_that_is_missed_is_no_reason_to_replace() {
    let world = World::new();
    let host = world.host();
    let policy = Policy { heartbeat_misses_max: 1000, ..quick() };
    let plugin = world.failing(&host, "hiccup", &[], policy);
    let before = up(&plugin);
    let pid = before.pid.unwrap();
    let events = host.subscribe(4096).unwrap();
    signal(pid, Signal::SIGSTOP);
    let unhealthy = plugin.wait_for(PluginState::Unhealthy, SOON).unwrap();
    let why = unhealthy.last_error.unwrap();
    assert!(why.contains(" of 1000 heartbeats in a row failed") && why.contains("did not answer"), "{why}");
    let error = refusal(&plugin);
    assert_eq!((error.code, error.outcome), (ErrorCode::Unavailable, Outcome::NotSent), "{error}");
    // One alone may be a hiccup: the state changed with the second.
    let kinds: Vec<EventKind> = std::iter::from_fn(|| events.try_next())
        .map(|event| event.note.kind)
        .take_while(|kind| *kind != EventKind::StateChanged)
        .filter(|kind| *kind == EventKind::HeartbeatMissed)
        .collect();
    assert_eq!(kinds.len(), 2);
    signal(pid, Signal::SIGCONT);
    let after = plugin.wait_for(PluginState::Healthy, SOON).unwrap();
    assert_eq!((after.pid, after.generation), (before.pid, before.generation));
    assert_eq!((after.heartbeats_missed, after.last_error, after.restarts), (0, None, 0));
}

#[test]
fn a_plugin_that_falls_silent_is_replaced() {
    let world = World::new();
    let host = world.host();
    let events = host.subscribe(4096).unwrap();
    let plugin = world.failing(&host, "silent", &[], quick());
    let before = up(&plugin);
    signal(before.pid.unwrap(), Signal::SIGSTOP);
    for _ in 0..3 {
        let note = next_event(&events, EventKind::HeartbeatMissed).note;
        assert!(note.error.unwrap().contains("no answer within"));
    }
    let after = plugin.wait_routable(before.generation, SOON).unwrap();
    assert!(after.pid != before.pid && !is_alive(before.pid.unwrap()));
    let (_, event) = next_replacement(&events);
    let why = event.note.reason.unwrap();
    // A stopped process does not see SIGTERM: the whole ladder was needed.
    assert!(waited(&why) >= Duration::from_millis(200), "{why}");
    for text in ["3 heartbeats in a row failed", "signal 9 (SIGKILL)"] {
        assert!(why.contains(text), "{why:?} should say {text:?}");
    }
}

#[test]
fn what_a_heartbeat_says_decides_who_gets_calls() {
    let world = World::new();
    let host = world.host();
    let start = |mode: &'static str| {
        let env = [("FAILURE_MODE", mode), ("FAILURE_AFTER_HEARTBEATS", "1")];
        let (heartbeat_interval, heartbeat_timeout) = (500 * MS, 500 * MS);
        let policy = Policy { heartbeat_interval, heartbeat_timeout, heartbeat_misses_max: 1000, ..quick() };
        let plugin = world.failing(&host, mode, &env, policy);
        let first = up(&plugin);
        (plugin, first)
    };
    let (degraded, _) = start("heartbeat-degraded");
    degraded.wait_for(PluginState::Degraded, SOON).unwrap();
    assert_eq!(degraded.call::<_, Value>("work", &json!({"n": 1})).unwrap(), json!({"n": 1}));

    let (overloaded, first) = start("heartbeat-overloaded");
    let status = overloaded.wait_for(PluginState::Overloaded, SOON).unwrap();
    assert_eq!((status.pid, status.heartbeats_missed), (first.pid, 0), "it is busy, not broken");
    let error = refusal(&overloaded);
    assert_eq!((error.code, error.outcome), (ErrorCode::Overloaded, Outcome::NotSent), "{error}");
    assert!(error.message.contains("says that it is overloaded"), "{error}");

    let (unhealthy, first) = start("heartbeat-unhealthy");
    let status = unhealthy.wait_for(PluginState::Unhealthy, SOON).unwrap();
    assert_eq!(status.pid, first.pid);
    let error = refusal(&unhealthy);
    assert_eq!((error.code, error.outcome), (ErrorCode::Unavailable, Outcome::NotSent), "{error}");
    assert!(error.message.contains("it reports unhealthy"), "{error}");
}

#[test]
fn a_restart_by_hand_is_a_new_generation_with_a_new_proof() {
    let world = World::new();
    let host = world.host();
    let events = host.subscribe(4096).unwrap();
    let plugin = world.failing(&host, "renewed", &[], quick());
    let first = up(&plugin);
    plugin.restart().unwrap();
    let second = plugin.wait_routable(first.generation, SOON).unwrap();
    assert_eq!(second.generation.unwrap(), first.generation.unwrap().next());
    assert!(second.pid != first.pid && !is_alive(first.pid.unwrap()));
    assert_eq!((second.state, second.last_error), (PluginState::Healthy, None));
    let proofs: Vec<u64> = (0..2)
        .map(|_| next_event(&events, EventKind::Authenticated).note.generation.unwrap().get())
        .collect();
    assert_eq!(proofs, [1, 2]);
    // One that is down is brought up, one that was given up as well.
    plugin.stop().unwrap();
    plugin.wait_for(PluginState::Stopped, SOON).unwrap();
    plugin.restart().unwrap();
    assert_eq!(plugin.wait_routable(None, SOON).unwrap().generation.unwrap().get(), 3);
}

fn launched(host: &Host, world: &World, program: &str) -> u64 {
    let id = "numbered".parse().unwrap();
    let policy = Policy { restarts_max: 0, ..patient() };
    let plugin = host.add(PluginConfig::new(id, world.path().join(program)).policy(policy)).unwrap();
    plugin.start().unwrap();
    let status = match plugin.wait_routable(None, SOON) {
        Ok(status) => status,
        Err(_) => plugin.wait_for(PluginState::Failed, SOON).unwrap(),
    };
    plugin.stop().unwrap();
    plugin.wait_for(PluginState::Stopped, SOON).unwrap();
    host.remove(plugin.id()).unwrap();
    status.generation.unwrap().get()
}

#[test]
fn a_generation_number_is_never_used_again() {
    let world = World::new();
    world.program("failure");
    world.script("broken", "#!/does/not/exist\n");
    let numbers: Vec<u64> = (0..3)
        .flat_map(|_| {
            let host = world.host();
            // Well, not at all, not executable, and well again; each time taken into care anew.
            ["failure", "missing", "broken", "failure"].map(|program| launched(&host, &world, program))
        })
        .collect();
    assert_eq!(numbers, (1..=12).collect::<Vec<u64>>());
    let persisted = std::fs::read_to_string(world.runtime_dir().join("numbered/generation")).unwrap();
    assert_eq!(persisted.trim(), "12");
}

#[test]
fn a_policy_that_contradicts_itself_is_refused() {
    let world = World::new();
    let host = world.host();
    type Change = fn(&mut Policy);
    let table: [(&str, Change); 4] = [
        ("heartbeat_timeout", |policy| policy.heartbeat_timeout = policy.heartbeat_interval * 2),
        ("backoff_initial", |policy| policy.backoff_initial = policy.backoff_max * 2),
        ("outbox_bytes_max", |policy| policy.outbox_bytes_max = policy.frame_bytes_max),
        ("restarts_max", |policy| policy.restart_window = MS),
    ];
    for (setting, change) in table {
        let mut policy = quick();
        change(&mut policy);
        let config = PluginConfig::new("refused".parse().unwrap(), "/bin/true").policy(policy);
        let error = host.add(config).unwrap_err();
        assert!(matches!(error, HostError::Config(..)), "{error}");
        let said = error.to_string();
        assert!(said.contains("plugin refused") && said.contains(setting), "{said}");
    }
    assert!(host.plugins().unwrap().is_empty());
}
