//! `rpcpluginctl logs` on records that are far larger than what is asked of them: how much of them is read.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::ctl::{Folder, Run};
use rpc_plugin_system::ctl::Exit;
use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

const GIB: u64 = 1 << 30;

fn line(seq: u64) -> String {
    let second = seq % 60;
    let event = if seq.is_multiple_of(100) { "exited" } else { "stdout" };
    format!(
        "{{\"time\":\"2026-01-01T00:00:{second:02}.000Z\",\"seq\":{seq},\"level\":\"info\",\"component\":\"kernel\",\
         \"event\":\"{event}\",\"message\":\"m{seq}\"}}\n"
    )
}

/// A file of a gibibyte, of which only the end holds lines.
fn huge(path: &Path, seqs: std::ops::RangeInclusive<u64>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = OpenOptions::new().create_new(true).write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(GIB)).unwrap();
    file.write_all(format!("\n{}", seqs.map(line).collect::<String>()).as_bytes()).unwrap();
}

/// What this thread has read so far: `rchar` of proc(5). Bytes.
fn bytes_read() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/io").unwrap();
    text.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

struct House(Folder);

impl House {
    /// Rotated files of a gibibyte each, with 1000 lines at their ends.
    fn new(ids: &[&str]) -> House {
        let house = House(Folder::new());
        for id in ids {
            let folder = house.0.0.join(id);
            for first in [1, 1001, 2001] {
                huge(&folder.join(format!("events.jsonl.{first}")), first..=first + 999);
            }
            fs::write(folder.join("events.jsonl"), (3001..=3005).map(line).collect::<String>()).unwrap();
        }
        house
    }

    /// The numbers printed, and how many bytes were read for them.
    fn seqs(&self, words: &[&str]) -> (Vec<u64>, u64) {
        let before = bytes_read();
        let ran = Run::new(&self.0.0).run(&[&["logs", "--json"], words].concat());
        let read = bytes_read() - before;
        assert_eq!((ran.exit, &*ran.stderr), (Exit::Ok, ""), "{words:?}");
        let seq =
            |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64().unwrap();
        (ran.stdout.lines().map(seq).collect(), read)
    }
}

/// Two blocks of the reader, and the folder's entries.
const BYTES_MAX: u64 = 3 * 64 * 1024;

#[test]
fn the_newest_ten_lines_of_gigabytes_cost_two_blocks() {
    let house = House::new(&["a"]);
    let (seqs, read) = house.seqs(&["-n", "10"]);
    assert_eq!(seqs, (2996..=3005).collect::<Vec<_>>());
    assert!(read < BYTES_MAX, "{read} bytes were read");
    let (seqs, read) = house.seqs(&["-n", "10", "--reverse"]);
    assert_eq!(seqs, (2996..=3005).rev().collect::<Vec<_>>());
    assert!(read < BYTES_MAX, "{read} bytes were read");
}

#[test]
fn a_filter_stops_as_soon_as_it_has_enough() {
    let house = House::new(&["a"]);
    let (seqs, read) = house.seqs(&["-n", "9", "--event", "exited"]);
    assert_eq!(seqs, (22..=30).map(|hundred| hundred * 100).collect::<Vec<_>>());
    assert!(read < 2 * BYTES_MAX, "{read} bytes were read");
}

#[test]
fn of_many_records_each_is_read_no_further_than_needed() {
    let house = House::new(&["a", "b", "c", "d"]);
    let (seqs, read) = house.seqs(&["-n", "10", "--all"]);
    assert_eq!(seqs, [3003, 3003, 3004, 3004, 3004, 3004, 3005, 3005, 3005, 3005]);
    assert!(read < 4 * BYTES_MAX, "{read} bytes were read");
}

#[test]
fn a_record_that_is_older_than_what_was_found_is_left_at_once() {
    let house = House::new(&["a"]);
    let path = house.0.0.join("b/events.jsonl.1");
    huge(&path, 1..=1);
    let older = (2..=50).map(line).collect::<String>().replace("2026-", "2025-");
    fs::write(house.0.0.join("b/events.jsonl"), older).unwrap();
    let (seqs, read) = house.seqs(&["-n", "3", "--all", "--event", "exited"]);
    assert_eq!(seqs, [2800, 2900, 3000]);
    assert!(read < 2 * BYTES_MAX, "{read} bytes were read");
}

#[test]
fn the_most_that_is_shown_is_told_to_be_the_most() {
    let folder = Folder::new();
    fs::create_dir(folder.0.join("a")).unwrap();
    fs::write(folder.0.join("a/events.jsonl"), (1..=100_001).map(line).collect::<String>()).unwrap();
    let run = |words: &[&str]| Run::new(&folder.0).run(&[&["logs", "--json", "--reverse"], words].concat());
    let ran = run(&["--since", "2026-01-01T00:00:00Z"]);
    assert_eq!((ran.exit, ran.stdout.lines().count()), (Exit::Ok, 100_000));
    assert!(ran.stderr.contains("older events were left out: 100000 are the most"), "{}", ran.stderr);
    let ran = run(&["-n", "7"]);
    assert_eq!((ran.stdout.lines().count(), &*ran.stderr), (7, ""));
}
