//! Requests of the peer that wait for an answer of ours.
//!
//! What always holds: an id is in the table at most once; a request is answered at most once; the table is bounded.

use crate::role::Role;
use crate::violation::Violation;
use rpc_plugin_wire::{ErrorCode, ErrorObject, RequestId};
use std::collections::VecDeque;

/// Why a request was not entered.
#[derive(Debug)]
pub enum NotEntered {
    /// The table is full; to be answered with this.
    Full(ErrorObject),
    /// The peer broke the protocol.
    Violation(Violation),
}

#[derive(Debug)]
struct Entry<T> {
    id: RequestId,
    fds: usize,
    what: T,
}

/// The requests of one peer, each with what its shell keeps of it.
#[derive(Debug)]
pub struct RequestsIn<T> {
    /// By id. Peers count upwards and are answered in about that order, so both ends are where things change.
    waiting: VecDeque<Entry<T>>,
    fds: usize,
    role: Role,
    requests_max: usize,
    fds_max: usize,
}

impl<T> RequestsIn<T> {
    /// An empty table of the side with that role, for so many requests at once, and so many descriptors with them.
    #[must_use]
    pub fn new(role: Role, requests_max: usize, fds_max: usize) -> RequestsIn<T> {
        RequestsIn { waiting: VecDeque::new(), fds: 0, role, requests_max, fds_max }
    }

    fn find(&self, id: &RequestId) -> Result<usize, usize> {
        match (self.waiting.front(), self.waiting.back()) {
            (None, _) => Err(0),
            (Some(first), _) if first.id == *id => Ok(0),
            (_, Some(last)) if last.id < *id => Err(self.waiting.len()),
            _ => self.waiting.binary_search_by(|entry| entry.id.cmp(id)),
        }
    }

    /// Enters a request with which so many descriptors came.
    ///
    /// # Errors
    /// The table is full, or the id waits already.
    pub fn enter(&mut self, id: &RequestId, fds: usize, what: T) -> Result<(), NotEntered> {
        let at = match self.find(id) {
            Ok(_) => {
                let why = format!("request id {id} waits for an answer already");
                return Err(NotEntered::Violation(Violation::invalid(why)));
            }
            Err(at) => at,
        };
        let full = |what: &str| {
            let text = format!("too many {what} wait for the {}", self.role);
            Err(NotEntered::Full(ErrorObject::new(ErrorCode::Overloaded, text)))
        };
        if self.waiting.len() >= self.requests_max {
            return full("requests");
        }
        if fds > 0 && self.fds + fds > self.fds_max {
            return full("file descriptors of requests");
        }
        self.fds += fds;
        let entry = Entry { id: id.clone(), fds, what };
        if at == self.waiting.len() {
            self.waiting.push_back(entry);
        } else {
            self.waiting.insert(at, entry);
        }
        Ok(())
    }

    /// Takes a request out, to answer it; `None` if it does not wait.
    pub fn leave(&mut self, id: &RequestId) -> Option<T> {
        let entry = match self.find(id).ok()? {
            0 => self.waiting.pop_front()?,
            at => self.waiting.remove(at)?,
        };
        self.fds -= entry.fds;
        Some(entry.what)
    }

    /// What is kept of a request that waits.
    #[must_use]
    pub fn get(&self, id: &RequestId) -> Option<&T> {
        self.waiting.get(self.find(id).ok()?).map(|entry| &entry.what)
    }

    /// All that wait, by id.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter().map(|entry| &entry.what)
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_table_is_bounded_and_each_id_is_there_once() {
        let mut table = RequestsIn::new(Role::Host, 100, 256);
        for number in 0..100 {
            table.enter(&number.into(), 0, number).unwrap();
        }
        let Err(NotEntered::Violation(violation)) = table.enter(&7.into(), 0, 7) else { panic!() };
        assert!(violation.why.contains("request id 7 waits"), "{violation:?}");
        let Err(NotEntered::Full(error)) = table.enter(&999.into(), 0, 999) else { panic!() };
        assert!(error.message.contains("too many requests wait for the host"), "{error:?}");
        assert!(table.leave(&7.into()) == Some(7) && table.leave(&7.into()).is_none());
        table.enter(&999.into(), 0, 999).unwrap();
    }

    #[test]
    fn descriptors_are_held_for_so_many_requests_only() {
        let mut table = RequestsIn::new(Role::Plugin, 1024, 256);
        for number in 0..16 {
            table.enter(&number.into(), 16, ()).unwrap();
        }
        assert!(matches!(table.enter(&100.into(), 1, ()), Err(NotEntered::Full(_))));
        table.enter(&100.into(), 0, ()).unwrap();
        assert!(table.leave(&100.into()).is_some() && table.leave(&0.into()).is_some());
        table.enter(&0.into(), 16, ()).unwrap();
        assert!(matches!(table.enter(&100.into(), 1, ()), Err(NotEntered::Full(_))));
    }

    /// Whatever ids come and leave in whatever order, the table is the same as a plain map.
    #[test]
    fn it_is_a_map_by_id() {
        let mut rng = fastrand::Rng::with_seed(1);
        let (mut table, mut map) = (RequestsIn::new(Role::Host, usize::MAX, 0), BTreeMap::new());
        for number in 0..20_000 {
            let id = match rng.u8(0..4) {
                0 => RequestId::Text(rng.u8(0..50).to_string().into()),
                1 => RequestId::Number(rng.u64(0..50)),
                _ => RequestId::Number(number),
            };
            assert_eq!(table.get(&id).is_some(), map.contains_key(&id));
            match table.enter(&id, 0, number) {
                Ok(()) => assert!(map.insert(id, number).is_none()),
                Err(_) => assert!(map.contains_key(&id)),
            }
            while map.len() > rng.usize(0..100) {
                let any = map.keys().nth(rng.usize(0..map.len())).cloned().unwrap();
                assert_eq!(table.leave(&any), map.remove(&any));
                assert!(table.leave(&any).is_none());
            }
            assert!(table.len() == map.len() && table.is_empty() == map.is_empty());
        }
        assert!(table.iter().eq(map.values()));
    }
}
