//! Every entry is one line, one object, and not too long.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use rpc_plugin_record::{Entry, LINE_BYTES_MAX};
use rpc_plugin_wire::event::{EventKind, Record};
use rpc_plugin_wire::{Generation, PluginId};
use serde_json::value::RawValue;
use std::time::{Duration, SystemTime};

fn id(text: &str) -> PluginId {
    text.parse().unwrap()
}

fn said(plugin: &str, message: impl Into<String>) -> Entry {
    Entry::new(EventKind::Stdout).plugin(id(plugin)).message(message.into())
}

fn record(line: &[u8]) -> Record {
    assert!(line.ends_with(b"\n"));
    serde_json::from_slice(line).unwrap()
}

#[test]
fn every_line_is_one_object_and_not_too_long() {
    let ids = || Entry::new(EventKind::AuthenticationFailed).plugin(id(&"i".repeat(64))).pid(u32::MAX);
    let generation = Generation::try_from(u64::MAX).unwrap();
    for unit in ["x", "\u{1}", "\"", "€", "🦀", "\n"] {
        for bytes in [10, 3000, 70_000, 1_000_000] {
            let text = unit.repeat(bytes / unit.len());
            let owned = || text.clone();
            let entry = ids().generation(generation).socket_path(owned()).call(owned()).message(owned());
            let entry = entry.error(owned()).reason(owned()).details_of(&serde_json::json!(text));
            let mut entry = entry.operation_id(owned()).status(owned()).error_class(owned());
            entry.fit();
            let mut line = Vec::new();
            entry.write_line(u64::MAX, Some(&[255; 32]), &mut line);
            assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
            assert!(line.len() <= LINE_BYTES_MAX, "{unit:?} {bytes}: {}", line.len());
            let record = record(&line);
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
    entry.write_line(1, None, &mut line);
    assert_eq!(record(&line).message.len(), 60_000);
}

#[test]
fn details_with_line_breaks_and_times_out_of_range_stay_one_line() {
    let pretty = RawValue::from_string("{\n\t\"a\":\r\n[1,\n2]\n}".to_owned()).unwrap();
    let before = SystemTime::UNIX_EPOCH - Duration::from_secs(9);
    let after = SystemTime::UNIX_EPOCH + Duration::from_secs(300_000_000_000);
    for (at, time) in [(before, "1970-01-01T00:00:00.000Z"), (after, "9999-12-31T23:59:59.999Z")] {
        let mut line = Vec::new();
        said("p", "m").at(at).details(pretty.clone()).write_line(1, None, &mut line);
        let record = record(&line);
        assert_eq!(record.time, time);
        let details: serde_json::Value =
            serde_json::from_str(record.details.as_ref().unwrap().get()).unwrap();
        assert_eq!(details, serde_json::json!({"a": [1, 2]}));
    }
}
