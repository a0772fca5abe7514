//! `rpcpluginctl logs` on records as the writer leaves them: what the flags choose, gaps, packed files,
//! summaries, how events look.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::ctl::{Folder, Ran, Run};
use rpc_plugin_record::{
    Entry, FILE_NAME, PLUGIN_FILE_NAME, PackLimits, Packing, Place, Stream, StreamOptions, SystemDisk,
    format_time, pack,
};
use rpc_plugin_system::ctl::Exit;
use rpc_plugin_wire::Generation;
use rpc_plugin_wire::event::{EventKind, Level};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A runtime folder with records of plugins in it.
struct House(Folder);

impl House {
    fn new() -> House {
        House(Folder::new())
    }

    fn folder(&self, id: &str) -> PathBuf {
        self.0.0.join(id)
    }

    /// Appends to a plugin's record, or to the daemon's if the id is empty.
    fn write(&self, id: &str, name: &str, entries: impl IntoIterator<Item = Entry>) {
        fs::create_dir_all(self.folder(id)).unwrap();
        let place = Place { base: self.folder(id), below: None };
        let options = StreamOptions { file_bytes_max: 64 * 1024, files_max: 5, ..StreamOptions::default() };
        let mut stream = Stream::new(place, name, options, Arc::new(SystemDisk));
        for mut entry in entries {
            if !id.is_empty() {
                entry = entry.plugin(id.parse().unwrap());
            }
            entry.fit();
            stream.push(&entry).unwrap();
            stream.write().unwrap();
        }
    }

    /// Packs the rotated file that begins with that number; the packed one.
    fn pack(&self, id: &str, first_seq: u64) -> PathBuf {
        let place = Place { base: self.folder(id), below: None };
        let limits = PackLimits { bytes_max: u64::MAX, is_durable: false };
        let made = pack(&SystemDisk, &place, FILE_NAME, first_seq, limits, &|| true).unwrap();
        assert_eq!(made, Packing::Done);
        self.folder(id).join(format!("{FILE_NAME}.{first_seq}.gz"))
    }

    fn run(&self, words: &[&str]) -> Ran {
        let ran = Run::new(&self.0.0).run(&[&["logs"], words].concat());
        assert_eq!(ran.exit, Exit::Ok, "{words:?} {}", ran.stderr);
        ran
    }

    fn seqs(&self, words: &[&str]) -> Vec<u64> {
        self.run(&[&["--json"], words].concat()).stdout.lines().map(seq).collect()
    }
}

fn seq(line: &str) -> u64 {
    serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap()
}

fn said(text: impl Into<String>) -> Entry {
    Entry::new(EventKind::Stdout).message(text.into())
}

fn ago(seconds: u64) -> SystemTime {
    SystemTime::now() - Duration::from_secs(seconds)
}

#[test]
fn events_are_chosen_by_what_they_are() {
    let house = House::new();
    let call = |method: &'static str| Entry::new(EventKind::CallFailed).call(method);
    house.write(
        "kv",
        FILE_NAME,
        [
            Entry::new(EventKind::Connected),
            Entry::new(EventKind::Launched),
            call("kv.get"),
            call("kv.put"),
            Entry::new(EventKind::GaveUp),
            said("x").level(Level::Warn),
        ],
    );
    let table: [(&[&str], &[u64]); 14] = [
        (&["--level", "debug"], &[1, 2, 3, 4, 5, 6]),
        (&["--level", "info"], &[2, 3, 4, 5, 6]),
        (&["--level", "warn"], &[3, 4, 5, 6]),
        (&["--level", "error"], &[5]),
        (&["--component", "rpc"], &[3, 4]),
        (&["--component", "rpc", "--component", "auth"], &[1, 3, 4]),
        (&["--component", "KERNEL"], &[2]),
        (&["--level", "Warning"], &[3, 4, 5, 6]),
        // As the Go system that came before it called them.
        (&["--event", "plugin_dial_succeeded", "--event", "rpc_call_failed"], &[1, 3, 4]),
        (&["--event", "launched", "--event", "gave_up"], &[2, 5]),
        (&["--method", "kv.put"], &[4]),
        (&["--method", "kv.put", "--event", "launched"], &[]),
        (&["--level", "warn", "--component", "rpc", "-n", "1"], &[4]),
        (&["--level", "warn", "--reverse", "-n", "2"], &[6, 5]),
    ];
    for (words, expected) in table {
        assert_eq!(house.seqs(words), expected, "{words:?}");
    }
}

