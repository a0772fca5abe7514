//! A package's archive, tar or tar with gzip, read entry by entry.
//!
//! What it deliberately does not do: write anything ([`super::unpack`] does); look at a file's content.
//!
//! What always holds: every entry is a regular file or a folder with a path that stays inside, stands once, and is neither
//! set-uid nor set-gid; anything else ends the reading with an error that names it. No more entries and bytes are read than
//! a package may have, whatever a small archive unpacks to. An archive is read to its last byte: its digest is that of all
//! of them, and nothing but zeros stands behind its end. What of an extended header changes what an entry is, is read or
//! refused, never passed over.

use super::archive_error::ArchiveError;
use super::extended::{Extended, NAME_BYTES_MAX};
use crate::package::digest::{Digest, Hasher};
use crate::package::manifest::FILES_MAX;
use crate::package::path::PackagePath;
use crate::package::{FILE_BYTES_MAX, PACKAGE_BYTES_MAX, quoted};
use flate2::read::MultiGzDecoder;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use tar::{Archive, EntryType};

/// Bytes of a header, and what every entry is filled up to.
const BLOCK_BYTES: u64 = 512;
/// Most entries of an archive, extended headers among them.
const ENTRIES_MAX: usize = 60_000;
/// Most bytes behind the end of an archive, all of them zeros. Tapes are written in blocks of 10 KiB.
const PADDING_BYTES_MAX: u64 = 1024 * 1024;
/// What is read at once. Bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// How other formats begin, which people may take for a tar.
const OTHER_FORMATS: [(&[u8], &str); 6] = [
    (b"\xfd7zXZ\0", "compressed with xz"),
    (b"BZh", "compressed with bzip2"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"PK\x03\x04", "a zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"!<arch>\n", "an ar archive or a Debian package"),
];
const GZIP: &[u8] = b"\x1f\x8b";

/// What an archive may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Entries in it, extended headers among them.
    pub(super) entries: usize,
    /// Files in it.
    pub(super) files: usize,
    /// Bytes of one file.
    pub(super) file_bytes: u64,
    /// Bytes of all files.
    pub(super) bytes: u64,
}

/// The bounds of packages. The manifest and its signature are not among the files that it lists.
pub(super) const BOUNDS: Bounds = Bounds {
    entries: ENTRIES_MAX,
    files: FILES_MAX + 2,
    file_bytes: FILE_BYTES_MAX,
    bytes: PACKAGE_BYTES_MAX,
};

/// A file of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ArchivedFile {
    /// Its length. Bytes.
    pub(super) bytes: u64,
    /// Whether anybody may execute it.
    pub(super) is_executable: bool,
}

/// What is in an archive.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// Its files.
    pub(super) files: BTreeMap<PackagePath, ArchivedFile>,
    /// Folders that have an entry of their own.
    pub(super) folders: BTreeSet<PackagePath>,
    /// All of its files together. Bytes.
    pub(super) bytes: u64,
    /// The SHA-256 of the archive itself.
    pub(super) digest: Option<Digest>,
}

/// Takes a file of an archive: its path, what is known of it, and its bytes.
pub(super) type Take<'t> = dyn FnMut(&PackagePath, ArchivedFile, &mut dyn Read) -> Result<(), String> + 't;

/// Reads an archive to its end, and hands each file over.
///
/// # Errors
/// What is wrong with it first, with the entry.
pub(super) fn read_archive(
    archive: impl Read,
    bounds: Bounds,
    take: &mut Take<'_>,
) -> Result<Contents, ArchiveError> {
    let mut digest = Hasher::default();
    let mut contents = {
        let mut raw = Hashing { inner: archive, hasher: &mut digest };
        let mut head = Vec::new();
        raw.by_ref().take(BLOCK_BYTES).read_to_end(&mut head).map_err(ArchiveError::of_reading)?;
        let other = OTHER_FORMATS.iter().find(|(magic, _)| head.starts_with(magic));
        if let Some((_, other)) = other {
            return Err(ArchiveError::new(format!("is {other}; expected a tar archive, or one with gzip")));
        }
        if head.is_empty() {
            return Err(ArchiveError::new("is empty; expected a tar archive, or one with gzip"));
        }
        let is_gzip = head.starts_with(GZIP);
        let mut whole = head.as_slice().chain(&mut raw);
        match is_gzip {
            true => read_tar(MultiGzDecoder::new(&mut whole), bounds, take),
            false => read_tar(&mut whole, bounds, take),
        }?
    };
    contents.digest = Some(digest.finish());
    Ok(contents)
}

