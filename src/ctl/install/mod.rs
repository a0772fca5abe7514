//! Archives of packages: read as the caller, checked whole, and unpacked into a private folder.
//!
//! What it deliberately does not do: say whether a package's publisher is trusted; the daemon does, over what it reads itself.
//!
//! What always holds: an archive is read to its last byte, and everything that can be said of it is, before a file of it is
//! written: its SHA-256 first, then its entries, its manifest, and its files against that. What is unpacked afterwards
//! are those bytes: the archive is hashed each time that it is read. The folder is the caller's alone, and goes at the end.

mod archive;
mod archive_error;
mod extended;
#[cfg(test)]
mod tests;
mod unpack;

use crate::package::digest::{Digest, Hasher};
use crate::package::manifest::{MANIFEST_BYTES_MAX, MANIFEST_NAME, Manifest, SIGNATURE_NAME};
use crate::package::path::PackagePath;
use crate::package::{FAULTS_MAX, quoted, shown_path};
use crate::sys::interrupts::Interrupts;
use archive::{BOUNDS, Bounds, Contents, read_archive};
use archive_error::ArchiveError;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
pub(super) use unpack::Unpacked;

/// Longest archive that is taken from standard input. Bytes.
const ARCHIVE_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;
/// What is read at once. Bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// What an archive has to be.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Expected {
    /// The SHA-256 of its bytes.
    pub(super) digest: Option<Digest>,
    /// Whether it may be without a signature although no digest is named.
    pub(super) may_be_unsigned: bool,
}

/// A function that is told how many bytes of how many were read. An archive is read three times.
pub(super) type ReadProgress<'p> = dyn FnMut(u64, u64) + 'p;

/// Lines that say what is wrong, each with the archive's name.
pub(super) type ArchiveFaults = Vec<String>;

/// Reads, checks and unpacks an archive; `-` is standard input.
///
/// # Errors
/// All that is wrong with it.
pub(super) fn open_archive(
    name: &Path,
    expected: Expected,
    interrupts: Option<&Interrupts>,
    progress: &mut ReadProgress<'_>,
) -> Result<Unpacked, ArchiveFaults> {
    let shown = if name == Path::new("-") { "standard input".to_owned() } else { shown_path(name) };
    let told = |problem: String| vec![format!("{shown}: {problem}")];
    let opened = if name == Path::new("-") {
        // Not through its buffer, which would hold back what a poll is to see.
        let stdin = io::stdin().as_fd().try_clone_to_owned();
        stdin.and_then(|stdin| spooled(File::from(stdin), ARCHIVE_BYTES_MAX, interrupts))
    } else {
        File::open(name).and_then(|file| match file.metadata()? {
            of if of.is_dir() => Err(io::Error::other("is a folder; expected an archive")),
            of if of.is_file() => Ok(file),
            _ => spooled(file, ARCHIVE_BYTES_MAX, interrupts),
        })
    };
    let file = opened.map_err(|error| told(error.to_string()))?;
    open_file(&file, &shown, (expected, BOUNDS), interrupts, progress)
}

/// The same of an archive that is open.
fn open_file(
    file: &File,
    shown: &str,
    (expected, bounds): (Expected, Bounds),
    interrupts: Option<&Interrupts>,
    progress: &mut ReadProgress<'_>,
) -> Result<Unpacked, ArchiveFaults> {
    let told = |problem: String| vec![format!("{shown}: {problem}")];
    let failed = |error: ArchiveError| told(error.to_string());
    let mut passes = Passes::new(file, interrupts, progress).map_err(|error| told(error.to_string()))?;
    let digest = passes.pass(|reader| digest_of(reader).map_err(ArchiveError::of_reading)).map_err(failed)?;
    if let Some(expected) = expected.digest
        && expected != digest
    {
        return Err(told(format!("expected SHA-256 {expected}; seen {digest}")));
    }
    let (contents, found) = passes.pass(|reader| survey(reader, bounds)).map_err(failed)?;
    let top = top_of(&contents).map_err(failed)?;
    let manifest = manifest_of(&found, &top, shown)?;
    check_files(&contents, &found, &top, &manifest)
        .map_err(|faults| faults.iter().flat_map(|fault| told(fault.clone())).collect::<ArchiveFaults>())?;
    let is_signed = contents.files.contains_key(&*format!("{top}{SIGNATURE_NAME}"));
    if !is_signed && expected.digest.is_none() && !expected.may_be_unsigned {
        return Err(told(format!(
            "is not signed (there is no {SIGNATURE_NAME}); expected --sha256 with the digest that its publisher names, or \
             --unsigned; seen SHA-256 {digest}"
        )));
    }
    let unpacked = passes.pass(|reader| unpack::unpack(reader, &contents, &top, bounds)).map_err(failed)?;
    if contents.digest != Some(digest) || unpacked.digest != Some(digest) {
        return Err(told("was changed while it was read".to_owned()));
    }
    Ok(unpacked)
}

