//! One plugin of a configuration: what its object in the file, or its `--plugin` flag, says.
//!
//! What this file is for: reading it into a [`PluginConfig`], and telling what its check finds at the key where it
//! was written. What it deliberately does not do: know what is allowed; [`PluginConfig::check`] does.

use super::origin::Origin;
use super::presence;
use super::settings::POLICY;
use super::types::PluginEntry;
use crate::settings::{
    JsonSource, NamedSettings, Node, PackageOverrides, Places, strings_of, take_env, take_interfaces,
    take_settings, tell,
};
use crate::state::config_error::quoted;
use crate::state::plugin_config::{ARGS_MAX, ENV_MAX, PluginConfig, id_allowed};
use crate::state::policy::Policy;
use crate::state::start_mode::StartMode;
use rpc_plugin_wire::PluginId;
use rpc_plugin_wire::limits::CAPABILITIES_MAX;

/// What a plugin's object holds beside settings.
pub(super) const KEYS: [&str; 16] = [
    "executable",
    "package",
    "sha256",
    "sha256_file",
    "args",
    "env",
    "pass_env",
    "bare_env",
    "working_dir",
    "start",
    "autostart",
    "after",
    "idle_stop",
    "interfaces",
    "may_call",
    "may_call_capabilities",
];

/// What is allowed in the place of an executable, for error messages.
const EXECUTABLE_ALLOWED: &str = "an absolute path; or \"package\": true for what is said of a package";

/// A member of `plugins`.
pub(super) enum Configured {
    /// A plugin with an executable.
    Plain(Box<PluginEntry>),
    /// What is said of a package, wherever that is found.
    Package(Box<PackageOverrides>),
}

/// Plugins with where they were configured.
pub(super) type Plugins<'a> = Vec<(PluginEntry, Origin<'a>)>;

/// Reads the member `name` of `plugins`. Contradictions of its policy are told only where `defaults_are_clean`.
pub(super) fn plugin_of<'a>(
    source: &mut JsonSource<'a>,
    name: &str,
    node: &Node<'a>,
    (defaults, defaults_are_clean): (&Policy, bool),
) -> Option<Configured> {
    let id = name.parse::<PluginId>().map_err(|error| {
        source.error(node, format!("plugin id {} {error}", quoted(name)), id_allowed());
    });
    let mut object = source.object(node)?;
    let mut places: Places<'a> = vec![("id".to_owned(), node.clone())];
    // What is missing has been told; the rest is checked all the same.
    let checked_id = id.clone().or_else(|()| "plugin".parse()).ok()?;
    let mut config = PluginConfig::new(checked_id, "/").policy(defaults.clone());
    let written = take_settings(source, &mut object, POLICY, &mut config.policy);
    let named: Vec<&str> = KEYS.into_iter().filter(|key| object.has(key)).collect();
    let has_executable = ["executable", "sha256", "sha256_file"].into_iter().any(|key| object.has(key));
    let is_package = object.take("package").map(|node| is_package(source, &node, has_executable));
    let executable = match object.take("executable") {
        None if is_package.is_some() => is_package.filter(|is| *is).map(|_| ()),
        Some(node) => source.string(&node).map(|path| {
            config.executable = path.into();
            places.push(("executable".to_owned(), node));
        }),
        None => {
            source.error_below(node, "executable", "is missing", EXECUTABLE_ALLOWED);
            None
        }
    };
    if let Some(node) = object.take("sha256") {
        config.sha256 = source.string(&node);
        places.push(("sha256".to_owned(), node));
    }
    if let Some(node) = object.take("sha256_file") {
        config.sha256_file = source.string(&node).map(Into::into);
        places.push(("sha256_file".to_owned(), node));
    }
    if let Some(node) = object.take("working_dir")
        && let Some(path) = source.string(&node)
    {
        config.working_folder = path.into();
        places.push(("working_folder".to_owned(), node));
    }
    let args = strings_of(source, &mut object, "args", ARGS_MAX, &mut places);
    config.args = args.into_iter().map(Into::into).collect();
    take_env(source, &mut object, &mut config, &mut places);
    let passed = strings_of(source, &mut object, "pass_env", ENV_MAX, &mut places);
    config.pass_env = passed.into_iter().map(Into::into).collect();
    take_interfaces(source, &mut object, &mut config, &mut places);
    let may_call = &mut config.may_call;
    may_call.plugins = strings_of(source, &mut object, "may_call", CAPABILITIES_MAX, &mut places);
    may_call.capabilities =
        strings_of(source, &mut object, "may_call_capabilities", CAPABILITIES_MAX, &mut places);
    config.has_bare_env = object.take("bare_env").and_then(|node| source.boolean(&node)).unwrap_or_default();
    let start = presence::take(source, &mut object, &mut config, &mut places);
    source.unknown(&object, KEYS.into_iter().chain(POLICY.iter().map(|setting| setting.key)));
    if let Err(errors) = config.check() {
        let written = (defaults_are_clean && !written.is_spoiled).then_some(&written);
        tell(source, errors, node, &places, written);
    }
    if id.is_err() || executable.is_none() {
        return None;
    }
    if is_package == Some(true) {
        let keys = POLICY.iter().map(|setting| setting.key).filter(|key| written.at(key).is_some());
        let settings = NamedSettings::new(&config.policy, keys);
        return Some(Configured::Package(Box::new(overrides_of(config, settings, &named, start))));
    }
    Some(Configured::Plain(Box::new(PluginEntry { config })))
}

