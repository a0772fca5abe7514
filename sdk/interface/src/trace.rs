//! The shape of a type, found by reading samples as one: serde says at each place what it expects there.
//!
//! What it deliberately does not do: look at types that are read in ways of their own (untagged and internally tagged
//! enums, flattened members): there anything may stand.
//!
//! What always holds: the work is bounded, whatever the type; a type that refuses every sample, or panics, costs its own
//! shape and no more.

use crate::arrived::{Arrived, provide};
use crate::schema::{Field, Node, Shape, Variant};
use serde::de::value::{MapDeserializer, StrDeserializer};
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};
use std::any::type_name;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Readings of one type; each finds at least one thing out.
const PASSES_MAX: usize = 4096;
/// Places that are looked at in all of them. A type needs about as many as it has members, squared.
const STEPS_MAX: usize = 200_000;
/// Places of one type that have a shape.
const NODES_MAX: usize = 2048;
/// Structs and enums within each other.
const DEPTH_MAX: usize = 16;
/// Items of a tuple that may each be of another kind; arrays are longer.
const TUPLE_MAX: usize = 12;

/// Texts that types which read texts may want.
const TEXTS: &[&str] = &[
    "a",
    "0",
    "",
    "1s",
    "127.0.0.1",
    "127.0.0.1:1",
    "::1",
    "/",
    "1970-01-01T00:00:00Z",
    "1970-01-01",
    "00000000-0000-4000-8000-000000000000",
    "http://localhost/",
];
/// How many samples [`Deserializer::deserialize_any`] has.
const ANY_SAMPLES: usize = 6;

/// Finds the shape of a type.
pub(crate) fn trace<T: DeserializeOwned>() -> Node {
    let mut node = Node::default();
    let read = AssertUnwindSafe(|| provide(Arrived::default(), || read_samples::<T>(&mut node)));
    if catch_unwind(read).is_err() {
        node = Node { shape: Shape::Any, ..Node::default() };
    }
    node
}

fn read_samples<T: DeserializeOwned>(node: &mut Node) {
    let mut tracer = Tracer::default();
    for _ in 0..PASSES_MAX {
        let before = tracer.found;
        let _ = T::deserialize(Sample { node: &mut *node, tracer: &mut tracer });
        if tracer.found == before {
            return;
        }
    }
}

/// What is counted over all readings of a type.
#[derive(Default)]
struct Tracer {
    /// Things that were found out.
    found: usize,
    steps: usize,
    nodes: usize,
    /// The visitors of the structs and enums that are being read; a type has one of its own.
    within: Vec<&'static str>,
}

/// Why a reading ended.
#[derive(Debug)]
enum Stop {
    /// A struct has no member of this name.
    Missing(&'static str),
    /// A struct has this member twice.
    Duplicate(&'static str),
    Other,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the sample is not taken")
    }
}

impl std::error::Error for Stop {}

impl de::Error for Stop {
    fn custom<T: fmt::Display>(_: T) -> Stop {
        Stop::Other
    }

    fn missing_field(field: &'static str) -> Stop {
        Stop::Missing(field)
    }

    fn duplicate_field(field: &'static str) -> Stop {
        Stop::Duplicate(field)
    }
}

/// A value at a place, made up as its type asks for it.
struct Sample<'t> {
    node: &'t mut Node,
    tracer: &'t mut Tracer,
}

impl Sample<'_> {
    /// Notes what stands here.
    fn found(&mut self, shape: Shape) -> Result<(), Stop> {
        self.tracer.steps += 1;
        if self.tracer.steps > STEPS_MAX {
            return Err(Stop::Other);
        }
        if matches!(self.node.shape, Shape::Unknown) {
            self.tracer.found += 1;
            self.tracer.nodes += 1;
            let is_full = self.tracer.nodes > NODES_MAX;
            self.node.shape = if is_full { Shape::Any } else { shape };
        }
        match self.node.shape {
            Shape::Any if self.tracer.nodes > NODES_MAX => Err(Stop::Other),
            _ => Ok(()),
        }
    }

    /// Tries the next of so many samples the next time, where this one was not taken.
    fn tried<V>(self, read: Result<V, Stop>, samples: usize) -> Result<V, Stop> {
        if read.is_err() && self.node.sample + 1 < samples {
            self.node.sample += 1;
            self.tracer.found += 1;
        }
        read
    }

    /// Begins with a struct or enum whose visitor this is, unless it is within itself.
    fn enter(&mut self, visitor: &'static str) -> Result<(), Stop> {
        if self.tracer.within.len() >= DEPTH_MAX || self.tracer.within.contains(&visitor) {
            self.found(Shape::Any)?;
            return Err(Stop::Other);
        }
        self.tracer.within.push(visitor);
        Ok(())
    }
}

