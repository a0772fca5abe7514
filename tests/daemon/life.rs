//! The life of a real `rpcplugind`: start, signals, orderly and disorderly end, and what is left of it:
//! nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::daemon::{self, Daemon, QUICK, command, litter, nothing_runs, processes_of, run, timed};
use crate::fixtures::daemon::{bare, children_of, chmod, files_below};
use crate::fixtures::sinks::Peer;
use crate::fixtures::world::{SOON, World, built, eventually, is_alive, put_executable};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rpc_plugin_wire::event::EventKind;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A configuration file with these plugins; gives `--config FILE`.
fn config(world: &World, plugins: &Value) -> Vec<String> {
    let path = world.path().join("config.json");
    std::fs::write(&path, json!({ "plugins": plugins }).to_string()).unwrap();
    vec!["--config".to_owned(), path.display().to_string()]
}

fn failure(world: &World, mode: &str) -> Value {
    json!({"executable": world.program("failure"), "env": {"FAILURE_MODE": mode}})
}

fn start(world: &World, plugins: &Value) -> Daemon {
    let words = config(world, plugins);
    Daemon::start(world, &words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn pid_of(status: &Value) -> u32 {
    status["pid"].as_u64().unwrap() as u32
}

/// A script that leaves a process behind that its plugin is not the parent of, then is the echo plugin.
/// The helper writes its pid to a file. `how` is put before it.
/// It is nobody's before it sleeps: until then it is the child of a shell that waits for that.
fn leaves_a_helper(world: &World, name: &str, how: &str) -> PathBuf {
    let (folder, echo) = (world.path().display(), world.program("echo"));
    let text = format!(
        "#!/bin/sh\nsh -c '{how} sh -c \"echo \\$\\$ > {folder}/{name}.pid.new; \
         mv {folder}/{name}.pid.new {folder}/{name}.pid; exec sleep 1000\" > /dev/null 2>&1 & \
         until read pid < {folder}/{name}.pid && read name < /proc/$pid/comm && [ $name = sleep ]; do \
         sleep 0.01; done 2> /dev/null'\nexec {}\n",
        echo.display()
    );
    world.script(name, &text)
}

fn helper_pid(world: &World, name: &str) -> u32 {
    eventually("the helper says its pid", || {
        std::fs::read_to_string(world.path().join(format!("{name}.pid"))).ok()?.trim().parse().ok()
    })
}

#[test]
fn sigterm_sigint_and_an_operator_end_it_and_nothing_is_left() {
    let plugins = |world: &World| {
        json!({
            "echo": {"executable": world.program("echo")},
            "holds": failure(world, "grandchild-holds-pipes"),
            "helper": {"executable": leaves_a_helper(world, "helper", "setsid")},
            "stubborn": failure(world, "ignore-shutdown-and-term"),
        })
    };
    for (how, reason) in
        [("SIGTERM", "SIGTERM came"), ("SIGINT", "SIGINT came"), ("ctl", "an operator asked for it")]
    {
        let world = World::new();
        let mut daemon = start(&world, &plugins(&world));
        for id in ["echo", "holds", "helper", "stubborn"] {
            daemon.wait_for(id, "healthy");
        }
        helper_pid(&world, "helper");
        // Each plugin, the grandchild, the helper and the daemon, which has the folder in its arguments.
        assert!(processes_of(&world).len() >= 7, "{how}");
        match how {
            "SIGTERM" => daemon.signal(Signal::SIGTERM),
            "SIGINT" => daemon.signal(Signal::SIGINT),
            _ => assert_eq!(daemon.ctl(&["shutdown"]).code, 0),
        }
        let mut line = daemon.line();
        if how != "ctl" {
            assert!(line.contains(&format!(": ending, {reason}; Ctrl+C again (SIGINT) kills ")), "{line}");
            line = daemon.line();
        }
        assert!(line.contains(": ended, ") && line.contains(reason), "{line}");
        assert_eq!(daemon.ended().code(), Some(0), "{how}");
        assert_eq!(processes_of(&world), Vec::<u32>::new(), "{how}");
        assert_eq!(litter(&daemon.runtime_dir), Vec::<PathBuf>::new(), "{how}");
        let own = daemon.records("");
        let stopped: Vec<_> = own.iter().filter(|record| record.event == "host_stopped").collect();
        assert_eq!(stopped.len(), 1, "{how}: {own:?}");
        assert!(stopped[0].reason.as_ref().unwrap().contains(reason), "{how}: {stopped:?}");
        assert_eq!(own.last().unwrap().event, "host_stopped", "{how}");
    }
}

#[test]
fn after_sigkill_no_plugin_remains_and_the_next_start_is_clean() {
    let world = World::new();
    let plugins = json!({
        "echo": {"executable": world.program("echo")},
        "waits": failure(&world, "never-connect"),
        "helper": {"executable": leaves_a_helper(&world, "helper", "setsid")},
    });
    let mut daemon = start(&world, &plugins);
    let echo = daemon.wait_for("echo", "healthy");
    let with_helper = daemon.wait_for("helper", "healthy");
    let waits = eventually("its process runs", || {
        Some(daemon.json(&["plugin", "waits"])).filter(|status| status["pid"].is_u64())
    });
    let helper = helper_pid(&world, "helper");
    daemon.signal(Signal::SIGKILL);
    daemon.ended();
    for status in [&echo, &with_helper, &waits] {
        eventually("plugins end with their host", || (!is_alive(pid_of(status))).then_some(()));
    }
    // What the plugin had left behind is nobody's now, until the next daemon looks for it.
    assert!(is_alive(helper));
    assert!(!litter(&daemon.runtime_dir).is_empty(), "sockets and a token are left");

    let mut next = start(&world, &plugins);
    assert!(!is_alive(helper), "the next start ends what is left of the last");
    let again = next.wait_for("echo", "healthy");
    assert_eq!(again["generation"], echo["generation"].as_u64().unwrap() + 1);
    let swept = next.recorded("", EventKind::LeftoversSwept, |_| true);
    let details: Value = serde_json::from_str(swept.details.unwrap().get()).unwrap();
    assert_eq!(details["killed"], json!([helper]));
    let removed = details["removed"].to_string();
    for name in ["admin.sock", "waits.sock", "token.1"] {
        assert!(removed.contains(name), "{removed} lacks {name}");
    }
    next.signal(Signal::SIGTERM);
    assert_eq!(next.ended().code(), Some(0));
    nothing_runs(&world);
    assert_eq!(litter(&next.runtime_dir), Vec::<PathBuf>::new());
}

#[test]
fn sighup_and_sigusr1_change_nothing_and_are_on_record() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, &["-p", &format!("echo={}", world.program("echo").display())]);
    let before = daemon.wait_for("echo", "healthy");
    for (signal, name) in [(Signal::SIGHUP, "SIGHUP"), (Signal::SIGUSR1, "SIGUSR1")] {
        daemon.signal(signal);
        daemon.recorded("", EventKind::SignalIgnored, |record| record.message.ends_with(name));
    }
    assert!(daemon.runs());
    assert_eq!(daemon.json(&["plugin", "echo"])["pid"], before["pid"]);
    assert!(!daemon.records("").iter().any(|record| record.event == "host_stopped"));
}

