//! Many plugins that start at once, on a processor that all of them share.
//!
//! What it deliberately does not do: let anything go wrong but the want of processor time.

use crate::ledger::Id;
use crate::world::{Event, Tracing, World};
use rpc_plugin_system::state::plugin::{launch_waits, status_of};
use rpc_plugin_system::state::policy::Policy;
use rpc_plugin_system::state::supervisor::Wish;
use rpc_plugin_system::state::time::Time;
use rpc_plugin_wire::life::PluginState;
use std::collections::BTreeMap;
use std::time::Duration;

/// Processor time that a process needs before it connects, unless a test says otherwise.
const START: Duration = Duration::from_secs(1);
/// Processor time of one answer.
const ANSWER: Duration = Duration::from_millis(4);

/// A processor whose time the starting processes share equally.
#[derive(Debug)]
pub struct Processor {
    cores: u32,
    /// What each of them needs before it connects.
    start: Duration,
    /// What each of them still needs.
    left: BTreeMap<Id, Duration>,
    at: Time,
}

impl Processor {
    /// How much longer than with a core of its own everything takes now.
    fn slowness(&self) -> f64 {
        (self.left.len() as f64 / f64::from(self.cores)).max(1.0)
    }

    fn pass(&mut self, now: Time) {
        let done = now.since(self.at).div_f64(self.slowness());
        self.left.values_mut().for_each(|left| *left = left.saturating_sub(done));
        self.at = now;
    }
}

impl World {
    /// Lets a change of what runs happen, and plans when the next process has had its time.
    fn on_processor(&mut self, change: impl FnOnce(&mut Processor)) {
        let now = self.now;
        let Some(processor) = &mut self.processor else { return };
        processor.pass(now);
        change(processor);
        let next = processor.left.values().min().map(|left| left.mul_f64(processor.slowness()));
        self.drop_events(|event| matches!(event, Event::ProcessorDone));
        if let Some(next) = next {
            // Never a moment before it is done.
            self.after(next + Duration::from_micros(1), Event::ProcessorDone);
        }
    }

    /// A process begins to start.
    pub fn computes(&mut self, id: Id) {
        self.on_processor(|processor| {
            processor.left.insert(id, processor.start);
        });
    }

    /// A process has ended.
    pub fn computes_no_more(&mut self, id: Id) {
        self.on_processor(|processor| {
            processor.left.remove(&id);
        });
    }

    /// Processes had the time that they needed.
    pub fn processor_done(&mut self) {
        let mut done = Vec::new();
        self.on_processor(|processor| {
            done = processor.left.iter().filter(|(_, left)| left.is_zero()).map(|(id, _)| *id).collect();
            processor.left.retain(|_, left| !left.is_zero());
        });
        for id in done {
            self.after(Duration::ZERO, Event::ChildConnects(id));
        }
    }

    /// What an answer takes longer because others start.
    pub fn answer_delay(&self) -> Duration {
        self.processor.as_ref().map_or(Duration::ZERO, |processor| ANSWER.mul_f64(processor.slowness()))
    }
}

fn world(seed: u64, cores: u32, starting_max: usize) -> World {
    let mut world = World::new(seed, Tracing::Last);
    world.calm = true;
    world.host.set_starting_max(starting_max);
    world.starting_max = starting_max;
    // Checking all of many plugins after each step takes most of the time.
    world.check_every = 256;
    world.processor = Some(Processor { cores, start: START, left: BTreeMap::new(), at: Time::ZERO });
    world
}

fn add(world: &mut World, name: &str, count: usize, policy: &Policy) {
    for number in 0..count {
        world.add_with(format!("{name}{number}").parse().unwrap(), None, policy.clone());
        world.wish(world.slots.len() - 1, Wish::Start);
        world.drain();
    }
}

