//! Bringing a generation up: preparation, process, connection.

use super::host_shortage::{wait_for_host, wait_for_thread};
use super::launch_events::{authentication_started, connection_awaited};
use super::presence::waits_for_others;
use super::reconfigured::take_config;
use super::{Phase, Plugin, PluginProcess, Rung, Step, Why};
use crate::state::action::{Action, Note};
use crate::state::launch_failure::{PermanentFault, PrepareFailure, SpawnFailure};
use crate::state::policy::Transport;
use crate::state::session::{Expectation, Session};
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::handshake::Launch;
use rpc_plugin_wire::{Generation, Token};
use std::sync::Arc;
use std::time::Duration;

/// How often a busy executable (ETXTBSY) is tried again, and after how long each time.
const SPAWN_RETRIES_MAX: u32 = 20;
const SPAWN_RETRY: Duration = Duration::from_millis(50);

/// Refused connections of one generation that are noted one by one; further ones are only refused.
const REFUSED_NOTED_MAX: u32 = 16;

/// Who is at the other end of a socket, by the kernel's word (SO_PEERCRED, unix(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Its process when it connected.
    pub pid: u32,
    /// Its effective user then.
    pub uid: u32,
}

impl Plugin {
    /// Begins a new generation, once it has a place among those that start. By-hand plugins cost nothing and take none.
    pub(super) fn launch(&mut self, step: &mut Step<'_>) {
        debug_assert!(self.process.is_none(), "two processes of one plugin");
        take_config(self);
        if self.preparing.is_some() {
            let reason = "an earlier launch has not returned; is a file system hanging?";
            self.last_error = Some(reason.into());
            return self.enter(step, Phase::Failed, None);
        }
        if waits_for_others(self, step) {
            return;
        }
        if !self.config.is_by_hand()
            && let Err(others) = step.places.ask(step.now, self.key)
        {
            return self.enter(step, Phase::Queued(others), None);
        }
        self.prepare(step);
    }

    /// It is its turn to start.
    pub fn handle_place(&mut self, step: &mut Step<'_>) {
        debug_assert!(matches!(self.phase, Phase::Queued(_)), "a place for a plugin that waits for none");
        if !waits_for_others(self, step) {
            self.prepare(step);
        }
    }

    fn prepare(&mut self, step: &mut Step<'_>) {
        let generation = self.generation.map_or(Generation::FIRST, Generation::next);
        self.generation = Some(generation);
        self.preparing = Some(generation);
        self.waits_for_thread = false;
        self.fault = PermanentFault::default();
        self.token = None;
        self.session = None;
        self.introduction = None;
        self.refused_connections = 0;
        self.healthy_since = None;
        self.unwell_since = None;
        self.heartbeat = None;
        self.heartbeats_missed = 0;
        self.ignored.clear();
        self.heartbeat_waits = false;
        self.enter(step, Phase::Preparing, Some(self.policy.prepare_timeout));
        step.actions.push_back(Action::Prepare(self.key, generation, Arc::clone(&self.config)));
    }

    /// Whether a process that came to be has a place here; otherwise it is to be ended, and told of as a failure.
    #[must_use]
    pub fn awaits_process(&self, generation: Generation) -> bool {
        self.preparing == Some(generation)
            && matches!(self.phase, Phase::Spawning(_) | Phase::Ending(_, Rung::Preparation))
    }

