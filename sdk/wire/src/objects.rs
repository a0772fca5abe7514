//! Members that are objects, for derived readers.
//!
//! What this file is for: what serde derives also takes an array of the members in order, which is no object (protocol
//! section 1).

use crate::envelope::Object;
use serde::{Deserialize, Deserializer};

/// Reads a member that may be absent or null.
pub(crate) fn optional<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    Option::deserialize(from).map(|read| read.map(|Object(value)| value))
}

/// Reads an array of them.
pub(crate) fn each<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Vec::deserialize(from).map(|read| read.into_iter().map(|Object(value)| value).collect())
}
