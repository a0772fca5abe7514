//! One run: plugins are added, everything goes wrong for a while, faults stop, all must become well,
//! the host ends, nothing is left.

use crate::nature::Nature;
use crate::world::{Event, Slot, World};
use rpc_plugin_peer::Party;
use rpc_plugin_system::state::plugin::{holds_calls, launch_waits};
use rpc_plugin_system::state::plugin_config::PluginConfig;
use rpc_plugin_system::state::policy::Policy;
use rpc_plugin_system::state::supervisor::Wish;
use rpc_plugin_system::state::waits::Goal;
use rpc_plugin_wire::PluginId;
use rpc_plugin_wire::life::{Desired, PluginState};
use std::time::Duration;

/// How long everything may go wrong.
const CHAOS: Duration = Duration::from_secs(4);

/// A process that hangs in the kernel dies within this.
const KERNEL_HANG_MAX: Duration = Duration::from_secs(8);

pub fn run(world: &mut World) {
    for number in 0..world.rng.usize(3..9) {
        world.add(format!("plugin{number}").parse().unwrap(), None);
    }
    for slot in 0..world.slots.len() {
        if world.rng.u8(0..5) > 0 {
            world.wish(slot, Wish::Start);
        }
    }
    world.drain();
    world.check();
    world.after(Duration::from_millis(1), Event::OperatorActs);
    world.run_until(world.now.plus(CHAOS));
    world.heal();
    converge(world);
    end(world);
}

/// The longest that a start can take.
fn start(policy: &Policy) -> Duration {
    policy.prepare_timeout + policy.connect_timeout + policy.hello_timeout + policy.ready_timeout
}

/// The longest that a fault from before can take to show, be dealt with and be followed by a good start.
fn recovery(policy: &Policy) -> Duration {
    let start = start(policy);
    let watch = (policy.heartbeat_interval + policy.heartbeat_timeout) * (policy.heartbeat_misses_max + 1);
    let stop = policy.stop_timeout() + Duration::from_secs(1);
    2 * (start + watch + 2 * poison(policy) + stop) + policy.backoff_max * 3 / 2
}

/// Whether a plugin is up and as well as can be known. Without heartbeats its first word stands.
fn is_well(world: &World, slot: usize) -> bool {
    let state = world.host.plugin(world.slots[slot].key).unwrap().state();
    let asked = !world.slots[slot].policy.heartbeat_interval.is_zero();
    state == PluginState::Healthy || (state == PluginState::Degraded && !asked)
}

/// Whether a plugin is where it shall be.
fn is_there(world: &World, slot: usize) -> bool {
    let plugin = world.host.plugin(world.slots[slot].key).unwrap();
    let is_down = |id: &PluginId| {
        let key = world.host.find(id);
        key.is_none_or(|key| !world.host.plugin(key).unwrap().state().is_routable())
    };
    match plugin.desired() {
        // It waits for one that is wanted down, which nothing brings up.
        Desired::Up if plugin.state() == PluginState::Waiting => {
            world.configs[&world.slots[slot].key].after.iter().any(is_down)
        }
        Desired::Up if plugin.state() == PluginState::Stopped => holds_calls(plugin),
        Desired::Up => is_well(world, slot),
        _ => plugin.state() == PluginState::Stopped,
    }
}

/// Lets the time pass until every plugin is where it is awaited and stays there as long as an old call
/// can still poison its connection.
fn run_until_all(world: &mut World, bound: Duration, awaited: impl Fn(&World, usize) -> bool) {
    let deadline = world.now.plus(bound);
    let mut there_since = world.now;
    let poison = world.slots.iter().map(|slot| poison(&slot.policy)).max().unwrap();
    while world.now.since(there_since) < poison {
        assert!(world.now < deadline, "after {bound:?}: {}", states(world));
        world.run_until(world.now.plus(Duration::from_millis(20)));
        if !(0..world.slots.len()).all(|slot| awaited(world, slot)) {
            there_since = world.now;
        }
    }
}

