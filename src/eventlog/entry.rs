//! One event on its way to the record: what is said, how it is cut to fit a line, how it is written.
//!
//! What this file deliberately does not do: any I/O.
//!
//! What always holds: after [`Entry::fit`] the line of an entry is at most [`LINE_BYTES_MAX`] bytes;
//! a line has exactly one line end, at its end.

use super::LINE_BYTES_MAX;
use rpc_plugin_wire::event::{EventKind, Level, Record};
use rpc_plugin_wire::{Generation, PluginId};
use serde::Serialize;
use serde_json::value::RawValue;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a line has beside its free texts: names of members, time, ids, numbers, line end. Bytes.
const FRAME_BYTES: usize = 512;
/// One byte of text is at most this many bytes of JSON: `\u001b`.
const ESCAPE_FACTOR: usize = 6;
/// What each free text may take of a line that would be too long; `message` gets what remains.
const METHOD_BYTES: usize = 1024;
const SOCKET_PATH_BYTES: usize = 1024;
const REASON_BYTES: usize = 8 * 1024;
const ERROR_BYTES: usize = 16 * 1024;
const DETAILS_BYTES: usize = 16 * 1024;
/// Longest marker that says how much was cut. Bytes.
const MARKER_BYTES: usize = 64;

/// An event, built up by its methods: `Entry::new(kind).plugin(id).message("…")`.
#[derive(Debug, Clone)]
#[must_use]
pub struct Entry {
    pub(crate) at: SystemTime,
    pub(crate) kind: EventKind,
    pub(crate) level: Option<Level>,
    pub(crate) plugin_id: Option<PluginId>,
    pub(crate) generation: Option<Generation>,
    pub(crate) pid: Option<u32>,
    pub(crate) socket_path: Option<String>,
    pub(crate) method: Option<String>,
    pub(crate) message: String,
    pub(crate) error: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) details: Option<Box<RawValue>>,
}

impl Entry {
    /// An event of the host itself that happens now.
    pub fn new(kind: EventKind) -> Entry {
        Entry {
            at: SystemTime::now(),
            kind,
            level: None,
            plugin_id: None,
            generation: None,
            pid: None,
            socket_path: None,
            method: None,
            message: String::new(),
            error: None,
            reason: None,
            details: None,
        }
    }

    /// When it happened, if not now.
    pub fn at(self, at: SystemTime) -> Entry {
        Entry { at, ..self }
    }

    /// How much it matters, if not as much as its kind usually does.
    pub fn level(self, level: Level) -> Entry {
        Entry { level: Some(level), ..self }
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

    /// The socket it happened on.
    pub fn socket_path(self, socket_path: impl Into<String>) -> Entry {
        Entry { socket_path: Some(socket_path.into()), ..self }
    }

    /// The method it is about.
    pub fn method(self, method: impl Into<String>) -> Entry {
        Entry { method: Some(method.into()), ..self }
    }

    /// One sentence for a person.
    pub fn message(self, message: impl Into<String>) -> Entry {
        Entry { message: message.into(), ..self }
    }

    /// What failed.
    pub fn error(self, error: impl Into<String>) -> Entry {
        Entry { error: Some(error.into()), ..self }
    }

    /// Why it was done.
    pub fn reason(self, reason: impl Into<String>) -> Entry {
        Entry { reason: Some(reason.into()), ..self }
    }

    /// What else a program may want to know, as JSON.
    pub fn details(self, details: Box<RawValue>) -> Entry {
        Entry { details: Some(details), ..self }
    }

    /// The same from anything that has a JSON form; what has none is left out.
    pub fn details_of(self, details: &impl Serialize) -> Entry {
        Entry { details: serde_json::value::to_raw_value(details).ok(), ..self }
    }

    /// Whose file it belongs to.
    pub(super) fn whose(&self) -> Option<PluginId> {
        self.plugin_id.clone()
    }

    /// Free texts, with what each may take of a line that would be too long.
    fn texts(&mut self) -> [(Option<&mut String>, usize); 4] {
        [
            (self.method.as_mut(), METHOD_BYTES),
            (self.socket_path.as_mut(), SOCKET_PATH_BYTES),
            (self.reason.as_mut(), REASON_BYTES),
            (self.error.as_mut(), ERROR_BYTES),
        ]
    }

    /// What the free texts and the details take in memory. Bytes.
    fn free_bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
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
    pub(super) fn bytes(&self) -> usize {
        size_of::<Entry>() + self.free_bytes()
    }

    /// Cuts texts and leaves out details until the line is at most [`LINE_BYTES_MAX`].
    pub(super) fn fit(&mut self) {
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

    /// Appends the line, its line end included. False, and nothing appended, if it has no JSON form.
    pub(super) fn write_line(self, into: &mut Vec<u8>) -> bool {
        let start = into.len();
        let written = serde_json::to_writer(&mut *into, &self.into_record()).is_ok();
        if written {
            into.push(b'\n');
        } else {
            into.truncate(start);
        }
        written
    }

    fn into_record(self) -> Record {
        Record {
            time: time_text(self.at),
            level: self.level.unwrap_or(self.kind.level()).as_str().to_owned(),
            component: self.kind.component().as_str().to_owned(),
            event: self.kind.as_str().to_owned(),
            plugin_id: self.plugin_id,
            generation_id: self.generation,
            pid: self.pid,
            socket_path: self.socket_path,
            method: self.method,
            message: self.message,
            error: self.error,
            reason: self.reason,
            details: self.details.map(on_one_line),
        }
    }
}

/// RFC 3339 in UTC with milliseconds. Times that it cannot name become the nearest that it can.
fn time_text(at: SystemTime) -> String {
    // 9999-12-31T23:59:59Z: RFC 3339 has four digits for the year.
    let last = UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    humantime::format_rfc3339_millis(at.clamp(UNIX_EPOCH, last)).to_string()
}

/// Raw JSON may have been written with line breaks. They can only stand between its tokens (RFC 8259
/// section 7), so a space in their place changes nothing but the line.
fn on_one_line(details: Box<RawValue>) -> Box<RawValue> {
    if !details.get().contains(['\n', '\r']) {
        return details;
    }
    RawValue::from_string(details.get().replace(['\n', '\r'], " ")).unwrap_or_default()
}

/// What a character takes inside a JSON string as serde_json writes it. Bytes.
fn escaped_char_len(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => ESCAPE_FACTOR,
        c => c.len_utf8(),
    }
}

fn escaped_len(text: &str) -> usize {
    text.chars().map(escaped_char_len).sum()
}

/// Cuts `text` to at most `bytes_max` bytes of JSON, with a marker that says how much is gone.
fn cut(text: &mut String, bytes_max: usize) {
    if text.len() <= bytes_max && escaped_len(text) <= bytes_max {
        return;
    }
    let whole = text.len();
    let mut left = bytes_max.saturating_sub(MARKER_BYTES);
    let end = text.char_indices().find_map(|(at, c)| match left.checked_sub(escaped_char_len(c)) {
        Some(rest) => {
            left = rest;
            None
        }
        None => Some(at),
    });
    text.truncate(end.unwrap_or(whole));
    text.push_str(&format!("… [{} bytes cut]", whole - text.len()));
    text.shrink_to_fit();
}