/// Reads what is within a place. Where it takes no sample and nothing more is found out, it is given none any more.
fn within<V>(
    node: &mut Node,
    tracer: &mut Tracer,
    read: impl FnOnce(Sample<'_>) -> Result<V, Stop>,
) -> Result<V, Stop> {
    let before = tracer.found;
    let read = read(Sample { node: &mut *node, tracer: &mut *tracer });
    if read.is_err() && tracer.found == before && !node.is_blocked {
        node.is_blocked = true;
        tracer.found += 1;
    }
    // What is missing within is not missing around it.
    read.map_err(|_| Stop::Other)
}

macro_rules! integers {
    ($($deserialize:ident $visit:ident $least:expr, $most:expr;)*) => {
        $(fn $deserialize<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
            self.found(Shape::Integer($least, $most))?;
            let number = if self.node.sample == 0 { 1 } else { 0 };
            let read = visitor.$visit(number);
            self.tried(read, 2)
        })*
    };
}

impl<'de> Deserializer<'de> for Sample<'_> {
    type Error = Stop;

    integers! {
        deserialize_u8 visit_u8 Some(0), Some(u8::MAX.into());
        deserialize_u16 visit_u16 Some(0), Some(u16::MAX.into());
        deserialize_u32 visit_u32 Some(0), Some(u32::MAX.into());
        deserialize_u64 visit_u64 Some(0), None;
        deserialize_u128 visit_u128 Some(0), None;
        deserialize_i8 visit_i8 Some(i8::MIN.into()), Some(i8::MAX.into());
        deserialize_i16 visit_i16 Some(i16::MIN.into()), Some(i16::MAX.into());
        deserialize_i32 visit_i32 Some(i32::MIN.into()), Some(i32::MAX.into());
        deserialize_i64 visit_i64 None, None;
        deserialize_i128 visit_i128 None, None;
    }

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.found(Shape::Any)?;
        let read = match self.node.sample {
            0 => visitor.visit_unit(),
            1 => visitor.visit_str("a"),
            2 => visitor.visit_u64(1),
            3 => visitor.visit_bool(true),
            4 => visitor.visit_seq(de::value::SeqDeserializer::new(std::iter::empty::<u8>())),
            _ => visitor.visit_map(MapDeserializer::new(std::iter::empty::<(&str, u8)>())),
        };
        self.tried(read, ANY_SAMPLES)
    }

    fn deserialize_bool<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.found(Shape::Boolean)?;
        let read = visitor.visit_bool(self.node.sample == 0);
        self.tried(read, 2)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.found(Shape::Number)?;
        let read = visitor.visit_f64(if self.node.sample == 0 { 1.0 } else { 0.0 });
        self.tried(read, 2)
    }

    fn deserialize_char<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.found(Shape::Character)?;
        visitor.visit_char('a')
    }

    fn deserialize_str<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.found(Shape::Text)?;
        let read = visitor.visit_str(TEXTS.get(self.node.sample).copied().unwrap_or_default());
        self.tried(read, TEXTS.len())
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.found(Shape::Bytes)?;
        visitor.visit_bytes(&[])
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.found(Shape::Optional(Box::default()))?;
        match &mut self.node.shape {
            Shape::Optional(inner) if !inner.is_blocked => {
                within(inner, self.tracer, |sample| visitor.visit_some(sample))
            }
            _ => visitor.visit_none(),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.found(Shape::Null)?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        // JSON as it is: serde_json reads it by a name of its own.
        if name.starts_with("$serde_json::") {
            self.found(Shape::Any)?;
            return visitor.visit_map(MapDeserializer::new([(name, "null")].into_iter()));
        }
        self.enter(type_name::<V>())?;
        let Sample { node, tracer } = self;
        let read = visitor.visit_newtype_struct(Sample { node, tracer: &mut *tracer });
        tracer.within.pop();
        read
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.found(Shape::List(Box::default()))?;
        match &mut self.node.shape {
            Shape::List(item) => {
                let left = usize::from(!item.is_blocked);
                visitor.visit_seq(Items {
                    nodes: std::slice::from_mut(&mut **item),
                    left,
                    tracer: self.tracer,
                })
            }
            _ => Err(Stop::Other),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(mut self, len: usize, visitor: V) -> Result<V::Value, Stop> {
        if len > TUPLE_MAX {
            self.found(Shape::Array(Box::default(), len))?;
        } else {
            self.found(Shape::Tuple(std::iter::repeat_with(Node::default).take(len).collect()))?;
        }
        let nodes = match &mut self.node.shape {
            Shape::Array(item, _) => std::slice::from_mut(&mut **item),
            Shape::Tuple(items) => &mut **items,
            _ => return Err(Stop::Other),
        };
        visitor.visit_seq(Items { nodes, left: len, tracer: self.tracer })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.found(Shape::Map(Box::default()))?;
        let Shape::Map(of) = &mut self.node.shape else { return Err(Stop::Other) };
        let is_left = !of.0.is_blocked && !of.1.is_blocked;
        visitor.visit_map(Entry { of, is_left, tracer: self.tracer })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let beside = match fields {
            ["$stream", ..] => Some("stream"),
            ["$blob", ..] => Some("blob"),
            ["$callback", ..] => Some("callback"),
            _ => None,
        };
        if let Some(format) = beside {
            self.found(Shape::Beside(format))?;
            return Err(Stop::Other);
        }
        self.enter(type_name::<V>())?;
        let read = self.read_struct(fields, visitor);
        self.tracer.within.pop();
        read
    }

    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.enter(type_name::<V>())?;
        let read = self.read_enum(variants, visitor);
        self.tracer.within.pop();
        read
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.found(Shape::Any)?;
        visitor.visit_unit()
    }
}

