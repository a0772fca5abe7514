//! Packed files: what is read of them from any place and in both directions, what a damaged one costs, and what a
//! packing leaves that stops at any step.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::world::SOON;
use rpc_plugin_record::{
    Backward, Damage, Disk, Entry, FILE_NAME, Forward, LINE_BYTES_MAX, Line, PackLimits, Packing, Place,
    Position, Stream, StreamOptions, SystemDisk, pack, remove_leftovers, segments, verify,
};
use rpc_plugin_wire::event::EventKind;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const OPTIONS: StreamOptions = StreamOptions {
    file_bytes_max: 256 * 1024,
    files_max: 8,
    file_age_max: None,
    chain: true,
    is_durable: false,
    syncs_beside: false,
};
const LIMITS: PackLimits = PackLimits { bytes_max: u64::MAX, is_durable: true };

fn place(folder: &Path) -> Place {
    Place { base: folder.to_owned(), below: None }
}

/// Writes lines of random lengths until there are `files` rotated files.
fn record(folder: &Path, options: StreamOptions, rng: &mut fastrand::Rng, files: usize) -> u64 {
    let mut stream = Stream::new(place(folder), FILE_NAME, options, Arc::new(SystemDisk));
    let mut last = 0;
    while segments(folder, FILE_NAME).unwrap().len() <= files {
        for _ in 0..20 {
            let bytes = match rng.u32(0..40) {
                0 => LINE_BYTES_MAX * 2,
                1..5 => rng.usize(0..40_000),
                _ => rng.usize(0..400),
            };
            let text: String = std::iter::repeat_with(|| rng.alphanumeric()).take(bytes).collect();
            let mut entry = Entry::new(EventKind::Stdout).message(text);
            entry.fit();
            last = stream.push(&entry).unwrap();
        }
        stream.write().unwrap();
    }
    last
}

fn pack_all(folder: &Path) {
    let all = segments(folder, FILE_NAME).unwrap();
    let rotated: Vec<u64> = all.iter().filter_map(|segment| segment.first_seq).collect();
    for first_seq in &rotated[..rotated.len() - 1] {
        let made = pack(&SystemDisk, &place(folder), FILE_NAME, *first_seq, LIMITS, &|| true).unwrap();
        assert_eq!(made, Packing::Done);
    }
}

fn forward(folder: &Path, from: Position) -> (Vec<Line>, u64, Vec<Damage>) {
    let mut reader = Forward::new(folder, FILE_NAME, from).unwrap();
    let lines = std::iter::from_fn(|| reader.next_line().unwrap()).collect();
    (lines, reader.damaged(), reader.take_damage())
}

fn backward(folder: &Path) -> (Vec<Line>, u64, Vec<Damage>) {
    let mut reader = Backward::new(folder, FILE_NAME);
    let lines = std::iter::from_fn(|| reader.next_line().unwrap()).collect();
    (lines, reader.damaged(), reader.take_damage())
}

/// The numbers of the lines that are records.
fn seqs(lines: &[Line]) -> Vec<u64> {
    lines.iter().filter_map(|line| line.record().and(line.seq)).collect()
}

fn packed(folder: &Path) -> PathBuf {
    segments(folder, FILE_NAME).unwrap().into_iter().find(|segment| segment.is_packed).unwrap().path
}

/// Where each member of a file begins; the last is the end of the file.
fn members(bytes: &[u8]) -> Vec<usize> {
    let mut at = vec![0];
    while let Some(header) = bytes.get(*at.last().unwrap()..).filter(|rest| !rest.is_empty()) {
        assert_eq!(&header[..4], [0x1f, 0x8b, 8, 4]);
        let length = usize::from(u16::from_le_bytes([header[16], header[17]])) + 1;
        at.push(at.last().unwrap() + length);
    }
    at
}

