//! A configuration as it is in force, in the format of the file: what `--check-config` prints.
//!
//! What it deliberately does not do: print.
//!
//! What always holds: every default setting is there; of a plugin's settings, those that differ from
//! the defaults; read again, it gives the same configuration, unless values were hidden.

use super::config::{Config, PluginConfig};
use super::settings::{DAEMON, LOG, POLICY, Setting};
use crate::state::policy::Policy;
use serde_json::{Map, Value};

/// Whether the values of the plugins' variables are shown; they are often secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvValues {
    /// As they are.
    Shown,
    /// A placeholder each.
    Hidden,
}

/// What stands for a hidden value.
pub const HIDDEN: &str = "(hidden)";

impl Config {
    /// The configuration as JSON, indented, members in alphabetical order.
    #[must_use]
    pub fn to_json(&self, env_values: EnvValues) -> String {
        let mut root = settings_of(DAEMON, &self.limits, |_| true);
        root.insert("runtime_dir".into(), text(&self.runtime_dir));
        root.insert("log".into(), settings_of(LOG, &self.log, |_| true).into());
        root.insert("defaults".into(), settings_of(POLICY, &self.defaults, |_| true).into());
        let plugins = self.plugins.iter().map(|plugin| {
            (plugin.id.to_string(), Value::Object(plugin_of(plugin, &self.defaults, env_values)))
        });
        root.insert("plugins".into(), plugins.collect::<Map<_, _>>().into());
        format!("{:#}", Value::Object(root))
    }
}

fn plugin_of(plugin: &PluginConfig, defaults: &Policy, env_values: EnvValues) -> Map<String, Value> {
    let differs = |setting: &Setting<Policy>| !setting.is_same(&plugin.policy, defaults);
    let mut map = settings_of(POLICY, &plugin.policy, differs);
    let env = plugin.env.iter().map(|(name, value)| {
        let value = if env_values == EnvValues::Shown { value } else { HIDDEN };
        (name.clone(), Value::from(value))
    });
    map.insert("executable".into(), text(&plugin.executable));
    map.insert("args".into(), plugin.args.clone().into());
    map.insert("env".into(), env.collect::<Map<_, _>>().into());
    map.insert("pass_env".into(), plugin.pass_env.clone().into());
    map.insert("autostart".into(), plugin.autostart.into());
    let interfaces = plugin.interfaces.iter().map(|(name, versions)| (name.clone(), versions.clone().into()));
    map.insert("interfaces".into(), interfaces.collect::<Map<_, _>>().into());
    if let Some(path) = &plugin.working_dir {
        map.insert("working_dir".into(), text(path));
    }
    map
}

fn settings_of<T>(
    table: &[Setting<T>],
    source: &T,
    shown: impl Fn(&Setting<T>) -> bool,
) -> Map<String, Value> {
    let rows = table.iter().filter(|setting| shown(setting));
    rows.map(|setting| (setting.key.to_owned(), setting.show_json(source))).collect()
}

/// A path from a file or flag. The file is UTF-8; only a runtime folder from elsewhere may be not.
fn text(path: &std::path::Path) -> Value {
    path.to_string_lossy().into_owned().into()
}
