//! What a plugin says for the record (`host.log`) and for whoever listens (`host.event`; protocol sections 2 and 4), and what
//! the record says of calls of it.
//!
//! What always holds: it is recorded as what the plugin said, never as an event of the host's; no more of it
//! than the plugin may print; what is refused is counted, and told before the next that is not.

use super::{Plugin, Step};
use crate::state::action::{Action, CallRecord, Note};
use crate::state::output::{Printed, Rate};
use crate::state::policy::RpcAudit;
use crate::state::time::Time;
use rpc_plugin_peer::{FDS_LOST, Party};
use rpc_plugin_wire::brief::brief_call_error;
use rpc_plugin_wire::cut::shown;
use rpc_plugin_wire::event::{EventKind, Level};
use rpc_plugin_wire::life::{HostEvent, METHOD_EVENT, METHOD_LOG, PluginLog};
use rpc_plugin_wire::limits::METHOD_BYTES_MAX;
use rpc_plugin_wire::message::params_into;
use rpc_plugin_wire::phrase::count;
use rpc_plugin_wire::{CallError, ErrorCode, ErrorObject};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::time::Duration;

/// Bytes of the name of an event.
const EVENT_NAME_BYTES_MAX: usize = 64;

/// Bytes of the params of `host.log` beyond which its details are not kept. No line of the record holds more.
const LOG_BYTES_MAX: usize = 64 * 1024;

/// The log and events of one plugin, and its allowance for both.
#[derive(Debug)]
pub(super) struct PluginEvents {
    rate: Rate,
}

impl PluginEvents {
    /// With an allowance of so many bytes per second.
    pub(super) fn new(bytes_per_second_max: usize) -> PluginEvents {
        PluginEvents { rate: Rate::new(bytes_per_second_max) }
    }

    /// Changes the allowance.
    pub(super) fn set_bytes_per_second_max(&mut self, bytes_per_second_max: usize) {
        self.rate.set_bytes_per_second_max(bytes_per_second_max);
    }

    /// Turns the params of `host.log` or `host.event` into a note, or says why they are refused. With it, the note of
    /// what was refused before, to be recorded first.
    pub(super) fn take(
        &mut self,
        now: Time,
        method: &str,
        params: Option<&RawValue>,
    ) -> (Option<Note>, Result<Note, ErrorObject>) {
        let mut printed = Vec::new();
        let bytes = params.map_or(0, |params| params.get().len());
        let is_refused = self.rate.refuse(now, 1, bytes, &mut printed);
        let dropped = printed.into_iter().find_map(|printed| match printed {
            Printed::Dropped { lines, bytes } => Some(note_of_dropped(lines, bytes)),
            _ => None,
        });
        let note = if is_refused {
            Err(ErrorObject::new(ErrorCode::Overloaded, "it comes too fast, and is not recorded"))
        } else if method == METHOD_LOG {
            params_into(params).map(|log| note_of(log, bytes))
        } else {
            event_of(params)
        };
        (dropped, note)
    }
}

/// The note of a notification that was refused, where it is its sender's fault: there is no answer that could say it.
pub(super) fn note_of_malformed(method: &str, error: ErrorObject) -> Option<Note> {
    let text = format!("a {method} of it is malformed");
    let note = Note::new(EventKind::PluginLogged, text).level(Level::Warn);
    (error.kind() != ErrorCode::Overloaded).then(|| note.error(error.message))
}

/// The note of descriptors of a plugin's frame that this process could not open, or could open again.
pub(super) fn note_of_fds(lacks: bool) -> Note {
    if lacks {
        let text =
            "file descriptors that a plugin passed could not be opened; its call ended, and others go on";
        Note::new(EventKind::HostShortage, text).error(FDS_LOST)
    } else {
        Note::new(EventKind::HostShortageOver, "file descriptors that a plugin passed could be opened again")
    }
}

/// The note of an answer to a call that had ended, by which the plugin `gave_up` where it was told of that in time.
pub(super) fn note_of_late(gave_up: bool) -> Note {
    if gave_up {
        return Note::new(EventKind::LateAnswer, "it gave the call up, as it was told").level(Level::Debug);
    }
    Note::new(EventKind::LateAnswer, "an answer came after its call had ended")
}

/// The note of what came too fast. Log and events have one allowance.
fn note_of_dropped(lines: u64, bytes: u64) -> Note {
    let text = format!(
        "{} of {METHOD_LOG} or {METHOD_EVENT} came too fast; see output_bytes_per_second_max",
        count(lines, "event")
    );
    let details = json!({"stream": METHOD_LOG, "lines": lines, "bytes": bytes});
    Note::new(EventKind::OutputDropped, text).details(details)
}

/// The note of what a plugin logged in params of so many bytes.
fn note_of(log: PluginLog, bytes: usize) -> Note {
    let PluginLog { level, message, event, method, request, error, details } = log;
    let mut note = Note::new(EventKind::PluginLogged, message).level(level);
    note.method = method.map(|method| shown(&method, METHOD_BYTES_MAX).into_owned());
    note = error.into_iter().fold(note, Note::error);
    let cut = || json!({"cut": true, "bytes": bytes});
    let details = details.map(|details| if bytes > LOG_BYTES_MAX { cut() } else { details });
    let mut members = Map::new();
    let event = event.filter(|event| event != "log");
    let event = event.map(|event| Value::from(shown(&event, EVENT_NAME_BYTES_MAX)));
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

/// A call as its record names it: the id of its request, if it was sent, and the method.
pub(super) type Recorded = (Option<u64>, Cow<'static, str>);

/// The record of a step of a call of that plugin.
pub(super) fn call_record(
    plugin: &Plugin,
    kind: EventKind,
    caller: Party,
    (request, method): Recorded,
    bytes: usize,
) -> CallRecord {
    CallRecord {
        kind,
        caller,
        left_out: 0,
        plugin_id: plugin.id().clone(),
        generation: plugin.generation(),
        pid: plugin.pid(),
        method,
        request,
        bytes: bytes as u64,
        took: Duration::ZERO,
        error: None,
    }
}

/// Counts the end of a call, and puts it on record where the policy says so; whether it did.
pub(super) fn record_end(
    plugin: &mut Plugin,
    step: &mut Step<'_>,
    recorded: Recorded,
    caller: Party,
    took: Duration,
    result: &Result<Box<RawValue>, CallError>,
) -> bool {
    if result.is_err() {
        plugin.counts.calls_failed += 1;
    }
    let is_recorded = match plugin.policy.rpc_audit {
        RpcAudit::Off => false,
        RpcAudit::Failures => result.is_err(),
        RpcAudit::All => true,
    };
    if is_recorded {
        let (kind, bytes) = match result {
            Ok(raw) => (EventKind::CallSucceeded, raw.get().len()),
            Err(error) if error.is_timeout() => (EventKind::CallTimedOut, 0),
            Err(_) => (EventKind::CallFailed, 0),
        };
        let mut record = call_record(plugin, kind, caller, recorded, bytes);
        (record.took, record.error) = (took, result.as_ref().err().map(brief_call_error));
        step.actions.push_back(Action::Called(Box::new(record)));
    }
    is_recorded
}
