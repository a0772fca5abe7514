//! Where output goes: a file, opened as this user, or standard output.
//!
//! What always holds: a file that is there is emptied, and one that is not is made, once there is something to write;
//! whether it can be is looked at before the call is made.

use super::input_file::InputFile;
use super::pump::{CopyEnd, Ended};
use super::standard::{STANDARD, Standard};
use super::transfer_error::TransferError;
use crate::ctl::exit::Exit;
use nix::fcntl::OFlag;
use nix::unistd::{AccessFlags, access};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// What is written into.
#[derive(Debug)]
pub(super) struct OutputFile {
    /// `None`: a file that is to be made.
    file: Option<File>,
    name: String,
    is_standard: bool,
}

impl OutputFile {
    /// Looks whether it can be written into. `-` is standard output.
    ///
    /// # Errors
    /// It cannot be written into, or is what is read.
    pub(super) fn open(
        name: &str,
        standard: &Standard<'_>,
        source: Option<&InputFile>,
    ) -> Result<OutputFile, TransferError> {
        if name == STANDARD {
            let fd = standard.output.map_err(TransferError::usage)?;
            let file = fd.try_clone_to_owned().map(File::from);
            let file = file.map_err(|error| TransferError::io("use standard output", &error))?;
            return Ok(OutputFile {
                file: Some(file),
                name: "standard output".to_owned(),
                is_standard: true,
            });
        }
        let cannot = |error: io::Error| TransferError::io(format_args!("open {name:?} for --output"), &error);
        let file = match open(name, false) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let folder = Path::new(name).parent().filter(|folder| *folder != Path::new(""));
                let folder = folder.unwrap_or(Path::new("."));
                access(folder, AccessFlags::W_OK | AccessFlags::X_OK)
                    .map_err(|errno| cannot(errno.into()))?;
                None
            }
            Err(error) => return Err(cannot(error)),
        };
        let (written, read) =
            (file.as_ref().and_then(|file| file.metadata().ok()), source.and_then(InputFile::metadata));
        if let (Some(written), Some(read)) = (written, read)
            && written.is_file()
            && (written.dev(), written.ino()) == (read.dev(), read.ino())
        {
            return Err(TransferError::usage(format!("--input and --output are the same file: {name:?}")));
        }
        Ok(OutputFile { file, name: name.to_owned(), is_standard: false })
    }

    /// The descriptor, once there is something to write.
    ///
    /// # Errors
    /// The file cannot be made or emptied.
    pub(super) fn begin(&self) -> Result<OwnedFd, TransferError> {
        let file = match &self.file {
            Some(file) => file.try_clone().and_then(|file| {
                let is_kept = self.is_standard || !file.metadata()?.is_file();
                if is_kept { Ok(file) } else { file.set_len(0).map(|()| file) }
            }),
            None => open(&self.name, true),
        };
        let what = format_args!("open {:?} for --output", self.name);
        file.map(OwnedFd::from).map_err(|error| TransferError::io(what, &error))
    }

    /// Whether all was written.
    ///
    /// # Errors
    /// Not all came, or not all was written; how much was.
    pub(super) fn check(&self, end: &CopyEnd) -> Result<(), TransferError> {
        let so_far = format!("{} bytes were written to {}", end.bytes, self.name);
        let (exit, text) = match &end.how {
            Ended::Whole => return Ok(()),
            Ended::Unwanted if self.is_standard => {
                return Err(TransferError::new(Exit::Ok, ""));
            }
            Ended::Unwanted => (Exit::Failed, format!("nobody reads {} any more; {so_far}", self.name)),
            Ended::Stopped => (Exit::Failed, format!("stopped; {so_far}")),
            Ended::Stalled => (Exit::Deadline, format!("no byte came for the time of --timeout; {so_far}")),
            Ended::Short => (Exit::NotAvailable, format!("the blob ended early; {so_far}")),
            Ended::ReadFailed(error) => (Exit::Failed, format!("cannot read the stream: {error}; {so_far}")),
            Ended::WriteFailed(error) => {
                (Exit::Failed, format!("cannot write to {}: {error}; {so_far}", self.name))
            }
        };
        Err(TransferError::new(exit, text))
    }
}

/// Opens a file to be written, without waiting for a reader where it is a FIFO.
fn open(name: &str, makes: bool) -> io::Result<File> {
    let flags = OFlag::O_NONBLOCK.bits();
    File::options().write(true).create(makes).truncate(makes).custom_flags(flags).open(name)
}
