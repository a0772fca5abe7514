//! A host whose disk hangs: answers wait for their record, in mode strict until it is on the disk and in relaxed until
//! the kernel has it, but not for ever, and plugins are supervised as before.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::daemon::ctl;
use crate::fixtures::disk::{Faults, FaultyDisk};
use crate::fixtures::sinks::{Peer, on_record, parse, sink};
use crate::fixtures::world::{SOON, World, calm, eventually, is_alive, next_event, signal, up};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use rpc_plugin_system::eventlog::{Durability, LogOptions};
use rpc_plugin_system::host::{Note, PluginConfig, PluginHandle, Policy, RestartPolicy, SinkTarget};
use rpc_plugin_system::state::policy::RpcAudit;
use rpc_plugin_wire::event::{EventKind, Record};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const HOLD_MAX: Duration = Duration::from_millis(300);

#[test]
fn a_disk_that_hangs_delays_one_answer_and_stops_nothing() {
    let world = World::new();
    let disk = Arc::new(FaultyDisk::default());
    let options = LogOptions { durability: Durability::Strict, hold_max: HOLD_MAX, ..LogOptions::default() };
    let host = world.builder().log_options(options).log_disk(disk.clone()).start().unwrap();
    let policy = Policy { rpc_audit: RpcAudit::All, restart: RestartPolicy::Always, ..calm() };
    let config = PluginConfig::new("echo".parse().unwrap(), world.program("echo")).policy(policy);
    let plugin = up(host.add(config).unwrap());
    let call = || {
        let begin = Instant::now();
        let answer: serde_json::Value = plugin.call("echo", &serde_json::json!({"a": 1})).unwrap();
        assert_eq!(answer, serde_json::json!({"a": 1}));
        begin.elapsed()
    };
    call();
    disk.set(Faults { hangs: true, ..Faults::default() });
    assert!(call() >= HOLD_MAX, "its record cannot be durable, so it waits as long as it may");
    // The disk is known to be stuck now: nothing else is held. Twenty held calls would take six seconds.
    let begin = Instant::now();
    for _ in 0..20 {
        call();
    }
    assert!(begin.elapsed() < HOLD_MAX * 10, "{:?}", begin.elapsed());
    // A plugin that ends is replaced all the same.
    let before = plugin.status().unwrap();
    signal(before.pid.unwrap(), Signal::SIGKILL);
    let after = plugin.wait_routable(before.generation, SOON).unwrap();
    assert!(after.generation > before.generation && is_alive(after.pid.unwrap()));
    disk.heal();
    // Once the disk confirms something, answers wait for it again, which now is quick.
    eventually("what was let through early is on record", || {
        call();
        assert!(host.flush_events(SOON));
        let folder = world.runtime_dir();
        let own = std::fs::read_to_string(folder.join("events.jsonl")).unwrap_or_default();
        let told = |text: &str| text.lines().any(|line| line.contains(EventKind::RecordGap.as_str()));
        (told(&own) || told(&world.record("echo"))).then_some(())
    });
    host.shutdown();
}

#[test]
fn in_mode_relaxed_an_answer_waits_for_its_write_and_not_for_a_sync() {
    let world = World::new();
    let disk = Arc::new(FaultyDisk::default());
    let options = LogOptions { durability: Durability::Relaxed, hold_max: SOON, ..LogOptions::default() };
    let host = world.builder().log_options(options).log_disk(disk.clone()).start().unwrap();
    let of = |id: &str, rpc_audit| {
        let config = PluginConfig::new(id.parse().unwrap(), world.program("echo"));
        up(host.add(config.policy(Policy { rpc_audit, ..calm() })).unwrap())
    };
    let (audited, other) = (of("audited", RpcAudit::All), of("other", RpcAudit::Off));
    let call = |plugin: &PluginHandle, number: u32| {
        let params = serde_json::json!({"n": number});
        let answer: Value = plugin.call("echo", &params).unwrap();
        assert_eq!(answer, params);
    };
    call(&audited, 0);
    // An audited call that fails is synced at once.
    disk.set(Faults { hangs: true, ..Faults::default() });
    audited.call::<_, Value>("none.such", &serde_json::json!({})).unwrap_err();
    let hangs = || (disk.hanging.load(Ordering::SeqCst) > 0).then_some(());
    eventually("a sync hangs", hangs);
    (1..50).for_each(|number| call(&audited, number));
    disk.set(Faults { hangs_writing: true, ..Faults::default() });
    std::thread::scope(|scope| {
        let (done, answered) = std::sync::mpsc::channel();
        let (audited, call) = (&audited, &call);
        scope.spawn(move || {
            call(audited, 50);
            done.send(()).unwrap();
        });
        eventually("a write hangs", hangs);
        // What is not audited is answered as ever.
        (0..50).for_each(|number| call(&other, number));
        assert!(answered.recv_timeout(HOLD_MAX).is_err(), "its record is in no file");
        disk.heal();
        answered.recv_timeout(SOON).unwrap();
    });
    assert_eq!(world.record("audited").matches("call_succeeded").count(), 51);
    host.shutdown();
}

