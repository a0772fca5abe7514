//! Requests of ours that wait for an answer.
//!
//! What it deliberately does not do: write frames or arm timers; the session does.
//!
//! What always holds: ids are never used twice on a connection; an entry leaves the table exactly
//! once, by its answer or by the end of the connection, and takes its caller along at most once.

use super::keys::Caller;
use super::time::Time;
use super::wheel::TimerKey;
use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// One request of ours.
#[derive(Debug)]
pub struct Pending {
    /// Who waits. `None` once the caller has been told something else: the answer will be dropped.
    pub caller: Option<Caller>,
    /// What was asked, for records.
    pub method: Cow<'static, str>,
    /// Its deadline, or after that the end of the grace for its answer.
    pub timer: Option<TimerKey>,
    /// Where its frame begins in the outbox.
    pub offset: u64,
    /// Where its frame ends there.
    pub end_offset: u64,
    /// When it was put into the outbox.
    pub sent_at: Time,
    /// Whether an answer that does not come even after `rpc.cancel` ends the connection.
    pub poisons: bool,
    /// The deadline has passed; the timer is the end of the grace.
    pub in_grace: bool,
}

/// Spreads ids, which are our own count: nobody outside chooses them, so no secret is needed.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(self.0 ^ u64::from(*byte)));
    }

    fn write_u64(&mut self, id: u64) {
        // Fibonacci hashing: 2^64 divided by the golden ratio.
        self.0 = id.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32);
    }
}

/// The table.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Never walked in its own order, which is nobody's.
    pending: HashMap<u64, Pending, BuildHasherDefault<IdHasher>>,
    next_id: u64,
    /// How many of `pending` poison.
    calls: usize,
}

impl Outgoing {
    /// The id that the next request will have.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.next_id
    }

    /// Enters a request under [`Outgoing::next_id`].
    pub fn insert(&mut self, pending: Pending) {
        self.calls += usize::from(pending.poisons);
        self.pending.insert(self.next_id, pending);
        self.next_id += 1;
    }

    /// The request with that id, if it waits.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<&Pending> {
        self.pending.get(&id)
    }

    /// The same, to change it; `poisons` stays as it is.
    pub fn get_mut(&mut self, id: u64) -> Option<&mut Pending> {
        self.pending.get_mut(&id)
    }

    /// Takes a request out.
    pub fn remove(&mut self, id: u64) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        self.calls -= usize::from(pending.poisons);
        Some(pending)
    }

    /// Takes all requests out, the oldest first.
    pub fn take_all(&mut self) -> Vec<Pending> {
        self.calls = 0;
        let mut all: Vec<(u64, Pending)> = self.pending.drain().collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all.into_iter().map(|(_, pending)| pending).collect()
    }

    /// The id under which a caller waits.
    #[must_use]
    pub fn find(&self, caller: Caller) -> Option<u64> {
        self.pending.iter().find(|(_, pending)| pending.caller == Some(caller)).map(|(id, _)| *id)
    }

    /// How many calls wait, those included whose caller has gone.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// How many of the host's own requests wait: heartbeats and the like.
    #[must_use]
    pub fn own(&self) -> usize {
        self.pending.len() - self.calls
    }
}