#[test]
fn packed_files_are_read_as_the_plain_ones_from_any_place_and_both_ways() {
    for seed in 0..3 {
        let (folder, mut rng) = (tempfile::tempdir().unwrap(), fastrand::Rng::with_seed(seed));
        let last = record(folder.path(), OPTIONS, &mut rng, 4);
        let plain = forward(folder.path(), Position::Oldest).0;
        let verified = verify(folder.path(), FILE_NAME).unwrap();
        pack_all(folder.path());
        let all = segments(folder.path(), FILE_NAME).unwrap();
        assert_eq!(all.iter().filter(|segment| segment.is_packed).count(), 3);
        assert!(members(&fs::read(packed(folder.path())).unwrap()).len() > 4);

        assert_eq!(forward(folder.path(), Position::Oldest), (plain.clone(), 0, vec![]));
        let mut reversed = backward(folder.path()).0;
        reversed.reverse();
        assert_eq!(reversed, plain);
        assert_eq!(verify(folder.path(), FILE_NAME).unwrap(), verified);
        assert_eq!(verified.fault, None);
        for _ in 0..20 {
            let after = rng.u64(0..=last);
            let seen = seqs(&forward(folder.path(), Position::After(after)).0);
            assert_eq!(seen, (after + 1..=last).collect::<Vec<_>>(), "seed {seed}, after {after}");
        }
        // Whoever writes next goes on with the numbers.
        let next = record(folder.path(), OPTIONS, &mut rng, 5);
        assert!(next > last);
        assert_eq!(seqs(&forward(folder.path(), Position::After(last)).0)[0], last + 1);
    }
}

#[test]
fn a_reader_that_pauses_in_the_middle_of_a_packed_file_misses_nothing() {
    let (folder, mut rng) = (tempfile::tempdir().unwrap(), fastrand::Rng::with_seed(1));
    let last = record(folder.path(), OPTIONS, &mut rng, 4);
    let mut reader = Forward::new(folder.path(), FILE_NAME, Position::Oldest).unwrap();
    let mut seen = Vec::new();
    for step in 0.. {
        for _ in 0..rng.usize(1..40) {
            seen.extend(reader.next_line().unwrap().map(|line| line.seq.unwrap()));
        }
        if step == 3 {
            // Also the file that it is reading.
            pack_all(folder.path());
        }
        if seen.last() == Some(&last) {
            break;
        }
        if rng.bool() {
            reader.pause();
        } else if rng.bool() {
            reader = Forward::new(folder.path(), FILE_NAME, Position::After(reader.last_seq())).unwrap();
        }
    }
    assert_eq!(seen, (1..=last).collect::<Vec<_>>());
}

#[test]
fn gzip_reads_what_was_packed_and_what_gzip_packed_is_told_apart() {
    if Command::new("gzip").arg("--version").stdout(Stdio::null()).status().is_err() {
        return;
    }
    let (folder, mut rng) = (tempfile::tempdir().unwrap(), fastrand::Rng::with_seed(2));
    let last = record(folder.path(), OPTIONS, &mut rng, 3);
    let oldest = segments(folder.path(), FILE_NAME).unwrap()[0].path.clone();
    let plain = fs::read(&oldest).unwrap();
    pack_all(folder.path());
    let path = packed(folder.path());
    for args in [["-t"], ["-dc"]] {
        let output = Command::new("gzip").args(args).arg(&path).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(args == ["-t"] || output.stdout == plain);
    }
    // What gzip itself makes is one member without a length: it is told, and not guessed at.
    assert!(Command::new("gzip").arg("-df").arg(&path).status().unwrap().success());
    assert!(Command::new("gzip").arg(&oldest).status().unwrap().success());
    let (lines, damaged, damage) = forward(folder.path(), Position::Oldest);
    assert!(damaged == 1 && damage[0].to_string().contains("member 1 at byte 0"), "{damage:?}");
    assert!(damage[0].why.contains("gzip -d"), "{damage:?}");
    let second = segments(folder.path(), FILE_NAME).unwrap()[1].first_seq.unwrap();
    assert_eq!(seqs(&lines), (second..=last).collect::<Vec<_>>());
    // Unpacked by gzip it is read as any.
    assert!(Command::new("gzip").arg("-d").arg(&path).status().unwrap().success());
    assert_eq!(seqs(&forward(folder.path(), Position::Oldest).0), (1..=last).collect::<Vec<_>>());
}

