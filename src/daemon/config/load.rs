//! How a configuration comes together: one JSON file, flags over it, the environment for the runtime folder.
//!
//! What this file deliberately does not do: parse a command line, look at executables, or make folders. The format is
//! in `docs/configuration.md`, which a test holds against the tables.
//!
//! What always holds: of a [`Config`] that was loaded, every plugin passed
//! [`PluginConfig::check`](crate::state::plugin_config::PluginConfig::check), plugin
//! ids are unique, and socket paths fit; everything that is wrong is told at once, each
//! with its file, line and key.

use super::admin_group::{self, ADMIN_GROUP};
use super::flags::apply_flags;
use super::log::{check_log, take_log};
use super::origin::Origin;
use super::packages;
use super::plugin::{Configured, Plugins, plugin_of, plugin_of_flag};
use super::presence;
use super::runtime_dir::{check_socket_paths, resolve_runtime_dir};
use super::settings::{DAEMON, Limits, LogSettings, POLICY};
use super::sinks::Beside;
use super::types::{AdminGroup, Config, PLUGINS_MAX, Sources};
use crate::settings::{JsonSource, Node, Object, PackageOverrides, Written, check_policy, take_settings};
use crate::state::config_error::{ConfigErrors, quoted};
use crate::state::policy::Policy;
use crate::sys::trusted_file::{TrustedFileError, open_trusted_file};
use rpc_plugin_wire::PluginId;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Largest configuration file. Bytes.
pub(super) const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

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
            let allowed =
                "a file that only root or the daemon's user can change, in folders of which the same is true";
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

/// What the top of a file says.
#[derive(Default)]
struct FileTop<'a> {
    limits: Limits,
    log: LogSettings,
    log_written: Written<'a>,
    beside: Beside,
    defaults: Policy,
    defaults_written: Written<'a>,
    defaults_node: Option<Node<'a>>,
    plugins_node: Option<Node<'a>>,
    runtime_dir: Option<(PathBuf, Origin<'a>)>,
    admin_group: Option<AdminGroup>,
}

impl<'a> FileTop<'a> {
    /// Takes it out of the file, but for what is said of packages.
    fn take(source: &mut JsonSource<'a>, object: &mut Object<'a>) -> FileTop<'a> {
        let mut top = FileTop::default();
        take_settings(source, object, DAEMON, &mut top.limits);
        top.runtime_dir = object
            .take("runtime_dir")
            .and_then(|node| source.absolute_path(&node).map(|path| (path, Origin::Key(node))));
        if let Some(node) = object.take(ADMIN_GROUP) {
            top.admin_group = admin_group::of_file(source, &node);
        }
        if let Some(node) = object.take("defaults") {
            if let Some(mut members) = source.object(&node) {
                top.defaults_written = take_settings(source, &mut members, POLICY, &mut top.defaults);
                source.unknown(&members, POLICY.iter().map(|setting| setting.key));
            }
            top.defaults_node = Some(node);
        }
        if let Some(node) = object.take("log") {
            (top.log_written, top.beside) = take_log(source, &node, &mut top.log);
        }
        top.plugins_node = object.take("plugins");
        top
    }
}

