//! What an operator asks of a change, and what came of it.

use crate::package::digest::Digest;
use crate::package::publisher::PublisherVerdict;
use crate::package::store::{PackageOrigin, VersionKey};
use crate::state::plugin_config::PluginConfig;
use rpc_plugin_wire::PluginId;
use std::fmt;
use std::path::PathBuf;

/// Most versions of a package that stay in the store.
pub const VERSIONS_MAX: usize = 5;

/// What an operator says of an install.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct InstallOptions {
    /// The digest that the manifest has to have.
    pub expected: Option<Digest>,
    /// Whether the version may be below the active one.
    pub allows_downgrade: bool,
    /// Whether it may be a package that nobody signed, where signatures are not asked for anyway.
    pub allows_unsigned: bool,
    /// Whether the version stays active though it fails.
    pub no_rollback: bool,
    /// Where the package comes from.
    pub origin: PackageOrigin,
}

impl InstallOptions {
    /// Those of an operator, who says what the manifest's digest has to be, and whether it may be below the active version, unsigned, and
    /// kept though it fails.
    #[must_use]
    pub fn new(
        expected: Option<Digest>,
        allows_downgrade: bool,
        allows_unsigned: bool,
        no_rollback: bool,
    ) -> InstallOptions {
        InstallOptions {
            expected,
            allows_downgrade,
            allows_unsigned,
            no_rollback,
            origin: PackageOrigin::Installed,
        }
    }
}

/// What came of an install.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Installed {
    /// The package.
    pub id: PluginId,
    /// The version that is active now.
    pub key: VersionKey,
    /// The one that was active before; the same if nothing has changed.
    pub before: Option<VersionKey>,
    /// Whether the version before may be gone back to if this one fails.
    pub is_on_trial: bool,
    /// Who published it.
    pub verdict: PublisherVerdict,
}

/// A change of the active version.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Activated {
    /// The version that is active now.
    pub key: VersionKey,
    /// The one that was active before; the same if nothing has changed.
    pub before: Option<VersionKey>,
}

/// What is removed of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// The version that somebody means by this, which may not be the active one.
    Version(String),
    /// All versions. What is remembered of it, and what its plugin keeps, stay, as a later install has to be the same publisher's.
    Package,
    /// All versions, what is remembered of it, and what its plugin keeps.
    PackageAndData,
}

/// What the active version of a package is launched with.
#[derive(Debug)]
#[non_exhaustive]
pub struct PackageLaunch {
    /// Its configuration: the manifest's, with the layers around it.
    pub config: PluginConfig,
    /// Whether it is started with the host.
    pub autostart: bool,
}

/// What became of the packages of a set.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct DiscoveredPackages {
    /// What each package that may run is launched with, ordered by id.
    pub launches: Vec<PackageLaunch>,
    /// The packages that do not run, or not as they are on the disk, and folders that cannot be looked into.
    pub invalid: Vec<InvalidPackage>,
}

/// A package that is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidPackage {
    /// Its id, as far as its manifest could be read.
    pub id: Option<PluginId>,
    /// Its folder, with what is not printable escaped. `None` where none of its own is known.
    pub folder: Option<String>,
    /// What is wrong with it.
    pub why: String,
}

/// `ID (FOLDER): WHY`, with what is known of it.
impl fmt::Display for InvalidPackage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.id, &self.folder) {
            (Some(id), Some(folder)) => write!(f, "{id} ({folder}): {}", self.why),
            (Some(id), None) => write!(f, "{id}: {}", self.why),
            (None, Some(folder)) => write!(f, "{folder}: {}", self.why),
            (None, None) => f.write_str(&self.why),
        }
    }
}

/// What is stored of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PackageDetails {
    /// The stored versions, oldest first, each with what it is: `active`, `before`, `pinned`, `healthy` (last), on `trial`.
    pub versions: Vec<(VersionKey, Vec<&'static str>)>,
    /// The folder that is its plugin's own.
    pub data: PathBuf,
    /// What is shown of it until somebody has acknowledged it.
    pub note: Option<String>,
}
