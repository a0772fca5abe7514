//! A package's folder held against its manifest: what is missing, not listed, or something else.
//!
//! What it deliberately does not do: execute or trust anything; say who may change the folder meanwhile.
//!
//! What always holds: nothing but regular files and folders is opened, and no link is followed, whoever puts one there
//! meanwhile: everything is opened from the descriptor of the folder that it is in. Of what is wrong the first [`FAULTS_MAX`]
//! are told, and the rest is counted; no more is read than the manifest may list, and no file that is larger than may be.

use super::digest::{Digest, Hasher};
use super::manifest::{MANIFEST_BYTES_MAX, MANIFEST_NAME, Manifest, SIGNATURE_NAME};
use super::path::PackagePath;
use super::signature::SIGNATURE_BYTES_MAX;
use crate::state::config_error::{ConfigErrors, quoted};
use crate::sys::folder::Trust;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
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
pub(super) const PIECE_BYTES: usize = 64 * 1024;

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
    let unreadable =
        |errno: Errno| FolderFaults::Unreadable(shown_path(&folder.join(MANIFEST_NAME)).into(), errno.into());
    let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let package = OpenPackage::read(open(folder, flags, Mode::empty()).map_err(unreadable)?, folder)?;
    let mut piece = vec![0; PIECE_BYTES];
    package.check(&mut |path, expected, stamp| {
        let (_, seen) = package.read_file(path, stamp.length, &mut piece, &mut |_| Ok(()))?;
        if seen == *expected { Ok(()) } else { Err(other_content(seen, expected)) }
    })?;
    Ok(PackageFolder {
        digest: package.digest(),
        bytes: package.bytes(),
        manifest: package.manifest,
        manifest_bytes: package.manifest_bytes,
        signature: package.signature,
    })
}

/// What is said of a file that is not as it is listed.
pub(super) fn other_content(seen: Digest, expected: &Digest) -> io::Error {
    io::Error::other(format!("has SHA-256 {seen}, and {expected} is listed"))
}

/// A package in an open folder: its manifest and signature, each read once, and which files it has.
#[derive(Debug)]
#[non_exhaustive]
pub struct OpenPackage {
    /// What its manifest says.
    pub manifest: Manifest,
    /// The manifest as it was read.
    pub manifest_bytes: Vec<u8>,
    /// The signature as it was read, if there is one.
    pub signature: Option<Vec<u8>>,
    root: OwnedFd,
    content: FolderContent,
}

impl OpenPackage {
    /// Reads the manifest and the signature of an open folder, and looks which files are in it; `path` is what it is called.
    ///
    /// # Errors
    /// What is wrong with the manifest. What is wrong with the files is told by [`OpenPackage::check`].
    pub fn read(root: OwnedFd, path: &Path) -> Result<OpenPackage, FolderFaults> {
        OpenPackage::read_as(root, path, None)
    }

    /// The same of a folder that is trusted itself, of which every file and folder has to be, too: nobody else may be able to
    /// change one.
    ///
    /// # Errors
    /// As [`OpenPackage::read`].
    pub fn read_trusted(root: OwnedFd, path: &Path, trust: Trust) -> Result<OpenPackage, FolderFaults> {
        OpenPackage::read_as(root, path, Some(trust))
    }

    fn read_as(root: OwnedFd, path: &Path, trust: Option<Trust>) -> Result<OpenPackage, FolderFaults> {
        let path = PathBuf::from(shown_path(&path.join(MANIFEST_NAME)));
        let manifest_bytes = read_bounded(root.as_fd(), MANIFEST_NAME, MANIFEST_BYTES_MAX)
            .map_err(|error| FolderFaults::Unreadable(path.clone(), error))?;
        let manifest = Manifest::read(&path, &manifest_bytes).map_err(FolderFaults::Manifest)?;
        let mut content = FolderContent { trust, ..FolderContent::default() };
        content.walk(open_folder(root.as_fd(), c"."), "", 0);
        let signature = content.read_signature(root.as_fd());
        Ok(OpenPackage { manifest, manifest_bytes, signature, root, content })
    }

