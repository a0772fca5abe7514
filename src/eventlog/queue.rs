//! Events on their way to the writer: bounded, in one order, handed over all at once.
//!
//! What it deliberately does not do: wait. Who hands an event over never does, but for the moment in which the
//! writer takes all that is there, which is an exchange of two vectors.
//!
//! What always holds: tickets are in the order of the events; at most `max` events and about
//! [`QUEUE_BYTES_MAX`](super::QUEUE_BYTES_MAX) bytes wait; the writer is woken only if it sleeps.

use super::QUEUE_BYTES_MAX;
use rpc_plugin_record::Entry;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the writer lets events gather that nobody is in a hurry for.
const GATHER: Duration = Duration::from_millis(10);
/// Events as they wait. Boxed, because one takes half a KiB and is moved several times.
#[allow(clippy::vec_box)]
pub(super) type Events = Vec<Box<Entry>>;

/// A vector that was larger is not kept. Events.
const KEPT_MAX: usize = 1024;

#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    max: usize,
}

#[derive(Debug, Default)]
struct State {
    events: Events,
    bytes: usize,
    /// The ticket that was given last.
    last: u64,
    /// Somebody is in a hurry.
    is_urgent: bool,
    /// Threads that asked for everything to be written and synced.
    flushes: u64,
    sleep: Sleep,
    is_closed: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Sleep {
    #[default]
    Awake,
    /// Until anything comes.
    Sound,
    /// Until something urgent comes, or the time is over.
    Gathering,
}

/// What the writer is given.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) events: Events,
    /// The ticket of the last of them, or of the last ever.
    pub(super) last: u64,
    /// Flushes asked for so far.
    pub(super) flushes: u64,
    /// Nothing more will come.
    pub(super) is_over: bool,
}

impl Queue {
    pub(super) fn new(max: usize) -> Queue {
        Queue { state: Mutex::default(), arrived: Condvar::new(), max: max.max(1) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in this file panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands an event over; its ticket, or `None` if there is no room.
    pub(super) fn push(&self, entry: Box<Entry>, is_urgent: bool) -> Option<u64> {
        let bytes = entry.bytes();
        let mut state = self.state();
        if state.events.len() >= self.max || state.bytes.saturating_add(bytes) > QUEUE_BYTES_MAX {
            return None;
        }
        state.events.push(entry);
        state.bytes += bytes;
        state.last += 1;
        // Half full is a hurry of its own.
        state.is_urgent |= is_urgent || state.events.len() > self.max / 2;
        let ticket = state.last;
        self.wake(state);
        Some(ticket)
    }

    /// Asks for everything to be written and synced; the number of this request.
    pub(super) fn flush(&self) -> u64 {
        let mut state = self.state();
        state.flushes += 1;
        state.is_urgent = true;
        let asked = state.flushes;
        self.wake(state);
        asked
    }

    pub(super) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        state.is_urgent = true;
        self.wake(state);
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let wakes = match state.sleep {
            Sleep::Awake => false,
            Sleep::Sound => true,
            Sleep::Gathering => state.is_urgent,
        };
        if wakes {
            state.sleep = Sleep::Awake;
            drop(state);
            self.arrived.notify_one();
        }
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> (usize, usize) {
        let state = self.state();
        (state.events.len(), state.bytes)
    }

    /// For the writer: takes all that waits, once something does, or when `until` is there.
    pub(super) fn take(&self, until: Option<Instant>, spare: Events) -> Taken {
        let mut state = self.state();
        let mut gather_until = None;
        loop {
            let now = Instant::now();
            let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            if state.is_urgent || is_due(until) || is_due(gather_until) {
                break;
            }
            if !state.events.is_empty() {
                gather_until = gather_until.or(Some(now + GATHER));
            }
            state.sleep = if gather_until.is_some() { Sleep::Gathering } else { Sleep::Sound };
            let next = [until, gather_until].into_iter().flatten().min();
            state = match next {
                Some(at) => {
                    let left = at.saturating_duration_since(now);
                    self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
            state.sleep = Sleep::Awake;
        }
        state.is_urgent = false;
        state.bytes = 0;
        let spare = if spare.capacity() > KEPT_MAX { Vec::new() } else { spare };
        let events = std::mem::replace(&mut state.events, spare);
        // A closed queue stays urgent: the writer comes back for nothing but its end.
        let is_over = state.is_closed && events.is_empty();
        state.is_urgent = state.is_closed;
        Taken { events, last: state.last, flushes: state.flushes, is_over }
    }
}
