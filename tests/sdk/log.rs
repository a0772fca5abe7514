//! The plugin's own record: what is in it over a life, what is not, and that nobody waits for it.
//!
//! What it deliberately does not do: rotation, repair and the schema; those are the record crate's tests.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub, dead_code, clippy::type_complexity)]

use crate::fake_host::{FakeHost, PATIENCE, config};
use crate::methods::plugin;
use rpc_plugin_sdk::{Call, Config, End, Error, HandlerError, Level, Log, LogTarget, Plugin};
use rpc_plugin_wire::event::Record;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const NAME: &str = "plugin-events.jsonl";

const fn shared_by_threads<T: Clone + Send + Sync + 'static>() {}
const _: () = shared_by_threads::<Log>();

fn folder() -> TempDir {
    tempfile::Builder::new().prefix("sdk-log-").tempdir().unwrap()
}

fn kept_in(folder: &Path) -> Config {
    Config { log_folder: Some(folder.to_owned()), ..config() }
}

/// Asks for the end and waits for it.
fn shut_down(mut host: FakeHost) {
    host.request(9_999, "plugin.shutdown", &json!({}));
    assert_eq!(host.end().unwrap(), End::Shutdown);
}

fn text(folder: &Path) -> String {
    std::fs::read_to_string(folder.join(NAME)).unwrap()
}

fn records(folder: &Path) -> Vec<Record> {
    text(folder).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of<'a>(records: &'a [Record], event: &str) -> Vec<&'a Record> {
    records.iter().filter(|record| record.event == event).collect()
}

fn details(record: &Record) -> Value {
    serde_json::from_str(record.details.as_ref().unwrap().get()).unwrap()
}

#[test]
fn a_life_is_on_record_without_what_was_said_in_it() {
    let folder = folder();
    let typed = |_: &Call, number: u32| Ok::<_, HandlerError>(number);
    let mut host = FakeHost::greeted_as(plugin().method("number", typed), kept_in(folder.path()));
    host.request(1, "plugin.capabilities", &json!({}));
    host.request(2, "echo", &json!({"password": "hunter2"}));
    host.request(3, "fail", &json!({}));
    host.request(4, "panic", &json!({}));
    host.request(5, "number", &json!({"secret": "hunter3"}));
    for _ in 1..=5 {
        host.recv();
    }
    shut_down(host);
    let records = records(folder.path());
    let names: Vec<&str> = records.iter().map(|record| &*record.event).collect();
    assert_eq!(names[..3], ["booted", "connected", "authenticated"]);
    assert_eq!(names[names.len() - 2..], ["shutdown_requested", "stopped"]);
    assert_eq!(of(&records, "capabilities_reported").len(), 1);
    assert!(of(&records, "handler_succeeded").is_empty(), "not at level info");
    assert_eq!(details(&records[0])["methods"], json!(["big", "block", "echo", "fail", "number", "panic"]));
    assert!(records.iter().enumerate().all(|(at, record)| record.seq == Some(at as u64 + 1)));
    for record in &records {
        assert_eq!(record.plugin_id.as_ref().unwrap().as_str(), "tested");
        assert_eq!((record.generation_id.unwrap().get(), record.pid), (3, Some(std::process::id())));
    }
    let mut failed: Vec<_> = of(&records, "handler_failed")
        .iter()
        .map(|r| {
            (r.correlation_id.clone().unwrap(), r.method.clone().unwrap(), r.level.clone(), r.error.clone())
        })
        .collect();
    failed.sort();
    let row = |id: &str, method: &str, level: &str, error: Option<&str>| {
        (id.to_owned(), method.to_owned(), level.to_owned(), error.map(str::to_owned))
    };
    assert_eq!(
        failed,
        [
            row("3.3", "fail", "warn", Some("as asked")),
            row("3.4", "panic", "error", Some("the handler panicked: on purpose")),
            row("3.5", "number", "warn", None),
        ]
    );
    let text = text(folder.path());
    for secret in ["07".repeat(32).as_str(), "hunter"] {
        assert!(!text.contains(secret), "{secret} is on record");
    }
}

#[test]
fn at_level_debug_each_call_is_there_with_how_long_it_took() {
    let folder = folder();
    let mut host = FakeHost::greeted_as(plugin().log_level(Level::Debug), kept_in(folder.path()));
    for id in 1..=20 {
        host.request(id, "echo", &json!({}));
        host.recv();
    }
    shut_down(host);
    let records = records(folder.path());
    let done = of(&records, "handler_succeeded");
    assert_eq!(done.len(), 20);
    for (at, record) in done.iter().enumerate() {
        assert_eq!(record.correlation_id, Some(format!("3.{}", at + 1)));
        assert_eq!((record.status.as_deref(), record.level.as_str()), (Some("ok"), "debug"));
        assert!(record.duration_ms.is_some());
    }
}