/// A file that is read several times, with how far that is.
struct Passes<'f, 'p> {
    file: &'f File,
    done: u64,
    total: u64,
    interrupts: Option<&'f Interrupts>,
    progress: &'f mut ReadProgress<'p>,
}

impl<'f, 'p> Passes<'f, 'p> {
    fn new(
        file: &'f File,
        interrupts: Option<&'f Interrupts>,
        progress: &'f mut ReadProgress<'p>,
    ) -> io::Result<Passes<'f, 'p>> {
        let total = file.metadata()?.len().saturating_mul(3);
        Ok(Passes { file, done: 0, total, interrupts, progress })
    }

    fn pass<T>(
        &mut self,
        read: impl FnOnce(&mut dyn Read) -> Result<T, ArchiveError>,
    ) -> Result<T, ArchiveError> {
        self.file.rewind().map_err(ArchiveError::of_reading)?;
        read(&mut io::BufReader::with_capacity(PIECE_BYTES, self))
    }
}

impl Read for Passes<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.interrupts.is_some_and(Interrupts::came) {
            return Err(interrupted());
        }
        let read = self.file.read(buffer)?;
        self.done = self.done.saturating_add(read as u64);
        (self.progress)(self.done, self.total);
        Ok(read)
    }
}

fn digest_of(reader: &mut dyn Read) -> io::Result<Digest> {
    let mut hasher = Hasher::default();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match reader.read(&mut piece)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(piece.get(..read).unwrap_or_default()),
        }
    }
}

/// Not of the kind that is tried again.
fn interrupted() -> io::Error {
    io::Error::other("interrupted")
}

/// Waits until there is something to read.
fn wait_for_input(from: BorrowedFd<'_>, interrupts: &Interrupts) -> io::Result<()> {
    let mut polled =
        [PollFd::new(from, PollFlags::POLLIN), PollFd::new(interrupts.as_fd(), PollFlags::POLLIN)];
    poll(&mut polled, PollTimeout::NONE)?;
    if interrupts.came() { Err(interrupted()) } else { Ok(()) }
}

/// A file without a name with all that can be read.
fn spooled(mut from: File, bytes_max: u64, interrupts: Option<&Interrupts>) -> io::Result<File> {
    let folder = crate::sys::temporary::TemporaryFolder::new("rpcpluginctl")?;
    let path = folder.path().join("archive");
    let mut file = File::options().read(true).write(true).create_new(true).open(path)?;
    drop(folder);
    let mut piece = vec![0; PIECE_BYTES];
    let mut bytes = 0u64;
    loop {
        if let Some(interrupts) = interrupts {
            wait_for_input(from.as_fd(), interrupts)?;
        }
        let read = from.read(&mut piece)?;
        if read == 0 {
            return Ok(file);
        }
        bytes = bytes.saturating_add(read as u64);
        if bytes > bytes_max {
            return Err(io::Error::other(format!("has more than {bytes_max} bytes")));
        }
        file.write_all(piece.get(..read).unwrap_or_default())?;
    }
}

/// What the files of an archive are.
#[derive(Default)]
struct Survey {
    digests: BTreeMap<PackagePath, Digest>,
    /// The manifest that is at the top, or the first that is in a top folder.
    manifest: Option<(PackagePath, Vec<u8>)>,
}

