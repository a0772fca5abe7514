//! JSON whose every value knows where in the file it stands.
//!
//! What this file is for: walking a JSON text one level at a time, with the line of each key for
//! error messages. serde_json checks the syntax; a value's place is where its raw text lies within
//! the whole. What it deliberately does not do: know any key.
//!
//! What always holds: a key that stands twice is an error; a value of the wrong kind is an error that
//! names both kinds and does not show the value.

use super::value::Value;
use crate::state::config_error::{ConfigErrors, quoted};
use crate::state::plugin_config::{check_path, check_string};
use rpc_plugin_wire::suggest::nearest;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::path::{Path, PathBuf};

/// The file that is read, and what was found wrong so far.
pub(crate) struct JsonSource<'a> {
    pub(crate) path: &'a Path,
    pub(crate) text: &'a str,
    pub(crate) errors: ConfigErrors,
}

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Node<'a> {
    raw: &'a str,
    /// Where its key, or in an array itself, stands. Bytes from the start of the text.
    at: usize,
    /// The keys that lead to it, such as `plugins.echo.args[0]`.
    pub(crate) key: String,
}

/// An object whose members are taken out one by one; what remains is unknown.
pub(crate) struct Object<'a> {
    members: Vec<(String, Node<'a>)>,
}

impl<'a> JsonSource<'a> {
    /// The value that the whole text is, if its syntax is right.
    pub(crate) fn root(&mut self) -> Option<Node<'a>> {
        if self.text.starts_with('\u{feff}') {
            let place = self.position_at(0);
            self.errors.add(place, "begins with a byte-order mark", "UTF-8 without one");
            return None;
        }
        match serde_json::from_str::<&'a RawValue>(self.text) {
            Ok(raw) => Some(Node { raw: raw.get(), at: self.offset(raw.get()), key: String::new() }),
            Err(error) => {
                let place = format!("{}:{}: column {}", self.path.display(), error.line(), error.column());
                let problem = error.to_string();
                let problem = problem.split(" at line ").next().unwrap_or_default();
                self.errors.add(place, problem, "JSON (RFC 8259), without comments or trailing commas");
                None
            }
        }
    }

    /// Where a part of the text begins. Bytes from its start.
    fn offset(&self, part: &str) -> usize {
        (part.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize)
    }

    /// `FILE:LINE` of a value's key.
    pub(crate) fn position(&self, node: &Node<'_>) -> String {
        self.position_at(node.at)
    }

    fn position_at(&self, offset: usize) -> String {
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        let line = 1 + before.iter().filter(|b| **b == b'\n').count();
        format!("{}:{line}", self.path.display())
    }

    /// Notes an error at a value.
    pub(crate) fn error(&mut self, node: &Node<'_>, problem: impl Into<String>, allowed: impl Into<String>) {
        self.error_below(node, "", problem, allowed);
    }

    /// Notes an error at a key that is missing in, or comes from outside of, an object.
    pub(crate) fn error_below(
        &mut self,
        node: &Node<'_>,
        key: &str,
        problem: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        if self.errors.is_full() {
            // Finding the line again and again would take long in a long file.
            self.errors.more += 1;
            return;
        }
        let key = if key.is_empty() { node.key.clone() } else { join(&node.key, key) };
        let at = self.position(node);
        let place = if key.is_empty() { at } else { format!("{at}: key {key:?}") };
        self.errors.add(place, problem, allowed);
    }

    /// The members of an object, in their order.
    pub(crate) fn object(&mut self, node: &Node<'a>) -> Option<Object<'a>> {
        let Ok(raw) = serde_json::from_str::<Members<'a>>(node.raw) else {
            match node.raw.starts_with('{') {
                true => {
                    self.error(node, "has a key with an escape that is no character", "Unicode characters")
                }
                false => self.error(node, format!("is {}", node.kind()), "an object"),
            }
            return None;
        };
        let mut object = Object { members: Vec::with_capacity(raw.0.len()) };
        // Sorted beside the list: a file can hold a hundred thousand keys.
        let mut seen = std::collections::BTreeMap::new();
        for (name, value) in raw.0 {
            let at = self.key_offset(self.offset(value.get()));
            let member = Node { raw: value.get(), at, key: join(&node.key, &name) };
            if let Some(first) = seen.insert(name.clone(), at) {
                let problem = match self.errors.is_full() {
                    true => String::new(),
                    false => format!("is there already, at {}", self.position_at(first)),
                };
                self.error(&member, problem, "each key once");
            } else {
                object.members.push((name, member));
            }
        }
        Some(object)
    }

    /// Where the key of the value at `value` ends. A JSON string has no line breaks in it, so this is
    /// the key's line.
    fn key_offset(&self, value: usize) -> usize {
        let blank = [' ', '\t', '\r', '\n'];
        let before = self.text.get(..value).unwrap_or_default().trim_end_matches(blank);
        before.strip_suffix(':').unwrap_or(before).trim_end_matches(blank).len()
    }

    /// The elements of an array; more than `elements_max` is an error.
    pub(crate) fn array(&mut self, node: &Node<'a>, elements_max: usize) -> Option<Vec<Node<'a>>> {
        let Ok(raw) = serde_json::from_str::<Vec<&'a RawValue>>(node.raw) else {
            self.error(node, format!("is {}", node.kind()), "an array");
            return None;
        };
        if !self.is_within(node, "elements", raw.len(), elements_max) {
            return None;
        }
        let element = |(index, value): (usize, &'a RawValue)| Node {
            raw: value.get(),
            at: self.offset(value.get()),
            key: format!("{}[{index}]", node.key),
        };
        Some(raw.into_iter().enumerate().map(element).collect())
    }

    /// Notes an error if there are more than allowed.
    pub(crate) fn is_within(&mut self, node: &Node<'_>, what: &str, seen: usize, allowed_max: usize) -> bool {
        if seen > allowed_max {
            self.error(node, format!("has {seen} {what}"), format!("at most {allowed_max}"));
        }
        seen <= allowed_max
    }

    /// A string.
    pub(crate) fn string(&mut self, node: &Node<'a>) -> Option<String> {
        let string = serde_json::from_str::<String>(node.raw);
        match string {
            Ok(string) => return Some(string),
            Err(_) if node.raw.starts_with('"') => {
                self.error(node, "has an escape that is no character", "a string of Unicode characters");
            }
            Err(_) => self.error(node, format!("is {}", node.kind()), "a string"),
        }
        None
    }

    /// An absolute path.
    pub(crate) fn absolute_path(&mut self, node: &Node<'a>) -> Option<PathBuf> {
        let path = PathBuf::from(self.string(node)?);
        match check_path(&path) {
            Ok(()) => Some(path),
            Err(problem) => {
                self.error(node, problem, "an absolute path");
                None
            }
        }
    }

    /// A string that a program can be passed as one argument.
    pub(crate) fn argument(&mut self, node: &Node<'a>, bytes_max: usize) -> Option<String> {
        let string = self.string(node)?;
        match check_string(string.as_ref(), bytes_max) {
            Ok(()) => Some(string),
            Err((problem, allowed)) => {
                self.error(node, problem, allowed);
                None
            }
        }
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, node: &Node<'a>) -> Option<bool> {
        let boolean = serde_json::from_str(node.raw).ok();
        if boolean.is_none() {
            self.error(node, format!("is {}", node.kind()), "true or false");
        }
        boolean
    }

    /// Notes what was not taken out of an object as unknown keys.
    pub(crate) fn unknown<'k>(
        &mut self,
        object: &Object<'a>,
        allowed: impl Iterator<Item = &'k str> + Clone,
    ) {
        let list: Vec<&str> = allowed.clone().collect();
        for (name, node) in &object.members {
            if self.errors.is_full() {
                self.errors.more += 1;
                continue;
            }
            let problem = match nearest(name, allowed.clone()) {
                Some(name) => format!("unknown key; did you mean {name:?}?"),
                None => "unknown key".to_owned(),
            };
            self.error(node, problem, list.join(", "));
        }
    }
}

