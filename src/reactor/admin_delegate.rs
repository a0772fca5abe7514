//! Admin requests that another thread serves: how they leave the loop, and how their answers come back.
//!
//! What always holds: the loop never waits for that thread; each request is answered once, also where its reply is dropped.

use super::admin_connection::{AdminAnswer, AdminTicket};
use super::loop_commands::{AdminCommand, LoopCommand};
use crate::engine::CommandSender;
use crate::state::fds::Fds;
use crossbeam_channel::{Sender, TrySendError};
use rpc_plugin_wire::{ErrorCode, ErrorObject, PluginId};
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// An admin request for another thread.
pub(crate) struct DelegatedRequest {
    pub(crate) method: String,
    pub(crate) params: Option<Box<RawValue>>,
    /// Descriptors that came with it.
    pub(crate) fds: Fds,
    /// The user that asks.
    pub(crate) peer_uid: u32,
    /// The process that asks.
    pub(crate) peer_pid: u32,
    /// The request, in the record.
    pub(crate) operation_id: String,
    pub(crate) reply: DelegatedReply,
}

/// Plugins whose restart by an operator is served by the thread that has packages: it takes what has changed before.
#[derive(Debug, Default)]
pub(crate) struct ClaimedRestarts(Mutex<BTreeSet<PluginId>>);

impl ClaimedRestarts {
    /// Claims these, and no others.
    pub(crate) fn claim(&self, ids: BTreeSet<PluginId>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ids;
    }

    /// Whether it is one of them. The lock is held for no longer than it takes to look.
    pub(crate) fn has(&self, id: &PluginId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }
}

/// The way back to the client of a [`DelegatedRequest`]. Dropping it answers with `internal_error`.
pub(crate) struct DelegatedReply {
    /// `None` once it is answered.
    ticket: Option<AdminTicket>,
    commands: CommandSender<LoopCommand>,
}

impl DelegatedReply {
    pub(super) fn new(ticket: AdminTicket, commands: CommandSender<LoopCommand>) -> DelegatedReply {
        DelegatedReply { ticket: Some(ticket), commands }
    }

    /// Answers the client.
    pub(crate) fn answer(mut self, answer: AdminAnswer) {
        self.send(answer);
    }

    /// Tells the client how far it is. A loop that is busy drops it.
    pub(crate) fn progress(&self, value: Box<RawValue>) {
        if let Some(ticket) = &self.ticket {
            let progress = AdminCommand::Progress(ticket.clone(), value);
            let _ = self.commands.post(LoopCommand::Admin(progress));
        }
    }

    fn send(&mut self, answer: AdminAnswer) {
        if let Some(ticket) = self.ticket.take() {
            // A client has at most 256 requests that are unanswered, so that these are bounded.
            self.commands.deliver(LoopCommand::Admin(AdminCommand::Answer(ticket, Box::new(answer))));
        }
    }
}

impl Drop for DelegatedReply {
    fn drop(&mut self) {
        let text = "who served it has ended, or failed, before it was done; what came of it is on record";
        self.send(Err(ErrorObject::new(ErrorCode::InternalError, text)));
    }
}

/// Hands a request to the thread that serves it.
///
/// # Errors
/// Too many wait (`overloaded`), or the thread has ended (`unavailable`).
pub(super) fn delegate(to: &Sender<DelegatedRequest>, request: DelegatedRequest) -> Result<(), ErrorObject> {
    let (mut request, code, text) = match to.try_send(request) {
        Ok(()) => return Ok(()),
        Err(TrySendError::Full(request)) => {
            let waiting = to.len();
            let text = format!("{waiting} requests wait for the thread that serves {}", request.method);
            (request, ErrorCode::Overloaded, text)
        }
        Err(TrySendError::Disconnected(request)) => {
            let text = format!("the thread that serves {} has ended", request.method);
            (request, ErrorCode::Unavailable, text)
        }
    };
    // Its caller answers it.
    request.reply.ticket = None;
    Err(ErrorObject::new(code, text))
}
