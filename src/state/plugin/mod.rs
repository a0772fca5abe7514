//! One plugin's life: launched, proven, watched, replaced, ended (protocol sections 3 and 4).
//!
//! What this folder is for: every transition of one plugin. `launch` brings a generation up, `link`
//! speaks with it, `health` watches it, `end` brings it down and decides what follows. What it
//! deliberately does not do: carry anything out; it answers with [`Action`]s.
//!
//! What always holds: at most one process; a generation number is used once; nothing is launched
//! before its backoff is over; what comes from another generation than the current one is ignored.

mod demand;
mod end;
mod health;
mod host_shortage;
mod idle;
mod ignored_members;
mod launch;
mod launch_events;
mod link;
mod logged;
mod permanent_fault;
mod presence;
mod reasons;
mod reconfigured;
mod status;
#[cfg(test)]
mod tests;

pub use super::exit_report::ExitReport;
pub use super::launch_failure::{PermanentFault, PrepareFailure, SpawnFailure};
pub use demand::{end_held, holds_calls, is_started_for, wake};
pub use host_shortage::preparation_waits;
pub use idle::{Use, handle_use, handle_use_due};
pub use launch::PeerIdentity;
pub use permanent_fault::{found_files, handle_looked};
pub use presence::{awaited, others_changed, state_changed};
pub use reconfigured::{is_reconfigured, reconfigure};
pub use status::{backoff_until, launch_waits, status_of};

use super::action::{Action, Note};
use super::exit_report::PastExit;
use super::held_calls::HeldCalls;
use super::keys::{Cx, LifeTimer, PluginKey, Timer};
use super::liveness::Liveness;
use super::order::{Awaited, Order};
use super::plugin_config::PluginConfig;
use super::policy::Policy;
use super::presence::Presence;
use super::restarts::Restarts;
use super::session::{Introduction, Session};
use super::shortage::Shortage;
use super::start_places::StartPlaces;
use super::time::Time;
use super::wheel::{TimerKey, Wheel};
use logged::PluginEvents;
use rpc_plugin_peer::Party;
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::life::{Desired, Heartbeat, PluginState};
use rpc_plugin_wire::{Generation, PluginId, Token};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Why a generation is being ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Why {
    /// An operator wants it down.
    Stop,
    /// An operator wants a new generation.
    Restart,
    /// It failed, for this reason.
    Failure(String),
    /// It closed its connection, and its process is expected to end by itself. What it had been doing.
    Lost(String),
}

impl Why {
    /// The reason, in words.
    fn text(&self) -> &str {
        match self {
            Why::Stop => "stop",
            Why::Restart => "restart",
            Why::Failure(reason) | Why::Lost(reason) => reason,
        }
    }
}

/// How far the ladder has been climbed down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rung {
    /// There is no process yet: the preparation or the launch must return first.
    Preparation,
    /// Its process is expected to end by itself.
    Linger,
    /// `plugin.shutdown` was sent.
    Asked,
    /// SIGTERM was sent.
    Termed,
    /// SIGKILL was sent.
    Killed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Stopped,
    /// To be launched once these take calls.
    Waiting(Vec<Awaited>),
    /// To be launched once fewer others are starting; so many are.
    Queued(usize),
    Preparing,
    /// With how often the executable was found busy.
    Spawning(u32),
    Connecting,
    Greeting,
    Proving {
        capable: bool,
        healthy: Option<PluginState>,
    },
    Running(PluginState),
    Ending(Why, Rung),
    Backoff(Time),
    Failed,
}

#[derive(Debug, Clone, Copy)]
struct PluginProcess {
    pid: u32,
    launched_at: Time,
}

/// Counts since the supervisor took the plugin into its care.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    restarts: u64,
    calls: u64,
    calls_failed: u64,
    late_answers: u64,
}

/// What every step of a plugin's machine is handed.
#[derive(Debug)]
pub struct Step<'a> {
    /// The time of this step.
    pub now: Time,
    /// Where deadlines go.
    pub timers: &'a mut Wheel<Timer>,
    /// Where effects go.
    pub actions: &'a mut VecDeque<Action>,
    /// For jitter.
    pub rng: &'a mut fastrand::Rng,
    /// Where launches wait for their turn.
    pub places: &'a mut StartPlaces,
    /// The other plugins, and which of them come first.
    pub order: &'a mut Order,
    /// Where calls wait for a generation.
    pub held: &'a mut HeldCalls,
}

impl Step<'_> {
    fn cx(&mut self) -> Cx<'_> {
        Cx { now: self.now, timers: self.timers }
    }
}

