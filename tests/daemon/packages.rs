//! Packages of a real daemon: installed, updated, gone back from, pinned and removed, over its control client.

use crate::fixtures::daemon::{Daemon, Ran};
use crate::fixtures::world::{World, built, eventually};
use rpc_plugin_system::package::digest::Digest;
use rpc_plugin_wire::event::EventKind;
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Writes a package of echo: this program, which says which version it is of only by its package.
pub fn package(world: &World, version: &str, program: &[u8], more: &[(&str, Value)]) -> PathBuf {
    let folder = world.path().join(format!("echo-{version}"));
    fs::create_dir_all(folder.join("bin")).unwrap();
    let entrypoint = folder.join("bin/echo");
    fs::write(&entrypoint, program).unwrap();
    fs::set_permissions(&entrypoint, Permissions::from_mode(0o755)).unwrap();
    let mut manifest = json!({
        "manifest": 1, "id": "echo", "version": version, "entrypoint": "bin/echo", "args": [version],
        "files": {"bin/echo": Digest::of(program).to_string()},
    });
    more.iter().for_each(|(member, value)| manifest[*member] = value.clone());
    fs::write(folder.join("plugin.json"), manifest.to_string()).unwrap();
    folder
}

pub fn echo() -> Vec<u8> {
    fs::read(built("echo")).unwrap()
}

fn start(world: &World) -> Daemon {
    Daemon::start(world, &[&format!("--state-dir={}", world.path().join("state").display())])
}

fn install(daemon: &Daemon, folder: &Path, flags: &[&str]) -> Ran {
    daemon.ctl(&[&["install", folder.to_str().unwrap(), "--json"], flags].concat())
}

fn installed(daemon: &Daemon, folder: &Path, flags: &[&str]) -> Value {
    let ran = install(daemon, folder, flags);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap()
}

/// The version that is active, without its digits, and what each stored one is.
fn versions(daemon: &Daemon) -> (String, Value) {
    let package = daemon.json(&["package", "echo"]);
    (package["version"].as_str().unwrap_or_default().to_owned(), package["versions"].clone())
}

/// Waits until that version is the active one, runs, and counts as healthy.
fn wait_healthy(daemon: &Daemon, version: &str) {
    eventually("the version that is healthy is known", || {
        let plugin = daemon.json(&["plugin", "echo"]);
        let runs =
            plugin["state"] == "healthy" && plugin["executable"].as_str()?.contains(&format!("/{version}@"));
        let (active, stored) = versions(daemon);
        let is =
            stored.as_array()?.iter().find(|one| one["version"].as_str().unwrap().starts_with(version))?;
        (runs && active == version && is["is"].as_array()?.contains(&json!("healthy"))).then_some(())
    });
}

fn executable(daemon: &Daemon) -> String {
    daemon.json(&["plugin", "echo"])["executable"].as_str().unwrap().to_owned()
}

