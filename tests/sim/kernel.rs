//! The fake kernel and event loop: carries out every action of the host.

use crate::child::{Child, Doing};
use crate::ledger::Id;
use crate::link::Link;
use crate::world::{Event, Prepared, Process, World};
use rpc_plugin_system::state::action::{Action, StopSignal};
use rpc_plugin_system::state::launch_failure::LaunchFiles;
use rpc_plugin_system::state::plugin::{
    PrepareFailure, SpawnFailure, Use, found_files, handle_looked, preparation_waits,
};
use rpc_plugin_system::state::policy::Transport;
use rpc_plugin_wire::life::PluginState;
use rpc_plugin_wire::{Message, Outcome, RequestId, Token};
use std::sync::Arc;
use std::time::Duration;

/// The user whose processes the plugins are.
pub const UID: u32 = 1000;
/// What every preparation finds.
const FILES: LaunchFiles = LaunchFiles(0);

impl World {
    /// Carries out all that the host wants, and writes what it has to write.
    pub fn drain(&mut self) {
        loop {
            while let Some(action) = self.host.poll_action() {
                self.perform(action);
            }
            self.given_up.clear();
            match self.host.poll_waiting() {
                Some((key, generation)) => self.host_writes((key, generation)),
                None => return,
            }
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Prepare(key, generation, config) => {
                assert!(
                    Arc::ptr_eq(&config, &self.configs[&key]),
                    "a launch is made from an old configuration"
                );
                self.made_from.insert((key, generation), config);
                self.prepare((key, generation));
            }
            Action::Spawn(key, generation) => self.spawn((key, generation)),
            Action::Await(..) => panic!("nobody is started by hand here"),
            Action::Discard(key, generation) => self.discard((key, generation)),
            Action::Trusted(key, generation) => {
                self.tell(format_args!("  {key:?}/{generation} trusted"));
                let process = &self.processes[&(key, generation)];
                assert!(process.child.greeted_right, "trusted without a right hello");
            }
            Action::Asked(key, generation, asked) => self.child_asks((key, generation), *asked),
            Action::Abandoned(key, generation, request, _) => {
                self.child_gives_up((key, generation), &request)
            }
            Action::CloseLink(key, generation, last) => {
                self.close_link((key, generation), &last);
                self.child_is_gone((key, generation));
            }
            Action::RefuseStreams(..) | Action::Stream(..) => {}
            Action::Signal(key, generation, signal) => self.signal((key, generation), signal),
            Action::Progress(call, value) => {
                self.tell(format_args!("  call {} goes on: {value}", call.0));
                let is_known = self.ledger.is_open(call) || self.given_up.contains(&call);
                assert!(is_known, "call {} goes on after its end", call.0);
                self.tell_child_progress(call, &value);
            }
            Action::Called(mut record) => {
                let is_placed = self.host.place_call(self.now, &mut record);
                if record.error.is_some() {
                    self.check_placed(&record.caller, &record.plugin_id, is_placed);
                }
                self.tell(format_args!(
                    "  on record: {} {:?} {:?}",
                    record.kind, record.request, record.error
                ));
                self.coverage.saw(&format!("event {}", record.kind));
            }
            // It ended, and was given up before that could be handed over: nobody is told.
            Action::Complete(call, _) if self.given_up.contains(&call) => {}
            Action::Complete(call, end) => {
                self.tell(format_args!("  call {} ends: {:?}", call.0, end.result));
                if end.result.is_ok() && self.ledger.times_begun(call) > 1 {
                    self.coverage.saw("call repeated across a restart ok");
                }
                match &end.result {
                    Ok(_) => self.coverage.saw("call ok"),
                    Err(error) => {
                        self.coverage.saw(&format!("call {} {}", error.code.name(), error.outcome.as_str()))
                    }
                }
                let processes = &self.processes;
                self.ledger.end(self.now, call, &end, |id: Id, wire_id| {
                    processes[&id].child.answers.get(&wire_id).cloned().unwrap_or_default()
                });
                self.tell_child(call, &end);
                if end.result.is_err_and(|error| error.outcome == Outcome::Indeterminate)
                    && let Some((id, wire_id)) = self.ledger.begun(call)
                    // A plugin that was given up meanwhile has no connection left to owe on.
                    && let Some(slot) = self.slots.iter().find(|slot| slot.key == id.0)
                {
                    // The plugin's own time for a call may be longer than its caller waited.
                    let (own, grace) = (slot.policy.call_timeout, slot.policy.cancel_grace);
                    self.overdue.push((self.now.plus(own).plus(grace), id, wire_id));
                }
            }
            Action::Confirm(key, generation) => {
                if self.processes.get(&(key, generation)).is_some_and(|process| process.alive) {
                    self.host.handle_confirmed(self.now, key, generation);
                } else {
                    self.coverage.saw("a wait is about to end with a dead process");
                }
            }
            Action::LookAt(key, generation) => {
                let files = LaunchFiles(self.rng.u64(0..2));
                self.coverage.saw(if files == FILES {
                    "look finds no change"
                } else {
                    "look finds a change"
                });
                self.host.with_plugin(self.now, key, |plugin, step| {
                    handle_looked(plugin, step, generation, files);
                });
            }
            Action::LookAtUse(key, generation) => {
                let (delay, roll) = (self.within(3), self.rng.usize(0..12));
                let seen = Use { streams: 1 + usize::from(roll == 0), children: usize::from(roll == 1) };
                let seen = if self.calm { Use { streams: 1, children: 0 } } else { seen };
                let seen = (self.calm || roll != 2).then_some(seen);
                self.after(delay, Event::UseSeen((key, generation), seen));
            }
            Action::Waited(wait, result) => {
                if let Ok(Some(pid)) = result.as_ref().map(|status| status.pid) {
                    let told = self.processes.values().find(|process| process.pid == pid);
                    assert!(
                        told.is_some_and(|process| process.alive),
                        "wait {} ends with dead process {pid}",
                        wait.0
                    );
                }
                self.tell(format_args!("  wait {} ends: {}", wait.0, result.is_ok()));
                match &result {
                    Ok(_) => self.coverage.saw("wait ok"),
                    Err(error) => {
                        self.coverage.saw(&format!("wait {} {}", error.code.name(), error.outcome.as_str()))
                    }
                }
                self.ledger.end_wait(self.now, wait, &result);
            }
            Action::Note(note) => {
                let is_placed = self.host.place_note(self.now, &note);
                if let (Some(by), Some(plugin)) = (&note.by, &note.plugin_id) {
                    self.check_placed(by, plugin, is_placed);
                }
                self.observe(&note);
            }
        }
    }

