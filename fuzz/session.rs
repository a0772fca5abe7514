//! The body of fuzz target `session`: any sequence of operations on one pure session.
//!
//! What this file is for: one body for two users, cargo-fuzz and the ordinary test run. What it
//! deliberately does not do: anything but drive `state::session` and assert. A broken promise is a
//! panic.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use rpc_plugin_system::state::keys::{CallKey, Caller, Cx, PluginKey, Timer};
use rpc_plugin_system::state::policy::Policy;
use rpc_plugin_system::state::session::{Expectation, NewCall, Session, SessionEvent};
use rpc_plugin_system::state::time::Time;
use rpc_plugin_system::state::wheel::Wheel;
use rpc_plugin_wire::{Chain, ErrorCode, ErrorObject, Generation, Outcome, RequestId, Token};
use serde_json::json;
use serde_json::value::RawValue;
use std::borrow::Cow;
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

/// Operations from here on are about descriptors, progress, and requests that are given up.
const BESIDE_MIN: u8 = 224;

/// Descriptors of nothing.
fn nulls(count: u8) -> Vec<OwnedFd> {
    static NULL: OnceLock<File> = OnceLock::new();
    let null = NULL.get_or_init(|| File::open("/dev/null").unwrap());
    (0..count).map(|_| null.try_clone().unwrap().into()).collect()
}

struct Bench {
    session: Session,
    timers: Wheel<Timer>,
    now: Time,
    calls: BTreeMap<u64, Fate>,
    made: u64,
    written_bytes: usize,
    over: bool,
}

fn policy() -> Policy {
    Policy {
        calls_in_flight_max: 5,
        frame_bytes_max: 16 * 1024,
        outbox_bytes_max: 20_000,
        cancel_grace: Duration::from_millis(20),
        ..Policy::default()
    }
}

/// Every byte is an operation, the bytes after it are its arguments; see `Bench::operate`.
pub fn session(data: &[u8]) {
    let expectation = Expectation {
        plugin: PluginKey(0),
        plugin_id: "echo".parse().unwrap(),
        generation: Generation::FIRST,
        token: Token::from_bytes([7; 32]),
        interfaces: BTreeMap::new(),
        passes_fds: true,
    };
    let mut bench = Bench {
        session: Session::new(expectation, &policy()),
        timers: Wheel::default(),
        now: Time::ZERO,
        calls: BTreeMap::new(),
        made: 0,
        written_bytes: 0,
        over: false,
    };
    let mut rest = data;
    while let [operation, argument, later @ ..] = rest {
        rest = bench.operate(*operation, *argument, later);
        bench.check();
    }
    // However it stands: its end ends everything.
    let mut cx = Cx { now: bench.now, timers: &mut bench.timers };
    bench.session.close(&mut cx);
    bench.check();
    let open = bench.calls.values().filter(|fate| matches!(fate, Fate::Open(_))).count();
    assert_eq!(open, 0, "a call never ended");
    assert!(bench.timers.is_empty(), "a timer is left behind");
}

