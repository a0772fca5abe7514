//! What a plugin says of its methods: the answer to `plugin.describe`, and how much of one is taken.
//!
//! What it deliberately does not do: check a call against a schema. Schemas are for people and tools, and are passed on as
//! they came.
//!
//! What always holds: a description that was read is within every bound of this file, and its names are names.

use crate::cut::shown;
use crate::envelope::too_deep;
use crate::ident::check_method;
use crate::objects;
use crate::suggest::nearest;
use crate::words::in_words;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

/// Asks a plugin for its [`Description`]; no params. A plugin that does not know it answers `method_not_found`.
pub const METHOD_DESCRIBE: &str = "plugin.describe";

/// Longest description that is read. Bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 256 * 1024;
/// Most methods that one has.
pub const DESCRIBED_METHODS_MAX: usize = 1024;
/// Longest docs of one method. Bytes.
pub const DOCS_BYTES_MAX: usize = 8 * 1024;
/// Deepest nesting of arrays and objects in a schema; the schema's own object is level 1.
pub const SCHEMA_NESTING_MAX: usize = 64;
/// Most places of one method where streams stand.
pub const STREAM_PLACES_MAX: usize = 16;
/// Longest name of such a place. Bytes.
pub const STREAM_PLACE_BYTES_MAX: usize = 256;

/// Longest reason why a description is refused: serde quotes what it refuses. Bytes.
const ERROR_BYTES_MAX: usize = 512;

/// The methods of a plugin, as it describes them itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Description {
    /// Each method once.
    #[serde(deserialize_with = "objects::each")]
    pub methods: Vec<MethodDescription>,
}

/// One method of a plugin, as the plugin describes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MethodDescription {
    /// The name that it is called by.
    pub name: String,
    /// The documentation, for people: Markdown, whose first sentence stands alone. May be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub docs: String,
    /// The JSON Schema of its params; absent where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Box<RawValue>>,
    /// The JSON Schema of its result; absent where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Box<RawValue>>,
    /// The places where streams and blobs stand, which plain JSON cannot carry: `params.source`, `result`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<String>,
}

impl MethodDescription {
    /// Describes a method by its name alone.
    #[must_use]
    pub fn new(name: impl Into<String>) -> MethodDescription {
        MethodDescription {
            name: name.into(),
            docs: String::new(),
            params: None,
            result: None,
            streams: Vec::new(),
        }
    }

    /// Adds documentation: at most 8 KiB, whose first sentence stands alone in lists.
    #[must_use]
    pub fn docs(mut self, docs: impl Into<String>) -> MethodDescription {
        self.docs = docs.into();
        self
    }

    /// Adds the JSON Schema of the params: anything that serialises to one, such as `serde_json::json!({…})`. What does not
    /// serialise is left out.
    #[must_use]
    pub fn params<S: Serialize + ?Sized>(mut self, schema: &S) -> MethodDescription {
        self.params = to_raw_value(schema).ok();
        self
    }

    /// Adds the JSON Schema of the result, as [`MethodDescription::params`] does of the params.
    #[must_use]
    pub fn result<S: Serialize + ?Sized>(mut self, schema: &S) -> MethodDescription {
        self.result = to_raw_value(schema).ok();
        self
    }

    /// Adds a place where a stream or blob stands: `params.NAME` or `result`.
    #[must_use]
    pub fn stream(mut self, place: impl Into<String>) -> MethodDescription {
        self.streams.push(place.into());
        self
    }

    /// Checks it against the bounds of a description.
    ///
    /// # Errors
    /// Says which member is at fault, and why.
    pub fn check(&self) -> Result<(), String> {
        check_method(&self.name).map_err(|error| format!("name {error}"))?;
        at_most("docs", self.docs.len(), DOCS_BYTES_MAX, "bytes")?;
        for (member, schema) in [("params", &self.params), ("result", &self.result)] {
            schema.as_deref().map_or(Ok(()), |schema| check_schema(member, schema.get()))?;
        }
        at_most("streams", self.streams.len(), STREAM_PLACES_MAX, "places")?;
        let longest = self.streams.iter().map(String::len).max().unwrap_or(0);
        at_most("a place of streams", longest, STREAM_PLACE_BYTES_MAX, "bytes")
    }
}

/// A schema is an object, or `true` for anything.
fn check_schema(member: &str, schema: &str) -> Result<(), String> {
    if !schema.starts_with('{') && !matches!(schema, "true" | "false") {
        return Err(format!("{member} is no JSON Schema, which is an object"));
    }
    if too_deep(schema.as_bytes(), SCHEMA_NESTING_MAX) {
        return Err(format!("{member} is nested deeper than {SCHEMA_NESTING_MAX} levels"));
    }
    Ok(())
}

fn at_most(what: &str, seen: usize, most: usize, unit: &str) -> Result<(), String> {
    if seen <= most { Ok(()) } else { Err(format!("{what} has {seen} {unit}, at most {most} are taken")) }
}

