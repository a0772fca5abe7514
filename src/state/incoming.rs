//! Requests of the peer that wait for an answer of ours.
//!
//! What always holds: an id is in the table at most once; a request is answered at most once; the
//! table is bounded.

use rpc_plugin_wire::RequestId;
use std::collections::BTreeSet;

/// Requests of one peer that may wait at once; a further one is answered `overloaded`.
pub const INCOMING_MAX: usize = 1024;

/// What entering a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// It waits now.
    Waiting,
    /// Its id waits already: the peer broke the protocol.
    Duplicate,
    /// The table is full; answer `overloaded`, the request is not in it.
    Full,
}

/// The table.
#[derive(Debug, Default)]
pub struct Incoming {
    waiting: BTreeSet<RequestId>,
}

impl Incoming {
    /// Enters a request.
    pub fn enter(&mut self, id: &RequestId) -> Entered {
        if self.waiting.contains(id) {
            Entered::Duplicate
        } else if self.waiting.len() >= INCOMING_MAX {
            Entered::Full
        } else {
            self.waiting.insert(id.clone());
            Entered::Waiting
        }
    }

    /// Takes a request out to answer it; whether it was there.
    pub fn leave(&mut self, id: &RequestId) -> bool {
        self.waiting.remove(id)
    }

    /// Whether a request of that id waits.
    #[must_use]
    pub fn contains(&self, id: &RequestId) -> bool {
        self.waiting.contains(id)
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
            assert_eq!(incoming.enter(&number.into()), Entered::Waiting);
        }
        assert_eq!(incoming.enter(&7.into()), Entered::Duplicate);
        assert_eq!(incoming.enter(&99_999.into()), Entered::Full);
        assert!(incoming.leave(&7.into()) && !incoming.leave(&7.into()));
        assert_eq!(incoming.enter(&99_999.into()), Entered::Waiting);
    }
}
