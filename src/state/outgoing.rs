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
use std::collections::BTreeMap;

/// One request of ours.
#[derive(Debug)]
pub struct Pending {
    /// Who waits. `None` once the caller has been told something else: the answer will be dropped.
    pub caller: Option<Caller>,
    /// The id it has.
    pub id: u64,
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

/// The table.
#[derive(Debug, Default)]
pub struct Outgoing {
    pending: BTreeMap<u64, Pending>,
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

    /// Takes the oldest request out.
    pub fn pop(&mut self) -> Option<Pending> {
        let id = *self.pending.first_key_value()?.0;
        self.remove(id)
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
