//! What is found in a current file when it is opened: where its numbers stand, and what a crash left.
//!
//! What always holds: only a last line without its end is changed, and what of it was there is told.

use crate::chain::{Hash, hash_line};
use crate::content::Content;
use crate::disk::Disk;
use crate::file_lines::FileBackward;
use crate::line::{record_of, seq_of};
use crate::time::parse_time;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::SystemTime;

/// How much of a torn line is kept for its report. Bytes.
const TORN_SHOWN_BYTES: usize = 200;
/// How much of a file is read for its first line. Bytes.
const FIRST_LINE_BYTES: usize = 64 * 1024;

/// A last line without its end, which a crash or a full disk left, and which was removed or, where the file
/// could not be cut, ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// Where it began in the file. Bytes.
    pub offset: u64,
    /// How long it was. Bytes.
    pub torn_bytes: u64,
    /// Its beginning, at most 200 bytes, invalid UTF-8 replaced.
    pub torn: String,
    /// It was cut off; otherwise a line end was put after it.
    pub was_cut: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The file's size after the repair. Bytes.
    pub(crate) bytes: u64,
    pub(crate) repair: Option<Repair>,
    pub(crate) tail: Option<Tail>,
    pub(crate) first_seq: Option<u64>,
    /// When its first record was written.
    pub(crate) born: Option<SystemTime>,
}

/// The end of a file's lines.
#[derive(Debug)]
pub(crate) struct Tail {
    /// The number of the last line; of the last that has one, and one more for each line after it.
    pub(crate) seq: Option<u64>,
    pub(crate) hash: Hash,
}

/// Looks at a current file, and repairs its end.
pub(crate) fn recover(disk: &dyn Disk, file: &File) -> io::Result<Found> {
    let mut found = Found { bytes: file.metadata()?.len(), ..Found::default() };
    let mut content = Content::Plain(file.try_clone()?);
    let mut lines = FileBackward::new(found.bytes);
    if let Some(line) = lines.next_line(&mut content)?
        && !line.is_finished
    {
        repair(disk, file, line.offset, &mut found)?;
    }
    found.tail = tail(&mut content)?;
    let mut first = vec![0; FIRST_LINE_BYTES];
    let bytes = file.read_at(&mut first, 0)?;
    first.truncate(bytes);
    if let Some(line) = first.split(|b| *b == b'\n').next() {
        found.first_seq = seq_of(line);
        found.born = record_of(line).and_then(|(record, _)| parse_time(&record.time));
    }
    Ok(found)
}

/// Where the numbers of a file's lines end; `None` if it has no line.
pub(crate) fn tail(content: &mut Content) -> io::Result<Option<Tail>> {
    let mut lines = FileBackward::new(content.len()?);
    let mut tail: Option<Tail> = None;
    let mut without = 0;
    while let Some(line) = lines.next_line(content)? {
        if !line.is_finished {
            continue;
        }
        let bytes = line.bytes.unwrap_or_default();
        let tail = tail.get_or_insert_with(|| Tail { seq: None, hash: hash_line(&bytes) });
        if let Some(seq) = seq_of(&bytes) {
            tail.seq = Some(seq.saturating_add(without));
            break;
        }
        without += 1;
    }
    Ok(tail)
}

fn repair(disk: &dyn Disk, file: &File, offset: u64, found: &mut Found) -> io::Result<()> {
    let torn_bytes = found.bytes.saturating_sub(offset);
    let mut torn = vec![0; TORN_SHOWN_BYTES.min(usize::try_from(torn_bytes).unwrap_or(usize::MAX))];
    file.read_exact_at(&mut torn, offset)?;
    let was_cut = disk.truncate(file, offset).is_ok();
    if !was_cut {
        // A file that may only be appended to (chattr +a) cannot be cut.
        disk.write(file, b"\n")?;
    }
    found.bytes = if was_cut { offset } else { found.bytes + 1 };
    let torn = String::from_utf8_lossy(&torn).into_owned();
    found.repair = Some(Repair { offset, torn_bytes, torn, was_cut });
    Ok(())
}
