//! Reading a stream forward from any number on, and following it through rotation.
//!
//! What this file deliberately does not do: sleep, filter, or merge streams; decompress: of a packed file the
//! reader says that it was passed over.
//!
//! What always holds: at most one block and one line are in memory; each line is handed out once, unless numbers begin
//! anew; no symbolic link is followed.

use crate::backward::{FileBackward, READ_LINE_BYTES_MAX};
use crate::read::{Backward, Line, SEQ_AT, open, seq_of};
use crate::segment::segments;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Read at once. Bytes.
const BLOCK_BYTES: usize = 64 * 1024;

/// Where reading forward begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// With the oldest line that is there.
    Oldest,
    /// After the line of this number, or with the first one after it that is still there.
    After(u64),
    /// With what is appended from now on.
    End,
}

/// Hands out the lines of a stream in their order, and those that are appended later.
#[derive(Debug)]
pub struct Forward {
    folder: PathBuf,
    name: String,
    file: Option<File>,
    /// What is read next in `file`.
    offset: u64,
    /// Read and not handed out; begins at `offset - buffer.len()`.
    buffer: Vec<u8>,
    /// How much of `buffer` holds no line end.
    scanned: usize,
    /// The line in `buffer` is too long, and its beginning was dropped.
    is_overlong: bool,
    /// The newest number that was seen; lines up to it are not handed out again.
    last_seq: u64,
    /// Where the line of that number begins in `file`.
    last_at: Option<u64>,
    /// The same, while reading is paused.
    paused_at: Option<u64>,
    /// The number in the name of the newest rotated file that was opened or passed over.
    done: u64,
    packed: u64,
}

impl Forward {
    /// Begins to read the stream `name` in `folder`, whose files may be absent.
    ///
    /// # Errors
    /// A file or the folder cannot be read.
    pub fn new(folder: &Path, name: &str, from: Position) -> io::Result<Forward> {
        let mut forward = Forward {
            folder: folder.to_owned(),
            name: name.to_owned(),
            file: None,
            offset: 0,
            buffer: Vec::new(),
            scanned: 0,
            is_overlong: false,
            last_seq: 0,
            last_at: None,
            paused_at: None,
            done: 0,
            packed: 0,
        };
        match from {
            Position::Oldest => {}
            Position::After(seq) => forward.last_seq = seq,
            Position::End => forward.skip_to_end()?,
        }
        Ok(forward)
    }

    /// Passes over every whole line that is there.
    fn skip_to_end(&mut self) -> io::Result<()> {
        if let Some(file) = open(&self.folder.join(&self.name))? {
            let end = file.metadata()?.len();
            let mut lines = FileBackward::new(end);
            self.offset = end;
            while let Some(line) = lines.next_line(&file)? {
                if !line.is_finished {
                    // It is on its way.
                    self.offset = line.offset;
                } else if let Some(seq) = line.bytes.as_deref().and_then(seq_of) {
                    self.last_seq = seq;
                    break;
                }
            }
            self.file = Some(file);
        }
        let mut backward = Backward::new(&self.folder, &self.name);
        while self.last_seq == 0
            && let Some(line) = backward.next_line()?
        {
            self.last_seq = line.seq.filter(|_| line.is_finished).unwrap_or(0);
        }
        Ok(())
    }

    /// Compressed files that were passed over.
    #[must_use]
    pub fn packed(&self) -> u64 {
        self.packed
    }

    /// The newest number that was handed out or passed over: where a reader that starts again goes on, with
    /// [`Position::After`].
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Closes the file, for a reader that waits: it holds no descriptor, nor the space of a file that is
    /// removed meanwhile. The next line is the same as without.
    pub fn pause(&mut self) {
        if self.file.take().is_some() {
            (self.paused_at, self.last_at) = (self.last_at, None);
            // A file that was opened is to be found again.
            self.done = 0;
            self.buffer = Vec::new();
            (self.scanned, self.is_overlong) = (0, false);
        }
    }

    /// Opens the current file where reading paused, if the line that was the last is still there.
    fn resume(&mut self) -> io::Result<bool> {
        let Some(at) = self.paused_at.take() else { return Ok(false) };
        let Some(file) = open(&self.folder.join(&self.name))? else { return Ok(false) };
        let number = format!("\",\"seq\":{},", self.last_seq);
        let mut seen = vec![0; number.len()];
        match file.read_exact_at(&mut seen, at.saturating_add(SEQ_AT)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            other => other?,
        }
        if seen == number.as_bytes() {
            (self.file, self.offset) = (Some(file), at);
        }
        Ok(self.file.is_some())
    }

