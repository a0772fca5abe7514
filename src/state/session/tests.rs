//! One session by itself: every attack of protocol section 3 that bytes can make, and every way in
//! which a call ends (section 5).

use super::*;
use crate::state::call::{CallRequest, Target};
use crate::state::keys::{CallKey, PluginKey, Timer};
use crate::state::time::Time;
use crate::state::wheel::Wheel;
use rpc_plugin_wire::{CallError, ErrorCode, ErrorObject, Generation, Outcome, RequestId, Token};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

#[path = "tests_bad_frames.rs"]
mod bad_frames;
#[path = "tests_bounds.rs"]
mod bounds;
#[path = "tests_fds.rs"]
mod fds;
#[path = "tests_features.rs"]
mod features;

const MS: Duration = Duration::from_millis(1);

/// What the tests of sessions, plugins and supervisors do with the bytes of one.
impl Session {
    /// Writes all that waits, in one piece.
    pub(in crate::state) fn write_all(&mut self) -> String {
        let all = self.queue().all_waiting();
        while !self.queue().waiting().0.is_empty() {
            self.queue_mut().wrote(usize::MAX);
        }
        String::from_utf8(all).unwrap()
    }

    /// Writes all that waits; methods and ids of the requests in it.
    pub(in crate::state) fn write_requests(&mut self) -> Vec<(String, u64)> {
        let text = self.write_all();
        let requests = text.lines().filter_map(|line| {
            let frame: Value = serde_json::from_str(line).unwrap();
            Some((frame["method"].as_str()?.to_owned(), frame["id"].as_u64()?))
        });
        requests.collect()
    }

    /// Takes in what one read brought; its frames are not handled yet.
    pub(in crate::state) fn take_in(&mut self, bytes: &[u8]) {
        self.receiver_mut().space(bytes.len()).copy_from_slice(bytes);
        self.receiver_mut().filled(bytes.len(), Vec::new(), false);
    }
}

/// A session with the time and timers around it.
struct Bench {
    session: Session,
    timers: Wheel<Timer>,
    now: Time,
}

fn policy() -> Policy {
    Policy {
        calls_in_flight_max: 3,
        frame_bytes_max: 16 * 1024,
        outbox_bytes_max: 20_000,
        call_timeout: 100 * MS,
        cancel_grace: 50 * MS,
        ..Policy::default()
    }
}

fn hello() -> Value {
    json!({
        "token": Token::from_bytes([7; 32]).to_hex(), "plugin_id": "echo", "generation": 3,
        "protocols": [1], "version": "1.0.0", "capabilities": ["echo"], "interfaces": {"kv": [1, 2]},
        "features": ["cancel", "progress"],
    })
}

fn frame(value: &Value) -> Vec<u8> {
    let mut bytes = value.to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}

