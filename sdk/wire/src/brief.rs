//! What is kept and shown of what a peer answered, where it is not passed on as it came.
//!
//! What it deliberately does not do: cut texts; [`crate::cut`] does.

use crate::call_error::CallError;
use crate::cut::shown;
use crate::error::ErrorObject;
use crate::limits::{ERROR_MESSAGE_BYTES_MAX, OWN_RESULT_BYTES_MAX};
use crate::message::result_object;
use serde::Deserialize;
use serde_json::value::RawValue;

/// What is kept and shown of an error: its message, cut at [`ERROR_MESSAGE_BYTES_MAX`], and no data.
#[must_use]
pub fn brief(error: &ErrorObject) -> ErrorObject {
    let message = shown(&error.message, ERROR_MESSAGE_BYTES_MAX).into_owned();
    ErrorObject { code: error.code, message: message.into(), data: None }
}

/// The same of the error of a call.
#[must_use]
pub fn brief_call_error(error: &CallError) -> CallError {
    let message = shown(&error.message, ERROR_MESSAGE_BYTES_MAX).into_owned().into();
    CallError { message, plugin_id: error.plugin_id.clone(), data: None, ..*error }
}

/// Reads what a plugin says of itself, [`Heartbeat`](crate::life::Heartbeat) or [`Capabilities`](crate::life::Capabilities).
///
/// # Errors
/// What is wrong with it, also that it is longer than [`OWN_RESULT_BYTES_MAX`]: serde quotes what it refuses, so that an
/// error about a long text would be several times as long.
pub fn own_result<'a, T: Deserialize<'a>>(result: &'a RawValue) -> Result<T, String> {
    match result.get().len() {
        0..=OWN_RESULT_BYTES_MAX => result_object(result),
        bytes => Err(format!("it has {bytes} bytes, at most {OWN_RESULT_BYTES_MAX} are read")),
    }
}
