//! Versions of interfaces between a host and a real plugin, which is this program once more.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::child;
use crate::fixtures::daemon::Raw;
use crate::fixtures::world::{SOON, World, eventually, patient};
use rpc_plugin_interface::{CallFailure, Context, ErrorCode, Failure, HandlerError};
use rpc_plugin_sdk::Plugin;
use rpc_plugin_system::host::{Host, Outcome, PluginHandle, Policy};
use serde_json::{Value, json};
use std::fmt;

mod v1 {
    rpc_plugin_interface::interface! {
        pub trait Kv = "kv" version 1, client KvClient {
            fn get(key: String) -> Option<String>;
        }
    }
}

mod v2 {
    use super::KvError;

    rpc_plugin_interface::interface! {
        pub trait Kv = "kv" version 2, client KvClient {
            fn get(key: String) -> Result<String, KvError>;
            fn version() -> Option<u32>;
        }
    }
}

mod numbers {
    rpc_plugin_interface::interface! {
        pub trait Numbers = "numbers" version 1, client NumbersClient {
            /// What came, read as doubles and written again.
            fn back(values: Vec<f64>) -> Vec<f64>;
            /// Something that JSON has no number for.
            fn none() -> f64;
        }
    }
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct KvError {
    missing: String,
}

impl fmt::Display for KvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no {:?}", self.missing)
    }
}

impl rpc_plugin_interface::AppError for KvError {}

struct Store;

impl v1::Kv for Store {
    fn get(&self, _: &Context, key: String) -> Result<Option<String>, HandlerError> {
        Ok((key == "a").then(|| "1".to_owned()))
    }
}

impl v2::Kv for Store {
    fn get(&self, _: &Context, key: String) -> Result<String, Failure<KvError>> {
        if key == "a" { Ok("2".to_owned()) } else { Err(KvError { missing: key }.into()) }
    }
    fn version(&self, call: &Context) -> Result<Option<u32>, HandlerError> {
        Ok(call.interface_version("kv"))
    }
}

impl numbers::Numbers for Store {
    fn back(&self, _: &Context, values: Vec<f64>) -> Result<Vec<f64>, HandlerError> {
        Ok(values)
    }
    fn none(&self, _: &Context) -> Result<f64, HandlerError> {
        Ok(f64::NAN)
    }
}

/// The plugin that these tests start.
pub(crate) fn serve_two_versions() {
    let plugin = Plugin::new("1.0.0")
        .serve_interface(v1::Kv::into_table(Store))
        .serve_interface(v2::Kv::into_table(Store))
        .serve_interface(numbers::Numbers::into_table(Store));
    // Where this fails the host that started it says why.
    let _ = plugin.run();
}

/// This program as a plugin of a host that accepts these versions of its interface, or does not name it.
fn plugin(world: &World, host: &Host, accepted: Option<&[u32]>, policy: Policy) -> PluginHandle {
    let config = child::plugin(world, "kv", "interfaces").policy(policy);
    let config = accepted.iter().fold(config, |config, versions| config.interface("kv", versions));
    host.add(config).unwrap()
}

fn up(world: &World, host: &Host, accepted: Option<&[u32]>) -> PluginHandle {
    let policy = Policy { hello_timeout: SOON, connect_timeout: SOON, ready_timeout: SOON, ..patient() };
    let kv = plugin(world, host, accepted, policy);
    kv.start().unwrap();
    kv.wait_routable(None, SOON).unwrap();
    kv
}

