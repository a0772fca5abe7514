//! What the store hands out of what is in it.

use super::version_key::VersionKey;
use crate::package::digest::Digest;
use crate::package::manifest::Manifest;
use std::ops::ControlFlow;

/// Is told how many bytes of how many are done, and says whether to go on.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>;

/// A package that is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// What it is called there.
    pub key: VersionKey,
    /// Whether it was there already, and is what it was.
    pub was_stored: bool,
}

/// A stored version that is what was imported.
#[derive(Debug)]
#[non_exhaustive]
pub struct StoredPackage {
    /// What it is called.
    pub key: VersionKey,
    /// What its manifest says.
    pub manifest: Manifest,
    /// The manifest as it was read.
    pub manifest_bytes: Vec<u8>,
    /// The signature as it was read, if there is one.
    pub signature: Option<Vec<u8>>,
    /// That of the manifest's bytes, which stands for the whole package.
    pub digest: Digest,
    /// Its files together. Bytes.
    pub bytes: u64,
    /// How many of its files were hashed; the others are those that were found right before.
    pub hashed: usize,
}
