//! Numbers and truth values of an envelope, of which a wrong one is quoted up to a bound.
//!
//! What this file is for: derived readers put the whole of a string that stands where a number has to be into their error,
//! escaped, which for a frame of some MiB is several times as much. What it deliberately does not do: take another value than
//! they take, or say something else of it.

use crate::cut::beginning;
use serde::Deserialize;
use serde::de::{Deserializer, Error, IntoDeserializer, Unexpected, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// Bytes of a string that are quoted.
const QUOTED_BYTES_MAX: usize = 80;

/// A number or a truth value.
pub(crate) struct Scalar<T>(pub(crate) T);

/// What readers of a type expect, as they say it themselves.
pub(crate) trait ScalarType {
    const EXPECTED: &'static str;
}

impl ScalarType for u64 {
    const EXPECTED: &'static str = "u64";
}

impl ScalarType for u8 {
    const EXPECTED: &'static str = "u8";
}

impl ScalarType for bool {
    const EXPECTED: &'static str = "a boolean";
}

impl<'de, T: Deserialize<'de> + ScalarType> Deserialize<'de> for Scalar<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de> + ScalarType> Visitor<'de> for ScalarVisitor<T> {
            type Value = Scalar<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Scalar<T>, E> {
                T::deserialize(number.into_deserializer()).map(Scalar)
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Scalar<T>, E> {
                T::deserialize(number.into_deserializer()).map(Scalar)
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<Scalar<T>, E> {
                T::deserialize(number.into_deserializer()).map(Scalar)
            }
            fn visit_bool<E: Error>(self, truth: bool) -> Result<Scalar<T>, E> {
                T::deserialize(truth.into_deserializer()).map(Scalar)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Scalar<T>, E> {
                Err(E::invalid_type(Unexpected::Str(beginning(text, QUOTED_BYTES_MAX)), &self))
            }
        }
        deserializer.deserialize_any(ScalarVisitor(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader of serde's own says of a text, and ours, where it is not long.
    #[test]
    fn it_takes_and_says_what_the_plain_reader_does() {
        fn both<T: for<'de> Deserialize<'de> + ScalarType + PartialEq + fmt::Debug>(text: &str) {
            // Of an array, serde_json tells another column.
            let said =
                |error: serde_json::Error| error.to_string().split(" at line").next().map(str::to_owned);
            let plain = serde_json::from_str::<T>(text).map_err(said);
            let ours = serde_json::from_str::<Scalar<T>>(text).map(|Scalar(value)| value);
            assert_eq!(ours.map_err(said), plain, "{text}");
        }
        let texts =
            ["0", "7", "255", "256", "-1", "1.5", "18446744073709551615", "18446744073709551616", "1e400"];
        for text in texts.iter().chain(&["true", "false", "null", "\"a\\u0001\"", "[]", "{}", "[1", "x", ""])
        {
            both::<u64>(text);
            both::<u8>(text);
            both::<bool>(text);
        }
    }

    #[test]
    fn of_a_long_string_the_beginning_is_quoted() {
        for fill in ["\x7f", "a", "ä"] {
            let text = serde_json::to_string(&fill.repeat(1 << 20)).unwrap();
            let error = serde_json::from_str::<Scalar<u64>>(&text).err().unwrap().to_string();
            assert!(error.len() < 1024 && error.contains("expected u64"), "{} bytes", error.len());
        }
    }
}