    /// The preparation of a generation returned, with its token or with what failed.
    pub fn handle_prepared(
        &mut self,
        step: &mut Step<'_>,
        generation: Generation,
        outcome: Result<Token, PrepareFailure>,
    ) {
        let current = self.preparing == Some(generation);
        if current {
            self.preparing = None;
        }
        match (self.phase.clone(), outcome) {
            (Phase::Preparing, Ok(token)) if current => {
                self.token = Some(token);
                if self.config.is_by_hand() {
                    self.enter(step, Phase::Connecting, None);
                    return step.actions.push_back(Action::Await(self.key, generation));
                }
                self.note(step, Note::new(EventKind::LaunchPrepared, "ready to launch"));
                self.spawn(step, 0);
            }
            (Phase::Preparing, Err(PrepareFailure { reason, shortage: true, .. })) if current => {
                wait_for_host(self, step, format!("it could not be prepared for launch: {reason}"));
            }
            (Phase::Preparing, Err(PrepareFailure { reason, used, permanent, .. })) if current => {
                self.fault.is_permanent = permanent;
                let note = Note::new(EventKind::LaunchFailed, "it could not be prepared for launch");
                self.note(step, note.error(reason.clone()));
                self.generation = self.generation.max(used);
                self.generation_failed(step, format!("it could not be prepared for launch: {reason}"));
            }
            (phase, outcome) => {
                match outcome {
                    Ok(_) => step.actions.push_back(Action::Discard(self.key, generation)),
                    Err(PrepareFailure { used, .. }) => self.generation = self.generation.max(used),
                }
                if let Phase::Ending(why, _) = phase
                    && current
                {
                    self.ended(step, why, None);
                }
            }
        }
    }

    /// A connection to its socket could not be accepted, because the host lacks something: the plugin has its time anew.
    pub fn handle_accept_shortage(&mut self, step: &mut Step<'_>, generation: Generation) {
        if self.generation == Some(generation) && self.phase == Phase::Connecting && !self.config.is_by_hand()
        {
            self.enter(step, Phase::Connecting, Some(self.policy.connect_timeout));
        }
    }

    /// A preparation or launch that hangs cannot be taken back, and must not be joined by a second one.
    pub(super) fn handle_preparation_timeout(&mut self, step: &mut Step<'_>) {
        let timeout = self.policy.prepare_timeout;
        if self.phase == Phase::Preparing && self.waits_for_thread {
            return wait_for_thread(self, step);
        }
        let what =
            if matches!(self.phase, Phase::Spawning(_)) { "executing it" } else { "preparing the launch" };
        let reason =
            format!("{what} did not end within {timeout:?}; is the disk or a network file system hanging?");
        self.note(step, Note::new(EventKind::LaunchFailed, "it could not be launched").error(reason.clone()));
        if matches!(self.phase, Phase::Ending(Why::Stop, _)) {
            // It is not wanted any more; what the preparation may still bring is discarded.
            return self.rest(step);
        }
        self.give_up(step, reason);
    }

    /// Has it launched. What that takes is a part of what preparing may take.
    pub(super) fn spawn(&mut self, step: &mut Step<'_>, tries: u32) {
        self.preparing = self.generation;
        self.enter(step, Phase::Spawning(tries), Some(self.policy.prepare_timeout));
        self.act(step, Action::Spawn);
    }

    /// The process of a generation came to be, or not.
    pub fn handle_spawned(
        &mut self,
        step: &mut Step<'_>,
        generation: Generation,
        outcome: Result<u32, SpawnFailure>,
    ) {
        if self.preparing != Some(generation) {
            debug_assert!(false, "a process that nobody asked for");
            return;
        }
        self.preparing = None;
        let (tries, failure) = match (self.phase.clone(), outcome) {
            (Phase::Spawning(_), Ok(pid)) => {
                self.launched(step, pid);
                return match self.policy.transport {
                    Transport::Unix => {
                        connection_awaited(self, step);
                        self.enter(step, Phase::Connecting, Some(self.policy.connect_timeout));
                    }
                    Transport::Fd | Transport::Stdio => self.greet(step, generation),
                };
            }
            // It was called off meanwhile, and has nothing to clean up.
            (Phase::Ending(why, Rung::Preparation), Ok(pid)) => {
                self.launched(step, pid);
                return self.climb_down(step, why, Rung::Termed);
            }
            (Phase::Spawning(tries), Err(failure)) => (tries, failure),
            (phase, _) => {
                step.actions.push_back(Action::Discard(self.key, generation));
                if let Phase::Ending(why, Rung::Preparation) = phase {
                    self.ended(step, why, None);
                }
                return;
            }
        };
        if failure.busy && tries < SPAWN_RETRIES_MAX {
            return self.enter(step, Phase::Spawning(tries + 1), Some(SPAWN_RETRY));
        }
        step.actions.push_back(Action::Discard(self.key, generation));
        let reason = format!("its process could not be started: {}", failure.reason);
        if failure.shortage {
            return wait_for_host(self, step, reason);
        }
        self.fault.is_permanent = failure.permanent;
        let note = Note::new(EventKind::LaunchFailed, "its process could not be started");
        self.note(step, note.error(failure.reason));
        self.generation_failed(step, reason);
    }

