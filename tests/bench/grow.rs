//! What more plugins and more timers cost.

use super::calls::window_rate;
use super::figures::Board;
use super::subject::World;
use rpc_plugin_system::state::time::Time;
use rpc_plugin_system::state::wheel::Wheel;
use std::hint::black_box;
use std::time::Instant;

pub fn run(board: &mut Board) {
    for count in [1, 10, 100, 500] {
        let name = format!("grow: calls over {count} plugins, 64 in flight");
        let world = World::new();
        let host = world.host("grow");
        let plugins: Vec<_> = (0..count)
            .map(|number| world.echo(&host, &format!("echo{number}"), super::subject::quiet()))
            .collect();
        plugins.iter().for_each(|plugin| drop(plugin.start().unwrap()));
        plugins.iter().for_each(|plugin| drop(plugin.wait_routable(None, super::subject::SOON).unwrap()));
        let samples = (0..board.rounds().min(5)).map(|_| window_rate(&plugins, 64)).collect();
        board.enter(&name, "/s", samples, None, None);
        host.shutdown();
    }
    for count in [1usize, 1_000, 100_000] {
        let samples = (0..board.rounds()).map(|_| timers_ns(count)).collect();
        board.enter(&format!("grow: set and cancel a timer beside {count}"), "ns", samples, None, None);
    }
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
