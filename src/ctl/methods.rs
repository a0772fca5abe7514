//! `methods`: what a plugin says of its methods, for a person.
//!
//! What it deliberately does not do: check a call against a schema.
//!
//! What always holds: a schema is a plugin's word. Whatever stands in it, what is shown is bounded and goes through cells,
//! which escape.

use crate::cli::columns::{Cell, sheet, table_within};
use crate::cli::text::{escape, shorten};
use crate::settings::Members;
use rpc_plugin_wire::describe::MethodDescription;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Longest type in a table, which is as wide as its columns become. Characters.
const TYPE_CHARS_MAX: usize = 32;
/// Longest type of one method by itself. Characters.
const WHOLE_CHARS_MAX: usize = 400;
/// Longest first sentence in a table. Characters.
const SENTENCE_CHARS_MAX: usize = 200;
/// Members of an object, or alternatives, that a short type names.
const NAMES_MAX: usize = 12;
/// Levels of a schema that a short type looks at.
const LEVELS_MAX: usize = 4;

/// The methods as a table.
pub(super) fn listed(methods: &[MethodDescription], columns: Option<usize>, colour: bool) -> String {
    let rows = methods.iter().map(|method| {
        [
            method.name.clone().into(),
            shorten(&arguments(method.params.as_deref(), TYPE_CHARS_MAX), TYPE_CHARS_MAX).into_owned().into(),
            shorten(&short_type(method.result.as_deref()), TYPE_CHARS_MAX).into_owned().into(),
            Cell::option(Some(first_sentence(&method.docs))),
        ]
    });
    let heading = ["METHOD", "PARAMS", "RESULT", "DOCS"];
    table_within(heading, rows.collect(), (columns.unwrap_or(usize::MAX), shorten), colour)
}

/// All of one method.
pub(super) fn whole(method: &MethodDescription, colour: bool) -> String {
    let shown = |text: &str| Cell::from(shorten(text, WHOLE_CHARS_MAX).into_owned());
    let mut text = sheet(
        vec![
            ("method", method.name.clone().into()),
            ("params", shown(&arguments(method.params.as_deref(), WHOLE_CHARS_MAX))),
            ("result", shown(&short_type(method.result.as_deref()))),
            ("streams", Cell::option(Some(method.streams.join(", ")))),
        ],
        colour,
    );
    if !method.docs.is_empty() {
        text.push('\n');
        for line in method.docs.lines() {
            text.push_str(&escape(line));
            text.push('\n');
        }
    }
    for (name, schema) in [("params", &method.params), ("result", &method.result)] {
        if let Some(schema) = schema {
            text.push_str(&format!("\nJSON Schema of {name}:\n{}\n", super::lay_out(schema)));
        }
    }
    text
}

/// The first sentence of docs, on one line.
fn first_sentence(docs: &str) -> String {
    let paragraph = docs.split("\n\n").next().unwrap_or_default();
    let text = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    let end = text.find(". ").map_or(text.len(), |at| at + 1);
    shorten(text.get(..end).unwrap_or_default(), SENTENCE_CHARS_MAX).into_owned()
}

/// The members of a JSON object in their order; none of what is no object.
#[derive(Default)]
struct SchemaMembers<'a>(Vec<(String, &'a RawValue)>);

impl<'a> SchemaMembers<'a> {
    fn of(json: &'a str) -> SchemaMembers<'a> {
        serde_json::from_str::<Members<'a>>(json).map(|members| SchemaMembers(members.0)).unwrap_or_default()
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.get())
    }

    /// A member, where it is of that type.
    fn read<T: Deserialize<'a>>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.get(name)?).ok()
    }

    /// The members of the object that one member is.
    fn within(&self, name: &str) -> Option<SchemaMembers<'a>> {
        self.get(name).map(SchemaMembers::of).filter(|members| !members.0.is_empty())
    }
}

/// Params as their members, with types where there is room; what is no object of members as its type.
fn arguments(schema: Option<&RawValue>, chars_max: usize) -> String {
    let json = schema.map_or("true", RawValue::get);
    let schema = SchemaMembers::of(json);
    let Some(members) = schema.within("properties") else {
        let is_closed = schema.get("additionalProperties") == Some("false");
        return if is_closed { "-".to_owned() } else { type_of(json, LEVELS_MAX) };
    };
    let typed = members_of(&schema, &members, true, LEVELS_MAX);
    match typed.chars().nth(chars_max) {
        None => typed,
        Some(_) => members_of(&schema, &members, false, LEVELS_MAX),
    }
}

fn short_type(schema: Option<&RawValue>) -> String {
    type_of(schema.map_or("true", RawValue::get), LEVELS_MAX)
}

/// `key: string, limit?: integer`; optional ones have a `?`.
fn members_of(
    schema: &SchemaMembers<'_>,
    members: &SchemaMembers<'_>,
    with_types: bool,
    levels: usize,
) -> String {
    let required: Vec<String> = schema.read("required").unwrap_or_default();
    let one = |(name, member): &(String, &RawValue)| {
        let optional = if required.contains(name) { "" } else { "?" };
        match with_types {
            true => format!("{name}{optional}: {}", without_null(member.get(), levels)),
            false => format!("{name}{optional}"),
        }
    };
    joined(members.0.iter().map(one), members.0.len(), ", ")
}

/// The type of a member; where it may be absent, `null` says nothing more.
fn without_null(schema: &str, levels: usize) -> String {
    let text = type_of(schema, levels.saturating_sub(1));
    text.strip_suffix(" | null").unwrap_or(&text).to_owned()
}

fn joined(texts: impl Iterator<Item = String>, count: usize, between: &str) -> String {
    let mut texts: Vec<String> = texts.take(NAMES_MAX).collect();
    if count > NAMES_MAX {
        texts.push("...".to_owned());
    }
    texts.join(between)
}