/// Removes the runtime folder of a daemon, which may make something in it meanwhile.
fn remove_runtime_dir(world: &World) {
    eventually("it is removed", || std::fs::remove_dir_all(world.runtime_dir()).ok());
}

#[test]
fn a_runtime_folder_that_is_removed_is_made_again_and_told() {
    for what in ["lock", "admin.sock", ""] {
        let world = World::new();
        let daemon = Daemon::start(&world, &["-p", &format!("echo={}", world.program("echo").display())]);
        let before = daemon.wait_for("echo", "healthy");
        match what {
            "" => remove_runtime_dir(&world),
            name => std::fs::remove_file(world.runtime_dir().join(name)).unwrap(),
        }
        let told = daemon.recorded("", EventKind::RuntimeDirMade, |_| true);
        let named = match what {
            "" => "the runtime folder was removed",
            "lock" => "the lock of the runtime folder was removed",
            _ => "the admin socket was removed",
        };
        assert!(told.message.contains(named), "{told:?}");
        eventually("operators are let in again", || (daemon.ctl(&["status"]).code == 0).then_some(()));
        assert_eq!(daemon.json(&["plugin", "echo"])["pid"], before["pid"], "{what}");
        assert_eq!(daemon.ctl(&["restart", "echo"]).code, 0, "{what}");
        let after = daemon.wait_for("echo", "healthy");
        assert_eq!(after["generation"], 2, "{what}: numbers go on");
        let second = run(&mut command(&world));
        assert!(second.stderr.contains(&format!("in use by process {}", daemon.pid())), "{}", second.stderr);
    }
}

