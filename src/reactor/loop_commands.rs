//! Commands of other threads to the event loop.

use super::admin_connection::{AdminAnswer, AdminTicket};
use super::closers::Closers;
use super::drain::{CallCounts, DrainCommand};
use super::instance::LaunchedProcess;
use super::pending_replies::{Asker, WaitEnd};
use super::recorder::{EventFilter, LifecycleEvent};
use super::runtime_folder::LookedAfter;
use crate::engine::{CommandSender, ReplySender, ReplySlot};
use crate::state::action::Note;
use crate::state::call::CallRequest;
use crate::state::fds::Fds;
use crate::state::keys::PluginKey;
use crate::state::launch_failure::LaunchFiles;
use crate::state::plugin::{PrepareFailure, SpawnFailure, Use};
use crate::state::plugin_config::PluginConfig;
use crate::state::supervisor::{ConfigRefusal, Wish};
use crate::state::waits::Goal;
use crate::sys::known_children::KnownChildren;
use crate::sys::launch::PreparedLaunch;
use crossbeam_channel::Sender;
use rpc_plugin_wire::admin::PluginStatus;
use rpc_plugin_wire::{CallError, CancelCause, ErrorObject, Generation, PluginId};
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;

/// A process that was launched, or why there is none.
pub(crate) type LaunchOutcome = Result<Box<LaunchedProcess>, SpawnFailure>;

/// What a thread that works on a launch reports.
pub(crate) enum LaunchReport {
    /// A worker has begun with a preparation that had waited for one.
    Begun,
    /// A worker prepared it, or could not, and found these files.
    Prepared(Arc<PluginConfig>, Option<LaunchFiles>, Result<Box<PreparedLaunch>, PrepareFailure>),
    /// The launcher launched what was prepared, or could not.
    Spawned(LaunchOutcome),
    /// A worker looked at the files of a launch that failed.
    Looked(LaunchFiles),
    /// A worker saw who uses a process, if that could be seen.
    SeenUse(Option<Use>),
}

/// A call that a thread of the embedding program makes.
pub(crate) struct NewCall<'c> {
    /// What is called. It is taken out of here, or read here where its thread drives the loop: nothing is moved then.
    pub(crate) request: &'c mut CallRequest,
    /// Where its end goes.
    pub(crate) reply: ReplySender,
}

impl From<NewCall<'_>> for LoopCommand {
    fn from(call: NewCall<'_>) -> LoopCommand {
        LoopCommand::Call(Box::new(call.request.take()), call.reply)
    }
}

/// Commands of other threads that concern the admin sockets.
pub(crate) enum AdminCommand {
    /// Let clients in that had to wait.
    Open,
    /// Answer a request that another thread served.
    Answer(AdminTicket, Box<AdminAnswer>),
    /// Tell how far such a request is.
    Progress(AdminTicket, Box<RawValue>),
}

/// Requests about plugins. A dropped answer says that the host has ended.
pub(crate) enum PluginCommand {
    /// Take a plugin into care, whose last generation this was.
    Add(Arc<PluginConfig>, Option<Generation>, Sender<Result<(), ConfigRefusal>>),
    /// Replace the configuration of the plugin of the same id; its state then.
    Reconfigure(Arc<PluginConfig>, Sender<Result<Box<PluginStatus>, ConfigRefusal>>),
    /// Give up a plugin that is down.
    Remove(PluginId, Sender<Result<(), CallError>>),
    /// Start, stop or restart a plugin; its state then.
    Wish(PluginId, Wish, Sender<WaitEnd>),
    /// Wait for a plugin, at most so long.
    Wait(PluginId, Goal, Duration, Sender<WaitEnd>),
    /// Tell the state of a plugin, if there is one.
    Status(PluginId, Sender<Option<Box<PluginStatus>>>),
    /// Tell the state of each plugin, ordered by id.
    List(Sender<Vec<PluginStatus>>),
}

/// Requests of other threads to the event loop. Answers go to the sender in the command; a dropped
/// sender means that the host has ended.
pub(crate) enum LoopCommand {
    /// Add, change, remove, ask about or act on plugins.
    Plugin(PluginCommand),
    /// Make a call; this is where its end goes. Boxed, because it is moved several times on its way.
    Call(Box<CallRequest>, ReplySender),
    /// A service answers a plugin: with JSON, or why not, and what travels with it.
    Answered(Asker, Result<Box<RawValue>, ErrorObject>, Fds),
    /// A service tells a plugin how far it is.
    AskerProgress(Asker, Box<RawValue>),
    /// Take no more calls, or tell when none is left.
    Drain(DrainCommand),
    /// Count all calls.
    CountCalls(Sender<CallCounts>),
    /// Cancel the calls of these slots: their callers have gone, for this cause where they say so.
    Cancel(Vec<ReplySlot>, Option<CancelCause>),
    /// Send what happens from when this is answered on, of the kinds that are wanted.
    Subscribe(Sender<LifecycleEvent>, EventFilter, Sender<()>),
    /// Put a note on record.
    Record(Box<Note>),
    /// A launch that is under way elsewhere goes on.
    Launch(PluginKey, Generation, LaunchReport),
    /// Descriptors of streams in band were read or written.
    StreamsMoved,
    /// Descriptors that a plugin passed are closed, of which too many had waited for anything to be read from it.
    Closed(PluginKey),
    /// Look after the runtime folder now.
    LookAfterFolder,
    /// A worker has looked after the runtime folder.
    FolderLooked(Result<Box<LookedAfter>, String>),
    /// What concerns the admin sockets.
    Admin(AdminCommand),
    /// Look after what has changed elsewhere: what answers wait for is on record, or a call of another host ended.
    Look,
    /// Reap and end what plugins left behind: a child of this process that is no plugin may have ended.
    SweepOrphans,
    /// End everything, for this reason. Only the first one counts.
    End(String),
    /// End everything without any patience: SIGKILL at once, also where the end has begun.
    EndNow(String),
}

/// Beyond this, moving a command is a call of memcpy(3), each time.
const _: () = assert!(size_of::<LoopCommand>() <= 128);

/// Closers that tell the event loop.
pub(super) fn closers(children: KnownChildren, commands: CommandSender<LoopCommand>) -> Closers {
    Closers::new(children, move |key| commands.deliver(LoopCommand::Closed(key)))
}
