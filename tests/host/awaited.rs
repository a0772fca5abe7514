//! Plugins that somebody starts by hand, with the variables that the host tells: as under gdb or strace, with the
//! process stopped for longer than any heartbeat, and gone without a word.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::daemon::{self, Daemon};
use crate::fixtures::world::{SOON, World, eventually, is_alive, next_event, patient, quick, signal};
use nix::sys::signal::Signal;
use rpc_plugin_system::host::{
    CallOptions, EventKind, EventStream, Host, LaunchMode, PluginConfig, PluginHandle, PluginState, Policy,
};
use rpc_plugin_wire::ErrorCode;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

type Environment = BTreeMap<String, String>;

/// A host with a plugin that is awaited.
struct Scene {
    world: World,
    host: Host,
    plugin: PluginHandle,
    events: EventStream,
}

impl Scene {
    fn new(policy: Policy) -> Scene {
        let world = World::new();
        let host = world.host();
        let events = host.subscribe(10_000).unwrap();
        let config = PluginConfig::new("echo".parse().unwrap(), world.program("echo")).policy(policy);
        let plugin = host.add(config.env("SECRET", "hunter2").launch_mode(LaunchMode::ByHand)).unwrap();
        plugin.start().unwrap();
        Scene { world, host, plugin, events }
    }

    /// With what the next generation has to be started.
    fn told(&self) -> Environment {
        let note = next_event(&self.events, EventKind::Awaited).note;
        let details = note.details.unwrap();
        assert!(!details.to_string().contains("hunter2"), "{details}");
        assert_eq!(details["also_set"], json!(["SECRET"]));
        serde_json::from_value(details["environment"].clone()).unwrap()
    }

    fn start(&self, environment: &Environment) -> Hand {
        let program = self.world.program("echo");
        Hand::start(&mut Command::new(program), environment)
    }

    fn up(&self) -> (Hand, u32) {
        let hand = self.start(&self.told());
        let status = self.plugin.wait_routable(None, SOON).unwrap();
        (hand, status.pid.unwrap())
    }

    fn echo(&self) {
        assert_eq!(self.plugin.call::<_, Value>("echo", &json!({"a": 1})).unwrap(), json!({"a": 1}));
    }
}

/// What a person started. It is ended with the test.
struct Hand(Child);

impl Hand {
    fn start(command: &mut Command, environment: &Environment) -> Hand {
        command.env_clear().envs(environment).env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Hand(eventually("it can be executed", || command.spawn().ok()))
    }

    fn ended(&mut self) -> Option<i32> {
        eventually("what was started by hand ends", || self.0.try_wait().unwrap()).code()
    }

