//! Tests of what becomes of printed bytes, in virtual time.

use super::lines::{LINE_BYTES_MAX, SPLIT_MARKER};
use super::*;
use crate::state::time::Time;
use rpc_plugin_wire::event::Level;
use serde_json::json;
use std::time::Duration;

const MIB: usize = 1024 * 1024;
const EVENTS: Treatment = Treatment::Events { bytes_per_second_max: 64 * MIB };

fn at_ms(ms: u64) -> Time {
    Time::ZERO.plus(Duration::from_millis(ms))
}

fn line(text: &str) -> Printed {
    Printed::Line(text.to_owned())
}

fn report(kind: ReportKind, text: &str) -> Printed {
    Printed::Report { kind, text: text.to_owned(), lines: text.split('\n').count() }
}

fn printed_by(treatment: Treatment, parts: &[&[u8]]) -> Vec<Printed> {
    let (mut capture, mut out) = (Capture::new(OutputStream::Stderr, treatment), Vec::new());
    for part in parts {
        capture.push(Time::ZERO, part, &mut out);
    }
    capture.finish(Time::ZERO, &mut out);
    assert_eq!(capture.next_at(), None, "nothing waits after the end");
    out
}

fn printed(text: &str) -> Vec<Printed> {
    printed_by(EVENTS, &[text.as_bytes()])
}

const PANIC: &str = "thread 'plugin-work-1' (4711) panicked at src/main.rs:7:9:\nindex out of bounds\n{\"not\": 1}\n\
    stack backtrace:\n   0: rust_begin_unwind\n             at /rustc/library/std/src/panicking.rs:645:5\n   \
    1: main\nnote: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.";
const PANIC_SHORT: &str = "thread 'main' panicked at src/main.rs:2:5:\noh no\nnote: run with `RUST_BACKTRACE=1` \
    environment variable to display a backtrace";
const PANIC_OLD: &str =
    "thread 'main' panicked at 'oh no', src/main.rs:2:5\nnote: run with `RUST_BACKTRACE=1`";
const TRACEBACK: &str = "Traceback (most recent call last):\n  File \"a.py\", line 3, in f\n    1 / 0\n    ~~^~~\n\
    ZeroDivisionError: division by zero\n\nDuring handling of the above exception, another exception occurred:\n\n\
    Traceback (most recent call last):\n  File \"a.py\", line 9, in <module>\n    g()\nValueError: no";
const GROUP: &str = "  + Exception Group Traceback (most recent call last):\n  |   File \"a.py\", line 1\n  \
    | ExceptionGroup: two (2 sub-exceptions)\n  +-+---------------- 1 ----------------\n    | ValueError: 1\n    \
    +------------------------------------";
const ASAN: &str = "==12==ERROR: AddressSanitizer: heap-use-after-free on address 0x1\nREAD of size 4\n    #0 0x1 in \
    main a.c:3\n\nSUMMARY: AddressSanitizer: heap-use-after-free a.c:3\n==12==ABORTING";

#[test]
fn lines_are_cut_where_they_end_however_they_arrive() {
    let expected = vec![line("one"), line(""), line("two\u{fffd}"), line("rest")];
    assert_eq!(printed_by(EVENTS, &[b"one\n\ntwo\xff\r\nrest"]), expected);
    assert_eq!(printed_by(EVENTS, &[b"on", b"e\n", b"\nt", b"wo\xff\r", b"\nre", b"st"]), expected);
}