#[test]
fn a_package_runs_from_the_store_and_a_good_update_is_kept_running() {
    let world = World::new();
    let daemon = start(&world);
    let one = package(&world, "1.0.0", &echo(), &[]);
    let reply = installed(&daemon, &one, &[]);
    assert_eq!((&reply["plugin_id"], &reply["plugin"]), (&json!("echo"), &json!("its plugin is started")));
    wait_healthy(&daemon, "1.0.0");
    let store = world.path().join("state/store/echo");
    assert!(Path::new(&executable(&daemon)).starts_with(&store), "{}", executable(&daemon));
    let pid = daemon.json(&["plugin", "echo"])["pid"].as_u64().unwrap();
    let two = package(&world, "1.1.0", &echo(), &[]);
    let reply = installed(&daemon, &two, &[]);
    assert_eq!((&reply["on_trial"], &reply["plugin"]), (&json!(true), &json!("its plugin is restarted")));
    daemon.wait_replaced("echo", pid);
    daemon.wait_for("echo", "healthy");
    assert!(executable(&daemon).contains("/1.1.0@"), "{}", executable(&daemon));
    assert_eq!(daemon.ctl(&["echo", "echo", "--message", "hello"]).stdout, "hello\n");
    // The source is of no account any more.
    fs::remove_dir_all(&two).unwrap();
    let refused = install(&daemon, &one, &[]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("--downgrade installs it all the same"), "{}", refused.stderr);
    let ran = daemon.ctl(&["rollback", "echo"]);
    assert!(
        ran.stdout.starts_with("echo: went back, 1.0.0@") && ran.code == 0,
        "{} {}",
        ran.stdout,
        ran.stderr
    );
    wait_healthy(&daemon, "1.0.0");
    let action = daemon.recorded("echo", EventKind::PackageActivated, |_| true);
    assert!(action.operation_id.is_some());
    // The next daemon goes on with it.
    drop(daemon);
    let daemon = start(&world);
    wait_healthy(&daemon, "1.0.0");
    let ran = daemon.ctl(&["pin", "echo@1.1.0"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(versions(&daemon).0, "1.1.0");
    let ran = daemon.ctl(&["remove", "echo"]);
    assert!(ran.stdout.starts_with("echo: removed 1.1.0@"), "{} {}", ran.stdout, ran.stderr);
    eventually("the plugin is given up", || (daemon.ctl(&["plugin", "echo"]).code == 4).then_some(()));
    assert!(!store.exists());
    assert_eq!(daemon.ctl(&["package", "echo"]).code, 4);
}

/// What is removed is stopped; what is installed meanwhile is not what was removed.
#[test]
fn a_package_that_is_installed_while_the_one_that_was_removed_still_ends_is_started() {
    let world = World::new();
    let daemon = start(&world);
    let graces = json!({"shutdown_grace": "300ms", "term_grace": "300ms"});
    let folder = package(&world, "1.0.0", &echo(), &[("settings", graces)]);
    installed(&daemon, &folder, &[]);
    daemon.wait_for("echo", "healthy");
    let pid = daemon.json(&["plugin", "echo"])["pid"].as_i64().unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    // It does not end before it is killed.
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    assert_eq!(daemon.ctl(&["remove", "echo"]).code, 0);
    assert_eq!(installed(&daemon, &folder, &[])["plugin"], json!("its plugin is started"));
    daemon.wait_for("echo", "healthy");
}

#[test]
fn a_package_that_was_damaged_in_the_store_runs_once_it_is_installed_again() {
    let world = World::new();
    let daemon = start(&world);
    let folder = package(&world, "1.0.0", &echo(), &[]);
    installed(&daemon, &folder, &[]);
    let path = PathBuf::from(executable(&daemon));
    drop(daemon);
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    fs::write(&path, "#!/bin/sh\n").unwrap();
    let daemon = start(&world);
    let reason = daemon.json(&["package", "echo"])["reason"].clone();
    assert!(reason.as_str().unwrap().contains("\"bin/echo\": has SHA-256"), "{reason}");
    assert_eq!(daemon.ctl(&["plugin", "echo"]).code, 4);
    assert_eq!(installed(&daemon, &folder, &[])["plugin"], json!("its plugin is started"));
    daemon.wait_for("echo", "healthy");
}

#[test]
fn an_update_that_fails_goes_back_once_and_says_why_until_it_is_acknowledged() {
    let world = World::new();
    let daemon = start(&world);
    installed(&daemon, &package(&world, "1.0.0", &echo(), &[]), &[]);
    wait_healthy(&daemon, "1.0.0");
    // Twice: one that is given up at once, and one that fails again and again.
    for (version, program, why) in [
        ("2.0.0", "#!/no/such/interpreter\n", "was not replaced"),
        ("3.0.0", "#!/bin/sh\nexit 3\n", "it failed"),
    ] {
        let reply = installed(&daemon, &package(&world, version, program.as_bytes(), &[]), &[]);
        assert_eq!(reply["on_trial"], json!(true));
        let package = eventually("it goes back", || {
            let package = daemon.json(&["package", "echo"]);
            package["note"].as_str().is_some().then_some(package)
        });
        let note = package["note"].as_str().unwrap();
        assert!(note.starts_with(&format!("went back from {version}@")) && note.contains(why), "{note}");
        assert_eq!(package["version"], json!("1.0.0"));
        wait_healthy(&daemon, "1.0.0");
        let event = daemon.recorded("echo", EventKind::PackageRolledBack, |event| {
            event.message.contains(&format!("from {version}@"))
        });
        assert!(event.reason.unwrap().contains(why));
        let listed = daemon.json(&["package", "echo"]);
        assert_eq!(listed["reason"], json!(note));
        assert_eq!(daemon.ctl(&["acknowledge", "echo"]).stdout, "echo: acknowledged\n");
        assert_eq!(daemon.json(&["package", "echo"]).get("note"), None);
    }
    // Nobody wants to go back.
    let bad = package(&world, "4.0.0", b"#!/no/such/interpreter\n", &[]);
    assert_eq!(installed(&daemon, &bad, &["--no-rollback"]).get("on_trial"), None);
    let event = daemon.recorded("echo", EventKind::PackageTrialFailed, |_| true);
    assert!(event.message.contains("it was installed with --no-rollback"), "{}", event.message);
    assert_eq!(versions(&daemon).0, "4.0.0");
}

#[test]
fn what_does_not_run_is_on_trial_until_it_has_run() {
    let world = World::new();
    let daemon = start(&world);
    installed(&daemon, &package(&world, "1.0.0", &echo(), &[]), &[]);
    wait_healthy(&daemon, "1.0.0");
    daemon.json(&["stop", "echo"]);
    let reply = installed(&daemon, &package(&world, "2.0.0", b"#!/no/such/interpreter\n", &[]), &[]);
    assert_eq!((&reply["on_trial"], &reply["plugin"]), (&json!(true), &json!("its plugin is not running")));
    assert_eq!(versions(&daemon).0, "2.0.0");
    // Also across a restart of the daemon, which starts it.
    drop(daemon);
    let daemon = start(&world);
    let event = daemon.recorded("echo", EventKind::PackageRolledBack, |_| true);
    assert!(event.message.starts_with("went back from 2.0.0@"), "{}", event.message);
    wait_healthy(&daemon, "1.0.0");
}

#[test]
fn the_minimum_of_the_configuration_binds_the_daemon() {
    let world = World::new();
    let one = package(&world, "1.0.0", &echo(), &[]);
    let start = |minimum: &str| {
        let path = world.path().join("config.json");
        let state = world.path().join("state");
        let config = json!({"state_dir": state, "packages": {"minimum": {"echo": minimum}}});
        fs::write(&path, config.to_string()).unwrap();
        Daemon::start(&world, &[&format!("--config={}", path.display())])
    };
    let daemon = start("1.0.1");
    let refused = install(&daemon, &one, &[]);
    assert!(refused.code == 1 && refused.stderr.contains("is below 1.0.1"), "{}", refused.stderr);
    drop(daemon);
    let daemon = start("1.0.0");
    installed(&daemon, &one, &[]);
    wait_healthy(&daemon, "1.0.0");
}

#[test]
fn what_is_disabled_stays_so_with_the_next_daemon_and_what_is_stopped_does_not() {
    let world = World::new();
    let daemon = start(&world);
    installed(&daemon, &package(&world, "1.0.0", &echo(), &[]), &[]);
    wait_healthy(&daemon, "1.0.0");
    daemon.json(&["stop", "echo"]);
    drop(daemon);
    let daemon = start(&world);
    wait_healthy(&daemon, "1.0.0");
    let ran = daemon.ctl(&["disable", "echo"]);
    assert_eq!(
        (&*ran.stdout, ran.code),
        ("echo: disabled, its plugin is not running\n", 0),
        "{}",
        ran.stderr
    );
    daemon.wait_for("echo", "stopped");
    assert_eq!(daemon.json(&["package", "echo"])["state"], "disabled");
    drop(daemon);
    let daemon = start(&world);
    assert_eq!(daemon.json(&["packages"])["packages"][0]["state"], "disabled");
    let plugin = daemon.json(&["plugin", "echo"]);
    assert_eq!((&plugin["state"], &plugin["desired"]), (&json!("stopped"), &json!("down")), "{plugin}");
    let ran = daemon.ctl(&["enable", "echo"]);
    assert_eq!((&*ran.stdout, ran.code), ("echo: enabled, its plugin is started\n", 0), "{}", ran.stderr);
    daemon.wait_for("echo", "healthy");
    assert_eq!(daemon.json(&["package", "echo"])["state"], "active");
    assert_eq!(daemon.ctl(&["disable", "other"]).code, 4);
}
