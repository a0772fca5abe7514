//! Descriptions of methods, made of their types and of the comments at their declaration.
//!
//! What it deliberately does not do: run before somebody asks. Finding the shape of a type takes a few microseconds a
//! member, and code of the type's own.

use crate::arguments::{Arguments, without_raw};
use crate::schema::{Member, Node, Shape, write_object};
use crate::trace::trace;
use rpc_plugin_wire::cut::cut;
use rpc_plugin_wire::describe::{DOCS_BYTES_MAX, MethodDescription};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// Describes a method of an interface, by its name on the wire: these arguments, a result of that type, and the lines of
/// its comment.
pub(crate) fn of_interface<A: Arguments, R: DeserializeOwned>(
    name: &str,
    arguments: &[&'static str],
    docs: &[&str],
) -> MethodDescription {
    let nodes = A::nodes();
    let mut method = MethodDescription::new(name).docs(joined(docs));
    let members = arguments.iter().zip(&nodes).map(|(name, node)| Member {
        name: without_raw(name),
        node,
        is_required: !node.is_optional(),
    });
    let mut params = String::new();
    write_object(&mut params, &members.collect::<Vec<_>>(), true, 1);
    method.params = RawValue::from_string(params).ok();
    for (name, node) in arguments.iter().zip(&nodes) {
        node.streams(&format!("params.{}", without_raw(name)), &mut method.streams);
    }
    let result = trace::<R>();
    method.result = RawValue::from_string(result.schema()).ok();
    result.streams("result", &mut method.streams);
    method
}

/// Describes a method whose params are read as a `P`. Of a result nothing is known that can only be written.
#[must_use]
pub fn of_params<P: DeserializeOwned>(name: &str) -> MethodDescription {
    let mut method = MethodDescription::new(name);
    let mut node = trace::<P>();
    // Params are an object, or absent.
    if matches!(node.shape, Shape::Null) {
        node = Node { shape: Shape::Struct(Vec::new()), ..Node::default() };
    }
    method.params = RawValue::from_string(node.schema()).ok();
    node.streams("params", &mut method.streams);
    method
}

/// The lines of a comment as one text, without the space that stands before each.
fn joined(lines: &[&str]) -> String {
    let lines = lines.iter().flat_map(|line| line.split('\n'));
    let lines: Vec<&str> = lines.map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect();
    let mut docs = lines.join("\n").trim().to_owned();
    cut(&mut docs, DOCS_BYTES_MAX);
    docs
}