    fn prepare(&mut self, id: Id) {
        self.tell(format_args!("  {id:?} prepare"));
        self.check_launch(id);
        self.begun.insert(id.0, self.now);
        if self.calm {
            let delay = self.within(3);
            return self.after(delay, Event::PreparationReturns(id, true));
        }
        let timeout = self.slot(id.0).policy.prepare_timeout;
        let mut begins_after = Duration::ZERO;
        if self.chance(80) {
            self.coverage.saw("prepare waits for a thread");
            begins_after = self.within(20);
            if self.chance(100) {
                self.coverage.saw("prepare waits for a thread for long");
                begins_after += 2 * timeout;
            }
            self.preparation_waits(id, true);
            self.after(begins_after, Event::PreparationBegins(id));
        }
        match self.rng.u32(0..100) {
            0..=84 => {
                let delay = begins_after + self.within(20);
                self.after(delay, Event::PreparationReturns(id, true));
            }
            85..=92 => {
                let delay = begins_after + self.within(20);
                self.after(delay, Event::PreparationReturns(id, false));
            }
            93..=97 => {
                self.coverage.saw("prepare hangs");
                let late = begins_after + timeout + self.within(1500);
                let succeeds = self.rng.bool();
                self.after(late, Event::PreparationReturns(id, succeeds));
            }
            _ => {
                self.held.insert(id);
            }
        }
    }

    /// A preparation waits for a thread, or has one.
    pub fn preparation_waits(&mut self, id: Id, waits: bool) {
        self.host.with_plugin(self.now, id.0, |plugin, step| {
            preparation_waits(plugin, step, id.1, waits);
        });
    }

