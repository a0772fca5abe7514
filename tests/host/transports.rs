//! The transports `fd` and `stdio` (protocol section 7): a plugin that inherits its connection, or has it for
//! standard input and output, also behind a command that copies bytes through pipes, as ssh does.
//!
//! What it deliberately does not do: `unix`, which all other tests use.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::world::{self, SOON, World, eventually, is_alive, patient, up};
use rpc_plugin_system::host::{
    Host, PluginConfig, PluginHandle, PluginState, Policy, RestartPolicy, Transport,
};
use rpc_plugin_wire::ErrorCode;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Runs its argument with two pipes and nothing of its own environment, and ends when that ends.
const STAND_IN: &str = r#"#!/bin/sh
PATH=/usr/bin:/bin
folder=$(mktemp -d) || exit 255
exec 3<&0
mkfifo "$folder/in" "$folder/out"
cat <&3 >"$folder/in" &
writer=$!
cat <"$folder/out" &
reader=$!
exec 3<&-
env -i "$@" <"$folder/in" >"$folder/out"
status=$?
wait $reader
kill $writer
rm -r "$folder"
exit $status
"#;

/// Behind the stand-in for ssh, on this machine, or at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Fd,
    Stdio,
    Pipes,
}

const WAYS: [Way; 3] = [Way::Fd, Way::Stdio, Way::Pipes];

fn policy() -> Policy {
    Policy { shutdown_grace: SOON, term_grace: Duration::from_secs(1), ..patient() }
}

fn config(world: &World, way: Way, id: &str) -> PluginConfig {
    let id = id.parse().unwrap();
    let config = match way {
        Way::Fd => PluginConfig::new(id, world.program("echo")),
        Way::Stdio => PluginConfig::new(id, world.program("echo")),
        Way::Pipes => PluginConfig::new(id, world.script("stand-in", STAND_IN)).arg(world.program("echo")),
    };
    let transport = if way == Way::Fd { Transport::Fd } else { Transport::Stdio };
    config.policy(policy()).transport(transport)
}

