//! The store: versions of packages that were imported, which of them is active, and what is remembered of each package.
//!
//! What this folder is for: the state folder, as `docs/packages.md` has it. What it deliberately does not do: judge whose a
//! package is, or whether a version may follow another one; launch anything.
//!
//! What always holds: what is in the store under a version's name is complete, was read once, and is what the manifest
//! lists that was judged; which version is active changes by one rename(2). A crash leaves what was before or what comes
//! after, and the next [`Store::open`] clears away the rest.

mod disk;
mod error;
mod files;
mod import;
mod record;
mod stored;
#[cfg(test)]
mod swap_tests;
#[cfg(test)]
pub(super) mod tests;
mod verify;
mod version_key;

use crate::sys::private_folder::PrivateFolder;
use crate::sys::state_dir::StateDir;
pub use error::StoreError;
pub use record::{OnTrial, PackageOrigin, Record, Stays};
use std::os::fd::OwnedFd;
pub use stored::{Imported, Progress, StoredPackage};
pub(super) use verify::ENV_NO_BYTECODE;
pub use version_key::VersionKey;

/// An open, locked store.
#[derive(Debug)]
pub struct Store {
    state: StateDir,
    store: OwnedFd,
    data: OwnedFd,
    records: PrivateFolder,
}
