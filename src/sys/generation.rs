//! The persisted generation number of a plugin.
//!
//! What this file is for: the file `generation` in a plugin's folder. What it deliberately does not do:
//! count in memory; what is on disk is the truth. One caller at a time for each plugin.
//!
//! What always holds: a number that [`claim`] granted was in the file before it returned, by one write within one
//! page, which the end of this process cannot tear; so it is granted by no later host again, until the machine
//! itself goes down. Nothing is synced: no process of before survives that, and the default folder is in memory anyway.
#![forbid(unsafe_code)]

use super::file_error::FileError;
use super::private_folder::PrivateFolder;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fchmod};
use rpc_plugin_wire::Generation;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

const NAME: &str = "generation";
/// A number of 20 digits and a line end, with room to see that it is something else. Bytes.
const CONTENT_BYTES_MAX: usize = 64;

/// Why there is no next number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GenerationError {
    /// The file holds something else.
    Garbage {
        /// The file.
        path: PathBuf,
        /// What it holds, escaped.
        seen: String,
    },
    /// That number, or a higher one, was used already.
    Used {
        /// The file.
        path: PathBuf,
        /// The number in it.
        last: Generation,
        /// The number that was wanted.
        wanted: Generation,
    },
    /// A system call failed.
    File(FileError),
}

impl fmt::Display for GenerationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, seen) = match self {
            GenerationError::Garbage { path, seen } => (path.display(), seen.as_str()),
            GenerationError::Used { path, last, wanted } => {
                return write!(
                    f,
                    "{} holds {last}, so generation {wanted} cannot be used; the next launch \
                     takes the number after it",
                    path.display()
                );
            }
            GenerationError::File(error) => return error.fmt(f),
        };
        write!(
            f,
            "{path} holds {seen}; expected the last generation as a decimal number from 1 on; write a number there \
             that is higher than any generation in the plugin's events"
        )
    }
}

impl std::error::Error for GenerationError {}

impl From<FileError> for GenerationError {
    fn from(error: FileError) -> GenerationError {
        GenerationError::File(error)
    }
}

/// The last number that was handed out; `None` before the first.
///
/// # Errors
/// Names the file and what it holds instead.
pub fn read(folder: &PrivateFolder) -> Result<Option<Generation>, GenerationError> {
    let Some(content) = folder.read(NAME, CONTENT_BYTES_MAX)? else { return Ok(None) };
    Ok(parse(folder, &content)?.map(|(last, _)| last))
}

/// The number, and how many digits it is written with.
fn parse(folder: &PrivateFolder, content: &[u8]) -> Result<Option<(Generation, usize)>, GenerationError> {
    // A file that was made but not written holds nothing; a machine that went down leaves zeros of what was not
    // on its disk yet.
    let end = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
    let seen = content.get(..end).unwrap_or_default();
    if seen.is_empty() {
        return Ok(None);
    }
    let digits = seen.strip_suffix(b"\n").unwrap_or(seen);
    match std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()) {
        Some(generation) => Ok(Some((generation, digits.len()))),
        None => Err(GenerationError::Garbage {
            path: folder.path().join(NAME),
            seen: format!("\"{}\"", content.escape_ascii()),
        }),
    }
}

/// Takes a number that is higher than any before: in the file before this returns.
///
/// # Errors
/// As [`read`], [`GenerationError::Used`], and those of writing; then the number must not be used.
pub fn claim(folder: &PrivateFolder, generation: Generation) -> Result<(), GenerationError> {
    let path = || folder.path().join(NAME);
    let file = folder
        .open_file(NAME, OFlag::O_RDWR | OFlag::O_CREAT)
        .map_err(|errno| FileError::new("open", &path(), errno))?;
    let content = content(&file).map_err(|error| FileError::io("read", &path(), &error))?;
    if content.len() > CONTENT_BYTES_MAX {
        return Err(FileError::new("read", &path(), nix::errno::Errno::EFBIG).into());
    }
    // With no fewer digits than before, so that nothing of the number before stays behind.
    let digits = match parse(folder, &content)? {
        Some((last, _)) if last >= generation => {
            return Err(GenerationError::Used { path: path(), last, wanted: generation });
        }
        Some((_, digits)) => digits,
        None => {
            // The umask may have taken permissions from the owner too.
            fchmod(&file, Mode::S_IRUSR | Mode::S_IWUSR)
                .map_err(|errno| FileError::new("chmod", &path(), errno))?;
            0
        }
    };
    let text = format!("{:0digits$}\n", generation.get());
    file.write_all_at(text.as_bytes(), 0).map_err(|error| FileError::io("write", &path(), &error))?;
    Ok(())
}

