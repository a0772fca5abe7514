//! What frames that are no messages cost: one call or one request each, and the connection where they are too many or
//! leave in doubt whose they are.

use super::*;
use rpc_plugin_peer::BAD_FRAMES_MAX;

/// What befalls a session.
type Act = fn(&mut Bench);

fn bad_answer(id: u64) -> Vec<u8> {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"mean\":NaN}}}}\n").into_bytes()
}

/// What was told of bad frames since the last time.
fn told(bench: &mut Bench) -> Vec<String> {
    let told = bench.events().into_iter().filter_map(|event| match event {
        SessionEvent::BadFrame(meant, why) => Some(format!("{meant}: {why}")),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_bad_answer_ends_its_call_and_no_other() {
    let mut bench = Bench::open();
    (10..13).for_each(|number| bench.call(number));
    bench.write_all();
    bench.push(&[result(0), bad_answer(1), result(2)].concat());
    let events = bench.events();
    let ends: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            SessionEvent::Completed { id, end, .. } => Some((*id, end.result.as_ref().map(drop))),
            _ => None,
        })
        .collect();
    let [(0, Ok(())), (1, Err(error)), (2, Ok(()))] = &ends[..] else { panic!("{ends:?}") };
    assert_eq!((error.code, error.outcome), (ErrorCode::InvalidResponse, Outcome::Indeterminate));
    assert!(error.message.starts_with("the plugin's answer cannot be read: `NaN` at column 42"), "{error}");
    let told = events.iter().find_map(|event| match event {
        SessionEvent::BadFrame(meant, why) => Some((meant.as_str(), why.starts_with("`NaN` at column 42"))),
        _ => None,
    });
    assert_eq!(told, Some(("an answer to request 1", true)));
    assert!(bench.timers.is_empty() && bench.session.is_open() && bench.session.calls_in_flight() == 0);
    assert!(bench.write_all().is_empty(), "an answer is not answered");
}

#[test]
fn a_bad_answer_to_what_was_not_asked_or_is_answered_ends_the_connection() {
    let cases: [(&str, Act); 3] = [
        ("was never asked", |bench| bench.push(&bad_answer(9))),
        ("does not wait any more", |bench| bench.push(&[result(0), bad_answer(0)].concat())),
        ("has not been asked yet", |bench| {
            bench.call(2);
            bench.push(&bad_answer(1));
        }),
    ];
    for (expected, act) in cases {
        let mut bench = Bench::open();
        bench.call(1);
        bench.write_all();
        act(&mut bench);
        let Fault::Violation(why) = bench.fault() else { panic!("{expected}") };
        assert!(why.contains("`NaN` at column") && why.contains(expected), "{why}");
        assert!(bench.write_all().contains("`NaN` at column"), "the plugin is told");
    }
}

#[test]
fn a_bad_answer_to_a_call_that_is_over_is_dropped() {
    let mut bench = Bench::open();
    bench.call(1);
    bench.write_all();
    bench.pass(100 * MS);
    bench.ends();
    bench.push(&bad_answer(0));
    assert!(matches!(bench.events()[..], [SessionEvent::LateAnswer(..), SessionEvent::BadFrame(..)]));
    assert!(bench.session.is_open() && bench.timers.is_empty());
}

#[test]
fn a_bad_request_is_answered_and_a_bad_notification_is_told() {
    let mut bench = Bench::open();
    bench.push(b"{\"jsonrpc\":\"2.0\",\"id\":\"c-1\",\"method\":\"host.call\",\"params\":null}\n");
    let answer: Value = serde_json::from_str(&bench.write_all()).unwrap();
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!("c-1"), &json!(-32600)), "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("`params` is not an object"), "{answer}");
    assert_eq!(told(&mut bench).len(), 1);
    for notification in [
        "{\"jsonrpc\":\"2.0\",\"method\":\"host.log\",\"params\":{\"n\":Infinity}}\n",
        "{\"jsonrpc\":\"2.0\",\"method\":\"rpc.cancel\",\"params\":{\"id\":-1}}\n",
    ] {
        bench.push(notification.as_bytes());
        let told = told(&mut bench);
        assert!(told.len() == 1 && told[0].starts_with("a notification: "), "{told:?}");
    }
    assert!(bench.session.is_open() && bench.write_all().is_empty());
    // One whose id waits already has two answers to come.
    let asked = "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"host.call\"}\n";
    bench.push(asked.as_bytes());
    bench.push(asked.replace("}\n", ",\"fds\":null}\n").as_bytes());
    assert!(matches!(bench.fault(), Fault::Violation(why) if why.contains("waits for an answer already")));
}

