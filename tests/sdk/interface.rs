//! Declared interfaces from client to served method and back, through JSON and descriptors.
//!
//! What it deliberately does not do: go through a connection; host and SDK have tests of their own for that.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use rpc_plugin_interface::{
    AppError, Blob, CallError, CallFailure, CallOptions, Callback, Caller, Context, ErrorCode, Failure,
    HandlerError, InterfaceTable, Local, Outgoing, Reply, Stream, interface,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

interface! {
    /// Everything that an interface can have.
    trait Wide = "wide" version 3, client WideClient {
        /// An application error.
        fn find(key: String, limit: Option<u32>) -> Result<Vec<String>, FindError>;
        /// Neither arguments nor a result.
        fn nothing();
        #[deprecated = "use find"]
        fn old(key: String) -> std::result::Result<u8, FindError>;
        /// Names that the written code has, too.
        fn names(call: u8, method: u8, table: u8, caller: u8, r#type: C) -> u32;
        fn stream(parts: Vec<Part>) -> Part;
        fn blob(blob: Blob) -> Blob;
        fn each(texts: Vec<String>, on_each: Option<Callback<(usize, String), bool>>,) -> usize;
        fn keep(callback: Callback<Stream>) -> ();
        fn remaining() -> Option<u64>;
        fn version() -> Option<u32>;
        fn host(text: String) -> String;
        fn callback_back() -> Option<Callback<u8>>;
        fn disk() -> ();
    }
}

/// Named as a type parameter would be.
#[derive(Serialize, Deserialize)]
struct C(u8);

/// Streams at some depth.
#[derive(Debug, Serialize, Deserialize)]
struct Part {
    name: String,
    bytes: Option<Stream>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum FindError {
    Missing { key: String },
    Broken,
}

impl fmt::Display for FindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FindError::Missing { key } => write!(f, "there is no {key:?}"),
            FindError::Broken => write!(f, "it is broken"),
        }
    }
}

impl AppError for FindError {}

#[derive(Default)]
struct Served {
    kept: Mutex<Option<Callback<Stream>>>,
}

impl Wide for Served {
    fn find(
        &self,
        call: &Context,
        key: String,
        limit: Option<u32>,
    ) -> Result<Vec<String>, Failure<FindError>> {
        call.check()?;
        match key.as_str() {
            "missing" => Err(FindError::Missing { key }.into()),
            "broken" => Err(FindError::Broken)?,
            "denied" => Err(rpc_plugin_interface::ErrorObject::new(ErrorCode::Denied, "not you"))?,
            "odd" => Err(HandlerError::invalid_params("an odd key").into()),
            _ => Ok(vec![key; limit.unwrap_or(1) as usize]),
        }
    }
    fn nothing(&self, _: &Context) -> Result<(), HandlerError> {
        Ok(())
    }
    fn old(&self, _: &Context, _: String) -> Result<u8, Failure<FindError>> {
        Ok(1)
    }
    fn names(&self, _: &Context, a: u8, b: u8, c: u8, d: u8, e: C) -> Result<u32, HandlerError> {
        Ok(u32::from_be_bytes([a, b, c, d]) + u32::from(e.0))
    }
    fn stream(&self, _: &Context, parts: Vec<Part>) -> Result<Part, HandlerError> {
        let mut text = String::new();
        for part in parts {
            text += &part.name;
            if let Some(mut bytes) = part.bytes {
                bytes.read_to_string(&mut text)?;
            }
        }
        let (reader, mut writer) = Stream::pipe()?;
        writer.write_all(text.as_bytes())?;
        Ok(Part { name: "joined".into(), bytes: Some(reader) })
    }
    fn blob(&self, _: &Context, blob: Blob) -> Result<Blob, HandlerError> {
        let mut bytes = blob.to_vec(1 << 20)?;
        bytes.reverse();
        Ok(Blob::new(&bytes)?)
    }
    fn each(
        &self,
        _: &Context,
        texts: Vec<String>,
        on_each: Option<Callback<(usize, String), bool>>,
    ) -> Result<usize, HandlerError> {
        let mut count = 0;
        for (number, text) in texts.into_iter().enumerate() {
            if let Some(on_each) = &on_each {
                count += usize::from(on_each.call((number, text))?);
            }
        }
        Ok(count)
    }
    fn keep(&self, _: &Context, callback: Callback<Stream>) -> Result<(), HandlerError> {
        let (reader, mut writer) = Stream::pipe()?;
        writer.write_all(b"from below")?;
        drop(writer);
        callback.call(reader)?;
        *self.kept.lock().unwrap() = Some(callback);
        Ok(())
    }
    fn remaining(&self, call: &Context) -> Result<Option<u64>, HandlerError> {
        Ok(call.remaining().map(|left| left.as_secs()))
    }
    fn version(&self, call: &Context) -> Result<Option<u32>, HandlerError> {
        assert_eq!(call.interface_version("other"), None);
        Ok(call.interface_version("wide"))
    }
    fn host(&self, call: &Context, text: String) -> Result<String, HandlerError> {
        Ok(ShoutClient::new(call).shout(text)?)
    }
    fn callback_back(&self, _: &Context) -> Result<Option<Callback<u8>>, HandlerError> {
        Ok(Some(Callback::new(|_| ())))
    }
    fn disk(&self, _: &Context) -> Result<(), HandlerError> {
        Err(std::io::Error::other("no disk"))?
    }
}

