//! A file that goes when its owner goes.
//!
//! What this file is for: token files and socket files, which must not outlive their use. What it
//! deliberately does not do: bind sockets; [`super::listener`] does.
//!
//! What always holds: a [`PrivateFile`] is removed when it is dropped, unless another file has taken its
//! name.
#![forbid(unsafe_code)]

use super::file_error::FileError;
use super::private_folder::PrivateFolder;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode, fchmod};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

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
    /// Makes a file of mode 0600 that must not exist yet, under a name that no later file takes.
    pub(super) fn create(
        folder: &PrivateFolder,
        name: &str,
        content: &[u8],
    ) -> Result<PrivateFile, FileError> {
        let path = folder.path().join(name);
        let mut file = folder
            .open_file(name, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL)
            .map_err(|errno| FileError::new("make", &path, errno))?;
        // From here on a failure removes it again.
        let made = PrivateFile::of_unique_name(folder, name);
        // The umask may have taken permissions from the owner too.
        fchmod(&file, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|errno| FileError::new("chmod", &path, errno))?;
        file.write_all(content).map_err(|error| FileError::io("write", &path, &error))?;
        Ok(made)
    }

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

    /// Whether it is still there, and not another file of its name.
    #[must_use]
    pub fn is_there(&self) -> bool {
        let there = self.folder.look_at(&self.name).map(|stat| Identity::of(&stat));
        there.is_ok_and(|there| self.only.is_none_or(|only| only == there))
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
