//! The queue of commands: the way into the event loop for every other thread.
//!
//! What it deliberately does not do: know what a command asks.
//!
//! What always holds: a thread that sends never waits for the event loop; the queue is bounded; the
//! loop is woken if and only if it sleeps, so that a burst of calls costs one wake-up; a command is taken
//! by the loop or dropped when the loop ends, so that nobody waits for an answer that cannot come.

use super::driver::Driver;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};

/// Commands that wait for the loop; a further one is refused as `overloaded`. Memory is taken as they come.
const QUEUE_MAX: usize = 4096;

/// Why a command was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PostError {
    /// Too many wait.
    Full,
    /// The loop has ended.
    Ended,
}

/// The sending end, for any thread.
pub(crate) struct CommandSender<C> {
    // Not crossbeam's: its bounded channel keeps what was not received until its last sender is gone, and
    // so would the answers that who sent it waits for.
    queue: mpsc::Sender<C>,
    /// How many are in the queue, or on their way into it: its bound, and quicker to look at than the queue.
    queued: Arc<AtomicUsize>,
    driver: Arc<Driver>,
}

/// The receiving end, for the loop.
pub(crate) struct CommandQueue<C> {
    queue: Receiver<C>,
    queued: Arc<AtomicUsize>,
    /// What was found when the driver wanted to sleep or leave.
    next: Option<C>,
    driver: Arc<Driver>,
}

/// Both ends.
pub(crate) fn open<C>(driver: Arc<Driver>) -> (CommandSender<C>, CommandQueue<C>) {
    let (queue, receiver) = mpsc::channel();
    let queued = Arc::new(AtomicUsize::new(0));
    let sender = CommandSender { queue, queued: Arc::clone(&queued), driver: Arc::clone(&driver) };
    (sender, CommandQueue { queue: receiver, queued, next: None, driver })
}

impl<C> Clone for CommandSender<C> {
    fn clone(&self) -> CommandSender<C> {
        let (queue, queued, driver) =
            (self.queue.clone(), Arc::clone(&self.queued), Arc::clone(&self.driver));
        CommandSender { queue, queued, driver }
    }
}

impl<C> CommandSender<C> {
    /// Hands a command over. Never waits.
    pub(crate) fn post(&self, command: C) -> Result<(), PostError> {
        let is_full = self.queued.fetch_add(1, Ordering::SeqCst) >= QUEUE_MAX;
        if is_full {
            self.queued.fetch_sub(1, Ordering::SeqCst);
            return Err(PostError::Full);
        }
        self.queue.send(command).map_err(|_| PostError::Ended)?;
        self.driver.call();
        Ok(())
    }

    /// Hands over what must not be lost, whether there is room or not: results of workers, of whose jobs there are few
    /// at a time; the cancelling of a call that was taken, and that its caller can cancel once.
    pub(crate) fn deliver(&self, command: C) {
        self.queued.fetch_add(1, Ordering::SeqCst);
        // Without a loop there is nobody to tell.
        if self.queue.send(command).is_ok() {
            self.driver.call();
        }
    }
}

impl<C> CommandQueue<C> {
    /// The next command.
    pub(crate) fn take(&mut self) -> Option<C> {
        if self.next.is_some() {
            return self.next.take();
        }
        if self.queued.load(Ordering::SeqCst) == 0 {
            return None;
        }
        // It may be on its way into the queue still; then its sender looks after the driver.
        let command = self.queue.try_recv().ok();
        if command.is_some() {
            self.queued.fetch_sub(1, Ordering::SeqCst);
        }
        command
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&mut self) -> bool {
        // Mostly nothing is there, and nothing is moved for that.
        if self.next.is_none() && self.queued.load(Ordering::SeqCst) > 0 {
            self.next = self.take();
        }
        self.next.is_none()
    }

    /// Says that the driver is about to sleep; whether it may: nothing waits.
    pub(crate) fn may_sleep(&mut self) -> bool {
        // Either the sender sees that the driver sleeps and wakes it, or the driver sees the command here.
        self.driver.about_to_sleep();
        self.is_empty()
    }

    /// Says that the driver is awake again.
    pub(crate) fn awake(&self) {
        self.driver.awake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn driver() -> Arc<Driver> {
        let poll = mio::Poll::new().unwrap();
        Arc::new(Driver::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap()))
    }

    #[test]
    fn commands_are_taken_in_order_or_dropped_with_the_loop() {
        let (sender, mut queue) = open::<crossbeam_channel::Sender<()>>(driver());
        let ask = || {
            let (reply, answer) = crossbeam_channel::bounded(1);
            (sender.post(reply), answer)
        };
        assert!(queue.may_sleep());
        queue.awake();
        let (first, second) = (ask(), ask());
        assert_eq!((first.0, second.0), (Ok(()), Ok(())));
        assert!(!queue.may_sleep());
        drop(queue.take());
        assert!(first.1.try_recv().is_err_and(|error| error.is_disconnected()));
        assert!(second.1.try_recv().is_err_and(|error| error.is_empty()), "it waits its turn");
        assert!(!queue.may_sleep());
        drop(queue);
        assert!(second.1.try_recv().is_err_and(|error| error.is_disconnected()), "its answer cannot come");
        assert_eq!(ask().0, Err(PostError::Ended));
    }

    #[test]
    fn the_queue_is_bounded() {
        let (sender, _queue) = open(driver());
        for number in 0..QUEUE_MAX {
            sender.post(number).unwrap();
        }
        assert_eq!(sender.post(QUEUE_MAX), Err(PostError::Full));
    }
}
