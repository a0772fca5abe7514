//! Calls that may be executed more than once, and are therefore repeated by the host (decision: see
//! "Repeating a call" in docs/decisions.md).
//!
//! What this file is for: when such a call is tried again, and how it ends. What it deliberately does not do:
//! repeat what the plugin has answered, unless it was being ended and says that it broke the call off, or what cannot
//! become better: denied, too large, unknown.
//!
//! What always holds: such a call ends once, by its deadline and with the last try that it may have; between two tries
//! lies its backoff, or the plugin became routable; what is kept to be sent again is bounded; nothing is tried where
//! nobody takes calls.

use super::Supervisor;
use crate::state::action::{Action, Note};
use crate::state::call::{CallEnd, CallRequest, Target};
use crate::state::keys::{CallKey, PluginKey, Timer};
use crate::state::plugin::holds_calls;
use crate::state::policy::{Policy, RpcAudit};
use crate::state::time::{Time, rounded};
use crate::state::wheel::TimerKey;
use rpc_plugin_peer::{Amount, Shares};
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::life::PluginState;
use rpc_plugin_wire::{CallError, ErrorCode, Outcome, PluginId};
use std::collections::BTreeMap;
use std::time::Duration;

/// Such calls at once, which their callers share; a further one ends at once as `overloaded`.
pub(super) const RETRIES_MAX: usize = 65_536;
/// What is kept of their params and methods, which is shared too. Bytes; a call beyond it ends at once as `overloaded`.
pub(super) const RETRY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The first wait between two tries; each further one is twice as long.
const BACKOFF_INITIAL: Duration = Duration::from_millis(10);
/// The longest wait between two tries of a call that does not name its backoff.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// The longest wait between two tries of one that does.
const NAMED_BACKOFF_MAX: Duration = Duration::from_secs(60);
/// The least of a wait that jitter leaves of it. Percent.
const BACKOFF_PERCENT_MIN: u32 = 50;

/// A call that may be repeated, and how it went so far.
#[derive(Debug)]
struct Retry {
    request: CallRequest,
    /// From its begin to its deadline, for people.
    timeout: Duration,
    deadline: Time,
    tries: u32,
    tries_max: u32,
    /// The next wait before a try.
    backoff: Duration,
    backoff_max: Duration,
    /// An earlier try may have been executed.
    was_sent: bool,
    /// Why the last try failed.
    last: Option<CallError>,
    /// Where it is in flight, or was.
    at: Option<PluginKey>,
    /// Armed while it waits for the next try.
    timer: Option<TimerKey>,
}

impl Retry {
    fn amount(&self) -> Amount {
        let params_bytes = self.request.params.as_ref().map_or(0, String::len);
        Amount { count: 1, bytes: self.request.method.len() + params_bytes }
    }

    /// What the caller is told of a try that was the last.
    fn end(&self, mut end: Box<CallEnd>) -> Box<CallEnd> {
        end.tries = self.tries;
        if let Err(error) = &mut end.result {
            error.tries = self.tries;
            if self.was_sent && error.outcome == Outcome::NotSent {
                error.outcome = Outcome::Indeterminate;
            }
        }
        end
    }

    fn deadline_error(&mut self) -> CallError {
        let within = rounded(self.timeout);
        let last = self.last.take();
        let why = last
            .as_ref()
            .map_or(String::new(), |last| format!("; the last try: {}: {}", last.code.name(), last.message));
        let error = CallError::not_sent(
            ErrorCode::DeadlineExceeded,
            format!("no try succeeded within {within:?}{why}"),
        );
        CallError {
            plugin_id: last.as_ref().and_then(|last| last.plugin_id.clone()),
            generation: last.as_ref().and_then(|last| last.generation),
            ..error
        }
    }
}

/// Whether a try that ended so is worth another one. An answer is the end of the call, but for one that says that a
/// plugin which was asked to end did not get to it, or broke it off.
fn is_repeatable(error: &CallError, is_stopping: bool) -> bool {
    match error.code {
        ErrorCode::Cancelled | ErrorCode::Unavailable if error.outcome == Outcome::Answered => is_stopping,
        ErrorCode::Unavailable | ErrorCode::PluginLost | ErrorCode::Overloaded => {
            error.outcome != Outcome::Answered
        }
        _ => false,
    }
}

/// When a call that waits is worth a try.
enum Ready {
    Now,
    /// The plugin takes calls and has no room: after another backoff.
    Later,
    /// No plugin takes it; a change of state will tell.
    WhenRoutable,
}

/// Table of the calls that may be repeated.
#[derive(Debug)]
pub(super) struct Retries {
    calls: BTreeMap<CallKey, Retry>,
    shares: Shares,
}

impl Default for Retries {
    fn default() -> Retries {
        let max = Amount { count: RETRIES_MAX, bytes: RETRY_BYTES_MAX };
        Retries { calls: BTreeMap::new(), shares: Shares::new(max) }
    }
}

impl Retries {
    /// Whether there are none.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Whether that call is one of them.
    #[must_use]
    pub(super) fn has(&self, key: CallKey) -> bool {
        self.calls.contains_key(&key)
    }

