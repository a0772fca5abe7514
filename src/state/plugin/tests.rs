//! One plugin's life by itself: the ladder, restart policies, backoff, and every wish in every phase.

use super::*;
use crate::state::action::StopSignal;
use crate::state::keys::CallKey;
use crate::state::policy::RestartPolicy;
use serde_json::{Value, json};

#[path = "tests_by_hand.rs"]
mod by_hand;
#[path = "tests_idle.rs"]
mod idle;
#[path = "tests_launch.rs"]
mod launch;
#[path = "tests_life.rs"]
mod life;
#[path = "tests_logged.rs"]
mod logged;
#[path = "tests_permanent.rs"]
mod permanent;
#[path = "tests_reconfigured.rs"]
mod reconfigured;
#[path = "tests_restart.rs"]
mod restart;
#[path = "tests_texts.rs"]
mod texts;
#[path = "tests_transport.rs"]
mod transport;
#[path = "tests_wishes.rs"]
mod wishes;

const MS: Duration = Duration::from_millis(1);
const PID: u32 = 4711;
const UID: u32 = 1000;

/// One plugin with the time and timers around it.
struct Bench {
    plugin: Plugin,
    timers: Wheel<Timer>,
    actions: VecDeque<Action>,
    rng: fastrand::Rng,
    places: StartPlaces,
    order: Order,
    held: HeldCalls,
    now: Time,
}

fn policy() -> Policy {
    Policy {
        prepare_timeout: 100 * MS,
        connect_timeout: 200 * MS,
        hello_timeout: 300 * MS,
        ready_timeout: 400 * MS,
        heartbeat_interval: 1000 * MS,
        heartbeat_timeout: 100 * MS,
        heartbeat_misses_max: 3,
        shutdown_grace: 500 * MS,
        term_grace: 250 * MS,
        backoff_initial: 100 * MS,
        backoff_max: 1000 * MS,
        backoff_jitter_percent: 0,
        healthy_stretch: 10_000 * MS,
        restarts_max: 3,
        restart_window: 60_000 * MS,
        ..Policy::default()
    }
}

impl Bench {
    fn new(policy: Policy) -> Bench {
        policy.check().unwrap();
        Bench::of(PluginConfig::new("echo".parse().unwrap(), "/echo").policy(policy))
    }

    fn of(config: PluginConfig) -> Bench {
        let last = Generation::try_from(41).unwrap();
        Bench {
            plugin: Plugin::new(PluginKey(0), config.into(), Some(last)),
            timers: Wheel::default(),
            actions: VecDeque::new(),
            rng: fastrand::Rng::with_seed(1),
            places: StartPlaces::default(),
            order: Order::default(),
            held: HeldCalls::default(),
            now: Time::ZERO,
        }
    }

