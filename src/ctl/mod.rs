//! The control client: one command, one question to the daemon, one answer printed.
//!
//! What this folder is for: `rpcpluginctl`, from its arguments to its exit code. What it deliberately
//! does not do: touch the process it runs in. Environment, standard streams and arguments are handed
//! in, so that a test sees everything and two clients can run in one process.
//!
//! What always holds: text from plugins, files and the daemon is escaped before it is printed; with
//! `--json`, standard output carries JSON only; every wait for the daemon has a deadline.

mod call;
mod client;
mod commands;
mod complete;
mod exit;
#[cfg(feature = "package")]
mod install;
#[cfg(feature = "package")]
mod installed;
mod logs;
mod many;
mod methods;
mod out;
#[cfg(feature = "package")]
mod package;
#[cfg(feature = "package")]
mod package_switches;
#[cfg(feature = "package")]
mod packages;
mod pretty;
mod show;
mod shutdown;
mod table;
pub(crate) mod transfer;

pub use exit::Exit;
pub use table::PROGRAM;

use crate::cli::runtime_dir::{self, DirSource, ResolvedDir};
use crate::cli::{Args, Ask, text};
use exit::Failure;
use out::Out;
use rpc_plugin_wire::admin::{self, PluginStatus};
#[cfg(feature = "package")]
use rpc_plugin_wire::admin_packages;
use rpc_plugin_wire::limits::PROTOCOL_VERSION;
use serde::Serialize;
use serde_json::value::RawValue;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// JSON laid out for a person, safe to print.
pub(crate) fn lay_out(json: &RawValue) -> String {
    pretty::pretty(&text::escape_json(json.get()))
}

/// All that is known about a plugin, for a person, safe to print.
pub(crate) fn sheet_of(plugin: &PluginStatus, colour: bool) -> String {
    show::plugin(plugin, colour)
}

/// What surrounds the client.
pub struct Io<'a> {
    /// Environment variables by name.
    pub env: &'a dyn Fn(&str) -> Option<OsString>,
    /// Standard input; only `call ID METHOD -` reads it.
    pub stdin: &'a mut dyn Read,
    /// Standard output; flushed at the end.
    pub stdout: &'a mut dyn Write,
    /// Standard error.
    pub stderr: &'a mut dyn Write,
    /// Whether standard output is a terminal: colour, and JSON laid out.
    pub stdout_is_terminal: bool,
    /// Characters of a line of the terminal that standard output is, if it is one and says so.
    pub stdout_columns: Option<usize>,
    /// Whether standard error is a terminal: colour.
    pub stderr_is_terminal: bool,
    /// Whether the descriptors 0 and 1 and the signals of this process are this client's own: `call` copies to and from
    /// them then.
    pub is_process: bool,
}

/// One run: what was asked, of which daemon.
struct Invocation<'a> {
    args: &'a Args,
    runtime_dir: ResolvedDir,
    /// The socket that was named in place of the runtime folder's.
    admin_socket: Option<PathBuf>,
    timeout: Duration,
}

/// Runs the client. `words` are its arguments without its own name.
pub fn run(words: impl IntoIterator<Item = OsString>, io: Io<'_>) -> Exit {
    let words: Vec<OsString> = words.into_iter().collect();
    let parsed = PROGRAM.parse(words.iter().cloned());
    // A command line that does not parse may still say how its error is wanted.
    let unparsed_json = || {
        let mut words = words.iter().take_while(|word| *word != "--");
        words.any(|word| word == "--json" || word == "--format=json")
    };
    let unparsed_plain = || words.iter().any(|word| word == "--no-color");
    let (json, plain) = match &parsed {
        Ok(args) => (args.is_set("json") || is_json(args), args.is_set("no-color")),
        Err(_) => (unparsed_json(), unparsed_plain()),
    };
    let colour = |is_terminal: bool| !plain && text::colour_wanted(is_terminal, io.env);
    let mut out = Out {
        json,
        stdout_colour: colour(io.stdout_is_terminal),
        stderr_colour: colour(io.stderr_is_terminal),
        stdout_is_terminal: io.stdout_is_terminal,
        stdout_columns: io.stdout_columns,
        is_process: io.is_process,
        stdout: io.stdout,
        stderr: io.stderr,
    };
    let done = parsed
        .map_err(Failure::from)
        .and_then(|args| answer(&args, io.env, io.stdin, &mut out))
        .and_then(|()| out.flush());
    match done {
        Ok(()) => Exit::Ok,
        Err(failure) => {
            // What was printed before the failure comes before it; if that fails too, it says so.
            let _ = out.flush();
            out.fail(&failure);
            failure.exit
        }
    }
}

/// Whether `logs` is asked for JSON in its own way.
fn is_json(args: &Args) -> bool {
    args.get("format").is_some_and(|format| format == "json")
}

fn answer(
    args: &Args,
    env: &dyn Fn(&str) -> Option<OsString>,
    stdin: &mut dyn Read,
    out: &mut Out<'_>,
) -> Result<(), Failure> {
    match (args.ask, args.command.map(|command| command.name)) {
        (Ask::Help(Some(command)), _) if out.json => out.value(command),
        (Ask::Help(None), _) if out.json => out.value(&PROGRAM),
        (Ask::Help(command), _) => out.safe(&PROGRAM.help(command)),
        (Ask::Version, _) | (Ask::Run, Some("version")) => version(out),
        #[cfg(feature = "package")]
        (Ask::Run, Some("package")) if package::is_folder(args) => package::package(args, out),
        (Ask::Run, Some("complete")) => complete::run(args, env, &|args| resolved_dir(args, env).ok(), out),
        (Ask::Run, _) => {
            let (runtime_dir, admin_socket) = resolved_dir(args, env)?;
            let invocation = Invocation { args, runtime_dir, admin_socket, timeout: timeout(args)? };
            invocation.run(stdin, out)
        }
    }
}

