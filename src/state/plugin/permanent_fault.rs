//! Permanent faults: what makes every further launch fail until files are changed, such as a missing executable.
//!
//! What always holds: after one there is no launch before the files differ from those of the launch that failed, or an
//! operator acts; they are looked at every [`LOOK_INTERVAL`](crate::state::launch_failure::LOOK_INTERVAL), one look at a time; such a launch counts as no restart.

use super::{Phase, Plugin, Step};
use crate::state::action::Note;
use crate::state::launch_failure::LaunchFiles;
use rpc_plugin_wire::Generation;
use rpc_plugin_wire::event::EventKind;
use std::time::Duration;

/// When a plugin that was given up is launched again, in words.
pub(super) fn what_follows(look_after: Option<Duration>) -> String {
    match look_after {
        None => "it is not launched again until it is started by hand".to_owned(),
        Some(interval) => format!(
            "it is launched again once its files have changed, which are looked at every {interval:?}, or when it is \
             started by hand"
        ),
    }
}

/// Keeps the fingerprint that the preparation of a generation took, before its outcome is handled.
pub fn found_files(plugin: &mut Plugin, generation: Generation, files: Option<LaunchFiles>) {
    if plugin.preparing == Some(generation) {
        plugin.fault.files = files;
    }
}

/// Handles what a look at the files found: launches the plugin where they have changed, or waits for the next look.
pub fn handle_looked(plugin: &mut Plugin, step: &mut Step<'_>, generation: Generation, files: LaunchFiles) {
    // An operator may have acted meanwhile.
    if plugin.generation != Some(generation) || plugin.phase != Phase::Failed || plugin.phase_timer.is_some()
    {
        return;
    }
    if plugin.fault.files == Some(files) {
        let look_after = plugin.fault.look_after(&plugin.policy);
        return plugin.enter(step, Phase::Failed, look_after);
    }
    let note = Note::new(EventKind::RestartScheduled, "a replacement is launched at once");
    let details = serde_json::json!({"delay_ms": 0, "failures_in_row": 0});
    plugin.note(step, note.reason("its files have changed since it failed").details(details));
    plugin.launch(step);
}
