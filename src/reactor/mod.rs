//! The event loop: one thread that owns every socket, pipe, process and timer of a host.
//!
//! What this folder is for: carrying out what `state/` decides, and telling it what happened. What it
//! deliberately does not do: decide; block; touch a file system (workers do, see `workers`).
//!
//! What always holds: a turn of the loop is bounded, however much one peer sends; nothing is delivered
//! under a stale token; a burst of writes to one peer is one system call where the kernel takes it.

mod awaited;
mod children;
mod control;
mod held_until_synced;
mod instance;
mod links;
mod loop_commands;
mod output;
mod pending_replies;
mod plugin_requests;
mod recorder;
mod relays;
mod setup;
mod slab;
mod watch;
mod workers;

pub(crate) use control::{Answer, ControlCx, ControlService, Reply};
pub(crate) use loop_commands::LoopCommand;
pub(crate) use pending_replies::{Asker, WaitEnd};
pub(crate) use plugin_requests::{ServiceRequest, Services};
pub use recorder::LifecycleEvent;
pub(crate) use setup::{Control, EndReason, HostEnd, Setup, SinkQuestion, SinkQuestions};

use crate::engine::{self, CommandQueue, CommandSender, Driver, Engine, EventLoop, Woken};
use crate::state::action::{Action, Note};
use crate::state::call::CallEnd;
use crate::state::keys::{CallKey, PluginKey};
use crate::state::output::Stream;
use crate::state::plugin_config::PluginConfig;
use crate::state::shortage::Shortage;
use crate::state::supervisor::Supervisor;
use crate::state::time::Time;
use crate::state::wheel::Wheel;
use crate::sys::attendants::Attendants;
use crate::sys::runtime_dir::RuntimeDir;
use control::Clients;
use held_until_synced::HeldReplies;
use instance::Instance;
use mio::{Events, Interest, Poll, Token};
use pending_replies::{PendingReplies, Ticket, Told};
use plugin_requests::PluginRequests;
use recorder::Recorder;
use relays::Relays;
use rpc_plugin_wire::Generation;
use rpc_plugin_wire::event::EventKind;
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};
use std::{io, sync::Arc};
use workers::Workers;

/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 256;
/// Commands handled in one turn before sockets get their turn again.
const COMMANDS_PER_TURN: usize = 1024;
/// Bytes of calls begun that may wait for a common write before they go out by themselves.
const BATCH_BYTES_MAX: usize = 16 * 1024;
/// How much longer than its ladders the end of a host may take before it is given up.
const END_SLACK: Duration = Duration::from_secs(10);
/// How long the end of a host takes at the most once its plugins were sent SIGKILL.
const END_NOW_TIMEOUT: Duration = Duration::from_secs(2);
/// The waker's token; slab keys never have this value.
const WAKER: Token = Token(usize::MAX);

/// What a registered descriptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// A generation's socket, before anybody has proven anything.
    Listener(PluginKey, Generation),
    Link(PluginKey, Generation),
    Exit(PluginKey, Generation),
    Stdout(PluginKey, Generation),
    Stderr(PluginKey, Generation),
    /// A stream in band, by its number.
    Stream(PluginKey, Generation, u64),
    ControlListener,
    /// With its key among the clients.
    ControlClient(u64),
}

