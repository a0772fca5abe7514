//! One stream of lines, written: numbered, chained, rotated, repaired when it is opened.
//!
//! What this file deliberately does not do: wait, retry, or decide when to sync; its caller does, and may have it done
//! beside further writing.
//!
//! What always holds: lines reach the files in the order in which they were pushed, whole, each once; a
//! number is used once; what was not written stays pending; what a failed sync left unconfirmed is told
//! and never called durable, because the kernel may have dropped its pages and calls them clean.

use crate::LINE_BYTES_MAX;
use crate::chain::{Hash, NOTHING, hash_line};
use crate::content::Content;
use crate::disk::{Disk, Place};
use crate::entry::Entry;
use crate::packed_file::PackedFile;
use crate::recover::{Found, Repair, Tail, recover, tail};
use crate::segment::{PACKED_SUFFIX, parse_rotated, rotated_name};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How a stream is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamOptions {
    /// A file is rotated before it would become larger. Bytes; at least [`LINE_BYTES_MAX`] counts.
    pub file_bytes_max: u64,
    /// Files of the stream, the current one counted; at least 2 counts.
    pub files_max: usize,
    /// A file is rotated, with the next line, when its first line is older.
    pub file_age_max: Option<Duration>,
    /// Whether each line carries the hash of the one before.
    pub chain: bool,
    /// Whether what was written counts as unsynced until [`Stream::sync`], which rotation then does too.
    pub is_durable: bool,
    /// Whether syncs run beside writing: a file that is left is not synced by this stream, but by whoever takes
    /// [`Stream::take_syncs`].
    pub syncs_beside: bool,
}

impl Default for StreamOptions {
    fn default() -> StreamOptions {
        let file_bytes_max = 8 * 1024 * 1024;
        StreamOptions {
            file_bytes_max,
            files_max: 4,
            file_age_max: None,
            chain: false,
            is_durable: true,
            syncs_beside: false,
        }
    }
}

impl StreamOptions {
    fn file_bytes(&self) -> u64 {
        self.file_bytes_max.max(LINE_BYTES_MAX as u64)
    }

    /// What all files of the stream take at the most. Bytes.
    #[must_use]
    pub fn bytes_max(&self) -> u64 {
        self.file_bytes().saturating_mul(self.files_max.max(2) as u64)
    }
}

#[derive(Debug)]
struct Opened {
    folder: Arc<OwnedFd>,
    file: Arc<File>,
    bytes: u64,
    first_seq: Option<u64>,
    born: Option<SystemTime>,
    /// The folder has a name that may not be on the disk.
    is_new: bool,
}

/// A rotated file, plain, packed, or both.
#[derive(Debug)]
struct Rotated {
    first_seq: u64,
    bytes: u64,
}

/// Lines of which the disk did not confirm that it has them: first and last number.
type Unconfirmed = (u64, u64);

/// A sync of one file of a stream, which can run beside further writing ([`Stream::begin_sync`]).
#[derive(Debug)]
pub struct StreamSync {
    file: Arc<File>,
    /// The folder of a file whose name may not be on the disk, and its place.
    new_in: Option<(Arc<OwnedFd>, Place)>,
    /// The number of the first line that it is to confirm.
    first: u64,
}

impl StreamSync {
    /// Makes sure that what was written before is on the disk.
    ///
    /// # Errors
    /// Those of fdatasync(2) and, for a new file, of fsync(2) of its folder.
    pub fn run(&self, disk: &dyn Disk) -> io::Result<()> {
        disk.sync(&self.file)?;
        let Some((folder, place)) = &self.new_in else { return Ok(()) };
        disk.sync_folder(folder)?;
        if place.below.is_some() {
            // The folder itself may be new.
            let above = Place { base: place.base.clone(), below: None };
            disk.sync_folder(&disk.open_folder(&above)?)?;
        }
        Ok(())
    }
}

/// A stream that is written: its files, and the lines that wait for them.
#[derive(Debug)]
pub struct Stream {
    place: Place,
    name: String,
    options: StreamOptions,
    disk: Arc<dyn Disk>,
    opened: Option<Opened>,
    /// The last number given and the hash of that line, once they are known.
    position: Option<(u64, Hash)>,
    rotated: Vec<Rotated>,
    /// Whole lines that wait to be written.
    pending: Vec<u8>,
    pending_count: u64,
    /// The first number that was written and not synced.
    unsynced_from: Option<u64>,
    /// Syncs that have begun and not ended.
    syncs_under_way: usize,
    /// Syncs of files that were left, for whoever runs them.
    syncs: Vec<StreamSync>,
    unconfirmed: Option<Unconfirmed>,
    /// The last sync failed, and the current file was begun after the first that did.
    is_failing: bool,
    /// A file was rotated since that was asked.
    was_rotated: bool,
    repair: Option<Repair>,
}