    fn remove(&mut self, key: CallKey) -> Option<Retry> {
        let retry = self.calls.remove(&key)?;
        self.shares.leave(&retry.request.caller, retry.amount());
        Some(retry)
    }

    /// Those that wait for a try and that `wanted` picks.
    fn waiting(&self, wanted: impl Fn(&Target) -> bool) -> Vec<CallKey> {
        let waiting = self.calls.iter().filter(|(_, retry)| retry.timer.is_some());
        waiting.filter(|(_, retry)| wanted(&retry.request.target)).map(|(key, _)| *key).collect()
    }
}

impl Supervisor {
    /// Makes a call that may be repeated. Gives the plugin that is called first.
    pub(super) fn call_repeatedly(
        &mut self,
        now: Time,
        key: CallKey,
        request: CallRequest,
    ) -> Option<PluginKey> {
        let timeout = request.timeout.unwrap_or_else(|| self.call_timeout(&request.target));
        let (tries_max, backoff, backoff_max) = match request.retry {
            None => (u32::MAX, BACKOFF_INITIAL, BACKOFF_MAX),
            Some(limits) => (limits.attempts, limits.backoff.min(NAMED_BACKOFF_MAX), NAMED_BACKOFF_MAX),
        };
        let retry = Retry {
            timeout,
            deadline: now.plus(timeout),
            request,
            tries: 0,
            tries_max,
            backoff,
            backoff_max,
            was_sent: false,
            last: None,
            at: None,
            timer: None,
        };
        let caller = &retry.request.caller;
        if let Err(used) = self.retries.shares.enter(caller, retry.amount()) {
            let what = if used.max == RETRIES_MAX { "idempotent calls" } else { "bytes of idempotent calls" };
            self.refuse(key, CallError::not_sent(ErrorCode::Overloaded, used.tell(caller, what)));
            return None;
        }
        self.retries.calls.insert(key, retry);
        self.try_call(now, key)
    }

    /// The deadline of a call that names none.
    fn call_timeout(&self, target: &Target) -> Duration {
        let key = match target {
            Target::Plugin(id) => self.find(id),
            Target::Capability(name) => self.routes.next(&self.plugins, name),
        };
        let plugin = key.and_then(|key| self.plugin(key));
        plugin.map_or_else(|| Policy::default().call_timeout, |plugin| plugin.policy().call_timeout)
    }

    /// How many calls wait for their next try.
    #[must_use]
    pub fn calls_to_repeat(&self) -> usize {
        self.retries.calls.values().filter(|retry| retry.timer.is_some()).count()
    }

    fn try_call(&mut self, now: Time, key: CallKey) -> Option<PluginKey> {
        let retry = self.retries.calls.get_mut(&key)?;
        if let Some(timer) = retry.timer.take() {
            self.timers.cancel(timer);
        }
        retry.tries += 1;
        let tries = retry.tries;
        let left = retry.deadline.since(now);
        let mut request = retry.request.again();
        request.timeout = Some(left);
        let last = retry.last.as_ref().map(ToString::to_string);
        let plugin = match self.route(&request.target) {
            Ok(plugin) => plugin,
            Err(error) => {
                if let Some(end) = self.after_try(now, key, CallEnd::refused(error)) {
                    self.refused_on_record(now, &request, &end);
                    self.actions.push_back(Action::Complete(key, end));
                }
                return None;
            }
        };
        if let Some(retry) = self.retries.calls.get_mut(&key) {
            retry.at = Some(plugin);
        }
        if tries > 1 {
            self.note_repeat(plugin, &request, tries, last);
        }
        self.with_plugin(now, plugin, |plugin, step| plugin.call(step, key, &mut request));
        Some(plugin)
    }

    fn note_repeat(&mut self, key: PluginKey, request: &CallRequest, tries: u32, last: Option<String>) {
        let Some(plugin) = self.plugins.get(&key) else { return };
        if plugin.policy().rpc_audit == RpcAudit::Off {
            return;
        }
        let note = Note::new(EventKind::CallRepeated, format!("a call is sent again, its try {tries}"));
        let note = note.method(&*request.method).by(request.caller.clone());
        let mut note = note.details(serde_json::json!({"tries": tries}));
        note.reason = last;
        (note.plugin_id, note.generation, note.pid) =
            (Some(plugin.id().clone()), plugin.generation(), plugin.pid());
        self.actions.push_back(Action::Note(Box::new(note)));
    }

    /// A try ended: the end of the call, unless it is to be tried again.
    fn after_try(&mut self, now: Time, key: CallKey, end: Box<CallEnd>) -> Option<Box<CallEnd>> {
        let Some(retry) = self.retries.calls.get_mut(&key) else { return Some(end) };
        let plugin = retry.at.and_then(|at| self.plugins.get(&at));
        let is_stopping = plugin.is_some_and(|plugin| plugin.state() == PluginState::Stopping);
        let may_repeat = !self.ending && retry.deadline > now && retry.tries < retry.tries_max;
        match &end.result {
            Err(error) if may_repeat && is_repeatable(error, is_stopping) => {
                retry.was_sent |= error.outcome != Outcome::NotSent;
                retry.last = Some(error.clone());
                self.arm_backoff(now, key);
                None
            }
            _ => self.retries.remove(key).map(|retry| retry.end(end)),
        }
    }