#[test]
fn events_are_chosen_by_process_generation_text_and_plugin() {
    let house = House::new();
    let of = |generation: u64, pid: u32, text: &str| {
        said(text.to_owned()).generation(Generation::try_from(generation).unwrap()).pid(pid)
    };
    house.write("kv", FILE_NAME, [of(1, 10, "No space left"), of(2, 20, "a.b"), of(3, 30, "axb")]);
    house.write("echo", FILE_NAME, [of(1, 40, "all is well")]);
    house.write("other", FILE_NAME, [of(1, 50, "x")]);
    let table: [(&[&str], &[u64]); 8] = [
        (&["kv", "--generation", "2"], &[2]),
        (&["kv", "--generation", "2", "--generation", "3"], &[2, 3]),
        (&["kv", "--pid", "30", "--pid", "10"], &[1, 3]),
        (&["kv", "--grep", "no SPACE"], &[]),
        (&["kv", "--grep", "no space"], &[1]),
        (&["kv", "--grep", "a.b"], &[2]),
        (&["kv", "--grep", "b", "--grep", "x"], &[3]),
        (&["kv", "--since", "yesterday", "--until", "now", "--pid", "20"], &[2]),
    ];
    for (words, expected) in table {
        assert_eq!(house.seqs(words), expected, "{words:?}");
    }
    for words in [&["kv", "echo", "kv"][..], &["--plugin-id", "kv", "--plugin-id", "echo"]] {
        let ran = house.run(words);
        assert_eq!(ran.stdout.lines().count(), 4, "{words:?}: {}", ran.stdout);
        assert!(!ran.stdout.contains("other"), "{}", ran.stdout);
    }
    let wrong = |words: &[&str]| {
        let ran = Run::new(&house.0.0).run(&[&["logs"], words].concat());
        (ran.exit, ran.stderr)
    };
    for (words, exit, part) in [
        (&["kv", "--event", "exitd"][..], Exit::Usage, "did you mean exited?"),
        (&["kv", "--component", "kern"], Exit::Usage, "did you mean kernel?"),
        (&["kv", "--since", "25:00"], Exit::Usage, "22:00, today, yesterday"),
        (&["kv", "--pid", "x"], Exit::Usage, "it is not a number"),
        (&["ecko"], Exit::UnknownPlugin, "did you mean echo?"),
        (&["kv", "none-such"], Exit::UnknownPlugin, "no plugin \"none-such\""),
    ] {
        let (seen, stderr) = wrong(words);
        assert!(seen == exit && stderr.contains(part), "{words:?}: {stderr}");
    }
}

#[test]
fn last_words_are_shown_once_and_who_acted_is_said() {
    let house = House::new();
    let generation = Generation::try_from(7).unwrap();
    let tail = json!({"stderr_tail": ["", "panicked", "note"]});
    let printed = Entry::new(EventKind::Stderr).generation(generation).message("panicked\nnote");
    let exited =
        || Entry::new(EventKind::Exited).generation(generation).message("it ended").details_of(&tail);
    let scheduled = || {
        Entry::new(EventKind::RestartScheduled)
            .generation(generation)
            .with(Some(()), |entry, ()| entry.reason("exit status 101\npanicked\nnote"))
    };
    let by = json!({"action": "stop", "peer_uid": 1000, "peer_pid": 4711, "peer_command": "rpcpluginctl"});
    let acted = Entry::new(EventKind::AdminAction).message("an operator asked for stop").details_of(&by);
    house.write("kv", FILE_NAME, [printed, exited(), scheduled(), acted]);
    let shown = |words: &[&str]| {
        let lines = house.run(words).stdout;
        (lines.matches("| panicked").count(), lines.matches("| note").count(), lines)
    };
    let (panicked, note, lines) = shown(&[]);
    assert_eq!((panicked, note), (0, 1), "{lines}");
    assert!(lines.contains("(reason: exit status 101)\n"), "{lines}");
    assert!(lines.contains("asked for stop (by user 1000, pid 4711 (rpcpluginctl))\n"), "{lines}");
    // Where what it printed is left out, the first that tells of it has its last words.
    let (panicked, note, lines) = shown(&["--component", "kernel", "--component", "runtime"]);
    assert_eq!((panicked, note), (1, 1), "{lines}");
    let (panicked, ..) = shown(&["--event", "restart_scheduled"]);
    assert_eq!(panicked, 1);
}