/// The state machine of one plugin, over all its generations.
#[derive(Debug)]
pub struct Plugin {
    key: PluginKey,
    /// What the current generation was launched with.
    config: Arc<PluginConfig>,
    /// What the next launch is to be made from instead.
    next_config: Option<Arc<PluginConfig>>,
    /// What its generations live by.
    policy: Policy,
    desired: Desired,
    phase: Phase,
    /// The deadline of the current phase.
    phase_timer: Option<TimerKey>,
    heartbeat_timer: Option<TimerKey>,
    generation: Option<Generation>,
    /// The generation whose preparation or launch is under way elsewhere, and has not returned.
    preparing: Option<Generation>,
    /// Whether its preparation waits for a thread: what holds them all up is no fault of the plugin.
    waits_for_thread: bool,
    process: Option<PluginProcess>,
    token: Option<Token>,
    session: Option<Session>,
    introduction: Option<Introduction>,
    /// Strangers who tried to connect to this generation.
    refused_connections: u32,
    healthy_since: Option<Time>,
    /// Since when its heartbeats fail, or it is being ended.
    unwell_since: Option<Time>,
    heartbeat: Option<(Time, Heartbeat)>,
    heartbeats_missed: u32,
    /// Members that only inform, of those that the generation says, that were noted as ignored.
    ignored: Vec<&'static str>,
    /// Whether a heartbeat of a plugin that is started by hand is not answered yet.
    heartbeat_waits: bool,
    /// What moved on its connection.
    liveness: Liveness,
    /// The failures and replacements by which the next is judged.
    restarts: Restarts,
    counts: Counts,
    last_error: Option<String>,
    /// How the last of its processes ended.
    last_exit: Option<PastExit>,
    /// What the host lacks for its launch.
    shortage: Shortage,
    /// Whether its failure is one that no further launch mends.
    fault: PermanentFault,
    /// What it puts on record by itself.
    events: PluginEvents,
    /// What its starts on demand, and its stops when it is idle, are decided by.
    presence: Presence,
    /// The state that was last noted.
    shown: PluginState,
}

impl Plugin {
    /// A plugin that is down, and wanted down unless it is started on demand. `last` is the last generation that was ever used; the next one is the one
    /// after it.
    #[must_use]
    pub fn new(key: PluginKey, config: Arc<PluginConfig>, last: Option<Generation>) -> Plugin {
        let (policy, desired) = (config.policy_in_force(), config.desired_at_rest());
        Plugin {
            key,
            generation: last,
            events: PluginEvents::new(policy.output_bytes_per_second_max),
            config,
            next_config: None,
            policy,
            desired,
            phase: Phase::Stopped,
            phase_timer: None,
            heartbeat_timer: None,
            preparing: None,
            waits_for_thread: false,
            process: None,
            token: None,
            session: None,
            introduction: None,
            refused_connections: 0,
            healthy_since: None,
            unwell_since: None,
            heartbeat: None,
            heartbeats_missed: 0,
            ignored: Vec::new(),
            heartbeat_waits: false,
            liveness: Liveness::default(),
            restarts: Restarts::default(),
            counts: Counts::default(),
            last_error: None,
            last_exit: None,
            shortage: Shortage::default(),
            fault: PermanentFault::default(),
            presence: Presence::default(),
            shown: PluginState::Stopped,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &PluginId {
        &self.config.id
    }

    /// The policy that its generations live by.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What the current generation was launched with, or the next one is to be.
    #[must_use]
    pub fn config(&self) -> &PluginConfig {
        &self.config
    }

    /// The current generation, or the last one.
    #[must_use]
    pub fn generation(&self) -> Option<Generation> {
        self.generation
    }

    /// Its process, while there is one.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.map(|process| process.pid)
    }

    /// The connection of generation `generation`, if that is the current one.
    pub fn session_mut(&mut self, generation: Generation) -> Option<&mut Session> {
        if self.generation != Some(generation) {
            return None;
        }
        self.session.as_mut()
    }

    /// Whether bytes wait to be written to it.
    #[must_use]
    pub fn has_waiting_bytes(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.queue().waiting_bytes() > 0)
    }

    /// Whether a call that waits to be written may wait for others, which makes one write of many: another
    /// is unanswered, and what waits has at most `bytes_max` bytes.
    #[must_use]
    pub fn has_company(&self, bytes_max: usize) -> bool {
        let session = self.session.as_ref();
        session.is_some_and(|session| {
            session.calls_in_flight() > 1 && session.queue().waiting_bytes() <= bytes_max
        })
    }

