//! Starts on demand: the first call starts the plugin, and calls wait for that within their deadlines.
//!
//! What always holds: however many call, the plugin is started once; where its start fails, all that wait are told why.

use super::logged::record_end;
use super::reasons::caller_gone;
use super::{Phase, Plugin, Step};
use crate::state::call::CallRequest;
use crate::state::held_calls::HeldCall;
use crate::state::keys::CallKey;
use crate::state::start_mode::StartMode;
use crate::state::time::rounded;
use rpc_plugin_wire::life::Desired;
use rpc_plugin_wire::{CallError, CancelCause, ErrorCode};
use std::time::Duration;

/// Whether a call waits for the plugin's next generation, and starts it where nobody has.
#[must_use]
pub fn holds_calls(plugin: &Plugin) -> bool {
    let is_on_demand = plugin.config.start == StartMode::OnDemand && plugin.desired == Desired::Up;
    // In backoff, and given up, it ends with the cause; a generation that is up and takes none answers for itself.
    is_on_demand && !matches!(plugin.phase, Phase::Running(_) | Phase::Backoff(_) | Phase::Failed)
}

/// Whether a call by that capability may start the plugin.
#[must_use]
pub fn is_started_for(plugin: &Plugin, capability: &str) -> bool {
    let was_able = plugin.presence.capabilities.iter().any(|known| known == capability);
    holds_calls(plugin) && (was_able || plugin.config.interfaces.contains_key(capability))
}

/// Whether it is down until somebody calls it.
#[must_use]
pub(super) fn is_at_rest(plugin: &Plugin) -> bool {
    plugin.phase == Phase::Stopped && holds_calls(plugin)
}

/// Starts a plugin that is down until somebody needs it.
pub fn wake(plugin: &mut Plugin, step: &mut Step<'_>) {
    if is_at_rest(plugin) {
        plugin.launch(step);
    }
}

/// A call was not sent: keeps it for the next generation, or ends it.
pub(super) fn hold_or_refuse(
    plugin: &mut Plugin,
    step: &mut Step<'_>,
    key: CallKey,
    call: &mut CallRequest,
    error: CallError,
) {
    if call.is_protocol || error.code != ErrorCode::Unavailable || !holds_calls(plugin) {
        return plugin.refused(step, key, call, error);
    }
    let timeout = call.timeout.unwrap_or(plugin.policy.call_timeout);
    let entered = step.held.enter(step.now, (key, plugin.key), call, timeout, step.timers);
    match entered {
        Err(overloaded) => {
            let error = overloaded.at(&plugin.config.id, plugin.generation);
            plugin.refused(step, key, call, error);
        }
        Ok(()) => {
            // It is counted when it is sent, or ends.
            plugin.counts.calls -= 1;
            wake(plugin, step);
        }
    }
}

/// The state is another: sends the calls that wait, ends them, or starts the plugin for them.
pub(super) fn go_on_with_calls(plugin: &mut Plugin, step: &mut Step<'_>) {
    if step.held.is_empty() || !step.held.has_some_of(plugin.key) {
        return;
    }
    if holds_calls(plugin) {
        return wake(plugin, step);
    }
    while !holds_calls(plugin)
        && let Some(held) = step.held.take_first(plugin.key, step.timers)
    {
        let HeldCall { key, mut request, deadline, .. } = held;
        request.timeout = Some(deadline.since(step.now));
        plugin.call(step, key, &mut request);
    }
}

/// The deadline of a call that waits has come.
pub fn end_held(plugin: &mut Plugin, step: &mut Step<'_>, key: CallKey) {
    let Some(mut held) = step.held.take(key, step.timers) else { return };
    plugin.counts.calls += 1;
    let text = format!("it did not take calls within {:?}; it is {}", rounded(held.timeout), plugin.state());
    let error =
        CallError::not_sent(ErrorCode::DeadlineExceeded, text).at(&plugin.config.id, plugin.generation);
    plugin.refused(step, key, &mut held.request, error);
}

/// The caller of a call that waits has gone; whether it was one.
pub(super) fn cancel_held(
    plugin: &mut Plugin,
    step: &mut Step<'_>,
    key: CallKey,
    cause: Option<&CancelCause>,
) -> bool {
    let Some(held) = step.held.take(key, step.timers) else { return false };
    plugin.counts.calls += 1;
    let error = caller_gone(false, cause).at(&plugin.config.id, plugin.generation);
    let (method, caller) = (held.request.method, held.request.caller);
    record_end(plugin, step, (None, method), caller, Duration::ZERO, &Err(error));
    true
}
