//! `rpcpluginctl dev`: a script of calls with what it prints, and every way in which it ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::world::{World, built, eventually, is_alive, signal};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// The command in a folder for temporary files of its own, with no variable that matters but these.
fn dev(world: &World, words: &[&str]) -> Command {
    let temporary = world.path().join("tmp");
    std::fs::create_dir_all(&temporary).unwrap();
    let mut command = Command::new(built("rpcpluginctl"));
    command.arg("dev").args(words).current_dir(world.path());
    command.env_clear().env("TMPDIR", temporary).env("LET", "through").env("PATH", "/usr/bin:/bin");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it with this input to its end.
fn run(world: &World, words: &[&str], input: &str) -> Output {
    let mut child = dev(world, words).spawn().unwrap();
    // It may end before it read all.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn objects(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn of_type<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["type"] == kind).collect()
}

fn nothing_is_left(world: &World) {
    let left: Vec<_> = std::fs::read_dir(world.path().join("tmp")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

const SCRIPT: &str = "# Comments and empty lines do nothing.\n\n\
    echo {\"n\": 1.50, \"list\": []}\ncall echo\ncapabilities\nsleep {\"ms\": 1}\nrestart\nstatus\nhelp\n";

#[test]
fn a_script_of_calls_prints_results_and_all_that_happens() {
    let world = World::new();
    world.program("echo");
    for transport in ["unix", "fd", "stdio"] {
        let output = run(&world, &["./echo", "--json", "--transport", transport], SCRIPT);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("\"result\":{\"n\": 1.50, \"list\": []}}\n"), "as it came: {text}");
        let objects = objects(&output);
        let results: Vec<&Value> =
            of_type(&objects, "result").iter().map(|object| &object["method"]).collect();
        assert_eq!(results, ["echo", "echo", "sleep"]);
        assert!(of_type(&objects, "result").iter().all(|object| object["took_ms"].as_f64().unwrap() > 0.0));
        assert_eq!(of_type(&objects, "capabilities")[0]["capabilities"], json!(["crash", "echo", "sleep"]));
        let status = &of_type(&objects, "status")[0]["status"];
        assert_eq!((&status["generation"], &status["state"]), (&json!(2), &json!("healthy")));
        assert!(of_type(&objects, "help")[0]["help"].as_array().unwrap().len() > 4);
        let states: Vec<&Value> =
            of_type(&objects, "state").iter().map(|object| &object["details"]["to"]).collect();
        let life = ["starting", "healthy", "stopping", "starting", "healthy", "stopping", "stopped"];
        assert_eq!(states, life, "{transport}");
        let connected = of_type(&objects, "event").iter().any(|object| object["event"] == "connected");
        assert_eq!(connected, transport == "unix");
        nothing_is_left(&world);
    }
}

#[test]
fn text_is_aligned_escaped_and_has_no_colour_where_no_terminal_is() {
    let world = World::new();
    world.program("echo");
    let script = world.script("prints", "#!/bin/sh\nprintf 'a \\033[31mred\\n' >&2\nexec ./echo\n");
    let words = [script.to_str().unwrap(), "--id", "me"];
    let output = run(&world, &words, "echo {\"a\": \"\\u001b\"}\nquit\nnever {}\n");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(!text.contains('\x1b'), "{text:?}");
    for expected in [
        "s  state   starting -> healthy\n",
        "s  stderr  a \\x1b[31mred\n",
        "s  result  echo took ",
        " ms\n{\n  \"a\": \"\\u001b\"\n}\n",
        "s  note    the plugin has ended\n",
    ] {
        assert!(text.contains(expected), "{text}\n  lacks {expected:?}");
    }
    assert!(!text.contains("never"), "{text}");
}

#[test]
fn the_first_line_that_fails_decides_the_exit_code_and_the_others_go_on() {
    let world = World::new();
    world.program("echo");
    for (script, timeout, expected) in [
        ("echo [1\necho {}\n", "60s", 2),
        ("echo 1\necho {}\n", "60s", 1),
        ("nothing\necho [1\necho {}\n", "60s", 1),
        // The launch has this time too, and takes seconds on a busy machine.
        ("sleep {\"ms\": 60000}\nnothing\necho {}\n", "10s", 6),
        ("crash {\"how\": \"kill\"}\nrestart\necho {}\n", "60s", 5),
    ] {
        let output = run(&world, &["./echo", "--json", "--timeout", timeout], script);
        assert_eq!(output.status.code(), Some(expected), "{script}: {output:?}");
        let objects = objects(&output);
        assert!(!of_type(&objects, "error").is_empty());
        assert_eq!(of_type(&objects, "result").len(), 1, "{script}: {objects:?}");
    }
}

#[test]
fn a_plugin_that_does_not_start_is_told_and_can_be_built_again() {
    let world = World::new();
    let script = world.script("broken", "#!/bin/sh\necho not yet >&2\nexit 9\n");
    let mut child = dev(&world, &["broken", "--json"]).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let failed =
        lines.find_map(|line| Some(line.unwrap()).filter(|line| line.contains("\"type\":\"error\"")));
    let failed = failed.expect("it says that it does not start");
    assert!(failed.contains("exit status 9") && failed.contains("not yet"), "{failed}");
    world.program("echo");
    std::fs::rename(world.path().join("echo"), script).unwrap();
    stdin.write_all(b"restart\necho {}\n").unwrap();
    assert!(lines.any(|line| line.unwrap().contains("\"result\":{}")), "it is the new one");
    drop(stdin);
    lines.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(5), "it did not start at first");
    nothing_is_left(&world);
}

#[test]
fn what_fails_every_launch_is_tried_and_told_once() {
    let world = World::new();
    world.script("broken", "#!/does/not/exist\n");
    let output = run(&world, &["./broken"], "");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(5), "{text}");
    for (said, times) in [
        ("interpreter /does/not/exist does not exist; install it", 1),
        ("launch_failed: ", 1),
        ("gave_up: it is launched again once its files have changed", 1),
        ("restart_scheduled", 0),
        ("starting -> failed\n", 1),
        ("the plugin is failed, as was told; 'restart' launches it again\n", 1),
    ] {
        assert_eq!(text.matches(said).count(), times, "{said:?} in {text}");
    }
    let objects = objects(&run(&world, &["./broken", "--json"], ""));
    let errors = of_type(&objects, "error");
    assert!(
        errors.len() == 1 && errors[0]["message"].as_str().unwrap().contains("install it"),
        "{objects:?}"
    );
    nothing_is_left(&world);
}

