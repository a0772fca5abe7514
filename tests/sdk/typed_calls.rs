//! A typed interface with a stream and a callback, served by a plugin, and its client inside a plugin.
//!
//! What it deliberately does not do: versions; `interfaces.rs` does.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub, dead_code, clippy::type_complexity)]

use crate::fake_host::FakeHost;
use crate::methods::plugin;
use rpc_plugin_sdk::{Call, Callback, Context, HandlerError, Stream};
use serde_json::json;
use std::io::Write;

rpc_plugin_sdk::interface! {
    pub trait Lines = "lines" version 1, client LinesClient {
        fn write(to: Stream, on_line: Callback<u32, bool>) -> u32;
    }
}

struct Writes;

impl Lines for Writes {
    fn write(&self, _: &Context, mut to: Stream, on_line: Callback<u32, bool>) -> Result<u32, HandlerError> {
        let mut lines = 0;
        while on_line.call(lines)? {
            writeln!(to, "{lines}")?;
            lines += 1;
        }
        Ok(lines)
    }
}

#[test]
fn a_typed_method_writes_to_a_stream_and_calls_back() {
    let mut host = FakeHost::greeted_with_all(plugin().threads(1).serve_interface(Lines::into_table(Writes)));
    let (reader, writer) = std::io::pipe().unwrap();
    let params = json!({"to": {"$stream": 0}, "on_line": {"$callback": 4}});
    let line = json!({"jsonrpc": "2.0", "id": 1, "method": "lines.write", "fds": 1, "params": params});
    host.send_line_with(&line.to_string(), &[writer.into()]);
    for n in 0..4 {
        let back = host.expect("rpc.callback");
        assert_eq!((&back["params"]["id"], &back["params"]["params"]["value"]), (&json!(4), &json!(n)));
        host.answer(&back, &json!(n < 3));
    }
    assert_eq!(host.recv()["result"], 3);
    assert_eq!(std::io::read_to_string(reader).unwrap(), "0\n1\n2\n");
}

#[test]
fn a_client_inside_a_plugin_sends_both_to_another_one() {
    let plugin = plugin().threads(1).method("go", |call: &Call, (): ()| {
        let (ours, theirs) = Stream::pipe()?;
        let client = LinesClient::new(call.host().capability("lines"));
        let lines = client.write(theirs, Callback::new(|line: u32| line < 1))?;
        drop(ours);
        Ok::<_, HandlerError>(lines)
    });
    let mut host = FakeHost::greeted_with_all(plugin);
    host.request(1, "go", &json!({}));
    let call = host.expect("host.call");
    assert_eq!(
        (&call["params"]["capability"], &call["params"]["method"]),
        (&json!("lines"), &json!("lines.write"))
    );
    assert_eq!(host.take_fds(&call).len(), 1);
    let number = &call["params"]["params"]["on_line"]["$callback"];
    for n in 0..2 {
        host.request(10 + n, "rpc.callback", &json!({"id": number, "params": {"value": n}}));
        assert_eq!(host.recv()["result"], n < 1);
    }
    host.answer(&call, &json!(2));
    assert_eq!(host.recv()["result"], 2);
}
