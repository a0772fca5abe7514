//! Streams, blobs and plain descriptors in params and results, in both directions.
//!
//! What it deliberately does not do: hosts that break the rules about them; `fd_attacks.rs` does.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub, dead_code)]

use crate::fake_host::{FakeHost, code};
use crate::methods::plugin;
use rpc_plugin_sdk::{Blob, Call, HandlerError, Plugin, Stream};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

#[derive(serde::Deserialize, serde::Serialize)]
struct Copy {
    from: Stream,
    to: Stream,
}

/// `copy` copies one stream to another, `open` gives a stream with a number and as much beside it as asked,
/// `size` tells of a blob, `raw` reads plain descriptors, `ask` sends a stream to the host and reads what comes.
fn streaming() -> Plugin {
    plugin()
        .method("copy", |_: &Call, Copy { mut from, mut to }: Copy| {
            Ok::<_, HandlerError>(io::copy(&mut from, &mut to)?)
        })
        .method("open", |_: &Call, params: Value| {
            let (ours, mut theirs) = Stream::pipe()?;
            theirs.write_all(params["n"].to_string().as_bytes())?;
            let pad = "x".repeat(usize::try_from(params["pad"].as_u64().unwrap_or(0)).unwrap());
            #[derive(serde::Serialize)]
            struct Opened {
                n: Value,
                pad: String,
                stream: Stream,
            }
            Ok::<_, HandlerError>(Opened { n: params["n"].clone(), pad, stream: ours })
        })
        .method("size", |_: &Call, [blob]: [Blob; 1]| Ok::<_, HandlerError>(blob.to_vec(1 << 20)?.len()))
        .method("blob", |_: &Call, (): ()| Ok::<_, HandlerError>(Blob::new(&[7; 100_000])?))
        .raw_method("raw", |call: &Call, _| {
            let text: Vec<String> = call
                .take_fds()
                .into_iter()
                .map(|fd| io::read_to_string(File::from(fd)))
                .collect::<Result<_, _>>()?;
            assert!(call.take_fds().is_empty());
            let (ours, mut theirs) = Stream::pipe()?;
            theirs.write_all(b"raw")?;
            serde_json::value::to_raw_value(&(text, ours)).map_err(HandlerError::from)
        })
        .method("ask", |call: &Call, (): ()| {
            let (mut ours, theirs) = Stream::pair()?;
            let mut there: Stream = call.host().plugin("other").call("svc", &json_of(theirs))?;
            ours.write_all(b"hello")?;
            ours.finish()?;
            let mut text = String::new();
            there.read_to_string(&mut text)?;
            Ok::<_, HandlerError>(text)
        })
}

fn json_of(stream: Stream) -> std::collections::BTreeMap<&'static str, Stream> {
    std::collections::BTreeMap::from([("stream", stream)])
}

fn text_of(fd: OwnedFd) -> String {
    io::read_to_string(File::from(fd)).unwrap()
}

#[test]
fn streams_arrive_in_params_and_results() {
    let mut host = FakeHost::greeted_with_all(streaming());
    let ((from, mut into), (mut out, to)) = (io::pipe().unwrap(), UnixStream::pair().unwrap());
    let line = r#"{"jsonrpc":"2.0","id":1,"method":"copy","fds":2,"params":{"from":{"$stream":0},"to":{"$stream":1}}}"#;
    host.send_line_with(line, &[from.into(), to.into()]);
    into.write_all(b"bytes").unwrap();
    drop(into);
    assert_eq!(host.recv()["result"], 5);
    let mut text = String::new();
    out.read_to_string(&mut text).unwrap();
    assert_eq!(text, "bytes", "and its end: nobody holds it any more");
    host.request(2, "open", &json!({"n": 7}));
    let answer = host.recv();
    assert_eq!(answer["result"], json!({"n": 7, "pad": "", "stream": {"$stream": 0}}));
    assert_eq!((host.take_fds(&answer).pop().map(text_of), host.fds_waiting()), (Some("7".to_owned()), 0));
}

#[test]
fn raw_handlers_have_the_descriptors_themselves() {
    let mut host = FakeHost::greeted_with_all(streaming());
    let (first, second) = (io::pipe().unwrap(), io::pipe().unwrap());
    host.send_line_with(
        r#"{"jsonrpc":"2.0","id":1,"method":"raw","fds":2}"#,
        &[first.0.into(), second.0.into()],
    );
    { first.1 }.write_all(b"one").unwrap();
    { second.1 }.write_all(b"two").unwrap();
    let answer = host.recv();
    assert_eq!(answer["result"], json!([["one", "two"], {"$stream": 0}]));
    assert_eq!(host.take_fds(&answer).pop().map(text_of), Some("raw".to_owned()));
}

#[test]
fn a_call_of_the_plugin_takes_a_stream_along_and_brings_one_back() {
    let mut host = FakeHost::greeted_with_all(streaming());
    host.request(1, "ask", &json!({}));
    let request = host.expect("host.call");
    assert_eq!(request["params"]["params"], json!({"stream": {"$stream": 0}}));
    let theirs = host.take_fds(&request).pop().unwrap();
    let line = json!({"jsonrpc": "2.0", "id": request["id"], "fds": 1, "result": {"$stream": 0}});
    let (reader, mut writer) = io::pipe().unwrap();
    host.send_line_with(&line.to_string(), &[reader.into()]);
    assert_eq!(text_of(theirs), "hello");
    writer.write_all(b"world").unwrap();
    drop(writer);
    assert_eq!(host.recv()["result"], "world");
}

#[test]
fn a_host_that_takes_none_gets_none() {
    let mut host = FakeHost::greeted(streaming());
    host.request(1, "open", &json!({"n": 7}));
    let answer = host.recv();
    assert_eq!((code(&answer), host.fds_waiting()), (-32603, 0));
    assert!(answer["error"]["message"].as_str().unwrap().contains("takes no file descriptors"), "{answer}");
    host.request(2, "ask", &json!({}));
    assert_eq!(code(&host.recv()), -32602);
}

#[test]
fn a_blob_goes_out_as_one_descriptor() {
    let mut host = FakeHost::greeted_with_all(streaming());
    host.request(1, "blob", &json!({}));
    let answer = host.recv();
    assert_eq!(answer["result"], json!({"$blob": 0, "bytes": 100_000}));
    let file = File::from(host.take_fds(&answer).pop().unwrap());
    assert_eq!(file.metadata().unwrap().len(), 100_000);
}

/// Answers with descriptors among others, some large, to a host that reads only when all were asked for.
#[test]
fn under_back_pressure_each_descriptor_stays_with_its_answer() {
    const CALLS: u64 = 200;
    let mut host = FakeHost::greeted_with_all(streaming());
    for id in 0..CALLS {
        if id % 3 == 0 {
            host.request(id, "echo", &json!({"n": id}));
        } else {
            let pad = if id % 5 == 0 { 60_000 } else { 10 };
            host.request(id, "open", &json!({"n": id, "pad": pad}));
        }
    }
    for _ in 0..CALLS {
        let answer = host.recv();
        let fds = host.take_fds(&answer);
        assert_eq!(answer["result"]["n"], answer["id"]);
        let told: Vec<String> = fds.into_iter().map(text_of).collect();
        if answer["id"].as_u64().unwrap().is_multiple_of(3) {
            assert!(told.is_empty());
        } else {
            assert_eq!(told, [answer["id"].to_string()]);
        }
    }
    assert_eq!(host.fds_waiting(), 0);
}
