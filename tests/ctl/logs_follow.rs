//! `rpcpluginctl logs --follow` beside writers that write and rotate meanwhile.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::ctl::{Folder, Run};
use rpc_plugin_record::{
    Entry, FILE_NAME, PackLimits, Place, Stream, StreamOptions, SystemDisk, pack, segments,
};
use rpc_plugin_system::ctl::Exit;
use rpc_plugin_wire::event::{EventKind, Level};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, SystemTime};

fn stream(folder: &Path) -> Stream {
    fs::create_dir_all(folder).unwrap();
    let place = Place { base: folder.to_owned(), below: None };
    // Small files, and so many that none is removed.
    let options = StreamOptions { file_bytes_max: 64 * 1024, files_max: 1000, ..StreamOptions::default() };
    Stream::new(place, FILE_NAME, options, Arc::new(SystemDisk))
}

fn write(stream: &mut Stream, id: &str, entry: Entry) {
    let mut entry = entry.plugin(id.parse().unwrap());
    entry.fit();
    stream.push(&entry).unwrap();
    stream.write().unwrap();
}

/// Packs the rotated files that are plain, but the newest.
fn pack_rotated(folder: &Path) {
    let place = Place { base: folder.to_owned(), below: None };
    let limits = PackLimits { bytes_max: u64::MAX, is_durable: false };
    let mut rotated = segments(folder, FILE_NAME).unwrap();
    rotated.retain(|segment| segment.first_seq.is_some());
    rotated.pop();
    for first_seq in
        rotated.iter().filter(|segment| !segment.is_packed).filter_map(|segment| segment.first_seq)
    {
        pack(&SystemDisk, &place, FILE_NAME, first_seq, limits, &|| true).unwrap();
    }
}

/// Standard output that hands each line on, and goes away once it is told to.
struct Lines<'a> {
    partial: Vec<u8>,
    /// False: enough.
    each: Box<dyn FnMut(&str) -> bool + 'a>,
}

impl<'a> Lines<'a> {
    fn new(each: impl FnMut(&str) -> bool + 'a) -> Lines<'a> {
        Lines { partial: Vec::new(), each: Box::new(each) }
    }
}

impl Write for Lines<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.partial.extend_from_slice(bytes);
        while let Some(end) = self.partial.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            if !(self.each)(std::str::from_utf8(&line).unwrap().trim_end()) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The timeout only ends a run that would hang.
const FOLLOW: [&str; 4] = ["logs", "--follow", "--timeout", "60s"];

#[test]
fn each_event_comes_once_and_in_order_while_records_are_written_rotated_and_packed() {
    const LINES: u64 = 400;
    const IDS: [&str; 3] = ["a", "b", "c"];
    let folder = Folder::new();
    let (go, gone): (Vec<Sender<()>>, Vec<Receiver<()>>) = IDS.iter().map(|_| channel()).unzip();
    std::thread::scope(|scope| {
        // Gone with this, also if something fails: then the writers end too.
        let go = go;
        for (id, gone) in IDS.into_iter().zip(gone) {
            let folder = folder.0.join(id);
            let mut stream = stream(&folder);
            let said =
                |n: u64| Entry::new(EventKind::Stdout).message("x".repeat(200 + (n * 37 % 4000) as usize));
            (0..LINES / 4).for_each(|n| write(&mut stream, id, said(n)));
            scope.spawn(move || {
                // They go on when the first lines are read, and while they are.
                gone.recv().unwrap();
                for n in LINES / 4..LINES {
                    write(&mut stream, id, said(n));
                    if n % 40 == 0 {
                        pack_rotated(&folder);
                    }
                }
            });
        }
        let mut seen: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let mut count = 0;
        let mut lines = Lines::new(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            let id = event["plugin_id"].as_str().unwrap().to_owned();
            seen.entry(id).or_default().push(event["seq"].as_u64().unwrap());
            count += 1;
            if count == 1 {
                go.iter().for_each(|go| go.send(()).unwrap());
            }
            count < LINES as usize * IDS.len()
        });
        let words = [&FOLLOW[..], &["--all", "--json", "-n", "100000"]].concat();
        let (exit, stderr) = Run::new(&folder.0).run_into(&words, &mut lines);
        drop(lines);
        assert_eq!((exit, &*stderr), (Exit::Ok, ""));
        for id in IDS {
            assert_eq!(seen[id], (1..=LINES).collect::<Vec<_>>(), "{id}");
        }
    });
    let files = rpc_plugin_record::segments(&folder.0.join("a"), FILE_NAME).unwrap();
    assert!(files.len() > 5 && files.iter().filter(|file| file.is_packed).count() > 3, "{files:?}");
}

