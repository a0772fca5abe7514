//! The world around one supervisor: the time, what will happen, and the one step that everything is.
//!
//! What always holds: after every input the host's actions are carried out and its bytes written,
//! then every invariant is checked; virtual time moves on.

use crate::child::{Child, Doing};
use crate::coverage::Coverage;
use crate::herd::Processor;
use crate::ledger::{Id, Ledger};
use crate::link::Link;
use crate::model::Model;
use crate::nature::{Fate, Nature};
use fastrand::Rng;
use rpc_plugin_system::state::keys::{CallKey, PluginKey};
use rpc_plugin_system::state::plugin::Use;
use rpc_plugin_system::state::plugin_config::PluginConfig;
use rpc_plugin_system::state::policy::Policy;
use rpc_plugin_system::state::supervisor::Supervisor;
use rpc_plugin_system::state::time::Time;
use rpc_plugin_wire::{Generation, PluginId, RequestId, Token};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Events of the trace that a failure shows.
const TRACE_EVENTS: usize = 40;

/// Steps at one instant beyond which the host counts as running in circles.
const STEPS_AT_ONCE_MAX: usize = 2000;
/// The same for each plugin, where there are many.
const STEPS_OF_ONE_MAX: usize = 20;

/// What is kept of what happened. Writing it down costs more than the run itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracing {
    Off,
    Last,
    All,
    Aloud,
}

/// What will happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    PreparationBegins(Id),
    PreparationReturns(Id, bool),
    LaunchReturns(Id),
    LaunchIsOver(Id),
    ChildConnects(Id),
    StrangerConnects(Id),
    ToHost(Id),
    ToChild(Id),
    HostMayWrite(Id),
    MoreFrames(Id),
    ChildDoes(Id, Doing),
    Befalls(Id, Fate),
    Thaws(Id),
    ProcessEnds(Id, bool),
    ExitSeen(Id, bool),
    UseSeen(Id, Option<Use>),
    OperatorActs,
    ProcessorDone,
}

/// One plugin that the host was given.
#[derive(Debug)]
pub struct Slot {
    pub id: PluginId,
    pub policy: Policy,
    pub key: PluginKey,
}

/// One process.
#[derive(Debug)]
pub struct Process {
    pub pid: u32,
    pub child: Child,
    pub alive: bool,
    /// The host has been told that it ended.
    pub reaped: bool,
    pub hung: bool,
    pub reading: bool,
    pub connected: bool,
    /// What it wanted to do while it hung.
    pub frozen: Vec<Event>,
}

/// What was prepared for a generation, until it is discarded.
#[derive(Debug)]
pub struct Prepared {
    pub token: Token,
    pub discarded: bool,
}

/// See the module's text.
pub struct World {
    pub now: Time,
    pub rng: Rng,
    pub host: Supervisor,
    queue: BTreeMap<(Time, u64), Event>,
    next_event: u64,
    pub slots: Vec<Slot>,
    pub processes: BTreeMap<Id, Process>,
    /// Those whose end the host has not been told.
    pub live: BTreeSet<Id>,
    pub links: BTreeMap<Id, Link>,
    pub prepared: BTreeMap<Id, Prepared>,
    /// Preparations that return only when all becomes calm.
    pub held: BTreeSet<Id>,
    /// The newest configuration of each plugin, from which the next launch is to be made.
    pub configs: BTreeMap<PluginKey, Arc<PluginConfig>>,
    /// The configuration that each generation was made from.
    pub made_from: BTreeMap<Id, Arc<PluginConfig>>,
    pub ledger: Ledger,
    /// Where the host said that a call went.
    pub calls_at: BTreeMap<CallKey, Option<PluginKey>>,
    /// Calls that children asked for, and by which request.
    pub forwards: BTreeMap<CallKey, (Id, RequestId)>,
    /// Of those, what was given up while actions wait.
    pub given_up: BTreeSet<CallKey>,
    /// Calls that passed their deadline: until when they may be answered, and where.
    pub overdue: Vec<(Time, Id, u64)>,
    pub models: BTreeMap<PluginKey, Model>,
    /// Events that a plugin caused on the records of others.
    pub elsewhere: BTreeMap<PluginKey, u64>,
    pub coverage: Coverage,
    pub trace: VecDeque<String>,
    tracing: Tracing,
    /// No more faults.
    pub calm: bool,
    /// Plugins are started after others, and on demand.
    pub is_ordered: bool,
    /// The host ends.
    pub is_ending: bool,
    steps_at_once: usize,
    /// Every so many steps all is checked.
    pub check_every: u64,
    /// Generations that the host may have starting at once.
    pub starting_max: usize,
    /// When the last generation of each plugin began.
    pub begun: BTreeMap<PluginKey, Time>,
    /// What starting processes share, if that is looked at.
    pub processor: Option<Processor>,
    pub next_pid: u32,
    pub steps: u64,
}

