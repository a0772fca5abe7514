//! The body of fuzz target `session`: any sequence of operations on one pure end of a connection, in each role.
//!
//! What this file is for: one body for two users, cargo-fuzz and the ordinary test run. What it
//! deliberately does not do: anything but drive the ends of `ends.rs` and assert. A broken promise is a
//! panic.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "ends.rs"]
pub mod ends;

use ends::{ASKED_MAX, End, Fds, HostEnd, Made, PartsEnd, Told, policy};
use rpc_plugin_peer::{Role, Time};
use rpc_plugin_wire::limits::STREAMS_MAX;
use rpc_plugin_wire::stream::StreamFrame;
use rpc_plugin_wire::{ErrorCode, ErrorObject, Outcome, RequestId};
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::time::Duration;

/// What may become of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It waits; so many bytes had been written when it was made.
    Open(usize),
    Cancelled,
    Ended,
}

/// Operations from here on are about descriptors, streams, progress, and requests that are given up.
const BESIDE_MIN: u8 = 224;

/// Descriptors of nothing.
fn nulls(count: u8) -> Fds {
    static NULL: OnceLock<File> = OnceLock::new();
    let null = NULL.get_or_init(|| File::open("/dev/null").unwrap());
    (0..count).map(|_| OwnedFd::from(null.try_clone().unwrap()).into()).collect()
}

struct Bench<E> {
    end: E,
    now: Time,
    calls: BTreeMap<u64, Fate>,
    made: u64,
    written_bytes: usize,
    over: bool,
    /// Whether frames are handed to a writer of its own, with which they count as sent.
    has_writer: bool,
    /// Whether no hello is to come before anything else.
    is_greeted: bool,
}

/// Every byte is an operation, the bytes after it are its arguments; see `Bench::operate`. The host's session goes
/// through them, and so do the parts of both roles, with descriptors and with streams in band.
pub fn session(data: &[u8]) {
    drive(data, HostEnd::new(true), false, false);
    for (role, passes_fds) in [(Role::Plugin, true), (Role::Plugin, false), (Role::Host, false)] {
        for is_threaded in [false, true] {
            drive(data, PartsEnd::new(role, passes_fds, is_threaded), is_threaded, true);
        }
    }
}

fn drive(data: &[u8], end: impl End, has_writer: bool, is_greeted: bool) {
    let mut bench = Bench {
        end,
        now: Time::ZERO,
        calls: BTreeMap::new(),
        made: 0,
        written_bytes: 0,
        over: false,
        has_writer,
        is_greeted,
    };
    let mut rest = data;
    while let [operation, argument, later @ ..] = rest {
        rest = bench.operate(*operation, *argument, later);
        bench.check();
    }
    // However it stands: its end ends everything.
    bench.end.close(bench.now);
    bench.check();
    let open = bench.calls.values().filter(|fate| matches!(fate, Fate::Open(_))).count();
    assert_eq!(open, 0, "a call never ended");
    assert_eq!(bench.end.figures().timers, 0, "a timer is left behind");
}