#[test]
fn a_folder_above_the_runtime_folder_that_is_moved_is_noticed_without_being_asked() {
    let world = World::new();
    let (above, moved) = (world.path().join("above"), world.path().join("moved"));
    let runtime_dir = above.join("run");
    std::fs::create_dir(&above).unwrap();
    chmod(&above, 0o700);
    let sink = Peer::datagrams(&world.path().join("sink"));
    let config = world.path().join("sinks.json");
    let target = json!({"name": "peer", "type": "unix-datagram", "path": sink.path});
    std::fs::write(&config, json!({"log": {"sinks": [target]}}).to_string()).unwrap();
    let errors = world.path().join("stderr");
    let start = || {
        let mut command = bare(&built("rpcplugind"));
        command.arg("--runtime-dir").arg(&runtime_dir).arg("--config").arg(&config);
        command.stderr(std::fs::File::create(&errors).unwrap());
        Daemon::of(&mut command, &runtime_dir)
    };
    let handed_over = |kind: &str, text: &str| {
        eventually("the sink is told", || {
            sink.got().iter().any(|line| line.contains(kind) && line.contains(text)).then_some(())
        });
    };
    // There is another one by the time that it looks: the daemon goes on there.
    let daemon = start();
    std::fs::create_dir(&moved).unwrap();
    chmod(&moved, 0o700);
    renameat2(AT_FDCWD, &above, AT_FDCWD, &moved, RenameFlags::RENAME_EXCHANGE).unwrap();
    eventually("operators are let in again", || (daemon.ctl(&["status"]).code == 0).then_some(()));
    daemon.recorded("", EventKind::RuntimeDirMade, |_| true);
    handed_over("runtime_dir_made", "the runtime folder was removed or replaced");
    drop(daemon);
    std::fs::remove_dir_all(&moved).unwrap();
    // There is none: it ends.
    let mut daemon = start();
    std::fs::rename(&above, &moved).unwrap();
    assert_eq!(daemon.ended().code(), Some(1));
    handed_over("host_fault", "cannot be made again");
    let told = std::fs::read_to_string(&errors).unwrap();
    assert!(told.contains("cannot be made again"), "{told}");
}

#[test]
fn a_second_sigterm_waits_and_a_second_sigint_does_not() {
    let world = World::new();
    let words = config(&world, &json!({"stubborn": failure(&world, "ignore-shutdown-and-term")}));
    let mut command = command(&world);
    // Nobody would wait that long.
    command.args(words).args(["--shutdown-grace=1h", "--term-grace=1h"]);
    let mut daemon = Daemon::of(&mut command, &world.runtime_dir());
    let pid = pid_of(&daemon.wait_for("stubborn", "healthy"));
    daemon.signal(Signal::SIGTERM);
    daemon.recorded("stubborn", EventKind::ShutdownRequested, |_| true);
    daemon.signal(Signal::SIGTERM);
    daemon.recorded("", EventKind::SignalIgnored, |record| record.message.ends_with("SIGTERM"));
    assert!(is_alive(pid) && daemon.runs());
    daemon.signal(Signal::SIGINT);
    assert_eq!(daemon.ended().code(), Some(0));
    assert!(!is_alive(pid));
    let sent = daemon.recorded("stubborn", EventKind::SignalSent, |_| true);
    assert!(sent.message.contains("SIGKILL") && sent.pid == Some(pid), "{sent:?}");
    assert_eq!(sent.reason.as_deref(), Some("SIGINT came again"));
    let stopped = daemon.recorded("", EventKind::HostStopped, |_| true);
    assert_eq!(stopped.reason.as_deref(), Some("SIGTERM came"), "the first reason counts");
}

