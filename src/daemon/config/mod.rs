//! The daemon's configuration: one JSON file, flags over it, the environment for the runtime folder.
//!
//! What this file is for: [`Config`] and how it comes together. What it deliberately does not do:
//! parse a command line, look at executables, or make folders. Its format is in
//! `docs/configuration.md`, which a test holds against the tables.
//!
//! What always holds: a [`Config`] that was loaded has policies that passed [`Policy::check`], plugin
//! ids that are unique, and socket paths that fit; everything that is wrong is told at once, each
//! with its file, line and key.

mod error;
mod json;
mod log;
mod plugin;
mod read_settings;
mod runtime_dir;
pub mod settings;
mod show;
mod sinks;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_refusals;
#[cfg(test)]
mod tests_settings;
#[cfg(test)]
mod tests_sinks;
mod value;

use crate::host::LogSink;
use crate::state::permit::MayCall;
use crate::state::policy::Policy;
use crate::sys::trusted_file::{TrustedFileError, open_trusted_file};
pub use error::{ConfigError, ConfigErrors, ERRORS_MAX};
use json::{Node, Source};
use log::{check_log, take_log};
pub use plugin::{ARG_BYTES_MAX, ARGS_MAX, ENV_MAX, PATH_BYTES_MAX, plugin_from_flag};
use plugin::{absolute_path, plugin_of, read_flag};
use read_settings::{Written, apply_flags, check_policy, take_settings};
use rpc_plugin_wire::PluginId;
use runtime_dir::{check_socket_paths, resolve_runtime_dir};
use settings::{DAEMON, Limits, LogSettings, POLICY};
pub use settings::{FlagRow, flag_rows};
pub use show::{EnvValues, HIDDEN};
use sinks::Beside;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Most plugins of one daemon.
pub const PLUGINS_MAX: usize = 4096;
/// Largest configuration file. Bytes.
pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Everything that is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where sockets, tokens and records are; absolute.
    pub runtime_dir: PathBuf,
    /// What the daemon itself may take.
    pub limits: Limits,
    /// How the record is kept.
    pub log: LogSettings,
    /// Where events go beside their files: those of the file in their order, then those of the flags.
    pub sinks: Vec<LogSink>,
    /// The policy of a plugin that says nothing of its own.
    pub defaults: Policy,
    /// The plugins: those of the file in its order, then those of the flags.
    pub plugins: Vec<PluginConfig>,
}

/// One plugin as configured.
#[derive(Clone, PartialEq, Eq)]
pub struct PluginConfig {
    /// Its id.
    pub id: PluginId,
    /// What is launched; absolute.
    pub executable: PathBuf,
    /// Its arguments, without the program's name.
    pub args: Vec<String>,
    /// Variables that are set for it.
    pub env: BTreeMap<String, String>,
    /// Variables that are let through to it from the daemon's own environment, if they are there.
    pub pass_env: Vec<String>,
    /// Where it starts; absolute. Absent: the launch's default.
    pub working_dir: Option<PathBuf>,
    /// Whether it is wanted from the daemon's start on.
    pub autostart: bool,
    /// The defaults with its own settings over them.
    pub policy: Policy,
    /// Application interfaces it must serve, with the versions that are accepted.
    pub interfaces: BTreeMap<String, Vec<u32>>,
    /// What it may call through its host.
    pub may_call: MayCall,
}

impl PluginConfig {
    /// A plugin with everything but these by default.
    #[must_use]
    pub fn new(id: PluginId, executable: PathBuf, policy: Policy) -> PluginConfig {
        PluginConfig {
            id,
            executable,
            args: Vec::new(),
            env: BTreeMap::new(),
            pass_env: Vec::new(),
            working_dir: None,
            autostart: true,
            policy,
            interfaces: BTreeMap::new(),
            may_call: MayCall::default(),
        }
    }
}

