//! The event loop: it carries out what `state/` decides, and tells it what happened.
//!
//! What this file is for: the turn, and which owner each source, action and command belongs to. What it deliberately
//! does not do: decide; block; touch a file system (workers do, see `preparations`); hold a descriptor (owners do).
//!
//! What always holds: a turn of the loop is bounded, however much one peer sends; nothing is delivered
//! under a stale token.

use super::admin_connections::{AdminConnections, AdminTables};
use super::captured_output::CapturedOutput;
use super::confinement;
use super::connections::Connections;
use super::held_until_recorded::{HeldReplies, HeldReply};
use super::hub::Hub;
use super::in_band_streams::InBandStreams;
use super::instances::{Instances, REAP_TIMEOUT};
use super::left_behind::{LeftBehind, ORPHANS_END_TIMEOUT};
use super::loop_commands::{LaunchOutcome, LaunchReport, LoopCommand, NewCall, closers};
use super::pending_replies::{Asker, PendingReplies, ReplyTo};
use super::plugin_commands;
use super::plugin_requests::PluginRequests;
use super::poller::{Poller, Source};
use super::preparations::{Preparations, looked, prepared, seen_use};
use super::recorder::Recorder;
use super::relay_threads::RelayThreads;
use super::runtime_folder::{LookedAfter, RuntimeFolder};
use super::setup::{EndReason, HostEnd, Setup};
use crate::engine::{self, CommandQueue, Driver, Engine, EventLoop, ReplySender, Woken};
use crate::state::action::{Action, Note};
use crate::state::call::{CallEnd, CallRequest};
use crate::state::keys::{CallKey, PluginKey};
use crate::state::plugin::preparation_waits;
use crate::state::time::Time;
use rpc_plugin_wire::Generation;
use rpc_plugin_wire::event::EventKind;
use serde_json::value::RawValue;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Commands handled in one turn before sockets get their turn again.
const COMMANDS_PER_TURN: usize = 1024;
/// Bytes of calls begun that may wait for a common write before they go out by themselves.
const BATCH_BYTES_MAX: usize = 16 * 1024;
/// How much longer than its ladders the end of a host may take: for what SIGKILL does not end at once, and for reaping.
const END_SLACK: Duration = Duration::from_secs(10);
/// The part of it that the loop itself waits; what is left then is killed and reaped within the rest.
const LADDER_SLACK: Duration = END_SLACK.saturating_sub(REAP_TIMEOUT).saturating_sub(ORPHANS_END_TIMEOUT);
/// How long the end of a host takes at the most once its plugins were sent SIGKILL.
const END_NOW_TIMEOUT: Duration = Duration::from_secs(2);

/// The end of the host, once it has begun.
struct Ending {
    /// When it is given up.
    by: Time,
    reason: String,
}

/// The event loop of one host: its owners, and what they have in common.
pub(crate) struct Reactor {
    hub: Hub,
    driver: Arc<Driver>,
    queue: CommandQueue<LoopCommand>,
    preparations: Preparations,
    instances: Instances,
    output: CapturedOutput,
    left_behind: LeftBehind,
    runtime_folder: RuntimeFolder,
    connections: Connections,
    streams: InBandStreams,
    requests: PluginRequests,
    admin: AdminConnections,
    pending: PendingReplies,
    held: HeldReplies,
    ending: Option<Ending>,
    /// Why the loop cannot go on.
    broken: Option<String>,
    /// Where the reason is left for those who wait for the end.
    ended: EndReason,
}

