//! What a plugin is started with, as it is written: arguments, variables, interfaces; and what the check of a plugin finds,
//! told where that was written.
//!
//! What it deliberately does not do: know what is allowed; [`PluginConfig::check`] does.

use super::json::{JsonSource, Node, Object};
use super::policy::POLICY;
use super::read::{Written, note_policy_error};
use super::value::Value;
use crate::state::config_error::ConfigErrors;
use crate::state::plugin_config::{ENV_MAX, PluginConfig, interface_place};
use rpc_plugin_wire::limits::{CAPABILITIES_MAX, HELLO_LIST_MAX};

/// What the check names, by where it was written.
pub(crate) type Places<'a> = Vec<(String, Node<'a>)>;

/// Notes what the check found, each where it was written. Without `written`, what is wrong with the policy was told
/// before: a plugin without own settings has nothing to contradict but the defaults.
pub(crate) fn tell<'a>(
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

/// The strings of an array.
pub(crate) fn strings_of<'a>(
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

/// The members of an object, at most `members_max`.
pub(crate) fn members<'a>(
    source: &mut JsonSource<'a>,
    object: &mut Object<'a>,
    key: &str,
    members_max: usize,
) -> Vec<(String, Node<'a>)> {
    let Some(node) = object.take(key) else { return Vec::new() };
    let members = source.object(&node).as_mut().map_or_else(Vec::new, Object::take_all);
    if source.is_within(&node, "entries", members.len(), members_max) { members } else { Vec::new() }
}

/// Takes `env` out of an object.
pub(crate) fn take_env<'a>(
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
}

/// Takes `interfaces` out of an object.
pub(crate) fn take_interfaces<'a>(
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