#[test]
fn the_highest_common_version_is_used_and_its_client_calls_it() {
    for accepted in [Some(&[1, 2, 9][..]), None] {
        let world = World::new();
        let host = world.host();
        let kv = up(&world, &host, accepted);
        let client = v2::KvClient::new(&*kv);
        assert_eq!(client.get("a").unwrap(), "2");
        assert_eq!(client.version().unwrap(), Some(2));
        let missing = client.get("b").unwrap_err();
        assert!(matches!(missing, CallFailure::App(KvError { missing }) if missing == "b"));
        let by_hand: Value = kv.call("kv.get", &json!({"key": "a"})).unwrap();
        assert_eq!(by_hand, "2");
        // The interfaces that the host does not name come with their highest version.
        eventually("what is agreed on is on record", || {
            world.record("kv").contains(r#""interfaces":{"kv":2,"numbers":1}"#).then_some(())
        });
        host.shutdown();
    }
}

#[test]
fn a_host_that_knows_only_the_old_version_gets_it() {
    let world = World::new();
    let host = world.host();
    let kv = up(&world, &host, Some(&[1]));
    let client = v1::KvClient::new(&*kv);
    assert_eq!((client.get("a").unwrap().as_deref(), client.get("b").unwrap()), (Some("1"), None));
    let newer = v2::KvClient::new(&*kv).version().unwrap_err();
    assert_eq!(newer.code, ErrorCode::MethodNotFound);
    assert!(newer.message.contains("version 1 of \"kv\""), "{newer}");
    host.shutdown();
}

#[test]
fn no_common_version_fails_the_start_with_both_lists() {
    let world = World::new();
    let host = world.host();
    let kv = plugin(&world, &host, Some(&[7, 9]), patient());
    kv.start().unwrap();
    let error = eventually("the start fails", || kv.status().unwrap().last_error);
    let expected =
        "no version of interface \"kv\" in common: the host accepts [7, 9], the plugin serves [1, 2]";
    assert!(error.contains(expected), "{error}");
    let refused = kv.wait_routable(None, SOON).unwrap_err().to_string();
    assert!(refused.contains(expected), "{refused}");
    host.shutdown();
}

/// 10,000 finite doubles of every size, subnormals and both zeros among them.
fn doubles() -> Vec<f64> {
    let mut random = fastrand::Rng::with_seed(11);
    let any = std::iter::repeat_with(|| f64::from_bits(random.u64(..))).filter(|double| double.is_finite());
    let mut doubles: Vec<f64> = any.take(9_996).collect();
    doubles.extend([0.0, -0.0, f64::MIN_POSITIVE / 3.0, f64::MAX]);
    doubles
}

fn bits(doubles: &[f64]) -> Vec<u64> {
    doubles.iter().map(|double| double.to_bits()).collect()
}

#[test]
fn doubles_come_back_bit_by_bit_from_the_host_and_through_the_admin_socket() {
    let world = World::new();
    let host = world.builder().admin_socket(true).start().unwrap();
    let kv = up(&world, &host, None);
    let sent = doubles();
    assert_eq!(sent.len(), 10_000);
    let client = numbers::NumbersClient::new(&*kv);
    assert_eq!(bits(&client.back(sent.clone()).unwrap()), bits(&sent), "typed on both sides");
    let mut admin = Raw::connect(host.runtime_dir());
    let call = json!({"plugin_id": "kv", "method": "numbers.back", "params": {"values": sent}});
    let answer = admin.ask("admin.call", &call);
    let back: Vec<f64> = serde_json::from_value(answer["result"]["result"].clone()).unwrap();
    assert_eq!(bits(&back), bits(&sent), "as JSON through the daemon's socket");
    host.shutdown();
}

#[test]
fn what_json_has_no_number_for_is_an_error_and_no_null() {
    let world = World::new();
    let host = world.host();
    let kv = up(&world, &host, None);
    let client = numbers::NumbersClient::new(&*kv);
    let error = client.back(vec![1.0, f64::INFINITY]).unwrap_err();
    assert_eq!((error.code, error.outcome), (ErrorCode::InvalidParams, Outcome::NotSent));
    assert!(error.message.contains("inf is no number in JSON"), "{error}");
    let error = client.none().unwrap_err();
    assert_eq!(error.code, ErrorCode::InternalError);
    assert!(error.message.contains("NaN is no number in JSON"), "{error}");
    let by_hand = kv.call::<_, Value>("numbers.back", &json!({"values": [f64::NAN]})).unwrap_err();
    assert!(
        by_hand.to_string().contains("null"),
        "`json!` has made it null before anybody could see it: {by_hand}"
    );
    host.shutdown();
}
