//! What comes and goes beside the bytes: descriptors, and what the plugin asks of the host with or without them.

use super::super::answers::OUTBOX_FDS_MAX;
use super::*;
use crate::state::fds::Fds;
use crate::state::fds::{Held, held};

impl Bench {
    /// One that passes descriptors.
    fn passing() -> Bench {
        let mut bench = Bench::new();
        let mut params = hello();
        params["features"] = json!(["fds", "cancel", "progress"]);
        bench.push(&request("host.hello", &params));
        assert!(matches!(bench.events()[..], [SessionEvent::Authenticated(_)]));
        bench.write_all();
        bench
    }

    /// One read, and what follows from it.
    fn read(&mut self, bytes: &[u8], fds: Fds) {
        self.session.receiver_mut().space(bytes.len().max(1))[..bytes.len()].copy_from_slice(bytes);
        self.session.receiver_mut().filled(bytes.len(), fds, false);
        let mut cx = Cx { now: self.now, timers: &mut self.timers };
        while self.session.handle_frames(&mut cx, 2) {}
    }

    fn violation(&mut self) -> String {
        match self.fault() {
            Fault::Violation(why) => why,
            other => panic!("{other:?}"),
        }
    }

    fn asked(&mut self) -> Asked {
        match self.events().pop() {
            Some(SessionEvent::Asked(asked)) => *asked,
            other => panic!("nothing is asked, but {other:?}"),
        }
    }

    fn answer(&mut self, id: u64, result: Result<&str, ErrorObject>, fds: Fds) {
        let raw = result.map(|text| RawValue::from_string(text.to_owned()).unwrap());
        let mut cx = Cx { now: self.now, timers: &mut self.timers };
        self.session.answer(&mut cx, &RequestId::Number(id), raw.as_deref().map_err(Clone::clone), fds);
    }

    fn call_fds(&mut self, number: u64, fds: Fds) -> Result<(), CallError> {
        self.request(number, CallRequest { fds, ..echo() }, 100)
    }
}

fn asks(id: u64, fds: usize) -> Vec<u8> {
    frame(&json!({"jsonrpc": "2.0", "id": id, "method": "kv.take", "fds": fds}))
}

#[test]
fn as_many_as_are_announced_come_with_their_frame_however_the_bytes_are_cut() {
    for pieces in [1, 2, 7, 1000] {
        let mut bench = Bench::passing();
        let bytes = asks(1, 3);
        let (held, mut fds) = held(3);
        for piece in bytes.chunks(bytes.len().div_ceil(pieces)) {
            bench.read(piece, std::mem::take(&mut fds));
        }
        let asked = bench.asked();
        assert_eq!((asked.fds.len(), held.open(), bench.session.is_open()), (3, 3, true), "{pieces}");
        drop(asked);
        assert_eq!(held.open(), 0);
    }
}

#[test]
fn sixteen_with_one_frame_and_sixteen_with_the_next_in_the_same_read() {
    let mut bench = Bench::passing();
    let mut rest = Vec::new();
    for id in 0..30 {
        let bytes = asks(id, 16);
        let (before, after) = bytes.split_at(9);
        // The rest of the frame before, with the first bytes of this one.
        bench.read(&[std::mem::take(&mut rest), before.to_vec()].concat(), held(16).1);
        rest = after.to_vec();
        for event in bench.events() {
            let SessionEvent::Asked(asked) = event else { panic!("{event:?}") };
            assert_eq!(asked.fds.len(), 16);
            bench.answer(id - 1, Ok("{}"), Fds::new());
        }
    }
    bench.read(&rest, Fds::new());
    assert_eq!(bench.asked().fds.len(), 16);
}

