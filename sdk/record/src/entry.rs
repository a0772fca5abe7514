//! One event on its way to the record: what is said, how it is cut to fit a line, how it is written.
//!
//! What this file deliberately does not do: any I/O.
//!
//! What always holds: after [`Entry::fit`] the line of an entry is at most [`LINE_BYTES_MAX`] bytes;
//! a line has exactly one line end, at its end.

use crate::LINE_BYTES_MAX;
use crate::chain::{Hash, write_hex};
use crate::cut::{ESCAPE_FACTOR, cut, escaped_len};
use crate::time::write_time;
use rpc_plugin_wire::event::{Component, EventKind, Level};
use rpc_plugin_wire::ident::capability_of;
use rpc_plugin_wire::json::write_json;
use rpc_plugin_wire::{Generation, PluginId};
use serde_json::value::{RawValue, to_raw_value};
use std::borrow::Cow;
use std::io::Write;
use std::time::{Duration, SystemTime};

/// What a line has beside its free texts: names of members, time, numbers, ids and names, of which each
/// is at most [`NAME_BYTES`], the hash of the line before, line end. Bytes.
const FRAME_BYTES: usize = 2048;
/// Longest name or id. Bytes of JSON.
const NAME_BYTES: usize = 160;
/// What each free text may take of a line that would be too long; `message` gets what remains.
const METHOD_BYTES: usize = 1024;
const SOCKET_PATH_BYTES: usize = 1024;
const REASON_BYTES: usize = 8 * 1024;
const ERROR_BYTES: usize = 16 * 1024;
const DETAILS_BYTES: usize = 16 * 1024;

/// What ties the events of one call together, in the host's record and in the plugin's own: the
/// generation and the id of the request on the connection. Written `GENERATION.ID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Correlation {
    /// The generation that was asked.
    pub generation: Generation,
    /// The id of the request.
    pub request: u64,
}

type Text = Cow<'static, str>;

/// An event, built up by its methods: `Entry::new(kind).plugin(id).message("…")`.
#[derive(Debug, Clone)]
#[must_use]
pub struct Entry {
    at: SystemTime,
    event: Text,
    component: Component,
    level: Level,
    is_lifecycle: bool,
    plugin_id: Option<PluginId>,
    generation: Option<Generation>,
    pid: Option<u32>,
    socket_path: Option<Text>,
    operation_id: Option<Text>,
    correlation: Option<Correlation>,
    /// The method is one of a capability, which is told too.
    is_call: bool,
    method: Option<Text>,
    status: Option<Text>,
    duration: Option<Duration>,
    error_class: Option<Text>,
    message: Text,
    error: Option<Text>,
    reason: Option<Text>,
    details: Option<Box<RawValue>>,
    /// Stands for `details` with this one member.
    size: Option<(&'static str, u64)>,
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $($(#[$doc])*
        pub fn $name(self, $name: impl Into<Text>) -> Entry {
            Entry { $name: Some($name.into()), ..self }
        })*
    };
}

impl Entry {
    /// An event of the host itself that happens now.
    pub fn new(kind: EventKind) -> Entry {
        let entry = Entry::named(kind.as_str(), kind.component(), kind.level());
        Entry { is_lifecycle: kind.is_lifecycle(), ..entry }
    }

    /// An event that has no [`EventKind`], for records of plugins. `event` is cut at 160 bytes.
    pub fn named(event: impl Into<Text>, component: Component, level: Level) -> Entry {
        Entry {
            at: SystemTime::now(),
            event: event.into(),
            component,
            level,
            is_lifecycle: false,
            plugin_id: None,
            generation: None,
            pid: None,
            socket_path: None,
            operation_id: None,
            correlation: None,
            is_call: false,
            method: None,
            status: None,
            duration: None,
            error_class: None,
            message: Cow::Borrowed(""),
            error: None,
            reason: None,
            details: None,
            size: None,
        }
    }

    /// What `set` makes of it with a value, if there is one: `entry.with(pid, Entry::pid)`.
    pub fn with<T>(self, value: Option<T>, set: impl FnOnce(Entry, T) -> Entry) -> Entry {
        match value {
            Some(value) => set(self, value),
            None => self,
        }
    }

    /// When it happened, if not now.
    pub fn at(self, at: SystemTime) -> Entry {
        Entry { at, ..self }
    }

