//! A host with services and plugins that call each other through it: the plugins are the test's own program once more.
//!
//! What it deliberately does not do: streams, and callbacks; their tests bring those methods themselves.
//!
//! What always holds: a [`Scene`] ends its host, and so its plugins, when it is dropped; every wait has a deadline.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::fixture::{SOON, World, patient, up};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rpc_plugin_interface::{Context, HandlerError};
use rpc_plugin_sdk::{Call, Plugin};
use rpc_plugin_system::host::{Host, HostBuilder, PluginConfig, PluginHandle, Policy, ServiceCall};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// Who calls whom, and what the last one does.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// `host`, or the id of a plugin; the first is called by whoever has the plan.
    pub hops: Vec<String>,
    /// How long the last one sleeps.
    pub sleep_ms: u64,
    /// Whether everybody on the way reports how a cancel is seen.
    pub is_watched: bool,
}

impl Plan {
    pub fn of(hops: &[&str]) -> Plan {
        Plan { hops: hops.iter().map(|&hop| hop.to_owned()).collect(), ..Plan::default() }
    }

    /// The last one sleeps for much longer than any test lasts.
    pub fn that_hangs(self) -> Plan {
        Plan { sleep_ms: 600_000, ..self }
    }

    pub fn watched(self) -> Plan {
        Plan { is_watched: true, ..self }
    }
}

/// One who was called.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Level {
    pub at: String,
    pub left_ms: Option<u64>,
    pub chain: Vec<String>,
}

impl Level {
    fn of(at: &str, call: &Context) -> Level {
        let left_ms = call.remaining().map(|left| left.as_millis() as u64);
        Level { at: at.to_owned(), left_ms, chain: call.chain().entries().map(str::to_owned).collect() }
    }
}

/// What one on the way does: the same in a plugin and in the host.
fn work(
    at: &str,
    call: &Context,
    mut plan: Plan,
    report: &Sender<String>,
    call_on: impl FnOnce(&str, &Plan) -> Result<Vec<Level>, HandlerError>,
) -> Result<Vec<Level>, HandlerError> {
    let mut levels = vec![Level::of(at, call)];
    if plan.is_watched {
        watch(at, call, report);
    }
    let end = if plan.hops.is_empty() {
        call.wait(Duration::from_millis(plan.sleep_ms)).map(|()| Vec::new()).map_err(HandlerError::from)
    } else {
        let hop = plan.hops.remove(0);
        call_on(&hop, &plan)
    };
    if plan.is_watched && call.is_cancelled() {
        let _ = report.send(format!("{at} woke: {}", end.as_ref().unwrap_err().code().name()));
    }
    levels.extend(end?);
    Ok(levels)
}

/// Reports a cancel as its function and its descriptor see it.
fn watch(at: &str, call: &Context, report: &Sender<String>) {
    let (fd, polled, by_fd) = (call.cancel_fd().unwrap(), report.clone(), format!("{at} fd"));
    let (called, by_function) = (report.clone(), format!("{at} function"));
    call.on_cancel(move || {
        let _ = called.send(by_function);
    });
    let _ = report.send(format!("{at} entered"));
    std::thread::spawn(move || {
        let timeout = PollTimeout::try_from(SOON).unwrap();
        if poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], timeout) == Ok(1) {
            let _ = polled.send(by_fd);
        }
    });
}

/// The plugin: to be called by an ignored test of the program. `NEST_THREADS` and `NEST_REENTRANT` say how it serves.
pub fn plugin() -> Plugin {
    let variable = |name: &str| std::env::var(name).ok();
    let threads = variable("NEST_THREADS").map_or(1, |threads| threads.parse().unwrap());
    let id = variable("RPC_PLUGIN_SYSTEM_PLUGIN_ID").unwrap_or_default();
    let plugin = Plugin::new("1.0.0")
        .threads(threads)
        .reentrant(variable("NEST_REENTRANT").is_none_or(|yes| yes == "yes"));
    let (report, reports) = channel::<String>();
    let host = plugin.host().timeout(SOON);
    // What is told to the host after a call was cancelled is not part of that call.
    std::thread::spawn(move || {
        for what in reports {
            let _ = host.call::<_, ()>("nested.seen", &json!({"what": what}));
        }
    });
    let report = Mutex::new(report);
    plugin
        .method("work.go", move |call: &Call, plan: Plan| {
            let report = report.lock().unwrap().clone();
            work(&id, call, plan, &report, |hop, plan| match hop {
                "host" => Ok(call.host().call("nested.go", plan)?),
                id => Ok(call.host().plugin(id).call("work.go", plan)?),
            })
        })
        .method("work.call", |call: &Call, made: Made| made.make(call))
        .raw_method("work.echo", |_, params| {
            let null = || serde_json::value::RawValue::from_string("null".into()).unwrap();
            Ok::<_, HandlerError>(params.map_or_else(null, ToOwned::to_owned))
        })
        .method("work.fds", |_, (): ()| Ok::<_, HandlerError>(crate::fixture::open_fds()))
        .method("work.progress", |call: &Call, count: Count| {
            (0..count.n).for_each(|n| call.progress(&n));
            Ok::<_, HandlerError>(count.n)
        })
        .method("work.die_once", |_, once: Once| {
            // The first one that makes the file ends its process.
            if std::fs::File::create_new(&once.mark).is_ok() {
                std::process::abort();
            }
            Ok::<_, HandlerError>("alive")
        })
}

