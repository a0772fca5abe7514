//! Streams and blobs between a live host and real plugins, in params and results, in every direction and through the
//! transports that pass descriptors; and that no descriptor stays behind, however a call ends.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub)]

use crate::fixtures::census::{census_without_files, wait_for_rest};
use crate::fixtures::child::alone;
use crate::fixtures::nested::{self, Launch, Scene};
use crate::fixtures::world::{SOON, eventually, signal};
use nix::sys::signal::Signal;
use rpc_plugin_interface::{Caller, Context, HandlerError};
use rpc_plugin_sdk::{Blob, Call, CallError, Stream};
use rpc_plugin_system::host::{CallOptions, ErrorCode, Outcome, PluginHandle, PluginState, Transport};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes, and a checksum of them in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    bytes: u64,
    checksum: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Part {
    name: String,
    content: Stream,
}

rpc_plugin_interface::interface! {
    pub trait Bulk = "bulk" version 1, client BulkClient {
        fn sum(content: Stream) -> Sum;
        fn parts(parts: Vec<Part>) -> BTreeMap<String, Sum>;
        fn make(bytes: u64) -> Part;
        fn both_ways(content: Stream) -> u64;
        fn blob(blob: Blob, from: u64) -> Blob;
        fn hang(content: Stream);
        fn fail(content: Stream) -> Stream;
    }
}

struct Bulks;

impl Bulk for Bulks {
    fn sum(&self, _: &Context, content: Stream) -> Result<Sum, HandlerError> {
        Ok(sum_of(content)?)
    }

    fn parts(&self, _: &Context, parts: Vec<Part>) -> Result<BTreeMap<String, Sum>, HandlerError> {
        parts.into_iter().map(|part| Ok((part.name, sum_of(part.content)?))).collect()
    }

    fn make(&self, _: &Context, bytes: u64) -> Result<Part, HandlerError> {
        let (theirs, ours) = Stream::pipe()?;
        drop(feed(ours, bytes));
        Ok(Part { name: bytes.to_string(), content: theirs })
    }

    /// Gives each byte back as it comes.
    fn both_ways(&self, _: &Context, mut content: Stream) -> Result<u64, HandlerError> {
        let (mut piece, mut bytes) = ([0; 4096], 0);
        loop {
            match content.read(&mut piece)? {
                0 => return Ok(bytes),
                read => content.write_all(&piece[..read])?,
            }
            bytes += 1;
        }
    }

    fn blob(&self, _: &Context, blob: Blob, from: u64) -> Result<Blob, HandlerError> {
        let all = blob.to_vec(usize::MAX)?;
        Ok(Blob::new(&all[usize::try_from(from).unwrap()..])?)
    }

    fn hang(&self, call: &Context, content: Stream) -> Result<(), HandlerError> {
        let ended = call.wait(SOON * 30);
        drop(content);
        Ok(ended?)
    }

    fn fail(&self, _: &Context, _: Stream) -> Result<Stream, HandlerError> {
        Err(HandlerError::internal("as this test wants"))
    }
}

fn sum_of(mut content: Stream) -> std::io::Result<Sum> {
    let mut sum = Sum { bytes: 0, checksum: 0 };
    let mut piece = vec![0; 65536];
    loop {
        let read = content.read(&mut piece)?;
        if read == 0 {
            return Ok(sum);
        }
        sum.add(&piece[..read]);
    }
}

impl Sum {
    /// Eight bytes of the stream at a time, because tests are not optimised; each counts by its place. It is linear, so
    /// that it does not matter where a read cut them.
    fn add(&mut self, piece: &[u8]) {
        let first = (self.bytes % 8) as usize;
        let (head, rest) = piece.split_at(piece.len().min(8 - first));
        self.mix(first, head);
        for word in rest.chunks(8) {
            self.mix(0, word);
        }
    }

    /// The part of one word that begins there.
    fn mix(&mut self, first: usize, part: &[u8]) {
        let mut word = [0; 8];
        word[first..first + part.len()].copy_from_slice(part);
        let place = (self.bytes / 8).wrapping_mul(2).wrapping_add(1);
        self.checksum = self.checksum.wrapping_add(u64::from_le_bytes(word).wrapping_mul(place));
        self.bytes += part.len() as u64;
    }