    /// That of the manifest's bytes, which stands for the whole package.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest_bytes)
    }

    /// The listed files together, as they were found. Bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let listed = self.content.files.iter().filter(|(path, _)| self.manifest.files.contains_key(*path));
        listed.fold(0, |sum, (_, stamp)| sum.saturating_add(stamp.length))
    }

    /// The listed files that were found, with what each has to be.
    pub(super) fn files(&self) -> impl Iterator<Item = (&PackagePath, &Digest, &FileStamp)> {
        let files = self.content.files.iter();
        files.filter_map(|(path, stamp)| Some((path, self.manifest.files.get(path)?, stamp)))
    }

    /// The files that were found and are not listed.
    pub(super) fn unlisted(&self) -> impl Iterator<Item = (&PackagePath, &FileStamp)> {
        self.content.files.iter().filter(|(path, _)| !self.manifest.files.contains_key(*path))
    }

    /// The files that were found.
    pub(super) fn paths(&self) -> impl Iterator<Item = &PackagePath> {
        self.content.files.keys()
    }

    /// Looks whether its files are those that the manifest lists; `read` looks at one, and says what is wrong with it. It is
    /// not asked about a file that is not listed or too large, nor if all together are.
    ///
    /// # Errors
    /// What is wrong, all at once.
    pub(super) fn check(
        &self,
        read: &mut dyn FnMut(&PackagePath, &Digest, &FileStamp) -> io::Result<()>,
    ) -> Result<(), FolderFaults> {
        let OpenPackage { manifest, content: FolderContent { files, .. }, .. } = self;
        let mut faults = self.content.faults.clone();
        for path in manifest.files.keys().filter(|path| !files.contains_key(*path)) {
            faults.add(format!("{}: is missing, and listed in \"files\"", quoted(path.as_str())));
        }
        let bytes = self.bytes();
        let is_too_large = bytes > PACKAGE_BYTES_MAX;
        if is_too_large {
            faults.add(format!(
                "the files have {bytes} bytes together, {PACKAGE_BYTES_MAX} are the most; none was read"
            ));
        }
        for (path, stamp) in files {
            let Some(expected) = manifest.files.get(path) else {
                faults.add(format!("{}: is not listed in \"files\"", quoted(path.as_str())));
                continue;
            };
            if stamp.length > FILE_BYTES_MAX {
                faults.add(format!(
                    "{}: has {} bytes, {FILE_BYTES_MAX} are the most; it was not read",
                    quoted(path.as_str()),
                    stamp.length
                ));
            } else if !is_too_large && let Err(error) = read(path, expected, stamp) {
                faults.add(format!("{}: {error}", quoted(path.as_str())));
            }
        }
        if files.get(&manifest.entrypoint).is_some_and(|stamp| !stamp.is_executable()) {
            let entrypoint = quoted(manifest.entrypoint.as_str());
            faults.add(format!("{entrypoint}: is the entrypoint, and not executable; chmod a+x it"));
        }
        if faults.told.is_empty() { Ok(()) } else { Err(FolderFaults::Files(faults.told, faults.more)) }
    }

    /// Reads a file of so many bytes, handing on what is read, and says what file it was and which digest it has.
    pub(super) fn read_file(
        &self,
        path: &PackagePath,
        length: u64,
        piece: &mut [u8],
        take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<(FileStamp, Digest)> {
        let file = open_file(self.root.as_fd(), path.as_str())?;
        let stamp = FileStamp::of(&fstat(&file)?);
        // One byte more tells that it has grown, and no more than that is read of what grows on.
        let (mut file, mut hasher, mut count) = (file.take(length + 1), Hasher::default(), 0);
        loop {
            match file.read(piece)? {
                0 if count == length => return Ok((stamp, hasher.finish())),
                0 => return Err(io::Error::other("it was changed while it was read")),
                read => {
                    count += read as u64;
                    let read = piece.get(..read).unwrap_or_default();
                    hasher.update(read);
                    take(read)?;
                }
            }
        }
    }
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

/// Which file was found under a name, and in what state: another one, or one that was written to, has another stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileStamp {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) length: u64,
    /// Status change (inode(7)): seconds and nanoseconds.
    pub(super) changed: (i64, i64),
    mode: u32,
}

impl FileStamp {
    pub(super) fn of(stat: &FileStat) -> FileStamp {
        FileStamp {
            device: stat.st_dev,
            inode: stat.st_ino,
            length: u64::try_from(stat.st_size).unwrap_or_default(),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
            mode: stat.st_mode,
        }
    }

    /// Whether anybody may execute it.
    pub(super) fn is_executable(&self) -> bool {
        self.mode & 0o111 != 0
    }
}

/// Faults: the first [`FAULTS_MAX`], and how many more there are.
#[derive(Debug, Clone, Default)]
struct Faults {
    told: Vec<String>,
    more: usize,
}

impl Faults {
    fn add(&mut self, fault: String) {
        if self.told.len() < FAULTS_MAX {
            self.told.push(fault);
        } else {
            self.more += 1;
        }
    }
}

/// What is in a folder and below.
#[derive(Debug, Default)]
struct FolderContent {
    /// Regular files, the manifest and its signature aside.
    files: BTreeMap<PackagePath, FileStamp>,
    has_signature: bool,
    entries: usize,
    faults: Faults,
    /// Who may be able to change what is in it; `None`: anybody.
    trust: Option<Trust>,
}

impl FolderContent {
    fn fault(&mut self, fault: String) {
        self.faults.add(fault);
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
            let fault = self.trust.and_then(|trust| trust.fault_of(folder.as_fd(), &name, &stat));
            if let Some(fault) = fault {
                self.fault(format!("{}: {fault}", quoted(&path)));
            }
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
                match name.to_str().map(|_| PackagePath::new(&path)) {
                    Ok(Ok(path)) => drop(self.files.insert(path, FileStamp::of(&stat))),
                    Ok(Err(problem)) => self.fault(problem),
                    Err(_) => self.fault(format!("{}: its name is not UTF-8", quoted(&path))),
                }
            }
        }
    }
}
