//! The record under threads, bad folders, torn lines and too much of everything.

use super::files::{BACKLOG_BYTES_MAX, Files, OPEN_MAX, drop_whole_lines};
use super::*;
use nix::sys::stat::Mode;
use rpc_plugin_wire::event::{EventKind, Level, Record};
use rpc_plugin_wire::{Generation, PluginId};
use serde_json::value::RawValue;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::SystemTime;

const LONG: Duration = Duration::from_secs(20);

/// A folder of its own for one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("rps-eventlog-{test}-{:016x}", fastrand::u64(..)));
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn file(&self, whose: &str) -> PathBuf {
        self.0.join(whose).join(FILE_NAME)
    }

    fn records(&self, whose: &str) -> Vec<Record> {
        records(&fs::read(self.file(whose)).unwrap())
    }

    fn messages(&self, whose: &str) -> Vec<String> {
        self.records(whose).into_iter().map(|record| record.message).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn records(bytes: &[u8]) -> Vec<Record> {
    assert!(bytes.is_empty() || bytes.ends_with(b"\n"));
    let text = std::str::from_utf8(bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn id(text: &str) -> PluginId {
    text.parse().unwrap()
}

fn said(plugin: &str, message: impl Into<String>) -> Entry {
    Entry::new(EventKind::Stdout).plugin(id(plugin)).message(message)
}

/// A log whose writer never takes anything.
fn stalled(queue_max: usize) -> (EventLog, Receiver<Item>) {
    let (queue, items) = bounded(queue_max);
    let ended = bounded(0).1;
    let handle = Handle { queue, ended, thread: std::thread::spawn(|| {}) };
    (EventLog { inner: Arc::new(Inner { counts: Arc::default(), writer: Some(handle) }) }, items)
}

#[test]
fn events_go_to_their_file_in_order_with_every_member() {
    let folder = Folder::new("order");
    let log = EventLog::start(&folder.0, 1000).unwrap();
    log.record(Entry::new(EventKind::HostStarted).at(SystemTime::UNIX_EPOCH).message("here"));
    for n in 0..100 {
        log.record(said("echo", format!("e{n}")));
        log.record(said("kv", format!("k{n}")));
    }
    let full = Entry::new(EventKind::Exited)
        .plugin(id("echo"))
        .generation(Generation::FIRST)
        .pid(42)
        .level(Level::Error)
        .socket_path("/run/x/echo/echo.sock")
        .method("echo.say")
        .message("ended \u{1b}[31m\n")
        .error("signal 9")
        .reason("killed")
        .details_of(&serde_json::json!({"status": null}));
    log.record(full);
    assert!(log.flush(LONG));
    assert_eq!((log.written(), log.dropped(), log.write_errors()), (202, 0, 0));

    let host = fs::read_to_string(folder.file("")).unwrap();
    assert_eq!(
        host,
        "{\"time\":\"1970-01-01T00:00:00.000Z\",\"level\":\"info\",\"component\":\"runtime\",\
         \"event\":\"host_started\",\"message\":\"here\"}\n"
    );
    let expected: Vec<String> = (0..100).map(|n| format!("k{n}")).collect();
    assert_eq!(folder.messages("kv"), expected);
    let last = folder.records("echo").pop().unwrap();
    assert_eq!(
        (last.level.as_str(), last.component.as_str(), last.event.as_str()),
        ("error", "kernel", "exited")
    );
    assert_eq!((last.pid, last.generation_id), (Some(42), Some(Generation::FIRST)));
    assert_eq!(last.details.unwrap().get(), "{\"status\":null}");
    let raw = fs::read(folder.file("echo")).unwrap();
    assert!(!raw.contains(&0x1b), "control characters are escaped");
}

#[test]
fn events_of_several_threads_are_all_there_each_thread_in_its_order() {
    let folder = Folder::new("threads");
    let log = EventLog::start(&folder.0, 10_000).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let log = log.clone();
            scope.spawn(move || (0..500).for_each(|n| log.record(said("p", format!("{thread} {n}")))));
        }
    });
    drop(log);
    let messages = folder.messages("p");
    assert_eq!(messages.len(), 8 * 500);
    for thread in 0..8 {
        let prefix = format!("{thread} ");
        let own: Vec<&str> = messages.iter().filter_map(|m| m.strip_prefix(&prefix)).collect();
        assert!(own.iter().enumerate().all(|(n, text)| *text == n.to_string()), "thread {thread}");
    }
}

