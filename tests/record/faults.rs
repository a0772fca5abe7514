//! The record on a disk that fails: full, read-only, broken, slow, gone; and on a small real one.
//!
//! What always holds: what was called durable is there; what is not there was counted; the log never waits,
//! and goes on when the disk does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::child;
use crate::fixtures::daemon::{Daemon, QUICK, command};
use crate::fixtures::disk::{Faults, FaultyDisk};
use crate::fixtures::world::{World, eventually, signal};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use rpc_plugin_record::{FILE_NAME, Forward, Position, verify};
use rpc_plugin_system::eventlog::{Durability, Entry, EventLog, LogOptions, Settled, Ticket};
use rpc_plugin_wire::event::{EventKind, Level, Record};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(20);

fn options(durability: Durability) -> LogOptions {
    LogOptions { durability, chain: true, files_max: 64, hold_max: LONG, ..LogOptions::default() }
}

fn said(message: impl Into<String>) -> Entry {
    Entry::new(EventKind::Stdout).message(message.into())
}

/// The records; what is none is the beginning of a line that was written again, where a file could not be cut.
fn records(folder: &Path) -> Vec<Record> {
    let mut lines = Forward::new(folder, FILE_NAME, Position::Oldest).unwrap();
    let (mut found, mut torn) = (Vec::new(), 0);
    while let Some(line) = lines.next_line().unwrap() {
        match line.record() {
            Some((record, _)) => found.push(record),
            None => torn += 1,
        }
    }
    assert_eq!(verify(folder, FILE_NAME).unwrap().torn, torn);
    found
}

/// The messages, after a check that the numbers have no gap and the chain holds.
fn messages(folder: &Path) -> Vec<String> {
    let found = records(folder);
    let first = found.first().and_then(|record| record.seq).unwrap_or(1);
    for (expected, record) in (first..).zip(&found) {
        assert_eq!(record.seq, Some(expected), "{record:?}");
    }
    assert_eq!(verify(folder, FILE_NAME).unwrap().fault, None);
    found.into_iter().filter(|record| record.event == "stdout").map(|record| record.message).collect()
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

#[test]
fn each_way_to_fail_is_survived_and_nothing_is_lost_or_doubled() {
    let none = Faults::default;
    let table = [
        ("full", Faults { write: Some(Errno::ENOSPC), ..none() }),
        ("full in the middle of a line", Faults { write: Some(Errno::ENOSPC), room: Some(100), ..none() }),
        (
            "full, and cannot be cut",
            Faults { write: Some(Errno::ENOSPC), room: Some(100), truncate: Some(Errno::EIO), ..none() },
        ),
        ("over quota", Faults { write: Some(Errno::EDQUOT), room: Some(1), ..none() }),
        ("read-only", Faults { write: Some(Errno::EROFS), open: Some(Errno::EROFS), ..none() }),
        ("broken", Faults { write: Some(Errno::EIO), ..none() }),
        ("gone", Faults { open: Some(Errno::ENOENT), write: Some(Errno::ESTALE), ..none() }),
        ("no descriptors", Faults { open: Some(Errno::EMFILE), write: Some(Errno::EIO), ..none() }),
    ];
    for durability in [Durability::Relaxed, Durability::Strict, Durability::None] {
        for (name, faults) in &table {
            let folder = tempfile::tempdir().unwrap();
            let disk = Arc::new(FaultyDisk::default());
            let log = EventLog::start_on(folder.path(), &options(durability), disk.clone()).unwrap();
            let record = |from: usize| -> Vec<Ticket> {
                (from..from + 20).map(|n| log.record(said(n.to_string())).unwrap()).collect()
            };
            let before = record(0);
            assert!(log.flush(LONG), "{name}");
            disk.set(faults.clone());
            let during = record(20);
            assert!(!log.flush(LONG), "{name}: {durability:?}");
            assert!(log.write_errors() > 0);
            disk.heal();
            let after = record(40);
            assert!(log.flush(LONG), "{name}: {durability:?}");
            assert_eq!(messages(folder.path()), numbers(60), "{name}: {durability:?}");
            for ticket in [before, during, after].concat() {
                assert_eq!(log.settled(ticket), Settled::Recorded, "{name}: {durability:?}");
            }
            assert_eq!((log.dropped(), log.not_durable()), (0, 0));
        }
    }
}

#[test]
fn short_writes_leave_whole_lines() {
    for write_bytes_max in [1, 7, 100, 4096] {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(FaultyDisk::default());
        disk.set(Faults { write_bytes_max: Some(write_bytes_max), ..Faults::default() });
        let log = EventLog::start_on(folder.path(), &options(Durability::Relaxed), disk).unwrap();
        (0..50).for_each(|n| assert!(log.record(said(n.to_string())).is_some()));
        assert!(log.flush(LONG));
        assert_eq!(messages(folder.path()), numbers(50), "{write_bytes_max} bytes a write");
    }
}

/// After a failed fdatasync the kernel may have dropped what it was to write, and calls it clean: nothing of
/// it is called durable later, however often syncing succeeds.
#[test]
fn a_failed_sync_is_told_and_never_made_good() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(FaultyDisk::default());
    let log = EventLog::start_on(folder.path(), &options(Durability::Strict), disk.clone()).unwrap();
    let first = log.record(said("0")).unwrap();
    assert_eq!(log.wait(first, LONG), Settled::Recorded);
    disk.set(Faults { sync: Some(Errno::EIO), ..Faults::default() });
    let lost: Vec<Ticket> = (1..4)
        .map(|n| {
            let ticket = log.record(said(n.to_string())).unwrap();
            assert_eq!(log.wait(ticket, LONG), Settled::NotRecorded);
            ticket
        })
        .collect();
    assert_eq!(log.not_durable(), 3);
    disk.heal();
    let last = log.record(said("4")).unwrap();
    assert_eq!(log.wait(last, LONG), Settled::Recorded);
    for ticket in lost {
        assert_eq!(log.settled(ticket), Settled::NotRecorded, "it became durable by itself");
    }
    assert!(log.flush(LONG));
    // They are written all the same; one new file was begun for the whole time of failures.
    assert_eq!(messages(folder.path()), numbers(5));
    assert_eq!(rpc_plugin_record::segments(folder.path(), FILE_NAME).unwrap().len(), 2);
    let gaps: Vec<Record> =
        records(folder.path()).into_iter().filter(|record| record.event == "record_gap").collect();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    let details: serde_json::Value = serde_json::from_str(gaps[0].details.as_ref().unwrap().get()).unwrap();
    assert_eq!(details["unconfirmed"], serde_json::json!([2, 4]), "{details}");
    assert!(gaps[0].error.as_ref().unwrap().contains("Input/output error"), "{gaps:?}");
}

