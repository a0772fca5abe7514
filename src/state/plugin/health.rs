//! Watching a generation: heartbeats, and what they say.

use super::idle::is_use_unknown;
use super::ignored_members::note_heartbeat;
use super::{Phase, Plugin, Step};
use crate::state::action::Note;
use crate::state::keys::{Caller, LifeTimer, Timer};
use crate::state::liveness::Liveness;
use rpc_plugin_wire::brief::own_result;
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::handshake::FEATURE_SERIAL;
use rpc_plugin_wire::life::{HealthStatus, Heartbeat, METHOD_HEARTBEAT, PluginState};
use rpc_plugin_wire::phrase::count;
use rpc_plugin_wire::{CallError, ErrorCode, Outcome};
use serde_json::value::RawValue;
use std::time::Duration;

/// How soon a plugin that is not ready yet is asked again.
const PROVE_AGAIN: Duration = Duration::from_millis(50);

/// Missed heartbeats in a row from which on a plugin counts as unhealthy. One alone may be a hiccup.
const UNHEALTHY_FROM: u32 = 2;

impl Plugin {
    /// Sends a heartbeat, and sets the timer for the next.
    pub(super) fn handle_heartbeat_due(&mut self, step: &mut Step<'_>) {
        let timeout = self.policy.heartbeat_timeout;
        let interval = self.policy.heartbeat_interval;
        if let Phase::Running(_) = self.phase {
            self.arm_heartbeat(step, step.now.next_multiple(interval));
        }
        let features = self.introduction.as_ref().map_or(&[][..], |introduction| &introduction.features);
        let is_serial = features.iter().any(|feature| feature == FEATURE_SERIAL);
        if let Some(session) = &self.session
            && self.liveness.may_wait(&self.policy, is_serial, &session.signs_of_life(step.now))
        {
            return;
        }
        if self.is_heartbeat_outstanding(step) {
            return;
        }
        self.ask(step, Caller::Heartbeat, METHOD_HEARTBEAT, timeout);
    }

    /// Whether a person started it and its last heartbeat is not answered yet. It counts as missed, and no further one is
    /// sent: they would all wait at the breakpoint.
    fn is_heartbeat_outstanding(&mut self, step: &mut Step<'_>) -> bool {
        if !self.config.is_by_hand() {
            return false;
        }
        if !self.heartbeat_waits {
            self.heartbeat_waits = true;
            return false;
        }
        if let Phase::Running(_) = self.phase {
            let problem = "it has not answered a heartbeat yet; it may stand at a breakpoint".to_owned();
            self.handle_status(step, Err(problem));
        }
        true
    }

    fn arm_heartbeat(&mut self, step: &mut Step<'_>, at: crate::state::time::Time) {
        if let Some(timer) = self.heartbeat_timer.take() {
            step.timers.cancel(timer);
        }
        let timer = step.timers.insert(at, Timer::Life(self.key, LifeTimer::HeartbeatDue));
        self.heartbeat_timer = Some(timer);
    }

    /// A heartbeat was answered, or not.
    pub(super) fn handle_heartbeat(&mut self, step: &mut Step<'_>, result: Result<Box<RawValue>, CallError>) {
        self.heartbeat_waits = false;
        let is_late = result.as_ref().is_err_and(|error| error.code == ErrorCode::DeadlineExceeded)
            && matches!(self.phase, Phase::Running(_));
        if let Some(session) = &self.session
            && self.liveness.excuses(&self.policy, is_late, &session.signs_of_life(step.now))
        {
            return;
        }
        let answer = match result {
            Ok(raw) => own_result::<Heartbeat>(&raw)
                .inspect(|_| note_heartbeat(self, step, &raw))
                .map_err(|error| format!("its heartbeat is malformed: {error}")),
            Err(error) if error.outcome == Outcome::Answered => {
                Err(format!("it answered a heartbeat with an error: {error}"))
            }
            Err(error) if error.code == ErrorCode::DeadlineExceeded => {
                Err(format!("it did not answer a heartbeat: {}", error.message))
            }
            Err(error) if error.is_unread() => Err(format!("its answer to a heartbeat: {}", error.message)),
            // The end of the connection is reported by itself.
            Err(_) => return,
        };
        let status = answer.map(|heartbeat| self.heartbeat.insert((step.now, heartbeat)).1.status);
        self.handle_status(step, status);
    }

