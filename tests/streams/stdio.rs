//! Streams and blobs in band: a host and a plugin on the SDK with the plugin's standard input and output as the
//! connection (protocol section 6), and between such a plugin and one that is passed descriptors.
//!
//! The plugin is this program, started again. What it deliberately does not do: plugins that break the rules;
//! `streams_attacks` does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(missing_docs, reason = "a type of a test's own")]

use crate::fixtures::census::Opened;
use crate::fixtures::child::{self, alone};
use crate::fixtures::world::{SOON, World, eventually, is_alive, patient, signal, up};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use rpc_plugin_interface::{Blob, Stream};
use rpc_plugin_sdk::{Call, Plugin};
use rpc_plugin_system::host::{
    CallError, CallOptions, ErrorCode, HandlerError, Host, MayCall, Outcome, PluginConfig, PluginHandle,
    PluginState, Policy, RestartPolicy, ServiceCall, Transport,
};
use rpc_plugin_wire::handshake::ENV_PLUGIN_SOCKET;
use rpc_plugin_wire::limits::{STREAM_WINDOW_BYTES, STREAMS_MAX};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

const MIB: usize = 1024 * 1024;
/// What the buffers of a socketpair at each end may hold beside the window, and then some.
const BUFFERS_BYTES: usize = 2 * MIB;

#[derive(Serialize, Deserialize)]
struct One {
    stream: Stream,
}

#[derive(Serialize, Deserialize)]
struct Many {
    streams: Vec<Stream>,
}

#[derive(Serialize, Deserialize)]
struct Memory {
    blob: Blob,
}

#[derive(Serialize, Deserialize, Debug)]
struct Size {
    bytes: usize,
}

#[derive(Serialize, Deserialize)]
struct Forward {
    to: String,
    stream: Stream,
}

#[derive(Serialize, Deserialize)]
struct To {
    to: String,
}

/// Puts a byte into a pipe, and waits until somebody has read it.
fn put_and_wait(reader: &PipeReader, writer: &mut PipeWriter) -> io::Result<()> {
    writer.write_all(b"x")?;
    let is_there = || {
        let mut polled = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO).unwrap() > 0
    };
    eventually("the byte is read", || (!is_there()).then_some(()));
    Ok(())
}

/// How far bytes came, and how that ended.
#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Written {
    bytes: usize,
    error: String,
}

/// Bytes that show where each of them belongs.
fn pattern(from: usize, bytes: usize) -> Vec<u8> {
    let cycle: Vec<u8> = (0..251).collect();
    cycle.repeat(bytes / 251 + 2)[from % 251..][..bytes].to_vec()
}

/// Writes that many bytes, or until that fails.
fn write_pattern(stream: &mut Stream, bytes: usize) -> Written {
    let mut written = 0;
    while written < bytes {
        let part = pattern(written, (bytes - written).min(100_000));
        match stream.write(&part) {
            Ok(some) => written += some,
            Err(error) => return Written { bytes: written, error: format!("{:?}", error.kind()) },
        }
    }
    Written { bytes: written, error: String::new() }
}

/// Reads to the end, and checks each byte.
fn read_pattern(stream: &mut Stream) -> io::Result<usize> {
    let (mut at, mut buffer) = (0, vec![0; 100_000]);
    loop {
        let bytes = stream.read(&mut buffer)?;
        if bytes == 0 {
            return Ok(at);
        }
        if buffer[..bytes] != pattern(at, bytes) {
            return Err(io::Error::other(format!("other bytes at {at}")));
        }
        at += bytes;
    }
}