#[test]
fn a_disk_that_hangs_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(FaultyDisk::default());
    let options = LogOptions { queue_max: 16, ..options(Durability::Strict) };
    let log = EventLog::start_on(folder.path(), &options, disk.clone()).unwrap();
    disk.set(Faults { hangs: true, ..Faults::default() });
    let begin = Instant::now();
    let first = log.record(said("0")).unwrap();
    assert_eq!(log.wait(first, Duration::from_millis(20)), Settled::Waiting);
    let taken = (1..1000).filter(|n| log.record(said(n.to_string())).is_some()).count();
    assert!(!log.flush(Duration::from_millis(20)));
    assert!(begin.elapsed() < LONG, "it waited");
    assert_eq!(log.dropped(), 999 - taken as u64);
    assert!(taken < 100, "{taken} were taken");
    disk.heal();
    assert_eq!(log.wait(first, LONG), Settled::Recorded);
    assert!(log.flush(LONG));
    let gap = records(folder.path()).into_iter().find(|record| record.event == "record_gap").unwrap();
    assert_eq!(gap.message, format!("{} events were not recorded", log.dropped()));
}

/// Waits until an operation of the disk does not return.
fn until_it_hangs(disk: &FaultyDisk) {
    let end = Instant::now() + LONG;
    while disk.hanging.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < end, "nothing is synced");
        std::thread::yield_now();
    }
}

