//! Whose packages are taken, and which versions of them, in a configuration: `verify`, `keys` and `minimum` of `packages`.
//!
//! What it deliberately does not do: verify anything; [`crate::package::publisher`] does.
//!
//! What always holds: each key stands once and says which ids it may publish; signatures are not asked for where nobody's
//! would be taken.

use super::types::PLUGINS_MAX;
use crate::package::capabilities::Capabilities;
use crate::package::publisher::{
    ID_PATTERN_ALLOWED, IDS_MAX, IdPattern, KEYS_MAX, TrustedKey, VerifyMode, VerifyPolicy,
};
use crate::package::signature::{KEY_ALLOWED, PublicKey};
use crate::package::version::Version;
use crate::settings::{JsonSource, Node, Object, Places, members, strings_of};
use crate::state::config_error::quoted;
use crate::state::plugin_config::id_allowed;
use rpc_plugin_wire::PluginId;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

/// The members of `packages` that are read here.
pub(super) const KEYS: [&str; 3] = ["verify", "keys", "minimum"];
/// What is allowed as a version, for error messages.
const VERSION_ALLOWED: &str = "a version as Semantic Versioning 2.0.0 has it, such as 1.2.0";
/// The members of one of `keys`.
const KEY_KEYS: [&str; 3] = ["key", "ids", "capabilities"];

/// Takes `verify` and `keys`.
pub(super) fn verify_of<'a>(source: &mut JsonSource<'a>, object: &mut Object<'a>) -> VerifyPolicy {
    let verify = object.take("verify");
    let mode = verify.as_ref().and_then(|node| mode_of(source, node));
    let node = object.take("keys");
    let nodes = node.and_then(|node| source.array(&node, KEYS_MAX)).unwrap_or_default();
    let mut keys: Vec<TrustedKey> = Vec::new();
    let count = nodes.len();
    for node in nodes {
        let Some(trusted) = key_of(source, &node) else { continue };
        if keys.iter().any(|other| other.key == trusted.key) {
            source.error(&node, format!("key {} stands twice", trusted.key.id()), "each key once");
        }
        keys.push(trusted);
    }
    if let Some(node) = verify
        && mode == Some(VerifyMode::Signature)
        && count == 0
    {
        source.error(
            &node,
            "asks for signatures, and no key is trusted",
            "\"checksums\", or \"keys\" beside it",
        );
    }
    VerifyPolicy::new(mode, keys)
}

fn mode_of<'a>(source: &mut JsonSource<'a>, node: &Node<'a>) -> Option<VerifyMode> {
    let word = source.string(node)?;
    let known = VerifyMode::ALL.iter().find(|(_, known)| *known == word).map(|(mode, _)| *mode);
    if known.is_none() {
        let words = VerifyMode::ALL.iter().map(|(_, word)| *word).collect::<Vec<_>>().join(", ");
        source.error(node, format!("{} is none of them", quoted(&word)), format!("one of {words}"));
    }
    known
}

fn key_of<'a>(source: &mut JsonSource<'a>, node: &Node<'a>) -> Option<TrustedKey> {
    let mut object = source.object(node)?;
    let key = required(source, node, &mut object, "key", KEY_ALLOWED);
    let key = key.and_then(|node| {
        let text = source.string(&node)?;
        let key = PublicKey::from_str(&text);
        key.map_err(|problem| source.error(&node, format!("{} {problem}", quoted(&text)), KEY_ALLOWED)).ok()
    });
    let ids = ids_of(source, node, &mut object);
    let has_capabilities = object.has("capabilities");
    let kinds =
        strings_of(source, &mut object, "capabilities", Capabilities::KINDS.len(), &mut Places::new());
    let mut capabilities = BTreeSet::new();
    for kind in kinds {
        let allowed = Capabilities::KINDS;
        match allowed.into_iter().find(|known| *known == kind) {
            Some(known) => drop(capabilities.insert(known)),
            None => source.error_below(
                node,
                "capabilities",
                format!("{} is none of them", quoted(&kind)),
                allowed.join(", "),
            ),
        }
    }
    source.unknown(&object, KEY_KEYS.into_iter());
    Some(TrustedKey { key: key?, ids, capabilities: has_capabilities.then_some(capabilities) })
}