impl Sample<'_> {
    /// Reads a struct with all its members; once these are known, with all but one, to see whether it may be absent.
    fn read_struct<'de, V: Visitor<'de>>(
        &mut self,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let field = |name| Field { name, node: Node::default(), is_required: None, is_alias: false };
        self.found(Shape::Struct(names.iter().copied().map(field).collect()))?;
        let tracer = &mut *self.tracer;
        let Shape::Struct(fields) = &mut self.node.shape else { return Err(Stop::Other) };
        let is_open = |field: &Field| !field.is_alias && field.is_required.is_none();
        let is_unread = |field: &Field| {
            !field.is_alias && !field.node.is_blocked && matches!(field.node.shape, Shape::Unknown)
        };
        let left_out = match fields.iter().any(is_unread) {
            true => None,
            false => fields.iter().position(is_open),
        };
        let mut given = None;
        let members =
            Members { fields: &mut *fields, at: 0, left_out, given: &mut given, tracer: &mut *tracer };
        let read = visitor.visit_map(members);
        let found = match (&read, left_out.and_then(|at| fields.get_mut(at))) {
            (Ok(_), Some(field)) => field.is_required.replace(false).is_none(),
            (Err(Stop::Missing(name)), Some(field)) => {
                // Another one that takes no sample is missed before it.
                let is_required = *name == field.name || !field.node.is_optional();
                field.is_required.replace(is_required).is_none()
            }
            (Err(Stop::Duplicate(name)), _) => distinguish(fields, name, given),
            _ => false,
        };
        tracer.found += usize::from(found);
        read
    }

    /// Reads an enum as the first variant that is not known yet, or as one that takes its sample.
    fn read_enum<'de, V: Visitor<'de>>(
        &mut self,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let variant = |name| Variant { name, content: None, is_done: false, is_taken: false };
        self.found(Shape::Enum(names.iter().copied().map(variant).collect()))?;
        let tracer = &mut *self.tracer;
        let Shape::Enum(variants) = &mut self.node.shape else { return Err(Stop::Other) };
        let at = variants.iter().position(|variant| !variant.is_done);
        let at = at.or_else(|| variants.iter().position(|variant| variant.is_taken)).unwrap_or(0);
        let Some(variant) = variants.get_mut(at) else { return Err(Stop::Other) };
        let before = tracer.found;
        let read = visitor.visit_enum(Chosen { variant: &mut *variant, tracer: &mut *tracer });
        if !variant.is_done && tracer.found == before {
            (variant.is_done, variant.is_taken) = (true, read.is_ok());
            tracer.found += 1;
        }
        read.map_err(|_| Stop::Other)
    }
}

