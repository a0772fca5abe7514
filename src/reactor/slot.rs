//! The end of one call, on its way from the event loop to the thread that waits for it.
//!
//! What always holds: it is filled once, or its filler is dropped, and either wakes the one who waits; a
//! thread that does not wait is not woken, which saves a system call.

use crate::state::action::CallEnd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

#[derive(Default)]
struct State {
    end: Option<CallEnd>,
    /// The filler has gone: nothing comes any more.
    over: bool,
    waiter: Option<Thread>,
}

/// The end that waits.
#[derive(Clone, Default)]
pub(crate) struct Slot(Arc<Mutex<State>>);

/// The end that is told. Dropping it unused says that the event loop has ended.
pub(crate) struct Fill(Arc<Mutex<State>>);

/// What is in a slot.
pub(crate) enum Taken {
    End(CallEnd),
    /// Nothing yet.
    Nothing,
    /// Nothing ever.
    Over,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    /// Its other end; one per slot.
    pub(crate) fn fill(&self) -> Fill {
        Fill(Arc::clone(&self.0))
    }

    pub(crate) fn take(&self) -> Taken {
        let mut state = lock(&self.0);
        match state.end.take() {
            Some(end) => Taken::End(end),
            None if state.over => Taken::Over,
            None => Taken::Nothing,
        }
    }

    /// Whether there is something to take, or never will be.
    pub(super) fn is_done(&self) -> bool {
        let state = lock(&self.0);
        state.end.is_some() || state.over
    }

    /// Has this thread unparked once there is something; false when there is already.
    pub(super) fn enlist(&self) -> bool {
        let mut state = lock(&self.0);
        if state.end.is_some() || state.over {
            return false;
        }
        state.waiter = Some(std::thread::current());
        true
    }

    /// Takes [`Slot::enlist`] back; false when the thread has been unparked meanwhile.
    pub(super) fn withdraw(&self) -> bool {
        lock(&self.0).waiter.take().is_some()
    }
}

impl Fill {
    /// Puts the end in; whether somebody waited for it and is woken.
    pub(super) fn fill(self, end: CallEnd) -> bool {
        self.tell(Some(end))
    }

    fn tell(&self, end: Option<CallEnd>) -> bool {
        let mut state = lock(&self.0);
        state.end = end;
        state.over = true;
        let waiter = state.waiter.take();
        drop(state);
        waiter.as_ref().map(Thread::unpark).is_some()
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        // What `fill` put in stays.
        if !lock(&self.0).over {
            self.tell(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn end() -> CallEnd {
        CallEnd { result: Ok(Default::default()), generation: None, took: Duration::ZERO, is_recorded: false }
    }

    #[test]
    fn what_is_filled_in_is_taken_once() {
        let slot = Slot::default();
        let fill = slot.fill();
        assert!(!slot.is_done() && matches!(slot.take(), Taken::Nothing));
        assert!(!fill.fill(end()), "nobody waited");
        assert!(slot.is_done() && !slot.enlist());
        assert!(matches!(slot.take(), Taken::End(_)) && matches!(slot.take(), Taken::Over));
    }

    #[test]
    fn who_waits_is_woken_by_the_end_and_by_the_end_of_the_loop() {
        for ended in [false, true] {
            let slot = Slot::default();
            let fill = slot.fill();
            assert!(slot.enlist() && slot.withdraw() && slot.enlist());
            if ended {
                drop(fill);
            } else {
                assert!(fill.fill(end()));
            }
            // The token is there already: this returns at once.
            std::thread::park_timeout(Duration::from_secs(20));
            assert!(!slot.withdraw(), "it was woken");
            assert_eq!(matches!(slot.take(), Taken::Over), ended);
        }
    }
}
