//! Packing rotated files of the record: what is packed, what is never lost, who reads it, and the bound on all bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::child;
use crate::fixtures::sinks::{Peer, caught_up, host_of, on_record, parse, record, sink};
use crate::fixtures::world::{SOON, World, eventually};
use rpc_plugin_record::{Backward, FILE_NAME, Forward, PACKED_SUFFIX, Position, segments, verify};
use rpc_plugin_system::eventlog::{Entry, EventLog, LogOptions, Packer, SystemDisk};
use rpc_plugin_system::host::SinkTarget;
use rpc_plugin_wire::event::EventKind;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

const FILE_BYTES: u64 = 64 * 1024;
const KILLS: usize = 60;
const KILL_FILES: usize = 8;

fn options(files_max: usize) -> LogOptions {
    LogOptions { file_bytes_max: FILE_BYTES, files_max, compress: true, ..LogOptions::default() }
}

fn long_texts(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("text {number} {}", "x".repeat(300)))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|n| n.starts_with(FILE_NAME))
        .collect()
}

fn bytes(folder: &Path) -> u64 {
    let paths = names(folder).into_iter().map(|name| folder.join(name));
    paths.filter_map(|path| path.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Waits until all rotated files but the newest are packed; how many are.
fn packed(folder: &Path) -> usize {
    eventually("rotated files are packed", || {
        let all = segments(folder, FILE_NAME).unwrap();
        let rotated: Vec<bool> = all.iter().filter(|s| s.first_seq.is_some()).map(|s| s.is_packed).collect();
        let (newest, older) = rotated.split_last()?;
        (!newest && !older.is_empty() && older.iter().all(|is_packed| *is_packed)).then_some(older.len())
    })
}

/// That no number is missing and none is there twice; the last one.
fn check_numbers(folder: &Path) -> u64 {
    let seqs: Vec<u64> = on_record(folder).iter().map(|record| record.seq.unwrap()).collect();
    let first = seqs[0];
    assert!(seqs.iter().copied().eq(first..first + seqs.len() as u64), "{seqs:?}");
    *seqs.last().unwrap()
}

#[test]
fn rotated_files_are_packed_within_the_bound_and_the_numbers_go_on() {
    let world = World::new();
    let folder = world.runtime_dir();
    let start = || host_of(world.builder().log_options(options(4)), vec![]);
    let host = start();
    for _ in 0..40 {
        record(&host, long_texts(40));
        assert!(bytes(&folder) <= 4 * FILE_BYTES, "{:?}", names(&folder));
    }
    assert_eq!(packed(&folder), 1, "{:?}: with the current one and room for one more", names(&folder));
    check_numbers(&folder);
    host.shutdown();
    drop(host);
    let last = check_numbers(&folder);
    let host = start();
    assert!(host.flush_events(SOON));
    assert!(check_numbers(&folder) > last);
    host.shutdown();
}

#[test]
fn what_a_host_that_was_killed_left_half_made_is_removed_and_made_again() {
    let world = World::new();
    let folder = world.runtime_dir();
    let plain = LogOptions { compress: false, ..options(8) };
    let host = host_of(world.builder().log_options(plain.clone()), vec![]);
    record(&host, long_texts(800));
    host.shutdown();
    drop(host);
    // Killed while it was made, and between the new name and the removal of the original.
    let leave = || {
        std::fs::write(folder.join("events.jsonl.1.packing"), "half").unwrap();
        std::fs::write(folder.join("events.jsonl.1.gz"), "whole").unwrap();
    };
    leave();
    let before = check_numbers(&folder);
    assert!(before > 800);
    // Also where packing was switched off.
    let host = host_of(world.builder().log_options(plain), vec![]);
    assert!(names(&folder).iter().all(|name| !name.contains("pack") && !name.ends_with(PACKED_SUFFIX)));
    host.shutdown();
    drop(host);
    leave();
    let host = host_of(world.builder().log_options(options(8)), vec![]);
    assert!(packed(&folder) > 2);
    assert!(!folder.join("events.jsonl.1").exists() && !folder.join("events.jsonl.1.packing").exists());
    assert!(check_numbers(&folder) > before);
    host.shutdown();
}

#[test]
fn a_sink_goes_on_in_the_middle_of_packed_files() {
    let world = World::new();
    let (folder, path) = (world.runtime_dir(), world.path().join("sock"));
    let start = || {
        let sinks = vec![sink("s", SinkTarget::UnixStream(path.clone()))];
        host_of(world.builder().log_options(options(32)), sinks)
    };
    let host = start();
    let mut seen = BTreeSet::new();
    let mut take = |lines: Vec<String>| seen.extend(parse(&lines).iter().filter_map(|record| record.seq));
    // Some are taken; then the other side is down while more files are rotated and packed, over a restart.
    let peer = Peer::stream(&path);
    record(&host, long_texts(100));
    caught_up(&host);
    take(peer.got());
    drop(peer);
    record(&host, long_texts(1500));
    assert!(packed(&folder) > 4);
    host.shutdown();
    drop(host);
    assert!(
        names(&folder).contains(&format!("{FILE_NAME}.1{PACKED_SUFFIX}")),
        "what it took in part is packed"
    );
    let host = start();
    record(&host, long_texts(10));
    let peer = Peer::stream(&path);
    assert_eq!(caught_up(&host).lost, 0);
    host.shutdown();
    take(peer.got());
    assert!(seen.iter().copied().eq(1..=*seen.last().unwrap()), "nothing is missing");
}

#[test]
fn a_damaged_packed_file_is_told_on_record_and_costs_a_sink_its_own_events() {
    let world = World::new();
    let (folder, path) = (world.runtime_dir(), world.path().join("sock"));
    let host = host_of(world.builder().log_options(options(32)), vec![]);
    record(&host, long_texts(1600));
    packed(&folder);
    host.shutdown();
    drop(host);
    let all = segments(&folder, FILE_NAME).unwrap();
    let damaged = all[1].path.clone();
    let before = on_record(&folder).len();
    // The other one is beyond the first batch.
    let later = all[all.len() - 3].path.clone();
    for path in [&damaged, &later] {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[100] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
    let lost = (before - on_record(&folder).len()) as u64;
    assert!(lost > 100, "{lost}");
    let sinks = || {
        let mut sink = sink("s", SinkTarget::UnixStream(path.clone()));
        // The damaged part is within the first batch.
        sink.options.batch_max = 1000;
        vec![sink]
    };
    // That the sink takes no events is told too, and does not keep the damage from being told.
    let host = host_of(world.builder().log_options(options(32)), sinks());
    eventually("the sink is failing", || host.log_sinks().pop().unwrap().is_failing.then_some(()));
    host.shutdown();
    drop(host);
    let told = on_record(&folder);
    assert!(told.iter().any(|record| record.event == "sink_failed"));
    let faults: Vec<_> = told.into_iter().filter(|record| record.event == "host_fault").collect();
    assert_eq!(faults.len(), 1, "it is told once: {faults:?}");
    let peer = Peer::stream(&path);
    let host = host_of(world.builder().log_options(options(32)), sinks());
    assert_eq!(caught_up(&host).lost, lost);
    let error = faults[0].error.clone().unwrap();
    let expected = format!("{}: member 1 at byte 0 is damaged", damaged.display());
    assert!(error.starts_with(&expected), "{error}");
    host.shutdown();
    drop(host);
    // So soon after the first one, it is told at the end.
    let faults = on_record(&folder).into_iter().filter(|record| record.event == "host_fault");
    let errors: Vec<String> = faults.filter_map(|record| record.error).collect();
    assert!(errors.iter().any(|error| error.contains(&later.display().to_string())), "{errors:?}");
    let gap = parse(&peer.got()).into_iter().find(|record| record.event == "sink_gap").unwrap();
    assert!(gap.message.contains("could no longer be read"), "{}", gap.message);
}

#[test]
fn without_room_for_the_file_that_is_made_a_host_does_not_start() {
    let world = World::new();
    let error = world.builder().log_options(options(2)).start().unwrap_err().to_string();
    assert!(error.contains("files_max of at least 3"), "{error}");
}

#[test]
fn a_file_that_cannot_be_packed_stays_as_it_is_and_is_told() {
    let world = World::new();
    let folder = world.runtime_dir();
    let host = host_of(world.builder().log_options(options(8)), vec![]);
    // A folder where the packed file is made: also root cannot write it.
    std::fs::create_dir(folder.join("events.jsonl.1.packing")).unwrap();
    record(&host, long_texts(800));
    let fault = eventually("the failure is on record", || {
        on_record(&folder).into_iter().find(|record| record.event == "host_fault")
    });
    let error = fault.error.unwrap();
    assert!(error.contains("events.jsonl.1: "), "{error}");
    check_numbers(&folder);
    assert!(folder.join("events.jsonl.1").exists());
    host.shutdown();
}

/// The body of the next test: records and packs until it is killed.
pub(crate) fn pack_until_killed() {
    let folder = std::env::var("RPC_RECORD_TEST_FOLDER").unwrap();
    let options = LogOptions { chain: true, ..options(KILL_FILES) };
    let log = EventLog::start(Path::new(&folder), &options).unwrap();
    let packer = Packer::start(Path::new(&folder), &options, Arc::new(SystemDisk), log.clone()).unwrap();
    let waker = Arc::clone(packer.waker());
    log.on_written(move |written| {
        if written.was_rotated {
            waker.notify(written.owner, written.seq);
        }
    });
    for number in 0_usize.. {
        let text = format!("{number} {}", "x".repeat(number * 37 % 3000));
        log.record(Entry::new(EventKind::Stdout).message(text));
        if number % 20 == 0 {
            assert!(log.flush(SOON));
            if std::io::stdout().lock().write_all(b"flushed\n").is_err() {
                return;
            }
        }
    }
}

#[test]
fn nothing_is_lost_doubled_or_too_much_when_the_process_is_killed_while_it_packs() {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = fastrand::Rng::with_seed(8);
    let (mut last, mut were_packed, mut were_half) = (0, 0, 0);
    for life in 0..KILLS {
        let mut child = child::start(std::env::current_exe().unwrap(), "pack_until_killed")
            .env("RPC_RECORD_TEST_FOLDER", folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut wanted = rng.usize(1..40);
        while wanted > 0 {
            let line = lines.next().expect("it ended by itself").unwrap();
            wanted -= usize::from(line.ends_with("flushed"));
        }
        // Anywhere in what it does next.
        std::thread::park_timeout(Duration::from_micros(rng.u64(0..20_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        let all = names(folder.path());
        were_packed += usize::from(all.iter().any(|name| name.ends_with(PACKED_SUFFIX)));
        were_half += usize::from(all.iter().any(|name| name.ends_with(".packing")));
        assert!(bytes(folder.path()) <= KILL_FILES as u64 * FILE_BYTES, "life {life}: {all:?}");
        let mut forward = Forward::new(folder.path(), FILE_NAME, Position::Oldest).unwrap();
        let mut seqs = Vec::new();
        while let Some(line) = forward.next_line().unwrap() {
            seqs.extend(line.record().filter(|_| line.is_finished).and(line.seq));
        }
        assert!(seqs.iter().copied().eq(seqs[0]..seqs[0] + seqs.len() as u64), "life {life}: {seqs:?}");
        assert!(*seqs.last().unwrap() > last, "life {life}");
        last = *seqs.last().unwrap();
        let mut backward = Backward::new(folder.path(), FILE_NAME);
        let reversed = std::iter::from_fn(|| backward.next_line().unwrap()).filter(|line| line.is_finished);
        assert_eq!(reversed.count(), seqs.len(), "life {life}");
        assert_eq!((forward.damaged(), backward.damaged()), (0, 0), "life {life}");
        assert_eq!(verify(folder.path(), FILE_NAME).unwrap().fault, None, "life {life}");
    }
    assert!(were_packed > KILLS / 2, "{were_packed} of {KILLS}");
    println!("{were_packed} of {KILLS} with packed files, {were_half} with a half-made one, {last} lines");
}
