//! Functions as arguments between a live host and real plugins, in each direction: called while the call lasts that
//! they came with, by whoever was told them, and by nobody else.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub)]

use crate::fixtures::nested::{self, Launch, Scene};
use crate::fixtures::world::SOON;
use rpc_plugin_interface::{CallError, Callback, Caller, Context, ErrorCode, HandlerError};
use rpc_plugin_sdk::Call;
use rpc_plugin_system::host::{CallOptions, PluginHandle};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

rpc_plugin_interface::interface! {
    pub trait Each = "each" version 1, client EachClient {
        fn add(threads: u32, times: u32, function: Callback<u64, u64>) -> u64;
        fn keep(function: Callback<u64, u64>);
        fn late() -> String;
    }
}

#[derive(Default)]
struct Calls(Mutex<Option<Arc<Callback<u64, u64>>>>);

impl Each for Calls {
    /// The sum of what the function gives for each number, called by several threads.
    fn add(
        &self,
        _: &Context,
        threads: u32,
        times: u32,
        function: Callback<u64, u64>,
    ) -> Result<u64, HandlerError> {
        let call_some = || (0..times).map(|n| function.call(u64::from(n))).sum::<Result<u64, CallError>>();
        let sums = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(call_some)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        Ok(sums.into_iter().sum::<Result<u64, CallError>>()?)
    }

    fn keep(&self, _: &Context, function: Callback<u64, u64>) -> Result<(), HandlerError> {
        function.call(1)?;
        self.0.lock().unwrap().replace(Arc::new(function));
        Ok(())
    }

    fn late(&self, _: &Context) -> Result<String, HandlerError> {
        let function = self.0.lock().unwrap().clone().unwrap();
        Ok(function.call(1).unwrap_err().code.name().to_owned())
    }
}

/// Has somebody else call a function of this process's; gives how often it was called beside the sum.
fn use_of(client: &EachClient<impl Caller>, threads: u32, times: u32) -> Result<Value, CallError> {
    let called = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&called);
    let function = Callback::new(move |n: u64| {
        counts.fetch_add(1, Ordering::SeqCst);
        n * 2
    });
    let sum = client.add(threads, times, function)?;
    client.keep(Callback::new(|n: u64| n))?;
    let late = client.late()?;
    Ok(json!({"sum": sum, "called": called.load(Ordering::SeqCst), "late": late}))
}

fn used(threads: u64, times: u64) -> Value {
    json!({"sum": threads * times * (times - 1), "called": threads * times, "late": "unavailable"})
}

#[derive(serde::Deserialize)]
struct Use {
    threads: u32,
    times: u32,
    #[serde(default)]
    plugin: Option<String>,
}

const BODY: &str = "callbacks";

/// The plugin that these tests start.
pub(crate) fn serve_nested() {
    let plugin = nested::plugin()
        .serve_interface(Each::into_table(Calls::default()))
        .method("work.use", |call: &Call, asked: Use| {
            let Use { threads, times, plugin } = asked;
            Ok::<_, HandlerError>(match plugin {
                None => use_of(&EachClient::new(call.host()), threads, times)?,
                Some(id) => use_of(&EachClient::new(call.host().plugin(&id)), threads, times)?,
            })
        })
        .raw_method("work.pass_on", |call: &Call, params| {
            // The number goes to another plugin as if it were any, and that one tries to call it.
            let params: Value = serde_json::from_str(params.unwrap().get()).unwrap();
            let back = json!({"id": params["function"]["$callback"], "params": {"value": 7}});
            let made = json!({"method": "rpc.callback", "params": back});
            let answer: Value = match params["through"].as_str() {
                Some(id) => call.host().plugin(id).call("work.call", &made)?,
                None => call.host().call("rpc.callback", &back)?,
            };
            Ok::<_, HandlerError>(serde_json::value::to_raw_value(&answer)?)
        });
    // Where this fails the host that started it says why.
    let _ = plugin.run();
}

fn options() -> CallOptions {
    CallOptions::default().timeout(SOON)
}

fn scene() -> (Scene, PluginHandle, PluginHandle) {
    let scene = Scene::with(BODY, |builder| {
        builder.service_threads(2).serve_interface(Each::into_table(Calls::default()))
    });
    let launch = Launch { threads: 2, ..Launch::default() };
    let (a, b) = (scene.up("a", &launch), scene.up("b", &launch));
    (scene, a, b)
}

#[test]
fn a_plugin_calls_functions_of_its_host_from_several_threads() {
    let (_scene, a, _b) = scene();
    let client = EachClient::new(&*a);
    assert_eq!(use_of(&client, 1, 3).unwrap(), used(1, 3));
    assert_eq!(use_of(&client, 4, 100).unwrap(), used(4, 100));
}

#[test]
fn a_service_of_the_host_calls_functions_of_a_plugin_from_several_threads() {
    let (_scene, a, _b) = scene();
    let ask = |threads: u32, times: u32| {
        a.call_with::<_, Value>("work.use", &json!({"threads": threads, "times": times}), options())
    };
    assert_eq!(ask(1, 3).unwrap(), used(1, 3));
    assert_eq!(ask(4, 100).unwrap(), used(4, 100));
}

#[test]
fn a_plugin_calls_functions_of_another_one_through_the_host() {
    let (_scene, a, _b) = scene();
    let ask = |threads: u32, times: u32| {
        let params = json!({"threads": threads, "times": times, "plugin": "b"});
        a.call_with::<_, Value>("work.use", &params, options())
    };
    assert_eq!(ask(1, 3).unwrap(), used(1, 3));
    assert_eq!(ask(4, 100).unwrap(), used(4, 100));
}

#[test]
fn a_function_is_called_by_whoever_was_told_it_and_by_nobody_else() {
    let (_scene, a, _b) = scene();
    let called = Arc::new(AtomicU64::new(0));
    let function = || {
        let counts = Arc::clone(&called);
        Callback::<u64, u64>::new(move |n| counts.fetch_add(n, Ordering::SeqCst))
    };
    let params = BTreeMap::from([("function", function())]);
    a.call_with::<_, Value>("work.pass_on", &params, options()).unwrap();
    assert_eq!(called.load(Ordering::SeqCst), 7);
    #[derive(serde::Serialize)]
    struct Through {
        function: Callback<u64, u64>,
        through: &'static str,
    }
    // The number belongs to the call that it came with, also where the same plugin serves another one.
    for through in ["b", "a"] {
        let through = Through { function: function(), through };
        let ended = a.call_with::<_, Value>("work.pass_on", &through, options());
        assert_eq!(ended.unwrap_err().code, ErrorCode::MethodNotFound);
    }
    assert_eq!(called.load(Ordering::SeqCst), 7);
}