#[test]
fn a_long_line_is_split_with_a_marker_and_between_characters() {
    let long = vec![b'x'; LINE_BYTES_MAX * 2 + 5];
    let out = printed_by(EVENTS, &[&long, b"\nnext\n"]);
    assert_eq!(out.len(), 4);
    assert!(matches!(&out[0], Printed::Line(text) if text.len() == LINE_BYTES_MAX + SPLIT_MARKER.len()));
    assert_eq!(out[2..], [line("xxxxx"), line("next")]);
    let exact = vec![b'y'; LINE_BYTES_MAX];
    assert_eq!(printed_by(EVENTS, &[&exact, b"\n"]).len(), 1, "a line of just that length is whole");

    for text in ["é", "€", "🦀"] {
        for before in 0..4 {
            let whole = format!("{}{}", "x".repeat(before), text.repeat(LINE_BYTES_MAX));
            let pieces: String = printed(&whole)
                .iter()
                .map(|piece| match piece {
                    Printed::Line(text) => text.strip_suffix(SPLIT_MARKER).unwrap_or(text).to_owned(),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert!(pieces == whole, "{text} after {before} bytes");
        }
    }
    let unfinished = vec![0xf0; LINE_BYTES_MAX + 1];
    assert_eq!(printed_by(EVENTS, &[&unfinished]).len(), 2, "what only begins characters is split as well");
}

#[test]
fn a_line_of_json_with_level_and_message_is_an_event() {
    let table = [
        (r#"{"level":"info","message":"m"}"#, Level::Info, "m", None),
        (
            r#" {"level":"WARNING","message":"","a":1,"b":{"c":[]}} "#,
            Level::Warn,
            "",
            Some(json!({"a":1,"b":{"c":[]}})),
        ),
        (
            r#"{"message":"x","event":"exited","level":"fatal"}"#,
            Level::Error,
            "x",
            Some(json!({"event":"exited"})),
        ),
        (r#"{"message":"x","level":"trace"}"#, Level::Debug, "x", None),
    ];
    for (text, level, message, details) in table {
        let expected = Structured { level, message: message.to_owned(), details };
        assert_eq!(printed(text), [Printed::Structured(expected)], "{text}");
    }
    let deep = format!(r#"{{"level":"info","message":"m","a":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    for ordinary in [
        "{}",
        r#"{"level":"info"}"#,
        r#"{"level":"loud","message":"m"}"#,
        r#"{"level":3,"message":"m"}"#,
        r#"{"level":"info","message":["m"]}"#,
        r#"{"level":"info","message":"m"} and more"#,
        r#"["info","m"]"#,
        &deep,
    ] {
        assert_eq!(printed(ordinary), [line(ordinary)]);
    }
}

#[test]
fn panics_and_tracebacks_are_one_event_each_and_nothing_else_is_in_it() {
    use ReportKind::*;
    let table = [(Panic, PANIC), (Panic, PANIC_SHORT), (Panic, PANIC_OLD), (Traceback, TRACEBACK)];
    for (kind, text) in table.into_iter().chain([(Traceback, GROUP), (Sanitizer, ASAN)]) {
        let out = printed(&format!("before\n{text}\nafter\n"));
        assert_eq!(out, [line("before"), report(kind, text), line("after")], "{text}");
        let twice = printed(&format!("{text}\n{text}"));
        assert_eq!(twice, [report(kind, text), report(kind, text)], "{text}");
    }
}

#[test]
fn a_report_without_an_end_takes_no_more_than_it_has_to() {
    let json = r#"{"level":"info","message":"m"}"#;
    let header = "thread 'a' panicked at src/a.rs:1:1:";
    let event = Structured { level: Level::Info, message: "m".to_owned(), details: None };
    assert_eq!(
        printed(&format!("{header}\nboom\n{json}\n")),
        [report(ReportKind::Panic, &format!("{header}\nboom")), Printed::Structured(event)]
    );
    let many = printed(&format!("{header}\n{}", "x\n".repeat(20)));
    assert!(matches!(&many[0], Printed::Report { lines: 17, .. }), "{:?}", many[0]);
    assert_eq!(many[1..], [line("x"), line("x"), line("x"), line("x")]);

    // The blank line after a traceback is its own when nothing goes on.
    let first = TRACEBACK.split("\n\n").next().unwrap();
    assert_eq!(
        printed(&format!("{first}\n\nDuring a walk\n")),
        [report(ReportKind::Traceback, first), line(""), line("During a walk")]
    );
    assert_eq!(printed(&format!("{first}\n\n")), [report(ReportKind::Traceback, first), line("")]);
    assert_eq!(printed("thread 'a' sleeps\nTraceback\n==1==\n").len(), 3);
}

#[test]
fn a_report_of_any_length_is_bounded_events_and_loses_nothing() {
    let mut text = "Traceback (most recent call last):\n".to_owned();
    for number in 0..2000 {
        text += &format!("  File \"a.py\", line {number}, in {}\n", "x".repeat(number % 200));
    }
    text += "RecursionError: deep";
    let mut seen = Vec::new();
    for event in printed(&format!("{text}\nafter\n")) {
        match event {
            Printed::Report { text, lines, .. } => {
                assert!(lines <= 500 && text.len() < 32 * 1024 + LINE_BYTES_MAX, "{lines} {}", text.len());
                seen.push(text);
            }
            other => assert_eq!(other, line("after")),
        }
    }
    assert!(seen.len() > 4);
    assert!(seen.join("\n") == text);
}

#[test]
fn a_report_waits_for_its_end_only_so_long() {
    let (mut capture, mut out) = (Capture::new(OutputStream::Stderr, EVENTS), Vec::new());
    assert_eq!(capture.next_at(), None);
    capture.push(at_ms(0), b"thread 'a' panicked at a.rs:1:1:\n", &mut out);
    assert_eq!(capture.next_at(), Some(at_ms(2000)), "its message is to come");
    capture.push(at_ms(100), b"boom\nhalf a li", &mut out);
    assert_eq!(capture.next_at(), Some(at_ms(300)), "it may be whole");
    capture.handle_time(at_ms(299), &mut out);
    assert_eq!(out, []);
    capture.handle_time(at_ms(300), &mut out);
    assert_eq!(out, [report(ReportKind::Panic, "thread 'a' panicked at a.rs:1:1:\nboom")]);
    assert_eq!(capture.next_at(), None);
    capture.push(at_ms(301), b"ne\nstack backtrace:\n", &mut out);
    assert_eq!(out[1..], [line("half a line"), line("stack backtrace:")]);

    let (mut capture, mut out) = (Capture::new(OutputStream::Stderr, EVENTS), Vec::new());
    capture.push(at_ms(0), b"Traceback (most recent call last):\n", &mut out);
    for second in 1..10 {
        capture.push(at_ms(second * 1000), b"  slowly\n", &mut out);
    }
    assert_eq!((out.len(), capture.next_at()), (0, Some(at_ms(10_000))), "whatever follows");
}

#[test]
fn a_flood_is_bounded_counted_and_told_once_there_is_room() {
    let rate = Treatment::Events { bytes_per_second_max: MIB };
    let (mut capture, mut out) = (Capture::new(OutputStream::Stderr, rate), Vec::new());
    for number in 0..5000 {
        capture.push(at_ms(0), format!("{number:4}\n").as_bytes(), &mut out);
    }
    // An event counts 512 bytes and its text.
    let admitted = MIB / (512 + 4) + 1;
    assert_eq!(out.len(), admitted);
    let resumes_at = capture.next_at().unwrap();
    assert!((at_ms(990)..at_ms(1010)).contains(&resumes_at), "{resumes_at:?}");
    capture.handle_time(at_ms(900), &mut out);
    capture.push(at_ms(900), b"more\n", &mut out);
    assert_eq!(out.len(), admitted, "not with each line that would just fit");
    capture.handle_time(resumes_at, &mut out);
    let lines = 5001 - admitted as u64;
    assert_eq!(out[admitted..], [Printed::Dropped { lines, bytes: lines * 4 }]);
    assert_eq!(capture.next_at(), None, "no timer while nothing waits");
    capture.push(resumes_at, b"later\n", &mut out);
    assert_eq!(out.last(), Some(&line("later")));
    let tail = capture.take_tail();
    assert_eq!(tail[..6], ["   0", "   1", "   2", "   3", "   4", "[4977 lines left out]"]);
    assert_eq!((tail.len(), &tail[23..]), (26, &["4999".into(), "more".into(), "later".into()][..]));

    for _ in 0..5000 {
        capture.push(resumes_at, b"x\n", &mut out);
    }
    capture.finish(resumes_at, &mut out);
    assert!(matches!(out.last(), Some(Printed::Dropped { .. })), "the end does not wait");

    let (mut capture, mut out) = (Capture::new(OutputStream::Stdout, rate), Vec::new());
    let block = vec![b'x'; MIB];
    for ms in (0..10_000).step_by(10) {
        capture.handle_time(at_ms(ms), &mut out);
        capture.push(at_ms(ms), &block[..64 * 1024], &mut out);
    }
    let bytes: usize =
        out.iter().map(|event| if let Printed::Line(text) = event { text.len() } else { 0 }).sum();
    assert!((5 * MIB..11 * MIB + 2 * LINE_BYTES_MAX).contains(&bytes), "{bytes} bytes in ten seconds");
    assert!(capture.take_tail().is_empty(), "of standard error only");
}

#[test]
fn lines_for_a_program_are_all_lines_as_they_are() {
    let text = format!("{PANIC}\n{{\"level\":\"info\",\"message\":\"m\"}}\n");
    let out = printed_by(Treatment::Lines, &[text.as_bytes()]);
    let lines: Vec<Printed> = text.lines().map(line).collect();
    assert_eq!(out, lines);
}

/// Random pieces of all that is special, in random order, cut at random places.
#[test]
fn any_split_of_the_same_bytes_gives_the_same_events() {
    let long = "ü".repeat(LINE_BYTES_MAX);
    let pieces: [&[u8]; 25] = [
        PANIC.as_bytes(),
        PANIC_SHORT.as_bytes(),
        PANIC_OLD.as_bytes(),
        TRACEBACK.as_bytes(),
        GROUP.as_bytes(),
        ASAN.as_bytes(),
        b"thread 'a' panicked at a.rs:1:1:",
        b"Traceback (most recent call last):",
        b"During handling of the above exception, another exception occurred:",
        b"stack backtrace:",
        b"note: x",
        br#"{"level":"info","message":"m","n":1}"#,
        b"  indented",
        b"panic: no",
        b"goroutine 1 [running]:",
        b"/srv/a.js:3",
        b"    ^",
        b"Error: x",
        b"    at f (a.js:1:2)",
        b"plain",
        b"\r",
        b"\xff\xfe\xf0\x9f",
        b"\xe2\x82",
        b"\n",
        long.as_bytes(),
    ];
    let rate = [EVENTS, Treatment::Events { bytes_per_second_max: 20_000 }, Treatment::Lines];
    for seed in 0..100 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut bytes = Vec::new();
        for _ in 0..rng.usize(1..30) {
            // The last one is long, and seldom.
            let kinds = pieces.len() - usize::from(rng.u8(0..8) > 0);
            bytes.extend_from_slice(pieces[rng.usize(0..kinds)]);
            if rng.u8(0..5) > 0 {
                bytes.push(b'\n');
            }
        }
        let treatment = rate[rng.usize(0..rate.len())];
        let whole = printed_by(treatment, &[&bytes]);
        for longest in [1, 7, 5000] {
            let (mut parts, mut rest) = (Vec::new(), &bytes[..]);
            while !rest.is_empty() {
                let (part, more) = rest.split_at(rng.usize(1..=longest).min(rest.len()));
                parts.push(part);
                rest = more;
            }
            assert!(printed_by(treatment, &parts) == whole, "seed {seed}, pieces of at most {longest}");
        }
    }
}
