//! Which provider of a capability a call goes to, and what is said where there is none.

use super::*;

fn echo() -> Target {
    Target::Capability("echo".into())
}

#[test]
fn a_capability_goes_to_the_provider_with_the_fewest_calls_and_equals_take_turns() {
    let mut bench = Bench::new(&["a", "b", "c", "d"]);
    ["a", "b", "c"].iter().for_each(|id| bench.up(id));
    let mut number = 0;
    let mut go = |bench: &mut Bench| {
        number += 1;
        bench.call(number, echo(), 1000 * MS, false);
        let ids = ["a", "b", "c"].into_iter().filter(|id| !bench.written(id, "echo").is_empty());
        ids.collect::<String>()
    };
    assert_eq!((go(&mut bench), go(&mut bench), go(&mut bench)), ("a".into(), "b".into(), "c".into()));
    bench.answer("b", 2);
    assert_eq!(go(&mut bench), "b", "it has the fewest");
    ["a", "c"].iter().for_each(|id| bench.answer(id, 2));
    bench.answer("b", 3);
    assert_eq!(bench.ends.len(), 4);
    // None has any: the one that was picked longest ago.
    assert_eq!((go(&mut bench), go(&mut bench), go(&mut bench)), ("a".into(), "c".into(), "b".into()));
    bench.ends.clear();
    bench.crash("a");
    assert_eq!(bench.ends.len(), 1);
    assert!(go(&mut bench) != "a" && bench.host.next_provider("echo") != Some(bench.key("a")));
    assert!(bench.host.next_provider("kv").is_none());
}

#[test]
fn a_capability_without_a_provider_names_those_that_there_are() {
    let mut bench = Bench::new(&["a", "b"]);
    bench.call(1, echo(), 1000 * MS, false);
    let error = bench.error();
    assert_eq!(
        (error.code, error.outcome, error.plugin_id),
        (ErrorCode::Unavailable, Outcome::NotSent, None)
    );
    assert!(
        error.message.contains("\"echo\": none of 2 plugins has said that it serves it"),
        "{}",
        error.message
    );
    bench.up("a");
    let key = bench.key("a");
    bench.host.wish(bench.now, key, Wish::Stop).unwrap();
    bench.take_actions();
    bench.call(1, echo(), 1000 * MS, false);
    let error = bench.error();
    assert!(error.message.contains("a is stopping"), "{}", error.message);
    bench.up("b");
    bench.frame("b", &json!({"jsonrpc": "2.0", "method": "rpc.unknown"}));
    bench.call(1, echo(), 1000 * MS, false);
    assert_eq!(bench.written("b", "echo").len(), 1);
}

#[test]
fn a_repeat_by_capability_may_go_to_another_provider() {
    let mut bench = Bench::new(&["a", "b"]);
    ["a", "b"].iter().for_each(|id| bench.up(id));
    bench.call(1, echo(), 1000 * MS, true);
    assert_eq!(bench.written("a", "echo"), [2]);
    bench.crash("a");
    bench.pass(20 * MS);
    let [request] = bench.written("b", "echo")[..] else { panic!("it was not sent to the other") };
    bench.answer("b", request);
    assert_eq!(bench.ends.remove(0).1.unwrap(), "{} of b");
    bench.rests();
}
