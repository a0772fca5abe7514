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
use std::collections::{BTreeMap, VecDeque};

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
    /// Whether the caller wants to know how far it is.
    pub progress: bool,
}

/// Requests that are kept by their distance from the oldest one; older ones are searched for.
const RECENT_MAX: usize = 1024;

/// The table. Answers mostly come for recent requests, so those are found by their distance from the
/// oldest, without a search.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// The requests from `first_recent` on, with gaps where they have left. The first is none.
    recent: VecDeque<Option<Pending>>,
    first_recent: u64,
    /// Those that have waited so long that many others came after them.
    old: BTreeMap<u64, Pending>,
    /// How many wait.
    len: usize,
    /// How many of them poison.
    calls: usize,
}

impl Outgoing {
    /// The id that the next request will have.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.first_recent + self.recent.len() as u64
    }

    /// Enters a request under [`Outgoing::next_id`].
    pub fn insert(&mut self, pending: Pending) {
        self.len += 1;
        self.calls += usize::from(pending.poisons);
        if self.recent.len() >= RECENT_MAX {
            if let Some(Some(oldest)) = self.recent.pop_front() {
                self.old.insert(self.first_recent, oldest);
            }
            self.first_recent += 1;
            self.close_gap();
        }
        self.recent.push_back(Some(pending));
    }

    /// Lets the recent ones begin with one that waits.
    fn close_gap(&mut self) {
        while let Some(None) = self.recent.front() {
            self.recent.pop_front();
            self.first_recent += 1;
        }
    }

    fn distance(&self, id: u64) -> Option<usize> {
        usize::try_from(id.checked_sub(self.first_recent)?).ok()
    }

    /// The request with that id, if it waits.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<&Pending> {
        match self.distance(id) {
            Some(distance) => self.recent.get(distance)?.as_ref(),
            None => self.old.get(&id),
        }
    }

    /// The same, to change it; `poisons` stays as it is.
    pub fn get_mut(&mut self, id: u64) -> Option<&mut Pending> {
        match self.distance(id) {
            Some(distance) => self.recent.get_mut(distance)?.as_mut(),
            None => self.old.get_mut(&id),
        }
    }

    /// Takes a request out.
    pub fn remove(&mut self, id: u64) -> Option<Pending> {
        let pending = match self.distance(id) {
            Some(distance) => self.recent.get_mut(distance)?.take()?,
            None => self.old.remove(&id)?,
        };
        self.close_gap();
        self.len -= 1;
        self.calls -= usize::from(pending.poisons);
        Some(pending)
    }

    /// All that wait, the oldest first.
    fn iter(&self) -> impl Iterator<Item = (u64, &Pending)> {
        let old = self.old.iter().map(|(id, pending)| (*id, pending));
        let recent = (self.first_recent..).zip(&self.recent);
        old.chain(recent.filter_map(|(id, pending)| Some((id, pending.as_ref()?))))
    }

    /// Takes the oldest request out.
    pub fn pop(&mut self) -> Option<Pending> {
        let id = self.iter().next()?.0;
        self.remove(id)
    }

    /// The id under which a caller waits.
    #[must_use]
    pub fn find(&self, caller: Caller) -> Option<u64> {
        self.iter().find(|(_, pending)| pending.caller == Some(caller)).map(|(id, _)| id)
    }

    /// The id of the request whose frame begins there.
    #[must_use]
    pub fn find_at(&self, offset: u64) -> Option<u64> {
        self.iter().find(|(_, pending)| pending.offset == offset).map(|(id, _)| id)
    }

    /// How many calls wait, those included whose caller has gone.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// How many of the host's own requests wait: heartbeats and the like.
    #[must_use]
    pub fn own(&self) -> usize {
        self.len - self.calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::keys::CallKey;

    fn pending(number: u64) -> Pending {
        Pending {
            id: number,
            caller: Some(Caller::Call(CallKey(number))),
            method: "m".into(),
            timer: None,
            offset: 0,
            end_offset: 0,
            sent_at: Time::ZERO,
            poisons: number.is_multiple_of(2),
            in_grace: false,
            progress: false,
        }
    }

    /// Whatever is answered in whatever order, the table is the same as a plain map.
    #[test]
    fn it_is_a_map_by_id_and_never_larger_than_what_waits_and_a_thousand_gaps() {
        let mut rng = fastrand::Rng::with_seed(1);
        for stay in [0, 1, 30, 2000] {
            let (mut table, mut map) = (Outgoing::default(), BTreeMap::new());
            for number in 0..20_000 {
                assert_eq!(table.next_id(), number);
                table.insert(pending(number));
                map.insert(number, CallKey(number));
                while map.len() > stay {
                    let any = map.keys().nth(rng.usize(0..map.len().min(50))).copied().unwrap();
                    assert!(table.get(any).is_some() && table.get_mut(any).is_some());
                    let taken = table.remove(any).unwrap();
                    assert_eq!(taken.caller, map.remove(&any).map(Caller::Call));
                    assert!(table.remove(any).is_none() && table.get(any).is_none());
                }
                assert!(table.recent.len() <= RECENT_MAX && table.old.len() <= map.len());
                if number % 101 != 0 {
                    continue;
                }
                let calls = map.keys().filter(|number| number.is_multiple_of(2)).count();
                assert_eq!((table.calls(), table.own()), (calls, map.len() - calls));
            }
            let newest = map.keys().last().copied();
            assert_eq!(newest.and_then(|id| table.find(Caller::Call(CallKey(id)))), newest);
            for key in map.into_values() {
                assert_eq!(table.pop().unwrap().caller, Some(Caller::Call(key)), "the oldest first");
            }
            assert!(table.pop().is_none());
        }
    }
}