    /// A preparation returns to the host.
    pub fn preparation_returns(&mut self, id: Id, succeeds: bool) {
        self.held.remove(&id);
        let outcome = if succeeds {
            let token = Token::from_bytes(std::array::from_fn(|_| self.rng.u8(..)));
            let prepared = Prepared { token: token.clone(), discarded: false };
            assert!(self.prepared.insert(id, prepared).is_none(), "{id:?} is prepared twice");
            Ok(token)
        } else {
            let (shortage, permanent) = (self.rng.bool(), self.chance(300));
            self.coverage.saw(match (shortage, permanent) {
                (true, _) => "prepare shortage",
                (_, true) => "prepare fails permanently",
                _ => "prepare fails",
            });
            let failure = PrepareFailure::from("no space left on device".to_owned());
            Err(PrepareFailure { shortage, permanent: permanent && !shortage, ..failure })
        };
        self.host.with_plugin(self.now, id.0, |plugin, step| {
            found_files(plugin, id.1, Some(FILES));
            plugin.handle_prepared(step, id.1, outcome);
        });
    }

    fn spawn(&mut self, id: Id) {
        self.tell(format_args!("  {id:?} spawn"));
        assert!(self.prepared.get(&id).is_some_and(|prepared| !prepared.discarded), "{id:?} is not prepared");
        let live = self.live.iter().find(|(key, _)| *key == id.0);
        assert!(live.is_none(), "two processes of one plugin: {id:?} and {live:?}");
        let mut delay = self.within(2);
        if !self.calm && self.chance(30) {
            self.coverage.saw("launch hangs");
            delay = self.slot(id.0).policy.prepare_timeout.mul_f64(0.5) + self.within(700);
        }
        self.after(delay, Event::LaunchReturns(id));
    }

    /// A launch did not become a process of the host.
    pub fn launch_fails(&mut self, id: Id, reason: &str, busy: bool, shortage: bool) {
        let failure = SpawnFailure { reason: reason.into(), busy, shortage, permanent: false };
        self.host.with_plugin(self.now, id.0, |plugin, step| plugin.handle_spawned(step, id.1, Err(failure)));
    }

    /// A launch returns to the host, with a process or without.
    pub fn launch_returns(&mut self, id: Id) {
        let roll = if self.calm { 99 } else { self.rng.u32(0..100) };
        let busy = roll < 8;
        if roll < 16 {
            let shortage = roll >= 12;
            self.coverage.saw(match (busy, shortage) {
                (true, _) => "spawn busy",
                (_, true) => "spawn shortage",
                _ => "spawn fails",
            });
            return self.launch_fails(id, "it cannot be executed", busy, shortage);
        }
        let plugin = self.host.plugin(id.0).expect("nobody is given up while it is launched");
        if !plugin.awaits_process(id.1) {
            self.coverage.saw("launch given up and returned late");
            // It is ended before the host is told.
            let delay = self.within(3);
            return self.after(delay, Event::LaunchIsOver(id));
        }
        if plugin.state() != PluginState::Starting {
            self.coverage.saw("launch called off on its way");
        }
        let pid = self.next_pid;
        self.next_pid += 1;
        let nature = self.nature();
        let transport = self.slot(id.0).policy.transport;
        let (connects_after, greets_after) = (nature.connects_after, nature.greets_after);
        if self.processor.is_some() {
            self.computes(id);
        } else if let Some(after) = connects_after.filter(|_| transport == Transport::Unix) {
            self.after(after, Event::ChildConnects(id));
        }
        if let Some((after, fate)) = nature.fate {
            self.after(after, Event::Befalls(id, fate));
        }
        if !self.calm && self.chance(60) {
            let delay = self.within(30);
            self.after(delay, Event::StrangerConnects(id));
        }
        let token = self.prepared[&id].token.clone();
        let child = Child::new(nature, self.slot(id.0).id.clone(), id.1, token);
        let process = Process {
            pid,
            child,
            alive: true,
            reaped: false,
            hung: false,
            reading: true,
            connected: false,
            frozen: Vec::new(),
        };
        assert!(self.processes.insert(id, process).is_none(), "{id:?} is launched twice");
        self.live.insert(id);
        self.host.with_plugin(self.now, id.0, |plugin, step| plugin.handle_spawned(step, id.1, Ok(pid)));
        // What was called off on its way speaks with nobody.
        if transport != Transport::Unix && self.host.session_mut(id.0, id.1).is_some() {
            self.coverage.saw("inherited connection");
            self.open_link(id);
            let process = self.processes.get_mut(&id).unwrap();
            process.connected = true;
            if let Some(after) = connects_after {
                let hello = process.child.greet();
                self.after(after + greets_after, Event::ChildDoes(id, Doing::Send(hello)));
            }
        }
    }

