//! What whoever starts a daemon sees without asking: how its plugins came up, and what goes wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::daemon::{Daemon, QUICK, Ran, command, ctl, run};
use crate::fixtures::world::{World, eventually};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Write, pipe};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A daemon's command with a plugin that works and one that fails for good; where its standard error goes.
fn one_of_two(world: &World, words: &[&str]) -> (Command, PathBuf) {
    let broken = world.script("broken", "#!/bin/sh\necho 'cannot open database' >&2\nexit 3\n");
    let mut command = command(world);
    command.args(QUICK).args(["--restart", "never"]).args(words);
    command.arg("--plugin").arg(format!("echo={}", world.program("echo").display()));
    command.arg("--plugin").arg(format!("broken={}", broken.display()));
    let errors = world.path().join("stderr");
    command.stderr(File::create(&errors).unwrap());
    (command, errors)
}

/// What the daemon has said on standard error at its end.
fn said(daemon: &mut Daemon, errors: &PathBuf) -> String {
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.ended().success());
    std::fs::read_to_string(errors).unwrap()
}

#[test]
fn a_plugin_that_fails_is_seen_where_people_look() {
    let world = World::new();
    let (mut command, errors) = one_of_two(&world, &[]);
    let mut daemon = Daemon::of(&mut command, &world.runtime_dir());
    let ready = daemon.any_line();
    assert!(ready.contains(": ready, 1 of 2 plugins healthy, runtime folder "), "{ready}");
    let reason = daemon.any_line();
    assert!(reason.starts_with("  broken is failed: ") && reason.contains("(exit status 3)"), "{reason}");
    assert!(reason.trim_end().ends_with("cannot open database"), "{reason}");
    let said = said(&mut daemon, &errors);
    let line = said.lines().find(|line| line.contains("gave_up")).expect("it is on standard error");
    assert!(line.contains(" error [broken] gave_up: ") && line.contains("cannot open database"), "{said}");
    let [exited] = said.lines().filter(|line| line.contains("] exited: ")).collect::<Vec<_>>()[..] else {
        panic!("its exit is not told once: {said}");
    };
    let id_at = exited.find('[').unwrap();
    assert!(said.lines().all(|line| line.get(id_at..).is_some()), "the columns are not aligned: {said}");
    assert!(!said.contains(" info ") && !said.contains("[echo]"), "nothing is wrong with it: {said}");
}

#[test]
fn who_wants_nothing_on_standard_error_or_has_a_sink_for_it_is_told_nothing_twice() {
    let world = World::new();
    let (mut command, errors) = one_of_two(&world, &["--quiet"]);
    let mut daemon = Daemon::of(&mut command, &world.runtime_dir());
    assert!(daemon.any_line().contains(": ready, 1 of 2 plugins healthy"));
    assert_eq!(said(&mut daemon, &errors), "");

    // A record of its own: a sink tells what a daemon before this one left.
    let world = World::new();
    let (mut command, errors) = one_of_two(&world, &["--log-sink", "stderr"]);
    let mut daemon = Daemon::of(&mut command, &world.runtime_dir());
    assert!(daemon.any_line().contains(": ready, 1 of 2 plugins healthy"));
    let own = || std::fs::read_to_string(&errors).unwrap();
    eventually("the sink tells of it", || own().contains("gave_up").then_some(()));
    let said = said(&mut daemon, &errors);
    assert_eq!(said.matches("] gave_up: ").count(), 1, "{said}");
}

fn required(world: &World, words: &[&str]) -> Ran {
    run(one_of_two(world, words).0.stderr(std::process::Stdio::piped()))
}

