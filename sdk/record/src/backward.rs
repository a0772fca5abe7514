//! Reading a stream backward from its end; `forward.rs` reads it forward.
//!
//! What this file deliberately does not do: sleep, filter, or merge streams.
//!
//! What always holds: at most one block and one line are in memory; each line is handed out once; no symbolic link
//! is followed; a damaged part of a packed file is passed over, and told.

use crate::content::Content;
use crate::file_lines::FileBackward;
use crate::line::Line;
use crate::packed_file::{Damage, DamageLog};
use crate::segment::{Segment, segments};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

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
    file: Option<(Content, FileBackward)>,
    /// Older files begin with a smaller number than this.
    before: u64,
    /// What was the current file when it was opened; until it was read, and its place is known.
    current: Option<Current>,
    is_begun: bool,
    damage: DamageLog,
}

impl Backward {
    /// The lines of the stream `name` in `folder`, whose files may be absent.
    #[must_use]
    pub fn new(folder: &Path, name: &str) -> Backward {
        let (folder, name) = (folder.to_owned(), name.to_owned());
        let (file, current, damage) = (None, None, DamageLog::default());
        Backward { folder, name, file, before: u64::MAX, current, is_begun: false, damage }
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

    /// The line before the last one handed out; `None` at the stream's beginning.
    ///
    /// # Errors
    /// A file or the folder cannot be read.
    pub fn next_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some((content, lines)) = &mut self.file {
                let line = lines.next_line(content)?;
                content.tell_damage(&mut self.damage);
                if let Some(line) = line.map(Line::new) {
                    if let Some(current) = &mut self.current {
                        current.first_seq = line.seq.or(current.first_seq);
                    }
                    return Ok(Some(line));
                }
            }
            // Open until its place is known: the number of a removed file's inode may be used again.
            let read = self.file.take();
            let content = if std::mem::replace(&mut self.is_begun, true) {
                let Some(segment) = self.older()? else { return Ok(None) };
                segment.open()?
            } else {
                let content = Content::open(&self.folder.join(&self.name), false)?;
                if let Some(Content::Plain(file)) = &content {
                    let metadata = file.metadata()?;
                    self.current =
                        Some(Current { dev_ino: (metadata.dev(), metadata.ino()), first_seq: None });
                }
                content
            };
            drop(read);
            // One that was removed meanwhile was the oldest; then there is none before it either.
            let Some(content) = content else { continue };
            let lines = FileBackward::new(content.len()?);
            self.file = Some((content, lines));
        }
    }

    fn older(&mut self) -> io::Result<Option<Segment>> {
        let mut all = segments(&self.folder, &self.name)?;
        if let Some(current) = self.current.take() {
            self.before = current.place_among(&all);
        }
        all.retain(|segment| segment.first_seq.is_some_and(|first_seq| first_seq < self.before));
        let older = all.pop();
        self.before = older.as_ref().and_then(|segment| segment.first_seq).unwrap_or(0);
        Ok(older)
    }
}

impl Current {
    /// The number with which it begins, if it was rotated since; `all` are the files that are there now.
    /// Names tell, not lines: those may be corrupt.
    fn place_among(&self, all: &[Segment]) -> u64 {
        match all.iter().find(|segment| is_same(&segment.path, self.dev_ino)) {
            Some(segment) => segment.first_seq.unwrap_or(u64::MAX),
            // Rotated, and then removed or packed.
            None => self.first_seq.unwrap_or(u64::MAX),
        }
    }
}

/// Whether the file of that name is the one with these numbers of device and inode.
fn is_same(path: &Path, dev_ino: (u64, u64)) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|named| (named.dev(), named.ino()) == dev_ino)
}
