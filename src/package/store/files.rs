//! Operations on files and folders of the store, with errors that name the path.

use crate::sys::file_error::FileError;
use nix::NixPath;
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::{CStr, OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
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

/// Removes a file, a link or a folder, if it is there. No link is followed, whoever puts one there meanwhile, and it takes two
/// open folders and no more stack however deep the folder is: what a plugin keeps is as deep as the plugin makes it.
pub(super) fn remove_tree(path: &Path) -> Result<(), FileError> {
    let is_folder = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.is_dir(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at", path)(error)),
    };
    if !is_folder {
        return fs::remove_file(path).map_err(failed("remove", path));
    }
    let emptied = open_to_empty(AT_FDCWD, path).and_then(|top| {
        // What was moved up while the folder was listed may not have been in the list.
        while empty(&top)? {}
        Ok(())
    });
    emptied.map_err(|errno| failed("empty", path)(errno.into()))?;
    fs::remove_dir(path).map_err(failed("remove", path))
}

/// Removes what is in a folder, but moves the folders of its folders up into it. Whether there was anything.
fn empty(top: &OwnedFd) -> nix::Result<bool> {
    let mut has_any = false;
    for_each_name(top, |name, is_folder| {
        has_any = true;
        if !is_folder {
            return unlinkat(top, name, UnlinkatFlags::NoRemoveDir);
        }
        let folder = open_to_empty(top, name)?;
        for_each_name(&folder, |name, is_folder| {
            if !is_folder {
                return unlinkat(&folder, name, UnlinkatFlags::NoRemoveDir);
            }
            // Its entry `..` changes, which whoever is not root has to be allowed to write.
            drop(open_to_empty(&folder, name)?);
            renameat(&folder, name, top, &*format!(".{:016x}", fastrand::u64(..)))
        })?;
        match unlinkat(top, name, UnlinkatFlags::RemoveDir) {
            // A folder that changes while it is listed may have been listed in part.
            Err(Errno::ENOTEMPTY) => Ok(()),
            removed => removed,
        }
    })?;
    Ok(has_any)
}

/// Opens a folder so that our user may remove what is in it: whoever is not root can remove nothing from one that is read-only.
fn open_to_empty<P: ?Sized + NixPath>(parent: impl AsFd, name: &P) -> nix::Result<OwnedFd> {
    fchmodat(&parent, name, Mode::S_IRWXU, FchmodatFlags::NoFollowSymlink)?;
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// Hands over each name in a folder, and whether it is a folder's.
fn for_each_name(folder: &OwnedFd, mut take: impl FnMut(&CStr, bool) -> nix::Result<()>) -> nix::Result<()> {
    for entry in Dir::openat(folder, ".", OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let is_folder = match entry.file_type() {
            Some(kind) => kind == Type::Directory,
            // A file system that does not say.
            None => {
                let stat = fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
                SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
            }
        };
        take(name, is_folder)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::folder;
    use nix::fcntl::open;
    use nix::sys::stat::mkdirat;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::fs::symlink;

    /// Deeper than a path can be, than there are descriptors, and than a thread has stack for.
    #[test]
    fn a_folder_is_removed_however_deep_it_is_and_no_link_is_followed() {
        let root = folder();
        let doomed = root.path().join("doomed");
        make_folder(&doomed).unwrap();
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut at = open(&doomed, flags, Mode::empty()).unwrap();
        for _ in 0..6000 {
            mkdirat(&at, "d", Mode::S_IRWXU).unwrap();
            at = openat(&at, "d", flags, Mode::empty()).unwrap();
        }
        let kept = root.path().join("kept");
        make_folder(&kept).unwrap();
        fs::write(kept.join("file"), "text").unwrap();
        symlink(&kept, doomed.join("link")).unwrap();
        let closed = doomed.join("closed/inner");
        make_folder(closed.parent().unwrap()).unwrap();
        make_folder(&closed).unwrap();
        symlink("..", closed.join("up")).unwrap();
        fs::write(closed.join("file"), "text").unwrap();
        for (path, mode) in [(&*closed, 0o555), (closed.parent().unwrap(), 0o000)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        remove_tree(&doomed).unwrap();
        assert!(!doomed.exists() && kept.join("file").exists());
        remove_tree(&doomed).unwrap();
        symlink(&kept, &doomed).unwrap();
        remove_tree(&doomed).unwrap();
        assert!(!doomed.is_symlink() && kept.join("file").exists());
    }
}
