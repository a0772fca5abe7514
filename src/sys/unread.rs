//! How much of what was written to a pipe or a Unix socket the other side has not read.
//!
//! What always holds: never less than there is, as long as the other side is there. A side that is gone has read
//! nothing more, and its kernel may call everything read: ask whether it is gone after this.
#![forbid(unsafe_code)]

use super::raw;
use std::io;
use std::os::fd::AsFd;

/// Bytes in a pipe.
///
/// # Errors
/// `ENOTTY` if it is no pipe.
pub fn of_pipe(pipe: impl AsFd) -> io::Result<u64> {
    raw::pipe_unread_bytes(pipe.as_fd())
}

/// Bytes on their way through a Unix stream socket, with the kernel's own for holding them.
///
/// # Errors
/// `ENOTTY` if it is no socket.
pub fn of_socket(socket: impl AsFd) -> io::Result<u64> {
    raw::socket_unread_bytes(socket.as_fd())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_was_not_read_is_counted() {
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        assert_eq!(of_pipe(&writer).unwrap(), 0);
        writer.write_all(&[7; 100]).unwrap();
        assert_eq!(of_pipe(&writer).unwrap(), 100);
        reader.read_exact(&mut [0; 60]).unwrap();
        assert_eq!(of_pipe(&writer).unwrap(), 40);
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        assert_eq!(of_socket(&ours).unwrap(), 0);
        ours.write_all(&[7; 100]).unwrap();
        assert!(of_socket(&ours).unwrap() >= 100);
        theirs.read_exact(&mut [0; 100]).unwrap();
        assert_eq!(of_socket(&ours).unwrap(), 0);
        assert!(of_pipe(std::fs::File::open("/dev/null").unwrap()).is_err());
    }
}
