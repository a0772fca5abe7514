//! What a stored version of a package is called: its version and the first digits of its manifest's digest.
//!
//! What always holds: it is one name of a file, and never `active`; two packages of one version whose manifests differ have
//! different ones.

use crate::package::digest::Digest;
use crate::package::version::Version;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// How many digits of the digest are in it.
const DIGITS: usize = 16;

/// A stored version of a package: `1.2.0@0123456789abcdef`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VersionKey {
    version: Version,
    digits: String,
}

impl VersionKey {
    /// That of a version whose manifest has this digest.
    #[must_use]
    pub fn new(version: &Version, digest: &Digest) -> VersionKey {
        VersionKey { version: version.clone(), digits: digest.to_string().chars().take(DIGITS).collect() }
    }

    /// The version.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Whether a manifest of this digest can be its own.
    #[must_use]
    pub fn is_of(&self, digest: &Digest) -> bool {
        digest.to_string().starts_with(&self.digits)
    }

    /// Whether somebody means it who writes this: its version, maybe with `@` and first digits.
    #[must_use]
    pub fn is_meant_by(&self, text: &str) -> bool {
        let (version, digits) = text.split_once('@').unwrap_or((text, ""));
        self.version.to_string() == version && self.digits.starts_with(digits)
    }
}

impl FromStr for VersionKey {
    type Err = String;

    fn from_str(text: &str) -> Result<VersionKey, String> {
        let allowed = "a version, '@' and 16 hexadecimal digits";
        let (version, digits) = text.split_once('@').ok_or(allowed)?;
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if digits.len() != DIGITS || !digits.bytes().all(is_digit) {
            return Err(allowed.to_owned());
        }
        let version = version.parse::<Version>().map_err(|error| error.to_string())?;
        Ok(VersionKey { version, digits: digits.to_owned() })
    }
}

impl TryFrom<String> for VersionKey {
    type Error = String;

    fn try_from(text: String) -> Result<VersionKey, String> {
        text.parse()
    }
}

impl From<VersionKey> for String {
    fn from(key: VersionKey) -> String {
        key.to_string()
    }
}

impl fmt::Display for VersionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.version, self.digits)
    }
}

/// Older versions first; those of one version by their digits.
impl Ord for VersionKey {
    fn cmp(&self, other: &VersionKey) -> Ordering {
        let by_name = || self.to_string().cmp(&other.to_string());
        self.version.precedence(&other.version).then_with(by_name)
    }
}

impl PartialOrd for VersionKey {
    fn partial_cmp(&self, other: &VersionKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_is_written_and_ordered_by_version() {
        let key = VersionKey::new(&"1.10.0-rc.1+build.5".parse().unwrap(), &Digest::of(b"abc"));
        assert_eq!(key.to_string(), "1.10.0-rc.1+build.5@ba7816bf8f01cfea");
        assert_eq!(key.to_string().parse(), Ok(key.clone()));
        assert!(key.is_of(&Digest::of(b"abc")) && !key.is_of(&Digest::of(b"abd")));
        for text in [
            "active",
            "1.0.0",
            "1.0.0@",
            "1.0@ba7816bf8f01cfea",
            "1.0.0@BA7816BF8F01CFEA",
            "1.0.0@../../../../../..",
        ] {
            assert!(text.parse::<VersionKey>().is_err(), "{text}");
        }
        let older: VersionKey = "1.9.0@ffffffffffffffff".parse().unwrap();
        assert!(older < key && key < "1.10.0@0000000000000000".parse().unwrap());
        assert!(older.is_meant_by("1.9.0") && older.is_meant_by("1.9.0@ff") && !older.is_meant_by("1.9.0@0"));
        assert!(!older.is_meant_by("1.9"));
    }
}
