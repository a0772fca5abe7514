//! What a daemon and its host put on record: calls by policy, and never a secret.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::daemon::{Daemon, QUICK, command};
use crate::fixtures::world::{SOON, World, eventually, patient};
use nix::sys::signal::Signal;
use rpc_plugin_record::{Backward, FILE_NAME, verify};
use rpc_plugin_system::eventlog::{Durability, LogOptions};
use rpc_plugin_system::host::{CallOptions, PluginConfig, Policy};
use rpc_plugin_system::state::policy::RpcAudit;
use rpc_plugin_wire::event::Record;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

fn records(folder: &Path) -> Vec<Record> {
    let mut lines = Backward::new(folder, FILE_NAME);
    let mut found: Vec<Record> = std::iter::from_fn(|| lines.next_line().unwrap())
        .filter(|line| line.is_finished)
        .map(|line| line.record().unwrap().0)
        .collect();
    found.reverse();
    found
}

fn calls(records: &[Record]) -> Vec<&Record> {
    records.iter().filter(|record| record.event.starts_with("call_")).collect()
}

#[test]
fn calls_are_on_record_as_the_policy_says() {
    for durability in [Durability::Relaxed, Durability::Strict] {
        for rpc_audit in [RpcAudit::Off, RpcAudit::Failures, RpcAudit::All] {
            let world = World::new();
            let options = LogOptions { durability, ..LogOptions::default() };
            let host = world.builder().log_options(options).start().unwrap();
            let config = PluginConfig::new("echo".parse().unwrap(), world.program("echo"));
            let plugin = host.add(config.policy(Policy { rpc_audit, ..patient() })).unwrap();
            plugin.start().unwrap();
            plugin.wait_routable(None, SOON).unwrap();
            let _: Value = plugin.call("echo", &json!({"message": "payload"})).unwrap();
            plugin.call::<_, Value>("none.such", &json!({})).unwrap_err();
            plugin.call::<_, Value>("sleep", &json!({"ms": "payload"})).unwrap_err();
            let timeout = CallOptions::default().timeout(Duration::from_millis(30));
            plugin.call_with::<_, Value>("sleep", &json!({"ms": 60_000}), timeout).unwrap_err();
            let folder = world.runtime_dir().join("echo");
            host.shutdown();
            let records = records(&folder);
            let seen: Vec<(&str, &str)> = calls(&records)
                .iter()
                .map(|record| (record.event.as_str(), record.error_class.as_deref().unwrap_or("")))
                .collect();
            let expected: &[(&str, &str)] = match rpc_audit {
                RpcAudit::Off => &[],
                RpcAudit::Failures => &[
                    ("call_failed", "method_not_found"),
                    ("call_failed", "invalid_params"),
                    ("call_timed_out", "deadline_exceeded"),
                ],
                _ => &[
                    ("call_started", ""),
                    ("call_succeeded", ""),
                    ("call_failed", "method_not_found"),
                    ("call_started", ""),
                    ("call_failed", "invalid_params"),
                    ("call_started", ""),
                    ("call_timed_out", "deadline_exceeded"),
                ],
            };
            assert_eq!(seen, expected, "{rpc_audit:?} {durability:?}");
            let text = std::fs::read_to_string(folder.join(FILE_NAME)).unwrap();
            assert!(!text.contains("payload"), "params or results are on record");
            if rpc_audit == RpcAudit::All {
                the_members_fit(&calls(&records));
            }
        }
    }
}

