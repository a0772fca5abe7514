//! The envelope of a frame as serde reads it, member by member.
//!
//! What this file is for: the strictness that derived code does not give: each member once, objects
//! only as objects, a bound on nesting, and an error that names the member. What it deliberately does
//! not do: decide which members belong together; [`crate::message`] does.
//!
//! What always holds: `params`, `result` and `error.data` are checked to be JSON and otherwise left
//! as they came. Numbers out of a double's range, duplicate members and escapes of lone surrogates
//! pass in them: RFC 8259 allows them, and only the receiver can say what they mean to it.

use crate::chain::Chain;
use crate::error::ErrorObject;
use crate::limits::STREAMS_MAX;
use crate::message_error::MessageError;
use crate::request_id::RequestId;
use crate::scalar::Scalar;
use crate::words::in_words;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

/// The envelope's members as they stand in the frame.
#[derive(Default, Debug)]
pub(crate) struct Envelope<'a> {
    pub(crate) jsonrpc: Option<Cow<'a, str>>,
    /// The inner `None` is JSON `null`.
    pub(crate) id: Option<Option<RequestId>>,
    pub(crate) method: Option<Cow<'a, str>>,
    pub(crate) params: Option<&'a RawValue>,
    pub(crate) result: Option<&'a RawValue>,
    pub(crate) error: Option<ErrorObject>,
    pub(crate) deadline_ms: Option<u64>,
    pub(crate) fds: Option<u8>,
    pub(crate) chain: Option<Chain>,
    pub(crate) progress: Option<bool>,
    pub(crate) streams: Option<Streams>,
}