#[test]
fn dropping_the_last_handle_writes_what_waits_and_no_earlier_one_does() {
    let folder = Folder::new("drain");
    let log = EventLog::start(&folder.0, 10_000).unwrap();
    let other = log.clone();
    (0..3000).for_each(|n| log.record(said("p", n.to_string())));
    drop(log);
    other.record(said("p", "last"));
    drop(other);
    assert_eq!(folder.messages("p").len(), 3001);
}

#[test]
fn a_full_queue_drops_counts_and_never_blocks() {
    let (log, items) = stalled(3);
    (0..10).for_each(|n| log.record(said("p", n.to_string())));
    assert_eq!((log.dropped(), items.len()), (7, 3));
    assert!(!log.flush(Duration::from_millis(5)));
}

#[test]
fn few_large_events_are_bounded_as_many_small_ones_are() {
    let (log, items) = stalled(100_000);
    let large = "x".repeat(200_000);
    (0..400).for_each(|_| log.record(said("p", large.clone())));
    let held: usize =
        items.try_iter().map(|item| if let Item::Event(e) = item { e.bytes() } else { 0 }).sum();
    assert!(held <= QUEUE_BYTES_MAX, "{held}");
    assert!(log.dropped() > 0 && log.dropped() < 400, "{}", log.dropped());
}

#[test]
fn a_file_that_cannot_be_written_is_counted_and_tried_again() {
    let folder = Folder::new("unwritable");
    let log = EventLog::start(&folder.0, 1000).unwrap();
    // A file where the plugin's folder should be keeps even root out.
    fs::write(folder.0.join("p"), "in the way").unwrap();
    log.record(said("p", "one"));
    log.record(said("q", "fine"));
    assert!(!log.flush(LONG));
    assert!(log.write_errors() > 0);
    assert_eq!((folder.messages("q"), log.written()), (vec!["fine".to_owned()], 1));
    log.record(said("p", "two"));
    assert!(!log.flush(LONG));
    fs::remove_file(folder.0.join("p")).unwrap();
    assert!(log.flush(LONG));
    assert_eq!(folder.messages("p"), ["one", "two"]);
    assert_eq!(log.dropped(), 0);
}

#[test]
fn a_file_that_failed_is_tried_again_without_a_new_event() {
    let folder = Folder::new("retry");
    let log = EventLog::start(&folder.0, 1000).unwrap();
    fs::write(folder.0.join("p"), "in the way").unwrap();
    log.record(said("p", "one"));
    assert!(!log.flush(LONG));
    fs::remove_file(folder.0.join("p")).unwrap();
    let end = Instant::now() + LONG;
    while log.written() == 0 {
        assert!(Instant::now() < end, "never tried again");
        std::thread::yield_now();
    }
    assert_eq!(folder.messages("p"), ["one"]);
}

#[test]
fn what_was_lost_is_told_in_the_record_of_the_host() {
    let folder = Folder::new("gap");
    let log = EventLog::start(&folder.0, 1000).unwrap();
    fs::write(folder.0.join("p"), "in the way").unwrap();
    log.record(said("p", "one"));
    log.record(said("p", "two"));
    drop(log);
    let told = folder.records("");
    assert_eq!((told.len(), told[0].event.as_str()), (1, "host_fault"));
    assert_eq!(told[0].message, "2 events were not recorded");
    assert!(told[0].error.as_ref().unwrap().contains("/p/events.jsonl: "), "{:?}", told[0].error);
}

