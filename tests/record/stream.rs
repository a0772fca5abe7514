//! One stream on real files: numbers, rotation, bounds, repair, reading both ways.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use rpc_plugin_record::{
    Backward, Entry, FILE_NAME, Forward, LINE_BYTES_MAX, Line, Place, Position, Stream, StreamOptions,
    SystemDisk, segments, verify,
};
use rpc_plugin_wire::event::EventKind;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const SMALL: StreamOptions = StreamOptions {
    file_bytes_max: LINE_BYTES_MAX as u64,
    files_max: 3,
    file_age_max: None,
    chain: false,
    is_durable: false,
    syncs_beside: false,
};

fn stream(folder: &Path, options: StreamOptions) -> Stream {
    let place = Place { base: folder.to_owned(), below: None };
    Stream::new(place, FILE_NAME, options, Arc::new(SystemDisk))
}

fn said(text: impl Into<String>) -> Entry {
    Entry::new(EventKind::Stdout).message(text.into())
}

fn write(stream: &mut Stream, entries: impl IntoIterator<Item = Entry>) {
    for mut entry in entries {
        entry.fit();
        stream.push(&entry).unwrap();
        stream.write().unwrap();
    }
}

fn seqs(lines: &[Line]) -> Vec<u64> {
    lines.iter().map(|line| line.seq.unwrap()).collect()
}

fn forward(folder: &Path, from: Position) -> Vec<Line> {
    let mut forward = Forward::new(folder, FILE_NAME, from).unwrap();
    std::iter::from_fn(|| forward.next_line().unwrap()).collect()
}

fn backward(folder: &Path) -> Vec<Line> {
    let mut backward = Backward::new(folder, FILE_NAME);
    std::iter::from_fn(|| backward.next_line().unwrap()).collect()
}

fn total_bytes(folder: &Path) -> u64 {
    segments(folder, FILE_NAME).unwrap().iter().map(|segment| segment.bytes).sum()
}

#[test]
fn numbers_go_on_through_rotation_and_restart_and_both_ways_of_reading_see_them() {
    let folder = tempfile::tempdir().unwrap();
    for start in 0..5 {
        let mut stream = stream(folder.path(), SMALL);
        write(&mut stream, (0..7).map(|n| said(format!("{start} {n} {}", "x".repeat(9000)))));
    }
    let kept = segments(folder.path(), FILE_NAME).unwrap();
    assert_eq!(kept.len(), 3, "{kept:?}");
    let lines = forward(folder.path(), Position::Oldest);
    let first = kept[0].first_seq.unwrap();
    assert_eq!(seqs(&lines), (first..=35).collect::<Vec<_>>());
    let mut reversed = backward(folder.path());
    reversed.reverse();
    assert_eq!(reversed, lines);
    for after in [0, first, first + 1, 30, 34] {
        let seen = seqs(&forward(folder.path(), Position::After(after)));
        assert_eq!(seen, (first.max(after + 1)..=35).collect::<Vec<_>>(), "after {after}");
    }
    assert_eq!(forward(folder.path(), Position::After(35)), []);
    assert_eq!(forward(folder.path(), Position::End), []);
}

#[test]
fn the_files_never_take_more_than_was_configured() {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = 7_u64;
    let mut next = move || {
        // An LCG (Knuth, MMIX).
        rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (rng >> 33) as usize
    };
    let mut stream = stream(folder.path(), SMALL);
    for _ in 0..400 {
        let bytes = match next() % 10 {
            0 => 10 * LINE_BYTES_MAX,
            1 => LINE_BYTES_MAX,
            _ => next() % 5000,
        };
        write(&mut stream, [said("y".repeat(bytes))]);
        assert!(total_bytes(folder.path()) <= SMALL.bytes_max());
        assert!(segments(folder.path(), FILE_NAME).unwrap().len() <= SMALL.files_max);
    }
    // A group that is larger than all files together.
    for n in 0..100 {
        let mut entry = said(format!("{n} {}", "z".repeat(20_000)));
        entry.fit();
        stream.push(&entry).unwrap();
    }
    stream.write().unwrap();
    assert!(total_bytes(folder.path()) <= SMALL.bytes_max());
    drop(stream);
    // Less is configured now; what is there becomes less too.
    let less = StreamOptions { files_max: 2, ..SMALL };
    let mut stream = self::stream(folder.path(), less);
    write(&mut stream, [said("last")]);
    assert!(total_bytes(folder.path()) <= less.bytes_max());
    let lines = forward(folder.path(), Position::Oldest);
    assert_eq!(lines.last().unwrap().seq, Some(501));
    assert!(seqs(&lines).windows(2).all(|pair| pair[1] == pair[0] + 1));
}

