//! What `rpcplugind` takes on its command line and in its file, and what it says of what it does not
//! take: exit codes, places, and where the runtime folder comes from.
//!
//! Every single mistake in a file is tested beside the reader; here it is the program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::daemon::{Daemon, Ran, as_nobody, bare, chmod, command, is_root, run};
use crate::fixtures::world::{World, built};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

fn daemon(words: &[&str]) -> Ran {
    run(bare(&built("rpcplugind")).args(words))
}

#[test]
fn a_good_configuration_is_printed_with_all_defaults_and_starts_nothing() {
    let world = World::new();
    let path = world.path().join("good.json");
    let text = json!({
        "runtime_dir": world.runtime_dir(),
        "defaults": {"call_timeout": "1h 30m"},
        "plugins": {"kv": {"executable": "/bin/echo", "env": {"PASSWORD": "hunter2"}, "restart": "never"}},
    });
    std::fs::write(&path, text.to_string()).unwrap();
    let path = path.to_str().unwrap();
    let ran =
        daemon(&["--config", path, "--check-config", "--heartbeat-interval", "7s", "-p", "echo=/bin/echo"]);
    assert_eq!((ran.code, &*ran.stderr), (0, ""), "{ran:?}");
    let shown: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(shown["runtime_dir"], json!(world.runtime_dir()));
    assert_eq!(shown["defaults"]["call_timeout"], "1h 30m");
    assert_eq!(shown["defaults"]["heartbeat_interval"], "7s");
    assert_eq!(shown["defaults"]["shutdown_grace"], "3s", "a default");
    assert_eq!(shown["plugins"]["echo"]["executable"], "/bin/echo");
    assert_eq!(shown["plugins"]["kv"]["restart"], "never");
    assert!(!ran.stdout.contains("hunter2"), "{}", ran.stdout);
    assert!(!world.runtime_dir().exists(), "nothing was made");
}

