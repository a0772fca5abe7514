//! The manifest of a package, `plugin.json`, version 1: what it is, how it is started, and what it wants.
//!
//! What this file is for: [`Manifest`], and reading one. What it deliberately does not do: open a file, or look whether what
//! it names is there ([`super::folder`] does).
//!
//! What always holds: all faults are told at once, each at its line (the first 20; the rest is counted); unknown members
//! and those that stand twice are refused; what it sets can only be what [`SETTINGS`] lists, none of which permits
//! anything; its entrypoint is one of its files.

use super::capabilities::Capabilities;
use super::digest::{DIGEST_ALLOWED, Digest};
use super::path::{PACKAGE_PATH_ALLOWED, PackagePath};
use super::read_capabilities::{ENV_PREFIX, capabilities_of, id_of, required, word_of};
use super::version::{Version, VersionRange};
use crate::settings::{
    Checked, JsonSource, Kind, Node, Object, POLICY, Places, Value, check_policy, checked, members,
    strings_of, take_env, take_interfaces, take_settings, tell,
};
use crate::state::config_error::{ConfigErrors, quoted};
use crate::state::plugin_config::{ARGS_MAX, PluginConfig, id_allowed};
use crate::state::policy::{Policy, Transport};
use crate::state::start_mode::StartMode;
use rpc_plugin_wire::PluginId;
use rpc_plugin_wire::ident::check_capability;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// Name of the manifest in a package's folder.
pub const MANIFEST_NAME: &str = "plugin.json";
/// Name of its signature, beside it.
pub const SIGNATURE_NAME: &str = "plugin.json.minisig";
/// Longest manifest. Bytes.
pub const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The version of the manifest's form.
pub const MANIFEST_VERSION: u64 = 1;
/// Most files of a package.
pub const FILES_MAX: usize = 10_000;
/// Most plugins that a package may need.
const REQUIRES_MAX: usize = 64;
/// Longest text for people. Bytes.
const TEXT_BYTES_MAX: usize = 1024;

/// Its members, in the order of the page.
pub(super) const KEYS: [&str; 18] = [
    "manifest",
    "id",
    "version",
    "type",
    "about",
    "language",
    "entrypoint",
    "args",
    "env",
    "transport",
    "interfaces",
    "requires",
    "capabilities",
    "limits",
    "start",
    "rollback",
    "settings",
    "files",
];
/// The members of `about`.
pub(super) const ABOUT_KEYS: [&str; 4] = ["description", "maintainer", "url", "license"];
/// The members of `requires`.
pub(super) const REQUIRES_KEYS: [&str; 2] = ["host", "plugins"];

/// The settings of a plugin that a package may set for itself: how it lives, never what it may take or what is recorded.
pub const SETTINGS: [&str; 10] = [
    "restart",
    "connect_timeout",
    "hello_timeout",
    "ready_timeout",
    "heartbeat_interval",
    "heartbeat_timeout",
    "shutdown_grace",
    "term_grace",
    "call_timeout",
    "calls_in_flight_max",
];

/// The limits that a package may ask to be held to.
pub const LIMITS: [(&str, Kind); 6] = [
    ("memory", Kind::Bytes(1 << 20, 1 << 50)),
    ("processes", Kind::Count(1, 1 << 20)),
    ("cpu_percent", Kind::Count(1, 100_000)),
    ("open_files", Kind::Count(8, 1 << 20)),
    ("file_size", Kind::Bytes(0, 1 << 50)),
    ("core", Kind::Bytes(0, 1 << 50)),
];

/// What a package says of itself for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct About {
    pub description: Option<String>,
    pub maintainer: Option<String>,
    pub url: Option<String>,
    pub license: Option<String>,
}

/// What has to be there for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requires {
    /// Versions of the host.
    pub host: Option<VersionRange>,
    /// Versions of other plugins.
    pub plugins: BTreeMap<PluginId, VersionRange>,
}

