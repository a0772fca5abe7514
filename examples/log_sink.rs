//! A plugin that takes the events of its host: a sink of type `plugin` hands them over.
//!
//! It appends each event to the file that is its argument, and answers once they are written. An event may come twice,
//! with the same `seq`: after an answer that got lost, the host hands it over again.
//!
//! What it deliberately does not do: sync, or rotate its file.
#![forbid(unsafe_code)]

use rpc_plugin_sdk::{Call, HandlerError, Plugin};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::fs::OpenOptions;
use std::io::Write;

#[derive(Deserialize)]
struct WriteParams {
    sink: String,
    events: Vec<Box<RawValue>>,
}

fn write(_: &Call, params: WriteParams) -> Result<serde_json::Value, HandlerError> {
    let path = std::env::args().nth(1).unwrap_or_else(|| format!("/tmp/{}.jsonl", params.sink));
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let mut lines = String::new();
    for event in params.events {
        lines += event.get();
        lines.push('\n');
    }
    file.write_all(lines.as_bytes())?;
    Ok(serde_json::json!({}))
}

fn main() -> std::process::ExitCode {
    Plugin::new(env!("CARGO_PKG_VERSION")).method("log-sink.write", write).run()
}
