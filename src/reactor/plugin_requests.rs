//! What plugins ask of their host: calls of other plugins, and services of the embedding program.
//!
//! What this file is for: handing each request to who serves it, and what comes back to who asked. What it
//! deliberately does not do: run a service; [`Services`] does, on threads of its own. Whether a plugin may call
//! another is decided in `state/permit.rs`.
//!
//! What always holds: each request is answered once, or its connection has ended; what nobody waits for any more is
//! cancelled.

use super::Reactor;
use super::pending_replies::Asker;
use crate::state::call::CallEnd;
use crate::state::call::CallRequest;
use crate::state::fds::Fds;
use crate::state::keys::{CallKey, PluginKey};
use crate::state::session::Asked;
use crate::state::time::Time;
use rpc_plugin_interface::Context;
use rpc_plugin_wire::life::{METHOD_CALL, METHOD_CALLBACK};
use rpc_plugin_wire::{ErrorCode, ErrorObject, Generation, PluginId, RequestId};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
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
    /// The versions of interfaces that its connection uses.
    pub(crate) interfaces: Arc<BTreeMap<String, u32>>,
}

/// The services of a host.
pub(crate) trait Services: Send {
    /// Takes a request on, and answers it later with [`LoopCommand::Answered`](super::LoopCommand::Answered); or says at once why not. Must not block.
    fn take(&mut self, request: ServiceRequest) -> Result<Context, ErrorObject>;

    /// The host ends: nothing more is served.
    fn end(&mut self);
}

/// What is being done about a request.
enum Serving {
    /// It became a call of another plugin.
    Forwarded(CallKey),
    /// A service works on it.
    Service(Context),
}

/// See the module's text. Bounded by what each plugin may have unanswered.
#[derive(Default)]
pub(super) struct PluginRequests(BTreeMap<(PluginKey, Generation, RequestId), Serving>);

impl Reactor {
    /// A plugin asks for something.
    pub(super) fn serve_plugin(&mut self, now: Time, key: PluginKey, generation: Generation, asked: Asked) {
        let asker = Asker { key, generation, id: asked.id.clone() };
        let taken = if asked.method == METHOD_CALL {
            self.supervisor.permit(now, key, asked).map(|request| self.forward(now, &asker, request))
        } else {
            match self.maker_of(&asker, &asked) {
                Some(maker) => Ok(self.forward(now, &asker, CallRequest::back(now, maker, asked))),
                None => self.have_served(now, &asker, asked),
            }
        };
        match taken {
            Ok(serving) => drop(self.servings.0.insert((key, generation, asker.id), serving)),
            Err(error) => self.answer_plugin(now, &asker, Err(error), Fds::new()),
        }
    }

    /// Whose function is called, where it came with a call of another plugin that is there still.
    fn maker_of(&mut self, asker: &Asker, asked: &Asked) -> Option<PluginId> {
        if asked.method != METHOD_CALLBACK {
            return None;
        }
        let served = self.supervisor.served_call(asker.key, asker.generation, &asked.chain)?;
        let maker = self.ends.asker_of(served)?;
        let plugin = self.supervisor.plugin(maker.key)?;
        (plugin.generation() == Some(maker.generation)).then(|| plugin.id().clone())
    }

    fn have_served(&mut self, now: Time, asker: &Asker, asked: Asked) -> Result<Serving, ErrorObject> {
        let left = asked.deadline.map(|deadline| deadline.since(now));
        let Some(plugin) = self.supervisor.plugin(asker.key) else {
            let text = format!("the host does not serve {:?}", asked.method);
            return Err(ErrorObject::new(ErrorCode::MethodNotFound, text));
        };
        let (asker, plugin_id, interfaces) = (asker.clone(), plugin.id().clone(), plugin.interfaces());
        self.services.take(ServiceRequest { asker, plugin_id, asked, left, interfaces }).map(Serving::Service)
    }

    /// Makes the call that a plugin asked for.
    fn forward(&mut self, now: Time, asker: &Asker, request: CallRequest) -> Serving {
        let call = self.ends.add_call_of_plugin(asker.clone());
        let at = self.supervisor.call(now, call, request);
        self.ends.place_call(call, at);
        Serving::Forwarded(call)
    }

    /// A call that a plugin asked for ended.
    pub(super) fn tell_asker(&mut self, now: Time, asker: &Asker, end: CallEnd) {
        let CallEnd { result, fds, .. } = end;
        let result = result.map_err(|error| error.to_object());
        self.answer_plugin(now, asker, result, fds);
    }

    /// Answers a plugin, if it still waits.
    pub(super) fn answer_plugin(
        &mut self,
        now: Time,
        asker: &Asker,
        result: Result<Box<RawValue>, ErrorObject>,
        fds: Fds,
    ) {
        let Asker { key, generation, id } = asker;
        self.servings.0.remove(&(*key, *generation, id.clone()));
        self.supervisor.answer(now, (*key, *generation), id, result.as_deref().map_err(Clone::clone), fds);
    }

    /// Tells a plugin how far what it asked for is.
    pub(super) fn tell_asker_progress(&mut self, now: Time, asker: &Asker, value: &RawValue) {
        self.supervisor.tell_progress(now, (asker.key, asker.generation), &asker.id, value);
    }

    /// A plugin does not wait any more. It is answered all the same (protocol section 5).
    pub(super) fn abandon(&mut self, now: Time, key: PluginKey, generation: Generation, id: RequestId) {
        let Some(serving) = self.servings.0.get(&(key, generation, id.clone())) else { return };
        match serving {
            // Its handler answers.
            Serving::Service(context) => cancel(context),
            Serving::Forwarded(call) => {
                let call = *call;
                self.cancel_call(now, call);
                let error = ErrorObject::new(ErrorCode::Cancelled, "the call was cancelled");
                self.answer_plugin(now, &Asker { key, generation, id }, Err(error), Fds::new());
            }
        }
    }

    /// A connection ended, and with it all that its plugin waited for.
    pub(super) fn abandon_all(&mut self, now: Time, key: PluginKey, generation: Generation) {
        let from = (key, generation, RequestId::Number(0));
        let ids = self.servings.0.range(from..).map(|(name, _)| name);
        let ids = ids.take_while(|name| (name.0, name.1) == (key, generation)).cloned();
        let ids: Vec<_> = ids.collect();
        for name in ids {
            match self.servings.0.remove(&name) {
                Some(Serving::Service(context)) => cancel(&context),
                Some(Serving::Forwarded(call)) => self.cancel_call(now, call),
                None => {}
            }
        }
    }
}

/// What runs then is the embedding program's: a panic in it is its own.
fn cancel(context: &Context) {
    let _ = catch_unwind(AssertUnwindSafe(|| context.cancel()));
}