    /// The next line; `None` when there is none yet. A jump of `seq` says how many lines retention took.
    ///
    /// # Errors
    /// A file or the folder cannot be read.
    pub fn next_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            if self.file.is_none() && !self.open_next()? {
                return Ok(None);
            }
            if let Some(line) = self.take_line(true) {
                if line.seq.is_some_and(|seq| seq <= self.last_seq) {
                    continue;
                }
                if let Some(seq) = line.seq {
                    (self.last_seq, self.last_at) = (seq, Some(line.offset));
                }
                return Ok(Some(line));
            }
            if self.read_block()? {
                continue;
            }
            if self.is_current()? {
                return Ok(None);
            }
            // What was rotated while it was read to its end may have got more before.
            if self.read_block()? {
                continue;
            }
            self.file = None;
            // A line that was torn and never ended.
            if let Some(line) = self.take_line(false) {
                return Ok(Some(line));
            }
        }
    }

    /// A whole line out of the buffer; without `finished`, what is left of it.
    fn take_line(&mut self, finished: bool) -> Option<Line> {
        let start = self.offset - self.buffer.len() as u64;
        let unscanned = self.buffer.get(self.scanned..).unwrap_or_default();
        let end = match unscanned.iter().position(|b| *b == b'\n') {
            Some(at) if finished => self.scanned + at,
            _ if !finished && !self.buffer.is_empty() => self.buffer.len(),
            _ => {
                self.scanned = self.buffer.len();
                if self.scanned > READ_LINE_BYTES_MAX {
                    self.is_overlong = true;
                    self.buffer.clear();
                    self.scanned = 0;
                }
                return None;
            }
        };
        let rest = self.buffer.split_off((end + 1).min(self.buffer.len()));
        let mut bytes = std::mem::replace(&mut self.buffer, rest);
        bytes.truncate(end);
        self.scanned = 0;
        let is_overlong = std::mem::take(&mut self.is_overlong) || bytes.len() > READ_LINE_BYTES_MAX;
        Some(Line::new((!is_overlong).then_some(bytes), start, finished))
    }

    /// False at the end of the file. A file that was cut is read again from its beginning.
    fn read_block(&mut self) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        let before = self.buffer.len();
        self.buffer.resize(before + BLOCK_BYTES, 0);
        let result = loop {
            match file.read_at(self.buffer.get_mut(before..).unwrap_or_default(), self.offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(before + result.as_ref().map_or(0, |bytes| *bytes));
        let bytes = result?;
        self.offset += bytes as u64;
        if self.buffer.is_empty() {
            // Who follows many streams need not keep a block for each.
            self.buffer = Vec::new();
        }
        if bytes == 0 && file.metadata()?.len() < self.offset {
            (self.offset, self.scanned, self.is_overlong) = (0, 0, false);
            self.buffer.clear();
            return Ok(file.metadata()?.len() > 0);
        }
        Ok(bytes > 0)
    }

    /// Whether the file that is read is still the one that is appended to.
    fn is_current(&self) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        let ours = file.metadata()?;
        Ok(match std::fs::symlink_metadata(self.folder.join(&self.name)) {
            Ok(named) => (named.dev(), named.ino()) == (ours.dev(), ours.ino()),
            // A rotation stopped between two files: what comes after this one is a rotated file, or to come.
            Err(_) => {
                let all = segments(&self.folder, &self.name)?;
                !all.iter().any(|segment| segment.first_seq.is_some_and(|first| first > self.last_seq))
            }
        })
    }

    /// Opens the file that holds the next number; false when there is none.
    fn open_next(&mut self) -> io::Result<bool> {
        self.last_at = None;
        if self.resume()? {
            return Ok(true);
        }
        let all = segments(&self.folder, &self.name)?;
        let next = self.last_seq.saturating_add(1);
        // Of the rotated ones that may hold it, the newest that begins no later; else the oldest after it.
        let at = all.iter().rposition(|segment| segment.first_seq.is_some_and(|first| first <= next));
        for (index, segment) in all.iter().enumerate().skip(at.unwrap_or(0)) {
            if segment.first_seq.is_some_and(|first| first <= self.done) {
                continue;
            }
            if segment.is_packed {
                self.packed += 1;
                self.done = segment.first_seq.unwrap_or(0);
                let after = all.get(index + 1).and_then(|after| after.first_seq);
                self.last_seq = after.map_or(self.last_seq, |after| self.last_seq.max(after - 1));
                continue;
            }
            let Some(file) = open(&segment.path)? else { continue };
            let newest = newest_seq(&file)?;
            // It was read when it was the current one.
            if segment.first_seq.is_some() && newest.is_some_and(|newest| newest <= self.last_seq) {
                continue;
            }
            if newest.is_some_and(|newest| newest < self.last_seq) {
                // The numbers began anew, or one that was read is corrupt. Of a new reader that is all there is.
                self.last_seq = 0;
                if self.done == 0 {
                    return self.open_next();
                }
            }
            self.done = segment.first_seq.map_or(self.done, |first| first.max(self.done));
            self.file = Some(file);
            (self.offset, self.scanned, self.is_overlong) = (0, 0, false);
            self.buffer.clear();
            return Ok(true);
        }
        Ok(false)
    }
}

/// The number of a file's newest line that has one.
fn newest_seq(file: &File) -> io::Result<Option<u64>> {
    let mut lines = FileBackward::new(file.metadata()?.len());
    while let Some(line) = lines.next_line(file)? {
        let seq = line.bytes.as_deref().and_then(seq_of).filter(|_| line.is_finished);
        if seq.is_some() {
            return Ok(seq);
        }
    }
    Ok(None)
}
