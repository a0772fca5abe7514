//! A plugin of the host that takes events: capability `log-sink`, method `log-sink.write`.
//!
//! What it deliberately does not do: keep the host alive, or launch the plugin.
//!
//! What always holds: an event counts as taken when the plugin has answered the call that it was in with a result.

use crate::engine::{Engine, PostError, ReplySlot};
use crate::eventlog::sinks::{Event, EventTarget, SinkFault};
use crate::reactor::{NewCall, Reactor};
use crate::state::call::{CallRequest, Target};
use rpc_plugin_wire::message::raw_into_text;
use rpc_plugin_wire::{CallError, ErrorCode, PluginId};
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;

/// Takes `{"sink": NAME, "events": [RECORD, …]}`; its result says that they are kept.
const METHOD: &str = "log-sink.write";

/// A sink that calls a plugin with events.
pub(super) struct PluginSink {
    sink: String,
    id: PluginId,
    engine: Arc<Engine<Reactor>>,
    /// Events in one call; fewer once a call was too large.
    events_max: usize,
}

impl PluginSink {
    pub(super) fn new(sink: &str, id: PluginId, engine: Arc<Engine<Reactor>>) -> PluginSink {
        PluginSink { sink: sink.to_owned(), id, engine, events_max: usize::MAX }
    }

    fn call(&self, events: &[Event], timeout: Duration) -> Result<(), CallError> {
        let events: Vec<&str> = events.iter().map(|event| event.text.as_str()).collect();
        // A name has no character that JSON escapes.
        let params = format!("{{\"sink\":\"{}\",\"events\":[{}]}}", self.sink, events.join(","));
        let not_sent = |code, text: String| CallError::not_sent(code, text);
        let params = RawValue::from_string(params)
            .map_err(|error| not_sent(ErrorCode::InternalError, error.to_string()))?;
        let slot = ReplySlot::default();
        let mut request = CallRequest::new(Target::Plugin(self.id.clone()), METHOD);
        request.params = Some(raw_into_text(params));
        request.timeout = Some(timeout);
        let call = NewCall { request: &mut request, reply: slot.sender() };
        let end = self.engine.call(call, &slot).map_err(|error| match error {
            PostError::Full => not_sent(ErrorCode::Overloaded, "too much is asked of the host".into()),
            PostError::Ended => not_sent(ErrorCode::Unavailable, "the host has ended".into()),
        })?;
        match end {
            Some(end) => end.result.map(drop),
            None => Err(not_sent(ErrorCode::PluginLost, "the host ended during the call".into())),
        }
    }
}

impl EventTarget for PluginSink {
    fn deliver(&mut self, events: &[Event], timeout: Duration) -> Result<(), SinkFault> {
        let mut taken = 0;
        while let Some(rest) = events.get(taken..).filter(|rest| !rest.is_empty()) {
            let part = rest.get(..self.events_max).unwrap_or(rest);
            match self.call(part, timeout) {
                Ok(()) => taken += part.len(),
                Err(error) if error.code == ErrorCode::TooLarge && part.len() > 1 => {
                    self.events_max = part.len() / 2;
                }
                Err(error) => {
                    let is_refused = error.code == ErrorCode::TooLarge;
                    let fault = SinkFault::down(taken, format!("plugin {}: {error}", self.id));
                    return Err(SinkFault { is_refused, ..fault });
                }
            }
        }
        Ok(())
    }
}
