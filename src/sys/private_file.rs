//! A file that goes when its owner goes, and the error of file operations.
//!
//! What this file is for: token files and socket files, which must not outlive their use. What it
//! deliberately does not do: write them; [`super::private_folder`] and [`super::listener`] do.
//!
//! What always holds: a [`PrivateFile`] is removed when it is dropped, unless another file has taken its
//! name.
#![forbid(unsafe_code)]

use super::private_folder::PrivateFolder;
use nix::errno::Errno;
use nix::sys::stat::FileStat;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// An operation on a file or folder that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError {
    /// What was to be done, such as `write`.
    pub operation: &'static str,
    /// To what.
    pub path: PathBuf,
    /// The kernel's reason.
    pub errno: Errno,
}

impl FileError {
    pub(super) fn new(operation: &'static str, path: &Path, errno: Errno) -> FileError {
        FileError { operation, path: path.to_owned(), errno }
    }

    pub(super) fn io(operation: &'static str, path: &Path, error: &std::io::Error) -> FileError {
        FileError::new(operation, path, Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(f, "cannot {} {path}: {} ({:?})", self.operation, self.errno.desc(), self.errno)?;
        match self.errno {
            Errno::ENOSPC | Errno::EDQUOT => write!(f, "; free space on its file system"),
            Errno::EACCES | Errno::EPERM => write!(f, "; give this user access to it"),
            Errno::EROFS => write!(f, "; choose a folder on a writable file system"),
            Errno::ENOENT => write!(f, "; make sure that the folder it belongs in exists"),
            Errno::EEXIST => write!(f, "; move away what is there"),
            Errno::EMFILE => write!(f, "; raise `ulimit -n`"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for FileError {}

/// Which file a name led to: an inode number alone may have been given to a later file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    changed_s: i64,
    changed_ns: i64,
}

impl Identity {
    fn of(stat: &FileStat) -> Identity {
        Identity {
            device: stat.st_dev,
            inode: stat.st_ino,
            changed_s: stat.st_ctime,
            changed_ns: stat.st_ctime_nsec,
        }
    }
}

/// A file that is removed when this is dropped.
#[derive(Debug)]
pub struct PrivateFile {
    folder: PrivateFolder,
    name: OsString,
    path: PathBuf,
    /// Where later files may take the same name: the one file to remove.
    only: Option<Identity>,
    removed: bool,
}

impl PrivateFile {
    /// For a name that no later file takes.
    pub(super) fn of_unique_name(folder: &PrivateFolder, name: &str) -> PrivateFile {
        let path = folder.path().join(name);
        PrivateFile { folder: folder.clone(), name: name.into(), path, only: None, removed: false }
    }

    /// For a name that later files may take: those are not removed.
    pub(super) fn of_shared_name(folder: &PrivateFolder, name: &str, stat: &FileStat) -> PrivateFile {
        let mut file = PrivateFile::of_unique_name(folder, name);
        file.only = Some(Identity::of(stat));
        file
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it now. One that is gone, or whose name leads to another file, counts as removed.
    ///
    /// # Errors
    /// The system call that failed; dropping will not try again.
    pub fn remove(mut self) -> Result<(), FileError> {
        self.remove_once().map_err(|errno| FileError::new("remove", &self.path, errno))
    }

    fn remove_once(&mut self) -> Result<(), Errno> {
        if std::mem::replace(&mut self.removed, true) {
            return Ok(());
        }
        if let Some(only) = self.only {
            match self.folder.look_at(&self.name) {
                Ok(stat) if Identity::of(&stat) == only => {}
                Ok(_) | Err(Errno::ENOENT) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
        match unlinkat(self.folder.fd(), self.name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

impl Drop for PrivateFile {
    fn drop(&mut self) {
        // What cannot be removed now is swept at the next start.
        let _ = self.remove_once();
    }
}
