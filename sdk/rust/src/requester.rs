//! Requests to the host: checked, numbered, written, and waited for.
//!
//! What it deliberately does not do: know the calls that are served. A handler that waits gives its place to another
//! call through [`Suspend`].
//!
//! What always holds: nothing is sent that would make the host end the connection; a request that was not sent is known
//! as such; one that is under way ends by its deadline, with the session, with the call that it was made for, or with
//! its answer, whichever is first; dropping it cancels it.

use crate::attachments::{Frames, attach};
use crate::connection::{Outbox, PushError};
use crate::current_call::{self, Activity, SessionNumber};
use crate::reply_slot::{ReplySlot, ReplyState};
use crate::requests_out::{HostRequests, cancelled};
use crate::standstills::Standstills;
use crate::terms::Terms;
use rpc_plugin_interface::caller::{Outgoing, Reply};
use rpc_plugin_interface::context::Context;
use rpc_plugin_interface::parcel::Parcel;
use rpc_plugin_peer::check;
use rpc_plugin_peer::running_time::{GRACE, WaitLimit};
use rpc_plugin_wire::message::{NewRequest, write_cancel, write_request};
use rpc_plugin_wire::{CallError, CancelCause, Chain, ErrorCode, RequestId};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long a request may take when neither it nor the call that it is made for names a time.
pub(crate) const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Function that is told of progress.
pub(crate) type OnProgress = Arc<dyn Fn(&RawValue) + Send + Sync>;

/// Gives the place of a handler that waits to another call.
pub(crate) trait Suspend: Send + Sync {
    /// Begins the wait of the handler of call `id` for `slot`. `run` is its number if it may have the reading role.
    /// Returns the number for [`Suspend::resume`].
    fn suspend(&self, id: &RequestId, run: Option<u64>, slot: &Arc<ReplySlot>) -> u64;

    /// Ends the wait: the handler goes on at once.
    fn resume(&self, number: u64);
}

/// The way to the host for one session. Any thread may use it.
pub(crate) struct Requester {
    /// The session that handlers' threads work for.
    pub(crate) session: SessionNumber,
    pub(crate) requests: HostRequests,
    terms: Arc<Terms>,
    outbox: Arc<Outbox>,
    places: Box<dyn Suspend>,
    /// What threads that wait have seen of this process standing still.
    pub(crate) standstills: Standstills,
}

impl Requester {
    /// `places` are those of the handlers of the same session.
    pub(crate) fn new(terms: Arc<Terms>, outbox: Arc<Outbox>, places: Box<dyn Suspend>) -> Requester {
        let (session, requests, standstills) =
            (SessionNumber::next(), HostRequests::default(), Standstills::default());
        Requester { session, requests, terms, outbox, places, standstills }
    }