/// See the module's text.
pub(crate) struct Reactor {
    poll: Poll,
    events: Events,
    driver: Arc<Driver>,
    /// Whether the loop's own thread drives.
    on_own_thread: bool,
    woken: Woken,
    queue: CommandQueue<LoopCommand>,
    commands: CommandSender<LoopCommand>,
    origin: Instant,
    supervisor: Supervisor,
    instances: BTreeMap<PluginKey, Instance>,
    /// When to look again at what plugins printed.
    printing: Wheel<(PluginKey, Generation, Stream)>,
    sources: Slab<Source>,
    /// Sources whose turn was over before they were drained.
    unfinished: VecDeque<u64>,
    /// What every connection is read into; who has no part of a frame waiting holds no memory.
    read_buffer: Vec<u8>,
    ends: PendingReplies,
    clients: Clients,
    /// Control clients that may have bytes to write.
    answered: BTreeSet<u64>,
    /// Listeners whose connections could not be accepted, and when that is tried again.
    accept_later: BTreeSet<u64>,
    accepting: Shortage,
    control: Option<Control>,
    /// Its listener, once clients are let in.
    control_source: Option<u64>,
    workers: Workers,
    services: Box<dyn Services>,
    servings: PluginRequests,
    relays: Relays,
    /// Preparations that wait for room in the workers' queue. At most one for each plugin.
    postponed: VecDeque<(PluginKey, Generation, Arc<PluginConfig>)>,
    recorder: Recorder,
    /// Answers that wait for the disk.
    holding: HeldReplies,
    runtime_dir: Arc<RuntimeDir>,
    uid: u32,
    subreaper: bool,
    attendants: Attendants,
    sinks: SinkQuestions,
    /// Set once the host ends: when it is given up.
    end_by: Option<Time>,
    /// Set once the host ends: why.
    end_reason: Option<String>,
    /// The loop cannot go on.
    is_broken: bool,
    /// Where the reason is left for those who wait for the end.
    ended: EndReason,
}