interface! {
    /// What the host serves.
    trait Shout = "shout" version 1, client ShoutClient {
        fn shout(text: String) -> String;
    }
}

struct Loud;

impl Shout for Loud {
    fn shout(&self, _: &Context, text: String) -> Result<String, HandlerError> {
        Ok(text.to_uppercase())
    }
}

fn client() -> WideClient<Local> {
    WideClient::new(Local::new(Served::default().into_table()))
}

/// A call as a person types it; its result, or code and message of its error.
fn by_hand(method: &str, params: &str) -> Result<String, (String, String)> {
    let local = Local::new(Served::default().into_table());
    let params = (!params.is_empty()).then(|| params.to_owned());
    let call = Outgoing { method: method.to_owned().into(), params, ..Outgoing::default() };
    let reply = local.make(call).map(|reply| reply.result.get().to_owned());
    reply.map_err(|error| (error.code.name().to_owned(), error.message.into_owned()))
}

#[test]
fn a_person_can_call_it_and_mistakes_are_named() {
    assert_eq!(by_hand("wide.find", r#"{"key":"a","limit":2}"#).unwrap(), r#"["a","a"]"#);
    assert_eq!(by_hand("wide.find", r#"{"limit":null,"key":"a"}"#).unwrap(), r#"["a"]"#);
    assert_eq!(by_hand("wide.find", r#"{"key":"a"}"#).unwrap(), r#"["a"]"#);
    assert_eq!(by_hand("wide.nothing", "").unwrap(), "null");
    assert_eq!(by_hand("wide.nothing", "{}").unwrap(), "null");
    let named = r#"{"call":1,"method":2,"table":3,"caller":4,"type":5}"#;
    assert_eq!(by_hand("wide.names", named).unwrap(), "16909065");
    let wrong = [
        (r#"{"kye":"a"}"#, "no argument is called `kye`; arguments: `key`, `limit`"),
        (r#"{"key":"a","limit":1,"key":"b"}"#, "argument `key` is there twice"),
        ("", "argument `key` is missing"),
        (r#"{"limit":1}"#, "argument `key` is missing"),
        (
            r#"{"key":"a","limit":"b"}"#,
            "argument `limit`: it is the string \"b\", and has to be an integer from 0 to 4294967295",
        ),
        (r#"["a",1]"#, "it is an array, and has to be an object of arguments (`key`, `limit`)"),
    ];
    for (params, text) in wrong {
        let (code, message) = by_hand("wide.find", params).unwrap_err();
        assert_eq!(code, "invalid_params");
        assert!(message.contains(text), "{message:?} should say {text:?}");
    }
    let (_, message) = by_hand("wide.nothing", r#"{"a":1}"#).unwrap_err();
    assert!(message.contains("`a`; arguments: there are none"), "{message}");
    assert_eq!(by_hand("wide.lost", "{}").unwrap_err().0, "method_not_found");
}

#[test]
fn an_application_error_arrives_as_itself_and_any_other_as_what_it_is() {
    let client = client();
    let missing = client.find("missing", None).unwrap_err();
    assert!(matches!(&missing, CallFailure::App(FindError::Missing { key }) if key == "missing"));
    assert_eq!(missing.to_string(), "there is no \"missing\"");
    assert!(matches!(client.find("broken", Some(1)).unwrap_err(), CallFailure::App(FindError::Broken)));
    for (key, code) in [("denied", ErrorCode::Denied), ("odd", ErrorCode::InvalidParams)] {
        assert!(
            matches!(client.find(key, None).unwrap_err(), CallFailure::Call(error) if error.code == code)
        );
    }
    let disk = client.disk().unwrap_err();
    assert_eq!((disk.code, disk.message.as_ref()), (ErrorCode::InternalError, "no disk"));

    let raw = Outgoing { method: "wide.find".into(), ..Outgoing::default() };
    let params = Some(r#"{"key":"missing"}"#.to_owned());
    let local = Local::new(Served::default().into_table());
    let error = local.make(Outgoing { params, ..raw }).unwrap_err();
    assert_eq!((error.code.code(), error.message.as_ref()), (1, "there is no \"missing\""));
    assert_eq!(error.data.as_ref().unwrap().get(), r#"{"Missing":{"key":"missing"}}"#);
    // An error of another version of the interface stays an error of the call.
    let other = CallFailure::<FindError>::from(CallError { data: None, ..error });
    assert!(matches!(other, CallFailure::Call(error) if error.code == ErrorCode::Application(1)));
}

#[test]
fn arguments_are_taken_by_value_and_by_reference() {
    let client = client();
    let (key, limit) = ("a".to_owned(), Some(1));
    assert_eq!(client.find(&key, limit).unwrap(), client.find(key.as_str(), limit).unwrap());
    assert_eq!(client.find(key, limit).unwrap(), ["a"]);
    #[allow(deprecated)]
    let old = client.old("x").unwrap();
    assert_eq!((old, client.nothing().unwrap()), (1, ()));
    assert_eq!(client.names(0, 0, 1, 2, C(3)).unwrap(), 261);
}

#[test]
fn streams_and_blobs_travel_at_any_depth_in_both_directions() {
    let client = client();
    let part = |name: &str, text: Option<&str>| {
        let bytes = text.map(|text| {
            let (reader, mut writer) = Stream::pipe().unwrap();
            writer.write_all(text.as_bytes()).unwrap();
            reader
        });
        Part { name: name.into(), bytes }
    };
    let parts = [part("a", Some("1")), part("b", None), part("c", Some("2"))];
    let joined = client.stream(&parts[..]).unwrap();
    let mut text = String::new();
    joined.bytes.unwrap().read_to_string(&mut text).unwrap();
    assert_eq!((joined.name.as_str(), text.as_str()), ("joined", "a1bc2"));
    let again = client.stream(&parts[..]).unwrap_err();
    assert_eq!(again.code, ErrorCode::InvalidParams);
    assert!(again.message.contains("argument `parts`") && again.message.contains("sent before"), "{again}");
    let blob = client.blob(Blob::new(b"abc").unwrap()).unwrap();
    assert_eq!(blob.to_vec(3).unwrap(), b"cba");
}

#[test]
fn a_callback_runs_at_the_caller_while_the_call_lasts() {
    let served = Arc::new(Served::default());
    let client = WideClient::new(Local::new(Arc::clone(&served).into_table()));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let on_each = {
        let seen = Arc::clone(&seen);
        Callback::new(move |(number, text): (usize, String)| {
            seen.lock().unwrap().push(format!("{number}{text}"));
            text == "b"
        })
    };
    let texts = ["a".to_owned(), "b".to_owned()];
    assert_eq!(client.each(&texts[..], Some(on_each.clone())).unwrap(), 1);
    assert_eq!(client.each(&texts[..], None).unwrap(), 0);
    assert_eq!(*seen.lock().unwrap(), ["0a", "1b"]);
    assert!(on_each.call((7, "b".to_owned())).unwrap(), "also where it was made");

    let (sender, receiver) = std::sync::mpsc::channel();
    let callback = Callback::new(move |mut stream: Stream| {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        sender.send(text).unwrap();
    });
    client.keep(callback).unwrap();
    assert_eq!(receiver.recv().unwrap(), "from below");
    let late = served.kept.lock().unwrap().take().unwrap();
    let error = late.call(Stream::pipe().unwrap().0).unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert!(error.message.contains("has ended"), "{error}");

    let back = client.callback_back().unwrap_err();
    assert!(back.message.contains("not in a result"), "{back}");
}

#[test]
fn a_callback_that_is_handed_on_is_called_where_it_was_made() {
    interface! {
        trait Relay = "relay" version 1, client RelayClient {
            fn each(on_each: Callback<(usize, String), bool>) -> usize;
        }
    }
    struct HandsOn(WideClient<Local>);
    impl Relay for HandsOn {
        fn each(&self, _: &Context, on_each: Callback<(usize, String), bool>) -> Result<usize, HandlerError> {
            Ok(self.0.each(vec!["x".to_owned()], Some(on_each))?)
        }
    }
    let relay = RelayClient::new(Local::new(HandsOn(client()).into_table()));
    assert_eq!(relay.each(Callback::new(|(_, text): (usize, String)| text == "x")).unwrap(), 1);
}

#[test]
fn handlers_see_deadline_and_version_and_reach_the_other_side() {
    let client = client();
    assert_eq!(client.remaining().unwrap(), None);
    let options = CallOptions::default().timeout(Duration::from_secs(60));
    assert!(client.with(options).remaining().unwrap().unwrap() <= 60);
    assert_eq!(client.version().unwrap(), Some(3));
    let unreachable = client.host("a").unwrap_err();
    assert_eq!(unreachable.code, ErrorCode::Unavailable);
    let host = Local::new(Loud.into_table());
    let client = WideClient::new(Local::new(Served::default().into_table()).with_host(host));
    assert_eq!(client.host("a").unwrap(), "A");
}

#[test]
fn options_reach_whoever_carries_the_call_and_constants_are_those_of_the_declaration() {
    struct Seen(Mutex<Vec<(Option<Duration>, bool)>>);
    impl Caller for Seen {
        fn make(&self, call: Outgoing) -> Result<Reply, CallError> {
            self.0.lock().unwrap().push((call.timeout, call.idempotent));
            Err(CallError::not_sent(ErrorCode::Unavailable, "not here"))
        }
    }
    let carried = Arc::new(Seen(Mutex::default()));
    let client = WideClient::new(Arc::clone(&carried));
    let second = Duration::from_secs(1);
    let options = CallOptions::default().timeout(second).idempotent(true);
    for client in [client.with(options), client.with(CallOptions::default())] {
        assert_eq!(client.nothing().unwrap_err().code, ErrorCode::Unavailable);
    }
    assert!(client.nothing().is_err());
    assert_eq!(*carried.0.lock().unwrap(), [(Some(second), true), (None, false), (None, false)]);
    let empty = Local::new(InterfaceTable::new("none", 1));
    assert_eq!(WideClient::new(empty).nothing().unwrap_err().code, ErrorCode::MethodNotFound);
    assert_eq!((WideClient::NAME, WideClient::VERSION), ("wide", 3));
    let table = Served::default().into_table();
    assert_eq!((table.name(), table.version(), table.methods().count()), ("wide", 3, 13));
}

#[test]
fn a_call_with_more_than_it_may_carry_is_refused_before_it_is_made() {
    interface! {
        trait Many = "many" version 1, client ManyClient {
            fn streams(streams: Vec<Stream>) -> usize;
            fn callbacks(callbacks: Vec<Callback<u8>>) -> usize;
        }
    }
    struct Counts;
    impl Many for Counts {
        fn streams(&self, _: &Context, streams: Vec<Stream>) -> Result<usize, HandlerError> {
            Ok(streams.len())
        }
        fn callbacks(&self, _: &Context, callbacks: Vec<Callback<u8>>) -> Result<usize, HandlerError> {
            Ok(callbacks.len())
        }
    }
    let client = ManyClient::new(Local::new(Counts.into_table()));
    let streams = |count: usize| (0..count).map(|_| Stream::pipe().unwrap().0).collect::<Vec<_>>();
    assert_eq!(client.streams(streams(16)).unwrap(), 16);
    let refused = client.streams(streams(17)).unwrap_err();
    assert!(refused.message.contains("`streams` does not serialise: more than 16"), "{refused}");
    let callbacks = |count: usize| vec![Callback::new(|_: u8| ()); count];
    assert_eq!(client.callbacks(callbacks(64)).unwrap(), 64);
    assert!(client.callbacks(callbacks(65)).unwrap_err().message.contains("more than 64 callbacks"));
}

#[test]
fn what_is_served_can_be_shared() {
    let served = Arc::new(Served::default());
    let dynamic: Arc<dyn Wide> = served;
    let client = WideClient::new(Local::new(dynamic.into_table()));
    assert_eq!(client.find("a", None).unwrap(), ["a"]);
}
