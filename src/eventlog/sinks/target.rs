//! The other side of a sink, as its thread sees it.
//!
//! What it deliberately does not do: know which kinds there are.

use rpc_plugin_wire::event::Record;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// One event on its way to a sink.
#[derive(Debug, Clone)]
pub struct Event {
    /// The line as it is on record, without its end; of a gap, a line without `seq`.
    pub text: String,
    /// What it says.
    pub record: Record,
}

/// Why not all events were taken.
#[derive(Debug)]
pub struct SinkFault {
    /// How many were, from the first on.
    pub taken: usize,
    /// Of all that were handed over, the newest that the other side has not read, and never will.
    pub unread: usize,
    /// The one after them can never be taken, such as one that is too long; the others can.
    pub is_refused: bool,
    /// What failed, and where.
    pub error: String,
}

impl SinkFault {
    /// The other side cannot be reached, or takes nothing.
    #[must_use]
    pub fn down(taken: usize, error: impl Into<String>) -> SinkFault {
        SinkFault { taken, unread: 0, is_refused: false, error: error.into() }
    }
}

/// The other side of a sink. Only its own thread calls it.
pub trait EventTarget: Send {
    /// Hands events over, in their order. May block for `timeout` without any progress.
    ///
    /// # Errors
    /// Not all were taken. After an error that is no refusal the next call begins anew: it connects again.
    fn deliver(&mut self, events: &[Event], timeout: Duration) -> Result<(), SinkFault>;

    /// How many of the events that were handed over, the newest ones, the other side has not read yet.
    ///
    /// # Errors
    /// It is gone, and will not read them.
    fn unread(&mut self) -> Result<usize, SinkFault> {
        Ok(0)
    }

    /// Descriptors at which something may happen while there is nothing to hand over.
    fn watched(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }

    /// Looks after them.
    ///
    /// # Errors
    /// The other side is gone.
    fn tend(&mut self) -> Result<(), SinkFault> {
        Ok(())
    }

    /// The end: lets the other side read what it was given, until `deadline`, and closes. How many events it
    /// has not read.
    fn finish(&mut self, deadline: Instant) -> usize {
        let _ = deadline;
        0
    }
}
