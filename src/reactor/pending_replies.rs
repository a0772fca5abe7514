//! Pending replies: who is told when a call or a wait ends.
//!
//! What always holds: each is told once, or has gone before.

use super::admin_connection::{AdminAnswer, AdminTicket};
use super::drain::{Drain, refused};
use super::slab::Slab;
use crate::engine::{Driver, ReplySender, Woken};
use crate::state::call::{CallEnd, CallRequest};
use crate::state::closing::Closer;
use crate::state::keys::{CallKey, PluginKey, WaitKey};
use crate::state::supervisor::Supervisor;
use crate::state::time::Time;
use crossbeam_channel::Sender;
use rpc_plugin_peer::Party;
use rpc_plugin_wire::admin::PluginStatus;
use rpc_plugin_wire::{CallError, CancelCause, Generation, PluginId, RequestId};
use serde_json::value::RawValue;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Name of one request of one generation of a plugin.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) key: PluginKey,
    pub(crate) generation: Generation,
    pub(crate) id: RequestId,
}

/// End of a wait for a plugin.
pub(crate) type WaitEnd = Result<Box<PluginStatus>, CallError>;

/// Function that makes an answer of an end.
type AnswerOf<T> = Box<dyn FnOnce(T) -> AdminAnswer + Send>;

/// A reply that is to be written to a connection. A thread has been told already.
pub(super) enum ReplyTo<A, P> {
    /// To an admin connection.
    Admin(AdminTicket, A),
    /// To a plugin.
    Plugin(Asker, P),
}

/// Who is told of the end of a call.
enum CallWaiter {
    Thread(ReplySender),
    Admin(AdminTicket, AnswerOf<Box<CallEnd>>),
    Plugin(Asker),
}

/// A call that has not ended.
struct PendingReply {
    /// The plugin that it went to, for who cancels it.
    at: Option<PluginKey>,
    waiter: CallWaiter,
}

/// Who is told of the end of a wait.
enum WaitWaiter {
    Thread(Sender<WaitEnd>),
    Admin(AdminTicket, AnswerOf<WaitEnd>),
}

/// The calls and waits that have not ended, and who is told of their ends.
pub(super) struct PendingReplies {
    calls: Slab<PendingReply>,
    pub(super) drain: Drain,
    waits: Slab<WaitWaiter>,
    driver: Arc<Driver>,
    /// Callers that were woken in this turn.
    woken: Woken,
    /// What closes descriptors that the embedding program sends along.
    closer: Arc<dyn Closer<OwnedFd>>,
}

impl PendingReplies {
    /// `driver` counts the threads that sleep until they are told.
    pub(super) fn new(driver: Arc<Driver>, closer: Arc<dyn Closer<OwnedFd>>) -> PendingReplies {
        let (calls, waits) = (Slab::default(), Slab::default());
        let (drain, woken) = (Drain::default(), Woken::default());
        PendingReplies { calls, drain, waits, driver, woken, closer }
    }

    /// A turn begins: nobody was woken in it.
    pub(super) fn begin_turn(&mut self) {
        self.woken.callers = 0;
    }

    /// Callers that were woken in this turn.
    pub(super) fn woken(&self) -> Woken {
        self.woken
    }

    fn count_woken(&mut self, is_woken: bool) {
        if is_woken {
            self.woken.still_parked = self.driver.unparked();
            self.woken.callers += 1;
        }
    }

    /// Enters a call of a thread. `None`: it was cancelled on its way here, and does not begin.
    pub(super) fn add_call(&mut self, reply: ReplySender) -> Option<CallKey> {
        if reply.is_cancelled() {
            return None;
        }
        Some(CallKey(self.calls.insert_with(|key| {
            reply.begun(CallKey(key));
            PendingReply { at: None, waiter: CallWaiter::Thread(reply) }
        })))
    }

    /// Enters a call of an admin connection.
    pub(super) fn add_call_of_admin(&mut self, ticket: AdminTicket, then: AnswerOf<Box<CallEnd>>) -> CallKey {
        CallKey(self.calls.insert(PendingReply { at: None, waiter: CallWaiter::Admin(ticket, then) }))
    }

    /// Enters a call of a plugin.
    pub(super) fn add_call_of_plugin(&mut self, asker: Asker) -> CallKey {
        CallKey(self.calls.insert(PendingReply { at: None, waiter: CallWaiter::Plugin(asker) }))
    }

    /// Makes a call that was entered. Gives the plugin that is called.
    pub(super) fn call(
        &mut self,
        supervisor: &mut Supervisor,
        now: Time,
        key: CallKey,
        request: &mut CallRequest,
    ) -> Option<PluginKey> {
        request.fds.iter_mut().for_each(|fd| fd.closed_by(&self.closer));
        if let Some(left) = request.until.map(|until| until.since(now)) {
            request.timeout = Some(request.timeout.map_or(left, |timeout| timeout.min(left)));
        }
        if self.drain.refuses(&request.chain) {
            supervisor.refuse_call(now, key, request, refused());
            return None;
        }
        let at = supervisor.call(now, key, request);
        if let Some(call) = self.calls.get_mut(key.0) {
            call.at = at;
        }
        at
    }

