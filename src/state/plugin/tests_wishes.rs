//! Start, stop and restart in every phase.

use super::*;
use crate::state::call::{CallRequest, Target};

/// Every phase, in the order of a life. Ending comes twice: because of a stop, and of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum In {
    Stopped,
    Queued,
    Preparing,
    Spawning,
    Connecting,
    Greeting,
    Proving,
    Running,
    EndingByStop,
    EndingByFailure,
    Backoff,
    Failed,
}

use In::{
    Backoff, Connecting, EndingByFailure, EndingByStop, Failed, Greeting, Preparing, Proving, Queued,
    Running, Spawning, Stopped,
};

const ALL: [In; 12] = [
    Stopped,
    Queued,
    Preparing,
    Spawning,
    Connecting,
    Greeting,
    Proving,
    Running,
    EndingByStop,
    EndingByFailure,
    Backoff,
    Failed,
];

/// Another plugin, which is starting.
const OTHER: PluginKey = PluginKey(9);

fn bench_in(phase: In) -> Bench {
    let mut bench = Bench::new(Policy { restarts_max: u32::from(phase != Failed), ..policy() });
    let steps: [fn(&mut Bench); 6] = [
        Bench::start,
        Bench::prepared,
        |bench| bench.spawned(Ok(PID)),
        Bench::connected,
        Bench::greeted,
        Bench::proven,
    ];
    let count = match phase {
        Stopped | Queued => 0,
        Preparing => 1,
        Spawning => 2,
        Connecting => 3,
        Greeting => 4,
        Proving => 5,
        _ => 6,
    };
    steps.into_iter().take(count).for_each(|step| step(&mut bench));
    match phase {
        Queued => {
            bench.places = StartPlaces::new(1);
            bench.places.ask(bench.now, OTHER).unwrap();
            bench.start();
        }
        Spawning => bench.spawned(Err(SpawnFailure {
            reason: "busy".into(),
            busy: true,
            shortage: false,
            permanent: false,
        })),
        EndingByStop => bench.act(Plugin::stop),
        EndingByFailure => bench.frame(&json!({"jsonrpc": "2.0", "id": 99, "result": {}})),
        Backoff | Failed => bench.exit(false),
        _ => {}
    }
    let there = match phase {
        Stopped => bench.plugin.phase == Phase::Stopped,
        Queued => bench.plugin.phase == Phase::Queued(1),
        Preparing => bench.plugin.phase == Phase::Preparing,
        Spawning => bench.plugin.phase == Phase::Spawning(1),
        Connecting => bench.plugin.phase == Phase::Connecting,
        Greeting => bench.plugin.phase == Phase::Greeting,
        Proving => matches!(bench.plugin.phase, Phase::Proving { .. }),
        Running => matches!(bench.plugin.phase, Phase::Running(_)),
        EndingByStop => matches!(bench.plugin.phase, Phase::Ending(Why::Stop, Rung::Asked)),
        EndingByFailure => matches!(bench.plugin.phase, Phase::Ending(Why::Failure(_), Rung::Termed)),
        Backoff => matches!(bench.plugin.phase, Phase::Backoff(_)),
        Failed => bench.plugin.phase == Phase::Failed,
    };
    assert!(there, "{phase:?} is {:?}", bench.plugin.phase);
    bench.write();
    bench.asked();
    bench
}

/// Lets the outside do its part: others have started, what is being prepared returns, a process that is being ended ends.
fn settle(bench: &mut Bench) {
    bench.places.leave(OTHER);
    if let Some(next) = bench.places.next(bench.now) {
        assert_eq!(next, PluginKey(0));
        bench.act(Plugin::handle_place);
        return;
    }
    if bench.plugin.preparing.is_some() {
        bench.prepared();
    }
    if matches!(bench.plugin.phase, Phase::Ending(..)) {
        bench.exit(false);
    }
}