/// At most one byte more than is allowed.
fn content(file: &File) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::with_capacity(CONTENT_BYTES_MAX.saturating_add(1));
    file.take(content.capacity() as u64).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{file, folder, private};
    use super::*;

    fn number(number: u64) -> Generation {
        number.try_into().unwrap()
    }

    #[test]
    fn numbers_rise_and_survive_a_new_reader() {
        let root = folder();
        assert_eq!(read(&private(root.path())).unwrap(), None);
        for next in [1, 2, 3, 9] {
            claim(&private(root.path()), number(next)).unwrap();
            assert_eq!(read(&private(root.path())).unwrap().unwrap().get(), next);
        }
        assert_eq!(std::fs::read(root.path().join(NAME)).unwrap(), b"9\n");
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1, "a temporary file is left");
        for used in [1, 8, 9] {
            let error = claim(&private(root.path()), number(used)).unwrap_err();
            assert!(matches!(error, GenerationError::Used { .. }) && error.to_string().contains("holds 9"));
        }
    }

    #[test]
    fn what_a_crash_left_before_the_first_number_does_not_hinder() {
        for left in ["", "\0\0"] {
            let root = folder();
            file(root.path(), NAME, left, 0o600);
            assert_eq!(read(&private(root.path())).unwrap(), None);
            claim(&private(root.path()), number(1)).unwrap();
            assert_eq!(read(&private(root.path())).unwrap().unwrap().get(), 1);
        }
    }

    #[test]
    fn nothing_of_the_number_before_stays_behind() {
        for (before, next, after) in
            [("7", 8, "8\n"), ("0099\n", 100, "0100\n"), ("9\n\0\0", 10, "10\n\0"), ("9\n", 10, "10\n")]
        {
            let root = folder();
            file(root.path(), NAME, before, 0o600);
            claim(&private(root.path()), number(next)).unwrap();
            assert_eq!(std::fs::read_to_string(root.path().join(NAME)).unwrap(), after);
            assert_eq!(read(&private(root.path())).unwrap().unwrap().get(), next);
        }
    }

    #[test]
    fn garbage_is_shown_and_kept() {
        let root = folder();
        let path = root.path().join(NAME);
        for garbage in
            ["0", "\x001\n", "-1", "x", "1 2", "7\n\n", " 7", "\x1b[31m", "99999999999999999999", "١"]
        {
            file(root.path(), NAME, garbage, 0o600);
            let error = claim(&private(root.path()), number(1)).unwrap_err();
            assert!(matches!(error, GenerationError::Garbage { .. }), "{garbage:?}: {error}");
            let text = error.to_string();
            assert!(text.contains(&path.display().to_string()) && text.contains("write a number"), "{text}");
            assert!(!text.contains('\x1b'), "{text:?}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), garbage);
        }
        file(root.path(), NAME, "9".repeat(65), 0o600);
        let error = claim(&private(root.path()), number(1)).unwrap_err();
        assert!(matches!(&error, GenerationError::File(e) if e.errno == nix::errno::Errno::EFBIG), "{error}");
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let root = folder();
        let target = file(root.path(), "target", "41", 0o600);
        std::os::unix::fs::symlink(&target, root.path().join(NAME)).unwrap();
        assert!(claim(&private(root.path()), number(50)).is_err());
        assert_eq!(std::fs::read_to_string(target).unwrap(), "41");
    }
}