#[test]
fn the_seventeenth_within_a_minute_ends_the_connection() {
    let mut bench = Bench::open();
    for _ in 0..BAD_FRAMES_MAX {
        bench.call(1);
        bench.write_all();
        bench.push(&bad_answer(bench.session.next_request() - 1));
        assert_eq!(bench.ends(), [end(1, "invalid_response indeterminate")]);
    }
    bench.now = bench.now.plus(60_000 * MS);
    for _ in 0..BAD_FRAMES_MAX {
        bench.push(b"{\"jsonrpc\":\"2.0\",\"method\":\"host.log\",\"params\":7}\n");
        assert_eq!(told(&mut bench).len(), 1, "a minute later they count anew");
    }
    bench.call(1);
    bench.call(2);
    bench.write_all();
    bench.push(&bad_answer(bench.session.next_request() - 2));
    let events = bench.events();
    let Some(SessionEvent::Fault(Fault::Violation(why))) = events.last() else { panic!("{events:?}") };
    assert!(why.starts_with("more than 16 bad frames came within 60s; the last: `NaN` at column"), "{why}");
    let ends: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            SessionEvent::Completed { end, .. } => end.result.as_ref().err(),
            _ => None,
        })
        .collect();
    assert_eq!(ends[0].code, ErrorCode::InvalidResponse);
    assert!(ends[1].code == ErrorCode::PluginLost && ends[1].message.contains(why), "{}", ends[1]);
}

#[test]
fn a_deadline_beyond_its_range_is_answered_and_does_not_count() {
    let mut bench = Bench::open();
    for deadline in ["18446744073709551616", "-1", "1.5"].iter().cycle().take(100) {
        let request =
            format!("{{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"host.call\",\"deadline_ms\":{deadline}}}\n");
        bench.push(request.as_bytes());
        let answer = bench.write_all();
        assert!(answer.contains("\"id\":3") && answer.contains("`deadline_ms`"), "{answer}");
        assert!(bench.events().is_empty() && bench.session.is_open());
    }
    bench.push(b"{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"m\",\"deadline_ms\":null}\n");
    assert_eq!(told(&mut bench).len(), 1, "that is no deadline at all");
}

#[test]
fn whoever_waits_is_told_why_the_connection_ended() {
    let ends = |bench: &mut Bench| -> Vec<String> {
        let events = bench.events().into_iter();
        let errors = events.filter_map(|event| match event {
            SessionEvent::Completed { end, .. } => end.result.err().map(|error| error.message.into_owned()),
            _ => None,
        });
        errors.collect()
    };
    let cases: [(&str, Act); 4] = [
        ("the plugin closed the connection", |bench| bench.end()),
        ("the plugin broke the protocol: an answer to unknown id 99", |bench| bench.push(&result(99))),
        ("longer than the 16384 bytes allowed", |bench| bench.push(&[b'x'; 17_000])),
        ("its process ended with status 3", |bench| {
            let mut cx = Cx { now: bench.now, timers: &mut bench.timers };
            bench.session.close(&mut cx, "its process ended with status 3");
        }),
    ];
    for (why, act) in cases {
        let mut bench = Bench::open();
        bench.call(1);
        bench.session.queue_mut().wrote(1);
        bench.call(2);
        act(&mut bench);
        let ends = ends(&mut bench);
        assert!(ends.len() == 2 && ends.iter().all(|text| text.contains(why)), "{why}: {ends:?}");
    }
}
