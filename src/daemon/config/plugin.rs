//! One plugin of a configuration: what its object in the file, or its `--plugin` flag, says.
//!
//! What this file is for: reading it into a [`PluginConfig`], and telling what its check finds at the key where it
//! was written. What it deliberately does not do: know what is allowed; [`PluginConfig::check`] does.

use super::origin::Origin;
use super::settings::{POLICY, Value};
use super::types::PluginEntry;
use crate::settings::{JsonSource, Node, Object};
use crate::settings::{Written, note_policy_error, take_settings};
use crate::state::config_error::{ConfigErrors, quoted};
use crate::state::plugin_config::{ARGS_MAX, ENV_MAX, PluginConfig, id_allowed, interface_place};
use crate::state::policy::Policy;
use rpc_plugin_wire::PluginId;
use rpc_plugin_wire::limits::{CAPABILITIES_MAX, HELLO_LIST_MAX};

/// What a plugin's object holds beside settings.
pub(super) const KEYS: [&str; 10] = [
    "executable",
    "args",
    "env",
    "pass_env",
    "bare_env",
    "working_dir",
    "autostart",
    "interfaces",
    "may_call",
    "may_call_capabilities",
];

/// Plugins with where they were configured.
pub(super) type Plugins<'a> = Vec<(PluginEntry, Origin<'a>)>;

/// What the check names, by where it was written.
type Places<'a> = Vec<(String, Node<'a>)>;

/// Reads the member `name` of `plugins`. Contradictions of its policy are told only where `defaults_are_clean`.
pub(super) fn plugin_of<'a>(
    source: &mut JsonSource<'a>,
    name: &str,
    node: &Node<'a>,
    defaults: &Policy,
    defaults_are_clean: bool,
) -> Option<PluginEntry> {
    let id = name.parse::<PluginId>().map_err(|error| {
        source.error(node, format!("plugin id {} {error}", quoted(name)), id_allowed());
    });
    let mut object = source.object(node)?;
    let mut places: Places<'a> = vec![("id".to_owned(), node.clone())];
    // What is missing has been told; the rest is checked all the same.
    let checked_id = id.clone().or_else(|()| "plugin".parse()).ok()?;
    let mut config = PluginConfig::new(checked_id, "/").policy(defaults.clone());
    let written = take_settings(source, &mut object, POLICY, &mut config.policy);
    let executable = match object.take("executable") {
        Some(node) => source.string(&node).map(|path| {
            config.executable = path.into();
            places.push(("executable".to_owned(), node));
        }),
        None => {
            source.error_below(node, "executable", "is missing", "an absolute path");
            None
        }
    };
    if let Some(node) = object.take("working_dir")
        && let Some(path) = source.string(&node)
    {
        config.working_folder = path.into();
        places.push(("working_folder".to_owned(), node));
    }
    let args = strings_of(source, &mut object, "args", ARGS_MAX, &mut places);
    config.args = args.into_iter().map(Into::into).collect();
    take_env(source, &mut object, &mut config, &mut places);
    take_interfaces(source, &mut object, &mut config, &mut places);
    let may_call = &mut config.may_call;
    may_call.plugins = strings_of(source, &mut object, "may_call", CAPABILITIES_MAX, &mut places);
    may_call.capabilities =
        strings_of(source, &mut object, "may_call_capabilities", CAPABILITIES_MAX, &mut places);
    config.has_bare_env = object.take("bare_env").and_then(|node| source.boolean(&node)).unwrap_or_default();
    let autostart = object.take("autostart").and_then(|node| source.boolean(&node)).unwrap_or(true);
    source.unknown(&object, KEYS.into_iter().chain(POLICY.iter().map(|setting| setting.key)));
    if let Err(errors) = config.check() {
        let written = (defaults_are_clean && !written.is_spoiled).then_some(&written);
        tell(source, errors, node, &places, written);
    }
    (id.is_ok() && executable.is_some()).then_some(PluginEntry { config, autostart })
}

/// Notes what the check found, each where it was written. Without `written`, what is wrong with the policy was told
/// before: a plugin without own settings has nothing to contradict but the defaults.
fn tell<'a>(
    source: &mut JsonSource<'a>,
    errors: ConfigErrors,
    node: &Node<'a>,
    places: &Places<'a>,
    written: Option<&Written<'a>>,
) {
    for error in errors.errors {
        if POLICY.iter().any(|setting| setting.key == error.place) {
            if let Some(written) = written {
                note_policy_error(source, &error, Some(node), written, &[]);
            }
            continue;
        }
        match places.iter().find(|(place, _)| *place == error.place) {
            Some((_, at)) => source.error(at, error.problem, error.allowed),
            None => source.error_below(node, &error.place, error.problem, error.allowed),
        }
    }
    source.errors.more += errors.more;
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
    Ok(PluginEntry { config: config.policy(policy.clone()), autostart: true })
}

/// The strings of an array.
fn strings_of<'a>(
    source: &mut JsonSource<'a>,
    object: &mut Object<'a>,
    key: &str,
    strings_max: usize,
    places: &mut Places<'a>,
) -> Vec<String> {
    let mut strings = Vec::new();
    let Some(node) = object.take(key) else { return strings };
    for node in source.array(&node, strings_max).unwrap_or_default() {
        if let Some(string) = source.string(&node) {
            places.push((format!("{key}[{}]", strings.len()), node));
            strings.push(string);
        }
    }
    strings
}

fn members<'a>(
    source: &mut JsonSource<'a>,
    object: &mut Object<'a>,
    key: &str,
    members_max: usize,
) -> Vec<(String, Node<'a>)> {
    let Some(node) = object.take(key) else { return Vec::new() };
    let members = source.object(&node).as_mut().map_or_else(Vec::new, Object::take_all);
    if source.is_within(&node, "entries", members.len(), members_max) { members } else { Vec::new() }
}

fn take_env<'a>(
    source: &mut JsonSource<'a>,
    object: &mut Object<'a>,
    config: &mut PluginConfig,
    places: &mut Places<'a>,
) {
    for (name, node) in members(source, object, "env", ENV_MAX) {
        if let Some(value) = source.string(&node) {
            places.push((format!("env[{}]", config.env.len()), node));
            config.env.push((name.into(), value.into()));
        }
    }
    let passed = strings_of(source, object, "pass_env", ENV_MAX, places);
    config.pass_env = passed.into_iter().map(Into::into).collect();
}

fn take_interfaces<'a>(
    source: &mut JsonSource<'a>,
    object: &mut Object<'a>,
    config: &mut PluginConfig,
    places: &mut Places<'a>,
) {
    for (name, node) in members(source, object, "interfaces", CAPABILITIES_MAX) {
        let place = interface_place(&name);
        let Some(elements) = source.array(&node, HELLO_LIST_MAX) else { continue };
        let mut versions = Vec::new();
        let is_empty = elements.is_empty();
        for element in elements {
            if let Some(version) = version_of(&element) {
                places.push((format!("{place}[{}]", versions.len()), element));
                versions.push(version);
            } else {
                let problem = format!("is {}", element.kind_shown());
                source.error(&element, problem, "a whole number, 0 to 4294967295");
            }
        }
        places.push((place, node));
        // One of which every version was refused has been told.
        if is_empty || !versions.is_empty() {
            config.interfaces.insert(name, versions);
        }
    }
}

fn version_of(node: &Node<'_>) -> Option<u32> {
    match node.value(&mut String::new()) {
        Some(Value::Integer(number)) => u32::try_from(number).ok(),
        _ => None,
    }
}
