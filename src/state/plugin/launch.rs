//! Bringing a generation up: preparation, process, connection.

use super::{Phase, Plugin, PluginProcess, Step, Why};
use crate::state::action::{Action, Note};
use crate::state::launch_failure::{PrepareFailure, SpawnFailure};
use crate::state::policy::Transport;
use crate::state::session::{Expectation, Session};
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::handshake::Launch;
use rpc_plugin_wire::life::Desired;
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
        if self.preparing.is_some() {
            let reason = "the preparation of an earlier launch has not returned; is a file system hanging?";
            self.last_error = Some(reason.into());
            return self.enter(step, Phase::Failed, None);
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
        self.prepare(step);
    }

    fn prepare(&mut self, step: &mut Step<'_>) {
        let generation = self.generation.map_or(Generation::FIRST, Generation::next);
        self.generation = Some(generation);
        self.preparing = Some(generation);
        self.token = None;
        self.session = None;
        self.introduction = None;
        self.refused_connections = 0;
        self.healthy_since = None;
        self.unwell_since = None;
        self.heartbeat = None;
        self.heartbeats_missed = 0;
        self.heartbeat_waits = false;
        self.enter(step, Phase::Preparing, Some(self.policy.prepare_timeout));
        step.actions.push_back(Action::Prepare(self.key, generation, Arc::clone(&self.config)));
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
                self.enter(step, Phase::Spawning(0), None);
                self.spawn(step);
            }
            (Phase::Preparing, Err(PrepareFailure { reason, shortage: true, .. })) if current => {
                self.wait_for_host(step, format!("it could not be prepared for launch: {reason}"));
            }
            (Phase::Preparing, Err(PrepareFailure { reason, used, .. })) if current => {
                let note = Note::new(EventKind::LaunchFailed, "it could not be prepared for launch");
                self.note(step, note.error(reason.clone()));
                self.generation = self.generation.max(used);
                self.generation_failed(step, format!("it could not be prepared for launch: {reason}"));
            }
            (Phase::Ending(why, _), outcome) if current => {
                match outcome {
                    Ok(_) => step.actions.push_back(Action::Discard(self.key, generation)),
                    Err(PrepareFailure { used, .. }) => self.generation = self.generation.max(used),
                }
                self.ended(step, why, None);
            }
            (_, Ok(_)) => step.actions.push_back(Action::Discard(self.key, generation)),
            (_, Err(PrepareFailure { used, .. })) => self.generation = self.generation.max(used),
        }
    }

    /// What was to be done failed for want of something that the host lacks. It is done again until the host has it: it
    /// counts as no restart, and is never given up.
    fn wait_for_host(&mut self, step: &mut Step<'_>, reason: String) {
        self.last_error = Some(reason.clone());
        if self.desired == Desired::Down {
            return self.enter(step, Phase::Stopped, None);
        }
        if self.shortage.failed(step.now) {
            let text = "the host lacks what its launch takes; it is tried again until there is enough";
            self.note(step, Note::new(EventKind::HostShortage, text).error(reason));
        }
        let at = self.shortage.next_at().unwrap_or(step.now);
        self.enter(step, Phase::Backoff(at), Some(at.since(step.now)));
    }

    /// A connection to its socket could not be accepted, because the host lacks something: the plugin has its time anew.
    pub fn handle_accept_shortage(&mut self, step: &mut Step<'_>, generation: Generation) {
        if self.generation == Some(generation) && self.phase == Phase::Connecting && !self.config.is_by_hand()
        {
            self.enter(step, Phase::Connecting, Some(self.policy.connect_timeout));
        }
    }

    /// A preparation that hangs cannot be taken back, and must not be joined by a second one.
    pub(super) fn handle_preparation_timeout(&mut self, step: &mut Step<'_>) {
        let reason = format!(
            "preparing the launch did not end within {:?}; is the disk or a network file system hanging?",
            self.policy.prepare_timeout
        );
        self.note(step, Note::new(EventKind::LaunchFailed, "it could not be prepared").error(reason.clone()));
        if matches!(self.phase, Phase::Ending(Why::Stop, _)) {
            // It is not wanted any more; what the preparation may still bring is discarded.
            return self.rest(step);
        }
        self.give_up(step, reason);
    }

    pub(super) fn spawn(&mut self, step: &mut Step<'_>) {
        if let Some(generation) = self.generation {
            step.actions.push_back(Action::Spawn(self.key, generation));
        }
    }

    /// The process of a generation came to be, or not.
    pub fn handle_spawned(
        &mut self,
        step: &mut Step<'_>,
        generation: Generation,
        outcome: Result<u32, SpawnFailure>,
    ) {
        let Phase::Spawning(tries) = self.phase else {
            debug_assert!(false, "a process that nobody asked for");
            return;
        };
        if self.generation != Some(generation) {
            return;
        }
        match outcome {
            Ok(pid) => {
                if self.shortage.passed() {
                    self.note(step, Note::new(EventKind::HostShortageOver, "it could be launched again"));
                }
                self.process = Some(PluginProcess { pid, launched_at: step.now });
                let executable = self.config.shown_executable();
                self.note(step, Note::new(EventKind::Launched, format!("{executable} runs")));
                match self.policy.transport {
                    Transport::Unix => {
                        self.enter(step, Phase::Connecting, Some(self.policy.connect_timeout));
                    }
                    Transport::Fd | Transport::Stdio => self.greet(step, generation),
                }
            }
            Err(failure) if failure.busy && tries < SPAWN_RETRIES_MAX => {
                self.enter(step, Phase::Spawning(tries + 1), Some(SPAWN_RETRY));
            }
            Err(failure) if failure.shortage => {
                step.actions.push_back(Action::Discard(self.key, generation));
                self.wait_for_host(step, format!("its process could not be started: {}", failure.reason));
            }
            Err(failure) => {
                step.actions.push_back(Action::Discard(self.key, generation));
                let note = Note::new(EventKind::LaunchFailed, "its process could not be started");
                self.note(step, note.error(failure.reason.clone()));
                self.generation_failed(step, format!("its process could not be started: {}", failure.reason));
            }
        }
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
        self.note(step, Note::new(EventKind::Connected, "it connected"));
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