#[test]
fn shutdown_waits_until_the_daemon_is_gone_and_says_for_whom() {
    let world = World::new();
    let words = config(&world, &json!({"stubborn": failure(&world, "ignore-shutdown-and-term")}));
    let mut ends_late = command(&world);
    ends_late.args(&words).args(["--shutdown-grace=1h", "--term-grace=1h"]);
    let mut daemon = Daemon::of(&mut ends_late, &world.runtime_dir());
    daemon.wait_for("stubborn", "healthy");
    assert!(daemon.ctl(&["status"]).stdout.starts_with("state           running\n"));
    let asked = daemon.ctl(&["shutdown", "--no-wait"]);
    assert_eq!((asked.code, &*asked.stdout), (0, "the daemon is ending\n"));
    let late = daemon.ctl(&["shutdown", "--timeout", "1200ms"]);
    assert_eq!((late.code, &*late.stdout), (6, ""));
    for part in ["rpcpluginctl: it waits for 1 plugin: stubborn (stopping)\n", "has not ended within 1.2s"] {
        assert!(late.stderr.contains(part), "{late:?}");
    }
    let status = daemon.ctl(&["status"]).stdout;
    assert!(status.starts_with("state           ending: an operator asked for it"), "{status}");
    let shutdown = std::thread::spawn({
        let runtime_dir = daemon.runtime_dir.clone();
        move || daemon::ctl(&runtime_dir, &["shutdown", "--json"])
    });
    // Else it may come when there is nobody to ask any more.
    eventually("the one who waits is connected, beside the one who looks", || {
        let status: Value = serde_json::from_str(&daemon.ctl(&["status", "--json"]).stdout).unwrap();
        (status["clients"].as_u64() == Some(2)).then_some(())
    });
    daemon.signal(Signal::SIGINT);
    assert!(daemon.line().contains("Ctrl+C again (SIGINT) kills the plugins that have not ended"));
    daemon.signal(Signal::SIGINT);
    assert!(daemon.line().contains(": ending, SIGINT came again: plugins that have not ended are killed"));
    let gone = shutdown.join().unwrap();
    assert_eq!((gone.code, &*gone.stdout), (0, "{}\n"), "{gone:?}");
    // Its lock decides; the process has half a second, which a busy machine may not keep.
    eventually("its process is gone", || (!daemon.runs()).then_some(()));
    drop(Daemon::start(&world, &[]));
}

#[test]
fn a_second_daemon_on_the_same_folder_is_refused_with_the_pid_of_the_first() {
    let world = World::new();
    let daemon = Daemon::start(&world, &[]);
    let second = run(&mut command(&world));
    assert_eq!((second.code, &*second.stdout), (1, ""));
    let expected = format!("is in use by process {}; stop that process or choose another", daemon.pid());
    assert!(second.stderr.starts_with("rpcplugind: runtime folder "), "{}", second.stderr);
    assert!(second.stderr.contains(&expected), "{}", second.stderr);
    assert_eq!(daemon.ctl(&["status"]).code, 0, "the first one is not harmed");
}

#[test]
fn a_second_host_ends_while_the_first_one_lives_whatever_became_of_its_lock() {
    for whole in [false, true] {
        let world = World::new();
        let echo = format!("echo={}", world.program("echo").display());
        let daemon = Daemon::start(&world, &["--plugin", &echo]);
        let plugin = pid_of(&daemon.wait_for("echo", "healthy"));
        match whole {
            false => std::fs::remove_file(world.runtime_dir().join("lock")).unwrap(),
            true => remove_runtime_dir(&world),
        }
        let second = run(&mut command(&world));
        assert_eq!((second.code, &*second.stdout), (1, ""), "{whole}");
        assert!(second.stderr.contains(&format!("process {}", daemon.pid())), "{whole}: {}", second.stderr);
        assert!(whole || is_alive(plugin), "the second one killed it");
    }
}