    /// Whether nothing of it is left outside: no process, no preparation or launch under way.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.process.is_none() && self.preparing.is_none()
    }

    /// The state as everybody sees it.
    #[must_use]
    pub fn state(&self) -> PluginState {
        match &self.phase {
            Phase::Stopped => PluginState::Stopped,
            Phase::Waiting(_) => PluginState::Waiting,
            Phase::Queued(_)
            | Phase::Preparing
            | Phase::Spawning(_)
            | Phase::Connecting
            | Phase::Greeting
            | Phase::Proving { .. } => PluginState::Starting,
            Phase::Running(health) => *health,
            // A plugin that broke off is on its way to a replacement; nobody asked it to stop.
            Phase::Ending(Why::Lost(_), _) => PluginState::Unhealthy,
            Phase::Ending(..) => PluginState::Stopping,
            Phase::Backoff(_) => PluginState::Backoff,
            Phase::Failed => PluginState::Failed,
        }
    }

    /// What the operator wants.
    #[must_use]
    pub fn desired(&self) -> Desired {
        self.desired
    }

    /// What it can do, once it said so.
    #[must_use]
    pub fn capabilities(&self) -> &[String] {
        self.introduction.as_ref().map_or(&[], |introduction| &introduction.capabilities)
    }

    /// Whether it said that it has this capability.
    #[must_use]
    pub fn serves(&self, capability: &str) -> bool {
        self.capabilities().iter().any(|known| known == capability)
    }

    /// The versions of interfaces that its connection uses.
    #[must_use]
    pub fn interfaces(&self) -> Arc<BTreeMap<String, u32>> {
        self.introduction
            .as_ref()
            .map_or_else(Arc::default, |introduction| Arc::clone(&introduction.interfaces))
    }

    /// Calls that wait for an answer now, and calls made so far.
    #[must_use]
    pub fn call_counts(&self) -> (u64, u64) {
        let in_flight = self.session.as_ref().map_or(0, Session::calls_in_flight);
        (in_flight as u64, self.counts.calls)
    }

    /// Whether it is connected, and that party may have one call more in flight to it.
    #[must_use]
    pub fn has_place(&self, party: &Party) -> bool {
        self.session.as_ref().is_some_and(|session| session.has_place(party))
    }

    /// Notes a change of state; whether there was one. Called after every step.
    pub fn settle(&mut self, step: &mut Step<'_>) -> bool {
        let state = self.state();
        if state == self.shown {
            return false;
        }
        let mut note = Note::new(EventKind::StateChanged, format!("{} -> {state}", self.shown))
            .details(serde_json::json!({"from": self.shown.as_str(), "to": state.as_str()}));
        if !state.is_routable() && state != PluginState::Starting && state != PluginState::Stopped {
            note.error.clone_from(&self.last_error);
        }
        self.shown = state;
        self.note(step, note);
        true
    }

    /// The deadline of the current phase, or a recurring step, has come.
    pub fn handle_timer(&mut self, step: &mut Step<'_>, timer: LifeTimer) {
        match timer {
            LifeTimer::HeartbeatDue => {
                self.heartbeat_timer = None;
                self.handle_heartbeat_due(step);
            }
            LifeTimer::Phase => {
                self.phase_timer = None;
                self.handle_phase_timeout(step);
            }
        }
    }

    fn handle_phase_timeout(&mut self, step: &mut Step<'_>) {
        match self.phase.clone() {
            Phase::Preparing => self.handle_preparation_timeout(step),
            Phase::Spawning(_) if self.preparing.is_some() => self.handle_preparation_timeout(step),
            Phase::Spawning(tries) => self.spawn(step, tries),
            Phase::Connecting => self.fail(step, reasons::no_connection(self.policy.connect_timeout)),
            Phase::Greeting => {
                let bytes = self.session.as_ref().map_or(0, Session::unfinished_bytes);
                self.fail(step, reasons::no_hello(self.policy.transport, bytes, self.hello_timeout()));
            }
            Phase::Proving { capable, .. } => self.handle_ready_timeout(step, capable),
            Phase::Ending(why, rung) => self.climb_down(step, why, rung),
            Phase::Backoff(_) => self.launch(step),
            Phase::Failed => self.act(step, Action::LookAt),
            Phase::Stopped | Phase::Waiting(_) | Phase::Queued(_) | Phase::Running(_) => {
                debug_assert!(false, "{:?} has no deadline", self.phase);
            }
        }
    }

    /// Enters a phase, with a deadline or without.
    fn enter(&mut self, step: &mut Step<'_>, phase: Phase, timeout: Option<Duration>) {
        if let Some(timer) = self.phase_timer.take() {
            step.timers.cancel(timer);
        }
        if let Phase::Ending(..) = phase {
            self.unwell_since.get_or_insert(step.now);
        }
        if !matches!(phase, Phase::Proving { .. } | Phase::Running(_))
            && let Some(timer) = self.heartbeat_timer.take()
        {
            step.timers.cancel(timer);
        }
        self.phase_timer = timeout.map(|timeout| {
            step.timers.insert(step.now.plus(timeout), Timer::Life(self.key, LifeTimer::Phase))
        });
        self.phase = phase;
        if self.state() != PluginState::Starting {
            step.places.leave(self.key);
        }
    }

    /// Asks for an action on the current generation.
    fn act(&self, step: &mut Step<'_>, action: impl FnOnce(PluginKey, Generation) -> Action) {
        if let Some(generation) = self.generation {
            step.actions.push_back(action(self.key, generation));
        }
    }

    fn note(&self, step: &mut Step<'_>, mut note: Note) {
        note.plugin_id = Some(self.config.id.clone());
        note.generation = note.generation.or(self.generation);
        note.pid = note.pid.or_else(|| self.pid());
        step.actions.push_back(Action::Note(Box::new(note)));
    }
}
