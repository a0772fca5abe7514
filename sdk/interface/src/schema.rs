//! The shape of a type as JSON, and the JSON Schema that says it.
//!
//! What it deliberately does not do: find the shape of a type; `trace.rs` does.
//!
//! What always holds: a schema has only keywords of `docs/protocol.md`, and is no deeper than a description may be.

use rpc_plugin_wire::describe::{SCHEMA_NESTING_MAX, STREAM_PLACES_MAX};
use std::fmt::Write as _;

/// A place in a type, with what is known of it.
#[derive(Debug, Default)]
pub struct Node {
    pub(crate) shape: Shape,
    /// Whether no value that was tried is taken there.
    pub(crate) is_blocked: bool,
    /// The sample that is tried next.
    pub(crate) sample: usize,
}

/// What stands at a place.
#[derive(Debug, Default)]
pub(crate) enum Shape {
    /// Nothing is known.
    #[default]
    Unknown,
    /// Any JSON, as far as the type tells.
    Any,
    Null,
    Boolean,
    /// Between these, where that is narrower than 64 bits.
    Integer(Option<i64>, Option<i64>),
    Number,
    Text,
    Character,
    Bytes,
    /// This, or null.
    Optional(Box<Node>),
    List(Box<Node>),
    /// So many of one kind.
    Array(Box<Node>, usize),
    Tuple(Vec<Node>),
    /// Any names: the name's own shape, and that of its value.
    Map(Box<(Node, Node)>),
    Struct(Vec<Field>),
    Enum(Vec<Variant>),
    /// What travels beside the JSON, by the format's name: `stream`, `blob`, `callback`.
    Beside(&'static str),
}

/// A member of a struct.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) node: Node,
    /// Whether it has to be there; `None` where that is not known yet.
    pub(crate) is_required: Option<bool>,
    /// Whether it is another name of a member.
    pub(crate) is_alias: bool,
}

/// A variant of an enum.
#[derive(Debug)]
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    /// What it holds; `None` where that is nothing.
    pub(crate) content: Option<Node>,
    /// Whether all of it is known.
    pub(crate) is_done: bool,
    /// Whether its sample is taken.
    pub(crate) is_taken: bool,
}

impl Node {
    /// Whether it may be left out of an object, as far as its shape tells.
    pub(crate) fn is_optional(&self) -> bool {
        matches!(self.shape, Shape::Optional(_))
    }

