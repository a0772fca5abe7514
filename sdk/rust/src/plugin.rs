//! The definition of a plugin: its methods, and what its author wants different from the defaults.
//!
//! What it deliberately does not do: talk to the host; the session does that.
//!
//! What always holds: a definition with a fault is refused before anything is connected, and all its
//! faults are named.

use crate::attachments::FdTransport;
use crate::call::{Call, Handler, Method, callback_method, raw, typed};
use crate::config::Config;
use crate::describe::{Descriptions, describe_method};
use crate::error::{ConfigError, End, Error};
use crate::hello::{Offer, SDK, greet};
use crate::host::{Host, HostLink};
use crate::interface::{Typed, dispatch};
use crate::log::{Event, Log, LogOptions, LogTarget};
use crate::main_thread::{MainThread, OnShutdown};
use crate::run::{self, Start};
use crate::service::{Health, Service, Work};
use crate::stdio::Stdio;
use crate::terms::Terms;
use rpc_plugin_interface::{HandlerError, InterfaceTable, MethodDescription};
use rpc_plugin_wire::event::{Component, Level};
use rpc_plugin_wire::handshake::check_capabilities;
use rpc_plugin_wire::ident::{capability_of, check_capability, check_method};
use rpc_plugin_wire::life::HealthStatus;
use rpc_plugin_wire::limits::VERSION_BYTES_MAX;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// How long the last bytes of a session may take through a pipe.
const PIPES_TIMEOUT: Duration = Duration::from_millis(500);
/// Threads that run handlers, unless [`Plugin::threads`] says otherwise.
pub const THREADS_DEFAULT: usize = 4;
/// Calls that wait for a thread, unless [`Plugin::queue_max`] says otherwise. As many as a host has in flight unless told
/// otherwise, so that it is the host's shares that refuse a caller of too many, and not who comes first here.
pub const QUEUE_MAX_DEFAULT: usize = 4096;
const THREADS_RANGE: RangeInclusive<usize> = 1..=1024;
const QUEUE_MAX_RANGE: RangeInclusive<usize> = 1..=1_048_576;

/// A plugin: what it is called with, and what it does. [`Plugin::run`] is usually the last line of `main`.
pub struct Plugin {
    version: String,
    methods: BTreeMap<Box<str>, Arc<Method>>,
    interfaces: BTreeMap<String, Vec<u32>>,
    typed: Typed,
    descriptions: Descriptions,
    threads: usize,
    is_serial: bool,
    queue_max: usize,
    health: Box<Health>,
    on_shutdown: OnShutdown,
    log_options: LogOptions,
    log: Log,
    link: HostLink,
    reentrant: bool,
    faults: Vec<String>,
}

impl Plugin {
    /// A plugin without methods. `version` is its own, at most 64 bytes, shown to operators.
    #[must_use]
    pub fn new(version: impl Into<String>) -> Plugin {
        let log_options = LogOptions::default();
        Plugin {
            log: Log::new(&log_options),
            log_options,
            version: version.into(),
            methods: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            typed: Typed::default(),
            descriptions: Descriptions::default(),
            threads: THREADS_DEFAULT,
            is_serial: false,
            queue_max: QUEUE_MAX_DEFAULT,
            health: Box::new(|| HealthStatus::Healthy),
            on_shutdown: Box::new(|| {}),
            link: HostLink::default(),
            reentrant: true,
            faults: Vec::new(),
        }
    }

    /// Serves `name` with a handler of typed params and result. Absent params are the same as
    /// `{}`, and a handler that takes none takes `()`. A panic in it answers `internal_error` with the
    /// panic's message.
    ///
    /// A name is 1 to 128 ASCII letters, digits, or `.`, `_`, `-`, `/`, `:`; what stands before its first
    /// `.`, `/` or `:` is its capability (at most 64 bytes). `host`, `plugin`, `admin` and `rpc`
    /// belong to the protocol. A name that is none, or that is there already, fails the start.
    #[must_use]
    pub fn method<P, R, E, F>(mut self, name: &str, handler: F) -> Plugin
    where
        P: DeserializeOwned,
        R: Serialize,
        E: Into<HandlerError>,
        F: Fn(&Call, P) -> Result<R, E> + Send + Sync + 'static,
    {
        self.descriptions.add_typed::<P>(name);
        self.add(name, typed(handler))
    }

    /// As [`Plugin::method`], with params and result as the JSON text that they are. Params are an object,
    /// or absent.
    #[must_use]
    pub fn raw_method<E, F>(self, name: &str, handler: F) -> Plugin
    where
        E: Into<HandlerError>,
        F: Fn(&Call, Option<&RawValue>) -> Result<Box<RawValue>, E> + Send + Sync + 'static,
    {
        self.add(name, raw(handler))
    }