/// One that has lines within a member, a line that takes several, and bytes that are no lines.
#[test]
fn lines_over_the_borders_of_members_are_read_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = fastrand::Rng::with_seed(3);
    let mut plain = Vec::new();
    for _ in 0..40 {
        let bytes = [0, 1, 100, 0xfeff, 0xff00, 0xff01, 200_000][rng.usize(0..7)];
        plain.extend(std::iter::repeat_with(|| rng.u8(b' '..b'~')).take(bytes));
        plain.push(b'\n');
    }
    let path = folder.path().join("events.jsonl.1");
    fs::write(&path, &plain).unwrap();
    fs::write(folder.path().join("events.jsonl.2"), "newest\n").unwrap();
    fs::write(folder.path().join(FILE_NAME), "current\n").unwrap();
    let (ahead, back) = (forward(folder.path(), Position::Oldest), backward(folder.path()));
    assert_eq!(ahead.0.len(), 42);
    pack_all(folder.path());
    assert!(!path.exists());
    assert_eq!(forward(folder.path(), Position::Oldest), ahead);
    assert_eq!(backward(folder.path()), back);
}

/// What is not damaged is read, what is damaged is told, by whatever is wrong with one member.
#[test]
fn a_damaged_member_costs_its_own_lines_and_no_others() {
    let (folder, mut rng) = (tempfile::tempdir().unwrap(), fastrand::Rng::with_seed(4));
    let last = record(folder.path(), OPTIONS, &mut rng, 3);
    pack_all(folder.path());
    let path = packed(folder.path());
    let whole = fs::read(&path).unwrap();
    let at = members(&whole);
    let lines_of = |member: usize| {
        let folder = tempfile::tempdir().unwrap();
        let end = &whole[at[at.len() - 2]..];
        let alone = [&whole[at[member]..at[member + 1]], end].concat();
        fs::write(folder.path().join("events.jsonl.1.gz"), alone).unwrap();
        seqs(&forward(folder.path(), Position::Oldest).0)
    };
    for member in [0, 2, at.len() - 3] {
        let lost = lines_of(member);
        let kept: Vec<u64> = (1..=last).filter(|seq| !lost.contains(seq)).collect();
        assert!(!lost.is_empty() && lost.len() < 2000);
        let (begin, end) = (at[member], at[member + 1]);
        // A header, its length, the data, the checksum, the length of what was packed; and all of it.
        let places = [
            begin..begin + 1,
            begin + 16..begin + 18,
            begin + 40..begin + 44,
            end - 8..end - 7,
            end - 1..end,
        ];
        for place in places.into_iter().chain(std::iter::once(begin..end)) {
            let mut wrong = whole.clone();
            wrong[place.clone()].iter_mut().for_each(|byte| *byte ^= 0x55);
            fs::write(&path, &wrong).unwrap();
            for (lines, damaged, damage) in
                [forward(folder.path(), Position::Oldest), backward(folder.path())]
            {
                let mut seen = seqs(&lines);
                seen.sort_unstable();
                assert_eq!(seen, kept, "member {member}, {place:?}");
                assert!(damaged == 1 && damage.len() == 1, "{damage:?}");
                let Damage { path: told, member: told_member, offset, .. } = &damage[0];
                assert_eq!((told, *told_member, *offset), (&path, member + 1, begin as u64));
            }
            let verified = verify(folder.path(), FILE_NAME).unwrap();
            assert_eq!((verified.fault, verified.damaged), (None, 1), "the rest of the chain holds");
            assert_eq!(verified.last_seq, Some(last));
            // From a place after it nothing is missing.
            let after = lost.last().unwrap() + 1;
            let seen = seqs(&forward(folder.path(), Position::After(after)).0);
            assert_eq!(seen, (after + 1..=last).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_file_that_is_cut_anywhere_or_has_any_wrong_byte_is_read_as_far_as_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut stream = Stream::new(place(folder.path()), FILE_NAME, OPTIONS, Arc::new(SystemDisk));
    for n in 0..9 {
        stream.push(&Entry::new(EventKind::Stdout).message(format!("number {n}"))).unwrap();
    }
    stream.write().unwrap();
    let current = folder.path().join(FILE_NAME);
    let plain = folder.path().join("events.jsonl.1");
    fs::rename(&current, &plain).unwrap();
    fs::write(&current, "").unwrap();
    // Three small members.
    let text = fs::read(&plain).unwrap();
    let lines: Vec<&[u8]> = text.split_inclusive(|b| *b == b'\n').collect();
    let mut whole = Vec::new();
    for part in lines.chunks(3) {
        fs::write(&plain, part.concat()).unwrap();
        assert_eq!(
            pack(&SystemDisk, &place(folder.path()), FILE_NAME, 1, LIMITS, &|| true).unwrap(),
            Packing::Done
        );
        let made = fs::read(folder.path().join("events.jsonl.1.gz")).unwrap();
        whole.extend_from_slice(&made[..made.len() - 28]);
        if whole.len() + 28 > made.len() && part.last() == lines.last() {
            whole.extend_from_slice(&made[made.len() - 28..]);
        }
    }
    let path = folder.path().join("events.jsonl.1.gz");
    let check = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        let (lines, damaged, _) = forward(folder.path(), Position::Oldest);
        let (mut reversed, damaged_back, _) = backward(folder.path());
        reversed.reverse();
        assert_eq!((&lines, damaged), (&reversed, damaged_back), "{what}");
        assert!(lines.iter().all(|line| line.record().is_some()), "{what}");
        let verified = verify(folder.path(), FILE_NAME).unwrap();
        assert_eq!((verified.fault, verified.damaged), (None, damaged), "{what}");
        (seqs(&lines), damaged)
    };
    assert_eq!(check(&whole, "whole"), ((1..=9).collect(), 0));
    let at = members(&whole);
    assert_eq!(at.len(), 5);
    for cut in 0..whole.len() {
        let members = at.iter().filter(|end| **end <= cut).count() as u64 - 1;
        let expected = (1..=3 * members.min(3)).collect::<Vec<_>>();
        assert_eq!(check(&whole[..cut], &format!("cut at {cut}")), (expected, 1), "cut at {cut}");
    }
    for index in 0..whole.len() {
        for flip in [0x01, 0xff] {
            let mut wrong = whole.clone();
            wrong[index] ^= flip;
            let (seen, damaged) = check(&wrong, &format!("byte {index} ^ {flip}"));
            let member = at.iter().filter(|begin| **begin <= index).count() as u64 - 1;
            let rest = (1..=9).filter(|seq| (seq - 1) / 3 != member).collect::<Vec<_>>();
            // Time and maker in a header are nobody's business; the last member has no lines, and an end that claims
            // to hold some is none.
            let is_told = damaged == 1 || member == 3 && damaged == 2;
            assert!(seen == rest && is_told || seen.len() == 9 && damaged == 0, "byte {index}: {seen:?}");
        }
    }
}

#[test]
fn what_does_not_become_smaller_or_is_stopped_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = fastrand::Rng::with_seed(5);
    let noise: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(300_000).collect();
    let zeros = vec![0; 300_000];
    let asked = AtomicUsize::new(0);
    let stops = || asked.fetch_add(1, Ordering::Relaxed) < 2;
    let small = PackLimits { bytes_max: 100, is_durable: false };
    type Case<'a> = (&'a [u8], PackLimits, &'a dyn Fn() -> bool, Packing);
    let cases: [Case<'_>; 5] = [
        (b"", LIMITS, &|| true, Packing::NotSmaller),
        (b"{}\n", LIMITS, &|| true, Packing::NotSmaller),
        (&noise, LIMITS, &|| true, Packing::NotSmaller),
        (&zeros, small, &|| true, Packing::NotSmaller),
        (&zeros, LIMITS, &stops, Packing::Stopped),
    ];
    for (plain, limits, goes_on, expected) in cases {
        fs::write(folder.path().join("events.jsonl.1"), plain).unwrap();
        let made = pack(&SystemDisk, &place(folder.path()), FILE_NAME, 1, limits, goes_on).unwrap();
        assert_eq!(made, expected);
        assert_eq!(fs::read(folder.path().join("events.jsonl.1")).unwrap(), plain);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
    let made = pack(&SystemDisk, &place(folder.path()), FILE_NAME, 7, LIMITS, &|| true).unwrap();
    assert_eq!(made, Packing::Gone);
}

/// A disk that does nothing any more after some operations, as at the death of the process.
#[derive(Debug)]
struct Dying {
    left: AtomicUsize,
}

impl Dying {
    fn step(&self) -> io::Result<()> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| io::Error::other("dead"))
    }
}

