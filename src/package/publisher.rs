//! Who published a package: which keys are trusted for which ids, and whether an id still has the publisher that it had.
//!
//! What it deliberately does not do: read a file or remember anything; the caller hands in what is bound, and keeps the
//! verdict.
//!
//! What always holds: with `verify: signature` nothing is accepted that no trusted key signed, and no key vouches for an id
//! or a capability that it is not trusted with. Whatever is verified, an id does not change its publisher unless an
//! operator has approved it. Two publishers are the same if they are the same key, not if their keys have the same id; of
//! what nobody signed nobody can tell who made it, so all of it counts as one publisher.

use super::capabilities::words;
use super::digest::Digest;
use super::manifest::{MANIFEST_NAME, Manifest, SIGNATURE_NAME};
use super::signature::{PublicKey, SignatureError, Signed, claimed_key, verify};
use crate::state::config_error::quoted;
use rpc_plugin_wire::PluginId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Most keys that a host trusts.
pub const KEYS_MAX: usize = 64;
/// Most ids and beginnings of ids that one key may publish.
pub const IDS_MAX: usize = 256;

/// What a package has to bring before it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerifyMode {
    /// Files have to be as the manifest lists them.
    Checksums,
    /// The manifest has to be signed by a trusted key as well.
    Signature,
}

/// What digests that nobody signed are worth, in words.
const CHECKSUMS_SHOWN: &str = "checksums: against accidents, not attackers";

words! { VerifyMode: Checksums "checksums", Signature "signature"; }

impl VerifyMode {
    /// What was verified, and whom that protects against.
    #[must_use]
    pub fn shown(self) -> &'static str {
        match self {
            VerifyMode::Checksums => CHECKSUMS_SHOWN,
            VerifyMode::Signature => "signature",
        }
    }
}

/// Which ids a key may publish: one, or all that begin with something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum IdPattern {
    /// This one.
    Id(PluginId),
    /// All that begin so; empty: all.
    Prefix(String),
}

impl IdPattern {
    fn covers(&self, id: &PluginId) -> bool {
        match self {
            IdPattern::Id(one) => one == id,
            IdPattern::Prefix(prefix) => id.as_str().starts_with(prefix),
        }
    }
}

/// What is allowed as a pattern, for error messages.
pub const ID_PATTERN_ALLOWED: &str =
    "a plugin id, or the beginning of ids with a '*' after it, such as \"acme-*\"";

impl FromStr for IdPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<IdPattern, String> {
        let Some(prefix) = text.strip_suffix('*') else {
            return text.parse().map(IdPattern::Id).map_err(|error| format!("{} {error}", quoted(text)));
        };
        // What begins an id is one, but for its length.
        if !prefix.is_empty() && format!("{prefix}x").parse::<PluginId>().is_err() {
            return Err(format!("{} begins no plugin id", quoted(text)));
        }
        Ok(IdPattern::Prefix(prefix.to_owned()))
    }
}

impl fmt::Display for IdPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdPattern::Id(id) => id.fmt(f),
            IdPattern::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// A key, and what its signatures are trusted with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrustedKey {
    /// The key.
    pub key: PublicKey,
    /// Ids of packages that it may publish.
    pub ids: Vec<IdPattern>,
    /// Members of `capabilities` that its packages may ask for; `None`: any.
    pub capabilities: Option<BTreeSet<&'static str>>,
}

impl TrustedKey {
    /// A key that may publish any package.
    #[must_use]
    pub fn of_any_package(key: PublicKey) -> TrustedKey {
        TrustedKey { key, ids: vec![IdPattern::Prefix(String::new())], capabilities: None }
    }
}

/// Who published a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Publisher {
    /// The holder of this key.
    Key(PublicKey),
    /// An unknown one: the package is not signed. The digest is that of its manifest, and says which package it was.
    Unsigned(Digest),
}

impl Publisher {
    /// Whether both are the same, as far as anybody can tell.
    #[must_use]
    pub fn is_same(&self, other: &Publisher) -> bool {
        match (self, other) {
            (Publisher::Key(one), Publisher::Key(other)) => one == other,
            (Publisher::Unsigned(_), Publisher::Unsigned(_)) => true,
            _ => false,
        }
    }

    /// For messages: a key by its number.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Publisher::Key(key) => format!("key {}", key.id()),
            Publisher::Unsigned(digest) => format!("unsigned (sha256:{digest})"),
        }
    }
}