/// One that starts has the lock for the moment until it finds the first one alive, which is long on a busy machine.
#[test]
fn a_lock_that_another_host_takes_for_a_moment_does_not_end_the_first() {
    let world = World::new();
    let daemon = Daemon::start(&world, &[]);
    let other = world.path().join("other-lock");
    let file = std::fs::File::create(&other).unwrap();
    daemon::chmod(&other, 0o600);
    let held = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno).unwrap();
    let lock = world.runtime_dir().join("lock");
    std::fs::remove_file(&lock).unwrap();
    std::fs::rename(&other, &lock).unwrap();
    let told = daemon.recorded("", EventKind::HostShortage, |_| true);
    assert!(told.error.as_deref().is_some_and(|error| error.contains("is in use by")), "{told:?}");
    drop(held);
    let made = daemon.recorded("", EventKind::RuntimeDirMade, |_| true);
    assert!(made.message.contains("the lock of the runtime folder was removed or replaced"), "{made:?}");
    daemon.recorded("", EventKind::HostShortageOver, |_| true);
    assert_eq!(daemon.ctl(&["status"]).code, 0, "it goes on");
}

#[test]
fn what_plugins_leave_behind_lives_as_long_as_they_do() {
    let world = World::new();
    let mut daemon = start(
        &world,
        &json!({
            // In the plugin's session; in its own; in its own and without the plugin's environment.
            "same": {"executable": leaves_a_helper(&world, "same", "")},
            "own": {"executable": leaves_a_helper(&world, "own", "setsid")},
            "stranger": {"executable": leaves_a_helper(&world, "stranger", "env -i setsid")},
            "crashes": {"executable": world.program("echo")},
        }),
    );
    for id in ["same", "own", "stranger", "crashes"] {
        daemon.wait_for(id, "healthy");
    }
    let [same, own, stranger] = ["same", "own", "stranger"].map(|id| helper_pid(&world, id));
    // Each crash is a SIGCHLD and a sweep.
    let mut status = daemon.json(&["plugin", "crashes"]);
    for _ in 0..3 {
        assert_eq!(daemon.ctl(&["call", "crashes", "crash", "{\"how\": \"kill\"}"]).code, 5);
        status = daemon.wait_replaced("crashes", status["pid"].as_u64().unwrap());
    }
    eventually("one that belongs to nobody is ended", || (!is_alive(stranger)).then_some(()));
    let told = daemon.recorded("", EventKind::OrphansKilled, |_| true);
    assert!(told.level == "warn" && told.message.contains(&format!("{stranger} (sleep)")), "{told:?}");
    assert!(told.details.unwrap().get().contains(&format!("\"pid\":{stranger}")));
    assert!(is_alive(same) && is_alive(own));
    for (id, helper) in [("same", same), ("own", own)] {
        assert_eq!(daemon.ctl(&["stop", id]).code, 0);
        eventually("it ends with its plugin", || (!is_alive(helper)).then_some(()));
    }
    eventually("none is left as a zombie", || {
        children_of(daemon.pid()).iter().all(|(_, state)| state != "Z").then_some(())
    });
    assert_eq!(children_of(daemon.pid()).len(), 2, "the two plugins that still run");
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended().code(), Some(0));
}

