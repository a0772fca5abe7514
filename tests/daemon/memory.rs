//! What a daemon takes of memory and address space: it gives back what it does not use, and lives with little.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::daemon::{Daemon, QUICK, Raw, command, records, run};
use crate::fixtures::world::{World, eventually};
use serde_json::{Value, json};
use std::io::Write;
use std::process::Command;

const MIB: usize = 1024 * 1024;

/// A value of /proc/PID/status. KiB.
fn status_kib(pid: u32, key: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Arguments that name so many plugins, which are called p0, p1 and so on.
fn plugins(world: &World, count: usize) -> Vec<String> {
    let echo = world.program("echo");
    (0..count).flat_map(|n| ["--plugin".to_owned(), format!("p{n}={}", echo.display())]).collect()
}

fn call(client: &mut Raw, plugin: usize, bytes: usize) -> Value {
    let params = json!({"m": "x".repeat(bytes)});
    let params = json!({"plugin_id": format!("p{plugin}"), "method": "echo", "params": params});
    client.ask("admin.call", &params)
}

#[test]
fn memory_is_given_back_after_many_clients_made_large_calls() {
    let world = World::new();
    let args = plugins(&world, 4);
    // So that what waits for a plugin is looked at after the last call too.
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let daemon = Daemon::start(&world, &[&["--admin-clients-max", "64"], &words[..]].concat());
    for n in 0..4 {
        daemon.wait_for(&format!("p{n}"), "healthy");
        assert!(call(&mut Raw::connect(&daemon.runtime_dir), n, 10).get("result").is_some());
    }
    let before = status_kib(daemon.pid(), "VmRSS");
    for _ in 0..2 {
        std::thread::scope(|scope| {
            for n in 0..32 {
                let folder = &daemon.runtime_dir;
                scope.spawn(move || {
                    // Some end as overloaded: that many do not fit at once.
                    let answer = call(&mut Raw::connect(folder), n % 4, 3 * MIB);
                    assert!(answer.get("result").or(answer.get("error")).is_some());
                });
            }
        });
    }
    let peak = status_kib(daemon.pid(), "VmHWM");
    assert!(peak > before + 32 * 1024, "{peak} KiB at the most: nothing large was held");
    eventually("memory is given back", || {
        let after = status_kib(daemon.pid(), "VmRSS");
        (after < before + 32 * 1024).then_some(())
    });
}

/// A shell limits its address space, and becomes the daemon.
fn within(mib: usize, daemon: &Command) -> Command {
    within_kib(mib * 1024, daemon)
}

fn within_kib(kib: usize, daemon: &Command) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("ulimit -v {kib} && exec \"$0\" \"$@\"")]).arg(daemon.get_program());
    shell.args(daemon.get_args()).env_clear();
    for (key, value) in daemon.get_envs() {
        match value {
            Some(value) => shell.env(key, value),
            None => shell.env_remove(key),
        };
    }
    shell
}

#[test]
fn a_daemon_with_twenty_plugins_lives_within_32_mib_of_address_space_whatever_it_is_sent() {
    const PLUGINS: usize = 20;
    let world = World::new();
    let mut own = command(&world);
    own.args(QUICK).args(["--admin-clients-max", "64"]).args(plugins(&world, PLUGINS));
    let mut daemon = Daemon::of(&mut within(32, &own), &world.runtime_dir());
    for n in 0..PLUGINS {
        let status = daemon.wait_for(&format!("p{n}"), "healthy");
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", status["pid"])).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max address space")).unwrap();
        assert!(line.contains(&(32 * MIB).to_string()), "a plugin has the daemon's limit: {line}");
    }
    // Frames that do not end, more than there is memory for: each client pays for its own.
    let mut clients: Vec<Raw> = (0..16).map(|_| Raw::connect(&world.runtime_dir())).collect();
    let piece = vec![b'x'; 3 * MIB];
    let refused = clients.iter_mut().filter_map(|client| {
        // One that was refused cannot send on.
        let sent = client.stream.get_mut().write_all(&piece);
        sent.is_err().then(|| client.next())
    });
    let refused: Vec<Option<Value>> = refused.collect();
    assert!(!refused.is_empty(), "48 MiB were taken within 32");
    assert!(daemon.runs());
    drop(clients);
    // Calls that are too large for what is left end as errors, and others go on.
    let answers = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|n| {
                let folder = world.runtime_dir();
                scope.spawn(move || {
                    let mut client = Raw::connect(&folder);
                    let params = json!({"m": "x".repeat(3 * MIB)});
                    let params = json!({"plugin_id": format!("p{n}"), "method": "echo", "params": params});
                    // The connection may end for want of memory.
                    client.try_request(1, "admin.call", &params).is_ok_and(|()| client.next().is_some())
                })
            })
            .collect();
        callers.into_iter().filter_map(|caller| caller.join().ok()).count()
    });
    assert_eq!(answers, 8);
    assert!(daemon.runs());
    let mut client = Raw::connect(&world.runtime_dir());
    for n in 0..PLUGINS {
        daemon.wait_for(&format!("p{n}"), "healthy");
        assert!(call(&mut client, n, 10).get("result").is_some(), "{n}");
    }
}

/// Each thread takes half a MiB of address space: by these steps each of them is the one that cannot be made.
#[test]
fn a_daemon_whose_threads_cannot_be_made_starts_no_plugin_and_says_nothing_of_any() {
    let mut refused = 0;
    for kib in (16 * 1024..64 * 1024).step_by(384) {
        let world = World::new();
        let mut daemon = command(&world);
        daemon.args(QUICK).args(["--require-healthy", "--plugin"]).arg("bad=/bin/false");
        daemon.arg(format!("--state-dir={}", world.path().join("state").display()));
        let ran = run(&mut within_kib(kib, &daemon));
        if ran.stdout.contains(": started, ") {
            break;
        }
        assert!(!ran.stdout.contains("ready, "), "{kib} KiB: {ran:?}");
        if ran.stderr.contains("a thread of the daemon cannot be made") {
            refused += 1;
            let launched =
                records(&world.runtime_dir(), "bad").into_iter().any(|record| record.event == "launched");
            assert!(!launched, "{kib} KiB: {ran:?}");
        }
    }
    assert!(refused > 0, "no thread of the daemon was refused");
}
