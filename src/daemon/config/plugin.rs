//! One plugin of a configuration: what is launched, with which arguments, environment and policy.
//!
//! What this file is for: reading it from the file or from a `--plugin` flag. What it deliberately
//! does not do: look whether the executable is there; it may come later, and the launch checks it.
//!
//! What always holds: paths are absolute; nothing in arguments or environment is more than execve(2)
//! takes for one string; the variables of the contract are not among what the operator sets.

use super::PluginConfig;
use super::json::{Node, Object, Source};
use super::read_settings::{Written, check_policy, take_settings};
use super::settings::{POLICY, Value};
use super::value::quoted;
use crate::state::permit::{ANY, MayCall};
use crate::state::policy::Policy;
use crate::sys::runtime_dir::reserved_name;
use rpc_plugin_wire::PluginId;
use rpc_plugin_wire::handshake::ENV_RESERVED;
use rpc_plugin_wire::ident::check_capability;
use rpc_plugin_wire::limits::{CAPABILITIES_MAX, HELLO_LIST_MAX, PLUGIN_ID_BYTES_MAX};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Most arguments of a plugin.
pub const ARGS_MAX: usize = 256;
/// Most variables that are set for a plugin, and most that are let through to it.
pub const ENV_MAX: usize = 256;
/// Longest argument, and longest variable with its name and `=`: MAX_ARG_STRLEN is 128 KiB with its
/// NUL (execve(2)). Bytes.
pub const ARG_BYTES_MAX: usize = 128 * 1024 - 1;
/// Longest path: PATH_MAX is 4096 with its NUL. Bytes.
pub const PATH_BYTES_MAX: usize = 4095;

/// What a plugin's object holds beside settings.
pub(super) const KEYS: [&str; 9] = [
    "executable",
    "args",
    "env",
    "pass_env",
    "working_dir",
    "autostart",
    "interfaces",
    "may_call",
    "may_call_capabilities",
];

/// Reads the member `name` of `plugins`.
pub(super) fn plugin_of<'a>(
    source: &mut Source<'a>,
    name: &str,
    node: &Node<'a>,
    defaults: &Policy,
    defaults_are_clean: bool,
) -> Option<PluginConfig> {
    let id = match plugin_id(name) {
        Ok(id) => Some(id),
        Err(problem) => {
            source.error(node, problem, id_allowed());
            None
        }
    };
    let mut object = source.object(node)?;
    let mut policy = defaults.clone();
    let written = take_settings(source, &mut object, POLICY, &mut policy);
    check_own_policy(source, &policy, node, &written, defaults_are_clean);
    let executable = match object.take("executable") {
        Some(node) => absolute_path(source, &node),
        None => {
            source.error_below(node, "executable", "is missing", "an absolute path");
            None
        }
    };
    let args = object.take("args").map_or_else(Vec::new, |node| args_of(source, &node));
    let env = object.take("env").map_or_else(BTreeMap::new, |node| env_of(source, &node));
    let pass_env = object.take("pass_env").map_or_else(Vec::new, |node| pass_env_of(source, &node, &env));
    let working_dir = object.take("working_dir").and_then(|node| absolute_path(source, &node));
    let autostart = object.take("autostart").and_then(|node| source.boolean(&node)).unwrap_or(true);
    let interfaces =
        object.take("interfaces").map_or_else(BTreeMap::new, |node| interfaces_of(source, &node));
    let may_call = MayCall {
        plugins: names_of(source, object.take("may_call"), "plugin id", check_plugin_id),
        capabilities: names_of(source, object.take("may_call_capabilities"), "capability", |name| {
            check_capability(name).map_err(|error| error.to_string())
        }),
    };
    let keys = KEYS.into_iter().chain(POLICY.iter().map(|setting| setting.key));
    source.unknown(&object, keys);
    let (id, executable) = (id?, executable?);
    Some(PluginConfig {
        id,
        executable,
        args,
        env,
        pass_env,
        working_dir,
        autostart,
        policy,
        interfaces,
        may_call,
    })
}

/// A plugin without own settings has nothing to contradict but the defaults, which were checked.
fn check_own_policy(
    source: &mut Source<'_>,
    policy: &Policy,
    node: &Node<'_>,
    written: &Written<'_>,
    defaults_are_clean: bool,
) {
    if defaults_are_clean && !written.is_spoiled {
        check_policy(source, policy, Some(node), written, &[]);
    }
}

/// The value of `--plugin`: `ID=PATH`, with an absolute path and everything else by default.
///
/// # Errors
/// Says which part is wrong and what is allowed.
pub fn plugin_from_flag(text: &str, policy: &Policy) -> Result<PluginConfig, String> {
    read_flag(text, policy).map_err(|(problem, allowed)| format!("{problem}; allowed: {allowed}"))
}

/// The same with what is wrong and what is allowed apart.
pub(super) fn read_flag(text: &str, policy: &Policy) -> Result<PluginConfig, (String, String)> {
    let form = || "ID=PATH with an absolute path".to_owned();
    let (id, path) = text.split_once('=').ok_or_else(|| (format!("{} has no '='", quoted(text)), form()))?;
    let id = plugin_id(id).map_err(|problem| (problem, id_allowed()))?;
    check_path(path).map_err(|problem| (problem, form()))?;
    Ok(PluginConfig::new(id, PathBuf::from(path), policy.clone()))
}

fn plugin_id(text: &str) -> Result<PluginId, String> {
    let id: PluginId = text.parse().map_err(|error| format!("plugin id {} {error}", quoted(text)))?;
    // In the runtime folder, a plugin's folder lies beside the daemon's own files.
    match reserved_name(&id) {
        Some(name) => Err(format!("plugin id {text:?} is kept for the daemon's own files ({name})")),
        None => Ok(id),
    }
}