impl Reactor {
    /// Makes the loop and lends it; [`Engine::run`] is to be called on the thread that is to be its own. `spin` is how
    /// long a caller that drives looks for its answer without sleeping.
    pub(crate) fn engine(setup: Setup, spin: Duration) -> io::Result<Engine<Reactor>> {
        let poll = Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), WAKER)?;
        let driver = Arc::new(Driver::new(waker));
        let (commands, queue) = engine::open(Arc::clone(&driver));
        let mut reactor = Reactor {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            driver: Arc::clone(&driver),
            on_own_thread: false,
            woken: Woken::default(),
            queue,
            commands: commands.clone(),
            origin: Instant::now(),
            supervisor: Supervisor::new(fastrand::u64(..)),
            instances: BTreeMap::new(),
            printing: Wheel::default(),
            sources: Slab::default(),
            unfinished: VecDeque::new(),
            read_buffer: Vec::new(),
            ends: PendingReplies::default(),
            clients: Clients::default(),
            answered: BTreeSet::new(),
            accept_later: BTreeSet::new(),
            accepting: Shortage::default(),
            control: setup.control,
            control_source: None,
            workers: Workers::start(workers::WORKERS_DEFAULT)?,
            services: setup.services,
            servings: PluginRequests::default(),
            relays: Relays::default(),
            postponed: VecDeque::new(),
            holding: HeldReplies::new(&setup.log, &commands),
            recorder: Recorder::new(setup.log, setup.runtime_dir.path()),
            runtime_dir: setup.runtime_dir,
            uid: crate::sys::credentials::effective_uid(),
            subreaper: setup.subreaper,
            attendants: setup.attendants,
            sinks: setup.sinks,
            end_by: None,
            end_reason: None,
            is_broken: false,
            ended: setup.ended,
        };
        if reactor.control.as_ref().is_some_and(|control| !control.held) {
            reactor.open_control()?;
        }
        Ok(Engine::new(reactor, driver, commands, spin))
    }

    /// Begins to accept control clients, if it has not begun; those that have connected are waiting.
    fn open_control(&mut self) -> io::Result<()> {
        let (Some(control), None) = (&self.control, self.control_source) else { return Ok(()) };
        let fd = control.listener.as_raw_fd();
        self.control_source = Some(self.register(fd, Source::ControlListener, Interest::READABLE)?);
        Ok(())
    }

    fn wait(&mut self, wait_max: Option<Duration>) -> io::Result<()> {
        let until = [
            self.supervisor.next_at(),
            self.printing.next_at(),
            self.end_by,
            self.accepting.next_at(),
            self.holding.next_at(),
        ];
        let until = until.into_iter().flatten().min();
        let due = until.map(|at| at.since(self.now()));
        let mut timeout = [due, wait_max].into_iter().flatten().min();
        if !self.unfinished.is_empty() || (timeout != Some(Duration::ZERO) && !self.queue.may_sleep()) {
            timeout = Some(Duration::ZERO);
        }
        let result = self.poll.poll(&mut self.events, timeout);
        self.queue.awake();
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            other => other,
        }
    }

    fn now(&self) -> Time {
        Time::from_nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn handle_source(&mut self, now: Time, source: u64, closed: bool) {
        // A source that was closed earlier in this turn is stale here, and finds nothing.
        match self.sources.get(source).copied() {
            None => {}
            Some(Source::Listener(key, generation)) => self.accept(now, key, generation),
            Some(Source::Link(key, generation)) => {
                // Readable or writable, the event does not say; what waits for room is written on.
                self.read_link(now, key, generation, closed);
                self.write_link(key, generation);
            }
            Some(Source::Exit(key, generation)) => self.handle_exit(now, key, generation),
            Some(Source::Stdout(key, generation)) => self.read_pipe(now, key, generation, Stream::Stdout),
            Some(Source::Stderr(key, generation)) => self.read_pipe(now, key, generation, Stream::Stderr),
            Some(Source::Stream(key, generation, number)) => self.pump_stream(now, (key, generation, number)),
            Some(Source::ControlListener) => self.accept_clients(now),
            Some(Source::ControlClient(client)) => self.read_client(now, client, closed),
        }
    }

    /// Carries out all that was decided, and what follows from it, and writes what waits.
    fn settle(&mut self, now: Time) {
        loop {
            self.perform_all(now);
            self.release_held(now);
            // Dropping a client that takes nothing cancels its calls, which is decided again.
            self.write_clients(now);
            match self.supervisor.poll_waiting() {
                Some((key, generation)) => self.write_link(key, generation),
                None => break,
            }
        }
        if !self.postponed.is_empty() {
            self.submit_postponed();
        }
    }

    fn perform_all(&mut self, now: Time) {
        while self.on_own_thread || !self.supervisor.next_action().is_some_and(is_spawn) {
            let Some(action) = self.supervisor.poll_action() else { break };
            self.perform(now, action);
        }
    }

    fn perform(&mut self, now: Time, action: Action) {
        match action {
            Action::Prepare(key, generation, config) => {
                self.postponed.push_back((key, generation, config));
                self.submit_postponed();
            }
            Action::Spawn(key, generation) => self.spawn(now, key, generation),
            Action::Await(key, generation) => self.begin_to_await(key, generation),
            Action::Discard(key, generation) => self.discard(key, generation),
            Action::Trusted(key, generation) => self.trust(key, generation),
            Action::CloseLink(key, generation, last) => {
                self.close_link(key, generation, &last);
                self.abandon_all(now, key, generation);
                self.close_streams(key, generation);
            }
            Action::Signal(key, generation, signal) => self.signal(key, generation, signal),
            Action::Progress(call, value) => self.tell_progress(now, call, value),
            Action::Asked(key, generation, mut asked) => {
                asked.fds.extend(self.accept_streams(now, key, generation, &asked.streams));
                self.serve_plugin(now, key, generation, *asked);
            }
            Action::RefuseStreams(key, generation, numbers) => {
                self.refuse_streams(now, key, generation, &numbers);
            }
            Action::Stream(key, generation, frame) => self.take_stream(now, key, generation, frame),
            Action::Abandoned(key, generation, id) => self.abandon(now, key, generation, id),
            Action::Complete(call, mut end) => {
                self.accept_streams_of(now, &mut end);
                let end = self.hold_call(now, call, end);
                if let Some((ticket, answer)) = end.and_then(|end| self.end_call(now, call, end)) {
                    self.answer_client(&ticket, answer);
                }
            }
            Action::Waited(wait, end) => {
                if let Some((ticket, answer)) = self.ends.end_wait(wait, end) {
                    self.answer_client(&ticket, answer);
                }
            }
            Action::Called(record) => self.recorder.called(*record),
            Action::Note(note) => self.recorder.record(*note),
        }
    }

    /// Tells the thread or plugin that waits for a call how it ended, or says what to tell a client.
    fn end_call(&mut self, now: Time, call: CallKey, end: CallEnd) -> Option<(Ticket, Answer)> {
        match self.ends.end_call(call, end) {
            Told::Nobody => {}
            Told::Woken => {
                self.woken.still_parked = self.driver.unparked();
                self.woken.callers += 1;
            }
            Told::Client(ticket, answer) => return Some((ticket, answer)),
            Told::Plugin(asker, end) => self.tell_asker(now, &asker, end),
        }
        None
    }

    pub(super) fn begin_end(&mut self, now: Time, reason: String) {
        if self.end_by.is_none() {
            self.end_reason = Some(reason);
            self.end_by = Some(now.plus(self.supervisor.stop_timeout()).plus(END_SLACK));
            self.supervisor.end(now);
        }
    }

    /// The processes that this kills end as those that a ladder kills, and are seen to end as they are.
    pub(super) fn end_now(&mut self, now: Time, reason: String) {
        self.begin_end(now, reason.clone());
        let soon = now.plus(END_NOW_TIMEOUT);
        self.end_by = self.end_by.map(|end_by| end_by.min(soon));
        let keys: Vec<PluginKey> = self.instances.keys().copied().collect();
        for key in keys {
            self.kill(key, &reason);
        }
    }
}

