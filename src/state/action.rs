//! What the state machines want done.

use super::call::CallEnd;
use super::keys::{CallKey, PluginKey, WaitKey};
pub use super::note::{CallRecord, Note};
use super::plugin_config::PluginConfig;
use super::session::Asked;
use rpc_plugin_wire::admin::PluginStatus;
use rpc_plugin_wire::stream::StreamFrame;
use rpc_plugin_wire::{CallError, CancelCause, Generation, RequestId};
use serde_json::value::RawValue;
use std::sync::Arc;

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
    Complete(CallKey, Box<CallEnd>),
    /// The plugin asks for something that is not its machine's to answer; see [`Asked`].
    Asked(PluginKey, Generation, Box<Asked>),
    /// These streams in band came, and nobody will take them: end them.
    RefuseStreams(PluginKey, Generation, Vec<u64>),
    /// A frame of a stream in band came.
    Stream(PluginKey, Generation, StreamFrame),
    /// The plugin does not wait any more for the answer to what it asked.
    Abandoned(PluginKey, Generation, RequestId, Option<CancelCause>),
    /// Look whether the process of a generation still runs, before a wait for it ends: it may have ended unseen. Answered
    /// with `handle_confirmed` if it runs; its end is told in any case.
    Confirm(PluginKey, Generation),
    /// Take the fingerprint of the files that this launch was made from. Answered with `handle_looked`.
    LookAt(PluginKey, Generation),
    /// See who uses this generation's process. Answered with `handle_use`.
    LookAtUse(PluginKey, Generation),
    /// A wait ended: the plugin is where it was waited for, or the reason why not.
    Waited(WaitKey, Result<Box<PluginStatus>, CallError>),
    /// Something happened.
    Note(Box<Note>),
}
