//! Sinks of the record: each type end to end, at least once whatever ends in between, and gaps that are told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::daemon::{self, Daemon, QUICK, children_of, command};
use crate::fixtures::sinks::{Peer, caught_up, host, host_of, on_record, parse, record, sink};
use crate::fixtures::world::{SOON, World, eventually, patient};
use nix::sys::signal::Signal;
use rpc_plugin_system::eventlog::LogOptions;
use rpc_plugin_system::host::{CommandLine, Level, PluginConfig, Policy, SinkTarget, SyslogFormat};
use rpc_plugin_system::state::policy::RpcAudit;
use rpc_plugin_wire::event::Record;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

const COUNT: usize = 50;

fn texts(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("text {number} \u{1b}[1m"))
}

/// Waits until a peer has what the host's record has, each line once and in order.
fn same_as_on_record(world: &World, got: impl Fn() -> Vec<String>) {
    eventually("the sink has what is on record", || {
        let expected: Vec<Option<u64>> =
            on_record(&world.runtime_dir()).iter().filter(|r| r.level != "debug").map(|r| r.seq).collect();
        let seen: Vec<Option<u64>> = parse(&got()).iter().map(|r| r.seq).collect();
        (seen.len() > COUNT && seen == expected).then_some(())
    });
}

fn lines_of(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn sockets_get_every_event_in_its_form() {
    let world = World::new();
    let path = |name: &str| world.path().join(name);
    let json = Peer::datagrams(&path("json"));
    let (old, new) = (Peer::datagrams(&path("old")), Peer::datagrams(&path("new")));
    let journal = Peer::datagrams(&path("journal"));
    let stream = Peer::stream(&path("stream"));
    let sinks = vec![
        sink("json", SinkTarget::UnixDatagram(path("json"))),
        sink("old", SinkTarget::Syslog(path("old"), SyslogFormat::Rfc3164)),
        sink("new", SinkTarget::Syslog(path("new"), SyslogFormat::Rfc5424)),
        sink("journal", SinkTarget::Journald(path("journal"))),
        sink("stream", SinkTarget::UnixStream(path("stream"))),
    ];
    let host = host(&world, sinks);
    record(&host, texts(COUNT));
    same_as_on_record(&world, || json.got().iter().map(|line| line.trim_end().to_owned()).collect());
    same_as_on_record(&world, || stream.got());
    for (peer, start) in [(&old, "<30>rpcplugind["), (&new, "<30>1 20"), (&journal, "MESSAGE=")] {
        eventually("every event came", || (peer.got().len() == json.got().len()).then_some(()));
        let said: Vec<String> =
            peer.got().into_iter().filter(|text| text.contains("signal_ignored: ")).collect();
        assert_eq!(said.len(), COUNT);
        for (number, text) in said.iter().enumerate() {
            assert!(text.starts_with(start), "{text:?}");
            let first = text.split("\nRPC_PLUGIN_RECORD").next().unwrap();
            assert!(
                first.contains(&format!("text {number} \\x1b[1m")) && !first.contains('\u{1b}'),
                "{text:?}"
            );
        }
    }
    for status in host.log_sinks() {
        assert_eq!((status.lost, status.refused, status.last_error), (0, 0, None), "{}", status.name);
    }
    host.shutdown();
}

#[test]
fn a_command_gets_every_event_and_is_ended_with_the_host() {
    let world = World::new();
    let out = world.path().join("out");
    let script = format!(
        "#!/bin/sh\necho \"$RPC_PLUGIN_SYSTEM_LOG_SINK $# $1\" > {0}.env\nexec /bin/cat >> {0}\n",
        out.display()
    );
    let line = CommandLine::new(world.script("keep", &script), ["one two"]);
    // In a world of its own, so that nothing of the host's process is swept.
    let host = host(&world, vec![sink("cmd", SinkTarget::Command(line))]);
    record(&host, texts(COUNT));
    same_as_on_record(&world, || lines_of(&out));
    assert_eq!(std::fs::read_to_string(out.with_extension("env")).unwrap(), "cmd 1 one two\n");
    host.shutdown();
    drop(host);
    same_as_on_record(&world, || lines_of(&out));
    assert!(lines_of(&out).last().unwrap().contains("host_stopped"), "the last event is taken too");
    daemon::nothing_runs(&world);
}

#[test]
fn standard_error_gets_lines_with_or_without_priority() {
    for (prefix, start) in [("always", "<6>20"), ("never", "20"), ("auto", "20")] {
        let world = World::new();
        let (config, errors) = (world.path().join("config.json"), world.path().join("stderr"));
        let text = json!({"log": {"sinks": [{"name": "err", "type": "stderr", "prefix": prefix}]}});
        std::fs::write(&config, text.to_string()).unwrap();
        let mut command = command(&world);
        command.args(QUICK).arg("--config").arg(&config);
        command.stderr(Stdio::from(std::fs::File::create(&errors).unwrap()));
        let mut daemon = Daemon::of(&mut command, &world.runtime_dir());
        let status = daemon.json(&["status"]);
        assert_eq!(
            (&status["sinks"][0]["name"], &status["sinks"][0]["kind"]),
            (&json!("err"), &json!("stderr"))
        );
        daemon.signal(Signal::SIGTERM);
        assert_eq!(daemon.ended().code(), Some(0));
        let lines = lines_of(&errors);
        assert!(lines.len() >= 2 && lines.iter().all(|line| line.starts_with(start)), "{lines:?}");
        assert!(lines[0].contains(" info  host_started: version "), "{lines:?}");
        assert!(lines.last().unwrap().contains("host_stopped"), "{lines:?}");
    }
}

#[test]
fn a_plugin_gets_every_event_but_those_that_handing_over_makes() {
    let world = World::new();
    let out = world.path().join("out");
    let mut taker = sink("taker", SinkTarget::Plugin("taker".parse().unwrap()));
    taker.options.level = Level::Debug;
    let host = host(&world, vec![taker]);
    // Every call is on record, also the host's own to the plugin that takes the record.
    let policy = Policy { rpc_audit: RpcAudit::All, ..patient() };
    let mut config =
        PluginConfig::new("taker".parse().unwrap(), world.program("log-sink")).policy(policy.clone());
    config.args = vec![out.clone().into()];
    let plugin = host.add(config).unwrap();
    let echo = PluginConfig::new("echo".parse().unwrap(), world.program("echo")).policy(policy);
    let echo = host.add(echo).unwrap();
    echo.start().unwrap();
    echo.wait_routable(None, SOON).unwrap();
    // Everything from before it was up comes too.
    plugin.start().unwrap();
    plugin.wait_routable(None, SOON).unwrap();
    let _: Value = echo.call("echo", &json!({"message": "x"})).unwrap();
    record(&host, texts(COUNT));
    caught_up(&host);
    let taken = parse(&lines_of(&out));
    let echoes: BTreeSet<&str> =
        taken.iter().filter(|r| r.plugin_id.is_some()).map(|r| r.event.as_str()).collect();
    assert!(
        ["launched", "call_started", "call_succeeded"].iter().all(|kind| echoes.contains(kind)),
        "{echoes:?}"
    );
    assert!(taken.iter().all(|r| r.plugin_id.as_ref().is_none_or(|id| id.as_str() == "echo")));
    // Handing over is on the plugin's own record, and does not go on by itself.
    let calls = || {
        assert!(host.flush_events(SOON));
        let records = on_record(&world.runtime_dir().join("taker"));
        records.iter().filter(|r| r.event == "call_succeeded").count()
    };
    let before = calls();
    assert!(before > 0);
    record(&host, texts(1));
    caught_up(&host);
    assert!(calls() <= before + 2, "{} calls, before {before}", calls());
    host.shutdown();
}

#[test]
fn what_happens_while_a_sink_and_its_host_are_down_comes_later_through_rotation() {
    let world = World::new();
    let path = world.path().join("sock");
    let options = LogOptions { file_bytes_max: 64 * 1024, files_max: 32, ..LogOptions::default() };
    let sinks = || vec![sink("s", SinkTarget::UnixStream(path.clone()))];
    let long = |count: usize| texts(count).map(|text| format!("{text}{}", "x".repeat(200)));
    let start = || host_of(world.builder().log_options(options.clone()), sinks());
    let mut all = Vec::new();
    for round in 0..3 {
        let host = start();
        // Down.
        record(&host, long(700));
        if round == 1 {
            // The host ends before the sink is up again.
            host.shutdown();
            continue;
        }
        eventually("the sink is failing, and all that is recorded waits for it", || {
            let status = host.log_sinks().pop().unwrap();
            (status.is_failing && status.behind >= 700).then_some(())
        });
        let peer = Peer::stream(&path);
        record(&host, long(300));
        let status = caught_up(&host);
        assert_eq!(status.lost, 0, "{status:?}");
        host.shutdown();
        all.extend(peer.got());
    }
    assert!(std::fs::read_dir(world.runtime_dir()).unwrap().count() > 5, "it was rotated");
    let host = start();
    let peer = Peer::stream(&path);
    record(&host, long(1));
    caught_up(&host);
    host.shutdown();
    drop(host);
    all.extend(peer.got());
    let expected: Vec<u64> = on_record(&world.runtime_dir()).iter().map(|r| r.seq.unwrap()).collect();
    let mut seen: Vec<u64> = parse(&all).iter().filter_map(|r| r.seq).collect();
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, expected);
    assert!(count < expected.len() + 50, "{count} of {}: orderly ends repeat nothing", expected.len());
}

