//! Bringing a generation down, and what follows: nothing, a replacement, or giving up.

use super::launch_events::discard;
use super::link::LINGER;
use super::permanent_fault::what_follows;
use super::{Phase, Plugin, Rung, Step, Why};
use crate::state::action::{Action, Note, StopSignal};
use crate::state::exit_report::{ExitReport, PastExit};
use crate::state::keys::Caller;
use crate::state::policy::RestartPolicy;
use crate::state::restarts::Restarts;
use crate::state::time::{millis, rounded};
use rpc_plugin_wire::Generation;
use rpc_plugin_wire::cut::cut;
use rpc_plugin_wire::event::{EventKind, Level};
use rpc_plugin_wire::life::{Desired, METHOD_SHUTDOWN};
use std::time::Duration;

/// How often a process that survives SIGKILL (it hangs in the kernel) is told again and reported.
const KILL_AGAIN: Duration = Duration::from_secs(5);

/// Bytes of a reason for which a generation is ended: what a plugin says may be in it.
const REASON_BYTES_MAX: usize = 8 * 1024;

impl Plugin {
    /// An operator wants the plugin up.
    pub fn start(&mut self, step: &mut Step<'_>) {
        self.desired = Desired::Up;
        self.forgive();
        match &self.phase {
            Phase::Stopped | Phase::Failed | Phase::Backoff(_) => self.launch(step),
            Phase::Ending(Why::Stop, rung) => self.phase = Phase::Ending(Why::Restart, *rung),
            _ => {}
        }
    }

    /// An operator wants the plugin down.
    pub fn stop(&mut self, step: &mut Step<'_>) {
        self.desired = Desired::Down;
        self.replace_with(step, Why::Stop);
    }

    /// An operator wants a new generation.
    pub fn restart(&mut self, step: &mut Step<'_>) {
        self.desired = Desired::Up;
        self.forgive();
        match &self.phase {
            Phase::Stopped | Phase::Failed | Phase::Backoff(_) => self.launch(step),
            _ => self.replace_with(step, Why::Restart),
        }
    }

    /// An operator acted: earlier failures do not count against it any more.
    fn forgive(&mut self) {
        self.restarts = Restarts::default();
    }

    /// It is wanted down, once those that are started after it are.
    pub fn depart(&mut self) {
        self.desired = Desired::Down;
    }

    pub(super) fn replace_with(&mut self, step: &mut Step<'_>, why: Why) {
        match self.phase.clone() {
            Phase::Stopped => {}
            // What waits for its turn is a new generation already.
            Phase::Waiting(_) | Phase::Queued(_) if why == Why::Restart => {}
            Phase::Failed | Phase::Backoff(_) | Phase::Waiting(_) | Phase::Queued(_) => {
                self.ended(step, why, None);
            }
            Phase::Preparing | Phase::Spawning(_) if self.preparing.is_some() => {
                let timeout = self.policy.prepare_timeout;
                self.enter(step, Phase::Ending(why, Rung::Preparation), Some(timeout));
            }
            Phase::Preparing | Phase::Spawning(_) => {
                discard(self, step);
                self.ended(step, why, None);
            }
            Phase::Ending(_, rung) => self.phase = Phase::Ending(why, rung),
            _ => self.begin_end(step, why, true),
        }
    }

    /// Ends a generation that failed; what follows is decided when its process is gone.
    pub(super) fn fail(&mut self, step: &mut Step<'_>, mut reason: String) {
        cut(&mut reason, REASON_BYTES_MAX);
        self.last_error = Some(reason.clone());
        self.close_link(step, &reason);
        self.begin_end(step, Why::Failure(reason), false);
    }

    /// The same of one whose connection was ended before its proof: it has time to read why before it is signalled.
    pub(super) fn fail_refused(&mut self, step: &mut Step<'_>, mut reason: String) {
        cut(&mut reason, REASON_BYTES_MAX);
        self.last_error = Some(reason.clone());
        self.enter(step, Phase::Ending(Why::Failure(reason), Rung::Linger), Some(LINGER));
    }

