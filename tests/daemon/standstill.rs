//! A daemon that is stopped for a while: what came meanwhile counts, and nobody else is blamed for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::daemon::{Daemon, Raw, command};
use crate::fixtures::world::{World, eventually};
use nix::sys::signal::Signal;
use rpc_plugin_wire::event::EventKind;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Stops the daemon until `stopped` has passed since `begun`, then lets it go on.
fn stop_until(daemon: &Daemon, begun: Instant, stopped: Duration) {
    daemon.signal(Signal::SIGSTOP);
    eventually("the time has passed", || (begun.elapsed() > stopped).then_some(()));
    daemon.signal(Signal::SIGCONT);
}

/// A call that its plugin answers while the daemon is stopped, which is longer than its deadline: its answer.
fn call_over_a_stop(daemon: &Daemon, takes_ms: u64, timeout_ms: u64, stopped: Duration) -> Value {
    let (mut caller, mut looker) = (Raw::connect(&daemon.runtime_dir), Raw::connect(&daemon.runtime_dir));
    let call =
        json!({"plugin_id": "echo", "method": "sleep", "params": {"ms": takes_ms}, "timeout_ms": timeout_ms});
    let begun = Instant::now();
    caller.request(1, "admin.call", &call);
    eventually("the plugin has the call", || {
        let status = looker.ask("admin.plugin", &json!({"plugin_id": "echo"}));
        (status["result"]["calls_in_flight"] == 1).then_some(())
    });
    stop_until(daemon, begun, stopped);
    caller.next().expect("the call has an end")
}

fn start(world: &World, interval: &str) -> Daemon {
    let (interval, echo) = (format!("--heartbeat-interval={interval}"), world.program("echo"));
    let plugin = format!("--plugin=echo={}", echo.display());
    // Far less than the daemon is stopped for, and more than a busy machine takes.
    let words = ["--heartbeat-timeout=1s", "--heartbeat-misses-max=1", &interval, &plugin];
    let daemon = Daemon::of(command(world).args(words), &world.runtime_dir());
    daemon.wait_for("echo", "healthy");
    daemon
}

/// Nothing was replaced, and nothing was taken for the plugin's fault.
fn is_well(daemon: &Daemon) {
    assert_eq!(daemon.json(&["plugin", "echo"])["generation"], 1);
    let kinds: Vec<_> = daemon.records("echo").into_iter().map(|record| record.event).collect();
    for fault in ["heartbeat_missed", "call_timed_out", "late_answer", "exited"] {
        assert!(!kinds.iter().any(|kind| kind == fault), "{fault}: {kinds:?}");
    }
}

/// The deadline has passed as the daemon goes on, by less than what counts as a standstill.
#[test]
fn an_answer_that_came_before_the_deadline_is_taken_after_it() {
    let world = World::new();
    let daemon = start(&world, "0s");
    let answer = call_over_a_stop(&daemon, 300, 1500, Duration::from_millis(2200));
    assert!(answer["result"].is_object(), "{answer}");
    is_well(&daemon);
}

#[test]
fn a_daemon_that_was_stopped_says_so_and_blames_nobody() {
    let world = World::new();
    let daemon = start(&world, "1s");
    let answer = call_over_a_stop(&daemon, 300, 3000, Duration::from_millis(4500));
    assert!(answer["result"].is_object(), "{answer}");
    // Unless the machine stood still by itself, too.
    let record = daemon.recorded("", EventKind::HostStoodStill, |record| {
        let details: Value = serde_json::from_str(record.details.as_ref().unwrap().get()).unwrap();
        details["suspended"] == false && details["length_ms"].as_u64().unwrap() > 1000
    });
    assert!(record.message.contains("stood still for"), "{record:?}");
    is_well(&daemon);
}
