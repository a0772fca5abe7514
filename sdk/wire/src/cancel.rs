//! Cancelling a request: `rpc.cancel`, and its cause (protocol section 5).
//!
//! What always holds: a cause is short, whoever made it up; where it is shown it has no control characters.

use crate::cut::beginning;
use crate::informational::informational;
use crate::request_id::RequestId;
use crate::write::push_json;
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// The longest cause. Bytes; a longer one is cut at a character.
pub const CANCEL_CAUSE_BYTES_MAX: usize = 256;

/// The cause of a cancellation, as a sentence for a person: at most 256 bytes, cut at a character. Whoever cancels a call says
/// it; what cancels calls by itself has the constants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct CancelCause(Cow<'static, str>);

impl CancelCause {
    /// The deadline of the call has passed.
    pub const DEADLINE: CancelCause = CancelCause(Cow::Borrowed("its deadline has passed"));
    /// The process that serves the call is to end: the host ends, or the plugin is stopped or restarted.
    pub const ENDING: CancelCause = CancelCause(Cow::Borrowed("who serves it is to end"));
    /// The connection over which the call came has ended.
    pub const CALLER_GONE: CancelCause = CancelCause(Cow::Borrowed("its caller is gone"));

    /// A cause in the words of whoever cancels.
    #[must_use]
    pub fn new(text: impl Into<String>) -> CancelCause {
        let mut text = text.into();
        text.truncate(beginning(&text, CANCEL_CAUSE_BYTES_MAX).len());
        CancelCause(Cow::Owned(text))
    }

    /// The cause as it was said, which may hold control characters where a peer said it; `Display` has none.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for CancelCause {
    fn from(text: &str) -> CancelCause {
        CancelCause::new(text)
    }
}

impl From<String> for CancelCause {
    fn from(text: String) -> CancelCause {
        CancelCause::new(text)
    }
}

impl fmt::Display for CancelCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| {
            if letter.is_control() { write!(f, "{}", letter.escape_default()) } else { f.write_char(letter) }
        })
    }
}

/// `params` of `rpc.cancel`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// The request that shall end.
    pub id: RequestId,
    /// Why; what is no text, or an empty one, is as good as absent.
    #[serde(default, deserialize_with = "cause", skip_serializing_if = "Option::is_none")]
    pub reason: Option<CancelCause>,
}

fn cause<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<CancelCause>, D::Error> {
    let text: Option<String> = informational(deserializer)?;
    Ok(text.filter(|text| !text.is_empty()).map(CancelCause::new))
}

/// Appends the frame of an `rpc.cancel` for a request of ours, line end included.
pub fn write_cancel(out: &mut Vec<u8>, id: u64, cause: Option<&CancelCause>) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"method\":\"rpc.cancel\",\"params\":{\"id\":");
    push_json(out, &id);
    if let Some(cause) = cause {
        out.extend_from_slice(b",\"reason\":");
        push_json(out, cause);
    }
    out.extend_from_slice(b"}}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(params: &str) -> Option<CancelCause> {
        serde_json::from_str::<Cancel>(params).unwrap().reason
    }

    #[test]
    fn a_reason_that_is_none_is_no_reason_to_refuse_the_cancel() {
        for params in [r#"{"id":7}"#, r#"{"id":7,"reason":null}"#, r#"{"id":7,"reason":5,"more":[1]}"#] {
            assert_eq!(read(params), None, "{params}");
        }
        assert_eq!(read(r#"{"id":7,"reason":""}"#), None);
        assert_eq!(read(r#"{"id":7,"reason":"its deadline has passed"}"#), Some(CancelCause::DEADLINE));
    }

    #[test]
    fn a_long_one_is_cut_at_a_character_and_a_hostile_one_is_escaped() {
        let long = format!("{{\"id\":7,\"reason\":\"x{}\"}}", "ü".repeat(5000));
        let cause = read(&long).unwrap();
        assert_eq!(cause.as_str(), format!("x{}", "ü".repeat(127)));
        assert_eq!(cause.as_str().len(), CANCEL_CAUSE_BYTES_MAX - 1);
        let hostile = read("{\"id\":7,\"reason\":\"a\\n\\u001b[2Jb\"}").unwrap();
        assert_eq!(hostile.to_string(), "a\\n\\u{1b}[2Jb");
        let mut frame = Vec::new();
        write_cancel(&mut frame, 7, Some(&hostile));
        assert_eq!(frame.iter().filter(|byte| **byte == b'\n').count(), 1);
        let frame: serde_json::Value = serde_json::from_slice(&frame).unwrap();
        assert_eq!(read(&frame["params"].to_string()), Some(hostile));
    }

    #[test]
    fn without_a_cause_the_frame_is_what_it_always_was() {
        let mut frame = Vec::new();
        write_cancel(&mut frame, 12, None);
        assert_eq!(frame, b"{\"jsonrpc\":\"2.0\",\"method\":\"rpc.cancel\",\"params\":{\"id\":12}}\n");
    }
}
