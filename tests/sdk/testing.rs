//! Plugins against the host in the process, [`TestHost`].

use super::fake_host::PATIENCE;
use rpc_plugin_sdk::testing::TestHost;
use rpc_plugin_sdk::{
    Call, CallError, CallOptions, End, ErrorCode, HandlerError, HealthStatus, Outcome, Plugin, Stream,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::io::{Read, Write};
use std::sync::mpsc::channel;
use std::time::Duration;

#[derive(Deserialize, Serialize)]
struct Through {
    from: Stream,
    into: Stream,
}

fn plugin() -> Plugin {
    Plugin::new("1.0.0")
        .method("count", |call: &Call, (): ()| -> Result<u32, HandlerError> {
            for number in 1.. {
                call.progress(&number);
                call.wait(if number < 3 { Duration::ZERO } else { PATIENCE })?;
            }
            Ok(0)
        })
        .method("why", |call: &Call, (): ()| -> Result<String, HandlerError> {
            call.progress(&call.cancel_cause().map(|cause| cause.to_string()));
            let _ = call.wait(PATIENCE);
            Ok(call.cancel_cause().map_or(String::new(), |cause| cause.to_string()))
        })
        .method("copy", |_: &Call, through: Through| -> Result<u64, HandlerError> {
            let mut text = String::new();
            let (mut from, mut into) = (through.from, through.into);
            from.read_to_string(&mut text)?;
            into.write_all(text.to_uppercase().as_bytes())?;
            Ok(text.len() as u64)
        })
}

#[test]
fn calls_are_made_told_of_and_cancelled() {
    let host = TestHost::start(plugin()).unwrap();
    let mut count = host.call_start("count", &(), CallOptions::default().progress(true)).unwrap();
    for number in 1..=3 {
        assert_eq!(count.next_progress().unwrap().get(), number.to_string());
    }
    count.cancel();
    let end: Result<u32, CallError> = count.wait();
    assert_eq!(end.unwrap_err().code, ErrorCode::Cancelled);
    let mut why = host.call_start("why", &(), CallOptions::default().progress(true)).unwrap();
    assert_eq!(why.next_progress().unwrap().get(), "null", "it is not cancelled");
    why.cancel_with("a better offer came");
    assert_eq!(why.wait::<String>().unwrap(), "a better offer came");
    let missing: Result<u32, CallError> = host.call("count.none", &());
    assert_eq!(missing.unwrap_err().code, ErrorCode::MethodNotFound);
    assert_eq!(host.shutdown().unwrap(), End::Shutdown);
}

#[test]
fn a_call_ends_by_its_deadline() {
    let (go, gone) = channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let deaf = Plugin::new("1.0.0").method("deaf", move |_: &Call, (): ()| -> Result<(), HandlerError> {
        let _ = gone.lock().unwrap().recv();
        Ok(())
    });
    let host = TestHost::start(deaf).unwrap();
    let options = CallOptions::default().timeout(Duration::from_millis(50));
    let end: Result<(), CallError> = host.call_start("deaf", &(), options).unwrap().wait();
    let error = end.unwrap_err();
    assert_eq!(error.code, ErrorCode::DeadlineExceeded);
    assert_ne!(error.outcome, Outcome::NotSent);
    drop(go);
}

#[test]
fn streams_travel_both_ways() {
    let host = TestHost::start(plugin()).unwrap();
    let (from, mut writer) = Stream::pipe().unwrap();
    let (mut reader, into) = Stream::pipe().unwrap();
    writer.write_all(b"quiet").unwrap();
    drop(writer);
    let without: Result<u64, CallError> = host.call("copy", &json!({}));
    assert_eq!(without.unwrap_err().code, ErrorCode::InvalidParams);
    let bytes: u64 = host.call("copy", &Through { from, into }).unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!((bytes, text.as_str()), (5, "QUIET"));
}

#[test]
fn health_is_asked_again_and_again() {
    let (told, asked) = channel();
    let plugin = plugin().health(move || {
        let _ = told.send(());
        HealthStatus::Degraded
    });
    let host = TestHost::start(plugin).unwrap();
    assert_eq!(host.health().unwrap(), HealthStatus::Degraded);
    // At the start, here, and by itself, while nothing is called.
    for time in 1..=3 {
        assert!(asked.recv_timeout(PATIENCE).is_ok(), "it was not asked {time} times");
    }
}

#[test]
fn a_plugin_that_cannot_be_says_why_itself() {
    let error = TestHost::start(Plugin::new("1.0.0")).unwrap_err();
    assert!(error.to_string().contains("this plugin is defined wrongly"), "{error}");
}

#[test]
fn a_plugin_whose_host_is_dropped_ends() {
    let (told, ended) = channel();
    let plugin = plugin().method("watch", move |call: &Call, (): ()| -> Result<(), HandlerError> {
        let _ = told.send(call.wait(PATIENCE).is_err());
        Ok(())
    });
    let host = TestHost::start(plugin).unwrap();
    let watch = host.call_start("watch", &(), CallOptions::default()).unwrap();
    let _ready: HealthStatus = host.health().unwrap();
    drop(host);
    assert_eq!(watch.wait::<()>().unwrap_err().code, ErrorCode::PluginLost);
    assert!(ended.recv_timeout(PATIENCE).unwrap_or(true), "its handler is cancelled, or was never run");
}
