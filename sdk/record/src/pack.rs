//! Packing a rotated file: `events.jsonl.N` becomes `events.jsonl.N.gz`.
//!
//! What this file deliberately does not do: choose what is packed, or when.
//!
//! What always holds: the plain file is removed only when the packed one is whole under its own name, and on the
//! disk where that is asked for, so that a crash loses nothing; while both are there, readers take the plain one;
//! the packed file is smaller than the plain one, and than the limit that is given.

use crate::disk::{Disk, Place};
use crate::member::{FILL_BYTES, MemberPacker};
use crate::segment::{PACKED_SUFFIX, parse_rotated, rotated_name};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// What follows the name of a rotated file while it is packed. No reader takes it for a part of the record.
const PACKING_SUFFIX: &str = ".packing";

/// Removes what packing left when the process was killed: half-made files, and packed ones whose plain file is
/// still there. Nothing may be packing in the folder meanwhile.
///
/// # Errors
/// The folder cannot be read, or a file cannot be removed.
pub fn remove_leftovers(folder: &Path, name: &str) -> io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let file_name = entry?.file_name();
        let Some(file_name) = file_name.to_str() else { continue };
        let half_made = file_name.strip_suffix(PACKING_SUFFIX);
        let is_half_made = half_made.is_some_and(|plain| parse_rotated(plain, name).is_some());
        let packed = file_name.strip_suffix(PACKED_SUFFIX);
        let packed = packed.filter(|_| parse_rotated(file_name, name).is_some());
        if is_half_made || packed.is_some_and(|plain| folder.join(plain).exists()) {
            std::fs::remove_file(folder.join(file_name))?;
        }
    }
    Ok(())
}

/// What packing a file may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackLimits {
    /// Most bytes of the packed file.
    pub bytes_max: u64,
    /// Whether the packed file must be on the disk before the plain one is removed.
    pub is_durable: bool,
}

/// What became of a file that was to be packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Packing {
    /// It is packed.
    Done,
    /// It is gone: it was the oldest, and was removed.
    Gone,
    /// It stays as it is: packed it would not be smaller, or larger than is allowed.
    NotSmaller,
    /// It stays as it is: the caller stopped it.
    Stopped,
}

/// Packs the rotated file of the stream `name` that begins with the line of number `first_seq`. `goes_on` is
/// asked before each 64 KiB. At most one file of a stream may be packed at a time.
///
/// # Errors
/// Those of the disk; the plain file stays then. `Unsupported` without feature `compress`.
pub fn pack(
    disk: &dyn Disk,
    place: &Place,
    name: &str,
    first_seq: u64,
    limits: PackLimits,
    goes_on: &dyn Fn() -> bool,
) -> io::Result<Packing> {
    let folder = disk.open_folder(place)?;
    let plain = rotated_name(name, first_seq);
    let Some(source) = disk.open_to_read(&folder, &plain)? else { return Ok(Packing::Gone) };
    let (half_made, packed) = (format!("{plain}{PACKING_SUFFIX}"), format!("{plain}{PACKED_SUFFIX}"));
    let result = (|| {
        // One that a packing before left is not gone on with.
        disk.remove(&folder, &half_made)?;
        let (out, _) = disk.open(&folder, &half_made)?;
        let bytes_max = limits.bytes_max.min(source.metadata()?.len().saturating_sub(1));
        let mut copy = Copy { disk, source: &source, out, left: bytes_max };
        let made = copy.run(goes_on)?;
        if made == Packing::Done && limits.is_durable {
            disk.sync(&copy.out)?;
        }
        Ok(made)
    })();
    if !matches!(result, Ok(Packing::Done)) {
        let _ = disk.remove(&folder, &half_made);
        return result;
    }
    match replace(disk, &folder, &source, [&half_made, &packed, &plain], limits.is_durable) {
        Ok(made) => Ok(made),
        Err(error) => {
            // The plain one is there: without it nothing is left of this attempt.
            let _ = disk.remove(&folder, &half_made);
            if disk.open_to_read(&folder, &plain).is_ok_and(|plain| plain.is_some()) {
                let _ = disk.remove(&folder, &packed);
            }
            Err(error)
        }
    }
}

/// Puts the packed file in the place of the plain one.
fn replace(
    disk: &dyn Disk,
    folder: &OwnedFd,
    source: &File,
    [half_made, packed, plain]: [&str; 3],
    is_durable: bool,
) -> io::Result<Packing> {
    // The oldest is removed by who appends, at any time. One that is gone must not come back by its packed copy, beside
    // newer ones that were removed since: a process that is killed here would leave a gap.
    if source.metadata()?.nlink() == 0 {
        disk.remove(folder, half_made)?;
        return Ok(Packing::Gone);
    }
    disk.rename(folder, half_made, packed)?;
    if is_durable {
        // The new name first, then the old one goes.
        disk.sync_folder(folder)?;
    }
    if source.metadata()?.nlink() == 0 {
        // It was removed in between, perhaps just before the packed one had its name.
        disk.remove(folder, packed)?;
        return Ok(Packing::Gone);
    }
    disk.remove(folder, plain)?;
    Ok(Packing::Done)
}

struct Copy<'a> {
    disk: &'a dyn Disk,
    source: &'a File,
    out: File,
    /// Bytes that may still be written.
    left: u64,
}

impl Copy<'_> {
    fn run(&mut self, goes_on: &dyn Fn() -> bool) -> io::Result<Packing> {
        let mut packer = MemberPacker::new()?;
        let (mut waiting, mut block) = (Vec::new(), vec![0; FILL_BYTES]);
        let mut offset = 0;
        loop {
            if !goes_on() {
                return Ok(Packing::Stopped);
            }
            let read = match self.source.read_at(&mut block, offset) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            offset += read as u64;
            waiting.extend_from_slice(block.get(..read).unwrap_or_default());
            while waiting.len() >= FILL_BYTES || read == 0 && !waiting.is_empty() {
                // Whole lines, so that one damaged member costs no line of another.
                let fits = waiting.get(..FILL_BYTES).unwrap_or(&waiting);
                let end = fits.iter().rposition(|b| *b == b'\n').map_or(fits.len(), |at| at + 1);
                let member = packer.pack(fits.get(..end).unwrap_or_default());
                if !self.write(member)? {
                    return Ok(Packing::NotSmaller);
                }
                waiting.drain(..end);
            }
            if read == 0 {
                let is_written = self.write(packer.pack(&[]))?;
                return Ok(if is_written { Packing::Done } else { Packing::NotSmaller });
            }
        }
    }

    /// Writes a member; false without one, or where there is no room for it.
    fn write(&mut self, member: Option<&[u8]>) -> io::Result<bool> {
        let Some(mut rest) = member else { return Ok(false) };
        let Some(left) = self.left.checked_sub(rest.len() as u64) else { return Ok(false) };
        while !rest.is_empty() {
            match self.disk.write(&self.out, rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.left = left;
        Ok(true)
    }
}