#[test]
fn what_retention_removed_is_counted_and_told() {
    let world = World::new();
    let path = world.path().join("sock");
    let options = LogOptions { file_bytes_max: 64 * 1024, files_max: 2, ..LogOptions::default() };
    let host = host_of(
        world.builder().log_options(options),
        vec![sink("slow", SinkTarget::UnixStream(path.clone()))],
    );
    record(&host, texts(3000).map(|text| format!("{text}{}", "x".repeat(200))));
    let peer = Peer::stream(&path);
    let status = caught_up(&host);
    let got = parse(&peer.got());
    let gaps: Vec<&Record> = got.iter().filter(|r| r.event == "sink_gap" && r.seq.is_none()).collect();
    let mut told = 0;
    for gap in &gaps {
        let details: Value = serde_json::from_str(gap.details.as_ref().unwrap().get()).unwrap();
        assert_eq!(details["sink"], "slow");
        told += details["last"].as_u64().unwrap() + 1 - details["first"].as_u64().unwrap();
    }
    assert!(!gaps.is_empty() && told > 1000 && told == status.lost, "{told} told, {status:?}");
    // With the gaps, nothing is missing.
    let seen: BTreeSet<u64> = got.iter().filter_map(|r| r.seq).collect();
    assert_eq!(seen.len() as u64 + told, *seen.last().unwrap());
    // The record tells it as well.
    let gap = eventually("the gap is on record", || {
        assert!(host.flush_events(SOON));
        on_record(&world.runtime_dir()).into_iter().find(|r| r.event == "sink_gap")
    });
    assert!(gap.message.contains("slow"), "{gap:?}");
    host.shutdown();
}

