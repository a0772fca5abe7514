//! Repeats within limits: so many tries, and waits that begin as long as the caller says.

use super::*;
use rpc_plugin_wire::retry_limits::RetryLimits;

impl Bench {
    fn limited(&mut self, target: Target, attempts: u32, backoff: Duration) {
        let mut request = CallRequest { idempotent: true, ..CallRequest::new(target, "echo") };
        request.timeout = Some(600_000 * MS);
        request.retry = Some(RetryLimits::new(attempts, backoff));
        self.host.call(self.now, CallKey(1), &mut request);
        self.take_actions();
    }
}

fn capability() -> Target {
    Target::Capability("echo".into())
}

#[test]
fn the_last_try_that_a_call_may_have_is_its_end_also_across_restarts() {
    for attempts in [0, 1, 3] {
        let mut bench = Bench::new(&["a"]);
        bench.up("a");
        bench.limited(Target::Plugin("a".parse().unwrap()), attempts, 10 * MS);
        let tries = attempts.max(1);
        for number in 1..=tries {
            assert!(bench.ends.is_empty() && !bench.written("a", "echo").is_empty(), "try {number}");
            bench.crash("a");
            if number < tries {
                // Nobody takes calls meanwhile, which costs no attempt.
                bench.pass(200 * MS);
                bench.rise("a");
            }
        }
        let error = bench.error();
        assert_eq!((error.code, error.outcome), (ErrorCode::PluginLost, Outcome::Indeterminate));
        assert_eq!((error.tries, bench.repeats()), (tries, tries as usize - 1));
        bench.rests();
        assert_eq!(bench.host.timers_pending(), 1, "its restart");
    }
}

#[test]
fn waits_begin_as_named_and_double_up_to_a_minute() {
    // The first two are seen from both sides; of the long ones, that there are no longer ones.
    for (backoff, waits) in [(100 * MS, [100, 200, 400]), (40_000 * MS, [40_000, 60_000, 60_000])] {
        let mut bench = Bench::with_policy(&["a", "b", "c", "d"], Policy { restarts_max: 0, ..policy() });
        let mut left: Vec<_> = ["a", "b", "c", "d"].into();
        left.iter().for_each(|id| bench.up(id));
        bench.limited(capability(), 9, backoff);
        for wait in waits {
            let asked: Vec<_> =
                left.iter().filter(|id| !bench.written(id, "echo").is_empty()).copied().collect();
            assert_eq!(asked.len(), 1, "{left:?}");
            bench.crash(asked[0]);
            left.retain(|id| *id != asked[0]);
            let before = bench.repeats();
            bench.pass(MS * (wait / 2 - 1));
            assert_eq!(bench.repeats(), before, "not before half of {wait} ms");
            bench.pass(MS * (wait / 2 + 1));
            assert_eq!(bench.repeats(), before + 1, "after {wait} ms");
        }
        let asked = left[0];
        let request = bench.written(asked, "echo")[0];
        bench.answer(asked, request);
        assert_eq!(bench.ends.remove(0).1.unwrap(), format!("{{}} of {asked}"));
        assert_eq!(bench.tries, Some(4));
        bench.rests();
    }
}