#[test]
fn in_mode_relaxed_a_sync_under_way_holds_no_write_back() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(FaultyDisk::default());
    let options = LogOptions { file_bytes_max: 1, ..options(Durability::Relaxed) };
    let log = EventLog::start_on(folder.path(), &options, disk.clone()).unwrap();
    disk.set(Faults { hangs: true, ..Faults::default() });
    // It is synced at once.
    let first = log.record(said("0").level(Level::Warn)).unwrap();
    assert_eq!(log.wait(first, LONG), Settled::Recorded, "it is in the file");
    until_it_hangs(&disk);
    // Three files and more of them, and further ones that are to be synced at once.
    for n in 1..300 {
        let level = if n % 50 == 0 { Level::Warn } else { Level::Info };
        let text = format!("{n} {}", "x".repeat(1000));
        let ticket = log.record(said(text).level(level)).unwrap();
        assert_eq!(log.wait(ticket, LONG), Settled::Recorded, "{n} waits for the disk");
    }
    assert_eq!((log.written(), log.dropped()), (300, 0));
    assert_eq!(disk.syncs.load(Ordering::Relaxed), 0, "no sync has returned");
    assert!(!log.flush(Duration::from_millis(20)), "a flush waits for it");
    disk.heal();
    assert!(log.flush(LONG));
    // Each file that was left is synced, and the last one.
    let files = rpc_plugin_record::segments(folder.path(), FILE_NAME).unwrap().len() as u64;
    assert!(files > 3 && disk.syncs.load(Ordering::Relaxed) >= files, "{files} files");
    assert_eq!((messages(folder.path()).len(), log.not_durable(), log.write_errors()), (300, 0, 0));
}

#[test]
fn in_mode_relaxed_a_sync_that_fails_is_told_with_what_was_written_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(FaultyDisk::default());
    let log = EventLog::start_on(folder.path(), &options(Durability::Relaxed), disk.clone()).unwrap();
    disk.set(Faults { hangs: true, ..Faults::default() });
    let first = log.record(said("0").level(Level::Warn)).unwrap();
    until_it_hangs(&disk);
    let second = log.record(said("1")).unwrap();
    assert_eq!(log.wait(second, LONG), Settled::Recorded);
    disk.set(Faults { sync: Some(Errno::EIO), ..Faults::default() });
    let end = Instant::now() + LONG;
    while log.not_durable() < 2 {
        assert!(Instant::now() < end, "the failure is not counted");
        std::thread::yield_now();
    }
    disk.heal();
    log.record(said("2")).unwrap();
    assert!(log.flush(LONG));
    assert_eq!((log.settled(first), log.settled(second)), (Settled::Recorded, Settled::Recorded));
    assert_eq!((messages(folder.path()), log.not_durable()), (numbers(3), 2));
    let gap = records(folder.path()).into_iter().find(|record| record.event == "record_gap").unwrap();
    let details: serde_json::Value = serde_json::from_str(gap.details.as_ref().unwrap().get()).unwrap();
    assert_eq!(details["unconfirmed"], serde_json::json!([1, 2]), "{details}");
    assert_eq!(rpc_plugin_record::segments(folder.path(), FILE_NAME).unwrap().len(), 2, "a new file");
}

/// What waits longer than `hold_max` for a disk that fails is given up, and comes all the same later.
#[test]
fn what_a_failing_disk_keeps_waiting_is_given_up_after_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(FaultyDisk::default());
    let options = LogOptions { hold_max: Duration::from_millis(50), ..options(Durability::Strict) };
    let log = EventLog::start_on(folder.path(), &options, disk.clone()).unwrap();
    disk.set(Faults { write: Some(Errno::ENOSPC), ..Faults::default() });
    let ticket = log.record(said("0")).unwrap();
    assert_eq!(log.wait(ticket, LONG), Settled::NotRecorded);
    disk.heal();
    assert!(log.flush(LONG));
    assert_eq!(messages(folder.path()), ["0"]);
}

fn random_faults(rng: &mut fastrand::Rng) -> Faults {
    let errno = |rng: &mut fastrand::Rng, one_in: u8| {
        let list = [Errno::ENOSPC, Errno::EIO, Errno::EROFS, Errno::ENOENT];
        (rng.u8(0..one_in) == 0).then(|| rng.choice(list).unwrap())
    };
    Faults {
        open: errno(rng, 6),
        write: errno(rng, 3),
        room: rng.bool().then(|| rng.usize(0..2000)),
        write_bytes_max: rng.bool().then(|| rng.usize(1..700)),
        sync: errno(rng, 4),
        // A line that cannot be cut off costs a number; the table above has it.
        truncate: None,
        rename: errno(rng, 4),
        hangs: false,
        hangs_writing: false,
    }
}

