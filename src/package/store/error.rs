//! What goes wrong in the store.

use crate::package::folder::FolderFaults;
use crate::sys::file_error::FileError;
use crate::sys::private_folder::PrivateFolderError;
use crate::sys::state_dir::StateDirError;
use std::fmt;
use std::path::PathBuf;

/// Why something could not be done in the store.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The state folder cannot be used.
    StateDir(StateDirError),
    /// A folder in it is another's, or others can write to it.
    Folder(PrivateFolderError),
    /// A system call failed.
    File(FileError),
    /// The package is not as it has to be.
    Package(FolderFaults),
    /// A record cannot be read: its path, and why.
    Record(PathBuf, String),
    /// A stored version has another manifest than it was stored with: its path.
    Manifest(PathBuf),
    /// Who was asked whether to go on said no.
    Cancelled,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::StateDir(error) => error.fmt(f),
            StoreError::Folder(error) => write!(f, "state folder: {error}"),
            StoreError::File(error) => write!(f, "state folder: {error}"),
            StoreError::Package(faults) => faults.fmt(f),
            StoreError::Record(path, problem) => write!(
                f,
                "record {} cannot be read: {problem}; it says whose package this is and what is pinned, so nothing is \
                 done without it; restore it, or remove it to have the package approved again",
                path.display()
            ),
            StoreError::Manifest(path) => write!(
                f,
                "{} was changed: its manifest is not the one that was installed; remove this version and install it \
                 again",
                path.display()
            ),
            StoreError::Cancelled => f.write_str("it was cancelled"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<FileError> for StoreError {
    fn from(error: FileError) -> StoreError {
        StoreError::File(error)
    }
}

impl From<PrivateFolderError> for StoreError {
    fn from(error: PrivateFolderError) -> StoreError {
        StoreError::Folder(error)
    }
}

impl From<FolderFaults> for StoreError {
    fn from(faults: FolderFaults) -> StoreError {
        StoreError::Package(faults)
    }
}