impl World {
    pub fn new(seed: u64, tracing: Tracing) -> World {
        // Not drawn, so that seeds stay what they are.
        let starting_max = [1, 2, 4, 9][(seed / 2 % 4) as usize];
        let mut host = Supervisor::new(seed ^ 0x5eed);
        host.set_starting_max(starting_max);
        World {
            now: Time::ZERO,
            rng: Rng::with_seed(seed),
            host,
            queue: BTreeMap::new(),
            next_event: 0,
            slots: Vec::new(),
            processes: BTreeMap::new(),
            live: BTreeSet::new(),
            links: BTreeMap::new(),
            prepared: BTreeMap::new(),
            held: BTreeSet::new(),
            configs: BTreeMap::new(),
            made_from: BTreeMap::new(),
            ledger: Ledger::default(),
            calls_at: BTreeMap::new(),
            forwards: BTreeMap::new(),
            given_up: BTreeSet::new(),
            overdue: Vec::new(),
            models: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
            coverage: Coverage::default(),
            trace: VecDeque::new(),
            tracing,
            calm: false,
            is_ordered: false,
            is_ending: false,
            steps_at_once: 0,
            check_every: 1,
            starting_max,
            begun: BTreeMap::new(),
            processor: None,
            next_pid: 100,
            steps: 0,
        }
    }

    pub fn tell(&mut self, what: std::fmt::Arguments<'_>) {
        if self.tracing == Tracing::Off {
            return;
        }
        let line = format!("{:>12.6} {what}", self.now.as_nanos() as f64 / 1e9);
        if self.tracing == Tracing::Aloud {
            eprintln!("{line}");
        }
        if self.tracing != Tracing::All && self.trace.len() >= TRACE_EVENTS {
            self.trace.pop_front();
        }
        self.trace.push_back(line);
    }

    pub fn at(&mut self, at: Time, event: Event) {
        self.next_event += 1;
        self.queue.insert((at.max(self.now), self.next_event), event);
    }

    pub fn after(&mut self, delay: Duration, event: Event) {
        self.at(self.now.plus(delay), event);
    }

    /// Up to so many milliseconds, at random.
    pub fn within(&mut self, ms_max: u64) -> Duration {
        Duration::from_nanos(self.rng.u64(0..=ms_max * 1_000_000))
    }

    pub fn chance(&mut self, permille: u32) -> bool {
        self.rng.u32(0..1000) < permille
    }

    pub fn nature(&mut self) -> Nature {
        if self.calm { Nature::calm() } else { Nature::random(&mut self.rng) }
    }

    pub fn slot(&self, key: PluginKey) -> &Slot {
        self.slots.iter().find(|slot| slot.key == key).expect("the host knows only plugins it was given")
    }

    /// The next thing happens, unless it is later than `until`; whether one did.
    pub fn step(&mut self, until: Time) -> bool {
        let mine = self.queue.first_key_value().map(|((at, _), _)| *at);
        let hosts = self.host.next_at();
        let next = match (mine, hosts) {
            (Some(mine), Some(hosts)) => mine.min(hosts),
            (mine, hosts) => match mine.or(hosts) {
                Some(next) => next,
                None => return false,
            },
        };
        if next > until {
            return false;
        }
        if next > self.now {
            self.now = next;
            self.steps_at_once = 0;
        }
        self.steps += 1;
        self.steps_at_once += 1;
        let steps_max = STEPS_AT_ONCE_MAX.max(self.slots.len() * STEPS_OF_ONE_MAX);
        assert!(self.steps_at_once < steps_max, "virtual time does not move on");
        let host_is_due = hosts.is_some_and(|at| at <= self.now);
        let mine_is_due = mine.is_some_and(|at| at <= self.now);
        if host_is_due && (!mine_is_due || self.rng.bool()) {
            self.host.handle_time(self.now);
            self.drain();
            self.ledger.check_deadlines(self.now);
            self.check_poison();
            assert!(self.host.next_at().is_none_or(|at| at > self.now), "what was due is still there");
        } else if let Some((_, event)) = self.queue.pop_first() {
            self.happens(event);
            self.drain();
        }
        if self.steps.is_multiple_of(self.check_every) {
            self.check();
        }
        true
    }

    /// Lets the time pass until `until`.
    pub fn run_until(&mut self, until: Time) {
        while self.step(until) {}
        self.now = self.now.max(until);
    }

    /// Events that wait and that `wanted` picks are brought to now.
    pub fn hurry(&mut self, wanted: impl Fn(&Event) -> bool) {
        let keys: Vec<(Time, u64)> =
            self.queue.iter().filter(|(_, event)| wanted(event)).map(|(key, _)| *key).collect();
        for key in keys {
            let event = self.queue.remove(&key).unwrap();
            self.at(self.now, event);
        }
    }

    /// Events that wait and that `unwanted` picks never happen.
    pub fn drop_events(&mut self, unwanted: impl Fn(&Event) -> bool) {
        self.queue.retain(|_, event| !unwanted(event));
    }

    /// The last generation of a plugin, as the kernel saw it.
    pub fn last_generation(&self, key: PluginKey) -> Option<Generation> {
        self.models.get(&key).and_then(|model| model.last_generation)
    }
}
