//! What follows the end of a generation: restart policies, backoff, intensity.

use super::*;

/// How a generation ends.
#[derive(Debug, Clone, Copy)]
enum Ends {
    Clean,
    Crash,
    CleanBeforeHealthy,
}

#[test]
fn each_policy_decides_by_how_it_ended() {
    use PluginState::{Backoff, Failed, Stopped};
    use RestartPolicy::{Always, Never, OnFailure};
    let table = [
        (Always, Ends::Clean, Backoff, Desired::Up),
        (Always, Ends::Crash, Backoff, Desired::Up),
        (Always, Ends::CleanBeforeHealthy, Backoff, Desired::Up),
        (OnFailure, Ends::Clean, Stopped, Desired::Down),
        (OnFailure, Ends::Crash, Backoff, Desired::Up),
        (OnFailure, Ends::CleanBeforeHealthy, Backoff, Desired::Up),
        (Never, Ends::Clean, Stopped, Desired::Down),
        (Never, Ends::Crash, Failed, Desired::Up),
        (Never, Ends::CleanBeforeHealthy, Failed, Desired::Up),
    ];
    for (restart, ends, state, desired) in table {
        let mut bench = Bench::new(Policy { restart, ..policy() });
        bench.reach_hello();
        bench.greeted();
        if !matches!(ends, Ends::CleanBeforeHealthy) {
            bench.proven();
        }
        bench.exit(!matches!(ends, Ends::Crash));
        assert_eq!((bench.state(), bench.plugin.desired), (state, desired), "{restart} {ends:?}");
        if matches!(ends, Ends::Crash) {
            let error = bench.last_error();
            assert!(error.contains("signal 11") && error.contains("ouch"), "{error}");
        }
    }
}

#[test]
fn who_closes_its_connection_and_has_to_be_ended_did_not_end_cleanly() {
    for restart in [RestartPolicy::Always, RestartPolicy::OnFailure] {
        let mut bench = Bench::new(Policy { restart, ..policy() });
        bench.up();
        bench.end_of_stream();
        // Past the time in which it is expected to end by itself: SIGTERM, which it heeds with status 0.
        bench.pass(600 * MS);
        bench.exit(true);
        assert_eq!((bench.state(), bench.plugin.desired), (PluginState::Backoff, Desired::Up));
        assert!(bench.last_error().contains("had to be ended"), "{}", bench.last_error());
    }
}

#[test]
fn backoff_doubles_to_its_cap_and_the_limit_gives_up_until_an_operator_acts() {
    let mut bench = Bench::new(Policy { restarts_max: 6, ..policy() });
    bench.up();
    for ms in [100, 200, 400, 800, 1000, 1000] {
        bench.exit(false);
        assert_eq!(bench.state(), PluginState::Backoff);
        bench.asked();
        bench.pass((ms - 1) * MS);
        assert!(bench.asked().is_empty(), "launched before {ms} ms");
        bench.pass(MS);
        assert!(bench.asked()[0].starts_with("prepare"));
        bench.rise();
    }
    bench.exit(false);
    assert_eq!(bench.state(), PluginState::Failed);
    assert!(bench.last_error().contains("6 restarts within 60s"), "{}", bench.last_error());
    bench.asked();
    bench.pass(Duration::from_secs(3600));
    assert!(bench.asked().is_empty() && bench.timers.is_empty(), "it stays given up");
    bench.start();
    assert_eq!(bench.asked(), ["prepare 49"]);
    bench.rise();
    bench.exit(false);
    bench.asked();
    bench.pass(100 * MS);
    assert_eq!(bench.asked(), ["prepare 50"], "an operator's start forgives");
}

#[test]
fn without_a_limit_it_is_replaced_for_ever_at_the_longest_pause() {
    let mut bench = Bench::new(Policy { restarts_max: Policy::RESTARTS_UNLIMITED, ..policy() });
    bench.up();
    for _ in 0..3000 {
        bench.exit(false);
        assert_eq!(bench.state(), PluginState::Backoff);
        bench.pass(1000 * MS);
        bench.rise();
    }
    assert!(bench.plugin.restarts.is_small(), "what is kept does not grow with them");
}

#[test]
fn restarts_older_than_the_window_do_not_count() {
    let mut bench = Bench::new(Policy { restart_window: 20_000 * MS, ..policy() });
    bench.up();
    for _ in 0..9 {
        bench.pass(9_000 * MS);
        bench.exit(false);
        assert_eq!(bench.state(), PluginState::Backoff);
        bench.pass(1000 * MS);
        bench.rise();
    }
}

#[test]
fn a_healthy_stretch_ends_the_row_and_its_replacement_is_immediate() {
    let mut bench = Bench::new(Policy { heartbeat_interval: Duration::ZERO, restarts_max: 5, ..policy() });
    bench.up();
    bench.exit(false);
    bench.pass(100 * MS);
    bench.rise();
    bench.pass(9_999 * MS);
    bench.exit(false);
    assert_eq!(backoff_until(&bench.plugin), Some(bench.now.plus(200 * MS)), "a millisecond too short");
    bench.pass(200 * MS);
    bench.rise();
    bench.pass(10_000 * MS);
    bench.asked();
    bench.exit(false);
    assert_eq!(bench.asked(), ["close", "discard 44", "prepare 45"]);
    bench.rise();
    bench.exit(false);
    assert_eq!(backoff_until(&bench.plugin), Some(bench.now.plus(200 * MS)), "the second in a new row");
}

#[test]
fn time_spent_hanging_is_no_healthy_stretch() {
    let mut bench = Bench::new(Policy { healthy_stretch: 3_500 * MS, ..policy() });
    bench.up();
    // Heartbeats at 1, 2 and 3 s are missed; the third ends it at 3.1 s, SIGKILL comes at 3.35 s.
    for _ in 0..40 {
        bench.pass(100 * MS);
        bench.write();
    }
    assert!(bench.asked().contains(&"kill".to_owned()));
    bench.exit(false);
    assert_eq!(bench.state(), PluginState::Backoff, "it was well for 1.1 s only");
}
