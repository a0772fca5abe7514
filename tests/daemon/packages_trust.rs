//! Whose packages a daemon takes: signed ones, archives, and those of another publisher.

use super::packages::{echo, package};
use crate::fixtures::daemon::{Daemon, Ran, bare, command, run};
use crate::fixtures::signer::Signer;
use crate::fixtures::world::{World, built};
use rpc_plugin_system::package::digest::Digest;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A daemon that keeps packages, with that as `packages` of its configuration.
fn start(world: &World, packages: &Value) -> Daemon {
    let config = world.path().join("config.json");
    let text = json!({
        "runtime_dir": world.runtime_dir(), "state_dir": world.path().join("state"), "packages": packages,
    });
    fs::write(&config, text.to_string()).unwrap();
    Daemon::of(command(world).arg("--config").arg(config), &world.runtime_dir())
}

fn signed(folder: PathBuf, signer: &Signer) -> PathBuf {
    let manifest = fs::read(folder.join("plugin.json")).unwrap();
    fs::write(folder.join("plugin.json.minisig"), signer.sign(&manifest, "by a test")).unwrap();
    folder
}

fn install(daemon: &Daemon, folder: &Path, flags: &[&str]) -> Ran {
    daemon.ctl(&[&["install", folder.to_str().unwrap()], flags].concat())
}

fn refused(ran: &Ran, why: &str) {
    assert!(ran.code == 1 && ran.stderr.contains(why), "{why}: {} {}", ran.code, ran.stderr);
}

