//! Which members of the envelope a plugin is sent, by the features of its hello.

use super::*;
use crate::state::fds::held;
use rpc_plugin_wire::Chain;

impl Bench {
    /// One whose hello had these features, and the answer to it.
    fn with_features(features: &[&str]) -> (Bench, Value) {
        let mut bench = Bench::new();
        let mut params = hello();
        params["features"] = json!(features);
        bench.push(&request("host.hello", &params));
        bench.events();
        let answer: Value = serde_json::from_str(&bench.write_all()).unwrap();
        (bench, answer["result"]["features"].clone())
    }

    fn sent(&mut self) -> Value {
        serde_json::from_str(&self.write_all()).unwrap()
    }
}

/// Those before the feature `chain` said `callbacks`, and know it.
#[test]
fn the_chain_is_sent_to_who_says_that_it_takes_it() {
    let chain = Chain::default().and("front/1/7").unwrap();
    for (features, is_sent) in
        [(&[][..], false), (&["cancel"], false), (&["chain"], true), (&["callbacks"], true)]
    {
        let (mut bench, agreed) = Bench::with_features(features);
        assert_eq!(agreed, json!(features));
        bench.request(1, CallRequest { chain: chain.clone(), ..echo() }, 100).unwrap();
        let chain = if is_sent { json!(["front/1/7"]) } else { Value::Null };
        assert_eq!(bench.sent()["chain"], chain, "{features:?}");
    }
}

#[test]
fn streams_go_in_band_to_who_takes_no_descriptors_also_where_they_could_be_passed() {
    let table = [
        (&["streams"][..], json!(["streams"]), json!([0]), Value::Null),
        (&["fds"], json!(["fds"]), Value::Null, json!(1)),
        (&["fds", "streams"], json!(["fds"]), Value::Null, json!(1)),
    ];
    for (features, agreed, streams, fds) in table {
        let (mut bench, seen) = Bench::with_features(features);
        assert_eq!(seen, agreed);
        let (_held, fds_of_call) = held(1);
        bench.request(1, CallRequest { fds: fds_of_call, ..echo() }, 100).unwrap();
        let sent = bench.sent();
        assert_eq!((&sent["streams"], &sent["fds"]), (&streams, &fds), "{features:?}");
    }
    let (mut bench, _) = Bench::with_features(&[]);
    let (_held, fds_of_call) = held(1);
    assert!(bench.request(1, CallRequest { fds: fds_of_call, ..echo() }, 100).is_err());
}

#[test]
fn who_gives_a_call_up_soon_after_its_deadline_does_as_it_was_told() {
    let cancelled =
        || frame(&json!({"jsonrpc": "2.0", "id": 0, "error": {"code": -32800, "message": "given up"}}));
    let failed = || frame(&json!({"jsonrpc": "2.0", "id": 0, "error": {"code": 1, "message": "no"}}));
    // The grace is 50 ms; a plugin may take its own 100 ms before that.
    for (after, answer, expected) in
        [(50, cancelled(), true), (51, cancelled(), false), (0, failed(), false), (0, result(0), false)]
    {
        let mut bench = Bench::open();
        bench.call_with(1, None, 20).unwrap();
        bench.write_all();
        bench.pass(20 * MS);
        bench.ends();
        bench.pass(after * MS);
        bench.push(&answer);
        let events = bench.events();
        let [SessionEvent::LateAnswer(_, _, gave_up)] = &events[..] else { panic!("{events:?}") };
        assert_eq!(*gave_up, expected, "{after} ms after the deadline");
    }
}
