//! `rpcpluginctl logs` on files as daemons leave them: whole, torn, huge, rotated, hostile.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::ctl::{Folder, Ran, Run};
use rpc_plugin_system::ctl::Exit;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

fn record(seq: u64, second: u32, plugin: Option<&str>, message: &str) -> String {
    let plugin =
        plugin.map_or(String::new(), |id| format!(r#""plugin_id":"{id}","generation_id":3,"pid":9,"#));
    format!(
        r#"{{"time":"2026-01-01T00:00:{second:02}.000Z","seq":{seq},"level":"warn","component":"kernel","event":"exited",{plugin}"message":"{message}","reason":"r","later":1}}"#
    )
}

fn append(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// How each record begins, and how the last line of one ends.
const TORN: &str = "{\"time\":\"2026";

/// Two plugins and a daemon that spoke in turn; one torn and one foreign line.
struct House {
    folder: Folder,
    daemon: PathBuf,
    a: PathBuf,
    b: PathBuf,
}

impl House {
    fn new() -> House {
        let folder = Folder::new();
        let (daemon, a) = (folder.0.join("events.jsonl"), folder.0.join("a/events.jsonl"));
        let b = folder.0.join("b/events.jsonl");
        let lines = |lines: &[(u64, u32)], plugin| -> String {
            lines
                .iter()
                .map(|(seq, second)| record(*seq, *second, plugin, &format!("m{second}")) + "\n")
                .collect()
        };
        append(&daemon, &lines(&[(1, 0), (2, 5)], None));
        append(&a, &lines(&[(1, 1), (2, 3)], Some("a")));
        append(&a, "not a record\n");
        append(&a, &lines(&[(3, 6)], Some("a")));
        append(&b, &lines(&[(1, 2), (2, 4)], Some("b")));
        append(&b, TORN);
        std::fs::create_dir(folder.0.join("empty")).unwrap();
        std::fs::create_dir(folder.0.join("not a plugin")).unwrap();
        House { folder, daemon, a, b }
    }

    fn run(&self, words: &[&str]) -> Ran {
        Run::new(&self.folder.0).run(&[&["logs"], words].concat())
    }
}

/// The messages printed, in order.
fn messages(ran: &Ran) -> Vec<&str> {
    ran.stdout.lines().map(|line| line.split(' ').find(|word| word.starts_with('m')).unwrap()).collect()
}

#[test]
fn the_newest_records_come_in_the_order_of_time() {
    let house = House::new();
    let table: [(&[&str], &[&str], u32); 10] = [
        (&["--all"], &["m0", "m1", "m2", "m3", "m4", "m5", "m6"], 1),
        (&["--all", "-n", "3"], &["m4", "m5", "m6"], 1),
        (&["--all", "-r", "-n", "3"], &["m6", "m5", "m4"], 1),
        (&["--all", "--limit", "0"], &[], 0),
        (&["a"], &["m1", "m3", "m6"], 1),
        (&["a", "--reverse"], &["m6", "m3", "m1"], 1),
        (&["--plugin-id", "a", "-n1"], &["m6"], 0),
        (&["--daemon"], &["m0", "m5"], 0),
        (&["b", "-n2"], &["m2", "m4"], 1),
        (&["empty"], &[], 1),
    ];
    for (words, expected, warnings) in table {
        let ran = house.run(words);
        assert_eq!((ran.exit, messages(&ran)), (Exit::Ok, expected.to_vec()), "{words:?} {}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), warnings as usize, "{words:?} {}", ran.stderr);
    }
    let ran = house.run(&["a"]);
    let first = "2026-01-01T00:00:01.000Z  warn   kernel   a#3  exited  m1 (pid 9; reason: r)\n";
    assert!(ran.stdout.starts_with(first), "{}", ran.stdout);
    let warning = format!("rpcpluginctl: warning: 1 line is not a record, and skipped: {:?}\n", house.a);
    assert_eq!(ran.stderr, warning);
    let all = house.run(&["--all"]).stdout;
    assert!(
        all.contains("  kernel   daemon  exited  m0") && all.contains("  kernel   a#3     exited  m1"),
        "{all}"
    );
    let warning = house.run(&["--all"]).stderr;
    let expected = format!("2 lines are not records, and skipped: 1 in {:?}, 1 in {:?}\n", house.a, house.b);
    assert!(warning.ends_with(&expected), "{warning}");
}

#[test]
fn the_only_plugin_need_not_be_named() {
    let house = House::new();
    let ran = house.run(&[]);
    assert_eq!((ran.exit, &*ran.stdout), (Exit::Usage, ""));
    assert!(ran.stderr.contains("there are 3 plugins (a, b, empty); --all shows"), "{}", ran.stderr);
    for name in ["b", "empty"] {
        std::fs::remove_dir_all(house.folder.0.join(name)).unwrap();
    }
    assert_eq!(messages(&house.run(&[])), ["m1", "m3", "m6"]);
    std::fs::remove_dir_all(house.folder.0.join("a")).unwrap();
    let ran = house.run(&[]);
    assert_eq!((ran.exit, &*ran.stdout), (Exit::UnknownPlugin, ""));
    assert!(
        ran.stderr.contains("no plugin has a folder") && ran.stderr.contains("--daemon"),
        "{}",
        ran.stderr
    );
}

#[test]
fn json_is_one_record_a_line_as_it_was_written() {
    let house = House::new();
    assert_eq!(house.run(&["a", "--json"]).stdout, house.run(&["a", "--format", "json"]).stdout);
    let ran = house.run(&["a", "--json"]);
    let expected: String = [(1, 1), (2, 3), (3, 6)]
        .map(|(seq, second)| record(seq, second, Some("a"), &format!("m{second}")) + "\n")
        .concat();
    assert_eq!((ran.exit, ran.stdout), (Exit::Ok, expected));
    let warning: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
    assert!(warning["warning"]["message"].as_str().unwrap().contains("is not a record"));
}

#[test]
fn what_is_not_there_is_told() {
    let house = House::new();
    let missing = house.folder.0.join("missing");
    let ran = house.run(&["--runtime-dir", missing.to_str().unwrap()]);
    assert_eq!(ran.exit, Exit::Unreachable);
    assert!(ran.stderr.contains("no runtime folder at"), "{}", ran.stderr);
    let ran = house.run(&["nobody"]);
    assert_eq!(ran.exit, Exit::UnknownPlugin);
    assert!(ran.stderr.contains("no plugin \"nobody\""), "{}", ran.stderr);
}

#[test]
fn hostile_records_move_neither_terminal_nor_client() {
    let house = House::new();
    append(&house.daemon, "\n\u{9b}2J\n");
    append(&house.daemon, &(record(3, 7, None, "\\u001b[2J\u{9b}\u{202e}") + "\n"));
    append(&house.daemon, &("[".repeat(100_000) + "\n"));
    append(&house.daemon, &("x".repeat(3 << 20) + "\n"));
    append(&house.daemon, "{\"time\":\"\u{0}\"}\n");
    for json in [false, true] {
        let ran = house.run(if json { &["--daemon", "--json"] } else { &["--daemon"] });
        assert_eq!((ran.exit, ran.stdout.lines().count()), (Exit::Ok, 3), "{}", ran.stderr);
        let is_safe = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
        assert!(ran.stdout.chars().all(is_safe) && ran.stderr.chars().all(is_safe));
        assert!(ran.stderr.contains("5 lines are not records"), "{}", ran.stderr);
    }
    for (name, make) in [
        ("link", (|path: &Path| std::os::unix::fs::symlink("/etc/passwd", path).unwrap()) as fn(&Path)),
        ("fifo", |path: &Path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap()),
    ] {
        let folder = house.folder.0.join(name);
        std::fs::create_dir(&folder).unwrap();
        make(&folder.join("events.jsonl"));
        let ran = house.run(&[name]);
        assert_eq!((ran.exit, &*ran.stdout), (Exit::Failed, ""), "{name}");
        assert!(ran.stderr.contains("cannot read"), "{}", ran.stderr);
    }
    // They keep nobody from the others.
    for words in [&["--all"][..], &["--all", "--follow", "--timeout", "0"], &["--all", "--summary"]] {
        let ran = house.run(words);
        assert_eq!((ran.exit, ran.stdout.contains("exited")), (Exit::Failed, true), "{words:?}");
        assert_eq!(ran.stderr.matches("cannot read").count(), 2, "{words:?} {}", ran.stderr);
        assert!(ran.stderr.contains("2 of 6 records cannot be read"), "{words:?} {}", ran.stderr);
    }
}

/// What to see, and what to do then.
type Step<'a> = (&'static str, Box<dyn FnOnce() + 'a>);

/// Standard output that does the next thing once it has seen a text, and in the end goes away.
struct Reader<'a> {
    seen: String,
    steps: Vec<Step<'a>>,
}

impl Write for Reader<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.seen.push_str(std::str::from_utf8(bytes).unwrap());
        if self.steps.first().is_some_and(|(text, _)| self.seen.contains(text)) {
            (self.steps.remove(0).1)();
        }
        if self.steps.is_empty() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn following_goes_on_through_rotation_new_plugins_and_unfinished_lines() {
    let house = House::new();
    let new = house.folder.0.join("new/events.jsonl");
    let mut reader = Reader { seen: String::new(), steps: Vec::new() };
    reader.steps = vec![
        ("m6", Box::new(|| append(&house.a, &(record(4, 10, Some("a"), "m10") + "\n")))),
        (
            "m10",
            Box::new(|| {
                let rest = record(3, 11, Some("b"), "m11").split_off(TORN.len());
                append(&house.b, &format!("{rest}\nforeign\n"));
            }),
        ),
        (
            "m11",
            Box::new(|| {
                std::fs::rename(&house.a, house.a.with_extension("jsonl.1")).unwrap();
                append(&house.a, &(record(5, 12, Some("a"), "m12") + "\n"));
            }),
        ),
        ("m12", Box::new(|| append(&new, &(record(1, 13, Some("new"), "m13") + "\n")))),
        ("m13", Box::new(|| ())),
    ];
    // The timeout only ends a run that would hang.
    let words = ["logs", "--all", "--follow", "--timeout", "60s"];
    let (exit, stderr) = Run::new(&house.folder.0).run_into(&words, &mut reader);
    assert_eq!((exit, reader.steps.len()), (Exit::Ok, 0), "{}", reader.seen);
    assert_eq!(reader.seen.lines().count(), 11, "{}", reader.seen);
    // The foreign lines of `a` and `b`; the torn line of `b` became a record.
    assert_eq!(stderr.lines().count(), 2, "{stderr}");
}

#[test]
fn following_ends_at_its_timeout_with_success() {
    let house = House::new();
    let ran = house.run(&["--daemon", "-f", "--timeout", "1ms"]);
    assert_eq!((ran.exit, messages(&ran)), (Exit::Ok, vec!["m0", "m5"]));
}