/// Reads a tar to its end.
fn read_tar(plain: impl Read, bounds: Bounds, take: &mut Take<'_>) -> Result<Contents, ArchiveError> {
    let mut archive = Archive::new(Counting { inner: plain, count: 0 });
    let mut reading = Reading { contents: Contents::default(), extended: Extended::default(), bounds };
    let (mut number, mut ends_at) = (0, 0);
    for entry in archive.entries().map_err(ArchiveError::of_reading)?.raw(true) {
        number += 1;
        let mut entry = match entry {
            Ok(entry) => entry,
            Err(error) if number == 1 => {
                return Err(ArchiveError::new(format!("is no tar archive: {}", reason(&error))));
            }
            Err(error) => return Err(ArchiveError::at(number, reason(&error))),
        };
        if number > bounds.entries {
            return Err(ArchiveError::new(format!("has more than {} entries", bounds.entries)));
        }
        reading.entry(&mut entry, take).map_err(|problem| ArchiveError::at(number, problem))?;
        let filled = entry.size().div_ceil(BLOCK_BYTES).saturating_mul(BLOCK_BYTES);
        ends_at = entry.raw_file_position().saturating_add(filled);
    }
    if reading.extended.is_pending() {
        return Err(ArchiveError::at(number, "is a header of an entry that does not follow".to_owned()));
    }
    let mut plain = archive.into_inner();
    if plain.count <= ends_at {
        return Err(ArchiveError::new("ends without its end mark; it was cut off"));
    }
    check_padding(&mut plain)?;
    reading.check_paths()?;
    Ok(reading.contents)
}

/// What stands behind the end: zeros, and not many.
fn check_padding(plain: &mut impl Read) -> Result<(), ArchiveError> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut left = PADDING_BYTES_MAX;
    loop {
        match plain.read(&mut piece).map_err(ArchiveError::of_reading)? {
            0 => return Ok(()),
            read if piece.iter().take(read).any(|byte| *byte != 0) => {
                return Err(ArchiveError::new("goes on behind its end"));
            }
            read => {
                left = left.checked_sub(read as u64).ok_or_else(|| {
                    ArchiveError::new(format!("has more than {PADDING_BYTES_MAX} zeros behind its end"))
                })?;
            }
        }
    }
}

/// What the tar crate says of an entry, in one line.
fn reason(error: &io::Error) -> String {
    // Of an end within an entry it makes an error of its own, which has no kind.
    const CUT_OFF: [&str; 2] = ["failed to read entire block", "unexpected EOF during skip"];
    let text = error.to_string();
    if error.kind() == io::ErrorKind::UnexpectedEof || CUT_OFF.contains(&&*text) {
        return "it is cut off".to_owned();
    }
    text.lines().next().unwrap_or_default().to_owned()
}

/// An archive whose entries are read one after the other.
struct Reading {
    contents: Contents,
    extended: Extended,
    bounds: Bounds,
}

