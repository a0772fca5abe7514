//! The conformance table of bad inputs, sent by a host to a plugin of this SDK: one clear error each, no panic, no
//! hang.
//!
//! What it deliberately does not do: rows that only a host or a daemon reads (hello, health, admin).
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub, dead_code)]

use crate::fake_host::{FakeHost, HELLO_ANSWER, config};
use crate::fixtures::conformance::{self, ANYONE, Fault, Row, Stage, judge_frame};
use crate::methods::plugin;
use rpc_plugin_peer::BAD_FRAMES_MAX;
use rpc_plugin_sdk::Error;
use rpc_plugin_wire::limits::FRAME_BYTES_MAX_UNAUTHENTICATED;

/// Whether the first frame is well made, and only its place is wrong.
fn begins_well(bytes: &[u8]) -> bool {
    let first = bytes.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
    let frame = first.strip_suffix(b"\n").filter(|frame| frame.len() <= FRAME_BYTES_MAX_UNAUTHENTICATED);
    frame.is_some_and(|frame| judge_frame(Stage::Message, frame).is_ok())
}

/// Sends every row of these stages, before or after the answer of the hello.
fn run(greeted: bool, stages: &[Stage]) -> usize {
    let rows: Vec<Row> = conformance::bad().into_iter().filter(|row| stages.contains(&row.stage)).collect();
    let mut wrong = Vec::new();
    // A deadline beyond its range is answered, and nothing else.
    let deadlines = ["deadline_ms -1", "deadline_ms 1.5", "deadline_ms 1e3", "deadline_ms 2^64"];
    for row in rows.iter().filter(|row| !(greeted && deadlines.contains(&row.name.as_str()))) {
        let bytes = row.bytes(&ANYONE);
        let mut host = FakeHost::start(plugin(), config());
        if greeted {
            // The smallest limit that may be told, which is the table's.
            host.send_line(&HELLO_ANSWER.replace("65536", "16384"));
        }
        // One frame that is no message may cost no more than what it is about; the seventeenth ends the session.
        let may_repeat = greeted && row.fault() != Fault::Truncated;
        host.send(&bytes.repeat(if may_repeat { BAD_FRAMES_MAX + 1 } else { 1 }));
        if row.fault() == Fault::Truncated {
            host.end_of_stream();
        }
        let says = if !greeted && begins_well(&bytes) { "before it answered the hello" } else { &row.says };
        match host.end() {
            Err(Error::Violation(what)) if what.contains(says) => {}
            other => wrong.push(format!("{}: wanted {says:?}, got {other:?}", row.name)),
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    rows.len()
}

#[test]
fn before_the_hello_is_answered_every_bad_input_is_refused_for_its_reason() {
    assert!(run(false, &[Stage::Frame, Stage::Message]) >= 300);
}

#[test]
fn after_the_hello_is_answered_every_bad_input_is_refused_for_its_reason() {
    assert!(run(true, &[Stage::Frame, Stage::Message, Stage::Cancel]) >= 300);
}
