//! Who is told when a call or a wait ends.
//!
//! What always holds: each is told once, or has gone before.

use super::control::Answer;
use super::slab::Slab;
use crate::engine::ReplySender;
use crate::state::call::CallEnd;
use crate::state::keys::{CallKey, PluginKey, WaitKey};
use crossbeam_channel::Sender;
use rpc_plugin_wire::admin::PluginStatus;
use rpc_plugin_wire::{CallError, Generation, RequestId};
use serde_json::value::RawValue;

/// One request of one control client.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    pub(super) client: u64,
    pub(super) id: RequestId,
}

/// One request of one generation of a plugin.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) key: PluginKey,
    pub(crate) generation: Generation,
    pub(crate) id: RequestId,
}

/// How a wait ends.
pub(crate) type WaitEnd = Result<Box<PluginStatus>, CallError>;

type Then<T> = Box<dyn FnOnce(T) -> Answer + Send>;

/// What became of the end of a call.
pub(super) enum Told {
    /// Nobody waits; the end lies ready where somebody may come for it.
    Nobody,
    /// A thread that slept is woken.
    Woken,
    /// A client is to be answered.
    Client(Ticket, Answer),
    /// A plugin is to be answered.
    Plugin(Asker, CallEnd),
}

/// What became of a value of a call's progress.
pub(super) enum ToldProgress {
    /// Nobody waits; it lies ready.
    Nobody,
    /// A thread that slept is woken.
    Woken,
    /// A client is to be told.
    Client(Ticket, Box<RawValue>),
    /// A plugin is to be told.
    Plugin(Asker, Box<RawValue>),
}

enum CallSink {
    Thread(ReplySender),
    Client(Ticket, Then<CallEnd>),
    Plugin(Asker),
}

struct Call {
    /// Where it is, for who cancels it.
    at: Option<PluginKey>,
    sink: CallSink,
}

enum WaitSink {
    Thread(Sender<WaitEnd>),
    Client(Ticket, Then<WaitEnd>),
}

/// See the module's text.
#[derive(Default)]
pub(super) struct PendingReplies {
    calls: Slab<Call>,
    waits: Slab<WaitSink>,
}

impl PendingReplies {
    pub(super) fn add_call(&mut self, reply: ReplySender) -> CallKey {
        CallKey(self.calls.insert_with(|key| {
            reply.begun(CallKey(key));
            Call { at: None, sink: CallSink::Thread(reply) }
        }))
    }

    pub(super) fn add_call_of(&mut self, ticket: Ticket, then: Then<CallEnd>) -> CallKey {
        CallKey(self.calls.insert(Call { at: None, sink: CallSink::Client(ticket, then) }))
    }

    pub(super) fn add_call_of_plugin(&mut self, asker: Asker) -> CallKey {
        CallKey(self.calls.insert(Call { at: None, sink: CallSink::Plugin(asker) }))
    }

    /// The plugin that asked for a call.
    pub(super) fn asker_of(&self, key: CallKey) -> Option<&Asker> {
        match &self.calls.get(key.0)?.sink {
            CallSink::Plugin(asker) => Some(asker),
            _ => None,
        }
    }

    /// Says to which plugin a call went.
    pub(super) fn place_call(&mut self, key: CallKey, at: Option<PluginKey>) {
        if let Some(call) = self.calls.get_mut(key.0) {
            call.at = at;
        }
    }

    /// Forgets a call whose caller has gone; where it was, if it had not ended.
    pub(super) fn forget_call(&mut self, key: CallKey) -> Option<Option<PluginKey>> {
        self.calls.remove(key.0).map(|call| call.at)
    }

    /// Tells a thread of the progress of a call, or says which client to tell.
    pub(super) fn progress(&mut self, key: CallKey, value: Box<RawValue>) -> ToldProgress {
        match self.calls.get(key.0).map(|call| &call.sink) {
            None => ToldProgress::Nobody,
            Some(CallSink::Thread(reply)) => match reply.progress(value) {
                true => ToldProgress::Woken,
                false => ToldProgress::Nobody,
            },
            Some(CallSink::Client(ticket, _)) => ToldProgress::Client(ticket.clone(), value),
            Some(CallSink::Plugin(asker)) => ToldProgress::Plugin(asker.clone(), value),
        }
    }

    pub(super) fn add_wait(&mut self, sender: Sender<WaitEnd>) -> WaitKey {
        WaitKey(self.waits.insert(WaitSink::Thread(sender)))
    }

    pub(super) fn add_wait_of(&mut self, ticket: Ticket, then: Then<WaitEnd>) -> WaitKey {
        WaitKey(self.waits.insert(WaitSink::Client(ticket, then)))
    }

    /// Tells a thread, or says what to tell a client.
    pub(super) fn end_call(&mut self, key: CallKey, end: CallEnd) -> Told {
        match self.calls.remove(key.0).map(|call| call.sink) {
            None => Told::Nobody,
            Some(CallSink::Thread(reply)) => {
                if reply.send(end) {
                    Told::Woken
                } else {
                    Told::Nobody
                }
            }
            Some(CallSink::Client(ticket, then)) => Told::Client(ticket, then(end)),
            Some(CallSink::Plugin(asker)) => Told::Plugin(asker, end),
        }
    }

    /// Tells a thread, or says what to tell a client.
    pub(super) fn end_wait(&mut self, key: WaitKey, end: WaitEnd) -> Option<(Ticket, Answer)> {
        match self.waits.remove(key.0)? {
            WaitSink::Thread(sender) => {
                // Who does not wait any more needs no answer.
                let _ = sender.try_send(end);
                None
            }
            WaitSink::Client(ticket, then) => Some((ticket, then(end))),
        }
    }

    /// Forgets all of a client that has gone; what is to be cancelled.
    pub(super) fn forget_client(&mut self, client: u64) -> (Vec<(CallKey, Option<PluginKey>)>, Vec<WaitKey>) {
        let mut calls = Vec::new();
        for key in self.calls.keys() {
            if let Some(Call { at, sink: CallSink::Client(ticket, _) }) = self.calls.get(key)
                && ticket.client == client
            {
                calls.push((CallKey(key), *at));
                self.calls.remove(key);
            }
        }
        let mut waits = Vec::new();
        for key in self.waits.keys() {
            if let Some(WaitSink::Client(ticket, _)) = self.waits.get(key)
                && ticket.client == client
            {
                waits.push(WaitKey(key));
                self.waits.remove(key);
            }
        }
        (calls, waits)
    }
}
