//! The admin interface of packages: what a control client asks a daemon that keeps them, and what it answers.
//!
//! Frames, envelope and error codes are those of [`crate::admin`]. A host that keeps no packages answers each of these
//! methods with `method_not_found`.

use crate::ident::PluginId;
use crate::services::is_false;
use serde::{Deserialize, Serialize};

/// `{}` → [`PackageList`].
pub const METHOD_PACKAGES: &str = "admin.packages";
/// [`PluginRef`](crate::admin::PluginRef) → everything that is known of one package.
pub const METHOD_PACKAGE: &str = "admin.package";
/// Installs the folder whose descriptor comes with the request.
pub const METHOD_INSTALL: &str = "admin.install";
/// Removes a version of a package, or all of them.
pub const METHOD_REMOVE: &str = "admin.remove";
/// Goes back to the version of a package that was active before.
pub const METHOD_ROLLBACK: &str = "admin.rollback";
/// Keeps a package at a version, or lets it go on.
pub const METHOD_PIN: &str = "admin.pin";
/// `{}` → [`PackageList`], once every folder of `plugins_dirs` has been looked at anew.
pub const METHOD_RESCAN: &str = "admin.rescan";
/// Binds a package to another publisher.
pub const METHOD_APPROVE_PUBLISHER: &str = "admin.approve_publisher";
/// Lets a package that was disabled start again.
pub const METHOD_ENABLE: &str = "admin.enable";
/// Stops a package, and keeps it stopped across restarts of the daemon.
pub const METHOD_DISABLE: &str = "admin.disable";
/// Removes what is shown of a package until somebody has seen it.
pub const METHOD_ACKNOWLEDGE: &str = "admin.acknowledge";

/// Every admin method of packages.
pub const METHODS: &[&str] = &[
    METHOD_PACKAGES,
    METHOD_PACKAGE,
    METHOD_INSTALL,
    METHOD_REMOVE,
    METHOD_ROLLBACK,
    METHOD_PIN,
    METHOD_RESCAN,
    METHOD_APPROVE_PUBLISHER,
    METHOD_ENABLE,
    METHOD_DISABLE,
    METHOD_ACKNOWLEDGE,
];

/// Whether a method of [`METHODS`] changes something: then it is put on record, with who asked for it.
#[must_use]
pub fn acts(method: &str) -> bool {
    !matches!(method, METHOD_PACKAGES | METHOD_PACKAGE)
}

/// Where a package is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PackageSource {
    /// It was installed into the store.
    Store,
    /// It was found in a folder of `plugins_dirs`.
    PluginsDir,
}

/// What holds of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PackageState {
    /// Its plugin is in the host's care.
    Active,
    /// Its files are others than those that were imported, which run on.
    Changed,
    /// It was found in a folder, and is not imported yet.
    Found,
    /// It may not run; [`PackageStatus::reason`] says why.
    Invalid,
    /// An operator has disabled it.
    Disabled,
    /// Its folder has gone, and what was imported of it runs on.
    Gone,
}

/// A file of a package that is another than the one that was imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedFile {
    /// Its path within the package.
    pub path: String,
    /// SHA-256 of the one that was imported, in hex; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// SHA-256 of the one that is there now, in hex; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
}

/// One package in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageStatus {
    /// Its id; absent where its manifest cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_id: Option<PluginId>,
    /// Its version; absent where its manifest cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Its type, where it says one.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Where it is from.
    pub source: PackageSource,
    /// The folder that it was found in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// What holds of it.
    pub state: PackageState,
    /// Who published it, in words: a key's id, or `unsigned`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<String>,
    /// What was verified, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<String>,
    /// Why it is in that state, where that needs a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Files that have changed on disk since it was imported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<ChangedFile>,
}

/// `result` of enable and disable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchReply {
    /// What becomes of its plugin, in words.
    pub plugin: String,
}

/// `result` of packages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageList {
    /// Ordered by id, those without one last; what runs before what does not.
    pub packages: Vec<PackageStatus>,
    /// Folders in which packages are looked for that cannot be used, each with why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// Whether folders have changed that are not looked at yet.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unsettled: bool,
}
