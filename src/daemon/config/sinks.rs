//! Sinks of the record in a configuration.
//!
//! What this file is for: `log.sinks` and `--log-sink`. What it deliberately does not do: look
//! whether a socket or program is there; it may come later.
//!
//! What always holds: names are unique, because cursors are kept by them; paths are absolute; a key that the
//! type of a sink does not have is an error.

use super::plugin::Plugins;
use super::settings::{SINK, SinkSettings};
use crate::eventlog::sinks::{CommandLine, Prefix, SINKS_MAX, SinkOptions, SinkTarget, SyslogFormat};
use crate::host::LogSink;
use crate::settings::{JsonSource, Node, Object, take_settings};
use crate::state::config_error::quoted;
use crate::state::plugin_config::{ARG_BYTES_MAX, ARGS_MAX, check_path};
use rpc_plugin_wire::PluginId;
use std::path::PathBuf;

/// Their key in `log`.
pub(super) const SINKS: &str = "sinks";
/// Most plugins that a sink may name.
const PLUGINS_MAX: usize = 4096;

pub(super) const PREFIXES: &[(&str, Prefix)] =
    &[("auto", Prefix::Auto), ("always", Prefix::Always), ("never", Prefix::Never)];
pub(super) const FORMATS: &[(&str, SyslogFormat)] =
    &[("rfc3164", SyslogFormat::Rfc3164), ("rfc5424", SyslogFormat::Rfc5424)];
const NAME_ALLOWED: &str = "1 to 64 letters, digits, '.', '_', '-'; not '.' or '..'";

/// What is beside the settings of the record.
#[derive(Debug, Default)]
pub(super) struct Beside {
    pub(super) sinks: Vec<LogSink>,
}

/// Takes them out of the object `log`.
pub(super) fn take_beside<'a>(source: &mut JsonSource<'a>, log: &mut Object<'a>) -> Beside {
    let mut beside = Beside::default();
    if let Some(node) = log.take(SINKS) {
        for element in source.array(&node, SINKS_MAX).unwrap_or_default() {
            let Some(sink) = sink_of(source, &element) else { continue };
            if beside.has(&sink.options.name) {
                source.error(
                    &element,
                    format!("a sink is named {:?} already", sink.options.name),
                    "each name once",
                );
            } else {
                beside.sinks.push(sink);
            }
        }
    }
    beside
}

impl Beside {
    fn has(&self, name: &str) -> bool {
        self.sinks.iter().any(|sink| sink.options.name == name)
    }

    /// A plugin that takes events has to be one of the daemon's.
    pub(super) fn check_plugins(&self, source: &mut JsonSource<'_>, plugins: &Plugins<'_>) {
        for LogSink { options, target } in &self.sinks {
            let SinkTarget::Plugin(id) = target else { continue };
            if !plugins.iter().any(|(plugin, _)| plugin.config.id == *id) {
                let place = format!("log.sinks: sink {:?}", options.name);
                let allowed = "the id of a plugin of this configuration";
                source.errors.add(place, format!("there is no plugin {id:?}"), allowed);
            }
        }
    }

    /// Adds the sinks of the flags.
    pub(super) fn finish(&mut self, source: &mut JsonSource<'_>, flags: &[String]) {
        for text in flags {
            let place = format!("--log-sink {}", quoted(text));
            match sink_of_flag(text) {
                Err((problem, allowed)) => source.errors.add(place, problem, allowed),
                Ok(sink) if self.has(&sink.options.name) => {
                    let problem = format!("a sink is named {:?} already", sink.options.name);
                    source.errors.add(place, problem, "one of a type; more of them with names in the file");
                }
                Ok(_) if self.sinks.len() >= SINKS_MAX => {
                    source.errors.add(place, "is one sink too many", format!("at most {SINKS_MAX} sinks"));
                }
                Ok(sink) => self.sinks.push(sink),
            }
        }
    }
}

fn name_of(text: &str) -> Result<String, String> {
    match text.parse::<PluginId>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("name {} {error}", quoted(text))),
    }
}

fn sink_of<'a>(source: &mut JsonSource<'a>, node: &Node<'a>) -> Option<LogSink> {
    let mut object = source.object(node)?;
    let mut settings = SinkSettings::default();
    take_settings(source, &mut object, SINK, &mut settings);
    if settings.backoff_initial > settings.backoff_max {
        source.error(node, "backoff_initial is longer than backoff_max", "backoff_initial not longer");
    }
    let plugins = object.take("plugins").map(|node| ids_of(source, &node));
    let except = object.take("except").map_or_else(Vec::new, |node| ids_of(source, &node));
    let kind = object.take("type").or_else(|| missing(source, node, "type", &SinkTarget::KINDS.join(", ")));
    let kind = kind.and_then(|node| source.string(&node).map(|kind| (node, kind)));
    let name = object.take("name").or_else(|| missing(source, node, "name", NAME_ALLOWED));
    let name = name.and_then(|node| {
        let text = source.string(&node)?;
        name_of(&text).map_err(|problem| source.error(&node, problem, NAME_ALLOWED)).ok()
    });
    let (kind_node, kind) = kind?;
    let target = target_of(source, node, &mut object, &kind_node, &kind);
    let own: &[&str] = match kind.as_str() {
        "stderr" => &["prefix"],
        "syslog" => &["path", "format"],
        "command" => &["command"],
        "plugin" => &["plugin"],
        _ => &["path"],
    };
    let keys = ["name", "type", "plugins", "except"].into_iter().chain(own.iter().copied());
    source.unknown(&object, keys.chain(SINK.iter().map(|setting| setting.key)));
    let SinkSettings { level, host, batch_max, timeout, backoff_initial, backoff_max } = settings;
    let name = name?;
    let options =
        SinkOptions { name, level, plugins, except, host, batch_max, timeout, backoff_initial, backoff_max };
    Some(LogSink { options, target: target? })
}

