//! The README of the Go system that came before this one, command by command, as it was typed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::daemon::{Daemon, QUICK, bare, chmod, records, run};
use crate::fixtures::world::{World, built, eventually, put_executable};
use nix::sys::signal::Signal;
use rpc_plugin_wire::event::EventKind;
use serde_json::{Value, json};
use std::process::Command;

/// Programs as the Go system's `make build` names them, by what they are called here.
const BUILT: [(&str, &str); 4] = [
    ("rpcplugind", "rpcplugind"),
    ("rpcpluginctl", "rpcpluginctl"),
    ("rpcplugin-echo", "echo"),
    ("rpcplugin-failure", "failure"),
];

/// A folder as that README's `make build` leaves it.
fn checkout() -> World {
    let world = World::new();
    let bin = world.path().join(".tmp-bin");
    std::fs::create_dir(&bin).unwrap();
    chmod(&bin, 0o700);
    for (name, ours) in BUILT {
        put_executable(&built(ours), &bin.join(name));
    }
    world
}

/// A command of that README, with this world's runtime folder in place of those of `/tmp`.
fn typed(world: &World, text: &str) -> Command {
    let dir = world.runtime_dir();
    let text = ["demo", "failure"].iter().fold(text.to_owned(), |text, name| {
        text.replace(&format!("/tmp/rpc_plugin_system-{name}"), dir.to_str().unwrap())
    });
    let mut command = bare("/bin/sh".as_ref());
    command.arg("-c").arg(text).current_dir(world.path());
    command
}

fn started(world: &World, words: &[&str]) -> Daemon {
    let mut command = bare(&built("rpcplugind"));
    Daemon::of(command.args(words).args(QUICK).current_dir(world.path()), &world.runtime_dir())
}

/// Every command of the tutorial and of the pages on logging, in order, and what it prints.
const WALK: &[(&str, &str)] = &[
    (".tmp-bin/rpcpluginctl -runtime-dir /tmp/rpc_plugin_system-demo status", "running"),
    (
        ".tmp-bin/rpcpluginctl -runtime-dir /tmp/rpc_plugin_system-demo restart",
        "echo: healthy, generation 2, ",
    ),
    (
        ".tmp-bin/rpcpluginctl -runtime-dir /tmp/rpc_plugin_system-demo plugin -plugin-id echo",
        "generation         2",
    ),
    (".tmp-bin/rpcpluginctl -runtime-dir /tmp/rpc_plugin_system-demo capabilities", "crash, echo, sleep"),
    (".tmp-bin/rpcpluginctl -runtime-dir /tmp/rpc_plugin_system-demo routes", "direct-plugin-id"),
    (".tmp-bin/rpcpluginctl -runtime-dir /tmp/rpc_plugin_system-demo heartbeat -plugin-id echo", "healthy"),
    (
        ".tmp-bin/rpcpluginctl -runtime-dir /tmp/rpc_plugin_system-demo echo -plugin-id echo -message hello",
        "hello\n",
    ),
    ("ls -la /tmp/rpc_plugin_system-demo", "admin.sock"),
    ("ls -la /tmp/rpc_plugin_system-demo/echo", "events.jsonl"),
    ("ls -la /tmp/rpc_plugin_system-demo/echo", "plugin-events.jsonl"),
    (".tmp-bin/rpcpluginctl -runtime-dir /tmp/rpc_plugin_system-demo logs", "launched"),
    (".tmp-bin/rpcpluginctl -runtime-dir /tmp/rpc_plugin_system-demo -component rpc -level warn logs", ""),
    (
        ".tmp-bin/rpcpluginctl -runtime-dir /tmp/rpc_plugin_system-demo -event plugin_auth_failed -format json logs",
        "",
    ),
    (".tmp-bin/rpcpluginctl -runtime-dir /tmp/rpc_plugin_system-demo -since 15m -summary logs", "launched"),
    // Not in that README, but in its manual.
    (
        ".tmp-bin/rpcpluginctl -runtime-dir /tmp/rpc_plugin_system-demo -plugin-id echo -message hello echo",
        "hello\n",
    ),
    (
        ".tmp-bin/rpcpluginctl -runtime-dir /tmp/rpc_plugin_system-demo -limit 1 -reverse=true logs",
        "admin_action",
    ),
];

