//! The event loop: one thread that owns every socket, pipe, process and timer of a host.
//!
//! What this folder is for: carrying out what `state/` decides, and telling it what happened. What it
//! deliberately does not do: decide; block; touch a file system (workers do, see `workers`).
//!
//! What always holds: a turn of the loop is bounded, however much one peer sends; nothing is delivered
//! under a stale token; a burst of writes to one peer is one system call where the kernel takes it.

mod children;
mod control;
mod durable;
mod ends;
mod links;
mod mail;
mod output;
mod record;
mod slab;
mod ward;
mod watch;
mod workers;

pub(crate) use control::{Answer, ControlCx, ControlService, Reply};
pub(crate) use ends::WaitEnd;
pub use mail::LifecycleEvent;
pub(crate) use mail::{Command, NewCall, Port, PostError};
pub(crate) use ward::LaunchSpec;

use crate::eventlog::EventLog;
use crate::state::action::{Action, Note};
use crate::state::call_error::CallError;
use crate::state::keys::PluginKey;
use crate::state::supervisor::Supervisor;
use crate::state::time::Time;
use crate::sys::runtime_dir::RuntimeDir;
use control::Clients;
use durable::Holding;
use ends::Ends;
use mail::Mailbox;
use mio::{Events, Interest, Poll, Token};
use record::Recorder;
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::{ErrorCode, Generation, PluginId};
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use ward::Ward;
use workers::Workers;

/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 256;
/// Commands handled in one turn before sockets get their turn again.
const COMMANDS_PER_TURN: usize = 1024;
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
    ControlListener,
    /// With its key among the clients.
    ControlClient(u64),
}

/// The control interface of a host.
pub(crate) struct Control {
    pub(crate) listener: UnixListener,
    pub(crate) service: Box<dyn ControlService>,
    /// Whether clients have to wait for [`Command::OpenControl`].
    pub(crate) held: bool,
    pub(crate) clients_max: usize,
    pub(crate) frame_bytes_max: usize,
}

/// What a host is made of.
pub(crate) struct Setup {
    pub(crate) runtime_dir: Arc<RuntimeDir>,
    pub(crate) log: EventLog,
    pub(crate) control: Option<Control>,
    /// Adopt and end what plugins leave behind.
    pub(crate) subreaper: bool,
    pub(crate) ended: EndReason,
}

/// Why a host ended; set when it has.
pub(crate) type EndReason = Arc<OnceLock<String>>;

/// See the module's text.
pub(crate) struct Reactor {
    poll: Poll,
    mailbox: Mailbox,
    port: Port,
    origin: Instant,
    supervisor: Supervisor,
    wards: BTreeMap<PluginKey, Ward>,
    sources: Slab<Source>,
    /// Sources whose turn was over before they were drained.
    unfinished: VecDeque<u64>,
    /// What every connection is read into; who has no part of a frame waiting holds no memory.
    read_buffer: Vec<u8>,
    ends: Ends,
    clients: Clients,
    /// Control clients that may have bytes to write.
    answered: BTreeSet<u64>,
    /// When control connections are to be accepted again, after that failed.
    accept_again: Option<Time>,
    control: Option<Control>,
    /// Its listener, once clients are let in.
    control_source: Option<u64>,
    workers: Workers,
    /// Preparations that wait for room in the workers' queue. At most one for each plugin.
    postponed: VecDeque<(PluginKey, Generation)>,
    recorder: Recorder,
    /// Answers that wait for the disk.
    holding: Holding,
    runtime_dir: Arc<RuntimeDir>,
    uid: u32,
    subreaper: bool,
    /// Set once the host ends: when it is given up.
    end_by: Option<Time>,
    /// Set once the host ends: why.
    end_reason: Option<String>,
    /// Where the reason is left for those who wait for the end.
    ended: EndReason,
}

