//! What the checks know of one plugin by themselves: from what operators did and the host recorded,
//! not from the host's own fields.

use crate::ledger::Id;
use crate::world::World;
use rpc_plugin_system::state::action::Note;
use rpc_plugin_system::state::keys::PluginKey;
use rpc_plugin_system::state::plugin::status_of;
use rpc_plugin_system::state::policy::RestartPolicy;
use rpc_plugin_system::state::time::Time;
use rpc_plugin_wire::Generation;
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::life::Desired;
use std::collections::VecDeque;
use std::time::Duration;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Model {
    pub last_generation: Option<Generation>,
    /// The last wish of an operator was to have it down.
    pub unwanted: bool,
    /// It is to stop once those that are started after it have.
    pub departs: bool,
    pub given_up: bool,
    /// It was given up until its files change.
    pub is_looked_at: bool,
    /// No launch before this, unless an operator acts.
    not_before: Option<Time>,
    /// At least so many failures in a row.
    failures: u32,
    restarts: VecDeque<Time>,
    healthy_at: Option<Time>,
    /// The first of the heartbeats in a row that failed.
    pub unwell_at: Option<Time>,
    state: String,
}

impl Model {
    /// An operator wants it up: what was counted against it is forgotten.
    pub fn forgive(&mut self, coverage: &mut crate::coverage::Coverage, now: Time) {
        if self.given_up {
            coverage.saw("start out of failed");
        }
        if self.not_before.is_some_and(|at| at > now) {
            coverage.saw("backoff cut short by an operator");
        }
        (self.unwanted, self.given_up, self.not_before, self.failures) = (false, false, None, 0);
        (self.is_looked_at, self.departs) = (false, false);
        self.restarts.clear();
    }
}

impl World {
    fn model(&mut self, key: PluginKey) -> &mut Model {
        self.models.entry(key).or_default()
    }

    /// A launch is allowed: a new number, wanted, not given up, its backoff over.
    pub fn check_launch(&mut self, id: Id) {
        let (key, generation) = id;
        let now = self.now;
        let desired = self.host.plugin(key).unwrap().desired();
        for first in &self.configs[&key].after {
            let first = self.host.find(first).and_then(|key| self.host.plugin(key));
            let is_up = first.is_some_and(|first| first.state().is_routable());
            assert!(is_up, "{id:?} is launched before what it is started after");
        }
        let model = self.model(key);
        assert!(Some(generation) > model.last_generation, "generation {generation} is used again");
        assert!(desired == Desired::Up && !model.unwanted, "{id:?} is launched although it is wanted down");
        assert!(!model.given_up, "{id:?} is launched although it was given up");
        if let Some(at) = model.not_before.take() {
            assert!(now >= at, "{id:?} is launched {:?} before its backoff is over", at.since(now));
        }
        model.last_generation = Some(generation);
        (model.healthy_at, model.unwell_at) = (None, None);
        let live = self.live.iter().find(|(other, _)| *other == key);
        assert!(live.is_none(), "{id:?} is launched while {live:?} lives");
    }

    /// Holds what the host recorded against the model.
    pub fn observe(&mut self, note: &Note) {
        self.tell(format_args!("  note {} {} {:?} {:?}", note.kind, note.message, note.error, note.reason));
        self.coverage.saw(&format!("event {}", note.kind));
        let id = note.plugin_id.clone().expect("every note of the state concerns a plugin");
        let Some(key) = self.host.find(&id) else { return };
        let of_no_generation = [
            EventKind::PluginAdded,
            EventKind::PluginReconfigured,
            EventKind::PluginRemoved,
            EventKind::StateChanged,
        ];
        if !of_no_generation.contains(&note.kind) {
            let generation = note.generation.expect("what happens to a plugin happens to a generation");
            let stale = self.last_generation(key).is_some_and(|last| generation < last);
            assert!(!stale, "an event of a generation that has been replaced: {note:?}");
        }
        match note.kind {
            EventKind::StateChanged => self.observe_state(key, note),
            EventKind::HeartbeatMissed => {
                let missed = status_of(self.host.plugin(key).unwrap(), self.now).heartbeats_missed;
                let now = self.now;
                let model = self.model(key);
                if missed <= 1 {
                    model.unwell_at = Some(now);
                }
            }
            EventKind::ConnectionPoisoned => {
                let id = (key, note.generation.expect("it was checked above"));
                let own = self.slot(key).policy.call_timeout + self.slot(key).policy.cancel_grace;
                self.ledger.check_poisoned(self.now, id, own);
            }
            EventKind::ShutdownRequested if self.is_ending => self.observe_departure(key),
            EventKind::RestartScheduled => self.observe_restart(key),
            EventKind::GaveUp => self.observe_surrender(key, note),
            _ => {}
        }
    }

