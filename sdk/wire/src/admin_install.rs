//! The admin interface of what is installed: what changes which versions are stored and active, and what is answered.
//!
//! The methods are those of [`crate::admin_packages`].

use crate::ident::PluginId;
use crate::services::is_false;
use serde::{Deserialize, Serialize};

/// Params of install. The descriptor of the package's folder comes with the request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallParams {
    /// What the folder is called, for messages.
    #[serde(default)]
    pub source: String,
    /// The SHA-256 that the manifest has to have, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The version may be below the active one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub downgrade: bool,
    /// The package need not be signed, where signatures are not asked for anyway.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unsigned: bool,
    /// The version stays active though it fails.
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_rollback: bool,
}

/// Progress of an install.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallProgress {
    /// Bytes that were copied and hashed.
    pub done: u64,
    /// Bytes that there are.
    pub total: u64,
}

/// Params of rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackParams {
    /// The package.
    pub plugin_id: PluginId,
    /// Go back though the active version's manifest says that the one before could not do with its data.
    #[serde(default, skip_serializing_if = "is_false")]
    pub downgrade: bool,
}

/// Params of pin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinParams {
    /// The package.
    pub plugin_id: PluginId,
    /// The version that it is kept at, maybe with `@` and first digits of the manifest's digest; absent: the active one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Let it go on instead.
    #[serde(default, skip_serializing_if = "is_false")]
    pub off: bool,
}

/// Params of remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveParams {
    /// The package.
    pub plugin_id: PluginId,
    /// The version to remove, which may not be the active one; absent: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// With all versions: what its plugin keeps, and what is remembered of the package.
    #[serde(default, skip_serializing_if = "is_false")]
    pub data: bool,
}

/// `result` of install, rollback and pin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivateReply {
    /// The package.
    pub plugin_id: PluginId,
    /// The version that is active now: version, `@` and first digits of its manifest's digest.
    pub version: String,
    /// The one that was active before; the same where nothing has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Whether the version before may be gone back to if this one fails.
    #[serde(default, skip_serializing_if = "is_false")]
    pub on_trial: bool,
    /// Who published it, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<String>,
    /// What was verified, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<String>,
    /// What becomes of its plugin: `restarted`, `added`, `not running`, or why it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
}

/// `result` of remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveReply {
    /// The package.
    pub plugin_id: PluginId,
    /// The versions that were removed.
    pub removed: Vec<String>,
    /// Whether what its plugin kept was removed too.
    #[serde(default, skip_serializing_if = "is_false")]
    pub data: bool,
}

/// A stored version of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredVersion {
    /// Version, `@` and first digits of its manifest's digest.
    pub version: String,
    /// What it is: `active`, `before`, `pinned`, `healthy`, `trial`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub is: Vec<String>,
}

/// `result` of package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageReply {
    /// What is said of it in the list.
    #[serde(flatten)]
    pub status: crate::admin_packages::PackageStatus,
    /// What is stored of it, oldest version first.
    #[serde(default)]
    pub versions: Vec<StoredVersion>,
    /// What it asks to be allowed, a line each.
    #[serde(default)]
    pub asks_for: Vec<String>,
    /// The folder that is its plugin's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// What is shown until it is acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}
