//! What the state machines put on the record: notes of what happened, and calls.

use rpc_plugin_peer::Party;
use rpc_plugin_wire::cut::cut;
use rpc_plugin_wire::event::{EventKind, Level};
use rpc_plugin_wire::{CallError, Generation, PluginId};
use std::borrow::Cow;
use std::time::Duration;

/// Bytes of each text of a note. More than a report of several printed lines has.
const TEXT_BYTES_MAX: usize = 48 * 1024;

/// A text within [`TEXT_BYTES_MAX`].
fn bounded(text: impl Into<String>) -> String {
    let mut text = text.into();
    cut(&mut text, TEXT_BYTES_MAX);
    text
}

/// A step of a call, for the record.
#[derive(Debug)]
pub struct CallRecord {
    /// Sent, or how it ended: [`EventKind::CallStarted`], [`EventKind::CallSucceeded`],
    /// [`EventKind::CallFailed`], [`EventKind::CallTimedOut`].
    pub kind: EventKind,
    /// Party that called.
    pub caller: Party,
    /// Failing calls of that party before this one that this plugin's record leaves out.
    pub left_out: u64,
    /// Plugin that was called.
    pub plugin_id: PluginId,
    /// Its generation; `None` where it has none.
    pub generation: Option<Generation>,
    /// Process id of that generation; `None` where no process runs.
    pub pid: Option<u32>,
    /// Method that was called.
    pub method: Cow<'static, str>,
    /// Id of the request; `None` where it was not sent.
    pub request: Option<u64>,
    /// Size of the params when it is sent, of the result when it is answered. Bytes.
    pub bytes: u64,
    /// Time from the send queue to the end.
    pub took: Duration,
    /// Error that it failed with.
    pub error: Option<CallError>,
}

/// Something that happened, for the record and for subscribers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Note {
    /// Kind of event.
    pub kind: EventKind,
    /// Level, where that differs from the kind's own.
    pub level: Option<Level>,
    /// Party that caused it, where that is not the plugin that it concerns.
    pub by: Option<Party>,
    /// Plugin that it concerns.
    pub plugin_id: Option<PluginId>,
    /// Generation that it concerns.
    pub generation: Option<Generation>,
    /// Process that it concerns, by its id.
    pub pid: Option<u32>,
    /// Operation of an operator that it is a part of.
    pub operation_id: Option<String>,
    /// Method of the call that it concerns.
    pub method: Option<String>,
    /// One sentence for a person.
    pub message: String,
    /// Error that is its cause.
    pub error: Option<String>,
    /// Reason for which it was done.
    pub reason: Option<String>,
    /// Further members for programs that read the record.
    pub details: Option<serde_json::Value>,
}

impl Note {
    /// A note that concerns no plugin. Its texts are cut at 48 KiB each.
    #[must_use]
    pub fn new(kind: EventKind, message: impl Into<String>) -> Note {
        Note {
            kind,
            level: None,
            by: None,
            plugin_id: None,
            generation: None,
            pid: None,
            operation_id: None,
            method: None,
            message: bounded(message),
            error: None,
            reason: None,
            details: None,
        }
    }

    /// The same, caused by that party.
    #[must_use]
    pub fn by(mut self, party: Party) -> Note {
        self.by = Some(party);
        self
    }

    /// The same with what failed.
    #[must_use]
    pub fn error(mut self, error: impl Into<String>) -> Note {
        self.error = Some(bounded(error));
        self
    }

    /// The same with why it was done.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<String>) -> Note {
        self.reason = Some(bounded(reason));
        self
    }

    /// The same with the method it is about.
    #[must_use]
    pub fn method(mut self, method: impl Into<String>) -> Note {
        self.method = Some(bounded(method));
        self
    }

    /// The same with details.
    #[must_use]
    pub fn details(mut self, details: serde_json::Value) -> Note {
        self.details = Some(details);
        self
    }

    /// The same at another level.
    #[must_use]
    pub fn level(mut self, level: Level) -> Note {
        self.level = Some(level);
        self
    }
}
