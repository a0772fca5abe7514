//! Frames that are late: those that waited for room in the plugin's socket, because the time that the plugin has for a call counts
//! from when it could read it, and answers to calls that have ended.
//!
//! What it deliberately does not do: note that of frames that are written in the turn in which they are made.

use super::OwnRequest;
use crate::state::time::Time;
use rpc_plugin_peer::{RequestsOut, Unanswered};
use rpc_plugin_wire::{ErrorCode, ErrorObject};
use serde_json::value::RawValue;
use std::time::Duration;

/// Whether the plugin gave a request up that was cancelled at its deadline, and said so soon after that.
pub(super) fn gave_up(
    request: &Unanswered<OwnRequest>,
    result: &Result<&RawValue, ErrorObject>,
    now: Time,
    grace: Duration,
) -> bool {
    let is_soon = now <= request.made_at.plus(request.waiter.timeout).plus(grace);
    is_soon && result.as_ref().is_err_and(|error| error.kind() == ErrorCode::Cancelled)
}

/// Notes the time of those that were begun to be written just now: the bytes from `before` to `begun`.
pub(super) fn note(requests: &mut RequestsOut<OwnRequest>, before: u64, begun: u64, now: Time) {
    for request in requests.iter_mut().rev() {
        let Some(frame) = request.frame().filter(|frame| frame.has_begun(begun)) else { continue };
        if frame.has_begun(before) {
            break;
        }
        request.waiter.begun_at = Some(now);
    }
}