#[test]
fn a_follower_filters_and_tells_what_is_missing_and_what_begins_anew() {
    let folder = Folder::new();
    let home = folder.0.join("kv");
    let path = home.join(FILE_NAME);
    let mut writer = stream(&home);
    let said = |text: &'static str| Entry::new(EventKind::Stdout).message(text).level(Level::Warn);
    let hidden = || Entry::new(EventKind::Stdout).message("hidden");
    write(&mut writer, "kv", said("m1"));
    write(&mut writer, "kv", hidden());
    let mut seen = Vec::new();
    let mut lines = Lines::new(|line| {
        let words: Vec<&str> = line.split("  ").collect();
        seen.push(words.last().unwrap_or(&"").to_string());
        match seen.len() {
            1 => {
                write(&mut writer, "kv", said("m3"));
                (4..=6).for_each(|_| write(&mut writer, "kv", hidden()));
                let text = fs::read_to_string(&path).unwrap();
                let lost = text.lines().nth(4).unwrap();
                fs::write(&path, text.replace(lost, "garbage")).unwrap();
                write(&mut writer, "kv", said("m7"));
            }
            4 => {
                // Removed by hand, and written anew.
                fs::remove_file(&path).unwrap();
                writer = stream(&home);
                write(&mut writer, "kv", said("m1 again"));
            }
            _ => {}
        }
        seen.len() < 5
    });
    let words = [&FOLLOW[..], &["--level", "warn"]].concat();
    let (exit, stderr) = Run::new(&folder.0).run_into(&words, &mut lines);
    drop(lines);
    let gap = "-- kv: 1 event is missing here (seq 5); 1 line here is no record";
    assert_eq!(exit, Exit::Ok, "{stderr}");
    assert_eq!(seen, ["m1", "m3", gap, "m7", "m1 again"]);
    assert_eq!(stderr.matches("1 line is not a record").count(), 1, "{stderr}");
}

#[test]
fn what_several_records_have_at_one_look_comes_in_the_order_of_time() {
    let folder = Folder::new();
    let mut streams = ["a", "b"].map(|id| (id, stream(&folder.0.join(id))));
    let now = SystemTime::now();
    let said = |second: u64| {
        let at = now + Duration::from_secs(second);
        Entry::new(EventKind::Stdout).at(at).message(format!("m{second}"))
    };
    write(&mut streams[0].1, "a", said(0));
    let mut seen = Vec::new();
    let mut lines = Lines::new(|line| {
        seen.push(line.rsplit("  ").next().unwrap().to_owned());
        if seen.len() == 1 {
            for (stream, second) in [(1, 20), (0, 10), (0, 30), (1, 40), (1, 25), (0, 50)] {
                let (id, stream) = &mut streams[stream];
                write(stream, id, said(second));
            }
        }
        seen.len() < 7
    });
    let (exit, stderr) = Run::new(&folder.0).run_into(&[&FOLLOW[..], &["--all"]].concat(), &mut lines);
    drop(lines);
    assert_eq!((exit, &*stderr), (Exit::Ok, ""));
    // The order of one record is that in which it was written.
    assert_eq!(seen, ["m0", "m10", "m20", "m30", "m40", "m25", "m50"]);
}
