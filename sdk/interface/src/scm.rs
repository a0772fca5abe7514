//! File descriptors through a Unix socket: SCM_RIGHTS, unix(7), cmsg(3).
//!
//! What this file is for: one sendmsg(2) and one recvmsg(2). What it deliberately does not do: know frames; which
//! descriptor belongs to which is [`rpc_plugin_wire::fds`]' matter.
//!
//! What always holds: what is received is close-on-exec and owned before anything else happens, so that no way out
//! leaks it. The kernel is given room for all that one message can bring: what finds no room it closes within
//! recvmsg(2), and that can take as long as whoever sent it likes.
#![allow(unsafe_code, reason = "recvmsg and sendmsg with control data, and owning what they bring")]
#![allow(
    clippy::unnecessary_cast,
    reason = "lengths of control data have other types with other C libraries"
)]

use rpc_plugin_wire::limits::FDS_PER_FRAME_MAX;
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

const FDS_MAX: usize = FDS_PER_FRAME_MAX as usize;
/// Descriptors that one message can bring at the most (SCM_MAX_FD, unix(7)).
const FDS_OF_MESSAGE_MAX: usize = 253;

/// A control message with as many descriptors as one may have. The kernel writes and reads it as it lies here:
/// what CMSG_DATA(3) gives is the end of the header, aligned for a header.
#[repr(C)]
struct Control<const N: usize> {
    header: libc::cmsghdr,
    fds: [RawFd; N],
}

const _: () = assert!(offset_of!(Control<1>, fds) == size_of::<libc::cmsghdr>());
const _: () = assert!(size_of::<libc::cmsghdr>().is_multiple_of(align_of::<libc::cmsghdr>()));

impl<const N: usize> Control<N> {
    /// One that announces `count` descriptors, none of them set.
    fn new(count: usize) -> Control<N> {
        Control {
            header: libc::cmsghdr {
                cmsg_len: control_bytes(count),
                cmsg_level: libc::SOL_SOCKET,
                cmsg_type: libc::SCM_RIGHTS,
            },
            fds: [-1; N],
        }
    }
}

/// CMSG_LEN(3) of so many descriptors.
const fn control_bytes(count: usize) -> usize {
    size_of::<libc::cmsghdr>() + count * size_of::<RawFd>()
}

/// What one read brought.
#[derive(Debug, Default)]
pub struct Received {
    /// Bytes read; 0 is the end of the stream.
    pub bytes: usize,
    /// Descriptors that came with them, in order.
    pub fds: Vec<OwnedFd>,
    /// More than 16 came at once, or this process cannot have more and the kernel dropped some.
    pub truncated: bool,
}

/// Reads bytes and the descriptors that came with them.
///
/// # Errors
/// As recvmsg(2): `WouldBlock`, `Interrupted`, `ConnectionReset`, …
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = Control::<FDS_OF_MESSAGE_MAX>::new(0);
    let mut message = header(&mut part, &mut control, FDS_OF_MESSAGE_MAX);
    // SAFETY: `message` names `buffer` and `control`, which outlive the call, with their true lengths.
    let bytes = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    let bytes = usize::try_from(bytes).map_err(|_| io::Error::last_os_error())?;
    let mut received = Received { bytes, ..Received::default() };
    if message.msg_controllen as usize > size_of::<libc::cmsghdr>()
        && (control.header.cmsg_level, control.header.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS)
    {
        let data = (control.header.cmsg_len as usize).saturating_sub(control_bytes(0));
        received.fds.extend(control.fds.iter().take(data / size_of::<RawFd>()).map(|fd| {
            // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
            unsafe { OwnedFd::from_raw_fd(*fd) }
        }));
    }
    received.truncated = message.msg_flags & libc::MSG_CTRUNC != 0 || received.fds.len() > FDS_MAX;
    Ok(received)
}