#[test]
fn a_file_is_rotated_once_its_first_line_is_old() {
    let folder = tempfile::tempdir().unwrap();
    let day = Duration::from_secs(86_400);
    let aged = StreamOptions { file_age_max: Some(day), ..SMALL };
    let mut old = stream(folder.path(), aged);
    write(&mut old, [said("old").at(SystemTime::now() - 2 * day)]);
    drop(old);
    let mut stream = stream(folder.path(), aged);
    write(&mut stream, [said("new"), said("newer")]);
    let kept = segments(folder.path(), FILE_NAME).unwrap();
    assert_eq!(kept.iter().map(|segment| segment.first_seq).collect::<Vec<_>>(), [Some(1), None]);
    assert_eq!(seqs(&forward(folder.path(), Position::Oldest)), [1, 2, 3]);
}

#[test]
fn a_record_cut_at_every_byte_is_repaired_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = stream(folder.path(), StreamOptions { chain: true, ..SMALL });
    write(&mut first, (0..3).map(|n| said(format!("number {n}"))));
    drop(first);
    let path = folder.path().join(FILE_NAME);
    let whole = fs::read(&path).unwrap();
    let ends: Vec<usize> =
        whole.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1).collect();
    for cut in 0..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let mut stream = stream(folder.path(), StreamOptions { chain: true, ..SMALL });
        let seq = stream.push(&said("after")).unwrap();
        let kept = ends.iter().filter(|end| **end <= cut).count();
        assert_eq!(seq, kept as u64 + 1, "cut at {cut}");
        let repair = stream.take_repair();
        let torn = cut - ends.iter().rfind(|end| **end <= cut).copied().unwrap_or(0);
        assert_eq!(repair.as_ref().map_or(0, |repair| repair.torn_bytes), torn as u64, "cut at {cut}");
        stream.write().unwrap();
        let lines = forward(folder.path(), Position::Oldest);
        assert_eq!(seqs(&lines), (1..=seq).collect::<Vec<_>>(), "cut at {cut}");
        assert!(lines.iter().all(|line| line.is_finished && line.record().is_some()));
        assert_eq!(verify(folder.path(), FILE_NAME).unwrap().fault, None, "cut at {cut}");
    }
}

#[test]
fn garbage_is_passed_over_by_readers_and_numbers_go_on_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let mut first = stream(folder.path(), SMALL);
    write(&mut first, (0..3).map(|n| said(format!("number {n}"))));
    drop(first);
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"\0\0\0 not a record\n\xff\xfe\n");
    fs::write(&path, &bytes).unwrap();
    let mut second = stream(folder.path(), SMALL);
    write(&mut second, [said("after")]);
    let lines = forward(folder.path(), Position::Oldest);
    let seen: Vec<_> = lines.iter().map(|line| line.seq).collect();
    // The lines that nobody can read took two numbers.
    assert_eq!(seen, [Some(1), Some(2), Some(3), None, None, Some(6)]);
    assert_eq!(lines.iter().filter(|line| line.record().is_none()).count(), 2);
}

#[test]
fn a_follower_gets_each_line_once_through_rotation() {
    let folder = tempfile::tempdir().unwrap();
    let mut stream = stream(folder.path(), SMALL);
    let mut follower = Forward::new(folder.path(), FILE_NAME, Position::Oldest).unwrap();
    let mut seen = Vec::new();
    for n in 0..200_u64 {
        write(&mut stream, [said(format!("{n} {}", "x".repeat(3000)))]);
        // It falls behind by up to a file and a bit, never by more than is kept.
        if n % 25 == 0 {
            seen.extend(std::iter::from_fn(|| follower.next_line().unwrap()).map(|line| line.seq.unwrap()));
        }
    }
    seen.extend(std::iter::from_fn(|| follower.next_line().unwrap()).map(|line| line.seq.unwrap()));
    assert_eq!(seen, (1..=200).collect::<Vec<_>>());
    // One that falls behind retention sees the jump.
    let mut slow = Forward::new(folder.path(), FILE_NAME, Position::After(3)).unwrap();
    let first = slow.next_line().unwrap().unwrap().seq.unwrap();
    assert!(first > 100, "{first}");
    assert_eq!(slow.last_seq(), first);
}

