//! What a stream asks of the file system, in one place, so that tests can make it fail.
//!
//! What it deliberately does not do: retry, or know what is in a file.
//!
//! What always holds: no symbolic link is followed below the base folder, and nothing but a regular file is
//! opened; every descriptor is close-on-exec.

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use rpc_plugin_wire::PluginId;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Where a stream's files are: a folder that exists, or a folder of that name below it, which is made (0700)
/// when it is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The folder that must exist.
    pub base: PathBuf,
    /// One name, without a slash.
    pub below: Option<String>,
}

impl Place {
    /// Where the record of a plugin is, or the host's own, below the runtime folder.
    #[must_use]
    pub fn of(runtime_dir: &Path, plugin_id: Option<&PluginId>) -> Place {
        let below = plugin_id.map(|id| id.as_str().to_owned());
        Place { base: runtime_dir.to_owned(), below }
    }

    /// The folder's path, for messages and readers.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.below.as_ref().map_or_else(|| self.base.clone(), |below| self.base.join(below))
    }
}

const DIR_FLAGS: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// The operations. Each is the real one unless an implementation says otherwise.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens the folder; makes the one below the base if it is not there.
    ///
    /// # Errors
    /// Those of open(2) and mkdir(2); a symbolic link is ELOOP or ENOTDIR.
    fn open_folder(&self, place: &Place) -> io::Result<OwnedFd> {
        let base = open(&place.base, DIR_FLAGS, Mode::empty()).map_err(|errno| {
            let error = io::Error::from(errno);
            io::Error::new(error.kind(), format!("folder {}: {error}", place.base.display()))
        })?;
        let Some(below) = place.below.as_deref() else { return Ok(base) };
        match openat(&base, below, DIR_FLAGS, Mode::empty()) {
            Err(Errno::ENOENT) => {
                match mkdirat(&base, below, Mode::S_IRWXU) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(errno.into()),
                }
                Ok(openat(&base, below, DIR_FLAGS, Mode::empty())?)
            }
            other => Ok(other?),
        }
    }

    /// Opens a file for reading and appending; makes it (0600) if it is not there. True with one that was
    /// made.
    ///
    /// # Errors
    /// Those of open(2); what is no regular file is refused.
    fn open(&self, folder: &OwnedFd, name: &str) -> io::Result<(File, bool)> {
        // O_NONBLOCK so that a pipe laid in the way cannot hold the writer (open(2), ENXIO, and fifo(7)).
        let flags = OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_NOFOLLOW;
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let (fd, is_new) = match openat(folder, name, flags, Mode::empty()) {
            Err(Errno::ENOENT) => {
                let mode = Mode::S_IRUSR | Mode::S_IWUSR;
                (openat(folder, name, flags | OFlag::O_CREAT, mode)?, true)
            }
            other => (other?, false),
        };
        let file = File::from(fd);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("is not a regular file; remove it"));
        }
        Ok((file, is_new))
    }

    /// Opens a file for reading; `None` if it is not there.
    ///
    /// # Errors
    /// Those of open(2); what is no regular file is refused.
    fn open_to_read(&self, folder: &OwnedFd, name: &str) -> io::Result<Option<File>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let file = match openat(folder, name, flags | OFlag::O_NOCTTY, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(None),
            other => File::from(other?),
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("is not a regular file; remove it"));
        }
        Ok(Some(file))
    }

    /// Appends once; how many bytes were taken.
    ///
    /// # Errors
    /// Those of write(2).
    fn write(&self, mut file: &File, bytes: &[u8]) -> io::Result<usize> {
        file.write(bytes)
    }

    /// Writes a file's data to the disk.
    ///
    /// # Errors
    /// Those of fdatasync(2).
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// Writes a folder's names to the disk.
    ///
    /// # Errors
    /// Those of fsync(2).
    fn sync_folder(&self, folder: &OwnedFd) -> io::Result<()> {
        Ok(nix::unistd::fsync(folder)?)
    }

    /// Cuts a file.
    ///
    /// # Errors
    /// Those of ftruncate(2).
    fn truncate(&self, file: &File, bytes: u64) -> io::Result<()> {
        file.set_len(bytes)
    }

    /// Gives a file of the folder another name; one that has the name already is replaced.
    ///
    /// # Errors
    /// Those of rename(2).
    fn rename(&self, folder: &OwnedFd, from: &str, to: &str) -> io::Result<()> {
        Ok(nix::fcntl::renameat(folder, from, folder, to)?)
    }

    /// Removes a file of the folder. One that is not there is no error.
    ///
    /// # Errors
    /// Those of unlink(2).
    fn remove(&self, folder: &OwnedFd, name: &str) -> io::Result<()> {
        match unlinkat(folder, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::ENOENT) => Ok(()),
            other => Ok(other?),
        }
    }

    /// The regular files of the folder that begin so, with their sizes in bytes.
    ///
    /// # Errors
    /// Those of getdents(2).
    fn list(&self, folder: &OwnedFd, prefix: &str) -> io::Result<Vec<(String, u64)>> {
        let mut names = Vec::new();
        let mut dir = nix::dir::Dir::openat(folder, ".", DIR_FLAGS, Mode::empty())?;
        for entry in dir.iter() {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().ok().filter(|name| name.starts_with(prefix)) else {
                continue;
            };
            // One that was removed meanwhile is not there any more.
            let Ok(stat) = fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) else { continue };
            if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG {
                names.push((name.to_owned(), u64::try_from(stat.st_size).unwrap_or(0)));
            }
        }
        Ok(names)
    }
}

/// The operating system's.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {}

/// The plugins that have a folder in the runtime folder, ordered by id.
///
/// # Errors
/// The runtime folder cannot be read.
pub fn plugin_folders(runtime_dir: &Path) -> io::Result<Vec<PluginId>> {
    let mut ids: Vec<PluginId> = Vec::new();
    for entry in std::fs::read_dir(runtime_dir)? {
        let entry = entry?;
        let id: Option<PluginId> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        // The folder of the sinks' cursors is no plugin's.
        let id = id.filter(|id| id.reserved().is_none());
        ids.extend(id.filter(|_| entry.file_type().is_ok_and(|kind| kind.is_dir())));
    }
    ids.sort();
    Ok(ids)
}
