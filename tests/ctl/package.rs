//! `rpcpluginctl package` against `docs/packages.md`: the transcripts of the page are run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::daemon::{Ran, bare, chmod, run};
use crate::fixtures::signer::Signer;
use crate::fixtures::world::{World, built};
use serde_json::{Value, json};
use std::path::Path;

const PAGE: &str = include_str!("../../docs/packages.md");

/// What the page shows that a command prints, where it shows that.
fn shown(command: &str) -> String {
    let (_, rest) = PAGE.rsplit_once(&format!("```console\n$ {command}\n")).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

/// A package that is, but for what is left out here, the one of the page.
fn package(folder: &Path) -> Value {
    std::fs::create_dir_all(folder.join("bin")).unwrap();
    let program = "#!/bin/sh\nexec true\n#";
    std::fs::write(folder.join("bin/kv"), program).unwrap();
    chmod(&folder.join("bin/kv"), 0o755);
    let manifest = json!({
        "manifest": 1, "id": "kv", "version": "1.2.0", "type": "store",
        "about": {"description": "Keeps texts by key", "license": "MIT"},
        "entrypoint": "bin/kv", "args": ["--store", "kv.json"], "env": {"KV_MODE": "fast"}, "interfaces": {"kv": [1, 2]},
        "requires": {"host": ">=0.1", "plugins": {"clock": "^1"}},
        "capabilities": {
            "filesystem": [{"path": "/srv/texts", "permissions": ["read", "list"], "recursive": true}],
            "calls": [{"plugin": "clock", "methods": ["clock.now"]}]
        },
        "limits": {"memory": "64MiB"}, "settings": {"hello_timeout": "2s"},
        "files": {"bin/kv": digest(&folder.join("bin/kv"))}
    });
    std::fs::write(folder.join("plugin.json"), manifest.to_string()).unwrap();
    manifest
}

/// What sha256sum(1) says.
fn digest(path: &Path) -> String {
    let output = std::process::Command::new("sha256sum").arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

fn ctl(world: &World, words: &[&str]) -> Ran {
    run(bare(&built("rpcpluginctl")).args(words).current_dir(world.path()))
}

#[test]
fn a_package_is_shown_as_on_the_page_and_as_json() {
    let world = World::new();
    package(&world.path().join("kv"));
    let manifest = digest(&world.path().join("kv/plugin.json"));
    let ran = ctl(&world, &["package", "./kv"]);
    assert_eq!((ran.code, &*ran.stderr), (0, ""));
    assert_eq!(ran.stdout, shown("rpcpluginctl package ./kv").replace("DIGEST", &manifest));

    let ran = ctl(&world, &["package", "./kv", "--json"]);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &document["id"], &document["files"]), (0, &json!("kv"), &json!(1)));
    assert_eq!(document["digest"], format!("sha256:{manifest}"));
    assert_eq!(document["capabilities"].as_array().unwrap().len(), 2);
    assert_eq!(document["settings"], json!({"hello_timeout": "2s"}));
    assert_eq!(document["env"], json!({"KV_MODE": "fast"}));
    assert_eq!(document["limits"], json!({"memory": 64 << 20}));
}

#[test]
fn what_is_wrong_with_a_folder_is_told_as_on_the_page() {
    let world = World::new();
    let folder = world.path().join("changed");
    let manifest = package(&folder);
    std::fs::write(folder.join("bin/kv"), "#!/bin/sh\n").unwrap();
    std::fs::write(folder.join("notes.txt"), "").unwrap();
    let ran = ctl(&world, &["package", "./changed"]);
    let listed = manifest["files"]["bin/kv"].as_str().unwrap();
    let expected = shown("rpcpluginctl package ./changed");
    let expected = expected.replace("SEEN", &digest(&folder.join("bin/kv"))).replace("LISTED", listed);
    assert_eq!((ran.code, &*ran.stdout, ran.stderr), (1, "", expected));

    let ran = ctl(&world, &["package", "./changed", "--json"]);
    let error: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!((ran.code, &error["error"]["exit_code"]), (1, &json!(1)));
    assert!(error["error"]["message"].as_str().unwrap().contains("notes.txt"), "{error}");
}