#[derive(Serialize, Deserialize)]
pub struct Count {
    pub n: u64,
}

#[derive(Serialize, Deserialize)]
pub struct Once {
    pub mark: std::path::PathBuf,
}

/// A call that a plugin is to make: of a service, or of another plugin.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Made {
    pub plugin: Option<String>,
    pub capability: Option<String>,
    pub method: String,
    pub params: Value,
    pub is_idempotent: bool,
    /// Whether the values of its progress are counted; the result is in `end` then.
    pub has_progress: bool,
}

impl Made {
    fn make(self, call: &Call) -> Result<Value, HandlerError> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut host = call.host();
        if self.has_progress {
            let seen = Arc::clone(&seen);
            host = host.on_progress(move |value: u64| seen.lock().unwrap().push(value));
        }
        let remote = match (&self.plugin, &self.capability) {
            (Some(id), _) => Some(host.plugin(id)),
            (_, Some(name)) => Some(host.capability(name)),
            _ => None,
        };
        let end: Value = match remote {
            None => host.call(&self.method, &self.params)?,
            Some(remote) if self.is_idempotent => remote.idempotent().call(&self.method, &self.params)?,
            Some(remote) => remote.call(&self.method, &self.params)?,
        };
        let seen = seen.lock().unwrap();
        Ok(if self.has_progress { json!({"end": end, "seen": *seen}) } else { end })
    }
}

/// A host with services, and what was reported to them.
pub struct Scene {
    pub world: World,
    pub host: Host,
    pub reports: Receiver<String>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Its services hold it, so that it does not end by itself.
        self.host.shutdown();
    }
}

/// Which process of it serves.
pub fn generation(plugin: &PluginHandle) -> u64 {
    plugin.status().unwrap().generation.unwrap().get()
}

/// How a plugin is launched.
#[derive(Clone)]
pub struct Launch {
    pub threads: usize,
    pub is_reentrant: bool,
    pub policy: Policy,
    pub may_call: Vec<&'static str>,
}

impl Default for Launch {
    fn default() -> Launch {
        let policy = Policy { calls_in_flight_max: 4096, ..patient() };
        Launch { threads: 1, is_reentrant: true, policy, may_call: vec!["*"] }
    }
}

impl Scene {
    pub fn new() -> Scene {
        Scene::with(|builder| builder.service_threads(1))
    }

    /// With more services, and other settings.
    pub fn with(further: impl FnOnce(HostBuilder) -> HostBuilder) -> Scene {
        let world = World::new();
        let place = Arc::new(OnceLock::<Host>::new());
        let (report, reports) = channel::<String>();
        let reporting = Mutex::new(report);
        let of_plugins = reporting.lock().unwrap().clone();
        let of_plugins = Mutex::new(of_plugins);
        let known = Arc::clone(&place);
        let builder = world
            .builder()
            .service("nested.go", move |call: &ServiceCall, plan: Plan| {
                let report = reporting.lock().unwrap().clone();
                work("host", call, plan, &report, |hop, plan| {
                    let plugin = known.get().unwrap().plugin(&hop.parse()?)?;
                    Ok(plugin.call("work.go", plan)?)
                })
            })
            .service("nested.seen", move |_, seen: Value| {
                let what = seen["what"].as_str().unwrap().to_owned();
                of_plugins
                    .lock()
                    .unwrap()
                    .send(what)
                    .map_err(|error| HandlerError::internal(error.to_string()))
            })
            .service("nested.echo", |_, value: Value| Ok::<_, HandlerError>(value))
            .service("nested.progress", |call: &ServiceCall, count: Count| {
                (0..count.n).for_each(|n| call.progress(&n));
                Ok::<_, HandlerError>(count.n)
            })
            .service("nested.panic", |_, (): ()| -> Result<(), HandlerError> {
                panic!("as this test wants")
            });
        let host = further(builder).start().unwrap();
        place.set(host.clone()).unwrap();
        Scene { world, host, reports }
    }

    /// This program as a plugin, with the ignored test `serve_nested`.
    pub fn config(&self, id: &str, launch: &Launch) -> PluginConfig {
        let program = self.world.path().join(format!("plugin-{id}"));
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        let mut config = PluginConfig::new(id.parse().unwrap(), program).policy(launch.policy.clone());
        for arg in ["serve_nested", "--exact", "--ignored"] {
            config = config.arg(arg);
        }
        config
            .env("NEST_THREADS", launch.threads.to_string())
            .env("NEST_REENTRANT", if launch.is_reentrant { "yes" } else { "no" })
            .may_call(launch.may_call.clone())
            .may_call_capabilities(launch.may_call.clone())
    }

    /// The same, running.
    pub fn up(&self, id: &str, launch: &Launch) -> PluginHandle {
        up(self.host.add(self.config(id, launch)).unwrap())
    }

    /// The next report.
    pub fn report(&self) -> String {
        self.reports.recv_timeout(SOON).expect("something is reported")
    }
}
