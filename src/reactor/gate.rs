//! Who drives the event loop: its own thread, or a caller that waits for an answer.
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

/// How long the loop may be without a driver while callers take turns; then its own thread looks.
pub(super) const TICK: Duration = Duration::from_millis(1);

/// How often it is tried to wake the driver, before it counts as deaf.
const WAKE_TRIES: usize = 3;

/// Nobody drives; the loop's thread looks at the next tick.
const IDLE: u8 = 0;
/// The loop's thread was called and is on its way.
const CALLED: u8 = 1;
/// Somebody drives, and looks at the mailbox before sleeping.
const DRIVEN: u8 = 2;
/// The driver waits in epoll_wait(2).
const ASLEEP: u8 = 3;

/// See the module's text.
pub(super) struct Gate {
    state: AtomicU8,
    /// Callers that sleep until somebody else fills their slot.
    parked: AtomicUsize,
    /// How often callers have driven.
    turns: AtomicU64,
    waker: mio::Waker,
    /// The driver could not be woken.
    deaf: AtomicBool,
    /// The loop's own thread, once it runs.
    thread: OnceLock<Thread>,
}

impl Gate {
    /// The loop's thread counts as on its way: nobody can drive before it has.
    pub(super) fn new(waker: mio::Waker) -> Gate {
        Gate {
            state: AtomicU8::new(CALLED),
            parked: AtomicUsize::new(0),
            turns: AtomicU64::new(0),
            waker,
            deaf: AtomicBool::new(false),
            thread: OnceLock::new(),
        }
    }

    /// Says which thread is the loop's own; only the first one counts.
    pub(super) fn set_thread(&self, thread: Thread) {
        let _ = self.thread.set(thread);
    }

    fn swap(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// A caller becomes the driver, if there is none and none is on its way.
    pub(super) fn enter(&self) -> bool {
        let entered = self.swap(IDLE, DRIVEN);
        if entered {
            self.turns.fetch_add(1, Ordering::Relaxed);
        }
        entered
    }

    /// The loop's thread becomes the driver, unless a caller is; whether it was called for.
    pub(super) fn take_over(&self) -> Option<bool> {
        if self.swap(CALLED, DRIVEN) {
            return Some(true);
        }
        self.swap(IDLE, DRIVEN).then_some(false)
    }

    /// How often callers have driven so far.
    pub(super) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// The driver stops. `must_go_on`: what it leaves behind cannot wait. `more` looks for such things once
    /// more, after who brings them could see that nobody drives.
    pub(super) fn leave(&self, must_go_on: bool, more: impl FnOnce() -> bool) {
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

    /// Says that the driver is about to sleep; it has to look at the mailbox once more after this.
    pub(super) fn about_to_sleep(&self) {
        self.state.store(ASLEEP, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Says that the driver is awake again.
    pub(super) fn awake(&self) {
        self.state.store(DRIVEN, Ordering::SeqCst);
    }

    /// Has what was posted looked at: wakes the driver if it sleeps, calls the loop's thread if nobody drives.
    pub(super) fn call(&self) {
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
    pub(super) fn go_deaf(&self) {
        self.deaf.store(true, Ordering::SeqCst);
    }

    /// Wakes the driver. That fails only on a broken eventfd; then the loop ends when it next wakes, as it does for a heartbeat.
    fn wake(&self) {
        if (0..WAKE_TRIES).all(|_| self.waker.wake().is_err()) {
            self.deaf.store(true, Ordering::SeqCst);
        }
    }

    /// Whether a driver could not be woken: what is posted may lie there unseen.
    pub(super) fn is_deaf(&self) -> bool {
        self.deaf.load(Ordering::Relaxed)
    }

    /// Counts a caller that is about to sleep; false when nobody drives, so that it should itself.
    pub(super) fn park(&self) -> bool {
        self.parked.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.state.load(Ordering::SeqCst) != IDLE
    }

    /// Takes a [`Gate::park`] back: by who fills the slot, or by the caller that does not sleep after all.
    /// How many still sleep.
    pub(super) fn unparked(&self) -> usize {
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

    /// A gate that the loop's thread has taken over and left.
    fn left() -> (mio::Poll, Gate) {
        let poll = mio::Poll::new().unwrap();
        let gate = Gate::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
        gate.set_thread(std::thread::current());
        assert!(!gate.enter(), "the loop's thread comes first");
        assert_eq!(gate.take_over(), Some(true));
        gate.leave(false, || false);
        (poll, gate)
    }

    /// Whether this thread, which stands for the loop's, was called.
    fn called(gate: &Gate) -> bool {
        gate.state.load(Ordering::SeqCst) == CALLED
    }

    #[test]
    fn one_thread_drives_at_a_time() {
        let (_poll, gate) = left();
        assert!(gate.enter() && !gate.enter());
        assert_eq!(gate.take_over(), None, "a caller drives");
        gate.leave(false, || false);
        assert_eq!((gate.take_over(), gate.turns()), (Some(false), 1));
        assert!(!gate.enter());
    }

    #[test]
    fn who_leaves_has_what_cannot_wait_looked_after() {
        let (_poll, gate) = left();
        for (must_go_on, parks, more) in [(true, false, false), (false, true, false), (false, false, true)] {
            assert!(gate.enter());
            if parks {
                assert!(gate.park(), "somebody drives");
            }
            gate.leave(must_go_on, || more);
            assert!(called(&gate) && !gate.enter(), "{must_go_on} {parks} {more}");
            assert_eq!(gate.take_over(), Some(true));
            if parks {
                assert_eq!(gate.unparked(), 0);
            }
            gate.leave(false, || false);
            assert!(!called(&gate));
        }
    }

    #[test]
    fn a_post_wakes_who_sleeps_or_calls_the_loops_thread() {
        let (mut poll, gate) = left();
        let mut events = mio::Events::with_capacity(1);
        let mut woken = || {
            poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
            !events.is_empty()
        };
        gate.call();
        assert!(called(&gate) && !woken());
        gate.take_over().unwrap();
        gate.call();
        assert!(!called(&gate) && !woken(), "the driver is awake and looks by itself");
        gate.about_to_sleep();
        gate.call();
        gate.call();
        assert!(woken() && !woken(), "once");
        gate.awake();
        gate.leave(false, || false);
        assert!(!gate.park(), "nobody drives: who would park should");
    }
}