#[test]
fn events_are_chosen_by_when_they_were() {
    let house = House::new();
    // The third one was handed over late; the last but one comes after the clock was set back.
    let seconds = [7200, 3000, 3030, 1800, 600, 86_400, 60];
    house.write("kv", FILE_NAME, seconds.map(|seconds| said("x").at(ago(seconds))));
    let at = |seconds: u64| format_time(ago(seconds));
    let (since, until) = (at(3010), at(1000));
    let offset = since.replace('Z', "+00:00");
    let table: [(&[&str], &[u64]); 8] = [
        (&["--since", "2m"], &[7]),
        (&["--since", "1d1h"], &[1, 2, 3, 4, 5, 6, 7]),
        (&["--until", "1h"], &[1, 6]),
        (&["--since", "1d1h", "--until", "1h"], &[1, 6]),
        (&["--since", "0"], &[]),
        (&["--until", &until], &[1, 2, 3, 4, 6]),
        (&["--until", &until, "-n", "2"], &[4, 6]),
        // What was before the clock was set back is not looked for.
        (&["--since", &offset], &[7]),
    ];
    for (words, expected) in table {
        assert_eq!(house.seqs(words), expected, "{words:?}");
    }
    let other = House::new();
    other.write("kv", FILE_NAME, [5000, 3000, 3030, 1800].map(|seconds| said("x").at(ago(seconds))));
    assert_eq!(other.seqs(&["--since", &since]), [2, 4], "the late one is passed over, and no end");
}

#[test]
fn with_since_more_than_the_default_limit_is_shown() {
    let house = House::new();
    house.write("kv", FILE_NAME, (0..70).map(|_| said("x")));
    assert_eq!(house.seqs(&[]).len(), 50);
    assert_eq!(house.seqs(&["--since", "1h"]).len(), 70);
    assert_eq!(house.seqs(&["--since", "1h", "-n", "60"]), (11..=70).collect::<Vec<_>>());
}

#[test]
fn the_folder_of_the_sinks_is_no_plugins() {
    let house = House::new();
    house.write("kv", FILE_NAME, [said("kv's")]);
    fs::create_dir(house.folder("sinks")).unwrap();
    assert_eq!(house.seqs(&[]), [1], "kv is the only plugin");
    assert!(!house.run(&["--all", "--summary"]).stdout.contains("sinks"));
}

#[test]
fn the_plugins_own_record_is_another_source() {
    let house = House::new();
    house.write("", FILE_NAME, [said("daemon's")]);
    house.write("kv", FILE_NAME, [said("host's")]);
    house.write("kv", PLUGIN_FILE_NAME, [said("own"), said("own")]);
    house.write("web", PLUGIN_FILE_NAME, [said("web's")]);
    let said = |words: &[&str]| -> Vec<String> {
        let lines = house.run(&[&["--json"], words].concat()).stdout;
        let message =
            |line| serde_json::from_str::<Value>(line).unwrap()["message"].as_str().unwrap().to_owned();
        lines.lines().map(message).collect()
    };
    assert_eq!(said(&["kv", "--source", "plugin"]), ["own", "own"]);
    assert_eq!(said(&["kv", "--source", "kernel"]), ["host's"]);
    assert_eq!(said(&["--all", "--source", "plugin"]), ["own", "own", "web's"]);
    assert_eq!(said(&["--all"]), ["daemon's", "host's"]);
    let ran = house.run(&["web"]);
    assert!(ran.stdout.is_empty() && ran.stderr.contains("nothing is on record yet"), "{}", ran.stderr);
}