fn id_allowed() -> String {
    format!("1 to {PLUGIN_ID_BYTES_MAX} letters, digits, '.', '_', '-'; not '.' or '..'")
}

/// What is wrong with a path.
pub(super) fn check_path(path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Err("the path is empty".to_owned());
    }
    if path.contains('\0') {
        return Err("the path contains a NUL character".to_owned());
    }
    if path.len() > PATH_BYTES_MAX {
        return Err(format!("the path has {} bytes, at most {PATH_BYTES_MAX} are possible", path.len()));
    }
    if !Path::new(path).is_absolute() {
        return Err(format!("the path {} is relative", quoted(path)));
    }
    Ok(())
}

pub(super) fn absolute_path<'a>(source: &mut Source<'a>, node: &Node<'a>) -> Option<PathBuf> {
    let path = source.string(node)?;
    match check_path(&path) {
        Ok(()) => Some(PathBuf::from(path)),
        Err(problem) => {
            source.error(node, problem, "an absolute path");
            None
        }
    }
}

fn args_of<'a>(source: &mut Source<'a>, node: &Node<'a>) -> Vec<String> {
    let nodes = source.array(node, ARGS_MAX).unwrap_or_default();
    nodes.iter().filter_map(|node| source.string_without_nul(node, ARG_BYTES_MAX)).collect()
}

fn members<'a>(source: &mut Source<'a>, node: &Node<'a>, members_max: usize) -> Vec<(String, Node<'a>)> {
    let members = source.object(node).as_mut().map_or_else(Vec::new, Object::take_all);
    if source.is_within(node, "entries", members.len(), members_max) { members } else { Vec::new() }
}

/// What is wrong with the name of a variable.
fn check_env_name(name: &str) -> Result<(), (String, String)> {
    let name_rule = || "a name without '=' and NUL".to_owned();
    if name.is_empty() {
        return Err(("the name of a variable is empty".to_owned(), name_rule()));
    }
    if name.contains(['=', '\0']) {
        return Err((format!("{} is no name of a variable", quoted(name)), name_rule()));
    }
    if ENV_RESERVED.contains(&name) {
        let problem = format!("{name} is a variable of the contract, which the daemon sets itself");
        return Err((problem, format!("any but {}", ENV_RESERVED.join(", "))));
    }
    Ok(())
}

fn env_of<'a>(source: &mut Source<'a>, node: &Node<'a>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for (name, node) in members(source, node, ENV_MAX) {
        if let Err((problem, allowed)) = check_env_name(&name) {
            source.error(&node, problem, allowed);
        } else if let Some(value) =
            source.string_without_nul(&node, ARG_BYTES_MAX.saturating_sub(name.len() + 1))
        {
            env.insert(name, value);
        }
    }
    env
}

fn pass_env_of<'a>(source: &mut Source<'a>, node: &Node<'a>, env: &BTreeMap<String, String>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for node in source.array(node, ENV_MAX).unwrap_or_default() {
        let Some(name) = source.string(&node) else { continue };
        if let Err((problem, allowed)) = check_env_name(&name) {
            source.error(&node, problem, allowed);
        } else if env.contains_key(&name) {
            source.error(&node, format!("{} is set in `env` as well", quoted(&name)), "one of both");
        } else if names.contains(&name) {
            source.error(&node, format!("{} is listed twice", quoted(&name)), "each name once");
        } else {
            names.push(name);
        }
    }
    names
}

/// Names of what a plugin may call; `*` stands for all.
fn names_of<'a>(
    source: &mut Source<'a>,
    node: Option<Node<'a>>,
    what: &str,
    check: impl Fn(&str) -> Result<(), String>,
) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let Some(node) = node else { return names };
    for node in source.array(&node, CAPABILITIES_MAX).unwrap_or_default() {
        let Some(name) = source.string(&node) else { continue };
        let checked = if name == ANY { Ok(()) } else { check(&name) };
        if let Err(problem) = checked {
            source.error(&node, format!("{what} {} {problem}", quoted(&name)), "a name, or \"*\" for all");
        } else if names.iter().any(|known| *known == *name) {
            source.error(&node, format!("{} is listed twice", quoted(&name)), "each name once");
        } else {
            names.push(name);
        }
    }
    names
}

fn check_plugin_id(name: &str) -> Result<(), String> {
    name.parse::<PluginId>().map(|_| ()).map_err(|error| error.to_string())
}

fn interfaces_of<'a>(source: &mut Source<'a>, node: &Node<'a>) -> BTreeMap<String, Vec<u32>> {
    let mut interfaces = BTreeMap::new();
    for (name, node) in members(source, node, CAPABILITIES_MAX) {
        if let Err(error) = check_capability(&name) {
            source.error(&node, format!("interface name {error}"), "1 to 64 letters, digits, '.', '_', '-'");
            continue;
        }
        let Some(elements) = source.array(&node, HELLO_LIST_MAX) else { continue };
        if elements.is_empty() {
            source.error(&node, "accepts no version, so no plugin could serve it", "at least one version");
        }
        let mut versions = Vec::new();
        for element in &elements {
            match version_of(element) {
                Some(version) if versions.contains(&version) => {
                    source.error(element, format!("version {version} is listed twice"), "each version once");
                }
                Some(version) => versions.push(version),
                None => {
                    let problem = format!("is {}", element.kind_shown());
                    source.error(element, problem, "a whole number, 0 to 4294967295");
                }
            }
        }
        interfaces.insert(name, versions);
    }
    interfaces
}

fn version_of(node: &Node<'_>) -> Option<u32> {
    match node.value(&mut String::new()) {
        Some(Value::Integer(number)) => u32::try_from(number).ok(),
        _ => None,
    }
}