/// Starts it with its input left open; gives it, the plugin's pid, and the rest of what it prints.
#[expect(clippy::zombie_processes, reason = "the caller waits for it")]
fn started(world: &World) -> (Child, u32, impl Read + use<>) {
    world.program("echo");
    let mut child = dev(world, &["./echo", "--json"]).spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "it ended");
        let object: Value = serde_json::from_str(&line).unwrap();
        if object["details"]["to"] == "healthy" {
            let pid = u32::try_from(object["pid"].as_u64().unwrap()).unwrap();
            return (child, pid, reader);
        }
    }
}

#[test]
fn a_signal_ends_it_by_the_ladder_though_the_input_goes_on() {
    let world = World::new();
    for which in [Signal::SIGINT, Signal::SIGTERM] {
        let (mut child, pid, mut rest) = started(&world);
        let stdin = child.stdin.take();
        signal(child.id(), which);
        let mut text = String::new();
        rest.read_to_string(&mut text).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(text.contains("\"shutdown_requested\"") && text.contains("exit status 0"), "{text}");
        assert!(!is_alive(pid));
        nothing_is_left(&world);
        drop(stdin);
    }
}

#[test]
fn ctrl_c_first_cancels_the_call_that_is_under_way() {
    let world = World::new();
    let (mut child, pid, rest) = started(&world);
    let mut lines = BufReader::new(rest).lines().map(Result::unwrap);
    let folder = std::fs::read_dir(world.path().join("tmp")).unwrap().next().unwrap().unwrap().path();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"sleep {\"ms\": 60000}\n").unwrap();
    eventually("the call is under way", || {
        let mut shown = Command::new(built("rpcpluginctl"));
        let shown =
            shown.arg("--runtime-dir").arg(&folder).args(["plugin", "echo", "--json"]).output().unwrap();
        let status: Value = serde_json::from_slice(&shown.stdout).ok()?;
        (status["calls_in_flight"] == 1).then_some(())
    });
    signal(child.id(), Signal::SIGINT);
    let cancelled = lines.find(|line| line.contains("\"type\":\"error\"")).unwrap();
    assert!(cancelled.contains("\"name\":\"cancelled\""), "{cancelled}");
    stdin.write_all(b"echo {\"still\": 1}\n").unwrap();
    assert!(lines.any(|line| line.contains("\"result\":{\"still\": 1}")), "it goes on");
    assert!(is_alive(pid));
    signal(child.id(), Signal::SIGINT);
    lines.for_each(drop);
    child.wait().unwrap();
    nothing_is_left(&world);
    drop(stdin);
}

