//! Requests to the host: checked, numbered, written; and what a handler's call has to do with the session.
//!
//! What it deliberately does not do: wait for answers; [`Started`] does.
//!
//! What always holds: nothing is sent that would make the host end the connection; a request that was not sent is
//! known as such.

use crate::answer::write_failure;
use crate::calls::{Slot, cancelled};
use crate::frames::Frames;
use crate::inbox::would_deadlock;
use crate::outbox::Refused;
use crate::pending::{OnProgress, Started};
use crate::seat::{self, Doing};
use crate::worker::Shared;
use rpc_plugin_interface::caller::{Outgoing, Reply, callback};
use rpc_plugin_interface::context::{Callee, Context};
use rpc_plugin_interface::parcel::Parcel;
use rpc_plugin_wire::ident::check_method;
use rpc_plugin_wire::limits::{CHAIN_MAX, FDS_PER_FRAME_MAX};
use rpc_plugin_wire::message::{NewRequest, fits_nesting, write_cancel, write_progress, write_request};
use rpc_plugin_wire::{CallError, Chain, ErrorCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a call has when neither it nor the call that it is made for names a time.
pub(crate) const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

impl Shared {
    /// Sends a request; for `context`, where that is given.
    pub(crate) fn begin(
        self: &Arc<Shared>,
        context: Option<&Context>,
        made: Outgoing,
        on_progress: Option<OnProgress>,
    ) -> Result<Started, CallError> {
        let Outgoing { method, params, parcel, timeout, idempotent: _ } = made;
        self.check(&method, params.as_deref(), &parcel)?;
        let chain = self.chain_of(context)?;
        let now = Instant::now();
        let (left, deadline) = time_for(context, timeout, now)?;
        let Parcel { fds, callbacks } = parcel;
        let packed = self.service.bulk.pack(fds);
        let beside = packed.map_err(|error| CallError::not_sent(error.code(), error.into_text()))?;
        let slot = Arc::new(Slot::new(context.cloned(), on_progress.is_some()));
        let id = self.calls.open(&slot, callbacks)?;
        let mut frames = Frames::default();
        let request = NewRequest {
            id,
            method: &method,
            params: params.as_deref(),
            deadline_ms: Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1)),
            progress: on_progress.is_some(),
            fds: beside.fds(),
            chain: &chain,
            streams: &beside.numbers(),
        };
        write_request(&mut frames.bytes, &request);
        frames.attach(0, beside);
        let sent = self.send_request(&slot, &mut frames, deadline);
        sent.inspect_err(|_| self.calls.not_sent(id))?;
        let is_unwanted = self.calls.sent(id);
        let started = Started { session: Arc::clone(self), id, slot, deadline, on_progress, method };
        if is_unwanted {
            self.send_cancels([id]);
        } else if context.is_some_and(Context::is_cancelled) {
            // Cancelled before it was in the table, where it would have been found.
            started.cancel();
        }
        Ok(started)
    }

    fn check(&self, method: &str, params: Option<&str>, parcel: &Parcel) -> Result<(), CallError> {
        let invalid = |text: String| Err(CallError::not_sent(ErrorCode::InvalidParams, text));
        if let Err(error) = check_method(method) {
            let text = format!("the method name {method:?} {error}");
            return Err(CallError::not_sent(ErrorCode::InvalidRequest, text));
        }
        if params.is_some_and(|params| !params.starts_with('{')) {
            return invalid("params must be a JSON object".to_owned());
        }
        if params.is_some_and(|params| !fits_nesting(params.as_bytes())) {
            return invalid("params are nested deeper than 127 levels, which is the most".to_owned());
        }
        if parcel.fds.len() > usize::from(FDS_PER_FRAME_MAX) {
            let fds = parcel.fds.len();
            return invalid(format!("{fds} file descriptors in one call, {FDS_PER_FRAME_MAX} are the most"));
        }
        Ok(())
    }

    /// The calls that led to one that is made for `context`.
    fn chain_of(&self, context: Option<&Context>) -> Result<Chain, CallError> {
        let Some(context) = context else { return Ok(Chain::default()) };
        let entry = self.service.entry_of(context.id());
        context.chain().and(&entry).ok_or_else(|| {
            let chain = context.chain();
            let text =
                format!("{CHAIN_MAX} calls have led to this one, which is the most: {chain} -> {entry}");
            CallError::not_sent(ErrorCode::WouldDeadlock, text)
        })
    }

    fn send_request(
        &self,
        slot: &Arc<Slot>,
        frames: &mut Frames,
        deadline: Instant,
    ) -> Result<(), CallError> {
        let (frame_bytes, frame_bytes_max) = (frames.len() - 1, self.service.frame_bytes_max);
        if frame_bytes > frame_bytes_max {
            let text = format!("the request has {frame_bytes} bytes, at most {frame_bytes_max} are allowed");
            return Err(CallError::not_sent(ErrorCode::TooLarge, text));
        }
        let sent = match self.outbox.push_until(frames, Instant::now(), || true) {
            // There is no room at once. Whoever runs a handler gives its place to others while it waits.
            Err(Refused::TooLate) => {
                let _place =
                    self.suspend(slot).map_err(|text| CallError::not_sent(ErrorCode::WouldDeadlock, text))?;
                self.outbox.push_until(frames, deadline, || !slot.is_over())
            }
            sent => sent,
        };
        sent.map_err(|refused| match refused {
            Refused::Closed => {
                let text = "the connection to the host has ended";
                CallError::not_sent(ErrorCode::Unavailable, text)
            }
            Refused::TooLate | Refused::Unread(_) if slot.is_over() => cancelled(false),
            Refused::TooLate | Refused::Unread(_) => {
                let text = "the host did not read what was sent to it before, until the deadline";
                CallError::not_sent(ErrorCode::DeadlineExceeded, text)
            }
        })
    }

    /// Tells the host that nobody waits for these any more. Never waits.
    pub(crate) fn send_cancels(&self, ids: impl IntoIterator<Item = u64>) {
        let mut frames = Frames::default();
        ids.into_iter().for_each(|id| write_cancel(&mut frames.bytes, id));
        // As many as there are requests, and short.
        self.outbox.leave(&mut frames);
    }

    /// After calls were cancelled: ends what was made for them.
    pub(crate) fn cancel_nested(&self) {
        self.send_cancels(self.calls.end_cancelled());
        self.outbox.nudge();
    }

    /// A wait for `slot` begins. A handler gives its place while it lasts, if it may.
    ///
    /// # Errors
    /// This is the thread that reads from the host.
    pub(crate) fn suspend(&self, slot: &Arc<Slot>) -> Result<Option<Place<'_>>, &'static str> {
        let (id, run) = match seat::doing(std::ptr::from_ref(self).addr()) {
            // A thread of the author's own, or one that has given its place already.
            None | Some(Doing::Waiting) => return Ok(None),
            Some(Doing::Reading) => return Err("the thread that reads from the host cannot wait for it"),
            Some(Doing::Running { id, run }) => (id, run),
        };
        let spawn = |number| self.me.upgrade().is_some_and(|me| me.start_worker(number).is_ok());
        let mut suspended = self.pool.suspend(run, self.service.entry_of(&id), slot, spawn);
        if let Some(number) = suspended.method {
            // A change of readers costs more than a thread of its own would have.
            self.service.blocked(number);
        }
        for job in suspended.stuck {
            let error = would_deadlock(&job.call);
            write_failure(&mut suspended.answers, job.call.id(), self.service.frame_bytes_max, error);
        }
        self.outbox.leave(&mut suspended.answers);
        let was = seat::set(Doing::Waiting);
        Ok(Some(Place { session: self, number: suspended.number, was }))
    }

    /// Makes a request and waits for its end.
    fn make_for(&self, context: &Context, made: Outgoing) -> Result<Reply, CallError> {
        let me = self.me.upgrade().ok_or_else(crate::link::no_session)?;
        me.begin(Some(context), made, None)?.wait()
    }
}

