//! `rpcpluginctl dev`: one plugin in the foreground, with a host of its own, for its author.
//!
//! What this folder is for: launching the plugin, printing what happens to it, and calling it as lines are typed.
//! What it deliberately does not do: anything of its own to plugins; the host is the one that runs in production,
//! with its checks, deadlines and record, in a private temporary folder.
//!
//! What always holds: the plugin has ended and the folder is gone when this returns; whatever ends it (end of
//! input, `quit`, a signal) takes the plugin down its ladder.

mod commands;
mod input;
mod told_cause;
mod view;

use crate::cli::text::{colour_wanted, escape};
use crate::cli::{Args, Ask, UsageError};
use crate::ctl::{Exit, PROGRAM};
use crate::daemon::signals::{Watch, exit_hung};
use crate::host::{
    Confine, EventStream, Generation, Host, HostError, PluginConfig, PluginHandle, PluginId, Transport,
};
use crate::sys::process::keep_exit_statuses;
use crate::sys::temporary::TemporaryFolder;
use commands::{Console, RunningCall};
use crossbeam_channel::{Sender, bounded};
use input::{Input, read_lines};
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;
use told_cause::ToldCause;
use view::View;

/// The command's name.
pub const COMMAND: &str = "dev";
/// Events that wait to be printed; further ones are missed, and that is told.
const EVENTS_MAX: usize = 4096;
/// What the plugin is called where its file's name is no id.
const ID_DEFAULT: &str = "plugin";
/// How long calls take at the most unless told otherwise; as everywhere in the control client.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Why it could not begin.
struct DevError {
    exit: Exit,
    message: String,
}

impl DevError {
    fn new(exit: Exit, message: impl ToString) -> DevError {
        DevError { exit, message: message.to_string() }
    }
}

impl From<UsageError> for DevError {
    fn from(error: UsageError) -> DevError {
        DevError::new(Exit::Usage, error)
    }
}

impl From<HostError> for DevError {
    fn from(error: HostError) -> DevError {
        DevError::new(Exit::Failed, error)
    }
}

impl From<std::io::Error> for DevError {
    fn from(error: std::io::Error) -> DevError {
        DevError::new(Exit::Failed, error)
    }
}

/// The command line, if it asks for this.
#[must_use]
pub fn asked(words: &[OsString]) -> Option<Args> {
    let args = PROGRAM.parse(words.iter().cloned()).ok()?;
    (args.ask == Ask::Run && args.command.is_some_and(|command| command.name == COMMAND)).then_some(args)
}

/// Runs it on this process's own standard streams, with its signals.
#[must_use]
pub fn run(args: &Args) -> Exit {
    match try_run(args) {
        Ok(exit) => exit,
        Err(failure) => {
            // Nowhere is left to tell that this failed.
            let _ = writeln!(std::io::stderr(), "rpcpluginctl: error: {}", escape(&failure.message));
            failure.exit
        }
    }
}

