//! Calls that were begun: waiting for them, their progress, cancelling them.
//!
//! What always holds: a call that nobody can wait for any more is cancelled, unless it was left to itself on
//! purpose; every wait ends, since every call ends by its deadline.

use super::call_reply::{CallResult, at, reply};
use super::cancel_token::CancelToken;
use super::services::callback_table::RegisteredCallbacks;
use super::services::current_call::{wait_for, wait_with};
use super::shared::HostShared;
use crate::engine::{Awaitable, CompletionQueue, Engine, NextProgress, ReplySlot, SharedWaiter, SlotContent};
use crate::reactor::{LoopCommand, Reactor};
use crate::state::call::{CallEnd, Target};
use rpc_plugin_interface::context::CancelHook;
use rpc_plugin_wire::{CallError, CancelCause, ErrorCode};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// A call on its way. Dropping it cancels the call: the plugin is told by `rpc.cancel`, or never sees the call if no
/// byte of it was written yet.
#[must_use = "dropping it cancels the call; see PendingCall::detach"]
pub struct PendingCall {
    slot: ReplySlot,
    host: Arc<HostShared>,
    target: Target,
    /// What the plugin may call back.
    registered: Option<RegisteredCallbacks>,
    /// Its end was taken, or it was left to itself or to somebody else.
    released: bool,
}

impl std::fmt::Debug for PendingCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingCall").field("target", &self.target).finish_non_exhaustive()
    }
}

impl PendingCall {
    pub(super) fn new(
        slot: ReplySlot,
        host: Arc<HostShared>,
        target: Target,
        registered: Option<RegisteredCallbacks>,
    ) -> PendingCall {
        PendingCall { slot, host, target, registered, released: false }
    }

    fn release(mut self, end: Option<Box<CallEnd>>) -> CallResult {
        self.released = true;
        reply(end, &self.target)
    }

    /// Waits for the end of the call, which comes by its deadline.
    ///
    /// # Errors
    /// As [`Callee::call`](super::Callee::call).
    pub fn wait(self) -> CallResult {
        self.wait_watched(None, None)
    }

    /// Waits for the end as [`PendingCall::wait`] does, tells of progress meanwhile, and gives up once `token` says so.
    pub(crate) fn wait_watched(
        self,
        tell: Option<&dyn Fn(&RawValue)>,
        token: Option<&CancelToken>,
    ) -> CallResult {
        let _hook = token.map(|token| token.hook(self.host.canceller(&self.slot)));
        if let Some(tell) = tell {
            self.progress().for_each(|value| tell(&value));
        }
        let end = wait_for(|| self.host.canceller(&self.slot), || self.host.engine.wait(&self.slot))?;
        if end.is_none() && token.is_some_and(CancelToken::is_cancelled) {
            let cause =
                token.and_then(CancelToken::cancel_cause).map_or(String::new(), |why| format!(": {why}"));
            let text = format!("its caller cancelled the call{cause}; the plugin may have executed it");
            let error = CallError::indeterminate(ErrorCode::Cancelled, text);
            return Err(at(error, &self.target));
        }
        self.release(end)
    }

    /// Waits for the end of the call for so long.
    ///
    /// # Errors
    /// Gives the call back if it has not ended.
    pub fn wait_timeout(self, timeout: Duration) -> Result<CallResult, PendingCall> {
        let wait = || self.host.engine.wait_for(&self.slot, Some(timeout));
        wait_with(|| self.host.canceller(&self.slot), wait);
        self.try_wait()
    }

    /// The end of the call, if it has ended. Does not look for it: who only ever asks this leaves that to the
    /// host's own thread, which does within a millisecond or two.
    ///
    /// # Errors
    /// Gives the call back if it has not ended.
    pub fn try_wait(self) -> Result<CallResult, PendingCall> {
        match self.slot.take() {
            SlotContent::End(end) => Ok(self.release(Some(end))),
            SlotContent::Closed => Ok(self.release(None)),
            SlotContent::Empty => Err(self),
        }
    }

