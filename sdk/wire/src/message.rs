//! Frames as JSON-RPC 2.0 messages: reading them strictly, writing them without re-encoding.
//!
//! What this file is for: the envelope; how it is written is in `write.rs`. `params`, `result` and `error.data`
//! pass through as the raw bytes that they are. What it deliberately does not do: know any method.
//!
//! What always holds: a message that parses is UTF-8, one object, at most 128 levels deep, without
//! duplicate envelope members; what is written is one line.

pub use crate::cancel::write_cancel;
use crate::chain::Chain;
use crate::envelope::{Envelope, Object, too_deep};
use crate::error::{ErrorCode, ErrorObject};
use crate::ident::check_method;
use crate::json::{to_raw, write_json};
use crate::limits::{FDS_PER_FRAME_MAX, NESTING_MAX};
pub use crate::message_error::MessageError;
pub use crate::request_id::RequestId;
use crate::words::{in_words, invalid_params};
pub use crate::write::{
    NewRequest, request_bytes_max, to_one_line, write_error, write_notification, write_progress,
    write_request, write_result,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// A call that wants an answer.
#[derive(Debug)]
pub struct Request<'a> {
    /// Echoed in the answer.
    pub id: RequestId,
    /// What to call.
    pub method: Cow<'a, str>,
    /// An object, unparsed; absent is the same as empty.
    pub params: Option<&'a RawValue>,
    /// Time left for this call from when the frame was sent. Milliseconds.
    pub deadline_ms: Option<u64>,
    /// File descriptors that travel with this frame.
    pub fds: u8,
    /// Whether the caller wants `rpc.progress`.
    pub progress: bool,
    /// The calls that led to this one, outermost first; mostly none.
    pub chain: Chain,
    /// The streams in band that it brings, instead of descriptors.
    pub streams: Vec<u64>,
}

/// A message that wants no answer.
#[derive(Debug)]
pub struct Notification<'a> {
    /// What happened.
    pub method: Cow<'a, str>,
    /// An object, unparsed; absent is the same as empty.
    pub params: Option<&'a RawValue>,
    /// File descriptors that travel with this frame.
    pub fds: u8,
}

/// The answer to a request.
#[derive(Debug)]
pub struct Response<'a> {
    /// The request's id; `None` (JSON `null`) only beside an error, from a peer that could not read
    /// the id.
    pub id: Option<RequestId>,
    /// The result, unparsed, or the error.
    pub result: Result<&'a RawValue, ErrorObject>,
    /// File descriptors that travel with this frame.
    pub fds: u8,
    /// The streams in band that it brings, instead of descriptors.
    pub streams: Vec<u64>,
}