impl Reactor {
    /// Makes the loop and lends it; [`Engine::run`] is to be called on the thread that is to be its own. `spin` is how
    /// long a caller that drives looks for its answer without sleeping.
    pub(crate) fn engine(mut setup: Setup, spin: Duration) -> io::Result<Engine<Reactor>> {
        let (poller, waker) = Poller::new()?;
        let driver = Arc::new(Driver::new(waker));
        let (commands, queue) = engine::open(Arc::clone(&driver));
        let held = HeldReplies::new(&setup.log, &commands);
        let watchdog = setup.watchdog(commands.clone())?;
        let launcher = setup.launcher(commands.clone());
        let recorder = Recorder::new(setup.log, setup.runtime_dir.path());
        let closers = closers(setup.children.clone(), commands.clone());
        let mut hub = Hub::new(poller, recorder, watchdog, setup.starting_max, closers);
        let mut reactor = Reactor {
            runtime_folder: RuntimeFolder::new(&mut hub, setup.runtime_dir.path()),
            driver: Arc::clone(&driver),
            queue,
            preparations: Preparations::start(Arc::clone(&setup.runtime_dir), commands.clone())?,
            instances: Instances::new(launcher),
            output: CapturedOutput::default(),
            left_behind: LeftBehind::start(setup.subreaper, setup.children, commands.clone())?,
            connections: Connections::default(),
            streams: InBandStreams::new(RelayThreads::new(commands.clone())),
            requests: PluginRequests::new(setup.services),
            admin: AdminConnections::new(setup.admin, &hub.closers, setup.runtime_dir, &commands),
            pending: PendingReplies::new(Arc::clone(&driver), Arc::clone(&hub.closers.program) as _),
            hub,
            held,
            ending: None,
            broken: None,
            ended: setup.ended,
        };
        reactor.admin.start(&mut reactor.hub)?;
        reactor.admin.watch_group(&reactor.runtime_folder);
        Ok(Engine::new(reactor, driver, commands, spin))
    }

    fn wait(&mut self, wait_max: Option<Duration>) -> io::Result<Time> {
        let until = [
            self.hub.supervisor.next_at(),
            self.output.next_at(),
            self.ending.as_ref().map(|ending| ending.by),
            self.hub.next_at(),
            self.runtime_folder.next_at(),
            self.held.next_at(),
        ];
        let now = self.hub.now();
        let due = until.into_iter().flatten().min().map(|at| at.since(now));
        let looks = [self.instances.look_after_launches(), self.preparations.look()];
        let mut timeout = [due, wait_max].into_iter().chain(looks).flatten().min();
        if self.hub.poller.has_unfinished() || (timeout != Some(Duration::ZERO) && !self.queue.may_sleep()) {
            timeout = Some(Duration::ZERO);
        }
        let result = self.hub.wait(timeout);
        self.queue.awake();
        result.map(|()| now)
    }

    /// Handles what may be done with a source. One that was closed earlier in this turn is stale, and finds nothing.
    fn handle_source(&mut self, now: Time, source: u64, closed: bool) {
        let hub = &mut self.hub;
        match hub.poller.source(source) {
            None => {}
            Some(Source::Listener(key, generation)) => self.accept(now, key, generation),
            Some(Source::Connection(key, generation)) => {
                // Readable or writable, the event does not say; what waits for room is written on.
                self.connections.read(hub, now, (key, generation), closed);
                self.write(key, generation);
            }
            Some(Source::Exit(key, generation)) => self.handle_exit(now, key, generation),
            Some(Source::Pipe(key, generation, stream)) => {
                self.output.read(hub, now, (key, generation, stream));
            }
            Some(Source::AdminListener) => self.admin.accept(hub, now),
            Some(Source::RuntimeDir) => self.runtime_folder.changed(now),
            Some(Source::AdminConnection(client)) => {
                let ending = self.ending.as_ref().map(|ending| &*ending.reason);
                let (pending, held, requests) = (&mut self.pending, &mut self.held, &self.requests);
                let mut tables = AdminTables { ending, pending, held, requests };
                if let Some(reason) = self.admin.read(hub, &mut tables, now, client, closed) {
                    self.begin_end(now, reason);
                }
            }
        }
    }

    /// Takes the connection of who connected to a generation's socket, if that is the right one.
    fn accept(&mut self, now: Time, key: PluginKey, generation: Generation) {
        if let Some(stream) = self.instances.accept(&mut self.hub, now, key, generation) {
            self.connections.add(&mut self.hub, now, (key, generation), stream);
        }
    }