/// The daemon's folder, and its socket where one was named in place of the folder's.
fn resolved_dir(
    args: &Args,
    env: &dyn Fn(&str) -> Option<OsString>,
) -> Result<(ResolvedDir, Option<PathBuf>), Failure> {
    let is_root = nix::unistd::geteuid().is_root();
    let admin_socket = admin_socket(args, env)?;
    let runtime_dir = match &admin_socket {
        // Who reaches the daemon over a socket of a group need not know its folder.
        Some(socket) if args.command.is_none_or(|command| command.name != "logs") => {
            let path = socket.parent().map(Path::to_owned).unwrap_or_default();
            ResolvedDir { path, source: DirSource::AdminSocket }
        }
        _ => runtime_dir::resolve(args.get("runtime-dir"), env, is_root)?,
    };
    Ok((runtime_dir, admin_socket))
}

/// `--admin-socket`, or its variable.
fn admin_socket(args: &Args, env: &dyn Fn(&str) -> Option<OsString>) -> Result<Option<PathBuf>, Failure> {
    if let Some(path) = args.path(table::ADMIN_SOCKET) {
        let absolute = std::path::absolute(path)
            .map_err(|error| args.wrong(table::ADMIN_SOCKET, &path.to_string_lossy(), &error.to_string()))?;
        return Ok(Some(absolute));
    }
    let is_set = |value: &OsString| !value.is_empty() && !args.is_set("runtime-dir");
    match env(table::ADMIN_SOCKET_VARIABLE).filter(is_set).map(PathBuf::from) {
        Some(path) if !path.is_absolute() => {
            let variable = table::ADMIN_SOCKET_VARIABLE;
            Err(Failure::new(Exit::Usage, format!("{variable} is {path:?}; it must be an absolute path")))
        }
        path => Ok(path),
    }
}

/// `--timeout`, or its default.
fn timeout(args: &Args) -> Result<Duration, Failure> {
    let timeout = args.duration("timeout")?.unwrap_or(Duration::from_millis(admin::DEADLINE_MS_DEFAULT));
    let seen = || args.text("timeout").ok().flatten().unwrap_or_default().to_owned();
    if timeout > Duration::from_millis(admin::DEADLINE_MS_MAX) {
        return Err(args.wrong("timeout", &seen(), "longer than a day, which is the most").into());
    }
    if !timeout.is_zero() && timeout < Duration::from_millis(1) {
        return Err(args.wrong("timeout", &seen(), "shorter than 1ms, which is the least").into());
    }
    Ok(timeout)
}

fn version(out: &mut Out<'_>) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct ProgramVersion {
        program: &'static str,
        version: &'static str,
        protocol: u32,
    }
    let version =
        ProgramVersion { program: PROGRAM.name, version: PROGRAM.version, protocol: PROTOCOL_VERSION };
    if out.json {
        return out.value(&version);
    }
    out.safe(&format!("{} {} (protocol {PROTOCOL_VERSION})\n", PROGRAM.name, PROGRAM.version))
}

impl Invocation<'_> {
    fn run(&self, stdin: &mut dyn Read, out: &mut Out<'_>) -> Result<(), Failure> {
        match self.args.command.map_or("", |command| command.name) {
            #[cfg(feature = "package")]
            "acknowledge" => self.acknowledge(out),
            #[cfg(feature = "package")]
            "approve" => self.approve(out),
            "call" => self.call(out, stdin),
            "capabilities" => self.capabilities(out),
            #[cfg(feature = "package")]
            "disable" => self.switch(out, admin_packages::METHOD_DISABLE, "disabled"),
            "echo" => self.echo(out),
            #[cfg(feature = "package")]
            "enable" => self.switch(out, admin_packages::METHOD_ENABLE, "enabled"),
            "heartbeat" => self.heartbeat(out),
            #[cfg(feature = "package")]
            "install" => self.install(out),
            "logs" => logs::Logs(self).run(out),
            "methods" => self.methods(out),
            #[cfg(feature = "package")]
            "package" => self.installed_package(out),
            #[cfg(feature = "package")]
            "packages" => self.list_packages(out, admin_packages::METHOD_PACKAGES),
            #[cfg(feature = "package")]
            "pin" => self.pin(out),
            "plugin" => self.plugin(out),
            "plugins" => self.plugins(out),
            #[cfg(feature = "package")]
            "remove" => self.remove_package(out),
            #[cfg(feature = "package")]
            "rescan" => self.list_packages(out, admin_packages::METHOD_RESCAN),
            "restart" => self.act(out, admin::METHOD_RESTART),
            #[cfg(feature = "package")]
            "rollback" => self.rollback(out),
            "routes" => self.routes(out),
            "shutdown" => self.shutdown(out),
            "start" => self.act(out, admin::METHOD_START),
            "status" => self.status(out),
            "stop" => self.act(out, admin::METHOD_STOP),
            "wait" => self.wait(out),
            "dev" => Err(Failure::new(Exit::Failed, "'dev' needs a process of its own: run rpcpluginctl")),
            // The table has commands that this match lacks: a bug, which a test over the table finds.
            other => Err(Failure::new(Exit::Failed, format!("the command {other:?} is not built in"))),
        }
    }
}