/// One frame, understood.
#[derive(Debug)]
pub enum Message<'a> {
    /// Has `method` and `id`.
    Request(Request<'a>),
    /// Has `method` and no `id`.
    Notification(Notification<'a>),
    /// Has `result` or `error`.
    Response(Response<'a>),
}

/// Whether a raw value is an object.
fn is_object(raw: &RawValue) -> bool {
    raw.get().starts_with('{')
}

impl<'a> Message<'a> {
    /// Reads one frame (without its line end) as a message.
    ///
    /// # Errors
    /// Says what is wrong with the frame; the connection it came on should end.
    pub fn parse(frame: &'a [u8]) -> Result<Message<'a>, MessageError> {
        if frame.first() != Some(&b'{') || frame.last() != Some(&b'}') {
            return Err(MessageError::NotAnObject);
        }
        let text = std::str::from_utf8(frame).map_err(|error| MessageError::NotUtf8(error.valid_up_to()))?;
        if too_deep(frame, NESTING_MAX) {
            return Err(MessageError::TooDeep);
        }
        Message::from_envelope(Envelope::read(text)?)
    }

    fn from_envelope(envelope: Envelope<'a>) -> Result<Message<'a>, MessageError> {
        let wrong = |what| Err(MessageError::Envelope(what));
        if envelope.jsonrpc.as_deref() != Some("2.0") {
            return wrong("`jsonrpc` is not \"2.0\"");
        }
        let fds = envelope.fds.unwrap_or(0);
        if fds > FDS_PER_FRAME_MAX {
            return wrong("`fds` is more than 16");
        }
        let streams = envelope.streams.map(|streams| streams.0).unwrap_or_default();
        if fds > 0 && !streams.is_empty() {
            return wrong("it has `fds` and `streams`");
        }
        if envelope.params.is_some_and(|params| !is_object(params)) {
            return wrong("`params` is not an object");
        }
        let answers = envelope.result.is_some() || envelope.error.is_some();
        match envelope.method {
            Some(_) if answers => wrong("it has `method` and an answer"),
            Some(method) => {
                check_method(&method).map_err(MessageError::Method)?;
                let params = envelope.params;
                match envelope.id {
                    Some(None) => wrong("the `id` of a request is null"),
                    Some(Some(id)) => Ok(Message::Request(Request {
                        id,
                        method,
                        params,
                        deadline_ms: envelope.deadline_ms,
                        fds,
                        progress: envelope.progress.unwrap_or(false),
                        chain: envelope.chain.unwrap_or_default(),
                        streams,
                    })),
                    None if !streams.is_empty() => wrong("a notification has `streams`"),
                    None => Ok(Message::Notification(Notification { method, params, fds })),
                }
            }
            None => {
                let Some(id) = envelope.id else {
                    return wrong("it has neither `method` nor `id`");
                };
                let result = match (envelope.result, envelope.error) {
                    (Some(_), Some(_)) => return wrong("it has `result` and `error`"),
                    (Some(_), None) if id.is_none() => return wrong("a `result` has a null `id`"),
                    (Some(result), None) => Ok(result),
                    (None, Some(error)) => Err(error),
                    (None, None) => return wrong("it has no `method`, `result` or `error`"),
                };
                Ok(Message::Response(Response { id, result, fds, streams }))
            }
        }
    }
}

/// What params are given room for at first. Bytes.
const PARAMS_BYTES_LIKELY: usize = 128;

/// Turns typed params into the object that a frame carries, as JSON text. `()` and `None` are absent params.
///
/// # Errors
/// [`ErrorCode::InvalidParams`] when `params` does not serialise, or not to an object.
pub fn params_text<P: Serialize + ?Sized>(params: &P) -> Result<Option<String>, ErrorObject> {
    let mut json = Vec::with_capacity(PARAMS_BYTES_LIKELY);
    write_json(&mut json, params).map_err(|error| unserialisable(&error))?;
    // It always is UTF-8: strings are, and the rest is ASCII.
    let text = String::from_utf8(json).map_err(|error| unserialisable(&error))?;
    check_params(&text).map(|is_there| is_there.then_some(text))
}

/// The same as a raw value.
///
/// # Errors
/// As [`params_text`].
pub fn params_from<P: Serialize + ?Sized>(params: &P) -> Result<Option<Box<RawValue>>, ErrorObject> {
    let raw = to_raw(params).map_err(|error| unserialisable(&error))?;
    check_params(raw.get()).map(|is_there| is_there.then_some(raw))
}

fn unserialisable(error: &dyn fmt::Display) -> ErrorObject {
    ErrorObject::new(ErrorCode::InvalidParams, format!("params do not serialise: {error}"))
}

/// Whether there are any.
fn check_params(text: &str) -> Result<bool, ErrorObject> {
    if text.starts_with('{') || text == "null" {
        return Ok(text != "null");
    }
    let what = "params must serialise to a JSON object, or to null for none";
    Err(ErrorObject::new(ErrorCode::InvalidParams, what))
}

/// The text of a raw value, without a copy.
#[must_use]
pub fn raw_into_text(raw: Box<RawValue>) -> String {
    String::from(Box::<str>::from(raw))
}

/// Reads a typed result that must be an object. serde's derived types would also take an array of
/// their members in order, which this protocol does not have.
///
/// # Errors
/// What is wrong with it, at most [`ERROR_MESSAGE_BYTES_MAX`](crate::limits::ERROR_MESSAGE_BYTES_MAX) bytes of it.
pub fn result_object<'a, T: Deserialize<'a>>(result: &'a RawValue) -> Result<T, String> {
    let read = serde_json::from_str(result.get()).map(|Object(value)| value);
    read.map_err(|error| in_words(&error, result.get()))
}

/// Whether params or a result nest so little that the frame around them is taken: its sender is to
/// check, because its receiver ends the connection.
#[must_use]
pub fn fits_nesting(value: &[u8]) -> bool {
    // The frame's own object is the first level.
    !too_deep(value, NESTING_MAX - 1)
}

/// Reads typed params out of a frame; absent params and an empty object are the same (protocol section 1), and read
/// as `null` where the type wants that.
///
/// # Errors
/// [`ErrorCode::InvalidParams`] with what is wrong.
pub fn params_into<'a, P: Deserialize<'a>>(params: Option<&'a RawValue>) -> Result<P, ErrorObject> {
    let text = params.filter(|params| !is_empty(params)).map_or("{}", |params| params.get());
    let null = || (text == "{}").then(|| serde_json::from_str("null").ok()).flatten();
    let parsed = serde_json::from_str(text).or_else(|error| null().ok_or(error));
    parsed.map_err(|error| ErrorObject::new(ErrorCode::InvalidParams, invalid_params(&error, text)))
}

fn is_empty(params: &RawValue) -> bool {
    let inside = params.get().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    inside.is_some_and(|inside| inside.trim_ascii().is_empty())
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
