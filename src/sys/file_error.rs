//! The error of file operations.
#![forbid(unsafe_code)]

use nix::errno::Errno;
use std::fmt;
use std::path::{Path, PathBuf};

/// Whether this is for want of something that the host may have again later: descriptors, processes, memory, room on a
/// disk, or a disk that works.
#[must_use]
pub fn is_shortage(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::EMFILE
            | Errno::ENFILE
            | Errno::EAGAIN
            | Errno::ENOMEM
            | Errno::ENOBUFS
            | Errno::ENOSPC
            | Errno::EDQUOT
            | Errno::EIO
    )
}

/// An operation on a file or folder that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileError {
    /// What was to be done, such as `write`.
    pub operation: &'static str,
    /// To what.
    pub path: PathBuf,
    /// The kernel's reason.
    pub errno: Errno,
}

impl FileError {
    pub(crate) fn new(operation: &'static str, path: &Path, errno: Errno) -> FileError {
        FileError { operation, path: path.to_owned(), errno }
    }

    /// The same of an error of the standard library.
    pub(crate) fn io(operation: &'static str, path: &Path, error: &std::io::Error) -> FileError {
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
            Errno::ENFILE => write!(f, "; raise the sysctl fs.file-max"),
            Errno::EIO => write!(f, "; its disk fails, see the kernel's log (dmesg)"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for FileError {}
