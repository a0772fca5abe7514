//! What plugins print: on record as events, in the hands of the embedding program, or where that prints.
//!
//! What it deliberately does not do: how bytes become events; the unit tests of `state::output` do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::world::{SOON, World, eventually, patient, up};
use rpc_plugin_system::host::{
    Host, Output, OutputLines, OutputStream, PluginConfig, PluginState, Policy, RestartPolicy,
};
use rpc_plugin_wire::event::Record;
use serde_json::{Value, json};
use std::time::Duration;

const fn sent_to_threads<T: Send + 'static>() {}
const _: () = sent_to_threads::<OutputLines>();

/// A script that prints and ends.
fn printing(world: &World, id: &str, text: &str) -> PluginConfig {
    let script = world.script(id, &format!("#!/bin/sh\n{text}"));
    PluginConfig::new(id.parse().unwrap(), script)
        .policy(Policy { restart: RestartPolicy::Never, ..patient() })
}

/// Starts it and waits for its end; gives its last error.
fn run(host: &Host, config: PluginConfig) -> String {
    let plugin = host.add(config).unwrap();
    plugin.start().unwrap();
    let status = plugin.wait_for(PluginState::Failed, SOON).unwrap();
    assert!(host.flush_events(SOON));
    status.last_error.unwrap()
}