    /// Whether the call has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.slot.is_done()
    }

    /// Cancels the call: it has no end any more, for nobody. The same as dropping it.
    pub fn cancel(self) {}

    /// Cancels the call for this cause: at most 256 bytes, cut at a character. The plugin's handler and the record are told.
    pub fn cancel_with(mut self, cause: impl Into<CancelCause>) {
        self.released = true;
        if !self.slot.is_done() {
            self.host.engine.execute(LoopCommand::Cancel(vec![self.slot.clone()], Some(cause.into())));
        }
    }

    /// Leaves the call to itself: the plugin executes it, and nobody is told how it ends.
    pub fn detach(mut self) {
        self.released = true;
    }

    /// Has `callback` called with the end of the call, on one of two threads that the host keeps for that. It may
    /// block, and call plugins; a panic in it is caught and costs nothing else. Where 65,536 callbacks wait already
    /// the call is cancelled, and the callback is called here and now, with `overloaded`.
    pub fn on_done(mut self, callback: impl FnOnce(CallResult) + Send + 'static) {
        let Some(place) = self.host.callbacks.reserve() else {
            let error = super::callbacks::too_many();
            drop(self);
            return callback(Err(error));
        };
        self.released = true;
        let (target, registered) = (self.target.clone(), self.registered.take());
        self.slot.then(Box::new(move |end| {
            drop(registered);
            place.run(Box::new(move || callback(reply(end, &target))));
            false
        }));
    }

    /// What the plugin tells of the call's progress, until the call has ended; nothing without
    /// [`CallOptions::progress`](super::CallOptions::progress). Values that nobody takes wait: the newest 256 of them
    /// and a mebibyte, see [`ProgressIter::missed`]. Then [`PendingCall::wait`] gives the end.
    #[must_use]
    pub fn progress(&self) -> ProgressIter<'_> {
        ProgressIter { call: self }
    }

    /// The progress of the call, each value read as a type; see [`PendingCall::progress`].
    #[must_use]
    pub fn progress_as<T: DeserializeOwned>(&self) -> ProgressAs<'_, T> {
        ProgressAs { iter: self.progress(), value: PhantomData }
    }

    /// Hands the end to a queue, under this number. `home` is what drives the host in whose loop the queue is waited for.
    pub(super) fn forward(&self, completions: &CompletionQueue, number: usize, home: &Arc<Engine<Reactor>>) {
        if Arc::ptr_eq(home, &self.host.engine) {
            return completions.add(number, &self.slot);
        }
        let (completions, home) = (completions.clone(), Arc::clone(home));
        self.slot.then(Box::new(move |end| {
            home.ended_elsewhere(completions.put(number, end), LoopCommand::Look);
            false
        }));
    }

    /// What drives its host.
    pub(super) fn engine(&self) -> &Arc<Engine<Reactor>> {
        &self.host.engine
    }

    /// Says how a call that was forwarded ended.
    pub(super) fn ended(self, end: Option<Box<CallEnd>>) -> CallResult {
        self.release(end)
    }

    /// What cancels those of the first one's host.
    pub(super) fn canceller_of<'a>(calls: impl Iterator<Item = &'a PendingCall>) -> CancelHook {
        let mut calls = calls.peekable();
        let Some(host) = calls.peek().map(|call| Arc::clone(&call.host)) else { return Box::new(|_| {}) };
        let of_host = calls.filter(|call| Arc::ptr_eq(&call.host, &host));
        let slots = of_host.map(|call| call.slot.clone()).collect();
        Box::new(move |cause| host.engine.execute(LoopCommand::Cancel(slots, cause)))
    }

    /// Cancels many at once, which is one command to the loop.
    pub(super) fn cancel_all(calls: impl Iterator<Item = PendingCall>) {
        let mut host = None;
        let mut slots = Vec::new();
        for mut call in calls {
            call.released = true;
            let of = host.get_or_insert_with(|| Arc::clone(&call.host));
            if Arc::ptr_eq(of, &call.host) {
                slots.push(call.slot.clone());
            } else {
                // Of another host: by itself.
                call.released = false;
            }
        }
        if let Some(host) = host {
            host.engine.execute(LoopCommand::Cancel(slots, None));
        }
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        if !self.released && !self.slot.is_done() {
            self.host.engine.execute(LoopCommand::Cancel(vec![self.slot.clone()], None));
        }
    }
}

