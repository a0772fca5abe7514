//! How long a thread of the embedding program waits at the most.

use rpc_plugin_peer::running_time;
use std::time::{Duration, Instant};

/// The end of one thread's wait, with the clock that it goes by.
#[derive(Debug)]
pub(super) struct ThreadWait {
    begun: Instant,
    limit: running_time::WaitLimit,
}

impl ThreadWait {
    /// A wait that begins now.
    pub(super) fn new(timeout: Duration) -> ThreadWait {
        ThreadWait { begun: Instant::now(), limit: running_time::WaitLimit::new(timeout) }
    }

    /// How long the thread may sleep before it asks again; zero once the wait is over.
    pub(super) fn left(&mut self) -> Duration {
        self.limit.left(self.begun.elapsed())
    }
}