#[test]
fn nothing_is_missing_after_sigkill_of_the_daemon() {
    let world = World::new();
    let path = world.path().join("sock");
    let peer = Peer::stream(&path);
    let config = world.path().join("config.json");
    let text = json!({
        "log": {"sinks": [{"name": "s", "type": "unix-stream", "path": path, "level": "debug"}]},
        "defaults": {"rpc_audit": "all"},
        "plugins": {"echo": {"executable": world.program("echo")}},
    });
    std::fs::write(&config, text.to_string()).unwrap();
    let mut rng = fastrand::Rng::with_seed(8);
    for _ in 0..6 {
        let mut command = command(&world);
        let mut daemon = Daemon::of(command.args(QUICK).arg("--config").arg(&config), &world.runtime_dir());
        daemon.wait_for("echo", "healthy");
        for _ in 0..rng.usize(1..8) {
            daemon.ctl(&["call", "echo", "echo", "{}"]);
        }
        daemon.signal(Signal::SIGKILL);
        daemon.ended();
    }
    let mut command = command(&world);
    let mut daemon = Daemon::of(command.args(QUICK).arg("--config").arg(&config), &world.runtime_dir());
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended().code(), Some(0));
    for id in ["", "echo"] {
        let expected: Vec<u64> =
            on_record(&world.runtime_dir().join(id)).iter().map(|r| r.seq.unwrap()).collect();
        eventually("the peer has read everything", || {
            let got = parse(&peer.got());
            let own = got.iter().filter(|r| r.plugin_id.as_ref().map_or("", |id| id.as_str()) == id);
            let seen: BTreeSet<u64> = own.filter_map(|r| r.seq).collect();
            (seen.into_iter().collect::<Vec<_>>() == expected).then_some(())
        });
        assert!(expected.len() > 10, "{expected:?}");
    }
}