    /// Says what a method does, for `rpcpluginctl methods` and other tools: its documentation, and the JSON Schemas of its
    /// params and result. Methods of an [`interface!`](rpc_plugin_interface::interface!) have all of that by themselves, and
    /// those of [`Plugin::method`] the schema of their params; what is said here stands in its place. A method that the
    /// plugin does not have, or a description beyond the bounds of the protocol, fails the start.
    #[must_use]
    pub fn describe(mut self, method: MethodDescription) -> Plugin {
        self.descriptions.add_own(method);
        self
    }

    /// Serves these versions of an application interface; the host picks the highest that it knows. A typed one is
    /// served with [`Plugin::serve_interface`] instead.
    #[must_use]
    pub fn interface(mut self, name: &str, versions: impl Into<Vec<u32>>) -> Plugin {
        if let Err(error) = check_capability(name) {
            self.faults.push(format!("the interface name {name:?} {error}"));
        }
        if self.interfaces.insert(name.to_owned(), versions.into()).is_some() {
            self.faults.push(format!("the interface {name:?} is there twice"));
        }
        self
    }

    /// Serves one version of a typed interface: what `into_table` of its trait gives
    /// ([`interface!`](rpc_plugin_interface::interface!)). Several versions of one interface may be served; a
    /// connection uses one of them, which [`Context::interface_version`](crate::Context::interface_version) tells. The same version twice, or one of its
    /// methods by another way, fails the start.
    #[must_use]
    pub fn serve_interface(mut self, table: InterfaceTable) -> Plugin {
        let (name, version) = (table.name(), table.version());
        if let Err(error) = check_capability(name) {
            self.faults.push(format!("the interface name {name:?} {error}"));
        }
        if !self.typed.tables.versions().contains_key(name) && self.interfaces.contains_key(name) {
            self.faults.push(format!("the interface {name:?} is there twice"));
        }
        let before = self.typed.tables.clone();
        if let Err(error) = self.typed.tables.add(table.clone()) {
            self.faults.push(error.to_string());
            return self;
        }
        let versions = self.interfaces.entry(name.to_owned()).or_default();
        versions.push(version);
        versions.sort_unstable();
        for (method, _) in table.methods() {
            let functions = self.typed.tables.functions(method);
            let handler = dispatch(name, functions);
            if !before.functions(method).is_empty() {
                self.methods.remove(method);
            }
            self = self.add(method, handler);
        }
        self
    }

    /// What the heartbeat reports, instead of always [`HealthStatus::Healthy`]. It is asked on the thread
    /// that reads from the host, at each heartbeat: it must not block, and nothing rescues one that does.
    #[must_use]
    pub fn health(mut self, health: impl Fn() -> HealthStatus + Send + Sync + 'static) -> Plugin {
        self.health = Box::new(health);
        self
    }

    /// What to do when the host asks for the end: after the host has been answered, before the handlers
    /// that still run are cancelled. It counts towards the time that the host gives the whole plugin.
    /// Not done when the host is simply gone.
    #[must_use]
    pub fn on_shutdown(mut self, on_shutdown: impl FnOnce() + Send + 'static) -> Plugin {
        self.on_shutdown = Box::new(on_shutdown);
        self
    }

    /// How many handlers run at a time: 1 to 1024, 4 unless named. Those that wait for a call of their own do not
    /// count ([`Plugin::reentrant`]).
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Plugin {
        self.check_range("threads", threads, &THREADS_RANGE);
        self.threads = threads;
        self
    }

    /// Says that the plugin does one thing at a time, with one thread: while it serves a call, its host asks for no
    /// heartbeat, until the call's deadline or the plugin's `call_timeout`, whichever is earlier. For handlers during
    /// which nothing else of the process runs. Others need no such excuse: the SDK answers heartbeats beside them.
    #[must_use]
    pub fn serial(mut self) -> Plugin {
        self.is_serial = true;
        self.threads = 1;
        self
    }

    /// Whether other calls may run while a handler waits for one that it has made itself; yes unless named. It
    /// gives its place then, and at most 64 do at a time.
    ///
    /// With `false` it keeps its place, so that with one thread nothing runs between the beginning and the end of
    /// a handler. A call that could only wait for itself, because every thread waits for a call that led to it, is
    /// answered `would_deadlock` at once.
    #[must_use]
    pub fn reentrant(mut self, reentrant: bool) -> Plugin {
        self.reentrant = reentrant;
        self
    }

    /// How many calls wait for a thread before further ones are answered `overloaded`: 1 to 1048576,
    /// 4096 unless named. With fewer than the host's `calls_in_flight_max` one caller can fill it and keep others out.
    #[must_use]
    pub fn queue_max(mut self, queue_max: usize) -> Plugin {
        self.check_range("queue_max", queue_max, &QUEUE_MAX_RANGE);
        self.queue_max = queue_max;
        self
    }