    fn runs(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

/// Stops a process, and waits until each of its threads has stopped.
fn stop(pid: u32) {
    signal(pid, Signal::SIGSTOP);
    eventually("all its threads stand still", || {
        let mut tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let is_stopped = tasks.all(|task| {
            let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
            stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
        });
        is_stopped.then_some(())
    });
}

impl Drop for Hand {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_is_taken_called_asked_to_end_and_never_signalled() {
    let scene = Scene::new(patient());
    let (mut hand, pid) = scene.up();
    assert_eq!(pid, hand.0.id());
    scene.echo();
    scene.plugin.stop().unwrap();
    scene.plugin.wait_for(PluginState::Stopped, SOON).unwrap();
    assert_eq!(hand.ended(), Some(0), "it was asked, and ended by itself");
    let record = eventually("its end is on record", || {
        Some(scene.world.record("echo")).filter(|record| record.contains("stopping -> stopped"))
    });
    assert!(!record.contains("signal_sent") && !record.contains("\"launched\""), "{record}");
    scene.host.shutdown();
}

/// As under strace, which is the parent of what it runs.
#[test]
fn its_parent_may_be_anybody() {
    let scene = Scene::new(patient());
    let environment = scene.told();
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg("\"$0\"; exit $?").arg(scene.world.program("echo"));
    let mut hand = Hand::start(&mut shell, &environment);
    let pid = scene.plugin.wait_routable(None, SOON).unwrap().pid.unwrap();
    assert_ne!(pid, hand.0.id());
    scene.echo();
    scene.host.shutdown();
    assert_eq!(hand.ended(), Some(0));
    assert!(!is_alive(pid));
}

#[test]
fn a_process_that_stands_still_is_waited_for() {
    let scene = Scene::new(Policy { cancel_grace: Duration::from_millis(50), ..quick() });
    let (_hand, pid) = scene.up();
    let generation = scene.plugin.status().unwrap().generation;
    stop(pid);
    // A call that was sent keeps its deadline, and its missing answer poisons nothing.
    let options = CallOptions::default().timeout(Duration::from_millis(100));
    let error = scene.plugin.call_with::<_, Value>("echo", &json!({}), options).unwrap_err();
    assert_eq!(error.code, ErrorCode::DeadlineExceeded);
    let options = CallOptions::default().timeout(SOON);
    let waiting = scene.plugin.call_start("echo", &json!({"a": 2}), options).unwrap();
    scene.plugin.wait_for(PluginState::Unhealthy, SOON).unwrap();
    // More than the three that end any other plugin.
    eventually("heartbeats are missed", || {
        (scene.plugin.status().unwrap().heartbeats_missed > 5).then_some(())
    });
    signal(pid, Signal::SIGCONT);
    assert_eq!(waiting.wait().unwrap().parse::<Value>().unwrap(), json!({"a": 2}));
    scene.plugin.wait_for(PluginState::Healthy, SOON).unwrap();
    assert_eq!(scene.plugin.status().unwrap().generation, generation);
    scene.echo();
}

#[test]
fn one_that_goes_is_awaited_again_with_other_variables() {
    let scene = Scene::new(patient());
    let mut before = scene.told();
    for generation in 2..8_u64 {
        let mut hand = scene.start(&before);
        scene.plugin.wait_for(PluginState::Healthy, SOON).unwrap();
        hand.0.kill().unwrap();
        hand.ended();
        let next = scene.told();
        assert_ne!(before["RPC_PLUGIN_SYSTEM_AUTH_TOKEN_FILE"], next["RPC_PLUGIN_SYSTEM_AUTH_TOKEN_FILE"]);
        assert_eq!(next["RPC_PLUGIN_SYSTEM_PLUGIN_GENERATION"], generation.to_string());
        before = next;
    }
    // A wish for a new one is heard while nobody has come, too.
    scene.plugin.restart().unwrap();
    assert_eq!(scene.told()["RPC_PLUGIN_SYSTEM_PLUGIN_GENERATION"], "8");
    let mut late = scene.start(&before);
    assert_eq!(late.ended(), Some(78), "its token's file is gone");
}

#[test]
fn one_that_stands_still_is_let_go_and_lives_on() {
    let scene = Scene::new(Policy { shutdown_grace: Duration::from_millis(100), ..patient() });
    let (mut hand, pid) = scene.up();
    stop(pid);
    scene.plugin.stop().unwrap();
    scene.plugin.wait_for(PluginState::Stopped, SOON).unwrap();
    let note = next_event(&scene.events, EventKind::LetGo).note;
    assert!(note.message.contains(&format!("process {pid} is not the host's")), "{}", note.message);
    assert!(hand.runs(), "nobody ended it");
    signal(pid, Signal::SIGCONT);
    assert_eq!(hand.ended(), Some(0), "it sees that its host is gone");
}

#[test]
fn whoever_comes_without_the_token_costs_a_generation_and_nothing_else() {
    let scene = Scene::new(patient());
    let environment = scene.told();
    let mut stranger = UnixStream::connect(&environment["RPC_PLUGIN_SYSTEM_PLUGIN_SOCKET"]).unwrap();
    let hello = json!({
        "token": "0".repeat(64), "plugin_id": "echo", "generation": 1, "protocols": [1], "version": "1",
        "capabilities": ["echo"],
    });
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "host.hello", "params": hello});
    stranger.write_all(format!("{hello}\n").as_bytes()).unwrap();
    let next = scene.told();
    assert!(!Path::new(&environment["RPC_PLUGIN_SYSTEM_AUTH_TOKEN_FILE"]).exists());
    let _hand = scene.start(&next);
    scene.plugin.wait_routable(None, SOON).unwrap();
    scene.echo();
}

#[test]
fn the_daemon_prints_lines_that_a_shell_takes() {
    let world = World::new();
    let plugin = format!("echo={}", world.program("echo").display());
    let mut daemon = Daemon::start(&world, &["--plugin", &plugin, "--wait", "echo"]);
    for generation in 1..3 {
        let mut script = String::new();
        loop {
            let line = daemon.line();
            script += &line;
            if line.contains("gdb --args") {
                break;
            }
        }
        assert!(script.starts_with(&format!("# Plugin echo, generation {generation}, waits")), "{script}");
        assert_eq!(script.matches("\nexport ").count(), 5, "{script}");
        script += &format!("exec {}\n", world.program("echo").display());
        // As it is pasted.
        let mut shell = Command::new("/bin/sh");
        let mut hand = Hand::start(shell.arg("-c").arg(script), &Environment::new());
        let status = daemon.wait_for("echo", "healthy");
        assert_eq!(status["pid"], hand.0.id());
        assert!(status["executable"].as_str().unwrap().ends_with("started by hand"));
        assert_eq!(daemon.ctl(&["echo", "echo", "--message", "hello"]).stdout, "hello\n");
        hand.0.kill().unwrap();
        hand.ended();
    }
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.ended().success());
    let rest: Vec<String> = daemon.stdout.take().unwrap().lines().map(Result::unwrap).collect();
    assert!(rest.last().unwrap().contains("ended, SIGTERM came"), "{rest:?}");
}

#[test]
fn only_a_configured_plugin_that_connects_can_be_awaited() {
    let world = World::new();
    let plugin = format!("echo={}", world.program("echo").display());
    let refused = |words: &[&str]| {
        let mut command = daemon::command(&world);
        daemon::run(command.args(["--plugin", &plugin]).args(words))
    };
    let ran = refused(&["--wait", "ech"]);
    assert!(ran.code == 2 && ran.stderr.contains("configured are: echo"), "{ran:?}");
    let ran = refused(&["--wait", "echo", "--transport", "stdio"]);
    assert!(ran.code == 1 && ran.stderr.contains("its transport is stdio; make it unix"), "{ran:?}");
}