/// Started as some service managers and scripts do: signals ignored, stdin closed, a descriptor leaked.
#[test]
fn a_poor_start_does_not_reach_the_plugins() {
    let world = World::new();
    let sleeps = world.script("sleeps", "#!/bin/sh\nexec sleep 1000\n");
    let words = config(
        &world,
        &json!({"echo": {"executable": world.program("echo")}, "sleeps": {"executable": sleeps}}),
    );
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "trap '' CHLD PIPE HUP USR1; exec \"$0\" \"$@\" <&- 7</dev/zero"]).env_clear();
    shell.arg(built("rpcplugind")).arg("--runtime-dir").arg(world.runtime_dir()).args(QUICK).args(words);
    let mut daemon = Daemon::of(&mut shell, &world.runtime_dir());
    let fds = |pid: u32| {
        let links = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        links.map(|fd| std::fs::read_link(fd.unwrap().path()).unwrap_or_default()).collect::<Vec<_>>()
    };
    assert!(fds(daemon.pid()).contains(&"/dev/zero".into()), "the daemon was given it");

    let before = daemon.wait_for("echo", "healthy");
    let sleeps = eventually("the script has become sleep", || {
        let pid = daemon.json(&["plugin", "sleeps"])["pid"].as_u64()?;
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        (name == "sleep\n").then_some(pid as u32)
    });
    for pid in [pid_of(&before), sleeps] {
        assert!(!fds(pid).contains(&"/dev/zero".into()), "{:?}", fds(pid));
        assert_eq!(std::fs::read_link(format!("/proc/{pid}/fd/0")).unwrap().to_str(), Some("/dev/null"));
    }
    let status = std::fs::read_to_string(format!("/proc/{sleeps}/status")).unwrap();
    assert!(status.contains("SigIgn:\t0000000000000000\n"), "{status}");

    // An exit is seen and told, though the daemon was to ignore SIGCHLD.
    assert_eq!(daemon.ctl(&["call", "echo", "crash", "{\"how\": \"exit\", \"code\": 7}"]).code, 5);
    let exited = daemon.recorded("echo", EventKind::Exited, |_| true);
    assert!(exited.message.contains("exit status 7"), "{exited:?}");
    daemon.wait_replaced("echo", before["pid"].as_u64().unwrap());
    // Nobody reads its output any more.
    drop(daemon.stdout.take());
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended().code(), Some(0));
    nothing_runs(&world);
}

#[test]
fn the_tour_shows_all_in_seconds_and_leaves_nothing() {
    let world = World::new();
    let temporary = world.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    daemon::chmod(&temporary, 0o700);
    let mut demo = daemon::bare(&built("rpcplugind"));
    let (ran, took) = timed(|| run(demo.arg("demo").env("TMPDIR", &temporary)));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(took < SOON, "{took:?}");
    for part in
        ["$ rpcpluginctl status", "$ rpcpluginctl echo echo --message hello\nhello\n", "SIGKILL", "\nagain\n"]
    {
        assert!(ran.stdout.contains(part), "{} lacks {part:?}", ran.stdout);
    }
    for event in ["launched", "authenticated", "exited", "restart_scheduled"] {
        assert!(ran.stdout.contains(event), "{} lacks {event}", ran.stdout);
    }
    let healthy = ran.stdout.matches("starting -> healthy").count();
    assert_eq!(healthy, 2, "the record is whole when it is shown: {}", ran.stdout);
    assert_eq!(files_below(&temporary), Vec::<PathBuf>::new());
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
    nothing_runs(&world);
}

#[test]
fn a_tour_that_is_interrupted_leaves_nothing() {
    let world = World::new();
    let temporary = world.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    daemon::chmod(&temporary, 0o700);
    let mut demo = daemon::bare(&built("rpcplugind"));
    demo.arg("demo").env("TMPDIR", &temporary).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut demo = demo.spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(demo.stdout.take().unwrap()));
    assert!(lines.any(|line| line.unwrap().starts_with("$ rpcpluginctl status")));
    kill(Pid::from_raw(demo.id() as i32), Signal::SIGINT).unwrap();
    // Nothing is read any more, and nothing hangs on that.
    drop(lines);
    let ran = daemon::Ran::from(demo.wait_with_output().unwrap());
    match ran.code {
        // After what the interrupted step said.
        1 => assert!(ran.stderr.ends_with("rpcplugind: the tour was interrupted by a signal\n"), "{ran:?}"),
        // It was through before the signal came.
        code => assert_eq!(code, 0, "{ran:?}"),
    }
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
    nothing_runs(&world);
}

