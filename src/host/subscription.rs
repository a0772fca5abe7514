//! What happens in a host, handed to an embedding program as it happens: events, and lines that plugins print.

use crate::reactor::{LifecycleEvent, PrintedLine};
use crossbeam_channel::Receiver;
use std::time::Duration;

/// Values that a host hands over one by one, until nothing more will come.
#[derive(Debug)]
pub struct Subscription<T> {
    receiver: Receiver<T>,
}

/// Events as they happen. Ends when the host ends.
pub type EventStream = Subscription<LifecycleEvent>;

/// What a plugin prints, line by line, over all its generations. Ends when the plugin is given up, or its host
/// ends. Lines that are not taken in time are lost, and counted in the one that follows.
pub type OutputLines = Subscription<PrintedLine>;

impl<T> Subscription<T> {
    pub(super) fn new(receiver: Receiver<T>) -> Subscription<T> {
        Subscription { receiver }
    }

    /// The next value, waiting for it at most `timeout`. `None`: none came, or none will come any more.
    #[must_use]
    pub fn next_within(&self, timeout: Duration) -> Option<T> {
        self.receiver.recv_timeout(timeout).ok()
    }

    /// The next value that is there already.
    #[must_use]
    pub fn try_next(&self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}

/// Waits for each value; ends with what hands them over.
impl<T> Iterator for Subscription<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}