fn request(method: &str, params: &Value) -> Vec<u8> {
    frame(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
}

fn result(id: u64) -> Vec<u8> {
    frame(&json!({"jsonrpc": "2.0", "id": id, "result": {"n": id}}))
}

/// A call of `echo` without params.
fn echo() -> CallRequest {
    CallRequest::new(Target::Plugin("echo".parse().unwrap()), "echo")
}

impl Bench {
    fn new() -> Bench {
        Bench::with(&policy())
    }

    fn with(policy: &Policy) -> Bench {
        let expectation = Expectation {
            plugin: PluginKey(0),
            plugin_id: "echo".parse().unwrap(),
            generation: Generation::try_from(3).unwrap(),
            token: Token::from_bytes([7; 32]),
            interfaces: BTreeMap::from([("kv".to_owned(), vec![2, 3])]),
            passes_fds: true,
        };
        let session = Session::new(expectation, policy);
        Bench { session, timers: Wheel::default(), now: Time::ZERO }
    }

    /// One whose proof is complete, and whose answer has been written.
    fn open() -> Bench {
        Bench::open_with(&policy())
    }

    fn open_with(policy: &Policy) -> Bench {
        let mut bench = Bench::with(policy);
        bench.push(&request("host.hello", &hello()));
        assert!(matches!(bench.events()[..], [SessionEvent::Authenticated(_)]));
        bench.write_all();
        bench
    }

    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(1000) {
            self.session.receiver_mut().space(1000)[..piece.len()].copy_from_slice(piece);
            self.session.receiver_mut().filled(piece.len(), Vec::new(), false);
            let mut cx = Cx { now: self.now, timers: &mut self.timers };
            while self.session.handle_frames(&mut cx, 2) {}
        }
    }

    fn end(&mut self) {
        self.session.handle_end_of_stream(&mut Cx { now: self.now, timers: &mut self.timers });
    }

    fn events(&mut self) -> Vec<SessionEvent> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    fn write_all(&mut self) -> String {
        self.session.write_all()
    }

    fn call_with(&mut self, number: u64, params: Option<String>, ms: u32) -> Result<(), CallError> {
        self.request(number, CallRequest { params, ..echo() }, ms)
    }

    /// Each number is a caller of its own.
    fn request(&mut self, number: u64, call: CallRequest, ms: u32) -> Result<(), CallError> {
        self.request_by(Party::Client(number as u32), number, call, ms)
    }

    fn request_by(
        &mut self,
        caller: Party,
        number: u64,
        call: CallRequest,
        ms: u32,
    ) -> Result<(), CallError> {
        let mut call = CallRequest { caller, timeout: Some(MS * ms), ..call };
        let mut cx = Cx { now: self.now, timers: &mut self.timers };
        Ok(self.session.request(&mut cx, Caller::Call(CallKey(number)), &mut call)?)
    }

    fn cancel(&mut self, number: u64) -> Option<Cancelled> {
        let mut cx = Cx { now: self.now, timers: &mut self.timers };
        self.session.cancel(&mut cx, Caller::Call(CallKey(number)), None)
    }

    fn call(&mut self, number: u64) {
        self.call_with(number, None, 100).unwrap();
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
        while let Some(timer) = self.timers.pop_expired(self.now) {
            let Timer::Call(_, _, id) = timer else { panic!("{timer:?}") };
            self.session.handle_timer(&mut Cx { now: self.now, timers: &mut self.timers }, id);
        }
    }

    /// How calls ended since the last time: their numbers with `ok` or code and outcome.
    fn ends(&mut self) -> Vec<(u64, String)> {
        let ends = self.events().into_iter().filter_map(|event| match event {
            SessionEvent::Completed { caller: Caller::Call(CallKey(number)), end, .. } => Some((
                number,
                end.result.map_or_else(
                    |error| format!("{} {}", error.code.name(), error.outcome.as_str()),
                    |_| "ok".to_owned(),
                ),
            )),
            _ => None,
        });
        ends.collect()
    }

    fn fault(&mut self) -> Fault {
        match self.events().pop() {
            Some(SessionEvent::Fault(fault)) => fault,
            other => panic!("no fault, but {other:?}"),
        }
    }
}

fn end(number: u64, how: &str) -> (u64, String) {
    (number, how.to_owned())
}

#[test]
fn a_right_hello_is_answered_and_split_anywhere_is_the_same() {
    let bytes = request("host.hello", &hello());
    for at in 0..bytes.len() {
        let mut bench = Bench::new();
        bench.push(&bytes[..at]);
        assert!(bench.events().is_empty() && !bench.session.is_open());
        bench.push(&bytes[at..]);
        assert!(bench.session.is_open());
        let answer: Value = serde_json::from_str(&bench.write_all()).unwrap();
        assert_eq!(answer["result"]["frame_bytes_max"], 16 * 1024);
        assert_eq!(answer["result"]["interfaces"], json!({"kv": 2}));
    }
}

