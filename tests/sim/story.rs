//! One run: plugins are added, everything goes wrong for a while, faults stop, all must become well,
//! the host ends, nothing is left.

use crate::nature::Nature;
use crate::world::{Event, World};
use rpc_plugin_system::state::policy::Policy;
use rpc_plugin_system::state::supervisor::Wish;
use rpc_plugin_system::state::waits::Goal;
use rpc_plugin_wire::life::{Desired, PluginState};
use std::time::Duration;

/// How long everything may go wrong.
const CHAOS: Duration = Duration::from_secs(12);

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

/// The longest that a fault from before can take to show, be dealt with and be followed by a good start.
fn recovery(policy: &Policy) -> Duration {
    let start = policy.prepare_timeout + policy.connect_timeout + policy.hello_timeout + policy.ready_timeout;
    let watch = (policy.heartbeat_interval + policy.heartbeat_timeout) * (policy.heartbeat_misses_max + 1);
    // A call made just before, by the longest timeout that the operators use.
    let call = Duration::from_millis(1500).max(policy.call_timeout) + policy.cancel_grace;
    let stop = policy.stop_timeout() + Duration::from_secs(1);
    2 * (start + watch + call + stop) + policy.backoff_max * 3 / 2
}

/// Whether a plugin is up and as well as can be known. Without heartbeats its first word stands.
fn is_well(world: &World, slot: usize) -> bool {
    let state = world.host.plugin(world.slots[slot].key).unwrap().state();
    let asked = !world.slots[slot].policy.heartbeat_interval.is_zero();
    state == PluginState::Healthy || (state == PluginState::Degraded && !asked)
}

fn converge(world: &mut World) {
    let bound = world.slots.iter().map(|slot| recovery(&slot.policy)).max().unwrap() + KERNEL_HANG_MAX;
    world.run_until(world.now.plus(bound));
    for slot in 0..world.slots.len() {
        let plugin = world.host.plugin(world.slots[slot].key).unwrap();
        let down = plugin.desired() == Desired::Down;
        let state = plugin.state();
        let settled = match state {
            PluginState::Failed => !down,
            PluginState::Stopped => down,
            _ => is_well(world, slot) && !down,
        };
        assert!(settled, "{} is {state} {bound:?} after all faults stopped", world.slots[slot].id);
        if state == PluginState::Failed || world.rng.bool() {
            world.wish(slot, Wish::Start);
        }
        world.drain();
    }
    world.run_until(world.now.plus(bound));
    let mut generations = Vec::new();
    for slot in 0..world.slots.len() {
        let plugin = world.host.plugin(world.slots[slot].key).unwrap();
        let there = match plugin.desired() {
            Desired::Up => is_well(world, slot),
            Desired::Down => plugin.state() == PluginState::Stopped,
        };
        assert!(there, "{} does not reach its desired state, it is {}", plugin.id(), plugin.state());
        generations.push(plugin.generation());
    }
    assert_eq!(world.ledger.open_calls() + world.ledger.open_waits(), 0, "old calls or waits are open");
    // Nothing happens any more while nothing goes wrong.
    world.run_until(world.now.plus(Duration::from_secs(3)));
    let later: Vec<_> =
        world.slots.iter().map(|slot| world.host.plugin(slot.key).unwrap().generation()).collect();
    assert_eq!(later, generations, "a healthy plugin was replaced");
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
    let wait = world.ledger.new_wait(world.now.plus(Duration::from_millis(700)));
    world.host.wait(world.now, wait, &id, Goal::State(PluginState::Failed), Duration::from_millis(700));
    world.tell(format_args!("THE HOST ENDS"));
    for model in world.models.values_mut() {
        model.unwanted = true;
    }
    world.host.end(world.now);
    world.drain();
    world.check();
    assert!(
        world
            .host
            .add(rpc_plugin_system::state::plugin::PluginSpec {
                id: "latecomer".parse().unwrap(),
                executable: String::new(),
                policy: Policy::default(),
                interfaces: Default::default(),
                last_generation: None,
            })
            .is_none(),
        "a host that ends takes no plugin"
    );
    world.host.wish(world.now, world.slots[0].key, Wish::Start);
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
