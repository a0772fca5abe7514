//! The state folder of one host: what lasts from one of its lives to the next.
//!
//! What this file is for: opening or making the folder and those in it, and locking it against a second host. What it
//! deliberately does not do: know what is kept there; `package::store` does.
//!
//! What always holds: while a [`StateDir`] lives, this process alone holds its lock; the folder, and each that is opened in
//! it, is our effective user's, and nobody else can write to it or to a folder on the way.
#![forbid(unsafe_code)]

use super::file_error::FileError;
use super::folder::{FolderError, FolderProblem, Trust, open_trusted};
use super::folder_lock::{self, LockError};
use super::private_folder::{PrivateFolder, PrivateFolderError, create, open_own};
use nix::fcntl::Flock;
use nix::sys::stat::Mode;
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The mode of a folder that others pass through to what is theirs in it: 0711.
const TRAVERSABLE: Mode = Mode::S_IRWXU.union(Mode::S_IXGRP).union(Mode::S_IXOTH);

/// Why a state folder cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateDirError {
    /// A folder on the way cannot be trusted, made or opened.
    Way(FolderError),
    /// The folder itself, or one in it, is another's, or others can write to it.
    Folder(PrivateFolderError),
    /// Another host uses it.
    Locked {
        /// The state folder.
        path: PathBuf,
        /// That host's pid; absent in the moment before it has written it.
        pid: Option<u32>,
    },
    /// The lock file cannot be used.
    Lock(FileError),
}

impl fmt::Display for StateDirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("state folder")?;
        match self {
            StateDirError::Way(error) => write!(f, ": {error}"),
            StateDirError::Folder(error) => write!(f, ": {error}"),
            StateDirError::Lock(error) => write!(f, ": {error}"),
            StateDirError::Locked { path, pid } => {
                write!(f, " {} is in use by ", path.display())?;
                match pid {
                    Some(pid) => write!(f, "process {pid}")?,
                    None => write!(f, "a process that is just starting")?,
                }
                write!(f, "; stop that process or choose another state folder")
            }
        }
    }
}

impl std::error::Error for StateDirError {}

impl From<PrivateFolderError> for StateDirError {
    fn from(error: PrivateFolderError) -> StateDirError {
        StateDirError::Folder(error)
    }
}

/// An open, locked state folder.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    fd: OwnedFd,
    _lock: Flock<File>,
}

impl StateDir {
    /// Opens the folder, makes it (0711) if it is missing, and those above it (0700), and locks it.
    ///
    /// # Errors
    /// Says what is wrong with the folder or who uses it, and what to do.
    pub fn open(path: &Path) -> Result<StateDir, StateDirError> {
        let way = |problem| StateDirError::Way(FolderError { path: path.to_owned(), problem });
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(way(FolderProblem::NotAFolder));
        };
        if !path.is_absolute() {
            return Err(way(FolderProblem::NotAbsolute));
        }
        // Whose the way is, is looked at afterwards.
        if let Err(error) = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent) {
            return Err(StateDirError::Folder(FileError::io("make folder", parent, &error).into()));
        }
        let parent = open_trusted(parent, Trust::current()).map_err(StateDirError::Way)?;
        let path = parent.path.join(name);
        let fd = traversable(&parent.fd, name, &path)?;
        let lock = folder_lock::lock(&fd, &path).map_err(|error| match error {
            LockError::Held(pid) => StateDirError::Locked { path: path.clone(), pid },
            LockError::File(error) => StateDirError::Lock(error),
        })?;
        Ok(StateDir { path, fd, _lock: lock })
    }

    /// Its path, without links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder in it that only our user sees into (0700), made if it is missing.
    ///
    /// # Errors
    /// Says what is wrong with the folder that is there, or what failed.
    pub fn private_folder(&self, name: &str) -> Result<PrivateFolder, PrivateFolderError> {
        PrivateFolder::open_or_create(&self.fd, name.as_ref(), &self.path.join(name))
    }

    /// A folder in it that others pass through (0711), made if it is missing.
    ///
    /// # Errors
    /// Says what is wrong with the folder that is there, or what failed.
    pub fn traversable_folder(&self, name: &str) -> Result<OwnedFd, PrivateFolderError> {
        traversable(&self.fd, name.as_ref(), &self.path.join(name))
    }
}

/// Opens a folder of an open one that others pass through (0711), and makes it if it is missing.
///
/// # Errors
/// Says what is wrong with the folder that is there, or what failed.
pub fn traversable(parent: &OwnedFd, name: &OsStr, path: &Path) -> Result<OwnedFd, PrivateFolderError> {
    create(parent, name, path, TRAVERSABLE)?;
    let (fd, mode) = open_own(parent, name, path)?;
    if mode & 0o022 != 0 {
        return Err(PrivateFolderError::Writable { path: path.to_owned(), mode });
    }
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{chmod, folder, subfolder};
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode_of(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn it_is_made_with_what_leads_to_it_and_one_process_has_it() {
        let root = folder();
        let path = root.path().join("a/b/state");
        let state = StateDir::open(&path).unwrap();
        assert_eq!((mode_of(&root.path().join("a")), mode_of(&path)), (0o700, 0o711));
        state.private_folder("records").unwrap();
        state.traversable_folder("store").unwrap();
        assert_eq!((mode_of(&path.join("records")), mode_of(&path.join("store"))), (0o700, 0o711));
        let error = StateDir::open(&path).unwrap_err();
        assert_eq!(error, StateDirError::Locked { path: path.clone(), pid: Some(std::process::id()) });
        drop(state);
        StateDir::open(&path).unwrap();
    }

    #[test]
    fn one_that_others_can_write_to_is_refused_and_one_that_they_can_read_is_not() {
        let root = folder();
        let path = subfolder(&root.path().join("state"));
        for mode in [0o775, 0o757] {
            chmod(&path, mode);
            let error = StateDir::open(&path).unwrap_err().to_string();
            assert!(error.contains("go-w"), "{error}");
        }
        // As systemd makes it.
        chmod(&path, 0o755);
        StateDir::open(&path).unwrap();
        chmod(root.path(), 0o777);
        let error = StateDir::open(&path).unwrap_err();
        assert!(matches!(error, StateDirError::Way(_)), "{error}");
        assert!(StateDir::open(Path::new("state")).unwrap_err().to_string().contains("absolute"));
    }
}