fn the_members_fit(calls: &[&Record]) {
    let [started, succeeded, refused, ..] = calls else { panic!("{calls:?}") };
    let id = started.correlation_id.as_deref().unwrap();
    assert!(id.starts_with("1.") && succeeded.correlation_id.as_deref() == Some(id), "{id}");
    let details =
        |record: &Record| -> Value { serde_json::from_str(record.details.as_ref().unwrap().get()).unwrap() };
    assert_eq!(details(started), json!({"params_bytes": r#"{"message":"payload"}"#.len()}));
    assert_eq!(details(succeeded), json!({"result_bytes": r#"{"message":"payload"}"#.len()}));
    assert_eq!((started.status.as_deref(), succeeded.status.as_deref()), (None, Some("ok")));
    assert!(succeeded.duration_ms.unwrap() > 0.0 && started.duration_ms.is_none());
    for record in calls {
        let capability = record.method.as_deref().unwrap().split('.').next();
        assert_eq!(record.capability_id.as_deref(), capability);
        assert!(record.plugin_id.is_some() && record.pid.is_some() && record.generation_id.is_some());
    }
    assert_eq!((refused.status.as_deref(), &refused.correlation_id), (Some("error"), &None));
    assert_eq!(details(refused), json!({"outcome": "not_sent"}));
}

/// Every file below a folder, as bytes.
fn all_bytes(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            bytes.extend(all_bytes(&entry.path()));
        } else if kind.is_file() {
            bytes.extend(std::fs::read(entry.path()).unwrap());
        }
    }
    bytes
}

#[test]
fn no_token_and_no_variable_is_in_anything_that_a_daemon_writes() {
    let world = World::new();
    let (echo, seen) = (world.program("echo"), world.path().join("tokens"));
    // It notes its token where the test can find it, and goes on as the echo plugin.
    let script = world.script(
        "noting",
        &format!(
            "#!/bin/sh\ncat \"$RPC_PLUGIN_SYSTEM_AUTH_TOKEN_FILE\" >> {}\necho >> {0}\nexec {}\n",
            seen.display(),
            echo.display()
        ),
    );
    let secret = "hunter2-in-a-variable";
    let config = world.path().join("config.json");
    let text = json!({
        "log": {"durability": "strict", "chain": true},
        "defaults": {"rpc_audit": "all"},
        "plugins": {"noting": {"executable": script, "env": {"PASSWORD": secret, "PATH": "/usr/bin:/bin"}}},
    });
    std::fs::write(&config, text.to_string()).unwrap();
    let errors = world.path().join("stderr");
    let mut command = command(&world);
    command.args(QUICK).arg("--config").arg(&config);
    command.stderr(Stdio::from(std::fs::File::create(&errors).unwrap()));
    let mut daemon = Daemon::of(&mut command, &world.runtime_dir());
    let first = daemon.wait_for("noting", "healthy");
    let params = "{\"message\": \"hunter3-in-params\"}";
    assert_eq!(daemon.ctl(&["call", "noting", "echo", params]).code, 0);
    daemon.ctl(&["call", "noting", "sleep", "{\"ms\": 60000}", "--timeout", "50ms"]);
    assert_eq!(daemon.ctl(&["restart", "noting"]).code, 0);
    let tokens = std::fs::read_to_string(&seen).unwrap();
    let tokens: Vec<&str> = tokens.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert!(tokens.len() >= 2 && tokens.iter().all(|token| token.len() >= 32), "{tokens:?}");
    daemon.signal(Signal::SIGTERM);
    let mut said = String::new();
    eventually("the daemon says its last line", || {
        let line = daemon.line();
        said.push_str(&line);
        line.is_empty().then_some(())
    });
    assert_eq!(daemon.ended().code(), Some(0));
    let mut written = all_bytes(&world.runtime_dir());
    written.extend(said.into_bytes());
    written.extend(std::fs::read(&errors).unwrap());
    let written = String::from_utf8_lossy(&written);
    assert!(written.contains("call_succeeded") && written.contains("authenticated"));
    for secret in tokens.into_iter().chain([secret, "hunter3-in-params"]) {
        assert!(!written.contains(secret), "a secret is in what the daemon wrote");
    }
    let folder = world.runtime_dir().join("noting");
    assert_eq!(verify(&folder, FILE_NAME).unwrap().fault, None);
    let of_pid = records(&folder).into_iter().filter(|record| json!(record.pid) == first["pid"]).count();
    assert!(of_pid > 3);
    let action = records(&folder).into_iter().find(|record| record.event == "admin_action").unwrap();
    assert!(action.operation_id.is_some(), "{action:?}");
}