#[test]
fn ctrl_c_ends_it_all_once_the_result_of_a_call_is_seen() {
    let world = World::new();
    let (mut child, pid, rest) = started(&world);
    let mut rest = BufReader::new(rest);
    let mut stdin = child.stdin.take().unwrap();
    // More than the pipe takes: while this is not read to its end, the program is showing it.
    writeln!(stdin, "echo {{\"long\": \"{}\"}}", "x".repeat(512 * 1024)).unwrap();
    let mut shown = Vec::new();
    while !shown.ends_with(b"\"long\":") {
        assert!(rest.read_until(b':', &mut shown).unwrap() > 0, "it ended");
    }
    signal(child.id(), Signal::SIGINT);
    eventually("the plugin ends, because no call is under way", || (!is_alive(pid)).then_some(()));
    let mut lines = rest.lines().map(Result::unwrap);
    let is_answer = |line: &String| line.contains("shutdown_requested") || line.contains("call is cancelled");
    let said = lines.find(is_answer).unwrap();
    assert!(said.contains("shutdown_requested"), "no call was under way: {said}");
    lines.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    nothing_is_left(&world);
    drop(stdin);
}

#[test]
fn an_operator_can_look_at_it_and_a_reader_that_goes_ends_it() {
    let world = World::new();
    let (mut child, pid, rest) = started(&world);
    let folder = std::fs::read_dir(world.path().join("tmp")).unwrap().next().unwrap().unwrap().path();
    let shown = Command::new(built("rpcpluginctl")).arg("--runtime-dir").arg(folder).arg("plugins").output();
    assert!(String::from_utf8_lossy(&shown.unwrap().stdout).contains("echo"));
    drop(rest);
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(b"echo {}\necho {}\n");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    eventually("the plugin ends", || (!is_alive(pid)).then_some(()));
}

#[test]
fn arguments_variables_and_folder_are_those_of_the_command_line() {
    let world = World::new();
    world.program("echo");
    let body = "#!/bin/sh\necho \"$# $1 $2 $A $LET ${PATH_NOT-none} $(pwd)\" >&2\nexec ./echo\n";
    world.script("shows", body);
    let words = [
        "--json",
        "shows",
        "--env",
        "A=b c",
        "--pass-env",
        "LET",
        "--pass-env",
        "NOT",
        "--",
        "--json",
        "two",
    ];
    let output = run(&world, &words, "");
    let objects = objects(&output);
    let expected = format!("2 --json two b c through none {}", world.path().display());
    let printed = of_type(&objects, "stderr");
    assert!(printed.iter().any(|line| line["message"] == expected.as_str()), "{objects:?}\n{expected}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_wrong_command_line_is_told_before_anything_starts() {
    let world = World::new();
    let program = world.program("echo");
    let program = program.to_str().unwrap();
    let table: [(&[&str], i32, &str); 7] = [
        (&[], 2, "lacks its PROGRAM"),
        (&["does-not-exist"], 1, "does-not-exist: No such file"),
        (&[program, "--transport", "tcp"], 2, "not a transport; one of unix, fd, stdio"),
        (&[program, "--env", "A"], 2, "it has no '='"),
        (&[program, "--id", "a/b"], 2, "contains '/'"),
        (&[program, "--timeout", "0"], 2, "a call needs some time"),
        (&[program, "--runtime-dir", "/run/x"], 2, "a runtime folder of its own"),
    ];
    for (words, code, expected) in table {
        let output = run(&world, words, "");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {stderr}");
        assert!(stderr.contains(expected) && output.stdout.is_empty(), "{words:?}: {stderr}");
    }
    assert!(Path::new(program).exists());
}