#[test]
fn any_other_number_ends_the_connection_and_closes_them_all() {
    let line = |announced| asks(1, announced);
    let half = line(0)[..10].to_vec();
    /// A name, bytes and how many descriptors with each read, and what the reason says.
    type Case = (&'static str, Vec<(Vec<u8>, usize)>, &'static str);
    let cases: [Case; 8] = [
        ("none of one", vec![(line(1), 0)], "announces 1 file descriptors, 0 came"),
        ("one of two", vec![(line(2), 1)], "announces 2 file descriptors, 1 came"),
        ("two of one", vec![(line(1), 2)], "1 file descriptors came that no frame announces"),
        ("unannounced", vec![(line(0), 3)], "3 file descriptors came that no frame announces"),
        (
            "with half a frame",
            vec![(half.clone(), 1), (line(0)[10..].to_vec(), 0)],
            "1 file descriptors came",
        ),
        ("too many for any frame", vec![(half.clone(), 16), (b"x".to_vec(), 1)], "more than 16"),
        ("many at once", vec![(half, 33)], "more than 16"),
        ("seventeen announced", vec![(line(17), 16)], "`fds` is more than 16"),
    ];
    for (name, reads, expected) in cases {
        let mut bench = Bench::passing();
        let mut all = Vec::new();
        for (bytes, fds) in reads {
            let (held, fds) = held(fds);
            all.push(held);
            bench.read(&bytes, fds);
        }
        let why = bench.violation();
        assert!(why.contains(expected), "{name}: {why}");
        assert!(!bench.session.is_open());
        // What was not given to anybody goes with the session.
        drop(bench);
        assert_eq!(all.iter().map(Held::open).sum::<usize>(), 0, "{name}");
    }
    let mut bench = Bench::passing();
    let (held, fds) = held(16);
    bench.session.receiver_mut().filled(0, fds, true);
    bench.read(&line(0), Fds::new());
    let why = bench.violation();
    assert!(why.contains("than a frame may have"), "{why}");
    drop(bench);
    assert_eq!(held.open(), 0);
}

#[test]
fn what_the_host_could_not_open_costs_one_call_or_request_and_is_told_once() {
    let mut bench = Bench::passing();
    bench.call(1);
    bench.call(2);
    bench.write_all();
    let part = |bench: &mut Bench, bytes: &[u8], there: usize| {
        let (held, fds) = held(there);
        bench.session.receiver_mut().space(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        bench.session.receiver_mut().filled(bytes.len(), fds, true);
        let mut cx = Cx { now: bench.now, timers: &mut bench.timers };
        while bench.session.handle_frames(&mut cx, 2) {}
        assert_eq!(held.open(), 0, "those that came are closed");
    };
    part(&mut bench, &asks(7, 3), 2);
    let answer: Value = serde_json::from_str(&bench.write_all()).unwrap();
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(7), &json!(-32005)), "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("RLIMIT_NOFILE"), "{answer}");
    assert!(matches!(bench.events()[..], [SessionEvent::LacksFds(true)]));
    part(&mut bench, &frame(&json!({"jsonrpc": "2.0", "id": 0, "result": {}, "fds": 1})), 0);
    assert_eq!(bench.ends(), [end(1, "overloaded indeterminate")]);
    for _ in 0..100 {
        part(&mut bench, &frame(&json!({"jsonrpc": "2.0", "method": "m", "fds": 2})), 1);
    }
    assert!(bench.events().is_empty(), "it is told once");
    bench.read(&asks(8, 1), held(1).1);
    assert!(matches!(bench.events()[..], [SessionEvent::LacksFds(false), SessionEvent::Asked(_)]));
    bench.push(&result(1));
    assert_eq!(bench.ends(), [end(2, "ok")], "the others go on");
    // What no frame announces is a violation, whoever lacks what.
    part(&mut bench, &asks(9, 0), 0);
    assert!(bench.violation().contains("no frame announces"));
}

#[test]
fn before_the_proof_they_are_not_authenticated() {
    let hello = request("host.hello", &hello());
    for (bytes, count) in [(&hello[..], 1), (&hello[..20], 1), (&asks(1, 1)[..], 1), (&asks(1, 1)[..], 0)] {
        let mut bench = Bench::new();
        let (held, fds) = held(count);
        bench.read(bytes, fds);
        assert!(matches!(bench.fault(), Fault::NotAuthenticated(_)));
        assert!(bench.write_all().contains("-32001"), "{}", String::from_utf8_lossy(bytes));
        drop(bench);
        assert_eq!(held.open(), 0);
    }
}

