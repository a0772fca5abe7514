//! A configuration as it is in force, in the format of the file: what `--check-config` prints.
//!
//! What it deliberately does not do: print.
//!
//! What always holds: every default setting is there; of a plugin's settings, those that differ from
//! the defaults; read again, it gives the same configuration, unless values were hidden.

use super::admin_group::ADMIN_GROUP;
use super::settings::{DAEMON, LOG, POLICY, SINK, Setting, SinkSettings};
use super::sinks::{FORMATS, PREFIXES};
use super::types::{AdminGroup, Config, PluginEntry};
use crate::eventlog::sinks::{CommandLine, SinkTarget};
use crate::host::LogSink;
use crate::state::policy::Policy;
use serde_json::{Map, Value};
use std::ffi::OsStr;

/// Whether the values of the plugins' variables are shown; they are often secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvValues {
    /// As they are.
    Shown,
    /// A placeholder each.
    Hidden,
}

/// What stands for a hidden value.
const HIDDEN: &str = "(hidden)";

/// The configuration as JSON, indented, members in alphabetical order.
#[must_use]
pub fn to_json(config: &Config, env_values: EnvValues) -> String {
    let mut root = settings_of(DAEMON, &config.limits, |_| true);
    root.insert("runtime_dir".into(), text(&config.runtime_dir));
    if let Some(AdminGroup { group, socket }) = &config.admin_group {
        root.insert(ADMIN_GROUP.into(), serde_json::json!({"group": group, "socket": text(socket)}));
    }
    let mut log = settings_of(LOG, &config.log, |_| true);
    log.insert("sinks".into(), config.sinks.iter().map(sink_of).collect::<Vec<_>>().into());
    root.insert("log".into(), log.into());
    root.insert("defaults".into(), settings_of(POLICY, &config.defaults, |_| true).into());
    let plugins = config.plugins.iter().map(|plugin| {
        (plugin.config.id.to_string(), Value::Object(plugin_of(plugin, &config.defaults, env_values)))
    });
    root.insert("plugins".into(), plugins.collect::<Map<_, _>>().into());
    format!("{:#}", Value::Object(root))
}

fn plugin_of(entry: &PluginEntry, defaults: &Policy, env_values: EnvValues) -> Map<String, Value> {
    let PluginEntry { config: plugin, autostart } = entry;
    let differs = |setting: &Setting<Policy>| !setting.is_same(&plugin.policy, defaults);
    let mut map = settings_of(POLICY, &plugin.policy, differs);
    let env = plugin.env.iter().map(|(name, value)| {
        let value = if env_values == EnvValues::Shown { text(value) } else { HIDDEN.into() };
        (name.to_string_lossy().into_owned(), value)
    });
    map.insert("executable".into(), text(&plugin.executable));
    map.extend(plugin.sha256.iter().map(|digest| ("sha256".to_owned(), digest.clone().into())));
    map.extend(plugin.sha256_file.iter().map(|list| ("sha256_file".to_owned(), text(list))));
    map.insert("args".into(), plugin.args.iter().map(text).collect::<Vec<_>>().into());
    map.insert("env".into(), env.collect::<Map<_, _>>().into());
    map.insert("pass_env".into(), plugin.pass_env.iter().map(text).collect::<Vec<_>>().into());
    map.insert("bare_env".into(), plugin.has_bare_env.into());
    map.insert("working_dir".into(), text(&plugin.working_folder));
    map.insert("autostart".into(), (*autostart).into());
    let interfaces = plugin.interfaces.iter().map(|(name, versions)| (name.clone(), versions.clone().into()));
    map.insert("interfaces".into(), interfaces.collect::<Map<_, _>>().into());
    map.insert("may_call".into(), plugin.may_call.plugins.clone().into());
    map.insert("may_call_capabilities".into(), plugin.may_call.capabilities.clone().into());
    map
}

fn command_of(line: &CommandLine) -> Value {
    let words = std::iter::once(text(&line.program)).chain(line.args.iter().map(|arg| arg.clone().into()));
    words.collect::<Vec<_>>().into()
}

fn sink_of(sink: &LogSink) -> Value {
    let LogSink { options, target } = sink;
    let mut map = settings_of(SINK, &SinkSettings::of(options), |_| true);
    map.insert("name".into(), options.name.clone().into());
    map.insert("type".into(), target.kind().into());
    if let Some(plugins) = &options.plugins {
        map.insert("plugins".into(), plugins.iter().map(|id| id.as_str()).collect::<Vec<_>>().into());
    }
    if !options.except.is_empty() {
        map.insert("except".into(), options.except.iter().map(|id| id.as_str()).collect::<Vec<_>>().into());
    }
    let (key, value) = match target {
        SinkTarget::Stderr(prefix) => ("prefix", name_of(PREFIXES, prefix).into()),
        SinkTarget::Syslog(path, format) => {
            map.insert("format".into(), name_of(FORMATS, format).into());
            ("path", text(path))
        }
        SinkTarget::Journald(path) | SinkTarget::UnixDatagram(path) | SinkTarget::UnixStream(path) => {
            ("path", text(path))
        }
        SinkTarget::Command(line) => ("command", command_of(line)),
        SinkTarget::Plugin(id) => ("plugin", id.as_str().into()),
    };
    map.insert(key.into(), value);
    map.into()
}

fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: &T) -> &'static str {
    names.iter().find(|(_, named)| named == value).map_or("", |(name, _)| name)
}

fn settings_of<T>(
    table: &[Setting<T>],
    source: &T,
    shown: impl Fn(&Setting<T>) -> bool,
) -> Map<String, Value> {
    let rows = table.iter().filter(|setting| shown(setting));
    rows.map(|setting| (setting.key.to_owned(), setting.show_json(source))).collect()
}

/// A text from a file or flag. The file is UTF-8; only a runtime folder from elsewhere may be not.
fn text(text: impl AsRef<OsStr>) -> Value {
    text.as_ref().to_string_lossy().into_owned().into()
}