/// Most memory that a process ever had. KiB.
fn peak_kib(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

static HELD: Mutex<Vec<Stream>> = Mutex::new(Vec::new());

type Answer<T> = Result<T, HandlerError>;

/// The plugin that these tests start.
pub(crate) fn serve_streams() {
    if std::env::var_os(ENV_PLUGIN_SOCKET).is_none() {
        // The test's harness prints on standard output, so the connection comes as standard error.
        nix::unistd::dup2_stdout(io::stderr()).unwrap();
        nix::unistd::dup2_stderr(std::fs::File::create("/dev/null").unwrap()).unwrap();
    }
    let plugin = Plugin::new("1.0.0")
        .method("bulk.read", |_: &Call, One { mut stream }: One| -> Answer<Size> {
            Ok(Size { bytes: read_pattern(&mut stream)? })
        })
        .method("bulk.read_some", |_: &Call, One { mut stream }: One| -> Answer<()> {
            Ok(stream.read_exact(&mut [0; 1000])?)
        })
        .method("bulk.write", |_: &Call, Size { bytes }: Size| -> Answer<One> {
            let (mut ours, stream) = Stream::pair()?;
            thread::spawn(move || write_pattern(&mut ours, bytes));
            Ok(One { stream })
        })
        .method("bulk.fill", |_: &Call, One { mut stream }: One| -> Answer<Written> {
            Ok(write_pattern(&mut stream, usize::MAX))
        })
        .method("bulk.echo", |_: &Call, One { mut stream }: One| -> Answer<Size> {
            let mut out: Stream = stream.try_clone()?;
            Ok(Size { bytes: usize::try_from(io::copy(&mut stream, &mut out)?).unwrap() })
        })
        .method("bulk.hold", |_: &Call, Many { streams }: Many| -> Answer<usize> {
            let mut held = HELD.lock().unwrap();
            held.extend(streams);
            Ok(held.len())
        })
        .method("bulk.release", |_: &Call, (): ()| -> Answer<()> {
            HELD.lock().unwrap().clear();
            Ok(())
        })
        .method("bulk.size", |_: &Call, Memory { blob }: Memory| -> Answer<Size> {
            let bytes = blob.to_vec(64 * MIB)?;
            let is_whole = bytes == pattern(0, bytes.len());
            is_whole.then_some(Size { bytes: bytes.len() }).ok_or_else(|| HandlerError::internal("other"))
        })
        .method("bulk.blob", |_: &Call, Size { bytes }: Size| -> Answer<Memory> {
            Ok(Memory { blob: Blob::new(&pattern(0, bytes))? })
        })
        .method("bulk.forward", |call: &Call, Forward { to, stream }: Forward| -> Answer<Size> {
            Ok(call.host().plugin(&to).call("bulk.echo", &One { stream })?)
        })
        .method("bulk.hang", |call: &Call, To { to }: To| -> Answer<()> {
            let (shared, mut writer) = io::pipe()?;
            let streams = vec![Stream::from(OwnedFd::from(shared.try_clone()?))];
            let _: usize = call.host().plugin(&to).call("bulk.hold", &Many { streams })?;
            // The open file is shared with the host, which reads all that is there and then once more.
            put_and_wait(&shared, &mut writer)?;
            let flags = OFlag::from_bits_retain(fcntl(&shared, FcntlArg::F_GETFL).unwrap());
            fcntl(&shared, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK)).unwrap();
            put_and_wait(&shared, &mut writer)?;
            // As long as this process lives.
            std::mem::forget((shared, writer));
            Ok(())
        })
        .method("bulk.give", |call: &Call, Size { bytes }: Size| -> Answer<Vec<String>> {
            Ok((0..bytes)
                .map(|_| {
                    let (ours, stream) = Stream::pair().unwrap();
                    HELD.lock().unwrap().push(ours);
                    let given: Result<(), CallError> = call.host().call("test.take", &One { stream });
                    given.map_or_else(|error| error.to_string(), |()| "taken".to_owned())
                })
                .collect())
        });
    // Where this fails the host that started it says why.
    let _ = plugin.run();
}

fn config(world: &World, id: &str, transport: Transport) -> PluginConfig {
    let program = child::copy(world);
    let started = match transport {
        Transport::Stdio => {
            let text = format!("#!/bin/sh\nexec {} \"$@\" 2>&1 >/dev/null\n", program.display());
            PluginConfig::new(id.parse().unwrap(), world.script("on-stdio", &text))
        }
        _ => PluginConfig::new(id.parse().unwrap(), program),
    };
    let policy = Policy { restart: RestartPolicy::Never, ..patient() };
    let mut started = started;
    started.may_call = MayCall { plugins: vec!["*".into()], ..MayCall::default() };
    child::with_body(started.policy(policy).transport(transport), "stdio")
}

