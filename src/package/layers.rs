//! The layers of a package's configuration, and putting them over one another.
//!
//! What it deliberately does not do: look whether what comes of it contradicts itself; [`PluginConfig::check`] does.
//!
//! What always holds: the host's defaults lie lowest, over them the settings of the type, then those of the manifest, and
//! the operator's over all.

use super::manifest::Manifest;
use crate::settings::{AcceptedType, NamedSettings, PackageOverrides};
use crate::state::plugin_config::PluginConfig;
use crate::state::policy::Policy;

/// The layers around a manifest.
#[derive(Debug, Clone, Copy)]
pub struct Layers<'a> {
    /// The settings of a plugin that says nothing of its own.
    pub defaults: &'a Policy,
    /// The accepted type that the package is of, if types are looked at.
    pub accepted: Option<&'a AcceptedType>,
    /// What the operator says.
    pub overrides: Option<&'a PackageOverrides>,
}

impl Layers<'_> {
    /// Puts them below and over `config`, which a package is launched with as its manifest says.
    pub fn apply(self, manifest: &Manifest, config: &mut PluginConfig) {
        let own = NamedSettings::new(&config.policy, manifest.settings.iter().copied().chain(["transport"]));
        config.policy = self.defaults.clone();
        if let Some(accepted) = self.accepted {
            accepted.settings.put_over(&mut config.policy);
            for (name, versions) in &accepted.interfaces {
                if let Some(own) = config.interfaces.get_mut(name) {
                    own.retain(|version| versions.contains(version));
                }
            }
        }
        own.put_over(&mut config.policy);
        if let Some(overrides) = self.overrides {
            overrides.put_over(config);
        }
    }
}
