//! What is configured, and from what it comes together.

use super::settings::{Limits, LogSettings};
use crate::eventlog::LogOptions;
use crate::host::LogSink;
#[cfg(feature = "package")]
use crate::package::publisher::VerifyPolicy;
#[cfg(feature = "package")]
use crate::package::version::Version;
use crate::settings::{AcceptedTypes, PackageOverrides};
use crate::state::plugin_config::{LaunchMode, PluginConfig};
use crate::state::policy::Policy;
use crate::state::start_mode::StartMode;
#[cfg(feature = "package")]
use rpc_plugin_wire::PluginId;
#[cfg(feature = "package")]
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Maximum number of plugins of one daemon.
pub(super) const PLUGINS_MAX: usize = 4096;

/// Everything that is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where sockets, tokens and records are; absolute.
    pub runtime_dir: PathBuf,
    /// Operators beside the daemon's own user and root, if there are any.
    pub admin_group: Option<AdminGroup>,
    /// What the daemon itself may take.
    pub limits: Limits,
    /// How the record is kept.
    pub log: LogSettings,
    /// Where events go beside their files: those of the file in their order, then those of the flags.
    pub sinks: Vec<LogSink>,
    /// The policy of a plugin that says nothing of its own.
    pub defaults: Policy,
    /// The plugins: those of the file in its order, then those of the flags. Ids are unique.
    pub plugins: Vec<PluginEntry>,
    /// Where packages are, and what is said of them.
    pub packages: PackagesConfig,
}

impl Config {
    /// Has a plugin started by a person instead of launched, from the daemon's start on (`--wait ID`).
    ///
    /// # Errors
    /// There is no plugin of that id.
    pub fn start_by_hand(&mut self, id: &str) -> Result<(), String> {
        let Some(plugin) = self.plugins.iter_mut().find(|plugin| plugin.config.id.as_str() == id) else {
            let known: Vec<&str> = self.plugins.iter().map(|plugin| plugin.config.id.as_str()).collect();
            let known = known.join(", ");
            return Err(format!(
                "--wait {id:?}: no plugin of that id is configured; configured are: {known}"
            ));
        };
        plugin.config.launch_mode = LaunchMode::ByHand;
        (plugin.config.start, plugin.config.idle_stop) = (StartMode::Auto, None);
        Ok(())
    }

    /// How the record is kept, in the library's terms.
    #[must_use]
    pub fn log_options(&self) -> LogOptions {
        LogOptions {
            durability: self.log.durability,
            sync_interval: self.log.sync_interval,
            hold_max: self.log.hold_max,
            file_bytes_max: self.log.file_bytes_max as u64,
            files_max: self.log.files_max,
            file_age_max: self.log.file_age_max,
            chain: self.log.chain,
            compress: self.log.compress,
            queue_max: self.limits.event_queue_max,
        }
    }
}

/// What follows where the files of a package have changed in its folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnChange {
    /// It is shown; a restart by an operator takes them.
    #[default]
    Show,
    /// They are taken, and the plugin is restarted.
    Restart,
    /// The same, once no call of the plugin is under way.
    RestartWhenIdle,
}

/// Everything that is configured of packages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackagesConfig {
    /// Where they are kept; `None`: nothing names a folder.
    pub state_dir: Option<PathBuf>,
    /// Whether it is another than the usual one, so that somebody wants it to be used.
    pub is_state_dir_named: bool,
    /// Where they are looked for.
    pub plugins_dirs: Vec<PathBuf>,
    /// What is accepted; `None`: any type.
    pub types: AcceptedTypes,
    /// What is verified of them, and whose are trusted.
    #[cfg(feature = "package")]
    pub verify: VerifyPolicy,
    /// The least version of a package that may be installed or gone back to.
    #[cfg(feature = "package")]
    pub minimum: BTreeMap<PluginId, Version>,
    /// What follows where one has changed on disk.
    pub on_change: OnChange,
    /// What the operator says of single packages. Ids are unique, and none is that of a plugin with an executable.
    pub overrides: Vec<PackageOverrides>,
}

/// A group whose members are operators, and the socket that is theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminGroup {
    /// The group's name, or its number in decimal digits.
    pub group: String,
    /// The path of its socket; absolute.
    pub socket: PathBuf,
}

/// One plugin of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginEntry {
    /// What it is. Its policy is the defaults with its own settings over them.
    pub config: PluginConfig,
}

impl PluginEntry {
    /// Whether it is wanted from the daemon's start on.
    #[must_use]
    pub fn starts_with_daemon(&self) -> bool {
        self.config.start == StartMode::Auto
    }
}

/// What the command line says about the configuration.
#[derive(Debug, Clone, Default)]
pub struct FlagValues {
    /// `--runtime-dir`; a relative one counts from the current folder.
    pub runtime_dir: Option<PathBuf>,
    /// Flags of the tables of settings, without `--`, with their values. They go over the file's
    /// `defaults`; a plugin's own settings go over them.
    pub settings: Vec<(String, String)>,
    /// Values of `--plugin`.
    pub plugins: Vec<String>,
    /// Values of `--log-sink`.
    pub log_sinks: Vec<String>,
    /// The value of `--admin-group`.
    pub admin_group: Option<String>,
    /// `--state-dir`; a relative one counts from the current folder.
    pub state_dir: Option<PathBuf>,
    /// Values of `--plugins-dir`; the same.
    pub plugins_dirs: Vec<PathBuf>,
}

/// Where a configuration comes from.
pub struct Sources<'a> {
    /// The file, if there is one.
    pub file: Option<&'a Path>,
    /// The command line.
    pub flags: &'a FlagValues,
    /// Looks a variable of the environment up.
    pub environment: &'a dyn Fn(&str) -> Option<OsString>,
    /// Whether the daemon runs as root.
    pub is_root: bool,
}
