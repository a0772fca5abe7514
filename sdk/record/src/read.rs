//! Lines of a stream, and reading it backward from its end; `forward.rs` reads it forward.
//!
//! What this file deliberately does not do: sleep, filter, or merge streams; decompress: of a packed file
//! the reader says that it was passed over.
//!
//! What always holds: at most one block and one line are in memory; each line is handed out once; what is
//! no record is handed out too, for the caller to count; no symbolic link is followed.

use crate::backward::FileBackward;
use crate::segment::{Segment, segments};
use nix::fcntl::OFlag;
use rpc_plugin_wire::event::Record;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where the number stands in a line that our own writer wrote: after `{"time":"` and 24 bytes of time.
pub(crate) const SEQ_AT: u64 = 33;

/// One line of a stream, its line end not included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// `None`: longer than a megabyte, which no record is.
    pub bytes: Option<Vec<u8>>,
    /// Its number, if it has one that can be read.
    pub seq: Option<u64>,
    /// Where it begins in its file. Bytes.
    pub offset: u64,
    /// Whether a line end follows it; the last one may be torn, or on its way.
    pub is_finished: bool,
}

impl Line {
    pub(crate) fn new(bytes: Option<Vec<u8>>, offset: u64, is_finished: bool) -> Line {
        Line { seq: bytes.as_deref().and_then(seq_of), bytes, offset, is_finished }
    }

    /// The line as a record and as the text that it is; `None` if it is no record.
    #[must_use]
    pub fn record(&self) -> Option<(Record, &str)> {
        record_of(self.bytes.as_deref()?)
    }
}

/// A line as a record, and as the text it is.
#[must_use]
pub fn record_of(line: &[u8]) -> Option<(Record, &str)> {
    let text = std::str::from_utf8(line).ok()?;
    serde_json::from_str(text).ok().map(|record| (record, text))
}

/// The number of a line, without reading all of a line that our own writer wrote.
pub(crate) fn seq_of(line: &[u8]) -> Option<u64> {
    // `{"time":"` and 24 bytes of time, then `","seq":`.
    let rest = line.get(33..).filter(|_| line.starts_with(b"{\"time\":\"") && line.ends_with(b"}"));
    if let Some(digits) = rest.and_then(|rest| rest.strip_prefix(b"\",\"seq\":")) {
        let end = digits.iter().position(|b| !b.is_ascii_digit())?;
        return std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok();
    }
    record_of(line).and_then(|(record, _)| record.seq)
}

/// Opens a record for reading; `None` when there is none.
///
/// Neither follows a symbolic link nor waits for the other end of a FIFO that someone put there.
pub(crate) fn open(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(Some(file))
}

/// The current file as it was when a reader came: it may have been rotated since.
#[derive(Debug)]
struct Current {
    dev_ino: (u64, u64),
    /// The number of its first line, as far as lines tell.
    first_seq: Option<u64>,
}

/// Hands out the lines of a stream from the newest to the oldest, through its rotated files.
#[derive(Debug)]
pub struct Backward {
    folder: PathBuf,
    name: String,
    file: Option<(File, FileBackward)>,
    /// Older files begin with a smaller number than this.
    before: u64,
    /// What was the current file when it was opened; until it was read, and its place is known.
    current: Option<Current>,
    is_begun: bool,
    packed: u64,
}

impl Backward {
    /// The lines of the stream `name` in `folder`, whose files may be absent.
    #[must_use]
    pub fn new(folder: &Path, name: &str) -> Backward {
        let (folder, name) = (folder.to_owned(), name.to_owned());
        Backward { folder, name, file: None, before: u64::MAX, current: None, is_begun: false, packed: 0 }
    }

    /// Compressed files that were passed over.
    #[must_use]
    pub fn packed(&self) -> u64 {
        self.packed
    }

    /// The line before the last one handed out; `None` at the stream's beginning.
    ///
    /// # Errors
    /// A file or the folder cannot be read.
    pub fn next_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some((file, lines)) = &mut self.file
                && let Some(line) = lines.next_line(file)?
            {
                let line = Line::new(line.bytes, line.offset, line.is_finished);
                if let Some(current) = &mut self.current {
                    current.first_seq = line.seq.or(current.first_seq);
                }
                return Ok(Some(line));
            }
            // Open until its place is known: the number of a removed file's inode may be used again.
            let read = self.file.take();
            let is_current = !self.is_begun;
            let Some(path) = self.older()? else { return Ok(None) };
            drop(read);
            // One that was removed meanwhile was the oldest; then there is none before it either.
            let Some(file) = open(&path)? else { continue };
            let metadata = file.metadata()?;
            if is_current {
                let dev_ino = (metadata.dev(), metadata.ino());
                self.current = Some(Current { dev_ino, first_seq: None });
            }
            self.file = Some((file, FileBackward::new(metadata.len())));
        }
    }

    fn older(&mut self) -> io::Result<Option<PathBuf>> {
        if !std::mem::replace(&mut self.is_begun, true) {
            return Ok(Some(self.folder.join(&self.name)));
        }
        let mut all = segments(&self.folder, &self.name)?;
        if let Some(current) = self.current.take() {
            self.before = current.place_among(&all);
        }
        all.retain(|segment| segment.first_seq.is_some_and(|first_seq| first_seq < self.before));
        while let Some(Segment { path, first_seq, is_packed, .. }) = all.pop() {
            self.before = first_seq.unwrap_or(0);
            if !is_packed {
                return Ok(Some(path));
            }
            self.packed += 1;
        }
        Ok(None)
    }
}

impl Current {
    /// The number with which it begins, if it was rotated since; `all` are the files that are there now.
    /// Names tell, not lines: those may be corrupt.
    fn place_among(&self, all: &[Segment]) -> u64 {
        match all.iter().find(|segment| is_same(&segment.path, self.dev_ino)) {
            Some(segment) => segment.first_seq.unwrap_or(u64::MAX),
            // Rotated, and then removed or compressed.
            None => self.first_seq.unwrap_or(u64::MAX),
        }
    }
}

/// Whether the file of that name is the one with these numbers of device and inode.
fn is_same(path: &Path, dev_ino: (u64, u64)) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|named| (named.dev(), named.ino()) == dev_ino)
}
