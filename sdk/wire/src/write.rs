//! Messages as frames: each function appends one line.
//!
//! What it deliberately does not do: check what it is given; a sender does, before.
//!
//! What always holds: what is appended is one frame and one line end, and the members stand in the order that
//! the quick reader in `envelope.rs` knows.

use crate::chain::Chain;
use crate::error::ErrorObject;
use crate::request_id::RequestId;
use serde::Serialize;
use serde_json::value::RawValue;

/// Appends JSON as one line.
fn push_text(out: &mut Vec<u8>, json: &str) {
    let at = out.len();
    out.extend_from_slice(json.as_bytes());
    to_one_line(out.get_mut(at..).unwrap_or_default());
}

/// Makes JSON one line: a raw line end, which can only stand between tokens, becomes a space.
pub fn to_one_line(mut json: &mut [u8]) {
    while let Some(at) = memchr::memchr(b'\n', json) {
        let (before, after) = std::mem::take(&mut json).split_at_mut(at + 1);
        if let Some(line_end) = before.last_mut() {
            *line_end = b' ';
        }
        json = after;
    }
}

/// Appends a value that cannot fail to serialise: ids, names, error objects.
pub(crate) fn push_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let at = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        debug_assert!(false, "an envelope member does not serialise");
        out.truncate(at);
        out.extend_from_slice(b"null");
    }
}

/// A request that is to be written. `NewRequest { id, method, ..NewRequest::default() }` is the least.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewRequest<'a> {
    /// Unique among the sender's unanswered requests.
    pub id: u64,
    /// What to call.
    pub method: &'a str,
    /// An object in JSON.
    pub params: Option<&'a str>,
    /// Time left for the call from now. Milliseconds.
    pub deadline_ms: Option<u64>,
    /// Whether `rpc.progress` is wanted.
    pub progress: bool,
    /// File descriptors that travel with the frame.
    pub fds: usize,
    /// The calls that led to this one.
    pub chain: &'a Chain,
    /// The streams in band that it brings, instead of descriptors.
    pub streams: &'a [u64],
}

/// Appends the frame of a request, line end included.
pub fn write_request(out: &mut Vec<u8>, request: &NewRequest<'_>) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    push_json(out, &request.id);
    out.extend_from_slice(b",\"method\":");
    push_json(out, request.method);
    if let Some(deadline_ms) = request.deadline_ms {
        out.extend_from_slice(b",\"deadline_ms\":");
        push_json(out, &deadline_ms);
    }
    if request.progress {
        out.extend_from_slice(b",\"progress\":true");
    }
    push_fds(out, request.fds);
    push_streams(out, request.streams);
    if !request.chain.is_empty() {
        out.extend_from_slice(b",\"chain\":");
        push_json(out, request.chain);
    }
    push_params(out, request.params);
    out.extend_from_slice(b"}\n");
}

/// Appends the frame of a notification, line end included.
pub fn write_notification(out: &mut Vec<u8>, method: &str, params: Option<&str>) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"method\":");
    push_json(out, method);
    push_params(out, params);
    out.extend_from_slice(b"}\n");
}

/// Appends the frame of an answer with which so many file descriptors travel, or these streams in band, line end included.
pub fn write_result(out: &mut Vec<u8>, id: &RequestId, result: &RawValue, fds: usize, streams: &[u64]) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    push_json(out, id);
    push_fds(out, fds);
    push_streams(out, streams);
    out.extend_from_slice(b",\"result\":");
    push_text(out, result.get());
    out.extend_from_slice(b"}\n");
}

/// Appends the frame of an error, line end included. Without an id it is `null`.
pub fn write_error(out: &mut Vec<u8>, id: Option<&RequestId>, error: &ErrorObject) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    push_json(out, &id);
    out.extend_from_slice(b",\"error\":");
    let at = out.len();
    push_json(out, error);
    // `data` is raw and may hold line ends between its tokens.
    to_one_line(out.get_mut(at..).unwrap_or_default());
    out.extend_from_slice(b"}\n");
}

/// Appends the frame of an `rpc.progress` for a request of the peer, line end included. `value` is JSON.
pub fn write_progress(out: &mut Vec<u8>, id: &RequestId, value: &str) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"method\":\"rpc.progress\",\"params\":{\"id\":");
    push_json(out, id);
    out.extend_from_slice(b",\"value\":");
    push_text(out, value);
    out.extend_from_slice(b"}}\n");
}

fn push_fds(out: &mut Vec<u8>, fds: usize) {
    if fds > 0 {
        out.extend_from_slice(b",\"fds\":");
        push_json(out, &fds);
    }
}

fn push_streams(out: &mut Vec<u8>, streams: &[u64]) {
    if !streams.is_empty() {
        out.extend_from_slice(b",\"streams\":");
        push_json(out, streams);
    }
}

fn push_params(out: &mut Vec<u8>, params: Option<&str>) {
    if let Some(params) = params {
        out.extend_from_slice(b",\"params\":");
        push_text(out, params);
    }
}

/// Upper bound of the frame that [`write_request`] makes of these. Bytes, line end not counted.
#[must_use]
pub fn request_bytes_max(method: &str, params: Option<&RawValue>) -> usize {
    // 112 covers the envelope's own text with the longest id and deadline; method names need no escapes.
    112 + method.len() + params.map_or(0, |params| params.get().len())
}
