//! What happens in a host, handed to an embedding program as it happens: events, and lines that plugins print.

use crate::reactor::LifecycleEvent;
use crate::state::output::{LineTaker, Output, PrintedLine};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::Arc;
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

    /// The end of the channel that they come by, to wait for several.
    #[cfg(all(feature = "daemon", feature = "package"))]
    pub(crate) fn receiver(&self) -> &Receiver<T> {
        &self.receiver
    }

    /// The next value that is there already.
    #[must_use]
    pub fn try_next(&self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}

impl OutputLines {
    /// Makes a place for a plugin's lines, for [`PluginConfig::output`](super::PluginConfig::output), and the lines as
    /// they come. At most `queue_max` lines wait; further ones are lost and counted.
    #[must_use]
    pub fn channel(queue_max: usize) -> (Output, OutputLines) {
        let (sender, receiver) = bounded(queue_max.max(1));
        (Output::Lines(Arc::new(LineSender(sender))), OutputLines::new(receiver))
    }
}

/// The end of a channel that takes printed lines.
#[derive(Debug)]
struct LineSender(Sender<PrintedLine>);

impl LineTaker for LineSender {
    fn take(&self, line: PrintedLine) -> bool {
        // Full, or nobody reads any more.
        self.0.try_send(line).is_ok()
    }
}

/// Waits for each value; ends with what hands them over.
impl<T> Iterator for Subscription<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}