#[test]
fn stop_leads_to_stopped_from_everywhere() {
    let table: [(In, &[&str]); 12] = [
        (Stopped, &[]),
        (Queued, &[]),
        (Preparing, &[]),
        (Spawning, &["discard 42"]),
        (Connecting, &["term"]),
        (Greeting, &["close", "term"]),
        (Proving, &[]),
        (Running, &[]),
        (EndingByStop, &[]),
        (EndingByFailure, &[]),
        (Backoff, &[]),
        (Failed, &[]),
    ];
    assert_eq!(table.map(|(phase, _)| phase), ALL);
    for (phase, expected) in table {
        let mut bench = bench_in(phase);
        bench.act(Plugin::stop);
        assert_eq!(bench.asked(), expected, "at once, in {phase:?}");
        let asks = bench.write().iter().any(|(method, _)| method == "plugin.shutdown");
        assert_eq!(asks, matches!(phase, Proving | Running), "it can be asked, in {phase:?}");
        settle(&mut bench);
        assert_eq!(
            (bench.state(), bench.plugin.desired()),
            (PluginState::Stopped, Desired::Down),
            "{phase:?}"
        );
        assert!(bench.timers.is_empty() && bench.plugin.is_quiet(), "{phase:?}");
        bench.pass(Duration::from_secs(100));
        assert_eq!(bench.state(), PluginState::Stopped, "and stays, in {phase:?}");
    }
}

#[test]
fn start_launches_what_is_down_and_leaves_alone_what_is_up() {
    let table: [(In, &[&str]); 12] = [
        (Stopped, &["prepare 42"]),
        (Queued, &["prepare 42"]),
        (Preparing, &["spawn"]),
        (Spawning, &[]),
        (Connecting, &[]),
        (Greeting, &[]),
        (Proving, &[]),
        (Running, &[]),
        // The stop was called off: the process still ends, and another one follows.
        (EndingByStop, &["close", "discard 42", "prepare 43"]),
        (EndingByFailure, &["discard 42"]),
        (Backoff, &["prepare 43"]),
        (Failed, &["prepare 43"]),
    ];
    assert_eq!(table.map(|(phase, _)| phase), ALL);
    for (phase, expected) in table {
        let mut bench = bench_in(phase);
        bench.start();
        if !matches!(phase, Stopped | Backoff | Failed) {
            settle(&mut bench);
        }
        assert_eq!((bench.asked(), bench.plugin.desired()), (own(expected), Desired::Up), "{phase:?}");
    }
}

#[test]
fn restart_leads_to_a_new_generation_from_everywhere() {
    let table: [(In, &[&str], &[&str]); 12] = [
        (Stopped, &["prepare 42"], &[]),
        (Queued, &[], &["prepare 42"]),
        (Preparing, &[], &["discard 42", "prepare 43"]),
        (Spawning, &["discard 42", "prepare 43"], &[]),
        (Connecting, &["term"], &["discard 42", "prepare 43"]),
        (Greeting, &["close", "term"], &["discard 42", "prepare 43"]),
        (Proving, &[], &["close", "discard 42", "prepare 43"]),
        (Running, &[], &["close", "discard 42", "prepare 43"]),
        (EndingByStop, &[], &["close", "discard 42", "prepare 43"]),
        (EndingByFailure, &[], &["discard 42", "prepare 43"]),
        (Backoff, &["prepare 43"], &[]),
        (Failed, &["prepare 43"], &[]),
    ];
    assert_eq!(table.map(|(phase, ..)| phase), ALL);
    for (phase, at_once, later) in table {
        let mut bench = bench_in(phase);
        bench.act(Plugin::restart);
        assert_eq!((bench.asked(), bench.plugin.desired()), (own(at_once), Desired::Up), "{phase:?}");
        if !later.is_empty() {
            settle(&mut bench);
            assert_eq!(bench.asked(), later, "{phase:?}");
        }
        bench.rise();
        assert_eq!(bench.plugin.restarts.failures_in_row(), 0, "an operator's restart forgives");
    }
}

fn echo() -> CallRequest {
    CallRequest::new(Target::Plugin("echo".parse().unwrap()), "echo")
}

#[test]
fn a_stop_in_flight_refuses_calls_and_keeps_those_in_flight_until_the_end() {
    let mut bench = bench_in(Running);
    bench.act(|plugin, step| plugin.call(step, CallKey(1), &mut echo()));
    bench.write();
    bench.act(Plugin::stop);
    bench.act(|plugin, step| plugin.call(step, CallKey(2), &mut echo()));
    assert_eq!(bench.asked(), ["call 2 unavailable"]);
    bench.answer(2, &json!({}));
    assert_eq!(bench.asked(), ["call 1 ok"]);
    bench.exit(true);
    assert_eq!(bench.state(), PluginState::Stopped);
}

fn own(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
