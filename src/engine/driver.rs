//! Which thread drives the event loop: its own, or a caller that waits for an answer.
//!
//! One thread at a time drives; it alone touches the loop's state. The loop's own thread is the one that
//! takes over when nobody else does: it looks every [`TICK`] while callers drive, and drives for good
//! once none has for that long, so that an idle host has no wake-ups. A caller that drives saves the two
//! changes of thread that asking the loop's thread would cost.
//!
//! What it deliberately does not do: hold the loop's state, or decide how long somebody drives.
//!
//! What always holds: the state goes to one driver at a time, by compare-and-swap; whoever stops driving
//! leaves nothing behind that cannot wait for a tick: commands and parked callers have the loop's thread
//! called at once; the driver is woken if and only if it sleeps.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
use std::thread::Thread;
use std::time::Duration;

/// Longest time that the loop is without a driver while callers take turns; then its own thread looks.
pub(super) const TICK: Duration = Duration::from_millis(1);

/// How often it is tried to wake the driver, before it counts as deaf.
const WAKE_TRIES: usize = 3;

/// State in which no thread drives; the loop's own thread looks at the next tick.
const IDLE: u8 = 0;
/// State in which the loop's own thread was called and is on its way.
const CALLED: u8 = 1;
/// State in which a thread drives; it looks at the queue of commands before it sleeps.
const DRIVEN: u8 = 2;
/// State in which the driver waits in epoll_wait(2).
const ASLEEP: u8 = 3;

/// The right to drive an event loop, which one thread has at a time.
pub(crate) struct Driver {
    state: AtomicU8,
    /// Callers that sleep until somebody else fills their reply slot.
    parked: AtomicUsize,
    /// How often callers have driven.
    turns: AtomicU64,
    waker: mio::Waker,
    /// The driver could not be woken.
    deaf: AtomicBool,
    /// The loop's own thread, once it runs.
    thread: OnceLock<Thread>,
}

impl Driver {
    /// The loop's thread counts as on its way: nobody can drive before it has.
    pub(crate) fn new(waker: mio::Waker) -> Driver {
        Driver {
            state: AtomicU8::new(CALLED),
            parked: AtomicUsize::new(0),
            turns: AtomicU64::new(0),
            waker,
            deaf: AtomicBool::new(false),
            thread: OnceLock::new(),
        }
    }

    /// Says which thread is the loop's own; only the first one counts.
    pub(crate) fn set_thread(&self, thread: Thread) {
        let _ = self.thread.set(thread);
    }

