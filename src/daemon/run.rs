//! `rpcplugind`: configuration, host, signals, end.
//!
//! What always holds: whatever ends the daemon in an orderly way ends every plugin first; what it says
//! on standard error names what happened and what to do.

use super::config::{self, AdminGroup, Config, EnvValues, FlagValues, Sources, flag_rows};
use super::daemon_error::{DaemonError, print};
use super::first_round::{self, Required};
use super::flags::{
    ADMIN_GROUP, CHECK_CONFIG, CONFIG, DEMO, JSON, LOG_SINK, PLUGIN, PLUGIN_ID, PLUGINS, PLUGINS_DIR,
    PROGRAM, QUIET, REQUIRE_HEALTHY, SERVE_ECHO, STATE_DIR, WAIT,
};
#[cfg(feature = "package")]
use super::packages::Packages;
use super::says::{PATIENCE, complain, say};
use super::stderr_events::{self, StderrEvents};
use super::{by_hand, check, demo, echo, original, signals};
use crate::cli::text::{count, escape_json};
use crate::cli::{Args, Ask};
use crate::host::{EventKind, Host, HostError, Level, PluginId, SinkTarget};
use crate::sys::limits::{bound_allocator, raise_descriptor_limit};
use crate::sys::process::keep_exit_statuses;
use rpc_plugin_wire::limits::PROTOCOL_VERSION;
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Events that wait to be told by the daemon, beside one for each plugin.
const EVENTS_MAX: usize = 256;

/// Runs the daemon. `words` are its arguments without its own name.
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    match signals::unblock().map_err(DaemonError::from).and_then(|()| answer(words)) {
        Ok(code) => code,
        Err(failure) => {
            complain(PROGRAM.name, &failure.message);
            ExitCode::from(failure.code)
        }
    }
}

