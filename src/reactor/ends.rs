//! Who is told when a call or a wait ends.
//!
//! What always holds: each is told once, or has gone before.

use super::control::Answer;
use super::slab::Slab;
use super::slot::Fill;
use crate::state::action::CallEnd;
use crate::state::call_error::CallError;
use crate::state::keys::{CallKey, WaitKey};
use crossbeam_channel::Sender;
use rpc_plugin_wire::admin::PluginStatus;
use rpc_plugin_wire::{PluginId, RequestId};

/// One request of one control client.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    pub(super) client: u64,
    pub(super) id: RequestId,
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
}

enum CallSink {
    Thread(Fill),
    Client(Ticket, PluginId, Then<CallEnd>),
}

enum WaitSink {
    Thread(Sender<WaitEnd>),
    Client(Ticket, Then<WaitEnd>),
}

/// See the module's text.
#[derive(Default)]
pub(super) struct Ends {
    calls: Slab<CallSink>,
    waits: Slab<WaitSink>,
}

impl Ends {
    pub(super) fn add_call(&mut self, fill: Fill) -> CallKey {
        CallKey(self.calls.insert(CallSink::Thread(fill)))
    }

    pub(super) fn add_call_of(&mut self, ticket: Ticket, plugin: PluginId, then: Then<CallEnd>) -> CallKey {
        CallKey(self.calls.insert(CallSink::Client(ticket, plugin, then)))
    }

    pub(super) fn add_wait(&mut self, sender: Sender<WaitEnd>) -> WaitKey {
        WaitKey(self.waits.insert(WaitSink::Thread(sender)))
    }

    pub(super) fn add_wait_of(&mut self, ticket: Ticket, then: Then<WaitEnd>) -> WaitKey {
        WaitKey(self.waits.insert(WaitSink::Client(ticket, then)))
    }

    /// Tells a thread, or says what to tell a client.
    pub(super) fn end_call(&mut self, key: CallKey, end: CallEnd) -> Told {
        match self.calls.remove(key.0) {
            None => Told::Nobody,
            Some(CallSink::Thread(fill)) => {
                if fill.fill(end) {
                    Told::Woken
                } else {
                    Told::Nobody
                }
            }
            Some(CallSink::Client(ticket, _, then)) => Told::Client(ticket, then(end)),
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
    pub(super) fn forget_client(&mut self, client: u64) -> (Vec<(CallKey, PluginId)>, Vec<WaitKey>) {
        let mut calls = Vec::new();
        for key in self.calls.keys() {
            if let Some(CallSink::Client(ticket, plugin, _)) = self.calls.get(key)
                && ticket.client == client
            {
                calls.push((CallKey(key), plugin.clone()));
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
