//! What serves admin requests, and what it may look at and do.
//!
//! What it deliberately does not do: read or write a connection.

use super::admin_connection::{AdminAnswer, AdminTicket};
use super::admin_delegate::{DelegatedReply, DelegatedRequest, delegate};
use super::drain::CallCounts;
use super::loop_commands::LoopCommand;
use super::pending_replies::{PendingReplies, WaitEnd};
use super::plugin_requests::PluginRequests;
use super::recorder::CallAsked;
use crate::engine::CommandSender;
use crate::state::action::Note;
use crate::state::call::{CallEnd, CallRequest};
use crate::state::fds::Fds;
use crate::state::supervisor::Supervisor;
use crate::state::time::Time;
use crate::state::waits::Goal;
use crossbeam_channel::Sender;
use rpc_plugin_peer::Party;
use rpc_plugin_wire::admin::SinkStatus;
use rpc_plugin_wire::{ErrorObject, PluginId};
use serde_json::value::RawValue;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Functions that tell how each sink does; set once they run.
pub(crate) type SinkQuestions = Arc<OnceLock<Vec<SinkQuestion>>>;
/// Function that tells how one sink does.
pub(crate) type SinkQuestion = Box<dyn Fn() -> SinkStatus + Send + Sync>;

/// The time at which a method answers.
pub(crate) enum AdminReply {
    /// Now, with this.
    Now(AdminAnswer),
    /// Later, by a call or a wait that was begun, or by another thread.
    Later,
}

/// The methods of the admin interface. Run on the event loop: they must not block.
pub(crate) trait AdminService: Send {
    /// Serves one request.
    fn handle(&mut self, cx: &mut AdminCx<'_>, method: &str, params: Option<&RawValue>) -> AdminReply;
}

/// Facts that a host knows about itself.
#[derive(Clone)]
pub(crate) struct HostFacts<'a> {
    pub(crate) uptime: Duration,
    pub(crate) runtime_dir: &'a Path,
    pub(crate) clients: u32,
    pub(crate) events_dropped: u64,
    /// Why the host is ending, once it is.
    pub(crate) ending: Option<&'a str>,
    /// What it lacks now.
    pub(crate) shortages: Vec<String>,
    pub(crate) sinks: SinkQuestions,
}

/// Everything that an admin method may look at and do.
pub(crate) struct AdminCx<'a> {
    pub(crate) now: Time,
    pub(crate) supervisor: &'a mut Supervisor,
    pub(crate) facts: HostFacts<'a>,
    /// The user that asks.
    pub(crate) peer_uid: u32,
    /// The process that asks.
    pub(crate) peer_pid: u32,
    /// Descriptors that came with the request; closed where its method does not take them out.
    pub(crate) fds: Fds,
    /// Notes to record.
    pub(crate) notes: &'a mut Vec<Note>,
    /// A call to record.
    pub(crate) asked: &'a mut Option<CallAsked>,
    /// Set to end the host.
    pub(crate) end: &'a mut bool,
    pub(super) pending: &'a mut PendingReplies,
    pub(super) requests: &'a PluginRequests,
    pub(super) commands: &'a CommandSender<LoopCommand>,
    pub(super) ticket: AdminTicket,
}

impl AdminCx<'_> {
    /// The request, in the record: the connection's number and the id that its client gave.
    pub(crate) fn operation_id(&self) -> String {
        format!("{}.{}", self.ticket.client, self.ticket.id)
    }

    /// All calls of the host, counted.
    pub(crate) fn call_counts(&self) -> CallCounts {
        self.requests.count_calls(self.supervisor, self.pending)
    }

    /// Makes a call; `then` makes the answer of what comes back.
    pub(crate) fn call(
        &mut self,
        mut request: CallRequest,
        then: impl FnOnce(Box<CallEnd>) -> AdminAnswer + Send + 'static,
    ) -> AdminReply {
        let key = self.pending.add_call_of_admin(self.ticket.clone(), Box::new(then));
        request.caller = Party::Client(self.peer_pid);
        self.pending.call(self.supervisor, self.now, key, &mut request);
        AdminReply::Later
    }

    /// Asks a plugin for a heartbeat; `then` makes the answer of what comes back.
    pub(crate) fn probe(
        &mut self,
        id: &PluginId,
        then: impl FnOnce(Box<CallEnd>) -> AdminAnswer + Send + 'static,
    ) -> AdminReply {
        let key = self.pending.add_call_of_admin(self.ticket.clone(), Box::new(then));
        self.pending.probe(self.supervisor, self.now, key, id, Party::Client(self.peer_pid));
        AdminReply::Later
    }

    /// Waits for a plugin; `then` makes the answer of what comes of it.
    pub(crate) fn wait(
        &mut self,
        id: &PluginId,
        goal: Goal,
        timeout: Duration,
        then: impl FnOnce(WaitEnd) -> AdminAnswer + Send + 'static,
    ) -> AdminReply {
        let key = self.pending.add_wait_of_admin(self.ticket.clone(), Box::new(then));
        let wait = (key, Party::Client(self.peer_pid));
        self.supervisor.wait(self.now, wait, id, goal, timeout);
        AdminReply::Later
    }

    /// Hands the request, with its descriptors, to the thread that serves its method.
    ///
    /// # Errors
    /// Too many wait for that thread, or it has ended.
    pub(crate) fn delegate(
        &mut self,
        to: &Sender<DelegatedRequest>,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<AdminReply, ErrorObject> {
        let request = DelegatedRequest {
            method: method.to_owned(),
            params: params.map(RawValue::to_owned),
            fds: std::mem::take(&mut self.fds),
            peer_uid: self.peer_uid,
            peer_pid: self.peer_pid,
            operation_id: self.operation_id(),
            reply: DelegatedReply::new(self.ticket.clone(), self.commands.clone()),
        };
        delegate(to, request).map(|()| AdminReply::Later)
    }
}
