//! Lines that plugins print, for an embedding program that takes them itself.

use crate::reactor::PrintedLine;
use crossbeam_channel::Receiver;
use std::time::Duration;

/// What a plugin prints, line by line, over all its generations. Ends when the plugin is given up, or its host
/// ends. Lines that nobody takes in time are lost, and counted in the one that follows.
#[derive(Debug)]
pub struct OutputLines {
    receiver: Receiver<PrintedLine>,
}

impl OutputLines {
    pub(super) fn new(receiver: Receiver<PrintedLine>) -> OutputLines {
        OutputLines { receiver }
    }

    /// The next line, waiting for it at most `timeout`. `None`: none came, or none will come any more.
    #[must_use]
    pub fn next_within(&self, timeout: Duration) -> Option<PrintedLine> {
        self.receiver.recv_timeout(timeout).ok()
    }

    /// The next line that is there already.
    #[must_use]
    pub fn try_next(&self) -> Option<PrintedLine> {
        self.receiver.try_recv().ok()
    }
}

/// Waits for each line.
impl Iterator for OutputLines {
    type Item = PrintedLine;

    fn next(&mut self) -> Option<PrintedLine> {
        self.receiver.recv().ok()
    }
}
