//! Where input comes from: a file, opened as this user, or standard input.
//!
//! What it deliberately does not do: read it into memory of this process.

use super::standard::{STANDARD, Standard};
use super::transfer_error::TransferError;
use nix::fcntl::OFlag;
use rpc_plugin_interface::Blob;
use rpc_plugin_interface::fd::BLOB_IN_BAND_BYTES_MAX;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

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

    /// All of it, as sealed memory; its size in bytes.
    ///
    /// # Errors
    /// It cannot be read, or has more bytes than a blob may.
    pub(super) fn into_blob(self) -> Result<(OwnedFd, u64), TransferError> {
        let mut from = Waiting(self.file).take(BLOB_IN_BAND_BYTES_MAX + 1);
        let blob = Blob::filled_by(|memory| match io::copy(&mut from, memory)? {
            bytes if bytes > BLOB_IN_BAND_BYTES_MAX => {
                let text = format!("it has more than the {BLOB_IN_BAND_BYTES_MAX} bytes of the largest blob");
                Err(io::Error::new(io::ErrorKind::FileTooLarge, text))
            }
            _ => Ok(()),
        });
        let blob =
            blob.map_err(|error| TransferError::io(format_args!("make a blob of {}", self.name), &error))?;
        let bytes = blob.bytes();
        Ok((blob.into_file().into(), bytes))
    }

    /// The descriptor, to be read when poll(2) says so.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.file.into()
    }
}

/// Reads once there is something to read.
struct Waiting(File);

impl Read for Waiting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            super::pump::wait_readable(self.0.as_fd())?;
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}
