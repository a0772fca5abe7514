//! The lines of one file, forward and backward.
//!
//! What this file deliberately does not do: look inside a line, or wait for more.
//!
//! What always holds: one block and one line of at most [`READ_LINE_BYTES_MAX`] are in memory; a file is read once,
//! and only as far as lines are asked for; bytes on both sides of a damaged part never become one line.

use crate::content::Content;
use crate::packed_file::Part;
use std::io;

/// Longer lines are not records; they are passed over. Bytes.
pub(crate) const READ_LINE_BYTES_MAX: usize = 1024 * 1024;

/// One line, its line end not included.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RawLine {
    /// Where it begins in the file.
    pub(crate) offset: u64,
    /// `None`: longer than allowed.
    pub(crate) bytes: Option<Vec<u8>>,
    /// Whether a line end follows it.
    pub(crate) is_finished: bool,
    /// It stands right after a damaged part: its beginning may be missing.
    pub(crate) follows_damage: bool,
}

/// Hands out the lines of a file from one on, and those that are appended later.
#[derive(Debug, Default)]
pub(crate) struct FileForward {
    /// What is read next.
    offset: u64,
    /// What was read last; it ends at `offset`.
    buffer: Vec<u8>,
    /// How much of `buffer` was handed out.
    taken: usize,
    /// Up to here there is no line end after `taken`.
    scanned: usize,
    /// The line in `buffer` is too long, and its beginning was dropped.
    is_overlong: bool,
    /// What is not handed out begins right after a damaged part.
    follows_damage: bool,
}

impl FileForward {
    /// The lines from that place on, where a line begins.
    pub(crate) fn new(offset: u64) -> FileForward {
        FileForward { offset, ..FileForward::default() }
    }

    /// The next line; `None` if no whole one is there yet.
    pub(crate) fn next_line(&mut self, content: &mut Content) -> io::Result<Option<RawLine>> {
        loop {
            if let Some(line) = self.take_line(true) {
                return Ok(Some(line));
            }
            match content.read_after(self.offset)? {
                Part::Bytes(bytes) => {
                    self.offset += bytes.len() as u64;
                    self.drop_taken();
                    if self.buffer.is_empty() {
                        self.buffer = bytes;
                    } else {
                        self.buffer.extend_from_slice(&bytes);
                    }
                }
                Part::Damaged(bytes) => {
                    // A line that lost its end.
                    let line = self.rest();
                    self.offset += bytes;
                    self.follows_damage = true;
                    if line.is_some() {
                        return Ok(line);
                    }
                }
                Part::End => {
                    self.drop_taken();
                    if self.buffer.is_empty() {
                        // Who follows many streams need not keep a block for each.
                        self.buffer = Vec::new();
                    }
                    let bytes = content.len()?;
                    if bytes >= self.offset {
                        return Ok(None);
                    }
                    // It was cut: it is read again from its beginning.
                    *self = FileForward::default();
                    if bytes == 0 {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// What is left of a line whose end was not there.
    pub(crate) fn rest(&mut self) -> Option<RawLine> {
        self.take_line(false)
    }

    /// Drops what was handed out.
    fn drop_taken(&mut self) {
        self.buffer.drain(..self.taken);
        (self.scanned, self.taken) = (self.scanned.saturating_sub(self.taken), 0);
    }

    /// A whole line out of the buffer; without `finished`, what is left of it.
    fn take_line(&mut self, finished: bool) -> Option<RawLine> {
        let left = self.buffer.len() - self.taken;
        let unscanned = self.buffer.get(self.scanned..).unwrap_or_default();
        let end = match unscanned.iter().position(|b| *b == b'\n') {
            Some(at) if finished => self.scanned + at,
            _ if !finished && left > 0 => self.buffer.len(),
            _ => {
                self.scanned = self.buffer.len();
                if left > READ_LINE_BYTES_MAX {
                    self.is_overlong = true;
                    self.buffer.clear();
                    (self.scanned, self.taken) = (0, 0);
                }
                return None;
            }
        };
        let bytes = self.buffer.get(self.taken..end).unwrap_or_default();
        let is_overlong = std::mem::take(&mut self.is_overlong) || bytes.len() > READ_LINE_BYTES_MAX;
        let bytes = (!is_overlong).then(|| bytes.to_vec());
        self.taken = (end + 1).min(self.buffer.len());
        self.scanned = self.taken;
        let follows_damage = std::mem::take(&mut self.follows_damage);
        Some(RawLine { offset: self.offset - left as u64, bytes, is_finished: finished, follows_damage })
    }
}

/// Hands out the lines of a file from the newest to the oldest.
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
    pub(crate) fn next_line(&mut self, content: &mut Content) -> io::Result<Option<RawLine>> {
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
            } else if let Some(line) = self.read_block(content)? {
                return Ok(Some(line));
            }
        }
        Ok(None)
    }

    fn line(&mut self, offset: u64, bytes: Vec<u8>) -> Option<RawLine> {
        let is_overlong = std::mem::take(&mut self.is_overlong) || bytes.len() > READ_LINE_BYTES_MAX;
        let is_finished = !std::mem::replace(&mut self.is_first, false);
        let is_there = is_finished || is_overlong || !bytes.is_empty();
        let bytes = (!is_overlong).then_some(bytes);
        is_there.then_some(RawLine { offset, bytes, is_finished, follows_damage: false })
    }

    /// Puts the block before `start` in front. Where that is damaged: the line that follows it, if there is one.
    fn read_block(&mut self, content: &mut Content) -> io::Result<Option<RawLine>> {
        if self.buffer.len() > READ_LINE_BYTES_MAX {
            self.is_overlong = true;
            self.buffer.clear();
        }
        match content.read_before(self.start)? {
            Part::Bytes(mut block) => {
                self.start -= block.len() as u64;
                self.unscanned = block.len();
                block.append(&mut self.buffer);
                self.buffer = block;
            }
            Part::Damaged(bytes) => {
                let rest = std::mem::take(&mut self.buffer);
                let line = self.line(self.start, rest);
                self.start -= bytes;
                // What stands before the damaged part may have lost its end.
                (self.unscanned, self.is_first) = (0, true);
                return Ok(line.map(|line| RawLine { follows_damage: true, ..line }));
            }
            Part::End => self.is_done = true,
        }
        Ok(None)
    }
}