/// As it is kept: `minisign:KEY` or `sha256:DIGEST`.
impl fmt::Display for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Publisher::Key(key) => write!(f, "minisign:{key}"),
            Publisher::Unsigned(digest) => write!(f, "sha256:{digest}"),
        }
    }
}

impl From<Publisher> for String {
    fn from(publisher: Publisher) -> String {
        publisher.to_string()
    }
}

impl TryFrom<String> for Publisher {
    type Error = String;

    fn try_from(text: String) -> Result<Publisher, String> {
        text.parse()
    }
}

impl FromStr for Publisher {
    type Err = String;

    fn from_str(text: &str) -> Result<Publisher, String> {
        let wrong = || format!("{} is no publisher", quoted(text));
        match text.split_once(':') {
            Some(("minisign", key)) => key.parse().map(Publisher::Key).map_err(|_| wrong()),
            Some(("sha256", digest)) => Digest::from_hex(digest).map(Publisher::Unsigned).ok_or_else(wrong),
            _ => Err(wrong()),
        }
    }
}

/// What was found out about a package that is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublisherVerdict {
    /// Its publisher.
    pub publisher: Publisher,
    /// The trusted comment of its signature.
    pub comment: Option<String>,
    /// Whether its id had another publisher, of whose data and user it gets nothing.
    pub replaces_publisher: bool,
    /// The signature beside it that counts for nothing, because its key is not trusted.
    pub unchecked: Option<String>,
}

/// Why a package is refused for who published it. What is wrong with its files is told by whoever reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It is not signed, and has to be.
    Unsigned {
        /// The keys that could have signed it.
        trusted: Vec<String>,
    },
    /// Its signature does not vouch for it.
    Signature(SignatureError),
    /// Its key is not trusted with its id.
    Id {
        /// The package's id.
        id: PluginId,
        /// The key's number.
        key: String,
        /// What the key may publish.
        allowed: Vec<IdPattern>,
    },
    /// Its key is not trusted with what it asks for.
    Capability {
        /// The package's id.
        id: PluginId,
        /// The key's number.
        key: String,
        /// What it asks for, and its key's packages may not.
        asked: &'static str,
        /// What they may.
        allowed: BTreeSet<&'static str>,
    },
    /// Its id belongs to another publisher.
    OtherPublisher {
        /// The package's id.
        id: PluginId,
        /// The publisher that the id has had.
        bound: Publisher,
        /// The publisher of this package.
        seen: Publisher,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Unsigned { trusted } if trusted.is_empty() => write!(
                f,
                "{SIGNATURE_NAME}: is missing; expected a signature by a trusted key, and none is trusted; name one in \
                 \"keys\", or set \"verify\" to \"checksums\", which protects against accidents, not attackers"
            ),
            Refusal::Unsigned { trusted } => write!(
                f,
                "{SIGNATURE_NAME}: is missing; expected a signature by one of key {}; sign the package with `minisign -S -m \
                 {MANIFEST_NAME}`, or set \"verify\" to \"checksums\", which protects against accidents, not attackers",
                trusted.join(", ")
            ),
            Refusal::Signature(error) => error.fmt(f),
            Refusal::Id { id, key, allowed } => {
                let allowed = allowed.iter().map(IdPattern::to_string).collect::<Vec<_>>().join(", ");
                write!(
                    f,
                    "{MANIFEST_NAME}: id {:?} is not one that key {key} may publish; expected {allowed}",
                    id.as_str()
                )
            }
            Refusal::Capability { id, key, asked, allowed } => {
                let allowed = match allowed.is_empty() {
                    true => "nothing".to_owned(),
                    false => allowed.iter().copied().collect::<Vec<_>>().join(", "),
                };
                write!(
                    f,
                    "{MANIFEST_NAME}: {id} asks for {asked:?}; expected of packages of key {key}: {allowed}"
                )
            }
            Refusal::OtherPublisher { id, bound, seen } => write!(
                f,
                "{MANIFEST_NAME}: {id} belongs to another publisher; expected {}, seen {}; `rpcpluginctl approve {id} \
                 --new-publisher` lets it be replaced, and the new one gets neither data nor user of the one before",
                bound.shown(),
                seen.shown()
            ),
        }
    }
}

