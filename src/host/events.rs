//! Lifecycle events for an embedding program.

use crate::reactor::LifecycleEvent;
use crossbeam_channel::Receiver;
use std::time::Duration;

/// Events as they happen. Ends when the host ends.
#[derive(Debug)]
pub struct EventStream {
    receiver: Receiver<LifecycleEvent>,
}

impl EventStream {
    pub(super) fn new(receiver: Receiver<LifecycleEvent>) -> EventStream {
        EventStream { receiver }
    }

    /// The next event, waiting for it at most `timeout`. `None`: none came, or the host has ended.
    #[must_use]
    pub fn next_within(&self, timeout: Duration) -> Option<LifecycleEvent> {
        self.receiver.recv_timeout(timeout).ok()
    }

    /// The next event that is there already.
    #[must_use]
    pub fn try_next(&self) -> Option<LifecycleEvent> {
        self.receiver.try_recv().ok()
    }
}

/// Waits for each event; ends with the host.
impl Iterator for EventStream {
    type Item = LifecycleEvent;

    fn next(&mut self) -> Option<LifecycleEvent> {
        self.receiver.recv().ok()
    }
}