#[test]
fn a_sink_that_never_reads_holds_nothing_up() {
    let world = World::new();
    let path = world.path().join("sock");
    let listener = UnixListener::bind(&path).unwrap();
    let mut stuck = sink("stuck", SinkTarget::UnixStream(path));
    stuck.options.timeout = 100 * SOON;
    let program = world.script("stuck", "#!/bin/sh\nexec /bin/sleep 1000\n");
    let mut deaf = sink("deaf", SinkTarget::Command(CommandLine::new(program, [""; 0])));
    deaf.options.timeout = 100 * SOON;
    let other = world.path().join("other");
    let peer = Peer::datagrams(&other);
    let host = host(&world, vec![stuck, deaf, sink("other", SinkTarget::UnixDatagram(other))]);
    let policy = Policy { rpc_audit: RpcAudit::All, ..patient() };
    let echo =
        host.add(PluginConfig::new("echo".parse().unwrap(), world.program("echo")).policy(policy)).unwrap();
    echo.start().unwrap();
    echo.wait_routable(None, SOON).unwrap();
    // More than the kernel holds for either.
    record(&host, texts(3000).map(|text| format!("{text}{}", "x".repeat(200))));
    let held = listener.accept().unwrap();
    // Each by its deadline, which is long before the sinks give up.
    for _ in 0..200 {
        let _: Value = echo.call("echo", &json!({})).unwrap();
    }
    assert!(host.flush_events(SOON));
    assert_eq!(host.events_dropped(), 0);
    eventually("the other sink has everything", || (peer.got().len() > 3000).then_some(()));
    for status in host.log_sinks().iter().take(2) {
        assert!(status.behind > 1000, "{status:?}");
    }
    let begin = Instant::now();
    host.shutdown();
    drop(host);
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    drop(held);
}

#[test]
fn a_command_that_ends_again_and_again_leaves_nothing_behind() {
    let world = World::new();
    let out = world.path().join("out");
    // It takes one line, leaves a child of its own, and fails.
    let script = format!(
        "#!/bin/sh\n/bin/sleep 1000 &\nIFS= read -r line && printf '%s\\n' \"$line\" >> {}\necho no more >&2\nexit 3\n",
        out.display()
    );
    let config = world.path().join("config.json");
    let text = json!({"log": {"sinks": [{
        "name": "once", "type": "command", "command": [world.script("once", &script)], "batch_max": 1,
        "backoff_initial": "1ms", "backoff_max": "5ms", "timeout": "2s"
    }]}});
    std::fs::write(&config, text.to_string()).unwrap();
    let mut command = command(&world);
    let mut daemon = Daemon::of(command.args(QUICK).arg("--config").arg(&config), &world.runtime_dir());
    for _ in 0..20 {
        daemon.signal(Signal::SIGHUP);
        daemon.ctl(&["status"]);
    }
    let status = eventually("every event was taken", || {
        let status = daemon.json(&["status"])["sinks"][0].clone();
        let expected = on_record(&world.runtime_dir()).iter().filter(|r| r.event == "signal_ignored").count();
        let seen: BTreeSet<u64> = parse(&lines_of(&out))
            .iter()
            .filter(|r| r.event == "signal_ignored")
            .filter_map(|r| r.seq)
            .collect();
        (expected > 0 && seen.len() == expected).then_some(status)
    });
    assert!(status["last_error"].as_str().unwrap().contains("exit status 3"), "{status}");
    let fds = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    assert!(fds < 64, "{fds} descriptors");
    eventually("no child is left but one that runs", || {
        let children = children_of(daemon.pid());
        (children.len() <= 2 && children.iter().all(|(_, state)| state != "Z")).then_some(())
    });
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended().code(), Some(0));
    daemon::nothing_runs(&world);
}