impl std::error::Error for Refusal {}

/// What a host verifies, and whom it trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyPolicy {
    /// What a package has to bring.
    pub mode: VerifyMode,
    /// The keys that are trusted.
    pub keys: Vec<TrustedKey>,
}

impl Default for VerifyPolicy {
    fn default() -> VerifyPolicy {
        VerifyPolicy::new(None, Vec::new())
    }
}

impl VerifyPolicy {
    /// What is verified with these keys. Unless said otherwise, signatures where there are keys.
    #[must_use]
    pub fn new(mode: Option<VerifyMode>, keys: Vec<TrustedKey>) -> VerifyPolicy {
        let usual = if keys.is_empty() { VerifyMode::Checksums } else { VerifyMode::Signature };
        VerifyPolicy { mode: mode.unwrap_or(usual), keys }
    }

    /// Decides whether a package is taken for who published it. `bytes` are those that its manifest was read from; `bound`
    /// is the publisher that its id has had so far; `allows_new_publisher` says that an operator approved another.
    ///
    /// # Errors
    /// Why it is not.
    pub(crate) fn judge(
        &self,
        manifest: &Manifest,
        bytes: &[u8],
        signature: Option<&[u8]>,
        bound: Option<&Publisher>,
        allows_new_publisher: bool,
    ) -> Result<PublisherVerdict, Refusal> {
        let (publisher, comment, unchecked) = match self.signed(bytes, signature)? {
            FoundSignature::Signed(signed) => {
                self.check_trust(manifest, signed.key)?;
                (Publisher::Key(signed.key.clone()), Some(signed.comment), None)
            }
            FoundSignature::Unsigned(unchecked) => (Publisher::Unsigned(Digest::of(bytes)), None, unchecked),
        };
        let replaces_publisher = bound.is_some_and(|bound| !bound.is_same(&publisher));
        if let Some(bound) = bound
            && replaces_publisher
            && !allows_new_publisher
        {
            let (id, bound) = (manifest.id.clone(), bound.clone());
            return Err(Refusal::OtherPublisher { id, bound, seen: publisher });
        }
        Ok(PublisherVerdict { publisher, comment, replaces_publisher, unchecked })
    }

    /// Checks the signature, if it is one that has to be or can be checked.
    fn signed(&self, bytes: &[u8], signature: Option<&[u8]>) -> Result<FoundSignature<'_>, Refusal> {
        let is_needed = self.mode == VerifyMode::Signature;
        let Some(signature) = signature else {
            if is_needed {
                let trusted = self.keys.iter().map(|trusted| trusted.key.id().to_string()).collect();
                return Err(Refusal::Unsigned { trusted });
            }
            return Ok(FoundSignature::Unsigned(None));
        };
        let claimed = claimed_key(signature).map_err(Refusal::Signature)?;
        let is_known = self.keys.iter().any(|trusted| trusted.key.id() == claimed);
        if !is_needed && !is_known {
            // Whoever made it is nobody that is known here: it is worth what no signature is.
            return Ok(FoundSignature::Unsigned(Some(format!("of key {claimed}, which is not trusted"))));
        }
        let keys = self.keys.iter().map(|trusted| &trusted.key);
        verify(signature, bytes, keys).map(FoundSignature::Signed).map_err(Refusal::Signature)
    }

    fn check_trust(&self, manifest: &Manifest, key: &PublicKey) -> Result<(), Refusal> {
        let Some(trusted) = self.keys.iter().find(|trusted| trusted.key == *key) else { return Ok(()) };
        let (id, number) = (&manifest.id, key.id().to_string());
        if !trusted.ids.iter().any(|pattern| pattern.covers(id)) {
            return Err(Refusal::Id { id: id.clone(), key: number, allowed: trusted.ids.clone() });
        }
        if let Some(allowed) = &trusted.capabilities
            && let Some(asked) = manifest.capabilities.kinds().find(|kind| !allowed.contains(kind))
        {
            return Err(Refusal::Capability { id: id.clone(), key: number, asked, allowed: allowed.clone() });
        }
        Ok(())
    }
}

/// What stands beside a manifest.
enum FoundSignature<'k> {
    Signed(Signed<'k>),
    /// Nothing that counts; and what there is instead.
    Unsigned(Option<String>),
}

#[cfg(test)]
#[path = "publisher_tests.rs"]
mod tests;
