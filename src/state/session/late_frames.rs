//! Frames that waited for room in the plugin's socket: the time that the plugin has for a call counts from when it could read it.
//!
//! What it deliberately does not do: note that of frames that are written in the turn in which they are made.

use super::OwnRequest;
use crate::state::time::Time;
use rpc_plugin_peer::RequestsOut;

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
