//! A hundred plugins under one host: they start, are healthy, and survive a thousand random SIGKILL and SIGSTOP
//! while calls run. Each call has one outcome; descriptors and processes are back to where they were.
//!
//! What it deliberately does not do: measure for comparison; the benchmarks do. Its numbers are for whoever reads
//! the output. What always holds: only a process that is certainly the plugin's own is signalled; each test
//! has a process of its own, because descriptors and children are counted for the whole process.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::print_stderr)]

mod callers;
mod daemon;
mod record;
mod strikes;

use crate::fixtures::census::{self, Census};
use crate::fixtures::child::alone;
use crate::fixtures::world::{self, World, eventually};
use callers::Callers;
use record::Record;
use rpc_plugin_system::host::{Host, PluginConfig, PluginHandle, Policy};
use rpc_plugin_system::sys::orphans::children;
use std::time::{Duration, Instant};

const PLUGINS: usize = 100;
const STRIKES: usize = 1000;
const CALLERS: u64 = 24;
/// How long a plugin may take to be well again on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Heartbeats find a stopped process in about a second, and nothing else does: a call that it does not answer
/// poisons its connection much later only. Restarts are quick and all but unlimited.
fn policy() -> Policy {
    Policy {
        heartbeat_interval: Duration::from_millis(300),
        heartbeat_timeout: Duration::from_millis(300),
        heartbeat_misses_max: 3,
        term_grace: Duration::from_millis(20),
        cancel_grace: PATIENCE,
        call_timeout: PATIENCE,
        connect_timeout: PATIENCE,
        hello_timeout: PATIENCE,
        ready_timeout: PATIENCE,
        healthy_stretch: Duration::from_secs(1),
        backoff_initial: Duration::from_millis(1),
        backoff_max: Duration::from_millis(20),
        restarts_max: 1000,
        restart_window: Duration::from_secs(3600),
        ..Policy::default()
    }
}

fn start_all(world: &World, host: &Host) -> Vec<PluginHandle> {
    let add = |number: usize| {
        let id = format!("p{number}").parse().unwrap();
        host.add(PluginConfig::new(id, world.program("echo")).policy(policy())).unwrap()
    };
    let plugins: Vec<PluginHandle> = (0..PLUGINS).map(add).collect();
    plugins.iter().for_each(|plugin| drop(plugin.start().unwrap()));
    plugins.iter().for_each(|plugin| drop(plugin.wait_routable(None, PATIENCE).unwrap()));
    plugins
}

/// The pids of all plugins are all children of this process, and none is a zombie.
fn check_children(plugins: &[PluginHandle]) {
    eventually("the children of this process are the plugins", || {
        let mut pids: Vec<u32> = plugins.iter().filter_map(|plugin| plugin.status().unwrap().pid).collect();
        pids.sort_unstable();
        let alive = pids.len() == PLUGINS && pids.iter().all(|pid| world::is_alive(*pid));
        (alive && children().unwrap() == pids).then_some(())
    });
}

#[test]
fn a_hundred_plugins_survive_a_thousand_kills_and_stops_while_calls_run() {
    alone(|| {
        let seed =
            std::env::var("STRESS_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
        eprintln!("STRESS_SEED={seed}");
        let before = Census::take();
        let world = World::new();
        let host = world.builder().admin_socket(true).adopt_orphans(false).start().unwrap();
        let record = Record::follow(&host);
        let begin = Instant::now();
        let plugins = start_all(&world, &host);
        let started = begin.elapsed();
        check_children(&plugins);
        let healthy = Census::take();

        let begin = Instant::now();
        let callers = Callers::start(&plugins, CALLERS, seed);
        let struck = strikes::strike_all(&plugins, STRIKES, seed);
        for strike in &struck.last {
            plugins[strike.plugin].wait_routable(Some(strike.generation), PATIENCE).unwrap();
        }
        let tally = callers.finish();
        let stormed = begin.elapsed();

        check_children(&plugins);
        healthy.check_again_without_files("every plugin is healthy again");
        tally.check(&plugins);
        let idle_ms = census::idle_loop_ms();
        assert!(idle_ms < 500, "the event loop used {idle_ms} ms of CPU in a second with nothing to do");
        host.shutdown();
        let seen = record.finish();
        seen.check(&struck);
        drop((plugins, host));
        before.check_again("the host has ended");
        assert_eq!(children().unwrap(), Vec::<u32>::new());
        assert_eq!(census::processes_of(&world.program("echo")), Vec::<u32>::new());
        eprintln!(
            "{PLUGINS} plugins started in {started:?} ({:.0} starts/s); {} SIGKILL and {} SIGSTOP in {stormed:?}, {} \
         launches, {} heartbeat failures; {tally}; {idle_ms} ms of CPU in an idle second",
            PLUGINS as f64 / started.as_secs_f64(),
            struck.kills,
            struck.stops,
            seen.launches,
            seen.heartbeat_failures,
        );
    });
}
