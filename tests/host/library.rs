//! The host library as an embedding program sees it: lifetimes, threads, events, what it refuses, and what
//! it leaves alone.
//!
//! What it deliberately does not do: calls and health; `host_calls` and `host_health` do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::child::alone;
use crate::fixtures::world::{self, SOON, World, eventually, is_alive, next_event, open_fds};
use rpc_plugin_system::host::{
    CallError, EventStream, Host, HostError, LifecycleEvent, PluginConfig, PluginHandle, Policy,
};
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::life::PluginState;
use rpc_plugin_wire::{ErrorCode, Outcome, PluginId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

const fn shared_by_threads<T: Clone + Send + Sync + 'static>() {}
const _: () = shared_by_threads::<Host>();
const _: () = shared_by_threads::<PluginHandle>();
const _: () = shared_by_threads::<LifecycleEvent>();
const fn sent_to_threads<T: Send + 'static>() {}
const _: () = sent_to_threads::<EventStream>();
const _: () = sent_to_threads::<CallError>();
const _: () = sent_to_threads::<HostError>();

fn up(plugin: &PluginHandle) -> u32 {
    plugin.start().unwrap();
    plugin.wait_routable(None, SOON).unwrap().pid.unwrap()
}

/// Every file below a folder but the records and numbers, which are to stay.
fn litter(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(litter(&entry.path()));
        } else if !["events.jsonl", "plugin-events.jsonl", "generation", "leader", "host.json", "lock"]
            .contains(&name.as_str())
        {
            found.push(name);
        }
    }
    found
}

#[test]
fn two_hosts_in_one_process_do_not_know_each_other() {
    let (one, two) = (World::new(), World::new());
    let (first, second) = (one.host(), two.host());
    let (a, b) = (one.echo(&first, "same-id"), two.echo(&second, "same-id"));
    let (a_pid, b_pid) = (up(&a), up(&b));
    assert_ne!(a_pid, b_pid);
    first.shutdown();
    assert!(!is_alive(a_pid) && is_alive(b_pid));
    assert_eq!(b.call::<_, Value>("echo", &json!({"n": 1})).unwrap(), json!({"n": 1}));
    assert!(matches!(a.status(), Err(HostError::Ended)));
    assert_eq!(second.plugins().unwrap().len(), 1);
}

#[test]
fn the_last_handle_ends_the_plugins() {
    let world = World::new();
    let host = world.host();
    let echo = world.echo(&host, "echo");
    let silent = world.failure(&host, "never-connect", world::patient());
    let pid = up(&echo);
    silent.start().unwrap();
    let starting = eventually("its process is there", || silent.status().unwrap().pid);
    assert!(!litter(&world.runtime_dir()).is_empty(), "the one that starts has a socket and a token");
    let clone = host.clone();
    drop(host);
    drop(clone);
    drop(silent);
    assert!(is_alive(pid) && is_alive(starting), "one handle is left");
    assert_eq!(echo.call::<_, Value>("echo", &json!({})).unwrap(), json!({}));
    drop(echo);
    assert!(!is_alive(pid) && !is_alive(starting));
    assert_eq!(litter(&world.runtime_dir()), Vec::<String>::new());
    // The folder is free again.
    world.host().shutdown();
}

#[test]
fn every_thread_that_asks_gets_an_answer_when_the_host_ends() {
    let world = World::new();
    let host = world.host();
    let echo = world.echo(&host, "echo");
    let pid = up(&echo);
    thread::scope(|scope| {
        for number in 0..8 {
            let echo = echo.clone();
            scope.spawn(move || {
                loop {
                    if number % 2 == 0 && matches!(echo.status(), Err(HostError::Ended)) {
                        break;
                    }
                    if number % 2 == 1
                        && let Err(error) = echo.call::<_, Value>("echo", &json!({}))
                        && error.message.contains("the host has ended")
                    {
                        break;
                    }
                }
            });
        }
        // Ended by several at once: each returns when it is over, not before.
        for _ in 0..3 {
            let host = host.clone();
            scope.spawn(move || {
                host.shutdown();
                assert!(!is_alive(pid), "shutdown returned before the plugin had ended");
            });
        }
    });
    let config = PluginConfig::new("late".parse().unwrap(), "/bin/true");
    assert!(matches!(host.add(config), Err(HostError::Ended)));
    assert!(matches!(host.subscribe(1), Err(HostError::Ended)));
}

