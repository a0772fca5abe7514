//! Packing rotated files of the record: what is packed and when, what is never lost, and the bound on all bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::sinks::{Peer, caught_up, host_of, on_record, parse, record, sink};
use crate::fixtures::world::{SOON, World, eventually};
use rpc_plugin_record::{FILE_NAME, PACKED_SUFFIX, segments};
use rpc_plugin_system::eventlog::LogOptions;
use rpc_plugin_system::host::{CommandLine, Host, SinkTarget};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const FILE_BYTES: u64 = 64 * 1024;

fn options(program: PathBuf, files_max: usize) -> LogOptions {
    let compress = Some(CommandLine { program, args: vec!["-x".into()] });
    LogOptions { file_bytes_max: FILE_BYTES, files_max, compress, ..LogOptions::default() }
}

/// Something that makes a small file of a large one, and says of which.
fn first_line(world: &World) -> PathBuf {
    world.script("first-line", "#!/bin/sh\nIFS= read -r line\nprintf '%s %s\\n' \"$1\" \"$line\"\n")
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
fn packed(host: &Host, folder: &Path) -> usize {
    eventually("rotated files are packed", || {
        // What is written next makes it look again.
        record(host, ["again".to_owned()]);
        let all = segments(folder, FILE_NAME).unwrap();
        let rotated: Vec<bool> = all.iter().filter(|s| s.first_seq.is_some()).map(|s| s.is_packed).collect();
        let (newest, older) = rotated.split_last()?;
        (!newest && !older.is_empty() && older.iter().all(|is_packed| *is_packed)).then_some(older.len())
    })
}

#[test]
fn rotated_files_are_packed_within_the_bound_and_the_numbers_go_on() {
    let world = World::new();
    let folder = world.runtime_dir();
    let start = || host_of(world.builder().log_options(options(first_line(&world), 4)), vec![]);
    let host = start();
    for _ in 0..40 {
        record(&host, long_texts(40));
        assert!(bytes(&folder) <= 4 * FILE_BYTES, "{:?}", names(&folder));
    }
    assert_eq!(packed(&host, &folder), 1, "{:?}: with the current one and room for one more", names(&folder));
    let name = names(&folder).into_iter().find(|name| name.ends_with(PACKED_SUFFIX)).unwrap();
    let text = std::fs::read_to_string(folder.join(&name)).unwrap();
    let seq = name.strip_prefix("events.jsonl.").unwrap().strip_suffix(PACKED_SUFFIX).unwrap();
    assert!(text.starts_with("-x {\"time\":\"") && text.contains(&format!("\"seq\":{seq},")), "{text}");
    host.shutdown();
    drop(host);
    let last = on_record(&folder).last().unwrap().seq.unwrap();
    let host = start();
    assert!(host.flush_events(SOON));
    let seqs: Vec<u64> = on_record(&folder).iter().map(|r| r.seq.unwrap()).collect();
    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1) && *seqs.last().unwrap() > last);
    host.shutdown();
}

#[test]
fn a_program_that_fails_leaves_the_original_and_is_told() {
    let cases = [
        ("#!/bin/sh\necho partly\nexit 7\n", "exit status 7"),
        ("#!/bin/sh\nexit 0\n", "it printed nothing"),
        ("#!/bin/sh\n/bin/cat; echo more\n", "not smaller"),
    ];
    for (script, expected) in cases {
        let world = World::new();
        let folder = world.runtime_dir();
        let host = host_of(world.builder().log_options(options(world.script("bad", script), 8)), vec![]);
        record(&host, long_texts(800));
        let fault = eventually("the failure is on record", || {
            record(&host, ["again".to_owned()]);
            on_record(&folder).into_iter().find(|r| r.event == "host_fault")
        });
        let error = fault.error.unwrap();
        assert!(error.contains(expected) && error.contains("events.jsonl.1"), "{error}");
        let seqs: Vec<u64> = on_record(&folder).iter().map(|r| r.seq.unwrap()).collect();
        assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "nothing is missing");
        host.shutdown();
        drop(host);
        assert!(names(&folder).iter().all(|name| !name.contains("pack")), "{:?}", names(&folder));
    }
}

#[test]
fn what_a_host_that_was_killed_left_half_made_is_removed_and_made_again() {
    let world = World::new();
    let folder = world.runtime_dir();
    // The program hangs, as it may when the host is killed.
    let hangs = world.script("hangs", "#!/bin/sh\necho partly\nexec /bin/sleep 1000\n");
    let host = host_of(world.builder().log_options(options(hangs, 8)), vec![]);
    record(&host, long_texts(800));
    eventually("packing has begun", || {
        record(&host, ["again".to_owned()]);
        names(&folder).iter().any(|name| name.ends_with(".packing")).then_some(())
    });
    let begin = std::time::Instant::now();
    host.shutdown();
    drop(host);
    assert!(begin.elapsed() < SOON / 2, "the end waits for no program");
    assert!(names(&folder).iter().all(|name| !name.contains("pack")), "{:?}", names(&folder));
    // Killed while it was made, and between the new name and the removal of the original.
    std::fs::write(folder.join("events.jsonl.1.packing"), "half").unwrap();
    std::fs::write(folder.join("events.jsonl.1.packed"), "whole").unwrap();
    let before = on_record(&folder).len();
    let host = host_of(world.builder().log_options(options(first_line(&world), 8)), vec![]);
    packed(&host, &folder);
    assert!(before > 800);
    let text = std::fs::read_to_string(folder.join("events.jsonl.1.packed")).unwrap();
    assert!(text.starts_with("-x {"), "{text}");
    assert!(!folder.join("events.jsonl.1").exists() && !folder.join("events.jsonl.1.packing").exists());
    host.shutdown();
}

#[test]
fn a_file_that_a_sink_has_not_read_is_not_packed() {
    let world = World::new();
    let (folder, path) = (world.runtime_dir(), world.path().join("sock"));
    let options = options(first_line(&world), 32);
    let sinks = vec![sink("s", SinkTarget::UnixStream(path.clone()))];
    let host = host_of(world.builder().log_options(options), sinks);
    record(&host, long_texts(1500));
    // Down for several looks of the packer.
    eventually("the sink was tried often", || {
        record(&host, ["again".to_owned()]);
        (host.log_sinks()[0].is_failing && on_record(&folder).len() > 1540).then_some(())
    });
    assert!(names(&folder).iter().all(|name| !name.ends_with(PACKED_SUFFIX)), "{:?}", names(&folder));
    let peer = Peer::stream(&path);
    assert_eq!(caught_up(&host).lost, 0);
    assert!(packed(&host, &folder) > 2);
    host.shutdown();
    let seen: BTreeSet<u64> = parse(&peer.got()).iter().filter_map(|r| r.seq).collect();
    assert!(seen.iter().copied().eq(1..=*seen.last().unwrap()), "nothing is missing");
}

#[test]
fn without_room_for_the_file_that_is_made_a_host_does_not_start() {
    let world = World::new();
    let error = world.builder().log_options(options(first_line(&world), 2)).start().unwrap_err().to_string();
    assert!(error.contains("files_max of at least 3"), "{error}");
}