    /// The first rung of the ladder: a word where that is possible and wanted, else SIGTERM.
    fn begin_end(&mut self, step: &mut Step<'_>, why: Why, ask: bool) {
        let grace = self.policy.shutdown_grace;
        let open = self.session.as_ref().is_some_and(super::Session::is_open);
        if !open {
            // A proof that is completed from now on must not bring it up again.
            self.close_link(step, why.text());
        }
        if !ask || !open || grace.is_zero() {
            return self.climb_down(step, why, Rung::Asked);
        }
        self.ask(step, Caller::Shutdown, METHOD_SHUTDOWN, grace);
        let reason = if why == Why::Stop { "stop" } else { "restart" };
        self.note(step, Note::new(EventKind::ShutdownRequested, "it was asked to end").reason(reason));
        self.enter(step, Phase::Ending(why, Rung::Asked), Some(grace));
    }

    /// The grace of a rung is over: the next one.
    pub(super) fn climb_down(&mut self, step: &mut Step<'_>, why: Why, rung: Rung) {
        let grace = self.policy.term_grace;
        if self.config.is_by_hand() && rung != Rung::Preparation {
            return self.let_go(step, why);
        }
        match rung {
            Rung::Preparation => self.handle_preparation_timeout(step),
            Rung::Linger | Rung::Asked if !grace.is_zero() => {
                self.signal(step, StopSignal::Term, &why);
                self.enter(step, Phase::Ending(why, Rung::Termed), Some(grace));
            }
            Rung::Linger | Rung::Asked | Rung::Termed => {
                self.signal(step, StopSignal::Kill, &why);
                self.enter(step, Phase::Ending(why, Rung::Killed), Some(KILL_AGAIN));
            }
            Rung::Killed => {
                let note = Note::new(
                    EventKind::HostFault,
                    format!("its process still exists {KILL_AGAIN:?} after SIGKILL"),
                );
                self.note(step, note.error("it hangs in the kernel, probably on a device or file system"));
                self.signal(step, StopSignal::Kill, &why);
                self.enter(step, Phase::Ending(why, Rung::Killed), Some(KILL_AGAIN));
            }
        }
    }

    fn signal(&mut self, step: &mut Step<'_>, signal: StopSignal, why: &Why) {
        self.act(step, |key, generation| Action::Signal(key, generation, signal));
        let name = match signal {
            StopSignal::Term => "SIGTERM",
            StopSignal::Kill => "SIGKILL",
        };
        let note = Note::new(EventKind::SignalSent, format!("{name} was sent to its process group"));
        self.note(step, note.reason(why.text()));
    }

    /// The process of a generation ended.
    pub fn handle_exit(&mut self, step: &mut Step<'_>, generation: Generation, exit: ExitReport) {
        if self.generation != Some(generation) || self.process.is_none() {
            return;
        }
        let doing = self.doing();
        let mut note = Note::new(EventKind::Exited, format!("its process ended with {}", exit.text));
        note.details = exit.details();
        if !exit.clean && !matches!(self.phase, Phase::Ending(Why::Stop | Why::Restart, _)) {
            note = note.level(Level::Error);
        }
        self.note(step, note);
        self.close_link(step, &format!("its process ended with {}", exit.text));
        self.process = None;
        self.last_exit = Some(PastExit { at: step.now, generation, report: exit.clone() });
        discard(self, step);
        let why = match self.phase.clone() {
            // It did not end by itself, as whoever closes a connection is expected to, however it ended.
            Phase::Ending(Why::Lost(doing), Rung::Termed | Rung::Killed) => {
                Why::Failure(format!("{doing}, and its process had to be ended"))
            }
            Phase::Ending(why, _) => why,
            _ => Why::Lost(format!("the process ended {doing}")),
        };
        self.ended(step, why, Some(exit));
    }