    /// Of what [`feed`] writes.
    fn expected(bytes: u64) -> Sum {
        let mut sum = Sum { bytes: 0, checksum: 0 };
        pieces(bytes).for_each(|piece| sum.add(&piece));
        sum
    }
}

fn pieces(bytes: u64) -> impl Iterator<Item = Vec<u8>> {
    const PIECE: u64 = 65536;
    let pattern: Vec<u8> = (0..PIECE + 251).map(|at| (at * 7 % 251) as u8).collect();
    (0..bytes.div_ceil(PIECE)).map(move |number| {
        let (first, length) = ((number % 251) as usize, PIECE.min(bytes - number * PIECE) as usize);
        pattern[first..first + length].to_vec()
    })
}

fn feed(mut to: Stream, bytes: u64) -> JoinHandle<std::io::Result<()>> {
    std::thread::spawn(move || pieces(bytes).try_for_each(|piece| to.write_all(&piece)))
}

/// Everything that can be done with a client, from whichever side.
fn use_of(client: &BulkClient<impl Caller>) -> Result<(), CallError> {
    let io = |error: std::io::Error| CallError::not_sent(ErrorCode::InternalError, error.to_string());
    let (theirs, ours) = Stream::pipe().map_err(io)?;
    let feeder = feed(ours, 1_000_003);
    assert_eq!(client.sum(theirs)?, Sum::expected(1_000_003));
    feeder.join().unwrap().map_err(io)?;
    let (parts, feeders): (Vec<_>, Vec<_>) = (0..16)
        .map(|number| {
            let (theirs, ours) = Stream::pipe().unwrap();
            (Part { name: number.to_string(), content: theirs }, feed(ours, number * 1000))
        })
        .unzip();
    let sums = client.parts(parts)?;
    assert!((0..16).all(|number| sums[&number.to_string()] == Sum::expected(number * 1000)));
    feeders.into_iter().for_each(|feeder| feeder.join().unwrap().unwrap());
    let too_many =
        (0..17).map(|number| Part { name: number.to_string(), content: Stream::pipe().unwrap().0 });
    let refused = client.parts(too_many.collect::<Vec<_>>()).unwrap_err();
    assert_eq!((refused.code, refused.outcome), (ErrorCode::InvalidParams, Outcome::NotSent), "{refused}");
    assert!(refused.message.contains("16 file descriptors"), "{refused}");
    let part = client.make(300_001)?;
    assert_eq!((&*part.name, sum_of(part.content).map_err(io)?), ("300001", Sum::expected(300_001)));
    let bytes: Vec<u8> = pieces(3_000_000).flatten().collect();
    let rest = client.blob(Blob::new(&bytes).map_err(io)?, 1_000_000)?;
    assert_eq!(rest.to_vec(usize::MAX).map_err(io)?, bytes[1_000_000..]);
    let (theirs, mut ours) = Stream::pair().map_err(io)?;
    let echoes = std::thread::spawn(move || {
        let mut back = [0; 5];
        for _ in 0..20 {
            ours.write_all(b"12345").unwrap();
            ours.read_exact(&mut back).unwrap();
            assert_eq!(&back, b"12345");
        }
    });
    assert!(client.both_ways(theirs)? >= 20);
    echoes.join().unwrap();
    let failed = client.fail(Stream::pipe().map_err(io)?.0).unwrap_err();
    assert_eq!((failed.code, &*failed.message), (ErrorCode::InternalError, "as this test wants"));
    Ok(())
}

#[derive(Deserialize)]
struct Use {
    #[serde(default)]
    plugin: Option<String>,
}

const BODY: &str = "nested";

/// The plugin that these tests start.
pub(crate) fn serve_nested() {
    let plugin = nested::plugin()
        .serve_interface(Bulk::into_table(Bulks))
        .method("work.use", |call: &Call, asked: Use| {
            match asked.plugin {
                None => use_of(&BulkClient::new(call.host()))?,
                Some(id) => use_of(&BulkClient::new(call.host().plugin(&id)))?,
            }
            Ok::<_, HandlerError>(())
        })
        .method("work.relay", |call: &Call, part: Part| {
            // The stream of somebody else goes on to another one.
            Ok::<_, HandlerError>(BulkClient::new(call.host().plugin("b")).sum(part.content)?)
        })
        .method("work.open", |_, (): ()| Ok::<_, HandlerError>(census_without_files("/proc/self/fd")));
    // Where this fails the host that started it says why.
    let _ = plugin.run();
}