fn missing<'a>(source: &mut JsonSource<'a>, node: &Node<'a>, key: &str, allowed: &str) -> Option<Node<'a>> {
    source.error_below(node, key, "is missing", allowed);
    None
}

fn target_of<'a>(
    source: &mut JsonSource<'a>,
    node: &Node<'a>,
    object: &mut Object<'a>,
    kind_node: &Node<'a>,
    kind: &str,
) -> Option<SinkTarget> {
    let mut path = |source: &mut JsonSource<'a>, default: Option<&PathBuf>| match object.take("path") {
        Some(node) => source.absolute_path(&node),
        None => default.cloned().or_else(|| {
            missing(source, node, "path", "an absolute path");
            None
        }),
    };
    Some(match kind {
        "stderr" => SinkTarget::Stderr(word_of(source, object.take("prefix"), PREFIXES)?),
        "syslog" => {
            let SinkTarget::Syslog(default, _) = SinkTarget::syslog() else { return None };
            let path = path(source, Some(&default));
            SinkTarget::Syslog(path?, word_of(source, object.take("format"), FORMATS)?)
        }
        "journald" => {
            let SinkTarget::Journald(default) = SinkTarget::journald() else { return None };
            SinkTarget::Journald(path(source, Some(&default))?)
        }
        "unix-datagram" => SinkTarget::UnixDatagram(path(source, None)?),
        "unix-stream" => SinkTarget::UnixStream(path(source, None)?),
        "command" => {
            let allowed = "an array: absolute path, then arguments";
            let node = object.take("command").or_else(|| missing(source, node, "command", allowed))?;
            SinkTarget::Command(command_of(source, &node)?)
        }
        "plugin" => {
            let node = object.take("plugin").or_else(|| missing(source, node, "plugin", "a plugin's id"))?;
            SinkTarget::Plugin(id_of(source, &node)?)
        }
        other => {
            source.error(kind_node, format!("{} is no type", quoted(other)), SinkTarget::KINDS.join(", "));
            return None;
        }
    })
}

/// A word with its meaning; the first of the list if there is none.
fn word_of<'a, T: Copy>(
    source: &mut JsonSource<'a>,
    node: Option<Node<'a>>,
    words: &[(&str, T)],
) -> Option<T> {
    let Some(node) = node else { return words.first().map(|(_, value)| *value) };
    let text = source.string(&node)?;
    let found = words.iter().find(|(word, _)| *word == text);
    if found.is_none() {
        let allowed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        source.error(&node, quoted(&text), format!("one of {}", allowed.join(", ")));
    }
    found.map(|(_, value)| *value)
}

fn id_of<'a>(source: &mut JsonSource<'a>, node: &Node<'a>) -> Option<PluginId> {
    let text = source.string(node)?;
    let id = text.parse();
    id.map_err(|error| source.error(node, format!("plugin id {} {error}", quoted(&text)), NAME_ALLOWED)).ok()
}

fn ids_of<'a>(source: &mut JsonSource<'a>, node: &Node<'a>) -> Vec<PluginId> {
    let nodes = source.array(node, PLUGINS_MAX).unwrap_or_default();
    nodes.iter().filter_map(|node| id_of(source, node)).collect()
}

fn command_of<'a>(source: &mut JsonSource<'a>, node: &Node<'a>) -> Option<CommandLine> {
    let nodes = source.array(node, ARGS_MAX)?;
    let Some((first, rest)) = nodes.split_first() else {
        source.error(node, "is empty", "an absolute path, then arguments");
        return None;
    };
    let program = source.absolute_path(first);
    let args = rest.iter().map(|node| source.argument(node, ARG_BYTES_MAX));
    let args = args.collect::<Option<Vec<String>>>();
    Some(CommandLine { program: program?, args: args? })
}

/// `TYPE` or `TYPE=TARGET`, with everything else by default, named after its type.
fn sink_of_flag(text: &str) -> Result<LogSink, (String, String)> {
    let (kind, target) = text.split_once('=').map_or((text, None), |(kind, target)| (kind, Some(target)));
    let needed = |what: &str| (format!("type {} needs a target", quoted(kind)), format!("{kind}={what}"));
    let path = || {
        let path = target.ok_or_else(|| needed("PATH"))?;
        let path = PathBuf::from(path);
        check_path(&path).map_err(|problem| (problem, format!("{kind}= and an absolute path")))?;
        Ok::<PathBuf, (String, String)>(path)
    };
    let target = match (kind, target) {
        ("stderr", None) => SinkTarget::Stderr(Prefix::default()),
        ("stderr", Some(_)) => return Err(("stderr has no target".to_owned(), "stderr".to_owned())),
        ("syslog", None) => SinkTarget::syslog(),
        ("journald", None) => SinkTarget::journald(),
        ("syslog", _) => SinkTarget::Syslog(path()?, SyslogFormat::default()),
        ("journald", _) => SinkTarget::Journald(path()?),
        ("unix-datagram", _) => SinkTarget::UnixDatagram(path()?),
        ("unix-stream", _) => SinkTarget::UnixStream(path()?),
        ("command", _) => SinkTarget::Command(CommandLine { program: path()?, args: Vec::new() }),
        ("plugin", id) => {
            let id = id.ok_or_else(|| needed("ID"))?;
            let wrong = |error| (format!("plugin id {} {error}", quoted(id)), NAME_ALLOWED.to_owned());
            SinkTarget::Plugin(id.parse().map_err(wrong)?)
        }
        _ => return Err((format!("{} is no type", quoted(kind)), SinkTarget::KINDS.join(", "))),
    };
    Ok(LogSink::new(kind, target))
}