fn on_stdio(world: &World, host: &Host) -> PluginHandle {
    up(host.add(config(world, "stdio", Transport::Stdio)).unwrap())
}

fn options() -> CallOptions {
    CallOptions::default().timeout(SOON * 3)
}

fn call<P: Serialize, R: for<'de> Deserialize<'de>>(
    plugin: &PluginHandle,
    method: &str,
    params: &P,
) -> Result<R, CallError> {
    plugin.call_with(method, params, options())
}

/// What is open here and at the plugin.
fn opened(plugin: &PluginHandle) -> Opened {
    Opened::take(&[std::process::id(), plugin.status().unwrap().pid.unwrap()])
}

/// Waits until all streams are over: none of their descriptors is left here or at the plugin.
fn settled(before: &Opened) {
    before.wait_closed("all descriptors of streams are closed");
}

#[test]
fn bytes_go_to_a_plugin_from_it_and_both_ways_at_once() {
    alone(|| {
        let world = World::new();
        let host = world.host();
        let plugin = on_stdio(&world, &host);
        let _: Size = call(&plugin, "bulk.size", &Memory { blob: Blob::new(b"").unwrap() }).unwrap();
        let before = opened(&plugin);
        for bytes in [0, 1, 3 * MIB] {
            let (mut ours, stream) = Stream::pair().unwrap();
            let writer = thread::spawn(move || write_pattern(&mut ours, bytes));
            let read: Size = call(&plugin, "bulk.read", &One { stream }).unwrap();
            assert_eq!((read.bytes, writer.join().unwrap().bytes), (bytes, bytes));
            let mut given: One = call(&plugin, "bulk.write", &Size { bytes }).unwrap();
            assert_eq!(read_pattern(&mut given.stream).unwrap(), bytes);

            let (mut ours, stream) = Stream::pair().unwrap();
            let echoing = plugin.call_start("bulk.echo", &One { stream }, options()).unwrap();
            let mut out = ours.try_clone().unwrap();
            let writer = thread::spawn(move || {
                write_pattern(&mut out, bytes);
                out.finish()
            });
            assert_eq!(read_pattern(&mut ours).unwrap(), bytes);
            writer.join().unwrap().unwrap();
            assert_eq!(echoing.wait().unwrap().parse::<Size>().unwrap().bytes, bytes);
        }
        // A pipe goes one way.
        let (stream, mut writer) = Stream::pipe().unwrap();
        let writer = thread::spawn(move || write_pattern(&mut writer, MIB));
        assert_eq!(call::<_, Size>(&plugin, "bulk.read", &One { stream }).unwrap().bytes, MIB);
        writer.join().unwrap();
        settled(&before);
    });
}

