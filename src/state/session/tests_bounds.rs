//! The bounds of one session: frame size, calls in flight, waiting bytes, requests of the peer.

use super::*;
use crate::state::fds::Fds;
use crate::state::unasked::{BYTES_MAX, INTERVAL, ITEMS_MAX};
use rpc_plugin_peer::OWN_MAX;

/// Params that make the frame of a call exactly `frame_bytes` long.
fn params_for(frame_bytes: usize) -> String {
    let mut bench = Bench::open();
    bench.call_with(1, Some("{\"x\":\"\"}".to_owned()), 100).unwrap();
    let envelope = bench.write_all().len() - 1;
    format!("{{\"x\":\"{}\"}}", "y".repeat(frame_bytes - envelope))
}

#[test]
fn a_frame_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
    let max = policy().frame_bytes_max;
    let mut bench = Bench::open();
    bench.call_with(1, Some(params_for(max)), 100).unwrap();
    assert_eq!(bench.write_all().len(), max + 1, "and its line end");
    let error = bench.call_with(2, Some(params_for(max + 1)), 100).unwrap_err();
    assert_eq!((error.code, error.outcome), (ErrorCode::TooLarge, Outcome::NotSent));
    assert!(error.message.contains(&format!("{}", max + 1)) && error.message.contains(&format!("{max}")));
    assert!(bench.write_all().is_empty(), "nothing of it is sent");
    assert_eq!((bench.session.calls_in_flight(), bench.timers.len()), (1, 1));
}

#[test]
fn what_can_never_fit_is_too_large_and_not_overloaded() {
    let mut bench = Bench::open();
    let error = bench.call_with(1, Some(params_for(policy().outbox_bytes_max + 999)), 100).unwrap_err();
    assert_eq!(error.code, ErrorCode::TooLarge);
}

#[test]
fn too_many_calls_or_bytes_are_overload() {
    let mut bench = Bench::open();
    (0..3).for_each(|number| bench.call(number));
    let error = bench.call_with(4, None, 100).unwrap_err();
    assert_eq!((error.code, error.outcome), (ErrorCode::Overloaded, Outcome::NotSent));
    bench.write_all();
    bench.push(&result(1));
    bench.call(5);
    let mut bench = Bench::open();
    bench.call_with(1, Some(params_for(15_000)), 100).unwrap();
    let error = bench.call_with(2, Some(params_for(6_000)), 100).unwrap_err();
    assert_eq!((error.code, error.outcome), (ErrorCode::Overloaded, Outcome::NotSent));
    bench.write_all();
    bench.call_with(3, Some(params_for(6_000)), 100).unwrap();
}

#[test]
fn one_caller_takes_half_of_the_places_and_gives_each_back_as_its_call_leaves() {
    let policy = Policy { calls_in_flight_max: 16, ..policy() };
    let mut bench = Bench::open_with(&policy);
    let flood: Party = Party::Plugin("flood".parse().unwrap());
    let other = Party::Plugin("other".parse().unwrap());
    let ms = 100;
    (0..8).for_each(|number| bench.request_by(flood.clone(), number, echo(), ms).unwrap());
    let error = bench.request_by(flood.clone(), 8, echo(), ms).unwrap_err();
    assert_eq!((error.code, error.outcome), (ErrorCode::Overloaded, Outcome::NotSent));
    assert!(error.message.contains("the share of plugin \"flood\" is used up: it has 8 of 16"), "{error}");
    bench.request_by(other.clone(), 20, echo(), ms).unwrap();
    bench.request_by(other.clone(), 21, echo(), ms).unwrap();
    assert!(bench.request_by(other.clone(), 22, echo(), ms).is_err(), "an eighth while half are taken");
    bench.request_by(Party::Program, 30, echo(), ms).unwrap();
    let places = |bench: &Bench| bench.session.places.total().count;
    assert_eq!((places(&bench), bench.session.calls_in_flight()), (11, 11));
    // Withdrawn, answered, and cancelled: the last keeps its place until it is answered.
    bench.cancel(7).unwrap();
    assert_eq!(places(&bench), 10);
    bench.write_all();
    bench.push(&result(0));
    assert_eq!(places(&bench), 9);
    bench.cancel(1).unwrap();
    assert_eq!((places(&bench), bench.session.calls_in_flight()), (9, 9));
    bench.push(&result(1));
    assert_eq!(places(&bench), 8);
    // One that is not read by its deadline, and those whose connection ends.
    bench.request_by(other.clone(), 40, echo(), 1).unwrap_err();
    bench.request_by(Party::Client(1), 41, echo(), 1).unwrap();
    bench.pass(MS);
    assert_eq!((places(&bench), bench.session.calls_in_flight()), (8, 8));
    bench.end();
    assert_eq!((places(&bench), bench.session.calls_in_flight()), (0, 0));
}

