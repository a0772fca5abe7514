//! Who is at the other end of a Unix socket.
//!
//! What this file is for: what the kernel recorded about a peer, and socket buffer sizes. What it
//! deliberately does not do: decide whom to trust. What always holds: the credentials are those of the
//! peer at the moment it connected (SO_PEERCRED, unix(7)); a socket handed on later keeps them.
#![forbid(unsafe_code)]

use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use std::io;
use std::os::fd::AsFd;

/// The peer's process and user when it connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Its pid; 0 where it is in a pid namespace that this process does not see.
    pub pid: u32,
    /// Its effective uid; the overflow uid where this process's user namespace does not map it.
    pub uid: u32,
    /// Its effective gid.
    pub gid: u32,
}

/// Reads the credentials of a connected Unix socket's peer.
///
/// # Errors
/// Those of getsockopt(2), such as for a descriptor that is no socket.
pub fn peer_credentials(socket: impl AsFd) -> io::Result<PeerCredentials> {
    let seen = getsockopt(&socket, sockopt::PeerCredentials)?;
    Ok(PeerCredentials { pid: seen.pid().unsigned_abs(), uid: seen.uid(), gid: seen.gid() })
}

/// The user whose files and sockets this process makes.
#[must_use]
pub fn effective_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Asks for socket buffers of this size in each direction. Bytes. The kernel doubles the number for its
/// own needs and caps it (net.core.wmem_max, rmem_max; socket(7)); a socket works with any size, so a
/// refusal is no error.
pub fn request_buffer_bytes(socket: impl AsFd, bytes: usize) {
    let _ = setsockopt(&socket, sockopt::SndBuf, &bytes);
    let _ = setsockopt(&socket, sockopt::RcvBuf, &bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_peer_of_our_own_pair_is_ourselves() {
        let (one, _other) = UnixStream::pair().unwrap();
        let expected = PeerCredentials {
            pid: std::process::id(),
            uid: effective_uid(),
            gid: nix::unistd::getegid().as_raw(),
        };
        assert_eq!(peer_credentials(&one).unwrap(), expected);
        assert!(peer_credentials(std::fs::File::open("/dev/null").unwrap()).is_err());
    }

    #[test]
    fn buffers_change_on_request_within_the_kernels_limits() {
        let (one, _other) = UnixStream::pair().unwrap();
        request_buffer_bytes(&one, 16 * 1024);
        let small = getsockopt(&one, sockopt::SndBuf).unwrap();
        request_buffer_bytes(&one, 64 * 1024);
        assert!(getsockopt(&one, sockopt::SndBuf).unwrap() > small);
        request_buffer_bytes(&one, usize::MAX);
    }
}
