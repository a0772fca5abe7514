//! A listening Unix socket for the members of a group, outside of the runtime folder, which is private.
//!
//! What it deliberately does not do: ask who connects, or remove what is no socket of ours.
//!
//! What always holds: only root and our user can replace the socket or a folder on the way to it; its file has
//! mode 0660 and the group, and is never open to anybody else; it goes when its [`GroupSocketFile`] is dropped,
//! but never a later one of the same name.
#![forbid(unsafe_code)]

use super::file_error::FileError;
use super::folder::{Folder, FolderError, FolderProblem, Trust, kind, open_trusted};
use super::listener::{SocketPathError, bind_private, check_path};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, connect, listen, socket};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstat, fstatat, lstat, mkdirat};
use nix::unistd::{Gid, UnlinkatFlags, fchownat, unlinkat};
use std::ffi::OsString;
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Why nothing listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupSocketError {
    /// The path is too long.
    Path(SocketPathError),
    /// A folder on the way cannot be trusted or opened.
    Way(FolderError),
    /// Something else has the name.
    Taken(PathBuf),
    /// Another process listens on the path.
    InUse(PathBuf),
    /// Our user may not give a file to that group.
    NotAMember {
        /// The socket.
        path: PathBuf,
        /// The group.
        gid: u32,
    },
    /// A system call failed.
    File(FileError),
}

impl fmt::Display for GroupSocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GroupSocketError::Path(error) => error.fmt(f),
            GroupSocketError::Way(error) => error.fmt(f),
            GroupSocketError::File(error) => error.fmt(f),
            GroupSocketError::Taken(path) => write!(
                f,
                "{} is there and no socket of this user; choose another path, or remove it",
                path.display()
            ),
            GroupSocketError::InUse(path) => {
                write!(f, "another process listens on {}; choose another path", path.display())
            }
            GroupSocketError::NotAMember { path, gid } => write!(
                f,
                "{} cannot be given to group {gid}: this user is not a member of it; add it to the group, or run as root",
                path.display()
            ),
        }
    }
}

impl std::error::Error for GroupSocketError {}

/// The file of such a socket, which is removed when this is dropped.
#[derive(Debug)]
pub struct GroupSocketFile {
    folder: Folder,
    name: OsString,
    /// The path as it was asked for.
    path: PathBuf,
    gid: u32,
    /// The file itself, opened with `O_PATH`: as long as it is open, no later file has its inode.
    own: OwnedFd,
}

impl GroupSocketFile {
    /// The path of the socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to it, and not to another file.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.is(lstat(&self.path))
    }

    /// Listens at the path anew, where the file was removed or replaced.
    ///
    /// # Errors
    /// As [`bind`].
    pub fn bind_again(&self, backlog: u16) -> Result<(UnixListener, GroupSocketFile), GroupSocketError> {
        bind(&self.path, self.gid, backlog)
    }

    /// Whether that is the file itself.
    fn is(&self, found: Result<FileStat, Errno>) -> bool {
        let identity = |stat: FileStat| (stat.st_dev, stat.st_ino);
        found.is_ok() && found.map(identity) == fstat(&self.own).map(identity)
    }
}