impl<E: End> Bench<E> {
    fn operate<'a>(&mut self, operation: u8, argument: u8, later: &'a [u8]) -> &'a [u8] {
        let id = u64::from(argument % 16);
        if let Some(beside) = operation.checked_sub(BESIDE_MIN) {
            self.beside(beside, argument);
            return later;
        }
        match operation % 14 {
            0 => {
                let (bytes, later) = later.split_at(usize::from(argument).min(later.len()));
                self.push(bytes);
                return later;
            }
            1 => self.push_line(&json!({"jsonrpc": "2.0", "id": id, "result": {}})),
            2 => self
                .push_line(&json!({"jsonrpc": "2.0", "id": id, "error": {"code": argument, "message": ""}})),
            3 => self.push_line(&json!({"jsonrpc": "2.0", "id": argument, "method": "host.log"})),
            4 => self.push_hello(argument),
            5 | 6 => self.request(argument, Vec::new()),
            7 => self.cancel(u64::from(argument)),
            8 | 9 => {
                self.now = self.now.plus(Duration::from_micros(u64::from(argument) * 500));
                self.end.pass(self.now);
            }
            10 => self.write(usize::from(argument)),
            11 => self.write(usize::from(argument) * 256),
            12 => {
                let error =
                    ErrorObject::new(ErrorCode::MethodNotFound, "x".repeat(usize::from(argument) * 8));
                self.end.answer(self.now, &RequestId::Number(argument.into()), Err(error), Vec::new());
            }
            _ if argument > 250 => self.end.end_of_stream(self.now),
            _ => self.push(&vec![b'x'; usize::from(argument) * 64]),
        }
        later
    }

    fn beside(&mut self, operation: u8, argument: u8) {
        let id = argument % 16;
        match operation % 16 {
            // As many as are announced, or not: so many of each.
            0 | 10 => self.push_fds(
                &json!({"jsonrpc": "2.0", "id": argument, "method": "kv", "fds": argument % 4}),
                argument / 4 % 4,
            ),
            1 => self.push_fds(&json!({"jsonrpc": "2.0", "id": id, "result": {}, "fds": id}), id),
            2 => self
                .push_fds(&json!({"jsonrpc": "2.0", "method": "rpc.x", "fds": argument % 20}), argument % 20),
            // With the first byte of whatever comes next.
            3 => self.end.read(self.now, b"{", nulls(argument % 40), false),
            4 => {
                let params = json!({"id": id, "value": argument});
                self.push_line(&json!({"jsonrpc": "2.0", "method": "rpc.progress", "params": params}));
            }
            5 => {
                let params = json!({"id": argument});
                self.push_line(&json!({"jsonrpc": "2.0", "method": "rpc.cancel", "params": params}));
            }
            6 => self.request(argument, nulls(argument % 17)),
            7 => self.answer(argument, nulls(argument % 20)),
            8 => {
                let value = RawValue::from_string(format!("\"{}\"", "p".repeat(usize::from(argument) * 70)));
                self.end.progress(&RequestId::Number(id.into()), &value.unwrap());
            }
            11 => self.push_line(
                &json!({"jsonrpc": "2.0", "id": argument, "method": "kv", "streams": [id, id + 2]}),
            ),
            12 => self.push_line(&json!({"jsonrpc": "2.0", "id": id, "result": 1, "streams": [argument]})),
            13 => {
                let params = json!({"stream": id});
                self.push_line(&json!({"jsonrpc": "2.0", "method": "rpc.stream.end", "params": params}));
            }
            14 => {
                for (number, _) in self.end.announced() {
                    self.end.send_stream(&StreamFrame::End { stream: number });
                }
            }
            15 => self.end.send_stream(&StreamFrame::Drop { stream: id.into() }),
            _ if argument > 200 => self.end.read(self.now, b"", Vec::new(), true),
            _ => self.end.fds_refused(self.now),
        }
    }

    fn push_fds(&mut self, value: &serde_json::Value, count: u8) {
        self.end.read(self.now, format!("{value}\n").as_bytes(), nulls(count), false);
    }

    fn push_line(&mut self, value: &serde_json::Value) {
        self.push(format!("{value}\n").as_bytes());
    }

    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(97) {
            self.end.read(self.now, piece, Vec::new(), false);
        }
    }

    /// Right when no bit of `wrong` is set.
    fn push_hello(&mut self, wrong: u8) {
        if self.is_greeted {
            return;
        }
        let is = |bit: u8| wrong & 1 << bit != 0;
        self.push_line(&json!({
            "jsonrpc": "2.0", "id": 0, "method": "host.hello",
            "params": {
                "token": if is(0) { "08" } else { "07" }.repeat(32),
                "plugin_id": if is(1) { "other" } else { "echo" },
                "generation": if is(2) { 2 } else { 1 },
                "protocols": [u8::from(!is(3))], "version": "1",
                "capabilities": if is(4) { json!([]) } else { json!(["echo"]) },
                "features": if is(5) { json!(["fds"]) } else { json!([]) },
            },
        }));
        // An open session that gets another hello is over; a right one opens it only once.
        assert!(wrong & 31 == 0 || !self.end.is_open(), "a wrong hello opened the session");
    }

    fn request(&mut self, argument: u8, fds: Fds) {
        self.made += 1;
        let params = format!("{{\"x\":\"{}\"}}", "y".repeat(usize::from(argument) * 70));
        let made = Made {
            params: Some(params),
            timeout: Duration::from_millis(u64::from(argument % 64)),
            wants_progress: argument & 1 == 1,
            fds,
        };
        let was_open = self.end.is_open();
        match self.end.call(self.now, self.made, made) {
            Ok(()) => {
                assert!(was_open, "a session that is not open takes calls");
                self.calls.insert(self.made, Fate::Open(self.written_bytes));
            }
            Err(error) => assert_eq!(error.outcome, Outcome::NotSent, "a refused call is not sent"),
        }
    }

    fn cancel(&mut self, number: u64) {
        let was_there = self.end.cancel(self.now, number).is_some();
        let fate = self.calls.get_mut(&number);
        assert_eq!(was_there, fate.as_ref().is_some_and(|fate| matches!(fate, Fate::Open(_))));
        if let Some(fate) = fate.filter(|_| was_there) {
            *fate = Fate::Cancelled;
        }
    }

    fn write(&mut self, bytes: usize) {
        let bytes = bytes.min(self.end.waiting().0.len());
        self.end.wrote(bytes);
        self.written_bytes += bytes;
    }

    /// With a result that fits, or one that does not.
    fn answer(&mut self, argument: u8, fds: Fds) {
        let text = format!("\"{}\"", "r".repeat(usize::from(argument) * 70));
        let result = RawValue::from_string(text).unwrap();
        let was_open = self.end.is_open();
        self.end.answer(self.now, &RequestId::Number(argument.into()), Ok(&result), fds);
        let waiting_bytes = self.end.figures().waiting_bytes;
        let small = waiting_bytes <= policy().outbox_bytes_max + policy().frame_bytes_max;
        assert!(
            !was_open || !small || self.end.is_open(),
            "a result that does not fit is no fault of the peer"
        );
    }

    fn check(&mut self) {
        while let Some(told) = self.end.poll() {
            assert!(!self.over, "after the fault came {told:?}");
            match told {
                Told::Fault(_) => self.over = true,
                Told::Ended { call, result, .. } => {
                    let fate = self.calls.get_mut(&call).expect("only calls that were made end");
                    let Fate::Open(before) = *fate else { panic!("call {call} was {fate:?} and ends") };
                    *fate = Fate::Ended;
                    let sent = result.as_ref().err().is_none_or(|error| error.outcome != Outcome::NotSent);
                    let is_written = self.written_bytes > before || self.has_writer;
                    assert!(!sent || is_written, "call {call} was never written");
                }
                Told::Progress(call) => {
                    let is_open = matches!(self.calls.get(&call), Some(Fate::Open(_)));
                    assert!(is_open, "call {call} goes on after its end");
                }
                Told::Asked { fds, streams, .. } => {
                    assert!(fds.len() <= 16 && streams.len() <= STREAMS_MAX, "{} descriptors", fds.len());
                    assert!(fds.is_empty() || streams.is_empty());
                }
                _ => {}
            }
        }
        let policy = policy();
        let figures = self.end.figures();
        assert!(figures.calls <= policy.calls_in_flight_max, "{figures:?}");
        assert!(figures.timers <= figures.calls, "more timers than calls: {figures:?}");
        assert!(!self.over || (figures.calls == 0 && !self.end.is_open()), "it goes on after its fault");
        assert!(figures.waiting_fds <= 16 && figures.asked <= ASKED_MAX, "{figures:?}");
        let waiting_bytes_max = policy.outbox_bytes_max + policy.frame_bytes_max + 4096;
        assert!(figures.waiting_bytes <= waiting_bytes_max, "{figures:?}");
    }
}