#[test]
fn a_manifest_that_is_wrong_is_told_line_by_line_and_nothing_is_no_package() {
    let world = World::new();
    let folder = world.path().join("wrong");
    package(&folder);
    std::fs::write(folder.join("plugin.json"), "{\n\"manifest\": 1,\n\"idd\": \"kv\"\n}").unwrap();
    let ran = ctl(&world, &["package", "wrong"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("wrong/plugin.json:3: key \"idd\": unknown key; did you mean \"id\"?"),
        "{}",
        ran.stderr
    );
    assert_eq!(
        ran.stderr.lines().filter(|line| line.starts_with("rpcpluginctl: error: ")).count(),
        6,
        "{}",
        ran.stderr
    );
    let ran = ctl(&world, &["package", "./nothing"]);
    assert!(ran.stderr.contains("a package is a folder with a plugin.json in it"), "{}", ran.stderr);
    assert_eq!((ran.code, ctl(&world, &["package"]).code), (1, 2));
}

/// The manifest of the page is one, and so is what its command for `files` makes.
#[test]
fn the_manifest_of_the_page_is_read_and_its_command_writes_files() {
    let world = World::new();
    let (_, rest) = PAGE.split_once("```json\n").unwrap();
    let folder = world.path().join("kv");
    package(&folder);
    std::fs::write(folder.join("plugin.json"), rest.split_once("```").unwrap().0).unwrap();
    let ran = ctl(&world, &["package", "kv"]);
    assert!(ran.stderr.contains("\"bin/kv\": has SHA-256 "), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 3, "nothing else is wrong: {}", ran.stderr);

    std::fs::write(folder.join("read me.txt"), "me").unwrap();
    let (_, rest) = PAGE.split_once("To write `files`, in the folder:\n\n```sh\n").unwrap();
    let command = rest.split_once("\n```").unwrap().0;
    let ran = run(bare(Path::new("/bin/sh"))
        .args(["-c", command])
        .current_dir(&folder)
        .env("PATH", "/usr/bin:/bin"));
    let files: Value = serde_json::from_str(&format!("{{{}}}", ran.stdout)).unwrap();
    let spaced = folder.join("read me.txt");
    assert_eq!(files, json!({"bin/kv": digest(&folder.join("bin/kv")), "read me.txt": digest(&spaced)}));
}

#[test]
fn a_signature_is_checked_with_the_key_that_is_named() {
    let world = World::new();
    let folder = world.path().join("kv");
    let manifest = package(&folder).to_string();
    let (acme, other) = (Signer::new(0, 0xACE1), Signer::new(1, 0xBAD));
    std::fs::write(world.path().join("acme.pub"), format!("untrusted comment: acme\n{}\n", acme.public()))
        .unwrap();
    std::fs::write(world.path().join("other.pub"), other.public()).unwrap();
    let shows = |words: &[&str], line: &str| {
        let ran = ctl(&world, words);
        assert_eq!((ran.code, &*ran.stderr), (0, ""), "{words:?}");
        let signature = ran.stdout.lines().find_map(|shown| shown.strip_prefix("signature "));
        assert_eq!(signature.map(str::trim), Some(line), "{}", ran.stdout);
    };
    let refused = |words: &[&str], why: &str| {
        let ran = ctl(&world, words);
        assert!(ran.stderr.contains(why), "{why}: {}", ran.stderr);
        (ran.code, ran.stdout)
    };
    let nothing = |code| (code, String::new());
    let unsigned = "plugin.json.minisig: is missing; expected a signature by one of key 000000000000ACE1";
    assert_eq!(refused(&["package", "kv", "--key", "acme.pub"], unsigned), nothing(1));

    std::fs::write(folder.join("plugin.json.minisig"), acme.sign(manifest.as_bytes(), "kv 1.2.0")).unwrap();
    let verified = "of key 000000000000ACE1, verified: kv 1.2.0";
    assert!(PAGE.contains(&format!("`{verified}`")));
    shows(&["package", "kv", "--key", "acme.pub"], verified);
    shows(&["package", "kv", "--key", &acme.public()], verified);
    shows(&["package", "kv"], "of key 000000000000ACE1, not checked; name the key with --key");
    let ran = ctl(&world, &["package", "kv", "--json", "--key", "acme.pub"]);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    let expected = json!({"key": "000000000000ACE1", "verified": true, "comment": "kv 1.2.0"});
    assert_eq!(document["signature"], expected);

    let command = "rpcpluginctl package ./kv --key other.pub";
    let ran = ctl(&world, &["package", "./kv", "--key", "other.pub"]);
    assert_eq!((ran.code, &*ran.stdout, ran.stderr), (1, "", shown(command)));
    // A change of the manifest, though every file is still as it lists.
    std::fs::write(folder.join("plugin.json"), manifest.replace("Keeps", "Takes")).unwrap();
    let why = "expected a signature of plugin.json by key 000000000000ACE1; seen one that does not fit";
    assert_eq!(refused(&["package", "kv", "--key", "acme.pub"], why), nothing(1));
    std::fs::write(folder.join("plugin.json.minisig"), "x").unwrap();
    assert_eq!(refused(&["package", "kv"], "plugin.json.minisig: is no signature of minisign"), nothing(1));
    for key in ["none.pub", "RWQ", "kv/plugin.json"] {
        assert_eq!(refused(&["package", "kv", "--key", key], "--key"), nothing(2));
    }
}