    /// Writes what waits for a plugin.
    fn write(&mut self, key: PluginKey, generation: Generation) {
        if let Some(announced) = self.connections.write(&mut self.hub, key, generation) {
            self.streams.go_on(&mut self.hub, (key, generation), announced);
        }
    }

    /// Handles the end of a process: what it last printed, what is left of its group, its status.
    fn handle_exit(&mut self, now: Time, key: PluginKey, generation: Generation) {
        let hub = &mut self.hub;
        let Some(mut exit) = self.instances.take_ended(hub, key, generation) else { return };
        exit.stderr_tail = self.output.end(hub, now, (key, generation));
        confinement::explain(&mut exit, hub.supervisor.plugin(key));
        // It may have connected and ended before its connection was taken.
        self.accept(now, key, generation);
        let hub = &mut self.hub;
        // Frames that it sent before it ended still count.
        self.connections.read(hub, now, (key, generation), true);
        hub.supervisor.with_plugin(now, key, |plugin, step| plugin.handle_exit(step, generation, exit));
        self.left_behind.sweep();
    }

    /// Takes over what was launched, or tells why it was not.
    fn spawned(&mut self, now: Time, (key, generation): (PluginKey, Generation), outcome: LaunchOutcome) {
        let hub = &mut self.hub;
        let take =
            |launched| self.instances.take_launched(hub, &mut self.output, (key, generation), launched);
        let (outcome, channel) = match outcome.map(take) {
            Ok(None) => return,
            Ok(Some((pid, channel))) => (Ok(pid), channel),
            Err(failure) => (Err(failure), None),
        };
        if let Ok(pid) = outcome
            && let Some(folder) = self.instances.take_folder(key, generation)
        {
            self.preparations.write_leader_down(folder, pid);
        }
        hub.supervisor.with_plugin(now, key, |plugin, step| plugin.handle_spawned(step, generation, outcome));
        // What was called off on its way speaks with nobody.
        if let Some(stream) = channel.filter(|_| hub.supervisor.session_mut(key, generation).is_some()) {
            self.connections.add(hub, now, (key, generation), stream);
        }
    }

    /// Carries out all that was decided, and what follows from it, and writes what waits.
    fn settle(&mut self, now: Time) {
        loop {
            self.perform_all(now);
            while let Some(reply) = self.held.pop_released(&mut self.hub, now) {
                self.tell(reply);
            }
            // Dropping a client that takes nothing cancels its calls, which is decided again.
            self.admin.write(&mut self.hub, &mut self.pending, now);
            match self.hub.supervisor.poll_waiting() {
                Some((key, generation)) => self.write(key, generation),
                None => break,
            }
        }
        self.held.hurry(&self.hub.recorder);
        self.pending.look_whether_done(self.requests.is_empty());
    }

    fn perform_all(&mut self, now: Time) {
        while let Some(action) = self.hub.supervisor.poll_action() {
            self.perform(now, action);
        }
    }

