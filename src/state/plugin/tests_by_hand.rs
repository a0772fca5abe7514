//! A plugin that somebody starts by hand.

use super::*;
use crate::state::action::StopSignal;
use crate::state::plugin_config::LaunchMode;

fn bench() -> Bench {
    let config = PluginConfig::new("echo".parse().unwrap(), "/echo").policy(policy());
    let mut bench = Bench::of(config.launch_mode(LaunchMode::ByHand));
    bench.act(Plugin::start);
    bench.prepared();
    bench
}

fn kinds(bench: &Bench) -> Vec<EventKind> {
    let note = |action: &Action| match action {
        Action::Note(note) => Some(note.kind),
        _ => None,
    };
    bench.actions.iter().filter_map(note).collect()
}

fn connects(bench: &mut Bench, peer: PeerIdentity) -> bool {
    let generation = bench.generation();
    bench.act(|plugin, step| plugin.handle_connection(step, generation, peer, UID))
}

/// One that somebody started, and that proved who it is.
fn up() -> Bench {
    let mut bench = bench();
    assert!(connects(&mut bench, PeerIdentity { pid: PID, uid: UID }));
    bench.greeted();
    bench.proven();
    assert_eq!(bench.plugin.state(), PluginState::Healthy);
    bench
}

fn no_signal(bench: &Bench) {
    let signals = bench.actions.iter().filter(|action| {
        matches!(action, Action::Signal(_, _, StopSignal::Term | StopSignal::Kill) | Action::Spawn(..))
    });
    assert_eq!(signals.count(), 0);
}

#[test]
fn it_waits_without_a_deadline_for_anybody_of_the_right_user() {
    let mut bench = bench();
    assert!(bench.actions.iter().any(|action| matches!(action, Action::Await(..))));
    bench.pass(3 * crate::state::policy::DURATION_MAX);
    assert_eq!(bench.plugin.state(), PluginState::Starting);
    assert!(!connects(&mut bench, PeerIdentity { pid: PID, uid: UID + 1 }));
    assert!(kinds(&bench).contains(&EventKind::ConnectionRefused));
    assert!(connects(&mut bench, PeerIdentity { pid: 99, uid: UID }));
    assert_eq!(bench.plugin.pid(), Some(99));
    assert!(!connects(&mut bench, PeerIdentity { pid: 98, uid: UID }), "one is taken");
    no_signal(&bench);
}

#[test]
fn a_breakpoint_makes_it_unhealthy_and_ends_nothing() {
    let mut bench = up();
    let generation = bench.generation();
    let sent = |bench: &mut Bench| bench.plugin.session_mut(generation).unwrap().queue().waiting_bytes();
    bench.pass(1000 * MS);
    let before = sent(&mut bench);
    for _ in 0..2000 {
        bench.pass(1000 * MS);
    }
    assert_eq!(bench.plugin.state(), PluginState::Unhealthy);
    assert_eq!(bench.generation(), generation);
    assert_eq!(sent(&mut bench), before, "one heartbeat waits, not thousands");
    let error = status_of(&bench.plugin, bench.now).last_error.unwrap();
    assert!(error.contains("it may stand at a breakpoint"), "{error}");
    no_signal(&bench);
}

#[test]
fn when_it_goes_away_the_next_generation_waits_at_once_however_often() {
    let mut bench = up();
    for _ in 0..20 {
        let generation = bench.generation();
        let exit = ExitReport { clean: true, text: "a status".into(), ..ExitReport::default() };
        bench.act(|plugin, step| plugin.handle_exit(step, generation, exit));
        assert_eq!(bench.plugin.state(), PluginState::Starting, "neither backoff nor a limit");
        assert!(bench.generation() > generation);
        bench.prepared();
        assert!(connects(&mut bench, PeerIdentity { pid: PID, uid: UID }));
    }
    let generation = bench.generation();
    bench.act(|plugin, step| plugin.with_session(step, generation, Session::handle_end_of_stream));
    bench.pass(600 * MS);
    assert!(bench.generation() > generation, "its connection alone is enough");
    assert!(kinds(&bench).contains(&EventKind::LetGo));
    no_signal(&bench);
}

#[test]
fn it_is_asked_to_end_and_then_let_go() {
    for restart in [false, true] {
        let mut bench = up();
        let generation = bench.generation();
        bench.act(if restart { Plugin::restart } else { Plugin::stop });
        assert_eq!(bench.plugin.state(), PluginState::Stopping);
        bench.pass(501 * MS);
        let expected = if restart { PluginState::Starting } else { PluginState::Stopped };
        assert_eq!(bench.plugin.state(), expected);
        assert_eq!(bench.generation() > generation, restart);
        assert!(bench.plugin.pid().is_none() && kinds(&bench).contains(&EventKind::LetGo));
        no_signal(&bench);
    }
    let mut bench = bench();
    bench.act(Plugin::stop);
    assert_eq!(bench.plugin.state(), PluginState::Stopped, "nobody had come");
    assert!(bench.plugin.is_quiet());
}
