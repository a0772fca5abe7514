//! Packages in folders that a real daemon looks into: found, watched, shown where they change, and taken.

use crate::fixtures::daemon::{Daemon, Raw};
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
    package_with(folder, id, version, &[])
}

/// The same, with further members of its manifest.
fn package_with(folder: &Path, id: &str, version: &str, more: &[(&str, Value)]) -> Value {
    fs::create_dir_all(folder).unwrap();
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    let program = fs::read(built("echo")).unwrap();
    file(&folder.join("run"), &program, 0o755);
    let mut manifest = json!({
        "manifest": 1, "id": id, "version": version, "entrypoint": "run", "args": [version],
        "files": {"run": Digest::of(&program).to_string()},
    });
    more.iter().for_each(|(member, value)| manifest[*member] = value.clone());
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
    start_with(world, "show")
}

/// A daemon that does this where a package changes.
fn start_with(world: &World, on_change: &str) -> Daemon {
    let path = world.path().join("config.json");
    let (state, plugins) = (world.path().join("state"), world.path().join("plugins"));
    let config = json!({
        "state_dir": state, "plugins_dirs": [plugins], "packages": {"on_change": on_change},
    });
    fs::write(&path, config.to_string()).unwrap();
    Daemon::start(world, &[&format!("--config={}", path.display())])
}

/// Waits until a plugin that is imported first is in that state.
fn wait_for(daemon: &Daemon, id: &str, state: &str) -> Value {
    eventually("it is in that state", || {
        let listed = daemon.json(&["plugins"]);
        let plugins = listed["plugins"].as_array()?;
        plugins.iter().find(|plugin| plugin["plugin_id"] == id && plugin["state"] == state).cloned()
    })
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
    wait_for(&daemon, "one", "healthy");
    let status = daemon.json(&["plugin", "one"]);
    let executable = Path::new(status["executable"].as_str().unwrap());
    assert!(executable.starts_with(world.path().join("state/store/one")), "{executable:?}");
    // One that comes later, under a name that is passed over until it is whole.
    package(&folder.join(".two"), "two", "1.0.0");
    fs::rename(folder.join(".two"), folder.join("two")).unwrap();
    wait_for(&daemon, "two", "healthy");
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
    wait_for(&daemon, "kv", "healthy");
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
    wait_for(&daemon, "kv", "healthy");
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
    wait_for(&daemon, "slow", "healthy");
    assert!(daemon.records("slow").iter().all(|record| record.event != "package_invalid"));
}

/// The version that a plugin runs as.
fn runs_as(daemon: &Daemon, id: &str, version: &str) {
    eventually("it runs as that version", || {
        let plugin = daemon.json(&["plugin", id]);
        let is_it = plugin["executable"].as_str()?.contains(&format!("/{version}@"));
        (is_it && plugin["state"] == "healthy" && plugin.get("reconfigured").is_none()).then_some(())
    });
}

#[test]
fn a_package_is_started_after_the_one_that_it_requires_and_an_unmet_requirement_names_both() {
    let world = World::new();
    let folder = plugins(&world);
    // By their names the other one would be first.
    let needs = |range: &str| [("requires", json!({"plugins": {"store": range}}))];
    package_with(&folder.join("app"), "app", "1.0.0", &needs("^1"));
    package(&folder.join("store"), "store", "1.2.0");
    let daemon = start(&world);
    wait_for(&daemon, "app", "healthy");
    let first = |id: &str, event: &str| {
        let records = daemon.records(id).into_iter();
        records.filter(|record| record.event == event).map(|record| record.time).next().unwrap()
    };
    assert!(first("store", "package_activated") <= first("app", "package_activated"));
    let refused = daemon.ctl(&["stop", "store"]);
    assert!(refused.code != 0 && refused.stderr.contains("app"), "{}", refused.stderr);
    let stopped = daemon.ctl(&["stop", "store", "--with-dependents"]);
    assert_eq!(stopped.code, 0, "{}", stopped.stderr);
    assert_eq!(daemon.ctl(&["start", "app", "--timeout", "0s"]).code, 0);
    let waiting = daemon.json(&["plugin", "app"]);
    assert_eq!(waiting["waits_for"], json!(["store"]), "{waiting}");
    assert!(daemon.ctl(&["plugin", "app"]).stdout.contains("waiting"));
    assert_eq!(daemon.ctl(&["start", "store"]).code, 0);
    wait_for(&daemon, "app", "healthy");
    // What it requires is not there, and comes later.
    package_with(&folder.join("late"), "late", "1.0.0", &[("requires", json!({"plugins": {"base": "^2"}}))]);
    let list = || packages(&daemon).into_iter().find(|package| package["plugin_id"] == "late");
    let invalid = eventually("it is refused", || list().filter(|package| package["state"] == "invalid"));
    let why = invalid["reason"].as_str().unwrap();
    assert!(why.contains("late 1.0.0 requires base ^2, and no package base would be installed"), "{why}");
    package(&folder.join("base"), "base", "2.0.0");
    wait_for(&daemon, "late", "healthy");
    // Both are there at the next start, in which they are counted.
    drop(daemon);
    let mut daemon = start(&world);
    let ready = daemon.any_line();
    assert!(ready.contains(": ready, 4 of 4 plugins healthy, "), "{ready}");
}

#[test]
fn what_changes_is_taken_at_once_or_once_nobody_calls() {
    let world = World::new();
    let folder = plugins(&world);
    package(&folder.join("one"), "one", "1.0.0");
    let daemon = start_with(&world, "restart");
    wait_for(&daemon, "one", "healthy");
    package(&folder.join("one"), "one", "2.0.0");
    runs_as(&daemon, "one", "2.0.0");
    drop(daemon);
    // Also what changed while no daemon ran.
    package(&folder.join("one"), "one", "3.0.0");
    let daemon = start_with(&world, "restart-when-idle");
    runs_as(&daemon, "one", "3.0.0");
    package(&folder.join("one"), "one", "4.0.0");
    runs_as(&daemon, "one", "4.0.0");
    // As long as a call is under way, it is shown.
    let mut client = Raw::connect(&daemon.runtime_dir);
    let sleep =
        json!({"plugin_id": "one", "method": "sleep", "params": {"ms": 600_000}, "timeout_ms": 600_000});
    client.try_request(1, "admin.call", &sleep).unwrap();
    eventually("the call is under way", || {
        (daemon.json(&["plugin", "one"])["calls_in_flight"] == 1).then_some(())
    });
    package(&folder.join("one"), "one", "5.0.0");
    wait_state(&daemon, "changed");
    assert!(daemon.json(&["plugin", "one"])["executable"].as_str().unwrap().contains("/4.0.0@"));
    drop(client);
    runs_as(&daemon, "one", "5.0.0");
}