/// While the disk hangs and a plugin prints all the time, what happens to the others is on record all the same.
#[test]
fn a_plugin_that_floods_the_record_costs_the_others_no_event_of_theirs() {
    let world = World::new();
    let disk = Arc::new(FaultyDisk::default());
    let host = world.builder().event_queue_max(256).log_disk(disk.clone()).start().unwrap();
    let policy = Policy { connect_timeout: SOON, output_bytes_per_second_max: 64 << 20, ..calm() };
    let printer = world.script("printer", "#!/bin/sh\nwhile :; do echo x; done\n");
    let printer = host.add(PluginConfig::new("printer".parse().unwrap(), printer).policy(policy)).unwrap();
    let policy = Policy { restart: RestartPolicy::Always, ..calm() };
    let echo = PluginConfig::new("echo".parse().unwrap(), world.program("echo")).policy(policy);
    let echo = up(host.add(echo).unwrap());
    printer.start().unwrap();
    disk.set(Faults { hangs_writing: true, ..Faults::default() });
    eventually("what it prints is dropped", || (host.events_dropped() > 0).then_some(()));
    let before = echo.status().unwrap();
    signal(before.pid.unwrap(), Signal::SIGKILL);
    echo.wait_routable(before.generation, SOON).unwrap();
    disk.heal();
    assert!(host.flush_events(SOON));
    let record = world.record("echo");
    for kind in [EventKind::Exited, EventKind::Launched, EventKind::Authenticated, EventKind::StateChanged] {
        let name = format!("\"event\":\"{}\"", kind.as_str());
        let of_second = |line: &&str| {
            line.contains(&name) && (line.contains("\"generation_id\":2") || kind == EventKind::Exited)
        };
        assert!(record.lines().any(|line| of_second(&line)), "no {kind} in {record}");
    }
    host.shutdown();
}

/// It cannot be on record: so it goes to whoever subscribed, to sinks and into the status at once, and on record later.
#[test]
fn a_record_that_cannot_be_written_is_told_elsewhere_at_once_and_on_record_when_that_is_over() {
    let world = World::new();
    let disk = Arc::new(FaultyDisk::default());
    let peer = Peer::stream(&world.path().join("sink"));
    let builder = world.builder().admin_socket(true).log_disk(disk.clone());
    let sinks = vec![sink("stream", SinkTarget::UnixStream(peer.path.clone()))];
    let host = builder.log_sinks(sinks).start().unwrap();
    let events = host.subscribe(64).unwrap();
    let shortages = || {
        let ran = ctl(&world.runtime_dir(), &["status", "--json"]);
        let status: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
        status["shortages"].as_array().cloned().unwrap_or_default()
    };
    assert!(shortages().is_empty());
    disk.set(Faults { write: Some(Errno::ENOSPC), ..Faults::default() });
    host.record(Note::new(EventKind::SignalIgnored, "it waits for room"));
    let shortage = next_event(&events, EventKind::HostShortage).note;
    let error = shortage.error.unwrap();
    assert!(shortage.plugin_id.is_none() && shortage.message.contains("cannot be written"), "{error}");
    let what_to_do = "events.jsonl: No space left on device (ENOSPC); free space on its file system";
    assert!(error.starts_with("cannot write /") && error.ends_with(what_to_do), "{error}");
    let of = |records: Vec<Record>, event: &str| -> Vec<Record> {
        records.into_iter().filter(|record| record.event == event).collect()
    };
    let got = |event: &str| of(parse(&peer.got()), event);
    let seen = eventually("the sink is told", || Some(got("host_shortage")).filter(|got| !got.is_empty()));
    assert_eq!((seen[0].seq, seen[0].error.as_ref(), &*seen[0].level), (None, Some(&error), "error"));
    let shown = shortages();
    assert!(shown.len() == 1 && shown[0].as_str().unwrap().ends_with(what_to_do), "{shown:?}");
    assert!(ctl(&world.runtime_dir(), &["status"]).stdout.contains("No space left on device"));
    let on_file = || on_record(&world.runtime_dir());
    assert!(of(on_file(), "host_shortage").is_empty());

    disk.heal();
    next_event(&events, EventKind::HostShortageOver);
    assert!(host.flush_events(SOON) && shortages().is_empty());
    let told = on_file();
    for event in ["host_shortage", "host_shortage_over"] {
        assert_eq!(of(told.clone(), event).len(), 1, "{event}: {told:?}");
    }
    assert!(told.iter().any(|record| record.message == "it waits for room"), "nothing is lost");
    assert_eq!(host.events_dropped(), 0);
    // The sink gets all of it from there, with numbers.
    let last = told.iter().filter_map(|record| record.seq).max();
    eventually("the sink has it all", || {
        let numbers: Vec<u64> = parse(&peer.got()).iter().filter_map(|record| record.seq).collect();
        (numbers.iter().copied().max() >= last).then(|| assert!(numbers.is_sorted_by(|a, b| a + 1 == *b)))
    });
    host.shutdown();
}

/// Each handle that is dropped ends the host, and so does the program itself.
#[test]
fn the_end_of_a_host_waits_once_for_a_disk_that_hangs() {
    let world = World::new();
    let disk = Arc::new(FaultyDisk::default());
    let host = world.builder().log_disk(disk.clone()).start().unwrap();
    disk.set(Faults { hangs_writing: true, ..Faults::default() });
    host.add(PluginConfig::new("echo".parse().unwrap(), world.program("echo"))).unwrap();
    let begin = Instant::now();
    host.shutdown();
    let first = begin.elapsed();
    assert!(disk.hanging.load(Ordering::SeqCst) > 0, "its writer hangs");
    let begin = Instant::now();
    host.shutdown();
    assert!(begin.elapsed() < first / 2, "{:?} after {first:?}", begin.elapsed());
    disk.heal();
}