#[test]
fn those_of_a_notification_or_of_a_late_or_unknown_answer_are_closed() {
    let mut bench = Bench::passing();
    let (with, fds) = held(2);
    bench.read(&frame(&json!({"jsonrpc": "2.0", "method": "rpc.new", "fds": 2})), fds);
    assert_eq!((with.open(), bench.session.is_open()), (0, true));
    bench.call(1);
    bench.write_all();
    bench.cancel(1);
    let (with, fds) = held(1);
    bench.read(&frame(&json!({"jsonrpc": "2.0", "id": 0, "result": {}, "fds": 1})), fds);
    assert_eq!((with.open(), bench.session.is_open()), (0, true), "its caller has gone");
    let (with, fds) = held(1);
    bench.read(&frame(&json!({"jsonrpc": "2.0", "id": 7, "result": {}, "fds": 1})), fds);
    assert!(bench.violation().contains("unknown id 7"));
    assert_eq!(with.open(), 0);
}

/// The first of these is of a kind that nobody takes.
fn with_unwanted(mut fds: Fds) -> Fds {
    let first = fds.remove(0).of_kind(Some("a TCP socket"));
    fds.insert(0, first);
    fds
}

#[test]
fn a_kind_that_is_not_taken_costs_the_request_or_the_call_and_not_the_connection() {
    let mut bench = Bench::passing();
    let (there, fds) = held(2);
    bench.read(&asks(1, 2), with_unwanted(fds));
    assert!(bench.events().is_empty(), "nobody is asked");
    let answer = bench.write_all();
    assert!(answer.contains("\"id\":1,") && answer.contains("-32602"), "{answer}");
    assert!(answer.contains("file descriptor 1 of 2 is a TCP socket; only Unix stream"), "{answer}");
    assert_eq!(there.open(), 0);
    let (there, fds) = held(1);
    bench.read(&frame(&json!({"jsonrpc": "2.0", "method": "rpc.new", "fds": 1})), with_unwanted(fds));
    assert_eq!(there.open(), 0);

    bench.call(1);
    bench.write_all();
    let (there, fds) = held(1);
    bench.read(&frame(&json!({"jsonrpc": "2.0", "id": 0, "result": {}, "fds": 1})), with_unwanted(fds));
    match &bench.events()[..] {
        [SessionEvent::Completed { end, .. }] => {
            let error = end.result.as_ref().unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidResponse);
            assert!(error.message.contains("its answer is refused: file descriptor 1 of 1"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(there.open(), 0);
    // What comes next is with its own.
    let (there, fds) = held(1);
    bench.read(&asks(2, 1), fds);
    let asked = bench.asked();
    assert_eq!((asked.fds.len(), there.open(), bench.session.is_open()), (1, 1, true));
}

#[test]
fn they_come_with_an_answer_and_go_with_a_call_and_an_answer() {
    let mut bench = Bench::passing();
    let (there, fds) = held(2);
    bench.call_fds(1, fds).unwrap();
    assert_eq!(bench.session.queue().waiting().1.len(), 2);
    assert!(String::from_utf8_lossy(bench.session.queue().waiting().0).contains("\"fds\":2"));
    bench.session.queue_mut().wrote(1);
    assert_eq!(
        (bench.session.queue().waiting().1.len(), there.open()),
        (0, 0),
        "ours are closed once they are sent"
    );
    bench.write_all();
    bench.read(&frame(&json!({"jsonrpc": "2.0", "id": 0, "result": {}, "fds": 1})), held(1).1);
    let Some(SessionEvent::Completed { end, .. }) = bench.events().pop() else { panic!() };
    assert_eq!((end.result.is_ok(), end.fds.len()), (true, 1));
    bench.read(&asks(5, 0), Fds::new());
    bench.answer(5, Ok("{}"), held(3).1);
    assert_eq!(bench.session.queue().waiting().1.len(), 3);
    let mut bench = Bench::open();
    let error = bench.call_fds(1, held(1).1).unwrap_err();
    assert_eq!((error.code, error.outcome), (ErrorCode::InvalidParams, Outcome::NotSent));
    bench.read(&asks(5, 0), Fds::new());
    bench.answer(5, Ok("{}"), held(1).1);
    let answer = bench.write_all();
    assert!(answer.contains("-32603") && answer.contains("passes neither"), "{answer}");
    assert!(bench.session.is_open());
}

#[test]
fn a_peer_that_does_not_read_holds_only_so_many() {
    let mut bench = Bench::passing();
    let mut all = Vec::new();
    for id in 0..OUTBOX_FDS_MAX as u64 / 16 {
        bench.read(&asks(id, 0), Fds::new());
        let (held, fds) = held(16);
        bench.answer(id, Ok("{}"), fds);
        all.push(held);
    }
    assert_eq!(all.iter().map(Held::open).sum::<usize>(), OUTBOX_FDS_MAX);
    let error = bench.call_fds(1, held(1).1).unwrap_err();
    assert_eq!((error.code, error.outcome), (ErrorCode::Overloaded, Outcome::NotSent));
    bench.read(&asks(99, 0), Fds::new());
    bench.answer(99, Ok("{}"), held(1).1);
    assert!(bench.write_all().lines().last().unwrap().contains("-32005"));
    bench.call_fds(1, held(1).1).unwrap();
    drop(bench);
    assert_eq!(all.iter().map(Held::open).sum::<usize>(), 0);
}

#[test]
fn a_call_or_an_answer_with_more_than_a_frame_may_have_is_refused_and_they_are_closed() {
    for passes in [true, false] {
        let mut bench = if passes { Bench::passing() } else { Bench::open() };
        let (there, fds) = held(17);
        let error = bench.call_fds(1, fds).unwrap_err();
        assert_eq!((error.code, error.outcome), (ErrorCode::InvalidParams, Outcome::NotSent));
        assert!(error.message.contains("17 file descriptors, a frame may have 16"), "{error}");
        assert_eq!(there.open(), 0);
        bench.read(&asks(5, 0), Fds::new());
        let (there, fds) = held(17);
        bench.answer(5, Ok("{}"), fds);
        assert!(bench.session.queue().waiting().1.is_empty());
        let answer = bench.write_all();
        // It is no fault of who asked.
        assert!(answer.contains("-32603") && answer.contains("a frame may have 16"), "{answer}");
        assert_eq!((there.open(), bench.session.is_open()), (0, true));
    }
}

#[test]
fn for_requests_that_are_not_answered_only_so_many_are_held() {
    let mut bench = Bench::passing();
    let mut asked = Vec::new();
    for id in 0..INCOMING_FDS_MAX as u64 / 16 {
        bench.read(&asks(id, 16), held(16).1);
        asked.push(bench.asked());
    }
    let (more, fds) = held(1);
    bench.read(&asks(99, 1), fds);
    assert!(bench.events().is_empty() && bench.write_all().contains("-32005"));
    assert_eq!((more.open(), bench.session.is_open()), (0, true));
    bench.answer(3, Ok("{}"), Fds::new());
    bench.read(&asks(99, 1), held(1).1);
    assert_eq!(bench.asked().fds.len(), 1);
}

#[test]
fn what_the_system_does_not_pass_on_is_taken_back_and_told() {
    let mut bench = Bench::passing();
    bench.call(1);
    let (there, fds) = held(2);
    bench.call_fds(2, fds).unwrap();
    bench.read(&asks(5, 0), Fds::new());
    let (answer, fds) = held(1);
    bench.answer(5, Ok("{}"), fds);
    bench.events();
    let refuse = |bench: &mut Bench| {
        let mut cx = Cx { now: bench.now, timers: &mut bench.timers };
        bench.session.fds_were_refused(&mut cx, "too many");
    };
    refuse(&mut bench);
    assert_eq!(bench.session.calls_in_flight(), 2, "the next frame has none");
    bench.session.queue_mut().wrote(usize::MAX);
    refuse(&mut bench);
    assert_eq!(bench.ends(), [end(2, "overloaded not_sent")]);
    refuse(&mut bench);
    assert_eq!((there.open(), answer.open()), (0, 0));
    let sent = bench.write_all();
    assert_eq!(
        (sent.lines().count(), sent.contains("\"id\":5,") && sent.contains("-32005")),
        (1, true),
        "{sent}"
    );
    assert_eq!((bench.session.calls_in_flight(), bench.timers.len()), (1, 1));
}

#[test]
fn last_bytes_go_without_what_would_need_descriptors() {
    let mut bench = Bench::passing();
    for id in 0..3 {
        bench.read(&asks(id, 0), Fds::new());
        bench.answer(id, Ok("{}"), if id == 1 { held(1).1 } else { Fds::new() });
    }
    bench.session.queue_mut().withdraw_all_attached();
    let last = bench.write_all();
    assert_eq!(last.lines().count(), 2, "{last}");
    assert!(!last.contains("fds"), "{last}");
}

#[test]
fn a_request_is_handed_on_whole_and_given_up_by_its_id() {
    let mut bench = Bench::passing();
    bench.pass(7 * MS);
    let asked = json!({"jsonrpc": "2.0", "id": "q", "method": "host.call", "params": {"a": 1},
        "deadline_ms": 250, "chain": ["a/1/2", "host:a/1/3"], "progress": true});
    bench.read(&frame(&asked), Fds::new());
    let seen = bench.asked();
    assert_eq!((seen.id, seen.method.as_str()), (RequestId::Text("q".into()), "host.call"));
    assert_eq!(seen.params.unwrap().get(), "{\"a\":1}");
    assert_eq!((seen.deadline, seen.progress), (Some(bench.now.plus(250 * MS)), true));
    assert_eq!(seen.chain.to_string(), "a/1/2 -> host:a/1/3");
    let cancel = |id: Value| frame(&json!({"jsonrpc": "2.0", "method": "rpc.cancel", "params": {"id": id}}));
    bench.read(&cancel(json!("other")), Fds::new());
    assert!(bench.events().is_empty(), "the answer may have been faster");
    bench.read(&cancel(json!("q")), Fds::new());
    assert!(
        matches!(&bench.events()[..], [SessionEvent::Abandoned(RequestId::Text(id), None)] if &**id == "q")
    );
    bench.read(&frame(&json!({"jsonrpc": "2.0", "method": "rpc.cancel", "params": {}})), Fds::new());
    assert!(matches!(&bench.events()[..], [SessionEvent::BadFrame(_, why)] if why.contains("rpc.cancel")));
}

#[test]
fn progress_is_passed_on_only_where_somebody_asked_for_it() {
    let says = |id: Value| {
        frame(&json!({"jsonrpc": "2.0", "method": "rpc.progress", "params": {"id": id, "value": 1}}))
    };
    let mut bench = Bench::passing();
    bench.call(1);
    bench.request(2, CallRequest { progress: true, ..echo() }, 100).unwrap();
    assert!(bench.write_all().contains("\"progress\":true"));
    bench.read(&says(json!(0)), Fds::new());
    assert!(bench.events().is_empty(), "nobody asked");
    bench.read(&says(json!(1)), Fds::new());
    assert!(matches!(&bench.events()[..], [SessionEvent::Progress(CallKey(2), value)] if value.get() == "1"));
    bench.push(&result(1));
    bench.events();
    bench.read(&says(json!(1)), Fds::new());
    assert!(bench.events().is_empty() && bench.session.is_open(), "it was on its way");
    for (id, unsent, expected) in [
        (json!(2), false, "never made"),
        (json!("x"), false, "never made"),
        (json!(2), true, "not been asked yet"),
    ] {
        let mut bench = Bench::passing();
        (0..2).for_each(|number| bench.call(number));
        bench.write_all();
        if unsent {
            bench.call(2);
        }
        bench.read(&says(id), Fds::new());
        let why = bench.violation();
        assert!(why.contains(expected), "{why}");
    }
}

#[test]
fn progress_to_the_peer_goes_out_while_it_waits_and_never_more_than_it_reads() {
    let mut bench = Bench::passing();
    let value = RawValue::from_string(format!("\"{}\"", "v".repeat(1000))).unwrap();
    bench.read(&asks(1, 0), Fds::new());
    bench.session.progress(&RequestId::Number(2), &value);
    assert!(bench.write_all().is_empty(), "nobody waits for that one");
    for _ in 0..1000 {
        bench.session.progress(&RequestId::Number(1), &value);
    }
    let waiting = bench.session.queue().waiting_bytes();
    assert!((1000..=policy().outbox_bytes_max + 1200).contains(&waiting), "{waiting} bytes wait");
    bench.answer(1, Ok("{}"), Fds::new());
    assert!(bench.session.is_open());
    bench.write_all();
    bench.session.progress(&RequestId::Number(1), &value);
    assert!(bench.write_all().is_empty(), "it was answered");
    let huge = RawValue::from_string(format!("\"{}\"", "v".repeat(20_000))).unwrap();
    bench.read(&asks(1, 0), Fds::new());
    bench.session.progress(&RequestId::Number(1), &huge);
    assert!(bench.write_all().is_empty(), "no frame may be that large");
}

#[test]
fn answers_that_do_not_fit_are_errors_and_no_fault_of_the_peer() {
    let mut bench = Bench::passing();
    let answer = |bench: &mut Bench, id, result: Result<String, ErrorObject>| {
        bench.read(&asks(id, 0), Fds::new());
        bench.events();
        bench.answer(id, result.as_deref().map_err(Clone::clone), Fds::new());
        assert!(bench.session.is_open());
    };
    let text = |bytes: usize| format!("\"{}\"", "r".repeat(bytes));
    answer(&mut bench, 1, Ok(text(policy().frame_bytes_max)));
    let error = bench.write_all();
    assert!(error.contains("-32006") && error.len() < 500, "{error}");
    let large =
        ErrorObject::new(ErrorCode::Unavailable, "\u{1}".repeat(2048)).with_data(&"d".repeat(100_000));
    answer(&mut bench, 1, Err(large.clone()));
    let error = bench.write_all();
    assert!(error.contains("-32002") && error.contains("does not fit"), "{error}");
    assert!(error.len() < policy().frame_bytes_max);
    let fits = ErrorObject::new(ErrorCode::Unavailable, "m").with_data(&"d".repeat(10_000));
    answer(&mut bench, 1, Err(fits.clone()));
    assert!(bench.write_all().len() > 10_000, "it is told as it is");
    // Results and errors for a peer that does not read: those that do not fit any more are small errors.
    for id in 0..60 {
        answer(&mut bench, id, if id % 2 == 0 { Ok(text(6000)) } else { Err(fits.clone()) });
    }
    let sent = bench.write_all();
    assert_eq!(sent.lines().count(), 60);
    assert!(
        sent.matches("-32005").count() > 20 && sent.matches("does not fit").count() > 20,
        "{}",
        sent.len()
    );
    assert!(sent.len() < policy().outbox_bytes_max + 60 * 500, "{}", sent.len());
}

#[test]
fn with_descriptors_waiting_a_bad_frame_ends_the_connection() {
    let (mut bench, (held, fds)) = (Bench::passing(), held(1));
    bench.call(1);
    bench.write_all();
    bench.read(b"{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":NaN}\n", fds);
    assert!(bench.violation().contains("does not parse"));
    drop(bench);
    assert_eq!(held.open(), 0);
}