    fn perform(&mut self, now: Time, action: Action) {
        let hub = &mut self.hub;
        match action {
            Action::Prepare(key, number, config) => {
                if !self.preparations.begin(hub, now, (key, number), config) {
                    self.preparation_waits(now, key, number, true);
                }
            }
            Action::Spawn(key, generation) => {
                if let Err(failure) = self.instances.launch(key, generation) {
                    self.spawned(now, (key, generation), Err(failure));
                }
            }
            Action::Await(key, generation) => self.instances.begin_to_await(hub, key, generation),
            Action::Discard(key, generation) => self.instances.discard(hub, key, generation),
            Action::Trusted(key, generation) => self.instances.trust(hub, key, generation),
            Action::CloseLink(key, generation, last) => {
                self.connections.close(hub, key, generation, &last);
                self.requests.abandon_all(hub, &mut self.pending, now, (key, generation));
                self.streams.close((key, generation));
            }
            Action::Signal(key, generation, signal) => self.instances.signal(hub, key, generation, signal),
            Action::Progress(call, value) => self.tell_progress(now, call, value),
            Action::Asked(key, generation, mut asked) => {
                asked.fds.extend(self.streams.accept(hub, now, (key, generation), &asked.streams));
                self.requests.serve(hub, &mut self.pending, now, (key, generation), *asked);
            }
            Action::RefuseStreams(key, generation, numbers) => {
                self.streams.refuse(hub, now, (key, generation), &numbers);
            }
            Action::Stream(key, generation, frame) => self.streams.take(hub, now, (key, generation), frame),
            Action::Abandoned(key, generation, id, cause) => {
                let asker = Asker { key, generation, id };
                self.requests.abandon(hub, &mut self.pending, now, &asker, cause);
            }
            Action::Complete(call, mut end) => {
                if !end.streams.is_empty() {
                    self.streams.accept_of(hub, now, &mut end);
                }
                let told = if end.is_recorded { self.held.hold_call(hub, now, call, end) } else { Some(end) };
                if let Some(end) = told {
                    self.end_call(now, call, end);
                }
            }
            Action::Confirm(key, generation) => {
                if self.instances.runs(key, generation) {
                    hub.supervisor.handle_confirmed(now, key, generation);
                }
            }
            Action::LookAt(key, generation) => self.preparations.look_at(hub, key, generation),
            Action::LookAtUse(key, generation) => {
                let streams = self.streams.open_of((key, generation));
                self.preparations.look_at_use(hub, (key, generation), streams);
            }
            Action::Waited(wait, end) => {
                if let Some((ticket, answer)) = self.pending.end_wait(wait, end) {
                    self.admin.answer(hub, &mut self.held, &ticket, answer);
                }
            }
            Action::Called(_) | Action::Note(_) => hub.put_on_record(now, action),
        }
    }

    /// Tells who waits for a call how it ended.
    fn end_call(&mut self, now: Time, call: CallKey, end: Box<CallEnd>) {
        match self.pending.end_call(call, end) {
            None => {}
            Some(ReplyTo::Admin(ticket, answer)) => {
                self.admin.answer(&mut self.hub, &mut self.held, &ticket, answer);
            }
            Some(ReplyTo::Plugin(asker, end)) => self.requests.answer_call(&mut self.hub, now, &asker, *end),
        }
    }

    /// Tells who waits for a call of its progress.
    fn tell_progress(&mut self, now: Time, call: CallKey, value: Box<RawValue>) {
        match self.pending.progress(call, value) {
            None => {}
            Some(ReplyTo::Admin(ticket, value)) => self.admin.progress(&ticket, &value),
            Some(ReplyTo::Plugin(asker, value)) => self.requests.progress(&mut self.hub, now, &asker, &value),
        }
    }

    /// Tells what was held.
    fn tell(&mut self, reply: HeldReply) {
        match reply {
            HeldReply::Admin(ticket, answer) => self.admin.answer_now(&ticket, answer),
            HeldReply::Call(call, end) => match self.pending.end_call(call, end) {
                None => {}
                Some(ReplyTo::Admin(ticket, answer)) => self.admin.answer_now(&ticket, answer),
                Some(ReplyTo::Plugin(asker, end)) => {
                    let now = self.hub.now();
                    self.requests.answer_call(&mut self.hub, now, &asker, *end);
                }
            },
        }
    }

    /// Takes in what was posted, within a turn's bound. The time after it.
    fn take_commands(&mut self, now: Time) -> Time {
        for taken in 0..COMMANDS_PER_TURN {
            let Some(command) = self.queue.take() else {
                return if taken == 0 { now } else { self.hub.now() };
            };
            // Deadlines count from when a command was sent, which may have been in the middle of a long turn.
            let now = self.hub.now();
            self.handle_command(now, command);
            // What it led to happens before the next one is answered, so that an answer says that all
            // that came before has happened.
            self.perform_all(now);
        }
        self.hub.now()
    }

