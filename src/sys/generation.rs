//! The persisted generation number of a plugin.
//!
//! What this file is for: the file `generation` in a plugin's folder. What it deliberately does not do:
//! count in memory; what is on disk is the truth. One caller at a time for each plugin.
//!
//! What always holds: a number that [`claim`] granted was on disk, synced, before it returned, and is
//! granted by no later host again, whatever happened in between.
#![forbid(unsafe_code)]

use super::private_file::FileError;
use super::private_folder::PrivateFolder;
use rpc_plugin_wire::Generation;
use std::fmt;
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
                    "{} holds {last}, so generation {wanted} cannot be used; somebody else wrote it, and the next \
                     numbers are tried",
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
    let text = content.strip_suffix(b"\n").unwrap_or(&content);
    match std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()) {
        Some(generation) => Ok(Some(generation)),
        None => Err(GenerationError::Garbage {
            path: folder.path().join(NAME),
            seen: format!("\"{}\"", content.escape_ascii()),
        }),
    }
}

/// Takes a number that is higher than any before: on disk before this returns.
///
/// # Errors
/// As [`read`], [`GenerationError::Used`], and those of writing; then the number must not be used.
pub fn claim(folder: &PrivateFolder, generation: Generation) -> Result<(), GenerationError> {
    if let Some(last) = read(folder)?.filter(|last| *last >= generation) {
        return Err(GenerationError::Used { path: folder.path().join(NAME), last, wanted: generation });
    }
    Ok(folder.replace(NAME, format!("{generation}\n").as_bytes())?)
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
    fn a_replacement_that_a_crash_left_does_not_hinder() {
        let root = folder();
        file(root.path(), "generation", "7", 0o600);
        file(root.path(), "generation.new", "999", 0o600);
        claim(&private(root.path()), number(8)).unwrap();
    }

    #[test]
    fn garbage_is_shown_and_kept() {
        let root = folder();
        let path = root.path().join(NAME);
        for garbage in ["", "0", "-1", "x", "1 2", "7\n\n", " 7", "\x1b[31m", "99999999999999999999", "١"] {
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
