//! The files of a stream: the current one and those that were rotated, by their names.
//!
//! What always holds: a rotated file is named after the `seq` of its first line, so that its name never
//! changes and the order of names is the order of lines; one that is there plain and packed is one file.

use crate::content::Content;
use std::io;
use std::path::{Path, PathBuf};

/// What follows the name of a rotated file that was packed.
pub const PACKED_SUFFIX: &str = ".gz";
/// How often a folder whose files change while it is read is read again.
const LISTINGS_MAX: usize = 8;

/// One file of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Where it is.
    pub path: PathBuf,
    /// The `seq` of its first line; none for the current file.
    pub first_seq: Option<u64>,
    /// Its size on the disk. Bytes.
    pub bytes: u64,
    /// Whether it is packed.
    pub is_packed: bool,
}

impl Segment {
    /// Opens it, also if it was packed since; `None` when it is gone.
    pub(crate) fn open(&self) -> io::Result<Option<Content>> {
        match Content::open(&self.path, self.is_packed)? {
            None if !self.is_packed && self.first_seq.is_some() => {
                Content::open(&with_suffix(&self.path, PACKED_SUFFIX), true)
            }
            opened => Ok(opened),
        }
    }
}

/// The files of the stream `name` in a folder, oldest first, the current one last if it is there.
///
/// # Errors
/// The folder cannot be read; one that is not there has no files.
pub fn segments(folder: &Path, name: &str) -> io::Result<Vec<Segment>> {
    let mut found = list(folder, name)?;
    // A listing may show neither the old nor the new name of a file that is renamed meanwhile (readdir(3)).
    for _ in 1..LISTINGS_MAX {
        let again = list(folder, name)?;
        let names = |listed: &[Segment]| -> Vec<PathBuf> {
            listed.iter().map(|segment| segment.path.clone()).collect()
        };
        let is_same = names(&found) == names(&again);
        found = again;
        if is_same {
            break;
        }
    }
    // A file that stays plain until its packed copy is known to be whole: the plain one counts.
    found.dedup_by_key(|segment| segment.first_seq);
    Ok(found)
}

/// What one look at the folder shows; of a file that is there plain and packed, the plain one first.
fn list(folder: &Path, name: &str) -> io::Result<Vec<Segment>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(file_name) = entry.file_name().into_string() else { continue };
        let rotated = parse_rotated(&file_name, name);
        if rotated.is_none() && file_name != name {
            continue;
        }
        // One that was removed meanwhile is none; metadata of an entry follows no link.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_file() {
            found.push(Segment {
                path: entry.path(),
                first_seq: rotated.map(|(first_seq, _)| first_seq),
                bytes: metadata.len(),
                is_packed: rotated.is_some_and(|(_, is_packed)| is_packed),
            });
        }
    }
    found.sort_by_key(|segment| (segment.first_seq.unwrap_or(u64::MAX), segment.is_packed));
    Ok(found)
}

/// A path with something after its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// The first `seq` that a rotated file's name tells, and whether it is packed.
pub(crate) fn parse_rotated(file_name: &str, name: &str) -> Option<(u64, bool)> {
    let rest = file_name.strip_prefix(name)?.strip_prefix('.')?;
    let (digits, is_packed) = match rest.strip_suffix(PACKED_SUFFIX) {
        Some(digits) => (digits, true),
        None => (rest, false),
    };
    // Digits only: u64's own parser would take a leading '+', and zeros would make two names of one.
    let is_plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    let first_seq = digits.parse().ok().filter(|_| is_plain);
    // No record comes to the last number; among files it stands for the one that is written.
    first_seq.filter(|first_seq| *first_seq < u64::MAX).map(|first_seq| (first_seq, is_packed))
}

/// The name of a rotated file.
pub(crate) fn rotated_name(name: &str, first_seq: u64) -> String {
    format!("{name}.{first_seq}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rotated_files_are_told_from_others() {
        let parse = |name| parse_rotated(name, "events.jsonl");
        assert_eq!(parse("events.jsonl.1"), Some((1, false)));
        assert_eq!(parse("events.jsonl.18446744073709551614.gz"), Some((u64::MAX - 1, true)));
        for other in [
            "events.jsonl",
            "events.jsonl.",
            "events.jsonl.01",
            "events.jsonl.+1",
            "events.jsonl.1.gz2",
            "events.jsonl.18446744073709551615",
            "events.jsonl.18446744073709551615.gz",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
        assert_eq!(parse(&rotated_name("events.jsonl", 77)), Some((77, false)));
    }
}
