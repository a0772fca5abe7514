//! The order in which plugins start and stop: who is started after whom, who waits for that, and who is next to stop.
//!
//! What this file is for: the graph of `after`, and the states by which it is judged. What it deliberately does not do:
//! start or stop a plugin; the supervisor does.
//!
//! What always holds: no plugin is started after itself, over whichever others; a plugin is stopped before those that it is
//! started after, where all of them are to stop.

use super::keys::PluginKey;
use rpc_plugin_wire::PluginId;
use rpc_plugin_wire::life::PluginState;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Dependents that a message names.
const NAMED_MAX: usize = 16;

/// A plugin, as others see it.
#[derive(Debug)]
struct Place {
    key: PluginKey,
    after: Vec<PluginId>,
    state: PluginState,
}

/// A plugin that another one waits for, and its state if it is there.
pub type Awaited = (PluginId, Option<PluginState>);

/// The plugins of a host by id, with the plugins that each is started after.
#[derive(Debug, Default)]
pub struct Order {
    places: BTreeMap<PluginId, Place>,
    /// The plugins that are started after each, of those that some are.
    dependents: BTreeMap<PluginId, BTreeSet<PluginId>>,
    /// Plugins that wait for others.
    waiting: BTreeSet<PluginId>,
    /// Plugins that are to stop once those that are started after them have.
    departing: BTreeSet<PluginId>,
    /// Of those, the ones that may be next: whoever is not is looked at again when one that is started after it changes.
    may_depart: BTreeSet<PluginId>,
    /// Plugins whose state is another since the supervisor looked last.
    changed: BTreeSet<PluginId>,
    /// The supervisor is looking.
    is_looked_at: bool,
}

impl Order {
    /// Enters a plugin, or changes what it is started after.
    pub(super) fn set(&mut self, id: &PluginId, key: PluginKey, after: &[PluginId]) {
        let state = self.state(id).unwrap_or(PluginState::Stopped);
        self.forget_edges(id);
        for first in after {
            self.dependents.entry(first.clone()).or_default().insert(id.clone());
        }
        self.places.insert(id.clone(), Place { key, after: after.to_vec(), state });
        self.changed.insert(id.clone());
    }

    /// Forgets a plugin.
    pub(super) fn remove(&mut self, id: &PluginId) {
        self.forget_edges(id);
        self.places.remove(id);
        self.waiting.remove(id);
        self.stay(id);
        self.changed.insert(id.clone());
    }

    fn forget_edges(&mut self, id: &PluginId) {
        for first in self.places.get(id).map_or(&[][..], |place| &place.after) {
            if let Some(dependents) = self.dependents.get_mut(first) {
                dependents.remove(id);
                if dependents.is_empty() {
                    self.dependents.remove(first);
                }
            }
        }
    }

    /// Notes the state that a plugin is in now.
    pub(super) fn note_state(&mut self, id: &PluginId, state: PluginState) {
        if let Some(place) = self.places.get_mut(id) {
            place.state = state;
        }
        if state == PluginState::Waiting {
            self.waiting.insert(id.clone());
        } else {
            self.waiting.remove(id);
        }
        if state == PluginState::Stopped {
            self.stay(id);
        } else if !state.is_up() && self.departing.contains(id) {
            self.may_depart.insert(id.clone());
        }
        self.changed.insert(id.clone());
    }

    /// Begins to look at what changed. False: that is being done already, and goes on.
    pub(super) fn begin_look(&mut self) -> bool {
        !std::mem::replace(&mut self.is_looked_at, true)
    }

    /// The plugins that wait, of those that changed and those that are started after them. `None`: nothing has changed, and
    /// the look ends.
    pub(super) fn take_changed(&mut self) -> Option<Vec<PluginKey>> {
        let changed = std::mem::take(&mut self.changed);
        self.is_looked_at = !changed.is_empty();
        let of_one = |id| self.dependents(id).chain([id]);
        let waiting = changed.iter().flat_map(of_one).filter(|id| self.waiting.contains(*id));
        let waiting = waiting.filter_map(|id| self.key(id)).collect();
        for first in changed.iter().filter_map(|id| self.places.get(id)).flat_map(|place| &place.after) {
            if self.departing.contains(first) {
                self.may_depart.insert(first.clone());
            }
        }
        (!changed.is_empty()).then_some(waiting)
    }

    /// The state of a plugin, if there is one of that id.
    #[must_use]
    pub fn state(&self, id: &PluginId) -> Option<PluginState> {
        self.places.get(id).map(|place| place.state)
    }

    pub(super) fn key(&self, id: &PluginId) -> Option<PluginKey> {
        self.places.get(id).map(|place| place.key)
    }

    /// Those of `after` that do not take calls, or are about to stop: a plugin that is started after them waits.
    #[must_use]
    pub fn awaited(&self, after: &[PluginId]) -> Vec<Awaited> {
        let states = after.iter().map(|id| (id.clone(), self.state(id)));
        let is_ready = |(id, state): &Awaited| {
            state.is_some_and(PluginState::is_routable) && !self.departing.contains(id)
        };
        states.filter(|awaited| !is_ready(awaited)).collect()
    }

    /// The plugins that are started after this one, by id.
    pub fn dependents(&self, id: &PluginId) -> impl Iterator<Item = &PluginId> {
        self.dependents.get(id).into_iter().flatten()
    }

    fn is_up(&self, id: &PluginId) -> bool {
        self.state(id).is_some_and(PluginState::is_up)
    }

