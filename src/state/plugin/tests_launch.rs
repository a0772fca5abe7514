//! Preparations and launches that are under way elsewhere: waiting for a thread, hanging, called off.

use super::*;

fn notes(bench: &mut Bench, wanted: EventKind) -> usize {
    let notes = bench.actions.drain(..).filter(|action| match action {
        Action::Note(note) => note.kind == wanted,
        _ => false,
    });
    notes.count()
}

#[test]
fn waiting_for_a_thread_that_prepares_is_a_shortage_of_the_host_and_its_deadline_begins_after_it() {
    let mut bench = Bench::new(policy());
    bench.start();
    let generation = bench.generation();
    bench.act(|plugin, step| preparation_waits(plugin, step, generation, true));
    for _ in 0..5 {
        bench.pass(100 * MS);
        assert_eq!(bench.state(), PluginState::Starting);
    }
    assert_eq!(notes(&mut bench, EventKind::HostShortage), 1, "told once");
    bench.act(|plugin, step| preparation_waits(plugin, step, generation, false));
    bench.pass(99 * MS);
    assert_eq!(bench.state(), PluginState::Starting);
    bench.pass(MS);
    assert_eq!(bench.state(), PluginState::Failed, "it is the preparation itself that hangs");
    assert!(bench.last_error().contains("preparing the launch did not end"), "{}", bench.last_error());
}

#[test]
fn a_launch_that_hangs_is_given_up_never_joined_by_a_second_and_taken_no_more() {
    let mut bench = Bench::new(policy());
    bench.start();
    bench.prepared();
    let generation = bench.generation();
    assert!(bench.plugin.awaits_process(generation));
    bench.pass(100 * MS);
    assert_eq!(bench.state(), PluginState::Failed);
    assert!(bench.last_error().contains("executing it did not end"), "{}", bench.last_error());
    assert!(!bench.plugin.awaits_process(generation) && !bench.plugin.is_quiet());
    bench.asked();
    bench.act(Plugin::start);
    assert!(bench.last_error().contains("has not returned"), "{}", bench.last_error());
    assert!(bench.asked().is_empty(), "nothing is launched beside it");
    // It came to be, and was ended by whoever launched it.
    let failure =
        SpawnFailure { reason: "not wanted".into(), busy: false, shortage: false, permanent: false };
    bench.spawned(Err(failure));
    assert_eq!((bench.state(), bench.asked()), (PluginState::Failed, vec!["discard 42".to_owned()]));
    bench.act(Plugin::start);
    assert_eq!(bench.asked(), ["prepare 43"]);
}

#[test]
fn a_launch_that_is_called_off_on_its_way_ends_with_its_process() {
    type Act = fn(&mut Plugin, &mut Step<'_>);
    let acts: [(Act, &[&str], PluginState); 2] = [
        (Plugin::stop, &["discard 42"], PluginState::Stopped),
        (Plugin::restart, &["discard 42", "prepare 43"], PluginState::Starting),
    ];
    for (act, then, state) in acts {
        for comes_to_be in [true, false] {
            let mut bench = Bench::new(policy());
            bench.start();
            bench.prepared();
            bench.asked();
            bench.act(act);
            assert_eq!(
                (bench.state(), bench.asked()),
                (PluginState::Stopping, vec![]),
                "it cannot be taken back"
            );
            assert!(!bench.plugin.is_quiet());
            if comes_to_be {
                bench.spawned(Ok(PID));
                assert_eq!(bench.asked(), ["kill"]);
                bench.exit(false);
            } else {
                bench.spawned(Err(SpawnFailure {
                    reason: "no".into(),
                    busy: false,
                    shortage: false,
                    permanent: false,
                }));
            }
            assert_eq!(
                (bench.asked(), bench.state()),
                (then.iter().map(|text| (*text).to_owned()).collect(), state)
            );
        }
    }
}
