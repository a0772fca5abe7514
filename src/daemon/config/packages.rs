//! Packages in a configuration: where they are kept and found, what is accepted of them, and what the operator says over them.
//!
//! What it deliberately does not do: open or make a folder; `src/package` does.
//!
//! What always holds: every path is absolute; the flags count before the file.

#[cfg(feature = "package")]
use super::publishers;
use super::settings::POLICY;
use super::types::{FlagValues, OnChange, PackagesConfig, Sources};
use crate::settings::{
    AcceptedType, JsonSource, NamedSettings, Node, Object, Places, check_policy, members, take_interfaces,
    take_settings, tell,
};
use crate::state::config_error::quoted;
use crate::state::plugin_config::PluginConfig;
use crate::state::policy::Policy;
use rpc_plugin_wire::ident::check_capability;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The keys at the top of the file.
pub(super) const KEYS: [&str; 4] = ["state_dir", "plugins_dirs", "types", "packages"];
/// The members of `packages`.
const PACKAGES_KEYS: [&str; 1] = ["on_change"];
/// The members of a type.
const TYPE_KEYS: [&str; 2] = ["interfaces", "settings"];
/// Most folders that packages are looked for in.
const PLUGINS_DIRS_MAX: usize = 16;
/// Most types that are accepted.
const TYPES_MAX: usize = 256;
/// The state folder of root.
const ROOT_STATE_DIR: &str = "/var/lib/rpcplugind";
/// The name of the state folder in the user's own folder for state.
const STATE_NAME: &str = "rpcplugind";

const ON_CHANGE: [(OnChange, &str); 3] = [
    (OnChange::Show, "show"),
    (OnChange::Restart, "restart"),
    (OnChange::RestartWhenIdle, "restart-when-idle"),
];

/// Takes what the file and the flags say, but for `overrides`.
pub(super) fn take<'a>(
    source: &mut JsonSource<'a>,
    object: Option<&mut Object<'a>>,
    defaults: &Policy,
    sources: &Sources<'_>,
) -> PackagesConfig {
    let mut config = PackagesConfig::default();
    if let Some(object) = object {
        config.state_dir = object.take("state_dir").and_then(|node| source.absolute_path(&node));
        if let Some(node) = object.take("plugins_dirs") {
            let nodes = source.array(&node, PLUGINS_DIRS_MAX).unwrap_or_default();
            config.plugins_dirs = nodes.iter().filter_map(|node| source.absolute_path(node)).collect();
        }
        if object.has("types") {
            config.types = Some(types_of(source, object, defaults));
        }
        if let Some(node) = object.take("packages") {
            take_packages(source, &node, &mut config);
        }
    }
    take_flags(source, sources.flags, &mut config);
    if config.state_dir.is_none() {
        config.state_dir = service_state_dir(sources);
    }
    let usual = usual_state_dir(sources);
    config.is_state_dir_named = config.state_dir.is_some() && config.state_dir != usual;
    config.state_dir = config.state_dir.or(usual);
    config
}

fn take_flags(source: &mut JsonSource<'_>, flags: &FlagValues, config: &mut PackagesConfig) {
    let mut absolute = |flag: &str, path: &Path| match std::path::absolute(path) {
        Ok(path) => Some(path),
        Err(error) => {
            source.errors.add(format!("--{flag}"), error.to_string(), "the path of a folder");
            None
        }
    };
    if let Some(path) = &flags.state_dir {
        config.state_dir = absolute("state-dir", path);
    }
    let dirs: Vec<PathBuf> =
        flags.plugins_dirs.iter().filter_map(|path| absolute("plugins-dir", path)).collect();
    config.plugins_dirs.extend(dirs);
    if config.plugins_dirs.len() > PLUGINS_DIRS_MAX {
        let problem = format!("makes them {} folders, with those of the file", config.plugins_dirs.len());
        source.errors.add("--plugins-dir", problem, format!("at most {PLUGINS_DIRS_MAX}"));
    }
}

