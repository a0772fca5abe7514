//! The loader that an ELF file names (PT_INTERP, elf(5)), which the kernel opens when the file is executed.
//!
//! What this file is for: a launch that fails because the loader is missing is explained with the loader's path, and made
//! again once there is one. What it deliberately does not do: judge the file; the kernel does when it is executed.
#![forbid(unsafe_code)]

use nix::sys::uio::pread;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// What an ELF file begins with.
pub(super) const MAGIC: &[u8] = b"\x7fELF";

/// Longest table of program headers that the kernel reads (fs/binfmt_elf.c). Bytes.
const TABLE_BYTES_MAX: usize = 4096;

/// Longest path of a loader that the kernel takes: `PATH_MAX`. Bytes, the NUL counted.
const PATH_BYTES_MAX: u64 = 4096;

/// Type of the program header that names the loader.
const PT_INTERP: u64 = 3;

/// Whether numbers of a file have their least significant byte first, and whether addresses have 64 bits.
#[derive(Clone, Copy)]
struct Layout {
    is_little_endian: bool,
    is_64_bit: bool,
}

/// Path of the loader that an ELF file names, of which `header` is the beginning. `None`: it names none, as one that is linked
/// statically, or is damaged. Blocks as reading the file does.
#[must_use]
pub(super) fn loader_of(file: &File, header: &[u8]) -> Option<PathBuf> {
    if !header.starts_with(MAGIC) {
        return None;
    }
    let layout = Layout {
        is_64_bit: match header.get(4)? {
            1 => false,
            2 => true,
            _ => return None,
        },
        is_little_endian: match header.get(5)? {
            1 => true,
            2 => false,
            _ => return None,
        },
    };
    let [table_at, entry_bytes, entries] =
        if layout.is_64_bit { [(32, 8), (54, 2), (56, 2)] } else { [(28, 4), (42, 2), (44, 2)] }
            .map(|place| layout.number(header, place));
    let entry_bytes = usize::try_from(entry_bytes?).ok()?;
    let table_bytes = entry_bytes.checked_mul(usize::try_from(entries?).ok()?)?;
    if entry_bytes == 0 || table_bytes > TABLE_BYTES_MAX {
        return None;
    }
    let table = read(file, table_at?, table_bytes).ok()?;
    let entry =
        table.chunks_exact(entry_bytes).find(|entry| layout.number(entry, (0, 4)) == Some(PT_INTERP))?;
    let [at, length] = if layout.is_64_bit { [(8, 8), (32, 8)] } else { [(4, 4), (16, 4)] }
        .map(|place| layout.number(entry, place));
    let length = length.filter(|length| (2..=PATH_BYTES_MAX).contains(length))?;
    let path = read(file, at?, usize::try_from(length).ok()?).ok()?;
    let end = path.iter().position(|byte| *byte == 0)?;
    Some(PathBuf::from(OsStr::from_bytes(path.get(..end)?)))
}

/// Whether an open file is an ELF file for 32 bits (ELFCLASS32, elf(5)); one for x32 is. Blocks as reading the file does.
#[must_use]
pub fn is_32_bit(file: BorrowedFd<'_>) -> bool {
    let mut header = [0; 5];
    let is_whole = pread(file, &mut header, 0).is_ok_and(|bytes| bytes == header.len());
    is_whole && header.starts_with(MAGIC) && header.last() == Some(&1)
}

impl Layout {
    /// The number of so many bytes at that offset.
    fn number(self, bytes: &[u8], (at, length): (usize, usize)) -> Option<u64> {
        let bytes = bytes.get(at..at.checked_add(length)?)?;
        let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(match self.is_little_endian {
            true => bytes.iter().rev().fold(0, add),
            false => bytes.iter().fold(0, add),
        })
    }
}

/// At most so many bytes of a file from there on.
pub(super) fn read(file: &File, at: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{elf_that_names, file, folder};
    use super::*;

    fn loader(content: &[u8]) -> Option<String> {
        let root = folder();
        let path = file(root.path(), "program", content, 0o755);
        let loader = loader_of(&File::open(path).unwrap(), content);
        loader.map(|path| path.into_os_string().into_string().unwrap())
    }

    #[test]
    fn the_loader_is_found_in_files_of_every_layout_and_in_this_one() {
        for is_64_bit in [false, true] {
            for is_little_endian in [false, true] {
                let elf = elf_that_names("/lib/ld.so.9", is_64_bit, is_little_endian, 62);
                assert_eq!(loader(&elf).as_deref(), Some("/lib/ld.so.9"), "{is_64_bit} {is_little_endian}");
                // Cut anywhere, it names none, and nothing worse happens.
                for length in 0..elf.len() {
                    assert_eq!(loader(&elf[..length]), None, "{length}");
                }
            }
        }
        let own = File::open("/proc/self/exe").unwrap();
        let own = loader_of(&own, &read(&own, 0, 64).unwrap());
        assert!(own.is_none_or(|path| path.exists()), "it runs");
    }

    #[test]
    fn what_is_damaged_names_no_loader() {
        let whole = elf_that_names("/lib/ld.so.9", true, true, 62);
        assert!(loader(&whole).is_some());
        let broken: [(usize, &[u8]); 7] = [
            (0, b"\x7fELG"),
            (4, &[3]),
            (5, &[0]),
            (32, &[0xff; 8]),
            (54, &[0, 0]),
            (56, &[0xff, 0xff]),
            (64 + 56 + 32, &[0xff; 8]),
        ];
        for (at, bytes) in broken {
            let mut elf = whole.clone();
            elf[at..at + bytes.len()].copy_from_slice(bytes);
            assert_eq!(loader(&elf), None, "{at}");
        }
    }
}