impl<'a> Envelope<'a> {
    /// Reads an envelope and nothing after it.
    pub(crate) fn read(text: &'a str) -> Result<Envelope<'a>, MessageError> {
        let plain = Envelope::read_plain(text);
        debug_assert!(
            plain.as_ref().is_none_or(|plain| {
                let strict = Envelope::read_any(text);
                strict.is_ok_and(|strict| format!("{strict:?}") == format!("{plain:?}"))
            }),
            "two readings of {text:?}"
        );
        plain.map_or_else(|| Envelope::read_any(text), Ok)
    }

    /// Reads an envelope that is written as [`crate::message`] writes them: these members in this order,
    /// without white space, with a number as id. Takes a third of the time. `None` for any other, also
    /// for one with a fault: [`Envelope::read_any`] says what is wrong with it.
    fn read_plain(text: &'a str) -> Option<Envelope<'a>> {
        let value = |rest: &'a str| serde_json::from_str::<&RawValue>(rest.strip_suffix('}')?).ok();
        let rest = text.strip_prefix("{\"jsonrpc\":\"2.0\",\"id\":")?;
        let (id, mut rest) = plain_number(rest)?;
        let mut envelope = Envelope {
            jsonrpc: Some(Cow::Borrowed("2.0")),
            id: Some(Some(RequestId::Number(id))),
            ..Envelope::default()
        };
        if let Some(rest) = rest.strip_prefix(",\"result\":") {
            envelope.result = Some(value(rest)?);
            return Some(envelope);
        }
        let (method, after) = rest.strip_prefix(",\"method\":\"")?.split_once('"')?;
        // Escapes and line ends are for the other reader.
        if method.bytes().any(|byte| byte == b'\\' || byte < b' ') {
            return None;
        }
        envelope.method = Some(Cow::Borrowed(method));
        rest = after;
        if let Some(after) = rest.strip_prefix(",\"deadline_ms\":") {
            let (deadline_ms, after) = plain_number(after)?;
            envelope.deadline_ms = Some(deadline_ms);
            rest = after;
        }
        if let Some(rest) = rest.strip_prefix(",\"params\":") {
            envelope.params = Some(value(rest)?);
        } else if rest != "}" {
            return None;
        }
        Some(envelope)
    }

    fn read_any(text: &'a str) -> Result<Envelope<'a>, MessageError> {
        let member = Cell::new("");
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let read = EnvelopeVisitor { member: &member }.deserialize(&mut deserializer);
        let envelope = read.and_then(|envelope| deserializer.end().map(|()| envelope));
        envelope.map_err(|error| {
            let what = in_words(&error, text);
            match error.classify() {
                Category::Data => MessageError::Member(member.get(), what),
                Category::Syntax | Category::Eof | Category::Io => MessageError::Syntax(what),
            }
        })
    }
}

/// A JSON integer of at most 15 digits, and what follows it.
fn plain_number(text: &str) -> Option<(u64, &str)> {
    let (mut number, mut digits) = (0, 0);
    for byte in text.bytes().take(16) {
        match byte {
            b'0'..=b'9' => number = number * 10 + u64::from(byte - b'0'),
            b',' | b'}' => break,
            _ => return None,
        }
        digits += 1;
    }
    let is_plain = (1..=15).contains(&digits) && (digits == 1 || !text.starts_with('0'));
    is_plain.then_some(number).zip(text.get(digits..))
}

/// Reads members one by one and keeps the name of the one being read for the error.
struct EnvelopeVisitor<'c> {
    member: &'c Cell<&'static str>,
}

impl EnvelopeVisitor<'_> {
    fn once<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
        &self,
        slot: &mut Option<T>,
        name: &'static str,
        map: &mut A,
    ) -> Result<(), A::Error> {
        self.member.set(name);
        if slot.is_some() {
            return Err(A::Error::duplicate_field(name));
        }
        *slot = Some(map.next_value()?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for EnvelopeVisitor<'_> {
    type Value = Envelope<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Envelope<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EnvelopeVisitor<'_> {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a JSON-RPC message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope<'de>, A::Error> {
        let mut envelope = Envelope::default();
        let (mut jsonrpc, mut method, mut error) = (None, None, None);
        let (mut deadline_ms, mut fds, mut progress) = (None, None, None);
        while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
            match &*key {
                "jsonrpc" => self.once::<_, Text<'de>>(&mut jsonrpc, "jsonrpc", &mut map)?,
                "id" => self.once(&mut envelope.id, "id", &mut map)?,
                "method" => self.once::<_, Text<'de>>(&mut method, "method", &mut map)?,
                "params" => self.once(&mut envelope.params, "params", &mut map)?,
                "result" => self.once(&mut envelope.result, "result", &mut map)?,
                "error" => self.once::<_, Object<ErrorObject>>(&mut error, "error", &mut map)?,
                "deadline_ms" => self.once::<_, Scalar<u64>>(&mut deadline_ms, "deadline_ms", &mut map)?,
                "fds" => self.once::<_, Scalar<u8>>(&mut fds, "fds", &mut map)?,
                "chain" => self.once(&mut envelope.chain, "chain", &mut map)?,
                "progress" => self.once::<_, Scalar<bool>>(&mut progress, "progress", &mut map)?,
                "streams" => self.once(&mut envelope.streams, "streams", &mut map)?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        envelope.jsonrpc = jsonrpc.map(|Text(text)| text);
        envelope.method = method.map(|Text(text)| text);
        envelope.error = error.map(|Object(error)| error);
        envelope.deadline_ms = deadline_ms.map(|Scalar(number)| number);
        envelope.fds = fds.map(|Scalar(number)| number);
        envelope.progress = progress.map(|Scalar(truth)| truth);
        Ok(envelope)
    }
}

/// The streams in band that a frame brings.
#[derive(Debug, Default)]
pub(crate) struct Streams(pub(crate) Vec<u64>);

impl<'de> Deserialize<'de> for Streams {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Streams, D::Error> {
        struct StreamsVisitor;
        impl<'de> Visitor<'de> for StreamsVisitor {
            type Value = Streams;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an array of at most {STREAMS_MAX} integers as `streams`")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Streams, A::Error> {
                let mut numbers = Vec::new();
                while let Some(number) = seq.next_element()? {
                    if numbers.len() >= STREAMS_MAX {
                        return Err(A::Error::invalid_length(STREAMS_MAX + 1, &self));
                    }
                    if numbers.contains(&number) {
                        return Err(A::Error::custom("a stream is named twice"));
                    }
                    numbers.push(number);
                }
                Ok(Streams(numbers))
            }
        }
        deserializer.deserialize_seq(StreamsVisitor)
    }
}

/// A string borrowed from the frame where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// A value whose derived reader also takes an array of the members in order, read from an object only.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// Whether `bytes` nest deeper than `levels_max`. serde_json's own limit does not cover values
/// that are skipped or kept raw, which are the ones that matter here.
pub(crate) fn too_deep(bytes: &[u8], levels_max: usize) -> bool {
    // Only a frame with many openings pays for the exact walk below.
    if memchr::memchr2_iter(b'{', b'[', bytes).nth(levels_max).is_none() {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                if depth > levels_max {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{NewRequest, write_request, write_result};

    #[test]
    fn what_this_project_writes_is_read_plainly_and_the_rest_is_not() {
        let raw = serde_json::value::to_raw_value(&serde_json::json!({"a": [1, "}"]})).unwrap();
        let mut frames = Vec::new();
        let request = NewRequest { id: 7, method: "a.b", params: Some(raw.get()), ..NewRequest::default() };
        write_request(&mut frames, &NewRequest { deadline_ms: Some(30_000), ..request });
        write_request(&mut frames, &NewRequest { method: "a", ..NewRequest::default() });
        write_result(&mut frames, &RequestId::Number(12), &raw, 0, &[]);
        for frame in std::str::from_utf8(&frames).unwrap().lines() {
            assert!(Envelope::read_plain(frame).is_some(), "{frame}");
        }
        for other in [
            r#"{"jsonrpc":"2.0","id":01,"result":1}"#,
            r#"{"jsonrpc":"2.0","id":1.0,"result":1}"#,
            r#"{"jsonrpc":"2.0","id":,"result":1}"#,
            r#"{"jsonrpc":"2.0","id":1 ,"result":1}"#,
            r#"{"jsonrpc":"2.0","id":1"#,
            r#"{"jsonrpc":"2.0","id":1e2,"result":1}"#,
            r#"{"jsonrpc":"2.0","id":9007199254740992,"result":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":1,"result":2}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":1}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"a\u0062"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{},"fds":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"a","deadline_ms":-1}"#,
        ] {
            assert!(Envelope::read_plain(other).is_none(), "{other}");
        }
    }
}
