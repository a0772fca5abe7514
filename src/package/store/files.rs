//! Operations on files and folders of the store, with errors that name the path.

use crate::sys::file_error::FileError;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// The error of that operation on that path.
pub(super) fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    move |error| FileError::io(operation, path, &error)
}

/// Has what a folder says of its entries on the disk.
pub(super) fn sync_folder(path: &Path) -> Result<(), FileError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(failed("sync", path))
}

/// Makes a folder that only our user sees into.
pub(super) fn make_folder(path: &Path) -> Result<(), FileError> {
    fs::DirBuilder::new().mode(0o700).create(path).map_err(failed("make folder", path))
}

/// The names in a folder, in order; none if it is missing.
pub(super) fn names_in(folder: &Path) -> Result<Vec<OsString>, FileError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", folder)(error)),
    };
    let names: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.file_name())).collect();
    let mut names = names.map_err(failed("list", folder))?;
    names.sort_by(|one, other| OsStr::as_bytes(one).cmp(OsStr::as_bytes(other)));
    Ok(names)
}

/// Removes a file, a link or a folder, if it is there. Links are not followed.
pub(super) fn remove_tree(path: &Path) -> Result<(), FileError> {
    let is_folder = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.is_dir(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at", path)(error)),
    };
    if !is_folder {
        return fs::remove_file(path).map_err(failed("remove", path));
    }
    // Whoever is not root can remove nothing from a folder that is read-only.
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(failed("chmod", path))?;
    for entry in fs::read_dir(path).map_err(failed("list", path))? {
        remove_tree(&entry.map_err(failed("list", path))?.path())?;
    }
    fs::remove_dir(path).map_err(failed("remove", path))
}