/// What waits for a plugin that reads slowly is shared as its places are: half for whoever comes first, then an eighth each.
#[test]
fn one_caller_takes_half_of_the_bytes_that_wait_and_others_still_call() {
    let policy = Policy { calls_in_flight_max: 1000, outbox_bytes_max: 80_000, ..policy() };
    let mut bench = Bench::open_with(&policy);
    let of = |bytes: usize| CallRequest { params: Some(params_for(bytes - 1)), ..echo() };
    let [flood, other, third] = ["flood", "other", "third"].map(|id| Party::Plugin(id.parse().unwrap()));
    let mut number = 0..;
    let mut ask = |bench: &mut Bench, party: &Party, bytes: usize| {
        bench.request_by(party.clone(), number.next().unwrap(), of(bytes), 100)
    };
    let of_flood = (0..).take_while(|_| ask(&mut bench, &flood, 1000).is_ok()).count();
    assert_eq!(of_flood, 40, "half, by whoever comes first");
    let error = ask(&mut bench, &flood, 100).unwrap_err();
    assert_eq!((error.code, error.outcome), (ErrorCode::Overloaded, Outcome::NotSent));
    let told = "the share of plugin \"flood\" is used up: of 400";
    assert!(error.message.contains(told) && error.message.contains("10000 may be"), "{error}");
    assert!(bench.request_by(flood.clone(), 999, echo(), 100).is_err(), "its envelope counts too");
    for party in [&other, &third] {
        assert_eq!((0..).take_while(|_| ask(&mut bench, party, 1000).is_ok()).count(), 10, "an eighth");
    }
    ask(&mut bench, &Party::Client(7), 16_000).unwrap();
    let error = ask(&mut bench, &Party::Program, 4100).unwrap_err();
    assert!(error.message.contains("do not fit: 76"), "{error}");
    // What the plugin reads counts no longer, nor what is withdrawn; a frame that is written in part counts by its rest.
    let rest = bench.session.queue().waiting_bytes() - 40_500;
    bench.session.queue_mut().wrote(rest);
    ask(&mut bench, &flood, 4000).unwrap();
    assert!(ask(&mut bench, &other, 100).is_err(), "it still has its ten thousand");
    let of_other = of_flood as u64 + 3;
    bench.cancel(of_other).unwrap();
    ask(&mut bench, &other, 100).unwrap();
    bench.write_all();
    assert_eq!((0..).take_while(|_| ask(&mut bench, &other, 1000).is_ok()).count(), 40);
}

#[test]
fn the_hosts_own_requests_take_no_slot_of_a_call_and_are_bounded() {
    let mut bench = Bench::open();
    let heartbeat = |bench: &mut Bench| {
        let mut cx = Cx { now: bench.now, timers: &mut bench.timers };
        bench
            .session
            .request(&mut cx, Caller::Heartbeat, &mut CallRequest { timeout: Some(MS), ..echo() })
            .unwrap();
        bench.write_all();
        bench.pass(MS);
        bench.events()
    };
    for _ in 0..OWN_MAX {
        let events = heartbeat(&mut bench);
        assert!(matches!(events[..], [SessionEvent::Completed { caller: Caller::Heartbeat, .. }]));
    }
    assert_eq!(bench.session.calls_in_flight(), 0);
    bench.call(1);
    bench.call(2);
    bench.call(3);
    let events = heartbeat(&mut bench);
    assert!(matches!(events.last(), Some(SessionEvent::Fault(Fault::Poisoned(..)))), "{events:?}");
}

