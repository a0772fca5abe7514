//! What a plugin says to its host: `host.log` for the record, `host.event` for whoever listens, and what else it asks
//! (protocol sections 2 and 4).
//!
//! What always holds: it is recorded as what the plugin said, never as an event of the host's; no more of it
//! than the plugin may print; what is refused is counted, and told before the next that is not.

use super::{Plugin, Step};
use crate::state::action::{Action, Note};
use crate::state::fds::Fds;
use crate::state::output::Printed;
use crate::state::session::Asked;
use rpc_plugin_wire::event::{EventKind, Level};
use rpc_plugin_wire::life::{HostEvent, METHOD_EVENT, METHOD_LOG, PluginLog};
use rpc_plugin_wire::message::params_into;
use rpc_plugin_wire::{ErrorCode, ErrorObject};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// Bytes of the name of an event.
const EVENT_NAME_BYTES_MAX: usize = 64;

impl Plugin {
    /// What it asks: what concerns it alone is answered here, the rest is others'.
    pub(super) fn handle_asked(&mut self, step: &mut Step<'_>, asked: Box<Asked>) {
        let Some(generation) = self.generation else { return };
        let said = match asked.method.as_str() {
            METHOD_LOG | METHOD_EVENT => self.take_said(step, &asked.method, asked.params.as_deref()),
            _ => return step.actions.push_back(Action::Asked(self.key, generation, asked)),
        };
        self.refuse_streams(step, asked.streams);
        let answer = said.map(|()| RawValue::from_string("{}".to_owned()).unwrap_or_default());
        // What follows from it is seen by whoever handles this event.
        if let Some(session) = self.session_mut(generation) {
            let answer = answer.as_deref().map_err(Clone::clone);
            session.answer(&mut step.cx(), &asked.id, answer, Fds::new());
        }
    }

    /// Has streams that nobody takes be ended.
    pub(super) fn refuse_streams(&self, step: &mut Step<'_>, numbers: Vec<u64>) {
        if let Some(generation) = self.generation.filter(|_| !numbers.is_empty()) {
            step.actions.push_back(Action::RefuseStreams(self.key, generation, numbers));
        }
    }

    /// The same where nobody waits for an answer: what is malformed is told to who reads the record.
    pub(super) fn take_told(&mut self, step: &mut Step<'_>, method: &str, params: Option<&RawValue>) {
        match self.take_said(step, method, params) {
            Err(error) if error.kind() != ErrorCode::Overloaded => {
                let text = format!("a {method} of it is malformed");
                let note = Note::new(EventKind::PluginLogged, text).error(error.message);
                self.note(step, note.level(Level::Warn));
            }
            _ => {}
        }
    }

    /// Puts it on record, or says why not.
    fn take_said(
        &mut self,
        step: &mut Step<'_>,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<(), ErrorObject> {
        self.admit_said(step, params)?;
        let note = if method == METHOD_LOG { note_of(params_into(params)?) } else { event_of(params)? };
        self.note(step, note);
        Ok(())
    }

    fn admit_said(&mut self, step: &mut Step<'_>, params: Option<&RawValue>) -> Result<(), ErrorObject> {
        let mut told = Vec::new();
        let bytes = params.map_or(0, |params| params.get().len());
        let is_refused = self.log_rate.refuse(step.now, 1, bytes, &mut told);
        for printed in told {
            if let Printed::Dropped { lines, bytes } = printed {
                // Both have one allowance.
                let text = format!(
                    "{lines} events of {METHOD_LOG} or {METHOD_EVENT} came too fast; see output_bytes_per_second_max"
                );
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

fn event_of(params: Option<&RawValue>) -> Result<Note, ErrorObject> {
    let HostEvent { name, data } = params_into(params)?;
    if name.is_empty() || name.len() > EVENT_NAME_BYTES_MAX || name.chars().any(char::is_control) {
        let text =
            format!("the name of an event has 1 to {EVENT_NAME_BYTES_MAX} bytes, none of them a control");
        return Err(ErrorObject::new(ErrorCode::InvalidParams, text));
    }
    let details = match data {
        Some(data) => json!({"name": name, "data": data}),
        None => json!({"name": name}),
    };
    Ok(Note::new(EventKind::PluginEvent, name).details(details))
}