    fn act<R>(&mut self, act: impl FnOnce(&mut Plugin, &mut Step<'_>) -> R) -> R {
        let mut step = Step {
            now: self.now,
            timers: &mut self.timers,
            actions: &mut self.actions,
            rng: &mut self.rng,
            places: &mut self.places,
            order: &mut self.order,
            held: &mut self.held,
        };
        let result = act(&mut self.plugin, &mut step);
        if self.plugin.settle(&mut step) {
            state_changed(&mut self.plugin, &mut step);
        }
        result
    }

    fn generation(&self) -> Generation {
        self.plugin.generation().unwrap()
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
        while let Some(timer) = self.timers.pop_expired(self.now) {
            self.act(|plugin, step| match timer {
                Timer::Life(_, timer) => plugin.handle_timer(step, timer),
                Timer::Call(_, generation, id) => plugin
                    .with_session(step, generation, |session, cx| session.handle_timer(cx, id))
                    .unwrap_or_default(),
                Timer::Held(call) => end_held(plugin, step, call),
                Timer::Use(_) => handle_use_due(plugin, step),
                Timer::Wait(_) | Timer::Retry(_) => panic!("nobody waits"),
            });
        }
    }

    fn prepared(&mut self) {
        let generation = self.generation();
        self.act(|plugin, step| plugin.handle_prepared(step, generation, Ok(Token::from_bytes([7; 32]))));
    }

    fn spawned(&mut self, outcome: Result<u32, SpawnFailure>) {
        let generation = self.generation();
        self.act(|plugin, step| plugin.handle_spawned(step, generation, outcome));
    }

    fn connected(&mut self) {
        let (generation, peer) = (self.generation(), PeerIdentity { pid: PID, uid: UID });
        assert!(self.act(|plugin, step| plugin.handle_connection(step, generation, peer, UID)));
    }

    fn frame(&mut self, value: &Value) {
        let generation = self.generation();
        let session = self.plugin.session_mut(generation).expect("a session");
        session.take_in(format!("{value}\n").as_bytes());
        self.act(|plugin, step| {
            while plugin.with_session(step, generation, |session, cx| session.handle_frames(cx, 4))
                == Some(true)
            {}
        });
    }

    fn greeted(&mut self) {
        self.greeted_with(&["cancel"]);
    }

    fn greeted_with(&mut self, features: &[&str]) {
        let hello = json!({
            "token": "07".repeat(32), "plugin_id": "echo", "generation": self.generation(),
            "protocols": [1], "version": "1", "capabilities": ["echo"], "features": features,
        });
        self.frame(&json!({"jsonrpc": "2.0", "id": 0, "method": "host.hello", "params": hello}));
        self.write();
    }

    /// Writes all that waits, and gives back the ids of the requests in it by method.
    fn write(&mut self) -> Vec<(String, u64)> {
        let generation = self.generation();
        let Some(session) = self.plugin.session_mut(generation) else { return Vec::new() };
        session.write_requests()
    }

    fn answer(&mut self, id: u64, result: &Value) {
        self.frame(&json!({"jsonrpc": "2.0", "id": id, "result": result}));
    }

    /// From the hello to healthy: ids 0 (capabilities) and 1 (heartbeat) are the first two.
    fn proven(&mut self) {
        let able = json!({"plugin_id": "echo", "version": "1", "generation": self.generation(), "capabilities": ["echo"]});
        self.answer(0, &able);
        self.answer(1, &json!({"status": "healthy"}));
        assert_eq!(self.plugin.state(), PluginState::Healthy);
    }

    fn exit(&mut self, clean: bool) {
        let generation = self.generation();
        let (text, exit_code, signal) = match clean {
            true => ("exit status 0", Some(0), None),
            false => ("signal 11 (SIGSEGV)", None, Some(11)),
        };
        let stderr_tail = vec!["ouch".into()];
        let report = ExitReport { clean, text: text.into(), exit_code, signal, stderr_tail };
        self.act(|plugin, step| plugin.handle_exit(step, generation, report));
    }

    fn end_of_stream(&mut self) {
        let generation = self.generation();
        self.act(|plugin, step| plugin.with_session(step, generation, Session::handle_end_of_stream));
    }

    fn start(&mut self) {
        self.act(Plugin::start);
    }

    /// From down to healthy.
    fn up(&mut self) {
        self.start();
        self.rise();
    }

    /// From down to its connection, whose first frame is awaited.
    fn reach_hello(&mut self) {
        self.start();
        self.prepared();
        self.spawned(Ok(PID));
        self.connected();
    }

    /// From preparing to healthy.
    fn rise(&mut self) {
        self.prepared();
        self.spawned(Ok(PID));
        self.connected();
        self.greeted();
        self.proven();
    }

    /// What was asked for since the last time, notes aside.
    fn asked(&mut self) -> Vec<String> {
        let asked = self.actions.drain(..).filter_map(|action| match action {
            Action::Prepare(_, generation, _) => Some(format!("prepare {generation}")),
            Action::Spawn(..) => Some("spawn".into()),
            Action::Await(..) => Some("await".into()),
            Action::Discard(_, generation) => Some(format!("discard {generation}")),
            Action::Trusted(..) => Some("trusted".into()),
            Action::Asked(_, _, asked) => Some(format!("asked {}", asked.method)),
            Action::RefuseStreams(..) | Action::Stream(..) => None,
            Action::Abandoned(_, _, id, _) => Some(format!("abandoned {id}")),
            Action::CloseLink(..) => Some("close".into()),
            Action::Signal(_, _, StopSignal::Term) => Some("term".into()),
            Action::Signal(_, _, StopSignal::Kill) => Some("kill".into()),
            Action::Complete(CallKey(number), end) => Some(match end.result {
                Ok(_) => format!("call {number} ok"),
                Err(error) => format!("call {number} {}", error.code.name()),
            }),
            Action::LookAt(_, generation) => Some(format!("look {generation}")),
            Action::LookAtUse(_, generation) => Some(format!("see use {generation}")),
            Action::Confirm(..)
            | Action::Waited(..)
            | Action::Called(_)
            | Action::Progress(..)
            | Action::Note(_) => None,
        });
        asked.collect()
    }

    fn state(&self) -> PluginState {
        self.plugin.state()
    }

    fn last_error(&self) -> String {
        status_of(&self.plugin, self.now).last_error.unwrap_or_default()
    }
}

#[test]
fn a_start_asks_for_each_step_once_and_in_order() {
    let mut bench = Bench::new(policy());
    bench.up();
    assert_eq!(bench.asked(), ["prepare 42", "spawn", "trusted"]);
    assert_eq!(bench.timers.len(), 1, "only the next heartbeat");
}

#[test]
fn each_step_of_a_start_has_a_deadline_that_is_named() {
    type Rise = fn(&mut Bench);
    let table: [(Rise, u32, &str); 3] = [
        (|_| {}, 200, "did not connect"),
        (|bench| bench.connected(), 300, "host.hello did not come"),
        (
            |bench| {
                bench.connected();
                bench.greeted();
            },
            400,
            "its capabilities did not come",
        ),
    ];
    for (rise, ms, expected) in table {
        let mut bench = Bench::new(policy());
        bench.start();
        bench.prepared();
        bench.spawned(Ok(PID));
        rise(&mut bench);
        bench.asked();
        bench.pass((ms - 1) * MS);
        assert!(!bench.asked().contains(&"term".to_owned()), "{expected} too early");
        bench.pass(MS);
        assert!(bench.asked().contains(&"term".to_owned()));
        assert!(bench.last_error().contains(expected), "{}", bench.last_error());
    }
}

#[test]
fn the_ladder_asks_then_terminates_then_kills_and_kills_again() {
    let mut bench = Bench::new(policy());
    bench.up();
    bench.asked();
    bench.act(Plugin::stop);
    assert_eq!(bench.write(), [("plugin.shutdown".to_owned(), 2)]);
    bench.pass(499 * MS);
    assert!(bench.asked().is_empty());
    bench.pass(MS);
    assert_eq!(bench.asked(), ["term"]);
    bench.pass(249 * MS);
    assert!(bench.asked().is_empty());
    bench.pass(MS);
    assert_eq!(bench.asked(), ["kill"]);
    bench.pass(5000 * MS);
    assert_eq!(bench.asked(), ["kill"], "a process that hangs in the kernel is told again");
    bench.exit(false);
    assert_eq!(bench.asked(), ["close", "discard 42"]);
    assert_eq!(bench.state(), PluginState::Stopped);
    assert!(bench.timers.is_empty() && bench.plugin.is_quiet());
}

#[test]
fn rungs_without_grace_are_skipped() {
    let mut bench = Bench::new(Policy { shutdown_grace: Duration::ZERO, ..policy() });
    bench.up();
    bench.asked();
    bench.act(Plugin::stop);
    assert_eq!(bench.asked(), ["term"]);
    let none = Policy { shutdown_grace: Duration::ZERO, term_grace: Duration::ZERO, ..policy() };
    let mut bench = Bench::new(none);
    bench.up();
    bench.asked();
    bench.act(Plugin::stop);
    assert_eq!(bench.asked(), ["kill"]);
}

#[test]
fn a_plugin_that_closes_its_connection_may_linger_before_it_is_ended() {
    let mut bench = Bench::new(policy());
    bench.up();
    bench.asked();
    bench.end_of_stream();
    assert_eq!((bench.asked(), bench.state()), (vec!["close".to_owned()], PluginState::Unhealthy));
    bench.pass(499 * MS);
    assert!(bench.asked().is_empty());
    bench.pass(MS);
    assert_eq!(bench.asked(), ["term"]);
}

#[test]
fn a_plugin_that_is_refused_has_time_to_read_why_before_it_is_signalled() {
    let refused = |by_itself: bool| {
        let mut bench = Bench::new(policy());
        bench.reach_hello();
        bench.asked();
        bench.frame(&json!({"jsonrpc": "2.0", "id": 0, "method": "host.hello", "params": {}}));
        assert_eq!((bench.asked(), bench.state()), (vec!["close".to_owned()], PluginState::Stopping));
        if by_itself {
            bench.pass(499 * MS);
            assert!(bench.asked().is_empty());
        } else {
            bench.pass(500 * MS);
            assert_eq!(bench.asked(), ["term"]);
        }
        bench.exit(by_itself);
        assert!(bench.last_error().contains("the proof of identity failed"), "{}", bench.last_error());
        assert_ne!(bench.state(), PluginState::Stopping, "it is replaced, or given up");
    };
    refused(true);
    refused(false);
}

#[test]
fn a_hello_that_comes_during_a_stop_revives_nothing() {
    let mut bench = Bench::new(policy());
    bench.reach_hello();
    bench.asked();
    bench.act(Plugin::stop);
    assert_eq!(bench.asked(), ["close", "term"]);
    assert!(bench.plugin.session_mut(bench.generation()).is_none(), "nothing reads the hello");
    bench.pass(250 * MS);
    assert_eq!(bench.asked(), ["kill"]);
}

#[test]
fn a_preparation_that_hangs_is_given_up_and_never_joined_by_a_second() {
    let mut bench = Bench::new(policy());
    bench.start();
    let generation = bench.generation();
    bench.pass(100 * MS);
    assert_eq!(bench.state(), PluginState::Failed);
    assert!(bench.last_error().contains("file system hanging"), "{}", bench.last_error());
    bench.asked();
    bench.start();
    assert_eq!((bench.asked(), bench.state()), (vec![], PluginState::Failed));
    assert!(!bench.plugin.is_quiet());
    bench.act(|plugin, step| plugin.handle_prepared(step, generation, Ok(Token::from_bytes([7; 32]))));
    assert_eq!((bench.asked(), bench.plugin.is_quiet()), (vec!["discard 42".to_owned()], true));
    bench.start();
    assert_eq!(bench.asked(), ["prepare 43"]);
}

#[test]
fn a_number_that_turns_out_to_be_used_is_not_approached_one_by_one() {
    let used = |number: u64| PrepareFailure {
        used: Some(number.try_into().unwrap()),
        ..PrepareFailure::from("used".to_owned())
    };
    let mut bench = Bench::new(policy());
    bench.start();
    assert_eq!(bench.asked(), ["prepare 42"]);
    let generation = bench.generation();
    bench.act(|plugin, step| plugin.handle_prepared(step, generation, Err(used(900))));
    bench.pass(MS * 1000);
    assert_eq!(bench.asked(), ["prepare 901"]);
    let generation = bench.generation();
    // A lower one says nothing new.
    bench.act(|plugin, step| plugin.handle_prepared(step, generation, Err(used(7))));
    bench.pass(MS * 1000);
    assert_eq!(bench.asked(), ["prepare 902"]);
    bench.act(|plugin, step| plugin.stop(step));
    let generation = bench.generation();
    bench.act(|plugin, step| plugin.handle_prepared(step, generation, Err(used(950))));
    bench.start();
    assert_eq!(bench.asked(), ["prepare 951"]);
}

#[test]
fn what_the_host_lacks_counts_as_no_restart_and_passes_by_itself() {
    let kinds = |bench: &mut Bench| -> Vec<EventKind> {
        let notes = bench.actions.drain(..).filter_map(|action| match action {
            Action::Note(note) => Some(note.kind),
            _ => None,
        });
        notes.filter(|kind| !matches!(kind, EventKind::StateChanged | EventKind::LaunchPrepared)).collect()
    };
    // Not even where nothing is ever launched again.
    for restart in [RestartPolicy::Always, RestartPolicy::Never] {
        let mut bench = Bench::new(Policy { restart, ..policy() });
        bench.start();
        bench.actions.clear();
        for attempt in 0..40 {
            let generation = bench.generation();
            if attempt % 2 == 0 {
                let failure =
                    PrepareFailure { shortage: true, ..PrepareFailure::from("no space left".to_owned()) };
                bench.act(|plugin, step| plugin.handle_prepared(step, generation, Err(failure)));
            } else {
                bench.prepared();
                bench.spawned(Err(SpawnFailure {
                    reason: "too many open files".into(),
                    busy: false,
                    shortage: true,
                    permanent: false,
                }));
            }
            assert_eq!(bench.state(), PluginState::Backoff);
            let told = kinds(&mut bench);
            let expected: &[EventKind] = if attempt == 0 { &[EventKind::HostShortage] } else { &[] };
            assert_eq!(told, expected, "attempt {attempt}");
            bench.pass(crate::state::shortage::PAUSE_MAX);
            assert_eq!(status_of(&bench.plugin, bench.now).restarts, 0);
            assert!(kinds(&mut bench).is_empty());
        }
        bench.prepared();
        bench.spawned(Ok(PID));
        assert_eq!(
            kinds(&mut bench),
            [EventKind::HostShortageOver, EventKind::Launched, EventKind::ConnectionAwaited]
        );
        // An operator who stops it is obeyed at once.
        let mut bench = Bench::new(Policy { restart, ..policy() });
        bench.start();
        let generation = bench.generation();
        let failure = PrepareFailure { shortage: true, ..PrepareFailure::from("no memory".to_owned()) };
        bench.act(|plugin, step| plugin.handle_prepared(step, generation, Err(failure)));
        bench.act(|plugin, step| plugin.stop(step));
        assert_eq!((bench.state(), bench.timers.len()), (PluginState::Stopped, 0));
    }
}

#[test]
fn a_plugin_whose_connection_the_host_cannot_accept_has_its_time_anew() {
    let mut bench = Bench::new(policy());
    bench.start();
    bench.prepared();
    bench.spawned(Ok(PID));
    let timeout = policy().connect_timeout;
    for _ in 0..20 {
        bench.pass(timeout * 3 / 4);
        let generation = bench.generation();
        bench.act(|plugin, step| plugin.handle_accept_shortage(step, generation));
    }
    assert_eq!(bench.state(), PluginState::Starting);
    bench.pass(timeout);
    assert_ne!(bench.state(), PluginState::Starting, "once it can be accepted, its own deadline holds");
}

#[test]
fn a_preparation_that_hangs_while_it_is_stopped_leaves_it_stopped() {
    let mut bench = Bench::new(policy());
    bench.start();
    bench.act(Plugin::stop);
    assert_eq!(bench.state(), PluginState::Stopping);
    bench.pass(100 * MS);
    assert_eq!((bench.state(), bench.plugin.is_quiet()), (PluginState::Stopped, false));
    bench.asked();
    bench.prepared();
    assert_eq!((bench.asked(), bench.plugin.is_quiet()), (vec!["discard 42".to_owned()], true));
}

#[test]
fn a_busy_executable_is_tried_again_within_bounds() {
    let mut bench = Bench::new(policy());
    bench.start();
    bench.prepared();
    bench.asked();
    let busy = || {
        Err(SpawnFailure { reason: "text file busy".into(), busy: true, shortage: false, permanent: false })
    };
    for _ in 0..20 {
        bench.spawned(busy());
        assert!(bench.asked().is_empty());
        bench.pass(50 * MS);
        assert_eq!(bench.asked(), ["spawn"]);
    }
    bench.spawned(busy());
    assert_eq!((bench.asked(), bench.state()), (vec!["discard 42".to_owned()], PluginState::Backoff));
    assert!(bench.last_error().contains("text file busy"));
}

#[test]
fn only_the_launched_process_may_connect_and_only_once() {
    let mut bench = Bench::new(policy());
    bench.start();
    bench.prepared();
    bench.spawned(Ok(PID));
    let generation = bench.generation();
    let older = Generation::try_from(41).unwrap();
    let right = PeerIdentity { pid: PID, uid: UID };
    let table = [
        (generation, PeerIdentity { pid: PID + 1, uid: UID }),
        (generation, PeerIdentity { pid: PID, uid: 0 }),
        (older, right),
    ];
    for (generation, peer) in table {
        assert!(!bench.act(|plugin, step| plugin.handle_connection(step, generation, peer, UID)), "{peer:?}");
    }
    assert!(bench.act(|plugin, step| plugin.handle_connection(step, generation, right, UID)));
    assert!(!bench.act(|plugin, step| plugin.handle_connection(step, generation, right, UID)));
}

#[test]
fn heartbeats_that_fail_in_a_row_end_a_generation_one_alone_does_not() {
    let mut bench = Bench::new(policy());
    bench.up();
    let mut states = Vec::new();
    bench.pass(1000 * MS);
    for _ in 0..3 {
        assert_eq!(bench.write().len(), 1, "one heartbeat");
        bench.pass(100 * MS);
        states.push(bench.state());
        bench.pass(900 * MS);
    }
    assert_eq!(states, [PluginState::Healthy, PluginState::Unhealthy, PluginState::Stopping]);
    assert!(bench.last_error().contains("3 heartbeats in a row failed"), "{}", bench.last_error());
}
