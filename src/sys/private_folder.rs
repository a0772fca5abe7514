//! Folders that nobody but our user can see into.
//!
//! What this file is for: opening and making private folders; making, reading and removing the
//! small files in them, relative to the open folder. What it deliberately does not do: know what the files
//! are for, or tighten the permissions of a folder that it finds.
//!
//! What always holds: a [`PrivateFolder`] is an open folder of mode 0700 that our effective user owns, and
//! no name in it is followed if it is a link.
#![forbid(unsafe_code)]

use super::file_error::FileError;
use super::folder::{kind, permissions};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, fsync, unlinkat};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A folder that is not private.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PrivateFolderError {
    /// It is a link, a file or the like.
    NotAFolder(PathBuf),
    /// It belongs to somebody else.
    Owner {
        /// The folder.
        path: PathBuf,
        /// Owner's uid.
        owner: u32,
        /// Our effective uid.
        uid: u32,
    },
    /// Group or others have permissions. It is not changed by itself: it may be a folder named by mistake.
    Mode {
        /// The folder.
        path: PathBuf,
        /// Permission bits.
        mode: u32,
        /// Whether it can have been meant for this: it is empty, or a host's already, and not sticky.
        is_meant: bool,
    },
    /// Group or others can write to a folder that they may pass through.
    Writable {
        /// The folder.
        path: PathBuf,
        /// Permission bits.
        mode: u32,
    },
    /// A system call failed.
    File(FileError),
}

impl PrivateFolderError {
    /// The kernel's reason, where a system call failed.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        if let PrivateFolderError::File(error) = self { Some(error.errno) } else { None }
    }
}