/// A manifest that was read.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Manifest {
    /// The plugin's id.
    pub id: PluginId,
    /// The package's version.
    pub version: Version,
    /// The type of plugin, which a host accepts by name.
    pub kind: Option<String>,
    /// What it says of itself.
    pub about: About,
    /// The language that it is written in, for people.
    pub language: Option<String>,
    /// Its executable.
    pub entrypoint: PackagePath,
    /// Its arguments, variables, transport, interfaces and settings. The executable is not known yet.
    pub config: PluginConfig,
    /// The settings that it names, of those in [`SETTINGS`].
    pub settings: Vec<&'static str>,
    /// What has to be there for it.
    pub requires: Requires,
    /// What it asks to be allowed.
    pub capabilities: Capabilities,
    /// The limits that it asks to be held to, by their names in [`LIMITS`].
    pub limits: BTreeMap<&'static str, u64>,
    /// When it is started.
    pub start: StartMode,
    /// Whether the version before may be launched again where this one is not kept: it can do with the data of this one.
    pub can_roll_back: bool,
    /// Its files, all but the manifest and its signature.
    pub files: BTreeMap<PackagePath, Digest>,
}

impl Manifest {
    /// Reads a manifest; `path` is where it came from, for errors.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(path: &Path, bytes: &[u8]) -> Result<Manifest, ConfigErrors> {
        let text = str::from_utf8(bytes).map_err(|error| {
            let mut errors = ConfigErrors::default();
            let place = path.display().to_string();
            errors.add(place, format!("byte {} is no UTF-8", error.valid_up_to()), "UTF-8");
            errors
        })?;
        let mut source = JsonSource { path, text, errors: ConfigErrors::default() };
        let manifest = source.root().and_then(|node| read(&mut source, &node));
        let errors = source.errors;
        match manifest {
            Some(manifest) if errors.count() == 0 => Ok(manifest),
            _ => Err(errors),
        }
    }
}

/// Reads all of it. `None`: something without which there is no manifest is wrong, and was told.
fn read<'a>(source: &mut JsonSource<'a>, node: &Node<'a>) -> Option<Manifest> {
    let mut object = source.object(node)?;
    check_form(source, node, &mut object);
    let id_node = required(source, node, &mut object, "id", &id_allowed());
    let id = id_node.as_ref().and_then(|node| {
        let text = source.string(node)?;
        id_of(source, node, &text, id_allowed())
    });
    let allowed = "a version as Semantic Versioning 2.0.0 has it, such as 1.2.0";
    let version = required(source, node, &mut object, "version", allowed)
        .and_then(|node| parsed::<Version>(source, &node, allowed));
    let kind = object.take("type").and_then(|node| name_of(source, &node));
    let about = object.take("about").map(|node| about_of(source, &node)).unwrap_or_default();
    let language = object.take("language").and_then(|node| text_of(source, &node));
    let entrypoint = required(source, node, &mut object, "entrypoint", PACKAGE_PATH_ALLOWED);
    let entrypoint = entrypoint.and_then(|node| Some((path_of(source, &node)?, node)));
    let mut config = config_of(source, node, &mut object, (id.as_ref(), id_node))?;
    let settings = object.take("settings").map(|node| settings_of(source, &node, &mut config.policy));
    let settings = settings.unwrap_or_default();
    let requires = object.take("requires").map(|node| requires_of(source, &node)).unwrap_or_default();
    let firsts = requires.plugins.keys().filter(|first| **first != config.id);
    config.after = firsts.cloned().collect();
    let capabilities =
        object.take("capabilities").map(|node| capabilities_of(source, &node)).unwrap_or_default();
    let limits = object.take("limits").map(|node| limits_of(source, &node)).unwrap_or_default();
    let start =
        object.take("start").map_or(Some(StartMode::Auto), |node| word_of(source, &node, StartMode::ALL));
    let can_roll_back = object.take("rollback").map_or(Some(true), |node| source.boolean(&node));
    config.start = start.unwrap_or_default();
    let files = files_of(source, node, &mut object);
    if let (Some(files), Some((entrypoint, at))) = (&files, &entrypoint)
        && !files.contains_key(entrypoint)
    {
        let problem = format!("{} is not one of its files", quoted(entrypoint.as_str()));
        source.error(at, problem, "a path that stands in \"files\"");
    }
    source.unknown(&object, KEYS.into_iter());
    Some(Manifest {
        id: id?,
        version: version?,
        kind,
        about,
        language,
        entrypoint: entrypoint?.0,
        config,
        settings,
        requires,
        capabilities,
        limits,
        start: start?,
        can_roll_back: can_roll_back?,
        files: files?,
    })
}