    fn launched(&mut self, step: &mut Step<'_>, pid: u32) {
        if self.shortage.passed() {
            self.note(step, Note::new(EventKind::HostShortageOver, "it could be launched again"));
        }
        self.process = Some(PluginProcess { pid, launched_at: step.now });
        let executable = self.config.shown_executable();
        self.note(step, Note::new(EventKind::Launched, format!("{executable} runs")));
    }

    /// A process connected to a generation's socket; whether it is the one that was launched.
    /// One connection is taken. A stranger is refused, and the right one still awaited.
    pub fn handle_connection(
        &mut self,
        step: &mut Step<'_>,
        generation: Generation,
        peer: PeerIdentity,
        launched_uid: u32,
    ) -> bool {
        let is_expected = match (&self.phase, self.process) {
            _ if self.generation != Some(generation) => return false,
            (Phase::Connecting, None) if self.config.is_by_hand() => {
                self.take_process(step, peer, launched_uid)
            }
            (Phase::Connecting, Some(process)) => {
                let expected = PeerIdentity { pid: process.pid, uid: launched_uid };
                if peer != expected {
                    let text = format!("expected process {} of user {}", expected.pid, expected.uid);
                    self.refuse(step, &text, peer);
                }
                peer == expected
            }
            _ => return false,
        };
        if !is_expected {
            return false;
        }
        self.greet(step, generation);
        true
    }

    /// Takes the process that a person started. It has to be of the right user; the token decides the rest.
    fn take_process(&mut self, step: &mut Step<'_>, peer: PeerIdentity, uid: u32) -> bool {
        if peer.uid != uid {
            self.refuse(step, &format!("expected a process of user {uid}"), peer);
            return false;
        }
        self.process = Some(PluginProcess { pid: peer.pid, launched_at: step.now });
        true
    }

    /// Puts a stranger on record; some of many.
    fn refuse(&mut self, step: &mut Step<'_>, expected: &str, peer: PeerIdentity) {
        self.refused_connections += 1;
        if self.refused_connections <= REFUSED_NOTED_MAX {
            let error = format!("{expected}, seen process {} of user {}", peer.pid, peer.uid);
            let note = Note::new(EventKind::ConnectionRefused, "a stranger connected to the plugin's socket");
            self.note(step, note.error(error));
        }
    }

    /// Its connection is there: it has to prove who it is.
    fn greet(&mut self, step: &mut Step<'_>, generation: Generation) {
        let Some(token) = self.token.take() else {
            debug_assert!(false, "a connection without a token");
            return;
        };
        let launch = Launch { plugin_id: self.config.id.clone(), generation, token: token.clone() };
        let mut session = Session::new(
            Expectation {
                plugin: self.key,
                plugin_id: self.config.id.clone(),
                generation,
                token,
                interfaces: self.config.interfaces.clone(),
                passes_fds: self.policy.transport != Transport::Stdio,
            },
            &self.policy,
        );
        if self.policy.transport == Transport::Stdio {
            session.tell_launch(&launch);
        }
        self.session = Some(session);
        authentication_started(self, step);
        self.enter(step, Phase::Greeting, Some(self.hello_timeout()));
    }

    /// How long the hello may take. With stdio, what was launched may have to connect to another machine before.
    pub(super) fn hello_timeout(&self) -> Duration {
        let policy = &self.policy;
        match policy.transport {
            Transport::Unix | Transport::Fd => policy.hello_timeout,
            Transport::Stdio => policy.connect_timeout.saturating_add(policy.hello_timeout),
        }
    }
    /// What the generation was doing when it failed, for messages.
    pub(super) fn doing(&self) -> &'static str {
        match self.phase {
            Phase::Connecting => "before it connected",
            Phase::Greeting => "before it proved its identity",
            Phase::Proving { .. } => "before its capabilities and a good heartbeat were there",
            Phase::Ending(Why::Stop | Why::Restart, _) => "while it was being stopped",
            _ => "while it was running",
        }
    }
}