    /// Has the call looked at again after its backoff, or at its deadline.
    fn arm_backoff(&mut self, now: Time, key: CallKey) {
        let Some(retry) = self.retries.calls.get_mut(&key) else { return };
        let percent = self.rng.u32(BACKOFF_PERCENT_MIN..=100);
        let at = now.plus(retry.backoff * percent / 100).min(retry.deadline);
        retry.backoff = (retry.backoff * 2).min(retry.backoff_max);
        retry.timer = Some(self.timers.insert(at, Timer::Retry(key)));
    }

    /// The backoff of a call is over, or its deadline has come.
    pub(super) fn handle_retry_timer(&mut self, now: Time, key: CallKey) {
        let Some(retry) = self.retries.calls.get_mut(&key) else { return };
        retry.timer = None;
        let deadline = retry.deadline;
        if now >= deadline {
            let Some(mut retry) = self.retries.remove(key) else { return };
            let error = retry.deadline_error();
            let end = retry.end(CallEnd::refused(error));
            self.refused_on_record(now, &retry.request, &end);
            return self.actions.push_back(Action::Complete(key, end));
        }
        match self.ready(key) {
            Ready::Now => drop(self.try_call(now, key)),
            Ready::Later => self.arm_backoff(now, key),
            Ready::WhenRoutable => {
                let timer = self.timers.insert(deadline, Timer::Retry(key));
                if let Some(retry) = self.retries.calls.get_mut(&key) {
                    retry.timer = Some(timer);
                }
            }
        }
    }

    fn ready(&self, key: CallKey) -> Ready {
        let Some(Retry { request, .. }) = self.retries.calls.get(&key) else { return Ready::Now };
        let key = match &request.target {
            Target::Plugin(id) => match self.find(id) {
                // To be told so.
                None => return Ready::Now,
                key => key,
            },
            Target::Capability(name) => self.routes.next(&self.plugins, name),
        };
        let Some(plugin) = key.and_then(|key| self.plugin(key)) else { return Ready::WhenRoutable };
        if !plugin.state().is_routable() {
            if holds_calls(plugin) {
                return Ready::Now;
            }
            return Ready::WhenRoutable;
        }
        if plugin.has_place(&request.caller) { Ready::Now } else { Ready::Later }
    }

    /// Looks at what a step led to: `before` is how many actions there were, `changed` the plugin whose state
    /// is another.
    pub(super) fn look_after_retries(&mut self, now: Time, before: usize, changed: Option<PluginKey>) {
        for action in self.actions.split_off(before) {
            match action {
                Action::Complete(key, end) => {
                    if let Some(end) = self.after_try(now, key, end) {
                        self.actions.push_back(Action::Complete(key, end));
                    }
                }
                action => self.actions.push_back(action),
            }
        }
        let plugin = changed.and_then(|key| self.plugin(key)).filter(|plugin| plugin.state().is_routable());
        let Some(plugin) = plugin else { return };
        let waiting = self.retries.waiting(|target| match target {
            Target::Plugin(id) => id == plugin.id(),
            Target::Capability(name) => plugin.serves(name),
        });
        for key in waiting {
            if matches!(self.ready(key), Ready::Now) {
                self.try_call(now, key);
            } else {
                self.look_again_soon(now, key);
            }
        }
    }

    /// There was no room for it among those that waited for the plugin.
    fn look_again_soon(&mut self, now: Time, key: CallKey) {
        let Some(retry) = self.retries.calls.get_mut(&key) else { return };
        if let Some(timer) = retry.timer.take() {
            self.timers.cancel(timer);
            self.arm_backoff(now, key);
        }
    }

    /// A plugin was given up: who waits to call it is told so.
    pub(super) fn end_retries_of(&mut self, now: Time, id: &PluginId) {
        for key in self.retries.waiting(|target| *target == Target::Plugin(id.clone())) {
            self.try_call(now, key);
        }
    }

    /// Everything is brought down: what waits for a try ends as its last one did.
    pub(super) fn end_all_retries(&mut self) {
        for key in self.retries.waiting(|_| true) {
            let Some(mut retry) = self.retries.remove(key) else { continue };
            if let Some(timer) = retry.timer.take() {
                self.timers.cancel(timer);
            }
            if let Some(last) = retry.last.take() {
                let generation = last.generation;
                let mut end = CallEnd::refused(last);
                end.generation = generation;
                self.actions.push_back(Action::Complete(key, retry.end(end)));
            }
        }
    }

    /// Forgets a call whose caller has gone; where it is in flight.
    pub(super) fn forget_retry(&mut self, key: CallKey) -> Option<PluginKey> {
        let retry = self.retries.remove(key)?;
        if let Some(timer) = retry.timer {
            self.timers.cancel(timer);
            return None;
        }
        retry.at
    }
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