    /// Ends the generation of a plugin that a person started, whose process is left to that person.
    fn let_go(&mut self, step: &mut Step<'_>, why: Why) {
        self.close_link(step, why.text());
        if let Some(process) = self.process.take() {
            let text = format!(
                "its connection is closed; process {} is not the host's, and not signalled",
                process.pid
            );
            let mut note = Note::new(EventKind::LetGo, text);
            note.pid = Some(process.pid);
            self.note(step, note);
        }
        discard(self, step);
        self.ended(step, why, None);
    }

    /// Nothing of the generation is left: what follows.
    pub(super) fn ended(&mut self, step: &mut Step<'_>, why: Why, exit: Option<ExitReport>) {
        let started = self.healthy_since.is_some();
        let with_exit = |reason: String| match &exit {
            Some(exit) => exit.with_reason(&reason),
            None => reason,
        };
        match why {
            Why::Stop => self.rest(step),
            Why::Restart if self.desired == Desired::Up => {
                self.counts.restarts += 1;
                self.launch(step);
            }
            Why::Restart => self.rest(step),
            Why::Failure(reason) | Why::Lost(reason)
                if self.config.is_by_hand() && self.desired == Desired::Up =>
            {
                // Whoever started it may start it again at once.
                self.counts.restarts += 1;
                self.launch(step);
                self.last_error = Some(with_exit(reason));
            }
            Why::Failure(reason) => {
                let reason = with_exit(reason);
                self.generation_failed(step, reason);
            }
            Why::Lost(doing) => {
                let clean = started && exit.as_ref().is_some_and(|exit| exit.clean);
                let reason = with_exit(doing);
                match self.policy.restart {
                    RestartPolicy::OnFailure | RestartPolicy::Never if clean => {
                        self.desired = self.config.desired_at_rest();
                        self.rest(step);
                    }
                    _ => self.generation_failed(step, reason),
                }
            }
        }
    }

    pub(super) fn rest(&mut self, step: &mut Step<'_>) {
        self.last_error = None;
        self.enter(step, Phase::Stopped, None);
    }

    /// A generation failed and nothing of it is left: replace it, now or later, or give up.
    pub(super) fn generation_failed(&mut self, step: &mut Step<'_>, reason: String) {
        self.last_error = Some(reason.clone());
        if self.desired == Desired::Down {
            return self.enter(step, Phase::Stopped, None);
        }
        // Neither the heartbeats that it missed nor the way down the ladder were healthy.
        let well_until = self.unwell_since.unwrap_or(step.now);
        let healthy_for = self.healthy_since.map(|since| well_until.since(since));
        let (policy, fault) = (&self.policy, self.fault);
        let delay = match self.restarts.after_failure(step.now, policy, fault, healthy_for, step.rng) {
            Ok(delay) => delay,
            Err(why) => return self.give_up(step, why.text(&reason)),
        };
        self.counts.restarts += 1;
        let text = match delay.is_zero() {
            true => "a replacement is launched at once".to_owned(),
            false => format!("a replacement is launched in {:?}", rounded(delay)),
        };
        let failures = self.restarts.failures_in_row();
        let details = serde_json::json!({"delay_ms": millis(delay), "failures_in_row": failures});
        self.note(step, Note::new(EventKind::RestartScheduled, text).reason(reason).details(details));
        if delay.is_zero() {
            self.launch(step);
        } else {
            self.enter(step, Phase::Backoff(step.now.plus(delay)), Some(delay));
        }
    }

    /// No replacement until an operator acts, or what failed permanently has changed.
    pub(super) fn give_up(&mut self, step: &mut Step<'_>, reason: String) {
        self.last_error = Some(reason.clone());
        let look_after = self.fault.look_after(&self.policy);
        self.note(step, Note::new(EventKind::GaveUp, what_follows(look_after)).error(reason));
        self.enter(step, Phase::Failed, look_after);
    }
}
