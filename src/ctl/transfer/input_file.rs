//! Where input comes from: a file, opened as this user, or standard input.
//!
//! What it deliberately does not do: read it into memory of this process.

use super::standard::{STANDARD, Standard};
use super::transfer_error::TransferError;
use crate::ctl::exit::Exit;
use nix::fcntl::OFlag;
use nix::poll::PollFlags;
use rpc_plugin_interface::Blob;
use rpc_plugin_interface::fd::BLOB_IN_BAND_BYTES_MAX;
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

/// What is read.
#[derive(Debug)]
pub(super) struct InputFile {
    file: File,
    name: String,
}

impl InputFile {
    /// Opens it. `-` is standard input.
    ///
    /// # Errors
    /// It cannot be opened, or is a folder; there is no standard input to read.
    pub(super) fn open(name: &str, standard: &Standard<'_>) -> Result<InputFile, TransferError> {
        let file = if name == STANDARD {
            let fd = standard.input.map_err(TransferError::usage)?;
            fd.try_clone_to_owned().map(File::from)
        } else {
            // A FIFO that nobody has opened for writing is waited for where it is read, and not here.
            File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(name)
        };
        let shown = if name == STANDARD { "standard input".to_owned() } else { format!("{name:?}") };
        let file =
            file.map_err(|error| TransferError::io(format_args!("open {shown} for --input"), &error))?;
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Err(TransferError::io(format_args!("read {shown}"), &io::ErrorKind::IsADirectory.into()));
        }
        Ok(InputFile { file, name: shown })
    }

    /// What the system knows of the file.
    pub(super) fn metadata(&self) -> Option<Metadata> {
        self.file.metadata().ok()
    }

    /// All of it, as sealed memory; its size in bytes. Each pause of it may last for `patience`.
    ///
    /// # Errors
    /// It cannot be read, has more bytes than a blob may, or nothing comes of it for too long.
    pub(super) fn into_blob(mut self, patience: Duration) -> Result<(OwnedFd, u64), TransferError> {
        let what = format!("make a blob of {}", self.name);
        let failed = |error: io::Error| {
            let is_late = error.kind() == io::ErrorKind::TimedOut;
            let exit = if is_late { Exit::Deadline } else { Exit::Failed };
            TransferError::new(exit, format!("cannot {what}: {error}"))
        };
        if self.left().is_some_and(|bytes| bytes > BLOB_IN_BAND_BYTES_MAX) {
            return Err(failed(too_large()));
        }
        let mut from = Waiting(self.file, patience).take(BLOB_IN_BAND_BYTES_MAX + 1);
        let blob = Blob::filled_by(|memory| match io::copy(&mut from, memory)? {
            bytes if bytes > BLOB_IN_BAND_BYTES_MAX => Err(too_large()),
            _ => Ok(()),
        });
        let blob = blob.map_err(failed)?;
        let bytes = blob.bytes();
        Ok((blob.into_file().into(), bytes))
    }

    /// How many bytes of a regular file are to come.
    fn left(&mut self) -> Option<u64> {
        let metadata = self.file.metadata().ok().filter(Metadata::is_file)?;
        Some(metadata.len().saturating_sub(self.file.stream_position().ok()?))
    }

    /// The descriptor, to be read when poll(2) says so.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.file.into()
    }
}

fn too_large() -> io::Error {
    let text = format!("it has more than the {BLOB_IN_BAND_BYTES_MAX} bytes of the largest blob");
    io::Error::new(io::ErrorKind::FileTooLarge, text)
}

/// Reads once there is something to read, for which it waits so long.
struct Waiting(File, Duration);

impl Read for Waiting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !super::pump::has_within(self.0.as_fd(), PollFlags::POLLIN, self.1) {
                let text = "nothing came for the time of --timeout; a longer one lets it wait";
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}
