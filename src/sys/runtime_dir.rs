//! The runtime folder of one host.
//!
//! What this file is for: opening or making the folder, locking it against a second host, and the paths in
//! it. What it deliberately does not do: tidy up; [`super::sweep`] does, and [`super::leftovers`].
//!
//! What always holds: while a [`RuntimeDir`] lives, this process alone holds the lock (`RUNTIME/lock`,
//! flock(2)), which the kernel gives back when the process ends, however it ends. The file itself stays:
//! removing it would let two hosts lock two files of one name. Where somebody else removed it, or the folder,
//! [`RuntimeDir::look_after`] makes it again, unless another host was faster.
#![forbid(unsafe_code)]

use super::file_error::FileError;
use super::folder::{FolderError, FolderProblem, Trust, open_trusted};
use super::folder_lock::{self, LOCK, LockError};
use super::host_identity::HostIdentity;
use super::listener::{SocketPathError, check_path};
use super::private_folder::{PrivateFolder, PrivateFolderError};
use nix::errno::Errno;
use nix::fcntl::Flock;
use nix::sys::stat::{FileStat, fstat};
use rpc_plugin_wire::PluginId;
pub use rpc_plugin_wire::ident::ADMIN_SOCKET;
use std::fmt;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// The folder of the record's sinks.
pub const SINKS: &str = "sinks";

/// `RUNTIME/ID/ID.sock`.
#[must_use]
pub fn plugin_socket_path(runtime: &Path, id: &PluginId) -> PathBuf {
    runtime.join(id.as_str()).join(plugin_socket_name(id))
}

/// `ID.sock`.
#[must_use]
pub fn plugin_socket_name(id: &PluginId) -> String {
    format!("{id}.sock")
}

/// Why a runtime folder cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RuntimeDirError {
    /// A folder on the way cannot be trusted or opened.
    Way(FolderError),
    /// The folder itself, or a plugin's folder in it, is not private.
    Folder(PrivateFolderError),
    /// Another host uses it.
    Locked {
        /// The runtime folder.
        path: PathBuf,
        /// That host's pid; absent in the moment before it has written it.
        pid: Option<u32>,
    },
    /// The admin socket's path does not fit.
    SocketPath(SocketPathError),
    /// The lock file cannot be used.
    Lock(FileError),
    /// The host that has it still lives, though its lock is gone.
    HostLives {
        /// The runtime folder.
        path: PathBuf,
        /// That host's pid.
        pid: u32,
        /// A process that it launched, if that is how it is known.
        launched: Option<u32>,
    },
    /// There are no random bytes to tell this host from others.
    Random(Errno),
}

impl RuntimeDirError {
    /// The kernel's reason, where a system call failed.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            RuntimeDirError::Way(FolderError { problem: FolderProblem::System(errno), .. })
            | RuntimeDirError::Random(errno) => Some(*errno),
            RuntimeDirError::Folder(error) => error.errno(),
            RuntimeDirError::Lock(error) => Some(error.errno),
            _ => None,
        }
    }
}

impl fmt::Display for RuntimeDirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuntimeDirError::Way(error) => write!(f, "runtime folder: {error}"),
            RuntimeDirError::Folder(error) => write!(f, "runtime folder: {error}"),
            RuntimeDirError::SocketPath(error) => write!(f, "runtime folder: {error}"),
            RuntimeDirError::Lock(error) => write!(f, "runtime folder: {error}"),
            RuntimeDirError::Random(errno) => write!(f, "runtime folder: no random bytes: {}", errno.desc()),
            RuntimeDirError::HostLives { path, pid, launched } => {
                let path = path.display();
                write!(f, "runtime folder {path} belongs to process {pid}, which still lives")?;
                if let Some(launched) = launched {
                    write!(f, " (process {launched} says in its environment that it launched it)")?;
                }
                write!(f, "; its lock was removed; nothing was killed; stop that process and start again")
            }
            RuntimeDirError::Locked { path, pid } => {
                write!(f, "runtime folder {} is in use by ", path.display())?;
                match pid {
                    Some(pid) => write!(f, "process {pid}")?,
                    None => write!(f, "a process that is just starting")?,
                }
                write!(f, "; stop that process or choose another runtime folder")
            }
        }
    }
}

impl std::error::Error for RuntimeDirError {}

/// The open, locked runtime folder.
#[derive(Debug)]
pub struct RuntimeDir {
    path: PathBuf,
    host: HostIdentity,
    held: RwLock<OpenDir>,
}

/// What is held of it. It is another one when somebody has removed it and it was made again.
#[derive(Debug)]
struct OpenDir {
    folder: PrivateFolder,
    lock: Flock<File>,
}

