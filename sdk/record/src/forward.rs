//! Reading a stream forward from any number on, and following it through rotation.
//!
//! What this file deliberately does not do: sleep, filter, or merge streams.
//!
//! What always holds: at most one block and one line are in memory; each line is handed out once, unless numbers begin
//! anew; no symbolic link is followed; a damaged part of a packed file is passed over, and told.

use crate::backward::Backward;
use crate::content::{Content, open};
use crate::file_lines::{FileBackward, FileForward};
use crate::line::{Line, SEQ_AT, record_of, seq_of};
use crate::packed_file::{Damage, DamageLog};
use crate::segment::{Segment, segments};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Where reading forward begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
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
    file: Option<(Content, FileForward)>,
    /// The newest number that was seen; lines up to it are not handed out again.
    last_seq: u64,
    /// Where the line of that number begins in `file`.
    last_at: Option<u64>,
    /// The same, while reading is paused.
    paused_at: Option<u64>,
    /// The number in the name of the newest rotated file that was opened.
    done: u64,
    damage: DamageLog,
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
            last_seq: 0,
            last_at: None,
            paused_at: None,
            done: 0,
            damage: DamageLog::default(),
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
        if let Some(mut content) = Content::open(&self.folder.join(&self.name), false)? {
            let mut end = content.len()?;
            let mut lines = FileBackward::new(end);
            while let Some(line) = lines.next_line(&mut content)? {
                if !line.is_finished {
                    // It is on its way.
                    end = line.offset;
                } else if let Some(seq) = line.bytes.as_deref().and_then(seq_of) {
                    self.last_seq = seq;
                    break;
                }
            }
            self.file = Some((content, FileForward::new(end)));
        }
        let mut backward = Backward::new(&self.folder, &self.name);
        while self.last_seq == 0
            && let Some(line) = backward.next_line()?
        {
            self.last_seq = line.seq.filter(|_| line.is_finished).unwrap_or(0);
        }
        Ok(())
    }

    /// How many damaged parts of packed files were passed over.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.damage.count()
    }

    /// The first damaged parts that were passed over since the last call; at most 8.
    pub fn take_damage(&mut self) -> Vec<Damage> {
        self.damage.take()
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
            self.file = Some((Content::Plain(file), FileForward::new(at)));
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
            let mut line = self.read_line()?;
            if line.is_none() {
                if self.is_current()? {
                    return Ok(None);
                }
                // What was rotated while it was read to its end may have got more before.
                line = self.read_line()?;
            }
            let Some(line) = line else {
                // A line that was torn and never ended.
                if let Some(line) = self.file.take().and_then(|(_, mut lines)| lines.rest()) {
                    return Ok(Some(Line::new(line)));
                }
                continue;
            };
            if line.seq.is_some_and(|seq| seq <= self.last_seq) {
                continue;
            }
            if let Some(seq) = line.seq {
                (self.last_seq, self.last_at) = (seq, Some(line.offset));
            }
            return Ok(Some(line));
        }
    }

    /// The next line of the file that is open.
    fn read_line(&mut self) -> io::Result<Option<Line>> {
        let Some((content, lines)) = &mut self.file else { return Ok(None) };
        let line = lines.next_line(content)?;
        content.tell_damage(&mut self.damage);
        Ok(line.map(Line::new))
    }

    /// Whether the file that is read is still the one that is appended to.
    fn is_current(&self) -> io::Result<bool> {
        let Some((Content::Plain(file), _)) = &self.file else { return Ok(false) };
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

    /// Whether a file was rotated since these were listed.
    fn was_rotated(&self, listed: &[Segment]) -> io::Result<bool> {
        let newest = |all: &[Segment]| all.iter().filter_map(|segment| segment.first_seq).max();
        Ok(newest(listed) != newest(&segments(&self.folder, &self.name)?))
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
        for segment in all.iter().skip(at.unwrap_or(0)) {
            if segment.first_seq.is_some_and(|first| first <= self.done) {
                continue;
            }
            let Some(mut content) = segment.open()? else { continue };
            if segment.first_seq.is_none() && self.was_rotated(&all)? {
                // The current file may be another than the one that was listed: files between them would be left out.
                return self.open_next();
            }
            let newest = newest_seq(&mut content)?;
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
            // What stands before it was read, or is not wanted.
            let offset = match &content {
                Content::Packed(packed) if self.last_seq > 0 => {
                    packed.seek(self.last_seq.saturating_add(1), first_seq)?
                }
                _ => 0,
            };
            self.file = Some((content, FileForward::new(offset)));
            return Ok(true);
        }
        Ok(false)
    }
}

/// The number of a file's newest line that has one.
fn newest_seq(content: &mut Content) -> io::Result<Option<u64>> {
    let mut lines = FileBackward::new(content.len()?);
    let mut newest = None;
    while newest.is_none()
        && let Some(line) = lines.next_line(content)?
    {
        let line = Line::new(line);
        newest = line.seq.filter(|_| line.is_finished);
    }
    // What is damaged is told when it is read.
    content.tell_damage(&mut DamageLog::default());
    Ok(newest)
}

/// The number of the first line of a member, if it begins with a line.
fn first_seq(plain: &[u8]) -> Option<u64> {
    let line = plain.split(|b| *b == b'\n').next()?;
    record_of(line).and_then(|(record, _)| record.seq)
}