fn try_run(args: &Args) -> Result<Exit, DevError> {
    let config = config(args)?;
    let timeout = timeout(args)?;
    let signals = Watch::start()?;
    keep_exit_statuses()?;
    let folder = TemporaryFolder::new("rpcpluginctl-dev")?;
    let is_terminal = std::io::stdout().is_terminal();
    let colour = colour_wanted(is_terminal, &|name| std::env::var_os(name)) && !args.is_set("no-color");
    let view = View::new(args.is_set("json"), colour);
    let host = Host::builder(folder.path()).admin_socket(true).adopt_orphans(true);
    let host = host.on_hang(exit_hung("rpcpluginctl")).start()?;
    let events = host.subscribe_to_all(EVENTS_MAX)?;
    let plugin = host.add(config)?;
    let (sender, inputs) = bounded(1);
    signals.end_with(&host)?;
    let calls = RunningCall::default();
    let exit = std::thread::scope(|scope| {
        let ended = sender.clone();
        let (of_signals, told, current) = (host.clone(), &view, &calls);
        let thread = crate::threads::builder;
        let started = thread("dev-show").spawn_scoped(scope, || show(&view, events)).and_then(|_| {
            thread("dev-signals").spawn_scoped(scope, move || {
                // Where signals cannot be received any more, that ends it too.
                let tell = |what: &str| drop(told.note(what));
                let interrupt = || {
                    let is_taken = current.cancel();
                    if is_taken {
                        tell("Ctrl+C: the call is cancelled; again ends it all");
                    }
                    is_taken
                };
                let _ = signals.wait(&of_signals, &tell, &interrupt);
                // Nobody takes it any more where the end came from the input.
                let _ = ended.send(Input::HostEnded);
            })
        });
        if let Err(error) = started {
            host.shutdown();
            return Err(error.into());
        }
        let console = Console { view: &view, host: &host, plugin: &plugin, current, timeout };
        let exit = console.serve(&inputs, || listen(sender.clone()));
        // Whoever reads lines still is left with nobody to give them to.
        drop(inputs);
        host.shutdown();
        Ok::<_, DevError>(exit)
    })?;
    match view.note("the plugin has ended") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(exit),
    }
}

/// Reads standard input on a thread of its own, which nothing waits for: a terminal may say nothing for ever.
fn listen(lines: Sender<Input>) -> std::io::Result<()> {
    crate::threads::builder("dev-input").spawn(move || read_lines(&lines)).map(drop)
}

/// Prints events until the host has ended, or nobody reads them.
fn show(view: &View, events: EventStream) {
    let mut causes = ToldCause::default();
    for event in events {
        if view.event(&event, &mut causes).is_err() {
            return;
        }
    }
}

/// `--timeout`.
fn timeout(args: &Args) -> Result<Duration, DevError> {
    let timeout = args.duration("timeout")?.unwrap_or(TIMEOUT_DEFAULT);
    if timeout.is_zero() {
        return Err(args.wrong("timeout", "0", "a call needs some time").into());
    }
    Ok(timeout)
}

/// What is launched: as the command line says, in the folder it was said in.
fn config(args: &Args) -> Result<PluginConfig, DevError> {
    if args.is_set("runtime-dir") {
        let wrong = args.lacking("'dev' makes a runtime folder of its own; leave --runtime-dir out");
        return Err(wrong.into());
    }
    let program = args.path("PROGRAM").ok_or_else(|| args.lacking("'dev' lacks its PROGRAM"))?;
    // A path as one types it may lead through links, which a host does not follow.
    let executable = std::fs::canonicalize(program)
        .map_err(|error| DevError::new(Exit::Failed, format!("{}: {error}", program.display())))?;
    let mut config = PluginConfig::new(id(args, &executable)?, &executable);
    config.args = args.all("ARG...").map(OsString::from).collect();
    config.working_folder = std::env::current_dir()?;
    for (name, value) in args.pairs("env")? {
        config = config.env(name, value);
    }
    config.pass_env = args.all("pass-env").map(OsString::from).collect();
    if let Some(confine) = args.parse::<Confine>("confine")? {
        config.policy.confine = confine;
    }
    if let Some(transport) = args.parse::<Transport>("transport")? {
        config = config.transport(transport);
    }
    Ok(config)
}

/// `--id`, or the name of the file where that can be an id.
fn id(args: &Args, executable: &Path) -> Result<PluginId, DevError> {
    if let Some(id) = args.parse::<PluginId>("id")? {
        return Ok(id);
    }
    let name = executable.file_stem().and_then(|name| name.to_str());
    let id = name.and_then(|name| name.parse().ok()).filter(|id: &PluginId| id.reserved().is_none());
    id.map_or_else(|| ID_DEFAULT.parse().map_err(|error| DevError::new(Exit::Failed, error)), Ok)
}

/// Waits until the plugin takes calls, in a generation after that one.
fn up(plugin: &PluginHandle, after: Option<Generation>, timeout: Duration) -> Result<(), HostError> {
    plugin.wait_routable(after, timeout).map(drop)
}