    /// The least level of what is put on the plugin's own record: `info` unless named. At `debug`, each call
    /// that succeeds is there too.
    #[must_use]
    pub fn log_level(mut self, level: Level) -> Plugin {
        self.log_options.level = level;
        self.log.set(&self.log_options);
        self
    }

    /// Where the plugin's own record goes: [`LogTarget::File`] unless named.
    #[must_use]
    pub fn log_to(mut self, target: LogTarget) -> Plugin {
        self.log_options.target = target;
        self.log.set(&self.log_options);
        self
    }

    /// How large one file of the plugin's own record becomes, in bytes, at least 64 KiB, and how many there are,
    /// at least 2: 8 MiB and 4 unless named. The oldest is removed.
    #[must_use]
    pub fn log_files(mut self, file_bytes_max: u64, files_max: usize) -> Plugin {
        (self.log_options.file_bytes_max, self.log_options.files_max) = (file_bytes_max, files_max);
        self
    }

    /// The plugin's own record, for threads of its author's; handlers have [`Call::log`].
    #[must_use]
    pub fn log(&self) -> Log {
        self.log.clone()
    }

    /// The host, for threads of the author's own; handlers have [`Call::host`], which knows what the call is made
    /// for. Until the host has taken the plugin, and after the end, its calls are `unavailable`.
    #[must_use]
    pub fn host(&self) -> Host {
        Host::new(self.link.clone(), None)
    }

    /// The names of all methods, in order.
    pub fn methods(&self) -> impl Iterator<Item = &str> {
        self.methods.keys().map(|name| &**name)
    }

    /// The capabilities that the methods amount to, in order.
    #[must_use]
    pub fn capabilities(&self) -> Vec<String> {
        let mut capabilities: Vec<String> =
            self.methods().map(|name| capability_of(name).to_owned()).collect();
        // Methods of one capability need not be neighbours: `a-b` sorts between `a` and `a.b`.
        capabilities.sort_unstable();
        capabilities.dedup();
        capabilities
    }

    /// Runs the plugin until its host asks for the end or is gone. The codes are in [`exit`](crate::exit).
    ///
    /// Return what this returns from `main`: handlers that are stuck then end with the process.
    #[must_use = "return it from main, or the exit code is lost"]
    pub fn run(self) -> ExitCode {
        let name = run::executable_name();
        let ended = match self.check().and_then(|_| Start::find()) {
            Err(Error::Config(ConfigError::ByHand)) => {
                return run::by_hand(&name, &self.version, &self.methods().collect::<Vec<_>>());
            }
            Err(error) => Err(error),
            Ok(Start::Environment(config)) => self.connect_and_serve(config),
            Ok(Start::Stdio(Stdio { config, connection, pipes })) => {
                let ended = self.serve(config, connection);
                if let Some(pipes) = pipes {
                    pipes.finish(PIPES_TIMEOUT);
                }
                ended
            }
        };
        run::exit_code(&name, ended)
    }

    fn connect_and_serve(self, config: Config) -> Result<End, Error> {
        self.begin_log(&config);
        match config.connect() {
            Ok(connection) => self.serve(config, connection),
            Err(error) => {
                let name = if matches!(error, Error::NotTheHost { .. }) {
                    "authentication_failed"
                } else {
                    "stopped"
                };
                let event = Event::new(name, Component::Auth, Level::Error, "the host was not reached");
                self.log.say(event.error(error.to_string()));
                self.log.finish();
                Err(error)
            }
        }
    }

