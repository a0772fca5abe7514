//! A packed file as the plain bytes that were packed: where each member is, and what it holds.
//!
//! What this file deliberately does not do: look for lines; write.
//!
//! What always holds: what cannot be read is passed over to the next member, and told; at most one member is
//! unpacked at a time; no bytes make this file panic or read for ever.

use crate::member::{Flaw, HEADER_BYTES, MAGIC, member_len, plain_len, unpack};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Most members of one file that are read: 1 GiB has half as many.
const MEMBERS_MAX: usize = 64 * 1024;
/// Most damaged parts of one file that are told one by one.
const TOLD_MAX: usize = 8;
/// Size of a block in which the next member is searched. Bytes.
const SEARCH_BYTES: usize = 64 * 1024;

/// A part of a packed file that cannot be read, and is passed over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// The packed file.
    pub path: PathBuf,
    /// Which part of it, counted from 1: members, and damaged parts in which no member was found.
    pub member: usize,
    /// Where it begins in the packed file. Bytes.
    pub offset: u64,
    /// What is wrong.
    pub why: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { path, member, offset, why } = self;
        write!(f, "{}: member {member} at byte {offset} is damaged: {why}", path.display())
    }
}

/// The damaged parts that a reader passed over.
#[derive(Debug, Default)]
pub(crate) struct DamageLog {
    count: u64,
    /// The first ones since they were taken, at most [`TOLD_MAX`].
    first: Vec<Damage>,
}

impl DamageLog {
    fn note(&mut self, damage: Damage) {
        self.count += 1;
        if self.first.len() < TOLD_MAX {
            self.first.push(damage);
        }
    }

    /// Takes over what another log has.
    pub(crate) fn absorb(&mut self, other: &mut DamageLog) {
        if other.count > 0 {
            let DamageLog { count, first } = std::mem::take(other);
            self.count += count;
            let room = TOLD_MAX.saturating_sub(self.first.len());
            self.first.extend(first.into_iter().take(room));
        }
    }

    /// How many parts there were.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The first ones since the last call.
    pub(crate) fn take(&mut self) -> Vec<Damage> {
        std::mem::take(&mut self.first)
    }
}

/// Where a member is, or a part of the file that is none.
#[derive(Debug, Clone, Copy)]
struct Member {
    at: u64,
    /// Length in the packed file. Bytes.
    bytes: usize,
    /// Where its plain bytes begin among those of the whole file.
    plain_at: u64,
    /// The part is no member.
    flaw: Option<Flaw>,
}

/// What was read of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Plain bytes.
    Bytes(Vec<u8>),
    /// This many plain bytes are counted for what cannot be read.
    Damaged(u64),
    /// There is nothing more in this direction.
    End,
}

/// An open packed file.
#[derive(Debug)]
pub(crate) struct PackedFile {
    file: File,
    path: PathBuf,
    members: Vec<Member>,
    plain_bytes: u64,
    damage: DamageLog,
}