    fn observe_state(&mut self, key: PluginKey, note: &Note) {
        let details = note.details.as_ref().expect("a change of state says from and to");
        let (from, to) = (details["from"].as_str().unwrap(), details["to"].as_str().unwrap());
        self.coverage.saw(&format!("state {to}"));
        let now = self.now;
        let model = self.model(key);
        assert!(
            model.state.is_empty() || model.state == from,
            "a change of state is missing before {note:?}"
        );
        model.state = to.to_owned();
        if from == "starting" && matches!(to, "healthy" | "degraded") {
            assert!(!model.unwanted || model.departs, "it comes up although it is wanted down");
            model.healthy_at = Some(now);
            let id = (key, model.last_generation.unwrap());
            let child = &self.processes[&id].child;
            assert!(child.greeted_right, "healthy without a right hello");
            assert!(child.was_able, "healthy without its capabilities");
            assert!(child.was_well, "healthy without a good heartbeat");
        }
    }

    /// While all are stopped, each is asked to end after those that are started after it.
    fn observe_departure(&mut self, key: PluginKey) {
        let id = &self.configs[&key].id;
        for other in &self.slots {
            let is_up = self.host.plugin(other.key).unwrap().state().is_up();
            if self.configs[&other.key].after.contains(id) {
                assert!(!is_up, "{id} is stopped before {}, which is started after it", other.id);
            }
        }
    }

    fn observe_restart(&mut self, key: PluginKey) {
        let policy = self.slot(key).policy.clone();
        assert_ne!(policy.restart, RestartPolicy::Never, "replaced against its restart policy");
        let now = self.now;
        let model = self.model(key);
        assert!(!model.unwanted, "replaced although it is wanted down");
        if std::mem::take(&mut model.is_looked_at) {
            // Its files have changed: that counts for nothing.
            model.given_up = false;
            return;
        }
        assert!(!model.given_up, "replaced although it was given up");
        let well_until = model.unwell_at.unwrap_or(now);
        let stretch = model.healthy_at.map_or(Duration::ZERO, |since| well_until.since(since));
        let maybe_stable = model.healthy_at.is_some() && stretch >= policy.healthy_stretch;
        model.failures = if maybe_stable { 1 } else { model.failures + 1 };
        let backoff = policy.backoff_initial.saturating_mul(1 << (model.failures - 1).min(20));
        let least = backoff.min(policy.backoff_max) * (100 - policy.backoff_jitter_percent) / 100;
        let least = if maybe_stable { Duration::ZERO } else { least };
        model.not_before = Some(now.plus(least));
        while model.restarts.front().is_some_and(|at| now.since(*at) >= policy.restart_window) {
            model.restarts.pop_front();
        }
        model.restarts.push_back(now);
        let count = model.restarts.len();
        let max = policy.restarts_max;
        assert!(count <= max as usize, "{count} restarts within the window, at most {max} are allowed");
        self.coverage.saw(if maybe_stable {
            "restart at once after a healthy stretch"
        } else {
            "restart with backoff"
        });
    }

    fn observe_surrender(&mut self, key: PluginKey, note: &Note) {
        let policy = self.slot(key).policy.clone();
        let now = self.now;
        let model = self.model(key);
        model.given_up = true;
        model.is_looked_at = note.message.contains("once its files have changed");
        assert!(!model.unwanted || model.departs, "given up although it is wanted down");
        let error = note.error.as_deref().unwrap_or_default();
        if error.contains(", which is the most; ") {
            let within = model.restarts.iter().filter(|at| now.since(**at) < policy.restart_window).count();
            assert_eq!(within, policy.restarts_max as usize, "given up before the limit");
        }
    }
}