/// Reads an archive without writing anything.
fn survey(reader: &mut dyn Read, bounds: Bounds) -> Result<(Contents, Survey), ArchiveError> {
    let mut found = Survey::default();
    let contents = read_archive(reader, bounds, &mut |path, _, content| {
        let mut hasher = Hasher::default();
        let name = path.as_str();
        let is_top = name == MANIFEST_NAME;
        let is_below = name.split_once('/').is_some_and(|(_, rest)| rest == MANIFEST_NAME);
        let mut kept = (is_top || is_below && found.manifest.is_none()).then(Vec::new);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = content.read(&mut piece).map_err(|_| "it is cut off".to_owned())?;
            let Some(read @ [_, ..]) = piece.get(..read) else { break };
            hasher.update(read);
            if let Some(kept) = &mut kept {
                kept.extend_from_slice(read);
                if kept.len() > MANIFEST_BYTES_MAX {
                    return Err(format!("has more than {MANIFEST_BYTES_MAX} bytes"));
                }
            }
        }
        found.digests.insert(path.clone(), hasher.finish());
        found.manifest = kept.map(|kept| (path.clone(), kept)).or(found.manifest.take());
        Ok(())
    })?;
    Ok((contents, found))
}

/// What stands before every path of the package: nothing, or the archive's one top folder and a `/`.
fn top_of(contents: &Contents) -> Result<String, ArchiveError> {
    if contents.files.contains_key(MANIFEST_NAME) {
        return Ok(String::new());
    }
    let paths = || contents.files.keys().chain(&contents.folders).map(PackagePath::as_str);
    let first = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    let mut tops = paths().map(first);
    let top = tops.next().filter(|top| tops.all(|other| other == *top)).map(|top| format!("{top}/"));
    top.filter(|top| contents.files.contains_key(&*format!("{top}{MANIFEST_NAME}"))).ok_or_else(|| {
        ArchiveError::new(format!(
            "has no {MANIFEST_NAME}; expected one at its top, or in the one folder that all of it is in"
        ))
    })
}

fn manifest_of(found: &Survey, top: &str, shown: &str) -> Result<Manifest, ArchiveFaults> {
    let expected = format!("{top}{MANIFEST_NAME}");
    let manifest = found.manifest.as_ref().filter(|(path, _)| path.as_str() == expected);
    let bytes = manifest.map(|(_, bytes)| bytes.as_slice()).unwrap_or_default();
    let read = Manifest::read(Path::new(&format!("{shown}: {MANIFEST_NAME}")), bytes);
    read.map_err(|errors| errors.to_string().lines().map(str::to_owned).collect())
}

/// Whether the files are those that the manifest lists.
fn check_files(
    contents: &Contents,
    found: &Survey,
    top: &str,
    manifest: &Manifest,
) -> Result<(), Vec<String>> {
    let mut faults = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for (path, file) in &contents.files {
        let Some(path_in) = path.as_str().strip_prefix(top) else { continue };
        if [MANIFEST_NAME, SIGNATURE_NAME].contains(&path_in) {
            continue;
        }
        let shown = quoted(path_in);
        let Some((listed, expected)) = manifest.files.get_key_value(path_in) else {
            faults.push(format!("{shown}: is not listed in \"files\""));
            continue;
        };
        seen.insert(listed);
        if *listed == manifest.entrypoint && !file.is_executable {
            faults.push(format!("{shown}: is the entrypoint, and not executable; chmod a+x it"));
        }
        if let Some(digest) = found.digests.get(path)
            && digest != expected
        {
            faults.push(format!("{shown}: has SHA-256 {digest}, and {expected} is listed"));
        }
    }
    let missing = manifest.files.keys().filter(|path| !seen.contains(path));
    let missing =
        missing.map(|path| format!("{}: is missing, and listed in \"files\"", quoted(path.as_str())));
    faults.extend(missing);
    let more = faults.len().saturating_sub(FAULTS_MAX);
    faults.truncate(FAULTS_MAX);
    faults.extend((more > 0).then(|| format!("and {more} more")));
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}
