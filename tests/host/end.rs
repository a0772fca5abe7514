//! The end of a host, asked for and waited for by several threads at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::fixtures::world::{SOON, World, eventually, is_alive, patient};
use rpc_plugin_system::host::{HostError, PluginConfig, Policy};
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::life::PluginState;
use std::time::Duration;

#[test]
fn everybody_who_waits_for_the_end_waits_until_it_is_there() {
    let world = World::new();
    let host = world.host();
    let plugin = world.failure(&host, "ignore-shutdown-and-term", patient());
    plugin.start().unwrap();
    let pid = plugin.wait_routable(None, SOON).unwrap().pid.unwrap();
    assert_eq!(host.end_reason(), None);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                host.wait_ended();
                assert!(!is_alive(pid), "waited for nothing");
            });
            scope.spawn(|| {
                host.shutdown();
                assert!(!is_alive(pid), "shut nothing down");
            });
        }
    });
    assert_eq!(host.end_reason(), Some("its program asked for it"));
    assert!(matches!(plugin.status(), Err(HostError::Ended)));
    let events = std::fs::read_to_string(world.runtime_dir().join("events.jsonl")).unwrap();
    assert_eq!(events.matches("\"host_stopped\"").count(), 1, "{events}");
    assert!(events.ends_with("\"reason\":\"its program asked for it\"}\n"), "{events}");
}

#[test]
fn a_host_that_is_killed_waits_for_no_ladder_and_takes_nobody_in() {
    let world = World::new();
    let host = world.host();
    let hour = Duration::from_secs(3600);
    let policy = Policy { shutdown_grace: hour, term_grace: hour, ..patient() };
    let plugin = world.failure(&host, "ignore-shutdown-and-term", policy);
    plugin.start().unwrap();
    let pid = plugin.wait_routable(None, SOON).unwrap().pid.unwrap();
    host.begin_shutdown("the test wants it");
    eventually("it is being stopped", || {
        (plugin.status().unwrap().state == PluginState::Stopping).then_some(())
    });
    let late = host.add(PluginConfig::new("late".parse().unwrap(), world.program("failure")));
    assert!(matches!(late, Err(HostError::Ended)), "{late:?}");
    assert!(is_alive(pid));
    host.begin_kill("the test lost patience");
    host.wait_ended();
    assert!(!is_alive(pid));
    assert_eq!(host.end_reason(), Some("the test wants it"), "the first reason counts");
}

#[test]
fn a_dropped_host_records_its_end_and_its_last_event_reaches_a_subscriber() {
    let world = World::new();
    let host = world.host();
    let events = host.subscribe(100).unwrap();
    drop(host);
    let last = events.last().unwrap().note;
    assert_eq!(
        (last.kind, last.reason.as_deref()),
        (EventKind::HostStopped, Some("its last handle was dropped"))
    );
}