    /// Sends a request; for `context`, where that is given.
    ///
    /// # Errors
    /// Why it was not sent.
    pub(crate) fn begin(
        self: &Arc<Requester>,
        context: Option<&Context>,
        made: Outgoing,
        on_progress: Option<OnProgress>,
    ) -> Result<OpenRequest, CallError> {
        let Outgoing { method, params, parcel, timeout, .. } = made;
        check(&method, params.as_deref(), parcel.fds.len())?;
        let chain = self.chain_of(context)?;
        let now = Instant::now();
        let left = time_for(context, timeout, now)?;
        let Parcel { fds, callbacks } = parcel;
        let attachments = self.terms.fd_transport.attach(fds)?;
        let slot = ReplySlot::new(context.cloned());
        let (is_call, wants_progress) = (true, on_progress.is_some());
        let asked = rpc_plugin_peer::NewRequest { method: method.clone(), is_call, wants_progress };
        let id = self.requests.open(asked, &slot, callbacks)?;
        let mut frames = Frames::default();
        let request = NewRequest {
            id,
            method: &method,
            params: params.as_deref(),
            deadline_ms: Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1)),
            progress: on_progress.is_some(),
            fds: attachments.fds(),
            chain: &chain,
            streams: attachments.numbers(),
        };
        let frame = frames.write(|out| write_request(out, &request));
        attach(&mut frames, frame, attachments);
        let made = (now, left);
        let sent = self.send_request(id, &slot, &mut frames, made);
        let is_wanted = sent.inspect_err(|_| self.requests.not_sent(id))?;
        let (requester, overdue) = (Arc::clone(self), OnceLock::new());
        let open = OpenRequest { requester, id, slot, made, overdue, on_progress, method };
        if !is_wanted {
            self.send_cancels([(id, None)]);
        } else if context.is_some_and(Context::is_cancelled) {
            // Cancelled before it was in the table, where it would have been found.
            open.cancel(context.and_then(Context::cancel_cause));
        }
        Ok(open)
    }

    /// The calls that led to one that is made for `context`.
    fn chain_of(&self, context: Option<&Context>) -> Result<Chain, CallError> {
        let Some(context) = context else { return Ok(Chain::default()) };
        context.chain().and(&self.terms.entry_of(context.id()))
    }

    /// Sends the frame of request `id`. Returns whether anybody still waits for it.
    fn send_request(
        &self,
        id: u64,
        slot: &Arc<ReplySlot>,
        frames: &mut Frames,
        (made, timeout): (Instant, Duration),
    ) -> Result<bool, CallError> {
        let (frame_bytes, frame_bytes_max) = (frames.waiting_bytes() - 1, self.terms.frame_bytes_max);
        if frame_bytes > frame_bytes_max {
            let text = format!("the request has {frame_bytes} bytes, at most {frame_bytes_max} are allowed");
            return Err(CallError::not_sent(ErrorCode::TooLarge, text));
        }
        let mut is_wanted = true;
        let mut placed = |frame| is_wanted = self.requests.sent(id, frame);
        let sent = match self.outbox.push_until(frames, || Duration::ZERO, || true, &mut placed) {
            // There is no room at once. Whoever runs a handler gives its place to others while it waits.
            Err(PushError::TooLate) => {
                let _place =
                    self.suspend(slot).map_err(|text| CallError::not_sent(ErrorCode::WouldDeadlock, text))?;
                let mut limit = WaitLimit::new(timeout);
                let left = || self.standstills.left(&mut limit, made);
                self.outbox.push_until(frames, left, || !slot.is_over(), &mut placed)
            }
            sent => sent,
        };
        sent.map(|()| is_wanted).map_err(|error| match error {
            PushError::Closed => {
                let text = "the connection to the host has ended";
                CallError::not_sent(ErrorCode::Unavailable, text)
            }
            PushError::TooLate | PushError::Unread(_) if slot.is_over() => cancelled(false),
            PushError::TooLate | PushError::Unread(_) => {
                let text = "the host did not read what was sent to it before, until the deadline";
                CallError::not_sent(ErrorCode::DeadlineExceeded, text)
            }
        })
    }

    /// Tells the host that nobody waits for these requests any more. Never waits.
    fn send_cancels(&self, ids: impl IntoIterator<Item = (u64, Option<CancelCause>)>) {
        let mut frames = Frames::default();
        for (id, cause) in ids {
            frames.write(|out| write_cancel(out, id, cause.as_ref()));
        }
        // As many as there are requests, and short.
        self.outbox.leave(&mut frames);
    }

    /// Ends the requests that were made for calls which are cancelled by now.
    pub(crate) fn end_cancelled(&self) {
        self.send_cancels(self.requests.end_cancelled());
        self.outbox.nudge();
    }

    /// Begins a wait for `slot`. A handler gives its place while it lasts, if it may.
    ///
    /// # Errors
    /// This is the thread that reads from the host.
    fn suspend(&self, slot: &Arc<ReplySlot>) -> Result<Option<Suspended<'_>>, &'static str> {
        let (id, run) = match current_call::activity(self.session) {
            // A thread of the author's own, or one that has given its place already.
            None | Some(Activity::Waiting) => return Ok(None),
            Some(Activity::Reading) => return Err("the thread that reads from the host cannot wait for it"),
            Some(Activity::Running { id, run }) => (id, run),
        };
        let number = self.places.suspend(&id, run, slot);
        let was = current_call::set(Activity::Waiting);
        Ok(Some(Suspended { places: &*self.places, number, was }))
    }
}

/// A handler's wait, which ends when this is dropped.
struct Suspended<'r> {
    places: &'r dyn Suspend,
    number: u64,
    was: Option<Activity>,
}

impl Drop for Suspended<'_> {
    fn drop(&mut self) {
        self.places.resume(self.number);
        if let Some(was) = self.was.take() {
            current_call::set(was);
        }
    }
}

/// A request that was sent. Dropping it cancels it.
pub(crate) struct OpenRequest {
    requester: Arc<Requester>,
    pub(crate) id: u64,
    slot: Arc<ReplySlot>,
    /// When it was made, and how long it may take.
    made: (Instant, Duration),
    /// When it was first seen that it takes longer, by whoever does not wait.
    overdue: OnceLock<Instant>,
    on_progress: Option<OnProgress>,
    method: Cow<'static, str>,
}

