//! Texts of failures: what a generation was doing, and what may explain that it did no more.
//!
//! What it deliberately does not do: decide anything.

use super::{Phase, Plugin, Why};
use crate::state::policy::Transport;
use crate::state::session::Session;
use rpc_plugin_wire::handshake::ENV_PLUGIN_SOCKET;

/// Why it is ended that has not connected in time.
pub(super) fn no_connection(plugin: &Plugin) -> String {
    format!(
        "it did not connect to its socket within {:?} of its launch; does it use the SDK, and does it connect to the \
         path in {ENV_PLUGIN_SOCKET}?",
        plugin.policy.connect_timeout
    )
}

/// Why it is ended that has not sent its hello in time.
pub(super) fn no_hello(plugin: &Plugin) -> String {
    let seen = match plugin.session.as_ref().map_or(0, Session::unfinished_bytes) {
        0 => "nothing came".to_owned(),
        bytes => format!("{bytes} bytes came, and no line end"),
    };
    let is_unix = plugin.policy.transport == Transport::Unix;
    let done = if is_unix { "it connected" } else { "it was launched" };
    let timeout = plugin.hello_timeout();
    format!("{done}, but a whole host.hello did not come within {timeout:?}; {seen}")
}

/// What may explain that the first bytes of a plugin are no hello, for messages.
pub(super) fn first_bytes_advice(plugin: &Plugin) -> &'static str {
    match (plugin.policy.transport, &plugin.phase) {
        (Transport::Stdio, Phase::Greeting) => {
            "; with transport stdio its standard output is the connection: nothing else may be printed there, \
             neither by the command that was launched nor by a shell's start-up files"
        }
        _ => "",
    }
}

/// What the generation was doing when it failed, for messages.
pub(super) fn doing(plugin: &Plugin) -> &'static str {
    match plugin.phase {
        Phase::Connecting => "before it connected",
        Phase::Greeting => "before it proved its identity",
        Phase::Proving { .. } => "before its capabilities and a good heartbeat were there",
        Phase::Ending(Why::Stop | Why::Restart, _) => "while it was being stopped",
        _ => "while it was running",
    }
}
