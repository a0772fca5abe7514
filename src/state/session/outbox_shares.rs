//! Shares of the bytes that wait to be written to one plugin, by who makes the calls.
//!
//! What it deliberately does not do: count with each call. Frames lie in the queue in the order of their requests, so what a
//! caller has there is added up where it matters: once half of the bound is taken, from the newest request back to the
//! first whose frame is with the kernel.

use super::OwnRequest;
use crate::state::fds::Fd;
use rpc_plugin_peer::{Party, Refused, RequestsOut, SHARE_ONE_IN, SendQueue, admit};
use rpc_plugin_wire::ErrorCode;

/// Whether a call with so many bytes of params may wait beside what waits already, of which there may be `bytes_max`.
///
/// # Errors
/// `overloaded`: there is no room, or the share of its caller is used up.
pub(super) fn check_outbox(
    (queue, bytes_max): (&SendQueue<Fd>, usize),
    requests: &RequestsOut<OwnRequest>,
    party: &Party,
    bytes: usize,
) -> Result<(), Refused> {
    let waiting = queue.waiting_bytes();
    // A call without params has a frame too.
    let more = bytes.max(1);
    if waiting + more > bytes_max {
        let text = format!(
            "the call's {bytes} bytes do not fit: {waiting} wait to be written to the plugin already, at most \
             {bytes_max} may"
        );
        return Err(Refused::new(ErrorCode::Overloaded, text));
    }
    let share = bytes_max.div_ceil(SHARE_ONE_IN);
    let own = || own_bytes(queue, requests, party, share);
    admit(own, waiting, bytes_max, more).map_err(|used| {
        let text = format!(
            "the share of {party} is used up: of {waiting} bytes that wait to be written to the plugin at least {} are \
             its own, and {share} may be while half of {bytes_max} wait",
            used.own
        );
        Refused::new(ErrorCode::Overloaded, text)
    })
}

/// Bytes of a caller's frames that wait; at least `enough` where it looked no further.
fn own_bytes(
    queue: &SendQueue<Fd>,
    requests: &RequestsOut<OwnRequest>,
    party: &Party,
    enough: usize,
) -> usize {
    let begun = queue.begun();
    let mut own = 0;
    for request in requests.iter().rev() {
        let bytes = request.frame().map_or(0, |frame| frame.unsent_bytes(begun));
        if bytes == 0 || own >= enough {
            break;
        }
        if request.asked.is_call && request.waiter.party == *party {
            own += bytes;
        }
    }
    own
}