#[test]
fn a_follower_at_the_end_sees_only_what_comes() {
    let folder = tempfile::tempdir().unwrap();
    let mut stream = stream(folder.path(), SMALL);
    write(&mut stream, [said("before")]);
    let mut follower = Forward::new(folder.path(), FILE_NAME, Position::End).unwrap();
    assert_eq!(follower.next_line().unwrap(), None);
    write(&mut stream, [said("after")]);
    assert_eq!(follower.next_line().unwrap().unwrap().seq, Some(2));
    // A line on its way is handed out when it is whole.
    let path = folder.path().join(FILE_NAME);
    let mut text = fs::read_to_string(&path).unwrap();
    let line = text.lines().last().unwrap().replace("\"seq\":2", "\"seq\":3");
    text.push_str(&line[..20]);
    fs::write(&path, &text).unwrap();
    assert_eq!(follower.next_line().unwrap(), None);
    fs::write(&path, format!("{text}{}\n", &line[20..])).unwrap();
    assert_eq!(follower.next_line().unwrap().unwrap().seq, Some(3));
}

/// A crash between the two steps of a rotation leaves no current file.
#[test]
fn a_rotation_that_stopped_half_way_hides_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let chained = StreamOptions { chain: true, ..SMALL };
    let mut first = stream(folder.path(), chained);
    write(&mut first, (0..20).map(|n| said(format!("{n} {}", "x".repeat(9000)))));
    drop(first);
    let path = folder.path().join(FILE_NAME);
    let kept = forward(folder.path(), Position::Oldest);
    let current = segments(folder.path(), FILE_NAME).unwrap()[1].first_seq.unwrap() + 7;
    fs::rename(&path, format!("{}.{current}", path.display())).unwrap();
    let mut follower = Forward::new(folder.path(), FILE_NAME, Position::Oldest).unwrap();
    let seen: Vec<_> = std::iter::from_fn(|| follower.next_line().unwrap()).collect();
    assert_eq!(seqs(&seen), seqs(&kept));
    assert_eq!(backward(folder.path()).len(), kept.len());
    let mut second = stream(folder.path(), chained);
    write(&mut second, [said("after")]);
    assert_eq!(follower.next_line().unwrap().unwrap().seq, Some(21));
    assert_eq!(verify(folder.path(), FILE_NAME).unwrap().fault, None);
}

#[test]
fn a_follower_that_begins_in_the_middle_of_a_line_gets_it_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut stream = stream(folder.path(), SMALL);
    write(&mut stream, [said("before"), said("on its way")]);
    let path = folder.path().join(FILE_NAME);
    let text = fs::read_to_string(&path).unwrap();
    let first = text.find('\n').unwrap() + 1;
    for cut in first + 1..text.len() {
        fs::write(&path, &text[..cut]).unwrap();
        let mut follower = Forward::new(folder.path(), FILE_NAME, Position::End).unwrap();
        assert_eq!((follower.next_line().unwrap(), follower.last_seq()), (None, 1), "cut at {cut}");
        fs::write(&path, &text).unwrap();
        assert_eq!(follower.next_line().unwrap().unwrap().seq, Some(2), "cut at {cut}");
    }
}

/// Where the current file stands among the others is told by names: a line may lie.
#[test]
fn a_corrupt_number_hides_no_file_from_who_reads_backward() {
    let folder = tempfile::tempdir().unwrap();
    let mut stream = stream(folder.path(), SMALL);
    write(&mut stream, (0..20).map(|n| said(format!("{n} {}", "x".repeat(9000)))));
    let kept = backward(folder.path());
    let path = folder.path().join(FILE_NAME);
    let text = fs::read_to_string(&path).unwrap();
    let first = text.lines().next().unwrap();
    let at = kept.iter().position(|line| line.bytes.as_deref() == Some(first.as_bytes())).unwrap();
    let number = format!("\"seq\":{}", kept[at].seq.unwrap());
    fs::write(&path, text.replace(&number, "\"seq\":1")).unwrap();
    let read = backward(folder.path());
    assert_eq!((read.len(), read[at].seq), (kept.len(), Some(1)));
    assert_eq!(seqs(&read[at + 1..]), seqs(&kept[at + 1..]));
}

