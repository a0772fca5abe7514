//! Looking whether a stored version is still what was imported.
//!
//! What always holds: a file is hashed again unless it is the one, by device, inode, size and status change (ctime), that was
//! found right before.

use super::Store;
use super::error::StoreError;
use super::files::failed;
use super::stored::{Progress, StoredPackage};
use super::version_key::VersionKey;
use crate::package::digest::Digest;
use crate::package::folder::{FileStamp, FolderFaults, OpenPackage, PIECE_BYTES, other_content};
use crate::package::manifest::{MANIFEST_NAME, Manifest};
use crate::package::path::PackagePath;
use crate::state::plugin_config::PluginConfig;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use rpc_plugin_wire::PluginId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;

/// Variable of a package's plugin: the folder that is its own.
const ENV_DATA_DIR: &str = "RPC_PLUGIN_SYSTEM_PLUGIN_DATA_DIR";
/// Keeps Python from writing into the package.
pub(in crate::package) const ENV_NO_BYTECODE: (&str, &str) = ("PYTHONDONTWRITEBYTECODE", "1");

/// In which state the files of a version were found right.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stamps {
    /// The digest of the manifest that lists them.
    manifest: String,
    /// Device, inode, bytes, and status change in seconds and nanoseconds, by path.
    files: BTreeMap<String, (u64, u64, u64, i64, i64)>,
}

impl Stamps {
    pub(super) fn new(manifest: Digest) -> Stamps {
        Stamps { manifest: manifest.to_string(), files: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, path: &PackagePath, stamp: FileStamp) {
        self.files.insert(path.to_string(), Stamps::entry(&stamp));
    }

    fn has(&self, path: &PackagePath, stamp: &FileStamp) -> bool {
        self.files.get(path.as_str()) == Some(&Stamps::entry(stamp))
    }

    fn entry(stamp: &FileStamp) -> (u64, u64, u64, i64, i64) {
        (stamp.device, stamp.inode, stamp.length, stamp.changed.0, stamp.changed.1)
    }
}

impl Store {
    /// Looks whether a stored version is what was imported.
    ///
    /// # Errors
    /// What is wrong with it, or what failed.
    pub fn verify(
        &self,
        id: &PluginId,
        key: &VersionKey,
        progress: Progress<'_>,
    ) -> Result<StoredPackage, StoreError> {
        let path = self.version_path(id, key);
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let root = open(&path, flags, Mode::empty()).map_err(|errno| failed("open", &path)(errno.into()))?;
        let package = OpenPackage::read(root, &path)?;
        let digest = package.digest();
        if !key.is_of(&digest) || package.manifest.id != *id {
            return Err(StoreError::Manifest(path));
        }
        let known = self.stamps::<Stamps>(id, key).filter(|known| known.manifest == digest.to_string());
        let mut stamps = Stamps::new(digest);
        let (mut hashed, mut done, mut piece) = (0, 0, vec![0; PIECE_BYTES]);
        let (total, mut is_cancelled) = (package.bytes(), false);
        package
            .check(&mut |path, expected, stamp| {
                if known.as_ref().is_some_and(|known| known.has(path, stamp)) {
                    stamps.add(path, *stamp);
                    done += stamp.length;
                    return Ok(());
                }
                if is_cancelled {
                    return Ok(());
                }
                let (found, seen) = package.read_file(path, stamp.length, &mut piece, &mut |bytes| {
                    done += bytes.len() as u64;
                    is_cancelled = progress(done, total).is_break();
                    if is_cancelled { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
                })?;
                if seen != *expected {
                    return Err(other_content(seen, expected));
                }
                hashed += 1;
                stamps.add(path, found);
                Ok(())
            })
            .map_err(|faults| if is_cancelled { StoreError::Cancelled } else { faults.into() })?;
        if hashed > 0 {
            self.put_stamps(id, key, &stamps)?;
        }
        let bytes = package.bytes();
        let OpenPackage { manifest, manifest_bytes, signature, .. } = package;
        Ok(StoredPackage { key: key.clone(), manifest, manifest_bytes, signature, digest, bytes, hashed })
    }

    /// What the manifest of a stored version says. Its files are not looked at.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn manifest(&self, id: &PluginId, key: &VersionKey) -> Result<Manifest, StoreError> {
        let path = self.version_path(id, key).join(MANIFEST_NAME);
        let bytes = std::fs::read(&path).map_err(failed("read", &path))?;
        if !key.is_of(&Digest::of(&bytes)) {
            return Err(StoreError::Manifest(path));
        }
        Manifest::read(&path, &bytes).map_err(|errors| FolderFaults::Manifest(errors).into())
    }

    /// What a stored version is launched with: its executable in the store, in the folder that is the plugin's own.
    ///
    /// # Errors
    /// That folder cannot be used.
    pub fn launch_config(&self, package: &StoredPackage) -> Result<PluginConfig, StoreError> {
        let manifest = &package.manifest;
        let mut config = manifest.config.clone();
        let data = self.data_folder(&manifest.id)?;
        config.executable = self.version_path(&manifest.id, &package.key).join(&manifest.entrypoint);
        config.working_folder.clone_from(&data);
        let (name, value) = ENV_NO_BYTECODE;
        if config.env.iter().all(|(named, _)| named != name) {
            config.env.push((name.into(), value.into()));
        }
        config.env.push((ENV_DATA_DIR.into(), data.into()));
        Ok(config)
    }
}
