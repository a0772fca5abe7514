//! Packages for a program that embeds a host: plugins in folders of their own, verified and copied before they run.
//!
//! What this file is for: [`Host::discover`] and [`Host::add_packages`], and the types that they are told with. What it
//! deliberately does not do: watch folders, or go back from versions that fail; `rpcplugind` does.
//!
//! What always holds: what runs is what was verified, a copy in the store; an invalid package keeps no others from running.

#[doc(inline)]
pub use crate::package::FolderFaults;
#[doc(inline)]
pub use crate::package::publisher::{IdPattern, TrustedKey, VerifyMode, VerifyPolicy};
#[doc(inline)]
pub use crate::package::set::{
    DiscoveredPackages, InvalidPackage, PackageLaunch, PackageOptions, PackageSet,
};
#[doc(inline)]
pub use crate::package::signature::{KeyId, PublicKey};
#[doc(inline)]
pub use crate::package::store::StoreError;
#[doc(inline)]
pub use crate::package::version::{Version, VersionError};
#[doc(inline)]
pub use crate::sys::state_dir::StateDirError;

use super::{Host, HostError, PluginHandle};
use std::path::Path;

/// The store of [`Host::discover`] below the runtime folder; no plugin's id has an `@`.
const STORE: &str = "@packages";

/// What became of the packages that a host was to take.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct AddedPackages {
    /// The plugins that are in the host's care now, ordered by id. They are down until they are started.
    pub plugins: Vec<PluginHandle>,
    /// What was not added, or not as it is on the disk, and why.
    pub invalid: Vec<InvalidPackage>,
}

impl Host {
    /// Takes the packages of a folder into care: each folder in it with a `plugin.json` whose files have the SHA-256 that
    /// the manifest lists. They are down until they are started. The folder, and what is in it, has to be root's or our
    /// user's, and nobody else's to change.
    ///
    /// Packages are copied into `@packages` below the runtime folder, and run from there; with [`Host::temporary`] that goes with the
    /// host. Signatures are not asked for. For another place, or for keys, see [`Host::add_packages`].
    ///
    /// # Errors
    /// The store cannot be used, or the host has ended. What is wrong with one package, or with the folder, is listed.
    pub fn discover(&self, folder: impl AsRef<Path>) -> Result<AddedPackages, HostError> {
        let folder =
            std::path::absolute(folder).map_err(|error| HostError::Setup("folder of packages", error))?;
        let options = PackageOptions::new(self.runtime_dir().join(STORE))
            .with(|options| options.plugins_dirs = vec![folder]);
        let mut set = PackageSet::open(options).map_err(store_error)?;
        self.add_packages(&mut set)
    }

    /// Takes the packages of a set into care, as [`PackageSet::discover`] finds them. They are down until they are started. One
    /// whose id this host has already is listed as invalid.
    ///
    /// The store has to stay as long as the host does; the set may be dropped.
    ///
    /// # Errors
    /// The store cannot be used, or the host has ended. What is wrong with one package is listed.
    pub fn add_packages(&self, set: &mut PackageSet) -> Result<AddedPackages, HostError> {
        let DiscoveredPackages { launches, invalid } = set.discover().map_err(store_error)?;
        let mut added = AddedPackages { plugins: Vec::new(), invalid };
        for PackageLaunch { config, .. } in launches {
            let id = config.id.clone();
            match self.add(config) {
                Ok(plugin) => added.plugins.push(plugin),
                Err(error @ (HostError::Ended | HostError::Busy)) => return Err(error),
                Err(error) => {
                    added.invalid.push(InvalidPackage { id: Some(id), folder: None, why: error.to_string() });
                }
            }
        }
        Ok(added)
    }
}

fn store_error(error: StoreError) -> HostError {
    HostError::Setup("store of packages", std::io::Error::other(error))
}
