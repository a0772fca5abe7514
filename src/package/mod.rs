//! Packages: a folder with a plugin in it, and the manifest that says what it is and what it wants.
//!
//! What this room is for: reading a manifest (pure), holding a folder against it, and keeping what was imported (thin). What it
//! deliberately does not do: launch anything, or enforce what a manifest asks for.

#[cfg(test)]
pub(crate) mod bad_cases;
pub mod capabilities;
pub mod catalogue;
pub mod debounce;
pub mod digest;
mod folder;
pub mod layers;
pub mod manifest;
pub mod path;
pub mod plan;
pub mod publisher;
mod read_capabilities;
pub mod scan;
pub mod set;
pub mod signature;
#[allow(unreachable_pub, reason = "other tests have it by its path")]
mod signer;
pub mod store;
#[cfg(test)]
mod tests;
pub mod trial;
pub mod version;
pub mod watch;

pub use crate::state::config_error::quoted;
pub use folder::{
    FAULTS_MAX, FILE_BYTES_MAX, FolderFaults, OpenPackage, PACKAGE_BYTES_MAX, PackageFolder, read_folder,
    shown_path,
};
pub use manifest::Manifest;
