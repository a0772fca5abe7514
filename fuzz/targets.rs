//! The bodies of the fuzz targets: what must hold for any bytes.
//!
//! What this file is for: one body for two users, cargo-fuzz (`fuzz_targets/`) and the ordinary test
//! run, which replays the committed corpus on stable (`tests/attacks/fuzz_corpus.rs`). What it deliberately
//! does not do: anything but call the code and assert. A broken promise is a panic.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "session.rs"]
mod session_body;

pub use session_body::session;

use rpc_plugin_system::package::Manifest;
use rpc_plugin_system::package::signature::{PublicKey, SIGNATURE_BYTES_MAX, claimed_key, verify};
use rpc_plugin_wire::handshake::{Hello, HelloResult};
use rpc_plugin_wire::life::{Cancel, Capabilities, Heartbeat};
use rpc_plugin_wire::limits::ERROR_MESSAGE_BYTES_MAX;
use rpc_plugin_wire::message::{self, NewRequest, params_into, result_object};
use rpc_plugin_wire::{FrameDecoder, FrameError, Message, RequestId, admin as wire_admin};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A fuzz target: it takes any bytes, and panics when a promise is broken.
pub type Target = fn(&[u8]);

/// Every target with the name of its corpus folder.
pub const TARGETS: [(&str, Target); 6] = [
    ("frame", frame),
    ("message", message),
    ("handshake", handshake),
    ("admin", admin),
    ("session", session),
    ("package", package),
];

/// Any split of a stream yields the frames of the whole, the limit holds, and the buffer is bounded.
///
/// The first byte is the limit, the second says how to split, the rest is the stream.
pub fn frame(data: &[u8]) {
    let [limit, split, stream @ ..] = data else { return };
    let frame_bytes_max = usize::from(*limit);
    let (expected, end) = frames_of(stream, frame_bytes_max);
    let mut decoder = FrameDecoder::new(frame_bytes_max);
    let (mut seen, mut failed, mut rest, mut chance) = (Vec::new(), None, stream, u32::from(*split));
    while !rest.is_empty() {
        // A generator of Lehmer's kind; 0 as the second byte reads one byte at a time.
        chance = chance.wrapping_mul(48_271) % 0x7fff_ffff;
        let read_bytes = (chance as usize % 32 + 1).min(rest.len());
        let (part, later) = rest.split_at(read_bytes);
        rest = later;
        // More room than bytes, as a read(2) has it.
        decoder.space(read_bytes + usize::from(*split) % 7)[..read_bytes].copy_from_slice(part);
        decoder.filled(read_bytes);
        loop {
            assert!(decoder.buffered_bytes() <= frame_bytes_max + read_bytes, "the buffer is bounded");
            match decoder.next_frame() {
                Ok(Some(frame)) => seen.push(frame.to_vec()),
                Ok(None) => break,
                Err(error) => {
                    assert!(failed.is_none_or(|before| before == error), "an error is final");
                    failed = Some(error);
                    break;
                }
            }
        }
        let waiting_bytes_max = if failed.is_none() { frame_bytes_max } else { read_bytes };
        assert!(decoder.buffered_bytes() <= waiting_bytes_max, "what waits is within the limit");
    }
    assert_eq!(seen, expected);
    assert_eq!(failed.map_or(decoder.finish(), Err), end);
}

/// What cutting a stream means, said plainly.
fn frames_of(mut stream: &[u8], frame_bytes_max: usize) -> (Vec<&[u8]>, Result<(), FrameError>) {
    let mut frames = Vec::new();
    loop {
        let line_end = stream.iter().position(|byte| *byte == b'\n');
        if line_end.unwrap_or(stream.len()) > frame_bytes_max {
            return (frames, Err(FrameError::TooLong { frame_bytes_max }));
        }
        match line_end {
            Some(at) => {
                frames.push(&stream[..at]);
                stream = &stream[at + 1..];
            }
            None if stream.is_empty() => return (frames, Ok(())),
            None => return (frames, Err(FrameError::Truncated { bytes: stream.len() })),
        }
    }
}

/// Reading any bytes as a message never panics, and what was read and is written reads the same.
pub fn message(data: &[u8]) {
    let read = match Message::parse(data) {
        Ok(read) => read,
        Err(error) => {
            assert!(error.to_string().len() <= ERROR_MESSAGE_BYTES_MAX + 256, "a message is bounded");
            return;
        }
    };
    let mut line = Vec::new();
    match &read {
        Message::Request(request) => {
            // Only numbers are written as ids of requests; texts are answered, never asked.
            let id = if let RequestId::Number(id) = request.id { id } else { 0 };
            let plain = NewRequest {
                id,
                method: &request.method,
                params: request.params.map(RawValue::get),
                deadline_ms: request.deadline_ms,
                ..NewRequest::default()
            };
            message::write_request(&mut line, &plain);
            let bytes_max = message::request_bytes_max(&request.method, request.params);
            assert!(line.len() - 1 <= bytes_max, "{} bytes, at most {bytes_max} foretold", line.len() - 1);
            line.clear();
            let (progress, fds, chain) = (request.progress, request.fds.into(), &request.chain);
            message::write_request(&mut line, &NewRequest { progress, fds, chain, ..plain });
        }
        Message::Notification(notification) => {
            message::write_notification(
                &mut line,
                &notification.method,
                notification.params.map(RawValue::get),
            );
        }
        Message::Response(response) => match (&response.result, &response.id) {
            (Ok(result), Some(id)) => {
                message::write_result(&mut line, id, result, response.fds.into(), &response.streams);
            }
            (Ok(_), None) => panic!("a result without an id was taken"),
            (Err(error), id) => message::write_error(&mut line, id.as_ref(), error),
        },
    }
    assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1), "one line");
    let again = Message::parse(&line[..line.len() - 1]).expect("what is written can be read");
    assert_eq!(meaning(&again), meaning(&read));
}

