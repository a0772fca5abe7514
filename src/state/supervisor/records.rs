//! On whose record it stands what one plugin does to another.
//!
//! What this file is for: finding the plugin that a call or an event is to be charged to. What it deliberately does not do:
//! say how much each may cause; `failed_calls` does.

use super::Supervisor;
use crate::state::action::{Action, CallRecord, Note};
use crate::state::call::{CallEnd, CallRequest, Target};
use crate::state::keys::{CallKey, PluginKey};
use crate::state::policy::RpcAudit;
use crate::state::time::Time;
use rpc_plugin_peer::Party;
use rpc_plugin_wire::CallError;

impl Supervisor {
    /// Puts a call that failed on the record of the plugin that made it. Whether it goes on the record of the plugin that was
    /// called too, and `record` then says how many before it did not.
    pub fn place_call(&mut self, now: Time, record: &mut CallRecord) -> bool {
        let (Some(error), Party::Plugin(caller)) = (&record.error, &record.caller) else { return true };
        let key = self.find(caller).filter(|_| *caller != record.plugin_id);
        // It called itself, or has been given up meanwhile.
        let Some(key) = key else { return true };
        self.note_failed(now, key, record.plugin_id.as_str(), &record.method, error);
        let left_out = self.take_elsewhere(now, key);
        record.left_out = left_out.unwrap_or_default();
        left_out.is_some()
    }

    /// Whether a note goes on the record of the plugin that it concerns, for all that another plugin caused it.
    pub fn place_note(&mut self, now: Time, note: &Note) -> bool {
        let Some(Party::Plugin(by)) = &note.by else { return true };
        let key = self.find(by).filter(|_| note.plugin_id.as_ref() != Some(by));
        key.is_none_or(|key| self.take_elsewhere(now, key).is_some())
    }

    /// Whether one more event that a plugin causes may stand on the record of another; how many before it did not.
    fn take_elsewhere(&mut self, now: Time, key: PluginKey) -> Option<u64> {
        let plugin = self.plugins.get(&key)?;
        self.caller_records.of(key, plugin.policy()).take_elsewhere(now)
    }

    /// Puts a call on the record of the plugin that made it, as its policy says.
    fn note_failed(&mut self, now: Time, key: PluginKey, callee: &str, method: &str, error: &CallError) {
        let Some(plugin) = self.plugins.get(&key) else { return };
        if plugin.policy().rpc_audit == RpcAudit::Off {
            return;
        }
        let (dropped, failed) =
            self.caller_records.of(key, plugin.policy()).notes(now, callee, method, error);
        for mut note in [dropped, failed].into_iter().flatten() {
            (note.plugin_id, note.generation, note.pid) =
                (Some(plugin.id().clone()), plugin.generation(), plugin.pid());
            self.actions.push_back(Action::Note(Box::new(note)));
        }
    }

    /// Ends a call that is handed to no plugin, on the record of the plugin that made it, if one did.
    pub fn refuse_call(&mut self, now: Time, key: CallKey, request: &CallRequest, error: CallError) {
        let error = match &request.target {
            Target::Plugin(id) => error.at(id, None),
            Target::Capability(_) => error,
        };
        let end = CallEnd::refused(error);
        self.refused_on_record(now, request, &end);
        self.actions.push_back(Action::Complete(key, end));
    }

    /// Puts a call that no plugin was asked for on the record of the plugin that made it, if one did.
    pub(super) fn refused_on_record(&mut self, now: Time, request: &CallRequest, end: &CallEnd) {
        let (Party::Plugin(caller), Err(error)) = (&request.caller, &end.result) else { return };
        let Some(key) = self.find(caller) else { return };
        let callee = match &request.target {
            Target::Plugin(id) => id.as_str(),
            Target::Capability(name) => name,
        };
        self.note_failed(now, key, callee, &request.method, error);
    }
}