#[test]
fn what_could_not_be_launched_fails_the_check_and_each_of_it_is_named() {
    let world = World::new();
    let good = world.script("good", "#!/bin/sh\nexit 0\n");
    let lost = world.script("lost", "#!/no/such/interpreter -x\n");
    let shared = world.script("shared", "#!/bin/sh\n");
    chmod(&shared, 0o777);
    let path = world.path().join("config.json");
    let text = json!({
        "runtime_dir": world.runtime_dir(),
        "plugins": {
            "good": {"executable": good},
            "other": {"executable": good, "sha256": "0".repeat(64)},
            "lost": {"executable": lost},
            "shared": {"executable": shared},
            "missing": {"executable": world.path().join("nowhere")},
            "homeless": {"executable": good, "working_dir": world.path().join("no-folder")},
            "unenterable": {"executable": good, "working_dir": good},
        },
        "log": {"sinks": [{"name": "audit", "type": "command", "command": [world.path().join("no-sink")]}]},
    });
    std::fs::write(&path, text.to_string()).unwrap();
    let ran = daemon(&["--config", path.to_str().unwrap(), "--check-config"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let shown: Value = serde_json::from_str(&ran.stdout).expect("it is printed all the same");
    assert_eq!(shown["plugins"].as_object().unwrap().len(), 7);
    let expected = [
        ("plugin lost: ", "its interpreter /no/such/interpreter cannot be found"),
        ("plugin shared: ", "can be changed by other users"),
        ("plugin missing: ", "does not exist"),
        ("plugin other: ", "is another file: expected SHA-256 0000"),
        ("plugin homeless: ", "no-folder: No such file or directory"),
        ("plugin unenterable: ", "is no folder"),
        ("sink audit: ", "does not exist"),
    ];
    for (whose, what) in expected {
        let found = ran.stderr.lines().any(|line| line.contains(whose) && line.contains(what));
        assert!(found, "{whose}{what} is not in {}", ran.stderr);
    }
    assert!(!ran.stderr.contains("plugin good") && !world.runtime_dir().exists(), "{}", ran.stderr);
}

#[test]
fn a_bad_configuration_is_told_with_file_and_line_before_anything_starts() {
    let world = World::new();
    let path = world.path().join("bad.json");
    std::fs::write(
        &path,
        "{\n\"plugins\": {\n\"lock\": {\"executable\": \"/bin/true\"},\n\"kv\": {\"executable\": \"kv\",\n\
         \"restarts_max\": 5000}}}",
    )
    .unwrap();
    for check in [&["--check-config"][..], &[]] {
        let words = [&["--config", path.to_str().unwrap(), "--runtime-dir", "/x"], check].concat();
        let ran = daemon(&words);
        assert_eq!((ran.code, &*ran.stdout), (2, ""), "{ran:?}");
        for part in [
            format!(
                "{}:3: key \"plugins.lock\": plugin id \"lock\" is kept for the host's own files",
                path.display()
            ),
            format!("{}:4: key \"plugins.kv.executable\": the path \"kv\" is relative", path.display()),
            format!("{}:5: key \"plugins.kv.restarts_max\": 5000 is too large", path.display()),
        ] {
            assert!(ran.stderr.contains(&part), "{}\n lacks {part}", ran.stderr);
        }
        assert_eq!(ran.stderr.matches("; allowed: ").count(), 3, "{}", ran.stderr);
    }
    let ran = daemon(&["--config", "/does/not/exist.json", "--check-config"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("/does/not/exist.json: cannot be read: No such file"), "{}", ran.stderr);
}

#[test]
fn a_wrong_command_line_is_exit_code_2_with_a_hint() {
    let table: [(&[&str], &str); 10] = [
        (&["--nonsense"], "--nonsense"),
        (&["--plugn", "a=/x"], "--plugin"),
        (&["nonsense"], "nonsense"),
        (&["--plugin"], "--plugin"),
        (&["--plugin", "a"], "\"a\" has no '='; allowed: ID=PATH"),
        (&["--plugin", "a="], "the path is empty"),
        (&["--plugin", "a/b=/x"], "plugin id \"a/b\" contains '/'"),
        (&["--plugin", "admin.sock=/x"], "is kept for the host's own files"),
        (&["--call-timeout", "5"], "--call-timeout: \"5\": time unit needed"),
        (&["--heartbeat-timeout", "1h"], "is longer than heartbeat_interval"),
    ];
    for (words, expected) in table {
        let ran = daemon(&[&["--runtime-dir", "/x"], words].concat());
        assert_eq!((ran.code, &*ran.stdout), (2, ""), "{words:?}: {ran:?}");
        assert!(ran.stderr.starts_with("rpcplugind: ") && ran.stderr.contains(expected), "{}", ran.stderr);
    }
}

#[test]
fn help_and_version_are_printed_and_end_well() {
    let help = daemon(&["--help"]);
    assert_eq!(help.code, 0);
    for part in ["Usage: rpcplugind", "--check-config", "Exit codes", "SIGHUP, SIGUSR1", "SIGINT again"] {
        assert!(help.stdout.contains(part), "{} lacks {part}", help.stdout);
    }
    let version = daemon(&["--version"]);
    assert_eq!((version.code, version.stdout), (0, format!("rpcplugind {}\n", env!("CARGO_PKG_VERSION"))));
}

/// The same rule for daemon and control client, so that they meet.
#[test]
fn the_runtime_folder_comes_from_what_is_told_first() {
    let world = World::new();
    chmod(world.path(), 0o711);
    let program = world.program("rpcplugind");
    chmod(&program, 0o755);
    let all = [
        ("RPC_PLUGIN_SYSTEM_RUNTIME_DIR", "/variable"),
        ("RUNTIME_DIRECTORY", "/service:/other"),
        ("XDG_RUNTIME_DIR", "/session"),
    ];
    let found = |words: &[&str], variables: &[(&str, &str)], root: bool| {
        let mut command = bare(&program);
        command.arg("--check-config").args(words).envs(variables.iter().copied()).current_dir("/");
        if is_root() && !root {
            as_nobody(&mut command);
        }
        let ran = run(&mut command);
        match ran.code {
            0 => serde_json::from_str::<Value>(&ran.stdout).unwrap()["runtime_dir"]
                .as_str()
                .unwrap()
                .to_owned(),
            2 => ran.stderr,
            _ => panic!("{ran:?}"),
        }
    };
    assert_eq!(found(&["--runtime-dir", "/flag"], &all, false), "/flag");
    assert_eq!(found(&["--runtime-dir", "flag"], &all, false), "/flag", "from the working folder");
    assert_eq!(found(&[], &all, false), "/variable");
    assert_eq!(found(&[], &all[1..], false), "/service");
    assert_eq!(found(&[], &all[2..], false), "/session/rpcplugind");
    if is_root() {
        assert_eq!(found(&[], &all[2..], true), "/run/rpcplugind");
    }
    let nothing = found(&[], &[], false);
    assert!(nothing.contains("nothing names it, and XDG_RUNTIME_DIR is not set"), "{nothing}");
    let relative = found(&[], &[("RUNTIME_DIRECTORY", "service")], false);
    assert!(relative.contains("RUNTIME_DIRECTORY: \"service\" is relative"), "{relative}");

    let file = world.path().join("c.json");
    std::fs::write(&file, "{\"runtime_dir\": \"/file\"}").unwrap();
    chmod(&file, 0o644);
    let words = ["--config", file.to_str().unwrap()];
    assert_eq!(found(&words, &all, false), "/file");
    assert_eq!(found(&[&words[..], &["--runtime-dir", "/flag"]].concat(), &all, false), "/flag");
}

#[test]
fn a_daemon_by_variable_is_found_by_the_client_by_the_same_variable() {
    let world = World::new();
    let mut command = bare(&built("rpcplugind"));
    command.env("RUNTIME_DIRECTORY", world.runtime_dir());
    let mut daemon = Daemon::of(&mut command, &world.runtime_dir());
    let ran = run(bare(&built("rpcpluginctl")).arg("status").env("RUNTIME_DIRECTORY", world.runtime_dir()));
    assert_eq!(ran.code, 0, "{ran:?}");
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended().code(), Some(0));
}

#[test]
fn a_runtime_folder_that_cannot_be_used_is_exit_code_1_with_what_to_do() {
    let world = World::new();
    let ran = daemon(&["--runtime-dir", world.path().join("no/run").to_str().unwrap()]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("the folder above it does not exist; make it"), "{}", ran.stderr);
    std::fs::create_dir(world.runtime_dir()).unwrap();
    chmod(&world.runtime_dir(), 0o755);
    let ran = run(&mut command(&world));
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("mode 0755") && ran.stderr.contains("chmod"), "{}", ran.stderr);
}

#[test]
fn the_version_is_json_where_that_is_asked_for() {
    for (program, words) in [("rpcplugind", ["--version", "--json"]), ("rpcpluginctl", ["--json", "-V"])] {
        let ran = crate::fixtures::daemon::run(crate::fixtures::daemon::bare(&built(program)).args(words));
        let said: Value =
            serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
        assert_eq!(
            (&said["program"], &said["version"]),
            (&json!(program), &json!(env!("CARGO_PKG_VERSION")))
        );
    }
}

#[test]
fn with_json_every_line_is_an_object() {
    let world = World::new();
    let mut command = command(&world);
    let mut child = command.arg("--json").stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    let started = next();
    assert_eq!((&started["state"], &started["pid"]), (&json!("started"), &json!(child.id())));
    assert_eq!(started["runtime_dir"], json!(world.runtime_dir().canonicalize().unwrap()));
    let ready = next();
    assert_eq!((&ready["state"], &ready["not_healthy"]), (&json!("ready"), &json!([])));
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    let ending = next();
    let told = "SIGTERM came; Ctrl+C again (SIGINT) kills the plugins that have not ended";
    assert_eq!((&ending["state"], &ending["message"]), (&json!("ending"), &json!(told)));
    let ended = next();
    assert_eq!((&ended["state"], &ended["message"]), (&json!("ended"), &json!("SIGTERM came")));
    assert!(child.wait().unwrap().success());
}

#[test]
fn what_the_built_in_plugin_says_when_it_is_started_by_hand_is_a_configuration() {
    let world = World::new();
    let ran = daemon(&["serve-echo"]);
    assert_eq!((ran.code, &*ran.stdout), (64, ""), "{ran:?}");
    let file = ran.stderr.lines().find(|line| line.trim().starts_with('{')).expect("the content of a file");
    let path = world.path().join("said.json");
    std::fs::write(&path, file).unwrap();
    let runtime_dir = world.runtime_dir();
    let words = [
        "--config",
        path.to_str().unwrap(),
        "--runtime-dir",
        runtime_dir.to_str().unwrap(),
        "--check-config",
    ];
    let ran = daemon(&words);
    let shown: Value = serde_json::from_str(&ran.stdout).unwrap();
    let (_, plugin) = shown["plugins"].as_object().unwrap().iter().next().expect("the plugin");
    assert_eq!(plugin["args"], json!(["serve-echo"]), "{ran:?}");
}
