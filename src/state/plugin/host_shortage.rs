//! Launches that wait because the host lacks something: descriptors, room on a disk, a thread.
//!
//! What always holds: waiting counts as no restart, is never given up, and is told once.

use super::{Phase, Plugin, Step};
use crate::state::action::Note;
use rpc_plugin_wire::Generation;
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::life::Desired;

/// What was to be done failed for want of something that the host lacks. It is done again until the host has it: it
/// counts as no restart, and is never given up.
pub(super) fn wait_for_host(plugin: &mut Plugin, step: &mut Step<'_>, reason: String) {
    plugin.last_error = Some(reason.clone());
    if plugin.desired == Desired::Down {
        return plugin.enter(step, Phase::Stopped, None);
    }
    tell(plugin, step, reason);
    let at = plugin.shortage.next_at().unwrap_or(step.now);
    plugin.enter(step, Phase::Backoff(at), Some(at.since(step.now)));
}

/// No thread took its preparation for as long as one may take: others hang, which is no fault of the plugin.
pub(super) fn wait_for_thread(plugin: &mut Plugin, step: &mut Step<'_>) {
    let timeout = plugin.policy.prepare_timeout;
    let reason = format!("for {timeout:?} no thread was free to prepare it; does a file system hang?");
    tell(plugin, step, reason);
    plugin.enter(step, Phase::Preparing, Some(timeout));
}

fn tell(plugin: &mut Plugin, step: &mut Step<'_>, reason: String) {
    if plugin.shortage.failed(step.now) {
        let text = "the host lacks what its launch takes; it is tried again until there is enough";
        plugin.note(step, Note::new(EventKind::HostShortage, text).error(reason));
    }
}

/// The preparation of a generation waits for a thread, or one has begun with it: its deadline runs from then on.
pub fn preparation_waits(plugin: &mut Plugin, step: &mut Step<'_>, generation: Generation, waits: bool) {
    if plugin.preparing == Some(generation) && plugin.phase == Phase::Preparing {
        plugin.waits_for_thread = waits;
        plugin.enter(step, Phase::Preparing, Some(plugin.policy.prepare_timeout));
    }
}
