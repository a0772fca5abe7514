//! The error table of the protocol (section 5) and the error object that carries it.

use crate::cut::bounded;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// What is known about a call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// The plugin never saw the call; repeating it is safe.
    NotSent,
    /// The plugin may have executed the call, in whole or in part, or not at all.
    Indeterminate,
    /// The plugin itself answered with this error.
    Answered,
}

impl Outcome {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::NotSent => "not_sent",
            Outcome::Indeterminate => "indeterminate",
            Outcome::Answered => "answered",
        }
    }
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal;)*) => {
        /// A code of the protocol's error table, or an application's own.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[$doc])* $variant,)*
            /// A code that the protocol does not define: the application's own.
            Application(i64),
        }

        impl ErrorCode {
            /// Every code that the protocol defines.
            pub const DEFINED: &'static [ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// The number on the wire.
            #[must_use]
            pub fn code(self) -> i64 {
                match self {
                    $(ErrorCode::$variant => $code,)*
                    ErrorCode::Application(code) => code,
                }
            }

            /// The code's name in the protocol's table; `application` for any other.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $name,)*
                    ErrorCode::Application(_) => "application",
                }
            }
        }

        impl From<i64> for ErrorCode {
            fn from(code: i64) -> ErrorCode {
                match code {
                    $($code => ErrorCode::$variant,)*
                    other => ErrorCode::Application(other),
                }
            }
        }
    };
}

error_codes! {
    /// The bytes are not a frame.
    ParseError = -32700, "parse_error";
    /// The frame is not a JSON-RPC message of this protocol.
    InvalidRequest = -32600, "invalid_request";
    /// The method is unknown.
    MethodNotFound = -32601, "method_not_found";
    /// The method does not take those params.
    InvalidParams = -32602, "invalid_params";
    /// The handler failed for a reason of its own, a panic included.
    InternalError = -32603, "internal_error";
    /// The caller cancelled, and the handler stopped because of it.
    Cancelled = -32800, "cancelled";
    /// Something other than `host.hello` came before authentication, or the proof failed.
    NotAuthenticated = -32001, "not_authenticated";
    /// No healthy generation to send the call to.
    Unavailable = -32002, "unavailable";
    /// The call's deadline passed.
    DeadlineExceeded = -32003, "deadline_exceeded";
    /// The plugin died, or its connection broke, after the request was written.
    PluginLost = -32004, "plugin_lost";
    /// A bound on calls in flight or on queued bytes is reached, or the plugin says it is overloaded.
    Overloaded = -32005, "overloaded";
    /// The frame would be larger than the receiver takes.
    TooLarge = -32006, "too_large";
    /// The caller may not do that.
    Denied = -32007, "denied";
    /// No plugin of that id.
    UnknownPlugin = -32008, "unknown_plugin";
    /// The call could only wait on itself.
    WouldDeadlock = -32009, "would_deadlock";
    /// The call was answered with a frame that is no message.
    InvalidResponse = -32010, "invalid_response";
}

/// The `error` member of a response.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorObject {
    /// The number; [`ErrorCode::from`] names it.
    pub code: i64,
    /// One sentence for a person.
    pub message: Cow<'static, str>,
    /// What a program needs to know, unparsed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
}

impl ErrorObject {
    /// An error object without data. The message is cut at
    /// [`ERROR_MESSAGE_BYTES_MAX`](crate::limits::ERROR_MESSAGE_BYTES_MAX).
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> ErrorObject {
        ErrorObject { code: code.code(), message: bounded(message.into()), data: None }
    }

    /// The same with `data`. A value that cannot be written as JSON, such as one with NaN in it, is left out.
    #[must_use]
    pub fn with_data<T: Serialize + ?Sized>(mut self, data: &T) -> ErrorObject {
        self.data = crate::json::to_raw(data).ok();
        self
    }

    /// The code by name.
    #[must_use]
    pub fn kind(&self) -> ErrorCode {
        ErrorCode::from(self.code)
    }
}

impl fmt::Display for ErrorObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}){}", self.kind().name(), self.code, crate::phrase::after_colon(&self.message))
    }
}

impl std::error::Error for ErrorObject {}

/// What the host puts into `error.data` of an error that it made itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorData {
    /// Whether the plugin can have seen the call.
    pub outcome: Outcome,
    /// The plugin that the call was for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_id: Option<String>,
    /// The generation that the call was for, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_are_unique_and_survive_the_number() {
        for (i, code) in ErrorCode::DEFINED.iter().enumerate() {
            assert_eq!(ErrorCode::from(code.code()), *code);
            for other in &ErrorCode::DEFINED[i + 1..] {
                assert_ne!(code.code(), other.code());
                assert_ne!(code.name(), other.name());
            }
        }
        assert_eq!(ErrorCode::from(42), ErrorCode::Application(42));
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let error = ErrorObject::new(ErrorCode::InternalError, "é".repeat(2000));
        assert!(error.message.len() <= 2048 && error.message.ends_with(" bytes cut]"), "{error}");
        let whole = ErrorObject { message: "x".repeat(4 << 20).into(), ..error };
        let brief = crate::brief::brief(&whole.with_data(&[7]));
        assert!(brief.message.len() <= 2048 && brief.data.is_none(), "{brief}");
    }
}