/// 150 seeds of a log on a disk that fails at random, from seeds.
#[test]
fn whatever_fails_what_was_called_durable_is_there_once_and_in_order() {
    for seed in 0..150 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(FaultyDisk::default());
        let mode = rng.choice([Durability::Strict, Durability::Relaxed]).unwrap();
        let hold_max = Duration::from_millis(rng.u64(1..30));
        let sync_interval = Duration::from_millis(rng.u64(1..10));
        // Large enough that nothing is rotated away: a file of 64 KiB at least each, 64 files.
        let options = LogOptions { hold_max, sync_interval, file_bytes_max: 1, ..options(mode) };
        let mut said_durable = BTreeMap::new();
        let mut tickets = Vec::new();
        let mut count = 0;
        for _ in 0..rng.usize(1..4) {
            disk.heal();
            let log = EventLog::start_on(folder.path(), &options, disk.clone()).unwrap();
            for _ in 0..rng.usize(1..8) {
                disk.set(if rng.u8(0..3) == 0 { Faults::default() } else { random_faults(&mut rng) });
                for _ in 0..rng.usize(1..30) {
                    let text = format!("{count} {}", "x".repeat(rng.usize(0..600)));
                    tickets.extend(log.record(said(text)).map(|ticket| (ticket, count)));
                    count += 1;
                }
                if rng.bool() {
                    let _ = log.wait(tickets.last().unwrap().0, Duration::from_millis(rng.u64(0..20)));
                }
            }
            for (ticket, number) in tickets.drain(..) {
                if log.settled(ticket) == Settled::Recorded {
                    said_durable.insert(number, ());
                }
            }
            // Some lives end while the disk still fails.
            if rng.bool() {
                disk.heal();
            }
        }
        disk.heal();
        let log = EventLog::start_on(folder.path(), &options, disk.clone()).unwrap();
        log.record(said(count.to_string()));
        assert!(log.flush(LONG), "seed {seed}");
        drop(log);
        let seen: Vec<usize> = messages(folder.path())
            .iter()
            .map(|message| message.split(' ').next().unwrap().parse().unwrap())
            .collect();
        assert!(seen.is_sorted_by(|a, b| a < b), "seed {seed}: doubled or out of order: {seen:?}");
        for number in said_durable.keys() {
            assert!(seen.binary_search(number).is_ok(), "seed {seed}: {number} was durable and is not there");
        }
        assert_eq!(seen.last(), Some(&count), "seed {seed}");
    }
}

/// The body of the next test, in a mount namespace of its own.
pub(crate) fn on_a_small_disk() {
    let folder = std::env::var("RPC_RECORD_TEST_FOLDER").unwrap();
    let folder = Path::new(&folder);
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=512k", "none"]).arg(folder).status().unwrap();
    assert!(mounted.success());
    let log = EventLog::start(folder, &options(Durability::Strict)).unwrap();
    let mut tickets = Vec::new();
    let mut number = 0;
    let mut say = |count: usize| {
        for _ in 0..count {
            let text = format!("{number} {}", "x".repeat(1000));
            tickets.extend(log.record(said(text)).map(|ticket| (ticket, number)));
            number += 1;
        }
    };
    say(50);
    assert!(log.flush(LONG));
    // Somebody else fills the disk.
    let mut filler = Vec::new();
    for index in 0..4096 {
        if std::fs::write(folder.join(format!("filler-{index}")), [0; 4096]).is_err() {
            break;
        }
        filler.push(folder.join(format!("filler-{index}")));
    }
    assert!(!filler.is_empty());
    say(50);
    assert!(!log.flush(LONG));
    filler.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    say(50);
    assert!(log.flush(LONG));
    let remount = |flag: &str| {
        let remounted = Command::new("mount").args(["-o", &format!("remount,{flag}")]).arg(folder).status();
        remounted.unwrap().success()
    };
    // The mount is busy with our own file, so it may be refused, or seen only by what is opened anew; all are right.
    let is_read_only = remount("ro");
    say(10);
    let _ = log.flush(LONG);
    assert!(!is_read_only || remount("rw"));
    say(10);
    assert!(log.flush(LONG));
    for (ticket, number) in &tickets {
        assert_eq!(log.settled(*ticket), Settled::Recorded, "{number}");
    }
    let seen: Vec<usize> =
        messages(folder).iter().map(|message| message.split(' ').next().unwrap().parse().unwrap()).collect();
    assert_eq!(seen, (0..170).collect::<Vec<_>>());
    println!("small disk done");
}