/// The form that it says it has.
fn check_form<'a>(source: &mut JsonSource<'a>, node: &Node<'a>, object: &mut Object<'a>) {
    let allowed = MANIFEST_VERSION.to_string();
    let Some(node) = required(source, node, object, "manifest", &allowed) else { return };
    if !matches!(node.value(&mut String::new()), Some(Value::Integer(MANIFEST_VERSION))) {
        let problem = format!("is {}, and this host reads version {MANIFEST_VERSION}", node.kind_shown());
        source.error(&node, problem, allowed);
    }
}

fn parsed<'a, T: FromStr<Err: fmt::Display>>(
    source: &mut JsonSource<'a>,
    node: &Node<'a>,
    allowed: &str,
) -> Option<T> {
    let text = source.string(node)?;
    text.parse().map_err(|error| source.error(node, format!("{}: {error}", quoted(&text)), allowed)).ok()
}

/// A text for people: one line, not empty.
fn text_of<'a>(source: &mut JsonSource<'a>, node: &Node<'a>) -> Option<String> {
    let text = source.string(node)?;
    let is_good =
        !text.trim().is_empty() && text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control);
    if !is_good {
        source.error(
            node,
            "is no line of text",
            format!("1 to {TEXT_BYTES_MAX} bytes without control characters"),
        );
    }
    is_good.then_some(text)
}

fn name_of<'a>(source: &mut JsonSource<'a>, node: &Node<'a>) -> Option<String> {
    let name = source.string(node)?;
    let checked = check_capability(&name);
    let allowed = "1 to 64 letters, digits, '.', '_', '-'";
    checked.map_err(|error| source.error(node, format!("{} {error}", quoted(&name)), allowed)).ok()?;
    Some(name)
}

fn path_of<'a>(source: &mut JsonSource<'a>, node: &Node<'a>) -> Option<PackagePath> {
    let path = PackagePath::new(&source.string(node)?);
    path.map_err(|problem| source.error(node, problem, PACKAGE_PATH_ALLOWED)).ok()
}

fn about_of<'a>(source: &mut JsonSource<'a>, node: &Node<'a>) -> About {
    let Some(mut object) = source.object(node) else { return About::default() };
    let mut text = |key| object.take(key).and_then(|node| text_of(source, &node));
    let [description, maintainer, url, license] = ABOUT_KEYS.map(&mut text);
    source.unknown(&object, ABOUT_KEYS.into_iter());
    About { description, maintainer, url, license }
}

/// What a plugin is started with, checked as that of a configuration is.
fn config_of<'a>(
    source: &mut JsonSource<'a>,
    node: &Node<'a>,
    object: &mut Object<'a>,
    (id, id_node): (Option<&PluginId>, Option<Node<'a>>),
) -> Option<PluginConfig> {
    let mut places: Places<'a> = id_node.map(|node| ("id".to_owned(), node)).into_iter().collect();
    // Where the id is wrong, that was told; the rest is checked all the same.
    let mut config = PluginConfig::new(id.cloned().or_else(|| "plugin".parse().ok())?, "/");
    let args = strings_of(source, object, "args", ARGS_MAX, &mut places);
    config.args = args.into_iter().map(Into::into).collect();
    take_env(source, object, &mut config, &mut places);
    for (at, (name, _)) in config.env.iter().enumerate() {
        if name.as_encoded_bytes().starts_with(ENV_PREFIX.as_bytes())
            && let Some((_, node)) = places.iter().find(|(place, _)| *place == format!("env[{at}]"))
        {
            source.error(node, format!("begins with {ENV_PREFIX}"), "a name that is not the host's");
        }
    }
    take_interfaces(source, object, &mut config, &mut places);
    if let Some(transport) = object.take("transport") {
        config.policy.transport = word_of(source, &transport, &Transport::ALL).unwrap_or_default();
    }
    if let Err(errors) = config.check() {
        tell(source, errors, node, &places, None);
    }
    Some(config)
}