#[test]
fn requests_of_the_peer_are_answered_once_and_bounded() {
    let mut bench = Bench::open();
    bench.push(&request("host.log", &json!({})));
    assert!(matches!(&bench.events()[..], [SessionEvent::Asked(asked)] if asked.method == "host.log"));
    let value = RawValue::from_string("true".to_owned()).unwrap();
    for expected in ["{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":true}\n", ""] {
        let mut cx = Cx { now: bench.now, timers: &mut bench.timers };
        bench.session.answer(&mut cx, &RequestId::Number(1), Ok(&value), Fds::new());
        assert_eq!(bench.write_all(), expected);
    }
    for id in 0..INCOMING_MAX {
        bench.push(&frame(&json!({"jsonrpc": "2.0", "id": id, "method": "host.log"})));
    }
    assert_eq!(bench.events().len(), INCOMING_MAX);
    bench.push(&frame(&json!({"jsonrpc": "2.0", "id": "one more", "method": "host.log"})));
    assert!(bench.events().is_empty() && bench.write_all().contains("-32005"));
}

#[test]
fn a_peer_that_asks_and_never_reads_is_cut_off() {
    let mut bench = Bench::open();
    let error = || ErrorObject::new(ErrorCode::MethodNotFound, "x".repeat(1000));
    let mut waiting_bytes_max = 0;
    for id in 0..1000_u64 {
        bench.push(&frame(&json!({"jsonrpc": "2.0", "id": id, "method": "host.log"})));
        let mut cx = Cx { now: bench.now, timers: &mut bench.timers };
        bench.session.answer(&mut cx, &RequestId::Number(id), Err(error()), Fds::new());
        waiting_bytes_max = waiting_bytes_max.max(bench.session.queue().waiting_bytes());
        if !bench.session.is_open() {
            let bound = policy().outbox_bytes_max + policy().frame_bytes_max + 2000;
            assert!(waiting_bytes_max <= bound, "{waiting_bytes_max} bytes waited");
            assert!(matches!(bench.fault(), Fault::Violation(why) if why.contains("without reading")));
            return;
        }
    }
    panic!("it was never cut off");
}

/// Frames that nobody asked for, of each kind, and how often they come until the connection is left alone for a while.
#[test]
fn what_nobody_asked_for_pauses_the_connection_and_what_was_asked_for_does_not() {
    fn pushed(bench: &mut Bench, bytes: &[u8]) -> Option<Time> {
        bench.push(bytes);
        bench.session.unasked().pause_after(bench.now, bytes.len()).map(|(until, _)| until)
    }
    let notification =
        |method: &str, params: Value| frame(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    let log = notification("host.log", json!({"level": "info", "message": "m"}));
    for junk in [
        notification("nobody.knows", json!({})),
        notification("rpc.cancel", json!({"id": 99})),
        notification("nobody.knows", json!({"x": "y".repeat(10_000)})),
    ] {
        let mut bench = Bench::open();
        bench.now = bench.now.plus(MS);
        let taken = (1..).take_while(|_| pushed(&mut bench, &junk).is_none()).count();
        let fit = ITEMS_MAX.min(BYTES_MAX / junk.len());
        assert!((fit..=fit + 1).contains(&taken), "{taken} of {} bytes", junk.len());
        assert_eq!(pushed(&mut bench, &junk), Some(bench.now.plus(INTERVAL)));
        bench.now = bench.now.plus(INTERVAL);
        assert_eq!(pushed(&mut bench, &junk), None);
    }
    // Progress that nobody wants, of a call that waits.
    let mut bench = Bench::open();
    bench.now = bench.now.plus(MS);
    bench.call(1);
    bench.write_all();
    let progress = notification("rpc.progress", json!({"id": 0, "value": 1}));
    assert_eq!((1..).take_while(|_| pushed(&mut bench, &progress).is_none()).count(), ITEMS_MAX);
    // Requests beyond those that may wait.
    let mut bench = Bench::open();
    bench.now = bench.now.plus(MS);
    let mut ids = 0..;
    let mut ask = |bench: &mut Bench| {
        let id = ids.next().unwrap();
        let paused = pushed(bench, &frame(&json!({"jsonrpc": "2.0", "id": id, "method": "x", "params": {}})));
        bench.write_all();
        paused
    };
    assert_eq!((1..).take_while(|_| ask(&mut bench).is_none()).count(), INCOMING_MAX + ITEMS_MAX);
    // What the host takes, and answers to what it asked.
    let mut bench = Bench::open();
    bench.now = bench.now.plus(MS);
    for number in 0..5000 {
        bench.call(number);
        bench.write_all();
        let large = json!({"jsonrpc": "2.0", "id": number, "result": {"x": "y".repeat(number as usize)}});
        assert_eq!(pushed(&mut bench, &frame(&large)), None);
        assert_eq!(pushed(&mut bench, &log), None);
        bench.events();
    }
}
