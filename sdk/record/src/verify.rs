//! Whether a stream's chain holds: each line carries the hash of the one before it.
//!
//! What it deliberately does not do: find what was removed at the end, or a chain that was computed anew by
//! somebody who may write the files. For that, note [`Verified::head`] elsewhere.
//!
//! What always holds: memory is bounded; the first fault is told, by file and line.

use crate::backward::READ_LINE_BYTES_MAX;
use crate::chain::{Hash, NOTHING, hash_line, parse_hex};
use crate::read::{open, record_of, seq_of};
use crate::segment::segments;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Lines that are remembered to tell an inserted one from an altered one.
const REMEMBERED: usize = 256;

/// What became of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Lines that were looked at.
    pub lines: u64,
    /// Lines before the first one with a hash: they were written before the chain was turned on.
    pub unchained: u64,
    /// Beginnings of lines that were written again whole: a full disk took only a part, and the file could not
    /// be cut.
    pub torn: u64,
    /// The first number, with which the retained files begin. Its own `prev` is taken on trust (the anchor),
    /// unless it is 1.
    pub first_seq: Option<u64>,
    /// The last number.
    pub last_seq: Option<u64>,
    /// The hash of the last line: noted elsewhere, it shows later whether the end was removed.
    pub head: Hash,
    /// Compressed files that were passed over; the chain is taken up again after them.
    pub packed: u64,
    /// The first fault.
    pub fault: Option<Fault>,
}

/// The first line that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The number of the line, as far as it tells.
    pub seq: Option<u64>,
    /// Which line of the retained ones it is, counted from 1.
    pub line: u64,
    /// What is wrong.
    pub kind: FaultKind,
}

/// What is wrong with a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The line is not as it was when the next one was written.
    Altered,
    /// Lines before this one were removed: how many, by the numbers.
    Removed(u64),
    /// The line was not there when the next one was written.
    Inserted,
    /// The line carries no hash, though lines before it do.
    Unchained,
}

struct Seen {
    hash: Hash,
    seq: Option<u64>,
    line: u64,
}

struct Link {
    bytes: Vec<u8>,
    seen: Seen,
    prev: Option<Hash>,
    /// A compressed file was passed over before it.
    follows_packed: bool,
}

/// The lines of the files that were there, all opened first so that rotation meanwhile hides none.
struct Lines {
    /// `None` for a compressed file.
    files: VecDeque<Option<File>>,
    reader: Option<BufReader<File>>,
    count: u64,
    packed: u64,
    follows_packed: bool,
}

impl Lines {
    fn open(folder: &Path, name: &str) -> io::Result<Lines> {
        let mut files = VecDeque::new();
        for segment in segments(folder, name)? {
            match open(&segment.path)? {
                _ if segment.is_packed => files.push_back(None),
                Some(file) => files.push_back(Some(file)),
                None => {}
            }
        }
        Ok(Lines { files, reader: None, count: 0, packed: 0, follows_packed: false })
    }

    fn next_line(&mut self) -> io::Result<Option<Link>> {
        loop {
            if let Some(reader) = &mut self.reader {
                let mut bytes = Vec::new();
                reader.take(READ_LINE_BYTES_MAX as u64).read_until(b'\n', &mut bytes)?;
                let is_whole = bytes.last() == Some(&b'\n');
                if !is_whole && bytes.len() == READ_LINE_BYTES_MAX {
                    // No record: what is kept of it does not hash to anything that was recorded.
                    reader.skip_until(b'\n')?;
                } else if !is_whole {
                    // The end of the file; a last line without its end may be on its way.
                    self.reader = None;
                    continue;
                }
                bytes.truncate(bytes.len() - usize::from(is_whole));
                self.count += 1;
                let prev = record_of(&bytes).and_then(|(record, _)| record.prev);
                return Ok(Some(Link {
                    seen: Seen { hash: hash_line(&bytes), seq: seq_of(&bytes), line: self.count },
                    bytes,
                    prev: prev.and_then(|prev| parse_hex(&prev)),
                    follows_packed: std::mem::take(&mut self.follows_packed),
                }));
            }
            match self.files.pop_front() {
                None => return Ok(None),
                Some(Some(file)) => self.reader = Some(BufReader::new(file)),
                Some(None) => {
                    self.packed += 1;
                    self.follows_packed = true;
                }
            }
        }
    }
}

