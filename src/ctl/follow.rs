//! Reading what is appended to a record, across rotation.
//!
//! What it deliberately does not do: sleep; its caller decides how often to look. What always holds: one
//! block and one unfinished line are in memory; each line is handed out once.

use super::exit::Failure;
use super::tail::{LINE_BYTES_MAX, open, unreadable};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

/// Read at once. Bytes.
const BLOCK_BYTES: usize = 64 * 1024;

/// Blocks read in one turn, so that one busy record does not keep the others waiting.
const BLOCKS_PER_TURN_MAX: usize = 16;

/// Takes one line.
type Each<'a> = &'a mut dyn FnMut(Option<&[u8]>) -> Result<(), Failure>;

/// One record that is followed.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) path: PathBuf,
    file: Option<File>,
    offset: u64,
    /// The line that is not finished; `None` once it is longer than allowed.
    partial: Option<Vec<u8>>,
}

impl Follower {
    /// Follows `path` from `offset` in `file`, or from the start of the file that will be there.
    pub(super) fn new(path: PathBuf, file: Option<File>, offset: u64) -> Follower {
        Follower { path, file, offset, partial: Some(Vec::new()) }
    }

    /// Hands each new line to `each`; `None` for one that is too long or was cut off.
    pub(super) fn poll(&mut self, each: Each<'_>) -> Result<(), Failure> {
        if self.file.is_none() {
            self.file = open(&self.path).map_err(|error| unreadable(&self.path, &error))?;
            self.offset = 0;
        }
        let Some(file) = &self.file else { return Ok(()) };
        let mut block = vec![0; BLOCK_BYTES];
        for _ in 0..BLOCKS_PER_TURN_MAX {
            let bytes = match file.read_at(&mut block, self.offset) {
                Ok(0) => return self.at_end(each),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(unreadable(&self.path, &error)),
            };
            self.offset += bytes as u64;
            let mut rest = block.get(..bytes).unwrap_or_default();
            while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
                let (line, after) = rest.split_at(at);
                rest = after.get(1..).unwrap_or_default();
                extend(&mut self.partial, line);
                let line = self.partial.replace(Vec::new());
                each(line.as_deref())?;
            }
            extend(&mut self.partial, rest);
        }
        Ok(())
    }

    /// Nothing more in this file: has it been cut, or another one taken its place?
    fn at_end(&mut self, each: Each<'_>) -> Result<(), Failure> {
        let Some(file) = &self.file else { return Ok(()) };
        let ours = file.metadata().map_err(|error| unreadable(&self.path, &error))?;
        let is_replaced = match std::fs::symlink_metadata(&self.path) {
            Ok(named) => (named.dev(), named.ino()) != (ours.dev(), ours.ino()),
            // Between two files of a rotation, or gone: what is open stays open.
            Err(_) => false,
        };
        if is_replaced {
            self.file = None;
        } else if ours.len() >= self.offset {
            return Ok(());
        }
        self.offset = 0;
        let was_cut_off = self.partial.replace(Vec::new()).is_none_or(|partial| !partial.is_empty());
        if was_cut_off { each(None) } else { Ok(()) }
    }
}

fn extend(partial: &mut Option<Vec<u8>>, bytes: &[u8]) {
    if let Some(line) = partial {
        line.extend_from_slice(bytes);
        if line.len() > LINE_BYTES_MAX {
            *partial = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    fn poll(follower: &mut Follower) -> Vec<Option<String>> {
        let mut lines = Vec::new();
        let mut each = |line: Option<&[u8]>| {
            lines.push(line.map(|line| String::from_utf8(line.to_vec()).unwrap()));
            Ok(())
        };
        follower.poll(&mut each).unwrap();
        lines
    }

    #[test]
    fn lines_come_once_through_appending_rotation_and_truncation() {
        let folder = std::env::temp_dir().join(format!("rpc-follow-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("events.jsonl");
        let append = |text: &str| {
            fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(&path)
                .unwrap()
                .write_all(text.as_bytes())
                .unwrap();
        };
        let some = |text: &str| Some(text.to_owned());
        let mut follower = Follower::new(path.clone(), None, 0);
        assert_eq!(poll(&mut follower), []);
        append("one\ntw");
        assert_eq!(poll(&mut follower), [some("one")]);
        append("o\n");
        assert_eq!(poll(&mut follower), [some("two")]);
        append("three\n");
        fs::rename(&path, folder.join("events.1.jsonl")).unwrap();
        append("four\n");
        assert_eq!(poll(&mut follower), [some("three")]);
        assert_eq!(poll(&mut follower), [some("four")]);
        append("torn");
        assert_eq!(poll(&mut follower), []);
        fs::write(&path, "").unwrap();
        assert_eq!(poll(&mut follower), [None]);
        append("five\n");
        assert_eq!(poll(&mut follower), [some("five")]);
        append(&"x".repeat(LINE_BYTES_MAX + 10));
        append("\nsix\n");
        let found: Vec<_> = (0..3).flat_map(|_| poll(&mut follower)).collect();
        assert_eq!(found, [None, some("six")]);
        assert!(follower.partial.as_ref().unwrap().capacity() < 1024);
        fs::remove_dir_all(&folder).unwrap();
    }
}
