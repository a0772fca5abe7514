//! `complete`: what a shell may put in place of the word at the cursor.
//!
//! What it deliberately does not do: fail, or wait. Without a daemon that answers soon there is less to choose from. Quotes in
//! the line are not understood: no name of this program needs any.
//!
//! What always holds: what a plugin calls itself and its methods is printed only where it is a plain name.

use super::client::AdminClient;
use super::exit::Failure;
use super::out::Out;
use super::table::{ADMIN_SOCKET, ID, IDS, METHOD, PROGRAM};
use crate::cli::runtime_dir::ResolvedDir;
use crate::cli::{Args, Command, Flag};
use rpc_plugin_wire::admin::{DescribeReply, METHOD_DESCRIBE, METHOD_PLUGINS, PluginList, PluginRef};
use rpc_plugin_wire::ident::check_method;
use rpc_plugin_wire::life::PluginState;
use serde::Serialize;
use serde_json::value::RawValue;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// How long a person who pressed the key is kept waiting for the daemon, at the most.
const WAIT: Duration = Duration::from_secs(1);
/// Longest line that is completed. Bytes.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// The value of an environment variable.
type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Finds the folder of the daemon that a command line means, and the socket that it names.
type FindDaemon<'a> = &'a dyn Fn(&Args) -> Option<(ResolvedDir, Option<PathBuf>)>;

/// Prints what completes the line that a shell is at, one candidate a line. `bash` says line and cursor in `COMP_LINE` and
/// `COMP_POINT`, and gives the program's name, the word and the one before as arguments.
pub(super) fn run(args: &Args, env: Env<'_>, find: FindDaemon<'_>, out: &mut Out<'_>) -> Result<(), Failure> {
    let line = env("COMP_LINE").and_then(|line| line.into_string().ok()).unwrap_or_default();
    let point = env("COMP_POINT").and_then(|point| point.to_str()?.parse().ok()).unwrap_or(line.len());
    let line = line.get(..point).unwrap_or(&line);
    if line.len() > LINE_BYTES_MAX {
        return Ok(());
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let (before, current) = match words.split_last() {
        Some((last, before)) if !line.ends_with(char::is_whitespace) => (before, *last),
        _ => (&*words, ""),
    };
    let candidates = Line::new(before.get(1..).unwrap_or_default()).candidates(current, find);
    // A shell that breaks words at `:` wants what comes after it.
    let word = args.all("WORD...").nth(1).and_then(|word| word.to_str()).unwrap_or(current);
    let known = current.strip_suffix(word).map_or(0, str::len);
    for candidate in candidates.iter().filter(|candidate| candidate.starts_with(current)) {
        out.safe(&format!("{}\n", candidate.get(known..).unwrap_or_default()))?;
    }
    Ok(())
}

/// The words before the one that is completed, read as far as they can be.
#[derive(Default)]
struct Line<'w> {
    command: Option<&'static Command>,
    /// Arguments of the command without dashes.
    arguments: Vec<&'w str>,
    /// The plugin, where a flag names it.
    named: Option<&'w str>,
    /// What says which daemon is meant.
    daemon: Vec<OsString>,
    /// The flag whose value comes next.
    flag: Option<&'static Flag>,
}

impl<'w> Line<'w> {
    fn new(words: &[&'w str]) -> Line<'w> {
        let mut line = Line::default();
        for word in words {
            if let Some(flag) = line.flag.take() {
                line.note(flag, word);
            } else if let Some(long) = word.strip_prefix("--") {
                let (name, value) =
                    long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
                let flag = PROGRAM.flags_with(line.command).find(|flag| flag.long == name);
                match (flag.filter(|flag| flag.value.is_some()), value) {
                    (Some(flag), Some(value)) => line.note(flag, value),
                    (flag, _) => line.flag = flag.filter(|flag| !flag.has_optional_value()),
                }
            } else if !word.starts_with('-') || *word == "-" {
                match line.command {
                    None => line.command = PROGRAM.command(word),
                    Some(_) => line.arguments.push(word),
                }
            }
        }
        line
    }

    fn note(&mut self, flag: &'static Flag, value: &'w str) {
        match flag.long {
            "runtime-dir" | ADMIN_SOCKET => self.daemon.push(format!("--{}={value}", flag.long).into()),
            "plugin-id" => self.named = Some(value),
            _ => {}
        }
    }

    /// What may stand there, whatever it begins with.
    fn candidates(&self, current: &str, find: FindDaemon<'_>) -> Vec<String> {
        let own = |name: &str| name.to_owned();
        if let Some(flag) = self.flag {
            return match flag.long {
                "plugin-id" => self.plugins(find),
                "for" => PluginState::ALL.iter().map(|state| own(state.as_str())).collect(),
                _ => Vec::new(),
            };
        }
        if current.starts_with('-') {
            return PROGRAM.flags_with(self.command).map(|flag| format!("--{}", flag.long)).collect();
        }
        let Some(command) = self.command else {
            return PROGRAM.commands.iter().map(|command| own(command.name)).collect();
        };
        let arguments =
            command.positionals.iter().filter(|argument| argument.name != ID || self.named.is_none());
        let arguments: Vec<_> = arguments.collect();
        let next = arguments.get(self.arguments.len()).or(arguments.last().filter(|last| last.repeats()));
        match next.map(|argument| argument.name) {
            Some(ID | IDS) => self.plugins(find),
            Some(METHOD) => self.methods(find),
            Some("COMMAND") => PROGRAM.commands.iter().map(|command| own(command.name)).collect(),
            _ => Vec::new(),
        }
    }

    fn plugins(&self, find: FindDaemon<'_>) -> Vec<String> {
        let list = self.ask(find, METHOD_PLUGINS, &());
        let list = list.and_then(|list| serde_json::from_str::<PluginList>(list.get()).ok());
        let plugins = list.map(|list| list.plugins).unwrap_or_default();
        plugins.into_iter().map(|plugin| plugin.plugin_id.to_string()).collect()
    }

    fn methods(&self, find: FindDaemon<'_>) -> Vec<String> {
        let plugin_id = self.named.or(self.arguments.first().copied()).and_then(|id| id.parse().ok());
        let reply = plugin_id.and_then(|plugin_id| self.ask(find, METHOD_DESCRIBE, &PluginRef { plugin_id }));
        let reply = reply.and_then(|reply| serde_json::from_str::<DescribeReply>(reply.get()).ok());
        let names =
            reply.map(|reply| reply.methods).unwrap_or_default().into_iter().map(|method| method.name);
        names.filter(|name| check_method(name).is_ok()).collect()
    }

    /// Asks the daemon that the line means; `None` where nothing comes of it.
    fn ask<P: Serialize>(&self, find: FindDaemon<'_>, method: &str, params: &P) -> Option<Box<RawValue>> {
        let words = self.daemon.iter().cloned().chain(["plugins".into()]);
        let args = PROGRAM.parse(words).ok()?;
        let (runtime_dir, admin_socket) = find(&args)?;
        AdminClient::connect(&runtime_dir, admin_socket.as_deref(), WAIT).ok()?.request(method, params).ok()
    }
}
