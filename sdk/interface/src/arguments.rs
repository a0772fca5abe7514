//! Arguments by name as params, and params as arguments.
//!
//! What it deliberately does not do: know which method they are for.
//!
//! What always holds: what a method does not take is refused by name, what it takes is there once, and a missing
//! [`Option`] is `None`.

use crate::CallError;
use crate::parcel::{Parcel, collect};
use crate::schema::Node;
use crate::trace::trace;
use rpc_plugin_wire::json::write_json;
use rpc_plugin_wire::words::invalid_params;
use rpc_plugin_wire::{ErrorCode, ErrorObject};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor, value};
use serde::{Serialize, forward_to_deserialize_any};
use serde_json::value::RawValue;
use std::fmt;
use std::marker::PhantomData;

/// What can be an argument or a result of an interface's method: anything that serde writes and reads again.
/// Nobody needs to implement it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument or a result of an interface",
    label = "must be written as JSON and read again",
    note = "derive `serde::Serialize` and `serde::Deserialize` for `{Self}`; streams, blobs and callbacks have it already",
    note = "it must own what it holds: `String`, not `&str`; `Vec<T>`, not `&[T]`"
)]
pub trait Value: Serialize + DeserializeOwned {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Value for T {}

/// What a client takes for an argument of type `T`: one, or a reference to one; `&str` for [`String`], and a slice
/// for [`Vec`]. All are the same JSON.
#[diagnostic::on_unimplemented(
    message = "this argument is `{T}`, and `{Self}` is given",
    label = "expected `{T}` or a reference to one"
)]
pub trait PassedAs<T>: Serialize {}

#[diagnostic::do_not_recommend]
impl<T: Serialize> PassedAs<T> for T {}
#[diagnostic::do_not_recommend]
impl<T: Serialize> PassedAs<T> for &T {}
#[diagnostic::do_not_recommend]
impl<T: Serialize> PassedAs<Vec<T>> for &[T] {}
impl PassedAs<String> for &str {}

/// Writes arguments one after the other. What fails first is told at the end.
#[derive(Debug)]
pub struct Writer {
    text: Vec<u8>,
    failed: Option<String>,
}

impl Writer {
    /// Writes one.
    pub fn add<T: Serialize + ?Sized>(&mut self, name: &'static str, argument: &T) {
        let name = without_raw(name);
        self.text.push(if self.text.is_empty() { b'{' } else { b',' });
        // An identifier needs no escapes.
        self.text.extend_from_slice(b"\"");
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b"\":");
        if let Err(error) = write_json(&mut self.text, argument) {
            self.failed.get_or_insert_with(|| format!("argument `{name}` does not serialise: {error}"));
        }
    }
}

/// The params that these arguments are, none if there are none, and what travels beside them.
///
/// # Errors
/// `invalid_params`, not sent, when one does not serialise: which.
pub(crate) fn write_arguments(
    write: impl FnOnce(&mut Writer),
) -> Result<(Option<String>, Parcel), CallError> {
    let mut writer = Writer { text: Vec::new(), failed: None };
    let ((), parcel) = collect(|| write(&mut writer));
    let refused = |text: String| CallError::not_sent(ErrorCode::InvalidParams, text);
    if let Some(failed) = writer.failed {
        return Err(refused(failed));
    }
    if writer.text.is_empty() {
        return Ok((None, parcel));
    }
    writer.text.push(b'}');
    let text = String::from_utf8(writer.text).map_err(|error| refused(error.to_string()))?;
    Ok((Some(text), parcel))
}

/// The name of `r#type` is `type`.
pub(crate) fn without_raw(name: &str) -> &str {
    name.strip_prefix("r#").unwrap_or(name)
}

/// Reads arguments of these names. Absent params are the same as empty ones.
///
/// # Errors
/// `invalid_params`: one is missing, of the wrong type, there twice, or not taken.
pub(crate) fn read_arguments<T: Arguments>(
    names: &[&'static str],
    params: Option<&RawValue>,
) -> Result<T, ErrorObject> {
    let text = params.map_or("{}", RawValue::get);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = deserializer.deserialize_map(Reader { names, types: PhantomData });
    read.map_err(|error| ErrorObject::new(ErrorCode::InvalidParams, invalid_params(&error, text)))
}

struct Reader<'n, T> {
    names: &'n [&'static str],
    types: PhantomData<T>,
}

impl<'de, T: Arguments> Visitor<'de> for Reader<'_, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object of arguments ({})", Listed(self.names))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::read(self.names, map)
    }
}