/// Whether it is a package's, as the member `package` says; an error is noted.
fn is_package<'a>(source: &mut JsonSource<'a>, node: &Node<'a>, has_executable: bool) -> bool {
    let is_package = source.boolean(node);
    if is_package == Some(false) || has_executable {
        let problem = "a plugin is a package or has an executable of its own";
        source.error(node, problem, "true, without \"executable\"; or no such key");
        return false;
    }
    is_package.unwrap_or_default()
}

/// What a member of `plugins` says of a package; `named` are the keys that it has.
fn overrides_of(
    config: PluginConfig,
    settings: NamedSettings,
    named: &[&str],
    start: Option<StartMode>,
) -> PackageOverrides {
    let is_named = |key| named.contains(&key);
    PackageOverrides {
        id: config.id,
        settings,
        args: is_named("args").then_some(config.args),
        env: config.env,
        pass_env: config.pass_env,
        has_bare_env: is_named("bare_env").then_some(config.has_bare_env),
        working_folder: is_named("working_dir").then_some(config.working_folder),
        interfaces: config.interfaces,
        may_call: config.may_call,
        start,
        after: config.after,
        idle_stop: config.idle_stop,
    }
}

/// The value of `--plugin`: `ID=PATH`, a relative path counting from the current folder, and everything else by default.
///
/// # Errors
/// What is wrong, and what is allowed.
pub(super) fn plugin_of_flag(text: &str, policy: &Policy) -> Result<PluginEntry, (String, String)> {
    let form = || "ID=PATH".to_owned();
    let (id, path) = text.split_once('=').ok_or_else(|| (format!("{} has no '='", quoted(text)), form()))?;
    let id = id
        .parse::<PluginId>()
        .map_err(|error| (format!("plugin id {} {error}", quoted(id)), id_allowed()))?;
    // As it was typed, so from where it was typed. An empty one stays empty, and is refused.
    let config = PluginConfig::new(id, std::path::absolute(path).unwrap_or_else(|_| path.into()));
    // With the default policy, which contradicts nothing: the one in force was checked where it was written.
    if let Some(error) = config.check().err().and_then(|errors| errors.errors.into_iter().next()) {
        let allowed = if error.place == "executable" { form() } else { error.allowed };
        return Err((error.problem, allowed));
    }
    Ok(PluginEntry { config: config.policy(policy.clone()) })
}