impl Reading {
    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, take: &mut Take<'_>) -> Result<(), String> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::GNULongName | EntryType::XHeader | EntryType::XGlobalHeader) {
            let mut text = Vec::new();
            let read = entry.take(NAME_BYTES_MAX as u64 + 1).read_to_end(&mut text);
            read.map_err(|error| reason(&error))?;
            if text.len() > NAME_BYTES_MAX {
                return Err(format!("is a header of more than {NAME_BYTES_MAX} bytes"));
            }
            return match kind {
                EntryType::GNULongName => self.extended.take_long_name(text),
                EntryType::XHeader => self.extended.take_header(&text),
                _ => Extended::check_global(&text),
            };
        }
        let header = entry.header();
        let extended = std::mem::take(&mut self.extended);
        let name = extended.name.unwrap_or_else(|| header.path_bytes().into_owned());
        let name = String::from_utf8(name).map_err(|error| {
            format!("{}: its name is not UTF-8", quoted(&String::from_utf8_lossy(error.as_bytes())))
        })?;
        let shown = quoted(&name);
        let told = |problem: String| format!("{shown}: {problem}");
        if let Some(what) = what_else(kind) {
            return Err(told(format!("is {what}; a package has files and folders only")));
        }
        let bytes = entry.size();
        if extended.size.is_some_and(|size| size != bytes) {
            return Err(told("has two lengths".to_owned()));
        }
        let mode = header.mode().map_err(|error| told(reason(&error)))?;
        // "." and "./x" are what `tar -c .` writes.
        let path = name.strip_prefix("./").unwrap_or(&name);
        if kind == EntryType::Directory {
            let path = path.strip_suffix('/').unwrap_or(path);
            if bytes > 0 {
                return Err(told("is a folder with content".to_owned()));
            }
            if path.is_empty() || path == "." {
                return Ok(());
            }
            let path = PackagePath::new(path)?;
            if self.contents.files.contains_key(&path) || !self.contents.folders.insert(path) {
                return Err(told("stands twice".to_owned()));
            }
            return Ok(());
        }
        let path = PackagePath::new(path)?;
        if mode & 0o6000 != 0 {
            return Err(told(format!("is set-uid or set-gid (mode {mode:04o})")));
        }
        let file = ArchivedFile { bytes, is_executable: mode & 0o111 != 0 };
        self.file(&path, file, entry, take).map_err(told)
    }

    /// Takes a file.
    fn file(
        &mut self,
        path: &PackagePath,
        file: ArchivedFile,
        content: &mut impl Read,
        take: &mut Take<'_>,
    ) -> Result<(), String> {
        let Bounds { file_bytes, bytes, files, .. } = self.bounds;
        if file.bytes > file_bytes {
            return Err(format!("has {} bytes, {file_bytes} are the most", file.bytes));
        }
        self.contents.bytes = self.contents.bytes.saturating_add(file.bytes);
        if self.contents.bytes > bytes {
            return Err(format!("with it there are more than {bytes} bytes"));
        }
        if self.contents.files.len() >= files {
            return Err(format!("with it there are more than {files} files"));
        }
        if self.contents.folders.contains(path) || self.contents.files.insert(path.clone(), file).is_some() {
            return Err("stands twice".to_owned());
        }
        let mut content = Exactly { inner: content, left: file.bytes };
        take(path, file, &mut content)?;
        // Whatever was not taken is read all the same: that it is there is part of what is checked.
        io::copy(&mut content, &mut io::sink()).map_err(|error| reason(&error))?;
        Ok(())
    }

    /// No file is a folder on the way to another entry.
    fn check_paths(&self) -> Result<(), ArchiveError> {
        let Contents { files, folders, .. } = &self.contents;
        for path in files.keys().chain(folders) {
            if let Some(folder) = path.folders().find(|folder| files.contains_key(*folder)) {
                let (folder, path) = (quoted(folder), quoted(path.as_str()));
                return Err(ArchiveError::new(format!("{folder} is a file, and {path} is in it")));
            }
        }
        Ok(())
    }
}

/// What an entry is that is neither a file nor a folder.
fn what_else(kind: EntryType) -> Option<String> {
    let what = match kind {
        EntryType::Regular | EntryType::Directory => return None,
        EntryType::Link => "a hard link; pack it with `tar --hard-dereference`",
        EntryType::Symlink | EntryType::GNULongLink => "a symbolic link",
        EntryType::Char => "a character device",
        EntryType::Block => "a block device",
        EntryType::Fifo => "a named pipe",
        EntryType::GNUSparse => "a sparse file; pack it without `tar --sparse`",
        other => {
            return Some(format!("of a type that is not known here, {:?}", char::from(other.as_byte())));
        }
    };
    Some(what.to_owned())
}

/// Hashes what is read.
struct Hashing<'h, R> {
    inner: R,
    hasher: &'h mut Hasher,
}

impl<R: Read> Read for Hashing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// Counts what is read.
struct Counting<R> {
    inner: R,
    count: u64,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count = self.count.saturating_add(read as u64);
        Ok(read)
    }
}

/// So many bytes; an end before that is an error.
struct Exactly<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.saturating_sub(read as u64);
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(read)
    }
}
