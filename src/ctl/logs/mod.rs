//! `logs`: what is on record, of one plugin, of the daemon, or of all; and what comes.
//!
//! What this folder is for: choosing streams and events ([`filter`]), the newest of them in the order of
//! time ([`newest`]), those that come ([`follow`]), counts ([`summary`]), the hash chain ([`verify`]), and
//! how an event looks ([`print`]). What it deliberately does not do: ask the daemon. The files tell, also
//! when it is down.
//!
//! What always holds: memory does not grow with the files; they are read no further back than needed; a line
//! that is not a record is counted, told, and passed over.

mod filter;
mod follow;
mod names;
mod newest;
mod print;
mod source;
mod summary;
mod trace;
mod verify;
mod when;

use super::client::no_permission;
use super::exit::{Exit, Failure};
use super::out::Out;
use super::{Invocation, table};
use filter::Filter;
use newest::LIMIT_MAX;
use rpc_plugin_record::{FILE_NAME, PLUGIN_FILE_NAME, Place, plugin_folders};
use rpc_plugin_wire::PluginId;
use rpc_plugin_wire::suggest::nearest;
use source::{NAMED_MAX, RecordSource, Unread, unreadable};
use std::io;
use std::path::Path;

/// Flags that say which events, and so are no use to `--verify`, which is about all of them.
const CHOOSING: [&str; 11] = [
    "component",
    "event",
    "generation",
    "grep",
    "level",
    "limit",
    "method",
    "pid",
    "reverse",
    "since",
    "until",
];

/// The command `logs`, of one command line.
pub(super) struct Logs<'a>(pub(super) &'a Invocation<'a>);

