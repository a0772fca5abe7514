//! `rpcplugind`: configuration, host, signals, end.
//!
//! What always holds: whatever ends the daemon in an orderly way ends every plugin first; what it says
//! on standard error names what happened and what to do.

use super::config::{Config, EnvValues, FlagValues, PluginConfig, Sources, flag_rows};
use super::flags::{CHECK_CONFIG, CONFIG, DEMO, JSON, LOG_SINK, PLUGIN, PROGRAM, SERVE_ECHO, WAIT};
use super::{awaited, demo, echo, signals};
use crate::cli::{Args, Ask};
use crate::host::{self, Host, HostError};
use crate::sys::process::keep_exit_statuses;
use rpc_plugin_wire::PluginId;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit codes; the help lists them.
const FAILED: u8 = 1;
const USAGE: u8 = 2;

/// Why the daemon ends with another exit code than 0.
pub(super) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    pub(super) fn usage(message: impl ToString) -> Failure {
        Failure { code: USAGE, message: message.to_string() }
    }

    pub(super) fn failed(message: impl ToString) -> Failure {
        Failure { code: FAILED, message: message.to_string() }
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Failure {
        Failure::failed(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::failed(error)
    }
}

/// Runs the daemon. `words` are its arguments without its own name.
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    match signals::unblock().map_err(Failure::from).and_then(|()| answer(words)) {
        Ok(code) => code,
        Err(failure) => {
            // Nowhere is left to tell that this failed.
            let _ = writeln!(std::io::stderr(), "rpcplugind: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

fn answer(words: impl IntoIterator<Item = OsString>) -> Result<ExitCode, Failure> {
    let args = PROGRAM.parse(words).map_err(Failure::usage)?;
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

/// Prints to standard output. A reader that has gone (EPIPE) is no failure.
pub(super) fn print(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn serve(args: &Args) -> Result<ExitCode, Failure> {
    let config = load(args)?;
    let awaited = awaited::ids(&texts(args, WAIT)?, &config)?;
    if args.is_set(CHECK_CONFIG) {
        print(&format!("{}\n", config.to_json(EnvValues::Hidden)))?;
        return Ok(ExitCode::SUCCESS);
    }
    // Before any thread or plugin: signals that come from here on are not lost.
    let signals = signals::Watch::start()?;
    signals.end_on_panic();
    keep_exit_statuses()?;
    let host = Host::builder(&make_way(&config)?)
        .admin_socket(true)
        .hold_admin_socket(true)
        .admin_clients_max(config.limits.admin_clients_max)
        .log_options(config.log_options())
        .log_sinks(config.sinks.clone())
        .adopt_orphans(true)
        .start()?;
    let ran = run(&host, signals, args, &config, &awaited);
    // However that ended: the plugins end before the daemon does.
    host.shutdown();
    ran?;
    let why =
        host.end_reason().ok_or_else(|| Failure::failed("the event loop broke; see its message above"))?;
    if host.has_failed() {
        return Err(Failure::failed(why));
    }
    say(args, &host, "ended", why)?;
    Ok(ExitCode::SUCCESS)
}

/// Adds and starts the plugins, says that it is ready, and acts on signals until the host has ended. Every thread is made
/// before it says so.
fn run(
    host: &Host,
    signals: signals::Watch,
    args: &Args,
    config: &Config,
    awaited: &BTreeSet<PluginId>,
) -> Result<(), Failure> {
    let no_thread = |error| Failure::from(HostError::Setup("a thread of the daemon cannot be made", error));
    signals.end_with(host).map_err(no_thread)?;
    let json = args.is_set(JSON);
    let printing = if awaited.is_empty() {
        None
    } else {
        let events = host.subscribe(awaited::EVENTS_MAX)?;
        let thread = std::thread::Builder::new().name("awaited".into());
        // It ends with the host.
        Some(thread.spawn(move || awaited::print_each(events, json)).map_err(no_thread)?)
    };
    for plugin in &config.plugins {
        let is_awaited = awaited.contains(&plugin.id);
        let handle = host.add(host_config(plugin).awaited(is_awaited))?;
        if plugin.autostart || is_awaited {
            handle.start()?;
        }
    }
    host.release_admin_socket()?;
    say(args, host, "ready", &format!("{} plugins", config.plugins.len()))?;
    signals.wait(host)?;
    // Its panic was reported, if there was one.
    if let Some(printing) = printing {
        let _ = printing.join();
    }
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

fn text(value: &std::ffi::OsStr, flag: &str) -> Result<String, Failure> {
    value.to_str().map(str::to_owned).ok_or_else(|| Failure::usage(format!("--{flag} is not UTF-8")))
}

/// Every value of a flag that repeats.
fn texts(args: &Args, flag: &str) -> Result<Vec<String>, Failure> {
    args.all(flag).map(|value| text(value, flag)).collect()
}

fn load(args: &Args) -> Result<Config, Failure> {
    let mut flags =
        FlagValues { runtime_dir: args.path("runtime-dir").map(Path::to_owned), ..Default::default() };
    for row in flag_rows() {
        if let Some(value) = args.get(row.flag) {
            flags.settings.push((row.flag.to_owned(), text(value, row.flag)?));
        }
    }
    flags.log_sinks = texts(args, LOG_SINK)?;
    flags.plugins = texts(args, PLUGIN)?;
    let sources = Sources {
        file: args.path(CONFIG),
        flags: &flags,
        environment: &|name| std::env::var_os(name),
        is_root: nix::unistd::geteuid().is_root(),
    };
    Config::load(&sources).map_err(Failure::usage)
}

/// The runtime folder. Only its last part is made by the host; `/run` and the user's own folder exist.
fn make_way(config: &Config) -> Result<PathBuf, Failure> {
    match config.runtime_dir.parent().map(Path::is_dir) {
        Some(true) => Ok(config.runtime_dir.clone()),
        _ => Err(Failure::failed(format!(
            "runtime folder {}: the folder above it does not exist; make it, or choose another with --runtime-dir",
            config.runtime_dir.display()
        ))),
    }
}

/// A plugin's configuration as the host takes it. Variables that are let through are looked up now.
fn host_config(plugin: &PluginConfig) -> host::PluginConfig {
    let mut config =
        host::PluginConfig::new(plugin.id.clone(), &plugin.executable).policy(plugin.policy.clone());
    config.args = plugin.args.iter().map(OsString::from).collect();
    config.interfaces.clone_from(&plugin.interfaces);
    config.may_call.clone_from(&plugin.may_call);
    if let Some(folder) = &plugin.working_dir {
        config.working_folder.clone_from(folder);
    }
    for name in &plugin.pass_env {
        if let Some(value) = std::env::var_os(name) {
            config = config.env(name, value);
        }
    }
    for (name, value) in &plugin.env {
        config = config.env(name, value);
    }
    config
}