#[test]
fn a_torn_last_line_is_ended_before_the_next() {
    let folder = Folder::new("torn");
    fs::create_dir(folder.0.join("p")).unwrap();
    fs::write(folder.file("p"), "{\"whole\":1}\n{\"torn\":").unwrap();
    let log = EventLog::start(&folder.0, 10).unwrap();
    log.record(said("p", "one"));
    assert!(log.flush(LONG));
    log.record(said("p", "two"));
    drop(log);
    let text = fs::read_to_string(folder.file("p")).unwrap();
    let rest = text.strip_prefix("{\"whole\":1}\n{\"torn\":\n").expect("only a line end was added");
    assert_eq!(records(rest.as_bytes()).len(), 2);
}

#[test]
fn after_a_partial_write_the_lines_that_are_not_whole_stay() {
    // (lines, prepended line end, bytes written, what stays)
    let table: [(&str, bool, usize, &str); 8] = [
        ("aa\nbb\n", false, 0, "aa\nbb\n"),
        ("aa\nbb\n", false, 2, "aa\nbb\n"),
        ("aa\nbb\n", false, 3, "bb\n"),
        ("aa\nbb\n", false, 5, "bb\n"),
        ("aa\nbb\n", false, 6, ""),
        ("\naa\n", true, 0, "aa\n"),
        ("\naa\n", true, 1, "aa\n"),
        ("\naa\n", true, 4, ""),
    ];
    for (text, prepended, written, stays) in table {
        let mut lines = text.as_bytes().to_vec();
        drop_whole_lines(&mut lines, written, prepended);
        assert_eq!(lines, stays.as_bytes(), "{text:?} {written}");
    }
}

#[test]
fn links_and_pipes_in_the_way_are_refused_and_left_alone() {
    let folder = Folder::new("links");
    let victim = folder.0.join("victim");
    fs::write(&victim, "untouched").unwrap();
    fs::create_dir(folder.0.join("elsewhere")).unwrap();
    fs::create_dir(folder.0.join("link")).unwrap();
    symlink(&victim, folder.file("link")).unwrap();
    symlink(folder.0.join("elsewhere"), folder.0.join("dirlink")).unwrap();
    fs::create_dir(folder.0.join("fifo")).unwrap();
    nix::unistd::mkfifo(&folder.file("fifo"), Mode::S_IRWXU).unwrap();

    let log = EventLog::start(&folder.0, 10).unwrap();
    for plugin in ["link", "dirlink", "fifo"] {
        log.record(said(plugin, "secret"));
    }
    assert!(!log.flush(LONG));
    assert_eq!((log.write_errors(), log.written()), (3, 0));
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    assert_eq!(fs::read_dir(folder.0.join("elsewhere")).unwrap().count(), 0);

    let linked = folder.0.join("linked-runtime");
    symlink(folder.0.join("elsewhere"), &linked).unwrap();
    let error = EventLog::start(&linked, 10).unwrap_err().to_string();
    assert!(error.contains("linked-runtime"), "{error}");
}

#[test]
fn files_and_folders_are_for_the_owner_only() {
    let folder = Folder::new("modes");
    let log = EventLog::start(&folder.0, 10).unwrap();
    log.record(said("p", "one"));
    assert!(log.flush(LONG));
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(folder.file("p")), mode(folder.0.join("p"))), (0o600, 0o700));
}

#[test]
fn a_removed_file_and_a_replaced_folder_are_noticed() {
    let folder = Folder::new("removed");
    let runtime = folder.0.join("run");
    fs::create_dir(&runtime).unwrap();
    let log = EventLog::start(&runtime, 10).unwrap();
    log.record(said("p", "one"));
    assert!(log.flush(LONG));
    fs::remove_dir_all(runtime.join("p")).unwrap();
    log.record(said("p", "two"));
    assert!(log.flush(LONG));
    assert_eq!(folder.messages("run/p"), ["two"]);

    fs::remove_dir_all(&runtime).unwrap();
    log.record(said("p", "three"));
    assert!(!log.flush(LONG));
    fs::create_dir(&runtime).unwrap();
    assert!(log.flush(LONG));
    assert_eq!(folder.messages("run/p"), ["three"]);
}