#[test]
fn sixteen_at_once_and_the_seventeenth_is_refused_on_either_side() {
    alone(|| {
        let world = World::new();
        let taken: &'static Mutex<Vec<Stream>> = Box::leak(Box::new(Mutex::new(Vec::new())));
        let host = world
            .builder()
            .service("test.take", |_: &ServiceCall, One { stream }: One| {
                taken.lock().unwrap().push(stream);
                Ok::<_, HandlerError>(())
            })
            .start()
            .unwrap();
        let plugin = on_stdio(&world, &host);
        let before = opened(&plugin);
        // All of them busy at once.
        thread::scope(|scope| {
            for _ in 0..STREAMS_MAX {
                let plugin = plugin.clone();
                scope.spawn(move || {
                    let (mut ours, stream) = Stream::pair().unwrap();
                    let writer = thread::spawn(move || write_pattern(&mut ours, MIB));
                    assert_eq!(call::<_, Size>(&plugin, "bulk.read", &One { stream }).unwrap().bytes, MIB);
                    writer.join().unwrap();
                });
            }
        });
        settled(&before);
        let (mut ours, streams): (Vec<_>, Vec<_>) = (0..STREAMS_MAX).map(|_| Stream::pair().unwrap()).unzip();
        assert_eq!(call::<_, usize>(&plugin, "bulk.hold", &Many { streams }).unwrap(), STREAMS_MAX);
        let refused = |stream| call::<_, Size>(&plugin, "bulk.read", &One { stream }).err().unwrap();
        let error = refused(Stream::pair().unwrap().0);
        assert_eq!((error.code, error.outcome), (ErrorCode::Overloaded, Outcome::NotSent), "{error}");
        assert!(error.message.contains("16 streams to the plugin are open"), "{error}");
        // The plugin has as many of its own.
        let mut given: Vec<String> = call(&plugin, "bulk.give", &Size { bytes: STREAMS_MAX + 1 }).unwrap();
        let last = given.pop().unwrap();
        assert!(last.contains("16 streams to the host are open"), "{last}");
        assert_eq!(given, vec!["taken"; STREAMS_MAX]);
        assert_eq!(taken.lock().unwrap().len(), STREAMS_MAX);
        // All of both still carry what is theirs, and make room when they are over.
        for stream in &mut ours {
            stream.write_all(b"x").unwrap();
        }
        taken.lock().unwrap().clear();
        drop(ours);
        call::<_, ()>(&plugin, "bulk.release", &json!({})).unwrap();
        settled(&before);
        // Room is made by the other side's last word of a stream, which may come after all descriptors are closed.
        let read = eventually("there is room again", || {
            let (mut ours, stream) = Stream::pair().unwrap();
            write_pattern(&mut ours, 10);
            drop(ours);
            match call::<_, Size>(&plugin, "bulk.read", &One { stream }) {
                Err(error) if error.code == ErrorCode::Overloaded => None,
                ended => Some(ended.unwrap()),
            }
        });
        assert_eq!(read.bytes, 10);
    });
}

#[test]
fn much_goes_through_in_little_memory() {
    alone(|| {
        let world = World::new();
        let host = world.host();
        let plugin = on_stdio(&world, &host);
        let pid = plugin.status().unwrap().pid.unwrap();
        let peaks = || (peak_kib(std::process::id()), peak_kib(pid));
        let begin = peaks();
        let (mut ours, stream) = Stream::pair().unwrap();
        let writer = thread::spawn(move || write_pattern(&mut ours, 64 * MIB));
        assert_eq!(call::<_, Size>(&plugin, "bulk.read", &One { stream }).unwrap().bytes, 64 * MIB);
        assert_eq!(writer.join().unwrap().bytes, 64 * MIB);
        let mut given: One = call(&plugin, "bulk.write", &Size { bytes: 64 * MIB }).unwrap();
        assert_eq!(read_pattern(&mut given.stream).unwrap(), 64 * MIB);
        let end = peaks();
        let grown = (end.0 - begin.0, end.1 - begin.1);
        assert!(grown.0 < 16 * 1024 && grown.1 < 16 * 1024, "KiB of host and plugin: {grown:?}");
    });
}

/// What a writer is told whose reader has gone: EPIPE, or ECONNRESET where bytes of it were not read (unix(7)).
fn is_gone(error: &str) -> bool {
    error == "BrokenPipe" || error == "ConnectionReset"
}