impl Logs<'_> {
    pub(super) fn run(&self, out: &mut Out<'_>) -> Result<(), Failure> {
        self.check_flags()?;
        let filter = Filter::new(self.0.args)?;
        let limit = self.limit(&filter)?;
        let sources = self.sources()?;
        if let [only] = &*sources
            && !self.0.args.is_set("follow")
            && rpc_plugin_record::segments(&only.folder, only.name).is_ok_and(|files| files.is_empty())
            && std::fs::symlink_metadata(only.path()).is_err()
        {
            out.warn(&format!("nothing is on record yet at {:?}", only.path()));
        }
        if self.0.args.is_set("verify") {
            return verify::run(out, &sources);
        }
        if self.0.args.is_set("summary") {
            return summary::run(out, &sources, &filter);
        }
        if self.0.args.is_set("follow") {
            let found = || self.sources();
            let more: Option<follow::Find<'_>> = if self.0.args.is_set("all") { Some(&found) } else { None };
            let deadline = self.0.args.is_set("timeout").then_some(self.0.timeout);
            return follow::run(out, sources, &filter, limit, deadline, more);
        }
        let mut unread = Unread::new(sources.len());
        let mut newest = newest::Newest::new(limit);
        newest.read(out, &sources, &filter, None, &mut unread)?;
        newest.print(out, &mut print::Printer::new(&sources), self.0.args.is_set("reverse"))?;
        newest.tell(out, &sources, self.0.args.is_set("limit"));
        unread.end()
    }

    /// How many events to print.
    fn limit(&self, filter: &Filter) -> Result<usize, Failure> {
        let limit = self.0.args.parse::<usize>("limit")?;
        if let Some(limit) = limit.filter(|limit| *limit > LIMIT_MAX) {
            return Err(self.0.args.wrong("limit", &limit.to_string(), "more than 100000").into());
        }
        // Who says since when wants all of it.
        let default = if filter.has_since() { LIMIT_MAX } else { table::LIMIT_DEFAULT.parse().unwrap_or(0) };
        Ok(limit.unwrap_or(default))
    }

    /// What excludes each other.
    fn check_flags(&self) -> Result<(), Failure> {
        let is_set = |name: &str| self.0.args.is_set(name);
        let one_of = |names: &[&str]| {
            let mut set = names.iter().filter(|name| is_set(name));
            let pair = set.next().zip(set.next());
            pair.map(|(a, b)| self.0.args.lacking(format!("--{a} and --{b} exclude each other")))
        };
        let chooses = CHOOSING.map(|name| ["verify", name]);
        let pairs = chooses.iter().chain(&[["follow", "reverse"], ["follow", "until"]]);
        let wrong = one_of(&["follow", "summary", "verify"])
            .or_else(|| pairs.into_iter().find_map(|pair| one_of(pair)))
            .or_else(|| one_of(&["summary", "limit"]))
            .or_else(|| one_of(&["summary", "reverse"]));
        let names: Vec<&str> = [("all", "--all"), ("daemon", "--daemon"), (table::IDS, "an ID")]
            .iter()
            .filter_map(|(name, shown)| is_set(name).then_some(*shown))
            .collect();
        if let [a, b, ..] = &*names {
            let message = format!("{a} and {b} exclude each other: they name different records");
            return Err(self.0.args.lacking(message).into());
        }
        if is_set("daemon") && self.0.args.text("source")? == Some("plugin") {
            let message =
                "--daemon and --source plugin exclude each other: only plugins keep a record of their own";
            return Err(self.0.args.lacking(message).into());
        }
        match self.0.args.text("format")? {
            Some("text") if is_set("json") => {
                return Err(self.0.args.lacking("--json and --format text exclude each other").into());
            }
            None | Some("text" | "json") => {}
            Some(other) => return Err(self.0.args.wrong("format", other, "it is text or json").into()),
        }
        wrong.map_or(Ok(()), |wrong| Err(wrong.into()))
    }

    /// The streams that the command line asks for, whether they are there yet or not.
    fn sources(&self) -> Result<Vec<RecordSource>, Failure> {
        let folder = &self.0.runtime_dir.path;
        if !is_folder(folder)? {
            let message = format!("no runtime folder at {folder:?} (from {})", self.0.runtime_dir.source);
            return Err(Failure::new(Exit::Unreachable, message).hint("which --runtime-dir has rpcplugind?"));
        }
        let name = match self.0.args.text("source")? {
            None | Some("kernel") => FILE_NAME,
            Some("plugin") => PLUGIN_FILE_NAME,
            Some(other) => return Err(self.0.args.wrong("source", other, "it is kernel or plugin").into()),
        };
        let daemons = RecordSource { folder: folder.clone(), name: FILE_NAME, plugin_id: None };
        let of = |id: PluginId| RecordSource {
            folder: Place::of(folder, Some(&id)).path(),
            name,
            plugin_id: Some(id),
        };
        if self.0.args.is_set("daemon") {
            return Ok(vec![daemons]);
        }
        let plugins = || plugin_folders(folder).map_err(|error| unreadable(folder, &error));
        if self.0.args.is_set("all") {
            let own = (name == FILE_NAME).then_some(daemons);
            return Ok(own.into_iter().chain(plugins()?.into_iter().map(of)).collect());
        }
        if !self.0.args.is_set(table::IDS) {
            return Ok(vec![of(self.only(plugins()?)?)]);
        }
        let mut sources: Vec<RecordSource> = Vec::new();
        for id in self.0.args.all(table::IDS) {
            let text = id.to_string_lossy();
            let id = text
                .parse::<PluginId>()
                .map_err(|why| self.0.args.wrong(table::IDS, &text, &why.to_string()))?;
            if let Some(kept) = id.reserved() {
                let message =
                    format!("\"{id}\" is no plugin: the name {kept} is kept for the daemon's own files");
                return Err(Failure::new(Exit::UnknownPlugin, message)
                    .hint("--daemon shows the daemon's own events, also those about sinks"));
            }
            let source = of(id);
            if !is_folder(&source.folder)? {
                let known: Vec<String> = plugins()?.iter().map(PluginId::to_string).collect();
                let message = format!("no plugin \"{}\" has a folder in {folder:?}", source.label());
                return Err(Failure::new(Exit::UnknownPlugin, message).hint(
                    match nearest(source.label(), known.iter().map(String::as_str)) {
                        Some(meant) => format!("did you mean {meant}?"),
                        None => "'rpcpluginctl plugins' lists those of a running daemon".to_owned(),
                    },
                ));
            }
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
        Ok(sources)
    }

    /// The only plugin, if there is just one.
    fn only(&self, mut ids: Vec<PluginId>) -> Result<PluginId, Failure> {
        match (ids.pop(), ids.len()) {
            (Some(only), 0) => Ok(only),
            (None, _) => {
                let message = format!("no plugin has a folder in {:?}", self.0.runtime_dir.path);
                Err(Failure::new(Exit::UnknownPlugin, message).hint("--daemon shows the daemon's own events"))
            }
            (Some(last), others) => {
                let mut names: Vec<String> = ids.iter().take(NAMED_MAX).map(PluginId::to_string).collect();
                names.push(if others > NAMED_MAX { "...".to_owned() } else { last.to_string() });
                let message = format!(
                    "an ID is missing: there are {} plugins ({}); --all shows all of them, --daemon the daemon's own events",
                    others + 1,
                    names.join(", ")
                );
                Err(self.0.args.lacking(message).into())
            }
        }
    }
}

/// Whether there is a folder.
///
/// # Errors
/// This user may not know.
fn is_folder(path: &Path) -> Result<bool, Failure> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(found.is_dir()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(no_permission(path)),
        Err(_) => Ok(false),
    }
}
