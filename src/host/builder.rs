//! Setting up a host.

use super::admin::{Admin, PackagesLink};
use super::callbacks::Callbacks;
use super::descriptions::Descriptions;
use super::record_trouble::tell_trouble;
use super::services::callback_table::CallbackTable;
use super::services::{self, HostLink, OfferedServices, RunningServices, ServiceCall};
use super::shared::{HostShared, LoopThread};
use super::sinks::{self, LogSink, SinkContext, Sinks};
use super::{Host, HostError};
use crate::engine::Engine;
use crate::eventlog::{Disk, EventLog, LogOptions, SystemDisk};
use crate::reactor::{
    ADMIN_BACKLOG, AdminGroupSocket, AdminSocket, ClaimedRestarts, DelegatedRequest, EndReason, LoopCommand,
    OnHang, Reactor, Setup, SinkQuestions,
};
use crate::state::action::Note;
use crate::state::start_places::STARTING_MAX_LEAST;
use crate::sys::group_socket;
use crate::sys::host_identity::{HostIdentity, leaders_of};
use crate::sys::known_children::KnownChildren;
use crate::sys::launcher::Launcher;
use crate::sys::leftovers::{Leftovers, Search, kill_leftovers};
use crate::sys::listener;
use crate::sys::orphans::become_subreaper;
use crate::sys::runtime_dir::{ADMIN_SOCKET, RuntimeDir, RuntimeDirError};
use crate::sys::sweep::sweep;
use crate::sys::temporary::TemporaryFolder;
use crossbeam_channel::{Sender, bounded};
use rpc_plugin_interface::{HandlerError, InterfaceTable};
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::limits::FRAME_BYTES_MAX_DEFAULT;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

/// How long a start waits for processes of a dead host to end.
const LEFTOVERS_TIMEOUT: Duration = Duration::from_secs(5);
/// Control clients at once, unless the builder says otherwise.
const ADMIN_CLIENTS_MAX_DEFAULT: usize = 64;
/// How long a caller that is alone looks for its answer without sleeping, unless the builder says otherwise.
/// About twice what an answer at once takes; a wake-up from sleep costs as much.
const SPIN_DEFAULT: Duration = Duration::from_micros(30);
/// The most that it may be told to. Longer than a plugin's own work it serves nobody.
const SPIN_MAX: Duration = Duration::from_millis(1);

/// What the runtime folder of a host is called that has a temporary one.
const TEMPORARY_PREFIX: &str = "rpc-plugins";

/// What a host is to be like. [`HostBuilder::start`] makes it.
pub struct HostBuilder {
    /// `None`: a temporary one.
    runtime_dir: Option<PathBuf>,
    event_log: bool,
    log_options: LogOptions,
    log_disk: Arc<dyn Disk>,
    log_sinks: Vec<LogSink>,
    subreaper: bool,
    admin_socket: bool,
    admin_group: Option<(u32, PathBuf)>,
    admin_held: bool,
    admin_clients_max: usize,
    /// Who serves the admin methods of packages.
    admin_packages: Option<PackagesLink>,
    /// `None`: as many as [`starting_max_default`] says.
    starting_max: Option<usize>,
    spin: Duration,
    on_hang: Option<OnHang>,
    offered: OfferedServices,
}

impl std::fmt::Debug for HostBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostBuilder").field("runtime_dir", &self.runtime_dir).finish_non_exhaustive()
    }
}

impl HostBuilder {
    pub(super) fn new(runtime_dir: Option<&Path>) -> HostBuilder {
        HostBuilder {
            runtime_dir: runtime_dir.map(Path::to_owned),
            event_log: true,
            log_options: LogOptions::default(),
            log_disk: Arc::new(SystemDisk),
            log_sinks: Vec::new(),
            subreaper: false,
            admin_socket: false,
            admin_group: None,
            admin_held: false,
            admin_clients_max: ADMIN_CLIENTS_MAX_DEFAULT,
            admin_packages: None,
            starting_max: None,
            spin: if several_cores() { SPIN_DEFAULT } else { Duration::ZERO },
            on_hang: None,
            offered: OfferedServices::default(),
        }
    }

    /// How long a caller whose call is the only one looks for the answer without sleeping: 30 microseconds
    /// unless this says otherwise, at most a millisecond, not at all on one core. It saves the caller's wake-up, which
    /// is a good part of a short call, and costs at most that much processor time a call.
    #[must_use]
    pub fn spin(mut self, spin: Duration) -> HostBuilder {
        self.spin = spin.min(SPIN_MAX);
        self
    }