/// A schema in a word or a few.
fn type_of(schema: &str, levels: usize) -> String {
    let schema = if levels == 0 { SchemaMembers::default() } else { SchemaMembers::of(schema) };
    let within = |schema: &str| type_of(schema, levels.saturating_sub(1));
    let all = |schemas: &[&RawValue], between| {
        joined(schemas.iter().map(|schema| within(schema.get())), schemas.len(), between)
    };
    if let Some(format) = schema.read::<String>("format")
        && ["stream", "blob", "callback"].contains(&&*format)
    {
        return format;
    }
    if let Some(value) = schema.get("const") {
        return value.to_owned();
    }
    if let Some(values) = schema.read::<Vec<&RawValue>>("enum") {
        return joined(values.iter().map(|value| value.get().to_owned()), values.len(), " | ");
    }
    if let Some(choices) = schema.read::<Vec<&RawValue>>("anyOf") {
        return all(&choices, " | ");
    }
    let named = |name: &str| match name {
        "array" => match (schema.get("items"), schema.read::<Vec<&RawValue>>("prefixItems")) {
            (Some(items), _) => list_of(&within(items)),
            (None, Some(items)) => format!("[{}]", all(&items, ", ")),
            (None, None) => list_of("any"),
        },
        "object" => match (schema.within("properties"), schema.get("additionalProperties")) {
            (Some(members), _) => format!("{{{}}}", members_of(&schema, &members, false, levels)),
            (None, Some(values)) if values.starts_with('{') => format!("{{*: {}}}", within(values)),
            _ => "object".to_owned(),
        },
        name => name.to_owned(),
    };
    match (schema.read::<String>("type"), schema.read::<Vec<String>>("type")) {
        (Some(name), _) => named(&name),
        (None, Some(names)) => joined(names.iter().map(|name| named(name)), names.len(), " | "),
        (None, None) => "any".to_owned(),
    }
}

fn list_of(item: &str) -> String {
    if item.contains(" | ") && !item.starts_with(['{', '[']) {
        format!("({item})[]")
    } else {
        format!("{item}[]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn method(name: &str, params: &Value, result: &Value, docs: &str) -> MethodDescription {
        MethodDescription::new(name).params(params).result(result).docs(docs)
    }

    #[test]
    fn methods_are_a_table_with_types_in_a_few_words() {
        let number = json!({"type": ["integer", "null"]});
        let find = json!({"type": "object", "required": ["key"],
            "properties": {"key": {"type": "string"}, "limit": number}, "additionalProperties": false});
        let text = || json!({"type": "string"});
        let wide =
            json!({"type": "object", "properties": {"first": text(), "second": text(), "third": text()}});
        let methods = [
            method(
                "kv.find",
                &find,
                &json!({"type": "array", "items": {"type": "string"}}),
                "Finds\nkeys. They come in no order.\n\nMore.",
            ),
            method(
                "kv.nothing",
                &json!({"type": "object", "additionalProperties": false}),
                &json!({"type": "null"}),
                "",
            ),
            MethodDescription::new("kv.wide").params(&wide),
            MethodDescription::new("raw"),
        ];
        let expected = [
            "METHOD      PARAMS                        RESULT    DOCS",
            "kv.find     key: string, limit?: integer  string[]  Finds keys.",
            "kv.nothing  -                             null      -",
            "kv.wide     first?, second?, third?       any       -",
            "raw         any                           any       -",
        ];
        assert_eq!(listed(&methods, None, false).lines().collect::<Vec<_>>(), expected);
        let narrow = listed(&methods[..1], Some(80), false);
        assert!(narrow.ends_with("Finds keys.\n"), "{narrow}");
    }

    #[test]
    fn types_are_said_shortly() {
        let table = [
            (json!({"type": "array", "items": {"type": ["string", "null"]}}), "(string | null)[]"),
            (json!({"type": "array", "prefixItems": [{"type": "null"}, {}]}), "[null, any]"),
            (json!({"type": "object", "properties": {"a": {}, "b": {}}, "required": ["b"]}), "{a?, b}"),
            (json!({"type": "object", "additionalProperties": {"type": "boolean"}}), "{*: boolean}"),
            (json!({"enum": ["low", "high"]}), "\"low\" | \"high\""),
            (json!({"anyOf": [{"const": 1}, {"type": "number"}]}), "1 | number"),
            (json!({"type": "object", "format": "stream"}), "stream"),
            (json!({"type": 7}), "any"),
            (json!(true), "any"),
            (json!([]), "any"),
        ];
        for (schema, says) in table {
            assert_eq!(type_of(&schema.to_string(), LEVELS_MAX), says, "{schema}");
        }
    }

    /// Names and docs of a plugin that would take over the terminal, and schemas that would fill it.
    #[test]
    fn what_a_hostile_plugin_says_is_bounded_and_escaped() {
        let nested =
            (0..60).fold(json!({"type": "null"}), |inner, _| json!({"type": "array", "items": inner}));
        let mut wide = json!({"type": "object", "properties": {}});
        for number in 0..5000 {
            wide["properties"][format!("\u{1b}[31m{number}\u{7}")] = json!({"type": "x\u{202e}\r\n"});
        }
        let docs = format!("\u{1b}]0;title\u{7} {}", "x".repeat(8000));
        let hostile = method("a", &wide, &nested, &docs);
        let list = listed(std::slice::from_ref(&hostile), None, false);
        assert!(list.lines().all(|line| line.chars().count() < 500), "{list}");
        for text in [list, whole(&hostile, false)] {
            assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}', '\r']), "{text}");
        }
    }
}
