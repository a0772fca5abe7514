//! One event of a plugin's own record, until it is written.
//!
//! What always holds: params and results are in none, nor is the text of an error about params, which quotes
//! them.

use rpc_plugin_record::{Correlation, Entry};
use rpc_plugin_wire::event::{Component, Level};
use rpc_plugin_wire::{ErrorCode, Generation, PluginId};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Failures of handlers that are recorded in a second; how many more there were is told with the next.
const FAILURES_PER_SECOND_MAX: u64 = 100;

/// The call that an event is about.
#[derive(Clone)]
pub(crate) struct OfCall {
    pub(crate) method: Arc<str>,
    /// The id of the request; `None` where it is no number.
    pub(crate) request: Option<u64>,
}

/// Why a handler failed.
#[derive(Debug)]
pub(crate) struct HandlerFailure {
    pub(crate) code: ErrorCode,
    pub(crate) text: String,
    pub(crate) is_panic: bool,
}

pub(crate) struct Event {
    at: SystemTime,
    event: Cow<'static, str>,
    component: Component,
    pub(super) level: Level,
    message: String,
    error: Option<String>,
    details: Option<Box<RawValue>>,
    pub(super) call: Option<OfCall>,
    /// How a call ended: how long it took, and the class of its error.
    end: Option<(Duration, Option<&'static str>)>,
}

impl Event {
    pub(crate) fn new(
        event: impl Into<Cow<'static, str>>,
        component: Component,
        level: Level,
        message: impl Into<String>,
    ) -> Event {
        Event {
            at: SystemTime::now(),
            event: event.into(),
            component,
            level,
            message: message.into(),
            error: None,
            details: None,
            call: None,
            end: None,
        }
    }

    pub(super) fn of_call(of: OfCall, took: Duration, failure: Option<&HandlerFailure>) -> Event {
        let (name, level, said) = match failure {
            None => ("handler_succeeded", Level::Debug, "a handler gave its result"),
            Some(failure) if failure.is_panic => ("handler_failed", Level::Error, "a handler panicked"),
            // Its caller gave up: nothing is wrong with the plugin.
            Some(failure) if failure.code == ErrorCode::Cancelled => {
                ("handler_failed", Level::Info, "a handler stopped because its call was cancelled")
            }
            Some(_) => ("handler_failed", Level::Warn, "a handler failed"),
        };
        let mut event = Event::new(name, Component::Rpc, level, said);
        // What is wrong with params is said by quoting them.
        event.error =
            failure.filter(|failure| failure.code != ErrorCode::InvalidParams).map(|f| f.text.clone());
        event.end = Some((took, failure.map(|failure| failure.code.name())));
        event.call = Some(of);
        event
    }

    pub(crate) fn error(self, error: impl Into<String>) -> Event {
        Event { error: Some(error.into()), ..self }
    }

    pub(crate) fn details<T: Serialize + ?Sized>(self, details: &T) -> Event {
        Event { details: to_raw_value(details).ok(), ..self }
    }

    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let details = self.details.as_ref().map_or(0, |details| details.get().len());
        let error = self.error.as_ref().map_or(0, String::len);
        size_of::<Event>() + self.event.len() + self.message.len() + error + details
    }

    /// As it goes into a file.
    pub(super) fn into_entry(self, plugin_id: &PluginId, generation: Generation, pid: u32) -> Entry {
        let mut entry =
            Entry::named(self.event, self.component, self.level).at(self.at).message(self.message);
        entry = entry.plugin(plugin_id.clone()).generation(generation).pid(pid);
        if let Some(OfCall { method, request }) = self.call {
            let correlation = request.map(|request| Correlation { generation, request });
            entry = entry.call(method.to_string()).with(correlation, Entry::correlation);
        }
        if let Some((took, class)) = self.end {
            let status = if class.is_some() { "error" } else { "ok" };
            entry = entry.duration(took).status(status).with(class, Entry::error_class);
        }
        entry.with(self.error, Entry::error).with(self.details, Entry::details)
    }

    /// As it goes to the host: see `docs/protocol.md`, section 4.
    pub(super) fn to_params(&self) -> Option<Box<RawValue>> {
        #[derive(Serialize)]
        struct Params<'a> {
            level: &'static str,
            message: &'a str,
            event: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            method: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            request: Option<u64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            error: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            details: Option<&'a RawValue>,
        }
        let params = Params {
            level: self.level.as_str(),
            message: &self.message,
            event: &self.event,
            method: self.call.as_ref().map(|call| &*call.method),
            request: self.call.as_ref().and_then(|call| call.request),
            error: self.error.as_deref(),
            details: self.details.as_deref(),
        };
        to_raw_value(&params).ok()
    }
}

/// Failures within a second.
#[derive(Default)]
pub(super) struct Rate {
    since: Option<Instant>,
    count: u64,
    left_out: u64,
}

impl Rate {
    /// Whether there is room for one more, and how many were left out before it.
    pub(super) fn take(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1)) {
            (self.since, self.count) = (Some(now), 0);
        }
        self.count += 1;
        if self.count > FAILURES_PER_SECOND_MAX {
            self.left_out += 1;
            return None;
        }
        Some(std::mem::take(&mut self.left_out))
    }
}
