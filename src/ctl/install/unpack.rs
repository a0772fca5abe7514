//! Unpacking of an archive that was found to be good.
//!
//! What it deliberately does not do: judge anything; keep modes but for who may execute, owners or times.
//!
//! What always holds: it writes into a folder that it has made itself, which nobody but its user can enter, and makes every
//! file and folder anew there. It writes no more bytes than the archive was found to have.

use super::archive::{Bounds, Contents, read_archive};
use super::archive_error::ArchiveError;
use crate::package::digest::Digest;
use crate::package::quoted;
use crate::sys::temporary::TemporaryFolder;
use nix::sys::statvfs::statvfs;
use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The name of the package's folder.
const NAME: &str = "package";

/// A package that was unpacked. It goes when this is dropped.
pub(in crate::ctl) struct Unpacked {
    folder: TemporaryFolder,
    /// That of the archive's bytes as they were read while it was unpacked.
    pub(super) digest: Option<Digest>,
}

impl Unpacked {
    /// The package's folder.
    pub(in crate::ctl) fn path(&self) -> PathBuf {
        self.folder.path().join(NAME)
    }
}

/// Unpacks an archive with these contents.
pub(super) fn unpack(
    archive: &mut dyn Read,
    contents: &Contents,
    top: &str,
    bounds: Bounds,
) -> Result<Unpacked, ArchiveError> {
    let folder = TemporaryFolder::new("rpcpluginctl").map_err(ArchiveError::of_writing)?;
    check_space(folder.path(), contents.bytes)?;
    let mut unpacked = Unpacked { folder, digest: None };
    let package = unpacked.path();
    make_folder(&package).map_err(ArchiveError::of_writing)?;
    for path in &contents.folders {
        if let Some(path) = path.as_str().strip_prefix(top) {
            make_folder(&package.join(path)).map_err(ArchiveError::of_writing)?;
        }
    }
    let bounds = Bounds { bytes: contents.bytes, files: contents.files.len(), ..bounds };
    let read = read_archive(archive, bounds, &mut |path, file, content| {
        let path = path.as_str().strip_prefix(top).ok_or("was not there before")?;
        write(&package.join(path), content, file.is_executable).map_err(|error| error.to_string())
    })?;
    unpacked.digest = read.digest;
    Ok(unpacked)
}

fn write(path: &Path, content: &mut dyn Read, is_executable: bool) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    io::copy(content, &mut file)?;
    file.set_permissions(Permissions::from_mode(if is_executable { 0o755 } else { 0o644 }))
}

/// Makes a folder and those above it, where they are not there yet.
fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(path)
}

fn check_space(folder: &Path, bytes: u64) -> Result<(), ArchiveError> {
    let Ok(free) = statvfs(folder) else { return Ok(()) };
    let free = free.blocks_available().saturating_mul(free.fragment_size());
    if bytes <= free {
        return Ok(());
    }
    let folder = quoted(&folder.parent().unwrap_or(folder).to_string_lossy());
    Err(ArchiveError::new(format!(
        "needs {bytes} bytes to be unpacked, and {folder} has {free}; TMPDIR names another folder"
    )))
}