fn ids_of<'a>(source: &mut JsonSource<'a>, node: &Node<'a>, object: &mut Object<'a>) -> Vec<IdPattern> {
    let mut ids = Vec::new();
    let mut places = Places::new();
    let texts = match object.has("ids") {
        true => strings_of(source, object, "ids", IDS_MAX, &mut places),
        false => {
            source.error_below(node, "ids", "is missing", ID_PATTERN_ALLOWED);
            return ids;
        }
    };
    if texts.is_empty() && places.is_empty() {
        source.error_below(node, "ids", "says no id that the key may publish", ID_PATTERN_ALLOWED);
    }
    for (text, (_, at)) in texts.iter().zip(&places) {
        match text.parse::<IdPattern>() {
            Ok(id) => ids.push(id),
            Err(problem) => source.error(at, problem, ID_PATTERN_ALLOWED),
        }
    }
    ids
}

fn required<'a>(
    source: &mut JsonSource<'a>,
    node: &Node<'a>,
    object: &mut Object<'a>,
    key: &str,
    allowed: &str,
) -> Option<Node<'a>> {
    let found = object.take(key);
    if found.is_none() {
        source.error_below(node, key, "is missing", allowed);
    }
    found
}

/// Takes `minimum`: the least version of each package.
pub(super) fn minimum_of<'a>(
    source: &mut JsonSource<'a>,
    object: &mut Object<'a>,
) -> BTreeMap<PluginId, Version> {
    let mut minimum = BTreeMap::new();
    for (name, node) in members(source, object, "minimum", PLUGINS_MAX) {
        let id = name.parse::<PluginId>().map_err(|error| {
            source.error(&node, format!("plugin id {} {error}", quoted(&name)), id_allowed());
        });
        let version = source.string(&node).and_then(|text| {
            let read = text.parse::<Version>();
            read.map_err(|error| source.error(&node, format!("{}: {error}", quoted(&text)), VERSION_ALLOWED))
                .ok()
        });
        if let (Ok(id), Some(version)) = (id, version) {
            minimum.insert(id, version);
        }
    }
    minimum
}

