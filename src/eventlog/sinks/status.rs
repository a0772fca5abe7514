//! How a sink does, for those who ask.
//!
//! What always holds: asking takes no more than a moment, and no file.

use super::{Bell, Whose};
use rpc_plugin_wire::PluginId;
use rpc_plugin_wire::admin::SinkStatus;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// See the module's text.
#[derive(Debug)]
pub struct Status {
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) shown: SinkStatus,
    /// Up to where each stream was taken.
    pub(super) taken: BTreeMap<Whose, u64>,
    /// The streams that are there were found.
    pub(super) is_begun: bool,
}

impl Status {
    pub(super) fn new(name: &str, kind: &str) -> Status {
        let shown = SinkStatus {
            name: name.to_owned(),
            kind: kind.to_owned(),
            delivered: 0,
            behind: 0,
            lost: 0,
            refused: 0,
            is_failing: false,
            last_error: None,
        };
        Status { state: Mutex::new(State { shown, taken: BTreeMap::new(), is_begun: false }) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing of a stream up to this number is still to be handed over.
    #[must_use]
    pub fn has_taken(&self, whose: &Option<PluginId>, seq: u64) -> bool {
        let state = self.state();
        state.is_begun && state.taken.get(whose).is_none_or(|taken| *taken >= seq)
    }

    /// Takes streams in of which nothing was taken yet.
    pub(super) fn know(&self, streams: &BTreeSet<Whose>) {
        let mut state = self.state();
        for whose in streams {
            if !state.taken.contains_key(whose) {
                state.taken.insert(whose.clone(), 0);
            }
        }
    }

    /// How the sink of that bell does.
    #[must_use]
    pub fn shown(&self, bell: &Bell) -> SinkStatus {
        let newest = bell.newest();
        let state = self.state();
        let behind = |(whose, newest): (&Whose, &u64)| {
            state.taken.get(whose).map_or(0, |taken| newest.saturating_sub(*taken))
        };
        SinkStatus { behind: newest.iter().map(behind).sum(), ..state.shown.clone() }
    }
}
