//! What goes into a session and what comes out of it.

use crate::state::call::CallEnd;
use crate::state::fds::Fds;
use crate::state::keys::{CallKey, Caller, PluginKey};
use crate::state::time::Time;
use rpc_plugin_peer::Party;
use rpc_plugin_wire::stream::StreamFrame;
use rpc_plugin_wire::{CancelCause, Chain, Generation, PluginId, RequestId, Token};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What the peer has to prove, and what it is told.
#[derive(Debug)]
pub struct Expectation {
    /// The plugin in its supervisor, for timers.
    pub plugin: PluginKey,
    /// The id it was launched as.
    pub plugin_id: PluginId,
    /// The generation it was launched as.
    pub generation: Generation,
    /// The one-time token of this generation.
    pub token: Token,
    /// Interfaces that the host requires, with the versions it accepts.
    pub interfaces: BTreeMap<String, Vec<u32>>,
    /// Whether the connection passes file descriptors.
    pub passes_fds: bool,
}

/// What an authenticated plugin said about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduction {
    /// Its own version.
    pub version: String,
    /// Its SDK.
    pub sdk: String,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// The version of each interface that is used.
    pub interfaces: Arc<BTreeMap<String, u32>>,
    /// What both sides have.
    pub features: Vec<String>,
    /// Members of its hello that only inform and are ignored, because they have another type.
    pub ignored: Vec<&'static str>,
}

/// Why a connection cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The proof failed, or something else came first.
    NotAuthenticated(String),
    /// The peer broke the protocol.
    Violation(String),
    /// The peer did not answer this method, neither within the deadline and its own time for a call nor within this grace
    /// after them.
    Poisoned(String, Duration),
    /// The peer closed the connection.
    EndOfStream,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NotAuthenticated(why) => write!(f, "the proof of identity failed: {why}"),
            Fault::Violation(why) => write!(f, "the plugin broke the protocol: {why}"),
            Fault::Poisoned(method, grace) => write!(
                f,
                "the plugin did not answer a call of {method} within its deadline or call_timeout, whichever is longer, nor \
                 within {grace:?} after that, although rpc.cancel told it"
            ),
            Fault::EndOfStream => write!(f, "the plugin closed the connection"),
        }
    }
}

/// What a session tells the plugin's machine.
#[derive(Debug)]
pub enum SessionEvent {
    /// The proof is complete.
    Authenticated(Box<Introduction>),
    /// A request of ours ended.
    Completed {
        /// Who waited.
        caller: Caller,
        /// Party that called, where it is a call.
        party: Party,
        /// The id of the request.
        id: u64,
        /// What was asked.
        method: Cow<'static, str>,
        /// How it ended.
        end: Box<CallEnd>,
    },
    /// These streams in band came, and nobody will take them.
    Unwanted(Vec<u64>),
    /// A frame of a stream in band came.
    Stream(StreamFrame),
    /// A request of ours is under way.
    Progress(CallKey, Box<RawValue>),
    /// The plugin asks something of the host. To be answered with
    /// [`Session::answer`](super::Session::answer).
    Asked(Box<Asked>),
    /// The plugin does not wait for the answer to a request of its own any more.
    Abandoned(RequestId, Option<CancelCause>),
    /// The plugin has something to say by this method, and wants no answer.
    Told(&'static str, Option<Box<RawValue>>),
    /// Descriptors came that this process could not open; or, after that, some that it could.
    LacksFds(bool),
    /// A frame came that is no message: what it was meant to be, and what is wrong with it.
    BadFrame(String, String),
    /// An answer came for a request of that party that had ended; or was given up, as the plugin was told.
    LateAnswer(Cow<'static, str>, Party, bool),
    /// No version of an interface is common to both sides. The fault that follows from it comes next.
    LacksVersion,
    /// The connection cannot go on. The last event.
    Fault(Fault),
}

/// A request of the plugin.
#[derive(Debug)]
pub struct Asked {
    /// Its id.
    pub id: RequestId,
    /// What it asks.
    pub method: String,
    /// An object, or nothing.
    pub params: Option<Box<RawValue>>,
    /// Until when the plugin waits for the answer.
    pub deadline: Option<Time>,
    /// The calls that led to it.
    pub chain: Chain,
    /// Whether the plugin wants to know how far it is.
    pub progress: bool,
    /// What came with it.
    pub fds: Fds,
    /// The streams in band that came with it instead.
    pub streams: Vec<u64>,
}

/// A request whose caller has gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancelled {
    /// The id of the request.
    pub id: u64,
    /// Party that called.
    pub caller: Party,
    /// What was asked.
    pub method: Cow<'static, str>,
    /// Whether a byte of it was written; if not, the plugin never sees it.
    pub was_sent: bool,
    /// From the outbox to now.
    pub took: Duration,
}
