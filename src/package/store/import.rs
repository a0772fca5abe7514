//! Bringing a package into the store: a copy that is hashed as it is made.
//!
//! What it deliberately does not do: judge the manifest. Whoever has read the package judges [`OpenPackage::manifest_bytes`]
//! and [`OpenPackage::signature`] before, and those bytes are what is written.
//!
//! What always holds: nothing is written before all is known to be of the kind and size that it may be; a file that does not
//! have the digest of the judged manifest has not become part of the store. Its owner is our effective user, files are 0444
//! or, where they were executable, 0555, and folders 0555.

use super::Store;
use super::disk::unfinished;
use super::error::StoreError;
use super::files::{failed, make_folder, remove_tree, sync_folder};
use super::stored::{Imported, Progress};
use super::verify::Stamps;
use super::version_key::VersionKey;
use crate::package::digest::Digest;
use crate::package::folder::{FileStamp, FolderFaults, OpenPackage, PIECE_BYTES, other_content};
use crate::package::manifest::{MANIFEST_NAME, SIGNATURE_NAME};
use crate::package::path::PackagePath;
use crate::state::config_error::quoted;
use nix::sys::stat::fstat;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

const FILE_MODE: u32 = 0o444;
const EXECUTABLE_MODE: u32 = 0o555;
const FOLDER_MODE: u32 = 0o555;

impl Store {
    /// Brings a package into the store. It does not become the active version.
    ///
    /// # Errors
    /// What is wrong with its files, or what failed; then nothing of it is in the store.
    pub fn import(&self, package: &OpenPackage, progress: Progress<'_>) -> Result<Imported, StoreError> {
        package.check(&mut |_, _, _| Ok(()))?;
        let id = &package.manifest.id;
        let key = VersionKey::new(&package.manifest.version, &package.digest());
        let path = self.version_path(id, &key);
        if path.exists() {
            match self.verify(id, &key, progress) {
                Ok(stored) if stored.digest == package.digest() => {
                    return Ok(Imported { key, was_stored: true });
                }
                Err(StoreError::Cancelled) => return Err(StoreError::Cancelled),
                // It was damaged, and is replaced.
                _ => {}
            }
        }
        let folder = self.make_package_folder(id)?;
        let new = unfinished(&folder);
        make_folder(&new)?;
        let written = write_package(package, &new, progress).and_then(|stamps| {
            self.put_stamps(id, &key, &stamps)?;
            let damaged = unfinished(&folder);
            if path.exists() {
                fs::rename(&path, &damaged).map_err(failed("rename", &path))?;
            }
            fs::rename(&new, &path).map_err(failed("rename to", &path))?;
            sync_folder(&folder)?;
            Ok(remove_tree(&damaged)?)
        });
        if let Err(error) = written {
            // What cannot be removed now is swept at the next start.
            let _ = remove_tree(&new);
            return Err(error);
        }
        Ok(Imported { key, was_stored: false })
    }
}

/// Writes all of a package into an empty folder, and has it on the disk.
fn write_package(package: &OpenPackage, to: &Path, progress: Progress<'_>) -> Result<Stamps, StoreError> {
    let folders: BTreeSet<&str> = package.files().flat_map(|(path, _, _)| path.folders()).collect();
    // Those above others come before them.
    for folder in &folders {
        make_folder(&to.join(folder))?;
    }
    let total = package.bytes();
    let (mut done, mut piece) = (0, vec![0; PIECE_BYTES]);
    let mut stamps = Stamps::new(package.digest());
    for (path, expected, stamp) in package.files() {
        let mut on = |bytes: usize| {
            done += bytes as u64;
            progress(done, total).is_continue()
        };
        let written = copy_file(package, (path, expected, stamp), &to.join(path), &mut piece, &mut on)?;
        stamps.add(path, written);
    }
    write_file(&to.join(MANIFEST_NAME), &package.manifest_bytes)?;
    if let Some(signature) = &package.signature {
        write_file(&to.join(SIGNATURE_NAME), signature)?;
    }
    for folder in folders.iter().rev().map(|folder| to.join(folder)).chain([to.to_owned()]) {
        let mode = fs::Permissions::from_mode(FOLDER_MODE);
        fs::set_permissions(&folder, mode).map_err(failed("chmod", &folder))?;
        sync_folder(&folder)?;
    }
    Ok(stamps)
}

/// Copies a file of the package, hashing what it writes. `on` is told how much, and says whether to go on.
fn copy_file(
    package: &OpenPackage,
    (path, expected, stamp): (&PackagePath, &Digest, &FileStamp),
    to: &Path,
    piece: &mut [u8],
    on: &mut dyn FnMut(usize) -> bool,
) -> Result<FileStamp, StoreError> {
    let fault = |error: io::Error| {
        StoreError::Package(FolderFaults::Files(vec![format!("{}: {error}", quoted(path.as_str()))], 0))
    };
    let mut file = create(to)?;
    let mut stopped = None;
    let read = package.read_file(path, stamp.length, piece, &mut |bytes| {
        if !on(bytes.len()) {
            stopped = Some(StoreError::Cancelled);
        } else if let Err(error) = file.write_all(bytes) {
            stopped = Some(failed("write", to)(error).into());
        }
        if stopped.is_some() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    });
    if let Some(stopped) = stopped {
        return Err(stopped);
    }
    let (found, seen) = read.map_err(fault)?;
    if seen != *expected {
        return Err(fault(other_content(seen, expected)));
    }
    if *path == package.manifest.entrypoint && !found.is_executable() {
        return Err(fault(io::Error::other("is the entrypoint, and not executable; chmod a+x it")));
    }
    finish(&file, to, if found.is_executable() { EXECUTABLE_MODE } else { FILE_MODE })
}

fn create(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    Ok(options.write(true).create_new(true).mode(0o600).open(path).map_err(failed("make", path))?)
}

fn write_file(path: &Path, content: &[u8]) -> Result<FileStamp, StoreError> {
    let mut file = create(path)?;
    file.write_all(content).map_err(failed("write", path))?;
    finish(&file, path, FILE_MODE)
}

/// Has a written file on the disk, and takes the right to write to it away.
fn finish(file: &File, path: &Path, mode: u32) -> Result<FileStamp, StoreError> {
    file.set_permissions(fs::Permissions::from_mode(mode)).map_err(failed("chmod", path))?;
    file.sync_all().map_err(failed("sync", path))?;
    let stat = fstat(file).map_err(|errno| failed("look at", path)(errno.into()))?;
    Ok(FileStamp::of(&stat))
}