#[test]
fn what_is_rotated_while_it_is_read_backward_is_handed_out_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut stream = stream(folder.path(), StreamOptions { files_max: 9, ..SMALL });
    let more = |stream: &mut Stream, lines| write(stream, (0..lines).map(|_| said("x".repeat(9000))));
    more(&mut stream, 20);
    let kept = seqs(&backward(folder.path()));
    for stops in (0..kept.len()).step_by(3) {
        let mut reader = Backward::new(folder.path(), FILE_NAME);
        let newest = seqs(&backward(folder.path()))[0];
        let mut seen: Vec<u64> =
            (0..stops).map(|_| reader.next_line().unwrap().unwrap().seq.unwrap()).collect();
        // Twice.
        if stops % 2 == 1 {
            more(&mut stream, 15);
        }
        seen.extend(std::iter::from_fn(|| reader.next_line().unwrap()).map(|line| line.seq.unwrap()));
        let oldest = *seen.last().unwrap();
        assert_eq!(seen, (oldest..=newest).rev().collect::<Vec<_>>(), "stopped after {stops}");
    }
}

/// Somebody removed the files, or a tmpfs was emptied.
#[test]
fn a_follower_sees_numbers_that_begin_anew() {
    let folder = tempfile::tempdir().unwrap();
    let long = |n| said(format!("{n} {}", "x".repeat(9000)));
    let mut first = stream(folder.path(), SMALL);
    write(&mut first, (0..20).map(long));
    let mut follower = Forward::new(folder.path(), FILE_NAME, Position::Oldest).unwrap();
    let last = std::iter::from_fn(|| follower.next_line().unwrap()).last().unwrap();
    assert_eq!(last.seq, Some(20));
    for segment in segments(folder.path(), FILE_NAME).unwrap() {
        fs::remove_file(segment.path).unwrap();
    }
    assert_eq!(follower.next_line().unwrap(), None);
    let mut second = stream(folder.path(), SMALL);
    write(&mut second, (0..3).map(long));
    let mut seen: Vec<_> = std::iter::from_fn(|| follower.next_line().unwrap()).collect();
    for _ in 0..4 {
        write(&mut second, (0..3).map(long));
        seen.extend(std::iter::from_fn(|| follower.next_line().unwrap()));
    }
    assert_eq!(seqs(&seen), (1..=15).collect::<Vec<_>>());
    // One that was away meanwhile.
    let kept = seqs(&forward(folder.path(), Position::Oldest));
    assert_eq!(seqs(&forward(folder.path(), Position::After(20))), kept);
}

#[test]
fn a_number_that_is_corrupt_repeats_no_file_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let mut stream = stream(folder.path(), SMALL);
    write(&mut stream, [said("first"), said("second")]);
    let path = folder.path().join(FILE_NAME);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"seq\":2", "\"seq\":9000000")).unwrap();
    write(&mut stream, (0..20).map(|n| said(format!("{n} {}", "x".repeat(9000)))));
    let mut follower = Forward::new(folder.path(), FILE_NAME, Position::Oldest).unwrap();
    let mut seen = Vec::new();
    while let Some(line) = follower.next_line().unwrap() {
        seen.push(line.seq.unwrap());
        assert!(seen.len() < 100, "{seen:?}");
    }
    assert_eq!(seen.last(), Some(&22), "{seen:?}");
}

#[test]
fn a_reader_that_pauses_holds_no_file_and_misses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let options = StreamOptions { file_bytes_max: 64 * 1024, files_max: 16, ..StreamOptions::default() };
    let mut stream = stream(folder.path(), options);
    let mut lines = Forward::new(folder.path(), FILE_NAME, Position::Oldest).unwrap();
    let (mut seen, mut last) = (Vec::new(), 0);
    for round in 0..300_usize {
        for number in 0..round * 7 % 30 {
            last = stream.push(&said("x".repeat((round + number) * 37 % 500))).unwrap();
        }
        stream.write().unwrap();
        // Sometimes in the middle of a file, of which there may be several by then.
        for _ in 0..round * 13 % 60 {
            let Some(line) = lines.next_line().unwrap() else { break };
            seen.push(line.seq.unwrap());
        }
        lines.pause();
        let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let open = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        let of_stream = open
            .filter(|path| path.to_string_lossy().contains("events.jsonl"))
            .filter(|path| path.starts_with(folder.path()));
        assert!(of_stream.count() <= 1, "the writer's alone");
    }
    while let Some(line) = lines.next_line().unwrap() {
        seen.push(line.seq.unwrap());
    }
    assert!(segments(folder.path(), FILE_NAME).unwrap().len() > 5);
    assert_eq!(seen, (1..=last).collect::<Vec<_>>());
}