    /// The schema, as JSON.
    pub(crate) fn schema(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 1);
        out
    }

    /// Appends its schema, whose own object is that level of the whole.
    fn write(&self, out: &mut String, level: usize) {
        // An object of members has two levels more.
        if level + 2 > SCHEMA_NESTING_MAX {
            return out.push_str("{}");
        }
        match &self.shape {
            Shape::Unknown | Shape::Any => out.push_str("{}"),
            Shape::Null => out.push_str(r#"{"type":"null"}"#),
            Shape::Boolean => out.push_str(r#"{"type":"boolean"}"#),
            Shape::Integer(least, most) => {
                out.push_str(r#"{"type":"integer""#);
                for (keyword, bound) in [("minimum", least), ("maximum", most)] {
                    bound.iter().for_each(|bound| append(out, format_args!(r#","{keyword}":{bound}"#)));
                }
                out.push('}');
            }
            Shape::Number => out.push_str(r#"{"type":"number"}"#),
            Shape::Text => out.push_str(r#"{"type":"string"}"#),
            Shape::Character => out.push_str(r#"{"type":"string","minLength":1,"maxLength":1}"#),
            Shape::Bytes => {
                out.push_str(r#"{"type":"array","items":{"type":"integer","minimum":0,"maximum":255}}"#)
            }
            Shape::Optional(node) => write_optional(out, node, level),
            Shape::List(item) => {
                out.push_str(r#"{"type":"array","items":"#);
                item.write(out, level + 1);
                out.push('}');
            }
            Shape::Array(item, length) => {
                out.push_str(r#"{"type":"array","items":"#);
                item.write(out, level + 1);
                append(out, format_args!(r#","minItems":{length},"maxItems":{length}}}"#));
            }
            Shape::Tuple(items) => {
                out.push_str(r#"{"type":"array","prefixItems":["#);
                write_each(out, items, |out, item| item.write(out, level + 2));
                let length = items.len();
                append(out, format_args!(r#"],"minItems":{length},"maxItems":{length}}}"#));
            }
            Shape::Map(of) => {
                out.push_str(r#"{"type":"object","additionalProperties":"#);
                of.1.write(out, level + 1);
                out.push('}');
            }
            Shape::Struct(fields) => {
                let fields = fields.iter().filter(|field| !field.is_alias);
                let members = fields.map(|field| Member {
                    name: field.name,
                    node: &field.node,
                    is_required: field.is_required.unwrap_or(!field.node.is_optional()),
                });
                write_object(out, &members.collect::<Vec<_>>(), false, level);
            }
            Shape::Enum(variants) => write_enum(out, variants, level),
            Shape::Beside(format) => {
                append(out, format_args!(r#"{{"type":"object","format":"{format}"}}"#));
            }
        }
    }

    /// Adds the places within it where streams and blobs stand.
    pub(crate) fn streams(&self, place: &str, places: &mut Vec<String>) {
        if places.len() >= STREAM_PLACES_MAX {
            return;
        }
        match &self.shape {
            Shape::Beside("stream" | "blob") => places.push(place.to_owned()),
            Shape::Optional(node) | Shape::List(node) | Shape::Array(node, _) => node.streams(place, places),
            Shape::Tuple(nodes) => nodes.iter().for_each(|node| node.streams(place, places)),
            Shape::Map(of) => of.1.streams(place, places),
            Shape::Struct(fields) => {
                for field in fields {
                    field.node.streams(&format!("{place}.{}", field.name), places);
                }
            }
            Shape::Enum(variants) => {
                for variant in variants {
                    let node = variant.content.as_ref();
                    node.into_iter().for_each(|node| node.streams(place, places));
                }
            }
            _ => {}
        }
    }
}

/// A member of an object, as its schema says it.
pub(crate) struct Member<'n> {
    pub(crate) name: &'n str,
    pub(crate) node: &'n Node,
    pub(crate) is_required: bool,
}

/// Appends the schema of an object of these members; `is_closed`: and of no others.
pub(crate) fn write_object(out: &mut String, members: &[Member<'_>], is_closed: bool, level: usize) {
    out.push_str(r#"{"type":"object""#);
    if !members.is_empty() {
        out.push_str(r#","properties":{"#);
        write_each(out, members, |out, member| {
            push_text(out, member.name);
            out.push(':');
            member.node.write(out, level + 2);
        });
        out.push('}');
    }
    let required: Vec<&str> = members.iter().filter(|member| member.is_required).map(|m| m.name).collect();
    if !required.is_empty() {
        out.push_str(r#","required":["#);
        write_each(out, &required, |out, name| push_text(out, name));
        out.push(']');
    }
    out.push_str(if is_closed { r#","additionalProperties":false}"# } else { "}" });
}

fn write_optional(out: &mut String, node: &Node, level: usize) {
    let mut inner = String::new();
    node.write(&mut inner, level + 2);
    let typed = inner.strip_prefix(r#"{"type":""#).and_then(|rest| rest.split_once('"'));
    match typed {
        _ if inner == "{}" => out.push_str("{}"),
        Some((name, rest)) => append(out, format_args!(r#"{{"type":["{name}","null"]{rest}"#)),
        None => append(out, format_args!(r#"{{"anyOf":[{inner},{{"type":"null"}}]}}"#)),
    }
}

fn write_enum(out: &mut String, variants: &[Variant], level: usize) {
    let names: Vec<&str> = variants.iter().filter(|v| v.content.is_none()).map(|v| v.name).collect();
    let contents = variants.iter().filter_map(|variant| Some((variant.name, variant.content.as_ref()?)));
    let contents: Vec<(&str, &Node)> = contents.collect();
    let push_names = |out: &mut String| {
        out.push_str(r#"{"enum":["#);
        write_each(out, &names, |out, name| push_text(out, name));
        out.push_str("]}");
    };
    if contents.is_empty() {
        return push_names(out);
    }
    out.push_str(r#"{"anyOf":["#);
    if !names.is_empty() {
        push_names(out);
        out.push(',');
    }
    write_each(out, &contents, |out, (name, node)| {
        write_object(out, &[Member { name, node, is_required: true }], true, level + 2);
    });
    out.push_str("]}");
}

fn write_each<T>(out: &mut String, items: &[T], mut write: impl FnMut(&mut String, &T)) {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write(out, item);
    }
}

/// Appends a text as JSON.
fn push_text(out: &mut String, text: &str) {
    append(out, format_args!("{}", serde_json::Value::from(text)));
}

fn append(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A String takes everything.
    let _ = out.write_fmt(text);
}
