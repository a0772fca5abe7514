//! Versions on trial in a running host: what its events say of them, and when their time is over.
//!
//! What it deliberately does not do: change what is active; the caller does, by what this says.
//!
//! What always holds: only a generation of the version on trial counts; of states the present one is read when one changed, so that
//! an event that was missed does no harm.

use crate::host::{Desired, EventKind, Host, Level, PluginId, PluginState};
use crate::package::trial::{Trial, TrialEvent, TrialFault, TrialState, TrialTerms};
use crate::state::time::Time;
use std::collections::BTreeMap;
use std::time::Instant;

/// What is to be done about a package.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// The active version is healthy, and stays.
    Keep(PluginId),
    /// The active version is on trial, and is healthy for the first time.
    Healthy(PluginId),
    /// The active version is not kept.
    Fails(PluginId, TrialFault),
}

/// Whether such an event says something of a trial.
pub(super) fn is_watched(kind: EventKind, _: Level) -> bool {
    matches!(kind, EventKind::StateChanged | EventKind::RestartScheduled)
}

/// The trials that are under way.
#[derive(Debug)]
pub(super) struct Trials {
    /// From when times count.
    origin: Instant,
    trials: BTreeMap<PluginId, Trial>,
}

impl Trials {
    pub(super) fn new() -> Trials {
        Trials { origin: Instant::now(), trials: BTreeMap::new() }
    }

    fn now(&self) -> Time {
        Time::ZERO.plus(self.origin.elapsed())
    }

    /// A version of a package is on trial from its next launch on.
    pub(super) fn begin(&mut self, id: &PluginId, terms: TrialTerms) {
        self.trials.insert(id.clone(), Trial::new(terms));
    }

    /// Its active version is not on trial, or not any more.
    pub(super) fn end(&mut self, id: &PluginId) {
        self.trials.remove(id);
    }

    /// When [`Trials::due`] is to be called, if nothing happens before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let next = self.trials.values().filter_map(Trial::deadline).min()?;
        Some(self.origin + next.since(Time::ZERO))
    }

    /// What follows where the state of a plugin has changed, or it failed for this reason.
    pub(super) fn happened(&mut self, host: &Host, id: &PluginId, failure: Option<String>) -> Option<Judged> {
        let status = host.plugin(id).and_then(|plugin| plugin.status()).ok()?;
        // The generation that is there is one of the version before.
        if status.reconfigured {
            return None;
        }
        if !self.trials.contains_key(id) {
            return status.state.is_routable().then(|| Judged::Keep(id.clone()));
        }
        let reason = || status.last_error.clone().unwrap_or_else(|| "for no known reason".to_owned());
        let event = match (failure, status.state) {
            (Some(reason), _) => TrialEvent::Failed(reason),
            (None, PluginState::Failed) => TrialEvent::GaveUp(reason()),
            (None, PluginState::Stopped) if status.desired == Desired::Down => TrialEvent::Stopped,
            (None, PluginState::Starting) if status.launch_waits.is_none() => TrialEvent::Launched,
            (None, state) if state.is_routable() => TrialEvent::Healthy,
            _ => return None,
        };
        let now = self.now();
        let trial = self.trials.get_mut(id)?;
        let was_healthy = trial.was_healthy();
        trial.happened(event, now);
        let is_healthy_first = trial.was_healthy() && !was_healthy;
        self.judged(id).or_else(|| is_healthy_first.then(|| Judged::Healthy(id.clone())))
    }

    /// The trials whose time is over.
    pub(super) fn due(&mut self) -> Vec<Judged> {
        let now = self.now();
        for trial in self.trials.values_mut() {
            trial.tick(now);
        }
        let ids: Vec<PluginId> = self.trials.keys().cloned().collect();
        ids.iter().filter_map(|id| self.judged(id)).collect()
    }

    /// Ends a trial that has a result.
    fn judged(&mut self, id: &PluginId) -> Option<Judged> {
        let judged = match self.trials.get(id)?.state() {
            TrialState::Pending => return None,
            TrialState::Kept => Judged::Keep(id.clone()),
            TrialState::Over(fault) => Judged::Fails(id.clone(), fault.clone()),
        };
        self.trials.remove(id);
        Some(judged)
    }
}
