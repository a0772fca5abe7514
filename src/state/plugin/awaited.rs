//! A plugin that somebody starts by hand, under a debugger for example: awaited instead of launched.
//!
//! What this file is for: where such a plugin's life differs. Nothing is launched, and nothing has a deadline that a
//! breakpoint would break: connecting, the first heartbeat, later heartbeats, an answer after its call was cancelled.
//! Calls keep theirs. What it deliberately does not do: end its process. It is not a child of the host.
//!
//! What always holds: a generation ends with its connection, or its process, whichever is first; the next one
//! is prepared at once, and waits again.

use super::{Phase, Plugin, Process, Step, Why};
use crate::state::action::{Action, Note};
use crate::state::plugin::PeerIdentity;
use crate::state::policy::{DURATION_MAX, Policy};
use rpc_plugin_wire::Generation;
use rpc_plugin_wire::event::EventKind;
use std::borrow::Cow;
use std::time::Duration;

impl Plugin {
    /// Whether it is started by hand.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.spec.awaited
    }

    /// What was prepared waits for whoever comes.
    pub(super) fn begin_to_wait(&mut self, step: &mut Step<'_>, generation: Generation) {
        self.enter(step, Phase::Connecting, None);
        step.actions.push_back(Action::Await(self.key, generation));
    }

    /// Takes whoever is of the right user; the token decides the rest.
    pub(super) fn take_awaited(&mut self, step: &mut Step<'_>, peer: PeerIdentity, uid: u32) -> bool {
        if peer.uid != uid {
            self.refuse(step, &format!("expected a process of user {uid}"), peer);
            return false;
        }
        self.process = Some(Process { pid: peer.pid, launched_at: step.now });
        true
    }

    /// The policy of its connection.
    pub(super) fn session_policy(&self) -> Cow<'_, Policy> {
        match self.spec.awaited {
            // At a breakpoint nothing is answered, and that is no fault.
            true => Cow::Owned(Policy { cancel_grace: DURATION_MAX, ..self.spec.policy.clone() }),
            false => Cow::Borrowed(&self.spec.policy),
        }
    }

    /// From its proof until it has to be ready.
    pub(super) fn ready_timeout(&self) -> Duration {
        if self.spec.awaited { DURATION_MAX } else { self.spec.policy.ready_timeout }
    }

    /// A heartbeat is due while the last one is not answered; whether it is so. It counts as missed, and no further
    /// one is sent: they would all wait at the breakpoint.
    pub(super) fn is_heartbeat_outstanding(&mut self, step: &mut Step<'_>) -> bool {
        if !self.spec.awaited {
            return false;
        }
        if !self.heartbeat_waits {
            self.heartbeat_waits = true;
            return false;
        }
        if let Phase::Running(_) = self.phase {
            let problem = "it has not answered a heartbeat yet; it may stand at a breakpoint".to_owned();
            let note = Note::new(EventKind::HeartbeatMissed, "a heartbeat failed");
            self.note(step, note.error(problem.clone()));
            self.handle_later_heartbeat(step, Err(problem));
        }
        true
    }

    /// How long a heartbeat may take.
    pub(super) fn heartbeat_timeout(&self) -> Duration {
        if self.spec.awaited { DURATION_MAX } else { self.spec.policy.heartbeat_timeout }
    }

    /// Ends its generation. Its process is left to whoever started it.
    pub(super) fn let_go(&mut self, step: &mut Step<'_>, why: Why) {
        self.close_link(step);
        if let Some(process) = self.process.take() {
            let text = format!(
                "its connection is closed; process {} is not the host's, and not signalled",
                process.pid
            );
            let mut note = Note::new(EventKind::LetGo, text);
            note.pid = Some(process.pid);
            self.note(step, note);
        }
        if let Some(generation) = self.generation {
            step.actions.push_back(Action::Discard(self.key, generation));
        }
        self.ended(step, why, None);
    }

    /// It went away: whoever started it may start it again.
    pub(super) fn wait_again(&mut self, step: &mut Step<'_>, reason: String) {
        self.counts.restarts += 1;
        self.launch(step);
        self.last_error = Some(reason);
    }
}
