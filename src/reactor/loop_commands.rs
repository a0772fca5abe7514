//! What other threads ask of the event loop.
//!
//! What always holds: who asked gets one answer, or its sender is dropped with the loop; who has gone
//! needs none.

use super::instance::Instance;
use super::pending_replies::{Asker, ToldProgress};
use super::recorder::LifecycleEvent;
use super::{COMMANDS_PER_TURN, Reactor};
use crate::engine::{ReplySender, ReplySlot};
use crate::state::action::Note;
use crate::state::call::CallRequest;
use crate::state::fds::Fds;
use crate::state::keys::{CallKey, PluginKey};
use crate::state::plugin::PrepareFailure;
use crate::state::plugin_config::PluginConfig;
use crate::state::supervisor::Wish;
use crate::state::time::Time;
use crate::state::waits::Goal;
use crate::sys::launch::PreparedLaunch;
use crossbeam_channel::Sender;
use rpc_plugin_wire::admin::PluginStatus;
use rpc_plugin_wire::{CallError, ErrorCode, ErrorObject, Generation, PluginId};
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;

/// Requests of other threads to the event loop. Answers go to the sender in the command; a dropped
/// sender means that the host has ended.
pub(crate) enum LoopCommand {
    Add(Arc<PluginConfig>, Option<Generation>, Sender<bool>),
    Remove(PluginId, Sender<Result<(), CallError>>),
    Wish(PluginId, Wish, Sender<Result<Box<PluginStatus>, CallError>>),
    Wait(PluginId, Goal, Duration, Sender<Result<Box<PluginStatus>, CallError>>),
    Status(PluginId, Sender<Option<Box<PluginStatus>>>),
    List(Sender<Vec<PluginStatus>>),
    /// A call, and where its end goes.
    Call(Box<CallRequest>, ReplySender),
    /// A service answers a plugin: with JSON, or why not, and what travels with it.
    Answered(Asker, Result<Box<RawValue>, ErrorObject>, Fds),
    /// A service tells a plugin how far it is.
    AskerProgress(Asker, Box<RawValue>),
    /// The callers of these have gone.
    Cancel(Vec<ReplySlot>),
    /// To what happens; with true, also to what plugins print and say.
    Subscribe(Sender<LifecycleEvent>, bool),
    Record(Box<Note>),
    /// A worker's preparation returned.
    Prepared(PluginKey, Generation, Arc<PluginConfig>, Result<Box<PreparedLaunch>, PrepareFailure>),
    /// Control clients need not wait any longer.
    OpenControl,
    /// Look after what has changed elsewhere: what answers wait for became durable, or a call of another host ended.
    Look,
    /// A child of this process that is no plugin may have ended.
    SweepOrphans,
    /// End everything, for this reason. Only the first one counts.
    End(String),
    /// The same without any patience: SIGKILL at once, also where the end has begun.
    EndNow(String),
}

impl Reactor {
    /// Takes in what was posted, within a turn's bound. The time after it.
    pub(super) fn take_commands(&mut self, now: Time) -> Time {
        for taken in 0..COMMANDS_PER_TURN {
            let Some(command) = self.queue.take() else {
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
    pub(super) fn begin_call(
        &mut self,
        now: Time,
        request: CallRequest,
        reply: ReplySender,
    ) -> Option<PluginKey> {
        let key = self.ends.add_call(reply);
        let at = self.supervisor.call(now, key, request);
        self.ends.place_call(key, at);
        at
    }

    /// The callers of these calls have gone.
    pub(super) fn cancel_calls(&mut self, now: Time, slots: &[ReplySlot]) {
        for key in slots.iter().filter_map(ReplySlot::key) {
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
                self.woken.still_parked = self.driver.unparked();
                self.woken.callers += 1;
            }
            ToldProgress::Client(ticket, value) => {
                if let Some(client) = self.clients.get_mut(ticket.client) {
                    client.progress(&ticket.id, &value);
                    self.answered.insert(ticket.client);
                }
            }
        }
    }

    pub(super) fn handle_command(&mut self, now: Time, command: LoopCommand) {
        // Who asked may have gone; an answer that nobody takes is dropped.
        match command {
            // A dropped answer says that the host has ended.
            LoopCommand::Add(..) if self.end_by.is_some() => {}
            LoopCommand::Add(config, last, reply) => {
                let key = self.supervisor.add(config, last);
                if let Some(key) = key {
                    self.instances.insert(key, Instance::default());
                }
                let _ = reply.try_send(key.is_some());
            }
            LoopCommand::Remove(id, reply) => drop(reply.try_send(self.remove(now, &id))),
            LoopCommand::Wish(id, wish, reply) => {
                let result = self.known(&id).map(|key| self.supervisor.wish(now, key, wish));
                let result = result.and_then(|()| self.status(now, &id).ok_or_else(|| unknown(&id)));
                let _ = reply.try_send(result);
            }
            LoopCommand::Wait(id, goal, timeout, reply) => {
                let key = self.ends.add_wait(reply);
                self.supervisor.wait(now, key, &id, goal, timeout);
            }
            LoopCommand::Status(id, reply) => drop(reply.try_send(self.status(now, &id))),
            LoopCommand::List(reply) => {
                let list = self.supervisor.plugins_by_id().map(|plugin| plugin.status(now)).collect();
                let _ = reply.try_send(list);
            }
            LoopCommand::Call(request, reply) => drop(self.begin_call(now, *request, reply)),
            LoopCommand::Answered(asker, result, fds) => self.answer_plugin(now, &asker, result, fds),
            LoopCommand::AskerProgress(asker, value) => self.tell_asker_progress(now, &asker, &value),
            LoopCommand::Cancel(slots) => self.cancel_calls(now, &slots),
            LoopCommand::Subscribe(sender, with_said) => self.recorder.subscribe(sender, with_said),
            LoopCommand::Record(note) => self.recorder.record(*note),
            LoopCommand::Prepared(key, generation, config, outcome) => {
                self.take_prepared(now, key, generation, config, outcome)
            }
            LoopCommand::OpenControl => {
                if let Err(error) = self.open_control() {
                    self.fault("the admin socket cannot be watched", &error);
                }
            }
            // The end of the turn looks after it.
            LoopCommand::Look => {}
            LoopCommand::SweepOrphans => self.sweep_orphans(),
            LoopCommand::End(reason) => self.begin_end(now, reason),
            LoopCommand::EndNow(reason) => self.end_now(now, reason),
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
        self.instances.remove(&key);
        Ok(())
    }
}

fn unknown(id: &PluginId) -> CallError {
    CallError::not_sent(ErrorCode::UnknownPlugin, format!("there is no plugin {:?}", id.as_str()))
        .at(id, None)
}