fn options() -> CallOptions {
    CallOptions::default().timeout(SOON)
}

fn scene() -> Scene {
    Scene::with(BODY, |builder| builder.service_threads(2).serve_interface(Bulk::into_table(Bulks)))
}

fn open_in(plugin: &PluginHandle) -> BTreeMap<String, usize> {
    plugin.call_with("work.open", &(), options()).unwrap()
}

/// A stream, and the end of it that this process keeps.
fn one() -> (Part, Stream) {
    let (theirs, ours) = Stream::pipe().unwrap();
    (Part { name: "one".into(), content: theirs }, ours)
}

/// What is open in this process and in those.
fn open(plugins: &[&PluginHandle]) -> Vec<BTreeMap<String, usize>> {
    let ours = census_without_files("/proc/self/fd");
    std::iter::once(ours).chain(plugins.iter().map(|plugin| open_in(plugin))).collect()
}

/// Does something, and waits until the same is open as before.
fn leaves_nothing(what: &str, plugins: &[&PluginHandle], act: impl FnOnce()) {
    // What the last calls sent is closed by the thread that sent it, which may be later than their ends.
    let pids = plugins.iter().map(|plugin| plugin.status().unwrap().pid.unwrap());
    wait_for_rest(&pids.chain([std::process::id()]).collect::<Vec<_>>());
    let (before, mut now) = (open(plugins), Vec::new());
    act();
    let begin = Instant::now();
    while now != before {
        assert!(begin.elapsed() < SOON, "{what}: open are {now:?}, and were {before:?}");
        now = open(plugins);
    }
}

#[test]
fn streams_and_blobs_go_every_way_and_leave_nothing_open() {
    alone(|| {
        for transport in [Transport::Unix, Transport::Fd] {
            let scene = scene();
            let launch = Launch { threads: 2, ..Launch::default() };
            let launch =
                Launch { policy: rpc_plugin_system::host::Policy { transport, ..launch.policy }, ..launch };
            let (a, b) = (scene.up("a", &launch), scene.up("b", &launch));
            // The first of each makes threads, which have descriptors of their own.
            use_of(&BulkClient::new(&*a)).unwrap();
            for asked in [json!({}), json!({"plugin": "b"})] {
                let () = a.call_with("work.use", &asked, options()).unwrap();
            }
            leaves_nothing("host to plugin", &[&a, &b], || {
                use_of(&BulkClient::new(&*a)).unwrap();
            });
            for asked in [json!({}), json!({"plugin": "b"})] {
                leaves_nothing("from a plugin", &[&a, &b], || {
                    let () = a.call_with("work.use", &asked, options()).unwrap();
                });
            }
            leaves_nothing("on and on", &[&a, &b], || {
                let (theirs, ours) = Stream::pipe().unwrap();
                let feeder = feed(ours, 64 << 20);
                let part = Part { name: "64 MiB".into(), content: theirs };
                let sum: Sum = a.call_with("work.relay", &part, options()).unwrap();
                assert_eq!(sum, Sum::expected(64 << 20));
                feeder.join().unwrap().unwrap();
            });
        }
    });
}

#[test]
fn sixty_four_mebibytes_arrive_as_they_were_sent_each_way() {
    alone(|| {
        let scene = scene();
        let a = scene.up("a", &Launch::default());
        let client = BulkClient::new(&*a);
        let bytes = 64 << 20;
        let (theirs, ours) = Stream::pair().unwrap();
        let feeder = feed(ours, bytes);
        assert_eq!(client.with(options()).sum(theirs).unwrap(), Sum::expected(bytes));
        feeder.join().unwrap().unwrap();
        assert_eq!(sum_of(client.make(bytes).unwrap().content).unwrap(), Sum::expected(bytes));
    });
}

