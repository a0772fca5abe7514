//! Requests of plugins to their host: calls of other plugins, and services of the embedding program.
//!
//! What this file is for: handing each request to who serves it, and what comes back to who asked. What it
//! deliberately does not do: run a service; [`Services`] does, on threads of its own. Whether a plugin may call
//! another is decided in `state/permit.rs`.
//!
//! What always holds: each request is answered once, or its connection has ended; what nobody waits for any more is
//! cancelled.

use super::drain::{self, CallCounts};
use super::hub::Hub;
use super::pending_replies::{Asker, PendingReplies};
use crate::state::call::CallEnd;
use crate::state::call::CallRequest;
use crate::state::callback::{callback, served_call};
use crate::state::closing::Closer;
use crate::state::fds::Fds;
use crate::state::keys::{CallKey, PluginKey};
use crate::state::permit::permit;
use crate::state::session::Asked;
use crate::state::supervisor::Supervisor;
use crate::state::time::Time;
use crossbeam_channel::Sender;
use rpc_plugin_interface::Context;
use rpc_plugin_interface::context::StoodStill;
use rpc_plugin_peer::Party;
use rpc_plugin_wire::life::{METHOD_CALL, METHOD_CALLBACK};
use rpc_plugin_wire::{CancelCause, ErrorCode, ErrorObject, Generation, Outcome, PluginId, RequestId};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// A request of a plugin, for whoever serves it.
pub(crate) struct ServiceRequest {
    pub(crate) asker: Asker,
    pub(crate) plugin_id: PluginId,
    pub(crate) asked: Asked,
    /// Time left for it.
    pub(crate) left: Option<Duration>,
    /// What the host stood still, which puts that off.
    pub(crate) stood_still: StoodStill,
    /// The versions of interfaces that its connection uses.
    pub(crate) interfaces: Arc<BTreeMap<String, u32>>,
}

/// The services of a host.
pub(crate) trait Services: Send {
    /// Takes a request on, and answers it later with [`LoopCommand::Answered`](super::LoopCommand::Answered); or says at
    /// once why not. Must not block.
    fn take(&mut self, request: ServiceRequest) -> Result<Context, ErrorObject>;

    /// The host ends: nothing more is served.
    fn end(&mut self);

    /// How many requests are worked on, and how many wait for it.
    fn counts(&self) -> (usize, usize);
}

/// Work on a request.
enum Serving {
    /// It became a call of another plugin; the bytes of its params.
    Forwarded(CallKey, usize),
    /// A service works on it.
    Service(Context),
}

/// The requests of plugins that are worked on. Bounded by what each plugin may have unanswered.
pub(super) struct PluginRequests {
    serving: BTreeMap<(PluginKey, Generation, RequestId), Serving>,
    services: Box<dyn Services>,
}

impl PluginRequests {
    pub(super) fn new(services: Box<dyn Services>) -> PluginRequests {
        PluginRequests { serving: BTreeMap::new(), services }
    }

    /// Has a request of a plugin served.
    pub(super) fn serve(
        &mut self,
        hub: &mut Hub,
        pending: &mut PendingReplies,
        now: Time,
        (key, generation): (PluginKey, Generation),
        asked: Asked,
    ) {
        let asker = Asker { key, generation, id: asked.id.clone() };
        let params_bytes = asked.params.as_ref().map_or(0, |params| params.get().len());
        let taken = if asked.method == METHOD_CALL {
            permit(&hub.supervisor, now, key, asked)
                .map(|request| forward(hub, pending, now, &asker, request))
        } else {
            match callback_owner(hub, pending, &asker, &asked) {
                Some(owner) => Ok(forward(hub, pending, now, &asker, callback(now, owner, asked))),
                None if pending.drain.refuses(&asked.chain) => Err(drain::refused().to_object()),
                None => self.have_served(hub, now, &asker, asked),
            }
        };
        match taken {
            Ok(serving) => drop(self.serving.insert((key, generation, asker.id), serving)),
            Err(error) => {
                refused(hub, now, &asker, params_bytes);
                self.answer(hub, now, &asker, Err(error), Fds::new());
            }
        }
    }

    fn have_served(
        &mut self,
        hub: &Hub,
        now: Time,
        asker: &Asker,
        asked: Asked,
    ) -> Result<Serving, ErrorObject> {
        let left = asked.deadline.map(|deadline| deadline.since(now));
        let Some(plugin) = hub.supervisor.plugin(asker.key) else {
            let text = format!("the host does not serve {:?}", asked.method);
            return Err(ErrorObject::new(ErrorCode::MethodNotFound, text));
        };
        let (asker, plugin_id, interfaces) = (asker.clone(), plugin.id().clone(), plugin.interfaces());
        let stood_still = hub.stood_still.clone();
        let request = ServiceRequest { asker, plugin_id, asked, left, stood_still, interfaces };
        self.services.take(request).map(Serving::Service)
    }

    /// Tells a plugin how a call that it asked for ended.
    pub(super) fn answer_call(&mut self, hub: &mut Hub, now: Time, asker: &Asker, end: CallEnd) {
        let CallEnd { result, fds, .. } = end;
        // What went nowhere for want of time had been asked for in earnest.
        if let Err(error) = &result
            && error.outcome == Outcome::NotSent
            && error.code != ErrorCode::DeadlineExceeded
            && let Some(Serving::Forwarded(_, params_bytes)) =
                self.serving.get(&(asker.key, asker.generation, asker.id.clone()))
        {
            refused(hub, now, asker, *params_bytes);
        }
        let result = result.map_err(|error| error.to_object());
        self.answer(hub, now, asker, result, fds);
    }