    /// What is to be done where the event loop hangs for good: in a descriptor of a plugin, for four seconds in one
    /// system call that should not wait, though the plugin was killed after two. `function` is given the reason, once, on
    /// a thread of its own, after the reason was put on record. Nothing in the process can free the loop then: calls do
    /// not end any more, and [`Host::shutdown`] does not return. So the function had better end the process
    /// ([`std::process::exit`]), which ends the plugins too. Unless this says otherwise, nothing is done but the record.
    #[must_use]
    pub fn on_hang(mut self, function: impl FnOnce(&str) + Send + 'static) -> HostBuilder {
        self.on_hang = Some(Box::new(function));
        self
    }

    /// Whether events are appended to `RUNTIME/ID/events.jsonl`. They are unless this says otherwise.
    #[must_use]
    pub fn event_log(mut self, event_log: bool) -> HostBuilder {
        self.event_log = event_log;
        self
    }

    /// Events that may wait for the record's writer; further ones are dropped and counted.
    #[must_use]
    pub fn event_queue_max(mut self, queue_max: usize) -> HostBuilder {
        self.log_options.queue_max = queue_max;
        self
    }

    /// How the record is kept: when it is synced and what waits for that, how large it becomes, whether it
    /// is chained. Also sets what [`HostBuilder::event_queue_max`] does.
    #[must_use]
    pub fn log_options(mut self, options: LogOptions) -> HostBuilder {
        self.log_options = options;
        self
    }

    /// Keeps the record through these file operations instead of the system's: to see what a program does when
    /// its disk fails or hangs.
    #[must_use]
    pub fn log_disk(mut self, disk: Arc<dyn Disk>) -> HostBuilder {
        self.log_disk = disk;
        self
    }

    /// Where events go beside their files, at most 16 places: each gets each event at least once, also what
    /// happened while it, or the host, was down, as long as the record keeps it.
    #[must_use]
    pub fn log_sinks(mut self, sinks: Vec<LogSink>) -> HostBuilder {
        self.log_sinks = sinks;
        self
    }

    /// Makes the whole process the parent of its orphaned descendants (PR_SET_CHILD_SUBREAPER), reaps
    /// them, and ends those that plugins leave behind. An orphan is spared while its plugin's process
    /// lives, if it stayed in the plugin's session or kept the variable `RPC_PLUGIN_SYSTEM_LAUNCH`. Only for a
    /// program whose children are all this host's plugins: any other child would be taken for one left
    /// behind.
    #[must_use]
    pub fn adopt_orphans(mut self, adopt: bool) -> HostBuilder {
        self.subreaper = adopt;
        self
    }

    /// Whether operators may inspect and act through `RUNTIME/admin.sock`, with `rpcpluginctl`. Only the
    /// host's own user and root may connect. They may not unless this says otherwise.
    #[must_use]
    pub fn admin_socket(mut self, admin_socket: bool) -> HostBuilder {
        self.admin_socket = admin_socket;
        self
    }

    /// Lets the members of a group inspect and act as well, through a socket of their own at `socket`, an absolute path: the
    /// runtime folder is for the host's own user alone. The socket is made with mode 0660 and the group, in a folder that
    /// only root and this user can change; it is made (0755) if only its last part is missing. For a host with
    /// [`HostBuilder::admin_socket`].
    ///
    /// Membership equals the host's own user: who may stop, start and call plugins can have done what these can do.
    #[must_use]
    pub fn admin_group(mut self, gid: u32, socket: impl Into<PathBuf>) -> HostBuilder {
        self.admin_group = Some((gid, socket.into()));
        self
    }

    /// Whether operators who connect have to wait until [`Host::release_admin_socket`]: for a program that
    /// first adds its plugins, so that nobody is told that there are none.
    #[must_use]
    pub fn hold_admin_socket(mut self, hold: bool) -> HostBuilder {
        self.admin_held = hold;
        self
    }

    /// Control clients that may be connected at once; 64 unless this says otherwise.
    #[must_use]
    pub fn admin_clients_max(mut self, clients_max: usize) -> HostBuilder {
        self.admin_clients_max = clients_max;
        self
    }

