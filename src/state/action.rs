//! What the state machines want done, and what they want recorded.

use super::call::CallEnd;
use super::keys::{CallKey, PluginKey, WaitKey};
use super::plugin_config::PluginConfig;
use super::session::Asked;
use rpc_plugin_wire::admin::PluginStatus;
use rpc_plugin_wire::event::{EventKind, Level};
use rpc_plugin_wire::stream::StreamFrame;
use rpc_plugin_wire::{CallError, Generation, PluginId, RequestId};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// How a process group is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGTERM: it may still clean up.
    Term,
    /// SIGKILL: it may not.
    Kill,
}

/// An effect that the event loop has to carry out, in this order.
#[derive(Debug)]
pub enum Action {
    /// Persist the generation, write its token, listen on its socket, open and check the executable. Its launch is
    /// made from this configuration, whatever comes after. Answered with `handle_prepared`.
    Prepare(PluginKey, Generation, Arc<PluginConfig>),
    /// Launch what was prepared. Answered with `handle_spawned`.
    Spawn(PluginKey, Generation),
    /// Let what was prepared be connected to by whoever comes, and tell how.
    Await(PluginKey, Generation),
    /// Drop what was prepared, or what is left of it: token, listener, socket, executable.
    Discard(PluginKey, Generation),
    /// The proof is complete: nobody else may connect, and the token has served.
    Trusted(PluginKey, Generation),
    /// Close the connection, after one try to write these last bytes.
    CloseLink(PluginKey, Generation, Vec<u8>),
    /// Send a signal to the process group.
    Signal(PluginKey, Generation, StopSignal),
    /// A call was sent or ended, and that is to be put on record; before its `Complete`.
    Called(Box<CallRecord>),
    /// A call goes on, and its caller wants to hear of it.
    Progress(CallKey, Box<RawValue>),
    /// A call ended.
    Complete(CallKey, CallEnd),
    /// The plugin asks for something that is not its machine's to answer; see [`Asked`].
    Asked(PluginKey, Generation, Box<Asked>),
    /// These streams in band came, and nobody will take them: end them.
    RefuseStreams(PluginKey, Generation, Vec<u64>),
    /// A frame of a stream in band came.
    Stream(PluginKey, Generation, StreamFrame),
    /// The plugin does not wait any more for the answer to what it asked.
    Abandoned(PluginKey, Generation, RequestId),
    /// A wait ended: the plugin is where it was waited for, or the reason why not.
    Waited(WaitKey, Result<Box<PluginStatus>, CallError>),
    /// Something happened.
    Note(Box<Note>),
}

/// A step of a call, for the record.
#[derive(Debug)]
pub struct CallRecord {
    /// Sent, or how it ended: [`EventKind::CallStarted`], [`EventKind::CallSucceeded`],
    /// [`EventKind::CallFailed`], [`EventKind::CallTimedOut`].
    pub kind: EventKind,
    /// Of which plugin.
    pub plugin_id: PluginId,
    /// Of which generation, if there is one.
    pub generation: Option<Generation>,
    /// Of which process, if there is one.
    pub pid: Option<u32>,
    /// What was called.
    pub method: Cow<'static, str>,
    /// The id of the request, if it was sent.
    pub request: Option<u64>,
    /// Of the params when it is sent, of the result when it is answered.
    pub bytes: u64,
    /// From the outbox to the end.
    pub took: Duration,
    /// Why it failed.
    pub error: Option<CallError>,
}

/// Something that happened, for the record and for subscribers.
#[derive(Debug, Clone)]
pub struct Note {
    /// What.
    pub kind: EventKind,
    /// How much it matters, where that differs from the kind's own level.
    pub level: Option<Level>,
    /// To which plugin.
    pub plugin_id: Option<PluginId>,
    /// To which generation.
    pub generation: Option<Generation>,
    /// To which process.
    pub pid: Option<u32>,
    /// What somebody asked for, of which this is a part.
    pub operation_id: Option<String>,
    /// In which call.
    pub method: Option<String>,
    /// In one sentence.
    pub message: String,
    /// What failed.
    pub error: Option<String>,
    /// Why it was done.
    pub reason: Option<String>,
    /// What else a program may want to know.
    pub details: Option<serde_json::Value>,
}

impl Note {
    /// A note that concerns no plugin.
    #[must_use]
    pub fn new(kind: EventKind, message: impl Into<String>) -> Note {
        Note {
            kind,
            level: None,
            plugin_id: None,
            generation: None,
            pid: None,
            operation_id: None,
            method: None,
            message: message.into(),
            error: None,
            reason: None,
            details: None,
        }
    }

    /// The same with what failed.
    #[must_use]
    pub fn error(mut self, error: impl Into<String>) -> Note {
        self.error = Some(error.into());
        self
    }

    /// The same with why it was done.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<String>) -> Note {
        self.reason = Some(reason.into());
        self
    }

    /// The same with the method it is about.
    #[must_use]
    pub fn method(mut self, method: impl Into<String>) -> Note {
        self.method = Some(method.into());
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
