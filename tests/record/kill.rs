//! SIGKILL at random moments: what was reported durable is there, the record reads clean, no number is missing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::child;
use crate::fixtures::daemon::{Daemon, QUICK, Raw, command};
use crate::fixtures::world::World;
use nix::sys::signal::Signal;
use rpc_plugin_record::{FILE_NAME, Forward, Position, verify};
use rpc_plugin_system::eventlog::{Durability, Entry, EventLog, LogOptions, Settled};
use rpc_plugin_wire::event::{EventKind, Record};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

const KILLS: u64 = 200;
const DAEMON_KILLS: usize = 6;
const RELAXED_KILLS: usize = 20;
const WRITERS: usize = 4;

/// The records after a check that all is whole: each line a record, no number missing, the chain unbroken.
fn checked(folder: &Path) -> Vec<Record> {
    let mut lines = Forward::new(folder, FILE_NAME, Position::Oldest).unwrap();
    let mut found = Vec::new();
    while let Some(line) = lines.next_line().unwrap() {
        found.push(line.record().unwrap_or_else(|| panic!("no record: {line:?}")).0);
    }
    let first = found.first().and_then(|record: &Record| record.seq).unwrap_or(1);
    for (expected, record) in (first..).zip(&found) {
        assert_eq!(record.seq, Some(expected), "{record:?}");
    }
    assert_eq!(verify(folder, FILE_NAME).unwrap().fault, None);
    found
}

/// The body of the next test: records and says what is durable until it is killed.
pub(crate) fn record_until_killed() {
    let folder = std::env::var("RPC_RECORD_TEST_FOLDER").unwrap();
    let life = std::env::var("RPC_RECORD_TEST_LIFE").unwrap();
    let options = LogOptions {
        durability: Durability::Strict,
        chain: true,
        file_bytes_max: 64 * 1024,
        files_max: 64,
        ..LogOptions::default()
    };
    let log = EventLog::start(Path::new(&folder), &options).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (log, life) = (&log, &life);
            scope.spawn(move || {
                for number in 0.. {
                    let text = format!("{life}.{writer}.{number}");
                    let padded = format!("{text} {}", "x".repeat(number * 37 % 900));
                    let ticket = log.record(Entry::new(EventKind::Stdout).message(padded)).unwrap();
                    if log.wait(ticket, Duration::from_secs(60)) == Settled::Recorded {
                        // One write, so that a line is whole or not there.
                        let line = format!("durable {text}\n");
                        if std::io::stdout().lock().write_all(line.as_bytes()).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
}

#[test]
fn what_was_durable_is_there_after_sigkill_at_200_random_moments() {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = fastrand::Rng::with_seed(4);
    let mut durable_count = 0;
    for life in 0..KILLS {
        let mut child = child::start(std::env::current_exe().unwrap(), "record_until_killed")
            .env("RPC_RECORD_TEST_FOLDER", folder.path())
            .env("RPC_RECORD_TEST_LIFE", life.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let wanted = rng.usize(1..60);
        let mut durable = BTreeSet::new();
        let mut line = String::new();
        while durable.len() < wanted {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "it ended by itself");
            durable.extend(line.strip_prefix("durable ").map(|text| text.trim_end().to_owned()));
        }
        // Anywhere within the next lines, not right after one.
        std::thread::park_timeout(Duration::from_micros(rng.u64(0..3000)));
        child.kill().unwrap();
        child.wait().unwrap();
        line.clear();
        while lines.read_line(&mut line).unwrap() > 0 {
            durable.extend(line.strip_prefix("durable ").map(|text| text.trim_end().to_owned()));
            line.clear();
        }
        let mut found = Forward::new(folder.path(), FILE_NAME, Position::Oldest).unwrap();
        let mut there = BTreeSet::new();
        while let Some(line) = found.next_line().unwrap() {
            if let Some((record, _)) = line.record().filter(|_| line.is_finished) {
                there.extend(record.message.split(' ').next().map(str::to_owned));
            }
        }
        let missing: Vec<_> = durable.iter().filter(|text| !there.contains(*text)).collect();
        assert!(missing.is_empty(), "life {life}: reported durable and not there: {missing:?}");
        durable_count += durable.len();
    }
    // Whoever writes next repairs what the last kill left.
    let options =
        LogOptions { chain: true, files_max: 64, file_bytes_max: 64 * 1024, ..LogOptions::default() };
    let log = EventLog::start(folder.path(), &options).unwrap();
    log.record(Entry::new(EventKind::HostStarted));
    assert!(log.flush(Duration::from_secs(20)));
    let records = checked(folder.path());
    assert!(durable_count >= KILLS as usize, "{durable_count}");
    eprintln!("{durable_count} reported durable in {KILLS} lives, {} records kept", records.len());
}

#[test]
fn what_an_operator_was_told_is_on_record_after_sigkill_of_the_daemon() {
    let world = World::new();
    let echo = format!("echo={}", world.program("echo").display());
    let mut told = 0;
    for life in 0..DAEMON_KILLS {
        let mut command = command(&world);
        command.args(QUICK).args(["--log-durability", "strict", "--log-chain", "true", "--rpc-audit", "all"]);
        let mut daemon = Daemon::of(command.args(["--plugin", &echo]), &world.runtime_dir());
        daemon.wait_for("echo", "healthy");
        for _ in 0..=life {
            assert_eq!(daemon.ctl(&["call", "echo", "echo", "{\"message\": \"x\"}"]).code, 0);
            told += 1;
        }
        daemon.signal(Signal::SIGKILL);
        daemon.ended();
        let records = daemon.records("echo");
        let count = |event: &str| records.iter().filter(|record| record.event == event).count();
        assert!(count("admin_action") >= told, "life {life}: {} of {told}", count("admin_action"));
        assert!(count("call_succeeded") >= told, "life {life}: {} of {told}", count("call_succeeded"));
    }
    let daemon = Daemon::start(&world, &["--log-chain", "true", "--plugin", &echo]);
    daemon.wait_for("echo", "healthy");
    checked(&world.runtime_dir().join("echo"));
    checked(&world.runtime_dir());
}

/// In mode relaxed what was answered survives the daemon, though not the machine: each life is killed the moment in which an
/// answer is there.
#[test]
fn each_audited_call_that_was_answered_is_on_record_after_sigkill_in_mode_relaxed() {
    let world = World::new();
    let echo = format!("echo={}", world.program("echo").display());
    let mut rng = fastrand::Rng::with_seed(20);
    let mut answered = 0;
    for life in 0..RELAXED_KILLS {
        let mut daemon = Daemon::start(&world, &["--rpc-audit", "all", "--plugin", &echo]);
        daemon.wait_for("echo", "healthy");
        let mut client = Raw::connect(&world.runtime_dir());
        for _ in 0..rng.usize(1..100) {
            let params = json!({"plugin_id": "echo", "method": "echo", "params": {"message": "x"}});
            assert!(client.ask("admin.call", &params).get("result").is_some());
            answered += 1;
        }
        daemon.signal(Signal::SIGKILL);
        daemon.ended();
        let records = daemon.records("echo");
        let count = records.iter().filter(|record| record.event == "call_succeeded").count();
        assert!(count >= answered, "life {life}: {count} of {answered}");
    }
}
