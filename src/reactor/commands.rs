//! What other threads ask of the event loop.
//!
//! What always holds: who asked gets one answer, or its sender is dropped with the loop; who has gone
//! needs none.

use super::ends::ToldProgress;
use super::mail::{Command, NewCall};
use super::slot::Slot;
use super::ward::Ward;
use super::{COMMANDS_PER_TURN, Reactor};
use crate::state::keys::{CallKey, PluginKey};
use crate::state::time::Time;
use rpc_plugin_wire::{CallError, ErrorCode, PluginId};
use serde_json::value::RawValue;

impl Reactor {
    /// Takes in what was posted, within a turn's bound. The time after it.
    pub(super) fn take_commands(&mut self, now: Time) -> Time {
        for taken in 0..COMMANDS_PER_TURN {
            let Some(command) = self.mailbox.take() else {
                return if taken == 0 { now } else { self.now() };
            };
            // The time now, not that of the turn's begin: deadlines count from when a command was sent, and
            // it may have been sent in the middle of a long turn.
            self.handle_command(self.now(), command);
            // What it led to happens before the next one is answered, so that an answer says that all
            // that came before has happened.
            self.perform_all(now);
        }
        self.now()
    }

    /// Begins a call; its end goes to its slot. Gives the plugin that is called.
    pub(super) fn begin_call(&mut self, now: Time, call: NewCall) -> Option<PluginKey> {
        let key = self.ends.add_call(call.reply);
        let at = self.supervisor.call(now, key, call.request);
        self.ends.place_call(key, at);
        at
    }

    /// The callers of these calls have gone.
    pub(super) fn cancel_calls(&mut self, now: Time, slots: &[Slot]) {
        for key in slots.iter().filter_map(Slot::key) {
            self.cancel_call(now, key);
        }
    }

    /// The caller of a call has gone.
    pub(super) fn cancel_call(&mut self, now: Time, key: CallKey) {
        if let Some(at) = self.ends.forget_call(key) {
            self.supervisor.cancel(now, key, at);
        }
    }

    /// Tells who waits for a call of its progress.
    pub(super) fn tell_progress(&mut self, now: Time, call: CallKey, value: Box<RawValue>) {
        match self.ends.progress(call, value) {
            ToldProgress::Nobody => {}
            ToldProgress::Plugin(asker, value) => self.tell_asker_progress(now, &asker, &value),
            ToldProgress::Woken => {
                self.still_parked = self.gate.unparked();
                self.woken += 1;
            }
            ToldProgress::Client(ticket, value) => {
                if let Some(client) = self.clients.get_mut(ticket.client) {
                    client.progress(&ticket.id, &value);
                    self.answered.insert(ticket.client);
                }
            }
        }
    }

    fn handle_command(&mut self, now: Time, command: Command) {
        // Who asked may have gone; an answer that nobody takes is dropped.
        match command {
            // A dropped answer says that the host has ended.
            Command::Add(..) if self.end_by.is_some() => {}
            Command::Add(spec, launch, reply) => {
                let key = self.supervisor.add(*spec);
                if let Some(key) = key {
                    self.wards.insert(key, Ward::new(*launch));
                }
                let _ = reply.try_send(key.is_some());
            }
            Command::Remove(id, reply) => drop(reply.try_send(self.remove(now, &id))),
            Command::Wish(id, wish, reply) => {
                let result = self.known(&id).map(|key| self.supervisor.wish(now, key, wish));
                let result = result.and_then(|()| self.status(now, &id).ok_or_else(|| unknown(&id)));
                let _ = reply.try_send(result);
            }
            Command::Wait(id, goal, timeout, reply) => {
                let key = self.ends.add_wait(reply);
                self.supervisor.wait(now, key, &id, goal, timeout);
            }
            Command::Status(id, reply) => drop(reply.try_send(self.status(now, &id))),
            Command::List(reply) => {
                let list = self.supervisor.plugins_by_id().map(|plugin| plugin.status(now)).collect();
                let _ = reply.try_send(list);
            }
            Command::Call(call) => drop(self.begin_call(now, *call)),
            Command::Answered(asker, result, fds) => self.answer_plugin(now, &asker, result, fds),
            Command::AskerProgress(asker, value) => self.tell_asker_progress(now, &asker, &value),
            Command::Cancel(slots) => self.cancel_calls(now, &slots),
            Command::Subscribe(sender, with_said) => self.recorder.subscribe(sender, with_said),
            Command::Record(note) => self.recorder.record(*note),
            Command::Prepared(key, generation, outcome) => self.take_prepared(now, key, generation, outcome),
            Command::OpenControl => {
                if let Err(error) = self.open_control() {
                    self.fault("the admin socket cannot be watched", &error);
                }
            }
            // The end of the turn looks after it.
            Command::Settled => {}
            Command::SweepOrphans => self.sweep_orphans(),
            Command::End(reason) => self.begin_end(now, reason),
            Command::EndNow(reason) => self.end_now(now, reason),
        }
    }

    fn known(&self, id: &PluginId) -> Result<PluginKey, CallError> {
        self.supervisor.find(id).ok_or_else(|| unknown(id))
    }

    fn status(&self, now: Time, id: &PluginId) -> Option<Box<rpc_plugin_wire::admin::PluginStatus>> {
        let plugin = self.supervisor.plugin(self.supervisor.find(id)?)?;
        Some(Box::new(plugin.status(now)))
    }

    fn remove(&mut self, now: Time, id: &PluginId) -> Result<(), CallError> {
        let key = self.known(id)?;
        if !self.supervisor.remove(now, key) {
            let error = CallError::not_sent(ErrorCode::Unavailable, "the plugin is up; stop it first");
            return Err(error.at(id, None));
        }
        self.wards.remove(&key);
        Ok(())
    }
}

fn unknown(id: &PluginId) -> CallError {
    CallError::not_sent(ErrorCode::UnknownPlugin, format!("there is no plugin {:?}", id.as_str()))
        .at(id, None)
}
