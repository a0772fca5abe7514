//! The end of one call, and its progress, on their way from the event loop to who waits for them.
//!
//! What always holds: it is filled once, or its filler is dropped, and either wakes the one who waits; a
//! thread that does not wait is not woken, which saves a system call; progress that nobody takes is bounded, and
//! what is dropped of it is counted.

use crate::state::call::CallEnd;
use crate::state::keys::CallKey;
use serde_json::value::RawValue;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

/// Values of the progress of one call that wait to be taken; beyond it the oldest is dropped.
const PROGRESS_MAX: usize = 256;
/// Bytes of them; beyond it the oldest is dropped, but never the newest.
const PROGRESS_BYTES_MAX: usize = 1024 * 1024;

/// A call that has not begun has no key. No key of a slab has this value.
const NO_KEY: u64 = u64::MAX;
/// A call that was cancelled before it began, and never will. No key of a slab has this value.
const CANCELLED: u64 = u64::MAX - 1;

/// Anything that a thread can wait for by driving the loop, or asleep.
pub(crate) trait Awaitable {
    /// Whether there is something to take, or never will be.
    fn is_done(&self) -> bool;
    /// Has this thread unparked once there is something. False: there is something already.
    fn enlist(&self) -> bool;
    /// Takes [`Awaitable::enlist`] back. False: the thread has been unparked meanwhile.
    fn withdraw(&self) -> bool;
}

/// Function that takes an end instead of the slot; `None`: the event loop has ended. Runs on the event loop, so it must
/// not block. Returns whether it woke a thread that was parked.
pub(crate) type Then = Box<dyn FnOnce(Option<Box<CallEnd>>) -> bool + Send>;

/// Thread that waits for the first of several slots. Only one of them wakes it.
pub(crate) struct SharedWaiter {
    thread: Thread,
    is_taken: AtomicBool,
}

impl SharedWaiter {
    pub(crate) fn new() -> Arc<SharedWaiter> {
        Arc::new(SharedWaiter { thread: std::thread::current(), is_taken: AtomicBool::new(false) })
    }

    /// Whether this is the first to take it.
    pub(crate) fn take(&self) -> bool {
        !self.is_taken.swap(true, Ordering::SeqCst)
    }
}

enum Waiter {
    /// Until the end.
    Own(Thread),
    /// Until the next progress, or the end.
    Progress(Thread),
    Shared(Arc<SharedWaiter>),
}

impl Waiter {
    /// Whether it was asleep, or about to be.
    fn wake(self) -> bool {
        match self {
            Waiter::Own(thread) | Waiter::Progress(thread) => {
                thread.unpark();
                true
            }
            Waiter::Shared(shared) => {
                let is_first = shared.take();
                if is_first {
                    shared.thread.unpark();
                }
                is_first
            }
        }
    }
}

/// Data that few calls need: who takes the end instead, and the progress.
#[derive(Default)]
struct Extras {
    then: Option<Then>,
    progress: VecDeque<Box<RawValue>>,
    progress_bytes: usize,
    missed: u64,
}

#[derive(Default)]
struct SlotState {
    end: Option<Box<CallEnd>>,
    /// The sender has gone: nothing comes any more.
    over: bool,
    waiter: Option<Waiter>,
    extras: Option<Box<Extras>>,
}

struct SlotCell {
    /// Under which key the loop knows the call.
    key: AtomicU64,
    state: Mutex<SlotState>,
}

impl SlotCell {
    fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Place where the end of one call arrives, and its progress. Clones are the same slot.
#[derive(Clone)]
pub(crate) struct ReplySlot(Arc<SlotCell>);

/// Sending side of one reply slot. Dropping it unused says that the event loop has ended, or the call was cancelled.
pub(crate) struct ReplySender(Arc<SlotCell>);

/// Content of a reply slot.
pub(crate) enum SlotContent {
    /// The end of the call.
    End(Box<CallEnd>),
    /// Nothing yet.
    Empty,
    /// Nothing any more: it was taken, or will never come.
    Closed,
}

impl Default for ReplySlot {
    fn default() -> ReplySlot {
        ReplySlot(Arc::new(SlotCell { key: AtomicU64::new(NO_KEY), state: Mutex::default() }))
    }
}

impl ReplySlot {
    /// The sending side. One per slot.
    pub(crate) fn sender(&self) -> ReplySender {
        ReplySender(Arc::clone(&self.0))
    }