#[test]
fn the_tour_that_stays_prints_commands_that_work() {
    let world = World::new();
    let temporary = world.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    daemon::chmod(&temporary, 0o700);
    let mut demo = daemon::bare(&built("rpcplugind"));
    let mut demo =
        demo.args(["demo", "--stay"]).env("TMPDIR", &temporary).stdout(Stdio::piped()).spawn().unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(demo.stdout.take().unwrap()));
    let mut commands = Vec::new();
    for line in lines.map(Result::unwrap) {
        if let Some(command) = line.strip_prefix("  ").filter(|line| line.contains("rpcpluginctl")) {
            commands.push(command.to_owned());
        }
        if line.contains("Ctrl-C ends it") {
            break;
        }
    }
    assert!(commands.len() >= 4, "{commands:?}");
    let shutdown = commands.pop().unwrap();
    assert!(shutdown.ends_with(" shutdown"), "{shutdown}");
    for line in commands.iter().chain([&shutdown]) {
        // One that goes on is told when to stop.
        let line = if line.contains("--follow") { format!("{line} --timeout 1ms") } else { line.clone() };
        let ran = run(Command::new("/bin/sh").args(["-c", &line]));
        assert!(ran.code == 0 && !ran.stdout.is_empty(), "{line}: {ran:?}");
    }
    assert!(eventually("the tour ends", || demo.try_wait().unwrap()).success());
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
}

#[test]
fn an_ordinary_user_can_run_it() {
    if !daemon::is_root() {
        // Then every test here is run by an ordinary user.
        return;
    }
    let world = World::new();
    daemon::chmod(world.path(), 0o711);
    let home = world.path().join("home");
    std::fs::create_dir(&home).unwrap();
    let mut programs = Vec::new();
    for name in ["rpcplugind", "echo"] {
        let program = home.join(name);
        put_executable(&built(name), &program);
        daemon::chmod(&program, 0o755);
        programs.push(program);
    }
    daemon::chmod(&home, 0o700);
    std::os::unix::fs::chown(&home, Some(daemon::NOBODY), Some(daemon::NOBODY)).unwrap();
    let mut command = daemon::bare(&programs[0]);
    let session = home.join("session");
    std::fs::create_dir(&session).unwrap();
    daemon::chmod(&session, 0o700);
    std::os::unix::fs::chown(&session, Some(daemon::NOBODY), Some(daemon::NOBODY)).unwrap();
    daemon::as_nobody(&mut command).args(QUICK).env("XDG_RUNTIME_DIR", &session);
    command.arg("--plugin").arg(format!("echo={}", programs[1].display()));
    let mut daemon = Daemon::of(&mut command, &session.join("rpcplugind"));
    let status = daemon.wait_for("echo", "healthy");
    let owner = |path: String| std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path).unwrap());
    assert_eq!(owner(format!("/proc/{}", status["pid"])), daemon::NOBODY);
    assert_eq!(owner(session.join("rpcplugind/admin.sock").display().to_string()), daemon::NOBODY);
    assert_eq!(daemon.ctl(&["echo", "echo", "--message", "hi"]).stdout, "hi\n", "root may ask it");
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended().code(), Some(0));
    nothing_runs(&world);
}

#[test]
fn many_crashes_leave_neither_zombies_nor_descriptors() {
    let world = World::new();
    let words = ["--restarts-max=1000", "--restart-window=1h"];
    let plugin = format!("echo={}", world.program("echo").display());
    let daemon = Daemon::start(&world, &[&words[..], &["-p", &plugin]].concat());
    let mut status = daemon.wait_for("echo", "healthy");
    let fds = || std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    let before = fds();
    for _ in 0..10 {
        daemon.ctl(&["call", "echo", "crash", "{\"how\": \"kill\"}"]);
        status = daemon.wait_replaced("echo", status["pid"].as_u64().unwrap());
    }
    assert_eq!(status["generation"], 11);
    assert_eq!(children_of(daemon.pid()).len(), 1);
    eventually("descriptors are back where they were", || (fds() <= before).then_some(()));
}
