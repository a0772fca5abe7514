//! The plain bytes of one file of a stream, whether it is packed or not.
//!
//! What this file deliberately does not do: look for lines.
//!
//! What always holds: no symbolic link is followed, and nothing but a regular file is opened; at most one block
//! or one member is read at a time.

use crate::packed_file::{DamageLog, PackedFile, Part};
use nix::fcntl::OFlag;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Size of a block of a file that is not packed. Bytes.
const BLOCK_BYTES: usize = 64 * 1024;

/// An open file of a stream.
#[derive(Debug)]
pub(crate) enum Content {
    Plain(File),
    Packed(PackedFile),
}

impl Content {
    /// Opens a file for reading; `None` when there is none.
    ///
    /// # Errors
    /// The file cannot be opened or read.
    pub(crate) fn open(path: &Path, is_packed: bool) -> io::Result<Option<Content>> {
        let Some(file) = open(path)? else { return Ok(None) };
        Ok(Some(if is_packed { Content::Packed(PackedFile::new(file, path)?) } else { Content::Plain(file) }))
    }

    /// How many plain bytes there are; a packed file's damaged parts count as they claim.
    pub(crate) fn len(&self) -> io::Result<u64> {
        match self {
            Content::Plain(file) => Ok(file.metadata()?.len()),
            Content::Packed(packed) => Ok(packed.len()),
        }
    }

    /// A block of plain bytes that begins there.
    pub(crate) fn read_after(&mut self, at: u64) -> io::Result<Part> {
        let file = match self {
            Content::Plain(file) => file,
            Content::Packed(packed) => return packed.read_after(at),
        };
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            match file.read_at(&mut block, at) {
                Ok(0) => return Ok(Part::End),
                Ok(bytes) => {
                    block.truncate(bytes);
                    return Ok(Part::Bytes(block));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A block of plain bytes that ends there; the end also where the file became shorter meanwhile.
    pub(crate) fn read_before(&mut self, at: u64) -> io::Result<Part> {
        let file = match self {
            Content::Plain(file) => file,
            Content::Packed(packed) => return packed.read_before(at),
        };
        let bytes = at.min(BLOCK_BYTES as u64);
        if bytes == 0 {
            return Ok(Part::End);
        }
        let mut block = vec![0; usize::try_from(bytes).unwrap_or(BLOCK_BYTES)];
        match file.read_exact_at(&mut block, at - bytes) {
            Ok(()) => Ok(Part::Bytes(block)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Part::End),
            Err(error) => Err(error),
        }
    }

    /// Hands the damaged parts that were passed over to `log`.
    pub(crate) fn tell_damage(&mut self, log: &mut DamageLog) {
        if let Content::Packed(packed) = self {
            log.absorb(packed.damage());
        }
    }
}

/// Opens a file for reading; `None` when there is none.
///
/// Neither follows a symbolic link nor waits for the other end of a FIFO that someone put there.
pub(crate) fn open(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(Some(file))
}