#[test]
fn many_plugins_do_not_hold_many_files_open() {
    let folder = Folder::new("many");
    let mut files = Files::open(&folder.0).unwrap();
    for round in 0..3 {
        for n in 0..3 * OPEN_MAX {
            assert!(files.append(Some(id(&format!("p{n}"))), format!("{{\"n\":{round}}}\n").as_bytes()));
        }
        assert_eq!(files.write(false).errors, 0);
        assert_eq!(files.open_count(), OPEN_MAX);
    }
    for n in 0..3 * OPEN_MAX {
        let text = fs::read_to_string(folder.file(&format!("p{n}"))).unwrap();
        assert_eq!(text, "{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n");
    }
}

#[test]
fn what_waits_for_a_file_that_fails_is_bounded_and_harms_no_other() {
    let folder = Folder::new("backlog");
    fs::write(folder.0.join("p"), "in the way").unwrap();
    let mut files = Files::open(&folder.0).unwrap();
    let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
    let mut taken = 0;
    while files.append(Some(id("p")), &line) {
        taken += 1;
        assert_eq!(files.write(false).written, 0);
        assert!(taken * line.len() <= BACKLOG_BYTES_MAX, "no bound");
    }
    assert_eq!(taken * line.len(), BACKLOG_BYTES_MAX);
    assert!(files.append(Some(id("q")), &line));
    assert_eq!(files.write(false).written, 1);
    assert_eq!(files.abandon(), taken as u64);
    assert!(!files.has_backlog());
}

#[test]
fn every_line_is_one_object_and_not_too_long() {
    let ids = || Entry::new(EventKind::AuthenticationFailed).plugin(id(&"i".repeat(64))).pid(u32::MAX);
    let generation = Generation::try_from(u64::MAX).unwrap();
    for unit in ["x", "\u{1}", "\"", "€", "🦀", "\n"] {
        for bytes in [10, 3000, 70_000, 1_000_000] {
            let text = unit.repeat(bytes / unit.len());
            let entry = ids().generation(generation).socket_path(&text).method(&text).message(&text);
            let mut entry = entry.error(&text).reason(&text).details_of(&text);
            entry.fit();
            let mut line = Vec::new();
            assert!(entry.write_line(&mut line));
            assert!(line.len() <= LINE_BYTES_MAX, "{unit:?} {bytes}: {}", line.len());
            let record = &records(&line)[0];
            assert_eq!(record.message.contains("bytes cut]"), bytes >= 70_000, "{unit:?} {bytes}");
            if bytes >= 70_000 {
                assert!(line.len() > LINE_BYTES_MAX / 3, "{unit:?} {bytes}: cut too much: {}", line.len());
            }
        }
    }
}

#[test]
fn a_text_that_fits_is_not_cut_however_long() {
    let mut entry = said("p", "x".repeat(60_000));
    entry.fit();
    let mut line = Vec::new();
    assert!(entry.write_line(&mut line));
    assert_eq!(records(&line)[0].message.len(), 60_000);
}

#[test]
fn details_with_line_breaks_and_times_out_of_range_stay_one_line() {
    let pretty = RawValue::from_string("{\n\t\"a\":\r\n[1,\n2]\n}".to_owned()).unwrap();
    let before = SystemTime::UNIX_EPOCH - Duration::from_secs(9);
    let after = SystemTime::UNIX_EPOCH + Duration::from_secs(300_000_000_000);
    for (at, time) in [(before, "1970-01-01T00:00:00.000Z"), (after, "9999-12-31T23:59:59.000Z")] {
        let mut line = Vec::new();
        assert!(said("p", "m").at(at).details(pretty.clone()).write_line(&mut line));
        let record = &records(&line)[0];
        assert_eq!(record.time, time);
        let details: serde_json::Value =
            serde_json::from_str(record.details.as_ref().unwrap().get()).unwrap();
        assert_eq!(details, serde_json::json!({"a": [1, 2]}));
    }
}

#[test]
fn a_disabled_log_takes_everything_and_keeps_nothing() {
    let log = EventLog::disabled();
    log.record(said("p", "one"));
    assert!(log.flush(Duration::ZERO));
    assert_eq!((log.dropped(), log.written()), (0, 0));
}