    /// Has the admin methods of packages served by whoever receives from `to`, a bounded channel. A request that finds it
    /// full is answered `overloaded`. So are restarts of those plugins that are claimed.
    #[must_use]
    #[cfg_attr(not(test), allow(dead_code, reason = "the daemon's package manager is who calls it"))]
    pub(crate) fn serve_packages(
        mut self,
        (to, restarts): (Sender<DelegatedRequest>, Arc<ClaimedRestarts>),
    ) -> HostBuilder {
        self.admin_packages = Some(PackagesLink { to, restarts });
        self
    }

    /// Plugins that may be starting at once: two for each core and at least 4 unless this says otherwise, at least 1. A
    /// further one waits for its turn, and its deadlines begin with that. A plugin counts until it is healthy or has
    /// failed, and for at most 5 seconds while others wait; one that is started by hand does not count.
    #[must_use]
    pub fn starting_max(mut self, starting_max: usize) -> HostBuilder {
        self.starting_max = Some(starting_max);
        self
    }

    /// Serves `method` for the plugins: a handler of typed params and result, on a thread of its own (see
    /// [`HostBuilder::service_threads`]). A name is that of a method, in any namespace but `plugin.`, `admin.` and
    /// `rpc.`; one that is none, is there already, or is built in (`host.log`, `host.call`, `host.event`) fails the
    /// start. Absent params are the same as `{}`.
    ///
    /// Calls of plugins that the handler makes on its own thread are part of the call that it serves: they end with
    /// it at the latest, and are cancelled with it.
    #[must_use]
    pub fn service<P, R, E, F>(mut self, method: &str, handler: F) -> HostBuilder
    where
        P: DeserializeOwned,
        R: Serialize,
        E: Into<HandlerError>,
        F: Fn(&ServiceCall, P) -> Result<R, E> + Send + Sync + 'static,
    {
        self.offered.add(method, services::typed(handler));
        self
    }

    /// Serves every method of a typed interface, as [`HostBuilder::service`] does one: what `into_table` of its trait
    /// gives.
    #[must_use]
    pub fn serve_interface(mut self, table: InterfaceTable) -> HostBuilder {
        for (method, function) in table.methods() {
            self.offered.add(method, services::of_table(Arc::clone(function)));
        }
        self
    }

    /// Services that run at a time: 4 unless this says otherwise, 1 to 1024. One that waits for a plugin does not
    /// count, up to 64 of them.
    #[must_use]
    pub fn service_threads(mut self, threads: usize) -> HostBuilder {
        self.offered.threads = threads.clamp(1, 1024);
        self
    }

    /// Requests of plugins that wait for a service's thread: 1024 unless this says otherwise; a further one is answered
    /// `overloaded`.
    #[must_use]
    pub fn service_queue_max(mut self, queue_max: usize) -> HostBuilder {
        self.offered.queue_max = queue_max;
        self
    }