/// The settings that it names. They are put into the policy.
fn settings_of<'a>(source: &mut JsonSource<'a>, node: &Node<'a>, policy: &mut Policy) -> Vec<&'static str> {
    let Some(mut object) = source.object(node) else { return Vec::new() };
    for setting in POLICY.iter().filter(|setting| !SETTINGS.contains(&setting.key)) {
        if let Some(node) = object.take(setting.key) {
            source.error(&node, "is for the operator to set, not for a package", SETTINGS.join(", "));
        }
    }
    let written = take_settings(source, &mut object, POLICY, policy);
    source.unknown(&object, SETTINGS.into_iter());
    if !written.is_spoiled {
        check_policy(source, policy, Some(node), &written, &[]);
    }
    SETTINGS.into_iter().filter(|key| written.at(key).is_some()).collect()
}

fn requires_of<'a>(source: &mut JsonSource<'a>, node: &Node<'a>) -> Requires {
    let allowed = "versions such as \"^1.2\" or \">=1, <3\"";
    let mut requires = Requires::default();
    let Some(mut object) = source.object(node) else { return requires };
    requires.host = object.take("host").and_then(|node| parsed(source, &node, allowed));
    for (name, node) in members(source, &mut object, "plugins", REQUIRES_MAX) {
        let id = id_of(source, &node, &name, id_allowed());
        if let (Some(id), Some(range)) = (id, parsed(source, &node, allowed)) {
            requires.plugins.insert(id, range);
        }
    }
    source.unknown(&object, REQUIRES_KEYS.into_iter());
    requires
}

fn limits_of<'a>(source: &mut JsonSource<'a>, node: &Node<'a>) -> BTreeMap<&'static str, u64> {
    let mut limits = BTreeMap::new();
    let Some(mut object) = source.object(node) else { return limits };
    for (key, kind) in LIMITS {
        let Some(node) = object.take(key) else { continue };
        match checked(&node, kind) {
            Ok(Checked::Number(number)) => drop(limits.insert(key, number)),
            Ok(_) => {}
            Err(problem) => source.error(&node, problem, kind.to_string()),
        }
    }
    source.unknown(&object, LIMITS.iter().map(|(key, _)| *key));
    limits
}

fn files_of<'a>(
    source: &mut JsonSource<'a>,
    node: &Node<'a>,
    object: &mut Object<'a>,
) -> Option<BTreeMap<PackagePath, Digest>> {
    let allowed = format!("at least the entrypoint, with {DIGEST_ALLOWED}");
    if !object.has("files") {
        source.error_below(node, "files", "is missing", allowed);
        return None;
    }
    let mut files = BTreeMap::new();
    for (name, node) in members(source, object, "files", FILES_MAX) {
        let path =
            PackagePath::new(&name).map_err(|problem| source.error(&node, problem, PACKAGE_PATH_ALLOWED));
        let digest = source.string(&node).and_then(|text| {
            let digest = Digest::from_hex(&text);
            if digest.is_none() {
                source.error(&node, format!("{} is none", quoted(&text)), DIGEST_ALLOWED);
            }
            digest
        });
        if [MANIFEST_NAME, SIGNATURE_NAME].contains(&&*name) {
            source.error(&node, "is not a file of the package but says which are", "the other files");
        } else if let (Ok(path), Some(digest)) = (path, digest) {
            files.insert(path, digest);
        }
    }
    for path in files.keys() {
        if let Some(folder) = path.folders().find(|folder| files.contains_key(*folder)) {
            let problem = format!("{} is a file, and {} is in it", quoted(folder), quoted(path.as_str()));
            source.error_below(node, "files", problem, "a name for a file or a folder, not for both");
        }
    }
    Some(files)
}