impl Bench {
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
            5 | 6 => self.request(argument),
            7 => self.cancel(u64::from(argument)),
            8 | 9 => self.pass(Duration::from_micros(u64::from(argument) * 500)),
            10 => self.write(usize::from(argument)),
            11 => self.write(usize::from(argument) * 256),
            12 => self.answer(argument),
            _ if argument > 250 => {
                let mut cx = Cx { now: self.now, timers: &mut self.timers };
                self.session.handle_end_of_stream(&mut cx);
            }
            _ => self.push(&vec![b'x'; usize::from(argument) * 64]),
        }
        later
    }

    fn beside(&mut self, operation: u8, argument: u8) {
        let id = argument % 16;
        match operation % 10 {
            // As many as are announced, or not: so many of each.
            0 => self.push_fds(
                &json!({"jsonrpc": "2.0", "id": argument, "method": "kv", "fds": argument % 4}),
                argument / 4 % 4,
            ),
            1 => self.push_fds(&json!({"jsonrpc": "2.0", "id": id, "result": {}, "fds": id}), id),
            2 => self
                .push_fds(&json!({"jsonrpc": "2.0", "method": "rpc.x", "fds": argument % 20}), argument % 20),
            // With the first byte of whatever comes next.
            3 => self.read(b"{", nulls(argument % 40)),
            4 => {
                let params = json!({"id": id, "value": argument});
                self.push_line(&json!({"jsonrpc": "2.0", "method": "rpc.progress", "params": params}));
            }
            5 => {
                let params = json!({"id": argument});
                self.push_line(&json!({"jsonrpc": "2.0", "method": "rpc.cancel", "params": params}));
            }
            6 => self.request_with(argument, nulls(argument % 17)),
            7 => self.answer_with(argument, nulls(argument % 20)),
            8 => {
                let value = RawValue::from_string(format!("\"{}\"", "p".repeat(usize::from(argument) * 70)));
                self.session.progress(&RequestId::Number(id.into()), &value.unwrap());
            }
            _ if argument > 200 => self.session.fds_were_dropped(),
            _ => {
                let mut cx = Cx { now: self.now, timers: &mut self.timers };
                self.session.fds_were_refused(&mut cx, "too many");
            }
        }
    }

    fn push_fds(&mut self, value: &serde_json::Value, count: u8) {
        self.read(format!("{value}\n").as_bytes(), nulls(count));
    }

    fn read(&mut self, bytes: &[u8], fds: Vec<OwnedFd>) {
        self.session.space(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.session.filled(bytes.len(), fds);
        let mut cx = Cx { now: self.now, timers: &mut self.timers };
        while self.session.handle_frames(&mut cx, 2) {}
    }

    fn push_line(&mut self, value: &serde_json::Value) {
        self.push(format!("{value}\n").as_bytes());
    }

    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(97) {
            self.session.space(100)[..piece.len()].copy_from_slice(piece);
            self.session.filled(piece.len(), Vec::new());
            let mut cx = Cx { now: self.now, timers: &mut self.timers };
            while self.session.handle_frames(&mut cx, 2) {}
        }
    }

    /// Right when no bit of `wrong` is set.
    fn push_hello(&mut self, wrong: u8) {
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
        assert!(wrong & 31 == 0 || !self.session.is_open(), "a wrong hello opened the session");
    }

    fn request(&mut self, argument: u8) {
        self.request_with(argument, Vec::new());
    }

    fn request_with(&mut self, argument: u8, fds: Vec<OwnedFd>) {
        self.made += 1;
        let params = format!("{{\"x\":\"{}\"}}", "y".repeat(usize::from(argument) * 70));
        let call = NewCall {
            caller: Caller::Call(CallKey(self.made)),
            method: Cow::Borrowed("echo"),
            params: Some(params),
            timeout: Duration::from_millis(u64::from(argument % 64)),
            progress: argument & 1 == 1,
            chain: Chain::default(),
            fds,
        };
        let was_open = self.session.is_open();
        let mut cx = Cx { now: self.now, timers: &mut self.timers };
        match self.session.request(&mut cx, call) {
            Ok(()) => {
                assert!(was_open, "a session that is not open takes calls");
                self.calls.insert(self.made, Fate::Open(self.written_bytes));
            }
            Err(error) => assert_eq!(error.outcome, Outcome::NotSent, "a refused call is not sent"),
        }
    }

    fn cancel(&mut self, number: u64) {
        let mut cx = Cx { now: self.now, timers: &mut self.timers };
        let cancelled = self.session.cancel(&mut cx, Caller::Call(CallKey(number)));
        let was_there = cancelled.is_some();
        let fate = self.calls.get_mut(&number);
        assert_eq!(was_there, fate.as_ref().is_some_and(|fate| matches!(fate, Fate::Open(_))));
        if let Some(fate) = fate.filter(|_| was_there) {
            *fate = Fate::Cancelled;
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
        while let Some(timer) = self.timers.pop_expired(self.now) {
            let Timer::Call(_, _, id) = timer else { panic!("not a session's timer: {timer:?}") };
            let mut cx = Cx { now: self.now, timers: &mut self.timers };
            self.session.handle_timer(&mut cx, id);
        }
    }

    fn write(&mut self, bytes: usize) {
        let bytes = bytes.min(self.session.waiting().len());
        self.session.wrote(bytes);
        self.written_bytes += bytes;
    }

    fn answer(&mut self, argument: u8) {
        let mut cx = Cx { now: self.now, timers: &mut self.timers };
        let error = ErrorObject::new(ErrorCode::MethodNotFound, "x".repeat(usize::from(argument) * 8));
        self.session.answer(&mut cx, &RequestId::Number(u64::from(argument)), Err(error), Vec::new());
    }

    /// With a result that fits, or one that does not.
    fn answer_with(&mut self, argument: u8, fds: Vec<OwnedFd>) {
        let text = format!("\"{}\"", "r".repeat(usize::from(argument) * 70));
        let result = RawValue::from_string(text).unwrap();
        let mut cx = Cx { now: self.now, timers: &mut self.timers };
        let was_open = self.session.is_open();
        self.session.answer(&mut cx, &RequestId::Number(u64::from(argument)), Ok(&result), fds);
        let small = self.session.waiting_bytes() <= policy().outbox_bytes_max + policy().frame_bytes_max;
        assert!(
            !was_open || !small || self.session.is_open(),
            "a result that does not fit is no fault of the peer"
        );
    }

    fn check(&mut self) {
        while let Some(event) = self.session.poll_event() {
            assert!(!self.over, "after the fault came {event:?}");
            match event {
                SessionEvent::Fault(_) => self.over = true,
                SessionEvent::Completed { caller: Caller::Call(CallKey(number)), result, .. } => {
                    let fate = self.calls.get_mut(&number).expect("only calls that were made end");
                    let Fate::Open(before) = *fate else { panic!("call {number} was {fate:?} and ends") };
                    *fate = Fate::Ended;
                    let sent = result.as_ref().err().is_none_or(|error| error.outcome != Outcome::NotSent);
                    assert!(!sent || self.written_bytes > before, "call {number} was never written");
                }
                SessionEvent::Progress(CallKey(number), _) => {
                    let is_open = matches!(self.calls.get(&number), Some(Fate::Open(_)));
                    assert!(is_open, "call {number} goes on after its end");
                }
                SessionEvent::Asked(asked) => {
                    assert!(asked.fds.len() <= 16, "{} descriptors", asked.fds.len())
                }
                SessionEvent::Completed { caller, .. } => panic!("nobody asked as {caller:?}"),
                _ => {}
            }
        }
        let policy = policy();
        let in_flight = self.session.calls_in_flight();
        assert!(in_flight <= policy.calls_in_flight_max, "{in_flight} calls in flight");
        assert!(self.timers.len() <= in_flight, "more timers than calls");
        assert!(!self.over || (in_flight == 0 && !self.session.is_open()), "it goes on after its fault");
        assert!(self.session.waiting_fds().len() <= 16 || self.session.waiting().is_empty());
        let waiting_bytes = self.session.waiting_bytes();
        assert_eq!(waiting_bytes, self.session.all_waiting().len());
        assert_eq!(waiting_bytes == 0, self.session.waiting().is_empty());
        let waiting_bytes_max = policy.outbox_bytes_max + policy.frame_bytes_max + 4096;
        assert!(waiting_bytes <= waiting_bytes_max, "{waiting_bytes} bytes wait");
    }
}
