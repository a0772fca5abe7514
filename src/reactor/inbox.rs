//! Many calls that one thread waits for: what has ended, in the order in which it did.
//!
//! What it deliberately does not do: know the calls; each has a number that its owner chose.
//!
//! What always holds: an end is put in and taken out at a cost that does not depend on how many calls there are;
//! there are never more ends in it than calls that were added.

use super::drive::Engine;
use super::slot::{Awaited, Slot};
use crate::state::action::CallEnd;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

#[derive(Default)]
struct State {
    ended: VecDeque<(usize, Option<CallEnd>)>,
    waiter: Option<Thread>,
}

/// See the module's text.
#[derive(Clone, Default)]
pub(crate) struct Inbox(Arc<Mutex<State>>);

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the end of a call put in here under that number.
    pub(crate) fn add(&self, number: usize, slot: &Slot) {
        let inbox = self.clone();
        slot.then(Box::new(move |end| inbox.put(number, end)));
    }

    /// The same for a call of another host than the one whose loop the owner waits in.
    pub(crate) fn add_foreign(&self, number: usize, slot: &Slot, home: Arc<Engine>) {
        let inbox = self.clone();
        slot.then(Box::new(move |end| {
            home.ended_elsewhere(inbox.put(number, end));
            false
        }));
    }

    fn put(&self, number: usize, end: Option<CallEnd>) -> bool {
        let mut state = self.lock();
        state.ended.push_back((number, end));
        let waiter = state.waiter.take();
        drop(state);
        waiter.as_ref().map(Thread::unpark).is_some()
    }

    /// The call that ended first of those that were not taken; `None` as its end where the loop ended.
    pub(crate) fn take(&self) -> Option<(usize, Option<CallEnd>)> {
        self.lock().ended.pop_front()
    }
}

impl Awaited for Inbox {
    fn is_done(&self) -> bool {
        !self.lock().ended.is_empty()
    }

    fn enlist(&self) -> bool {
        let mut state = self.lock();
        let is_empty = state.ended.is_empty();
        if is_empty {
            state.waiter = Some(std::thread::current());
        }
        is_empty
    }

    fn withdraw(&self) -> bool {
        self.lock().waiter.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_come_in_their_order_and_wake_who_waits_once() {
        let inbox = Inbox::default();
        let slots: Vec<Slot> = (0..3).map(|_| Slot::default()).collect();
        let fills: Vec<_> = slots.iter().map(Slot::fill).collect();
        slots.iter().enumerate().for_each(|(number, slot)| inbox.add(number, slot));
        assert!(!inbox.is_done() && inbox.take().is_none() && inbox.enlist());
        fills.into_iter().rev().for_each(drop);
        assert!(!inbox.withdraw(), "it was woken");
        assert!(inbox.is_done() && !inbox.enlist());
        let order: Vec<usize> = std::iter::from_fn(|| inbox.take()).map(|(number, _)| number).collect();
        assert_eq!(order, [2, 1, 0]);
    }
}
