//! Requests of the peer that wait for an answer of ours.
//!
//! What always holds: an id is in the table at most once; a request is answered at most once; the
//! table is bounded.

use rpc_plugin_wire::RequestId;
use std::collections::BTreeMap;

/// Requests of one peer that may wait at once; a further one is answered `overloaded`.
pub const INCOMING_MAX: usize = 1024;

/// Descriptors that came with them and may be held for one peer at once; a request beyond that is answered `overloaded`.
/// More than what can be read of one peer in a turn of the event loop, before anything is answered.
pub const INCOMING_FDS_MAX: usize = 256;

/// What entering a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// It waits now.
    Waiting,
    /// Its id waits already: the peer broke the protocol.
    Duplicate,
    /// The table is full of these; answer `overloaded`, the request is not in it.
    Full(&'static str),
}

/// The table.
#[derive(Debug, Default)]
pub struct Incoming {
    /// Each with how many descriptors came with it.
    waiting: BTreeMap<RequestId, usize>,
    fds: usize,
}

impl Incoming {
    /// Enters a request with which so many descriptors came.
    pub fn enter(&mut self, id: &RequestId, fds: usize) -> Entered {
        if self.waiting.contains_key(id) {
            Entered::Duplicate
        } else if self.waiting.len() >= INCOMING_MAX {
            Entered::Full("requests")
        } else if fds > 0 && self.fds + fds > INCOMING_FDS_MAX {
            Entered::Full("file descriptors of requests")
        } else {
            self.fds += fds;
            self.waiting.insert(id.clone(), fds);
            Entered::Waiting
        }
    }

    /// Takes a request out to answer it; whether it was there.
    pub fn leave(&mut self, id: &RequestId) -> bool {
        let fds = self.waiting.remove(id);
        self.fds -= fds.unwrap_or(0);
        fds.is_some()
    }

    /// Whether a request of that id waits.
    #[must_use]
    pub fn contains(&self, id: &RequestId) -> bool {
        self.waiting.contains_key(id)
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

    #[test]
    fn the_table_is_bounded_and_each_id_is_there_once() {
        let mut incoming = Incoming::default();
        for number in 0..INCOMING_MAX as u64 {
            assert_eq!(incoming.enter(&number.into(), 0), Entered::Waiting);
        }
        assert_eq!(incoming.enter(&7.into(), 0), Entered::Duplicate);
        assert_eq!(incoming.enter(&99_999.into(), 0), Entered::Full("requests"));
        assert!(incoming.leave(&7.into()) && !incoming.leave(&7.into()));
        assert_eq!(incoming.enter(&99_999.into(), 0), Entered::Waiting);
    }

    #[test]
    fn descriptors_are_held_for_so_many_requests_only() {
        let mut incoming = Incoming::default();
        for number in 0..INCOMING_FDS_MAX as u64 / 16 {
            assert_eq!(incoming.enter(&number.into(), 16), Entered::Waiting);
        }
        assert!(matches!(incoming.enter(&100.into(), 1), Entered::Full(_)));
        assert_eq!(incoming.enter(&100.into(), 0), Entered::Waiting, "one without is no matter");
        assert!(incoming.leave(&100.into()) && incoming.leave(&0.into()));
        assert_eq!(incoming.enter(&0.into(), 16), Entered::Waiting);
        assert!(matches!(incoming.enter(&100.into(), 1), Entered::Full(_)));
    }
}
