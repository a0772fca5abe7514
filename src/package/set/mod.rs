//! All packages of a host, and every operation on them: one at a time, on the thread of whoever asks.
//!
//! What this folder is for: what the store, the configuration and the operator say together. What it deliberately does not
//! do: know a host, launch anything, or wait for anything but the disk.

mod change_error;
mod details;
mod install;
#[cfg(test)]
mod kill_tests;
mod outcomes;
#[cfg(test)]
mod tests;

use super::publisher::{VerifyMode, VerifyPolicy};
use super::store::{Store, StoreError};
use super::version::Version;
pub use change_error::{ChangeError, ChangeResult};
pub use outcomes::{Activated, InstallOptions, Installed, PackageDetails, Removal, VERSIONS_MAX};
use rpc_plugin_wire::PluginId;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where packages are, and what is asked of them.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PackageOptions {
    /// The state folder.
    pub state_dir: PathBuf,
    /// What is verified, and whom it trusts.
    pub verify: VerifyPolicy,
    /// The least version of a package that may be installed or gone back to.
    pub minimum: BTreeMap<PluginId, Version>,
}

impl PackageOptions {
    /// Packages that are kept in this state folder.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>) -> PackageOptions {
        PackageOptions { state_dir: state_dir.into(), ..PackageOptions::default() }
    }
}

/// The packages of a host.
#[derive(Debug)]
pub struct PackageSet {
    options: PackageOptions,
    store: Store,
}

impl PackageSet {
    /// Opens the store, which nobody else may have open.
    ///
    /// # Errors
    /// The state folder cannot be used.
    pub fn open(options: PackageOptions) -> Result<PackageSet, StoreError> {
        Ok(PackageSet { store: Store::open(&options.state_dir)?, options })
    }

    /// What a package has to bring before it is taken.
    #[must_use]
    pub fn verify_mode(&self) -> VerifyMode {
        self.options.verify.mode
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }
}
