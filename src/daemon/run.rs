//! `rpcplugind`: configuration, host, signals, end.
//!
//! What always holds: whatever ends the daemon in an orderly way ends every plugin first; what it says
//! on standard error names what happened and what to do.

use super::config::{self, AdminGroup, Config, EnvValues, FlagValues, Sources, flag_rows};
use super::daemon_error::{DaemonError, print};
use super::flags::{
    ADMIN_GROUP, CHECK_CONFIG, CONFIG, DEMO, JSON, LOG_SINK, PLUGIN, PROGRAM, SERVE_ECHO, WAIT,
};
use super::{by_hand, demo, echo, signals};
use crate::cli::{Args, Ask};
use crate::host::{Host, HostError};
use crate::sys::limits::{bound_allocator, raise_descriptor_limit};
use crate::sys::process::keep_exit_statuses;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs the daemon. `words` are its arguments without its own name.
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    match signals::unblock().map_err(DaemonError::from).and_then(|()| answer(words)) {
        Ok(code) => code,
        Err(failure) => {
            // Nowhere is left to tell that this failed.
            let _ = writeln!(std::io::stderr(), "rpcplugind: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

fn answer(words: impl IntoIterator<Item = OsString>) -> Result<ExitCode, DaemonError> {
    let args = PROGRAM.parse(words).map_err(DaemonError::usage)?;
    let text = match args.ask {
        Ask::Help(command) => PROGRAM.help(command),
        Ask::Version => format!("{} {}\n", PROGRAM.name, PROGRAM.version),
        Ask::Run => {
            return match args.command.map(|command| command.name) {
                Some(SERVE_ECHO) => Ok(echo::echo_plugin().run()),
                Some(DEMO) => demo::run(args.is_set(super::flags::STAY)),
                _ => serve(&args),
            };
        }
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn serve(args: &Args) -> Result<ExitCode, DaemonError> {
    let mut config = load(args)?;
    for id in texts(args, WAIT)? {
        config.start_by_hand(&id).map_err(DaemonError::usage)?;
    }
    if args.is_set(CHECK_CONFIG) {
        print(&format!("{}\n", config::to_json(&config, EnvValues::Hidden)))?;
        return Ok(ExitCode::SUCCESS);
    }
    // Before any thread, which would have an arena of its own.
    bound_allocator();
    // Before any thread or plugin: signals that come from here on are not lost.
    let signals = signals::Watch::start()?;
    signals.end_on_panic();
    keep_exit_statuses()?;
    // Of its own, for many plugins; each gets the limit that the daemon was given.
    raise_descriptor_limit()?;
    let mut builder = Host::builder(&make_way(&config)?)
        .admin_socket(true)
        .hold_admin_socket(true)
        .admin_clients_max(config.limits.admin_clients_max)
        .log_options(config.log_options())
        .log_sinks(config.sinks.clone())
        .adopt_orphans(true)
        .on_hang(signals::exit_hung(PROGRAM.name));
    if let Some(AdminGroup { group, socket }) = &config.admin_group {
        builder = builder.admin_group(gid_of(group)?, socket);
    }
    if let Some(starting_max) = config.limits.starting_max {
        builder = builder.starting_max(starting_max);
    }
    let host = builder.start()?;
    let ran = run(&host, signals, args, &config);
    // However that ended: the plugins end before the daemon does.
    host.shutdown();
    ran?;
    let why = host
        .end_reason()
        .ok_or_else(|| DaemonError::failed("the event loop broke; see its message above"))?;
    if host.has_failed() {
        return Err(DaemonError::failed(why));
    }
    say(args, &host, "ended", why)?;
    Ok(ExitCode::SUCCESS)
}

/// Adds and starts the plugins, says that it is ready, and acts on signals until the host has ended. Every thread is made
/// before it says so.
fn run(host: &Host, signals: signals::Watch, args: &Args, config: &Config) -> Result<(), DaemonError> {
    let no_thread =
        |error| DaemonError::from(HostError::Setup("a thread of the daemon cannot be made", error));
    signals.end_with(host).map_err(no_thread)?;
    let json = args.is_set(JSON);
    let events = host.subscribe_to(by_hand::EVENTS_MAX + config.plugins.len(), by_hand::is_told)?;
    let thread = crate::threads::builder("daemon-says");
    let (ready, is_ready) = std::sync::mpsc::channel::<()>();
    let say_each = move || {
        // The first line says that the daemon is ready.
        let _ = is_ready.recv();
        by_hand::say_each(events, json);
    };
    // It ends with the host.
    let saying = thread.spawn(say_each).map_err(no_thread)?;
    for plugin in &config.plugins {
        let handle = host.add(plugin.config.clone())?;
        if plugin.autostart {
            handle.start()?;
        }
    }
    host.release_admin_socket()?;
    say(args, host, "ready", &format!("{} plugins", config.plugins.len()))?;
    drop(ready);
    // Where standard output cannot be written to, it ends all the same.
    let tell = |what: &str| drop(say(args, host, "ending", what));
    signals.wait(host, &tell)?;
    // Its panic was reported, if there was one.
    let _ = saying.join();
    Ok(())
}

/// One line on standard output: what the daemon has come to.
fn say(args: &Args, host: &Host, state: &str, what: &str) -> std::io::Result<()> {
    let runtime_dir = host.runtime_dir().display();
    if args.is_set(JSON) {
        let pid = std::process::id();
        let line = serde_json::json!({
            "state": state, "message": what, "pid": pid, "runtime_dir": runtime_dir.to_string(),
        });
        return print(&format!("{line}\n"));
    }
    print(&format!("rpcplugind {}: {state}, {what}, runtime folder {runtime_dir}\n", PROGRAM.version))
}

fn text(value: &std::ffi::OsStr, flag: &str) -> Result<String, DaemonError> {
    value.to_str().map(str::to_owned).ok_or_else(|| DaemonError::usage(format!("--{flag} is not UTF-8")))
}

/// Every value of a flag that repeats.
fn texts(args: &Args, flag: &str) -> Result<Vec<String>, DaemonError> {
    args.all(flag).map(|value| text(value, flag)).collect()
}

/// The number of a group that is named or numbered.
fn gid_of(group: &str) -> Result<u32, DaemonError> {
    if let Ok(gid) = group.parse::<u32>() {
        return Ok(gid);
    }
    match nix::unistd::Group::from_name(group) {
        Ok(Some(found)) => Ok(found.gid.as_raw()),
        Ok(None) => Err(DaemonError::usage(format!(
            "admin group: there is no group {group:?}; make it, or name another"
        ))),
        Err(errno) => {
            Err(DaemonError::failed(format!("admin group: {group:?} cannot be looked up: {errno}")))
        }
    }
}

fn load(args: &Args) -> Result<Config, DaemonError> {
    let mut flags =
        FlagValues { runtime_dir: args.path("runtime-dir").map(Path::to_owned), ..Default::default() };
    for row in flag_rows() {
        if let Some(value) = args.get(row.flag) {
            flags.settings.push((row.flag.to_owned(), text(value, row.flag)?));
        }
    }
    flags.admin_group = args.get(ADMIN_GROUP).map(|value| text(value, ADMIN_GROUP)).transpose()?;
    flags.log_sinks = texts(args, LOG_SINK)?;
    flags.plugins = texts(args, PLUGIN)?;
    let sources = Sources {
        file: args.path(CONFIG),
        flags: &flags,
        environment: &|name| std::env::var_os(name),
        is_root: nix::unistd::geteuid().is_root(),
    };
    config::load(&sources).map_err(DaemonError::usage)
}

/// The runtime folder. Only its last part is made by the host; `/run` and the user's own folder exist.
fn make_way(config: &Config) -> Result<PathBuf, DaemonError> {
    match config.runtime_dir.parent().map(Path::is_dir) {
        Some(true) => Ok(config.runtime_dir.clone()),
        _ => Err(DaemonError::failed(format!(
            "runtime folder {}: the folder above it does not exist; make it, or choose another with --runtime-dir",
            config.runtime_dir.display()
        ))),
    }
}
