//! What goes both ways: calls that a plugin makes while it serves one, and streams.

use super::figures::{Board, Goal};
use super::limits::{self, median_us, rate};
use super::subject::{Echo, SOON, World, quiet};
use rpc_plugin_sdk::{Blob, Call, CallError, Plugin, Stream};
use rpc_plugin_system::host::{CallOptions, HandlerError, Host, PluginConfig, PluginHandle, ServiceCall};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::cell::LazyCell;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;

/// The word with which this program is a plugin.
pub const WORD: &str = "serve-peers";
const MIB: usize = 1 << 20;
/// What goes through a stream in one call, as in the limit.
const PIECES: usize = 64;

#[derive(Serialize, Deserialize)]
struct Pour {
    bytes: usize,
    stream: Stream,
}

#[derive(Serialize, Deserialize)]
struct Keep {
    blob: Blob,
}

fn echo(_: &Call, echo: Echo) -> Result<Echo, CallError> {
    Ok(echo)
}

/// The plugin.
pub fn serve() -> std::process::ExitCode {
    let service = |call: &Call, echo: Echo| call.host().call::<_, Echo>("bench.echo", &echo);
    let other = |call: &Call, echo: Echo| call.host().plugin("other").call::<_, Echo>("plain", &echo);
    let sink = |_: &Call, mut pour: Pour| {
        let (mut left, mut buffer) = (pour.bytes, vec![0; 256 * 1024]);
        while left > 0 {
            match pour.stream.read(&mut buffer)? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                bytes => left -= bytes,
            }
        }
        Ok(())
    };
    let source = |_: &Call, mut pour: Pour| {
        let piece = vec![b'x'; MIB];
        (0..pour.bytes / MIB).try_for_each(|_| pour.stream.write_all(&piece))
    };
    let blob = |_: &Call, keep: Keep| keep.blob.to_vec(MIB).map(|all| all.len());
    Plugin::new("1.0.0")
        .method("plain", echo)
        .method("service", service)
        .method("other", other)
        .method("sink", sink)
        .method("source", source)
        .method("blob", blob)
        .run()
}

struct Pair {
    host: Host,
    plugin: PluginHandle,
    _world: World,
}

impl Pair {
    fn start() -> Pair {
        let world = World::new();
        let served = |_: &ServiceCall, echo: Echo| Ok::<_, HandlerError>(echo);
        let host = Host::builder(world.runtime_dir("host")).service("bench.echo", served).start().unwrap();
        let program = world.path().join("peers");
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        let up = |id: &str| {
            let config = PluginConfig::new(id.parse().unwrap(), &program).arg(WORD).policy(quiet());
            let plugin = host.add(config.may_call(["other"])).unwrap();
            plugin.start().unwrap();
            plugin.wait_routable(None, SOON).unwrap();
            plugin
        };
        let (plugin, _) = (up("peers"), up("other"));
        Pair { host, plugin, _world: world }
    }

    fn call_us(&self, method: &str) -> f64 {
        let params = Echo::of_bytes(super::calls::SMALL);
        median_us(|| {
            let _: Echo = self.plugin.call(method, &params).unwrap();
        })
    }

    /// MiB in a second through one stream a call.
    fn pour(&self, method: &str, mut work: impl FnMut(&mut Stream)) -> f64 {
        rate(|| {
            let (mut ours, theirs) = Stream::pair().unwrap();
            let pour = Pour { bytes: PIECES * MIB, stream: theirs };
            let call = self.plugin.call_start(method, &pour, CallOptions::default()).unwrap();
            work(&mut ours);
            call.wait().unwrap();
            PIECES
        })
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.host.shutdown();
    }
}

pub fn run(board: &mut Board) {
    let pair = &LazyCell::new(Pair::start);
    let piece = &vec![b'x'; MIB];
    board.measure(|group| {
        for (name, method) in [("a service of the host", "service"), ("another plugin", "other")] {
            group.add(&format!("library: a call that calls {name}, p50"), "us", move || pair.call_us(method));
            // One plain call each way is what it is made of: between the turns of each, so that both have the same
            // moment.
            let name = format!("library: the same beside two plain calls ({name})");
            group.add(&name, "x", move || pair.call_us(method) / (2.0 * pair.call_us("plain")));
        }
    });
    board.measure(|group| {
        let goal = Some(Goal::AtLeast(0.95));
        group.against("library: a stream to a plugin", "MiB/s", limits::BULK, goal, move || {
            pair.pour("sink", |ours| (0..PIECES).for_each(|_| ours.write_all(piece).unwrap()))
        });
        let mut buffer = vec![0; 256 * 1024];
        group.against("library: a stream from a plugin", "MiB/s", limits::BULK, goal, move || {
            pair.pour("source", |ours| {
                let mut left = PIECES * MIB;
                while left > 0 {
                    left -= ours.read(&mut buffer).unwrap();
                }
            })
        });
        group.against("library: 1 MiB as a blob to a plugin, p50", "ms", limits::MIB_MS, None, move || {
            median_us(|| {
                let keep = Keep { blob: Blob::new(piece).unwrap() };
                let _: Box<RawValue> = pair.plugin.call("blob", &keep).unwrap();
            }) / 1000.0
        });
    });
}