/// Puts a file's text, if there is a file, and everything else together.
pub(super) fn parse(file: Option<(&Path, &str)>, sources: &Sources<'_>) -> Result<Config, ConfigErrors> {
    let (path, text) = file.unwrap_or((Path::new(""), "{}"));
    let mut source = JsonSource { path, text, errors: ConfigErrors::default() };
    let root = source.root();
    let mut object = root.as_ref().and_then(|root| source.object(root));
    let top = object.as_mut().map(|object| FileTop::take(&mut source, object)).unwrap_or_default();
    let FileTop { mut limits, mut log, mut beside, mut defaults, mut admin_group, .. } = top;
    let flags =
        apply_flags(&sources.flags.settings, &mut defaults, &mut limits, &mut log, &mut source.errors);
    if let Some(text) = &sources.flags.admin_group {
        admin_group = admin_group::of_flag(&mut source, text);
    }
    beside.finish(&mut source, &sources.flags.log_sinks);
    check_log(&mut source, &log, &top.log_written, &sources.flags.settings);
    let written = &top.defaults_written;
    let defaults_are_clean = match &flags {
        Some(flagged) if !written.is_spoiled => {
            check_policy(&mut source, &defaults, top.defaults_node.as_ref(), written, flagged)
        }
        _ => false,
    };
    let mut packages = packages::take(&mut source, object.as_mut(), &defaults, sources);
    if let Some(object) = &object {
        let keys =
            ["runtime_dir", "defaults", "plugins", "log", ADMIN_GROUP].into_iter().chain(packages::KEYS);
        source.unknown(object, keys.chain(DAEMON.iter().map(|setting| setting.key)));
    }
    let mut overrides = Vec::new();
    let mut plugins =
        file_plugins(&mut source, top.plugins_node.as_ref(), (&defaults, defaults_are_clean), &mut overrides);
    flag_plugins(&mut source, &sources.flags.plugins, &defaults, (&mut plugins, &overrides));
    packages.overrides.extend(overrides.into_iter().map(|(overrides, _)| overrides));
    beside.check_plugins(&mut source, &plugins);
    presence::check_order(&mut source, &plugins);
    let runtime_dir = resolve_runtime_dir(&mut source, top.runtime_dir, sources);
    if let Some((path, origin)) = &runtime_dir {
        check_socket_paths(&mut source, path, origin, &plugins);
    }
    match runtime_dir {
        Some((runtime_dir, _)) if source.errors.count() == 0 => {
            let plugins = plugins.into_iter().map(|(plugin, _)| plugin).collect();
            let Beside { sinks } = beside;
            Ok(Config { runtime_dir, admin_group, limits, log, sinks, defaults, plugins, packages })
        }
        _ => Err(source.errors),
    }
}

fn file_plugins<'a>(
    source: &mut JsonSource<'a>,
    node: Option<&Node<'a>>,
    defaults: (&Policy, bool),
    overrides: &mut Vec<(PackageOverrides, Origin<'a>)>,
) -> Plugins<'a> {
    let Some(node) = node else { return Vec::new() };
    let members = source.object(node).map_or_else(Vec::new, |mut object| object.take_all());
    if !source.is_within(node, "plugins", members.len(), PLUGINS_MAX) {
        return Vec::new();
    }
    let mut plugins = Vec::new();
    for (name, node) in members {
        match plugin_of(source, &name, &node, defaults) {
            Some(Configured::Plain(plugin)) => plugins.push((*plugin, Origin::Key(node))),
            Some(Configured::Package(package)) => overrides.push((*package, Origin::Key(node))),
            None => {}
        }
    }
    plugins
}

fn flag_plugins<'a>(
    source: &mut JsonSource<'a>,
    flags: &[String],
    defaults: &Policy,
    (plugins, overrides): (&mut Plugins<'a>, &[(PackageOverrides, Origin<'a>)]),
) {
    let in_file = plugins.len();
    let of_packages = overrides.iter().map(|(package, origin)| (package.id.clone(), origin));
    let mut ids: BTreeMap<PluginId, String> = plugins
        .iter()
        .map(|(plugin, origin)| (plugin.config.id.clone(), origin))
        .chain(of_packages)
        .map(|(id, origin)| (id, origin.place(source)))
        .collect();
    for text in flags {
        let place = format!("--plugin {}", quoted(text));
        match plugin_of_flag(text, defaults) {
            Err((problem, allowed)) => source.errors.add(place, problem, allowed),
            Ok(plugin) => {
                if let Some(first) = ids.insert(plugin.config.id.clone(), "an earlier --plugin".to_owned()) {
                    let problem = format!("plugin {} is configured already, at {first}", plugin.config.id);
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
