//! Whether an open executable has the SHA-256 that its configuration says.
//!
//! What this file is for: hashing what will run, through the descriptor that is executed, and remembering what a file's
//! digest was. What it deliberately does not do: keep anybody from changing the file afterwards; who could is what
//! [`super::executable`] has checked.
//!
//! What always holds: a digest is that of all bytes of the open file, whose size and time of change were the same before
//! and after it was read. One is remembered by device, inode, size and time of change, and only of a file that had not
//! changed for a while before it was read: within one tick of the kernel's clock a second change has the same time.
#![forbid(unsafe_code)]

use super::checksum_file::{is_digest, listed};
use super::executable::Executable;
use super::trusted_file::open_trusted_file;
use nix::errno::Errno;
use nix::sys::stat::{FileStat, fstat};
use nix::sys::uio::pread;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What is read at once. Bytes.
const PIECE_BYTES: usize = 64 * 1024;
/// Longest list of digests. Bytes.
const LIST_BYTES_MAX: usize = 1024 * 1024;
/// Most files whose digests are remembered.
const CACHED_MAX: usize = 4096;
/// How long a file has to be unchanged before its digest is remembered.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// Where it stands which SHA-256 an executable has to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedDigest<'a> {
    /// It is this: 64 lower-case hexadecimal digits.
    Is(&'a str),
    /// It is in a list of sha256sum(1).
    ListedIn(&'a Path),
}

impl<'a> ExpectedDigest<'a> {
    /// What a configuration names, of which at most one is there.
    #[must_use]
    pub fn of(digest: Option<&'a str>, list: Option<&'a Path>) -> Option<ExpectedDigest<'a>> {
        digest.map(ExpectedDigest::Is).or(list.map(ExpectedDigest::ListedIn))
    }
}

/// Why an executable is not the one that was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DigestError {
    /// It is another file.
    Mismatch {
        /// The executable.
        path: PathBuf,
        /// The SHA-256 that it has to have.
        expected: String,
        /// The list that says so.
        list: Option<PathBuf>,
        /// The one that it has.
        seen: String,
    },
    /// The list cannot be used, and why.
    List(PathBuf, String),
    /// The file cannot be read.
    Read(PathBuf, Errno),
    /// It was changed while it was read.
    Changed(PathBuf),
}

impl fmt::Display for DigestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DigestError::Mismatch { path, expected, list, seen } => {
                write!(f, "executable {} is another file: expected SHA-256 {expected}", path.display())?;
                if let Some(list) = list {
                    write!(f, " (of {})", list.display())?;
                }
                write!(f, ", seen {seen}; put the file back, or correct the digest if the change was meant")
            }
            DigestError::List(path, problem) => write!(f, "sha256_file {}: {problem}", path.display()),
            DigestError::Read(path, errno) => {
                write!(f, "executable {} cannot be read: {} ({errno:?})", path.display(), errno.desc())
            }
            DigestError::Changed(path) => write!(
                f,
                "executable {} was changed while it was read; expected a file that nobody writes to",
                path.display()
            ),
        }
    }
}

impl std::error::Error for DigestError {}

/// A file as it was when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct FileVersion {
    device: u64,
    inode: u64,
    size: i64,
    changed_s: i64,
    changed_ns: i64,
}

impl FileVersion {
    fn of(stat: &FileStat) -> FileVersion {
        FileVersion {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size,
            changed_s: stat.st_ctime,
            changed_ns: stat.st_ctime_nsec,
        }
    }

    /// Whether it was last changed a while before `now`. Another machine's clock may be ahead: then it was not.
    fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let changed = Duration::new(
            u64::try_from(self.changed_s).unwrap_or_default(),
            u32::try_from(self.changed_ns).unwrap_or_default(),
        );
        now.checked_sub(changed).is_some_and(|age| age >= SETTLED_AFTER)
    }
}

/// Digests of files that were read. At most [`CACHED_MAX`].
#[derive(Debug, Default)]
pub struct DigestCache(Mutex<BTreeMap<FileVersion, String>>);

impl DigestCache {
    fn get(&self, version: FileVersion) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&version).cloned()
    }

    fn put(&self, version: FileVersion, digest: String) {
        let mut digests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if digests.len() >= CACHED_MAX {
            // Which one goes decides only what is read again.
            digests.pop_first();
        }
        digests.insert(version, digest);
    }
}

/// Refuses an executable that is another than was expected. Blocks: it reads the file, unless that is known already.
///
/// # Errors
/// Names the file, what was expected and seen.
pub fn check(
    executable: &Executable,
    expected: ExpectedDigest<'_>,
    cache: &DigestCache,
) -> Result<(), DigestError> {
    let path = executable.path();
    let (digest, list) = match expected {
        ExpectedDigest::Is(digest) => (digest.to_owned(), None),
        ExpectedDigest::ListedIn(list) => {
            let digest =
                digest_in(list, path).map_err(|problem| DigestError::List(list.to_owned(), problem))?;
            (digest, Some(list.to_owned()))
        }
    };
    let seen = digest_of(executable, cache, SystemTime::now())?;
    if seen == digest {
        return Ok(());
    }
    Err(DigestError::Mismatch { path: path.to_owned(), expected: digest, list, seen })
}

fn digest_in(list: &Path, executable: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = open_trusted_file(list).map_err(|error| error.to_string())?;
    file.take(LIST_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() > LIST_BYTES_MAX {
        return Err(format!("has more than {LIST_BYTES_MAX} bytes"));
    }
    listed(&bytes, list.parent().unwrap_or(list), executable)
}

fn digest_of(executable: &Executable, cache: &DigestCache, now: SystemTime) -> Result<String, DigestError> {
    let failed = |errno| DigestError::Read(executable.path().to_owned(), errno);
    let version = || fstat(executable).map(|stat| FileVersion::of(&stat)).map_err(failed);
    let before = version()?;
    if let Some(known) = cache.get(before) {
        return Ok(known);
    }
    let mut hash = hmac_sha256::Hash::new();
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    loop {
        // By place: a script's interpreter reads from where this descriptor stands.
        let read = match pread(executable, &mut piece, at) {
            Err(Errno::EINTR) => continue,
            read => read.map_err(failed)?,
        };
        let Some(content @ [_, ..]) = piece.get(..read) else { break };
        hash.update(content);
        at = at.saturating_add(i64::try_from(read).unwrap_or(i64::MAX));
    }
    if at != before.size || version()? != before {
        return Err(DigestError::Changed(executable.path().to_owned()));
    }
    let mut digest = String::new();
    for byte in hash.finalize() {
        let _ = write!(digest, "{byte:02x}");
    }
    debug_assert!(is_digest(&digest));
    if before.is_settled(now) {
        cache.put(before, digest.clone());
    }
    Ok(digest)
}

#[cfg(test)]
#[path = "executable_digest_tests.rs"]
mod tests;