fn answer(words: impl IntoIterator<Item = OsString>) -> Result<ExitCode, DaemonError> {
    let args = PROGRAM.parse(words).map_err(DaemonError::usage)?;
    let text = match args.ask {
        Ask::Help(command) => PROGRAM.help(command),
        Ask::Version if args.is_set(JSON) => {
            let (program, version) = (PROGRAM.name, PROGRAM.version);
            let line =
                serde_json::json!({"program": program, "version": version, "protocol": PROTOCOL_VERSION});
            format!("{line}\n")
        }
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
    #[cfg(not(feature = "package"))]
    if !config.packages.plugins_dirs.is_empty() || !config.packages.overrides.is_empty() {
        let text =
            "packages are configured, and this rpcplugind is built without them (Cargo feature `package`)";
        return Err(DaemonError::usage(text));
    }
    for id in texts(args, WAIT)? {
        config.start_by_hand(&id).map_err(DaemonError::usage)?;
    }
    if args.is_set(CHECK_CONFIG) {
        print(&format!("{}\n", config::to_json(&config, EnvValues::Hidden)))?;
        return match check::problems(&config).as_slice() {
            [] => Ok(ExitCode::SUCCESS),
            problems => Err(DaemonError::failed(problems.join("\nrpcplugind: "))),
        };
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
    #[cfg(feature = "package")]
    let packages = {
        let (packages, requests) = Packages::open(&config)?;
        builder = builder.serve_packages(requests);
        packages
    };
    let host = builder.start()?;
    let ran = run(&host, signals, args, &config, || {
        #[cfg(feature = "package")]
        let ready = packages.make_thread(&host)?;
        Ok(move || {
            #[cfg(feature = "package")]
            return ready.begin();
            #[cfg(not(feature = "package"))]
            BTreeSet::new()
        })
    });
    // However that ended: the plugins end before the daemon does.
    host.shutdown();
    ran?;
    let why = host
        .end_reason()
        .ok_or_else(|| DaemonError::failed("the event loop broke; see its message above"))?;
    if host.has_failed() {
        return Err(DaemonError::failed(why));
    }
    say(&line(args.is_set(JSON), &host, "ended", why, Value::Null))?;
    Ok(ExitCode::SUCCESS)
}

/// A thread that begins once the daemon has said that it has started, and ends with the host.
struct SayingThread {
    /// Sent to where it may begin, with the packages that were started. Dropped before, it ends without a word.
    begin: Sender<BTreeSet<PluginId>>,
    /// Hung up when it has ended.
    ended: Receiver<()>,
}

impl SayingThread {
    fn new(
        name: &'static str,
        say: impl FnOnce(BTreeSet<PluginId>) + Send + 'static,
    ) -> Result<SayingThread, DaemonError> {
        let (begin, has_begun) = channel();
        let (ends, ended) = channel::<()>();
        let body = move || {
            // Also where it panics, which is reported then.
            let _ends = ends;
            if let Ok(packages) = has_begun.recv() {
                say(packages);
            }
        };
        crate::threads::builder(name).spawn(body).map_err(no_thread)?;
        Ok(SayingThread { begin, ended })
    }

    fn begin(self, packages: BTreeSet<PluginId>) -> Receiver<()> {
        // Nobody is left to be told that it has ended.
        let _ = self.begin.send(packages);
        self.ended
    }
}

fn no_thread(error: std::io::Error) -> DaemonError {
    DaemonError::from(HostError::Setup("a thread of the daemon cannot be made", error))
}

/// Adds and starts the plugins, says that it has started, and acts on signals until the host has ended. Every thread is made
/// before a plugin is started. `make_packages` makes that of packages; what it gives has those run that are stored, and says
/// which ones were started.
fn run<P: FnOnce() -> BTreeSet<PluginId>>(
    host: &Host,
    signals: signals::Watch,
    args: &Args,
    config: &Config,
    make_packages: impl FnOnce() -> Result<P, DaemonError>,
) -> Result<(), DaemonError> {
    let required = required(args)?;
    let json = args.is_set(JSON);
    signals.end_with(host).map_err(no_thread)?;
    let unhealthy = Arc::new(OnceLock::new());
    let threads =
        [tell_events(host, args, config)?, look_after_round(host, json, required, config, &unhealthy)?];
    let start_packages = make_packages()?;
    for plugin in &config.plugins {
        let handle = host.add(plugin.config.clone())?;
        if plugin.starts_with_daemon() {
            handle.start()?;
        }
    }
    let packages = start_packages();
    host.release_admin_socket()?;
    let plugins = count(config.plugins.len() as u64, "plugin");
    say(&line(json, host, "started", &plugins, Value::Null))?;
    let threads = threads.map(|thread| thread.begin(packages.clone()));
    // Where standard output cannot be written to, it ends all the same.
    let tell = |what: &str| drop(say(&line(json, host, "ending", what, Value::Null)));
    signals.wait(host, &tell, &|| false)?;
    // Whatever holds one up in what it says, the daemon ends.
    let until = Instant::now() + 2 * PATIENCE;
    for ended in threads {
        let _ = ended.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
    match unhealthy.get() {
        Some(reasons) => Err(DaemonError::failed(reasons)),
        None => Ok(()),
    }
}

/// Tells what happens: on standard output how to start plugins by hand, on standard error what goes wrong.
fn tell_events(host: &Host, args: &Args, config: &Config) -> Result<SayingThread, DaemonError> {
    let json = args.is_set(JSON);
    // A sink that writes to standard error tells it already.
    let by_sink = config.sinks.iter().any(|sink| matches!(sink.target, SinkTarget::Stderr(_)));
    let wants: fn(EventKind, Level) -> bool = match args.is_set(QUIET) || by_sink {
        true => |kind, _| by_hand::is_told(kind),
        false => |kind, level| by_hand::is_told(kind) || stderr_events::is_told(kind, level),
    };
    let events = host.subscribe_to(EVENTS_MAX + config.plugins.len(), wants)?;
    let id_chars_max = config.plugins.iter().map(|plugin| plugin.config.id.as_str().len()).max();
    let mut stderr_events = StderrEvents::new(id_chars_max.unwrap_or(0));
    SayingThread::new("daemon-says", move |_| {
        for event in events {
            match by_hand::is_told(event.note.kind) {
                true => by_hand::tell(&event, json),
                false => stderr_events.tell(&event),
            }
        }
        stderr_events.tell_untold();
    })
}

/// Says what came of the first round; where not all are healthy and all have to be, leaves the reasons in `unhealthy` and ends
/// the host.
fn look_after_round(
    host: &Host,
    json: bool,
    required: Required,
    config: &Config,
    unhealthy: &Arc<OnceLock<String>>,
) -> Result<SayingThread, DaemonError> {
    let changes = host.subscribe_to(first_round::EVENTS_MAX, first_round::is_watched)?;
    let starts = config.plugins.iter().filter(|plugin| plugin.starts_with_daemon());
    let (by_hand, launched): (Vec<_>, Vec<_>) = starts.partition(|plugin| plugin.config.is_by_hand());
    let (mut launched, by_hand): (BTreeSet<_>, _) =
        (launched.iter().map(|plugin| plugin.config.id.clone()).collect(), by_hand.len());
    let (host, unhealthy) = (host.clone(), Arc::clone(unhealthy));
    SayingThread::new("daemon-round", move |packages| {
        launched.extend(packages);
        let outcome = first_round::wait(&host, &changes, (&launched, by_hand), required);
        let Some(outcome) = outcome else { return };
        if required == Required::Nothing || outcome.all_healthy() {
            // Nobody is left to tell that it cannot be printed.
            let _ = say_ready(&host, json, &outcome);
        } else {
            let _ = unhealthy.set(format!("{}:\n{}", outcome.summary(), outcome.reasons().trim_end()));
            host.begin_shutdown("not every plugin is healthy, which --require-healthy asks for");
        }
    })
}

/// What `--require-healthy[=T]` says.
fn required(args: &Args) -> Result<Required, DaemonError> {
    match args.get(REQUIRE_HEALTHY) {
        // The Go system's daemon ended where its one plugin did not start.
        None if args.is_set(PLUGIN_ID) => Ok(Required::InFirstRound),
        None => Ok(Required::Nothing),
        Some(time) if time.is_empty() => Ok(Required::InFirstRound),
        Some(_) => {
            let time = args.duration(REQUIRE_HEALTHY).map_err(DaemonError::usage)?;
            Ok(Required::Within(time.unwrap_or_default()))
        }
    }
}

/// Says what came of the first round.
fn say_ready(host: &Host, json: bool, outcome: &first_round::RoundOutcome) -> std::io::Result<()> {
    let line = line(json, host, "ready", &outcome.summary(), outcome.members());
    say(&if json { line } else { line + &outcome.reasons() })
}

/// One line: what the daemon has come to. `more`: further members of an object for programs.
fn line(json: bool, host: &Host, state: &str, what: &str, more: Value) -> String {
    let runtime_dir = host.runtime_dir().display();
    if json {
        let pid = std::process::id();
        let mut line = serde_json::json!({
            "state": state, "message": what, "pid": pid, "runtime_dir": runtime_dir.to_string(),
        });
        if let (Value::Object(line), Value::Object(more)) = (&mut line, more) {
            line.extend(more);
        }
        return escape_json(&line.to_string()).into_owned() + "\n";
    }
    format!("rpcplugind {}: {state}, {what}, runtime folder {runtime_dir}\n", PROGRAM.version)
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

/// Plugins of flags, each as `ID=PATH`.
fn plugins(args: &Args) -> Result<Vec<String>, DaemonError> {
    let mut plugins = texts(args, PLUGIN)?;
    if let Some(id) = args.text(PLUGIN_ID).map_err(DaemonError::usage)? {
        let [path] = &mut *plugins else {
            let text = "--plugin-id is the id of one plugin, whose path is the one value of --plugin";
            return Err(DaemonError::usage(args.lacking(text)));
        };
        // A path may hold '='; one that is named with an id says so by beginning with it.
        if !path.starts_with(&format!("{id}=")) {
            *path = format!("{id}={path}");
        }
    }
    let listed = args.text(PLUGINS).map_err(DaemonError::usage)?.unwrap_or_default();
    plugins.extend(listed.split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned));
    Ok(plugins)
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
    flags.plugins = plugins(args)?;
    flags.state_dir = args.path(STATE_DIR).map(Path::to_owned);
    flags.plugins_dirs = args.all(PLUGINS_DIR).map(PathBuf::from).collect();
    let sources = Sources {
        file: args.path(CONFIG),
        flags: &flags,
        environment: &|name| std::env::var_os(name),
        is_root: nix::unistd::geteuid().is_root(),
    };
    let mut config = config::load(&sources).map_err(DaemonError::usage)?;
    if let Some(id) = args.text(PLUGIN_ID).map_err(DaemonError::usage)? {
        original::pass_behaviour(&mut config, id, |name| std::env::var_os(name).is_some());
    }
    Ok(config)
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
