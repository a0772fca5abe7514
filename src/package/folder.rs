//! A package's folder held against its manifest: what is missing, not listed, or something else.
//!
//! What it deliberately does not do: execute, copy or trust anything; say who may change the folder meanwhile.
//!
//! What always holds: nothing but regular files and folders is opened, and no link is followed, whoever puts one there
//! meanwhile: everything is opened from the descriptor of the folder that it is in. Of what is wrong the first [`FAULTS_MAX`]
//! are told, and the rest is counted; no more is read than the manifest may list, and no file that is larger than may be.

use super::digest::{Digest, Hasher};
use super::manifest::{MANIFEST_BYTES_MAX, MANIFEST_NAME, Manifest, SIGNATURE_NAME};
use super::path::PackagePath;
use super::signature::SIGNATURE_BYTES_MAX;
use crate::state::config_error::{ConfigErrors, quoted};
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, fstatat};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Most faults that are told in full.
pub const FAULTS_MAX: usize = 20;
/// Largest file of a package. Bytes.
pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Most bytes of a package's files together.
pub const PACKAGE_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;
/// Most entries that are looked at in one folder of a package and below.
const ENTRIES_MAX: usize = 20_000;
/// Deepest folder below a package's.
const DEPTH_MAX: usize = 32;
/// What is read at once. Bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// A folder that is as its manifest says.
#[derive(Debug)]
#[non_exhaustive]
pub struct PackageFolder {
    /// What its manifest says.
    pub manifest: Manifest,
    /// That of the manifest's bytes, which stands for the whole package.
    pub digest: Digest,
    /// All of its files together. Bytes.
    pub bytes: u64,
    /// The bytes that the manifest was read from.
    pub manifest_bytes: Vec<u8>,
    /// The signature beside it, as it was read. Nothing of it is checked.
    pub signature: Option<Vec<u8>>,
}

/// What is wrong with a folder.
#[derive(Debug)]
#[non_exhaustive]
pub enum FolderFaults {
    /// Its manifest cannot be read.
    Unreadable(PathBuf, io::Error),
    /// Its manifest is wrong.
    Manifest(ConfigErrors),
    /// Its files are not those of its manifest: the first faults, and how many more there are.
    Files(Vec<String>, usize),
}

impl fmt::Display for FolderFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FolderFaults::Unreadable(path, error) if error.kind() == io::ErrorKind::NotFound => write!(
                f,
                "{}: there is no such file; a package is a folder with a {MANIFEST_NAME} in it",
                path.display()
            ),
            FolderFaults::Unreadable(path, error) => write!(f, "{}: {error}", path.display()),
            FolderFaults::Manifest(errors) => errors.fmt(f),
            FolderFaults::Files(faults, more) => {
                f.write_str(&faults.join("\n"))?;
                if *more > 0 { write!(f, "\nand {more} more") } else { Ok(()) }
            }
        }
    }
}

impl std::error::Error for FolderFaults {}

/// Opens a folder below another; no link is followed, on the way or at its end.
fn open_folder(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(folder, name, flags, Mode::empty())?)
}

/// Opens a file below a folder, which has to be a regular one. Does not wait, whatever it is, and follows no link, on the
/// way or at its end.
pub(super) fn open_file(folder: BorrowedFd<'_>, path: &str) -> io::Result<File> {
    let (folders, name) = path.rsplit_once('/').map_or((None, path), |(folders, name)| (Some(folders), name));
    let mut below: Option<OwnedFd> = None;
    for part in folders.iter().flat_map(|folders| folders.split('/')) {
        below = Some(open_folder(below.as_ref().map_or(folder, AsFd::as_fd), &CString::new(part)?)?);
    }
    // A FIFO would wait for whoever writes into it.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let folder = below.as_ref().map_or(folder, AsFd::as_fd);
    let file = File::from(openat(folder, name, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(file)
}

/// A path for messages of one line, with its control characters escaped.
pub fn shown_path(path: &Path) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    path.to_string_lossy().chars().map(escaped).collect()
}

/// Reads the manifest of a folder and looks whether its files are those that it lists.
///
/// # Errors
/// What is wrong, all at once: first with the manifest, then with the files.
pub fn read_folder(folder: &Path) -> Result<PackageFolder, FolderFaults> {
    let path = PathBuf::from(shown_path(&folder.join(MANIFEST_NAME)));
    let unreadable = |error| FolderFaults::Unreadable(path.clone(), error);
    let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open(folder, flags, Mode::empty()).map_err(|errno| unreadable(errno.into()))?;
    let bytes = read_bounded(root.as_fd(), MANIFEST_NAME, MANIFEST_BYTES_MAX).map_err(unreadable)?;
    let manifest = Manifest::read(&path, &bytes).map_err(FolderFaults::Manifest)?;
    let mut found = FolderContent::default();
    found.walk(open_folder(root.as_fd(), c"."), "", 0);
    let signature = found.read_signature(root.as_fd());
    let files = std::mem::take(&mut found.files);
    for path in manifest.files.keys().filter(|path| !files.contains_key(*path)) {
        found.fault(format!("{}: is missing, and listed in \"files\"", quoted(path.as_str())));
    }
    let listed = files.iter().filter(|(path, _)| manifest.files.contains_key(*path));
    let bytes_of_files = listed.fold(0u64, |sum, (_, length)| sum.saturating_add(*length));
    let is_too_large = bytes_of_files > PACKAGE_BYTES_MAX;
    if is_too_large {
        found.fault(format!(
            "the files have {bytes_of_files} bytes together, {PACKAGE_BYTES_MAX} are the most; none was read"
        ));
    }
    let mut entrypoint_mode = None;
    for (path, length) in &files {
        let Some(expected) = manifest.files.get(path) else {
            found.fault(format!("{}: is not listed in \"files\"", quoted(path.as_str())));
            continue;
        };
        if *length > FILE_BYTES_MAX {
            found.fault(format!(
                "{}: has {length} bytes, {FILE_BYTES_MAX} are the most; it was not read",
                quoted(path.as_str())
            ));
            continue;
        }
        if is_too_large {
            continue;
        }
        match read_file(root.as_fd(), path.as_str(), *length) {
            Ok((seen, mode)) => {
                if *path == manifest.entrypoint {
                    entrypoint_mode = Some(mode);
                }
                if seen != *expected {
                    let path = quoted(path.as_str());
                    found.fault(format!("{path}: has SHA-256 {seen}, and {expected} is listed"));
                }
            }
            Err(error) => found.fault(format!("{}: {error}", quoted(path.as_str()))),
        }
    }
    if entrypoint_mode.is_some_and(|mode| mode & 0o111 == 0) {
        let entrypoint = quoted(manifest.entrypoint.as_str());
        found.fault(format!("{entrypoint}: is the entrypoint, and not executable; chmod a+x it"));
    }
    if !found.faults.is_empty() {
        return Err(FolderFaults::Files(found.faults, found.more));
    }
    Ok(PackageFolder {
        digest: Digest::of(&bytes),
        manifest,
        bytes: bytes_of_files,
        manifest_bytes: bytes,
        signature,
    })
}

/// A file in a folder, which may have so many bytes.
fn read_bounded(folder: BorrowedFd<'_>, name: &str, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_file(folder, name)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(io::Error::other(format!("it has more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// The digest and the mode of a file of so many bytes.
fn read_file(folder: BorrowedFd<'_>, path: &str, length: u64) -> io::Result<(Digest, u32)> {
    let file = open_file(folder, path)?;
    let mode = file.metadata()?.mode();
    // One byte more tells that it has grown, and no more than that is read of what grows on.
    let (mut file, mut hasher, mut count) = (file.take(length + 1), Hasher::default(), 0);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece)? {
            0 if count == length => return Ok((hasher.finish(), mode)),
            0 => return Err(io::Error::other("it was changed while it was read")),
            read => {
                count += read as u64;
                hasher.update(piece.get(..read).unwrap_or_default());
            }
        }
    }
}