/// Verifies the chain of the stream `name` in `folder`, from the oldest retained line to the newest.
///
/// # Errors
/// A file or the folder cannot be read.
pub fn verify(folder: &Path, name: &str) -> io::Result<Verified> {
    let mut lines = Lines::open(folder, name)?;
    let mut verified = Verified {
        lines: 0,
        unchained: 0,
        torn: 0,
        first_seq: None,
        last_seq: None,
        head: NOTHING,
        packed: 0,
        fault: None,
    };
    let mut seen: VecDeque<Seen> = VecDeque::new();
    let mut is_chained = false;
    let mut next = lines.next_line()?;
    while let Some(this) = next {
        next = lines.next_line()?;
        if is_torn(&this, seen.back(), next.as_ref()) {
            (verified.torn, verified.lines) = (verified.torn + 1, this.seen.line);
            continue;
        }
        verified.fault = check(&this, &seen, next.as_ref(), is_chained);
        verified.unchained += u64::from(!is_chained && this.prev.is_none());
        is_chained |= this.prev.is_some();
        if verified.fault.is_some() {
            break;
        }
        let this = this.seen;
        verified.lines = this.line;
        (verified.first_seq, verified.last_seq) = (verified.first_seq.or(this.seq), this.seq);
        verified.head = this.hash;
        if seen.len() == REMEMBERED {
            seen.pop_front();
        }
        seen.push_back(this);
    }
    verified.packed = lines.packed;
    Ok(verified)
}

/// Whether a line is the beginning of the next one, which takes its place in the chain.
fn is_torn(this: &Link, before: Option<&Seen>, next: Option<&Link>) -> bool {
    next.is_some_and(|next| {
        let follows = before.is_none_or(|before| next.prev == Some(before.hash));
        next.bytes.len() > this.bytes.len() && next.bytes.starts_with(&this.bytes) && follows
    })
}

/// What is wrong at a line, if anything is. `seen` are the lines before it, `next` is the one after it.
fn check(this: &Link, seen: &VecDeque<Seen>, next: Option<&Link>, is_chained: bool) -> Option<Fault> {
    let fault = |kind, seen: &Seen| Some(Fault { seq: seen.seq, line: seen.line, kind });
    let Some(prev) = this.prev else {
        return if is_chained { fault(lost_hash(this, seen, next), &this.seen) } else { None };
    };
    let Some(before) = seen.back() else {
        // The anchor; but the very first line of a stream carries nothing.
        let is_wrong = this.seen.seq == Some(1) && prev != NOTHING;
        return if is_wrong { fault(FaultKind::Altered, &this.seen) } else { None };
    };
    if prev == before.hash || this.follows_packed {
        return None;
    }
    // The next line follows the one before: it did not know this one.
    if next.and_then(|next| next.prev) == Some(before.hash) {
        return fault(FaultKind::Inserted, &this.seen);
    }
    // It follows a line further up: what stands between was inserted.
    if let Some(follows) = seen.iter().position(|earlier| earlier.hash == prev) {
        return fault(FaultKind::Inserted, seen.get(follows + 1).unwrap_or(&this.seen));
    }
    if let (Some(from), Some(to)) = (before.seq, this.seen.seq)
        && to > from + 1
    {
        return fault(FaultKind::Removed(to - from - 1), &this.seen);
    }
    // If the next line vouches for this one, the one before it is not what it was.
    let is_vouched = next.and_then(|next| next.prev).is_none_or(|vouched| vouched == this.seen.hash);
    fault(FaultKind::Altered, if is_vouched { before } else { &this.seen })
}

/// What a line without a hash is, where lines before it have one.
fn lost_hash(this: &Link, seen: &VecDeque<Seen>, next: Option<&Link>) -> FaultKind {
    match next.and_then(|next| next.prev) {
        Some(prev) if seen.back().is_some_and(|before| before.hash == prev) => FaultKind::Inserted,
        Some(prev) if prev != this.seen.hash => FaultKind::Altered,
        _ => FaultKind::Unchained,
    }
}