fn scripted(world: &World, host: &Host, name: &str, transport: Transport, body: &str) -> PluginHandle {
    let (restart, connect_timeout) = (RestartPolicy::Never, Duration::from_millis(500));
    let policy = Policy { restart, connect_timeout, hello_timeout: connect_timeout, ..world::patient() };
    let script = world.script(name, &format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{body}"));
    let config = PluginConfig::new(name.parse().unwrap(), script).arg(world.program("echo"));
    host.add(config.policy(policy).transport(transport)).unwrap()
}

fn echo(plugin: &PluginHandle, params: &Value) -> Value {
    plugin.call("echo", params).unwrap()
}

fn names(folder: PathBuf) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Waits until a plugin's record has this.
fn recorded(world: &World, id: &str, what: &str) -> String {
    eventually(what, || Some(world.record(id)).filter(|record| record.contains(what)))
}

#[test]
fn small_large_and_many_calls_go_both_ways() {
    let world = World::new();
    let host = world.host();
    for way in WAYS {
        let plugin = up(host.add(config(&world, way, &format!("{way:?}"))).unwrap());
        assert_eq!(echo(&plugin, &json!({"way": "there and back"})), json!({"way": "there and back"}));
        // More than a pipe, a socket's buffer, and a relay's hold together.
        let large = json!({"text": "x".repeat(3 * 1024 * 1024)});
        assert_eq!(echo(&plugin, &large), large);
        let calls: Vec<_> = (0..500)
            .map(|n| {
                plugin
                    .call_start("echo", &json!({"n": n, "fill": "y".repeat(n)}), Default::default())
                    .unwrap()
            })
            .collect();
        for (n, call) in calls.into_iter().enumerate() {
            let answer: Value = call.wait().unwrap().parse().unwrap();
            assert_eq!(answer["n"], json!(n), "{way:?}");
        }
        let options = rpc_plugin_system::host::CallOptions::default().timeout(Duration::from_millis(100));
        let error = plugin.call_with::<_, Value>("sleep", &json!({"ms": 60_000}), options).unwrap_err();
        assert_eq!(error.code, ErrorCode::DeadlineExceeded, "{way:?}");
        assert_eq!(echo(&plugin, &json!({})), json!({}), "the cancelled call did no harm");
    }
}

#[test]
fn a_plugin_that_dies_is_replaced_and_one_that_is_stopped_ends_by_itself() {
    let world = World::new();
    let host = world.host();
    for way in WAYS {
        let id = format!("{way:?}");
        let plugin = host.add(config(&world, way, &id)).unwrap();
        plugin.start().unwrap();
        let first = plugin.wait_routable(None, SOON).unwrap();
        let error = plugin.call::<_, Value>("crash", &json!({"how": "kill"})).unwrap_err();
        assert_eq!(error.code, ErrorCode::PluginLost, "{way:?}: {error}");
        let second = plugin.wait_routable(first.generation, SOON).unwrap();
        assert!(second.pid != first.pid && !is_alive(first.pid.unwrap()));
        assert_eq!(echo(&plugin, &json!({"again": 1})), json!({"again": 1}));

        plugin.stop().unwrap();
        plugin.wait_for(PluginState::Stopped, SOON).unwrap();
        let record = recorded(&world, &id, "stopping -> stopped");
        assert!(record.contains("\"shutdown_requested\""), "{record}");
        assert!(record.contains("its process ended with exit status 0"), "{way:?}: {record}");
        assert!(!record.contains("\"signal_sent\""), "{way:?}: the word alone was enough: {record}");
    }
}

#[test]
fn nothing_lies_in_the_folder_that_the_transport_does_not_need() {
    let world = World::new();
    let host = world.host();
    for (name, transport, expected) in [
        ("fd", Transport::Fd, &["generation", "leader", "token.1"][..]),
        ("stdio", Transport::Stdio, &["generation", "leader"]),
    ] {
        let plugin = scripted(&world, &host, name, transport, "exec sleep 1000");
        plugin.start().unwrap();
        eventually("its process runs", || plugin.status().unwrap().pid);
        let seen = eventually("its leader is written down", || {
            let mut seen = names(world.runtime_dir().join(name));
            seen.retain(|name| name != "events.jsonl");
            seen.contains(&"leader".to_owned()).then_some(seen)
        });
        assert_eq!(seen, expected);
    }
    let plugin = up(host.add(config(&world, Way::Fd, "proven")).unwrap());
    let seen = eventually("its own record is here", || {
        Some(names(world.runtime_dir().join("proven")))
            .filter(|names| names.contains(&"plugin-events.jsonl".to_owned()))
    });
    assert!(!seen.iter().any(|name| name.starts_with("token") || name.ends_with("sock")), "{seen:?}");
    drop(plugin);
}

#[test]
fn a_program_finds_what_the_contract_says_and_nothing_else() {
    let world = World::new();
    let host = world.host();
    let body = "env | sort >&2; echo $0 >&2; ls -l /proc/$$/fd >&2; exit 3\n";
    let printed = |name: &str, transport| {
        let plugin = scripted(&world, &host, name, transport, body);
        plugin.start().unwrap();
        let status = plugin.wait_for(PluginState::Failed, SOON).unwrap();
        status.last_error.unwrap()
    };
    let runtime_dir = host.runtime_dir().display();
    let fd = printed("fd", Transport::Fd);
    for expected in [
        "RPC_PLUGIN_SYSTEM_PLUGIN_FD=3".to_owned(),
        "RPC_PLUGIN_SYSTEM_PLUGIN_ID=fd".to_owned(),
        "RPC_PLUGIN_SYSTEM_PLUGIN_GENERATION=1".to_owned(),
        format!("RPC_PLUGIN_SYSTEM_AUTH_TOKEN_FILE={runtime_dir}/fd/token.1"),
        "| /dev/fd/4 |".to_owned(),
        "3 -> socket:[".to_owned(),
        "0 -> /dev/null".to_owned(),
        "1 -> pipe:[".to_owned(),
    ] {
        assert!(fd.contains(&expected), "{fd}\n  lacks {expected}");
    }
    assert!(!fd.contains("PLUGIN_SOCKET") && fd.contains("exit status 3"), "{fd}");

    let stdio = printed("stdio", Transport::Stdio);
    for expected in [
        format!("RPC_PLUGIN_SYSTEM_LAUNCH={runtime_dir}/stdio/1"),
        "| /dev/fd/3 |".to_owned(),
        "0 -> socket:[".to_owned(),
        "1 -> socket:[".to_owned(),
        "2 -> pipe:[".to_owned(),
    ] {
        assert!(stdio.contains(&expected), "{stdio}\n  lacks {expected}");
    }
    assert_eq!(stdio.matches("RPC_PLUGIN_SYSTEM").count(), 1, "{stdio}");
}

#[test]
fn a_command_that_prints_first_ends_or_stays_silent_is_named() {
    let world = World::new();
    let host = world.host();
    let failed = |name: &str, transport, body: &str| {
        let plugin = scripted(&world, &host, name, transport, body);
        plugin.start().unwrap();
        plugin.wait_for(PluginState::Failed, Duration::from_secs(60)).unwrap().last_error.unwrap()
    };
    let error = failed("greets", Transport::Stdio, "echo Welcome to this machine\nexec \"$1\"");
    assert!(error.contains("its standard output is the connection: nothing else may be printed"), "{error}");
    let error = failed("dies", Transport::Stdio, "echo no route to host >&2; exit 255");
    assert!(error.contains("exit status 255") && error.contains("no route to host"), "{error}");
    let error = failed("closes", Transport::Stdio, "exec sleep 1000 <&- >&-");
    assert!(error.contains("closed the connection before it proved its identity"), "{error}");
    for transport in [Transport::Fd, Transport::Stdio] {
        let error = failed(&format!("silent-{transport}"), transport, "exec sleep 1000");
        let expected = "it was launched, but a whole host.hello did not come within";
        assert!(error.contains(expected) && error.contains("nothing came"), "{error}");
    }
}

#[test]
fn the_end_of_a_host_is_the_end_of_what_it_launched_also_behind_pipes() {
    let world = World::new();
    let host = world.host();
    let mut pids = Vec::new();
    for way in WAYS {
        let plugin = host.add(config(&world, way, &format!("{way:?}"))).unwrap();
        plugin.start().unwrap();
        pids.extend(plugin.wait_routable(None, SOON).unwrap().pid);
    }
    let behind = eventually("the plugin behind the stand-in", || {
        children(*pids.last().unwrap()).into_iter().find(|pid| program(*pid).ends_with("echo"))
    });
    pids.push(behind);
    let begin = Instant::now();
    host.shutdown();
    assert!(begin.elapsed() < SOON, "nobody had to be killed");
    for pid in pids {
        assert!(!is_alive(pid));
    }
}

fn children(pid: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn program(pid: u32) -> String {
    let name = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    Path::new(&name).file_name().unwrap_or_default().to_string_lossy().into_owned()
}