/// Finds out which of two names of one member is the other's alias: the member's own is `name`, and `given` came last. Whether
/// that is something new.
fn distinguish(fields: &mut [Field], name: &str, given: Option<usize>) -> bool {
    let own = fields.iter().position(|field| field.name == name);
    match given {
        // The own one comes first the next time.
        Some(last) if own == Some(last) => {
            fields.get_mut(..=last).into_iter().for_each(|fields| fields.rotate_right(1));
            last > 0
        }
        Some(last) => fields.get_mut(last).is_some_and(|field| !std::mem::replace(&mut field.is_alias, true)),
        None => false,
    }
}

/// Items of a list or tuple: each of its own node, or all of the only one.
struct Items<'t> {
    nodes: &'t mut [Node],
    left: usize,
    tracer: &'t mut Tracer,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Stop> {
        if self.left == 0 {
            return Ok(None);
        }
        let at = if self.nodes.len() == 1 { 0 } else { self.nodes.len().saturating_sub(self.left) };
        self.left -= 1;
        let Some(node) = self.nodes.get_mut(at) else { return Ok(None) };
        if node.is_blocked {
            return Err(Stop::Other);
        }
        within(node, self.tracer, |sample| seed.deserialize(sample)).map(Some)
    }
}

/// The one entry of a map.
struct Entry<'t> {
    of: &'t mut (Node, Node),
    is_left: bool,
    tracer: &'t mut Tracer,
}

impl<'de> MapAccess<'de> for Entry<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
        if !std::mem::take(&mut self.is_left) {
            return Ok(None);
        }
        within(&mut self.of.0, self.tracer, |sample| seed.deserialize(sample)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        within(&mut self.of.1, self.tracer, |sample| seed.deserialize(sample))
    }
}

/// The members of a struct, but for one that is left out and those that take no sample.
struct Members<'t> {
    fields: &'t mut [Field],
    at: usize,
    left_out: Option<usize>,
    /// The last that was given.
    given: &'t mut Option<usize>,
    tracer: &'t mut Tracer,
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
        while let Some(field) = self.fields.get(self.at) {
            if Some(self.at) == self.left_out || field.node.is_blocked || field.is_alias {
                self.at += 1;
                continue;
            }
            *self.given = Some(self.at);
            let name: StrDeserializer<'_, Stop> = field.name.into_deserializer();
            return seed.deserialize(name).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        let Some(field) = self.fields.get_mut(self.at) else { return Err(Stop::Other) };
        self.at += 1;
        within(&mut field.node, self.tracer, |sample| seed.deserialize(sample))
    }
}

/// The variant that an enum is read as.
struct Chosen<'t> {
    variant: &'t mut Variant,
    tracer: &'t mut Tracer,
}

impl<'de, 't> EnumAccess<'de> for Chosen<'t> {
    type Error = Stop;
    type Variant = Chosen<'t>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Chosen<'t>), Stop> {
        let name: StrDeserializer<'_, Stop> = self.variant.name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl Chosen<'_> {
    fn content<V>(self, read: impl FnOnce(Sample<'_>) -> Result<V, Stop>) -> Result<V, Stop> {
        within(self.variant.content.get_or_insert_default(), self.tracer, read)
    }
}

impl<'de> VariantAccess<'de> for Chosen<'_> {
    type Error = Stop;

    fn unit_variant(self) -> Result<(), Stop> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Stop> {
        self.content(|sample| seed.deserialize(sample))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Stop> {
        self.content(|sample| sample.deserialize_tuple(len, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.content(|sample| sample.deserialize_struct("", fields, visitor))
    }
}