/// Names as a person reads them.
struct Listed<'n>(&'n [&'static str]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("there are none");
        }
        for (at, name) in self.0.iter().enumerate() {
            write!(f, "{}`{}`", if at == 0 { "" } else { ", " }, without_raw(name))?;
        }
        Ok(())
    }
}

/// A member's name as the number of the argument.
struct Name<'n>(&'n [&'static str]);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an argument")
    }

    fn visit_str<E: serde::de::Error>(self, seen: &str) -> Result<usize, E> {
        let number = self.0.iter().position(|name| without_raw(name) == seen);
        number.ok_or_else(|| {
            let seen: String = seen.chars().take(64).collect();
            E::custom(format_args!("no argument is called `{seen}`; arguments: {}", Listed(self.0)))
        })
    }
}

/// Tuples of up to twelve arguments.
#[diagnostic::on_unimplemented(
    message = "a method of an interface has more than twelve arguments",
    label = "put some of them into a struct"
)]
pub trait Arguments: Sized {
    /// Reads them out of an object's members.
    ///
    /// # Errors
    /// As [`read_arguments`].
    fn read<'de, A: MapAccess<'de>>(names: &[&'static str], map: A) -> Result<Self, A::Error>;

    /// The shape of each.
    fn nodes() -> Vec<Node>;
}

fn fill<'de, T: DeserializeOwned, A: MapAccess<'de>>(
    slot: &mut Option<T>,
    name: Option<&&'static str>,
    map: &mut A,
) -> Result<(), A::Error> {
    let name = name.map_or("", |name| without_raw(name));
    if slot.is_some() {
        return Err(A::Error::custom(format_args!("argument `{name}` is there twice")));
    }
    let value =
        map.next_value().map_err(|error| A::Error::custom(format_args!("argument `{name}`: {error}")));
    *slot = Some(value?);
    Ok(())
}

fn taken<T: DeserializeOwned, E: serde::de::Error>(
    slot: Option<T>,
    name: Option<&&'static str>,
) -> Result<T, E> {
    if let Some(value) = slot {
        return Ok(value);
    }
    let name = name.map_or("", |name| without_raw(name));
    T::deserialize(Missing).map_err(|_| E::custom(format_args!("argument `{name}` is missing")))
}

/// What is not there: only an [`Option`] can be read of it.
struct Missing;

impl<'de> Deserializer<'de> for Missing {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, value::Error> {
        Err(value::Error::custom("missing"))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, value::Error> {
        visitor.visit_none()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

macro_rules! tuples {
    ($(($($T:ident $slot:ident $number:literal),*);)*) => {
        $(impl<$($T: DeserializeOwned),*> Arguments for ($($T,)*) {
            fn read<'de, Map: MapAccess<'de>>(
                names: &[&'static str],
                mut map: Map,
            ) -> Result<Self, Map::Error> {
                $(let mut $slot = None;)*
                while let Some(number) = map.next_key_seed(Name(names))? {
                    match number {
                        $($number => fill(&mut $slot, names.get($number), &mut map)?,)*
                        other => return Err(Map::Error::custom(format_args!("there is no argument {other}"))),
                    }
                }
                Ok(($(taken($slot, names.get($number))?,)*))
            }

            fn nodes() -> Vec<Node> {
                vec![$(trace::<$T>()),*]
            }
        })*
    };
}

tuples! {
    ();
    (A a 0);
    (A a 0, B b 1);
    (A a 0, B b 1, C c 2);
    (A a 0, B b 1, C c 2, D d 3);
    (A a 0, B b 1, C c 2, D d 3, E e 4);
    (A a 0, B b 1, C c 2, D d 3, E e 4, F f 5);
    (A a 0, B b 1, C c 2, D d 3, E e 4, F f 5, G g 6);
    (A a 0, B b 1, C c 2, D d 3, E e 4, F f 5, G g 6, H h 7);
    (A a 0, B b 1, C c 2, D d 3, E e 4, F f 5, G g 6, H h 7, I i 8);
    (A a 0, B b 1, C c 2, D d 3, E e 4, F f 5, G g 6, H h 7, I i 8, J j 9);
    (A a 0, B b 1, C c 2, D d 3, E e 4, F f 5, G g 6, H h 7, I i 8, J j 9, K k 10);
    (A a 0, B b 1, C c 2, D d 3, E e 4, F f 5, G g 6, H h 7, I i 8, J j 9, K k 10, L l 11);
}