/// Values of variables are often secrets, so they are not shown.
impl fmt::Debug for PluginConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginConfig")
            .field("id", &self.id)
            .field("executable", &self.executable)
            .field("args", &self.args)
            .field("env", &self.env.keys().collect::<Vec<_>>())
            .field("pass_env", &self.pass_env)
            .field("working_dir", &self.working_dir)
            .field("autostart", &self.autostart)
            .field("policy", &self.policy)
            .field("interfaces", &self.interfaces)
            .field("may_call", &self.may_call)
            .finish()
    }
}

/// What the command line says about the configuration.
#[derive(Debug, Clone, Default)]
pub struct FlagValues {
    /// `--runtime-dir`; a relative one counts from the current folder.
    pub runtime_dir: Option<PathBuf>,
    /// Flags of [`POLICY`], [`DAEMON`] and of the record, without `--`, with their values. They go over the file's
    /// `defaults`; a plugin's own settings go over them.
    pub settings: Vec<(String, String)>,
    /// Values of `--plugin`.
    pub plugins: Vec<String>,
    /// Values of `--log-sink`.
    pub log_sinks: Vec<String>,
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

impl Config {
    /// Reads the file and puts everything together.
    ///
    /// # Errors
    /// Everything that is wrong in the file and the flags, or that the file cannot be read.
    pub fn load(sources: &Sources<'_>) -> Result<Config, ConfigErrors> {
        let Some(path) = sources.file else {
            return parse(None, sources);
        };
        let mut errors = ConfigErrors::default();
        match read(path) {
            Ok(text) => return parse(Some((path, &text)), sources),
            Err(ReadError::Io(error)) => {
                let allowed = "a file that the daemon can read";
                errors.add(path.display().to_string(), format!("cannot be read: {error}"), allowed);
            }
            Err(ReadError::Untrusted(error)) => {
                let allowed = "a file that only root or the daemon's user can change, in folders of which the same is true";
                errors.add(path.display().to_string(), format!("is not obeyed: {error}"), allowed);
            }
            Err(ReadError::TooLarge) => {
                let allowed = format!("at most {FILE_BYTES_MAX} bytes");
                errors.add(path.display().to_string(), "is too large", allowed);
            }
            Err(ReadError::NotUtf8 { line }) => {
                errors.add(format!("{}:{line}", path.display()), "is not UTF-8", "UTF-8 text");
            }
        }
        Err(errors)
    }
}

enum ReadError {
    Io(io::Error),
    Untrusted(TrustedFileError),
    TooLarge,
    NotUtf8 { line: usize },
}

fn read(path: &Path) -> Result<String, ReadError> {
    let mut bytes = Vec::new();
    let file = open_trusted_file(path).map_err(|error| match error {
        TrustedFileError::Io(error) => ReadError::Io(error),
        error => ReadError::Untrusted(error),
    })?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(ReadError::Io)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ReadError::TooLarge);
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        ReadError::NotUtf8 { line: 1 + good.filter(|b| **b == b'\n').count() }
    })
}

/// Where a plugin or the runtime folder was configured, for errors that show only later.
enum Origin<'a> {
    Key(Node<'a>),
    Other(String),
}