    fn handle_command(&mut self, now: Time, command: LoopCommand) {
        let hub = &mut self.hub;
        // Who asked may have gone; an answer that nobody takes is dropped.
        match command {
            LoopCommand::Plugin(command) => {
                let owners = (hub, &mut self.instances, &mut self.pending);
                plugin_commands::handle(owners, now, command);
            }
            LoopCommand::Call(mut request, reply) => drop(self.begin_call(now, &mut request, reply)),
            LoopCommand::Answered(asker, result, fds) => self.requests.answer(hub, now, &asker, result, fds),
            LoopCommand::AskerProgress(asker, value) => self.requests.progress(hub, now, &asker, &value),
            LoopCommand::Drain(command) => self.pending.drain.handle(command),
            LoopCommand::CountCalls(to) => self.requests.tell_counts(hub, &self.pending, &to),
            LoopCommand::Cancel(slots, cause) => {
                for key in slots.iter().filter_map(engine::ReplySlot::cancel) {
                    self.pending.cancel(&mut hub.supervisor, now, key, cause.as_ref());
                }
            }
            LoopCommand::Subscribe(sender, wants, reply) => {
                hub.recorder.subscribe(sender, wants);
                let _ = reply.try_send(());
            }
            LoopCommand::Record(note) => hub.recorder.record(*note),
            LoopCommand::Launch(key, generation, report) => self.launch_goes_on(now, key, generation, report),
            LoopCommand::Admin(command) => self.admin.handle(hub, &mut self.held, command),
            LoopCommand::StreamsMoved => self.streams.take_reports(hub, now),
            LoopCommand::Closed(key) => self.connections.go_on(hub, key),
            LoopCommand::LookAfterFolder => self.runtime_folder.want(now),
            LoopCommand::FolderLooked(looked) => self.folder_looked(now, looked),
            // The end of the turn looks after it.
            LoopCommand::Look => {}
            LoopCommand::SweepOrphans => self.left_behind.sweep(),
            LoopCommand::End(reason) => self.begin_end(now, reason),
            LoopCommand::EndNow(reason) => self.end_now(now, reason),
        }
    }

    fn preparation_waits(&mut self, now: Time, key: PluginKey, generation: Generation, waits: bool) {
        let supervisor = &mut self.hub.supervisor;
        supervisor.with_plugin(now, key, |plugin, step| preparation_waits(plugin, step, generation, waits));
    }

    fn launch_goes_on(&mut self, now: Time, key: PluginKey, generation: Generation, report: LaunchReport) {
        match report {
            LaunchReport::Begun => self.preparation_waits(now, key, generation, false),
            LaunchReport::Prepared(config, files, outcome) => {
                let hub = &mut self.hub;
                let outcome = outcome.map(|launch| self.instances.take_prepared(hub, key, config, *launch));
                prepared(hub, now, (key, generation), files, outcome);
            }
            LaunchReport::Spawned(outcome) => self.spawned(now, (key, generation), outcome),
            LaunchReport::Looked(files) => looked(&mut self.hub, now, (key, generation), files),
            LaunchReport::SeenUse(seen) => seen_use(&mut self.hub, now, (key, generation), seen),
        }
    }

    /// Begins a call, unless its caller has gone. The plugin that it goes to.
    fn begin_call(&mut self, now: Time, request: &mut CallRequest, reply: ReplySender) -> Option<PluginKey> {
        let key = self.pending.add_call(reply)?;
        self.pending.call(&mut self.hub.supervisor, now, key, request)
    }

    /// Has the runtime folder looked after, once it is time. The end of a host removes its admin socket itself.
    fn look_after_folder(&mut self, now: Time) {
        if self.runtime_folder.is_due(now) && self.ending.is_none() {
            self.preparations.look_after_folder(self.runtime_folder.watch(), self.admin.files());
        }
    }

    fn folder_looked(&mut self, now: Time, looked: Result<Box<LookedAfter>, String>) {
        match self.runtime_folder.take_looked(&mut self.hub, now, looked.map(|looked| *looked)) {
            Ok(made) => self.admin.replace(&mut self.hub, made),
            Err(reason) => {
                self.broken = Some(reason.clone());
                self.begin_end(now, reason);
            }
        }
    }

