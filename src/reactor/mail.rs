//! The way into the event loop for every other thread.
//!
//! What always holds: a thread that sends never waits for the event loop; the queue is bounded; the
//! loop is woken if and only if it sleeps, so that a burst of calls costs one wake-up; a command is taken
//! by the loop or dropped when the loop ends, so that nobody waits for an answer that cannot come.

use super::ends::Asker;
use super::gate::Gate;
use super::slot::{Fill, Slot};
use super::ward::LaunchSpec;
use crate::state::action::Note;
use crate::state::fds::Fds;
use crate::state::keys::PluginKey;
use crate::state::plugin::{PluginSpec, PrepareFailure};
use crate::state::route::CallRequest;
use crate::state::supervisor::Wish;
use crate::state::waits::Goal;
use crate::sys::launch::PreparedLaunch;
use crossbeam_channel::Sender;
use rpc_plugin_wire::admin::PluginStatus;
use rpc_plugin_wire::{CallError, ErrorObject, Generation, PluginId};
use serde_json::value::RawValue;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, SystemTime};

/// Commands that wait for the loop; a further one is refused as `overloaded`. Memory is taken as they come.
const QUEUE_MAX: usize = 4096;

/// Something that happened, for subscribers.
#[derive(Debug, Clone)]
pub struct LifecycleEvent {
    /// When.
    pub at: SystemTime,
    /// What.
    pub note: Note,
    /// Events before this one that this subscriber missed because it did not keep up.
    pub missed: u64,
}

/// What other threads ask of the event loop. Answers go to the sender in the command; a dropped
/// answer means that the host has ended.
pub(crate) enum Command {
    Add(Box<PluginSpec>, Box<LaunchSpec>, Sender<bool>),
    Remove(PluginId, Sender<Result<(), CallError>>),
    Wish(PluginId, Wish, Sender<Result<Box<PluginStatus>, CallError>>),
    Wait(PluginId, Goal, Duration, Sender<Result<Box<PluginStatus>, CallError>>),
    Status(PluginId, Sender<Option<Box<PluginStatus>>>),
    List(Sender<Vec<PluginStatus>>),
    Call(Box<NewCall>),
    /// A service answers a plugin: with JSON, or why not, and what travels with it.
    Answered(Asker, Result<Box<RawValue>, ErrorObject>, Fds),
    /// A service tells a plugin how far it is.
    AskerProgress(Asker, Box<RawValue>),
    /// The callers of these have gone.
    Cancel(Vec<Slot>),
    /// To what happens; with true, also to what plugins print and say.
    Subscribe(Sender<LifecycleEvent>, bool),
    Record(Box<Note>),
    /// A worker's preparation returned.
    Prepared(PluginKey, Generation, Result<Box<PreparedLaunch>, PrepareFailure>),
    /// Control clients need not wait any longer.
    OpenControl,
    /// Something on record became durable for which answers wait.
    Settled,
    /// A child of this process that is no plugin may have ended.
    SweepOrphans,
    /// End everything, for this reason. Only the first one counts.
    End(String),
    /// The same without any patience: SIGKILL at once, also where the end has begun.
    EndNow(String),
}

/// A call from another thread.
pub(crate) struct NewCall {
    pub(crate) request: CallRequest,
    pub(crate) reply: Fill,
}

/// Why a command was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PostError {
    /// Too many wait.
    Full,
    /// The loop has ended.
    Ended,
}

/// The sending end, for any thread.
#[derive(Clone)]
pub(crate) struct Port {
    // Not crossbeam's: its bounded channel keeps what was not received until its last sender is gone, and
    // so would the answers that who sent it waits for.
    queue: mpsc::Sender<Command>,
    /// How many are in the queue, or on their way into it: its bound, and quicker to look at than the queue.
    queued: Arc<AtomicUsize>,
    gate: Arc<Gate>,
}

