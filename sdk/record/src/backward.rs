//! Reading one file of lines from its end.
//!
//! What it deliberately does not do: look inside a line, or wait for more.
//!
//! What always holds: one block and one line of at most [`READ_LINE_BYTES_MAX`] are in memory; the file is
//! read once, and only as far back as lines are asked for.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Longer lines are not records; they are passed over. Bytes.
pub(super) const READ_LINE_BYTES_MAX: usize = 1024 * 1024;
/// Read at once. Bytes.
const BLOCK_BYTES: u64 = 64 * 1024;

/// One line, its line end not included.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RawLine {
    /// Where it begins in the file.
    pub(crate) offset: u64,
    /// `None`: longer than allowed.
    pub(crate) bytes: Option<Vec<u8>>,
    /// Whether a line end follows it.
    pub(crate) is_finished: bool,
}

/// Hands out lines from the newest to the oldest.
#[derive(Debug)]
pub(crate) struct FileBackward {
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

impl FileBackward {
    /// The lines of a file before `end`.
    pub(crate) fn new(end: u64) -> FileBackward {
        FileBackward {
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
    pub(crate) fn next_line(&mut self, file: &File) -> io::Result<Option<RawLine>> {
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

    fn line(&mut self, offset: u64, bytes: Vec<u8>) -> Option<RawLine> {
        let is_overlong = std::mem::take(&mut self.is_overlong) || bytes.len() > READ_LINE_BYTES_MAX;
        let is_finished = !std::mem::replace(&mut self.is_first, false);
        let is_there = is_finished || is_overlong || !bytes.is_empty();
        is_there.then_some(RawLine { offset, bytes: (!is_overlong).then_some(bytes), is_finished })
    }

    /// Puts the block before `start` in front. False when the file became shorter meanwhile.
    fn read_block(&mut self, file: &File) -> io::Result<bool> {
        if self.buffer.len() > READ_LINE_BYTES_MAX {
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