#[test]
fn every_attack_on_the_proof_is_refused_and_named() {
    let with = |member: &str, value: Value| {
        let mut params = hello();
        params[member] = value;
        request("host.hello", &params)
    };
    let mut no_token = hello();
    no_token.as_object_mut().unwrap().remove("token");
    let replayed = Token::from_bytes([6; 32]).to_hex();
    let table: Vec<(&str, Vec<u8>)> = vec![
        ("token is not the one", with("token", json!("0".repeat(64)))),
        ("token is not the one", with("token", json!(replayed))),
        ("not 64 lower-case", with("token", json!("short"))),
        ("token", request("host.hello", &no_token)),
        ("launched was \"echo\"", with("plugin_id", json!("other"))),
        ("launched was 3", with("generation", json!(2))),
        ("launched was 3", with("generation", json!(4))),
        ("no protocol version", with("protocols", json!([2]))),
        ("no capabilities", with("capabilities", json!([]))),
        ("no version of interface", with("interfaces", json!({"kv": [9]}))),
        ("not host.hello", request("host.log", &json!({}))),
        ("not host.hello", frame(&json!({"jsonrpc": "2.0", "method": "rpc.cancel"}))),
        ("an answer, not host.hello", result(0)),
        ("not one JSON object", b"GET / HTTP/1.1\n".to_vec()),
        ("longer than the 16384 bytes", with("padding", json!("x".repeat(16 * 1024)))),
        ("file descriptors", {
            let hello =
                json!({"jsonrpc": "2.0", "id": 1, "method": "host.hello", "params": hello(), "fds": 1});
            frame(&hello)
        }),
    ];
    for (expected, bytes) in table {
        let mut bench = Bench::new();
        bench.push(&bytes);
        let fault = bench.fault();
        assert!(matches!(fault, Fault::NotAuthenticated(_)), "{fault:?}");
        assert!(fault.to_string().contains(expected), "{fault} should say {expected:?}");
        let answer = bench.write_all();
        assert!(answer.contains("\"error\"") && answer.ends_with("}\n"), "the peer is told: {answer}");
        assert!(!answer.contains(&Token::from_bytes([7; 32]).to_hex()), "the token is not given away");
        bench.push(&request("host.hello", &hello()));
        assert!(!bench.session.is_open() && bench.events().is_empty(), "there is no second try");
        assert_eq!(bench.call_with(1, None, 1).unwrap_err().code, ErrorCode::Unavailable);
    }
}

/// What a plugin has for a call counts from when it could read it, which its caller and others may have delayed.
#[test]
fn a_call_that_waited_to_be_read_poisons_only_when_the_plugin_had_its_time() {
    let own = policy();
    let mut bench = Bench::open();
    bench.call_with(1, Some(format!("{{\"x\":\"{}\"}}", "y".repeat(10_000))), 400).unwrap();
    bench.session.queue_mut().wrote(5000);
    bench.call_with(2, None, 400).unwrap();
    bench.call_with(3, None, 400).unwrap();
    bench.pass(390 * MS);
    // All but the end of the last one.
    let waiting = bench.session.queue().waiting_bytes();
    bench.session.wrote_late(waiting - 40, bench.now);
    bench.push(&result(0));
    bench.pass(10 * MS);
    let [(1, _), (2, _), (3, third)] = &bench.ends()[..] else { panic!("each has an end") };
    assert_eq!(third, "deadline_exceeded indeterminate", "its first byte was written");
    bench.push(&result(1));
    bench.pass(390 * MS + own.cancel_grace - MS);
    assert!(bench.session.is_open(), "it had it since 390 ms");
    bench.pass(MS);
    assert!(matches!(bench.fault(), Fault::Poisoned(..)));
}

#[test]
fn the_limit_before_the_proof_holds_while_bytes_arrive_and_ends_with_it() {
    let mut bench = Bench::new();
    bench.push(&vec![b'x'; 16 * 1024]);
    assert!(bench.events().is_empty(), "there may still come a line end");
    bench.push(b"x");
    assert!(matches!(bench.fault(), Fault::NotAuthenticated(_)));
    let mut params = hello();
    params["padding"] = json!("");
    let room = 16 * 1024 - (request("host.hello", &params).len() - 1);
    params["padding"] = json!("x".repeat(room));
    let mut bench = Bench::new();
    bench.push(&request("host.hello", &params));
    assert!(bench.session.is_open(), "exactly the limit is allowed");
}

