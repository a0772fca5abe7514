//! Packages in folders that a real daemon looks into: found, watched, shown where they change, and taken.

use crate::fixtures::daemon::Daemon;
use crate::fixtures::world::{World, built, eventually};
use rpc_plugin_system::package::digest::Digest;
use rpc_plugin_wire::event::EventKind;
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Makes a file as a package has it.
fn file(path: &Path, content: &[u8], mode: u32) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Writes a package of the program `echo` into a folder.
fn package(folder: &Path, id: &str, version: &str) -> Value {
    fs::create_dir_all(folder).unwrap();
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    let program = fs::read(built("echo")).unwrap();
    file(&folder.join("run"), &program, 0o755);
    let manifest = json!({
        "manifest": 1, "id": id, "version": version, "entrypoint": "run", "args": [version],
        "files": {"run": Digest::of(&program).to_string()},
    });
    file(&folder.join("plugin.json"), manifest.to_string().as_bytes(), 0o644);
    manifest
}

fn plugins(world: &World) -> PathBuf {
    let folder = world.path().join("plugins");
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    folder
}

fn start(world: &World) -> Daemon {
    let flags = [("state-dir", "state"), ("plugins-dir", "plugins")];
    let flags = flags.map(|(flag, name)| format!("--{flag}={}", world.path().join(name).display()));
    Daemon::start(world, &[&flags[0], &flags[1]])
}

fn packages(daemon: &Daemon) -> Vec<Value> {
    let list = daemon.json(&["packages"]);
    list["packages"].as_array().unwrap().clone()
}

/// Waits until the one package is in that state.
fn wait_state(daemon: &Daemon, state: &str) -> Value {
    eventually(state, || packages(daemon).into_iter().find(|package| package["state"] == state))
}

#[test]
fn a_package_runs_that_is_there_or_comes_and_what_changes_is_shown_until_a_restart_takes_it() {
    let world = World::new();
    let folder = plugins(&world);
    package(&folder.join("one"), "one", "1.0.0");
    let daemon = start(&world);
    daemon.wait_for("one", "healthy");
    let status = daemon.json(&["plugin", "one"]);
    let executable = Path::new(status["executable"].as_str().unwrap());
    assert!(executable.starts_with(world.path().join("state/store/one")), "{executable:?}");
    // One that comes later, under a name that is passed over until it is whole.
    package(&folder.join(".two"), "two", "1.0.0");
    fs::rename(folder.join(".two"), folder.join("two")).unwrap();
    eventually("the one that came runs", || {
        let listed = daemon.json(&["plugins"]);
        listed["plugins"].as_array()?.iter().any(|plugin| plugin["plugin_id"] == "two").then_some(())
    });
    daemon.wait_for("two", "healthy");
    // A new version is shown, and taken by a restart.
    package(&folder.join("one"), "one", "2.0.0");
    let changed = wait_state(&daemon, "changed");
    assert_eq!((&changed["plugin_id"], &changed["version"]), (&json!("one"), &json!("1.0.0")));
    assert!(changed["reason"].as_str().unwrap().contains("to version 2.0.0"), "{changed}");
    daemon.recorded("one", EventKind::PackageChanged, |_| true);
    let ran = daemon.ctl(&["restart", "one"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let status = daemon.json(&["plugin", "one"]);
    assert!(status["executable"].as_str().unwrap().contains("/2.0.0@"), "{status}");
    // A file that is not what its manifest says is shown with both digests, and not taken.
    file(&folder.join("one/run"), b"#!/bin/sh\n", 0o755);
    let changed = wait_state(&daemon, "changed");
    assert_eq!(changed["changed"][0]["path"], "run");
    assert_eq!(changed["changed"][0]["new"], Digest::of(b"#!/bin/sh\n").to_string());
    let ran = daemon.ctl(&["restart", "one"]);
    assert!(ran.code != 0 && ran.stderr.contains("has SHA-256"), "{}", ran.stderr);
    assert_eq!(daemon.json(&["plugin", "one"])["pid"], status["pid"], "what runs goes on");
    fs::remove_dir_all(folder.join("one")).unwrap();
    wait_state(&daemon, "gone");
    assert_eq!(daemon.json(&["plugin", "one"])["pid"], status["pid"]);
}

#[test]
fn a_thousand_renames_end_in_the_right_list() {
    let world = World::new();
    let folder = plugins(&world);
    package(&folder.join("a0"), "kv", "1.0.0");
    let daemon = start(&world);
    daemon.wait_for("kv", "healthy");
    for number in 0..1000 {
        fs::rename(folder.join(format!("a{number}")), folder.join(format!("a{}", number + 1))).unwrap();
    }
    let last = folder.join("a1000").display().to_string();
    eventually("the last name is known", || {
        let packages = packages(&daemon);
        (packages.len() == 1 && packages[0]["folder"] == *last && packages[0]["state"] == "active")
            .then_some(())
    });
    assert_eq!(daemon.json(&["rescan"])["packages"], json!(packages(&daemon)));
    let told = daemon
        .records("kv")
        .into_iter()
        .filter(|record| record.event == "package_found" || record.event == "package_gone");
    assert_eq!(told.count(), 1, "a rename is no event");
}

#[test]
fn of_two_folders_neither_starts_and_what_is_copied_in_slowly_is_no_storm_of_errors() {
    let world = World::new();
    let folder = plugins(&world);
    package(&folder.join("one"), "kv", "1.0.0");
    package(&folder.join("two"), "kv", "1.0.0");
    let daemon = start(&world);
    let both = packages(&daemon);
    assert!(both.len() == 2 && both.iter().all(|package| package["state"] == "invalid"), "{both:?}");
    assert_eq!(daemon.json(&["plugins"])["plugins"], json!([]));
    fs::remove_dir_all(folder.join("two")).unwrap();
    eventually("the other one runs", || {
        let listed = daemon.json(&["plugins"]);
        (listed["plugins"][0]["state"] == "healthy").then_some(())
    });
    // The manifest comes first, and the file that it lists piece by piece.
    let slow = folder.join("slow");
    let manifest = package(&folder.join(".ready"), "slow", "1.0.0").to_string();
    fs::create_dir(&slow).unwrap();
    fs::set_permissions(&slow, Permissions::from_mode(0o755)).unwrap();
    file(&slow.join("plugin.json"), manifest.as_bytes(), 0o644);
    let program = fs::read(built("echo")).unwrap();
    for end in [1000, 2000, 3000, program.len()] {
        file(&slow.join("run"), &program[..end], 0o755);
        // It is looked at in between.
        let expected = if end == program.len() { "active" } else { "invalid" };
        eventually("it was looked at", || {
            let list = daemon.json(&["packages"]);
            let is_settled = list.get("unsettled").is_none();
            let slow = list["packages"].as_array()?.iter().find(|package| package["plugin_id"] == "slow")?;
            (is_settled && slow["state"] == expected).then_some(())
        });
    }
    daemon.wait_for("slow", "healthy");
    assert!(daemon.records("slow").iter().all(|record| record.event != "package_invalid"));
}