fn records(world: &World, id: &str) -> Vec<Record> {
    world.record(id).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn details(record: &Record) -> Value {
    record.details.as_ref().map_or(Value::Null, |details| serde_json::from_str(details.get()).unwrap())
}

#[test]
fn what_a_plugin_prints_is_on_record_as_what_it_is() {
    let world = World::new();
    let host = world.host();
    let text = "echo plain\n\
        echo '{\"level\":\"warn\",\"message\":\"low on disk\",\"free\":3}'\n\
        cat >&2 <<'END'\n\
        thread 'main' panicked at src/main.rs:2:5:\n\
        oh no\n\
        note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n\
        END\n\
        printf 'last \\033[31mwords' >&2\nexit 101\n";
    let error = run(&host, printing(&world, "talks", text));

    let records = records(&world, "talks");
    let of = |component: &str| records.iter().filter(|r| r.component == component).collect::<Vec<_>>();
    let (out, err) = (of("stdout"), of("stderr"));
    assert_eq!(out.len(), 2, "{out:?}");
    assert_eq!((&*out[0].level, &*out[0].message, details(out[0])), ("info", "plain", Value::Null));
    assert_eq!((&*out[1].level, &*out[1].message), ("warn", "low on disk"));
    assert_eq!(details(out[1]), json!({"free": 3}));
    assert_eq!(err.len(), 2, "{err:?}");
    assert_eq!((&*err[0].level, err[0].message.lines().count()), ("error", 3));
    assert!(err[0].message.starts_with("thread 'main' panicked at"), "{:?}", err[0]);
    assert_eq!(details(err[0]), json!({"report": "panic", "lines": 3}));
    assert_eq!((&*err[1].level, &*err[1].message), ("info", "last \u{1b}[31mwords"));

    let exited = records.iter().position(|record| record.event == "exited").unwrap();
    let last = records.iter().rposition(|record| ["stdout", "stderr"].contains(&&*record.event));
    assert!(last.unwrap() < exited, "what it said stands before its end");
    let tail = details(&records[exited])["stderr_tail"].clone();
    assert_eq!((tail[1].clone(), tail[3].clone()), (json!("oh no"), json!("last \u{1b}[31mwords")));
    // What an operator is told: all of it, in one line.
    assert!(error.contains("oh no | note: run with"), "{error}");
    assert!(error.contains("last \\u{1b}[31mwords") && !error.contains(char::is_control), "{error}");
}

#[test]
fn a_traceback_without_an_end_is_on_record_while_the_plugin_lives() {
    let world = World::new();
    let host = world.host();
    let text = "echo 'Traceback (most recent call last):' >&2\necho '  File' >&2\necho 'E: x' >&2\nexec sleep 1000\n";
    let config = printing(&world, "stuck", text);
    let plugin = host.add(config.policy(Policy { connect_timeout: 3 * SOON, ..patient() })).unwrap();
    plugin.start().unwrap();
    let record = eventually("its traceback is on record", || {
        records(&world, "stuck").into_iter().find(|record| record.event == "stderr")
    });
    assert_eq!(record.message, "Traceback (most recent call last):\n  File\nE: x");
    assert_eq!(record.level, "error");
    assert!(plugin.status().unwrap().pid.is_some(), "it was not its end that ended the traceback");
}

#[test]
fn the_rate_is_a_setting() {
    let world = World::new();
    let host = world.host();
    let mut config =
        printing(&world, "loud", "i=0; while [ $i -lt 100 ]; do echo line $i; i=$((i+1)); done\n");
    config.policy.output_bytes_per_second_max = 4096;
    run(&host, config);
    let records = records(&world, "loud");
    let lines = records.iter().filter(|record| record.event == "stdout").count();
    let dropped = records.iter().find(|record| record.event == "output_dropped").unwrap();
    assert_eq!(lines as u64 + details(dropped)["lines"].as_u64().unwrap(), 100);
    assert!((8..40).contains(&lines), "{lines} lines");
    assert!(dropped.message.contains("output_bytes_per_second_max"), "{}", dropped.message);
}

#[test]
fn a_program_takes_the_lines_itself_and_misses_what_it_does_not_take() {
    let world = World::new();
    let host = world.host();
    let (output, lines) = OutputLines::channel(16);
    let config = printing(
        &world,
        "mine",
        "echo one; echo '{\"level\":\"info\",\"message\":\"m\"}'\n\
        echo three >&2; exit 3\n",
    );
    let error = run(&host, config.output(output));
    assert!(error.contains("last words on stderr: three"), "{error}");
    let taken: Vec<_> = (0..3).map(|_| lines.next_within(SOON).unwrap()).collect();
    let of = |stream| taken.iter().filter(|line| line.stream == stream).map(|l| &*l.text).collect::<Vec<_>>();
    assert_eq!(of(OutputStream::Stdout), ["one", "{\"level\":\"info\",\"message\":\"m\"}"]);
    assert_eq!(of(OutputStream::Stderr), ["three"]);
    assert!(taken.iter().all(|line| line.missed == 0 && line.plugin_id.as_str() == "mine"));
    assert!(!world.record("mine").contains("\"component\":\"stdout\""), "it is not on record");
    host.remove(&"mine".parse().unwrap()).unwrap();
    assert_eq!(lines.into_iter().next(), None, "no more lines can come");

    // Nobody takes them: the plugin and the host go on, and what is lost is counted.
    let config = PluginConfig::new("flood".parse().unwrap(), world.program("failure"));
    let config = config.env("FAILURE_MODE", "stdout-flood").policy(patient());
    let (output, lines) = OutputLines::channel(4);
    let plugin = up(host.add(config.output(output)).unwrap());
    for number in 0..20 {
        assert_eq!(plugin.call::<_, Value>("work", &json!({"n": number})).unwrap(), json!({"n": number}));
    }
    let missed = eventually("a line that tells of missed ones", || {
        lines.next_within(Duration::from_secs(1)).map(|line| line.missed).filter(|missed| *missed > 0)
    });
    assert!(missed > 0);
    drop(lines);
    assert_eq!(plugin.call::<_, Value>("work", &json!({"n": 1})).unwrap(), json!({"n": 1}));
}

#[test]
fn a_plugins_own_record_stands_beside_the_hosts_over_its_generations() {
    let world = World::new();
    let host = world.host();
    let plugin = up(world.echo(&host, "echo"));
    plugin.call::<_, Value>("echo", &json!({"secret": "hunter2"})).unwrap();
    plugin.call::<_, Value>("crash", &json!({"how": "panic"})).unwrap_err();
    plugin.restart().unwrap();
    plugin.wait_routable(Some("1".parse().unwrap()), SOON).unwrap();
    plugin.stop().unwrap();
    plugin.wait_for(PluginState::Stopped, SOON).unwrap();
    host.shutdown();

    let text = std::fs::read_to_string(world.runtime_dir().join("echo/plugin-events.jsonl")).unwrap();
    assert!(!text.contains("hunter2"));
    let records: Vec<Record> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(records.iter().enumerate().all(|(at, record)| record.seq == Some(at as u64 + 1)), "{text}");
    for generation in [1, 2] {
        let of = records.iter().filter(|record| record.generation_id.map(|g| g.get()) == Some(generation));
        let names: Vec<&str> = of.map(|record| &*record.event).collect();
        assert_eq!((names[0], names[names.len() - 1]), ("booted", "stopped"), "{names:?}");
    }
    let failed = records.iter().find(|record| record.event == "handler_failed").unwrap();
    // The host's record of the same call has the same id.
    let hosts = super::output::records(&world, "echo");
    let call = hosts.iter().find(|record| record.event == "call_failed").unwrap();
    assert_eq!(failed.correlation_id, call.correlation_id);
    assert_eq!((&*failed.level, failed.method.as_deref()), ("error", Some("crash")));
}

#[test]
fn what_a_plugin_sends_as_log_is_on_the_hosts_record() {
    let world = World::new();
    let host = world.host();
    let log = "{\"jsonrpc\":\"2.0\",\"method\":\"host.log\",\"params\":{\"level\":\"error\",\"message\":\"it burns\"}}\n";
    let bytes: String = log.bytes().map(|byte| format!("{byte:02x}")).collect();
    let file = world.path().join("replay");
    std::fs::write(&file, format!("greeted wait {bytes}\n")).unwrap();
    let plugin = world.failing(&host, "logs", &[("FAILURE_REPLAY", file.to_str().unwrap())], patient());
    plugin.start().unwrap();
    let logged = eventually("it is on record", || {
        records(&world, "logs").into_iter().find(|record| record.event == "plugin_logged")
    });
    assert_eq!((&*logged.level, &*logged.component, &*logged.message), ("error", "plugin", "it burns"));
    assert_eq!(logged.generation_id.map(|generation| generation.get()), Some(1));
}

#[test]
fn a_plugin_prints_where_its_host_prints() {
    let world = World::new();
    let host = world.host();
    let seen = world.path().join("seen");
    // In a shell of its own, whose redirection is not that of the one looked at.
    let text = "(readlink /proc/$$/fd/1; readlink /proc/$$/fd/2) > \"$SEEN\"\nexit 3\n";
    let config = printing(&world, "open", text).env("SEEN", &seen).env("PATH", "/usr/bin:/bin");
    let error = run(&host, config.output(Output::Inherit));
    assert!(error.contains("exit status 3") && !error.contains("last words"), "{error}");
    let own = [1, 2].map(|fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap());
    let seen = std::fs::read_to_string(seen).unwrap();
    assert_eq!(seen.lines().collect::<Vec<_>>(), own.each_ref().map(|path| path.to_str().unwrap()));
}