fn states(world: &World) -> String {
    let state = |slot: &Slot| format!("{} is {}", slot.id, world.host.plugin(slot.key).unwrap().state());
    world.slots.iter().map(state).collect::<Vec<_>>().join(", ")
}

/// The longest that a call which was made before can take to be found poisonous. 1.5 s is the longest
/// timeout that the operators use.
fn poison(policy: &Policy) -> Duration {
    Duration::from_millis(1500).max(policy.call_timeout) + policy.cancel_grace
}

fn converge(world: &mut World) {
    let recovered = world.slots.iter().map(|slot| recovery(&slot.policy));
    // One after the other, at the worst.
    let turns: Duration = world.slots.iter().map(|slot| start(&slot.policy)).sum();
    let recovered: Duration = if world.is_ordered { recovered.sum() } else { recovered.max().unwrap() };
    let bound = recovered + turns + KERNEL_HANG_MAX;
    // What was wrong before may still show, and may be the one failure too many.
    let leftovers = |world: &World, slot: usize| {
        let state = world.host.plugin(world.slots[slot].key).unwrap().state();
        is_there(world, slot) || state == PluginState::Failed
    };
    run_until_all(world, bound, leftovers);
    for slot in 0..world.slots.len() {
        let state = world.host.plugin(world.slots[slot].key).unwrap().state();
        if state == PluginState::Failed || world.rng.bool() {
            world.wish(slot, Wish::Start);
        }
        world.drain();
    }
    run_until_all(world, bound, is_there);
    assert_eq!(world.ledger.open_calls() + world.ledger.open_waits(), 0, "old calls or waits are open");
    // Nothing happens any more while nothing goes wrong.
    let generations = |world: &World| -> Vec<_> {
        world.slots.iter().map(|slot| world.host.plugin(slot.key).unwrap().generation()).collect()
    };
    let before = generations(world);
    world.run_until(world.now.plus(Duration::from_secs(1)));
    assert_eq!(generations(world), before, "a healthy plugin was replaced");
    world.check_asks();
}

fn end(world: &mut World) {
    if world.rng.bool() {
        for process in world.processes.values_mut() {
            process.child.nature =
                Nature { ignores_shutdown: true, ignores_term: true, ignores_end: true, ..Nature::calm() };
        }
    }
    if world.rng.bool() {
        // In the middle of a start.
        for slot in 0..world.slots.len() {
            world.wish(slot, Wish::Restart);
            world.drain();
        }
        let moment = world.within(20);
        world.run_until(world.now.plus(moment));
    }
    let id = world.slots[0].id.clone();
    let (goal, timeout) = (Goal::State(PluginState::Failed), Duration::from_millis(700));
    let wait = world.ledger.new_wait(world.now.plus(timeout), &id, goal);
    world.host.wait(world.now, (wait, Party::Program), &id, goal, timeout);
    if world.slots.iter().any(|slot| launch_waits(world.host.plugin(slot.key).unwrap()).is_some()) {
        world.coverage.saw("the host ends while a launch waits for its turn");
    }
    world.tell(format_args!("THE HOST ENDS"));
    for model in world.models.values_mut() {
        (model.unwanted, model.departs) = (true, true);
    }
    world.is_ending = true;
    world.host.end(world.now);
    world.drain();
    world.check();
    assert!(
        world.host.add(PluginConfig::new("latecomer".parse().unwrap(), "/latecomer"), None).is_err(),
        "a host that ends takes no plugin"
    );
    world.host.wish(world.now, world.slots[0].key, Wish::Start).unwrap();
    world.drain();
    let bound = world.host.stop_timeout() + Duration::from_millis(100);
    world.run_until(world.now.plus(bound));
    assert!(world.host.is_quiet(), "the host is not quiet {bound:?} after its end began");
    for slot in &world.slots {
        assert_eq!(world.host.plugin(slot.key).unwrap().state(), PluginState::Stopped);
    }
    world.run_until(world.now.plus(Duration::from_secs(20)));
    world.check_nothing_left();
}