#[test]
fn half_a_hello_and_its_end_is_no_proof() {
    let mut bench = Bench::new();
    let bytes = request("host.hello", &hello());
    bench.push(&bytes[..bytes.len() - 1]);
    bench.end();
    assert!(matches!(bench.fault(), Fault::NotAuthenticated(why) if why.contains("ended")));
    let mut bench = Bench::new();
    bench.end();
    assert_eq!(bench.fault(), Fault::EndOfStream);
}

#[test]
fn what_is_wrong_after_the_proof_ends_the_connection_and_every_call() {
    let hello = request("host.hello", &hello());
    let null = frame(&json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": "huh"}}));
    let twice = [request("host.log", &json!({})), request("host.log", &json!({}))].concat();
    let table: Vec<(&str, Vec<u8>)> = vec![
        ("a second host.hello", hello),
        ("unknown id 99, which was never asked", result(99)),
        ("unknown id \"0\"", frame(&json!({"jsonrpc": "2.0", "id": "0", "result": 1}))),
        ("could not read a frame: parse_error", null),
        ("waits for an answer already", twice),
        ("not UTF-8", b"{\"jsonrpc\":\"2.0\",\"id\":\"\xff\",\"result\":1}\n".to_vec()),
        ("not one JSON object", b"[]\n".to_vec()),
        ("longer than the 16384 bytes", vec![b'x'; 16 * 1024 + 1]),
    ];
    for (expected, bytes) in table {
        let mut bench = Bench::open();
        bench.call(1);
        bench.session.queue_mut().wrote(1);
        bench.call(2);
        bench.push(&bytes);
        let mut events = bench.events();
        let Some(SessionEvent::Fault(Fault::Violation(why))) = events.pop() else { panic!("{expected}") };
        assert!(why.contains(expected), "{why} should say {expected:?}");
        let outcomes: Vec<Outcome> = events
            .into_iter()
            .filter_map(|event| match event {
                SessionEvent::Completed { end, .. } => Some(end.result.unwrap_err().outcome),
                _ => None,
            })
            .collect();
        assert_eq!(outcomes, [Outcome::Indeterminate, Outcome::NotSent]);
        assert!(bench.timers.is_empty());
        bench.push(&result(0));
        assert!(bench.events().is_empty(), "nothing is delivered after a fault");
    }
}

#[test]
fn answers_in_any_order_reach_their_callers() {
    let mut bench = Bench::open();
    (10..13).for_each(|number| bench.call(number));
    bench.write_all();
    bench.push(&result(2));
    bench.push(&frame(&json!({"jsonrpc": "2.0", "id": 0, "error": {"code": 5, "message": "no"}})));
    bench.push(&result(1));
    assert_eq!(bench.ends(), [end(12, "ok"), end(10, "application answered"), end(11, "ok")]);
    assert!(bench.timers.is_empty() && bench.session.calls_in_flight() == 0);
}

#[test]
fn a_second_answer_and_a_guessed_one_are_violations() {
    let mut bench = Bench::open();
    bench.call(1);
    bench.write_all();
    bench.push(&[result(0), result(0)].concat());
    let why = "an answer to unknown id 0, which does not wait any more: it was answered before, or withdrawn \
               before it was sent";
    assert_eq!(bench.fault(), Fault::Violation(why.into()));
    let mut bench = Bench::open();
    bench.call(1);
    bench.push(&result(0));
    assert_eq!(bench.ends(), [end(1, "unavailable not_sent")], "what was not asked has no answer");
}

#[test]
fn a_deadline_cancels_and_the_grace_poisons() {
    let mut bench = Bench::open();
    bench.call(1);
    bench.call_with(2, None, 500).unwrap();
    assert!(bench.write_all().contains("\"deadline_ms\":100"));
    bench.pass(99 * MS);
    assert!(bench.ends().is_empty());
    bench.pass(MS);
    assert_eq!(bench.ends(), [end(1, "deadline_exceeded indeterminate")]);
    assert!(
        bench.write_all().contains("{\"jsonrpc\":\"2.0\",\"method\":\"rpc.cancel\",\"params\":{\"id\":0,\"reason\":\"its deadline has passed\"}}")
    );
    assert_eq!(bench.session.calls_in_flight(), 2, "its slot is taken until the answer comes");
    bench.pass(49 * MS);
    assert!(bench.events().is_empty() && bench.session.is_open());
    bench.pass(MS);
    let mut events = bench.events();
    assert!(
        matches!(events.pop(), Some(SessionEvent::Fault(Fault::Poisoned(method, _))) if method == "echo")
    );
    assert_eq!(events.len(), 1, "only the other call ends");
    assert!(bench.timers.is_empty());
}

#[test]
fn a_plugin_that_does_not_describe_itself_loses_nothing_by_it() {
    for cancelled in [false, true] {
        let mut bench = Bench::open();
        let method = rpc_plugin_wire::describe::METHOD_DESCRIBE;
        let call = CallRequest::new(crate::state::call::Target::Plugin("a".parse().unwrap()), method);
        bench.request(1, call, 100).unwrap();
        bench.write_all();
        assert_eq!(cancelled, cancelled && bench.cancel(1).is_some());
        bench.pass(100 * MS);
        let told = if cancelled { vec![] } else { vec![end(1, "deadline_exceeded indeterminate")] };
        assert_eq!(bench.ends(), told);
        bench.pass(10_000 * MS);
        assert!(bench.session.is_open() && bench.events().is_empty() && bench.timers.is_empty());
        assert_eq!(bench.session.calls_in_flight(), 0, "it holds no place of a call");
        bench.push(&result(0));
        assert!(bench.session.is_open() && bench.events().is_empty(), "nor is it wrong to answer late");
    }
}

#[test]
fn a_callers_short_deadline_does_not_end_the_callee() {
    // A millisecond, as long as the plugin has by itself, and longer; cancelled or not.
    for (timeout, poisons_at) in [(1, 150), (100, 150), (400, 450)] {
        for cancelled in [false, true] {
            let mut bench = Bench::open();
            bench.call_with(1, None, timeout).unwrap();
            bench.write_all();
            assert_eq!(cancelled, cancelled && bench.cancel(1).is_some());
            bench.pass(timeout * MS);
            assert_eq!(bench.ends().len(), usize::from(!cancelled));
            assert_eq!(bench.write_all().matches("rpc.cancel").count(), 1, "{timeout}");
            bench.pass((poisons_at - timeout - 1) * MS);
            assert!(bench.events().is_empty() && bench.session.is_open(), "{timeout}: too early");
            assert_eq!(bench.session.calls_in_flight(), 1, "its place is taken all the while");
            bench.pass(MS);
            assert!(matches!(bench.fault(), Fault::Poisoned(..)), "{timeout}");
        }
    }
    let mut bench = Bench::open();
    bench.call_with(1, None, 1).unwrap();
    bench.write_all();
    bench.pass(140 * MS);
    bench.ends();
    bench.push(&result(0));
    assert!(matches!(bench.events()[..], [SessionEvent::LateAnswer(..)]));
    assert!(bench.session.is_open() && bench.timers.is_empty() && bench.session.calls_in_flight() == 0);
}

#[test]
fn an_answer_within_the_grace_is_dropped_and_told() {
    let mut bench = Bench::open();
    bench.call(1);
    bench.write_all();
    bench.pass(100 * MS);
    bench.ends();
    bench.push(&result(0));
    assert!(matches!(bench.events()[..], [SessionEvent::LateAnswer(..)]));
    bench.pass(Duration::from_secs(9));
    assert!(bench.session.is_open() && bench.timers.is_empty() && bench.session.calls_in_flight() == 0);
    bench.push(&result(0));
    assert!(matches!(bench.fault(), Fault::Violation(_)), "it may be late once");
}

#[test]
fn a_call_whose_deadline_passes_unwritten_is_never_sent() {
    let mut bench = Bench::open();
    (1..4).for_each(|number| bench.call_with(number, None, if number == 2 { 10 } else { 99 }).unwrap());
    bench.session.queue_mut().wrote(5);
    bench.pass(10 * MS);
    assert_eq!(bench.ends(), [end(2, "deadline_exceeded not_sent")]);
    assert_eq!(bench.session.calls_in_flight(), 2);
    let sent = bench.write_all();
    assert!(!sent.contains("\"id\":1,") && sent.contains("\"id\":2,"), "{sent}");
    assert!(!sent.contains("rpc.cancel"), "what was never asked needs no cancelling");
}

#[test]
fn a_cancelled_call_never_ends_and_can_still_poison() {
    let mut bench = Bench::open();
    bench.call(1);
    bench.write_all();
    assert!(bench.cancel(1).unwrap().was_sent);
    assert!(bench.cancel(1).is_none(), "once");
    assert_eq!(bench.write_all().matches("rpc.cancel").count(), 1);
    bench.pass(100 * MS);
    assert!(bench.events().is_empty() && bench.write_all().is_empty());
    bench.pass(50 * MS);
    assert!(matches!(bench.fault(), Fault::Poisoned(..)));
}

#[test]
fn a_cancelled_call_is_withdrawn_before_it_is_sent_and_its_answer_dropped_after() {
    let mut bench = Bench::open();
    bench.call(1);
    bench.call(2);
    assert!(!bench.cancel(1).unwrap().was_sent);
    assert_eq!((bench.session.calls_in_flight(), bench.timers.len()), (1, 1), "nothing of it is left");
    let sent = bench.write_all();
    assert!(
        !sent.contains("\"id\":0,") && sent.contains("\"id\":1,") && !sent.contains("rpc.cancel"),
        "{sent}"
    );
    assert!(bench.cancel(2).unwrap().was_sent);
    bench.push(&result(1));
    assert!(bench.events().is_empty(), "an answer to what was cancelled is as it should be");
    assert_eq!((bench.session.calls_in_flight(), bench.timers.len()), (0, 0));
    assert!(bench.session.is_open());
}

#[test]
fn the_end_of_the_stream_ends_calls_by_what_was_written() {
    for (written, expected) in [(0, "unavailable not_sent"), (1, "plugin_lost indeterminate")] {
        let mut bench = Bench::open();
        bench.call(1);
        bench.session.queue_mut().wrote(written);
        bench.end();
        assert_eq!(bench.ends(), [end(1, expected)]);
        assert_eq!(bench.session.queue().all_waiting().is_empty(), written == 0, "what is not sent stays so");
    }
    let mut bench = Bench::open();
    bench.call(1);
    bench.write_all();
    bench.push(&result(0)[..7]);
    bench.end();
    assert!(matches!(bench.fault(), Fault::Violation(why) if why.contains("7 bytes into a frame")));
}

#[test]
fn frames_that_came_before_the_end_count() {
    let mut bench = Bench::open();
    bench.call(1);
    bench.write_all();
    let bytes = result(0);
    bench.session.receiver_mut().space(100)[..bytes.len()].copy_from_slice(&bytes);
    bench.session.receiver_mut().filled(bytes.len(), Vec::new(), false);
    bench.end();
    assert_eq!(bench.ends(), [end(1, "ok")]);
}

#[test]
fn who_does_not_know_cancel_gets_none_no_deadline_and_is_not_poisoned() {
    let mut bench = Bench::new();
    let mut plain = hello();
    plain["features"] = json!([]);
    bench.push(&request("host.hello", &plain));
    bench.events();
    bench.write_all();
    bench.request(1, CallRequest { progress: true, ..echo() }, 100).unwrap();
    let sent = bench.write_all();
    assert!(
        sent.contains("\"echo\"") && !sent.contains("deadline_ms") && !sent.contains("progress"),
        "{sent}"
    );
    bench.pass(100 * MS);
    assert_eq!(bench.ends(), [end(1, "deadline_exceeded indeterminate")]);
    bench.call(2);
    bench.write_all();
    assert!(bench.cancel(2).is_some());
    assert_eq!(bench.write_all(), "", "no rpc.cancel");
    bench.pass(3_600_000 * MS);
    assert!(bench.events().is_empty() && bench.session.is_open(), "it is not poisoned");
}
