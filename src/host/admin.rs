//! The admin interface: what operators may ask of a running host, over `RUNTIME/admin.sock`.
//!
//! What this file is for: each method of [`rpc_plugin_wire::admin`], as one step of the supervisor or a
//! wait for it. What it deliberately does not do: block, since it runs on the event loop; check who
//! asks, since only the host's own user and root get this far.

use super::descriptions::Descriptions;
use crate::reactor::{
    AdminAnswer, AdminCx, AdminReply, AdminResult, AdminService, CallAsked, ClaimedRestarts, DelegatedRequest,
};
use crate::state::action::Note;
use crate::state::call::CallEnd;
use crate::state::call::{CallRequest, Target};
use crate::state::closing::check_kinds;
use crate::state::plugin::{PeerIdentity, status_of};
use crate::state::supervisor::{Wish, unknown};
use crate::state::time::millis;
use crate::state::waits::Goal;
use crate::sys::command_name::command_of;
use crossbeam_channel::Sender;
use rpc_plugin_peer::{Party, check_object};
use rpc_plugin_wire::admin::{
    self, ActParams, CallParams, CallReply, DEADLINE_MS_DEFAULT, DEADLINE_MS_MAX, DaemonStatus,
    DescribeReply, HeartbeatReply, NoParams, PluginList, PluginRef, PluginStatus, ROUTE_MODE_CAPABILITY,
    ROUTE_MODE_DIRECT, Route, RouteList, StopParams, WaitParams,
};
use rpc_plugin_wire::admin_packages;
use rpc_plugin_wire::brief::own_result;
use rpc_plugin_wire::cut::cut_front;
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::life::{Heartbeat, PluginState};
use rpc_plugin_wire::message::{params_into, raw_into_text};
use rpc_plugin_wire::{ErrorCode, ErrorObject, PluginId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a plugin's last error in a list of all; that of one plugin has it whole.
const LISTED_ERROR_BYTES_MAX: usize = 512;

/// Serves the methods of the admin socket.
#[derive(Debug)]
pub(super) struct Admin {
    pub(super) descriptions: Arc<Descriptions>,
    /// Who serves the methods of packages, where somebody does.
    pub(super) packages: Option<PackagesLink>,
}

/// Where requests about packages go.
#[derive(Debug, Clone)]
pub(super) struct PackagesLink {
    pub(super) to: Sender<DelegatedRequest>,
    /// Plugins whose restarts go there too.
    pub(super) restarts: Arc<ClaimedRestarts>,
}

type Params<'a> = Option<&'a RawValue>;

/// The methods that take file descriptors.
const TAKE_FDS: [&str; 2] = [admin::METHOD_CALL, admin_packages::METHOD_INSTALL];

impl AdminService for Admin {
    fn handle(&mut self, cx: &mut AdminCx<'_>, method: &str, params: Params<'_>) -> AdminReply {
        let reply = match method {
            _ if !cx.fds.is_empty() && !TAKE_FDS.contains(&method) => Err(no_fds(method)),
            admin::METHOD_STATUS => none(params).map(|()| AdminReply::Now(answer(&status(cx)))),
            admin::METHOD_PLUGINS => none(params).map(|()| AdminReply::Now(answer(&plugins(cx)))),
            admin::METHOD_PLUGIN => plugin(cx, params),
            admin::METHOD_ROUTES => none(params).map(|()| AdminReply::Now(answer(&routes(cx)))),
            admin::METHOD_HEARTBEAT => heartbeat(cx, params),
            admin::METHOD_DESCRIBE => describe(cx, params, &self.descriptions),
            admin::METHOD_CALL => call(cx, params, &self.descriptions),
            admin::METHOD_START => params_into(params).and_then(|params| act(cx, params, Wish::Start)),
            admin::METHOD_STOP => stop(cx, params),
            admin::METHOD_RESTART if self.claims(params) => self.packages(cx, method, params),
            admin::METHOD_RESTART => params_into(params).and_then(|params| act(cx, params, Wish::Restart)),
            admin::METHOD_WAIT => wait(cx, params),
            admin::METHOD_SHUTDOWN => none(params).map(|()| shutdown(cx)),
            _ if admin_packages::METHODS.contains(&method) => self.packages(cx, method, params),
            _ => Err(ErrorObject::new(
                ErrorCode::MethodNotFound,
                format!("there is no admin method {method:?}; there are {}", admin::METHODS.join(", ")),
            )),
        };
        reply.unwrap_or_else(|error| AdminReply::Now(Err(error)))
    }
}

impl Admin {
    /// Whether the restart of that plugin is served by who has packages.
    fn claims(&self, params: Params<'_>) -> bool {
        let named = params_into(params).ok().and_then(|named: NamedPlugin| named.plugin_id);
        let link = self.packages.as_ref();
        named.zip(link).is_some_and(|(id, link)| link.restarts.has(&id))
    }

    /// Hands a method of packages to who serves them. Nothing of it is done on the event loop.
    fn packages(
        &self,
        cx: &mut AdminCx<'_>,
        method: &str,
        params: Params<'_>,
    ) -> Result<AdminReply, ErrorObject> {
        let Some(PackagesLink { to, .. }) = &self.packages else {
            let text = format!("there is no {method} here: this host keeps no packages");
            return Err(ErrorObject::new(ErrorCode::MethodNotFound, text));
        };
        let reply = cx.delegate(to, method, params)?;
        if admin_packages::acts(method) {
            let plugin_id = params_into(params).ok().and_then(|named: NamedPlugin| named.plugin_id);
            let note = action(cx, plugin_id.as_ref(), method.strip_prefix("admin.").unwrap_or(method));
            cx.notes.push(note);
        }
        Ok(reply)
    }
}

/// The plugin that params name, whatever else they say.
#[derive(Deserialize)]
struct NamedPlugin {
    plugin_id: Option<PluginId>,
}

/// A result on its way to the client.
fn answer<T: Serialize>(value: &T) -> AdminAnswer {
    serde_json::value::to_raw_value(value).map(AdminResult::from).map_err(|error| {
        ErrorObject::new(ErrorCode::InternalError, format!("the answer does not serialise: {error}"))
    })
}

fn no_fds(method: &str) -> ErrorObject {
    let text = format!("{method} takes no file descriptors; only {} do", TAKE_FDS.join(" and "));
    ErrorObject::new(ErrorCode::InvalidParams, text)
}

/// For methods that take no params.
fn none(params: Params<'_>) -> Result<(), ErrorObject> {
    params_into(params).map(|NoParams {}| ())
}

fn deadline(timeout_ms: Option<u64>) -> Result<Duration, ErrorObject> {
    let timeout_ms = timeout_ms.unwrap_or(DEADLINE_MS_DEFAULT);
    if timeout_ms > DEADLINE_MS_MAX {
        let text = format!("timeout_ms is {timeout_ms}, at most {DEADLINE_MS_MAX} (a day) is allowed");
        return Err(ErrorObject::new(ErrorCode::InvalidParams, text));
    }
    Ok(Duration::from_millis(timeout_ms))
}

fn status(cx: &AdminCx<'_>) -> DaemonStatus {
    let counts = cx.call_counts();
    let mut status = DaemonStatus {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        uptime_ms: millis(cx.facts.uptime),
        runtime_dir: cx.facts.runtime_dir.display().to_string(),
        plugins: 0,
        routable: 0,
        failed: 0,
        calls_in_flight: counts.in_flight,
        calls_to_repeat: counts.to_repeat,
        services_running: counts.services_running,
        services_waiting: counts.services_waiting,
        draining: counts.is_draining,
        calls_total: 0,
        clients: cx.facts.clients,
        events_dropped: cx.facts.events_dropped,
        ending: cx.facts.ending.map(str::to_owned),
        shortages: cx.facts.shortages.clone(),
        sinks: cx.facts.sinks.get().into_iter().flatten().map(|ask| ask()).collect(),
    };
    for (_, plugin) in cx.supervisor.plugins() {
        let (_, total) = plugin.call_counts();
        status.plugins += 1;
        status.routable += u32::from(plugin.state().is_routable());
        status.failed += u32::from(plugin.state() == PluginState::Failed);
        status.calls_total += total;
    }
    status
}

fn find(cx: &AdminCx<'_>, id: &PluginId) -> Result<PluginStatus, ErrorObject> {
    let plugin = cx.supervisor.find(id).and_then(|key| cx.supervisor.plugin(key));
    plugin.map(|plugin| status_of(plugin, cx.now)).ok_or_else(|| unknown(id).to_object())
}

fn plugins(cx: &AdminCx<'_>) -> PluginList {
    let mut plugins: Vec<_> = cx.supervisor.plugins_by_id().map(|plugin| status_of(plugin, cx.now)).collect();
    for plugin in &mut plugins {
        if let Some(error) = &mut plugin.last_error {
            // The end of a chain of causes says most.
            cut_front(error, LISTED_ERROR_BYTES_MAX);
        }
        if let Some(exit) = &mut plugin.last_exit {
            exit.stderr_tail.clear();
        }
    }
    PluginList { plugins }
}

fn plugin(cx: &AdminCx<'_>, params: Params<'_>) -> Result<AdminReply, ErrorObject> {
    let PluginRef { plugin_id } = params_into(params)?;
    Ok(AdminReply::Now(answer(&find(cx, &plugin_id)?)))
}

fn routes(cx: &AdminCx<'_>) -> RouteList {
    let mut routes: Vec<Route> = Vec::new();
    for plugin in cx.supervisor.plugins_by_id() {
        routes.extend(plugin.capabilities().iter().map(|capability| Route {
            capability: capability.clone(),
            plugin_id: plugin.id().clone(),
            mode: ROUTE_MODE_DIRECT.into(),
            health: plugin.state(),
            generation: plugin.generation(),
        }));
    }
    // Stable: plugins stay ordered by id within a capability.
    routes.sort_by(|a, b| a.capability.cmp(&b.capability));
    let routes = routes.chunk_by(|a, b| a.capability == b.capability);
    let routes = routes.flat_map(|direct| direct.iter().cloned().chain(by_capability(cx, direct))).collect();
    RouteList { routes }
}

/// The plugin that a call by this capability would go to now, if there is one.
fn by_capability(cx: &AdminCx<'_>, direct: &[Route]) -> Option<Route> {
    let capability = &direct.first()?.capability;
    let plugin = cx.supervisor.plugin(cx.supervisor.next_provider(capability)?)?;
    let route = direct.iter().find(|route| route.plugin_id == *plugin.id())?;
    Some(Route { mode: ROUTE_MODE_CAPABILITY.into(), ..route.clone() })
}

fn heartbeat(cx: &mut AdminCx<'_>, params: Params<'_>) -> Result<AdminReply, ErrorObject> {
    let PluginRef { plugin_id } = params_into(params)?;
    let asked = plugin_id.clone();
    Ok(cx.probe(&asked, move |end| {
        let (result, generation, duration_us) = taken(*end)?;
        let heartbeat: Heartbeat = own_result(&result).map_err(|error| {
            ErrorObject::new(
                ErrorCode::InternalError,
                format!("the plugin's heartbeat is malformed: {error}"),
            )
        })?;
        answer(&HeartbeatReply { plugin_id, generation, heartbeat, duration_us })
    }))
}

fn describe(
    cx: &mut AdminCx<'_>,
    params: Params<'_>,
    known: &Arc<Descriptions>,
) -> Result<AdminReply, ErrorObject> {
    let PluginRef { plugin_id } = params_into(params)?;
    let generation = find(cx, &plugin_id)?.generation;
    if let Some(generation) = generation
        && let Some(description) = known.known(&plugin_id, generation)
    {
        let methods = &description.methods;
        return Ok(AdminReply::Now(answer(&DescribeReply { plugin_id, generation, methods })));
    }
    let (request, asking) = known.ask(&plugin_id, generation).map_err(|error| error.to_object())?;
    Ok(cx.call(request, move |end| {
        let generation = end.generation.unwrap_or(rpc_plugin_wire::Generation::FIRST);
        let described = end.result.as_deref().map_err(Clone::clone).map(|result| (result, generation));
        let description = asking.end(described).map_err(|error| error.to_object())?;
        let methods = &description.methods;
        answer(&DescribeReply { plugin_id, generation, methods })
    }))
}

fn call(
    cx: &mut AdminCx<'_>,
    params: Params<'_>,
    known: &Arc<Descriptions>,
) -> Result<AdminReply, ErrorObject> {
    let params: CallParams = params_into(params)?;
    params.check()?;
    let CallParams { plugin_id, capability, method, params, timeout_ms, idempotent, progress, take_fds } =
        params;
    params.as_ref().map_or(Ok(()), |params| check_object(params.get()))?;
    let timeout = timeout_ms.map(|timeout_ms| deadline(Some(timeout_ms))).transpose()?;
    check_kinds(&cx.fds)?;
    let target = match plugin_id {
        Some(id) => Target::Plugin(id),
        None => Target::Capability(capability.unwrap_or_default().into()),
    };
    note_call(cx, &target, &method);
    let (known, called) = (Arc::clone(known), method.clone());
    let params = params.map(raw_into_text);
    let fds = std::mem::take(&mut cx.fds);
    let request =
        CallRequest { params, timeout, idempotent, progress, fds, ..CallRequest::new(target, method) };
    Ok(cx.call(request, move |mut end| {
        let plugin_id = end.plugin_id.take();
        end.result = end.result.map_err(|error| known.advise(&called, error));
        let fds = std::mem::take(&mut end.fds);
        let dropped = if take_fds { 0 } else { u32::try_from(fds.len()).unwrap_or(u32::MAX) };
        let (result, generation, duration_us) = taken(*end)?;
        let unnamed = || ErrorObject::new(ErrorCode::InternalError, "an answer of no plugin");
        let plugin_id = plugin_id.ok_or_else(unnamed)?;
        let reply = answer(&CallReply { plugin_id, generation, result, duration_us, dropped })?;
        Ok(AdminResult { fds: if take_fds { fds } else { Vec::new() }, ..reply })
    }))
}

/// A call changes what the plugin's own methods change, so that it is on record.
fn note_call(cx: &mut AdminCx<'_>, target: &Target, method: &str) {
    let (plugin_id, capability) = match target {
        Target::Plugin(id) if cx.supervisor.find(id).is_none() => return,
        Target::Plugin(id) => (Some(id.clone()), None),
        Target::Capability(name) => (None, Some(name.to_string())),
    };
    let (operation_id, method) = (cx.operation_id(), method.to_owned());
    let peer = PeerIdentity { pid: cx.peer_pid, uid: cx.peer_uid };
    *cx.asked = Some(CallAsked { operation_id, plugin_id, capability, method, peer });
}

type ResultParts = (Box<RawValue>, rpc_plugin_wire::Generation, u64);

/// A call's result with who answered and how long it took.
fn taken(end: CallEnd) -> Result<ResultParts, ErrorObject> {
    let result = end.result.map_err(|error| error.to_object())?;
    let generation = end.generation.unwrap_or(rpc_plugin_wire::Generation::FIRST);
    Ok((result, generation, u64::try_from(end.took.as_micros()).unwrap_or(u64::MAX)))
}

fn stop(cx: &mut AdminCx<'_>, params: Params<'_>) -> Result<AdminReply, ErrorObject> {
    let StopParams { plugin_id, timeout_ms, with_dependents } = params_into(params)?;
    let wish = if with_dependents { Wish::StopWithDependents } else { Wish::Stop };
    act(cx, ActParams { plugin_id, timeout_ms }, wish)
}

fn act(cx: &mut AdminCx<'_>, params: ActParams, wish: Wish) -> Result<AdminReply, ErrorObject> {
    let ActParams { plugin_id, timeout_ms } = params;
    let timeout = deadline(timeout_ms)?;
    let before = find(cx, &plugin_id)?.generation;
    let (name, goal) = match wish {
        Wish::Start => ("start", Goal::RoutableAfter(None)),
        Wish::Stop => ("stop", Goal::State(PluginState::Stopped)),
        Wish::StopWithDependents => ("stop with dependents", Goal::State(PluginState::Stopped)),
        Wish::Restart => ("restart", Goal::RoutableAfter(before)),
    };
    let note = action(cx, Some(&plugin_id), name);
    cx.notes.push(note);
    if let Some(key) = cx.supervisor.find(&plugin_id) {
        cx.supervisor.wish(cx.now, key, wish).map_err(|error| error.to_object())?;
    }
    if timeout.is_zero() {
        return Ok(AdminReply::Now(answer(&find(cx, &plugin_id)?)));
    }
    Ok(cx.wait(&plugin_id, goal, timeout, arrived))
}

fn wait(cx: &mut AdminCx<'_>, params: Params<'_>) -> Result<AdminReply, ErrorObject> {
    let WaitParams { plugin_id, state, timeout_ms } = params_into(params)?;
    let timeout = deadline(timeout_ms)?;
    Ok(cx.wait(&plugin_id, Goal::State(state), timeout, arrived))
}

fn arrived(end: crate::reactor::WaitEnd) -> AdminAnswer {
    answer(&*end.map_err(|error| error.to_object())?)
}

fn shutdown(cx: &mut AdminCx<'_>) -> AdminReply {
    let note = action(cx, None, "shutdown");
    cx.notes.push(note);
    *cx.end = true;
    AdminReply::Now(answer(&serde_json::json!({})))
}

/// What is put on record of every request that acts, but a call.
fn action(cx: &AdminCx<'_>, plugin_id: Option<&PluginId>, action: &str) -> Note {
    let mut note = Note::new(EventKind::AdminAction, format!("an operator asked for {action}"));
    note.plugin_id = plugin_id.cloned();
    note.operation_id = Some(cx.operation_id());
    note.by = Some(Party::Client(cx.peer_pid));
    let mut details = serde_json::json!({"action": action, "peer_uid": cx.peer_uid, "peer_pid": cx.peer_pid});
    if let (Some(command), Some(members)) = (command_of(cx.peer_pid), details.as_object_mut()) {
        members.insert("peer_command".into(), command.into());
    }
    note.details(details)
}
