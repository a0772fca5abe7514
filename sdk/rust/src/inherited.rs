//! A connection that the host left open for this process: transport `fd` (protocol section 7).
//!
//! What this file is for: the one step from a number to a descriptor that somebody owns. What it deliberately
//! does not do: check who is at the other end; who inherits a socket from its launcher has it from nobody else.
//!
//! What always holds: a descriptor is taken over once in a process; programs that the plugin launches do not
//! inherit it.
#![allow(unsafe_code)]

use nix::sys::socket::{UnixAddr, getsockname};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

/// The first that is not stdin, stdout or stderr, which have owners.
pub(crate) const FD_MIN: RawFd = 3;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes over the descriptor of this number.
///
/// # Errors
/// It is not an open socket, or one was taken over before.
pub(crate) fn take(number: RawFd) -> io::Result<UnixStream> {
    if number < FD_MIN {
        return Err(io::Error::other("it belongs to the standard streams"));
    }
    getsockname::<UnixAddr>(number)?;
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Err(io::Error::other("it was taken over before"));
    }
    // SAFETY: the number is that of an open socket. The host names it as this process's own, nothing else in the
    // process was told of it, and it is taken over once.
    let inherited = unsafe { OwnedFd::from_raw_fd(number) };
    // The duplicate is close-on-exec, which an inherited descriptor is not.
    inherited.try_clone().map(UnixStream::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::{AsRawFd, IntoRawFd};

    #[test]
    fn what_is_no_socket_is_refused_and_a_socket_is_taken_once() {
        assert!(take(0).unwrap_err().to_string().contains("standard streams"));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(
            take(file.as_raw_fd()).unwrap_err().raw_os_error(),
            Some(nix::errno::Errno::ENOTSOCK as i32)
        );
        assert_eq!(take(9999).unwrap_err().raw_os_error(), Some(nix::errno::Errno::EBADF as i32));
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (again, _) = UnixStream::pair().unwrap();
        let mut taken = take(ours.into_raw_fd()).unwrap();
        theirs.write_all(b"x").unwrap();
        taken.read_exact(&mut [0]).unwrap();
        drop(taken);
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0, "nothing else holds it");
        assert!(take(again.as_raw_fd()).unwrap_err().to_string().contains("before"));
    }
}