    /// How much it matters, if not as much as its kind usually does.
    pub fn level(self, level: Level) -> Entry {
        Entry { level, ..self }
    }

    /// The plugin it happened to; it then goes to that plugin's file.
    pub fn plugin(self, plugin_id: PluginId) -> Entry {
        Entry { plugin_id: Some(plugin_id), ..self }
    }

    /// The generation it happened to.
    pub fn generation(self, generation: Generation) -> Entry {
        Entry { generation: Some(generation), ..self }
    }

    /// The process it happened to.
    pub fn pid(self, pid: u32) -> Entry {
        Entry { pid: Some(pid), ..self }
    }

    /// The request it is about.
    pub fn correlation(self, correlation: Correlation) -> Entry {
        Entry { correlation: Some(correlation), ..self }
    }

    /// The method that was called; the capability it belongs to is told with it.
    pub fn call(self, method: impl Into<Text>) -> Entry {
        Entry { is_call: true, method: Some(method.into()), ..self }
    }

    texts! {
        /// The socket it happened on.
        socket_path;
        /// The operation that this is a part of.
        operation_id;
        /// The method it is about.
        method;
        /// How it ended: `ok` or `error`; of a process, its exit status.
        status;
        /// The class of the error: a name of the protocol's error table.
        error_class;
        /// What failed.
        error;
        /// Why it was done.
        reason;
    }

    /// How long it took; written in milliseconds, to the microsecond.
    pub fn duration(self, duration: Duration) -> Entry {
        Entry { duration: Some(duration), ..self }
    }

    /// One sentence for a person.
    pub fn message(self, message: impl Into<Text>) -> Entry {
        Entry { message: message.into(), ..self }
    }

    /// What else a program may want to know, as JSON.
    pub fn details(self, details: Box<RawValue>) -> Entry {
        Entry { details: Some(details), ..self }
    }

    /// The same from a value.
    pub fn details_of(self, details: &serde_json::Value) -> Entry {
        Entry { details: to_raw_value(details).ok(), ..self }
    }

    /// Details of one number, without building JSON for it.
    pub fn size(self, name: &'static str, bytes: u64) -> Entry {
        Entry { size: Some((name, bytes)), ..self }
    }

    /// The plugin whose file it belongs to.
    #[must_use]
    pub fn plugin_id(&self) -> Option<&PluginId> {
        self.plugin_id.as_ref()
    }

    /// How much it matters.
    #[must_use]
    pub fn level_of(&self) -> Level {
        self.level
    }

    /// Whether it tells of the life of host or plugin, or of what an operator did, at level info or above.
    #[must_use]
    pub fn is_lifecycle(&self) -> bool {
        self.is_lifecycle && self.level > Level::Debug
    }

    /// Free texts, with what each may take of a line that would be too long.
    fn texts(&mut self) -> [(Option<&mut Text>, usize); 4] {
        [
            (self.method.as_mut(), METHOD_BYTES),
            (self.socket_path.as_mut(), SOCKET_PATH_BYTES),
            (self.reason.as_mut(), REASON_BYTES),
            (self.error.as_mut(), ERROR_BYTES),
        ]
    }

    /// Names and ids, which are short unless they are made up to be long.
    fn names(&mut self) -> [Option<&mut Text>; 4] {
        [Some(&mut self.event), self.operation_id.as_mut(), self.status.as_mut(), self.error_class.as_mut()]
    }

    /// What the texts and the details take in memory. Bytes.
    fn free_bytes(&self) -> usize {
        let text = |text: &Option<Text>| text.as_ref().map_or(0, |text| text.len());
        text(&self.method)
            + text(&self.socket_path)
            + text(&self.reason)
            + text(&self.error)
            + self.message.len()
            + self.details.as_ref().map_or(0, |details| details.get().len())
    }

    /// The same as JSON. Bytes.
    fn escaped_bytes(&mut self) -> usize {
        let details = self.details.as_ref().map_or(0, |details| details.get().len());
        let texts: usize = self.texts().iter().flat_map(|(text, _)| text).map(|text| escaped_len(text)).sum();
        details + texts + escaped_len(&self.message)
    }

    /// About how much memory it takes. Bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Entry>() + self.free_bytes()
    }