#[test]
fn an_author_adds_events_from_anywhere() {
    let folder = folder();
    let handler = |call: &Call, (): ()| {
        call.log().event(Level::Info, "cache_filled", "the cache is full", &json!({"entries": 3}));
        Ok::<_, HandlerError>(())
    };
    let plugin = Plugin::new("1").method("fill", handler);
    let log = plugin.log();
    log.record(Level::Warn, "before it runs");
    let mut host = FakeHost::greeted_as(plugin, kept_in(folder.path()));
    host.request(8, "fill", &json!({}));
    host.recv();
    log.record(Level::Info, "a thread\u{1b}[2J\nof its own");
    assert!(log.flush(PATIENCE));
    assert_eq!(of(&records(folder.path()), "log").len(), 2, "it is written while the plugin lives");
    shut_down(host);
    log.record(Level::Error, "too late");
    let records = records(folder.path());
    let filled = of(&records, "cache_filled")[0];
    assert_eq!((filled.component.as_str(), filled.method.as_deref()), ("plugin", Some("fill")));
    assert_eq!((filled.correlation_id.as_deref(), details(filled)), (Some("3.8"), json!({"entries": 3})));
    let said: Vec<&str> = of(&records, "log").iter().map(|record| &*record.message).collect();
    assert_eq!(said, ["before it runs", "a thread\u{1b}[2J\nof its own"]);
}

#[test]
fn a_plugin_that_is_not_taken_says_so_in_its_record() {
    let folder = folder();
    let mut host = FakeHost::start(plugin(), kept_in(folder.path()));
    host.recv();
    host.send_line(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"not you"}}"#);
    assert!(matches!(host.end(), Err(Error::Rejected(_))));
    let records = records(folder.path());
    let last = records.last().unwrap();
    assert_eq!((&*last.event, &*last.component, &*last.level), ("authentication_failed", "auth", "error"));
    assert!(last.error.as_ref().unwrap().contains("not you"));
}

#[test]
fn the_next_generation_goes_on_where_the_last_was_cut_off() {
    let folder = folder();
    shut_down(FakeHost::greeted_as(plugin(), kept_in(folder.path())));
    let before = records(folder.path()).len() as u64;
    let mut file = std::fs::File::options().append(true).open(folder.path().join(NAME)).unwrap();
    file.write_all(b"{\"time\":\"2026-").unwrap();
    let generation = "4".parse().unwrap();
    shut_down(FakeHost::greeted_as(plugin(), Config { generation, ..kept_in(folder.path()) }));
    let records = records(folder.path());
    assert!(records.iter().enumerate().all(|(at, record)| record.seq == Some(at as u64 + 1)));
    assert_eq!(records[usize::try_from(before).unwrap()].generation_id, Some(generation));
    assert_eq!(details(of(&records, "record_repaired")[0])["torn"], "{\"time\":\"2026-");
}

#[test]
fn nobody_waits_for_the_record_and_what_finds_no_room_is_counted() {
    let folder = folder();
    let plugin = plugin().log_files(64 * 1024, 2);
    let log = plugin.log();
    let mut host = FakeHost::greeted_as(plugin, kept_in(folder.path()));
    for number in 0..200_000 {
        log.record(Level::Info, format!("event {number}"));
    }
    host.request(1, "echo", &json!({"a": 1}));
    assert_eq!(host.recv()["result"], json!({"a": 1}));
    shut_down(host);
    let mut bytes = 0;
    let mut text = String::new();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let part = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        bytes += part.len();
        text += &part;
    }
    assert!((64 * 1024..=128 * 1024).contains(&bytes), "{bytes} bytes in all files");
    assert!(text.contains("\"record_gap\""), "what was lost is told");
    assert!(text.contains("\"stopped\""));
}

#[test]
fn a_record_that_cannot_be_kept_keeps_nothing_up() {
    let folder = folder();
    // Not writable for anybody, root included.
    std::fs::create_dir(folder.path().join(NAME)).unwrap();
    for place in [folder.path().to_owned(), folder.path().join("not-there")] {
        let begun = Instant::now();
        let mut host = FakeHost::greeted_as(plugin(), kept_in(&place));
        host.request(1, "echo", &json!({"a": 1}));
        assert_eq!(host.recv()["result"], json!({"a": 1}));
        shut_down(host);
        assert!(begun.elapsed() < PATIENCE / 2);
    }
}

#[test]
fn a_record_for_the_host_goes_over_the_connection() {
    let folder = folder();
    let plugin = plugin().log_to(LogTarget::Host);
    let log = plugin.log();
    let mut host = FakeHost::greeted_as(plugin, kept_in(folder.path()));
    log.event(Level::Warn, "hot", "too hot", &json!({"celsius": 90}));
    log.record(Level::Error, "x".repeat(64 * 1024));
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last: &Value| last["event"] != "hot") {
        let frame = host.recv();
        assert_eq!((&frame["method"], frame.get("id")), (&json!("host.log"), None));
        seen.push(frame["params"].clone());
    }
    assert_eq!(seen[0]["event"], "booted");
    let expected = json!({"level": "warn", "message": "too hot", "event": "hot", "details": {"celsius": 90}});
    assert_eq!(seen.last(), Some(&expected));
    host.request(1, "plugin.heartbeat", &json!({}));
    let answer = std::iter::from_fn(|| host.try_recv()).find(|frame| frame.get("id").is_some()).unwrap();
    assert_eq!(answer["result"]["status"], "healthy", "what is too long for the host is left out");
    shut_down(host);
    assert!(!folder.path().join(NAME).exists());
}

#[test]
fn no_record_is_kept_where_the_author_wants_none() {
    let folder = folder();
    let plugin = plugin().log_to(LogTarget::Nowhere);
    let log = plugin.log();
    let host = FakeHost::greeted_as(plugin, kept_in(folder.path()));
    log.record(Level::Error, "nowhere");
    assert!(log.flush(Duration::ZERO));
    shut_down(host);
    assert!(!folder.path().join(NAME).exists());
}
