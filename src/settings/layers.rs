//! What may be said of a package's plugin beside its manifest: by the type that a host accepts, and by the operator.
//!
//! What it deliberately does not do: say which lies over which (`src/package/layers.rs` does), or read a file.

use super::policy::POLICY;
use crate::state::plugin_config::{MayCall, PluginConfig};
use crate::state::policy::Policy;
use crate::state::start_mode::StartMode;
use rpc_plugin_wire::PluginId;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of a plugin, of which some are named: those count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedSettings {
    /// What is not named has its default.
    policy: Policy,
    keys: BTreeSet<&'static str>,
}

impl NamedSettings {
    /// Those of a policy that are named by their keys.
    #[must_use]
    pub fn new(policy: &Policy, keys: impl IntoIterator<Item = &'static str>) -> NamedSettings {
        let mut named = NamedSettings { policy: Policy::default(), keys: keys.into_iter().collect() };
        put(policy, &named.keys, &mut named.policy);
        named
    }

    /// The named ones with their values.
    #[must_use]
    pub fn shown(&self) -> serde_json::Map<String, serde_json::Value> {
        let named = POLICY.iter().filter(|setting| self.keys.contains(setting.key));
        named.map(|setting| (setting.key.to_owned(), setting.show_json(&self.policy))).collect()
    }

    /// Puts the named ones in the place of those of a policy.
    pub(crate) fn put_over(&self, policy: &mut Policy) {
        put(&self.policy, &self.keys, policy);
    }
}

/// Copies the settings of these keys.
fn put(from: &Policy, keys: &BTreeSet<&'static str>, to: &mut Policy) {
    for setting in POLICY.iter().filter(|setting| keys.contains(setting.key)) {
        (setting.apply)(to, (setting.read)(from));
    }
}

/// A type of plugin that a host accepts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AcceptedType {
    /// Interfaces that its plugins have to serve, each with the versions that are accepted.
    pub interfaces: BTreeMap<String, Vec<u32>>,
    /// Settings of its plugins, below those of their manifests.
    pub settings: NamedSettings,
}

/// The types that a host accepts, by name. `None`: any.
pub type AcceptedTypes = Option<BTreeMap<String, AcceptedType>>;

/// What the operator says of a package's plugin, over what its manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageOverrides {
    /// The plugin.
    pub id: PluginId,
    /// Settings in the place of the manifest's.
    pub settings: NamedSettings,
    /// Arguments in the place of the manifest's.
    pub args: Option<Vec<OsString>>,
    /// Variables, beside those of the manifest and in the place of those of the same name.
    pub env: Vec<(OsString, OsString)>,
    /// Variables that are let through.
    pub pass_env: Vec<OsString>,
    /// Whether it gets no variables but those that are configured.
    pub has_bare_env: Option<bool>,
    /// The folder that it starts in, in the place of its own.
    pub working_folder: Option<PathBuf>,
    /// Interfaces that it has to serve, in the place of the manifest's of the same name.
    pub interfaces: BTreeMap<String, Vec<u32>>,
    /// What it may call.
    pub may_call: MayCall,
    /// When it is started, in the place of what the manifest says.
    pub start: Option<StartMode>,
    /// Plugins that it is started after, beside those that it needs.
    pub after: Vec<PluginId>,
    /// How long nobody may have used it until it is stopped.
    pub idle_stop: Option<Duration>,
}

impl PackageOverrides {
    /// Puts them over what a package is launched with.
    pub(crate) fn put_over(&self, config: &mut PluginConfig) {
        self.settings.put_over(&mut config.policy);
        if let Some(args) = &self.args {
            config.args.clone_from(args);
        }
        for (name, value) in &self.env {
            config.env.retain(|(known, _)| known != name);
            config.env.push((name.clone(), value.clone()));
        }
        config.pass_env.clone_from(&self.pass_env);
        if let Some(has_bare_env) = self.has_bare_env {
            config.has_bare_env = has_bare_env;
        }
        if let Some(folder) = &self.working_folder {
            config.working_folder.clone_from(folder);
        }
        config.interfaces.extend(self.interfaces.clone());
        config.may_call.clone_from(&self.may_call);
        config.start = self.start.unwrap_or(config.start);
        let known = config.after.clone();
        config.after.extend(self.after.iter().filter(|id| !known.contains(id)).cloned());
        config.idle_stop = self.idle_stop.or(config.idle_stop);
    }
}
