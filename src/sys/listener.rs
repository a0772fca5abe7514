//! Listening Unix sockets in a private folder.
//!
//! What this file is for: binding `NAME` with mode 0600, nonblocking and close-on-exec, in place of what
//! a dead host left there. What it deliberately does not do: accept.
//!
//! What always holds: a path that does not fit a socket address is refused before anything is made, with
//! its length; the socket file goes when its [`PrivateFile`] is dropped, but never a later one of the same
//! name.
#![forbid(unsafe_code)]

use super::file_error::FileError;
use super::folder::kind;
pub use super::listen_error::{ListenError, SocketPathError};
use super::private_file::PrivateFile;
use super::private_folder::PrivateFolder;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind as bind_socket, listen, socket,
};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmod, fchmodat};
use rpc_plugin_wire::limits::SOCKET_PATH_BYTES_MAX;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// Mode of a socket file: its owner's only.
const MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// Whether a path fits a socket address.
///
/// # Errors
/// Says how long it is and may be.
pub fn check_path(path: &Path) -> Result<(), SocketPathError> {
    let fits = path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX && !path.as_os_str().as_bytes().contains(&0);
    if fits { Ok(()) } else { Err(SocketPathError { path: path.to_owned() }) }
}

/// Listens on `name` in the folder. `backlog`: connections that wait to be accepted, at most; a client
/// beyond it waits too.
///
/// # Errors
/// `EEXIST` if something other than a socket has the name; the system call that failed.
pub fn bind(
    folder: &PrivateFolder,
    name: &str,
    backlog: u16,
) -> Result<(UnixListener, PrivateFile), ListenError> {
    let path = folder.path().join(name);
    check_path(&path).map_err(ListenError::Path)?;
    let fail = |operation, errno| ListenError::File(FileError::new(operation, &path, errno));
    match folder.look_at(name.as_ref()) {
        Err(Errno::ENOENT) => {}
        Err(errno) => return Err(fail("look at", errno)),
        Ok(stat) if kind(&stat) == SFlag::S_IFSOCK => drop(folder.remove(name).map_err(ListenError::File)?),
        Ok(_) => return Err(fail("listen on", Errno::EEXIST)),
    }
    let fd = bind_private(&path, &fail)?;
    // The umask may have taken permissions from the owner too. What fails from here on leaves the file to
    // the next bind or sweep.
    fchmodat(folder.fd(), name, MODE, FchmodatFlags::FollowSymlink).map_err(|errno| fail("chmod", errno))?;
    let stat = folder.look_at(name.as_ref()).map_err(|errno| fail("look at", errno))?;
    let made = PrivateFile::of_shared_name(folder, name, &stat);
    let backlog = Backlog::new(i32::from(backlog)).unwrap_or(Backlog::MAXCONN);
    listen(&fd, backlog).map_err(|errno| fail("listen on", errno))?;
    Ok((UnixListener::from(fd), made))
}

/// Binds a new socket, nonblocking and close-on-exec, to a path that nothing has yet. Its file has mode 0600 less the umask.
///
/// # Errors
/// What `fail` makes of the operation that failed, and why.
pub(super) fn bind_private<E>(path: &Path, fail: &impl Fn(&'static str, Errno) -> E) -> Result<OwnedFd, E> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)
        .map_err(|e| fail("make a socket for", e))?;
    // The socket file gets the socket's own mode less the umask (unix_bind in the kernel), so there is no
    // moment at which it is wider.
    fchmod(&fd, MODE).map_err(|errno| fail("chmod", errno))?;
    let address = UnixAddr::new(path).map_err(|errno| fail("listen on", errno))?;
    bind_socket(fd.as_raw_fd(), &address).map_err(|errno| fail("bind", errno))?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{file, folder, private};
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_listener_is_private_nonblocking_and_close_on_exec() {
        let root = folder();
        let (listener, made) = bind(&private(root.path()), "echo.sock", 4).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        let mode = std::fs::metadata(made.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let flags = nix::fcntl::fcntl(listener.as_fd(), nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags, libc::FD_CLOEXEC);
        let mut client = UnixStream::connect(made.path()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
        let path = made.path().to_owned();
        drop(made);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_its_late_owner_leaves_the_new_one() {
        let root = folder();
        let (old_listener, old) = bind(&private(root.path()), "a.sock", 4).unwrap();
        drop(old_listener);
        let (_listener, new) = bind(&private(root.path()), "a.sock", 4).unwrap();
        drop(old);
        UnixStream::connect(new.path()).unwrap();
        new.remove().unwrap();
        assert!(!root.path().join("a.sock").exists());
    }

    #[test]
    fn what_is_no_socket_is_not_replaced() {
        let root = folder();
        let path = file(root.path(), "a.sock", "precious", 0o600);
        let error = bind(&private(root.path()), "a.sock", 4).unwrap_err();
        assert!(matches!(&error, ListenError::File(e) if e.errno == Errno::EEXIST), "{error}");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "precious");
    }

    #[test]
    fn a_path_that_does_not_fit_is_refused_with_both_numbers() {
        let root = folder();
        let fits = "s".repeat(SOCKET_PATH_BYTES_MAX - root.path().as_os_str().len() - 1);
        bind(&private(root.path()), &fits, 4).unwrap();
        let error = bind(&private(root.path()), &format!("{fits}x"), 4).unwrap_err().to_string();
        assert!(error.contains("108 bytes") && error.contains("at most 107"), "{error}");
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