    /// Whether a plugin that is started after this one runs or waits for it.
    #[must_use]
    pub fn is_needed(&self, id: &PluginId) -> bool {
        self.dependents(id).any(|dependent| self.is_up(dependent) || self.waiting.contains(dependent))
    }

    /// All that are started after this one, over others too, and itself.
    #[must_use]
    pub fn with_dependents(&self, id: &PluginId) -> BTreeSet<PluginId> {
        let mut found = BTreeSet::from([id.clone()]);
        let mut rest = vec![id.clone()];
        while let Some(id) = rest.pop() {
            for dependent in self.dependents(&id) {
                if found.insert(dependent.clone()) {
                    rest.push(dependent.clone());
                }
            }
        }
        found
    }

    /// The circle that would be closed if `id` were started after these: from `id` over each that it would be started after, back
    /// to `id`.
    #[must_use]
    pub fn circle(&self, id: &PluginId, after: &[PluginId]) -> Option<Vec<PluginId>> {
        circle(id, after, |of| self.places.get(of).map_or(&[], |place| &place.after[..]))
    }

    /// Who runs and is started after a plugin that is to stop, as a message names them.
    #[must_use]
    pub fn dependents_text(&self, id: &PluginId) -> Option<String> {
        let running: Vec<&PluginId> = self.dependents(id).filter(|other| self.is_up(other)).collect();
        let shown: Vec<&str> = running.iter().take(NAMED_MAX).map(|id| id.as_str()).collect();
        match (running.len(), running.len().saturating_sub(NAMED_MAX)) {
            (0, _) => None,
            (_, 0) => Some(shown.join(", ")),
            (_, more) => Some(format!("{}, and {more} more", shown.join(", "))),
        }
    }

    /// Has these stop, each once those that are started after it have.
    pub(super) fn depart(&mut self, id: &PluginId) {
        self.departing.insert(id.clone());
        self.may_depart.insert(id.clone());
    }

    /// Forgets that a plugin is to stop.
    pub(super) fn stay(&mut self, id: &PluginId) {
        self.departing.remove(id);
        self.may_depart.remove(id);
    }

    /// The next plugin to be stopped, of those that are to stop: none that is started after it is still to stop, or stopping.
    pub(super) fn next_departure(&mut self) -> Option<PluginKey> {
        while let Some(id) = self.may_depart.pop_first() {
            let is_held_up = self.is_up(&id)
                && self.dependents(&id).any(|dependent| {
                    let is_stopping = self.state(dependent) == Some(PluginState::Stopping);
                    is_stopping || self.departing.contains(dependent)
                });
            if !is_held_up {
                self.departing.remove(&id);
                return self.key(&id);
            }
        }
        None
    }

    /// How long stopping all takes at the most, if stopping each takes as long as `timeout` says: one after the other where they
    /// are started so, beside each other else.
    #[must_use]
    pub fn stop_timeout(&self, timeout: impl Fn(PluginKey) -> Duration) -> Duration {
        let mut longest: BTreeMap<&PluginId, Duration> = BTreeMap::new();
        let mut total = Duration::ZERO;
        for id in self.starts() {
            let Some(place) = self.places.get(id) else { continue };
            let before = place.after.iter().filter_map(|after| longest.get(after)).max().copied();
            let own = before.unwrap_or_default().saturating_add(timeout(place.key));
            longest.insert(id, own);
            total = total.max(own);
        }
        total
    }

    /// Every plugin, each after those that it is started after.
    #[must_use]
    pub fn starts(&self) -> Vec<&PluginId> {
        let mut order = Vec::with_capacity(self.places.len());
        let mut done: BTreeSet<&PluginId> = BTreeSet::new();
        // With how many of those that it is started after were looked at.
        let mut path: Vec<(&PluginId, usize)> = Vec::new();
        for id in self.places.keys() {
            if done.insert(id) {
                path.push((id, 0));
            }
            while let Some((id, looked)) = path.pop() {
                match self.places.get(id).and_then(|place| place.after.get(looked)) {
                    Some(next) => {
                        path.push((id, looked + 1));
                        if let Some((next, _)) = self.places.get_key_value(next)
                            && done.insert(next)
                        {
                            path.push((next, 0));
                        }
                    }
                    None => order.push(id),
                }
            }
        }
        order
    }
}

/// The circle that `id` would be in if it came after these, where `after` says what any other comes after: from `id` back to it.
pub fn circle<'a>(
    id: &'a PluginId,
    firsts: &'a [PluginId],
    after: impl Fn(&PluginId) -> &'a [PluginId],
) -> Option<Vec<PluginId>> {
    let mut looked: BTreeSet<&PluginId> = BTreeSet::new();
    let mut path: Vec<(&PluginId, &[PluginId])> = vec![(id, firsts)];
    while let Some((_, rest)) = path.last_mut() {
        let Some((next, behind)) = rest.split_first() else {
            path.pop();
            continue;
        };
        *rest = behind;
        if next == id {
            let circle = path.iter().map(|(id, _)| *id).chain([id]);
            return Some(circle.cloned().collect());
        }
        if looked.insert(next) {
            path.push((next, after(next)));
        }
    }
    None
}

/// A circle in words: `a after b after a`.
#[must_use]
pub fn circle_text(circle: &[PluginId]) -> String {
    circle.iter().map(PluginId::as_str).collect::<Vec<_>>().join(" after ")
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
