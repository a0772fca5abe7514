//! What an embedding program offers its plugins: services, by method name (protocol section 2).
//!
//! What this folder is for: the table of services, the threads they run on, and the call as a service sees it. What it
//! deliberately does not do: carry anything to a plugin; the event loop does.
//!
//! What always holds: a request that was taken is answered once, also where its handler panics; a service never runs on
//! the event loop.

pub(super) mod callback_table;
pub(super) mod current_call;
mod peer;
mod pool;

use callback_table::CallbackTable;
use current_call::CurrentCall;
pub(super) use peer::HostLink;
use peer::Peer;
use pool::{IDLE_MAX, JobRefused, Pool, ServedCall, ServiceJob};

use super::error::HostError;
use crate::engine::CommandSender;
use crate::reactor::{self, Asker, LoopCommand, ServiceRequest};
use crate::state::closing::{from_owned, into_owned};
use crate::state::fds::Fds;
use rpc_plugin_interface::context::Served;
use rpc_plugin_interface::table::{MethodFn, serve_typed};
use rpc_plugin_interface::{Context, HandlerError};
use rpc_plugin_peer::{Party, is_reserved};
use rpc_plugin_wire::chain::entry_at_host;
use rpc_plugin_wire::handshake::METHOD_HELLO;
use rpc_plugin_wire::ident::{capability_of, check_method};
use rpc_plugin_wire::life::{CallBack, METHOD_CALL, METHOD_CALLBACK, METHOD_EVENT, METHOD_LOG};
use rpc_plugin_wire::message::{fits_nesting, params_into};
use rpc_plugin_wire::{ErrorCode, ErrorObject, Generation, PluginId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Threads that run services, unless the builder says otherwise.
pub(super) const SERVICE_THREADS_DEFAULT: usize = 4;
/// Requests that wait for one of them, unless the builder says otherwise.
pub(super) const SERVICE_QUEUE_MAX_DEFAULT: usize = 1024;
/// Methods that every host has.
const BUILT_IN: [&str; 4] = [METHOD_HELLO, METHOD_LOG, METHOD_CALL, METHOD_EVENT];

/// A call of a plugin, as the service that was called sees it. It derefs to [`Context`]: deadline, cancellation,
/// progress, and calls back to the plugin.
#[derive(Debug, Clone)]
pub struct ServiceCall {
    context: Context,
    plugin_id: PluginId,
    generation: Generation,
}

impl ServiceCall {
    /// Which plugin calls.
    #[must_use]
    pub fn plugin_id(&self) -> &PluginId {
        &self.plugin_id
    }

    /// Which generation of it.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }
}

impl Deref for ServiceCall {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}

/// What a handler gives: its result in JSON, and what travels with it.
type Handled = Result<(Vec<u8>, Vec<OwnedFd>), ErrorObject>;
/// Params and what came with them in, the result out.
pub(super) type Handler = dyn Fn(&ServiceCall, Option<&RawValue>, Vec<OwnedFd>) -> Handled + Send + Sync;

/// The services of one host, as its builder collects them.
pub(super) struct OfferedServices {
    pub(super) services: BTreeMap<String, Arc<Handler>>,
    pub(super) faults: Vec<String>,
    pub(super) threads: usize,
    pub(super) queue_max: usize,
}

impl Default for OfferedServices {
    fn default() -> OfferedServices {
        OfferedServices {
            services: BTreeMap::new(),
            faults: Vec::new(),
            threads: SERVICE_THREADS_DEFAULT,
            queue_max: SERVICE_QUEUE_MAX_DEFAULT,
        }
    }
}

impl OfferedServices {
    /// # Errors
    /// All that is wrong with them.
    pub(super) fn check(&self) -> Result<(), HostError> {
        if self.faults.is_empty() {
            return Ok(());
        }
        let faults = std::io::Error::other(self.faults.join("; "));
        Err(HostError::Setup("the services of the host are defined wrongly", faults))
    }

    pub(super) fn add(&mut self, method: &str, handler: Arc<Handler>) {
        // Names below `host` are the host's own to give.
        let is_reserved = is_reserved(method) && capability_of(method) != "host";
        if let Err(error) = check_method(method) {
            self.faults.push(format!("the service name {method:?} {error}"));
        } else if is_reserved || BUILT_IN.contains(&method) {
            self.faults.push(format!("the service name {method:?} belongs to the protocol"));
        } else if self.services.insert(method.to_owned(), handler).is_some() {
            self.faults.push(format!("the service {method:?} is there twice"));
        }
    }
}

/// A handler of typed params and result.
pub(super) fn typed<P, R, E, F>(handler: F) -> Arc<Handler>
where
    P: DeserializeOwned,
    R: Serialize,
    E: Into<HandlerError>,
    F: Fn(&ServiceCall, P) -> Result<R, E> + Send + Sync + 'static,
{
    Arc::new(move |call, params, fds| {
        let handle = |params| handler(call, params).map_err(|error| error.into().into_object());
        let mut out = Vec::new();
        let fds = serve_typed::<P, R>(&call.context, params, fds, &mut out, handle)?;
        Ok((out, fds))
    })
}

/// A method of a typed interface.
pub(super) fn of_table(function: MethodFn) -> Arc<Handler> {
    Arc::new(move |call, params, fds| {
        let mut out = Vec::new();
        let fds = function(&call.context, params, fds, &mut out)?;
        Ok((out, fds))
    })
}

/// What a handler wrote, if the plugin will take it.
fn result_of(out: Vec<u8>) -> Result<Box<RawValue>, ErrorObject> {
    if !fits_nesting(&out) {
        return Err(internal("the result is nested deeper than 127 levels".to_owned()));
    }
    let text = String::from_utf8(out).map_err(|error| internal(error.to_string()))?;
    RawValue::from_string(text).map_err(|error| internal(format!("the result is no JSON: {error}")))
}

fn internal(text: String) -> ErrorObject {
    ErrorObject::new(ErrorCode::InternalError, text)
}

/// The running services of one host.
pub(super) struct RunningServices {
    services: BTreeMap<String, Arc<Handler>>,
    callbacks: CallbackTable,
    pool: Pool,
    link: Arc<OnceLock<HostLink>>,
}

impl RunningServices {
    pub(super) fn new(
        offered: OfferedServices,
        callbacks: CallbackTable,
        link: Arc<OnceLock<HostLink>>,
    ) -> RunningServices {
        let pool = Pool::new(offered.threads, offered.queue_max, IDLE_MAX);
        RunningServices { services: offered.services, callbacks, pool, link }
    }

    /// The handler of a request, and its params.
    fn find(
        &self,
        request: &mut ServiceRequest,
    ) -> Result<(Arc<Handler>, Option<Box<RawValue>>), ErrorObject> {
        let params = request.asked.params.take();
        if request.asked.method == METHOD_CALLBACK {
            let CallBack { id, params } = params_into(params.as_deref())?;
            let function = self.callbacks.find(id, &request.plugin_id).ok_or_else(|| {
                let text = format!("there is no callback {id} of a call that is under way");
                ErrorObject::new(ErrorCode::MethodNotFound, text)
            })?;
            let handler: Arc<Handler> = Arc::new(move |_, params, fds| {
                function(params, fds).map(|text| (text.into_bytes(), Vec::new()))
            });
            return Ok((handler, params));
        }
        let method = &request.asked.method;
        let handler = self.services.get(method).map(Arc::clone).ok_or_else(|| {
            let known: Vec<&str> = self.services.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let text = format!("the host has no service {method:?}; it has {known}");
            ErrorObject::new(ErrorCode::MethodNotFound, text)
        })?;
        Ok((handler, params))
    }
}

impl reactor::Services for RunningServices {
    fn take(&mut self, mut request: ServiceRequest) -> Result<Context, ErrorObject> {
        let link = self.link.get().ok_or_else(|| internal("the host is not up yet".to_owned()))?;
        let (handler, params) = self.find(&mut request)?;
        let ServiceRequest { asker, plugin_id, asked, left, stood_still, interfaces } = request;
        let party = Party::Plugin(plugin_id.clone());
        let (generation, until) = (asker.generation, asked.deadline);
        let peer = Peer { link: Arc::clone(&self.link), asker: asker.clone(), plugin_id: plugin_id.clone() };
        let peer: Arc<dyn rpc_plugin_interface::context::CallerLink> = Arc::new(peer);
        let entry = entry_at_host(&plugin_id, generation, &asked.id);
        let served = Served {
            deadline: left.and_then(|left| Instant::now().checked_add(left)),
            stood_still,
            wants_progress: asked.progress,
            chain: asked.chain,
            link: Some(peer),
            interfaces,
        };
        let context = Context::new(asked.id, served);
        let call = ServiceCall { context: context.clone(), plugin_id, generation };
        let mut answer = OwedAnswer { commands: link.commands.clone(), asker: Some(asker) };
        let fds = asked.fds;
        let served = Arc::new(ServedCall { context: context.clone(), until, entry });
        let current = Arc::new(CurrentCall { served: Arc::clone(&served), pool: self.pool.clone() });
        let run = Box::new(move |taken: Result<(), JobRefused>| {
            let handled = catch_unwind(AssertUnwindSafe(|| {
                taken.map_err(|refused| refusal(refused, &call))?;
                call.check()?;
                current.enter(|| handler(&call, params.as_deref(), into_owned(fds)))
            }));
            call.end();
            answer.give(handled.unwrap_or_else(|_| Err(internal("the service panicked".to_owned()))));
        });
        if let Err((refused, job)) = self.pool.submit(ServiceJob { party, call: served, run }) {
            // It answers; were it dropped too, there would be two answers.
            (job.run)(Err(refused));
        }
        Ok(context)
    }

    fn counts(&self) -> (usize, usize) {
        self.pool.counts()
    }

    fn end(&mut self) {
        self.pool.end();
    }
}

/// What a plugin is told of a call that is not served.
fn refusal(refused: JobRefused, call: &ServiceCall) -> ErrorObject {
    match refused {
        JobRefused::Full(used) => {
            let party = Party::Plugin(call.plugin_id.clone());
            ErrorObject::new(
                ErrorCode::Overloaded,
                used.tell(&party, "calls that wait for the host's services"),
            )
        }
        JobRefused::WouldDeadlock => {
            let text = format!("every thread of the host's services waits, also in {}", call.chain());
            ErrorObject::new(ErrorCode::WouldDeadlock, text)
        }
        JobRefused::NoThread(why) => internal(format!("no thread can be started: {why}")),
        JobRefused::Ended => ErrorObject::new(ErrorCode::Unavailable, "the host is ending"),
    }
}

/// The answer that is owed; one that is dropped says that it will not come.
struct OwedAnswer {
    commands: CommandSender<LoopCommand>,
    asker: Option<Asker>,
}

impl OwedAnswer {
    fn give(&mut self, handled: Handled) {
        let Some(asker) = self.asker.take() else { return };
        let (result, fds) = match handled.and_then(|(out, fds)| Ok((result_of(out)?, fds))) {
            Ok((result, fds)) => (Ok(result), from_owned(fds)),
            Err(error) => (Err(error), Fds::new()),
        };
        self.commands.deliver(LoopCommand::Answered(asker, result, fds));
    }
}

impl Drop for OwedAnswer {
    fn drop(&mut self) {
        self.give(Err(ErrorObject::new(ErrorCode::Unavailable, "the host is ending")));
    }
}