/// What is in a folder and below.
#[derive(Default)]
struct FolderContent {
    /// Regular files and their lengths, the manifest and its signature aside.
    files: BTreeMap<PackagePath, u64>,
    has_signature: bool,
    entries: usize,
    faults: Vec<String>,
    more: usize,
}

impl FolderContent {
    fn fault(&mut self, fault: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        } else {
            self.more += 1;
        }
    }

    /// The signature beside the manifest, if there is one.
    fn read_signature(&mut self, folder: BorrowedFd<'_>) -> Option<Vec<u8>> {
        let read = self.has_signature.then(|| read_bounded(folder, SIGNATURE_NAME, SIGNATURE_BYTES_MAX))?;
        read.map_err(|error| self.fault(format!("{}: {error}", quoted(SIGNATURE_NAME)))).ok()
    }

    /// The names in a folder, in an order that does not change from run to run; no more than may still be looked at.
    fn names(&mut self, folder: &mut Dir, below: &str) -> BTreeSet<CString> {
        let mut names = BTreeSet::new();
        for entry in folder.iter() {
            let name = match entry {
                Ok(entry) => entry.file_name().to_owned(),
                Err(errno) => {
                    self.fault(format!("{}: {errno}", quoted(below)));
                    break;
                }
            };
            if name.as_bytes() == b"." || name.as_bytes() == b".." {
                continue;
            }
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                self.fault(format!("{}: there are more than {ENTRIES_MAX} entries", quoted(below)));
                break;
            }
            names.insert(name);
        }
        names
    }

    /// Looks at everything in a folder; `below` is its path within the package, with a `/` at its end.
    fn walk(&mut self, folder: io::Result<OwnedFd>, below: &str, depth: usize) {
        let mut folder = match folder.and_then(|folder| Ok(Dir::from_fd(folder)?)) {
            Ok(folder) => folder,
            Err(error) => return self.fault(format!("{}: {error}", quoted(below))),
        };
        for name in self.names(&mut folder, below) {
            let path = format!("{below}{}", name.to_string_lossy());
            let stat = match fstatat(&folder, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(errno) => {
                    self.fault(format!("{}: {errno}", quoted(&path)));
                    continue;
                }
            };
            let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
            if kind == SFlag::S_IFDIR && depth < DEPTH_MAX {
                if self.entries <= ENTRIES_MAX {
                    self.walk(open_folder(folder.as_fd(), &name), &format!("{path}/"), depth + 1);
                }
            } else if kind == SFlag::S_IFLNK {
                self.fault(format!("{}: is a symbolic link, and a package has none", quoted(&path)));
            } else if kind != SFlag::S_IFREG {
                self.fault(format!(
                    "{}: is neither a file nor a folder within {DEPTH_MAX} levels",
                    quoted(&path)
                ));
            } else if stat.st_mode & 0o6000 != 0 {
                self.fault(format!("{}: is set-uid or set-gid; chmod ug-s it", quoted(&path)));
            } else if below.is_empty() && path == SIGNATURE_NAME {
                self.has_signature = true;
            } else if !below.is_empty() || path != MANIFEST_NAME {
                let length = u64::try_from(stat.st_size).unwrap_or_default();
                match name.to_str().map(|_| PackagePath::new(&path)) {
                    Ok(Ok(path)) => drop(self.files.insert(path, length)),
                    Ok(Err(problem)) => self.fault(problem),
                    Err(_) => self.fault(format!("{}: its name is not UTF-8", quoted(&path))),
                }
            }
        }
    }
}
