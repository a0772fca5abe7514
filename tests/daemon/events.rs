//! The record of one life: every step is there, typed, in order, with what a program needs to know.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::daemon::Daemon;
use crate::fixtures::world::{World, is_alive};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rpc_plugin_wire::event::{EventKind, Record};
use serde_json::{Value, json};

fn details(record: &Record) -> Value {
    serde_json::from_str(record.details.as_ref().unwrap().get()).unwrap()
}

/// `event` or `event:state` of a record.
fn name(record: &Record) -> String {
    match record.event.as_str() {
        "state_changed" => format!("state_changed:{}", details(record)["to"].as_str().unwrap()),
        event => event.to_owned(),
    }
}

/// One generation from its preparation until it is healthy.
const UP: [&str; 9] = [
    "launch_prepared",
    "launched",
    "connection_awaited",
    "connected",
    "authentication_started",
    "authenticated",
    "capabilities_requested",
    "capabilities_reported",
    "state_changed:healthy",
];

#[test]
fn a_whole_life_is_on_record_in_order() {
    let world = World::new();
    let echo = world.program("echo");
    let mut daemon = Daemon::start(&world, &["-p", &format!("echo={}", echo.display())]);
    let first = daemon.wait_for("echo", "healthy");
    let timed_out = daemon.ctl(&["call", "echo", "sleep", "{\"ms\": 600000}", "--timeout", "100ms"]);
    assert_eq!(timed_out.code, 6, "{timed_out:?}");
    // The plugin gives up the call that nobody waits for any more.
    daemon.recorded("echo", EventKind::LateAnswer, |_| true);
    kill(Pid::from_raw(first["pid"].as_i64().unwrap() as i32), Signal::SIGKILL).unwrap();
    let second = daemon.wait_replaced("echo", first["pid"].as_u64().unwrap());
    let third = daemon.json(&["restart", "echo"]);
    assert_eq!(daemon.ctl(&["stop", "echo"]).code, 0);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended().code(), Some(0));

    let records = daemon.records("echo");
    let expected = [
        &["plugin_added", "state_changed:starting"][..],
        &UP,
        &[
            "admin_action",
            "call_timed_out",
            "late_answer",
            "exited",
            "cleanup_completed",
            "restart_scheduled",
        ],
        &UP,
        &["admin_action", "shutdown_requested", "state_changed:stopping", "exited"],
        &UP,
        &["admin_action", "shutdown_requested", "state_changed:stopping", "exited", "state_changed:stopped"],
    ]
    .concat();
    let names: Vec<String> = records.iter().map(name).collect();
    let mut rest = names.iter();
    for event in &expected {
        assert!(rest.any(|name| name == event), "{event} is missing or comes too early: {names:#?}");
    }
    the_members_fit(&records, &[first, second, third], &daemon.runtime_dir);
    the_host_has_its_own(&daemon);
}

fn the_members_fit(records: &[Record], generations: &[Value], runtime_dir: &std::path::Path) {
    let socket = runtime_dir.canonicalize().unwrap().join("echo/echo.sock").display().to_string();
    let mut last_time = String::new();
    for record in records {
        assert_eq!(record.plugin_id.as_ref().unwrap().as_str(), "echo", "{record:?}");
        assert!(record.time >= last_time, "time runs backwards: {record:?}");
        last_time.clone_from(&record.time);
        let of_a_process = ["launched", "connected", "authenticated", "exited", "shutdown_requested"];
        if of_a_process.contains(&&*record.event) {
            let generation = record.generation_id.unwrap().get();
            let status = &generations[generation as usize - 1];
            assert_eq!(status["generation"], generation);
            assert_eq!(json!(record.pid), status["pid"], "{record:?}");
            assert!(!is_alive(record.pid.unwrap()));
        }
        let at_the_socket = ["launch_prepared", "connected", "authenticated"];
        if at_the_socket.contains(&&*record.event) {
            assert_eq!(record.socket_path.as_ref(), Some(&socket), "{record:?}");
        }
    }
    let of = |event: &str| -> Vec<&Record> { records.iter().filter(|r| r.event == event).collect() };
    let timed_out = of("call_timed_out")[0];
    assert_eq!((timed_out.method.as_deref(), &*timed_out.level), (Some("sleep"), "warn"));
    assert!(timed_out.error.as_ref().unwrap().contains("no answer within"), "{timed_out:?}");
    assert_eq!(of("late_answer")[0].method.as_deref(), Some("sleep"));

    let exits = of("exited");
    assert_eq!(exits.len(), 3);
    assert_eq!(exits.iter().map(|record| &*record.level).collect::<Vec<_>>(), ["error", "info", "info"]);
    assert!(exits[0].message.contains("signal 9 (SIGKILL)"), "{:?}", exits[0]);
    assert!(exits[1].message.contains("exit status 0"), "{:?}", exits[1]);

    let scheduled = of("restart_scheduled");
    assert_eq!(scheduled.len(), 1, "an operator's restart needs no schedule");
    assert!(scheduled[0].reason.as_ref().unwrap().contains("SIGKILL"), "{:?}", scheduled[0]);
    assert!(details(scheduled[0])["delay_ms"].is_u64());
    assert!(!scheduled[0].message.contains('.'), "whole milliseconds: {}", scheduled[0].message);

    let reasons: Vec<_> = of("shutdown_requested").iter().map(|r| r.reason.as_deref().unwrap()).collect();
    assert_eq!(reasons, ["restart", "stop"]);
    let actions: Vec<Value> =
        of("admin_action").iter().map(|record| details(record)["action"].clone()).collect();
    assert_eq!(actions, ["call", "restart", "stop"]);
    assert_eq!(details(of("authenticated")[0])["sdk"].as_str().unwrap().split('/').next(), Some("rust"));
}

fn the_host_has_its_own(daemon: &Daemon) {
    let records = daemon.records("");
    let names: Vec<&str> = records.iter().map(|record| record.event.as_str()).collect();
    assert_eq!((names.first(), names.last()), (Some(&"host_started"), Some(&"host_stopped")), "{names:?}");
    assert!(records.iter().all(|record| record.plugin_id.is_none()));
    assert_eq!(records.last().unwrap().reason.as_deref(), Some("SIGTERM came"));
}

#[test]
fn a_plugins_output_and_its_last_words_are_on_record() {
    let world = World::new();
    let script = world.script("talks", "#!/bin/sh\necho to stdout\necho last words >&2\nexit 3\n");
    let plugin = format!("talks={}", script.display());
    let daemon = Daemon::start(&world, &["--restart=never", "-p", &plugin]);
    daemon.wait_for("talks", "failed");
    let gave_up = daemon.recorded("talks", EventKind::GaveUp, |_| true);
    let error = gave_up.error.unwrap();
    for part in ["before it connected", "exit status 3", "last words", "restart policy is never"] {
        assert!(error.contains(part), "{error} lacks {part}");
    }
    let exited = daemon.recorded("talks", EventKind::Exited, |_| true);
    assert_eq!(details(&exited)["stderr_tail"], json!(["last words"]));
    let how = [&details(&exited)["exit_code"], &details(&exited)["signal"]];
    assert!(how.iter().filter(|member| member.is_i64()).count() == 1, "one of the two: {how:?}");
    let printed = |kind| daemon.recorded("talks", kind, |_| true).message;
    assert_eq!(
        (printed(EventKind::Stdout), printed(EventKind::Stderr)),
        ("to stdout".into(), "last words".into())
    );
}