    /// Cancels the call: gives the key under which the loop knows it, if it has begun. Else it never will: the command that
    /// begins it may still be on its way. For the driver of the loop.
    pub(crate) fn cancel(&self) -> Option<CallKey> {
        // Stored and read by who drives the loop; its lock orders the two.
        match self.0.key.load(Ordering::Relaxed) {
            NO_KEY => {
                self.0.key.store(CANCELLED, Ordering::Relaxed);
                None
            }
            CANCELLED => None,
            key => Some(CallKey(key)),
        }
    }

    pub(crate) fn take(&self) -> SlotContent {
        let mut state = self.0.lock();
        match state.end.take() {
            Some(end) => SlotContent::End(end),
            None if state.over => SlotContent::Closed,
            None => SlotContent::Empty,
        }
    }

    /// Hands the end to `then` once it comes, or now where it has come.
    pub(crate) fn then(&self, then: Then) {
        let mut state = self.0.lock();
        if !state.over {
            state.extras.get_or_insert_default().then = Some(then);
            return;
        }
        let end = state.end.take();
        drop(state);
        then(end);
    }

    /// The oldest value of the progress that was not taken.
    pub(crate) fn take_progress(&self) -> Option<Box<RawValue>> {
        let mut state = self.0.lock();
        let extras = state.extras.as_mut()?;
        let value = extras.progress.pop_front()?;
        extras.progress_bytes -= value.get().len();
        Some(value)
    }

    /// Values of the progress that were dropped because nobody took them in time.
    pub(crate) fn progress_missed(&self) -> u64 {
        self.0.lock().extras.as_ref().map_or(0, |extras| extras.missed)
    }

    fn enlist_as(&self, waiter: impl FnOnce() -> Waiter, done: impl Fn(&SlotState) -> bool) -> bool {
        let mut state = self.0.lock();
        if state.over || done(&state) {
            return false;
        }
        state.waiter = Some(waiter());
        true
    }

    /// Enlists a thread that waits for several.
    pub(crate) fn enlist_shared(&self, shared: &Arc<SharedWaiter>) -> bool {
        self.enlist_as(|| Waiter::Shared(Arc::clone(shared)), |_| false)
    }
}

impl Awaitable for ReplySlot {
    fn is_done(&self) -> bool {
        self.0.lock().over
    }

    fn enlist(&self) -> bool {
        self.enlist_as(|| Waiter::Own(std::thread::current()), |_| false)
    }

    fn withdraw(&self) -> bool {
        self.0.lock().waiter.take().is_some()
    }
}

/// The next progress of a call, or its end.
pub(crate) struct NextProgress<'a>(pub(crate) &'a ReplySlot);

fn has_progress(state: &SlotState) -> bool {
    state.extras.as_ref().is_some_and(|extras| !extras.progress.is_empty())
}

impl Awaitable for NextProgress<'_> {
    fn is_done(&self) -> bool {
        let state = self.0.0.lock();
        state.over || has_progress(&state)
    }

    fn enlist(&self) -> bool {
        self.0.enlist_as(|| Waiter::Progress(std::thread::current()), has_progress)
    }

    fn withdraw(&self) -> bool {
        self.0.withdraw()
    }
}

impl ReplySender {
    /// Whether the call was cancelled before it began.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.key.load(Ordering::Relaxed) == CANCELLED
    }

    /// The loop has begun the call under this key.
    pub(crate) fn begun(&self, key: CallKey) {
        self.0.key.store(key.0, Ordering::Relaxed);
    }

    /// Puts the end in. Returns whether a thread waited for it and is woken.
    pub(crate) fn send(self, end: Box<CallEnd>) -> bool {
        self.tell(Some(end))
    }

    /// Puts a value of the progress in. Returns whether a thread waited for it and is woken.
    pub(crate) fn progress(&self, value: Box<RawValue>) -> bool {
        let mut state = self.0.lock();
        let extras = state.extras.get_or_insert_default();
        extras.progress_bytes += value.get().len();
        extras.progress.push_back(value);
        while extras.progress.len() > PROGRESS_MAX
            || extras.progress_bytes > PROGRESS_BYTES_MAX && extras.progress.len() > 1
        {
            let dropped = extras.progress.pop_front();
            extras.progress_bytes -= dropped.map_or(0, |value| value.get().len());
            extras.missed += 1;
        }
        let waiter = match state.waiter.take() {
            Some(Waiter::Progress(thread)) => Some(Waiter::Progress(thread)),
            other => {
                state.waiter = other;
                None
            }
        };
        drop(state);
        waiter.is_some_and(Waiter::wake)
    }

    fn tell(&self, end: Option<Box<CallEnd>>) -> bool {
        let mut state = self.0.lock();
        state.over = true;
        let waiter = state.waiter.take();
        let then = state.extras.as_mut().and_then(|extras| extras.then.take());
        let Some(then) = then else {
            state.end = end;
            drop(state);
            return waiter.is_some_and(Waiter::wake);
        };
        drop(state);
        then(end)
    }
}

