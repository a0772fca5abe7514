//! Says the cause of a failed launch once: the events that follow from it have it in their texts again.

use crate::host::{EventKind, LifecycleEvent};

/// The cause that was told last.
#[derive(Debug, Default)]
pub(super) struct ToldCause(String);

impl ToldCause {
    /// Whether this reason or error of an event says nothing but what was told before it, and may be left out.
    pub(super) fn is_told(&mut self, event: &LifecycleEvent, text: &str) -> bool {
        match event.note.kind {
            EventKind::LaunchFailed | EventKind::AuthenticationFailed => {
                text.clone_into(&mut self.0);
                false
            }
            EventKind::GaveUp
            | EventKind::RestartScheduled
            | EventKind::SignalSent
            | EventKind::StateChanged => !self.0.is_empty() && text.contains(&self.0),
            _ => false,
        }
    }
}
