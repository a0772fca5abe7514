//! What a descriptor that somebody passed is, asked without waiting for whoever made it.
//!
//! What this file is for: telling the kinds that are taken from all others. Never fstat(2): it asks the file's own server,
//! which may be a plugin (FUSE) or a machine that is gone (NFS); statx(2) is told not to.
//!
//! What always holds: a kind that cannot be told is none that is taken.
#![allow(unsafe_code, reason = "getsockopt(SO_DOMAIN) and statx have no safe form")]

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// What a descriptor is, where that is none of the kinds that are taken: Unix stream sockets, pipes, memfds and other
/// regular files.
#[must_use]
pub fn unwanted_kind(fd: impl AsFd) -> Option<&'static str> {
    let fd = fd.as_fd();
    if let Some(domain) = socket_option(fd, libc::SO_DOMAIN) {
        return match (domain, socket_option(fd, libc::SO_TYPE)) {
            (libc::AF_UNIX, Some(libc::SOCK_STREAM)) => None,
            (libc::AF_UNIX, _) => Some("a Unix socket that is no stream"),
            (libc::AF_INET | libc::AF_INET6, Some(libc::SOCK_STREAM)) => Some("a TCP socket"),
            (libc::AF_INET | libc::AF_INET6, Some(libc::SOCK_DGRAM)) => Some("a UDP socket"),
            _ => Some("a socket of another family"),
        };
    }
    match file_type(fd) {
        Some(libc::S_IFREG | libc::S_IFIFO) => None,
        Some(libc::S_IFDIR) => Some("a folder"),
        Some(libc::S_IFCHR) => Some("a character device"),
        Some(libc::S_IFBLK) => Some("a block device"),
        Some(libc::S_IFSOCK) => Some("a socket's file"),
        Some(libc::S_IFLNK) => Some("a symbolic link"),
        _ => Some("of no file type, as an eventfd or an epoll descriptor is"),
    }
}

/// An option of a socket that is one int; `None` where it is no socket.
fn socket_option(fd: BorrowedFd<'_>, option: libc::c_int) -> Option<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    let number = fd.as_raw_fd();
    // SAFETY: the pointers are to an int and its length, which live throughout the call.
    let result = unsafe {
        libc::getsockopt(number, libc::SOL_SOCKET, option, (&raw mut value).cast(), &raw mut length)
    };
    (result == 0).then_some(value)
}

/// S_IFMT of a file, as it is known here; zero for what has none.
fn file_type(fd: BorrowedFd<'_>) -> Option<libc::mode_t> {
    let mut seen = MaybeUninit::<libc::statx>::zeroed();
    let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
    let (number, path) = (fd.as_raw_fd(), c"".as_ptr());
    // SAFETY: the path is a constant C string; `seen` is writable memory of the size that is filled.
    let result = unsafe { libc::statx(number, path, flags, libc::STATX_TYPE, seen.as_mut_ptr()) };
    if result != 0 {
        return None;
    }
    // SAFETY: statx is plain data, zeroed at creation and filled by the call, which succeeded.
    let seen = unsafe { seen.assume_init() };
    Some(libc::mode_t::from(seen.stx_mode) & libc::S_IFMT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::eventfd::EventFd;
    use std::fs::File;
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::{UnixDatagram, UnixStream};

    #[test]
    fn what_is_taken_is_a_list_and_all_else_is_named() {
        let (reader, writer) = std::io::pipe().unwrap();
        let (one, other) = UnixStream::pair().unwrap();
        for taken in [unwanted_kind(reader), unwanted_kind(writer), unwanted_kind(one), unwanted_kind(other)]
        {
            assert_eq!(taken, None);
        }
        assert_eq!(unwanted_kind(tempfile::tempfile().unwrap()), None);
        let memory = nix::sys::memfd::memfd_create(c"x", nix::sys::memfd::MFdFlags::MFD_CLOEXEC).unwrap();
        assert_eq!(unwanted_kind(memory), None);
        assert_eq!(unwanted_kind(TcpListener::bind("127.0.0.1:0").unwrap()), Some("a TCP socket"));
        assert_eq!(unwanted_kind(UdpSocket::bind("127.0.0.1:0").unwrap()), Some("a UDP socket"));
        let datagram = UnixDatagram::unbound().unwrap();
        assert_eq!(unwanted_kind(datagram), Some("a Unix socket that is no stream"));
        assert_eq!(unwanted_kind(File::open("/dev/null").unwrap()), Some("a character device"));
        assert_eq!(unwanted_kind(File::open("/").unwrap()), Some("a folder"));
        let event = unwanted_kind(EventFd::new().unwrap()).unwrap();
        assert!(event.contains("eventfd"), "{event}");
    }
}