    /// Tells those who wait for the end of all calls, where none is left.
    pub(super) fn look_whether_done(&mut self, nothing_served: bool) {
        self.drain.look(|| nothing_served && self.calls.keys().is_empty());
    }

    /// Asks for a heartbeat for that party, as a call that was entered.
    pub(super) fn probe(
        &mut self,
        supervisor: &mut Supervisor,
        now: Time,
        key: CallKey,
        id: &PluginId,
        party: Party,
    ) {
        if let Some(call) = self.calls.get_mut(key.0) {
            call.at = supervisor.find(id);
        }
        supervisor.probe(now, key, id, party, None);
    }

    /// The plugin that asked for a call.
    pub(super) fn asker_of(&self, key: CallKey) -> Option<&Asker> {
        match &self.calls.get(key.0)?.waiter {
            CallWaiter::Plugin(asker) => Some(asker),
            _ => None,
        }
    }

    /// Cancels a call whose caller has gone, if it has not ended.
    pub(super) fn cancel(
        &mut self,
        supervisor: &mut Supervisor,
        now: Time,
        key: CallKey,
        cause: Option<&CancelCause>,
    ) {
        if let Some(call) = self.calls.remove(key.0) {
            supervisor.cancel(now, key, call.at, cause);
        }
    }

    /// Tells a thread of the progress of a call, or says which connection to tell.
    pub(super) fn progress(
        &mut self,
        key: CallKey,
        value: Box<RawValue>,
    ) -> Option<ReplyTo<Box<RawValue>, Box<RawValue>>> {
        match &self.calls.get(key.0)?.waiter {
            CallWaiter::Thread(reply) => {
                let is_woken = reply.progress(value);
                self.count_woken(is_woken);
                None
            }
            CallWaiter::Admin(ticket, _) => Some(ReplyTo::Admin(ticket.clone(), value)),
            CallWaiter::Plugin(asker) => Some(ReplyTo::Plugin(asker.clone(), value)),
        }
    }

    /// Tells a thread of the end of a call, or says which connection to tell.
    pub(super) fn end_call(
        &mut self,
        key: CallKey,
        end: Box<CallEnd>,
    ) -> Option<ReplyTo<AdminAnswer, Box<CallEnd>>> {
        match self.calls.remove(key.0)?.waiter {
            CallWaiter::Thread(reply) => {
                let is_woken = reply.send(end);
                self.count_woken(is_woken);
                None
            }
            CallWaiter::Admin(ticket, then) => Some(ReplyTo::Admin(ticket, then(end))),
            CallWaiter::Plugin(asker) => Some(ReplyTo::Plugin(asker, end)),
        }
    }

    /// Enters a wait of a thread.
    pub(super) fn add_wait(&mut self, sender: Sender<WaitEnd>) -> WaitKey {
        WaitKey(self.waits.insert(WaitWaiter::Thread(sender)))
    }

    /// Enters a wait of an admin connection.
    pub(super) fn add_wait_of_admin(&mut self, ticket: AdminTicket, then: AnswerOf<WaitEnd>) -> WaitKey {
        WaitKey(self.waits.insert(WaitWaiter::Admin(ticket, then)))
    }

    /// Tells a thread of the end of a wait, or says what to tell an admin connection.
    pub(super) fn end_wait(&mut self, key: WaitKey, end: WaitEnd) -> Option<(AdminTicket, AdminAnswer)> {
        match self.waits.remove(key.0)? {
            WaitWaiter::Thread(sender) => {
                // Who does not wait any more needs no answer.
                let _ = sender.try_send(end);
                None
            }
            WaitWaiter::Admin(ticket, then) => Some((ticket, then(end))),
        }
    }

    /// Cancels the call or wait of one request of an admin connection; whether there was one.
    pub(super) fn cancel_of(
        &mut self,
        supervisor: &mut Supervisor,
        now: Time,
        of: &AdminTicket,
        cause: Option<&CancelCause>,
    ) -> bool {
        let is_of = |ticket: &AdminTicket| (ticket.client, &ticket.id) == (of.client, &of.id);
        self.cancel_where(supervisor, now, cause, is_of)
    }

    /// Cancels all of an admin connection that has gone.
    pub(super) fn cancel_all_of(&mut self, supervisor: &mut Supervisor, now: Time, client: u64) {
        let gone = Some(&CancelCause::CALLER_GONE);
        self.cancel_where(supervisor, now, gone, |ticket| ticket.client == client);
    }

    /// Cancels the calls and waits of admin connections that `is_of` names; whether there were any.
    fn cancel_where(
        &mut self,
        supervisor: &mut Supervisor,
        now: Time,
        cause: Option<&CancelCause>,
        is_of: impl Fn(&AdminTicket) -> bool,
    ) -> bool {
        let mut any = false;
        for key in self.calls.keys() {
            if let Some(PendingReply { waiter: CallWaiter::Admin(ticket, _), .. }) = self.calls.get(key)
                && is_of(ticket)
            {
                self.cancel(supervisor, now, CallKey(key), cause);
                any = true;
            }
        }
        for key in self.waits.keys() {
            if let Some(WaitWaiter::Admin(ticket, _)) = self.waits.get(key)
                && is_of(ticket)
            {
                self.waits.remove(key);
                supervisor.forget_wait(WaitKey(key));
                any = true;
            }
        }
        any
    }
}
