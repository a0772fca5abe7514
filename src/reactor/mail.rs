//! The way into the event loop for every other thread.
//!
//! What always holds: a thread that sends never waits for the event loop; the queue is bounded; the
//! loop is woken if and only if it sleeps, so that a burst of calls costs one wake-up; a command is taken
//! by the loop or dropped when the loop ends, so that nobody waits for an answer that cannot come.

use super::ward::LaunchSpec;
use crate::state::action::{CallEnd, Note};
use crate::state::call_error::CallError;
use crate::state::keys::PluginKey;
use crate::state::plugin::PluginSpec;
use crate::state::supervisor::Wish;
use crate::state::waits::Goal;
use crate::sys::launch::PreparedLaunch;
use crossbeam_channel::Sender;
use rpc_plugin_wire::admin::PluginStatus;
use rpc_plugin_wire::{Generation, PluginId};
use serde_json::value::RawValue;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

/// Commands that wait for the loop; a further one is refused as `overloaded`.
/// The channel's memory is taken up front, so this is also a matter of footprint.
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
    Subscribe(Sender<LifecycleEvent>),
    Record(Box<Note>),
    /// A worker's preparation returned.
    Prepared(PluginKey, Generation, Result<Box<PreparedLaunch>, String>),
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
    pub(crate) plugin_id: PluginId,
    pub(crate) method: String,
    pub(crate) params: Option<Box<RawValue>>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) reply: Sender<CallEnd>,
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
    queue: SyncSender<Command>,
    sleeping: Arc<AtomicBool>,
    waker: Arc<mio::Waker>,
}

/// The receiving end, for the loop.
pub(super) struct Mailbox {
    queue: Receiver<Command>,
    /// What was found when the loop wanted to sleep.
    next: Option<Command>,
    sleeping: Arc<AtomicBool>,
}

/// Both ends.
pub(super) fn open(waker: mio::Waker) -> (Port, Mailbox) {
    let (sender, receiver) = sync_channel(QUEUE_MAX);
    let sleeping = Arc::new(AtomicBool::new(false));
    let port = Port { queue: sender, sleeping: Arc::clone(&sleeping), waker: Arc::new(waker) };
    (port, Mailbox { queue: receiver, next: None, sleeping })
}

impl Port {
    /// Hands a command over. Never waits.
    pub(crate) fn post(&self, command: Command) -> Result<(), PostError> {
        self.queue.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => PostError::Full,
            TrySendError::Disconnected(_) => PostError::Ended,
        })?;
        self.wake();
        Ok(())
    }

    /// Hands a result over that must not be lost, and waits for room if there is none: for workers.
    pub(super) fn deliver(&self, command: Command) {
        // Without a loop there is nobody to tell.
        if self.queue.send(command).is_ok() {
            self.wake();
        }
    }

    fn wake(&self) {
        // Pairs with the fence in `may_sleep`: one of the two sides sees what the other did.
        fence(Ordering::SeqCst);
        if self.sleeping.swap(false, Ordering::SeqCst) {
            // Fails only on a broken eventfd; the loop then sees the command at its next wake-up.
            let _ = self.waker.wake();
        }
    }
}

impl Mailbox {
    /// The next command.
    pub(super) fn take(&mut self) -> Option<Command> {
        self.next.take().or_else(|| self.queue.try_recv().ok())
    }

    /// Says that the loop is about to sleep; whether it may: nothing waits.
    pub(super) fn may_sleep(&mut self) -> bool {
        // Either the sender sees the flag and wakes the loop, or the loop sees the command here.
        self.sleeping.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.next = self.take();
        self.next.is_none()
    }

    /// Says that the loop is awake again.
    pub(super) fn awake(&self) {
        self.sleeping.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_taken_in_order_or_dropped_with_the_loop() {
        let poll = mio::Poll::new().unwrap();
        let (port, mut mailbox) = open(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
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
        let poll = mio::Poll::new().unwrap();
        let (port, _mailbox) = open(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
        for _ in 0..QUEUE_MAX {
            port.post(Command::SweepOrphans).unwrap();
        }
        assert_eq!(port.post(Command::SweepOrphans), Err(PostError::Full));
    }
}