#[test]
fn nothing_is_added_to_a_host_that_is_ending() {
    let world = World::new();
    let host = world.host();
    // It takes its time to end, and in that time the host is there and takes nothing in.
    let policy = Policy { shutdown_grace: Duration::from_millis(1500), ..world::patient() };
    let slow = world.failure(&host, "ignore-shutdown", policy);
    up(&slow);
    host.begin_shutdown("the test is over");
    eventually("it is being stopped", || (slow.status().ok()?.state == PluginState::Stopping).then_some(()));
    let error = host.add(PluginConfig::new("late".parse().unwrap(), "/bin/true")).unwrap_err();
    assert!(matches!(error, HostError::Ended), "{error}");
    host.wait_ended();
}

#[test]
fn subscribers_see_a_life_and_are_told_what_they_missed() {
    let world = World::new();
    let host = world.host();
    let (all, little) = (host.subscribe(4096).unwrap(), host.subscribe(1).unwrap());
    // Patient: a heartbeat that is missed on a busy machine would be one event more.
    let policy = Policy { heartbeat_interval: Duration::ZERO, heartbeat_timeout: SOON, ..Policy::default() };
    let config = PluginConfig::new("echo".parse().unwrap(), world.program("echo"));
    let echo = host.add(config.policy(policy)).unwrap();
    let pid = up(&echo);
    echo.stop().unwrap();
    echo.wait_for(PluginState::Stopped, SOON).unwrap();
    host.remove(echo.id()).unwrap();
    // An answer says that all that came before it has been told to subscribers.
    host.plugins().unwrap();
    next_event(&little, EventKind::PluginAdded);
    // The next that it gets says how many it did not get.
    let third = world.echo(&host, "third");
    let added = next_event(&little, EventKind::PluginAdded);
    host.shutdown();
    let seen: Vec<LifecycleEvent> = all.collect();
    let kinds: Vec<EventKind> = seen.iter().map(|event| event.note.kind).collect();
    let life = [
        EventKind::PluginAdded,
        EventKind::StateChanged,
        EventKind::LaunchPrepared,
        EventKind::Launched,
        EventKind::ConnectionAwaited,
        EventKind::Connected,
        EventKind::AuthenticationStarted,
        EventKind::Authenticated,
        EventKind::CapabilitiesRequested,
        EventKind::CapabilitiesReported,
        EventKind::StateChanged,
        EventKind::ShutdownRequested,
        EventKind::StateChanged,
        EventKind::Exited,
        EventKind::CleanupCompleted,
        EventKind::StateChanged,
        EventKind::PluginRemoved,
        EventKind::PluginAdded,
    ];
    assert_eq!(kinds, [&life[..], &[EventKind::HostStopped]].concat());
    assert!(seen.iter().all(|event| event.missed == 0));
    assert!(seen[..life.len()].iter().all(|event| event.note.plugin_id.is_some()));
    let launched = &seen[3].note;
    assert_eq!((launched.pid, launched.generation.unwrap().get()), (Some(pid), 1));
    assert_eq!(added.missed, life.len() as u64 - 2, "all between its two");
    assert_eq!(added.note.plugin_id.as_ref(), Some(third.id()));
}

