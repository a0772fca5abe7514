//! The README of the Go system that came before this one, command by command, as it was typed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::daemon::{Daemon, QUICK, bare, run};
use crate::fixtures::world::{World, built, eventually};
use nix::sys::signal::Signal;
use rpc_plugin_wire::event::EventKind;
use serde_json::{Value, json};
use std::process::Command;

/// Everything lies in one folder, and is started there.
fn there(world: &World, program: &str) -> Command {
    let mut command = bare(&built(program));
    command.current_dir(world.path());
    command
}

fn started(world: &World, words: &[&str]) -> Daemon {
    let mut command = there(world, "rpcplugind");
    Daemon::of(command.args(words).args(QUICK), &world.runtime_dir())
}

#[test]
fn the_walk_through_the_readme_of_the_go_system_works_as_typed() {
    let world = World::new();
    world.program("echo");
    let dir = world.runtime_dir();
    let dir = dir.to_str().unwrap();
    let mut daemon = started(&world, &["-runtime-dir", dir, "-plugin", "./echo", "-plugin-id", "echo"]);
    daemon.wait_for("echo", "healthy");
    let ctl = |words: &[&str]| {
        let ran = run(there(&world, "rpcpluginctl").args(["-runtime-dir", dir]).args(words));
        assert_eq!(ran.code, 0, "{words:?}: {ran:?}");
        ran.stdout
    };
    assert!(ctl(&["status"]).contains("running"));
    let before = daemon.json(&["plugin", "echo"]);
    assert!(ctl(&["restart"]).starts_with("echo: healthy, generation 2, "));
    assert_ne!(daemon.json(&["plugin", "echo"])["pid"], before["pid"]);
    assert!(ctl(&["plugin", "-plugin-id", "echo"]).contains("generation         2"));
    assert!(ctl(&["capabilities"]).contains("crash, echo, sleep"));
    assert!(ctl(&["routes"]).contains("direct-plugin-id"));
    assert!(ctl(&["heartbeat", "-plugin-id", "echo"]).contains("healthy"));
    assert_eq!(ctl(&["echo", "-plugin-id", "echo", "-message", "hello"]), "hello\n");
    // Flags before the command, too.
    assert_eq!(ctl(&["-plugin-id", "echo", "-message", "hello", "echo"]), "hello\n");
    for file in ["admin.sock", "echo/events.jsonl", "echo/plugin-events.jsonl"] {
        assert!(world.runtime_dir().join(file).exists(), "{file}");
    }
    assert!(ctl(&["logs"]).contains("launched"));
    assert_eq!(ctl(&["-component", "rpc", "-level", "warn", "logs"]), "");
    let auth = ctl(&["-event", "plugin_auth_succeeded", "-format", "json", "logs"]);
    assert_eq!(auth.lines().count(), 2, "one a generation: {auth}");
    let summary = ctl(&["-since", "15m", "-summary", "logs"]);
    assert!(summary.contains("launched"), "{summary}");
    assert!(ctl(&["-limit", "1", "-reverse=true", "logs"]).lines().count() == 1);
    daemon.signal(Signal::SIGINT);
    assert!(daemon.ended().success());
}

#[test]
fn a_start_that_fails_fails_the_daemon_where_its_one_plugin_is_named_as_in_the_go_system() {
    let world = World::new();
    world.script("bad", "#!/bin/sh\nexit 7\n");
    let mut command = there(&world, "rpcplugind");
    command.arg("-runtime-dir").arg(world.runtime_dir()).args(["-plugin", "./bad", "-plugin-id", "bad"]);
    let ran = run(command.args(QUICK));
    assert!(ran.code == 1 && ran.stderr.contains("exit status 7"), "{ran:?}");
}

#[test]
fn restart_needs_an_id_where_there_are_two_plugins() {
    let world = World::new();
    let echo = world.program("echo");
    let plugins = format!("a={0}, b={0}", echo.display());
    let dir = world.runtime_dir();
    let daemon = started(&world, &["-runtime-dir", dir.to_str().unwrap(), "-plugins", &plugins]);
    daemon.wait_for("b", "healthy");
    let ran = daemon.ctl(&["restart"]);
    assert!(ran.code == 2 && ran.stderr.contains("an ID is missing: there are 2 plugins (a, b)"), "{ran:?}");
    let wrong = run(there(&world, "rpcplugind").args(["-plugin-id", "a", "-plugins", &plugins]));
    assert!(wrong.code == 2 && wrong.stderr.contains("--plugin-id is the id of one plugin"), "{wrong:?}");
}

#[test]
fn the_failure_plugin_obeys_its_old_variables_where_they_are_named_for_it() {
    const VARIABLE: &str = "RPC_PLUGIN_SYSTEM_PLUGIN_BEHAVIOR_FAIL_AUTH";
    let world = World::new();
    let (config, failure) = (world.path().join("config.json"), world.program("failure"));
    let plugins = json!({"plugins": {
        "failure": {"executable": failure, "pass_env": [VARIABLE], "restart": "never"},
        "unnamed": {"executable": failure},
        "unknown": {"executable": failure, "restart": "never", "env": {
            "RPC_PLUGIN_SYSTEM_PLUGIN_BEHAVIOR_SLEEP_SCALE": "2",
        }},
    }});
    std::fs::write(&config, plugins.to_string()).unwrap();
    let mut command = there(&world, "rpcplugind");
    command.env(VARIABLE, "true").arg("-runtime-dir").arg(world.runtime_dir()).arg("-config").arg(&config);
    let daemon = Daemon::of(command.args(QUICK), &world.runtime_dir());
    daemon.recorded("failure", EventKind::AuthenticationFailed, |_| true);
    daemon.wait_for("unnamed", "healthy");
    let failed = eventually("it is told by the name of the Go system", || {
        let ran =
            daemon.ctl(&["-plugin-id", "failure", "-event", "plugin_auth_failed", "-format", "json", "logs"]);
        ran.stdout.lines().next().map(|line| serde_json::from_str::<Value>(line).unwrap())
    });
    assert_eq!(failed["event"], "authentication_failed");
    daemon.recorded("unknown", EventKind::Stderr, |record| record.message.contains("is not obeyed any more"));
}