impl PackedFile {
    /// Finds the members of a file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn new(file: File, path: &Path) -> io::Result<PackedFile> {
        let mut scan = Scan { size: file.metadata()?.len(), file: &file, members: Vec::new(), plain_at: 0 };
        if cfg!(feature = "compress") {
            scan.run()?;
        } else {
            scan.flaw(0, Flaw::NotBuilt);
        }
        let Scan { members, plain_at: plain_bytes, .. } = scan;
        Ok(PackedFile { file, path: path.to_owned(), members, plain_bytes, damage: DamageLog::default() })
    }

    /// Plain bytes, a part that cannot be read counted as it claims, or as one.
    pub(crate) fn len(&self) -> u64 {
        self.plain_bytes
    }

    /// The plain bytes from there to the end of their member.
    pub(crate) fn read_after(&mut self, at: u64) -> io::Result<Part> {
        let Some((index, member, end)) = self.member_at(at) else { return Ok(Part::End) };
        let skipped = usize::try_from(at - member.plain_at).unwrap_or(usize::MAX);
        Ok(match self.unpack(member)? {
            Ok(mut plain) => Part::Bytes(plain.split_off(skipped.min(plain.len()))),
            Err(flaw) => self.note(index, member, flaw, end - at),
        })
    }

    /// The plain bytes from the beginning of their member to there.
    pub(crate) fn read_before(&mut self, at: u64) -> io::Result<Part> {
        let Some((index, member, _)) = at.checked_sub(1).and_then(|last| self.member_at(last)) else {
            return Ok(Part::End);
        };
        let wanted = at - member.plain_at;
        Ok(match self.unpack(member)? {
            Ok(mut plain) => {
                plain.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
                Part::Bytes(plain)
            }
            Err(flaw) => self.note(index, member, flaw, wanted),
        })
    }

    /// Where to begin to read, in plain bytes, so that nothing with a number from `seq` on is left out.
    /// `first_seq` finds the number of the first line in the plain bytes of a member.
    pub(crate) fn seek(&self, seq: u64, first_seq: impl Fn(&[u8]) -> Option<u64>) -> io::Result<u64> {
        let (mut low, mut high) = (0, self.members.len());
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            let Some(member) = self.members.get(middle) else { break };
            // Without a number nothing is known: then more is read than is needed.
            let Some(first) = self.unpack(*member)?.ok().and_then(|plain| first_seq(&plain)) else { break };
            if first <= seq {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(self.members.get(low).map_or(0, |member| member.plain_at))
    }

    /// The damaged parts that were passed over.
    pub(crate) fn damage(&mut self) -> &mut DamageLog {
        &mut self.damage
    }

    /// The member with that plain byte, its place in the list, and where its plain bytes end.
    fn member_at(&self, at: u64) -> Option<(usize, Member, u64)> {
        if at >= self.plain_bytes {
            return None;
        }
        let index = self.members.partition_point(|member| member.plain_at <= at).checked_sub(1)?;
        let end = self.members.get(index + 1).map_or(self.plain_bytes, |next| next.plain_at);
        self.members.get(index).map(|member| (index, *member, end))
    }

    fn unpack(&self, member: Member) -> io::Result<Result<Vec<u8>, Flaw>> {
        if let Some(flaw) = member.flaw {
            return Ok(Err(flaw));
        }
        let mut bytes = vec![0; member.bytes];
        match self.file.read_exact_at(&mut bytes, member.at) {
            Ok(()) => Ok(unpack(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Err(Flaw::Length)),
            Err(error) => Err(error),
        }
    }

    fn note(&mut self, index: usize, member: Member, flaw: Flaw, plain_bytes: u64) -> Part {
        let (path, why) = (self.path.clone(), flaw.text());
        self.damage.note(Damage { path, member: index + 1, offset: member.at, why });
        Part::Damaged(plain_bytes)
    }
}

/// Finds the members of a file from its beginning on.
struct Scan<'a> {
    file: &'a File,
    size: u64,
    members: Vec<Member>,
    plain_at: u64,
}

