//! What a plugin has for the host's record: `host.log` (protocol section 4).
//!
//! What always holds: it is recorded as what the plugin said, never as an event of the host's; no more of it
//! than the plugin may print; what is refused is counted, and told before the next that is not.

use super::{Plugin, Step};
use crate::state::action::Note;
use crate::state::output::Printed;
use rpc_plugin_wire::event::{EventKind, Level};
use rpc_plugin_wire::life::{METHOD_LOG, PluginLog};
use rpc_plugin_wire::message::params_into;
use rpc_plugin_wire::{ErrorCode, ErrorObject};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

impl Plugin {
    /// Puts it on record, or says why not.
    pub(super) fn take_log(
        &mut self,
        step: &mut Step<'_>,
        params: Option<&RawValue>,
    ) -> Result<(), ErrorObject> {
        self.admit_log(step, params)?;
        let log: PluginLog = params_into(params)?;
        self.note(step, note_of(log));
        Ok(())
    }

    /// The same where nobody waits for an answer: what is malformed is told to who reads the record.
    pub(super) fn take_log_unasked(&mut self, step: &mut Step<'_>, params: Option<&RawValue>) {
        match self.take_log(step, params) {
            Err(error) if error.kind() != ErrorCode::Overloaded => {
                let text = format!("a {METHOD_LOG} of it is malformed");
                let note = Note::new(EventKind::PluginLogged, text).error(error.message);
                self.note(step, note.level(Level::Warn));
            }
            _ => {}
        }
    }

    fn admit_log(&mut self, step: &mut Step<'_>, params: Option<&RawValue>) -> Result<(), ErrorObject> {
        let mut told = Vec::new();
        let bytes = params.map_or(0, |params| params.get().len());
        let is_refused = self.log_rate.refuse(step.now, 1, bytes, &mut told);
        for printed in told {
            if let Printed::Dropped { lines, bytes } = printed {
                let text =
                    format!("{lines} events of {METHOD_LOG} came too fast; see output_bytes_per_second_max");
                let details = json!({"stream": METHOD_LOG, "lines": lines, "bytes": bytes});
                self.note(step, Note::new(EventKind::OutputDropped, text).details(details));
            }
        }
        if is_refused {
            return Err(ErrorObject::new(ErrorCode::Overloaded, "it comes too fast, and is not recorded"));
        }
        Ok(())
    }
}

fn note_of(log: PluginLog) -> Note {
    let PluginLog { level, message, event, method, request, error, details } = log;
    let mut note = Note::new(EventKind::PluginLogged, message).level(level);
    (note.method, note.error) = (method, error);
    let mut members = Map::new();
    let event = event.filter(|event| event != "log").map(Value::from);
    for (name, value) in [("event", event), ("request", request.map(Value::from)), ("details", details)] {
        if let Some(value) = value {
            members.insert(name.to_owned(), value);
        }
    }
    note.details = (!members.is_empty()).then_some(Value::Object(members));
    note
}
