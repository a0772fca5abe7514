//! Why nothing listens on a socket, in words.
#![forbid(unsafe_code)]

use super::file_error::FileError;
use rpc_plugin_wire::limits::SOCKET_PATH_BYTES_MAX;
use std::fmt;
use std::path::PathBuf;

/// A socket path that does not fit a socket address.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketPathError {
    /// The path.
    pub path: PathBuf,
}

impl fmt::Display for SocketPathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "socket path {} has {} bytes; at most {SOCKET_PATH_BYTES_MAX} fit a socket address (unix(7)); choose a \
             shorter runtime folder or plugin id",
            self.path.display(),
            self.path.as_os_str().len()
        )
    }
}

impl std::error::Error for SocketPathError {}

/// Why nothing listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenError {
    /// The path is too long.
    Path(SocketPathError),
    /// A system call failed.
    File(FileError),
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::Path(error) => error.fmt(f),
            ListenError::File(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ListenError {}
