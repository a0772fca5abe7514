//! The lock of a folder that one process has at a time: the file `lock` in it, flock(2).
//!
//! What always holds: the kernel gives it back when the process ends, however it ends. The file itself stays: removing it
//! would let two processes lock two files of one name.
#![forbid(unsafe_code)]

use super::file_error::FileError;
use super::private_folder::open_regular;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

/// The file's name.
pub(super) const LOCK: &str = "lock";
/// A pid and a line end. Bytes.
const LOCK_BYTES_MAX: u64 = 32;

/// Why a folder is not locked.
#[derive(Debug)]
pub(super) enum LockError {
    /// Another process has it: its pid, absent in the moment before it has written it.
    Held(Option<u32>),
    /// The file cannot be used.
    File(FileError),
}

/// Locks an open folder, of that path, and writes our pid into the file.
pub(super) fn lock(folder: &OwnedFd, path: &Path) -> Result<Flock<File>, LockError> {
    let path = path.join(LOCK);
    let fail = |operation, errno| LockError::File(FileError::new(operation, &path, errno));
    let flags = OFlag::O_RDWR | OFlag::O_CREAT;
    let file = open_regular(folder, LOCK, flags).map_err(|errno| fail("open", errno))?;
    let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((file, Errno::EWOULDBLOCK)) => {
            let mut content = String::new();
            let read = file.take(LOCK_BYTES_MAX).read_to_string(&mut content);
            return Err(LockError::Held(read.ok().and_then(|_| content.trim().parse().ok())));
        }
        Err((_, errno)) => return Err(fail("lock", errno)),
    };
    let write = |file: &mut File| {
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())
    };
    write(&mut lock).map_err(|error| LockError::File(FileError::io("write", &path, &error)))?;
    Ok(lock)
}