fn good(ran: &Ran) {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn where_keys_are_configured_a_package_has_to_be_signed_by_one_that_is_trusted_with_it() {
    let world = World::new();
    let (ours, other) = (Signer::new(0, 0xACE1), Signer::new(1, 0xBAD));
    let keys = json!({"keys": [{"key": ours.public(), "ids": ["echo"], "capabilities": []}]});
    let daemon = start(&world, &keys);
    let folder = package(&world, "1.0.0", &echo(), &[]);
    refused(
        &install(&daemon, &folder, &[]),
        "plugin.json.minisig: is missing; expected a signature by one of key 000000000000ACE1",
    );
    let folder = signed(folder, &other);
    refused(
        &install(&daemon, &folder, &[]),
        "is of key 0000000000000BAD; expected one of key 000000000000ACE1",
    );
    let greedy = package(&world, "1.0.1", &echo(), &[("capabilities", json!({"pass_env": ["TZ"]}))]);
    refused(
        &install(&daemon, &signed(greedy, &ours), &[]),
        "echo asks for \"pass_env\"; expected of packages of key",
    );
    let stranger = package(&world, "1.0.2", &echo(), &[("id", json!("other"))]);
    refused(
        &install(&daemon, &signed(stranger, &ours), &[]),
        "id \"other\" is not one that key 000000000000ACE1 may publish",
    );
    let folder = signed(folder, &ours);
    // A manifest that lists another file as it was changed to is another manifest.
    let manifest = fs::read_to_string(folder.join("plugin.json")).unwrap();
    fs::write(folder.join("plugin.json"), manifest.replace("1.0.0", "9.0.0")).unwrap();
    refused(&install(&daemon, &folder, &[]), "seen one that does not fit");
    fs::write(folder.join("plugin.json"), manifest).unwrap();
    good(&install(&daemon, &folder, &[]));
    daemon.wait_for("echo", "healthy");
    let shown = daemon.json(&["package", "echo"]);
    assert_eq!(
        (&shown["publisher"], &shown["verified"]),
        (&json!("key 000000000000ACE1"), &json!("signature"))
    );
    // What nobody signed any more does not run either.
    drop(daemon);
    let daemon = start(&world, &json!({"keys": [{"key": other.public(), "ids": ["*"]}]}));
    let shown = daemon.json(&["package", "echo"]);
    assert!(shown["reason"].as_str().unwrap().contains("is of key 000000000000ACE1"), "{shown}");
    assert_ne!(daemon.ctl(&["echo", "echo", "--message", "x"]).code, 0);
}

#[test]
fn another_publisher_needs_an_approval_and_gets_no_data() {
    let world = World::new();
    let (first, second) = (Signer::new(0, 1), Signer::new(1, 1));
    let key = |signer: &Signer| json!({"key": signer.public(), "ids": ["*"]});
    let daemon = start(&world, &json!({"keys": [key(&first), key(&second)]}));
    good(&install(&daemon, &signed(package(&world, "1.0.0", &echo(), &[]), &first), &[]));
    let data = world.path().join("state/data/echo");
    daemon.wait_for("echo", "healthy");
    fs::write(data.join("secret"), "of the first").unwrap();
    let taken_over = signed(package(&world, "2.0.0", &echo(), &[]), &second);
    let ran = install(&daemon, &taken_over, &[]);
    refused(
        &ran,
        "echo belongs to another publisher; expected key 0000000000000001, seen key 0000000000000001",
    );
    assert!(ran.stderr.contains("`rpcpluginctl approve echo --new-publisher`"), "{}", ran.stderr);
    good(&install(&daemon, &signed(package(&world, "1.1.0", &echo(), &[]), &first), &[]));
    assert!(data.join("secret").exists(), "an update of the same publisher keeps it");
    let ran = daemon.ctl(&["approve", "echo", "--new-publisher"]);
    assert!(ran.stdout.starts_with("echo: the next install may be of another publisher"), "{}", ran.stderr);
    good(&install(&daemon, &taken_over, &[]));
    assert!(!data.join("secret").exists(), "nothing of it is left for the new one");
    // The approval held once, and what the first published cannot be gone back to.
    refused(
        &install(&daemon, &signed(package(&world, "3.0.0", &echo(), &[]), &first), &[]),
        "another publisher",
    );
    refused(&daemon.ctl(&["pin", "echo@1.1.0"]), "another publisher");
}

#[test]
fn an_archive_is_installed_from_a_file_and_from_standard_input_if_somebody_vouches_for_it() {
    let world = World::new();
    let daemon = start(&world, &json!({}));
    let folder = package(&world, "1.0.0", &echo(), &[]);
    let archive = world.path().join("echo.tar.gz");
    let mut tar = Command::new("tar");
    assert!(tar.arg("-czf").arg(&archive).arg("-C").arg(&folder).arg(".").status().unwrap().success());
    let digest = Digest::of(&fs::read(&archive).unwrap()).to_string();
    let temporary = world.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let install = |source: &str, flags: &[&str]| {
        let mut ctl = bare(&built("rpcpluginctl"));
        ctl.args(["install", source]).args(flags).arg("--runtime-dir").arg(world.runtime_dir());
        let ran = run(ctl.env("TMPDIR", &temporary).stdin(File::open(&archive).unwrap()));
        assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "what was unpacked has gone");
        ran
    };
    let path = archive.to_str().unwrap();
    for source in [path, "-"] {
        refused(&install(source, &[]), "is not signed (there is no plugin.json.minisig); expected --sha256");
        refused(&install(source, &["--sha256", &"0".repeat(64)]), "expected SHA-256 0000");
    }
    good(&install("-", &["--sha256", &digest]));
    daemon.wait_for("echo", "healthy");
    let shown = daemon.json(&["package", "echo"]);
    assert_eq!(shown["verified"], json!("checksums: against accidents, not attackers"));
    assert!(shown["publisher"].as_str().unwrap().starts_with("unsigned"), "{shown}");
    let ran = install(path, &["--unsigned"]);
    assert!(ran.stdout.contains(", as before"), "{} {}", ran.stdout, ran.stderr);
    // A signature that nobody here can check vouches for nothing.
    signed(folder.clone(), &Signer::new(0, 1));
    let mut tar = Command::new("tar");
    assert!(tar.arg("-cf").arg(&archive).arg("-C").arg(&folder).arg(".").status().unwrap().success());
    refused(&install(path, &[]), "unsigned");
    good(&install(path, &["--unsigned"]));
}