/// Rotated files, of which the second is gone, the third packed and damaged, and the newest has a corrupt line.
fn torn_house() -> (House, Vec<u64>) {
    let house = House::new();
    house.write("kv", FILE_NAME, (0..30).map(|n| said(format!("m{n} {}", "x".repeat(9000)))));
    let files = rpc_plugin_record::segments(&house.folder("kv"), FILE_NAME).unwrap();
    assert_eq!(files.len(), 5);
    let first: Vec<u64> = files.iter().filter_map(|file| file.first_seq).collect();
    fs::remove_file(&files[1].path).unwrap();
    let packed = house.pack("kv", first[2]);
    let mut bytes = fs::read(&packed).unwrap();
    bytes[60] ^= 1;
    fs::write(&packed, bytes).unwrap();
    let text = fs::read_to_string(&files[3].path).unwrap();
    let second = text.lines().nth(1).unwrap();
    fs::write(&files[3].path, text.replace(second, "no record")).unwrap();
    (house, first)
}

#[test]
fn gaps_corrupt_lines_and_damaged_files_are_told() {
    let (house, first) = torn_house();
    let ran = house.run(&["kv"]);
    let gaps: Vec<&str> = ran.stdout.lines().filter(|line| line.starts_with("-- ")).collect();
    let expected = [
        format!(
            "-- kv: {} events are missing here (seq {} to {}); 1 part of a packed file here is damaged",
            first[3] - first[1],
            first[1],
            first[3] - 1
        ),
        format!("-- kv: 1 event is missing here (seq {}); 1 line here is no record", first[3] + 1),
    ];
    assert_eq!(gaps, expected);
    let at = ran.stdout.lines().position(|line| line == expected[1]).unwrap();
    let around: Vec<&str> = ran.stdout.lines().skip(at - 1).step_by(2).take(2).collect();
    let message = |seq: u64| format!("  m{} ", seq - 1);
    assert!(
        around[0].contains(&message(first[3])) && around[1].contains(&message(first[3] + 2)),
        "{around:?}"
    );
    let told: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].contains("1 line is not a record")
            && told[1].contains(".gz: member 1 at byte 0 is damaged: "),
        "{told:?}"
    );
    let reverse = house.run(&["kv", "--reverse"]).stdout;
    let reversed: Vec<&str> = reverse.lines().rev().collect();
    assert_eq!(reversed, ran.stdout.lines().collect::<Vec<_>>());
    // Also where a filter hides the events around, and as JSON on standard error.
    let none = house.run(&["kv", "--event", "exited"]).stdout;
    let (missing, from, to) = (first[3] - first[1] + 1, first[1], first[3] + 1);
    let together = format!("-- kv: {missing} events are missing here (between seq {from} and {to}); 1 line");
    assert!(none.starts_with(&together) && none.lines().count() == 1, "{none}");
    let json = house.run(&["kv", "--json"]);
    assert!(json.stdout.lines().all(|line| line.starts_with('{')));
    assert!(json.stderr.contains(&format!("{missing} numbers are missing")), "{}", json.stderr);
}

#[test]
fn packed_files_are_shown_as_any_other() {
    let house = House::new();
    house.write("kv", FILE_NAME, (0..30).map(|n| said(format!("m{n} {}", "x".repeat(9000)))));
    let all: [&[&str]; 5] = [
        &["-n", "100"],
        &["-n", "100", "--reverse"],
        &["-n", "12"],
        &["--event", "stdout", "-n", "3"],
        &["--json"],
    ];
    let before = all.map(|words| house.run(words).stdout);
    let files = rpc_plugin_record::segments(&house.folder("kv"), FILE_NAME).unwrap();
    for first_seq in files.iter().filter_map(|file| file.first_seq).take(3) {
        house.pack("kv", first_seq);
    }
    for (words, before) in all.iter().zip(before) {
        let ran = house.run(words);
        assert_eq!((ran.stdout, &*ran.stderr), (before, ""), "{words:?}");
    }
    let summary: Value = serde_json::from_str(&house.run(&["--summary", "--json"]).stdout).unwrap();
    let kv = &summary["streams"][0];
    assert_eq!((&kv["events"], &kv["missing"], &kv["damaged_parts"]), (&json!(30), &json!(0), &json!(0)));
    assert_eq!((&kv["first_seq"], &kv["files"]), (&json!(1), &json!(5)));
}