#[test]
fn a_reader_that_stops_stops_the_sender_and_calls_go_on() {
    alone(|| {
        let world = World::new();
        let host = world.host();
        let plugin = on_stdio(&world, &host);
        let (mut ours, stream) = Stream::pair().unwrap();
        assert_eq!(call::<_, usize>(&plugin, "bulk.hold", &Many { streams: vec![stream] }).unwrap(), 1);
        let counted: &'static Mutex<usize> = Box::leak(Box::new(Mutex::new(0)));
        let writer = thread::spawn(move || {
            loop {
                match ours.write(&[0; 10_000]) {
                    Ok(bytes) => *counted.lock().unwrap() += bytes,
                    Err(error) => return error.kind(),
                }
            }
        });
        let (mut filling, stream) = Stream::pair().unwrap();
        let fill = plugin.call_start("bulk.fill", &One { stream }, options()).unwrap();
        eventually("the window is full", || (*counted.lock().unwrap() > STREAM_WINDOW_BYTES).then_some(()));
        for _ in 0..50 {
            // The stream of a call is over a moment after its answer, once a thread of the plugin has seen that its
            // handler let it go; on a busy machine those of many calls are open, and one more is refused.
            eventually("a stream is over", || {
                match call::<_, Size>(&plugin, "bulk.size", &Memory { blob: Blob::new(b"").unwrap() }) {
                    Err(error) if error.code == ErrorCode::Overloaded => None,
                    other => Some(other.unwrap()),
                }
            });
        }
        let bytes = *counted.lock().unwrap();
        assert!(bytes < STREAM_WINDOW_BYTES + BUFFERS_BYTES, "{bytes}");
        // A reader that goes lets the writer know, on either side.
        call::<_, ()>(&plugin, "bulk.release", &json!({})).unwrap();
        assert!(is_gone(&format!("{:?}", writer.join().unwrap())));
        filling.read_exact(&mut [0; 100]).unwrap();
        drop(filling);
        let filled: Written = fill.wait().unwrap().parse().unwrap();
        assert!(is_gone(&filled.error), "{filled:?}");
        assert!(filled.bytes < STREAM_WINDOW_BYTES + BUFFERS_BYTES, "{filled:?}");
        let (mut ours, stream) = Stream::pair().unwrap();
        let writer = thread::spawn(move || write_pattern(&mut ours, usize::MAX).error);
        call::<_, ()>(&plugin, "bulk.read_some", &One { stream }).unwrap();
        assert!(is_gone(&writer.join().unwrap()));
    });
}

#[test]
fn a_plugin_that_is_killed_ends_its_streams_and_leaves_nothing_behind() {
    alone(|| {
        let world = World::new();
        let host = world.host();
        let other = up(host.add(config(&world, "other", Transport::Unix)).unwrap());
        let plugin = host.add(config(&world, "stdio", Transport::Stdio)).unwrap();
        let mut left = None;
        for _ in 0..3 {
            let plugin = up(plugin.clone());
            let pid = plugin.status().unwrap().pid.unwrap();
            let mut given: One = call(&plugin, "bulk.write", &Size { bytes: usize::MAX }).unwrap();
            given.stream.read_exact(&mut [0; MIB]).unwrap();
            let (mut ours, stream) = Stream::pair().unwrap();
            call::<_, usize>(&plugin, "bulk.hold", &Many { streams: vec![stream] }).unwrap();
            signal(pid, Signal::SIGKILL);
            // What had come is read, and then the end.
            let mut rest = Vec::new();
            given.stream.read_to_end(&mut rest).unwrap();
            assert!(rest.len() < STREAM_WINDOW_BYTES + BUFFERS_BYTES, "{}", rest.len());
            assert_eq!(ours.read(&mut [0]).unwrap(), 0);
            let error = eventually("the writer is told", || ours.write(b"x").err());
            assert!(is_gone(&format!("{:?}", error.kind())), "{error}");
            drop((given, ours));
            eventually("it is gone", || (!is_alive(pid)).then_some(()));
            plugin.wait_for(PluginState::Failed, SOON).unwrap();
            let before = left.get_or_insert_with(|| Opened::take(&[std::process::id()]));
            before.wait_closed("the host has closed all");
        }
        let blob = Blob::new(&pattern(0, 10)).unwrap();
        assert_eq!(call::<_, Size>(&other, "bulk.size", &Memory { blob }).unwrap().bytes, 10);
    });
}

#[test]
fn blobs_go_both_ways() {
    alone(|| {
        let world = World::new();
        let host = world.host();
        let plugin = on_stdio(&world, &host);
        let before = opened(&plugin);
        for bytes in [0, 1, 5 * MIB] {
            let blob = Blob::new(&pattern(0, bytes)).unwrap();
            for _ in 0..2 {
                let blob = Memory { blob: Blob::new(&blob.to_vec(bytes).unwrap()).unwrap() };
                assert_eq!(call::<_, Size>(&plugin, "bulk.size", &blob).unwrap().bytes, bytes);
            }
            let given: Memory = call(&plugin, "bulk.blob", &Size { bytes }).unwrap();
            assert!(given.blob.to_vec(bytes).unwrap() == pattern(0, bytes));
        }
        settled(&before);
    });
}

