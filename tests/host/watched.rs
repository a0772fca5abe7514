//! Calls that are told of and cancelled while they last; hosts and plugins that are had in one step.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::world::{self, SOON, World, calm, eventually, next_event};
use rpc_plugin_system::host::{
    CallError, CancelToken, ErrorCode, EventKind, Host, HostError, Outcome, PluginConfig, PluginHandle,
};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The plugin that tells of progress in steps.
fn steps(world: &World, host: &Host) -> PluginHandle {
    let config = PluginConfig::new("steps".parse().unwrap(), world.program("failure"));
    host.launch(config.policy(calm()), SOON).unwrap()
}

#[test]
fn progress_is_told_on_the_calling_thread_before_the_call_returns() {
    let world = World::new();
    let host = world.host();
    let plugin = steps(&world, &host);
    // Neither Send nor 'static: it stays here.
    let told = RefCell::new(Vec::new());
    let watched = plugin.on_progress(|value: Value| told.borrow_mut().push(value["step"].clone()));
    let done: Value = watched.call("sleep", &json!({"ms": 5, "progress": 3})).unwrap();
    assert_eq!((done, told.take()), (json!({}), vec![json!(1), json!(2), json!(3)]));
    // What is no such value is passed over.
    let other = plugin.on_progress(|_: String| told.borrow_mut().push(json!("text")));
    let _: Value = other.call("sleep", &json!({"ms": 5, "progress": 3})).unwrap();
    assert!(told.take().is_empty());
    host.shutdown();
}

#[test]
fn a_token_cancels_from_elsewhere_and_what_comes_after() {
    let world = World::new();
    let host = world.host();
    let plugin = steps(&world, &host);
    let long = json!({"ms": 600_000, "progress": 1});
    let token = CancelToken::new();
    let of_thread = token.clone();
    // Told of the first step, another thread cancels.
    let (sender, told) = std::sync::mpsc::channel();
    let canceller = std::thread::spawn(move || {
        told.recv().unwrap();
        of_thread.cancel();
    });
    let watched = plugin.cancelled_by(&token).on_progress(move |_: Value| sender.send(()).unwrap());
    let cancelled: Result<Value, CallError> = watched.call("sleep", &long);
    let error = cancelled.unwrap_err();
    assert_eq!((error.code, error.outcome), (ErrorCode::Cancelled, Outcome::Indeterminate), "{error}");
    canceller.join().unwrap();
    eventually("the plugin is told", || (plugin.status().unwrap().calls_in_flight == 0).then_some(()));
    let before = plugin.status().unwrap().calls_total;
    let after: Result<Value, CallError> = watched.call("sleep", &long);
    let error = after.unwrap_err();
    assert_eq!((error.code, error.outcome), (ErrorCode::Cancelled, Outcome::NotSent), "{error}");
    assert_eq!(plugin.status().unwrap().calls_total, before);
    host.shutdown();
}

#[test]
fn a_temporary_host_takes_its_folder_with_it() {
    let hosts = [Host::temporary().start().unwrap(), Host::temporary().start().unwrap()];
    let folders = hosts.each_ref().map(|host| host.runtime_dir().to_owned());
    assert_ne!(folders[0], folders[1]);
    assert!(folders.iter().all(|folder| folder.join("lock").exists()));
    let [first, second] = hosts;
    first.shutdown();
    drop((first, second));
    assert!(folders.iter().all(|folder| !folder.exists()), "{folders:?}");
}

#[test]
fn a_launch_that_is_not_up_in_time_stays_in_care() {
    let world = World::new();
    let host = world.host();
    let config = || PluginConfig::new("late".parse().unwrap(), world.program("failure"));
    let late = config().env("FAILURE_MODE", "never-connect").policy(world::patient());
    let error = host.launch(late, Duration::from_millis(50)).unwrap_err();
    assert!(matches!(&error, HostError::Call(error) if error.code == ErrorCode::DeadlineExceeded), "{error}");
    assert!(host.plugin(&"late".parse().unwrap()).is_ok());
    let again = host.launch(config(), SOON).unwrap_err();
    assert!(matches!(again, HostError::PluginExists(_)), "{again}");
    host.shutdown();
}

#[test]
fn what_an_operator_does_once_a_subscription_is_there_is_told() {
    let world = World::new();
    let host = world.builder().admin_socket(true).start().unwrap();
    host.add(PluginConfig::new("idle".parse().unwrap(), world.program("echo"))).unwrap();
    let mut operator = UnixStream::connect(host.runtime_dir().join("admin.sock")).unwrap();
    for id in 0..200 {
        let events = host.subscribe(10).unwrap();
        // Comes to the loop by another way than subscriptions do.
        let asked =
            json!({"jsonrpc": "2.0", "id": id, "method": "admin.stop", "params": {"plugin_id": "idle"}});
        operator.write_all(format!("{asked}\n").as_bytes()).unwrap();
        next_event(&events, EventKind::AdminAction);
    }
    host.shutdown();
}