/// What was found where the runtime folder should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// All is as it was.
    Whole,
    /// The lock was gone, or another file, and was made again.
    LockMade,
    /// The folder was gone, or another one, and was made again, or taken.
    FolderMade,
}

impl RuntimeDir {
    /// Opens the folder, makes it (0700) if only its last part is missing, and locks it.
    ///
    /// # Errors
    /// Says what is wrong with the folder or who uses it, and what to do.
    pub fn open(path: &Path) -> Result<RuntimeDir, RuntimeDirError> {
        let folder = open_folder(path)?;
        let lock = lock(&folder)?;
        let host = HostIdentity::new().map_err(|error| {
            RuntimeDirError::Random(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
        })?;
        Ok(RuntimeDir { path: folder.path().to_owned(), host, held: RwLock::new(OpenDir { folder, lock }) })
    }

    /// Looks whether folder and lock are still there, and makes again what is not. Plugins' folders are made as they are
    /// needed. Blocks.
    ///
    /// # Errors
    /// Another host has taken its place, or it cannot be made again.
    pub fn look_after(&self) -> Result<Found, RuntimeDirError> {
        let folder = open_folder(&self.path)?;
        let is_same = {
            let held = self.held();
            let is_same_folder = is_same_file(folder.fd(), held.folder.fd());
            let there = folder.look_at(LOCK.as_ref()).ok();
            let is_same_lock = there.is_some_and(|there| is_file(&*held.lock, &there));
            (is_same_folder, is_same_lock)
        };
        let found = match is_same {
            (true, true) => return Ok(Found::Whole),
            (true, false) => Found::LockMade,
            (false, _) => Found::FolderMade,
        };
        let lock = lock(&folder)?;
        self.host.write(&folder).map_err(RuntimeDirError::Lock)?;
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = OpenDir { folder, lock };
        Ok(found)
    }

    fn held(&self) -> RwLockReadGuard<'_, OpenDir> {
        // Nothing panics while it is written.
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its path, without links. Paths given to plugins begin with it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The host that has it: this one.
    #[must_use]
    pub fn host(&self) -> &HostIdentity {
        &self.host
    }

    /// The folder itself, such as for the admin socket.
    #[must_use]
    pub fn folder(&self) -> PrivateFolder {
        self.held().folder.clone()
    }

    /// Whether the socket of a plugin fits below this folder. For configuration, before anything starts.
    ///
    /// # Errors
    /// Says how long the path is and may be.
    pub fn check_plugin(&self, id: &PluginId) -> Result<(), SocketPathError> {
        check_path(&plugin_socket_path(self.path(), id))
    }

    /// The plugin's folder `RUNTIME/ID`, made (0700) if it is missing.
    ///
    /// # Errors
    /// Says what is wrong with the folder that is there.
    pub fn plugin_folder(&self, id: &PluginId) -> Result<PrivateFolder, PrivateFolderError> {
        let path = self.path().join(id.as_str());
        PrivateFolder::open_or_create(self.folder().fd(), id.as_str().as_ref(), &path)
    }
}

/// Opens the folder, and makes it if only its last part is missing.
fn open_folder(path: &Path) -> Result<PrivateFolder, RuntimeDirError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        let problem = if path.is_absolute() { FolderProblem::NotAFolder } else { FolderProblem::NotAbsolute };
        return Err(RuntimeDirError::Way(FolderError { path: path.to_owned(), problem }));
    };
    if !path.is_absolute() {
        let problem = FolderProblem::NotAbsolute;
        return Err(RuntimeDirError::Way(FolderError { path: path.to_owned(), problem }));
    }
    let parent = open_trusted(parent, Trust::current()).map_err(RuntimeDirError::Way)?;
    // Without links, so that this host and the next one call it by one name.
    let path = parent.path.join(name);
    check_path(&path.join(ADMIN_SOCKET)).map_err(RuntimeDirError::SocketPath)?;
    PrivateFolder::open_or_create(&parent.fd, name, &path).map_err(RuntimeDirError::Folder)
}

fn is_same_file(one: &OwnedFd, other: &OwnedFd) -> bool {
    fstat(other).is_ok_and(|stat| is_file(one, &stat))
}

fn is_file(file: impl AsFd, stat: &FileStat) -> bool {
    fstat(file).is_ok_and(|own| (own.st_dev, own.st_ino) == (stat.st_dev, stat.st_ino))
}

fn lock(folder: &PrivateFolder) -> Result<Flock<File>, RuntimeDirError> {
    folder_lock::lock(folder.fd(), folder.path()).map_err(|error| match error {
        LockError::Held(pid) => RuntimeDirError::Locked { path: folder.path().to_owned(), pid },
        LockError::File(error) => RuntimeDirError::Lock(error),
    })
}

#[cfg(test)]
#[path = "runtime_dir_tests.rs"]
mod tests;
