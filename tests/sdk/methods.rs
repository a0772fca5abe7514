//! The methods of the plugin that the SDK's tests run, in this process and as a program of its own.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use rpc_plugin_sdk::{Call, HandlerError, Plugin};
use serde_json::{Value, json};
use std::time::Duration;

/// `echo` returns its params, `block` waits until it is cancelled, `panic` panics, `big` returns as many
/// bytes as asked, `fail` fails with a code of its own.
pub fn plugin() -> Plugin {
    Plugin::new("1.2.3")
        .method("echo", |_: &Call, params: Value| Ok::<_, HandlerError>(params))
        .method("block", |call: &Call, (): ()| call.wait(Duration::from_secs(200)))
        .method("panic", |_: &Call, (): ()| -> Result<(), HandlerError> { panic!("on purpose") })
        .method("big", |_: &Call, params: Value| {
            let bytes = usize::try_from(params["bytes"].as_u64().unwrap()).unwrap();
            Ok::<_, HandlerError>("x".repeat(bytes))
        })
        .method("fail", |_: &Call, (): ()| -> Result<(), HandlerError> {
            Err(HandlerError::new(77.into(), "as asked").with_data(&json!({"why": [1, 2]})))
        })
}