/// Runs a body of this program in a mount namespace of its own; what it printed. `None` where that cannot be had.
fn in_a_mount_namespace(body: &str, folder: &Path) -> Option<String> {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.arg("--mount");
        if !nix::unistd::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command
    };
    if !unshare().arg("true").output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this user may not make a mount namespace (unshare --mount)");
        return None;
    }
    let output = unshare()
        .arg(std::env::current_exe().unwrap())
        .args(child::WORDS)
        .env(child::BODY, body)
        .env("RPC_RECORD_TEST_FOLDER", folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    Some(said)
}

#[test]
fn a_small_disk_that_fills_up_and_is_emptied_again() {
    let folder = tempfile::tempdir().unwrap();
    if let Some(said) = in_a_mount_namespace("on_a_small_disk", folder.path()) {
        assert!(said.contains("small disk done"), "{said}");
    }
}

/// The body of the next test, in a mount namespace of its own.
pub(crate) fn daemon_on_a_small_disk() {
    let world = World::new();
    let runtime_dir = world.runtime_dir();
    std::fs::create_dir(&runtime_dir).unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=512k,mode=700", "none"]).arg(&runtime_dir);
    assert!(mount.status().unwrap().success());
    let said = world.path().join("said");
    let plugin = format!("echo={}", world.program("echo").display());
    let mut command = command(&world);
    command.args(QUICK).args(["--restarts-max=1", "--restart-window=1h", "--plugin", &plugin]);
    let mut daemon = Daemon::of(command.stderr(File::create(&said).unwrap()), &runtime_dir);
    let before = daemon.wait_for("echo", "healthy");
    let fillers = (0..4096).map(|index| runtime_dir.join(format!("filler-{index}")));
    let filled: Vec<_> = fillers.take_while(|path| std::fs::write(path, [0; 4096]).is_ok()).collect();
    assert!((1..4096).contains(&filled.len()));
    // The one restart that it has.
    signal(before["pid"].as_u64().unwrap() as u32, Signal::SIGKILL);
    let status = || daemon.json(&["plugin", "echo"]);
    let waiting = eventually("its launch is tried several times", || {
        Some(status()).filter(|status| status["next_launch_ms"].as_u64() > Some(800))
    });
    assert_eq!((&waiting["state"], waiting["restarts"].as_u64()), (&"backoff".into(), Some(1)), "{waiting}");
    assert!(waiting["last_error"].as_str().unwrap().contains("No space left on device"), "{waiting}");
    let lacks = eventually("the record has no room either", || {
        daemon.ctl(&["call", "echo", "echo", "{}"]);
        daemon.json(&["status"])["shortages"].as_array().and_then(|list| list.first().cloned())
    });
    assert!(lacks.as_str().unwrap().ends_with("(ENOSPC); free space on its file system"), "{lacks}");
    let says = |text: &str| {
        eventually(text, || std::fs::read_to_string(&said).unwrap().contains(text).then_some(()));
    };
    says("[echo] host_shortage: the host lacks what its launch takes");
    says(" host_shortage: the record cannot be written");
    filled.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    let after = daemon.wait_for("echo", "healthy");
    assert_eq!(after["restarts"].as_u64(), Some(1), "{after}");
    says(" host_shortage_over: the record is written again");
    says("[echo] host_shortage_over: it could be launched again");
    for kind in [EventKind::HostShortage, EventKind::HostShortageOver] {
        daemon.recorded("", kind, |_| true);
        daemon.recorded("echo", kind, |_| true);
    }
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.ended().success());
    drop(daemon);
    assert!(Command::new("umount").arg(&runtime_dir).status().unwrap().success());
    println!("daemon on a small disk done");
}

/// No room for its token, socket or number is no fault of a plugin; none for the record is told where it can be.
#[test]
fn a_full_disk_costs_a_plugin_no_restart_and_passes_and_the_daemon_says_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    if let Some(said) = in_a_mount_namespace("daemon_on_a_small_disk", folder.path()) {
        assert!(said.contains("daemon on a small disk done"), "{said}");
    }
}
