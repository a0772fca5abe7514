//! A configuration that is replaced: each launch is made from one, as a whole.

use super::*;

fn next(grace_ms: u32) -> Arc<PluginConfig> {
    let policy = Policy { shutdown_grace: grace_ms * MS, ..policy() };
    Arc::new(PluginConfig::new("echo".parse().unwrap(), "/next").arg("new").policy(policy))
}

/// The executables of the launches that were asked for.
fn launches(bench: &mut Bench) -> Vec<String> {
    let launches = bench.actions.drain(..).filter_map(|action| match action {
        Action::Prepare(_, _, config) => Some(config.shown_executable()),
        _ => None,
    });
    launches.collect()
}

#[test]
fn what_runs_goes_on_by_what_it_was_launched_with_and_the_next_launch_takes_the_new_one() {
    let mut bench = Bench::new(policy());
    bench.up();
    assert_eq!(launches(&mut bench), ["/echo"]);
    bench.act(|plugin, step| reconfigure(plugin, step, next(70)));
    let notes = bench.actions.iter().filter_map(|action| match action {
        Action::Note(note) => Some(note.message.to_string()),
        _ => None,
    });
    assert_eq!(notes.collect::<Vec<_>>(), ["its configuration was replaced; its next launch takes it"]);
    assert!(status_of(&bench.plugin, bench.now).reconfigured);
    assert_eq!(bench.plugin.config().executable.to_str(), Some("/echo"));
    // Down the old ladder, and up by the new configuration, whose grace is the shorter one.
    bench.act(Plugin::restart);
    bench.pass(499 * MS);
    assert!(bench.asked().is_empty());
    bench.pass(MS);
    assert_eq!(bench.asked(), ["term"]);
    bench.exit(true);
    assert_eq!(launches(&mut bench), ["/next"]);
    assert!(!status_of(&bench.plugin, bench.now).reconfigured);
    bench.rise();
    bench.asked();
    bench.act(Plugin::stop);
    bench.pass(70 * MS);
    assert_eq!(bench.asked(), ["term"]);
}

#[test]
fn a_crash_brings_the_new_one_up_and_of_several_the_newest() {
    let mut bench = Bench::new(policy());
    bench.up();
    bench.act(|plugin, step| reconfigure(plugin, step, next(1)));
    bench.act(|plugin, step| reconfigure(plugin, step, next(2)));
    bench.exit(false);
    launches(&mut bench);
    assert_eq!(bench.state(), PluginState::Backoff);
    bench.act(|plugin, step| reconfigure(plugin, step, next(3)));
    assert!(!status_of(&bench.plugin, bench.now).reconfigured, "nothing lives by the one before");
    bench.pass(100 * MS);
    assert_eq!(launches(&mut bench), ["/next"]);
    assert_eq!(bench.plugin.policy().shutdown_grace, 3 * MS);
}

#[test]
fn a_launch_that_is_under_way_is_made_from_what_it_began_with() {
    let mut bench = Bench::new(policy());
    bench.start();
    bench.act(|plugin, step| reconfigure(plugin, step, next(1)));
    bench.rise();
    assert_eq!(launches(&mut bench), ["/echo"]);
    assert_eq!(bench.plugin.config().executable.to_str(), Some("/echo"));
    assert!(status_of(&bench.plugin, bench.now).reconfigured);
}
