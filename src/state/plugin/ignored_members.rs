//! Members of what a plugin says of itself that only inform, and have another type than the protocol gives them: noted once.
//!
//! What it deliberately does not do: read what decides something.
//!
//! What always holds: there is one note for each member of a generation, so that a plugin that says the same in every
//! heartbeat fills no record.

use super::{Plugin, Step};
use crate::state::action::Note;
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::informational::ignored_of_heartbeat;
use rpc_plugin_wire::life::METHOD_HEARTBEAT;
use serde_json::value::RawValue;

/// Notes what is ignored of a heartbeat that was read.
pub(super) fn note_heartbeat(plugin: &mut Plugin, step: &mut Step<'_>, heartbeat: &RawValue) {
    note_ignored(plugin, step, METHOD_HEARTBEAT, &ignored_of_heartbeat(heartbeat));
}

/// Notes those of these members of what it said by `method` that are not noted yet.
pub(super) fn note_ignored(
    plugin: &mut Plugin,
    step: &mut Step<'_>,
    method: &'static str,
    members: &[&'static str],
) {
    for member in members {
        if plugin.ignored.contains(member) {
            continue;
        }
        // As many as there are such members, at the most.
        plugin.ignored.push(member);
        let text =
            format!("`{member}` of its {method} has another type than the protocol gives it, and is ignored");
        let note = Note::new(EventKind::MemberIgnored, text).method(method);
        plugin.note(step, note.details(serde_json::json!({"member": member})));
    }
}