impl Drop for GroupSocketFile {
    fn drop(&mut self) {
        if self.is(look_at(&self.folder, &self.name)) {
            // What cannot be removed now is replaced at the next start.
            let _ = unlinkat(&self.folder.fd, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

fn look_at(folder: &Folder, name: &OsString) -> Result<FileStat, Errno> {
    fstatat(&folder.fd, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// Listens at `path` for the members of a group. The folder is made (0755) if only its last part is missing.
///
/// # Errors
/// Says what is wrong with the path, the folders on the way, the group, or what is there.
pub fn bind(
    path: &Path,
    gid: u32,
    backlog: u16,
) -> Result<(UnixListener, GroupSocketFile), GroupSocketError> {
    check_path(path).map_err(GroupSocketError::Path)?;
    let way = |problem| GroupSocketError::Way(FolderError { path: path.to_owned(), problem });
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(way(if path.is_absolute() {
            FolderProblem::NotAFile
        } else {
            FolderProblem::NotAbsolute
        }));
    };
    let folder = open_folder(parent)?;
    let (name, asked) = (name.to_owned(), path.to_owned());
    let fail = |operation, errno| GroupSocketError::File(FileError::new(operation, path, errno));
    // Without links: it was reached by a trusted way, and stays what it is.
    let path = folder.path.join(&name);
    make_room(&folder, &name, &path)?;
    let fd = bind_private(&path, &fail)?;
    let group = Some(Gid::from_raw(gid));
    let given = fchownat(&folder.fd, name.as_os_str(), None, group, AtFlags::AT_SYMLINK_NOFOLLOW);
    let mode = Mode::S_IRUSR | Mode::S_IWUSR | Mode::S_IRGRP | Mode::S_IWGRP;
    let opened = given.and_then(|()| {
        fchmodat(&folder.fd, name.as_os_str(), mode, FchmodatFlags::FollowSymlink)?;
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&folder.fd, name.as_os_str(), flags, Mode::empty())
    });
    match opened {
        Ok(own) => {
            let file = GroupSocketFile { folder, name, path: asked, gid, own };
            let backlog = Backlog::new(i32::from(backlog)).unwrap_or(Backlog::MAXCONN);
            listen(&fd, backlog).map_err(|errno| fail("listen on", errno))?;
            Ok((UnixListener::from(fd), file))
        }
        Err(errno) => {
            let _ = unlinkat(&folder.fd, name.as_os_str(), UnlinkatFlags::NoRemoveDir);
            Err(match errno {
                Errno::EPERM => GroupSocketError::NotAMember { path, gid },
                errno => fail("give to its group", errno),
            })
        }
    }
}

fn open_folder(path: &Path) -> Result<Folder, GroupSocketError> {
    let trust = Trust::current();
    match open_trusted(path, trust) {
        Err(FolderError { path: missing, problem: FolderProblem::Missing }) if missing == path => {}
        opened => return opened.map_err(GroupSocketError::Way),
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        let problem = FolderProblem::Missing;
        return Err(GroupSocketError::Way(FolderError { path: path.to_owned(), problem }));
    };
    let parent = open_trusted(parent, trust).map_err(GroupSocketError::Way)?;
    let mode = Mode::S_IRWXU | Mode::S_IRGRP | Mode::S_IXGRP | Mode::S_IROTH | Mode::S_IXOTH;
    let fail = |operation, errno| GroupSocketError::File(FileError::new(operation, path, errno));
    mkdirat(&parent.fd, name, mode).map_err(|errno| fail("make folder", errno))?;
    // The umask may have closed it to the group.
    fchmodat(&parent.fd, name, mode, FchmodatFlags::FollowSymlink).map_err(|errno| fail("chmod", errno))?;
    open_trusted(path, trust).map_err(GroupSocketError::Way)
}

/// Removes the socket of a dead daemon.
fn make_room(folder: &Folder, name: &OsString, path: &Path) -> Result<(), GroupSocketError> {
    let fail = |operation, errno| GroupSocketError::File(FileError::new(operation, path, errno));
    let stat = match look_at(folder, name) {
        Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(fail("look at", errno)),
        Ok(stat) => stat,
    };
    if kind(&stat) != SFlag::S_IFSOCK || stat.st_uid != nix::unistd::geteuid().as_raw() {
        return Err(GroupSocketError::Taken(path.to_owned()));
    }
    match try_connect(path) {
        // Nobody listens any more.
        Err(Errno::ECONNREFUSED) => {}
        // EAGAIN: somebody does, and has as many that wait as it takes.
        Ok(()) | Err(Errno::EAGAIN) => return Err(GroupSocketError::InUse(path.to_owned())),
        Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(fail("connect to", errno)),
    }
    unlinkat(&folder.fd, name.as_os_str(), UnlinkatFlags::NoRemoveDir).map_err(|errno| fail("remove", errno))
}

/// Connects, without waiting for whoever listens to accept.
fn try_connect(path: &Path) -> Result<(), Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{file, folder};
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    fn own_gid() -> u32 {
        nix::unistd::getegid().as_raw()
    }

    #[test]
    fn the_socket_is_for_the_group_and_goes_with_its_file() {
        let root = folder();
        let path = root.path().join("made/ops.sock");
        let (_listener, made) = bind(&path, own_gid(), 4).unwrap();
        let found = std::fs::metadata(&path).unwrap();
        assert_eq!((found.mode() & 0o7777, found.gid()), (0o660, own_gid()));
        let folder = std::fs::metadata(path.parent().unwrap()).unwrap();
        assert_eq!(folder.mode() & 0o7777, 0o755);
        UnixStream::connect(&path).unwrap();
        let error = bind(&path, own_gid(), 4).unwrap_err();
        assert!(matches!(error, GroupSocketError::InUse(_)), "{error}");
        drop(made);
        assert!(!path.exists());
    }

    #[test]
    fn what_was_removed_or_replaced_is_seen_and_made_again() {
        let root = folder();
        let path = root.path().join("made/ops.sock");
        let (_first, made) = bind(&path, own_gid(), 4).unwrap();
        assert!(made.is_there());
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
        assert!(!made.is_there());
        let (_second, again) = made.bind_again(4).unwrap();
        assert!(again.is_there() && !made.is_there());
        drop(made);
        assert!(again.is_there(), "the later one stays");
        UnixStream::connect(&path).unwrap();
        // What another has put there is no socket of ours to remove.
        std::fs::rename(file(root.path(), "x", "precious", 0o600), &path).unwrap();
        assert!(!again.is_there());
        let error = again.bind_again(4).unwrap_err();
        assert!(matches!(error, GroupSocketError::Taken(_)), "{error}");
        drop(again);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_dead_daemons_socket_is_replaced_and_nothing_else() {
        let root = folder();
        let path = root.path().join("ops.sock");
        let (listener, old) = bind(&path, own_gid(), 4).unwrap();
        drop(listener);
        let (_listener, _new) = bind(&path, own_gid(), 4).unwrap();
        drop(old);
        assert!(path.exists(), "the later one stays");
        let error = bind(&file(root.path(), "x", "precious", 0o600), own_gid(), 4).unwrap_err();
        assert!(matches!(error, GroupSocketError::Taken(_)), "{error}");
        let error = bind(Path::new("ops.sock"), own_gid(), 4).unwrap_err().to_string();
        assert!(error.contains("is relative"), "{error}");
        let error = bind(&root.path().join("a/b/ops.sock"), own_gid(), 4).unwrap_err().to_string();
        assert!(error.contains("does not exist"), "{error}");
    }

    #[test]
    fn a_daemon_that_accepts_nobody_keeps_its_socket_and_holds_nobody_up() {
        let root = folder();
        let path = root.path().join("ops.sock");
        let (_listener, _file) = bind(&path, own_gid(), 1).unwrap();
        let mut waiting = Vec::new();
        let full = loop {
            let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_NONBLOCK, None).unwrap();
            match connect(fd.as_raw_fd(), &UnixAddr::new(&path).unwrap()) {
                Ok(()) => waiting.push(fd),
                Err(errno) => break errno,
            }
        };
        assert_eq!(full, Errno::EAGAIN);
        let (told, is_told) = std::sync::mpsc::channel();
        let at = path.clone();
        std::thread::spawn(move || told.send(bind(&at, own_gid(), 1).map(drop)));
        let error = is_told.recv_timeout(Duration::from_secs(60)).unwrap().unwrap_err();
        assert!(matches!(error, GroupSocketError::InUse(_)), "{error}");
        assert!(path.exists());
    }

    #[test]
    fn a_folder_that_others_can_change_is_refused() {
        let root = folder();
        let open = root.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = bind(&open.join("ops.sock"), own_gid(), 4).unwrap_err().to_string();
        assert!(error.contains("can be changed by other users"), "{error}");
    }
}
