//! Reading a file of lines from its end.
//!
//! What this file is for: the newest lines of a record that may be gigabytes long. What it deliberately
//! does not do: look inside a line, or wait for more.
//!
//! What always holds: one block and one line of at most [`LINE_BYTES_MAX`] are in memory; the file is
//! read once, and only as far back as lines are asked for.

use super::exit::{Exit, Failure};
use nix::fcntl::OFlag;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Longer lines are not records; they are passed over. Bytes.
pub(super) const LINE_BYTES_MAX: usize = 1 << 20;

/// Read at once. Bytes.
const BLOCK_BYTES: u64 = 64 * 1024;

/// Opens a record for reading; `None` when there is none.
///
/// Neither follows a symbolic link nor waits for the other end of a FIFO that someone put there.
pub(super) fn open(path: &Path) -> io::Result<Option<File>> {
    let opened =
        OpenOptions::new().read(true).custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits()).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(Some(file))
}

/// A record that cannot be read.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::Denied,
        _ => Exit::Failed,
    };
    Failure::new(exit, format!("cannot read {path:?}: {error}"))
}

/// One line, its line end not included.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Where it begins in the file.
    pub(super) offset: u64,
    /// `None`: longer than allowed.
    pub(super) bytes: Option<Vec<u8>>,
    /// Whether a line end follows it.
    pub(super) is_finished: bool,
}

/// Hands out lines from the newest to the oldest.
#[derive(Debug)]
pub(super) struct Backward {
    /// Bytes of the file from `start` on that are not handed out.
    buffer: Vec<u8>,
    start: u64,
    /// Line ends may stand in `buffer[..unscanned]` only.
    unscanned: usize,
    /// The line at the end of `buffer` lost its end because it is too long.
    is_overlong: bool,
    is_first: bool,
    is_done: bool,
}

impl Backward {
    /// The lines of a file before `end`.
    pub(super) fn new(end: u64) -> Backward {
        Backward {
            buffer: Vec::new(),
            start: end,
            unscanned: 0,
            is_overlong: false,
            is_first: true,
            is_done: false,
        }
    }

    /// The line before the last one handed out. What follows the last line end comes first, if there
    /// is anything.
    pub(super) fn next_line(&mut self, file: &File) -> io::Result<Option<Line>> {
        while !self.is_done {
            let unscanned = self.buffer.get(..self.unscanned).unwrap_or_default();
            if let Some(at) = unscanned.iter().rposition(|byte| *byte == b'\n') {
                let bytes = self.buffer.split_off(at + 1);
                self.buffer.truncate(at);
                self.unscanned = at;
                if let Some(line) = self.line(self.start + at as u64 + 1, bytes) {
                    return Ok(Some(line));
                }
            } else if self.start == 0 {
                self.is_done = true;
                let bytes = std::mem::take(&mut self.buffer);
                return Ok(self.line(0, bytes));
            } else if !self.read_block(file)? {
                self.is_done = true;
            }
        }
        Ok(None)
    }

    fn line(&mut self, offset: u64, bytes: Vec<u8>) -> Option<Line> {
        let is_overlong = std::mem::take(&mut self.is_overlong) || bytes.len() > LINE_BYTES_MAX;
        let is_finished = !std::mem::replace(&mut self.is_first, false);
        let is_there = is_finished || is_overlong || !bytes.is_empty();
        is_there.then_some(Line { offset, bytes: (!is_overlong).then_some(bytes), is_finished })
    }

    /// Puts the block before `start` in front. False when the file became shorter meanwhile.
    fn read_block(&mut self, file: &File) -> io::Result<bool> {
        if self.buffer.len() > LINE_BYTES_MAX {
            self.is_overlong = true;
            self.buffer.clear();
        }
        let bytes = self.start.min(BLOCK_BYTES);
        let mut block = vec![0; bytes as usize];
        match file.read_exact_at(&mut block, self.start - bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
        self.start -= bytes;
        self.unscanned = block.len();
        block.append(&mut self.buffer);
        self.buffer = block;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file_with(bytes: &[u8]) -> File {
        // An anonymous file: gone with its last descriptor.
        let path = std::env::temp_dir().join(format!(
            "rpc-tail-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn lines(bytes: &[u8]) -> Vec<Line> {
        let file = file_with(bytes);
        let mut backward = Backward::new(bytes.len() as u64);
        std::iter::from_fn(|| {
            let line = backward.next_line(&file).unwrap();
            assert!(backward.buffer.len() <= LINE_BYTES_MAX + BLOCK_BYTES as usize);
            line
        })
        .collect()
    }

    #[test]
    fn lines_come_from_the_newest_to_the_oldest() {
        let line = |offset, text: &str, is_finished| Line { offset, bytes: Some(text.into()), is_finished };
        assert_eq!(lines(b""), []);
        assert_eq!(lines(b"\n"), [line(0, "", true)]);
        assert_eq!(lines(b"a"), [line(0, "a", false)]);
        assert_eq!(lines(b"a\n\nbc\n"), [line(3, "bc", true), line(2, "", true), line(0, "a", true)]);
        assert_eq!(lines(b"a\nbc"), [line(2, "bc", false), line(0, "a", true)]);
    }

    #[test]
    fn blocks_do_not_show() {
        for length in [1, 100, 65_535, 65_536, 65_537, 200_000] {
            let text: Vec<u8> =
                (0..3u8).flat_map(|n| [vec![b'a' + n; length], vec![b'\n']].concat()).collect();
            let found = lines(&text);
            assert_eq!(found.len(), 3, "{length}");
            for (index, line) in found.iter().enumerate() {
                assert_eq!(line.bytes.as_deref(), Some(&vec![b'c' - index as u8; length][..]));
                assert_eq!(line.offset, ((2 - index) * (length + 1)) as u64);
            }
        }
    }

    #[test]
    fn a_line_past_the_bound_is_passed_over_in_bounded_memory() {
        let text = [b"old\n".to_vec(), vec![b'x'; 5 * LINE_BYTES_MAX], b"\nnew\n".to_vec()].concat();
        let found = lines(&text);
        let texts: Vec<_> = found.iter().map(|line| line.bytes.as_deref()).collect();
        assert_eq!(texts, [Some(&b"new"[..]), None, Some(&b"old"[..])]);
    }

    #[test]
    fn a_file_that_became_shorter_ends_the_reading() {
        let file = file_with(b"a\n");
        assert_eq!(Backward::new(1000).next_line(&file).unwrap(), None);
    }

    #[test]
    fn only_regular_files_are_opened() {
        assert!(open(Path::new("/dev/null")).is_err());
        assert!(open(Path::new("/nonexistent/x")).unwrap().is_none());
    }
}