#[test]
fn the_walk_through_the_readme_of_the_go_system_works_as_typed() {
    let world = checkout();
    let start = "exec .tmp-bin/rpcplugind \\\n  -runtime-dir /tmp/rpc_plugin_system-demo \\\n  \
                 -plugin ./.tmp-bin/rpcplugin-echo \\\n  -plugin-id echo\n";
    let mut daemon = Daemon::of(&mut typed(&world, start), &world.runtime_dir());
    daemon.wait_for("echo", "healthy");
    for (text, expected) in WALK {
        let ran = run(&mut typed(&world, text));
        assert!(ran.code == 0 && ran.stdout.contains(expected), "{text}: {ran:?}");
        assert!(!expected.is_empty() || ran.stdout.is_empty(), "{text}: {ran:?}");
    }
    daemon.signal(Signal::SIGINT);
    assert!(daemon.ended().success());
}

/// Each step of a start has an event for its beginning and one for its end, by the names that the Go system had.
#[test]
fn dial_authentication_capabilities_and_cleanup_are_on_record_from_beginning_to_end() {
    let world = World::new();
    world.program("echo");
    let dir = world.runtime_dir();
    let daemon =
        started(&world, &["-runtime-dir", dir.to_str().unwrap(), "-plugin", "./echo", "-plugin-id", "echo"]);
    daemon.wait_for("echo", "healthy");
    assert_eq!(daemon.ctl(&["stop", "echo"]).code, 0);
    let steps = [
        ("plugin_dial_started", "connection_awaited"),
        ("plugin_dial_succeeded", "connected"),
        ("plugin_auth_started", "authentication_started"),
        ("plugin_auth_succeeded", "authenticated"),
        ("plugin_capabilities_started", "capabilities_requested"),
        ("plugin_capabilities_loaded", "capabilities_reported"),
        ("runtime_cleanup_completed", "cleanup_completed"),
    ];
    let mut last = 0;
    for (original, today) in steps {
        let ran = eventually(original, || {
            let ran = daemon.ctl(&["logs", "echo", "--event", original, "--json"]);
            (ran.stdout.lines().count() == 1).then_some(ran.stdout)
        });
        let record: Value = serde_json::from_str(&ran).unwrap();
        assert_eq!((&record["event"], &record["generation_id"]), (&json!(today), &json!(1)));
        let seq = record["seq"].as_u64().unwrap();
        assert!(std::mem::replace(&mut last, seq) < seq, "{original} is out of order");
        if original.ends_with("_started") || today == "cleanup_completed" {
            assert_eq!(record["level"], "debug", "{original}");
        }
    }
    assert!(!dir.join("echo/echo.sock").exists() && !dir.join("echo/token.1").exists());
}

#[test]
fn the_failure_example_of_the_readme_of_the_go_system_works_as_typed() {
    let world = checkout();
    let text = "RPC_PLUGIN_SYSTEM_PLUGIN_BEHAVIOR_FAIL_AUTH=true \\\n.tmp-bin/rpcplugind \\\n  \
                -runtime-dir /tmp/rpc_plugin_system-failure \\\n  \
                -plugin ./.tmp-bin/rpcplugin-failure \\\n  -plugin-id failure\n";
    let ran = run(&mut typed(&world, text));
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("the token is not the one of this generation"), "{ran:?}");
    let records = records(&world.runtime_dir(), "failure");
    assert!(
        records.iter().any(|record| record.event == EventKind::AuthenticationFailed.as_str()),
        "{records:?}"
    );
    // Without it, or where the plugin is named otherwise, it comes up.
    let failure = world.path().join(".tmp-bin/rpcplugin-failure");
    let mut command = bare(&built("rpcplugind"));
    command.env("RPC_PLUGIN_SYSTEM_PLUGIN_BEHAVIOR_FAIL_AUTH", "true").arg("--runtime-dir");
    command.arg(world.runtime_dir()).arg("--plugin").arg(format!("failure={}", failure.display()));
    Daemon::of(command.args(QUICK), &world.runtime_dir()).wait_for("failure", "healthy");
}

#[test]
fn a_start_that_fails_fails_the_daemon_where_its_one_plugin_is_named_as_in_the_go_system() {
    let world = World::new();
    world.script("bad", "#!/bin/sh\nexit 7\n");
    let mut command = bare(&built("rpcplugind"));
    command.current_dir(world.path()).arg("-runtime-dir").arg(world.runtime_dir());
    command.args(["-plugin", "./bad", "-plugin-id", "bad"]);
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
    let wrong = run(bare(&built("rpcplugind")).args(["-plugin-id", "a", "-plugins", &plugins]));
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
    let mut command = bare(&built("rpcplugind"));
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
