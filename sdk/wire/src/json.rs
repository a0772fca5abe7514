//! Values as JSON, appended to a buffer: what serde_json writes, with long strings copied in one piece.
//!
//! What this file is for: serde_json looks at each byte of a string by itself, which takes most of the time of a
//! call with much text. Here a string is checked in a way that the compiler vectorises, and copied if nothing
//! in it needs an escape. What it deliberately does not do: anything that serde_json can: numbers, keys and
//! strings that need escapes are its work.
//!
//! What always holds: the bytes are those of [`serde_json::to_writer`], for every value but a float that JSON has no
//! number for: serde_json writes `null` for NaN and the infinities, which the reader would take for "absent"; here they are
//! errors.

use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use serde_json::Error;
use serde_json::value::RawValue;

/// Structs of such names are serde_json's own: raw values and numbers of any precision.
const PRIVATE_PREFIX: &str = "$serde_json::private::";

/// Appends `value` as JSON without white space. After an error, what was appended before it stays.
///
/// # Errors
/// Those of [`serde_json::to_writer`]: the value's own, and map keys that are no strings or numbers. NaN and the
/// infinities.
pub fn write_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), Error> {
    value.serialize(Writer(out))
}

/// Writes `value` as a raw value, which is checked once more on the way: for what is not on the way of a call.
///
/// # Errors
/// Those of [`write_json`].
pub fn to_raw<T: Serialize + ?Sized>(value: &T) -> Result<Box<RawValue>, Error> {
    let mut json = Vec::new();
    write_json(&mut json, value)?;
    // It always is UTF-8: strings are, and the rest is ASCII.
    RawValue::from_string(String::from_utf8(json).map_err(Error::custom)?)
}

/// Bytes that are checked at once.
const PIECE: usize = 64;

fn needs_escape(text: &[u8]) -> bool {
    // Without a way out inside a piece, so that it vectorises.
    let piece_does = |piece: &[u8]| {
        let found = piece.iter().map(|byte| u8::from(*byte < b' ' || *byte == b'"' || *byte == b'\\'));
        found.fold(0, |all, one| all | one) != 0
    };
    text.chunks(PIECE).any(piece_does)
}

struct Writer<'a>(&'a mut Vec<u8>);

/// What is between brackets, and the brackets that close it.
struct Inside<'a> {
    out: &'a mut Vec<u8>,
    is_first: bool,
    close: &'static str,
    /// Of a struct that is serde_json's own.
    private: Option<&'static str>,
}

impl<'a> Writer<'a> {
    fn open(self, open: &str, close: &'static str) -> Inside<'a> {
        self.0.extend_from_slice(open.as_bytes());
        Inside { out: self.0, is_first: true, close, private: None }
    }

    /// `{"VARIANT":` and what follows.
    fn open_variant(
        self,
        variant: &'static str,
        open: &str,
        close: &'static str,
    ) -> Result<Inside<'a>, Error> {
        self.0.push(b'{');
        Writer(self.0).serialize_str(variant)?;
        self.0.push(b':');
        Ok(self.open(open, close))
    }
}

impl Inside<'_> {
    fn separate(&mut self) {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(b',');
        }
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.separate();
        value.serialize(Writer(self.out))
    }

    fn member<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        if let Some(name) = self.private {
            return serde_json::to_writer(&mut *self.out, &Private { name, key, value });
        }
        self.separate();
        Writer(self.out).serialize_str(key)?;
        self.out.push(b':');
        value.serialize(Writer(self.out))
    }

    fn close(self) -> Result<(), Error> {
        self.out.extend_from_slice(self.close.as_bytes());
        Ok(())
    }
}

/// The one member of a struct that is serde_json's own, for serde_json to write.
struct Private<'a, T: ?Sized> {
    name: &'static str,
    key: &'static str,
    value: &'a T,
}

impl<T: Serialize + ?Sized> Serialize for Private<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut inside = serializer.serialize_struct(self.name, 1)?;
        inside.serialize_field(self.key, self.value)?;
        inside.end()
    }
}

/// A map of one entry, for its key.
struct KeyOnly<'a, T: ?Sized>(&'a T);

impl<T: Serialize + ?Sized> Serialize for KeyOnly<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.0, &0u8)?;
        map.end()
    }
}

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

macro_rules! scalars {
    ($($method:ident $type:ty,)*) => {
        $(fn $method(self, value: $type) -> Result<(), Error> {
            serde_json::to_writer(self.0, &value)
        })*
    };
}

#[cold]
fn no_number(value: f64) -> Error {
    Error::custom(format_args!("{value} is no number in JSON; send `Option::None` or a string in its place"))
}

impl<'a> Serializer for Writer<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Inside<'a>;
    type SerializeTuple = Inside<'a>;
    type SerializeTupleStruct = Inside<'a>;
    type SerializeTupleVariant = Inside<'a>;
    type SerializeMap = Inside<'a>;
    type SerializeStruct = Inside<'a>;
    type SerializeStructVariant = Inside<'a>;

    scalars! {
        serialize_bool bool, serialize_char char,
        serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64, serialize_i128 i128,
        serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64, serialize_u128 u128,
    }

    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        if value.is_finite() { serde_json::to_writer(self.0, &value) } else { Err(no_number(value.into())) }
    }

    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        if value.is_finite() { serde_json::to_writer(self.0, &value) } else { Err(no_number(value)) }
    }

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        if needs_escape(text.as_bytes()) {
            return serde_json::to_writer(self.0, text);
        }
        self.0.reserve(text.len() + 2);
        self.0.push(b'"');
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(b'"');
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Error> {
        serde_json::to_writer(self.0, &Bytes(bytes))
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.0.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        let inside = self.open_variant(variant, "", "}")?;
        value.serialize(Writer(inside.out))?;
        inside.close()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Inside<'a>, Error> {
        Ok(self.open("[", "]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Inside<'a>, Error> {
        Ok(self.open("[", "]"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Inside<'a>, Error> {
        Ok(self.open("[", "]"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Inside<'a>, Error> {
        self.open_variant(variant, "[", "]}")
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Inside<'a>, Error> {
        Ok(self.open("{", "}"))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Inside<'a>, Error> {
        if name.starts_with(PRIVATE_PREFIX) {
            return Ok(Inside { private: Some(name), ..self.open("", "") });
        }
        Ok(self.open("{", "}"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Inside<'a>, Error> {
        self.open_variant(variant, "{", "}}")
    }
}

macro_rules! elements {
    ($($trait:ident $method:ident,)*) => {
        $(impl $trait for Inside<'_> {
            type Ok = ();
            type Error = Error;
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.element(value)
            }
            fn end(self) -> Result<(), Error> {
                self.close()
            }
        })*
    };
}

elements! {
    SerializeSeq serialize_element, SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field, SerializeTupleVariant serialize_field,
}

macro_rules! members {
    ($($trait:ident,)*) => {
        $(impl $trait for Inside<'_> {
            type Ok = ();
            type Error = Error;
            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
                self.member(key, value)
            }
            fn end(self) -> Result<(), Error> {
                self.close()
            }
        })*
    };
}

members! { SerializeStruct, SerializeStructVariant, }

impl SerializeMap for Inside<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        // serde_json writes `{KEY:0}`; what is around the key is taken off again.
        self.separate();
        let at = self.out.len();
        serde_json::to_writer(&mut *self.out, &KeyOnly(key))?;
        self.out.truncate(self.out.len().saturating_sub(2));
        self.out.drain(at..=at);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(Writer(self.out))
    }

    fn end(self) -> Result<(), Error> {
        self.close()
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
