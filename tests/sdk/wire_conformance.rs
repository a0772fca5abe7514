//! The wire crate against the conformance tables: each row whole, in two parts cut at every byte, and
//! byte by byte; always the same verdict.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::conformance::{self, ANYONE, Row, Stage, judge};
use rpc_plugin_wire::{ErrorCode, Message};

type Verdict = Result<Vec<String>, (conformance::Fault, String)>;

/// Inputs up to this size are cut in two at every byte; longer ones near their ends and every 997th
/// byte, because each cut reads the whole input again.
const CUT_EVERYWHERE_BYTES_MAX: usize = 2048;

/// The one verdict for a row, however its bytes arrive.
fn verdict(row: &Row) -> Verdict {
    let bytes = row.bytes(&ANYONE);
    let whole = judge(row.stage, [&bytes[..]]);
    assert_eq!(judge(row.stage, bytes.chunks(1)), whole, "{}: byte by byte", row.name);
    for cut in 0..=bytes.len() {
        let near_an_end = cut < 64 || bytes.len() - cut < 64;
        if bytes.len() <= CUT_EVERYWHERE_BYTES_MAX || near_an_end || cut % 997 == 0 {
            let (first, second) = bytes.split_at(cut);
            assert_eq!(judge(row.stage, [first, second]), whole, "{}: cut at {cut}", row.name);
        }
    }
    whole
}

#[test]
fn every_bad_input_is_refused_for_its_reason_wherever_it_is_cut() {
    let rows = conformance::bad();
    let mut wrong = Vec::new();
    for row in &rows {
        match verdict(row) {
            Err((fault, message)) if fault == row.fault() && message.contains(&row.says) => {}
            other => wrong
                .push(format!("{}: wanted {:?} saying {:?}, got {other:?}", row.name, row.kind, row.says)),
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn every_good_input_is_taken_and_understood_wherever_it_is_cut() {
    let rows = conformance::good();
    let mut wrong = Vec::new();
    for row in &rows {
        let understood = verdict(row);
        let last = understood.as_ref().ok().and_then(|frames| frames.last());
        if !last.is_some_and(|text| text.contains(&row.says)) || kind(row) != row.kind {
            wrong.push(format!("{}: wanted {} with {:?}, got {understood:?}", row.name, row.kind, row.says));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

/// What the last frame of a row is.
fn kind(row: &Row) -> &'static str {
    let bytes = row.bytes(&ANYONE);
    let frame = bytes.split(|b| *b == b'\n').rfind(|frame| !frame.is_empty()).unwrap_or_default();
    match Message::parse(frame) {
        Ok(Message::Request(_)) => "request",
        Ok(Message::Notification(_)) => "notification",
        Ok(Message::Response(response)) if response.result.is_ok() => "result",
        Ok(Message::Response(_)) => "error",
        Err(_) => "nothing",
    }
}

#[test]
fn the_tables_are_as_large_and_as_distinct_as_they_claim() {
    for (rows, least) in [(conformance::bad(), 300), (conformance::good(), 60)] {
        let mut inputs: Vec<_> = rows.iter().map(|row| (row.stage as u8, row.bytes(&ANYONE))).collect();
        inputs.sort();
        let twice: Vec<_> = inputs.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(twice.is_empty(), "{:?}", String::from_utf8_lossy(&twice[0][0].1));
        assert!(inputs.len() >= least, "{} of {least}", inputs.len());
    }
    let faults = conformance::bad();
    assert!(faults.iter().any(|row| row.stage == Stage::Frame));
    assert!(faults.iter().any(|row| row.fault().code() == Some(ErrorCode::ParseError)));
}

#[test]
fn a_stream_of_every_good_frame_is_read_the_same_at_every_cut() {
    let mut stream = Vec::new();
    let short = |row: &&Row| row.stage == Stage::Message && row.bytes(&ANYONE).len() < 200;
    for row in conformance::good().iter().filter(short) {
        stream.extend(row.bytes(&ANYONE));
    }
    let whole = judge(Stage::Message, [&stream[..]]).unwrap();
    assert!(whole.len() > 40, "{}", whole.len());
    for cut in 0..=stream.len() {
        let (first, second) = stream.split_at(cut);
        assert_eq!(judge(Stage::Message, [first, second]).unwrap(), whole, "cut at {cut}");
    }
}
