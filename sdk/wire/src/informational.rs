//! Members of what a plugin says of itself that only inform or whose order does not, and what is said of a name that is
//! none.
//!
//! What this file is for: a version that is a number, or a count that is a text, is no reason to end a plugin. What it
//! deliberately does not do: apply to members that decide something.

use crate::ident::{check_capability, is_reserved};
use crate::limits::CAPABILITIES_MAX;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer};
use serde_json::value::RawValue;
use std::fmt;

/// Reads a member on which nothing depends: what has another type is as good as absent.
pub(crate) fn informational<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    of_type(deserializer).map(Option::unwrap_or_default)
}

/// Reads a member as a `T`; `None` where it has another type.
fn of_type<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

/// Reads whether a member has another type than `T`.
fn is_other<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<bool, D::Error> {
    of_type::<D, T>(deserializer).map(|read| read.is_none())
}

/// Whether the members that only inform have another type than they are to have, of all that a plugin says of itself.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Informational {
    #[serde(deserialize_with = "is_other::<_, String>")]
    version: bool,
    #[serde(deserialize_with = "is_other::<_, String>")]
    sdk: bool,
    #[serde(deserialize_with = "is_other::<_, u64>")]
    uptime_ms: bool,
    #[serde(deserialize_with = "is_other::<_, u64>")]
    work_count: bool,
    #[serde(deserialize_with = "is_other::<_, Option<u64>>")]
    last_success_unix_ms: bool,
    #[serde(deserialize_with = "is_other::<_, u64>")]
    error_count: bool,
}

/// Returns the members of a hello that are ignored: they only inform, and have another type than they are to have.
#[must_use]
pub fn ignored_of_hello(hello: Option<&RawValue>) -> Vec<&'static str> {
    let said = read(hello);
    named([("version", said.version), ("sdk", said.sdk)])
}

/// Returns the members of a heartbeat that are ignored, as [`ignored_of_hello`] does those of a hello.
#[must_use]
pub fn ignored_of_heartbeat(heartbeat: &RawValue) -> Vec<&'static str> {
    let said = read(Some(heartbeat));
    named([
        ("uptime_ms", said.uptime_ms),
        ("work_count", said.work_count),
        ("last_success_unix_ms", said.last_success_unix_ms),
        ("error_count", said.error_count),
    ])
}

fn read(said: Option<&RawValue>) -> Informational {
    said.and_then(|said| serde_json::from_str(said.get()).ok()).unwrap_or_default()
}

fn named<const N: usize>(members: [(&'static str, bool); N]) -> Vec<&'static str> {
    members.into_iter().filter(|(_, is_ignored)| *is_ignored).map(|(name, _)| name).collect()
}

/// Reads a list of which order and repetition mean nothing: sorted, each once.
pub(crate) fn as_set<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let mut names = Vec::<String>::deserialize(deserializer)?;
    // Of a list that is too long its length is told, as it came.
    if names.len() <= CAPABILITIES_MAX {
        names.sort_unstable();
        names.dedup();
    }
    Ok(names)
}

/// Says what a capability or interface name is, of one that is none; and of one that the protocol has, that it is.
pub(crate) fn not_a_capability(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    if is_reserved(name) && check_capability(name).is_ok() {
        return write!(
            f,
            "{name:?} cannot be a capability: methods of `host`, `plugin`, `admin` and `rpc` are the protocol's own, and no \
             call of one would reach the plugin; call it otherwise"
        );
    }
    write!(
        f,
        "{name:?} is not a capability or interface name: 1 to 64 letters, digits, '.', '_', '-'; a method belongs to the \
         capability that is its name, or its beginning before a '.', '/' or ':'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_another_type_are_named_and_others_are_not() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let hello = raw(r#"{"version": 1, "sdk": "x", "uptime_ms": "no member of a hello", "more": []}"#);
        assert_eq!(ignored_of_hello(Some(&hello)), ["version"]);
        assert!(
            ignored_of_hello(Some(&raw(r#"{"version": "1"}"#))).is_empty()
                && ignored_of_hello(None).is_empty()
        );
        let heartbeat =
            raw(r#"{"uptime_ms": -1, "work_count": 1.5, "last_success_unix_ms": null, "error_count": "2"}"#);
        assert_eq!(ignored_of_heartbeat(&heartbeat), ["uptime_ms", "work_count", "error_count"]);
        assert!(ignored_of_heartbeat(&raw("[]")).is_empty() && ignored_of_heartbeat(&raw("7")).is_empty());
    }
}