impl Reactor {
    /// Makes the loop; [`Reactor::run`] is to be called on the thread that is to own it.
    pub(crate) fn new(setup: Setup) -> io::Result<(Reactor, Port)> {
        let poll = Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), WAKER)?;
        let (port, mailbox) = mail::open(waker);
        let mut reactor = Reactor {
            poll,
            mailbox,
            port: port.clone(),
            origin: Instant::now(),
            supervisor: Supervisor::new(fastrand::u64(..)),
            wards: BTreeMap::new(),
            sources: Slab::default(),
            unfinished: VecDeque::new(),
            read_buffer: Vec::new(),
            ends: Ends::default(),
            clients: Clients::default(),
            answered: BTreeSet::new(),
            accept_again: None,
            control: setup.control,
            control_source: None,
            workers: Workers::start(workers::WORKERS_DEFAULT)?,
            postponed: VecDeque::new(),
            holding: Holding::new(&setup.log, &port),
            recorder: Recorder::new(setup.log, setup.runtime_dir.path()),
            runtime_dir: setup.runtime_dir,
            uid: crate::sys::credentials::effective_uid(),
            subreaper: setup.subreaper,
            end_by: None,
            end_reason: None,
            ended: setup.ended,
        };
        if reactor.control.as_ref().is_some_and(|control| !control.held) {
            reactor.open_control()?;
        }
        Ok((reactor, port))
    }

    /// Begins to accept control clients, if it has not begun; those that have connected are waiting.
    fn open_control(&mut self) -> io::Result<()> {
        let (Some(control), None) = (&self.control, self.control_source) else { return Ok(()) };
        let fd = control.listener.as_raw_fd();
        self.control_source = Some(self.register(fd, Source::ControlListener, Interest::READABLE)?);
        Ok(())
    }

    /// Runs until the host has ended and nothing of any plugin is left, or the time for that is over.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            if let Some(end_by) = self.end_by {
                let now = self.now();
                if self.supervisor.is_quiet() && self.holding.is_empty() || now >= end_by {
                    break;
                }
            }
            if let Err(error) = self.turn(&mut events) {
                // Only a broken epoll descriptor comes here; nothing can be awaited any more.
                let text = "the event loop cannot wait for events";
                self.recorder.record(Note::new(EventKind::HostFault, text).error(error.to_string()));
                self.end_reason = Some(format!("{text}: {error}"));
                break;
            }
        }
        self.finish();
    }

    /// One turn: wait, take in, decide, carry out, write.
    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        self.wait(events)?;
        let now = self.now();
        for event in events.iter().filter(|event| event.token() != WAKER) {
            self.handle_source(now, event.token().0 as u64, event.is_read_closed());
        }
        for _ in 0..self.unfinished.len() {
            if let Some(source) = self.unfinished.pop_front() {
                self.handle_source(now, source, true);
            }
        }
        for _ in 0..COMMANDS_PER_TURN {
            let Some(command) = self.mailbox.take() else { break };
            // The time now, not that of the turn's begin: deadlines count from when a command was sent, and
            // it may have been sent in the middle of a long turn.
            self.handle_command(self.now(), command);
            // What it led to happens before the next one is answered, so that an answer says that all
            // that came before has happened.
            self.perform_all(now);
        }
        let now = self.now();
        self.supervisor.handle_time(now);
        if self.accept_again.take_if(|at| *at <= now).is_some() {
            self.accept_clients(now);
        }
        self.settle(now);
        Ok(())
    }

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let until = [self.supervisor.next_at(), self.end_by, self.accept_again, self.holding.next_at()];
        let until = until.into_iter().flatten().min();
        let mut timeout = until.map(|at| at.since(self.now()));
        if !self.unfinished.is_empty() || !self.mailbox.may_sleep() {
            timeout = Some(Duration::ZERO);
        }
        let result = self.poll.poll(events, timeout);
        self.mailbox.awake();
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
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
            Some(Source::Stdout(key, generation)) => self.read_pipe(now, key, generation, EventKind::Stdout),
            Some(Source::Stderr(key, generation)) => self.read_pipe(now, key, generation, EventKind::Stderr),
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
        while let Some(action) = self.supervisor.poll_action() {
            self.perform(now, action);
        }
    }

    fn perform(&mut self, now: Time, action: Action) {
        match action {
            Action::Prepare(key, generation) => {
                self.postponed.push_back((key, generation));
                self.submit_postponed();
            }
            Action::Spawn(key, generation) => self.spawn(now, key, generation),
            Action::Discard(key, generation) => self.discard(key, generation),
            Action::Trusted(key, generation) => self.trust(key, generation),
            Action::CloseLink(key, generation, last) => self.close_link(key, generation, &last),
            Action::Signal(key, generation, signal) => self.signal(key, generation, signal),
            Action::Complete(call, end) => {
                let end = self.hold_call(now, call, end);
                if let Some((ticket, answer)) = end.and_then(|end| self.ends.end_call(call, end)) {
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

    fn handle_command(&mut self, now: Time, command: Command) {
        // Who asked may have gone; an answer that nobody takes is dropped.
        match command {
            // A dropped answer says that the host has ended.
            Command::Add(..) if self.end_by.is_some() => {}
            Command::Add(spec, launch, reply) => {
                let key = self.supervisor.add(*spec);
                if let Some(key) = key {
                    self.wards.insert(key, Ward::new(*launch));
                }
                let _ = reply.try_send(key.is_some());
            }
            Command::Remove(id, reply) => drop(reply.try_send(self.remove(&id))),
            Command::Wish(id, wish, reply) => {
                let result = self.known(&id).map(|key| self.supervisor.wish(now, key, wish));
                let result = result.and_then(|()| self.status(now, &id).ok_or_else(|| unknown(&id)));
                let _ = reply.try_send(result);
            }
            Command::Wait(id, goal, timeout, reply) => {
                let key = self.ends.add_wait(reply);
                self.supervisor.wait(now, key, &id, goal, timeout);
            }
            Command::Status(id, reply) => drop(reply.try_send(self.status(now, &id))),
            Command::List(reply) => {
                let list = self.supervisor.plugins_by_id().map(|plugin| plugin.status(now)).collect();
                let _ = reply.try_send(list);
            }
            Command::Call(call) => {
                let NewCall { plugin_id, method, params, timeout, reply } = *call;
                let key = self.ends.add_call(reply);
                self.supervisor.call(now, key, &plugin_id, method, params, timeout);
            }
            Command::Subscribe(sender) => self.recorder.subscribe(sender),
            Command::Record(note) => self.recorder.record(*note),
            Command::Prepared(key, generation, outcome) => self.take_prepared(now, key, generation, outcome),
            Command::OpenControl => {
                if let Err(error) = self.open_control() {
                    self.fault("the admin socket cannot be watched", &error);
                }
            }
            // The end of the turn looks after it.
            Command::Settled => {}
            Command::SweepOrphans => self.sweep_orphans(),
            Command::End(reason) => self.begin_end(now, reason),
            Command::EndNow(reason) => self.end_now(now, reason),
        }
    }

    fn begin_end(&mut self, now: Time, reason: String) {
        if self.end_by.is_none() {
            self.end_reason = Some(reason);
            self.end_by = Some(now.plus(self.supervisor.stop_timeout()).plus(END_SLACK));
            self.supervisor.end(now);
        }
    }

    /// The processes that this kills end as those that a ladder kills, and are seen to end as they are.
    fn end_now(&mut self, now: Time, reason: String) {
        self.begin_end(now, reason.clone());
        let soon = now.plus(END_NOW_TIMEOUT);
        self.end_by = self.end_by.map(|end_by| end_by.min(soon));
        let keys: Vec<PluginKey> = self.wards.keys().copied().collect();
        for key in keys {
            self.kill(key, &reason);
        }
    }

    fn known(&self, id: &PluginId) -> Result<PluginKey, CallError> {
        self.supervisor.find(id).ok_or_else(|| unknown(id))
    }

    fn status(&self, now: Time, id: &PluginId) -> Option<Box<rpc_plugin_wire::admin::PluginStatus>> {
        let plugin = self.supervisor.plugin(self.supervisor.find(id)?)?;
        Some(Box::new(plugin.status(now)))
    }

    fn remove(&mut self, id: &PluginId) -> Result<(), CallError> {
        let key = self.known(id)?;
        if !self.supervisor.remove(key) {
            let error = CallError::not_sent(ErrorCode::Unavailable, "the plugin is up; stop it first");
            return Err(error.at(id, None));
        }
        self.wards.remove(&key);
        Ok(())
    }

    /// What is left once nothing can happen any more.
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
        self.wards.clear();
        if self.subreaper {
            self.end_orphans();
        }
        self.workers.end();
        let reason = self.end_reason.take().unwrap_or_default();
        self.recorder.record(Note::new(EventKind::HostStopped, "the host ended").reason(reason.clone()));
        let _ = self.ended.set(reason);
    }
}

fn unknown(id: &PluginId) -> CallError {
    CallError::not_sent(ErrorCode::UnknownPlugin, "there is no plugin of that id").at(id, None)
}
