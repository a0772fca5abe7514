//! The member `capabilities` of a manifest.
//!
//! What it deliberately does not do: grant anything; say what a kernel can hold.
//!
//! What always holds: what only a host can hold is refused as `direct` (names of hosts, UDP, origins); omitted is denied,
//! so an empty list is refused rather than taken for everything.

use super::capabilities::{
    CallAccess, Capabilities, Egress, FileAccess, FilePermission, Ingress, Ports, ProcessAction, Protocol,
    Via,
};
use crate::settings::{JsonSource, Node, Object, Places, strings_of};
use crate::state::config_error::quoted;
use crate::state::plugin_config::{ENV_MAX, PATH_BYTES_MAX};
use rpc_plugin_wire::PluginId;
use rpc_plugin_wire::ident::check_method;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What names of variables that are the host's begin with.
pub(super) const ENV_PREFIX: &str = "RPC_PLUGIN_SYSTEM_";

/// The members of `capabilities`.
pub(super) const KEYS: [&str; 5] = Capabilities::KINDS;
/// Those of an element of `filesystem`.
pub(super) const FILESYSTEM_KEYS: [&str; 4] = ["path", "permissions", "recursive", "via"];
/// Those of `network`.
pub(super) const NETWORK_KEYS: [&str; 2] = ["egress", "ingress"];
/// Those of an element of `egress`.
pub(super) const EGRESS_KEYS: [&str; 4] = ["protocol", "hosts", "ports", "via"];
/// Those of an element of `ingress`.
pub(super) const INGRESS_KEYS: [&str; 4] = ["protocol", "ports", "allowed_origins", "via"];
/// Those of an element of `calls`.
pub(super) const CALLS_KEYS: [&str; 2] = ["plugin", "methods"];

/// Most elements of one list.
pub(super) const ELEMENTS_MAX: usize = 64;
/// Longest name of a host (RFC 1035, 2.3.4). Bytes.
const HOST_BYTES_MAX: usize = 253;
/// The only word for whose processes are meant.
const CHILDREN: &str = "children";

/// Reads the member.
pub(super) fn capabilities_of<'a>(source: &mut JsonSource<'a>, node: &Node<'a>) -> Capabilities {
    let mut asked = Capabilities::default();
    let Some(mut object) = source.object(node) else { return asked };
    for mut element in objects(source, &mut object, "filesystem") {
        asked.filesystem.extend(file_access(source, &mut element));
    }
    if let Some(node) = object.take("network")
        && let Some(mut network) = source.object(&node)
    {
        for mut element in objects(source, &mut network, "egress") {
            asked.egress.extend(egress(source, &mut element));
        }
        for mut element in objects(source, &mut network, "ingress") {
            asked.ingress.extend(ingress(source, &mut element));
        }
        source.unknown(&network, NETWORK_KEYS.into_iter());
    }
    if let Some(node) = object.take("process") {
        process(source, &node, &mut asked.process);
    }
    for mut element in objects(source, &mut object, "calls") {
        if let Some(access) = calls(source, &mut element)
            && let Some(before) = asked.calls.insert(access.plugin.clone(), access)
        {
            let problem = format!("plugin {:?} stands twice", before.plugin.as_str());
            source.error(&element.0, problem, "each plugin once");
        }
    }
    for name in strings_of(source, &mut object, "pass_env", ENV_MAX, &mut Places::new()) {
        let is_good = !name.is_empty() && !name.contains(['=', '\0']) && !name.starts_with(ENV_PREFIX);
        if !is_good {
            let allowed = "a name without '=' and NUL that does not begin with RPC_PLUGIN_SYSTEM_";
            source.error_below(node, "pass_env", format!("{} is no name to pass on", quoted(&name)), allowed);
        } else if !asked.pass_env.insert(name.clone()) {
            source.error_below(node, "pass_env", format!("{} stands twice", quoted(&name)), "each name once");
        }
    }
    source.unknown(&object, KEYS.into_iter());
    asked
}

/// An element of a list, with what it has left.
struct Element<'a>(Node<'a>, Object<'a>);

/// The elements of a list of objects.
fn objects<'a>(source: &mut JsonSource<'a>, object: &mut Object<'a>, key: &str) -> Vec<Element<'a>> {
    let Some(node) = object.take(key) else { return Vec::new() };
    let elements = source.array(&node, ELEMENTS_MAX).unwrap_or_default();
    let mut found = Vec::new();
    for node in elements {
        if let Some(object) = source.object(&node) {
            found.push(Element(node, object));
        }
    }
    found
}

