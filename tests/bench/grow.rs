//! What more plugins and more timers cost.

use super::calls::{cpu_each_us, window_rate};
use super::figures::Board;
use super::limits::TURN;
use super::subject::{SOON, World, quiet};
use rpc_plugin_system::host::{Host, PluginHandle};
use rpc_plugin_system::state::time::Time;
use rpc_plugin_system::state::wheel::Wheel;
use std::cell::LazyCell;
use std::hint::black_box;
use std::time::Instant;

/// A host with many plugins that are up.
struct Crowd {
    host: Host,
    plugins: Vec<PluginHandle>,
    /// Of the plugins, and of this process.
    pids: Vec<u32>,
    _world: World,
}

impl Crowd {
    fn start(count: usize) -> Crowd {
        let world = World::new();
        let host = world.host("grow");
        let plugins: Vec<_> =
            (0..count).map(|number| world.echo(&host, &format!("echo{number}"), quiet())).collect();
        plugins.iter().for_each(|plugin| drop(plugin.start().unwrap()));
        let up = plugins.iter().map(|plugin| plugin.wait_routable(None, SOON).unwrap().pid.unwrap());
        let pids = up.chain([std::process::id()]).collect();
        Crowd { host, plugins, pids, _world: world }
    }

    fn processor_time_us(&self) -> f64 {
        let mut calls = 0.0;
        let all = cpu_each_us(&self.pids, 1, || calls = window_rate(&self.plugins, 64) * TURN.as_secs_f64());
        all / calls
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.host.shutdown();
    }
}

pub fn run(board: &mut Board) {
    let crowds: Vec<_> =
        [1, 10, 100, 500].map(|count| (count, LazyCell::new(move || Crowd::start(count)))).into();
    board.measure(|group| {
        for (count, crowd) in &crowds {
            let name = format!("grow: calls over {count} plugins, 64 in flight");
            group.add(&name, "/s", || window_rate(&crowd.plugins, 64));
        }
        for (count, crowd) in &crowds {
            let name = format!("grow: processor time a call over {count} plugins, all processes");
            group.add(&name, "us", || crowd.processor_time_us());
        }
    });
    board.measure(|group| {
        for count in [1usize, 10, 100, 1_000, 10_000, 100_000] {
            let name = format!("grow: set and cancel a timer beside {count}");
            group.add(&name, "ns", move || timers_ns(count));
        }
    });
}

/// One insertion and one cancellation in a wheel that holds `count` others. Nanoseconds.
fn timers_ns(count: usize) -> f64 {
    const TIMES: usize = 100_000;
    let mut wheel = Wheel::default();
    let mut rng = fastrand::Rng::with_seed(7);
    let mut at = || Time::from_nanos(rng.u64(1..60_000_000_000));
    for number in 0..count {
        wheel.insert(at(), number);
    }
    let moments: Vec<Time> = (0..TIMES).map(|_| at()).collect();
    let begin = Instant::now();
    for moment in &moments {
        let key = wheel.insert(*moment, 0);
        black_box(wheel.next_at());
        wheel.cancel(key);
    }
    begin.elapsed().as_nanos() as f64 / TIMES as f64
}
