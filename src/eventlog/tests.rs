//! The record under threads, bad folders, torn lines and too much of everything.

use super::*;
use crate::eventlog::lanes::{BACKLOG_BYTES_MAX, OPEN_MAX, SyncScope};
use crate::eventlog::progress::LogProgress;
use crate::eventlog::queue::QUEUE_BYTES_MAX;
use nix::sys::stat::Mode;
use rpc_plugin_wire::event::{EventKind, Level, Record};
use rpc_plugin_wire::{Generation, PluginId};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

pub(super) const LONG: Duration = Duration::from_secs(20);

/// A folder of its own for one test, removed at its end.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new(test: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("rps-eventlog-{test}-{:016x}", fastrand::u64(..)));
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    pub(super) fn file(&self, whose: &str) -> PathBuf {
        self.0.join(whose).join(FILE_NAME)
    }

    pub(super) fn records(&self, whose: &str) -> Vec<Record> {
        records(&fs::read(self.file(whose)).unwrap())
    }

    pub(super) fn messages(&self, whose: &str) -> Vec<String> {
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

pub(super) fn id(text: &str) -> PluginId {
    text.parse().unwrap()
}

pub(super) fn said(plugin: &str, message: impl Into<String>) -> Entry {
    Entry::new(EventKind::Stdout).plugin(id(plugin)).message(message.into())
}

/// A log on the system's files, with room for so many events.
fn start(folder: &Path, queue_max: usize) -> io::Result<EventLog> {
    EventLog::start(folder, &LogOptions { queue_max, ..LogOptions::default() })
}

impl EventLog {
    /// A log whose writer never takes anything.
    pub(crate) fn stalled(queue_max: usize) -> EventLog {
        let handle = RecordThread::start("stalled", || ()).unwrap();
        EventLog {
            inner: Arc::new(LogInner {
                written: Arc::default(),
                trouble: Arc::default(),
                shared: Arc::new(LogShared::new(queue_max)),
                durability: Durability::Relaxed,
                hold_max: LONG,
                writer: Some(handle),
            }),
        }
    }
}

fn lanes(folder: &Folder) -> Lanes {
    Lanes::new(&folder.0, LogOptions::default().stream(), LONG, Arc::new(SystemDisk), Arc::default())
}

#[test]
fn events_go_to_their_file_in_order_with_every_member() {
    let folder = Folder::new("order");
    let log = start(&folder.0, 1000).unwrap();
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
        "{\"time\":\"1970-01-01T00:00:00.000Z\",\"seq\":1,\"level\":\"info\",\"component\":\"runtime\",\
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
    let log = start(&folder.0, 20_000).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let log = log.clone();
            scope.spawn(move || {
                for n in 0..500 {
                    log.record(said("p", format!("{thread} {n}")));
                }
            });
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
    let log = start(&folder.0, 10_000).unwrap();
    let other = log.clone();
    (0..3000).for_each(|n| {
        log.record(said("p", n.to_string()));
    });
    drop(log);
    other.record(said("p", "last"));
    drop(other);
    assert_eq!(folder.messages("p").len(), 3001);
}

#[test]
fn a_full_queue_drops_counts_and_never_blocks() {
    let log = EventLog::stalled(8);
    (0..10).for_each(|n| {
        log.record(said("p", n.to_string()));
    });
    // One party gets half of three quarters.
    assert_eq!((log.dropped(), log.inner.shared.queue.waiting().0), (7, 3));
    assert!(!log.flush(Duration::from_millis(5)));
}

#[test]
fn few_large_events_are_bounded_as_many_small_ones_are() {
    let log = EventLog::stalled(100_000);
    let large = "x".repeat(200_000);
    (0..400).for_each(|_| {
        log.record(said("p", large.clone()));
    });
    let held = log.inner.shared.queue.waiting().1;
    assert!(held <= QUEUE_BYTES_MAX, "{held}");
    assert!(log.dropped() > 0 && log.dropped() < 400, "{}", log.dropped());
}

#[test]
fn a_file_that_cannot_be_written_is_counted_and_tried_again() {
    let folder = Folder::new("unwritable");
    let log = start(&folder.0, 1000).unwrap();
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
    let log = start(&folder.0, 1000).unwrap();
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
    let log = start(&folder.0, 1000).unwrap();
    fs::write(folder.0.join("p"), "in the way").unwrap();
    log.record(said("p", "one"));
    log.record(said("p", "two"));
    drop(log);
    let told = folder.records("");
    assert_eq!((told.len(), told[0].event.as_str()), (1, "record_gap"));
    assert_eq!(told[0].message, "2 events were not recorded");
    assert!(told[0].error.as_ref().unwrap().contains("/p: "), "{:?}", told[0].error);
}

#[test]
fn a_torn_last_line_is_removed_and_that_is_recorded() {
    let folder = Folder::new("torn");
    fs::create_dir(folder.0.join("p")).unwrap();
    let whole = "{\"time\":\"2026-01-01T00:00:00.000Z\",\"seq\":7,\"level\":\"info\",\
                 \"component\":\"kernel\",\"event\":\"exited\"}\n";
    fs::write(folder.file("p"), format!("{whole}{{\"torn\":")).unwrap();
    let log = start(&folder.0, 10).unwrap();
    log.record(said("p", "one"));
    assert!(log.flush(LONG));
    log.record(said("p", "two"));
    drop(log);
    let text = fs::read_to_string(folder.file("p")).unwrap();
    let rest = text.strip_prefix(whole).expect("what was whole stays as it was");
    let found = records(rest.as_bytes());
    let seen: Vec<(Option<u64>, &str)> = found.iter().map(|r| (r.seq, r.event.as_str())).collect();
    assert_eq!(seen, [(Some(8), "stdout"), (Some(9), "record_repaired"), (Some(10), "stdout")]);
    let details: serde_json::Value = serde_json::from_str(found[1].details.as_ref().unwrap().get()).unwrap();
    assert_eq!(details["torn_bytes"], 8, "{details}");
    assert_eq!(details["torn"], "{\"torn\":");
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

    let log = start(&folder.0, 10).unwrap();
    for plugin in ["link", "dirlink", "fifo"] {
        log.record(said(plugin, "secret"));
    }
    assert!(!log.flush(LONG));
    // Each once, and perhaps again.
    assert!(log.write_errors() >= 3 && log.written() == 0);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    assert_eq!(fs::read_dir(folder.0.join("elsewhere")).unwrap().count(), 0);

    let linked = folder.0.join("linked-runtime");
    symlink(folder.0.join("elsewhere"), &linked).unwrap();
    let error = start(&linked, 10).unwrap_err().to_string();
    assert!(error.contains("linked-runtime"), "{error}");
}

#[test]
fn files_and_folders_are_for_the_owner_only() {
    let folder = Folder::new("modes");
    let log = start(&folder.0, 10).unwrap();
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
    let log = start(&runtime, 10).unwrap();
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
    let mut lanes = lanes(&folder);
    let progress = LogProgress::default();
    for round in 0..3 {
        for n in 0..3 * OPEN_MAX {
            assert!(lanes.append(Box::new(said(&format!("p{n}"), round.to_string())), Some(1)));
        }
        assert_eq!(lanes.write(Instant::now(), false, SyncScope::Never).errors, 0);
        assert_eq!(lanes.open_count(), OPEN_MAX);
        assert_eq!(lanes.settle(Instant::now(), 1, &progress), (0, 0), "nothing was synced");
    }
    for n in 0..3 * OPEN_MAX {
        let seen = folder.records(&format!("p{n}"));
        let seen: Vec<_> = seen.iter().map(|record| (record.seq, record.message.as_str())).collect();
        assert_eq!(seen, [(Some(1), "0"), (Some(2), "1"), (Some(3), "2")]);
    }
}

#[test]
fn what_waits_for_a_file_that_fails_is_bounded_and_harms_no_other() {
    let folder = Folder::new("backlog");
    fs::write(folder.0.join("p"), "in the way").unwrap();
    let mut lanes = lanes(&folder);
    let text = "x".repeat(10_000);
    let (mut taken, mut bytes) = (0, 0);
    loop {
        let entry = Box::new(said("p", text.clone()));
        let size = entry.bytes();
        if !lanes.append(entry, Some(1)) {
            break;
        }
        (taken, bytes) = (taken + 1, bytes + size);
        assert_eq!(lanes.write(Instant::now(), true, SyncScope::Never).lines, 0);
        assert!(bytes <= BACKLOG_BYTES_MAX, "no bound");
    }
    assert!(bytes > BACKLOG_BYTES_MAX - 2 * text.len(), "{bytes}");
    assert!(lanes.append(Box::new(said("q", text.clone())), Some(2)));
    assert_eq!(lanes.write(Instant::now(), true, SyncScope::Never).lines, 1);
    fs::remove_file(folder.0.join("p")).unwrap();
    assert_eq!(lanes.write(Instant::now(), true, SyncScope::All).lines, taken + 1);
    let last = folder.records("p").pop().unwrap();
    assert_eq!((last.event.as_str(), last.message.as_str()), ("record_gap", "1 event was not recorded"));
    assert!(!lanes.has_backlog());
}

#[test]
fn a_disabled_log_takes_everything_and_keeps_nothing() {
    let log = EventLog::disabled();
    assert_eq!(log.record(said("p", "one")), None);
    assert!(log.flush(Duration::ZERO));
    assert_eq!((log.dropped(), log.written()), (0, 0));
}

/// The system's files, with or without room.
#[derive(Debug, Default)]
struct FullDisk(std::sync::atomic::AtomicBool);

impl Disk for FullDisk {
    fn write(&self, file: &fs::File, bytes: &[u8]) -> io::Result<usize> {
        let is_full = self.0.load(Ordering::SeqCst);
        if is_full { Err(nix::errno::Errno::ENOSPC.into()) } else { SystemDisk.write(file, bytes) }
    }
}

#[test]
fn a_full_disk_is_told_once_tried_again_in_growing_pauses_and_told_again_when_it_has_room() {
    let (folder, disk) = (Folder::new("full"), Arc::new(FullDisk::default()));
    let (told, notice) = (Arc::new(std::sync::Mutex::new(Vec::new())), Arc::new(TroubleNotice::default()));
    let kept = Arc::clone(&told);
    notice.set(Box::new(move |trouble| kept.lock().unwrap().push(format!("{trouble:?}"))));
    let taken = || std::mem::take(&mut *told.lock().unwrap());
    let options = LogOptions::default().stream();
    let mut lanes = Lanes::new(&folder.0, options, Duration::ZERO, disk.clone(), Arc::default())
        .with_trouble(Arc::clone(&notice));
    let mut now = Instant::now();
    let write = |lanes: &mut Lanes, now| {
        let outcome = lanes.write(now, false, SyncScope::All);
        lanes.settle(now, 1, &LogProgress::default());
        outcome.errors
    };
    disk.0.store(true, Ordering::SeqCst);
    for whose in ["p", "q"] {
        assert!(lanes.append(Box::new(said(whose, "1")), None));
    }
    assert_eq!(write(&mut lanes, now), 2);
    let told_of_p = taken();
    let error = "/events.jsonl: No space left on device (ENOSPC); free space on its file system";
    assert!(
        told_of_p[0].starts_with("Began(\"cannot write ") && told_of_p[0].contains(error),
        "{told_of_p:?}"
    );
    assert_eq!(told_of_p.len(), 1, "two files are one disk: {told_of_p:?}");
    assert!(notice.now().unwrap().contains("ENOSPC"));
    // The host's own record does not take it either: whoever reads that is told otherwise.
    assert!(lanes.append(Box::new(Entry::new(EventKind::HostShortage)), None));
    assert_eq!(write(&mut lanes, now), 1, "the others have their time");
    let told_of_host = taken();
    assert!(told_of_host.len() == 1 && told_of_host[0].starts_with("Hidden("), "{told_of_host:?}");
    let mut pauses = Vec::new();
    while pauses.len() < 10 {
        let next = lanes.next_at().unwrap();
        assert_eq!(write(&mut lanes, next - Duration::from_nanos(1)), 0, "before its time");
        pauses.push((next - now).as_millis());
        now = next;
        assert_eq!(write(&mut lanes, now), 3);
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000]);
    assert!(taken().is_empty(), "told once");
    disk.0.store(false, Ordering::SeqCst);
    now = lanes.next_at().unwrap();
    assert_eq!(write(&mut lanes, now), 0);
    assert_eq!((taken(), notice.now()), (vec!["Over".to_owned()], None));
    assert_eq!((folder.messages("p"), folder.records("").len()), (vec!["1".to_owned()], 1));
    assert!(!lanes.has_backlog() && lanes.next_at().is_none());
}

#[test]
fn once_another_folder_has_its_path_a_moved_one_gets_nothing_more() {
    let (folder, moved) = (Folder::new("path"), Folder::new("moved"));
    let log = start(&folder.0, 1000).unwrap();
    let say = |message: &str| {
        log.record(Entry::new(EventKind::HostStarted).message(message.to_owned()));
        log.record(said("echo", message));
        assert!(log.flush(LONG));
    };
    say("before");
    fs::rename(&folder.0, &moved.0).unwrap();
    fs::create_dir(&folder.0).unwrap();
    say("between");
    log.reopen();
    say("after");
    for whose in ["", "echo"] {
        assert_eq!(moved.messages(whose), ["before", "between"]);
        assert_eq!(folder.messages(whose), ["after"]);
        assert_eq!(folder.records(whose).first().and_then(|record| record.seq), Some(3), "numbers go on");
    }
}
