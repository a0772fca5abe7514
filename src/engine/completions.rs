//! Calls that one thread waits for together: their ends, in the order in which they came.
//!
//! What it deliberately does not do: know the calls; each has a number that its owner chose.
//!
//! What always holds: an end is put in and taken out at a cost that does not depend on how many calls there are;
//! there are never more ends in it than calls that were added.

use super::reply::{Awaitable, ReplySlot};
use crate::state::call::CallEnd;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

#[derive(Default)]
struct Completions {
    ended: VecDeque<(usize, Option<Box<CallEnd>>)>,
    waiter: Option<Thread>,
}

/// Ends of calls, each with the number of its call. Clones are the same queue.
#[derive(Clone, Default)]
pub(crate) struct CompletionQueue(Arc<Mutex<Completions>>);

impl CompletionQueue {
    fn lock(&self) -> MutexGuard<'_, Completions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the end of a call put in here, under that number.
    pub(crate) fn add(&self, number: usize, slot: &ReplySlot) {
        let queue = self.clone();
        slot.then(Box::new(move |end| queue.put(number, end)));
    }

    /// Puts the end of a call in. Returns whether a thread waited for it and is woken.
    pub(crate) fn put(&self, number: usize, end: Option<Box<CallEnd>>) -> bool {
        let mut state = self.lock();
        state.ended.push_back((number, end));
        let waiter = state.waiter.take();
        drop(state);
        waiter.as_ref().map(Thread::unpark).is_some()
    }

    /// Takes the oldest end, with the number of its call; `None` as the end where the loop ended.
    pub(crate) fn take(&self) -> Option<(usize, Option<Box<CallEnd>>)> {
        self.lock().ended.pop_front()
    }
}

impl Awaitable for CompletionQueue {
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
        let queue = CompletionQueue::default();
        let slots: Vec<ReplySlot> = (0..3).map(|_| ReplySlot::default()).collect();
        let senders: Vec<_> = slots.iter().map(ReplySlot::sender).collect();
        slots.iter().enumerate().for_each(|(number, slot)| queue.add(number, slot));
        assert!(!queue.is_done() && queue.take().is_none() && queue.enlist());
        senders.into_iter().rev().for_each(drop);
        assert!(!queue.withdraw(), "it was woken");
        assert!(queue.is_done() && !queue.enlist());
        let order: Vec<usize> = std::iter::from_fn(|| queue.take()).map(|(number, _)| number).collect();
        assert_eq!(order, [2, 1, 0]);
    }
}
