//! Where what a plugin prints goes: on record, to the host's own streams, or to the embedding program.

use super::OutputStream;
use rpc_plugin_wire::{Generation, PluginId};
use std::fmt;
use std::sync::Arc;

/// A line that a plugin printed, for a program that takes them itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrintedLine {
    /// Which plugin.
    pub plugin_id: PluginId,
    /// Which generation of it.
    pub generation: Generation,
    /// Where it printed it.
    pub stream: OutputStream,
    /// The line without its end. At most 16 KiB, or a piece of that length with a marker; invalid UTF-8 is
    /// replaced. Control characters are as they came.
    pub text: String,
    /// Lines of this stream before this one that were lost because nobody took them.
    pub missed: u64,
}

/// Takes the lines that a plugin prints, on the thread of the event loop.
pub trait LineTaker: fmt::Debug + Send + Sync {
    /// Takes a line, without waiting; whether it did. One that is not taken is lost and counted.
    fn take(&self, line: PrintedLine) -> bool;
}

/// Where what a plugin prints goes.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Output {
    /// On record, as events.
    #[default]
    Record,
    /// To where the host's own standard output and standard error go, such as a terminal. Nothing of it is on record,
    /// nor part of the reason of an exit.
    Inherit,
    /// To the embedding program, line by line. The last lines of standard error stay part of the record of an exit.
    Lines(Arc<dyn LineTaker>),
}

/// Equal where it is the same choice, and the same taker.
impl PartialEq for Output {
    fn eq(&self, other: &Output) -> bool {
        match (self, other) {
            (Output::Lines(one), Output::Lines(other)) => Arc::ptr_eq(one, other),
            (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
        }
    }
}

impl Eq for Output {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Nobody;

    impl LineTaker for Nobody {
        fn take(&self, _line: PrintedLine) -> bool {
            false
        }
    }

    #[test]
    fn outputs_are_equal_that_hand_lines_to_the_same_taker() {
        let lines = || Output::Lines(Arc::new(Nobody));
        let taken = lines();
        assert_eq!(taken, taken.clone());
        assert_ne!(taken, lines());
        assert_ne!(taken, Output::Record);
        assert_ne!(Output::Inherit, Output::Record);
        assert_eq!(Output::Inherit, Output::Inherit);
    }
}