/// The receiving end, for the loop.
pub(super) struct Mailbox {
    queue: Receiver<Command>,
    queued: Arc<AtomicUsize>,
    /// What was found when the driver wanted to sleep or leave.
    next: Option<Command>,
    gate: Arc<Gate>,
}

/// Both ends.
pub(super) fn open(gate: Arc<Gate>) -> (Port, Mailbox) {
    let (sender, receiver) = mpsc::channel();
    let queued = Arc::new(AtomicUsize::new(0));
    let port = Port { queue: sender, queued: Arc::clone(&queued), gate: Arc::clone(&gate) };
    (port, Mailbox { queue: receiver, queued, next: None, gate })
}

impl Port {
    /// Hands a command over. Never waits.
    pub(crate) fn post(&self, command: Command) -> Result<(), PostError> {
        let is_full = self.queued.fetch_add(1, Ordering::SeqCst) >= QUEUE_MAX;
        if is_full {
            self.queued.fetch_sub(1, Ordering::SeqCst);
            return Err(PostError::Full);
        }
        self.queue.send(command).map_err(|_| PostError::Ended)?;
        self.gate.call();
        Ok(())
    }

    /// Hands over what must not be lost, whether there is room or not: results of workers, of whose jobs there are few
    /// at a time; the cancelling of a call that was taken, and that its caller can cancel once.
    pub(crate) fn deliver(&self, command: Command) {
        self.queued.fetch_add(1, Ordering::SeqCst);
        // Without a loop there is nobody to tell.
        if self.queue.send(command).is_ok() {
            self.gate.call();
        }
    }
}

impl Mailbox {
    /// The next command.
    pub(super) fn take(&mut self) -> Option<Command> {
        if self.next.is_some() || self.queued.load(Ordering::SeqCst) == 0 {
            return self.next.take();
        }
        // It may be on its way into the queue still; then its sender looks after the driver.
        let command = self.queue.try_recv().ok()?;
        self.queued.fetch_sub(1, Ordering::SeqCst);
        Some(command)
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&mut self) -> bool {
        self.next = self.take();
        self.next.is_none()
    }

    /// Says that the driver is about to sleep; whether it may: nothing waits.
    pub(super) fn may_sleep(&mut self) -> bool {
        // Either the sender sees that the driver sleeps and wakes it, or the driver sees the command here.
        self.gate.about_to_sleep();
        self.is_empty()
    }

    /// Says that the driver is awake again.
    pub(super) fn awake(&self) {
        self.gate.awake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Arc<Gate> {
        let poll = mio::Poll::new().unwrap();
        Arc::new(Gate::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap()))
    }

    #[test]
    fn commands_are_taken_in_order_or_dropped_with_the_loop() {
        let (port, mut mailbox) = open(gate());
        let ask = || {
            let (reply, answer) = crossbeam_channel::bounded(1);
            (port.post(Command::List(reply)), answer)
        };
        assert!(mailbox.may_sleep());
        mailbox.awake();
        let (first, second) = (ask(), ask());
        assert_eq!((first.0, second.0), (Ok(()), Ok(())));
        assert!(!mailbox.may_sleep());
        drop(mailbox.take());
        assert!(first.1.try_recv().is_err_and(|error| error.is_disconnected()));
        assert!(second.1.try_recv().is_err_and(|error| error.is_empty()), "it waits its turn");
        assert!(!mailbox.may_sleep());
        drop(mailbox);
        assert!(second.1.try_recv().is_err_and(|error| error.is_disconnected()), "its answer cannot come");
        assert_eq!(ask().0, Err(PostError::Ended));
    }

    #[test]
    fn the_queue_is_bounded() {
        let (port, _mailbox) = open(gate());
        for _ in 0..QUEUE_MAX {
            port.post(Command::SweepOrphans).unwrap();
        }
        assert_eq!(port.post(Command::SweepOrphans), Err(PostError::Full));
    }
}
