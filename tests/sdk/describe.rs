//! What plugins say of their methods, as a host reads it.

use rpc_plugin_sdk::testing::TestHost;
use rpc_plugin_sdk::{
    AppError, Blob, Call, Callback, Context, Failure, HandlerError, MethodDescription, Plugin, Stream,
    interface,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU8;

interface! {
    /// Every kind of type.
    trait Kinds = "kinds" version 2, client KindsClient {
        /// Finds keys. They come in no order.
        ///
        /// A second paragraph.
        #[deprecated]
        fn find(key: String, limit: Option<u32>) -> Result<Vec<String>, Nothing>;
        fn nothing();
        fn order(order: Order, r#type: Level) -> Order;
        fn shapes(shape: Shape, numbers: (i8, u64, f32), map: BTreeMap<u16, Point>) -> HashMap<String, bool>;
        fn transfer(source: Stream, parts: Vec<Part>, each: Option<Callback<u64>>) -> Blob;
        fn anything(value: Value, tagged: Tagged, raw: Box<serde_json::value::RawValue>) -> Option<Value>;
        fn wrapped(list: Wrapped<Wrapped<u8>>, bytes: [u8; 32], one: (char,)) -> Unit;
        fn tree(tree: Tree) -> Option<Box<Tree>>;
        fn strict(address: IpAddr, number: NonZeroU8, odd: Odd) -> Vec<Strict>;
        fn panics(value: Panics) -> u8;
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum Nothing {
    Found,
}

impl fmt::Display for Nothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing is found")
    }
}

impl AppError for Nothing {}

/// As serde sees it: names, defaults and aliases are its attributes.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    item_name: String,
    #[serde(default)]
    count: u32,
    #[serde(alias = "aaa", alias = "zzz")]
    note: Option<String>,
    #[serde(skip)]
    _hidden: u8,
    #[serde(rename = "lines")]
    positions: Vec<Point>,
}

#[derive(Serialize, Deserialize)]
struct Point {
    x: i64,
    #[serde(default)]
    y: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Low,
    High,
}

#[derive(Serialize, Deserialize)]
enum Shape {
    Empty,
    Circle(f64),
    Line(Point, Point),
    Text { text: String, size: Option<u8> },
}

#[derive(Serialize, Deserialize)]
struct Part {
    name: String,
    bytes: Option<Stream>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    One { a: u8 },
    Two,
}

#[derive(Serialize, Deserialize)]
struct Wrapped<T>(T);

#[derive(Serialize, Deserialize)]
struct Unit;

#[derive(Serialize, Deserialize)]
struct Tree {
    name: String,
    children: Vec<Tree>,
    left: Option<Box<Tree>>,
}

/// Takes no sample at all.
#[derive(Serialize)]
struct Odd(String);

impl<'de> Deserialize<'de> for Odd {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Odd, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "odd" { Ok(Odd(text)) } else { Err(serde::de::Error::custom("not odd")) }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Strict {
    before: bool,
    odd: Odd,
    after: Option<u8>,
    last: u8,
}

#[derive(Serialize)]
struct Panics;

impl<'de> Deserialize<'de> for Panics {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Panics, D::Error> {
        panic!("it wants no samples")
    }
}

struct Served;

impl Kinds for Served {
    fn find(&self, _: &Context, _: String, _: Option<u32>) -> Result<Vec<String>, Failure<Nothing>> {
        Err(Nothing::Found.into())
    }
    fn nothing(&self, _: &Context) -> Result<(), HandlerError> {
        Ok(())
    }
    fn order(&self, _: &Context, order: Order, _: Level) -> Result<Order, HandlerError> {
        Ok(order)
    }
    fn shapes(
        &self,
        _: &Context,
        _: Shape,
        _: (i8, u64, f32),
        _: BTreeMap<u16, Point>,
    ) -> Result<HashMap<String, bool>, HandlerError> {
        Ok(HashMap::new())
    }
    fn transfer(
        &self,
        _: &Context,
        _: Stream,
        _: Vec<Part>,
        _: Option<Callback<u64>>,
    ) -> Result<Blob, HandlerError> {
        Ok(Blob::new(b"")?)
    }
    fn anything(
        &self,
        _: &Context,
        _: Value,
        _: Tagged,
        _: Box<serde_json::value::RawValue>,
    ) -> Result<Option<Value>, HandlerError> {
        Ok(None)
    }
    fn wrapped(
        &self,
        _: &Context,
        _: Wrapped<Wrapped<u8>>,
        _: [u8; 32],
        _: (char,),
    ) -> Result<Unit, HandlerError> {
        Ok(Unit)
    }
    fn tree(&self, _: &Context, tree: Tree) -> Result<Option<Box<Tree>>, HandlerError> {
        Ok(tree.left)
    }
    fn strict(&self, _: &Context, _: IpAddr, _: NonZeroU8, _: Odd) -> Result<Vec<Strict>, HandlerError> {
        Ok(Vec::new())
    }
    fn panics(&self, _: &Context, _: Panics) -> Result<u8, HandlerError> {
        Ok(0)
    }
}

/// Params, result, docs and streams of each method.
fn described(plugin: Plugin) -> BTreeMap<String, (Value, Value, String, Vec<String>)> {
    let host = TestHost::start(plugin).unwrap();
    let description = host.describe().unwrap();
    let again = host.describe().unwrap();
    assert_eq!(serde_json::to_string(&description).unwrap(), serde_json::to_string(&again).unwrap());
    host.shutdown().unwrap();
    let read = |schema: Option<Box<serde_json::value::RawValue>>| {
        schema.map_or(Value::Null, |schema| serde_json::from_str(schema.get()).unwrap())
    };
    let one = |method: MethodDescription| {
        (method.name, (read(method.params), read(method.result), method.docs, method.streams))
    };
    description.methods.into_iter().map(one).collect()
}

/// Params that must be these members, of which the optional ones have a `?`.
fn object(members: &[(&str, Value)]) -> Value {
    let mut schema = json!({"type": "object", "properties": {}});
    let mut required = Vec::new();
    for (name, member) in members {
        let plain = name.trim_end_matches('?');
        schema["properties"][plain] = member.clone();
        if plain == *name {
            required.push(plain);
        }
    }
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn closed(members: &[(&str, Value)]) -> Value {
    let mut schema = object(members);
    schema["additionalProperties"] = json!(false);
    schema
}

fn text() -> Value {
    json!({"type": "string"})
}

fn list(item: &Value) -> Value {
    json!({"type": "array", "items": item})
}

fn point() -> Value {
    object(&[("x", json!({"type": "integer"})), ("y?", json!({"type": ["integer", "null"]}))])
}

fn byte() -> Value {
    json!({"type": "integer", "minimum": 0, "maximum": 255})
}

fn or_null(name: &str) -> Value {
    json!({"type": [name, "null"]})
}

#[test]
fn types_are_described_as_serde_reads_them() {
    let known = described(Plugin::new("1").serve_interface(Served.into_table()));
    let check = |method: &str, params: &[(&str, Value)], result: Value| {
        let (seen, gives, ..) = &known[method];
        assert_eq!((seen, gives), (&closed(params), &result), "{method}");
    };
    let u32s = json!({"type": ["integer", "null"], "minimum": 0, "maximum": u32::MAX});
    check("kinds.find", &[("key", text()), ("limit?", u32s)], list(&text()));
    assert_eq!(known["kinds.nothing"].0, json!({"type": "object", "additionalProperties": false}));
    assert_eq!(known["kinds.nothing"].1, json!({"type": "null"}));
    let order = object(&[
        ("itemName", text()),
        ("count?", json!({"type": "integer", "minimum": 0, "maximum": u32::MAX})),
        ("note?", or_null("string")),
        ("lines", list(&point())),
    ]);
    check("kinds.order", &[("order", order.clone()), ("type", json!({"enum": ["low", "high"]}))], order);
    let variant = |name: &str, content: Value| closed(&[(name, content)]);
    let two = json!({"type": "array", "prefixItems": [point(), point()], "minItems": 2, "maxItems": 2});
    let size = json!({"type": ["integer", "null"], "minimum": 0, "maximum": 255});
    let shape = json!({"anyOf": [
        {"enum": ["Empty"]},
        variant("Circle", json!({"type": "number"})),
        variant("Line", two),
        variant("Text", object(&[("text", text()), ("size?", size)])),
    ]});
    let numbers = json!({"type": "array", "minItems": 3, "maxItems": 3, "prefixItems": [
        {"type": "integer", "minimum": -128, "maximum": 127}, {"type": "integer", "minimum": 0}, {"type": "number"},
    ]});
    let map = json!({"type": "object", "additionalProperties": point()});
    check(
        "kinds.shapes",
        &[("shape", shape), ("numbers", numbers), ("map", map)],
        json!({"type": "object", "additionalProperties": {"type": "boolean"}}),
    );
    check(
        "kinds.wrapped",
        &[
            ("list", byte()),
            ("bytes", json!({"type": "array", "items": byte(), "minItems": 32, "maxItems": 32})),
            (
                "one",
                json!({"type": "array", "minItems": 1, "maxItems": 1, "prefixItems": [
            {"type": "string", "minLength": 1, "maxLength": 1}]}),
            ),
        ],
        json!({"type": "null"}),
    );
}

#[test]
fn what_travels_beside_json_is_named_with_its_place() {
    let known = described(Plugin::new("1").serve_interface(Served.into_table()));
    let beside = |format: &str| json!({"type": "object", "format": format});
    let or_beside = |format: &str| json!({"type": ["object", "null"], "format": format});
    let part = object(&[("name", text()), ("bytes?", or_beside("stream"))]);
    let (params, result, _, streams) = &known["kinds.transfer"];
    let each = ("each?", or_beside("callback"));
    assert_eq!(*params, closed(&[("source", beside("stream")), ("parts", list(&part)), each]));
    assert_eq!(*result, beside("blob"));
    assert_eq!(*streams, ["params.source", "params.parts.bytes", "result"]);
}

/// Types that serde says nothing of, that refuse every sample, that hold themselves, or panic.
#[test]
fn what_a_type_does_not_tell_is_left_open() {
    let known = described(Plugin::new("1").serve_interface(Served.into_table()));
    let open = || json!({});
    assert_eq!(known["kinds.anything"].0, closed(&[("value", open()), ("tagged", open()), ("raw", open())]));
    assert_eq!(known["kinds.anything"].1, open());
    let tree = object(&[("name", text()), ("children", list(&open())), ("left?", open())]);
    assert_eq!(known["kinds.tree"].0, closed(&[("tree", tree)]));
    let (params, result, ..) = &known["kinds.strict"];
    assert_eq!(*params, closed(&[("address", text()), ("number", byte()), ("odd", text())]));
    let after = json!({"type": ["integer", "null"], "minimum": 0, "maximum": 255});
    let strict = object(&[
        ("before", json!({"type": "boolean"})),
        ("odd", text()),
        ("after?", after),
        ("last", byte()),
    ]);
    assert_eq!(*result, list(&strict));
    assert_eq!(known["kinds.panics"].0, closed(&[("value", open())]));
}

#[test]
fn comments_of_a_declaration_are_its_docs() {
    let known = described(Plugin::new("1").serve_interface(Served.into_table()));
    assert_eq!(known["kinds.find"].2, "Finds keys. They come in no order.\n\nA second paragraph.");
    assert_eq!(known["kinds.nothing"].2, "");
}

#[test]
fn methods_by_name_tell_their_params_and_what_the_author_says() {
    let plugin = Plugin::new("1")
        .method("point", |_: &Call, point: Point| -> Result<Point, HandlerError> { Ok(point) })
        .method("ping", |_: &Call, (): ()| -> Result<(), HandlerError> { Ok(()) })
        .raw_method("raw", |_: &Call, _| -> Result<_, HandlerError> { Err(HandlerError::internal("")) })
        .describe(MethodDescription::new("point").docs("Gives it back.").result(&json!({"type": "object"})))
        .describe(MethodDescription::new("raw").params(&json!({"maxProperties": 1})).stream("result"));
    let known = described(plugin);
    let none = || Vec::<String>::new();
    assert_eq!(known["point"], (point(), json!({"type": "object"}), "Gives it back.".to_owned(), none()));
    assert_eq!(known["ping"], (json!({"type": "object"}), Value::Null, String::new(), none()));
    let raw = (json!({"maxProperties": 1}), Value::Null, String::new(), vec!["result".to_owned()]);
    assert_eq!(known["raw"], raw);
    assert_eq!(known.len(), 3, "the protocol's own methods are not among them");
}

#[test]
fn a_description_of_nothing_or_out_of_bounds_fails_the_start() {
    let fault = |method: MethodDescription| {
        let plugin =
            Plugin::new("1").method("ping", |_: &Call, (): ()| -> Result<(), HandlerError> { Ok(()) });
        TestHost::start(plugin.describe(method)).unwrap_err().to_string()
    };
    let none = fault(MethodDescription::new("pong"));
    assert!(none.contains("describes the method \"pong\", which it does not have"), "{none}");
    let long = fault(MethodDescription::new("ping").docs("x".repeat(8193)));
    assert!(long.contains("docs has 8193 bytes"), "{long}");
}

#[test]
fn an_unknown_method_is_answered_with_the_one_that_was_meant() {
    let plugin = Plugin::new("1").method("kv.get", |_: &Call, (): ()| -> Result<(), HandlerError> { Ok(()) });
    let host = TestHost::start(plugin).unwrap();
    let error = host.call::<_, Value>("kv.gte", &()).unwrap_err();
    assert!(error.message.contains("did you mean \"kv.get\"?"), "{error}");
    let error = host.call::<_, Value>("frobnicate", &()).unwrap_err();
    assert!(!error.message.contains("did you mean"), "{error}");
}