    /// Opens and locks the runtime folder, removes what a dead host left in it, and starts the event
    /// loop. Blocks for a moment.
    ///
    /// # Errors
    /// The folder cannot be used or another host uses it; a thread, socket or file cannot be made.
    pub fn start(self) -> Result<Host, HostError> {
        sinks::check(&self.log_sinks, &self.log_options, self.event_log)?;
        self.offered.check()?;
        let (path, temporary) = self.folder()?;
        let runtime_dir = Arc::new(RuntimeDir::open(&path).map_err(HostError::RuntimeDir)?);
        let log = self.open_log(&runtime_dir)?;
        let notes = tidy_up(&runtime_dir)?;
        let (descriptions, ended) = (Arc::<Descriptions>::default(), EndReason::default());
        let questions = SinkQuestions::default();
        let admin = self.listen(&runtime_dir, &descriptions, &questions)?;
        if self.subreaper {
            become_subreaper().map_err(|error| HostError::Setup("orphans cannot be adopted", error))?;
        }
        let children = KnownChildren::default();
        let launcher = Launcher::start()
            .map_err(|error| HostError::Setup("the thread that launches cannot be started", error))?;
        let launcher = Arc::new(launcher);
        let (called_back, serving) = (CallbackTable::default(), Arc::default());
        let services = RunningServices::new(self.offered, called_back.clone(), Arc::clone(&serving));
        let setup = Setup {
            services: Box::new(services),
            runtime_dir: Arc::clone(&runtime_dir),
            log: log.clone(),
            admin,
            starting_max: self.starting_max.unwrap_or_else(starting_max_default),
            subreaper: self.subreaper,
            children: children.clone(),
            launcher: Arc::clone(&launcher),
            on_hang: self.on_hang,
            ended: Arc::clone(&ended),
        };
        let engine = Reactor::engine(setup, self.spin)
            .map_err(|error| HostError::Setup("the event loop cannot be made", error))?;
        let engine = Arc::new(engine);
        let thread = start_loop(&engine)?;
        let mut shared = HostShared {
            engine,
            runtime_dir,
            log,
            flushed: Once::new(),
            thread,
            ended,
            sinks: Mutex::default(),
            callbacks: Callbacks::default(),
            called_back,
            descriptions,
            _temporary: temporary,
        };
        let around = SinkContext {
            runtime_dir: shared.runtime_dir.path(),
            disk: &self.log_disk,
            log: &shared.log,
            engine: &shared.engine,
            children: &children,
            launcher: &launcher,
        };
        let started = Sinks::start(&around, self.log_sinks, &self.log_options).map_err(|error| {
            HostError::Setup("the threads of the record's sinks cannot be started", error)
        })?;
        let _ = questions.set(started.questions());
        tell_trouble(&shared.log, shared.engine.commands().clone(), started.unrecorded());
        shared.sinks = Mutex::new(started);
        for note in notes {
            shared.post(LoopCommand::Record(Box::new(note)))?;
        }
        let shared = Arc::new(shared);
        let commands = shared.engine.commands().clone();
        let _ = serving.set(HostLink { commands, host: Arc::downgrade(&shared) });
        Ok(Host { shared })
    }

    /// The runtime folder, and the same as a temporary one that has just been made.
    fn folder(&self) -> Result<(PathBuf, Option<TemporaryFolder>), HostError> {
        if let Some(path) = &self.runtime_dir {
            return Ok((path.clone(), None));
        }
        let folder = TemporaryFolder::new(TEMPORARY_PREFIX)
            .map_err(|error| HostError::Setup("a temporary folder cannot be made", error))?;
        Ok((folder.path().to_owned(), Some(folder)))
    }

    fn open_log(&self, runtime_dir: &RuntimeDir) -> Result<EventLog, HostError> {
        if !self.event_log {
            return Ok(EventLog::disabled());
        }
        EventLog::start_on(runtime_dir.path(), &self.log_options, Arc::clone(&self.log_disk))
            .map_err(|error| HostError::Setup("the event log cannot be opened", error))
    }

    fn listen(
        &self,
        runtime_dir: &RuntimeDir,
        descriptions: &Arc<Descriptions>,
        questions: &SinkQuestions,
    ) -> Result<Option<AdminSocket>, HostError> {
        if !self.admin_socket {
            return Ok(None);
        }
        let (listener, file) =
            listener::bind(&runtime_dir.folder(), ADMIN_SOCKET, ADMIN_BACKLOG).map_err(|error| {
                HostError::Setup("the admin socket cannot be made", std::io::Error::other(error))
            })?;
        let group = self.admin_group.as_ref().map(|(gid, path)| {
            let (listener, file) = group_socket::bind(path, *gid, ADMIN_BACKLOG).map_err(|error| {
                HostError::Setup("the admin group's socket cannot be made", std::io::Error::other(error))
            })?;
            Ok::<_, HostError>(AdminGroupSocket { listener, file: Arc::new(file), gid: *gid })
        });
        let socket = AdminSocket {
            listener,
            file: Arc::new(file),
            group: group.transpose()?,
            service: Box::new(Admin {
                descriptions: Arc::clone(descriptions),
                packages: self.admin_packages.clone(),
            }),
            held: self.admin_held,
            clients_max: self.admin_clients_max,
            frame_bytes_max: FRAME_BYTES_MAX_DEFAULT,
            sinks: Arc::clone(questions),
        };
        Ok(Some(socket))
    }
}

/// Gives the event loop its own thread.
fn start_loop(engine: &Arc<Engine<Reactor>>) -> Result<LoopThread, HostError> {
    let own = Arc::clone(engine);
    let (alive_sender, alive) = bounded(0);
    let thread = crate::threads::builder("rpcplugin-loop")
        .spawn(move || {
            // Declared first, so dropped last, also in a panic.
            let _alive: Sender<()> = alive_sender;
            own.run();
        })
        .map_err(|error| HostError::Setup("the event loop's thread cannot be started", error))?;
    Ok(LoopThread { id: thread.thread().id(), handle: Mutex::new(Some(thread)), alive })
}