    /// Serves one connection to its end, without touching the environment or the process. [`Plugin::run`]
    /// does this with the connection that [`Config::connect`] makes; tests use one end of a socket pair.
    ///
    /// When it returns, handlers that did not heed their cancellation within half a second may still run,
    /// on threads of their own.
    ///
    /// # Errors
    /// [`Error::Definition`] when the plugin itself is at fault, [`Error::Rejected`] or
    /// [`Error::HelloUnanswered`] when the host does not take it, [`Error::Violation`] when the host
    /// breaks the protocol, [`Error::Os`] when the operating system refuses threads or the connection.
    pub fn serve(self, config: Config, connection: UnixStream) -> Result<End, Error> {
        let capabilities = self.check()?;
        let typed = self.typed.clone();
        self.begin_log(&config);
        let Plugin {
            version,
            methods,
            interfaces,
            descriptions,
            threads,
            is_serial,
            queue_max,
            health,
            on_shutdown,
            log,
            link,
            reentrant,
            ..
        } = self;
        let (plugin_id, generation) = (config.plugin_id.clone(), config.generation);
        let work = Work::new();
        let passes_fds = config.passes_fds();
        let offer = Offer {
            version: &version,
            capabilities: &capabilities,
            interfaces: &interfaces,
            passes_fds,
            is_serial,
        };
        log.say(Event::new("connected", Component::Auth, Level::Info, "the host took the connection"));
        let (input, agreed, answer) =
            greet(&connection, config, &offer).inspect_err(|error| say_unproven(&log, error))?;
        let told = serde_json::json!({"host": answer.host, "protocol": answer.protocol,
            "interfaces": answer.interfaces, "frame_bytes_max": answer.frame_bytes_max});
        let event =
            Event::new("authenticated", Component::Auth, Level::Info, "the host took the proof of identity");
        log.say(event.details(&told));
        let interfaces = typed.agree(&answer.interfaces).inspect_err(|error| {
            let said = "the host chose what was not offered";
            log.say(Event::new("stopped", Component::Auth, Level::Error, said).error(error.to_string()));
            log.finish();
        })?;
        let frame_bytes_max = agreed.frame_bytes_max;
        let methods_count = methods.len();
        let fd_transport = FdTransport::agreed(agreed)
            .map_err(|source| Error::Os { step: "make an epoll instance", source })?;
        let used = (typed.tables, Arc::clone(&interfaces));
        let terms = Terms { plugin_id, generation, frame_bytes_max, interfaces, fd_transport };
        let service = Service {
            describe: describe_method(methods_count + 1, descriptions, &methods, used, frame_bytes_max),
            methods,
            capabilities,
            version,
            terms: Arc::new(terms),
            callback: callback_method(methods_count, &link, &log),
            health,
            work,
            log: log.clone(),
        };
        let session = MainThread::start(connection, service, threads, queue_max, reentrant);
        let session = session.inspect_err(|error| {
            let event = Event::new("stopped", Component::Runtime, Level::Error, "the session did not begin");
            log.say(event.error(error.to_string()));
            log.finish();
        })?;
        link.join(session.requester());
        session.serve(input, on_shutdown)
    }

    /// Opens the plugin's own record, unless it is open, with what it begins with. No secret is in it: the token
    /// is not, nor are variables or arguments.
    fn begin_log(&self, config: &Config) {
        if !self.log.open(&self.log_options, config) {
            return;
        }
        let configuration = serde_json::json!({
            "version": self.version, "sdk": SDK, "channel": config.channel.to_string(), "host_pid": config.host_pid,
            "methods": self.methods.keys().collect::<Vec<_>>(), "interfaces": self.interfaces,
            "threads": self.threads, "queue_max": self.queue_max,
        });
        let event =
            Event::new("booted", Component::Runtime, Level::Info, "the plugin runs and is configured");
        self.log.say(event.details(&configuration));
    }

    /// Checks the whole definition; gives its capabilities.
    fn check(&self) -> Result<Vec<String>, Error> {
        let mut faults = self.faults.clone();
        if self.version.len() > VERSION_BYTES_MAX {
            let bytes = self.version.len();
            faults.push(format!("its version has {bytes} bytes, at most {VERSION_BYTES_MAX} are allowed"));
        }
        if self.is_serial && self.threads != 1 {
            faults.push(format!("it is serial, and has {} threads instead of 1", self.threads));
        }
        self.descriptions.check(&self.methods, &mut faults);
        let capabilities = self.capabilities();
        if faults.is_empty()
            && let Err(error) = check_capabilities(&capabilities)
        {
            faults.push(error.to_string());
        }
        if faults.is_empty() { Ok(capabilities) } else { Err(Error::Definition(faults)) }
    }

    fn add(mut self, name: &str, handler: Box<Handler>) -> Plugin {
        let capability = capability_of(name);
        if let Err(error) = check_method(name) {
            self.faults.push(format!("the method name {name:?} {error}"));
        } else if let Err(error) = check_capability(capability) {
            self.faults.push(format!("the capability {capability:?} of method {name:?} {error}"));
        } else if rpc_plugin_peer::is_reserved(name) {
            self.faults.push(format!("the method name {name:?} is reserved for the protocol"));
        } else if self.methods.contains_key(name) {
            self.faults.push(format!("the method {name:?} is there twice"));
        } else {
            let mut method = Method::new(name, self.methods.len(), handler);
            method.log = self.log.clone();
            method.link = self.link.clone();
            self.methods.insert(name.into(), Arc::new(method));
        }
        self
    }

    fn check_range(&mut self, what: &str, seen: usize, allowed: &RangeInclusive<usize>) {
        if !allowed.contains(&seen) {
            let (least, most) = (allowed.start(), allowed.end());
            self.faults.push(format!("{what} is {seen}, allowed is {least} to {most}"));
        }
    }
}

/// Puts on the plugin's own record that the host does not take it.
fn say_unproven(log: &Log, error: &Error) {
    let said = "the proof of identity failed";
    let event = Event::new("authentication_failed", Component::Auth, Level::Error, said);
    log.say(event.error(error.to_string()));
    log.finish();
}
