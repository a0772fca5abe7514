//! Typed interfaces of a plugin, in two versions, at the other end of a connection.
//!
//! What it deliberately does not do: test what a declaration becomes; the interface crate's tests do.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub, dead_code, clippy::type_complexity)]

use crate::fake_host::{FakeHost, HELLO_ANSWER, code, config};
use crate::methods::plugin;
use rpc_plugin_interface::{Context, HandlerError, InterfaceTable};
use rpc_plugin_sdk::{Error, Host, Plugin};
use serde_json::json;

mod v1 {
    rpc_plugin_sdk::interface! {
        pub trait Kv = "kv" version 1, client KvClient {
            fn get(key: String) -> String;
            fn keys() -> Vec<String>;
        }
    }
}

mod v2 {
    rpc_plugin_sdk::interface! {
        pub trait Kv = "kv" version 2, client KvClient {
            fn get(key: String, or: Option<String>) -> String;
            fn version() -> Option<u32>;
        }
    }
}

struct Store;

impl v1::Kv for Store {
    fn get(&self, _: &Context, key: String) -> Result<String, HandlerError> {
        Ok(format!("1 {key}"))
    }
    fn keys(&self, _: &Context) -> Result<Vec<String>, HandlerError> {
        Ok(vec!["a".into()])
    }
}

impl v2::Kv for Store {
    fn get(&self, _: &Context, key: String, or: Option<String>) -> Result<String, HandlerError> {
        Ok(format!("2 {key} {or:?}"))
    }
    fn version(&self, call: &Context) -> Result<Option<u32>, HandlerError> {
        Ok(call.interface_version("kv"))
    }
}

fn both() -> Plugin {
    plugin().serve_interface(v2::Kv::into_table(Store)).serve_interface(v1::Kv::into_table(Store))
}

/// A host that answered the hello with these versions.
fn answered(interfaces: &str) -> FakeHost {
    let mut host = FakeHost::start(both(), config());
    let hello = host.recv();
    assert_eq!(hello["params"]["interfaces"], json!({"kv": [1, 2]}));
    assert_eq!(hello["params"]["capabilities"], json!(["big", "block", "echo", "fail", "kv", "panic"]));
    host.send_line(&HELLO_ANSWER.replace("\"interfaces\":{}", &format!("\"interfaces\":{interfaces}")));
    host
}

#[test]
fn the_version_that_was_agreed_on_is_served_and_no_other() {
    for interfaces in [r#"{"kv":2,"other":1}"#, "{}"] {
        let mut host = answered(interfaces);
        host.request(1, "kv.get", &json!({"key": "a"}));
        assert_eq!(host.recv()["result"], "2 a None", "with {interfaces}");
        host.request(2, "kv.version", &json!({}));
        assert_eq!(host.recv()["result"], 2);
        host.request(3, "kv.keys", &json!({}));
        let refused = host.recv();
        assert_eq!(code(&refused), -32601);
        let text = "version 2 of \"kv\", which this connection uses, has no \"kv.keys\"";
        assert_eq!(refused["error"]["message"], text);
    }
    let mut host = answered(r#"{"kv":1}"#);
    host.request(1, "kv.get", &json!({"key": "a"}));
    assert_eq!(host.recv()["result"], "1 a");
    host.request(2, "kv.get", &json!({"key": "a", "or": "b"}));
    let refused = host.recv();
    assert_eq!(code(&refused), -32602);
    assert!(
        refused["error"]["message"].as_str().unwrap().contains("no argument is called `or`"),
        "{refused}"
    );
    host.request(3, "kv.keys", &json!({}));
    assert_eq!(host.recv()["result"], json!(["a"]));
    host.request(4, "echo", &json!({"other": "methods"}));
    assert_eq!(host.recv()["result"], json!({"other": "methods"}));
}

#[test]
fn a_version_that_was_not_offered_is_the_hosts_violation() {
    let mut host = answered(r#"{"kv":3}"#);
    let Err(Error::Violation(text)) = host.end() else { panic!("the plugin goes on") };
    assert!(text.contains("version 3 of interface \"kv\", of which [1, 2] were offered"), "{text}");
}

#[test]
fn what_is_there_twice_fails_the_start() {
    let table = || v1::Kv::into_table(Store);
    let wrong: [(Plugin, &str); 4] = [
        (
            plugin().serve_interface(table()).serve_interface(table()),
            "version 1 of interface \"kv\" is there twice",
        ),
        (plugin().interface("kv", [1]).serve_interface(table()), "the interface \"kv\" is there twice"),
        (both().method("kv.get", |_, ()| Ok::<_, HandlerError>(1)), "the method \"kv.get\" is there twice"),
        (plugin().serve_interface(InterfaceTable::new("k v", 1)), "the interface name \"k v\""),
    ];
    for (plugin, expected) in wrong {
        let mut host = FakeHost::start(plugin, config());
        let Err(Error::Definition(faults)) = host.end() else { panic!("the plugin goes on") };
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{faults:?} should say {expected}");
    }
}

#[test]
fn what_a_typed_method_calls_is_part_of_the_call_that_it_serves() {
    rpc_plugin_sdk::interface! {
        trait Asks = "asks" version 1, client AsksClient {
            fn ask() -> u32;
        }
    }
    struct Asker(Host);
    impl Asks for Asker {
        fn ask(&self, call: &Context) -> Result<u32, HandlerError> {
            Ok(self.0.during(call).call("svc.number", &())?)
        }
    }
    let plugin = plugin();
    let asker = Asker(plugin.host());
    let mut host = FakeHost::greeted(plugin.serve_interface(asker.into_table()));
    host.send_line(
        r#"{"jsonrpc":"2.0","id":7,"method":"asks.ask","deadline_ms":5000,"chain":["front/3/7"]}"#,
    );
    let asked = host.expect("svc.number");
    let chain = asked["chain"].as_array().unwrap();
    assert_eq!((&chain[0], chain.len()), (&json!("front/3/7"), 2), "{asked}");
    assert!(asked["deadline_ms"].as_u64().unwrap() <= 5000, "{asked}");
    host.answer(&asked, &json!(5));
    assert_eq!(host.recv(), json!({"jsonrpc": "2.0", "id": 7, "result": 5}));
    // Cancelled with it.
    host.request(8, "asks.ask", &json!({}));
    let asked = host.expect("svc.number");
    host.cancel(8);
    let mut after = [host.recv(), host.recv()];
    after.sort_by_key(|frame| frame["method"].is_null());
    assert_eq!((&after[0]["method"], &after[0]["params"]["id"]), (&json!("rpc.cancel"), &asked["id"]));
    assert_eq!((&after[1]["id"], code(&after[1])), (&json!(8), -32800));
}