impl OpenRequest {
    /// Ends it with `cancelled`, unless it has ended, and tells the host, for this cause.
    pub(crate) fn cancel(&self, cause: Option<CancelCause>) {
        self.end(cancelled, cause);
    }

    fn end(&self, with: impl FnOnce(bool) -> CallError, cause: Option<CancelCause>) {
        if self.requester.requests.end(self.id, with) {
            self.requester.send_cancels([(self.id, cause)]);
        }
    }

    /// Waits for the end: the result in JSON and what came beside it.
    ///
    /// # Errors
    /// Why there is no result.
    pub(crate) fn wait(self) -> Result<Reply, CallError> {
        if !self.slot.is_over() {
            let (made, timeout) = self.made;
            let mut limit = WaitLimit::new(timeout);
            // Before the place is given to others: whoever sees that it is given knows that a standstill would be seen.
            self.requester.standstills.left(&mut limit, made);
            let suspended = self.requester.suspend(&self.slot);
            let suspended =
                suspended.map_err(|text| CallError::indeterminate(ErrorCode::WouldDeadlock, text))?;
            self.wait_over(limit);
            // Without the slot's lock: whoever has that of the places may ask for the slot's.
            drop(suspended);
        }
        let end = self.tell(self.slot.lock()).end.take();
        end.unwrap_or_else(|| Err(cancelled(true)))
    }

    /// The end, if it is there; once. Does not wait.
    pub(crate) fn try_wait(&self) -> Option<Result<Reply, CallError>> {
        let mut state = self.tell(self.slot.lock());
        if state.end.is_none() && self.is_given_up() {
            drop(state);
            self.give_up();
            state = self.slot.lock();
        }
        state.end.take()
    }

    /// Whether its time is over, and whoever reads had some more to take in what came before: nobody knows how late it is
    /// that somebody looks.
    fn is_given_up(&self) -> bool {
        let (made, timeout) = self.made;
        made.elapsed() >= timeout && self.overdue.get_or_init(Instant::now).elapsed() >= GRACE
    }

    /// Waits until it is over, telling of progress meanwhile.
    fn wait_over(&self, mut limit: WaitLimit) {
        let mut state = self.slot.lock();
        loop {
            // Also once it is over: who slept through a standstill may be the only one that saw it.
            let left = self.requester.standstills.left(&mut limit, self.made.0);
            if state.end.is_some() {
                return;
            }
            if left.is_zero() && state.progress.is_empty() {
                drop(state);
                self.give_up();
                return;
            }
            state = self.tell(state);
            if state.end.is_none() && state.progress.is_empty() {
                let waited = self.slot.changed.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// Ends it because the deadline has passed.
    fn give_up(&self) {
        let late = |is_sent| {
            let text = format!("the host did not answer {} in time", self.method);
            let make = if is_sent { CallError::indeterminate } else { CallError::not_sent };
            make(ErrorCode::DeadlineExceeded, Cow::Owned(text))
        };
        self.end(late, Some(CancelCause::DEADLINE));
    }

    /// Tells what has come of progress, without the lock.
    fn tell<'s>(&'s self, mut state: MutexGuard<'s, ReplyState>) -> MutexGuard<'s, ReplyState> {
        while let Some(value) = state.progress.pop_front() {
            drop(state);
            if let Some(on_progress) = &self.on_progress {
                on_progress(&value);
            }
            state = self.slot.lock();
        }
        state
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.cancel(None);
    }
}

/// How long a request may take: what is asked for, and no longer than the call that it is made for.
fn time_for(
    context: Option<&Context>,
    timeout: Option<Duration>,
    now: Instant,
) -> Result<Duration, CallError> {
    let of_context = context.and_then(Context::deadline).map(|end| end.saturating_duration_since(now));
    let left = match (timeout, of_context) {
        (Some(timeout), Some(left)) => timeout.min(left),
        (Some(left), None) | (None, Some(left)) => left,
        (None, None) => TIMEOUT_DEFAULT,
    };
    if left.is_zero() {
        let text = "no time was left for the call";
        return Err(CallError::not_sent(ErrorCode::DeadlineExceeded, text));
    }
    // As good as for ever; a number of milliseconds that the clock cannot hold is none.
    Ok(left.min(Duration::from_secs(u32::MAX.into())))
}
