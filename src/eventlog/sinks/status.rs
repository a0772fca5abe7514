//! How a sink does, for those who ask.
//!
//! What always holds: asking takes no more than a moment, and no file.

use crate::eventlog::owner::StreamOwner;
use crate::eventlog::waker::StreamWaker;
use rpc_plugin_wire::admin::SinkStatus;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How a sink does: shared by its thread and those who ask.
#[derive(Debug)]
pub struct Status {
    state: Mutex<SinkState>,
}

#[derive(Debug)]
pub(super) struct SinkState {
    pub(super) shown: SinkStatus,
    /// Up to where each stream was taken.
    pub(super) taken: BTreeMap<StreamOwner, u64>,
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
        Status { state: Mutex::new(SinkState { shown, taken: BTreeMap::new() }) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, SinkState> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes streams in of which nothing was taken yet.
    pub(super) fn know(&self, streams: &BTreeSet<StreamOwner>) {
        let mut state = self.state();
        for owner in streams {
            if !state.taken.contains_key(owner) {
                state.taken.insert(owner.clone(), 0);
            }
        }
    }

    /// How the sink of that waker does.
    #[must_use]
    pub fn shown(&self, waker: &StreamWaker) -> SinkStatus {
        let newest = waker.newest();
        let state = self.state();
        let behind = |(owner, newest): (&StreamOwner, &u64)| {
            state.taken.get(owner).map_or(0, |taken| newest.saturating_sub(*taken))
        };
        SinkStatus { behind: newest.iter().map(behind).sum(), ..state.shown.clone() }
    }
}