impl Scan<'_> {
    fn run(&mut self) -> io::Result<()> {
        let (mut at, mut is_ended) = (0, false);
        while at < self.size {
            if self.members.len() >= MEMBERS_MAX {
                self.flaw(at, Flaw::TooMany);
                return Ok(());
            }
            let claimed = self.header(at)?;
            let next = match claimed {
                Some(bytes) if self.is_end(at + bytes as u64)? => at + bytes as u64,
                // What follows is no member; this one may be whole all the same.
                Some(bytes) if self.is_whole(at, bytes)? => at + bytes as u64,
                Some(_) => self.search(at + HEADER_BYTES as u64)?,
                None => self.search(at + 1)?,
            };
            let plain = self.plain_len(next)?;
            match (claimed, plain) {
                (Some(bytes), Some(plain)) if at + bytes as u64 == next => {
                    is_ended = plain == 0;
                    if plain > 0 {
                        let plain_at = self.plain_at;
                        self.members.push(Member { at, bytes, plain_at, flaw: None });
                        self.plain_at += plain as u64;
                    }
                }
                _ => {
                    is_ended = false;
                    self.flaw(at, if claimed.is_some() { Flaw::Length } else { Flaw::NoMember });
                }
            }
            at = next;
        }
        if !is_ended && self.members.last().is_none_or(|last| last.flaw.is_none()) {
            self.flaw(at, Flaw::NoEnd);
        }
        Ok(())
    }

    /// Something that cannot be read counts as one plain byte, so that readers move over it.
    fn flaw(&mut self, at: u64, flaw: Flaw) {
        self.members.push(Member { at, bytes: 0, plain_at: self.plain_at, flaw: Some(flaw) });
        self.plain_at += 1;
    }

    /// The length that a member at that place claims.
    fn header(&self, at: u64) -> io::Result<Option<usize>> {
        Ok(self.read::<HEADER_BYTES>(at)?.and_then(|header| member_len(&header)))
    }

    /// Whether a member may end there: the file does, or another member begins.
    fn is_end(&self, at: u64) -> io::Result<bool> {
        Ok(at == self.size || self.header(at)?.is_some())
    }

    /// Whether a member of that length is there and can be unpacked.
    fn is_whole(&self, at: u64, bytes: usize) -> io::Result<bool> {
        let mut member = vec![0; bytes];
        match self.file.read_exact_at(&mut member, at) {
            Ok(()) => Ok(unpack(&member).is_ok()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What the member that ends there claims to unpack to.
    fn plain_len(&self, end: u64) -> io::Result<Option<usize>> {
        Ok(self.read::<4>(end.saturating_sub(4))?.and_then(plain_len))
    }

    fn read<const N: usize>(&self, at: u64) -> io::Result<Option<[u8; N]>> {
        let mut bytes = [0; N];
        match self.file.read_exact_at(&mut bytes, at) {
            Ok(()) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where the next member begins, from there on; the file's end if none does.
    fn search(&self, from: u64) -> io::Result<u64> {
        let mut at = from;
        let mut block = vec![0; SEARCH_BYTES];
        while at < self.size {
            let read = match self.file.read_at(&mut block, at) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let seen = block.get(..read).unwrap_or_default();
            for (index, window) in seen.windows(MAGIC.len()).enumerate() {
                if window == MAGIC && self.header(at + index as u64)?.is_some() {
                    return Ok(at + index as u64);
                }
            }
            // What begins in the last bytes of a block is seen with the next.
            at += (read - (MAGIC.len() - 1).min(read - 1)) as u64;
        }
        Ok(self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(not(feature = "compress"))]
    fn without_the_code_for_it_a_packed_file_is_told_once_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl.1.gz");
        std::fs::write(&path, [0; 1000]).unwrap();
        let mut packed = PackedFile::new(File::open(&path).unwrap(), &path).unwrap();
        assert_eq!(packed.read_before(packed.len()).unwrap(), Part::Damaged(1));
        assert_eq!((packed.read_before(0).unwrap(), packed.read_after(1).unwrap()), (Part::End, Part::End));
        let damage = packed.damage().take();
        assert!(damage.len() == 1 && damage[0].why.contains("without feature \"compress\""), "{damage:?}");
    }

    #[test]
    fn a_file_of_more_members_than_are_read_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl.1.gz");
        // Members that claim to hold a byte: their headers alone are looked at.
        let member = {
            let mut member = [0; 28];
            member[..4].copy_from_slice(&MAGIC);
            member[10..18].copy_from_slice(&[6, 0, b'B', b'C', 2, 0, 27, 0]);
            member[24] = 1;
            member
        };
        std::fs::write(&path, member.repeat(MEMBERS_MAX + 100)).unwrap();
        let file = File::open(&path).unwrap();
        let mut scan =
            Scan { size: file.metadata().unwrap().len(), file: &file, members: Vec::new(), plain_at: 0 };
        scan.run().unwrap();
        assert_eq!(scan.members.len(), MEMBERS_MAX + 1);
        assert_eq!(scan.members.last().unwrap().flaw, Some(Flaw::TooMany));
    }
}
