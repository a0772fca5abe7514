//! Texts of failures: what was awaited of a generation, and what may explain that it did not come.
//!
//! What it deliberately does not do: decide anything.

use crate::state::policy::Transport;
use rpc_plugin_wire::handshake::ENV_PLUGIN_SOCKET;
use rpc_plugin_wire::{CallError, CancelCause, ErrorCode};
use std::borrow::Cow;
use std::time::Duration;

/// Why a generation is ended that has not connected in time.
pub(super) fn no_connection(timeout: Duration) -> String {
    format!(
        "it did not connect to its socket within {timeout:?} of its launch; does it use the SDK, and does it connect to \
         the path in {ENV_PLUGIN_SOCKET}?"
    )
}

/// Why a generation is ended that has not sent its hello in time. `bytes`: what has come of it.
pub(super) fn no_hello(transport: Transport, bytes: usize, timeout: Duration) -> String {
    let seen = match bytes {
        0 => "nothing came".to_owned(),
        bytes => format!("{bytes} bytes came, and no line end"),
    };
    let done = if transport == Transport::Unix { "it connected" } else { "it was launched" };
    format!("{done}, but a whole host.hello did not come within {timeout:?}; {seen}")
}

/// What may explain that the first bytes of a plugin are no hello.
pub(super) fn first_bytes_advice(transport: Transport) -> &'static str {
    if transport != Transport::Stdio {
        return "";
    }
    "; with transport stdio its standard output is the connection: nothing else may be printed there, neither by the \
     command that was launched nor by a shell's start-up files"
}

/// The end, for the record, of a call whose caller does not wait for it any more.
pub(super) fn caller_gone(was_sent: bool, cause: Option<&CancelCause>) -> CallError {
    let text = "its caller does not wait for it any more";
    let text = cause.map_or(Cow::Borrowed(text), |cause| format!("{text}: {cause}").into());
    let make = if was_sent { CallError::indeterminate } else { CallError::not_sent };
    make(ErrorCode::Cancelled, text)
}