    /// Answers a plugin, if it still waits.
    pub(super) fn answer(
        &mut self,
        hub: &mut Hub,
        now: Time,
        asker: &Asker,
        result: Result<Box<RawValue>, ErrorObject>,
        mut fds: Fds,
    ) {
        let closer: Arc<dyn Closer<OwnedFd>> = Arc::clone(&hub.closers.program) as _;
        fds.iter_mut().for_each(|fd| fd.closed_by(&closer));
        let Asker { key, generation, id } = asker;
        self.serving.remove(&(*key, *generation, id.clone()));
        hub.supervisor.with_session(now, *key, *generation, |session, cx| {
            session.answer(cx, id, result.as_deref().map_err(Clone::clone), fds)
        });
    }

    /// Tells a plugin how far a request of its own is.
    pub(super) fn progress(&self, hub: &mut Hub, now: Time, asker: &Asker, value: &RawValue) {
        hub.supervisor.with_session(now, asker.key, asker.generation, |session, _| {
            session.progress(&asker.id, value);
        });
    }

    /// Gives up a request that its plugin does not wait for any more. It is answered all the same (protocol section 5).
    pub(super) fn abandon(
        &mut self,
        hub: &mut Hub,
        pending: &mut PendingReplies,
        now: Time,
        asker: &Asker,
        cause: Option<CancelCause>,
    ) {
        let name = (asker.key, asker.generation, asker.id.clone());
        match self.serving.get(&name) {
            None => {}
            // Its handler answers.
            Some(Serving::Service(context)) => cancel(context, cause),
            Some(Serving::Forwarded(call, _)) => {
                pending.cancel(&mut hub.supervisor, now, *call, cause.as_ref());
                let error = ErrorObject::new(ErrorCode::Cancelled, "the call was cancelled");
                self.answer(hub, now, asker, Err(error), Fds::new());
            }
        }
    }

    /// Gives up all requests of a connection that ended.
    pub(super) fn abandon_all(
        &mut self,
        hub: &mut Hub,
        pending: &mut PendingReplies,
        now: Time,
        (key, generation): (PluginKey, Generation),
    ) {
        let from = (key, generation, RequestId::Number(0));
        let names = self.serving.range(from..).map(|(name, _)| name);
        let names = names.take_while(|name| (name.0, name.1) == (key, generation)).cloned();
        let names: Vec<_> = names.collect();
        let gone = &CancelCause::CALLER_GONE;
        for name in names {
            match self.serving.remove(&name) {
                Some(Serving::Service(context)) => cancel(&context, Some(gone.clone())),
                Some(Serving::Forwarded(call, _)) => {
                    pending.cancel(&mut hub.supervisor, now, call, Some(gone));
                }
                None => {}
            }
        }
    }

    /// Tells a thread of all calls of the host.
    pub(super) fn tell_counts(&self, hub: &Hub, pending: &PendingReplies, to: &Sender<CallCounts>) {
        // Who does not wait any more needs no answer.
        let _ = to.try_send(self.count_calls(&hub.supervisor, pending));
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.serving.is_empty()
    }

    /// Counts all calls of the host.
    pub(super) fn count_calls(&self, supervisor: &Supervisor, pending: &PendingReplies) -> CallCounts {
        let (running, waiting) = self.services.counts();
        CallCounts {
            in_flight: supervisor.plugins().map(|(_, plugin)| plugin.call_counts().0).sum(),
            to_repeat: supervisor.calls_to_repeat() as u64,
            services_running: running as u64,
            services_waiting: waiting as u64,
            is_draining: pending.drain.is_draining(),
        }
    }

    /// Ends the services.
    pub(super) fn end(&mut self) {
        self.services.end();
    }
}

/// The plugin whose function is called, where that came with a call of another plugin that is there still.
fn callback_owner(hub: &mut Hub, pending: &PendingReplies, asker: &Asker, asked: &Asked) -> Option<PluginId> {
    if asked.method != METHOD_CALLBACK {
        return None;
    }
    let served = served_call(&mut hub.supervisor, asker.key, asker.generation, &asked.chain)?;
    let owner = pending.asker_of(served)?;
    let plugin = hub.supervisor.plugin(owner.key)?;
    (plugin.generation() == Some(owner.generation)).then(|| plugin.id().clone())
}

/// Makes the call that a plugin asked for.
fn forward(
    hub: &mut Hub,
    pending: &mut PendingReplies,
    now: Time,
    asker: &Asker,
    mut request: CallRequest,
) -> Serving {
    if let Some(plugin) = hub.supervisor.plugin(asker.key) {
        request.caller = Party::Plugin(plugin.id().clone());
    }
    let params_bytes = request.params.as_ref().map_or(0, String::len);
    let call = pending.add_call_of_plugin(asker.clone());
    pending.call(&mut hub.supervisor, now, call, &mut request);
    Serving::Forwarded(call, params_bytes)
}

/// Counts a request that came to nothing: whoever makes many of them is read less.
fn refused(hub: &mut Hub, now: Time, asker: &Asker, params_bytes: usize) {
    if let Some(session) = hub.supervisor.session_mut(asker.key, asker.generation) {
        session.unasked().refused(now, 1, params_bytes);
    }
}

/// What runs then is the embedding program's: a panic in it is its own.
fn cancel(context: &Context, cause: Option<CancelCause>) {
    let _ = catch_unwind(AssertUnwindSafe(|| context.cancel(cause)));
}
