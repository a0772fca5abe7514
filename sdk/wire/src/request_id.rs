//! The id of a request, as it stands in its frame and in the answer's (protocol section 1).

use crate::limits::{REQUEST_ID_MAX, REQUEST_ID_TEXT_BYTES_MAX};
use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// The id of a request: chosen by its sender, echoed verbatim in the answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RequestId {
    /// An integer from 0 to 2^53 - 1.
    Number(u64),
    /// A text of 1 to 64 bytes.
    Text(Box<str>),
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestId::Number(number) => write!(f, "{number}"),
            RequestId::Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl From<u64> for RequestId {
    fn from(number: u64) -> RequestId {
        RequestId::Number(number)
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            RequestId::Number(number) => serializer.serialize_u64(*number),
            RequestId::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdVisitor;
        impl Visitor<'_> for IdVisitor {
            type Value = RequestId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an integer from 0 to 2^53-1 or a string of 1 to 64 bytes as `id`")
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<RequestId, E> {
                if number > REQUEST_ID_MAX {
                    return Err(E::invalid_value(serde::de::Unexpected::Unsigned(number), &self));
                }
                Ok(RequestId::Number(number))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<RequestId, E> {
                if text.is_empty() || text.len() > REQUEST_ID_TEXT_BYTES_MAX {
                    return Err(E::invalid_length(text.len(), &self));
                }
                Ok(RequestId::Text(text.into()))
            }
        }
        deserializer.deserialize_any(IdVisitor)
    }
}
