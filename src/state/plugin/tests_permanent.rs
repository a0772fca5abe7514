//! Permanent faults: failed at once, looked at every 30 s, launched again once files have changed or an operator acts.

use super::*;
use crate::state::launch_failure::{LOOK_INTERVAL, LaunchFiles};

const FILES: LaunchFiles = LaunchFiles(1);
const OTHERS: LaunchFiles = LaunchFiles(2);

/// Ways to fail permanently, from preparing on.
type Fails = fn(&mut Bench);
const WAYS: [(&str, Fails); 4] = [
    ("preparation", |bench| {
        let failure = PrepareFailure { permanent: true, ..PrepareFailure::from("no executable".to_owned()) };
        bench.found(Err(failure));
    }),
    ("spawn", |bench| {
        bench.found(Ok(Token::from_bytes([7; 32])));
        let reason = "no executable".to_owned();
        bench.spawned(Err(SpawnFailure { reason, busy: false, shortage: false, permanent: true }));
    }),
    ("protocol version", |bench| {
        bench.found(Ok(Token::from_bytes([7; 32])));
        bench.spawned(Ok(PID));
        bench.connected();
        let hello = json!({
            "token": "07".repeat(32), "plugin_id": "echo", "generation": bench.generation(),
            "protocols": [2], "version": "1", "capabilities": ["echo"],
        });
        bench.frame(&json!({"jsonrpc": "2.0", "id": 0, "method": "host.hello", "params": hello}));
        bench.write();
        bench.exit(false);
    }),
    ("interface version", |bench| {
        bench.found(Ok(Token::from_bytes([7; 32])));
        bench.spawned(Ok(PID));
        bench.connected();
        bench.greeted();
        bench.exit(false);
    }),
];

impl Bench {
    /// One that requires an interface that the hello does not name.
    fn requiring(policy: Policy) -> Bench {
        let config = PluginConfig::new("echo".parse().unwrap(), "/echo").policy(policy);
        Bench::of(config.interface("kv", &[1]))
    }

    /// Its preparation returns, and found [`FILES`].
    fn found(&mut self, outcome: Result<Token, PrepareFailure>) {
        let generation = self.generation();
        self.act(|plugin, step| {
            found_files(plugin, generation, Some(FILES));
            plugin.handle_prepared(step, generation, outcome);
        });
    }

    fn looked(&mut self, files: LaunchFiles) {
        let generation = self.generation();
        self.act(|plugin, step| handle_looked(plugin, step, generation, files));
    }

    /// A start that failed, with all that was asked for taken.
    fn failed(policy: Policy, fails: Fails) -> Bench {
        let mut bench = Bench::requiring(policy);
        bench.start();
        fails(&mut bench);
        bench.actions.clear();
        bench
    }
}

#[test]
fn a_permanent_fault_is_failed_at_once_and_looked_at_until_its_files_change() {
    for (way, fails) in WAYS {
        let mut bench = Bench::failed(policy(), fails);
        assert_eq!((bench.state(), bench.timers.len()), (PluginState::Failed, 1), "{way}");
        let error = bench.last_error();
        assert!(error.contains("looked at every 30s"), "{way}: {error}");
        for _ in 0..10 {
            bench.pass(LOOK_INTERVAL - MS);
            assert_eq!(bench.asked(), [""; 0], "{way}");
            bench.pass(MS);
            assert_eq!(bench.asked(), ["look 42"], "{way}");
            // A look that hangs is not joined by a second one.
            bench.pass(10 * LOOK_INTERVAL);
            assert_eq!(bench.asked(), [""; 0], "{way}");
            bench.looked(FILES);
            assert_eq!((bench.state(), bench.asked()), (PluginState::Failed, vec![]), "{way}");
        }
        bench.pass(LOOK_INTERVAL);
        bench.asked();
        bench.looked(OTHERS);
        assert_eq!((bench.state(), bench.asked()), (PluginState::Starting, vec!["prepare 43".to_owned()]));
        assert_eq!(status_of(&bench.plugin, bench.now).restarts, 0, "{way}: it counts as no restart");
        fails(&mut bench);
        assert_eq!(
            (bench.state(), bench.timers.len()),
            (PluginState::Failed, 1),
            "{way}: the next is another"
        );
    }
}

#[test]
fn launches_after_changes_are_never_too_many() {
    let mut bench = Bench::failed(policy(), WAYS[0].1);
    for _ in 0..100 {
        bench.pass(LOOK_INTERVAL);
        bench.looked(OTHERS);
        assert_eq!(bench.state(), PluginState::Starting);
        WAYS[0].1(&mut bench);
    }
    bench.pass(LOOK_INTERVAL);
    bench.looked(OTHERS);
    // What fails otherwise then is counted as ever.
    bench.prepared();
    bench.spawned(Err(SpawnFailure { reason: "no".into(), busy: false, shortage: false, permanent: false }));
    assert_eq!(bench.state(), PluginState::Backoff);
}

#[test]
fn an_operator_acts_at_once_and_what_a_look_finds_after_that_changes_nothing() {
    type Act = fn(&mut Plugin, &mut Step<'_>);
    let acts: [(Act, PluginState, &[&str]); 3] = [
        (Plugin::start, PluginState::Starting, &["prepare 43"]),
        (Plugin::restart, PluginState::Starting, &["prepare 43"]),
        (Plugin::stop, PluginState::Stopped, &[]),
    ];
    for (act, state, asked) in acts {
        for during_a_look in [false, true] {
            let mut bench = Bench::failed(policy(), WAYS[0].1);
            let generation = bench.generation();
            if during_a_look {
                bench.pass(LOOK_INTERVAL);
                bench.asked();
            }
            bench.act(act);
            assert_eq!(bench.asked(), asked);
            bench.act(|plugin, step| handle_looked(plugin, step, generation, OTHERS));
            assert_eq!((bench.state(), bench.asked()), (state, vec![]));
        }
    }
}

#[test]
fn other_failures_and_policy_never_are_not_looked_at() {
    let mut bench = Bench::failed(Policy { restart: RestartPolicy::Never, ..policy() }, WAYS[0].1);
    assert!(bench.last_error().contains("policy is never"), "{}", bench.last_error());
    bench.pass(10 * LOOK_INTERVAL);
    assert!(bench.state() == PluginState::Failed && bench.asked().is_empty() && bench.timers.is_empty());
    let mut bench = Bench::requiring(policy());
    bench.start();
    bench.found(Err(PrepareFailure::from("it is busy".to_owned())));
    assert_eq!(bench.state(), PluginState::Backoff);
}