#[test]
fn streams_go_on_between_plugins_with_and_without_descriptors() {
    alone(|| {
        let world = World::new();
        let host = world.host();
        let stdio = on_stdio(&world, &host);
        let unix = up(host.add(config(&world, "unix", Transport::Unix)).unwrap());
        let behind = up(host.add(config(&world, "behind", Transport::Stdio)).unwrap());
        let handles = BTreeMap::from([("stdio", stdio), ("unix", unix), ("behind", behind)]);
        for (from, to) in [("stdio", "unix"), ("unix", "stdio"), ("stdio", "behind"), ("unix", "behind")] {
            let before = opened(&handles[from]);
            let (mut ours, stream) = Stream::pair().unwrap();
            let forward = Forward { to: to.to_owned(), stream };
            let forwarded = handles[from].call_start("bulk.forward", &forward, options()).unwrap();
            let mut out = ours.try_clone().unwrap();
            let writer = thread::spawn(move || {
                write_pattern(&mut out, MIB);
                out.finish()
            });
            assert_eq!(read_pattern(&mut ours).unwrap(), MIB, "{from} to {to}");
            writer.join().unwrap().unwrap();
            assert_eq!(forwarded.wait().unwrap().parse::<Size>().unwrap().bytes, MIB);
            drop(ours);
            settled(&before);
        }
    });
}

#[test]
fn a_call_that_is_cancelled_or_late_leaves_no_stream() {
    alone(|| {
        let world = World::new();
        let host = world.host();
        let plugin = on_stdio(&world, &host);
        let before = opened(&plugin);
        // More than there may be at once.
        for _ in 0..2 * STREAMS_MAX {
            let (mut ours, stream) = Stream::pair().unwrap();
            plugin.call_start("bulk.echo", &One { stream }, options()).unwrap().cancel();
            // Sent or not, it ends: the handler reads no more than what it sends back.
            let _ = ours.finish();
            assert_eq!(ours.read(&mut [0]).unwrap(), 0);
            drop(ours);
            plugin.call_start("bulk.write", &Size { bytes: MIB }, options()).unwrap().cancel();
            settled(&before);
        }
        let late = CallOptions::default().timeout(Duration::from_millis(50));
        let (ours, stream) = Stream::pair().unwrap();
        let error = plugin.call_with::<_, Size>("bulk.echo", &One { stream }, late).unwrap_err();
        assert_eq!(error.code, ErrorCode::DeadlineExceeded);
        drop(ours);
        settled(&before);
    });
}

/// A plugin passes a pipe that goes in band to another one, and takes O_NONBLOCK away from the open file, which the host
/// shares.
#[test]
fn a_descriptor_that_makes_its_reader_wait_stops_no_call_and_no_end() {
    alone(|| {
        let world = World::new();
        let host = world.host();
        let stdio = on_stdio(&world, &host);
        let bad = up(host.add(config(&world, "bad", Transport::Unix)).unwrap());
        let echo = up(world.echo(&host, "echo"));
        call::<_, ()>(&bad, "bulk.hang", &To { to: "stdio".to_owned() }).unwrap();
        for _ in 0..50 {
            assert_eq!(echo.call::<_, serde_json::Value>("echo", &json!({"a": 1})).unwrap()["a"], 1);
            for plugin in [&bad, &stdio] {
                assert!(call::<_, Vec<String>>(plugin, "bulk.give", &Size { bytes: 0 }).unwrap().is_empty());
            }
        }
        // What others pass to the same plugin goes on as well.
        let blob = Blob::new(&pattern(0, MIB)).unwrap();
        assert_eq!(call::<_, Size>(&stdio, "bulk.size", &Memory { blob }).unwrap().bytes, MIB);
        let given: Memory = call(&stdio, "bulk.blob", &Size { bytes: MIB }).unwrap();
        assert!(given.blob.to_vec(MIB).unwrap() == pattern(0, MIB));
        let begun = Instant::now();
        host.shutdown();
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    });
}