impl Stream {
    /// A stream `name` (such as [`FILE_NAME`](crate::FILE_NAME)) at `place`. Nothing is opened yet.
    #[must_use]
    pub fn new(place: Place, name: &str, options: StreamOptions, disk: Arc<dyn Disk>) -> Stream {
        Stream {
            place,
            name: name.to_owned(),
            options,
            disk,
            opened: None,
            position: None,
            rotated: Vec::new(),
            pending: Vec::new(),
            pending_count: 0,
            unsynced_from: None,
            syncs_under_way: 0,
            syncs: Vec::new(),
            unconfirmed: None,
            is_failing: false,
            was_rotated: false,
            repair: None,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Whether a descriptor is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.opened.is_some()
    }

    /// Bytes of lines that wait to be written.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    /// Lines that wait to be written.
    #[must_use]
    pub fn pending_count(&self) -> u64 {
        self.pending_count
    }

    /// Whether something was written that was not synced.
    #[must_use]
    pub fn is_unsynced(&self) -> bool {
        self.unsynced_from.is_some() || self.syncs_under_way > 0
    }

    /// Whether a sync has begun and not ended.
    #[must_use]
    pub fn is_syncing(&self) -> bool {
        self.syncs_under_way > 0
    }

    /// Whether the last sync failed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.is_failing
    }

    /// Whether a file was rotated since the last call.
    pub fn take_rotated(&mut self) -> bool {
        std::mem::take(&mut self.was_rotated)
    }

    /// What was repaired when the file was opened, once.
    pub fn take_repair(&mut self) -> Option<Repair> {
        self.repair.take()
    }

    /// Lines that were written and whose sync failed, once: they may be missing after a power failure.
    pub fn take_unconfirmed(&mut self) -> Option<(u64, u64)> {
        self.unconfirmed.take()
    }

    /// Gives an event the next number and makes it a pending line. The caller bounds how much is pending.
    ///
    /// # Errors
    /// The files cannot be opened, which has to be done to know the number. Nothing is pending then.
    pub fn push(&mut self, entry: &Entry) -> io::Result<u64> {
        let (seq, hash) = match self.position {
            Some(position) => position,
            None => {
                self.open()?;
                self.position.unwrap_or((0, NOTHING))
            }
        };
        let (seq, start) = (seq + 1, self.pending.len());
        entry.write_line(seq, self.options.chain.then_some(&hash), &mut self.pending);
        let line = self.pending.get(start..self.pending.len() - 1).unwrap_or_default();
        // Without a chain nobody asks for the hash; a chain that begins later hashes the line it finds.
        let hash = if self.options.chain { hash_line(line) } else { NOTHING };
        self.position = Some((seq, hash));
        self.pending_count += 1;
        Ok(seq)
    }

    /// Writes what is pending: one write(2) a file. What was not written stays pending, and may be tried
    /// again.
    ///
    /// # Errors
    /// Those of the disk. The descriptors are closed then, so that a folder that was replaced is found.
    pub fn write(&mut self) -> io::Result<()> {
        let result = self.write_pending();
        if result.is_err() {
            // What was written before it failed need not be lost with the descriptor.
            let sync = self.begin_sync();
            self.close();
            if let Some(sync) = sync {
                // Its failure is told as what is unconfirmed.
                let _ = self.finish_sync(sync);
            }
        }
        result
    }

