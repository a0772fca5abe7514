//! A configuration as it is in force, in the format of the file: what `--check-config` prints.
//!
//! What it deliberately does not do: print.
//!
//! What always holds: every default setting is there; of a plugin's settings, those that differ from
//! the defaults; read again, it gives the same configuration, unless values were hidden.

use super::admin_group::ADMIN_GROUP;
use super::packages;
use super::settings::{DAEMON, LOG, POLICY, SINK, Setting, SinkSettings};
use super::sinks::{FORMATS, PREFIXES};
use super::types::{AdminGroup, Config, PluginEntry};
use crate::eventlog::sinks::{CommandLine, SinkTarget};
use crate::host::LogSink;
use crate::settings::PackageOverrides;
use crate::state::policy::Policy;
use rpc_plugin_wire::PluginId;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::time::Duration;

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
    let overrides = config.packages.overrides.iter();
    let overrides =
        overrides.map(|package| (package.id.to_string(), overrides_of(package, env_values).into()));
    let plugins = plugins.chain(overrides).collect::<Map<_, _>>();
    packages::show(&config.packages, &mut root);
    root.insert("plugins".into(), plugins.into());
    format!("{:#}", Value::Object(root))
}

/// What is said of a package.
fn overrides_of(package: &PackageOverrides, env_values: EnvValues) -> Map<String, Value> {
    let mut map = package.settings.shown();
    map.insert("package".into(), true.into());
    if let Some(args) = &package.args {
        map.insert("args".into(), args.iter().map(text).collect::<Vec<_>>().into());
    }
    map.insert("env".into(), env_of(&package.env, env_values));
    map.insert("pass_env".into(), package.pass_env.iter().map(text).collect::<Vec<_>>().into());
    if let Some(has_bare_env) = package.has_bare_env {
        map.insert("bare_env".into(), has_bare_env.into());
    }
    if let Some(folder) = &package.working_folder {
        map.insert("working_dir".into(), text(folder));
    }
    if let Some(start) = package.start {
        map.insert("start".into(), start.as_str().into());
    }
    map.extend(presence_of(&package.after, package.idle_stop));
    map.insert("interfaces".into(), interfaces_of(&package.interfaces));
    map.insert("may_call".into(), package.may_call.plugins.clone().into());
    map.insert("may_call_capabilities".into(), package.may_call.capabilities.clone().into());
    map
}

fn plugin_of(entry: &PluginEntry, defaults: &Policy, env_values: EnvValues) -> Map<String, Value> {
    let PluginEntry { config: plugin } = entry;
    let differs = |setting: &Setting<Policy>| !setting.is_same(&plugin.policy, defaults);
    let mut map = settings_of(POLICY, &plugin.policy, differs);
    map.insert("executable".into(), text(&plugin.executable));
    map.extend(plugin.sha256.iter().map(|digest| ("sha256".to_owned(), digest.clone().into())));
    map.extend(plugin.sha256_file.iter().map(|list| ("sha256_file".to_owned(), text(list))));
    map.insert("args".into(), plugin.args.iter().map(text).collect::<Vec<_>>().into());
    map.insert("env".into(), env_of(&plugin.env, env_values));
    map.insert("pass_env".into(), plugin.pass_env.iter().map(text).collect::<Vec<_>>().into());
    map.insert("bare_env".into(), plugin.has_bare_env.into());
    map.insert("working_dir".into(), text(&plugin.working_folder));
    map.insert("start".into(), plugin.start.as_str().into());
    map.extend(presence_of(&plugin.after, plugin.idle_stop));
    map.insert("interfaces".into(), interfaces_of(&plugin.interfaces));
    map.insert("may_call".into(), plugin.may_call.plugins.clone().into());
    map.insert("may_call_capabilities".into(), plugin.may_call.capabilities.clone().into());
    map
}

/// What plugin it is started after, and when it is stopped because nobody uses it.
fn presence_of(after: &[PluginId], idle_stop: Option<Duration>) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("after".into(), after.iter().map(|id| id.as_str()).collect::<Vec<_>>().into());
    if let Some(after) = idle_stop {
        map.insert("idle_stop".into(), humantime::format_duration(after).to_string().into());
    }
    map
}

fn env_of(env: &[(OsString, OsString)], env_values: EnvValues) -> Value {
    let env = env.iter().map(|(name, value)| {
        let value = if env_values == EnvValues::Shown { text(value) } else { HIDDEN.into() };
        (name.to_string_lossy().into_owned(), value)
    });
    env.collect::<Map<_, _>>().into()
}

fn interfaces_of(interfaces: &BTreeMap<String, Vec<u32>>) -> Value {
    let interfaces = interfaces.iter().map(|(name, versions)| (name.clone(), versions.clone().into()));
    interfaces.collect::<Map<_, _>>().into()
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