impl Disk for Dying {
    fn open(&self, folder: &OwnedFd, name: &str) -> io::Result<(File, bool)> {
        self.step()?;
        SystemDisk.open(folder, name)
    }

    fn write(&self, mut file: &File, bytes: &[u8]) -> io::Result<usize> {
        self.step()?;
        file.write(&bytes[..bytes.len().min(20_000)])
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.step()?;
        SystemDisk.sync(file)
    }

    fn sync_folder(&self, folder: &OwnedFd) -> io::Result<()> {
        self.step()?;
        SystemDisk.sync_folder(folder)
    }

    fn rename(&self, folder: &OwnedFd, from: &str, to: &str) -> io::Result<()> {
        self.step()?;
        SystemDisk.rename(folder, from, to)
    }

    fn remove(&self, folder: &OwnedFd, name: &str) -> io::Result<()> {
        self.step()?;
        SystemDisk.remove(folder, name)
    }
}

#[test]
fn a_packing_that_dies_at_any_step_loses_nothing_doubles_nothing_and_is_made_again() {
    let (folder, mut rng) = (tempfile::tempdir().unwrap(), fastrand::Rng::with_seed(6));
    let last = record(folder.path(), OPTIONS, &mut rng, 2);
    let (plain, packed) = (folder.path().join("events.jsonl.1"), folder.path().join("events.jsonl.1.gz"));
    let original = fs::read(&plain).unwrap();
    let mut deaths = 0;
    loop {
        let disk = Dying { left: AtomicUsize::new(deaths) };
        let made = pack(&disk, &place(folder.path()), FILE_NAME, 1, LIMITS, &|| true);
        let seen = |what| {
            let (lines, damaged, _) = forward(folder.path(), Position::Oldest);
            assert_eq!(
                (seqs(&lines), damaged),
                ((1..=last).collect::<Vec<_>>(), 0),
                "{what} after {deaths} steps"
            );
            assert_eq!(backward(folder.path()).0.len(), lines.len());
        };
        seen("dead");
        remove_leftovers(folder.path(), FILE_NAME).unwrap();
        seen("mended");
        let files = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, 3, "nothing is left over after {deaths} steps");
        assert_eq!(plain.exists(), made.is_err());
        if made.is_ok() {
            assert!(packed.exists());
            break;
        }
        assert_eq!(fs::read(&plain).unwrap(), original);
        deaths += 1;
    }
    assert!(deaths > 15, "{deaths}");
}