#[test]
fn a_call_that_fails_or_is_cancelled_leaves_no_descriptor() {
    alone(|| {
        let scene = scene();
        let (a, b) =
            (scene.up("a", &Launch { threads: 2, ..Launch::default() }), scene.up("b", &Launch::default()));
        let begin = |plugin: &PluginHandle, method: &str| {
            #[derive(Serialize)]
            struct Content {
                content: Stream,
            }
            plugin.call_start(method, &Content { content: one().0.content }, options()).unwrap()
        };
        leaves_nothing("unknown method", &[&a, &b], || {
            assert_eq!(begin(&a, "bulk.none").wait().unwrap_err().code, ErrorCode::MethodNotFound);
        });
        leaves_nothing("wrong params", &[&a, &b], || {
            assert_eq!(begin(&a, "bulk.parts").wait().unwrap_err().code, ErrorCode::InvalidParams);
        });
        leaves_nothing("cancelled while it is served", &[&a, &b], || {
            let call = begin(&a, "bulk.hang");
            eventually("it is there", || (a.status().unwrap().calls_in_flight == 1).then_some(()));
            drop(call);
        });
        leaves_nothing("deadline", &[&a, &b], || {
            let short = CallOptions::default().timeout(Duration::from_millis(50));
            let (part, _ours) = one();
            let call = a.call_start("work.relay", &part, short).unwrap();
            // Nobody writes into the stream.
            assert_eq!(call.wait().unwrap_err().code, ErrorCode::DeadlineExceeded);
            eventually("nothing is in flight", || (a.status().unwrap().calls_in_flight == 0).then_some(()));
        });
        leaves_nothing("the result is not wanted", &[&a, &b], || {
            let made = a.call_raw(
                "bulk.make",
                Some(serde_json::value::to_raw_value(&json!({"bytes": 10})).unwrap()),
                options(),
            );
            assert_eq!(made.unwrap().fds.len(), 1);
        });
    });
}

#[test]
fn what_waits_for_a_stopped_plugin_is_closed_when_it_is_cancelled() {
    alone(|| {
        let scene = scene();
        let (a, b) =
            (scene.up("a", &Launch { threads: 4, ..Launch::default() }), scene.up("b", &Launch::default()));
        let large = "x".repeat(1 << 20);
        leaves_nothing("cancelled before it is sent", &[&a, &b], || {
            let pid = a.status().unwrap().pid.unwrap();
            signal(pid, Signal::SIGSTOP);
            // These fill the socket.
            let filling: Vec<_> =
                (0..2).map(|_| a.call_start("work.echo", &json!({"x": large}), options()).unwrap()).collect();
            let waiting: Vec<_> = (0..10)
                .map(|_| {
                    let part = Part { name: "one".into(), content: Stream::pipe().unwrap().0 };
                    a.call_start("work.relay", &part, options()).unwrap()
                })
                .collect();
            let there = census_without_files("/proc/self/fd");
            drop(waiting);
            eventually("the host has closed them", || {
                let now = census_without_files("/proc/self/fd");
                (now.get("pipe").unwrap_or(&0) + 10 <= *there.get("pipe").unwrap_or(&0)).then_some(())
            });
            signal(pid, Signal::SIGCONT);
            for call in filling {
                call.wait().unwrap();
            }
        });
    });
}

#[test]
fn what_was_with_a_plugin_that_is_killed_is_closed() {
    alone(|| {
        let scene = scene();
        let (a, b) =
            (scene.up("a", &Launch { threads: 4, ..Launch::default() }), scene.up("b", &Launch::default()));
        leaves_nothing("killed", &[&a, &b], || {
            let (calls, _ours): (Vec<_>, Vec<_>) = (0..8)
                .map(|_| {
                    let (part, ours) = one();
                    (a.call_start("work.relay", &part, options()).unwrap(), ours)
                })
                .unzip();
            eventually("some are with b", || (b.status().unwrap().calls_in_flight > 0).then_some(()));
            signal(a.status().unwrap().pid.unwrap(), Signal::SIGKILL);
            for call in calls {
                assert!(call.wait().is_err());
            }
            a.wait_for(PluginState::Healthy, SOON).unwrap();
        });
    });
}
