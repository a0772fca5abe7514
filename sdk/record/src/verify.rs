//! Whether a stream's chain holds: each line carries the hash of the one before it.
//!
//! What it deliberately does not do: find what was removed at the end, or a chain that was computed anew by
//! somebody who may write the files. For that, note [`Verified::head`] elsewhere.
//!
//! What always holds: memory is bounded; the first fault is told, by file and line.

use crate::chain::{Hash, NOTHING, hash_line, parse_hex};
use crate::content::Content;
use crate::file_lines::FileForward;
use crate::line::{Line, record_of};
use crate::packed_file::{Damage, DamageLog};
use crate::segment::segments;
use std::collections::VecDeque;
use std::path::Path;
use std::{fmt, io};

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
    /// How many damaged parts of packed files were passed over; the chain is taken up again after them.
    pub damaged: u64,
    /// The first of them, at most 8.
    pub damage: Vec<Damage>,
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
#[non_exhaustive]
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

impl FaultKind {
    /// The word for it, for programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            FaultKind::Altered => "altered",
            FaultKind::Removed(_) => "removed",
            FaultKind::Inserted => "inserted",
            FaultKind::Unchained => "unchained",
        }
    }
}

/// What is said of the line at fault: `was altered`.
impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FaultKind::Altered => write!(f, "was altered"),
            FaultKind::Inserted => write!(f, "was inserted"),
            FaultKind::Removed(1) => write!(f, "comes after 1 line that was removed"),
            FaultKind::Removed(lines) => write!(f, "comes after {lines} lines that were removed"),
            FaultKind::Unchained => write!(f, "has no hash, though lines before it have"),
        }
    }
}

struct Seen {
    hash: Hash,
    seq: Option<u64>,
    line: u64,
}

struct Link {
    /// `None`: longer than any record.
    bytes: Option<Vec<u8>>,
    seen: Seen,
    prev: Option<Hash>,
    /// Lines before it could not be read.
    follows_damage: bool,
}

/// The lines of the files that were there, all opened first so that rotation meanwhile hides none.
struct Lines {
    files: VecDeque<Content>,
    lines: FileForward,
    count: u64,
    damage: DamageLog,
    follows_damage: bool,
}

impl Lines {
    fn open(folder: &Path, name: &str) -> io::Result<Lines> {
        let mut files = VecDeque::new();
        for segment in segments(folder, name)? {
            files.extend(segment.open()?);
        }
        let (lines, damage) = (FileForward::new(0), DamageLog::default());
        Ok(Lines { files, lines, count: 0, damage, follows_damage: false })
    }

    fn next_line(&mut self) -> io::Result<Option<Link>> {
        while let Some(content) = self.files.front_mut() {
            let line = self.lines.next_line(content)?;
            let before = self.damage.count();
            content.tell_damage(&mut self.damage);
            self.follows_damage |= self.damage.count() > before;
            let Some(line) = line else {
                // A last line without its end may be on its way.
                self.files.pop_front();
                self.lines = FileForward::new(0);
                continue;
            };
            let record = line.bytes.as_deref().and_then(record_of).map(|(record, _)| record);
            if !line.is_finished || line.follows_damage && record.is_none() {
                // What damage left of a line.
                continue;
            }
            let line = Line::new(line);
            self.count += 1;
            // No record is as long as one that is too long: it hashes to nothing that was recorded.
            let hash = line.bytes.as_deref().map_or(NOTHING, hash_line);
            return Ok(Some(Link {
                seen: Seen { hash, seq: line.seq, line: self.count },
                prev: record.and_then(|record| record.prev).and_then(|prev| parse_hex(&prev)),
                bytes: line.bytes,
                follows_damage: std::mem::take(&mut self.follows_damage),
            }));
        }
        Ok(None)
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
        damaged: 0,
        damage: Vec::new(),
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
    (verified.damaged, verified.damage) = (lines.damage.count(), lines.damage.take());
    Ok(verified)
}

/// Whether a line is the beginning of the next one, which takes its place in the chain.
fn is_torn(this: &Link, before: Option<&Seen>, next: Option<&Link>) -> bool {
    next.is_some_and(|next| {
        let follows = before.is_none_or(|before| next.prev == Some(before.hash));
        let is_beginning = this
            .bytes
            .as_ref()
            .zip(next.bytes.as_ref())
            .is_some_and(|(this, next)| next.len() > this.len() && next.starts_with(this));
        is_beginning && follows
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
    if prev == before.hash || this.follows_damage {
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