    /// Cuts texts and leaves out details until the line is at most [`LINE_BYTES_MAX`].
    pub fn fit(&mut self) {
        for name in self.names().into_iter().flatten().filter(|name| name.len() > NAME_BYTES / ESCAPE_FACTOR)
        {
            cut(name, NAME_BYTES);
        }
        // Almost every event ends here, without a look at its bytes.
        if self.free_bytes().saturating_mul(ESCAPE_FACTOR) + FRAME_BYTES <= LINE_BYTES_MAX {
            return;
        }
        // What is longer than a line even unescaped is cut without being read to its end.
        if self.free_bytes() + FRAME_BYTES <= LINE_BYTES_MAX
            && self.escaped_bytes() + FRAME_BYTES <= LINE_BYTES_MAX
        {
            return;
        }
        let mut others = 0;
        for (text, bytes_max) in self.texts() {
            if let Some(text) = text {
                cut(text, bytes_max);
                others += escaped_len(text);
            }
        }
        if let Some(details) = &mut self.details {
            let bytes = details.get().len();
            if bytes > DETAILS_BYTES {
                let marker = format!("{{\"cut\":true,\"bytes\":{bytes}}}");
                *details = RawValue::from_string(marker).unwrap_or_default();
            }
            others += details.get().len();
        }
        cut(&mut self.message, LINE_BYTES_MAX - FRAME_BYTES - others);
    }

    /// Appends the line, its line end included: the event under its number and, in a chain, with the hash
    /// of the line before.
    pub fn write_line(&self, seq: u64, prev: Option<&Hash>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        write_time(self.at, out);
        out.push(b'"');
        number(out, "seq", seq);
        plain(out, "level", self.level.as_str());
        plain(out, "component", self.component.as_str());
        text(out, "event", Some(&self.event));
        if let Some(plugin_id) = &self.plugin_id {
            plain(out, "plugin_id", plugin_id.as_str());
        }
        if let Some(generation) = self.generation {
            number(out, "generation_id", generation.get());
        }
        if let Some(pid) = self.pid {
            number(out, "pid", u64::from(pid));
        }
        text(out, "socket_path", self.socket_path.as_ref());
        if let Some(method) = self.method.as_deref().filter(|_| self.is_call) {
            string(out, "capability_id", capability_of(method));
        }
        text(out, "operation_id", self.operation_id.as_ref());
        if let Some(Correlation { generation, request }) = self.correlation {
            // Writing to memory does not fail, here and below.
            let _ = write!(out, ",\"correlation_id\":\"{generation}.{request}\"");
        }
        text(out, "method", self.method.as_ref());
        text(out, "status", self.status.as_ref());
        if let Some(duration) = self.duration {
            let us = duration.as_micros();
            let _ = write!(out, ",\"duration_ms\":{}.{:03}", us / 1000, us % 1000);
        }
        text(out, "error_class", self.error_class.as_ref());
        text(out, "message", Some(&self.message).filter(|message| !message.is_empty()));
        text(out, "error", self.error.as_ref());
        text(out, "reason", self.reason.as_ref());
        if let Some((name, bytes)) = self.size {
            let _ = write!(out, ",\"details\":{{\"{name}\":{bytes}}}");
        } else if let Some(details) = &self.details {
            out.extend_from_slice(b",\"details\":");
            // Raw JSON may have been written with line breaks. They can only stand between its tokens
            // (RFC 8259 section 7), so a space in their place changes nothing but the line.
            out.extend(details.get().bytes().map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { b }));
        }
        if let Some(prev) = prev {
            out.extend_from_slice(b",\"prev\":\"");
            write_hex(prev, out);
            out.push(b'"');
        }
        out.extend_from_slice(b"}\n");
    }
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    key(out, name);
    // A number always has a JSON form.
    let _ = write_json(out, &value);
}

/// A text that needs no escaping.
fn plain(out: &mut Vec<u8>, name: &str, value: &str) {
    key(out, name);
    out.push(b'"');
    out.extend_from_slice(value.as_bytes());
    out.push(b'"');
}

fn string(out: &mut Vec<u8>, name: &str, value: &str) {
    key(out, name);
    // A text always has a JSON form, and memory takes it.
    let _ = write_json(out, value);
}

fn text(out: &mut Vec<u8>, name: &str, value: Option<&Text>) {
    if let Some(value) = value {
        string(out, name, value);
    }
}