/// Lets the time pass until every plugin is healthy; how long that took.
fn until_all_are_healthy(world: &mut World, bound: Duration) -> Duration {
    let begun = world.now;
    loop {
        let states = world.slots.iter().map(|slot| world.host.plugin(slot.key).unwrap().state());
        let healthy = states.filter(|state| *state == PluginState::Healthy).count();
        if healthy == world.slots.len() {
            return world.now.since(begun);
        }
        let passed = world.now.since(begun);
        assert!(passed < bound, "{healthy} of {} are healthy after {passed:?}", world.slots.len());
        world.run_until(world.now.plus(Duration::from_millis(100)));
    }
}

fn restarts(world: &World) -> Vec<u64> {
    world
        .slots
        .iter()
        .map(|slot| status_of(world.host.plugin(slot.key).unwrap(), world.now).restarts)
        .collect()
}

/// With two cores for all, each of sixty would need 30 s, and has 10 s to connect.
#[test]
fn sixty_that_need_a_second_of_processor_time_each_are_all_healthy_in_the_end() {
    for seed in 0..4 {
        let mut world = world(seed, 2, 4);
        add(&mut world, "plugin", 60, &Policy::default());
        let waiting =
            world.slots.iter().filter_map(|slot| launch_waits(world.host.plugin(slot.key).unwrap()));
        let waiting: Vec<String> = waiting.collect();
        assert_eq!(waiting, vec!["waits for its turn: 4 others are starting"; 56]);
        // Thirty seconds are what the processor needs.
        let took = until_all_are_healthy(&mut world, Duration::from_secs(45));
        assert!(took > Duration::from_secs(29), "{took:?}: it is no processor");
        assert_eq!(restarts(&world), [0; 60], "nothing failed on the way");
    }
}

/// All at once would leave nobody enough of the processor: neither them, nor ten others, to answer a heartbeat in time.
#[test]
fn seven_hundred_killed_at_once_cost_ten_others_nothing_but_time() {
    for seed in 0..2 {
        let mut world = world(seed, 2, 4);
        add(&mut world, "bystander", 10, &Policy::default());
        let quiet = Policy { heartbeat_interval: Duration::ZERO, ..Policy::default() };
        add(&mut world, "herd", 700, &quiet);
        until_all_are_healthy(&mut world, Duration::from_secs(500));
        world.run_until(world.now.plus(Duration::from_secs(10)));
        let herd: Vec<Id> = world.live.iter().copied().skip(10).collect();
        for id in herd {
            world.after(Duration::ZERO, Event::ProcessEnds(id, false));
        }
        world.run_until(world.now.plus(Duration::from_millis(50)));
        assert_eq!(restarts(&world)[..10], [0; 10]);
        assert_eq!(restarts(&world)[10..], vec![1; 700], "all of them are to be launched again");
        until_all_are_healthy(&mut world, Duration::from_secs(500));
        assert_eq!(restarts(&world)[..10], [0; 10]);
        assert_eq!(restarts(&world)[10..], vec![1; 700], "each was launched once");
        assert!(!world.coverage.has_seen("event heartbeat_missed"), "somebody had no time to answer");
    }
}

/// Each has a place for five seconds; those that hang on are no concern of who waits behind them.
#[test]
fn one_that_is_well_is_not_kept_by_eight_that_never_come_up() {
    for seed in 0..4 {
        let mut world = world(seed, 8, 2);
        let patient = Policy { connect_timeout: Duration::from_secs(3600), ..Policy::default() };
        world.processor.as_mut().unwrap().start = Duration::from_secs(7200);
        add(&mut world, "hung", 8, &patient);
        add(&mut world, "well", 1, &Policy::default());
        let well = world.slots[8].key;
        // Four times two of them.
        world.run_until(Time::ZERO.plus(Duration::from_secs(19)));
        world.processor = None;
        assert!(launch_waits(world.host.plugin(well).unwrap()).is_some(), "two places, eight before it");
        world.run_until(Time::ZERO.plus(Duration::from_secs(21)));
        assert_eq!(world.host.plugin(well).unwrap().state(), PluginState::Healthy);
        for slot in &world.slots[..8] {
            assert_eq!(world.host.plugin(slot.key).unwrap().state(), PluginState::Starting, "they go on");
        }
    }
}