#[test]
fn snapshots_typed_calls_and_removal() {
    #[derive(Serialize)]
    struct Sleep {
        ms: u64,
    }
    #[derive(Deserialize)]
    struct Slept {
        slept_ms: u64,
    }
    let world = World::new();
    let host = world.host();
    let names = || -> Vec<String> {
        host.plugins().unwrap().into_iter().map(|status| status.plugin_id.to_string()).collect()
    };
    let (b, a) = (world.echo(&host, "b"), world.echo(&host, "a"));
    assert_eq!(names(), ["a", "b"]);
    up(&a);
    let slept: Slept = a.call("sleep", &Sleep { ms: 20 }).unwrap();
    assert!(slept.slept_ms >= 20);
    let error = a.call::<_, Vec<u8>>("sleep", &Sleep { ms: 0 }).unwrap_err();
    assert_eq!((error.code, error.outcome), (ErrorCode::InternalError, Outcome::Answered));
    assert!(error.message.contains("the result of sleep is not what was expected"), "{error}");

    let status = host.plugin(a.id()).unwrap().status().unwrap();
    assert_eq!((status.state, status.calls_total, status.restarts), (PluginState::Healthy, 2, 0));
    assert_eq!(status.capabilities, ["crash", "echo", "sleep"]);
    assert_eq!(status.version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    assert!(status.executable.ends_with("/echo") && status.sdk.unwrap().starts_with("rust/"));
    assert_eq!(b.status().unwrap().state, PluginState::Stopped);

    let HostError::PluginExists(id) = host.add(PluginConfig::new(a.id().clone(), "/bin/true")).unwrap_err()
    else {
        panic!("another error");
    };
    assert_eq!(&id, a.id());
    let error = host.remove(a.id()).unwrap_err();
    assert!(error.to_string().contains("the plugin is up; stop it first"), "{error}");
    host.remove(b.id()).unwrap();
    assert_eq!(names(), ["a"]);
    for error in [host.remove(b.id()).unwrap_err(), b.start().unwrap_err(), host.plugin(b.id()).unwrap_err()]
    {
        let HostError::Call(error) = error else { panic!("another error: {error}") };
        assert_eq!(error.code, ErrorCode::UnknownPlugin);
    }
    assert_eq!(world.echo(&host, "b").status().unwrap().calls_total, 0, "taken into care anew");
}

#[test]
fn one_runtime_folder_has_one_host() {
    let world = World::new();
    let host = world.host();
    let error = world.builder().start().unwrap_err().to_string();
    let pid = std::process::id().to_string();
    for text in ["in use by process", pid.as_str(), "choose another runtime folder"] {
        assert!(error.contains(text), "{error:?} should say {text:?}");
    }
    assert!(error.contains(host.runtime_dir().to_str().unwrap()), "{error}");
    drop(host);
    world.host();
}

#[test]
fn runtime_folders_that_cannot_be_trusted_are_refused() {
    let world = World::new();
    let refused = |path: &Path, texts: &[&str]| {
        let error = Host::builder(path).start().unwrap_err();
        assert!(matches!(error, HostError::RuntimeDir(_)), "{error}");
        let said = error.to_string();
        for text in texts {
            assert!(said.contains(text), "{said:?} should say {text:?}");
        }
    };
    let folder = |name: &str, mode: u32| {
        let path = world.path().join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let open = folder("open", 0o755);
    refused(&open, &["open", "0755", "0700"]);
    let link = world.path().join("link");
    symlink(folder("real", 0o700), &link).unwrap();
    refused(&link, &["link", "symbolic link"]);
    let file = world.path().join("file");
    std::fs::write(&file, "").unwrap();
    refused(&file, &["file", "not a folder"]);
    refused(&folder("shared", 0o777).join("run"), &["shared"]);
    refused(Path::new("relative/run"), &["relative/run", "absolute"]);
    refused(&world.path().join("missing/run"), &["missing"]);
    let long = world.path().join("l".repeat(100));
    refused(&long, &["107"]);

    // It fits by itself; what does not is a plugin's socket in it.
    let host = Host::builder(world.path().join("r".repeat(40))).start().unwrap();
    let id: PluginId = "p".repeat(40).parse().unwrap();
    let error = host.add(PluginConfig::new(id.clone(), "/bin/true")).unwrap_err().to_string();
    assert!(error.contains("107") && error.contains(id.as_str()), "{error}");
}

#[test]
fn ids_are_names_of_folders_and_nothing_else() {
    let long = "x".repeat(64);
    for good in ["a", "A.b_c-9", "...", "-", long.as_str()] {
        assert_eq!(good.parse::<PluginId>().unwrap().as_str(), good);
    }
    let too_long = "x".repeat(65);
    for bad in ["", ".", "..", "a/b", "a b", "é", "a\0", "a\n", too_long.as_str()] {
        let error = bad.parse::<PluginId>().unwrap_err().to_string();
        assert!(!error.is_empty() && !error.contains(too_long.as_str()), "{error}");
    }
}

/// What this process catches and what it ignores.
fn signal_dispositions() -> BTreeSet<String> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let of_the_process = |line: &&str| line.starts_with("SigCgt") || line.starts_with("SigIgn");
    status.lines().filter(of_the_process).map(Into::into).collect()
}

/// Children of this process, zombies included.
fn children() -> Vec<String> {
    let me = std::process::id().to_string();
    let entries = std::fs::read_dir("/proc").unwrap();
    let stats = entries.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok());
    stats
        .filter(|stat| {
            let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            rest.split_whitespace().nth(1) == Some(me.as_str())
        })
        .collect()
}