/// As members of the file.
pub(super) fn show(config: &PackagesConfig, root: &mut Map<String, Value>) {
    let text = |path: &Path| Value::from(path.to_string_lossy().into_owned());
    if let Some(path) = &config.state_dir {
        root.insert("state_dir".into(), text(path));
    }
    root.insert("plugins_dirs".into(), config.plugins_dirs.iter().map(|path| text(path)).collect());
    if let Some(types) = &config.types {
        let shown = types.iter().map(|(name, accepted)| {
            let settings = accepted.settings.shown();
            (name.clone(), serde_json::json!({"interfaces": accepted.interfaces, "settings": settings}))
        });
        root.insert("types".into(), Value::Object(shown.collect()));
    }
    let on_change = ON_CHANGE.iter().find(|(value, _)| *value == config.on_change);
    let mut packages = Map::new();
    packages.insert("on_change".into(), on_change.map(|(_, word)| *word).into());
    #[cfg(feature = "package")]
    publishers::show(&config.verify, &config.minimum, &mut packages);
    root.insert("packages".into(), packages.into());
}

fn take_packages<'a>(source: &mut JsonSource<'a>, node: &Node<'a>, config: &mut PackagesConfig) {
    let Some(mut object) = source.object(node) else { return };
    if let Some(node) = object.take("on_change")
        && let Some(word) = source.string(&node)
    {
        match ON_CHANGE.iter().find(|(_, known)| *known == word) {
            Some((value, _)) => config.on_change = *value,
            None => {
                let words = ON_CHANGE.map(|(_, word)| word).join(", ");
                source.error(&node, format!("{} is none of them", quoted(&word)), format!("one of {words}"));
            }
        }
    }
    #[cfg(feature = "package")]
    {
        config.verify = publishers::verify_of(source, &mut object);
        config.minimum = publishers::minimum_of(source, &mut object);
        source.unknown(&object, PACKAGES_KEYS.into_iter().chain(publishers::KEYS));
    }
    #[cfg(not(feature = "package"))]
    source.unknown(&object, PACKAGES_KEYS.into_iter());
}

fn types_of<'a>(
    source: &mut JsonSource<'a>,
    object: &mut Object<'a>,
    defaults: &Policy,
) -> BTreeMap<String, AcceptedType> {
    let mut types = BTreeMap::new();
    for (name, node) in members(source, object, "types", TYPES_MAX) {
        if let Err(error) = check_capability(&name) {
            let problem = format!("{} {error}", quoted(&name));
            source.error(&node, problem, "1 to 64 letters, digits, '.', '_', '-'");
            continue;
        }
        let Some(mut object) = source.object(&node) else { continue };
        // For its checks alone.
        let Ok(id) = "type".parse() else { continue };
        let (mut config, mut places) = (PluginConfig::new(id, "/").policy(defaults.clone()), Places::new());
        take_interfaces(source, &mut object, &mut config, &mut places);
        if let Err(errors) = config.check() {
            tell(source, errors, &node, &places, None);
        }
        let mut settings = NamedSettings::default();
        if let Some(node) = object.take("settings")
            && let Some(mut named) = source.object(&node)
        {
            let mut policy = defaults.clone();
            let written = take_settings(source, &mut named, POLICY, &mut policy);
            source.unknown(&named, POLICY.iter().map(|setting| setting.key));
            if !written.is_spoiled {
                check_policy(source, &policy, Some(&node), &written, &[]);
            }
            let keys = POLICY.iter().map(|setting| setting.key).filter(|key| written.at(key).is_some());
            settings = NamedSettings::new(&policy, keys);
        }
        source.unknown(&object, TYPE_KEYS.into_iter());
        types.insert(name, AcceptedType { interfaces: config.interfaces, settings });
    }
    types
}

/// The absolute path that a variable is set to.
fn path_in(sources: &Sources<'_>, name: &str) -> Option<PathBuf> {
    let path = (sources.environment)(name).filter(|value| !value.is_empty()).map(PathBuf::from)?;
    path.is_absolute().then_some(path)
}

/// The state folder that the service manager gives, the first if it gives several (systemd.exec(5)).
fn service_state_dir(sources: &Sources<'_>) -> Option<PathBuf> {
    let list = path_in(sources, "STATE_DIRECTORY")?.into_os_string().into_encoded_bytes();
    let first = list.split(|byte| *byte == b':').next().unwrap_or_default();
    Some(OsStr::from_bytes(first).into())
}

/// The state folder where nobody names one: root's, or one in the user's own folder for state (XDG Base Directory
/// Specification).
fn usual_state_dir(sources: &Sources<'_>) -> Option<PathBuf> {
    if sources.is_root {
        return Some(ROOT_STATE_DIR.into());
    }
    let own =
        path_in(sources, "XDG_STATE_HOME").or_else(|| Some(path_in(sources, "HOME")?.join(".local/state")));
    Some(own?.join(STATE_NAME))
}