/// How many plugins may be starting at once: what starts takes a core for some time, and waits for others in between.
fn starting_max_default() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    cores.saturating_mul(2).max(STARTING_MAX_LEAST)
}

/// Whether this program may use more than one core: with one, a caller that spins keeps the plugin from
/// answering. sched_getaffinity(2), and the quota of its cgroup.
fn several_cores() -> bool {
    std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1)
}

/// Removes what a dead host left: its plugins' descendants, sockets and tokens. Then says that this one has the folder.
fn tidy_up(runtime_dir: &RuntimeDir) -> Result<Vec<Note>, HostError> {
    let mut notes = vec![Note::new(EventKind::HostStarted, concat!("version ", env!("CARGO_PKG_VERSION")))];
    let before = HostIdentity::read(&runtime_dir.folder());
    let lives = |pid, launched| {
        let path = runtime_dir.path().to_owned();
        HostError::RuntimeDir(RuntimeDirError::HostLives { path, pid, launched })
    };
    if let Some(before) = before.as_ref().filter(|before| before.is_beside(runtime_dir.host())) {
        let process = before.process();
        // A host that this process had before is no other one.
        if process.pid != std::process::id() && process.runs() {
            return Err(lives(process.pid, None));
        }
    }
    // Processes first, so that none of them makes what is then swept.
    let leftovers = find_leftovers(runtime_dir, before)?;
    if let Some((pid, launched)) = leftovers.in_use {
        return Err(lives(pid, Some(launched)));
    }
    let swept = sweep(runtime_dir).map_err(|error| {
        HostError::Setup("what a dead host left cannot be removed", std::io::Error::other(error))
    })?;
    runtime_dir.host().write(&runtime_dir.folder()).map_err(|error| {
        HostError::Setup("the runtime folder cannot be taken over", std::io::Error::other(error))
    })?;
    if !leftovers.killed.is_empty() || !swept.removed.is_empty() {
        let note = Note::new(EventKind::LeftoversSwept, "a dead host's leftovers were removed");
        let files: Vec<String> = swept.removed.iter().map(|path| path.display().to_string()).collect();
        notes.push(note.details(serde_json::json!({"killed": leftovers.killed, "removed": files})));
    }
    for pid in leftovers.remaining {
        let note = Note::new(EventKind::HostFault, "a process of a dead host does not end");
        notes.push(note.error(format!("process {pid} survives SIGKILL")));
    }
    if !leftovers.unknown.is_empty() {
        let text = "processes say that they are of this runtime folder, which nothing in it confirms; they are left alone";
        let note = Note::new(EventKind::HostFault, text);
        notes.push(note.details(serde_json::json!({"pids": leftovers.unknown})));
    }
    for failed in swept.failed {
        notes.push(Note::new(EventKind::HostFault, "a dead host's leftover stays").error(failed));
    }
    Ok(notes)
}

/// Looks for processes that a dead host left, and kills them, on a thread of its own: reading about one may hang.
fn find_leftovers(runtime_dir: &RuntimeDir, before: Option<HostIdentity>) -> Result<Leftovers, HostError> {
    let failed = |error| HostError::Setup("processes of a dead host cannot be looked for", error);
    let leaders = match before.as_ref().map(|before| leaders_of(before, &runtime_dir.folder())) {
        Some(leaders) => leaders.map_err(|error| failed(std::io::Error::other(error)))?,
        None => Vec::new(),
    };
    let (host, runtime_dir) = (runtime_dir.host().clone(), runtime_dir.path().to_owned());
    let search = Search { host, before, leaders, runtime_dir };
    let (sender, found) = bounded(1);
    let look = move || drop(sender.send(kill_leftovers(&search, LEFTOVERS_TIMEOUT)));
    crate::threads::builder("rpcplugin-search").spawn(look).map_err(failed)?;
    found.recv_timeout(LEFTOVERS_TIMEOUT.saturating_mul(2)).unwrap_or_else(|_| {
        Err(std::io::Error::other("reading about a process hangs; the states of processes in `ps -eo pid,stat,wchan,args` show it"))
    }).map_err(failed)
}