impl<'a> Element<'a> {
    /// A member that has to be there.
    fn required(&mut self, source: &mut JsonSource<'a>, key: &str, allowed: &str) -> Option<Node<'a>> {
        required(source, &self.0, &mut self.1, key, allowed)
    }

    fn word<T: Copy>(&mut self, source: &mut JsonSource<'a>, key: &str, all: &[(T, &str)]) -> Option<T> {
        let node = self.required(source, key, &words(all))?;
        word_of(source, &node, all)
    }

    /// How it is done; `None`: what stands there is wrong.
    fn via(&mut self, source: &mut JsonSource<'a>) -> Option<Via> {
        match self.1.take("via") {
            Some(node) => word_of(source, &node, Via::ALL),
            None => Some(Via::Host),
        }
    }

    /// The strings of a list that may not be empty; `None`: there are none, which was told.
    fn strings(
        &mut self,
        source: &mut JsonSource<'a>,
        key: &str,
        allowed: &str,
    ) -> Option<Vec<(Node<'a>, String)>> {
        let node = self.required(source, key, allowed)?;
        let elements = source.array(&node, ELEMENTS_MAX)?;
        if elements.is_empty() {
            source.error(&node, "is empty, which allows nothing", allowed);
            return None;
        }
        let mut strings = Vec::new();
        for node in elements {
            if let Some(string) = source.string(&node) {
                strings.push((node, string));
            }
        }
        Some(strings)
    }
}

/// A member of an object that has to be there; told where it is not.
pub(super) fn required<'a>(
    source: &mut JsonSource<'a>,
    node: &Node<'a>,
    object: &mut Object<'a>,
    key: &str,
    allowed: &str,
) -> Option<Node<'a>> {
    let member = object.take(key);
    if member.is_none() {
        source.error_below(node, key, "is missing", allowed);
    }
    member
}

/// The plugin id that stands at a node; told where it is none.
pub(super) fn id_of(
    source: &mut JsonSource<'_>,
    node: &Node<'_>,
    text: &str,
    allowed: impl Into<String>,
) -> Option<PluginId> {
    let id = text.parse::<PluginId>();
    id.map_err(|error| source.error(node, format!("plugin id {} {error}", quoted(text)), allowed)).ok()
}

fn words<T>(all: &[(T, &str)]) -> String {
    format!("one of {}", all.iter().map(|(_, word)| *word).collect::<Vec<_>>().join(", "))
}

pub(super) fn word_of<'a, T: Copy>(
    source: &mut JsonSource<'a>,
    node: &Node<'a>,
    all: &[(T, &str)],
) -> Option<T> {
    let text = source.string(node)?;
    let found = all.iter().find(|(_, word)| *word == text);
    if found.is_none() {
        source.error(node, format!("{} is none of them", quoted(&text)), words(all));
    }
    found.map(|(value, _)| *value)
}

fn file_access<'a>(source: &mut JsonSource<'a>, element: &mut Element<'a>) -> Option<FileAccess> {
    let allowed = "an absolute path without '.', '..' and empty parts";
    let path = element.required(source, "path", allowed).and_then(|node| {
        let path = source.string(&node)?;
        let mut parts = path.split('/').skip(1);
        let is_plain = path == "/" || !parts.any(|part| matches!(part, "" | "." | ".."));
        let is_good = path.starts_with('/') && is_plain && path.len() <= PATH_BYTES_MAX;
        if !is_good || path.chars().any(char::is_control) {
            source.error(&node, format!("{} is no such path", quoted(&path)), allowed);
            return None;
        }
        Some(path)
    });
    let mut permissions = BTreeSet::new();
    for (node, _) in element.strings(source, "permissions", &words(FilePermission::ALL)).unwrap_or_default() {
        if let Some(permission) = word_of(source, &node, FilePermission::ALL)
            && !permissions.insert(permission)
        {
            source.error(&node, "stands twice", "each permission once");
        }
    }
    let recursive = element.1.take("recursive").map_or(Some(false), |node| source.boolean(&node));
    let via = element.via(source);
    source.unknown(&element.1, FILESYSTEM_KEYS.into_iter());
    (!permissions.is_empty()).then_some(())?;
    Some(FileAccess { path: path?, permissions, recursive: recursive?, via: via? })
}

fn ports<'a>(source: &mut JsonSource<'a>, element: &mut Element<'a>) -> BTreeSet<Ports> {
    let allowed = "ports from 1 to 65535, as \"443\" or \"8000-8010\"";
    let mut found = BTreeSet::new();
    for (node, text) in element.strings(source, "ports", allowed).unwrap_or_default() {
        let port = |text: &str| {
            let is_plain = !text.starts_with(['0', '+']);
            text.parse::<u16>().ok().filter(|_| is_plain)
        };
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => {
                if !found.insert(Ports { first, last }) {
                    source.error(&node, format!("{} stands twice", quoted(&text)), "each range once");
                }
            }
            _ => source.error(&node, format!("{} is no port and no range of them", quoted(&text)), allowed),
        }
    }
    found
}

