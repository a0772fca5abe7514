//! Why a frame is not a message.

use crate::error::ErrorCode;
use crate::ident::IdentError;
use crate::limits::NESTING_MAX;
use crate::words::bad_member;
use std::fmt;

/// Why a frame is not a message. Always the sender's fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageError {
    /// The frame is not UTF-8; the first wrong byte is at this offset.
    NotUtf8(usize),
    /// The frame is not one JSON object and nothing else.
    NotAnObject,
    /// Arrays and objects are nested deeper than 128 levels.
    TooDeep,
    /// Not JSON; says what and where.
    Syntax(String),
    /// JSON, but this envelope member is of the wrong type, out of range or there twice; says what
    /// and where.
    Member(&'static str, String),
    /// JSON, but not a message of this protocol; says why.
    Envelope(&'static str),
    /// `method` is not a method name.
    Method(IdentError),
}

impl MessageError {
    /// The code that answers this fault.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            MessageError::NotUtf8(_)
            | MessageError::NotAnObject
            | MessageError::TooDeep
            | MessageError::Syntax(_) => ErrorCode::ParseError,
            MessageError::Member(..) | MessageError::Envelope(_) | MessageError::Method(_) => {
                ErrorCode::InvalidRequest
            }
        }
    }
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MessageError::NotUtf8(at) => write!(f, "the frame is not UTF-8 at byte {at}"),
            MessageError::NotAnObject => write!(
                f,
                "the frame is not one JSON object: it must start with '{{' and end with '}}', \
                 without white space, carriage return or byte-order mark around them"
            ),
            MessageError::TooDeep => write!(f, "the frame is nested deeper than {NESTING_MAX} levels"),
            MessageError::Syntax(what) => write!(f, "the frame does not parse: {what}"),
            MessageError::Member(name, what) => f.write_str(&bad_member(name, what)),
            MessageError::Envelope(what) => write!(f, "the frame is not a message: {what}"),
            MessageError::Method(what) => write!(f, "the method name {what}"),
        }
    }
}

impl std::error::Error for MessageError {}