impl fmt::Display for PrivateFolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PrivateFolderError::NotAFolder(path) => write!(
                f,
                "{} is not a folder, or is a symbolic link; expected a folder; remove it or choose another path",
                path.display()
            ),
            PrivateFolderError::Owner { path, owner, uid } => write!(
                f,
                "folder {} belongs to uid {owner}; expected uid {uid}; choose a folder of this user's own",
                path.display()
            ),
            PrivateFolderError::Mode { path, mode, is_meant } => {
                let path = path.display();
                write!(
                    f,
                    "folder {path} has mode {mode:04o}; expected 0700, so that no other user sees into it; "
                )?;
                if *is_meant {
                    write!(
                        f,
                        "if it is meant for this, run `chmod 700 {path}` (systemd: RuntimeDirectoryMode=0700)"
                    )
                } else {
                    write!(f, "choose one that does not exist yet, such as {path}/rpcplugind: it is made so")
                }
            }
            PrivateFolderError::Writable { path, mode } => {
                let path = path.display();
                write!(
                    f,
                    "folder {path} has mode {mode:04o}; expected no write permission for group and others; \
                     run `chmod go-w {path}`"
                )
            }
            PrivateFolderError::File(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PrivateFolderError {}

impl From<FileError> for PrivateFolderError {
    fn from(error: FileError) -> PrivateFolderError {
        PrivateFolderError::File(error)
    }
}

/// An open private folder. Cloning shares the open folder.
#[derive(Debug, Clone)]
pub struct PrivateFolder {
    fd: Arc<OwnedFd>,
    path: PathBuf,
}

impl PrivateFolder {
    /// Opens the folder `name` in an open one, and makes it if it is missing. `path` is its whole path.
    ///
    /// # Errors
    /// Says what is wrong with the folder that is there, or what failed.
    pub(crate) fn open_or_create(
        parent: &OwnedFd,
        name: &OsStr,
        path: &Path,
    ) -> Result<PrivateFolder, PrivateFolderError> {
        create(parent, name, path, Mode::S_IRWXU)?;
        PrivateFolder::open(parent, name, path)
    }

    /// Opens the folder `name` in an open one.
    pub(super) fn open(
        parent: &OwnedFd,
        name: &OsStr,
        path: &Path,
    ) -> Result<PrivateFolder, PrivateFolderError> {
        let (fd, mode) = open_own(parent, name, path)?;
        let folder = PrivateFolder { fd: Arc::new(fd), path: path.to_owned() };
        if mode & 0o077 != 0 {
            let is_meant = mode & 0o1000 == 0 && folder.is_unused_or_ours();
            return Err(PrivateFolderError::Mode { path: folder.path, mode, is_meant });
        }
        Ok(folder)
    }

    /// Whether nothing is in it, or what a host leaves in a runtime folder.
    fn is_unused_or_ours(&self) -> bool {
        self.entries()
            .is_ok_and(|entries| entries.is_empty() || entries.iter().any(|(name, _)| name == "lock"))
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Opens a regular file of this folder, never a link, a pipe or the like.
    pub(super) fn open_file(&self, name: &str, flags: OFlag) -> Result<File, Errno> {
        open_regular(self.fd(), name, flags)
    }

    /// The whole content of a small file; `None` if there is no such file. More than `bytes_max` is `EFBIG`.
    pub(crate) fn read(&self, name: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, FileError> {
        let path = self.path.join(name);
        let file = match self.open_file(name, OFlag::O_RDONLY) {
            Ok(file) => file,
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(FileError::new("open", &path, errno)),
        };
        let mut content = Vec::new();
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
        file.take(limit).read_to_end(&mut content).map_err(|e| FileError::io("read", &path, &e))?;
        if content.len() > bytes_max {
            return Err(FileError::new("read", &path, Errno::EFBIG));
        }
        Ok(Some(content))
    }

    /// Gives a file another content, on the disk, whether there was one or not. Whoever reads it, also after a crash, sees the
    /// old content or the new one.
    pub(crate) fn replace(&self, name: &str, content: &[u8]) -> Result<(), FileError> {
        let new = format!("{name}.new");
        let path = self.path.join(&new);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC;
        let mut file = self.open_file(&new, flags).map_err(|errno| FileError::new("make", &path, errno))?;
        file.write_all(content).map_err(|error| FileError::io("write", &path, &error))?;
        file.sync_all().map_err(|error| FileError::io("sync", &path, &error))?;
        let path = self.path.join(name);
        renameat(self.fd(), new.as_str(), self.fd(), name)
            .map_err(|errno| FileError::new("rename to", &path, errno))?;
        fsync(self.fd()).map_err(|errno| FileError::new("sync", &self.path, errno))
    }

    /// Removes a file if it is there, and says whether it was.
    pub(crate) fn remove(&self, name: &str) -> Result<bool, FileError> {
        match unlinkat(self.fd(), name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(FileError::new("remove", &self.path.join(name), errno)),
        }
    }

    /// What is in the folder: names and kinds, links as such.
    pub(crate) fn entries(&self) -> Result<Vec<(OsString, SFlag)>, FileError> {
        let fail = |errno| FileError::new("list", &self.path, errno);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut dir = Dir::openat(self.fd(), ".", flags, Mode::empty()).map_err(fail)?;
        let mut entries = Vec::new();
        for entry in dir.iter() {
            let name = entry.map_err(fail)?.file_name().to_bytes().to_vec();
            if name == b"." || name == b".." {
                continue;
            }
            let name = OsStr::from_bytes(&name).to_owned();
            match self.look_at(&name) {
                Ok(stat) => entries.push((name, kind(&stat))),
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(FileError::new("look at", &self.path.join(&name), errno)),
            }
        }
        entries.sort();
        Ok(entries)
    }

    pub(super) fn look_at(&self, name: &OsStr) -> Result<FileStat, Errno> {
        fstatat(self.fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW)
    }
}

/// Makes a folder of that mode in an open one, unless it is there.
pub(super) fn create(parent: &OwnedFd, name: &OsStr, path: &Path, mode: Mode) -> Result<(), FileError> {
    match mkdirat(parent, name, mode) {
        // The umask may have taken permissions away.
        Ok(()) => fchmodat(parent, name, mode, FchmodatFlags::FollowSymlink)
            .map_err(|errno| FileError::new("chmod", path, errno)),
        Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(FileError::new("make folder", path, errno)),
    }
}

/// Opens the folder `name` in an open one, which has to be our effective user's, and gives its permission bits.
pub(super) fn open_own(
    parent: &OwnedFd,
    name: &OsStr,
    path: &Path,
) -> Result<(OwnedFd, u32), PrivateFolderError> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd = openat(parent, name, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::ENOTDIR | Errno::ELOOP => PrivateFolderError::NotAFolder(path.to_owned()),
        errno => FileError::new("open folder", path, errno).into(),
    })?;
    let stat = fstat(&fd).map_err(|errno| FileError::new("look at", path, errno))?;
    let uid = nix::unistd::geteuid().as_raw();
    if stat.st_uid != uid {
        return Err(PrivateFolderError::Owner { path: path.to_owned(), owner: stat.st_uid, uid });
    }
    Ok((fd, permissions(&stat)))
}

/// Opens a regular file of an open folder, never a link, a pipe or the like.
pub(super) fn open_regular(folder: &OwnedFd, name: &str, flags: OFlag) -> Result<File, Errno> {
    let always = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let fd = openat(folder, name, flags | always, Mode::S_IRUSR | Mode::S_IWUSR)?;
    if kind(&fstat(&fd)?) == SFlag::S_IFREG { Ok(fd.into()) } else { Err(Errno::EINVAL) }
}

#[cfg(test)]
#[path = "private_folder_tests.rs"]
mod tests;
