//! A package's folder held against its manifest: what is missing, not listed, or something else.
//!
//! What it deliberately does not do: execute, copy or trust anything; say who may change the folder meanwhile.
//!
//! What always holds: nothing but regular files and folders is opened, and no link is followed; of what is wrong the first
//! [`FAULTS_MAX`] are told, and the rest is counted; reading is bounded by what the manifest may list.

use super::digest::{Digest, Hasher};
use super::manifest::{FILES_MAX, MANIFEST_BYTES_MAX, MANIFEST_NAME, Manifest, SIGNATURE_NAME};
use super::path::PackagePath;
use crate::state::config_error::{ConfigErrors, quoted};
use nix::fcntl::OFlag;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Most faults that are told in full.
pub const FAULTS_MAX: usize = 20;
/// Most entries that are looked at in one folder of a package and below.
const ENTRIES_MAX: usize = 2 * FILES_MAX;
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
    /// Whether there is a signature beside the manifest.
    pub has_signature: bool,
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

/// Opens a file that has to be a regular one. Does not wait, whatever it is.
fn open(path: &Path) -> io::Result<File> {
    // A FIFO would wait for whoever writes into it.
    let flags = (OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(file)
}

/// Reads the manifest of a folder and looks whether its files are those that it lists.
///
/// # Errors
/// What is wrong, all at once: first with the manifest, then with the files.
pub fn read_folder(folder: &Path) -> Result<PackageFolder, FolderFaults> {
    let path = folder.join(MANIFEST_NAME);
    let bytes = read_manifest(&path).map_err(|error| FolderFaults::Unreadable(path.clone(), error))?;
    let manifest = Manifest::read(&path, &bytes).map_err(FolderFaults::Manifest)?;
    let mut found = FolderContent::default();
    found.walk(folder, "", 0);
    let files = std::mem::take(&mut found.files);
    for path in manifest.files.keys().filter(|path| !files.contains_key(*path)) {
        found.fault(format!("{}: is missing, and listed in \"files\"", quoted(path.as_str())));
    }
    let mut bytes_of_files = 0;
    for (path, length) in &files {
        let Some(expected) = manifest.files.get(path) else {
            found.fault(format!("{}: is not listed in \"files\"", quoted(path.as_str())));
            continue;
        };
        bytes_of_files += length;
        match digest_of(&folder.join(path)) {
            Ok(seen) if seen == *expected => {}
            Ok(seen) => found
                .fault(format!("{}: has SHA-256 {seen}, and {expected} is listed", quoted(path.as_str()))),
            Err(error) => found.fault(format!("{}: {error}", quoted(path.as_str()))),
        }
    }
    let is_executable = std::fs::symlink_metadata(folder.join(&manifest.entrypoint))
        .is_ok_and(|entrypoint| entrypoint.permissions().mode() & 0o111 != 0);
    if files.contains_key(&manifest.entrypoint) && !is_executable {
        let entrypoint = quoted(manifest.entrypoint.as_str());
        found.fault(format!("{entrypoint}: is the entrypoint, and not executable; chmod a+x it"));
    }
    match (found.faults.is_empty(), found.more) {
        (true, _) => Ok(PackageFolder {
            digest: Digest::of(&bytes),
            manifest,
            bytes: bytes_of_files,
            has_signature: found.has_signature,
        }),
        (false, more) => Err(FolderFaults::Files(found.faults, more)),
    }
}

fn read_manifest(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(MANIFEST_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MANIFEST_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {MANIFEST_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

fn digest_of(path: &Path) -> io::Result<Digest> {
    let (mut file, mut hasher) = (open(path)?, Hasher::default());
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.finish()),
            length => hasher.update(piece.get(..length).unwrap_or_default()),
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

    /// Looks at everything in a folder; `below` is its path within the package, with a `/` at its end.
    fn walk(&mut self, folder: &Path, below: &str, depth: usize) {
        let entries = match std::fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => entries,
            Err(error) => return self.fault(format!("{}: {error}", quoted(below))),
        };
        // In an order that does not change from run to run.
        let entries: BTreeMap<_, _> = entries.into_iter().map(|entry| (entry.file_name(), entry)).collect();
        for (name, entry) in entries {
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return self.fault(format!("{}: there are more than {ENTRIES_MAX} entries", quoted(below)));
            }
            let path = format!("{below}{}", name.to_string_lossy());
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) => {
                    self.fault(format!("{}: {error}", quoted(&path)));
                    continue;
                }
            };
            let kind = metadata.file_type();
            if kind.is_dir() && depth < DEPTH_MAX {
                self.walk(&entry.path(), &format!("{path}/"), depth + 1);
            } else if kind.is_symlink() {
                self.fault(format!("{}: is a symbolic link, and a package has none", quoted(&path)));
            } else if !kind.is_file() {
                self.fault(format!(
                    "{}: is neither a file nor a folder within {DEPTH_MAX} levels",
                    quoted(&path)
                ));
            } else if metadata.mode() & 0o6000 != 0 {
                self.fault(format!("{}: is set-uid or set-gid; chmod ug-s it", quoted(&path)));
            } else if below.is_empty() && path == SIGNATURE_NAME {
                self.has_signature = true;
            } else if !below.is_empty() || path != MANIFEST_NAME {
                match name.to_str().map(|_| PackagePath::new(&path)) {
                    Some(Ok(path)) => drop(self.files.insert(path, metadata.len())),
                    Some(Err(problem)) => self.fault(problem),
                    None => self.fault(format!("{}: its name is not UTF-8", quoted(&path))),
                }
            }
        }
    }
}