impl Drop for ReplySender {
    fn drop(&mut self) {
        // What `send` put in stays.
        let is_over = self.0.lock().over;
        if !is_over {
            self.tell(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn end() -> Box<CallEnd> {
        CallEnd::of(Ok(Default::default()), None, None)
    }

    fn value(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn a_call_that_is_cancelled_before_it_begins_never_does() {
        let (early, late) = (ReplySlot::default(), ReplySlot::default());
        let (early_sender, late_sender) = (early.sender(), late.sender());
        assert!(early.cancel().is_none() && early_sender.is_cancelled() && early.cancel().is_none());
        late_sender.begun(CallKey(7));
        assert!(late.cancel() == Some(CallKey(7)) && !late_sender.is_cancelled());
        drop(early_sender);
        assert!(matches!(early.take(), SlotContent::Closed));
    }

    #[test]
    fn what_is_filled_in_is_taken_once() {
        let slot = ReplySlot::default();
        let sender = slot.sender();
        assert!(!slot.is_done() && matches!(slot.take(), SlotContent::Empty));
        assert!(!sender.send(end()), "nobody waited");
        assert!(slot.is_done() && !slot.enlist());
        assert!(matches!(slot.take(), SlotContent::End(_)) && matches!(slot.take(), SlotContent::Closed));
    }

    #[test]
    fn who_waits_is_woken_by_the_end_and_by_the_end_of_the_loop() {
        for ended in [false, true] {
            let slot = ReplySlot::default();
            let sender = slot.sender();
            assert!(slot.enlist() && slot.withdraw() && slot.enlist());
            if ended {
                drop(sender);
            } else {
                assert!(sender.send(end()));
            }
            // The token is there already: this returns at once.
            std::thread::park_timeout(Duration::from_secs(20));
            assert!(!slot.withdraw(), "it was woken");
            assert_eq!(matches!(slot.take(), SlotContent::Closed), ended);
        }
    }

    #[test]
    fn an_end_goes_to_what_was_said_and_to_nobody_else() {
        for (early, ended) in [(false, false), (false, true), (true, false), (true, true)] {
            let slot = ReplySlot::default();
            let sender = slot.sender();
            let (told, receiver) = std::sync::mpsc::channel();
            let then: Then = Box::new(move |end| told.send(end.is_some()).is_ok());
            let finish = |sender: ReplySender| {
                if ended { drop(sender) } else { assert!(!sender.send(end()) || !early) }
            };
            if early {
                finish(sender);
                slot.then(then);
            } else {
                slot.then(then);
                assert!(receiver.try_recv().is_err());
                finish(sender);
            }
            assert_eq!(receiver.try_recv(), Ok(!ended));
            assert!(receiver.try_recv().is_err() && matches!(slot.take(), SlotContent::Closed));
        }
    }

    #[test]
    fn one_of_several_wakes_who_waits_for_all() {
        let slots = [ReplySlot::default(), ReplySlot::default()];
        let [first, second] = [slots[0].sender(), slots[1].sender()];
        let shared = SharedWaiter::new();
        assert!(slots.iter().all(|slot| slot.enlist_shared(&shared)));
        assert!(first.send(end()) && !second.send(end()), "it is counted once");
        assert!(!shared.take(), "it was woken");
    }

    #[test]
    fn progress_is_bounded_by_count_and_bytes_and_what_is_dropped_is_counted() {
        let slot = ReplySlot::default();
        let sender = slot.sender();
        assert!(slot.take_progress().is_none() && slot.enlist());
        assert!(!sender.progress(value("0")), "who waits for the end is not woken by progress");
        assert!(slot.withdraw());
        for number in 1..=PROGRESS_MAX {
            sender.progress(value(&number.to_string()));
        }
        assert_eq!(slot.progress_missed(), 1);
        assert_eq!(slot.take_progress().unwrap().get(), "1", "the oldest was dropped");
        let large = format!("\"{}\"", "x".repeat(PROGRESS_BYTES_MAX));
        sender.progress(value(&large));
        assert_eq!(slot.progress_missed(), PROGRESS_MAX as u64);
        assert_eq!(slot.take_progress().unwrap().get().len(), large.len(), "the newest stays");
        let next = NextProgress(&slot);
        assert!(!next.is_done() && next.enlist() && sender.progress(value("7")) && !next.withdraw());
        drop(sender);
        assert_eq!(slot.take_progress().unwrap().get(), "7", "what came before the end is there after it");
        assert!(next.is_done() && !next.enlist());
    }
}
