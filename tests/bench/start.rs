//! Starting and replacing plugins.

use super::figures::{Board, Goal};
use super::limits;
use super::subject::{Echo, SOON, World, quiet};
use rpc_plugin_system::host::Policy;
use rpc_plugin_system::sys::orphans::kill_child;
use std::time::{Duration, Instant};

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

pub fn run(board: &mut Board) {
    let world = World::new();
    let host = world.host("start");
    // Longer than any pause here, so that each replacement is the first after a healthy stretch.
    let policy = Policy { healthy_stretch: Duration::from_millis(1), ..quiet() };
    let (first, killed) = (world.echo(&host, "first", quiet()), world.echo(&host, "killed", policy));
    killed.start().unwrap();
    killed.wait_routable(None, SOON).unwrap();
    board.measure(|group| {
        let goal = Some(Goal::AtMost(2.5));
        group.against("start: spawn to first answer", "ms", limits::SPAWN_MS, goal, || {
            let begin = Instant::now();
            first.start().unwrap();
            first.wait_routable(None, SOON).unwrap();
            let _: Echo = first.call("echo", &Echo::of_bytes(16)).unwrap();
            let took = ms(begin.elapsed());
            first.stop().unwrap();
            first.wait_for(rpc_plugin_wire::life::PluginState::Stopped, SOON).unwrap();
            took
        });
        group.add("replace: SIGKILL to the next generation healthy", "ms", || {
            let status = killed.start().unwrap();
            let status = match status.pid {
                Some(_) => status,
                None => killed.wait_routable(None, SOON).unwrap(),
            };
            std::thread::park_timeout(Duration::from_millis(5));
            let begin = Instant::now();
            kill_child(status.pid.unwrap()).unwrap();
            killed.wait_routable(status.generation, SOON).unwrap();
            ms(begin.elapsed())
        });
    });
    host.shutdown();
    let mut samples = Vec::new();
    for round in 0..board.rounds().min(3) {
        let host = world.host(&format!("hundred{round}"));
        let plugins: Vec<_> =
            (0..100).map(|number| world.echo(&host, &format!("echo{number}"), quiet())).collect();
        let begin = Instant::now();
        plugins.iter().for_each(|plugin| drop(plugin.start().unwrap()));
        plugins.iter().for_each(|plugin| drop(plugin.wait_routable(None, SOON).unwrap()));
        samples.push(ms(begin.elapsed()));
        host.shutdown();
    }
    board.enter("start: 100 plugins from nothing to healthy", "ms", samples, None, None);
}
