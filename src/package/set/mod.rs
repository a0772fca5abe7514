//! All packages of a host, and every operation on them: one at a time, on the thread of whoever asks.
//!
//! What this folder is for: what the store, the configuration and the operator say together. What it deliberately does not
//! do: know a host, launch anything, or wait for anything but the disk.

mod change_error;
mod details;
mod discover;
mod found;
#[cfg(test)]
mod found_tests;
mod install;
#[cfg(test)]
mod kill_tests;
mod outcomes;
#[cfg(test)]
mod tests;

use super::digest::Digest;
use super::manifest::Manifest;
use super::publisher::{VerifyMode, VerifyPolicy};
use super::scan::PackageFolders;
use super::store::{Store, StoreError, VersionKey};
use super::version::Version;
use crate::settings::{AcceptedTypes, PackageOverrides};
use crate::state::policy::Policy;
pub use change_error::{ChangeError, ChangeResult};
pub use outcomes::{
    Activated, DiscoveredPackages, InstallOptions, Installed, InvalidPackage, PackageDetails, PackageLaunch,
    Removal, VERSIONS_MAX,
};
use rpc_plugin_wire::PluginId;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Where packages are, and what is asked of them. [`PackageOptions::new`] makes one, of which [`PackageOptions::with`] changes what differs.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PackageOptions {
    /// The folder in which packages, what is remembered of them and what their plugins keep are stored: absolute, our user's, on a
    /// file system that lets programs run. One process has it open at a time. It is made (0711) if it is missing.
    pub state_dir: PathBuf,
    /// What is verified, and whom it trusts.
    pub verify: VerifyPolicy,
    /// The least version of a package that may be installed or gone back to.
    pub minimum: BTreeMap<PluginId, Version>,
    /// The folders in which packages are looked for: absolute, each folder in one with a `plugin.json` is a package.
    pub plugins_dirs: Vec<PathBuf>,
    /// The types of packages that are accepted; `None`: any.
    pub(crate) types: AcceptedTypes,
    /// Ids of plugins that are no packages. They win over packages.
    pub configured: BTreeSet<PluginId>,
    /// The policy of a plugin that says nothing of its own.
    pub defaults: Policy,
    /// What the operator says of single packages.
    pub(crate) overrides: Vec<PackageOverrides>,
}

impl PackageOptions {
    /// Packages that are kept in this state folder. None are looked for elsewhere, and no key is trusted.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>) -> PackageOptions {
        PackageOptions { state_dir: state_dir.into(), ..PackageOptions::default() }
    }

    /// The same with some of it changed.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut PackageOptions)) -> PackageOptions {
        change(&mut self);
        self
    }
}

/// The packages of a host.
#[derive(Debug)]
pub struct PackageSet {
    options: PackageOptions,
    store: Store,
    folders: PackageFolders,
    /// The host's own version.
    host: Version,
    /// The active versions, as they were read last.
    stored: BTreeMap<PluginId, StoredManifest>,
    /// Folders that could not be imported.
    failed: BTreeMap<PathBuf, FailedImport>,
}

/// Why a folder could not be imported.
#[derive(Debug)]
struct FailedImport {
    /// That of the manifest it had.
    digest: Digest,
    why: String,
    /// It is what packages require of each other, which other packages may mend.
    is_unmet: bool,
}

/// What is known of an active version.
#[derive(Debug)]
struct StoredManifest {
    key: VersionKey,
    /// What its manifest says, or what is wrong with what is stored.
    manifest: Result<Manifest, String>,
}

impl PackageSet {
    /// Opens the store, which nobody else may have open.
    ///
    /// # Errors
    /// The state folder cannot be used.
    pub fn open(options: PackageOptions) -> Result<PackageSet, StoreError> {
        let host = env!("CARGO_PKG_VERSION").parse().map_err(|error| {
            StoreError::Record(PathBuf::from("the host's own version"), format!("{error}"))
        })?;
        Ok(PackageSet {
            store: Store::open(&options.state_dir)?,
            folders: PackageFolders::new(options.plugins_dirs.clone()),
            options,
            host,
            stored: BTreeMap::new(),
            failed: BTreeMap::new(),
        })
    }

    /// What a package has to bring before it is taken.
    #[must_use]
    pub(crate) fn verify_mode(&self) -> VerifyMode {
        self.options.verify.mode
    }

    /// The store.
    #[must_use]
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }
}