/// Retention removes the oldest file under either name, also while it is packed.
#[test]
fn what_is_packed_counts_as_a_file_and_is_removed_as_the_oldest() {
    let folder = tempfile::tempdir().unwrap();
    let options = StreamOptions { file_bytes_max: 64 * 1024, files_max: 4, ..OPTIONS };
    let mut rng = fastrand::Rng::with_seed(7);
    let mut last = 0;
    for round in 0..40 {
        let mut stream = Stream::new(place(folder.path()), FILE_NAME, options, Arc::new(SystemDisk));
        for _ in 0..30 {
            let text = "x".repeat(rng.usize(0..4000));
            last = stream.push(&Entry::new(EventKind::Stdout).message(text)).unwrap();
        }
        stream.write().unwrap();
        let all = segments(folder.path(), FILE_NAME).unwrap();
        if let [Some(oldest), Some(_), ..] = *all.iter().map(|segment| segment.first_seq).collect::<Vec<_>>()
        {
            // Beside the writer, which still takes it for plain.
            pack(&SystemDisk, &place(folder.path()), FILE_NAME, oldest, LIMITS, &|| true).unwrap();
        }
        for _ in 0..30 {
            last = stream.push(&Entry::new(EventKind::Stdout).message("y".repeat(3000))).unwrap();
        }
        stream.write().unwrap();
        let all = segments(folder.path(), FILE_NAME).unwrap();
        assert!(all.len() <= 4, "{all:?}");
        let files = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, all.len(), "round {round}");
        let lines = forward(folder.path(), Position::Oldest).0;
        let first = all[0].first_seq.unwrap_or(1);
        assert_eq!(seqs(&lines), (first..=last).collect::<Vec<_>>(), "round {round}");
    }
    assert!(last > 1000);
}

