//! `rpcpluginctl install` of archives, and `approve`, against a daemon that is played.

use crate::fixtures::ctl::{FakeDaemon, Reply};
use crate::fixtures::signer::Signer;
use crate::fixtures::world::World;
use rpc_plugin_system::ctl::Exit;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const REPLY: &str = r#"{"plugin_id":"kv","version":"1.0.0@0000000000000000"}"#;

/// What sha256sum(1) says.
fn digest(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

/// An archive of a package, signed or not.
fn archive(world: &World, name: &str, signer: Option<&Signer>) -> PathBuf {
    let folder = world.path().join(format!("{name}.d"));
    std::fs::create_dir(&folder).unwrap();
    let program = folder.join("kv");
    std::fs::write(&program, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let manifest = json!({"manifest": 1, "id": "kv", "version": "1.0.0", "entrypoint": "kv",
        "files": {"kv": digest(&program)}})
    .to_string();
    std::fs::write(folder.join("plugin.json"), &manifest).unwrap();
    if let Some(signer) = signer {
        std::fs::write(folder.join("plugin.json.minisig"), signer.sign(manifest.as_bytes(), "")).unwrap();
    }
    let archive = world.path().join(name);
    let mut tar = Command::new("tar");
    let made = tar.arg("-czf").arg(&archive).arg("-C").arg(&folder).arg(".").status().unwrap();
    assert!(made.success());
    archive
}

#[test]
fn an_archive_is_checked_here_and_the_daemon_is_told_what_its_user_vouches_for() {
    let world = World::new();
    let daemon = FakeDaemon::new(Reply::Result(REPLY.to_owned()));
    let unsigned = archive(&world, "unsigned.tgz", None);
    let signed = archive(&world, "signed.tgz", Some(&Signer::new(0, 1)));
    let (sum, path) = (digest(&unsigned), unsigned.to_str().unwrap());
    let mut asked = 0;
    let mut taken = |words: &[&str]| {
        let ran = daemon.run(&[&["install"], words].concat());
        assert_eq!(ran.exit, Exit::Ok, "{words:?}: {}", ran.stderr);
        assert!(ran.stdout.starts_with("kv: installed, 1.0.0@"), "{}", ran.stdout);
        asked += 1;
        let all = daemon.asked();
        assert_eq!((all.len(), &*all[asked - 1].method), (asked, "admin.install"));
        serde_json::from_str::<Value>(&all[asked - 1].params).unwrap()
    };
    assert_eq!(taken(&[path, "--unsigned"]), json!({"source": path, "unsigned": true}));
    // The digest is of the archive, so the daemon, which sees none, is told that somebody vouches for what is in it.
    assert_eq!(taken(&[path, "--sha256", &sum]), json!({"source": path, "unsigned": true}));
    let path = signed.to_str().unwrap();
    assert_eq!(
        taken(&[path]),
        json!({"source": path}),
        "whether its key is trusted is for the daemon to say"
    );
    let params = taken(&[path, "--downgrade", "--no-rollback"]);
    assert_eq!(params, json!({"source": path, "downgrade": true, "no_rollback": true}));
}

#[test]
fn an_archive_that_is_refused_never_reaches_the_daemon() {
    let world = World::new();
    let daemon = FakeDaemon::new(Reply::Result(REPLY.to_owned()));
    let good = archive(&world, "good.tgz", None);
    let path = good.to_str().unwrap();
    let text = world.path().join("text");
    std::fs::write(&text, "no archive").unwrap();
    for (words, exit, why) in [
        (&[path][..], Exit::Failed, "is not signed (there is no plugin.json.minisig); expected --sha256"),
        (&[path, "--sha256", &"0".repeat(64)], Exit::Failed, "expected SHA-256 0000"),
        (&[path, "--sha256", "abc"], Exit::Usage, "64 lower-case hexadecimal digits"),
        (&[text.to_str().unwrap(), "--unsigned"], Exit::Failed, "is no tar archive"),
        (&["/does/not/exist", "--unsigned"], Exit::Failed, "No such file"),
    ] {
        let ran = daemon.run(&[&["install"], words].concat());
        assert_eq!((ran.exit, &*ran.stdout), (exit, ""), "{words:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(why), "{words:?}: {}", ran.stderr);
    }
    let ran = daemon.run(&["install", path, "--json"]);
    let error: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert!(error["error"]["message"].as_str().unwrap().contains("is not signed"), "{error}");
    assert_eq!(daemon.asked(), []);
}

#[test]
fn another_publisher_is_approved_by_name() {
    let daemon = FakeDaemon::new(Reply::Result("{}".to_owned()));
    let ran = daemon.run(&["approve", "kv"]);
    assert!(ran.exit == Exit::Usage && ran.stderr.contains("--new-publisher"), "{}", ran.stderr);
    assert_eq!(daemon.asked(), []);
    let ran = daemon.run(&["approve", "kv", "--new-publisher"]);
    assert!(ran.stdout.starts_with("kv: the next install may be of another publisher"), "{}", ran.stdout);
    let asked = daemon.asked();
    assert_eq!((&*asked[0].method, &*asked[0].params), ("admin.approve_publisher", r#"{"plugin_id":"kv"}"#));
}
