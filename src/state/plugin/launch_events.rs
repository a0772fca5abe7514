//! Debug events of a generation's way: what is waited for, and what came of it.
//!
//! What it deliberately does not do: tell of failures, which are told where they are found.
//!
//! What always holds: each step of the original's dial, authentication, loading of capabilities and cleanup has an event of
//! its beginning and one of its success.

use super::ignored_members::note_ignored;
use super::{Phase, Plugin, Step};
use crate::state::action::{Action, Note};
use crate::state::session::Introduction;
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::handshake::METHOD_HELLO;
use rpc_plugin_wire::life::METHOD_CAPABILITIES;

/// Notes that its process is awaited on its socket.
pub(super) fn connection_awaited(plugin: &Plugin, step: &mut Step<'_>) {
    plugin.note(step, Note::new(EventKind::ConnectionAwaited, "it is to connect to its socket"));
}

/// Notes that it connected, where it was awaited on a socket, and that its proof begins.
pub(super) fn authentication_started(plugin: &Plugin, step: &mut Step<'_>) {
    if plugin.phase == Phase::Connecting {
        plugin.note(step, Note::new(EventKind::Connected, "it connected"));
    }
    plugin.note(step, Note::new(EventKind::AuthenticationStarted, "it is to prove its identity"));
}

/// Notes that it proved its identity, what it said of itself, and what of that is ignored.
pub(super) fn authenticated(plugin: &mut Plugin, step: &mut Step<'_>, introduction: &Introduction) {
    let note = Note::new(EventKind::Authenticated, "it proved its identity").details(serde_json::json!({
        "version": introduction.version,
        "sdk": introduction.sdk,
        "interfaces": *introduction.interfaces,
    }));
    plugin.note(step, note);
    note_ignored(plugin, step, METHOD_HELLO, &introduction.ignored);
}

/// Notes that it is asked for its capabilities.
pub(super) fn capabilities_requested(plugin: &Plugin, step: &mut Step<'_>) {
    let text = format!("it is asked for its capabilities ({METHOD_CAPABILITIES})");
    plugin.note(step, Note::new(EventKind::CapabilitiesRequested, text));
}

/// Has all that was made for the current generation, whose process ran, removed, and notes that.
pub(super) fn discard(plugin: &Plugin, step: &mut Step<'_>) {
    plugin.act(step, Action::Discard);
    let text = "its connection, its socket and its token file are gone";
    plugin.note(step, Note::new(EventKind::CleanupCompleted, text));
}

/// Notes what a generation said that it can do.
pub(super) fn capabilities_reported(plugin: &Plugin, step: &mut Step<'_>) {
    let text = format!("its capabilities: {}", plugin.capabilities().join(", "));
    plugin.note(step, Note::new(EventKind::CapabilitiesReported, text));
}
