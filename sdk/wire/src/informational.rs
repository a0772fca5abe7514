//! Members of what a plugin says of itself that only inform or whose order does not, and what is said of a name that is
//! none.
//!
//! What this file is for: a version that is a number, or a count that is a text, is no reason to end a plugin. What it
//! deliberately does not do: apply to members that decide something.

use crate::ident::{check_capability, is_reserved};
use crate::limits::CAPABILITIES_MAX;
use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde_json::value::RawValue;
use std::fmt;

/// Reads a member on which nothing depends: what has another type is as good as absent.
pub(crate) fn informational<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).unwrap_or_default())
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