    fn handle_status(&mut self, step: &mut Step<'_>, status: Result<HealthStatus, String>) {
        if let Err(problem) = &status {
            let note = Note::new(EventKind::HeartbeatMissed, "a heartbeat failed");
            self.note(step, note.error(problem.clone()));
        }
        match self.phase {
            Phase::Proving { capable, .. } => self.handle_first_heartbeat(step, capable, status),
            Phase::Running(_) => self.handle_later_heartbeat(step, status),
            _ => {}
        }
    }

    fn handle_first_heartbeat(
        &mut self,
        step: &mut Step<'_>,
        capable: bool,
        status: Result<HealthStatus, String>,
    ) {
        let healthy = match status {
            Ok(HealthStatus::Healthy) => Some(PluginState::Healthy),
            Ok(HealthStatus::Degraded) => Some(PluginState::Degraded),
            Ok(other) => {
                self.last_error = Some(format!("its heartbeat says {other:?}").to_lowercase());
                None
            }
            Err(problem) => {
                self.last_error = Some(problem);
                None
            }
        };
        self.phase = Phase::Proving { capable, healthy };
        if healthy.is_none() {
            self.arm_heartbeat(step, step.now.plus(PROVE_AGAIN));
        }
        self.check_ready(step);
    }

    /// Trusts the generation once it is able and well.
    pub(super) fn check_ready(&mut self, step: &mut Step<'_>) {
        let Phase::Proving { capable: true, healthy: Some(state) } = self.phase else { return };
        if is_use_unknown(self) {
            return;
        }
        self.last_error = None;
        self.healthy_since = Some(step.now);
        self.heartbeats_missed = 0;
        if let Some(session) = &self.session {
            self.liveness = Liveness::new(&session.signs_of_life(step.now));
        }
        self.enter(step, Phase::Running(state), None);
        let interval = self.policy.heartbeat_interval;
        if !interval.is_zero() {
            self.arm_heartbeat(step, step.now.next_multiple(interval));
        }
    }

    pub(super) fn handle_ready_timeout(&mut self, step: &mut Step<'_>, capable: bool) {
        let lacks = if capable { "a good heartbeat" } else { "its capabilities" };
        let last = self.last_error.take().map_or_else(String::new, |error| format!("; last: {error}"));
        let timeout = self.policy.ready_timeout;
        self.fail(step, format!("it proved its identity, but {lacks} did not come within {timeout:?}{last}"));
    }

    fn handle_later_heartbeat(&mut self, step: &mut Step<'_>, status: Result<HealthStatus, String>) {
        let is_unanswered = status.is_err();
        let (state, problem) = match status {
            Ok(HealthStatus::Healthy) => (PluginState::Healthy, None),
            Ok(HealthStatus::Degraded) => (PluginState::Degraded, None),
            Ok(HealthStatus::Overloaded) => (PluginState::Overloaded, None),
            Ok(HealthStatus::Unhealthy) => (PluginState::Unhealthy, Some("it reports unhealthy".to_owned())),
            Ok(status) => {
                let problem = format!("it reports {}, after it was healthy", status.as_str());
                (PluginState::Unhealthy, Some(problem))
            }
            Err(problem) if self.heartbeats_missed + 1 >= UNHEALTHY_FROM => {
                (PluginState::Unhealthy, Some(problem))
            }
            Err(problem) => (self.state(), Some(problem)),
        };
        let Some(problem) = problem else {
            self.heartbeats_missed = 0;
            self.unwell_since = None;
            self.last_error = None;
            self.phase = Phase::Running(state);
            return;
        };
        self.heartbeats_missed += 1;
        self.unwell_since.get_or_insert(step.now);
        self.phase = Phase::Running(state);
        let (missed, max) = (self.heartbeats_missed, self.policy.heartbeat_misses_max);
        let session = self.session.as_ref().filter(|_| is_unanswered);
        let call = session.and_then(|session| session.signs_of_life(step.now).under_way);
        let failed = call.map_or("in a row failed".to_owned(), |call| format!("missed while {call}"));
        if self.config.is_by_hand() {
            self.last_error = Some(format!("{} {failed}: {problem}", count(missed.into(), "heartbeat")));
        } else if missed >= max {
            self.fail(step, format!("{} {failed}; the last: {problem}", count(missed.into(), "heartbeat")));
        } else {
            self.last_error = Some(format!("{missed} of {max} heartbeats {failed}: {problem}"));
        }
    }
}