/// Puts a file's text, if there is a file, and everything else together.
fn parse(file: Option<(&Path, &str)>, sources: &Sources<'_>) -> Result<Config, ConfigErrors> {
    let (path, text) = file.unwrap_or((Path::new(""), "{}"));
    let mut source = Source { path, text, errors: ConfigErrors::default() };
    let mut limits = Limits::default();
    let mut log = LogSettings::default();
    let mut beside = Beside::default();
    let mut defaults = Policy::default();
    let mut written = Written::default();
    let (mut defaults_node, mut plugins_node, mut runtime_dir) = (None, None, None);
    if let Some(root) = source.root()
        && let Some(mut object) = source.object(&root)
    {
        take_settings(&mut source, &mut object, DAEMON, &mut limits);
        runtime_dir = object
            .take("runtime_dir")
            .and_then(|node| absolute_path(&mut source, &node).map(|path| (path, Origin::Key(node))));
        if let Some(node) = object.take("defaults") {
            if let Some(mut members) = source.object(&node) {
                written = take_settings(&mut source, &mut members, POLICY, &mut defaults);
                source.unknown(&members, POLICY.iter().map(|setting| setting.key));
            }
            defaults_node = Some(node);
        }
        if let Some(node) = object.take("log") {
            beside = take_log(&mut source, &node, &mut log);
        }
        plugins_node = object.take("plugins");
        let keys = ["runtime_dir", "defaults", "plugins", "log"].into_iter();
        source.unknown(&object, keys.chain(DAEMON.iter().map(|setting| setting.key)));
    }
    let flags =
        apply_flags(&sources.flags.settings, &mut defaults, &mut limits, &mut log, &mut source.errors);
    beside.finish(&mut source, &sources.flags.log_sinks);
    check_log(&mut source, &log);
    let defaults_are_clean = match &flags {
        Some(flagged) if !written.is_spoiled => {
            check_policy(&mut source, &defaults, defaults_node.as_ref(), &written, flagged)
        }
        _ => false,
    };
    let mut plugins = file_plugins(&mut source, plugins_node.as_ref(), &defaults, defaults_are_clean);
    flag_plugins(&mut source, &sources.flags.plugins, &defaults, &mut plugins);
    beside.check_plugins(&mut source, &plugins);
    let runtime_dir = resolve_runtime_dir(&mut source, runtime_dir, sources);
    if let Some((path, origin)) = &runtime_dir {
        check_socket_paths(&mut source, path, origin, &plugins);
    }
    match runtime_dir {
        Some((runtime_dir, _)) if source.errors.count() == 0 => {
            let plugins = plugins.into_iter().map(|(plugin, _)| plugin).collect();
            let Beside { sinks } = beside;
            Ok(Config { runtime_dir, limits, log, sinks, defaults, plugins })
        }
        _ => Err(source.errors),
    }
}

/// Plugins with where they were configured.
type Plugins<'a> = Vec<(PluginConfig, Origin<'a>)>;

fn file_plugins<'a>(
    source: &mut Source<'a>,
    node: Option<&Node<'a>>,
    defaults: &Policy,
    defaults_are_clean: bool,
) -> Plugins<'a> {
    let Some(node) = node else { return Vec::new() };
    let members = source.object(node).map_or_else(Vec::new, |mut object| object.take_all());
    if !source.is_within(node, "plugins", members.len(), PLUGINS_MAX) {
        return Vec::new();
    }
    let mut plugins = Vec::new();
    for (name, node) in members {
        if let Some(plugin) = plugin_of(source, &name, &node, defaults, defaults_are_clean) {
            plugins.push((plugin, Origin::Key(node)));
        }
    }
    plugins
}

fn flag_plugins<'a>(source: &mut Source<'a>, flags: &[String], defaults: &Policy, plugins: &mut Plugins<'a>) {
    let in_file = plugins.len();
    let mut ids: BTreeMap<PluginId, String> =
        plugins.iter().map(|(plugin, origin)| (plugin.id.clone(), origin.place(source))).collect();
    for text in flags {
        let place = format!("--plugin {}", value::quoted(text));
        match read_flag(text, defaults) {
            Err((problem, allowed)) => source.errors.add(place, problem, allowed),
            Ok(plugin) => {
                if let Some(first) = ids.insert(plugin.id.clone(), "an earlier --plugin".to_owned()) {
                    let problem = format!("plugin {} is configured already, at {first}", plugin.id);
                    source.errors.add(place, problem, "each plugin id once");
                } else if plugins.len() == PLUGINS_MAX {
                    let problem = format!("is one plugin too many, with {in_file} in the file");
                    source.errors.add(place, problem, format!("at most {PLUGINS_MAX} plugins"));
                } else {
                    plugins.push((plugin, Origin::Other(place)));
                }
            }
        }
    }
}

impl Origin<'_> {
    /// For mention in another's error.
    fn place(&self, source: &Source<'_>) -> String {
        match self {
            Origin::Key(node) => source.position(node),
            Origin::Other(place) => place.clone(),
        }
    }

    fn error(&self, source: &mut Source<'_>, problem: String, allowed: String) {
        match self {
            Origin::Key(node) => source.error(node, problem, allowed),
            Origin::Other(place) => source.errors.add(place.clone(), problem, allowed),
        }
    }
}