impl Description {
    /// Describes these methods.
    #[must_use]
    pub fn new(methods: Vec<MethodDescription>) -> Description {
        Description { methods }
    }

    /// Reads the answer to [`METHOD_DESCRIBE`].
    ///
    /// # Errors
    /// Says what is wrong with it: it is too large, of another shape, or a method is there twice or out of bounds.
    pub fn read(result: &RawValue) -> Result<Description, String> {
        let text = result.get();
        at_most("it", text.len(), DESCRIPTION_BYTES_MAX, "bytes")?;
        if !text.starts_with('{') {
            return Err("it is not a JSON object".to_owned());
        }
        let mut description: Description = serde_json::from_str(text)
            .map_err(|error| shown(&in_words(&error, text), ERROR_BYTES_MAX).into_owned())?;
        at_most("it", description.methods.len(), DESCRIBED_METHODS_MAX, "methods")?;
        for (at, method) in description.methods.iter().enumerate() {
            method.check().map_err(|why| format!("method {at}: {why}"))?;
        }
        description.methods.sort_by(|a, b| a.name.cmp(&b.name));
        for pair in description.methods.windows(2) {
            if let [first, second] = pair
                && first.name == second.name
            {
                return Err(format!("method {:?} is there twice", first.name));
            }
        }
        Ok(description)
    }

    /// The method of that name.
    #[must_use]
    pub fn method(&self, name: &str) -> Option<&MethodDescription> {
        self.methods.iter().find(|method| method.name == name)
    }

    /// The name that was probably meant by one that is none of them.
    #[must_use]
    pub fn meant(&self, name: &str) -> Option<&str> {
        nearest(name, self.methods.iter().map(|method| &*method.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: &serde_json::Value) -> Result<Description, String> {
        Description::read(&to_raw_value(value).unwrap())
    }

    fn of(method: &serde_json::Value) -> Result<Description, String> {
        read(&json!({"methods": [method]}))
    }

    #[test]
    fn a_description_is_read_and_what_it_does_not_know_passed_over() {
        let read = read(&json!({"later": 1, "methods": [
            {"name": "kv.put", "docs": "Sets it.", "params": {"type": "object"}, "streams": ["params.value"], "more": []},
            {"name": "kv.get"},
        ]}))
        .unwrap();
        assert_eq!(read.methods.iter().map(|method| &*method.name).collect::<Vec<_>>(), ["kv.get", "kv.put"]);
        assert_eq!(read.method("kv.put").unwrap().params.as_ref().unwrap().get(), r#"{"type":"object"}"#);
        assert_eq!((read.meant("kv.gte"), read.meant("frobnicate")), (Some("kv.get"), None));
    }

    #[test]
    fn what_is_out_of_bounds_or_of_another_shape_is_refused_with_the_reason() {
        let nested =
            |levels: usize| (1..levels).fold(json!({"type": "null"}), |inner, _| json!({"items": inner}));
        of(&json!({"name": "a", "params": nested(64), "result": true})).unwrap();
        let table = [
            (of(&json!({"name": "a", "params": nested(65)})), "params is nested deeper than 64"),
            (of(&json!({"name": "a b"})), "method 0: name contains ' '"),
            (of(&json!({"name": "a\u{1b}[31m"})), "contains '\\u{1b}'"),
            (of(&json!({"name": 7})), "`methods.name`: it is the integer `7`, and has to be a string"),
            (of(&json!(["a", "docs", null, null, []])), "an object"),
            (of(&json!({"docs": "no name"})), "`name` is missing"),
            (of(&json!({"name": "a", "docs": "x".repeat(8193)})), "docs has 8193 bytes, at most 8192"),
            (of(&json!({"name": "a", "params": "string"})), "params is no JSON Schema"),
            (of(&json!({"name": "a", "result": []})), "result is no JSON Schema"),
            (of(&json!({"name": "a", "streams": vec!["x"; 17]})), "streams has 17 places, at most 16"),
            (of(&json!({"name": "a", "streams": ["x".repeat(257)]})), "a place of streams has 257 bytes"),
            (
                read(&json!({"methods": [{"name": "a"}, {"name": "b"}, {"name": "a"}]})),
                "\"a\" is there twice",
            ),
            (read(&json!([])), "not a JSON object"),
            (read(&json!({"methods": {}})), "`methods`: it is an object, and has to be an array"),
            (read(&json!({})), "`methods` is missing"),
            (read(&json!({"methods": [], "pad": "x".repeat(256 << 10)})), "at most 262144 are taken"),
            (
                read(
                    &json!({"methods": (0..1025).map(|n| json!({"name": format!("m{n}")})).collect::<Vec<_>>()}),
                ),
                "it has 1025 methods, at most 1024",
            ),
        ];
        for (read, says) in table {
            let error = read.unwrap_err();
            assert!(error.contains(says) && error.len() < 200, "{error:?} should say {says:?}");
        }
    }
}