/// The progress of one call; see [`PendingCall::progress`]. `next` waits, and does the loop's work meanwhile as every
/// wait for a call does.
#[derive(Debug)]
pub struct ProgressIter<'a> {
    call: &'a PendingCall,
}

impl ProgressIter<'_> {
    /// The next value if one comes within `timeout`; `None` also when the call has ended.
    pub fn next_within(&mut self, timeout: Duration) -> Option<Box<RawValue>> {
        self.next_by(Some(timeout))
    }

    fn next_by(&mut self, timeout: Option<Duration>) -> Option<Box<RawValue>> {
        let slot = &self.call.slot;
        if let Some(value) = slot.take_progress() {
            return Some(value);
        }
        let host = &self.call.host;
        wait_with(|| host.canceller(slot), || host.engine.wait_for(&NextProgress(slot), timeout));
        slot.take_progress()
    }

    /// Values that were dropped because too many waited to be taken.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.call.slot.progress_missed()
    }
}

impl Iterator for ProgressIter<'_> {
    type Item = Box<RawValue>;

    fn next(&mut self) -> Option<Box<RawValue>> {
        self.next_by(None)
    }
}

/// The progress of one call as a type; see [`PendingCall::progress_as`].
#[derive(Debug)]
pub struct ProgressAs<'a, T> {
    iter: ProgressIter<'a>,
    value: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Iterator for ProgressAs<'_, T> {
    type Item = Result<T, serde_json::Error>;

    fn next(&mut self) -> Option<Result<T, serde_json::Error>> {
        Some(serde_json::from_str(self.iter.next()?.get()))
    }
}

/// Several calls, of which the first that ends is awaited.
struct AnyOf<'a> {
    calls: &'a [PendingCall],
    /// Of the last time that this thread was enlisted.
    shared: RefCell<Option<Arc<SharedWaiter>>>,
}

impl AnyOf<'_> {
    /// Those of the host whose loop is driven meanwhile; another's could not wake this thread there.
    fn at_home(&self) -> impl Iterator<Item = &PendingCall> {
        let home = self.calls.first().map(PendingCall::engine);
        self.calls.iter().filter(move |call| home.is_some_and(|home| Arc::ptr_eq(home, call.engine())))
    }
}

impl Awaitable for AnyOf<'_> {
    fn is_done(&self) -> bool {
        self.calls.iter().any(PendingCall::is_done)
    }

    fn enlist(&self) -> bool {
        let shared = SharedWaiter::new();
        let all = self.at_home().all(|call| call.slot.enlist_shared(&shared));
        // Where one has ended already, another may have woken this thread meanwhile: then it is as if it had slept.
        let enlisted = all || !shared.take();
        self.shared.replace(Some(shared));
        enlisted
    }

    fn withdraw(&self) -> bool {
        self.shared.take().is_some_and(|shared| shared.take())
    }
}

/// Waits until one of the calls has ended, takes it out, and gives the place that it had and how it ended; `None`
/// if there are none. The work is in proportion to how many there are: a [`CallSet`](super::CallSet) is for many, and
/// for calls of several hosts: here those of another host than the first one's are looked at only before the wait.
pub fn wait_any(calls: &mut Vec<PendingCall>) -> Option<(usize, CallResult)> {
    loop {
        let host = Arc::clone(&calls.first()?.host);
        if let Some(place) = calls.iter().position(PendingCall::is_done) {
            let end = calls.remove(place).try_wait();
            match end {
                Ok(result) => return Some((place, result)),
                // Not reached: what is done stays so.
                Err(call) => calls.insert(place, call),
            }
        }
        let any = AnyOf { calls, shared: RefCell::default() };
        wait_with(|| PendingCall::canceller_of(calls.iter()), || host.engine.wait_for(&any, None));
    }
}