/// Does this when it is dropped.
struct Defer<F: Fn()>(F);

impl<F: Fn()> Drop for Defer<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn readers_miss_nothing_while_files_are_packed_and_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let options = StreamOptions { file_bytes_max: 64 * 1024, files_max: 400, chain: false, ..OPTIONS };
    let last = 5_000;
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut stream = Stream::new(place(folder.path()), FILE_NAME, options, Arc::new(SystemDisk));
            for n in 0..last {
                stream.push(&Entry::new(EventKind::Stdout).message("x".repeat(n % 300))).unwrap();
                if n % 40 == 0 {
                    stream.write().unwrap();
                }
            }
            stream.write().unwrap();
        });
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                if segments(folder.path(), FILE_NAME).unwrap().len() > 2 {
                    let limits = PackLimits { is_durable: false, ..LIMITS };
                    let all = segments(folder.path(), FILE_NAME).unwrap();
                    let rotated: Vec<_> = all.iter().filter(|segment| segment.first_seq.is_some()).collect();
                    let plain = rotated[..rotated.len() - 1].iter().find(|segment| !segment.is_packed);
                    if let Some(first_seq) = plain.and_then(|segment| segment.first_seq) {
                        pack(&SystemDisk, &place(folder.path()), FILE_NAME, first_seq, limits, &|| true)
                            .unwrap();
                    } else {
                        std::thread::yield_now();
                    }
                }
            }
        });
        // Also where something fails here, so that it is told.
        let _ends = Defer(|| is_over.store(true, Ordering::Relaxed));
        let begun = Instant::now();
        // One that follows, one that begins again and again where it was, one that reads backward.
        let mut follower = Forward::new(folder.path(), FILE_NAME, Position::Oldest).unwrap();
        let (mut followed, mut resumed) = (0, 0);
        while followed < last as u64 || resumed < last as u64 {
            assert!(begun.elapsed() < 5 * SOON, "followed {followed}, resumed {resumed} of {last}");
            while let Some(line) = follower.next_line().unwrap() {
                followed += 1;
                assert_eq!(line.seq, Some(followed));
            }
            let mut again = Forward::new(folder.path(), FILE_NAME, Position::After(resumed)).unwrap();
            for _ in 0..2000 {
                let Some(line) = again.next_line().unwrap() else { break };
                resumed += 1;
                assert_eq!(line.seq, Some(resumed));
            }
            let mut newest = None;
            let mut reader = Backward::new(folder.path(), FILE_NAME);
            while let Some(line) = reader.next_line().unwrap() {
                if line.is_finished {
                    assert!(newest.is_none_or(|newest| line.seq.unwrap() + 1 == newest), "{newest:?}");
                    newest = line.seq;
                }
            }
            assert!(newest.is_none_or(|newest| newest == 1), "{newest:?}");
        }
    });
}
