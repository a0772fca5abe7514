//! Starting and replacing plugins.

use super::figures::{Board, Goal};
use super::limits;
use super::subject::{Echo, SOON, World, quiet};
use rpc_plugin_system::host::{Confine, Host, PluginHandle, Policy};
use rpc_plugin_system::sys::orphans::kill_child;
use rpc_plugin_wire::life::PluginState;
use std::cell::{Cell, LazyCell};
use std::time::{Duration, Instant};

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// One plugin that is started and stopped, and one that is killed.
struct Pair {
    host: Host,
    first: PluginHandle,
    killed: PluginHandle,
    _world: World,
}

impl Pair {
    fn start(world: World, confine: Confine) -> Pair {
        let host = world.host("start");
        // Longer than any pause here, so that each replacement is the first after a healthy stretch.
        let policy = Policy { healthy_stretch: Duration::from_millis(1), confine, ..quiet() };
        let first = Policy { confine, ..quiet() };
        let (first, killed) = (world.echo(&host, "first", first), world.echo(&host, "killed", policy));
        killed.start().unwrap();
        killed.wait_routable(None, SOON).unwrap();
        Pair { host, first, killed, _world: world }
    }

    fn start_ms(&self) -> f64 {
        let begin = Instant::now();
        self.first.start().unwrap();
        self.first.wait_routable(None, SOON).unwrap();
        let _: Echo = self.first.call("echo", &Echo::of_bytes(16)).unwrap();
        let took = ms(begin.elapsed());
        self.first.stop().unwrap();
        self.first.wait_for(PluginState::Stopped, SOON).unwrap();
        took
    }

    fn replace_ms(&self) -> f64 {
        // Asked for by hand, restarts are counted anew.
        self.killed.start().unwrap();
        let status = self.killed.wait_routable(None, SOON).unwrap();
        std::thread::park_timeout(Duration::from_millis(5));
        let begin = Instant::now();
        kill_child(status.pid.unwrap()).unwrap();
        self.killed.wait_routable(status.generation, SOON).unwrap();
        ms(begin.elapsed())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.host.shutdown();
    }
}

/// The median of several in one sample: each is a few milliseconds, and disks are moody.
fn several(mut take: impl FnMut() -> f64) -> f64 {
    super::figures::median((0..15).map(|_| take()).collect())
}

/// All in a new folder; what it takes to stop them does not count.
fn hundred_ms(world: &World, round: usize) -> f64 {
    let host = world.host(&format!("hundred{round}"));
    let plugins: Vec<_> =
        (0..100).map(|number| world.echo(&host, &format!("echo{number}"), quiet())).collect();
    let begin = Instant::now();
    plugins.iter().for_each(|plugin| drop(plugin.start().unwrap()));
    plugins.iter().for_each(|plugin| drop(plugin.wait_routable(None, SOON).unwrap()));
    let took = ms(begin.elapsed());
    host.shutdown();
    took
}

pub fn run(board: &mut Board) {
    let confine = Confine::default();
    let pair = LazyCell::new(|| Pair::start(World::new(), confine));
    let on_disk = LazyCell::new(|| Pair::start(World::on_disk(), confine));
    let free = LazyCell::new(|| Pair::start(World::new(), Confine::Off));
    board.measure(|group| {
        let goal = Some(Goal::AtMost(2.5));
        let name = "start: spawn to first answer";
        group.against(name, "ms", limits::SPAWN_MS, goal, || several(|| pair.start_ms()));
        let name = "start: spawn to first answer, runtime folder on a disk";
        group.against(name, "ms", limits::SPAWN_MS, None, || several(|| on_disk.start_ms()));
        let name = "start: spawn to first answer, not confined";
        group.against(name, "ms", limits::SPAWN_MS, None, || several(|| free.start_ms()));
        let name = "replace: SIGKILL to the next generation healthy";
        group.against(name, "ms", limits::SPAWN_MS, None, || several(|| pair.replace_ms()));
    });
    let (world, round) = (World::new(), Cell::new(0));
    board.measure(|group| {
        let name = "start: 100 plugins from nothing to healthy";
        group.against(name, "ms", limits::SPAWN_MS, None, || {
            round.set(round.get() + 1);
            hundred_ms(&world, round.get())
        });
    });
}