impl<'a> Object<'a> {
    /// Takes out the member of that name.
    pub(crate) fn take(&mut self, name: &str) -> Option<Node<'a>> {
        let at = self.members.iter().position(|(member, _)| member == name)?;
        Some(self.members.remove(at).1)
    }

    /// Whether there is a member of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.members.iter().any(|(member, _)| member == name)
    }

    /// Takes out the member of that name, if it is as `is_wanted` says.
    pub(crate) fn take_if(&mut self, name: &str, is_wanted: impl Fn(&Node<'a>) -> bool) -> Option<Node<'a>> {
        let at = self.members.iter().position(|(member, node)| member == name && is_wanted(node))?;
        Some(self.members.remove(at).1)
    }

    /// Takes out all members.
    pub(crate) fn take_all(&mut self) -> Vec<(String, Node<'a>)> {
        std::mem::take(&mut self.members)
    }
}

impl<'a> Node<'a> {
    /// A setting's value as it was written; `None` for what no setting is written as.
    pub(crate) fn value<'t>(&self, text: &'t mut String) -> Option<Value<'t>> {
        if self.raw.starts_with('"') {
            *text = serde_json::from_str(self.raw).ok()?;
            return Some(Value::Text(text));
        }
        if let Ok(switch) = serde_json::from_str(self.raw) {
            return Some(Value::Switch(switch));
        }
        serde_json::from_str(self.raw).ok().map(Value::Integer)
    }

    pub(crate) fn is_array(&self) -> bool {
        self.raw.starts_with('[')
    }

    /// What it is, for an error about what it is not.
    pub(crate) fn kind(&self) -> String {
        match self.raw.as_bytes().first() {
            Some(b'{') => "an object".to_owned(),
            Some(b'[') => "an array".to_owned(),
            Some(b'"') => "a string".to_owned(),
            Some(b't' | b'f') => "true or false".to_owned(),
            Some(b'n') => "null".to_owned(),
            _ => "a number".to_owned(),
        }
    }

    /// The same for a value that may be shown.
    pub(crate) fn kind_shown(&self) -> String {
        match self.kind().as_str() {
            "a number" | "true or false" => quoted(self.raw).trim_matches('"').to_owned(),
            kind => kind.to_owned(),
        }
    }
}

fn join(path: &str, key: &str) -> String {
    // A key of the file may be as long as the file.
    let key: String = key.chars().take(100).collect();
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// The members of a JSON object as they stand, in their order, duplicates included.
pub(crate) struct Members<'a>(pub(crate) Vec<(String, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}