#[test]
fn a_summary_counts_events_and_faults() {
    let (house, first) = torn_house();
    house.write(
        "",
        FILE_NAME,
        [Entry::new(EventKind::HostStarted).at(ago(9000)), Entry::new(EventKind::GaveUp)],
    );
    let ran = house.run(&["--all", "--summary", "--json"]);
    let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    let kept = 30 - (first[3] - first[1]) - 1;
    let missing = 30 - kept;
    assert_eq!(summary["events"], kept + 2);
    assert_eq!(summary["by_level"], json!({"error": 1, "info": kept + 1}));
    assert_eq!(summary["by_event"], json!({"gave_up": 1, "host_started": 1, "stdout": kept}));
    let (daemon, kv) = (&summary["streams"][0], &summary["streams"][1]);
    assert_eq!(summary["first_time"], daemon["first_time"]);
    assert_eq!(
        (&daemon["errors"], &daemon["missing"], &daemon["plugin_id"]),
        (&json!(1), &json!(0), &Value::Null)
    );
    for (name, expected) in [
        ("plugin_id", json!("kv")),
        ("events", json!(kept)),
        ("first_seq", json!(1)),
        ("last_seq", json!(30)),
        ("gaps", json!(2)),
        ("missing", json!(missing)),
        ("corrupt_lines", json!(1)),
        ("damaged_parts", json!(1)),
        ("files", json!(4)),
    ] {
        assert_eq!(kv[name], expected, "{name}");
    }
    let text = house.run(&["--all", "--summary", "--level", "error"]).stdout;
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        (rows[0][0], rows[1][0], rows[1][1], rows[2][0], rows[2][1]),
        ("RECORD", "daemon", "1", "kv", "0")
    );
    assert!(rows.contains(&vec!["gave_up", "1"]) && !text.contains("host_started"), "{text}");
}

#[test]
fn texts_of_several_lines_go_on_below_their_event() {
    let house = House::new();
    let traceback =
        said("panicked at x:\n  2026-01-01T00:00:00.000Z  info  \u{1b}[2J\nend").level(Level::Error);
    let exit = Entry::new(EventKind::Exited)
        .generation(Generation::try_from(7).unwrap())
        .message("it ended")
        .details_of(&json!({"stderr_tail": ["first", "\u{9b}last"]}));
    house.write("kv", FILE_NAME, [traceback, exit]);
    let ran = house.run(&[]);
    let lines: Vec<&str> = ran
        .stdout
        .lines()
        .map(|line| line.get(26..).filter(|_| line.starts_with('2')).unwrap_or(line))
        .collect();
    let expected = [
        "error  stdout   kv    stdout  panicked at x:",
        "    |   2026-01-01T00:00:00.000Z  info  \\x1b[2J",
        "    | end",
        "info   kernel   kv#7  exited  it ended",
        "    | first",
        "    | \\x9blast",
    ];
    assert_eq!(lines, expected);
    let colour = |variables: &[(&str, &str)], words: &[&str]| {
        let run = Run { is_terminal: true, variables, ..Run::new(&house.0.0) };
        run.run(&[&["logs"], words].concat()).stdout.contains("\u{1b}[31merror\u{1b}[0m")
    };
    assert!(colour(&[], &[]));
    assert!(!colour(&[("NO_COLOR", "1")], &[]) && !colour(&[], &["--no-color"]) && !colour(&[], &["--json"]));
}