impl EventLoop for Reactor {
    type Command = LoopCommand;

    fn turn(&mut self, wait_max: Option<Duration>) -> io::Result<()> {
        self.woken.callers = 0;
        if self.driver.is_deaf() {
            return Err(io::Error::other("it cannot be woken: writing to its eventfd fails"));
        }
        self.wait(wait_max)?;
        let now = self.now();
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in events.iter().filter(|event| event.token() != WAKER) {
            self.handle_source(now, event.token().0 as u64, event.is_read_closed());
        }
        self.events = events;
        for _ in 0..self.unfinished.len() {
            if let Some(source) = self.unfinished.pop_front() {
                self.handle_source(now, source, true);
            }
        }
        let now = self.take_commands(now);
        self.supervisor.handle_time(now);
        self.record_waiting(now);
        self.accept_again(now);
        self.settle(now);
        Ok(())
    }

    fn execute(&mut self, command: LoopCommand, may_batch: bool) {
        // What this thread posted before comes before.
        let now = self.take_commands(self.now());
        let plugin = match command {
            LoopCommand::Call(request, reply) => self.begin_call(now, *request, reply),
            command => {
                self.handle_command(now, command);
                None
            }
        };
        let plugin = plugin.filter(|_| may_batch).and_then(|key| self.supervisor.plugin(key));
        if plugin.is_some_and(|plugin| plugin.has_company(BATCH_BYTES_MAX)) {
            self.perform_all(now);
        } else {
            self.settle(now);
        }
    }

    fn woken(&self) -> Woken {
        self.woken
    }

    fn is_queue_empty(&mut self) -> bool {
        self.queue.is_empty()
    }

    fn has_unfinished(&self) -> bool {
        !self.unfinished.is_empty()
    }

    fn set_on_own_thread(&mut self, on_own_thread: bool) {
        self.on_own_thread = on_own_thread;
    }

    /// A plugin is to be launched, and lives no longer than the thread that launched it
    /// (PR_SET_PDEATHSIG(2const)); or the host ends.
    fn needs_own_thread(&self) -> bool {
        self.end_by.is_some() || self.supervisor.next_action().is_some_and(is_spawn)
    }

    fn is_over(&self) -> bool {
        self.end_by.is_some_and(|end_by| {
            self.supervisor.is_quiet() && self.holding.is_empty() || self.now() >= end_by
        })
    }

    /// Only a fault of its epoll descriptor, or a bug, comes here.
    fn fail(&mut self, error: &io::Error) {
        let text = "the event loop cannot go on";
        self.recorder.record(Note::new(EventKind::HostFault, text).error(error.to_string()));
        self.end_reason = Some(format!("{text}: {error}"));
        self.is_broken = true;
    }

    fn finish(&mut self) {
        while let Some(action) = self.supervisor.poll_action() {
            match action {
                Action::Note(note) => self.recorder.record(*note),
                Action::Called(record) => self.recorder.called(*record),
                _ => {}
            }
        }
        self.release_all_held();
        // Kills and reaps, with a bound, what a hanging kernel still kept.
        self.instances.clear();
        if self.subreaper {
            self.end_orphans();
        }
        self.workers.end();
        self.services.end();
        let reason = self.end_reason.take().unwrap_or_default();
        self.recorder.record(Note::new(EventKind::HostStopped, "the host ended").reason(reason.clone()));
        let _ = self.ended.set(HostEnd { reason, is_fault: self.is_broken });
    }
}

fn is_spawn(action: &Action) -> bool {
    matches!(action, Action::Spawn(..))
}
