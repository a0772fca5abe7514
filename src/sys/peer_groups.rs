//! The groups of who is at the other end of a Unix socket.
//!
//! What it deliberately does not do: look a group's members up. What always holds: the groups are those that
//! the peer had when it connected, as the kernel recorded them (SO_PEERGROUPS, unix(7)).
#![allow(unsafe_code, reason = "getsockopt(SO_PEERGROUPS) has no safe form")]

use nix::sys::socket::{getsockopt, sockopt};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Supplementary groups that there is room for at first.
const GROUPS: usize = 64;
/// A process has no more (NGROUPS_MAX).
const GROUPS_MAX: usize = 65_536;

/// The effective group and the supplementary groups of a connected Unix socket's peer.
///
/// # Errors
/// Those of getsockopt(2), such as for a descriptor that is no socket.
pub fn peer_groups(socket: impl AsFd) -> io::Result<Vec<u32>> {
    let effective = getsockopt(&socket, sockopt::PeerCredentials)?.gid();
    let mut groups = match supplementary_groups(&socket, GROUPS) {
        Err(error) if error.raw_os_error() == Some(libc::ERANGE) => supplementary_groups(&socket, GROUPS_MAX),
        groups => groups,
    }?;
    groups.push(effective);
    Ok(groups)
}

fn supplementary_groups(socket: &impl AsFd, room: usize) -> io::Result<Vec<u32>> {
    let mut groups: Vec<libc::gid_t> = vec![0; room];
    let size = size_of::<libc::gid_t>();
    let mut length = libc::socklen_t::try_from(room.saturating_mul(size)).map_err(io::Error::other)?;
    let number = socket.as_fd().as_raw_fd();
    let option = libc::SO_PEERGROUPS;
    let space = groups.as_mut_ptr().cast();
    // SAFETY: the pointers are to `length` writable bytes and to `length`, which both live throughout the call.
    let result = unsafe { libc::getsockopt(number, libc::SOL_SOCKET, option, space, &raw mut length) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    groups.truncate(usize::try_from(length).unwrap_or(0) / size);
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_groups_of_our_own_pair_are_ours() {
        let (one, _other) = UnixStream::pair().unwrap();
        let mut seen = peer_groups(&one).unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
        let mut own: Vec<u32> = line.split_whitespace().map(|gid| gid.parse().unwrap()).collect();
        own.push(nix::unistd::getegid().as_raw());
        seen.sort_unstable();
        own.sort_unstable();
        assert_eq!(seen, own);
        assert!(peer_groups(std::fs::File::open("/dev/null").unwrap()).is_err());
        // Without room for all of them the kernel says so instead of leaving some out.
        let error = supplementary_groups(&one, 0).map(|groups| groups.len());
        assert!(own.len() == 1 || error.is_err_and(|error| error.raw_os_error() == Some(libc::ERANGE)));
    }
}