    fn begin_end(&mut self, now: Time, reason: String) {
        if self.ending.is_none() {
            let by = now.plus(self.hub.supervisor.stop_timeout()).plus(LADDER_SLACK);
            self.ending = Some(Ending { by, reason });
            self.hub.supervisor.end(now);
        }
    }

    /// The processes that this kills end as those that a ladder kills, and are seen to end as they are.
    fn end_now(&mut self, now: Time, reason: String) {
        self.begin_end(now, reason.clone());
        let soon = now.plus(END_NOW_TIMEOUT);
        if let Some(ending) = &mut self.ending {
            ending.by = ending.by.min(soon);
        }
        self.instances.kill_all(&mut self.hub, &reason);
    }
}

impl EventLoop for Reactor {
    type Command = LoopCommand;
    type Call<'c> = NewCall<'c>;

    fn turn(&mut self, wait_max: Option<Duration>) -> io::Result<()> {
        self.pending.begin_turn();
        if self.driver.is_deaf() {
            return Err(io::Error::other("it cannot be woken: writing to its eventfd fails"));
        }
        let asked_at = self.wait(wait_max)?;
        let now = self.hub.now();
        let (events, unfinished) = self.hub.poller.take_ready();
        for (source, closed) in Poller::sources_of(&events) {
            self.handle_source(now, source, closed);
        }
        self.hub.poller.give_back(events);
        for _ in 0..unfinished {
            let Some(source) = self.hub.poller.pop_unfinished() else { break };
            self.handle_source(now, source, true);
        }
        let now = self.take_commands(now);
        self.hub.handle_time(asked_at);
        self.output.handle_time(&mut self.hub, now);
        self.look_after_folder(now);
        for source in self.hub.take_due(now) {
            self.handle_source(now, source, false);
        }
        self.settle(now);
        Ok(())
    }

    fn execute(&mut self, command: LoopCommand) {
        // What this thread posted before comes before.
        let now = self.hub.now();
        let now = self.take_commands(now);
        self.handle_command(now, command);
        self.settle(now);
    }

    fn begin(&mut self, call: NewCall<'_>, may_batch: bool) {
        let now = self.hub.now();
        let now = self.take_commands(now);
        let plugin = self.begin_call(now, call.request, call.reply);
        let plugin = plugin.filter(|_| may_batch).and_then(|key| self.hub.supervisor.plugin(key));
        if plugin.is_some_and(|plugin| plugin.has_company(BATCH_BYTES_MAX)) {
            self.perform_all(now);
        } else {
            self.settle(now);
        }
    }

    fn woken(&self) -> Woken {
        self.pending.woken()
    }

    fn is_queue_empty(&mut self) -> bool {
        self.queue.is_empty()
    }

    fn has_unfinished(&self) -> bool {
        self.hub.poller.has_unfinished()
    }

    fn needs_own_thread(&self) -> bool {
        self.ending.is_some()
    }

    fn is_over(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| {
            self.hub.supervisor.is_quiet() && self.held.is_empty() || self.hub.latest() >= ending.by
        })
    }

    /// Only a fault of its epoll descriptor, or a bug, comes here.
    fn fail(&mut self, error: &io::Error) {
        let text = "the event loop cannot go on";
        self.hub.recorder.record(Note::new(EventKind::HostFault, text).error(error.to_string()));
        self.broken = Some(format!("{text}: {error}"));
    }

    fn finish(&mut self) {
        let now = self.hub.now();
        while let Some(action) = self.hub.supervisor.poll_action() {
            self.hub.put_on_record(now, action);
        }
        while let Some(reply) = self.held.pop() {
            self.tell(reply);
        }
        self.hub.watchdog.end();
        self.instances.end();
        self.left_behind.end(&mut self.hub);
        self.requests.end();
        let is_fault = self.broken.is_some();
        let asked = self.ending.take().map(|ending| ending.reason);
        let reason = self.broken.take().or(asked).unwrap_or_default();
        let note = Note::new(EventKind::HostStopped, "the host ended").reason(reason.clone());
        self.hub.recorder.record(note);
        let _ = self.ended.set(HostEnd { reason, is_fault });
    }
}