/// For a process of its own: others' descriptors and children would be counted along.
#[test]
fn a_host_leaves_its_process_as_it_was() {
    alone(|| {
        let world = World::new();
        let round = || {
            let host = world.builder().admin_socket(true).start().unwrap();
            let events = host.subscribe(16).unwrap();
            let plugins: Vec<PluginHandle> =
                (0..4).map(|number| world.echo(&host, &format!("echo{number}"))).collect();
            let before = signal_dispositions();
            for plugin in &plugins {
                up(plugin);
                assert!(plugin.call::<_, Value>("crash", &json!({"how": "kill"})).is_err());
            }
            for plugin in &plugins {
                plugin.wait_routable(Some(rpc_plugin_wire::Generation::FIRST), SOON).unwrap();
            }
            assert_eq!(signal_dispositions(), before);
            drop((plugins, events));
            host.shutdown();
        };
        let signals = signal_dispositions();
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        let threads_before = threads();
        // Those that close what was passed are waited for by nobody.
        let settled = || eventually("all threads have ended", || (threads() == threads_before).then_some(()));
        // What is made once and stays, such as the entropy of the standard library, is there after this one.
        round();
        settled();
        let fds = open_fds();
        for _ in 0..3 {
            round();
            settled();
            assert_eq!(open_fds(), fds, "all descriptors are closed");
        }
        assert_eq!(signal_dispositions(), signals);
        assert_eq!(children(), Vec::<String>::new());
    });
}