/// A place that a handler has given, or keeps while it waits.
pub(crate) struct Place<'s> {
    session: &'s Shared,
    number: u64,
    was: Option<Doing>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.session.pool.resume(self.number);
        if let Some(was) = self.was.take() {
            seat::set(was);
        }
    }
}

/// How long a call may take: what is asked for, and no longer than the call that it is made for.
fn time_for(
    context: Option<&Context>,
    timeout: Option<Duration>,
    now: Instant,
) -> Result<(Duration, Instant), CallError> {
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
    let left = left.min(Duration::from_secs(u32::MAX.into()));
    Ok((left, now + left))
}

impl Callee for Shared {
    /// Sends it at once, or leaves it out where so much waits for the host that a handler would have to wait too.
    fn progress(&self, call: &Context, value: &str) {
        if !self.pool.is_unanswered_call(call) || !fits_nesting(value.as_bytes()) {
            return;
        }
        let mut frames = Frames::default();
        write_progress(&mut frames.bytes, call.id(), value);
        if frames.len() - 1 <= self.service.frame_bytes_max {
            // A connection that has ended is found by whoever reads.
            let _ = self.outbox.try_push(&mut frames);
        }
    }

    fn call_back(
        &self,
        call: &Context,
        id: u64,
        params: Option<String>,
        parcel: Parcel,
    ) -> Result<Reply, CallError> {
        self.make_for(call, callback(id, params.as_deref(), parcel))
    }

    fn make(&self, call: &Context, made: Outgoing) -> Result<Reply, CallError> {
        self.make_for(call, made)
    }
}