/// Writes bytes, the first of which takes the descriptors along. Without `wait` as much as the socket takes at once.
/// Never raises SIGPIPE. Whoever sends keeps its own descriptors. At most 16 are sent.
///
/// # Errors
/// As sendmsg(2): `WouldBlock`, `Interrupted`, `BrokenPipe`; `TooManyReferences` (ETOOMANYREFS) when too many
/// descriptors of this user are on their way already. On any error none was sent.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[impl AsRawFd], wait: bool) -> io::Result<usize> {
    let count = fds.len().min(FDS_MAX);
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = Control::<FDS_MAX>::new(count);
    for (slot, fd) in control.fds.iter_mut().zip(fds) {
        *slot = fd.as_raw_fd();
    }
    let message = header(&mut part, &mut control, count);
    let flags = libc::MSG_NOSIGNAL | if wait { 0 } else { libc::MSG_DONTWAIT };
    // SAFETY: `message` names `bytes`, which sendmsg only reads, and `control`; both outlive the call.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// A message of one part, with a control message of `count` descriptors, or without one.
fn header<const N: usize>(part: &mut libc::iovec, control: &mut Control<N>, count: usize) -> libc::msghdr {
    // SAFETY: all zeros is a valid msghdr: null pointers with lengths of zero.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    if count > 0 {
        message.msg_control = std::ptr::from_mut(control).cast();
        message.msg_controllen = control_bytes(count) as _;
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    const NONE: [OwnedFd; 0] = [];

    fn pipes(count: usize) -> (Vec<io::PipeReader>, Vec<OwnedFd>) {
        (0..count).map(|_| io::pipe().unwrap()).map(|(reader, writer)| (reader, writer.into())).unzip()
    }

    #[test]
    fn descriptors_come_in_order_with_the_first_byte_and_close_on_exec() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (readers, writers) = pipes(16);
        (&ours).write_all(b"before").unwrap();
        assert_eq!(send(ours.as_fd(), b"frame", &writers, true).unwrap(), 5);
        drop(writers);
        let mut buffer = [0; 64];
        let first = receive(theirs.as_fd(), &mut buffer).unwrap();
        let mut received = first.fds;
        let mut bytes = first.bytes;
        while bytes < 11 {
            let more = receive(theirs.as_fd(), &mut buffer).unwrap();
            bytes += more.bytes;
            received.extend(more.fds);
            assert!(!more.truncated);
        }
        assert_eq!(received.len(), 16);
        for (number, (mut reader, writer)) in readers.into_iter().zip(received).enumerate() {
            let flags = nix::fcntl::fcntl(writer.as_fd(), nix::fcntl::FcntlArg::F_GETFD).unwrap();
            assert_eq!(flags, libc::FD_CLOEXEC);
            File::from(writer).write_all(&[number as u8]).unwrap();
            let mut read = Vec::new();
            // Ends: we hold no copy, and neither does anybody else.
            reader.read_to_end(&mut read).unwrap();
            assert_eq!(read, [number as u8]);
        }
    }

    #[test]
    fn more_than_sixteen_are_told_and_the_kernel_closes_none_of_them() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut readers, writers) = pipes(FDS_OF_MESSAGE_MAX);
        let raw: Vec<RawFd> = writers.iter().map(AsRawFd::as_raw_fd).collect();
        let parts = [io::IoSlice::new(b"x")];
        let rights = [nix::sys::socket::ControlMessage::ScmRights(&raw)];
        let flags = nix::sys::socket::MsgFlags::empty();
        nix::sys::socket::sendmsg::<()>(ours.as_raw_fd(), &parts, &rights, flags, None).unwrap();
        drop(writers);
        let received = receive(theirs.as_fd(), &mut [0; 8]).unwrap();
        assert!(received.truncated && received.bytes == 1);
        assert_eq!(received.fds.len(), FDS_OF_MESSAGE_MAX, "all that a message can bring");
        drop(received);
        for reader in &mut readers {
            assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0, "nobody has its other end");
        }
    }

    #[test]
    fn plain_bytes_the_end_and_a_closed_peer_are_what_they_are_without() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        assert_eq!(send(ours.as_fd(), b"abc", &NONE, false).unwrap(), 3);
        let mut buffer = [0; 2];
        assert_eq!(receive(theirs.as_fd(), &mut buffer).unwrap().bytes, 2);
        assert_eq!(receive(theirs.as_fd(), &mut buffer).unwrap().bytes, 1);
        drop(ours);
        assert_eq!(receive(theirs.as_fd(), &mut buffer).unwrap().bytes, 0);
        let error = send(theirs.as_fd(), b"abc", &NONE, true).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