#[test]
fn the_embedding_example_runs_and_the_library_prints_nothing() {
    let world = World::new();
    let out = Command::new(world::built("embed"))
        .arg(world.program("echo"))
        .env("TMPDIR", world.path())
        .output()
        .unwrap();
    let said = [out.stdout, out.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    let expected = "echo is healthy and can do crash, echo, sleep\nit answers \"hello\"\n\
                    it cannot paint: method_not_found (not_sent)\nit has ended\n";
    assert_eq!(said, [expected.to_owned(), String::new()]);
    assert!(out.status.success());
    let left: Vec<_> =
        std::fs::read_dir(world.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["echo"], "its runtime folder is gone");

    let out = Command::new(world::built("embed")).arg("/does/not/exist").env("TMPDIR", world.path()).output();
    let out = out.unwrap();
    let error = String::from_utf8(out.stderr).unwrap();
    assert!(!out.status.success() && error.contains("/does/not/exist"), "{error}");
}

#[test]
fn a_damaged_folder_fails_its_plugin_and_no_other() {
    let world = World::new();
    let run = world.runtime_dir();
    // As a host before left them.
    let before = world.host();
    for id in ["garbage", "file", "link", "open", "fine"] {
        assert_eq!(up_in(&world, &before, id), 1);
    }
    drop(before);
    std::fs::write(run.join("garbage/generation"), "xyz\n").unwrap();
    std::fs::remove_dir_all(run.join("file")).unwrap();
    std::fs::write(run.join("file"), "").unwrap();
    std::fs::remove_dir_all(run.join("link")).unwrap();
    symlink("/tmp", run.join("link")).unwrap();
    std::fs::set_permissions(run.join("open"), PermissionsExt::from_mode(0o777)).unwrap();

    let host = world.host();
    let damaged =
        [("garbage", "holds"), ("file", "not a folder"), ("link", "symbolic link"), ("open", "0777")];
    let damaged = damaged.map(|(id, why)| {
        let policy = Policy { restarts_max: 0, ..world::patient() };
        let config = PluginConfig::new(id.parse().unwrap(), world.program("echo"));
        let plugin = host.add(config.policy(policy)).expect("it is taken into care");
        plugin.start().unwrap();
        (plugin, why)
    });
    assert_eq!(up_in(&world, &host, "fine"), 2);
    for (plugin, why) in &damaged {
        plugin.wait_for(PluginState::Failed, SOON).unwrap();
        let error = plugin.status().unwrap().last_error.unwrap();
        assert!(error.contains("could not be prepared") && error.contains(why), "{}: {error}", plugin.id());
    }
    // Repaired, it goes on without a restart of the host, after the number that is there now.
    std::fs::write(run.join("garbage/generation"), "41\n").unwrap();
    let (garbage, _) = &damaged[0];
    garbage.start().unwrap();
    eventually("the number that is used is seen", || {
        let status = garbage.status().unwrap();
        let is_seen = status.last_error.is_some_and(|error| error.contains("holds 41"));
        (status.state == PluginState::Failed && is_seen).then_some(())
    });
    garbage.start().unwrap();
    assert_eq!(garbage.wait_routable(None, SOON).unwrap().generation.unwrap().get(), 42);
    host.shutdown();
}

/// Brings the echo plugin up under that id; its generation.
fn up_in(world: &World, host: &Host, id: &str) -> u64 {
    let plugin = world.echo(host, id);
    up(&plugin);
    plugin.status().unwrap().generation.unwrap().get()
}

#[test]
fn a_lost_number_goes_on_from_the_record() {
    type Lose = fn(&Path);
    let losses: [Lose; 4] = [
        |path| std::fs::remove_file(path).unwrap(),
        |path| std::fs::write(path, "").unwrap(),
        |path| std::fs::write(path, [0; 16]).unwrap(),
        |path| std::fs::write(path, "1\n").unwrap(),
    ];
    let world = World::new();
    for (at, lose) in losses.iter().enumerate() {
        let host = world.host();
        for restart in 0..3 {
            let id = "numbered";
            let seen = match restart {
                0 => up_in(&world, &host, id),
                _ => {
                    let plugin = host.plugin(&id.parse().unwrap()).unwrap();
                    let before = plugin.status().unwrap().generation;
                    plugin.restart().unwrap();
                    plugin.wait_routable(before, SOON).unwrap().generation.unwrap().get()
                }
            };
            // Some more may have been used than are on record.
            assert_eq!(seen, at as u64 * (3 + 16) + restart + 1, "after loss {at}");
        }
        host.shutdown();
        lose(&world.runtime_dir().join("numbered/generation"));
    }
    // What somebody put in the record's place is no help, and no hindrance.
    let record = world.runtime_dir().join("numbered/events.jsonl");
    std::fs::remove_file(&record).unwrap();
    nix::unistd::mkfifo(&record, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let host = world.host();
    assert_eq!(up_in(&world, &host, "numbered"), 2);
    host.shutdown();
}