    fn write_pending(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            self.check_opened()?;
            let Some(opened) = &self.opened else { return Err(io::ErrorKind::NotFound.into()) };
            let room = usize::try_from(self.options.file_bytes().saturating_sub(opened.bytes)).unwrap_or(0);
            let is_old = (self.options.file_age_max.zip(opened.born)).is_some_and(|(age_max, born)| {
                SystemTime::now().duration_since(born).is_ok_and(|age| age > age_max)
            });
            let fits = match self.pending.get(..room) {
                Some(part) => part.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1),
                None => self.pending.len(),
            };
            if fits == 0 || is_old && opened.bytes > 0 {
                self.rotate()?;
            } else {
                self.write_part(fits)?;
            }
        }
        Ok(())
    }

    /// Writes the first `bytes` of what is pending, which are whole lines.
    fn write_part(&mut self, bytes: usize) -> io::Result<()> {
        let first = self.pending_first();
        let Some(opened) = &mut self.opened else { return Ok(()) };
        let part = self.pending.get(..bytes).unwrap_or_default();
        let (written, result) = write_all(&*self.disk, &opened.file, part);
        let whole = part.get(..written).unwrap_or_default();
        let whole = whole.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let lines = if whole == self.pending.len() {
            self.pending_count
        } else {
            part.iter().take(whole).filter(|b| **b == b'\n').count() as u64
        };
        if lines > 0 {
            opened.bytes += whole as u64;
            opened.first_seq = opened.first_seq.or(Some(first));
            opened.born = opened.born.or_else(|| Some(SystemTime::now()));
            if self.options.is_durable {
                self.unsynced_from = self.unsynced_from.or(Some(first));
            }
            self.pending.drain(..whole);
            self.pending_count -= lines;
            if self.pending.is_empty() && self.pending.capacity() > 4 * LINE_BYTES_MAX {
                self.pending.shrink_to(LINE_BYTES_MAX);
            }
        }
        if result.is_err() {
            // Readers need not see a torn line. If this fails too, the repair at the next opening does it.
            let _ = self.disk.truncate(&opened.file, opened.bytes);
        }
        result
    }

    fn pending_first(&self) -> u64 {
        self.position.map_or(0, |(last, _)| last) + 1 - self.pending_count
    }

    /// The last number that is in a file.
    fn written_last(&self) -> u64 {
        self.position.map_or(0, |(last, _)| last).saturating_sub(self.pending_count)
    }

    /// Makes sure that what was written is on the disk.
    ///
    /// # Errors
    /// Those of fdatasync(2). What was not confirmed is told by [`Stream::take_unconfirmed`] and not synced
    /// again: after an error Linux marks the pages clean, so that another sync would succeed without them
    /// (fsync(2); the PostgreSQL project's findings of 2018). After the first failure the next line goes to a
    /// new file.
    pub fn sync(&mut self) -> io::Result<()> {
        let Some(sync) = self.begin_sync() else { return Ok(()) };
        let result = sync.run(&*self.disk);
        self.end_sync(&sync, result)
    }

    /// The sync of what was written and is not being synced, if there is any. It has to be run, and its result be given
    /// to [`Stream::end_sync`]; until then the stream counts as unsynced.
    pub fn begin_sync(&mut self) -> Option<StreamSync> {
        let first = self.unsynced_from.take()?;
        let opened = self.opened.as_ref()?;
        self.syncs_under_way += 1;
        let new_in = opened.is_new.then(|| (Arc::clone(&opened.folder), self.place.clone()));
        Some(StreamSync { file: Arc::clone(&opened.file), new_in, first })
    }

    /// Takes the result of a sync, and gives it back. What was written since a sync began that failed is unconfirmed too:
    /// the error is told once, whichever pages it was about.
    ///
    /// # Errors
    /// The sync's.
    pub fn end_sync(&mut self, sync: &StreamSync, result: io::Result<()>) -> io::Result<()> {
        self.syncs_under_way = self.syncs_under_way.saturating_sub(1);
        let current = self.opened.as_mut().filter(|opened| Arc::ptr_eq(&opened.file, &sync.file));
        let is_current = current.is_some();
        if result.is_ok() {
            self.is_failing = false;
            if let Some(opened) = current {
                opened.is_new = false;
            }
            return result;
        }
        self.unsynced_from = Some(self.unsynced_from.map_or(sync.first, |from| from.min(sync.first)));
        self.give_up_sync();
        // One new file for a time of failures: more would push what is on the disk out of the record.
        if is_current && !std::mem::replace(&mut self.is_failing, true) {
            // If it cannot be retired it goes on: what it gets from now on is synced, or told.
            let _ = self.retire();
            self.opened = None;
        }
        result
    }

    /// Syncs of files that were left, which are to be run in their order, once.
    pub fn take_syncs(&mut self) -> Vec<StreamSync> {
        std::mem::take(&mut self.syncs)
    }

    /// Runs a sync of a file that is left, or has it run beside.
    fn finish_sync(&mut self, sync: StreamSync) -> io::Result<()> {
        if self.options.syncs_beside {
            self.syncs.push(sync);
            return Ok(());
        }
        let result = sync.run(&*self.disk);
        self.end_sync(&sync, result)
    }

    fn give_up_sync(&mut self) {
        if let Some(first) = self.unsynced_from.take() {
            let first = self.unconfirmed.map_or(first, |(before, _)| before.min(first));
            self.unconfirmed = Some((first, self.written_last()));
        }
    }

    /// Closes the descriptors. What was written is not synced by that.
    pub fn close(&mut self) {
        self.give_up_sync();
        self.opened = None;
    }

    fn check_opened(&mut self) -> io::Result<()> {
        // A file that somebody removed would swallow everything without a trace.
        if let Some(opened) = &self.opened
            && opened.file.metadata()?.nlink() == 0
        {
            self.close();
        }
        if self.opened.is_none() { self.open() } else { Ok(()) }
    }

    fn open(&mut self) -> io::Result<()> {
        let folder = self.disk.open_folder(&self.place)?;
        let (file, is_new) = self.disk.open(&folder, &self.name)?;
        let Found { bytes, repair, tail: found, first_seq, born } = recover(&*self.disk, &file)?;
        self.repair = self.repair.take().or(repair);
        self.rotated.clear();
        for (name, bytes) in self.disk.list(&folder, &self.name)? {
            if let Some((first_seq, _)) = parse_rotated(&name, &self.name) {
                self.rotated.push(Rotated { first_seq, bytes });
            }
        }
        // One that is there plain and packed is one, as long as the plain one; for the other, room is kept.
        self.rotated.sort_by_key(|rotated| (rotated.first_seq, std::cmp::Reverse(rotated.bytes)));
        self.rotated.dedup_by_key(|rotated| rotated.first_seq);
        if self.position.is_none() {
            let mut position = found.map(|tail| (tail.seq.unwrap_or(0), tail.hash));
            // A current file without a number: the one before it has the last.
            if position.is_none_or(|(seq, _)| seq == 0)
                && let Some(newest) = self.rotated.last()
            {
                let before = self.tail_of(&folder, newest)?;
                let seq = before.as_ref().and_then(|tail| tail.seq).unwrap_or(0).max(newest.first_seq);
                let hash = position.map(|(_, hash)| hash).or(before.map(|tail| tail.hash));
                position = Some((seq, hash.unwrap_or(NOTHING)));
            }
            self.position = Some(position.unwrap_or((0, NOTHING)));
        }
        let (folder, file) = (Arc::new(folder), Arc::new(file));
        self.opened = Some(Opened { folder, file, bytes, first_seq, born, is_new });
        self.make_room(self.options.files_max.max(2) - 1)
    }

    /// Where the numbers of a rotated file end.
    fn tail_of(&self, folder: &OwnedFd, rotated: &Rotated) -> io::Result<Option<Tail>> {
        let plain = rotated_name(&self.name, rotated.first_seq);
        if let Some(file) = self.disk.open_to_read(folder, &plain)? {
            return tail(&mut Content::Plain(file));
        }
        let packed = format!("{plain}{PACKED_SUFFIX}");
        let Some(file) = self.disk.open_to_read(folder, &packed)? else { return Ok(None) };
        tail(&mut Content::Packed(PackedFile::new(file, &self.place.path().join(packed))?))
    }

    /// Removes the oldest rotated files until there are at most `files_max`, and room for a whole current
    /// file beside them.
    fn make_room(&mut self, files_max: usize) -> io::Result<()> {
        let Some(opened) = &self.opened else { return Ok(()) };
        let beside = self.options.bytes_max() - self.options.file_bytes();
        while self.rotated.len() > files_max
            || self.rotated.iter().map(|rotated| rotated.bytes).sum::<u64>() > beside
        {
            let Some(oldest) = self.rotated.first() else { break };
            // It may have been packed since, or be both.
            let plain = rotated_name(&self.name, oldest.first_seq);
            self.disk.remove(&opened.folder, &plain)?;
            self.disk.remove(&opened.folder, &format!("{plain}{PACKED_SUFFIX}"))?;
            self.rotated.remove(0);
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        if let Some(sync) = self.begin_sync() {
            self.finish_sync(sync)?;
        }
        self.retire()?;
        self.opened = None;
        self.open()
    }

    /// Gives the current file its name as a rotated one.
    fn retire(&mut self) -> io::Result<()> {
        self.make_room(self.options.files_max.max(2) - 2)?;
        let Some(opened) = &self.opened else { return Ok(()) };
        let newest = self.rotated.last().map_or(0, |rotated| rotated.first_seq);
        let first_seq = opened.first_seq.unwrap_or(1).max(newest + 1);
        let name = rotated_name(&self.name, first_seq);
        self.disk.rename(&opened.folder, &self.name, &name)?;
        self.rotated.push(Rotated { first_seq, bytes: opened.bytes });
        self.was_rotated = true;
        // A current file of a larger limit, from before, may be all there is room for.
        self.make_room(self.options.files_max.max(2) - 1)
    }
}

/// How many bytes were written, and what stopped it before all were.
fn write_all(disk: &dyn Disk, file: &File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match disk.write(file, rest) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}