#[test]
fn a_daemon_whose_plugins_have_to_be_healthy_ends_with_the_reasons_where_they_are_not() {
    let world = World::new();
    for words in [&["--require-healthy"][..], &["--require-healthy=1h", "--quiet"]] {
        let ran = required(&world, words);
        assert_eq!(ran.code, 1, "{words:?}: {ran:?}");
        assert!(!ran.stdout.contains("ready") && !ran.stdout.contains("ended"), "{ran:?}");
        let reasons = ran.stderr.find("rpcplugind: 1 of 2 plugins healthy:\n  broken is failed: ");
        let reasons = &ran.stderr[reasons.unwrap_or_else(|| panic!("{words:?}: {}", ran.stderr))..];
        assert!(reasons.contains("exit status 3") && reasons.contains("cannot open database"), "{reasons}");
    }
    let wrong = required(&world, &["--require-healthy=soon"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("--require-healthy"), "{wrong:?}");
}

#[test]
fn a_plugin_that_comes_up_late_is_waited_for_where_there_is_time() {
    let world = World::new();
    let mark = world.path().join("tried");
    let late = format!(
        "#!/bin/sh\nif [ -e {0} ]; then exec {1}; fi\n: >{0}\nexit 7\n",
        mark.display(),
        world.program("echo").display()
    );
    let late = world.script("late", &late);
    let plugin = format!("late={}", late.display());
    let start = |required: &str, backoff: &str| {
        let mut command = command(&world);
        command.args([
            "--backoff-initial",
            backoff,
            "--backoff-max",
            "3s",
            "--quiet",
            "--json",
            required,
            "--plugin",
            &plugin,
        ]);
        command
    };
    // Its second try is far away.
    let ran = run(&mut start("--require-healthy", "3s"));
    assert!(ran.code == 1 && ran.stderr.contains("0 of 1 plugin healthy:\n  late is "), "{ran:?}");
    std::fs::remove_file(&mark).unwrap();
    let mut child =
        start("--require-healthy=60s", "10ms").stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["state"], "started");
    let ready = next();
    assert_eq!((&ready["state"], &ready["healthy"]), (&"ready".into(), &1.into()), "{ready}");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn what_a_plugin_said_is_escaped_for_programs_too() {
    let world = World::new();
    let odd = world.script("odd", "#!/bin/sh\nprintf 'turned \\342\\200\\256 round\\n' >&2\nexit 3\n");
    let mut command = command(&world);
    command.args(QUICK).args(["--json", "--quiet", "--restart", "never", "--plugin"]);
    let mut child = command.arg(format!("odd={}", odd.display())).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.find_map(|line| line.ok().filter(|line| line.contains("\"ready\""))).unwrap();
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    eventually("the daemon ends", || child.try_wait().unwrap());
    assert!(!ready.contains('\u{202e}'), "{ready}");
    let ready: Value = serde_json::from_str(&ready).unwrap();
    assert!(ready["not_healthy"][0]["reason"].as_str().unwrap().contains("turned \u{202e} round"), "{ready}");
}

/// Both outputs of a command, of which nobody takes anything: the pipe is full. To be dropped when the command has ended.
fn stuck(command: &mut Command) -> PipeReader {
    let (reader, writer) = pipe().unwrap();
    let set = |flags| fcntl(&writer, FcntlArg::F_SETFL(flags)).map(drop).unwrap();
    set(OFlag::O_NONBLOCK);
    while (&writer).write(&[b'x'; 4096]).is_ok() {}
    set(OFlag::empty());
    command.stdout(writer.try_clone().unwrap()).stderr(writer);
    reader
}

#[test]
fn a_reader_of_what_it_says_that_stands_still_keeps_no_daemon_from_ending() {
    let world = World::new();
    let (mut command, _errors) = one_of_two(&world, &[]);
    let _reader = stuck(&mut command);
    let mut child = command.spawn().unwrap();
    eventually("the plugin is healthy", || {
        let ran = ctl(&world.runtime_dir(), &["wait", "echo", "--for", "healthy", "--timeout", "20s"]);
        (ran.code == 0).then_some(())
    });
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    let status = eventually("the daemon ends", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    // One that fails says so, and ends too.
    command.arg("--require-healthy");
    let mut child = command.spawn().unwrap();
    let status = eventually("the daemon ends", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
}