    fn swap(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// A caller becomes the driver, if there is none and none is on its way.
    pub(crate) fn enter(&self) -> bool {
        let entered = self.swap(IDLE, DRIVEN);
        if entered {
            self.turns.fetch_add(1, Ordering::Relaxed);
        }
        entered
    }

    /// The loop's thread becomes the driver, unless a caller is; whether it was called for.
    pub(crate) fn take_over(&self) -> Option<bool> {
        if self.swap(CALLED, DRIVEN) {
            return Some(true);
        }
        self.swap(IDLE, DRIVEN).then_some(false)
    }

    /// How often callers have driven so far.
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// The driver stops. `must_go_on`: what it leaves behind cannot wait. `more` looks for such things once
    /// more, after who brings them could see that nobody drives.
    pub(crate) fn leave(&self, must_go_on: bool, more: impl FnOnce() -> bool) {
        if must_go_on {
            self.state.store(CALLED, Ordering::SeqCst);
            return self.unpark();
        }
        // Pairs with the fences in `call` and `park`: one of the two sides sees what the other did.
        self.state.store(IDLE, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if (self.parked.load(Ordering::SeqCst) > 0 || more()) && self.swap(IDLE, CALLED) {
            self.unpark();
        }
    }

    /// Says that the driver is about to sleep; it has to look at the queue once more after this.
    pub(crate) fn about_to_sleep(&self) {
        self.state.store(ASLEEP, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Says that the driver is awake again.
    pub(crate) fn awake(&self) {
        self.state.store(DRIVEN, Ordering::SeqCst);
    }

    /// Has what was posted looked at: wakes the driver if it sleeps, calls the loop's thread if nobody drives.
    pub(crate) fn call(&self) {
        fence(Ordering::SeqCst);
        match self.state.load(Ordering::SeqCst) {
            ASLEEP if self.swap(ASLEEP, DRIVEN) => self.wake(),
            IDLE if self.swap(IDLE, CALLED) => self.unpark(),
            // Somebody else has done that just now, or it is awake.
            _ => {}
        }
    }

    /// As if a driver could not be woken.
    #[cfg(test)]
    pub(crate) fn go_deaf(&self) {
        self.deaf.store(true, Ordering::SeqCst);
    }

    /// Wakes the driver. That fails only on a broken eventfd; then the loop ends when it next wakes, as it does for a heartbeat.
    fn wake(&self) {
        if (0..WAKE_TRIES).all(|_| self.waker.wake().is_err()) {
            self.deaf.store(true, Ordering::SeqCst);
        }
    }

    /// Whether a driver could not be woken: what is posted may lie there unseen.
    pub(crate) fn is_deaf(&self) -> bool {
        self.deaf.load(Ordering::Relaxed)
    }

    /// Counts a caller that is about to sleep; false when nobody drives, so that it should itself.
    pub(crate) fn park(&self) -> bool {
        self.parked.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.state.load(Ordering::SeqCst) != IDLE
    }

    /// Takes a [`Driver::park`] back: by whoever fills the slot, or by the caller that does not sleep after all.
    /// How many still sleep.
    pub(crate) fn unparked(&self) -> usize {
        self.parked.fetch_sub(1, Ordering::SeqCst).saturating_sub(1)
    }

    fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A driver's right that the loop's thread has taken over and left.
    fn left() -> (mio::Poll, Driver) {
        let poll = mio::Poll::new().unwrap();
        let driver = Driver::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
        driver.set_thread(std::thread::current());
        assert!(!driver.enter(), "the loop's thread comes first");
        assert_eq!(driver.take_over(), Some(true));
        driver.leave(false, || false);
        (poll, driver)
    }

    /// Whether this thread, which stands for the loop's, was called.
    fn called(driver: &Driver) -> bool {
        driver.state.load(Ordering::SeqCst) == CALLED
    }

    #[test]
    fn one_thread_drives_at_a_time() {
        let (_poll, driver) = left();
        assert!(driver.enter() && !driver.enter());
        assert_eq!(driver.take_over(), None, "a caller drives");
        driver.leave(false, || false);
        assert_eq!((driver.take_over(), driver.turns()), (Some(false), 1));
        assert!(!driver.enter());
    }

    #[test]
    fn who_leaves_has_what_cannot_wait_looked_after() {
        let (_poll, driver) = left();
        for (must_go_on, parks, more) in [(true, false, false), (false, true, false), (false, false, true)] {
            assert!(driver.enter());
            if parks {
                assert!(driver.park(), "somebody drives");
            }
            driver.leave(must_go_on, || more);
            assert!(called(&driver) && !driver.enter(), "{must_go_on} {parks} {more}");
            assert_eq!(driver.take_over(), Some(true));
            if parks {
                assert_eq!(driver.unparked(), 0);
            }
            driver.leave(false, || false);
            assert!(!called(&driver));
        }
    }

    #[test]
    fn a_post_wakes_who_sleeps_or_calls_the_loops_thread() {
        let (mut poll, driver) = left();
        let mut events = mio::Events::with_capacity(1);
        let mut woken = || {
            poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
            !events.is_empty()
        };
        driver.call();
        assert!(called(&driver) && !woken());
        driver.take_over().unwrap();
        driver.call();
        assert!(!called(&driver) && !woken(), "the driver is awake and looks by itself");
        driver.about_to_sleep();
        driver.call();
        driver.call();
        assert!(woken() && !woken(), "once");
        driver.awake();
        driver.leave(false, || false);
        assert!(!driver.park(), "nobody drives: who would park should");
    }
}
