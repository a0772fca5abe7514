//! What a host launches and what it refuses, seen through the host library: checks of the executable,
//! words for every failure, and what a launched process finds.
//!
//! Each system call behind it is tested in `src/sys`; here it is the whole way to the operator's eyes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::world::{SOON, World, eventually, is_alive, next_event, patient, put_executable};
use rpc_plugin_system::host::{
    Confine, ErrorCode, Host, HostError, PluginConfig, PluginHandle, Policy, RestartPolicy,
};
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::life::PluginState;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One try only.
fn once() -> Policy {
    Policy { restart: RestartPolicy::Never, ..patient() }
}

fn add(host: &Host, id: &str, executable: &Path) -> PluginHandle {
    add_as(host, id, executable, once())
}

fn add_as(host: &Host, id: &str, executable: &Path, policy: Policy) -> PluginHandle {
    host.add(PluginConfig::new(id.parse().unwrap(), executable).policy(policy)).unwrap()
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Why a launch failed.
fn reason(plugin: &PluginHandle) -> String {
    plugin.start().unwrap();
    let status = plugin.wait_for(PluginState::Failed, SOON).unwrap();
    assert_eq!(status.pid, None);
    status.last_error.unwrap()
}

/// Starts it, waits until its process runs, and gives its pid.
fn launched(plugin: &PluginHandle) -> u32 {
    plugin.start().unwrap();
    eventually("the process runs", || plugin.status().unwrap().pid)
}

/// A folder with that mode and a program in it.
fn folder_with_program(world: &World, name: &str, mode: u32) -> PathBuf {
    let folder = world.path().join(name);
    std::fs::create_dir(&folder).unwrap();
    let program = folder.join("program");
    put_executable(&world.program("echo"), &program);
    chmod(&program, 0o700);
    chmod(&folder, mode);
    program
}

#[test]
fn a_launch_that_fails_for_good_ends_at_once_with_the_cause() {
    let world = World::new();
    let host = world.host();
    let script = world.script("broken", "#!/bin/sh\necho 'cannot open database' >&2\nexit 3\n");
    chmod(&script, 0o700);
    let config = PluginConfig::new("broken".parse().unwrap(), &script).policy(once());
    let begun = std::time::Instant::now();
    let error = host.launch(config, 10 * SOON).unwrap_err().to_string();
    assert!(begun.elapsed() < SOON, "it waited for what cannot come");
    assert!(error.contains("(exit status 3)") && error.contains("cannot open database"), "{error}");
    // It stays in care, with what is known of its end.
    let plugin = host.plugin(&"broken".parse().unwrap()).unwrap();
    let exit = plugin.status().unwrap().last_exit.unwrap();
    assert_eq!((exit.exit_code, exit.signal, exit.text.as_str()), (Some(3), None, "exit status 3"));
    assert_eq!(exit.stderr_tail, ["cannot open database"]);
}

#[test]
fn what_is_permanently_wrong_is_failed_after_one_launch_and_launched_once_it_is_mended() {
    let world = World::new();
    let host = world.host();
    let program = world.path().join("late");
    let plugin = host.add(PluginConfig::new("late".parse().unwrap(), &program).policy(patient())).unwrap();
    plugin.start().unwrap();
    let status = plugin.wait_for(PluginState::Failed, SOON).unwrap();
    let error = status.last_error.unwrap();
    assert!(error.contains("does not exist") && error.contains("looked at every 30s"), "{error}");
    assert_eq!((status.generation.unwrap().get(), status.restarts), (1, 0));
    let record = eventually("the record tells of its end", || {
        Some(world.record("late")).filter(|record| record.contains("\"gave_up\""))
    });
    assert_eq!(record.matches("\"launch_failed\"").count(), 1, "{record}");
    assert!(!record.contains("\"restart_scheduled\""), "{record}");
    put_executable(&world.program("echo"), &program);
    plugin.start().unwrap();
    plugin.wait_routable(None, SOON).unwrap();
    assert_eq!(plugin.status().unwrap().generation.unwrap().get(), 2);
}

#[test]
fn a_program_whose_loader_is_missing_is_failed_after_one_launch_with_the_loaders_name() {
    let world = World::new();
    let host = world.host();
    // A copy of the shell that names another loader.
    let mut shell = std::fs::read("/bin/sh").unwrap();
    let find = |of: &[u8], bytes: &[u8]| bytes.windows(of.len()).position(|window| window == of);
    let Some(begin) = find(b"/lib", &shell) else { return };
    let length = find(b"\0", &shell[begin..]).unwrap();
    let loader = world.path().join("l");
    let name = loader.to_str().unwrap().as_bytes();
    if name.len() > length {
        return; // The folder for temporary files has too long a name.
    }
    let real = PathBuf::from(std::str::from_utf8(&shell[begin..begin + length]).unwrap());
    shell[begin..begin + length].fill(0);
    shell[begin..begin + name.len()].copy_from_slice(name);
    let program = world.script("program", "");
    std::fs::write(&program, shell).unwrap();
    let plugin = host.add(PluginConfig::new("late".parse().unwrap(), &program).policy(patient())).unwrap();
    plugin.start().unwrap();
    let status = plugin.wait_for(PluginState::Failed, SOON).unwrap();
    let error = status.last_error.unwrap();
    let named = format!("the loader it was linked for, {}, does not exist", loader.display());
    assert!(error.contains(&named) && error.contains("looked at every 30s"), "{error}");
    assert_eq!((status.generation.unwrap().get(), status.restarts), (1, 0));
    // Once there is one it runs, and has nothing to do.
    put_executable(&real, &loader);
    let events = host.subscribe(1000).unwrap();
    plugin.start().unwrap();
    next_event(&events, EventKind::Launched);
}

/// A file whose content does not matter, with that mode.
fn file(world: &World, name: &str, mode: u32) -> PathBuf {
    let path = world.script(name, "#!/bin/sh\n");
    chmod(&path, mode);
    path
}

#[test]
fn what_is_no_safe_executable_is_refused_with_what_is_wrong_and_what_to_do() {
    let world = World::new();
    let host = world.host();
    let target = world.program("echo");
    let link = world.path().join("link");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let fifo = world.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let table: Vec<(PathBuf, &[&str])> = vec![
        (world.path().join("missing"), &["does not exist", "put the file there"]),
        (
            link,
            &["is a symbolic link to ", "/echo;", "expected the file itself", "name the file it leads to"],
        ),
        (world.path().to_owned(), &["is a folder; expected a regular file", "correct the path"]),
        (fifo, &["is a named pipe; expected a regular file"]),
        (file(&world, "data", 0o600), &["is not executable for uid", "mode 0600", "run `chmod a+x "]),
        (
            file(&world, "by-others", 0o702),
            &["can be changed by other users", "mode 0702", "expected no write", "run `chmod go-w "],
        ),
        (file(&world, "set-uid", 0o4700), &["another user or group", "mode 4700", "run `chmod ug-s "]),
        (file(&world, "set-gid", 0o2710), &["another user or group", "mode 2710"]),
        (
            folder_with_program(&world, "open", 0o777),
            &["cannot be trusted", "/open ", "mode 0777", "expected", "is shared with other users"],
        ),
    ];
    for (index, (path, expected)) in table.iter().enumerate() {
        let text = reason(&add(&host, &format!("p{index}"), path));
        assert!(text.contains(&format!("executable {} ", path.display())), "{text}");
        for part in *expected {
            assert!(text.contains(part), "{text}\n  lacks {part:?}");
        }
        let record = eventually("the record tells of its end", || {
            Some(world.record(&format!("p{index}"))).filter(|record| record.contains("\"gave_up\""))
        });
        assert!(record.contains("\"launch_failed\"") && !record.contains("\"launched\""), "{record}");
    }
    let relative = PluginConfig::new("relative".parse().unwrap(), "bin/echo");
    match host.add(relative) {
        Err(HostError::Config(id, error)) => {
            let text = error.to_string();
            assert!(
                id.as_str() == "relative" && text.contains("the path \"bin/echo\" is relative"),
                "{text}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_of_another_user_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        // Only root can give a file away; the rule itself has a test in sys.
        return;
    }
    let world = World::new();
    let host = world.host();
    let path = file(&world, "theirs", 0o755);
    std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
    let text = reason(&add(&host, "theirs", &path));
    assert!(text.contains("belongs to uid 65534; expected uid 0") && text.contains("copy it"), "{text}");
}

#[test]
fn a_sticky_folder_that_all_may_write_to_is_fine() {
    let world = World::new();
    let host = world.host();
    let plugin = add(&host, "sticky", &folder_with_program(&world, "sticky", 0o1777));
    plugin.start().unwrap();
    plugin.wait_routable(None, SOON).unwrap();
}

#[test]
fn a_failed_exec_says_in_words_what_is_wrong() {
    let world = World::new();
    let host = world.host();
    // The start of a program for an IBM mainframe (e_machine 22, big-endian).
    let mut foreign = b"\x7fELF\x02\x02\x01".to_vec();
    foreign.resize(64, 0);
    (foreign[17], foreign[19], foreign[23]) = (2, 22, 1);
    let elf = world.script("foreign", "");
    std::fs::write(&elf, foreign).unwrap();
    let table: [(PathBuf, &[&str]); 5] = [
        (
            world.script("no-interpreter", "#!/does/not/exist -x\n"),
            &["\"execute it\"", "ENOENT", "its interpreter /does/not/exist does not exist; install it"],
        ),
        (world.script("windows", "#!/bin/sh\r\necho\r\n"), &["ENOENT", "carriage return", "Unix line ends"]),
        (world.script("nothing", "#!\n"), &["ENOEXEC", "names no interpreter"]),
        (world.script("text", "hello\n"), &["ENOEXEC", "neither a program for this machine nor a script"]),
        (elf, &["ENOEXEC", "not a program for this machine's architecture"]),
    ];
    for (index, (path, expected)) in table.iter().enumerate() {
        let text = reason(&add(&host, &format!("p{index}"), path));
        assert!(text.contains(&format!("launching {} failed", path.display())), "{text}");
        for part in *expected {
            assert!(text.contains(part), "{text}\n  lacks {part:?}");
        }
    }
    // That there is one it may not use is seen before.
    let private = world.script("private-interpreter", "");
    chmod(&private, 0o600);
    let path = world.script("closed-interpreter", &format!("#!{}\n", private.display()));
    let text = reason(&add(&host, "closed", &path));
    let expected = format!("its interpreter {} is not executable for uid", private.display());
    assert!(text.contains("could not be prepared") && text.contains(&expected), "{text}");
    let mut config = PluginConfig::new("folder".parse().unwrap(), world.program("echo")).policy(once());
    config.working_folder = world.path().join("gone");
    let text = reason(&host.add(config).unwrap());
    assert!(
        text.contains("ENOENT") && text.contains("cannot enter working folder") && text.contains("/gone"),
        "{text}"
    );
}

#[test]
fn a_busy_executable_is_launched_once_it_is_written_and_given_up_in_words_if_it_never_is() {
    let world = World::new();
    let host = world.host();
    let events = host.subscribe(1000).unwrap();
    let path = world.program("echo");
    let writer = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    let plugin = add(&host, "busy", &path);
    plugin.start().unwrap();
    next_event(&events, EventKind::LaunchPrepared);
    assert_eq!(plugin.status().unwrap().state, PluginState::Starting);
    drop(writer);
    plugin.wait_routable(None, SOON).unwrap();

    let path = world.path().join("never");
    put_executable(&world.program("echo"), &path);
    chmod(&path, 0o700);
    let _writer = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    let text = reason(&add(&host, "never", &path));
    assert!(text.contains("ETXTBSY") && text.contains("has the file open for writing"), "{text}");
    assert!(text.contains("renaming a finished one"), "{text}");
}

/// While the checked file is busy, another takes its name; then the launch goes on.
#[test]
fn what_was_checked_is_what_is_executed() {
    let world = World::new();
    let host = world.host();
    let events = host.subscribe(1000).unwrap();
    let path = world.path().join("plugin");
    put_executable(&world.program("echo"), &path);
    chmod(&path, 0o700);
    let writer = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    let plugin = add(&host, "swapped", &path);
    plugin.start().unwrap();
    next_event(&events, EventKind::LaunchPrepared);
    std::fs::rename(world.program("failure"), &path).unwrap();
    drop(writer);
    let status = plugin.wait_routable(None, SOON).unwrap();
    assert_eq!(
        status.capabilities,
        ["crash", "echo", "sleep"],
        "the file that was checked is the echo plugin"
    );
    let runs = std::fs::read_link(format!("/proc/{}/exe", status.pid.unwrap())).unwrap();
    assert!(runs.to_str().unwrap().ends_with("/plugin (deleted)"), "{runs:?}");
    // The next generation is checked anew, and is the other file.
    let again = host.add(PluginConfig::new("again".parse().unwrap(), &path).policy(once())).unwrap();
    again.start().unwrap();
    assert_eq!(again.wait_routable(None, SOON).unwrap().capabilities, ["sleep", "work"]);
}

#[test]
fn a_script_is_a_plugin_and_its_interpreter_finds_it() {
    let world = World::new();
    let host = world.host();
    let echo = world.program("echo");
    let script = world.script("script", &format!("#!/bin/sh\nexec {}\n", echo.display()));
    let plugin = add(&host, "script", &script);
    plugin.start().unwrap();
    plugin.wait_routable(None, SOON).unwrap();
    let answer: Value = plugin.call("echo", &json!({"a": 1})).unwrap();
    assert_eq!(answer, json!({"a": 1}));
}

fn variables(pid: u32) -> BTreeMap<String, String> {
    // execve(2) lets the launcher go on a moment before the new environment is in place.
    let environment = eventually("its environment is in place", || {
        let environment = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
        (!environment.is_empty()).then_some(environment)
    });
    let entries = environment.split_terminator('\0').map(|entry| entry.split_once('=').unwrap());
    entries.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn descriptors(pid: u32) -> BTreeMap<u32, String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(|entry| entry.unwrap().path());
    let number = |path: &Path| path.file_name().unwrap().to_str().unwrap().parse().unwrap();
    entries.map(|p| (number(&p), std::fs::read_link(&p).unwrap().display().to_string())).collect()
}

#[test]
fn a_configuration_is_replaced_as_one_value_at_the_next_launch() {
    let world = World::new();
    let host = world.host();
    let of = |value: &str| {
        let config = PluginConfig::new("swap".parse().unwrap(), world.program("echo"));
        config.arg(value).env("VALUE", value).policy(patient())
    };
    let plugin = host.launch(of("old"), SOON).unwrap();
    let seen = |pid: u32| {
        let arguments = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        (arguments.split('\0').nth(1).unwrap().to_owned(), variables(pid).remove("VALUE").unwrap())
    };
    let both = |value: &str| (value.to_owned(), value.to_owned());
    let before = plugin.status().unwrap();
    let events = host.subscribe(64).unwrap();
    let status = plugin.reconfigure(of("new")).unwrap();
    assert!(status.reconfigured && status.pid == before.pid, "{status:?}");
    next_event(&events, EventKind::PluginReconfigured);
    assert_eq!(seen(before.pid.unwrap()), both("old"));

    plugin.restart().unwrap();
    let after = plugin.wait_routable(before.generation, SOON).unwrap();
    assert_eq!((seen(after.pid.unwrap()), after.reconfigured), (both("new"), false));

    let other = PluginConfig::new("other".parse().unwrap(), world.program("echo"));
    let error = plugin.reconfigure(other).unwrap_err().to_string();
    assert_eq!(error, "plugin swap: id: it is that of plugin other; allowed: swap");
    let bad = PluginConfig::new("swap".parse().unwrap(), "echo");
    assert!(matches!(plugin.reconfigure(bad), Err(HostError::Config(..))));
    plugin.stop().unwrap();
    plugin.wait_for(PluginState::Stopped, SOON).unwrap();
    host.remove(plugin.id()).unwrap();
    let error = plugin.reconfigure(of("gone")).unwrap_err();
    assert!(matches!(&error, HostError::Call(error) if error.code == ErrorCode::UnknownPlugin), "{error}");
}

#[test]
fn a_plugin_finds_exactly_what_the_contract_says() {
    let world = World::new();
    let host = world.host();
    let failure = world.program("failure");
    let mut config = PluginConfig::new("bare".parse().unwrap(), &failure)
        .arg("one")
        .arg("two words")
        .env("FAILURE_MODE", "never-connect")
        .env("EMPTY", "")
        .bare_env()
        .policy(once());
    config.working_folder = world.path().to_owned();
    let plugin = host.add(config).unwrap();
    let pid = launched(&plugin);
    let token_file = host.runtime_dir().join("bare/token.1").display().to_string();
    let socket = host.runtime_dir().join("bare/bare.sock").display().to_string();
    let expected = [
        ("EMPTY", ""),
        ("FAILURE_MODE", "never-connect"),
        ("RPC_PLUGIN_SYSTEM_AUTH_TOKEN_FILE", &token_file),
        ("RPC_PLUGIN_SYSTEM_PLUGIN_EXECUTABLE", failure.to_str().unwrap()),
        ("RPC_PLUGIN_SYSTEM_PLUGIN_GENERATION", "1"),
        ("RPC_PLUGIN_SYSTEM_PLUGIN_ID", "bare"),
        ("RPC_PLUGIN_SYSTEM_PLUGIN_SOCKET", &socket),
    ];
    let expected: BTreeMap<String, String> =
        expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut found = variables(pid);
    let launch = found.remove("RPC_PLUGIN_SYSTEM_LAUNCH").unwrap();
    let named = format!("{}/bare/1#{}.", host.runtime_dir().display(), std::process::id());
    assert!(launch.starts_with(&named), "{launch}");
    assert_eq!(found, expected);

    let arguments = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert_eq!(arguments, format!("{}\0one\0two words\0", failure.display()));
    assert_eq!(std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), world.path().canonicalize().unwrap());

    let descriptors = descriptors(pid);
    assert_eq!(descriptors.keys().copied().collect::<Vec<_>>(), [0, 1, 2], "{descriptors:?}");
    assert_eq!(descriptors[&0], "/dev/null");
    assert!(descriptors[&1].starts_with("pipe:") && descriptors[&2].starts_with("pipe:"), "{descriptors:?}");
    assert_ne!(descriptors[&1], descriptors[&2]);

    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let own = pid.to_string();
    assert_eq!((fields[2], fields[3], fields[4]), (&*own, &*own, "0"), "group, session, no terminal: {stat}");
    host.shutdown();
    assert!(!is_alive(pid));
}

#[test]
fn what_is_not_configured_is_the_least_that_interpreters_need() {
    let world = World::new();
    let host = world.host();
    let failure = world.program("failure");
    let env_of = |id: &str, set: &dyn Fn(PluginConfig) -> PluginConfig| {
        let config = PluginConfig::new(id.parse().unwrap(), &failure).env("FAILURE_MODE", "never-connect");
        let plugin = host.add(set(config).policy(once())).unwrap();
        let mut found = variables(launched(&plugin));
        found.retain(|name, _| !name.starts_with("RPC_PLUGIN_SYSTEM_") && name != "FAILURE_MODE");
        found.into_iter().collect::<Vec<_>>()
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let path = pair("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    assert_eq!(env_of("plain", &|config| config), [pair("LANG", "C.UTF-8"), path.clone()]);
    assert_eq!(env_of("own", &|config| config.env("LANG", "de_DE")), [pair("LANG", "de_DE"), path]);
    assert_eq!(env_of("bare", &PluginConfig::bare_env), []);
    let both = env_of("both", &|config| config.bare_env().env("PATH", "/bin"));
    assert_eq!(both, [pair("PATH", "/bin")]);
}

#[test]
fn a_script_finds_what_lies_beside_it_by_the_path_that_was_launched() {
    let world = World::new();
    let host = world.host();
    std::fs::write(world.path().join("beside"), world.path().join("found").to_str().unwrap()).unwrap();
    let text = "#!/bin/sh\necho \"$0\" > \"$(cat \"${RPC_PLUGIN_SYSTEM_PLUGIN_EXECUTABLE%/*}/beside\")\"\nexec sleep 1000\n";
    let script = world.script("script", text);
    let plugin = host.add(PluginConfig::new("script".parse().unwrap(), &script).policy(once())).unwrap();
    launched(&plugin);
    let said = eventually("it has written", || {
        std::fs::read_to_string(world.path().join("found")).ok().filter(|said| said.ends_with('\n'))
    });
    assert_eq!(said, "/dev/fd/3\n", "as the authors' page says");
}

#[test]
fn a_script_finds_itself_as_descriptor_3_and_every_signal_as_it_should_be() {
    let world = World::new();
    let host = world.host();
    let script = world.script("script", "#!/bin/sh\nexec sleep 1000\n");
    let config = PluginConfig::new("script".parse().unwrap(), &script);
    let plugin = host.add(config.policy(once())).unwrap();
    let pid = launched(&plugin);
    eventually("the script has become sleep", || {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        (name == "sleep\n").then_some(())
    });
    let descriptors = descriptors(pid);
    assert_eq!(descriptors.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3], "{descriptors:?}");
    assert_eq!(Path::new(&descriptors[&3]), script.canonicalize().unwrap());
    assert_eq!(std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for mask in ["SigBlk", "SigIgn", "SigCgt"] {
        let line = status.lines().find(|line| line.starts_with(mask)).unwrap();
        assert!(line.ends_with("\t0000000000000000"), "{line}");
    }
}

#[test]
fn a_launch_waits_for_its_turn_and_has_it_when_another_is_done() {
    let world = World::new();
    let host = world.builder().starting_max(1).start().unwrap();
    // It never connects, and has all the time it wants.
    let policy = Policy { connect_timeout: 100 * SOON, ..once() };
    let script = world.script("hangs", "#!/bin/sh\nexec sleep 1000\n");
    let hangs = host.add(PluginConfig::new("hangs".parse().unwrap(), &script).policy(policy)).unwrap();
    let waits = add(&host, "waits", &world.program("echo"));
    // A machine that is too busy to look before the place is given to the next one as well tries again.
    let mut attempts = 0..;
    eventually("they wait for their turn", || {
        launched(&hangs);
        waits.start().unwrap();
        let status = waits.status().unwrap();
        // Whoever is not wanted any more gives its turn up, and who waited longest is next.
        let id = format!("called-off-{}", attempts.next().unwrap());
        let called_off = add(&host, &id, &world.program("echo"));
        called_off.start().unwrap();
        called_off.stop().unwrap();
        let given_up = called_off.status().unwrap();
        assert_eq!(given_up.state, PluginState::Stopped);
        let none = (status.pid, status.generation, given_up.generation) == (None, None, None);
        if !none {
            waits.stop().unwrap();
            hangs.stop().unwrap();
            return None;
        }
        assert_eq!(status.state, PluginState::Starting);
        assert_eq!(status.launch_waits.as_deref(), Some("waits for its turn: another is starting"));
        Some(())
    });
    hangs.stop().unwrap();
    let status = waits.wait_routable(None, SOON).unwrap();
    assert_eq!((status.launch_waits, status.restarts), (None, 0));
    host.shutdown();
}

#[test]
fn a_program_with_file_capabilities_is_told_of_once_a_generation() {
    let world = World::new();
    let host = world.host();
    let events = host.subscribe(1000).unwrap();
    let path = world.path().join("plugin");
    std::fs::copy(world.program("echo"), &path).unwrap();
    chmod(&path, 0o700);
    let set = std::process::Command::new("setcap").arg("cap_net_raw=ep").arg(&path).output();
    if !set.is_ok_and(|set| set.status.success()) {
        return eprintln!("skipped: this user, or file system, cannot give files capabilities");
    }
    // Also where it is confined, and is given none of them.
    let confined =
        add_as(&host, "confined", &path, once().with(|policy| policy.confine = Confine::default()));
    confined.start().unwrap();
    next_event(&events, EventKind::ExecutableHasCapabilities);
    confined.wait_routable(None, SOON).unwrap();
    let plugin = add_as(&host, "capable", &path, once().with(|policy| policy.confine = Confine::Off));
    for generation in 1..=2 {
        plugin.start().unwrap();
        let event = next_event(&events, EventKind::ExecutableHasCapabilities);
        assert_eq!(event.note.generation.map(|number| number.get()), Some(generation));
        assert!(event.note.message.contains("parent-death signal"), "{}", event.note.message);
        plugin.wait_routable(None, SOON).unwrap();
        plugin.stop().unwrap();
        plugin.wait_for(PluginState::Stopped, SOON).unwrap();
    }
    let plain = add(&host, "plain", &world.program("echo"));
    plain.start().unwrap();
    plain.wait_routable(None, SOON).unwrap();
    while let Some(event) = events.next_within(Duration::ZERO) {
        assert_ne!(event.note.kind, EventKind::ExecutableHasCapabilities);
    }
}