/// Whether that is a name of a host, one with a leading `*.`, or an address.
fn is_host(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_label = |label: &str| {
        let is_plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        (1..=63).contains(&label.len()) && is_plain && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_name = name.len() <= HOST_BYTES_MAX && name.split('.').all(is_label);
    // What ends in a number is an address, and so has to be one (WHATWG URL, 3.5).
    let ends_in_number =
        name.rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
    text.parse::<IpAddr>().is_ok() || (is_name && !ends_in_number)
}

/// Whether that is a range of addresses, as `10.0.0.0/8` or one address.
fn is_range(text: &str) -> bool {
    let (address, length) =
        text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    length.is_none_or(|length| length.parse::<u8>().is_ok_and(|length| length <= longest))
}

/// The strings of a list, each of which `is_good` takes.
fn checked<'a>(
    source: &mut JsonSource<'a>,
    strings: Vec<(Node<'a>, String)>,
    is_good: fn(&str) -> bool,
    allowed: &str,
) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (node, text) in strings {
        if !is_good(&text) {
            source.error(&node, format!("{} is none", quoted(&text)), allowed);
        } else if !found.insert(text.to_ascii_lowercase()) {
            source.error(&node, format!("{} stands twice", quoted(&text)), "each once");
        }
    }
    found
}

fn egress<'a>(source: &mut JsonSource<'a>, element: &mut Element<'a>) -> Option<Egress> {
    let protocol = element.word(source, "protocol", Protocol::ALL);
    let via = element.via(source);
    let ports = ports(source, element);
    let node = element.0.clone();
    let allowed = "names of hosts, with a leading *. or without, and addresses";
    let hosts = if via == Some(Via::Direct) {
        if element.1.take("hosts").is_some() {
            let problem =
                "the kernel knows ports and not hosts, so that it cannot hold what is direct to them";
            source.error_below(&node, "hosts", problem, "no hosts, or \"via\": \"host\"");
        }
        BTreeSet::new()
    } else {
        let strings = element.strings(source, "hosts", allowed).unwrap_or_default();
        checked(source, strings, is_host, allowed)
    };
    refuse_direct_udp(source, &node, protocol, via);
    source.unknown(&element.1, EGRESS_KEYS.into_iter());
    (!ports.is_empty()).then_some(())?;
    Some(Egress { protocol: protocol?, hosts, ports, via: via? })
}

fn ingress<'a>(source: &mut JsonSource<'a>, element: &mut Element<'a>) -> Option<Ingress> {
    let protocol = element.word(source, "protocol", Protocol::ALL);
    let via = element.via(source);
    let ports = ports(source, element);
    let node = element.0.clone();
    let allowed = "addresses, and ranges of them such as 10.0.0.0/8";
    let mut allowed_origins = BTreeSet::new();
    if element.1.has("allowed_origins") {
        if via == Some(Via::Direct) {
            let problem =
                "the kernel knows ports and not origins, so that it cannot hold what is direct from them";
            source.error_below(&node, "allowed_origins", problem, "no origins, or \"via\": \"host\"");
            element.1.take("allowed_origins");
        } else {
            let strings = element.strings(source, "allowed_origins", allowed).unwrap_or_default();
            allowed_origins = checked(source, strings, is_range, allowed);
        }
    }
    refuse_direct_udp(source, &node, protocol, via);
    source.unknown(&element.1, INGRESS_KEYS.into_iter());
    (!ports.is_empty()).then_some(())?;
    Some(Ingress { protocol: protocol?, ports, allowed_origins, via: via? })
}

fn refuse_direct_udp(
    source: &mut JsonSource<'_>,
    node: &Node<'_>,
    protocol: Option<Protocol>,
    via: Option<Via>,
) {
    if (protocol, via) == (Some(Protocol::Udp), Some(Via::Direct)) {
        let problem = "the kernel cannot hold UDP by its ports";
        source.error_below(node, "protocol", problem, "tcp, or \"via\": \"host\"");
    }
}

fn process<'a>(source: &mut JsonSource<'a>, node: &Node<'a>, asked: &mut BTreeSet<ProcessAction>) {
    let Some(mut object) = source.object(node) else { return };
    for (action, word) in ProcessAction::ALL {
        let Some(node) = object.take(word) else { continue };
        let whose = source.array(&node, 1).unwrap_or_default();
        let mut is_children = false;
        for element in &whose {
            is_children = source.string(element).is_some_and(|text| text == CHILDREN);
        }
        match is_children {
            true => drop(asked.insert(*action)),
            false => source.error(&node, "does not say whose processes", "[\"children\"]"),
        }
    }
    source.unknown(&object, ProcessAction::ALL.iter().map(|(_, word)| *word));
}

fn calls<'a>(source: &mut JsonSource<'a>, element: &mut Element<'a>) -> Option<CallAccess> {
    let plugin = element.required(source, "plugin", "the id of a plugin").and_then(|node| {
        let text = source.string(&node)?;
        id_of(source, &node, &text, "a plugin's id")
    });
    let allowed = "names of methods, or \"*\"";
    let strings = element.strings(source, "methods", allowed).unwrap_or_default();
    let mut methods = BTreeSet::new();
    for (node, text) in strings {
        if text != "*"
            && let Err(error) = check_method(&text)
        {
            source.error(&node, format!("method {} {error}", quoted(&text)), allowed);
        } else if !methods.insert(text.clone()) {
            source.error(&node, format!("{} stands twice", quoted(&text)), "each method once");
        }
    }
    source.unknown(&element.1, CALLS_KEYS.into_iter());
    (!methods.is_empty()).then_some(())?;
    Some(CallAccess { plugin: plugin?, methods })
}