    fn discard(&mut self, id: Id) {
        self.tell(format_args!("  {id:?} discard"));
        let prepared = self.prepared.get_mut(&id).expect("only what was prepared is discarded");
        assert!(!prepared.discarded, "{id:?} is discarded twice");
        prepared.discarded = true;
        let reaped = self.processes.get(&id).is_none_or(|process| process.reaped);
        assert!(reaped, "{id:?} is discarded while its process lives");
    }

    fn close_link(&mut self, id: Id, last: &[u8]) {
        self.tell(format_args!("  {id:?} close, last {:?}", String::from_utf8_lossy(last)));
        let link = self.links.get_mut(&id).expect("only a connection that is there is closed");
        assert!(link.host_open, "{id:?} is closed twice");
        let taken = link.room().min(last.len());
        self.pass_on(id, last, taken);
        let link = self.links.get_mut(&id).unwrap();
        link.host_open = false;
        if taken > 0 {
            self.coverage.saw("last bytes reach the child");
        }
        if let Some(at) = link.to_child.end(self.now, &mut self.rng, link.ms_max) {
            self.at(at, Event::ToChild(id));
        }
    }

    /// One try of the host to write what waits.
    pub fn host_writes(&mut self, id: Id) {
        let Some(session) = self.host.session_mut(id.0, id.1) else { return };
        let link = self.links.get_mut(&id).expect("a session has a connection");
        if link.busy_until > self.now && !self.calm {
            return;
        }
        if session.queue().waiting().0.is_empty() || link.room() == 0 {
            self.coverage.saw("write blocked");
            return;
        }
        let waiting = session.queue().waiting().0.to_vec();
        let room = link.room().min(waiting.len());
        // A host that has much to do writes some of it later.
        let busy = !self.calm && self.rng.u8(0..8) == 0;
        let taken = if busy { self.rng.usize(0..room) } else { room };
        if taken < waiting.len() {
            self.coverage.saw("write split");
        }
        self.pass_on(id, &waiting, taken);
        self.host.session_mut(id.0, id.1).unwrap().queue_mut().wrote(taken);
        if taken == waiting.len() {
            // More may lie behind a frame that was withdrawn.
            return self.host_writes(id);
        }
        if taken < room {
            let delay = self.within(40);
            self.links.get_mut(&id).unwrap().busy_until = self.now.plus(delay);
            self.after(delay, Event::HostMayWrite(id));
        }
    }

    /// The first `taken` bytes of `waiting` go to the child; what begins among them is remembered.
    fn pass_on(&mut self, id: Id, waiting: &[u8], taken: usize) {
        let frame_bytes_max = self.slot(id.0).policy.frame_bytes_max;
        let link = self.links.get_mut(&id).unwrap();
        for frame in link.frames_begun(waiting, taken) {
            assert!(frame.len() <= frame_bytes_max, "the host sends a frame of {} bytes", frame.len());
            let Message::Request(request) = Message::parse(frame).expect("the host's frames are messages")
            else {
                continue;
            };
            let RequestId::Number(wire_id) = request.id else { panic!("the host's ids are numbers") };
            if let Some(number) = request.method.strip_prefix("echo.") {
                self.ledger.begin(number.parse().unwrap(), id, wire_id);
            }
        }
        let link = self.links.get_mut(&id).unwrap();
        let arrivals = link.to_child.send(self.now, &mut self.rng, link.ms_max, &waiting[..taken]);
        for at in arrivals {
            self.at(at, Event::ToChild(id));
        }
    }

    fn signal(&mut self, id: Id, signal: StopSignal) {
        self.tell(format_args!("  {id:?} {signal:?}"));
        let process = self.processes.get(&id).expect("only processes that were launched are signalled");
        assert!(!process.reaped, "{id:?} is signalled after its end was seen");
        let nature = &process.child.nature;
        match signal {
            StopSignal::Kill => {
                if nature.dies_after > Duration::from_millis(100) {
                    self.coverage.saw("process survives SIGKILL for a while");
                }
                let after = nature.dies_after;
                self.after(after, Event::ProcessEnds(id, false));
            }
            StopSignal::Term if nature.ignores_term => {}
            StopSignal::Term => {
                let delay = self.within(5);
                self.child_does_later(id, delay, Event::ProcessEnds(id, false));
            }
        }
    }

    /// Opens the connection that the host took.
    pub fn open_link(&mut self, id: Id) {
        let nature = &self.processes[&id].child.nature;
        let link = Link::new(nature.link_bytes, nature.link_ms_max);
        assert!(self.links.insert(id, link).is_none(), "two connections of one generation");
    }
}