/// As members of `packages`.
pub(super) fn show(
    policy: &VerifyPolicy,
    minimum: &BTreeMap<PluginId, Version>,
    packages: &mut Map<String, Value>,
) {
    let keys = policy.keys.iter().map(|trusted| {
        let ids = trusted.ids.iter().map(IdPattern::to_string).collect::<Vec<_>>();
        let mut shown = json!({"key": trusted.key.to_string(), "ids": ids});
        if let (Some(capabilities), Some(shown)) = (&trusted.capabilities, shown.as_object_mut()) {
            shown.insert("capabilities".to_owned(), json!(capabilities));
        }
        shown
    });
    packages.insert("verify".to_owned(), policy.mode.to_string().into());
    packages.insert("keys".to_owned(), keys.collect());
    let minimum = minimum.iter().map(|(id, version)| (id.to_string(), version.to_string().into()));
    packages.insert("minimum".to_owned(), minimum.collect::<Map<_, _>>().into());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::config_error::ConfigErrors;
    use std::path::Path;

    const A: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

    fn read(text: &str) -> Result<VerifyPolicy, String> {
        read_all(text).map(|(policy, _)| policy)
    }

    fn read_all(text: &str) -> Result<(VerifyPolicy, BTreeMap<PluginId, Version>), String> {
        let mut source = JsonSource { path: Path::new("c.json"), text, errors: ConfigErrors::default() };
        let root = source.root().unwrap();
        let mut object = source.object(&root).unwrap();
        let policy = verify_of(&mut source, &mut object);
        let minimum = minimum_of(&mut source, &mut object);
        source.unknown(&object, KEYS.into_iter());
        if source.errors.count() == 0 { Ok((policy, minimum)) } else { Err(source.errors.to_string()) }
    }

    fn with(members: &str) -> Result<VerifyPolicy, String> {
        read(&format!("{{\"keys\": [{{\"key\": \"{A}\", {members}}}]}}"))
    }

    #[test]
    fn keys_say_what_they_may_publish_and_are_shown_as_they_were_written() {
        assert_eq!(read("{}").unwrap(), VerifyPolicy::default());
        let policy =
            with("\"ids\": [\"kv\", \"acme-*\"], \"capabilities\": [\"calls\", \"network\"]").unwrap();
        assert_eq!(policy.mode, VerifyMode::Signature);
        let minimum = [("kv".parse().unwrap(), "1.2.0".parse().unwrap())].into();
        let mut shown = Map::new();
        show(&policy, &minimum, &mut shown);
        let expected = json!({"verify": "signature", "keys": [
            {"key": A, "ids": ["kv", "acme-*"], "capabilities": ["calls", "network"]}], "minimum": {"kv": "1.2.0"}});
        assert_eq!(Value::from(shown.clone()), expected);
        assert_eq!(read_all(&Value::from(shown).to_string()).unwrap(), (policy, minimum));
        assert_eq!(
            with("\"ids\": [\"*\"], \"capabilities\": []").unwrap().keys[0].capabilities,
            Some([].into())
        );
        assert_eq!(with("\"ids\": [\"*\"]").unwrap().keys[0].capabilities, None);
        let checksums = read(&format!(
            "{{\"verify\": \"checksums\", \"keys\": [{{\"key\": \"{A}\", \"ids\": [\"*\"]}}]}}"
        ));
        assert_eq!(checksums.unwrap().mode, VerifyMode::Checksums);
    }

    #[test]
    fn what_is_wrong_is_told_where_it_stands() {
        for (told, why) in [
            (read("{\"verify\": \"yes\"}"), "\"yes\" is none of them; allowed: one of checksums, signature"),
            (read("{\"verify\": \"signature\"}"), "asks for signatures, and no key is trusted"),
            (read("{\"verify\": \"signature\", \"keys\": []}"), "asks for signatures, and no key is trusted"),
            (read("{\"minimum\": {\"kv\": \"1\"}}"), "key \"minimum.kv\": \"1\": has 1 number"),
            (read("{\"minimum\": {\"k v\": \"1.0.0\"}}"), "plugin id \"k v\""),
            (read("{\"minimum\": []}"), "is an array; allowed: an object"),
            (read("{\"keys\": {}}"), "is an object; allowed: an array"),
            (read("{\"keys\": [\"x\"]}"), "is a string; allowed: an object"),
            (read("{\"keys\": [{\"ids\": [\"*\"]}]}"), "keys[0].key\": is missing"),
            (read("{\"keys\": [{\"key\": \"x\", \"ids\": [\"*\"]}]}"), "\"x\" is no base64"),
            (with("\"id\": []"), "key \"keys[0].id\": unknown key; did you mean \"ids\"?"),
            (with("\"capabilities\": []"), "key \"keys[0].ids\": is missing"),
            (with("\"ids\": []"), "says no id that the key may publish"),
            (with("\"ids\": [\"a*b\"]"), "ids[0]\": \"a*b\""),
            (
                with("\"ids\": [\"*\"], \"capabilities\": [\"disk\"]"),
                "\"disk\" is none of them; allowed: filesystem, ",
            ),
            (
                read(&format!(
                    "{{\"keys\": [{}]}}",
                    vec![format!("{{\"key\": \"{A}\", \"ids\": [\"*\"]}}"); 2].join(",")
                )),
                "key E7620F1842B4E81F stands twice; allowed: each key once",
            ),
        ] {
            let told = told.unwrap_err();
            assert!(told.contains(why) && told.starts_with("c.json:1: key "), "{why}: {told}");
        }
    }
}
