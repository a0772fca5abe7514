//! Errors that a plugin answered with, on their way to others: kept apart from the host's own.
//!
//! What this file is for: a plugin can send any code and any data, also those by which the host says that it did not send a
//! call. Whoever gets such an error from the host finds the plugin named as its author.
//!
//! What always holds: of an error whose code is in the protocol's table, `data.outcome` is the host's word.

use crate::error::{ErrorCode, ErrorData, ErrorObject, Outcome};
use crate::json::to_raw;
use crate::phrase::after_colon;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::ops::RangeInclusive;

/// Error codes that JSON-RPC 2.0 reserves. An application's own are outside.
pub const RESERVED_CODES: RangeInclusive<i64> = -32768..=-32000;

/// Name of such an error for programs, where the code's own name would be the host's word.
pub const PLUGIN_ANSWERED: &str = "plugin_answered";

/// Whether the code says something of the host, so that it is marked where a plugin answers with it. Of the reserved codes
/// only those are not that say the same of a call whoever says it.
#[must_use]
pub fn is_the_hosts(code: ErrorCode) -> bool {
    let is_anybodys = matches!(
        code,
        ErrorCode::MethodNotFound
            | ErrorCode::InvalidParams
            | ErrorCode::InternalError
            | ErrorCode::Overloaded
            | ErrorCode::TooLarge
            | ErrorCode::WouldDeadlock
    );
    RESERVED_CODES.contains(&code.code()) && !is_anybodys
}

/// Whether a call ended with an answer of a plugin that could be taken for the host's own error.
#[must_use]
pub fn is_marked(outcome: Outcome, code: ErrorCode, data: Option<&RawValue>) -> bool {
    let is_of_table = code != ErrorCode::Application(code.code());
    outcome == Outcome::Answered && (is_the_hosts(code) || is_of_table && data.is_some_and(has_outcome))
}

/// Whether it may have a member `outcome`. What a reader of ours does not read may be read by another one.
fn has_outcome(data: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Claim {
        #[serde(default)]
        outcome: Option<IgnoredAny>,
    }
    let read = || serde_json::from_str::<Claim>(data.get());
    data.get().starts_with('{') && !matches!(read(), Ok(Claim { outcome: None }))
}

/// `error.data` of a marked error.
#[derive(Serialize)]
struct MarkedData<'a> {
    #[serde(flatten)]
    said: ErrorData,
    /// What the plugin put into `error.data`.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

/// Who answered, which the message of a marked error begins with; what it says stands after a colon.
pub(crate) fn author(code: ErrorCode) -> String {
    format!("the plugin answered {}", code.code())
}

/// What happened, for people, in one sentence: by the code's name, or by who answered where that is marked.
#[must_use]
pub fn told(outcome: Outcome, code: ErrorCode, message: &str, data: Option<&RawValue>) -> String {
    let begin = if is_marked(outcome, code, data) { author(code) } else { code.name().to_owned() };
    begin + &after_colon(message)
}

/// The error object of an answer with an error: as it came, or marked. `said` is what is known of the call.
pub(crate) fn answered_object(
    said: ErrorData,
    code: ErrorCode,
    message: Cow<'static, str>,
    data: Option<Box<RawValue>>,
) -> ErrorObject {
    let (number, raw) = (code.code(), data.as_deref());
    if !is_marked(said.outcome, code, raw) {
        return ErrorObject { code: number, message, data };
    }
    let message = told(said.outcome, code, &message, raw).into();
    ErrorObject { code: number, message, data: to_raw(&MarkedData { said, data: raw }).ok() }
}