/// What of a message survives being written: the rest (fds, progress, a request's text id) travels
/// otherwise or not at all.
fn meaning(message: &Message<'_>) -> (String, Option<RequestId>, String, Option<u64>) {
    let raw = |raw: Option<&RawValue>| raw.map_or(String::new(), |raw| raw.get().replace('\n', " "));
    match message {
        Message::Request(request) => {
            let id = Some(&request.id).filter(|id| matches!(id, RequestId::Number(_))).cloned();
            let id = id.unwrap_or(RequestId::Number(0));
            (format!("request {}", request.method), Some(id), raw(request.params), request.deadline_ms)
        }
        Message::Notification(n) => (format!("notification {}", n.method), None, raw(n.params), None),
        Message::Response(response) => match &response.result {
            Ok(result) => ("result".to_owned(), response.id.clone(), raw(Some(result)), None),
            Err(error) => {
                let text = format!("error {} {:?}", error.code, error.message);
                (text, response.id.clone(), raw(error.data.as_deref()), None)
            }
        },
    }
}

/// What is read of a hello, its answer, or what a plugin says of itself is within bounds and survives
/// being written.
pub fn handshake(data: &[u8]) {
    let Some(raw) = raw_value(data) else { return };
    if let Some(hello) = survives::<Hello>(&raw)
        && hello.check().is_ok()
    {
        assert!(hello.protocols.contains(&rpc_plugin_wire::limits::PROTOCOL_VERSION));
        assert!(!hello.capabilities.is_empty());
        let accepted = BTreeMap::from([("kv".to_owned(), vec![1, 2, 7])]);
        if let Ok(agreed) = hello.negotiate(&accepted) {
            let version = agreed["kv"];
            assert!(accepted["kv"].contains(&version) && hello.interfaces["kv"].contains(&version));
        }
    }
    if let Some(capabilities) = survives::<Capabilities>(&raw) {
        let named = |error: &dyn ToString| assert!(error.to_string().len() <= 1024, "it is bounded");
        let _: Result<(), ()> = capabilities.check().map_err(|error| named(&error));
    }
    survives::<HelloResult>(&raw);
    survives::<Heartbeat>(&raw);
    survives::<Cancel>(&raw);
}

/// What is read of the admin interface survives being written, alone and in a frame of each method.
pub fn admin(data: &[u8]) {
    let Some(raw) = raw_value(data) else { return };
    survives::<wire_admin::NoParams>(&raw);
    survives::<wire_admin::PluginRef>(&raw);
    survives::<wire_admin::ActParams>(&raw);
    survives::<wire_admin::WaitParams>(&raw);
    survives::<wire_admin::CallParams>(&raw);
    survives::<wire_admin::CallReply>(&raw);
    survives::<wire_admin::HeartbeatReply>(&raw);
    survives::<wire_admin::DaemonStatus>(&raw);
    survives::<wire_admin::PluginStatus>(&raw);
    survives::<wire_admin::PluginList>(&raw);
    survives::<wire_admin::RouteList>(&raw);
    for method in wire_admin::METHODS {
        let mut line = Vec::new();
        let params = Some(raw.get());
        message::write_request(&mut line, &NewRequest { id: 1, method, params, ..NewRequest::default() });
        match Message::parse(line.trim_ascii_end()) {
            Ok(Message::Request(request)) => assert_eq!(request.method, *method),
            Ok(other) => panic!("a request was read as {other:?}"),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

fn raw_value(data: &[u8]) -> Option<Box<RawValue>> {
    serde_json::from_slice(data).ok()
}

/// Reads `raw` as a `T`, writes that, and reads it again: both must be the same. Read as params it must
/// be the same as read as a result, for an object; anything else is no result.
fn survives<T: DeserializeOwned + Serialize>(raw: &RawValue) -> Option<T> {
    let value = match result_object::<T>(raw) {
        Ok(value) => value,
        Err(error) => {
            assert!(!error.is_empty() && error.len() <= ERROR_MESSAGE_BYTES_MAX, "{error}");
            return None;
        }
    };
    assert!(raw.get().starts_with('{'), "only an object is taken");
    let written = serde_json::value::to_raw_value(&value).expect("what was read can be written");
    let again: T = params_into(Some(&written)).expect("what was written can be read");
    assert_eq!(serde_json::to_string(&again).unwrap(), written.get());
    Some(value)
}

/// A manifest that is read is one whose files stay inside and whose entrypoint is one of them; a bad one is told within bounds. A
/// signature that nobody made is refused.
///
/// The first byte says which of both the rest is.
pub fn package(data: &[u8]) {
    let [kind, data @ ..] = data else { return };
    if kind % 2 == 1 {
        let key: PublicKey = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3".parse().unwrap();
        let claimed = claimed_key(data);
        assert!(data.len() <= SIGNATURE_BYTES_MAX || claimed.is_err(), "its length is bounded");
        // Bytes that this key never signed.
        let refused = verify(data, b"bytes that nobody has signed", [&key]).unwrap_err().to_string();
        assert!(!refused.contains('\n'), "an error is one line: {refused}");
        return;
    }
    match Manifest::read("plugin.json".as_ref(), data) {
        Ok(manifest) => {
            assert!(manifest.files.contains_key(&manifest.entrypoint), "what is started is one of its files");
            for path in manifest.files.keys() {
                let path = std::path::Path::new(path.as_str());
                let is_inside = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
                assert!(is_inside, "{} stays inside", path.display());
            }
        }
        Err(errors) => {
            let told = errors.to_string();
            assert!((1..=21).contains(&told.lines().count()), "faults are told, and bounded: {told}");
        }
    }
}
