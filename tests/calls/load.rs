//! Calls within calls in numbers, between a live host and real plugins: both directions of a connection full at once,
//! and a storm of random calls, cancels and kills.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout)]
#![allow(unreachable_pub)]

use crate::fixtures::census::census_without_files;
use crate::fixtures::child::alone;
use crate::fixtures::nested::{self, Launch, Plan, Scene};
use crate::fixtures::world::{SOON, eventually, signal};
use nix::sys::signal::Signal;
use rpc_plugin_interface::HandlerError;
use rpc_plugin_sdk::Call;
use rpc_plugin_system::host::{CallError, CallOptions, ErrorCode, PluginHandle, Policy, RestartPolicy};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const BODY: &str = "load";

/// The plugin that these tests start.
pub(crate) fn serve_nested() {
    let plugin =
        nested::plugin().queue_max(4096).method("work.full", |call: &Call, params: Box<RawValue>| {
            Ok::<_, HandlerError>(call.host().call::<_, Box<RawValue>>("nested.full", &params)?)
        });
    // Where this fails the host that started it says why.
    let _ = plugin.run();
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

/// `NEST_FULL_CALLS` says how many; 2,000 take more than a minute where nothing is optimised.
#[test]
fn calls_of_256_kib_fill_both_directions_and_all_end() {
    alone(|| {
        const THREADS: u64 = 64;
        let calls = variable("NEST_FULL_CALLS").unwrap_or(400);
        let scene = Scene::with(BODY, |builder| {
            builder
                .service_threads(4)
                .service("nested.full", |_, params: Box<RawValue>| Ok::<_, HandlerError>(params))
        });
        let policy = Policy { outbox_bytes_max: 64 << 20, ..Launch::default().policy };
        let a = scene.up("a", &Launch { threads: 4, policy, ..Launch::default() });
        let params = RawValue::from_string(format!("{{\"x\":\"{}\"}}", "x".repeat(256 << 10))).unwrap();
        let (begun, ended) = (AtomicU64::new(0), AtomicU64::new(0));
        let (begin, most) = (Instant::now(), AtomicU64::new(0));
        std::thread::scope(|threads| {
            for _ in 0..THREADS {
                threads.spawn(|| {
                    while begun.fetch_add(1, Ordering::SeqCst) < calls {
                        let options = CallOptions::default().timeout(SOON * 5);
                        let reply = a.call_raw("work.full", Some(params.clone()), options).unwrap();
                        assert_eq!(reply.result.get().len(), params.get().len());
                        let last = ended.fetch_add(1, Ordering::SeqCst);
                        if last.is_multiple_of(100) {
                            most.fetch_max(a.status().unwrap().calls_in_flight, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        assert_eq!(ended.load(Ordering::SeqCst), calls);
        assert!(most.load(Ordering::SeqCst) > THREADS / 2, "they are in flight together");
        assert_eq!((nested::generation(&a), a.status().unwrap().calls_in_flight), (1, 0));
        println!(
            "{calls} calls of {THREADS} threads, each with one of a service in it, 256 KiB in each of 4 frames: {:?}",
            begin.elapsed()
        );
    });
}

/// A cheap generator.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn plan(&mut self, plugins: &[PluginHandle]) -> (usize, Plan) {
        let mut hops = Vec::new();
        for _ in 0..self.below(7) {
            let hop = self.below(4) as usize;
            hops.push(plugins.get(hop).map_or("host".to_owned(), |plugin| plugin.id().to_string()));
        }
        let sleep_ms = if self.below(20) == 0 { 600_000 } else { self.below(3) };
        // The host does not ask itself.
        hops.dedup_by(|next, hop| next == "host" && hop == "host");
        (self.below(3) as usize, Plan { hops, sleep_ms, ..Plan::default() })
    }
}

/// A storm in which no more calls than this had a result says little.
const RESULTS: u64 = 100;

/// What became of the calls.
#[derive(Default)]
struct Tally {
    made: AtomicU64,
    dropped: AtomicU64,
    ended: Mutex<BTreeMap<&'static str, u64>>,
}

impl Tally {
    fn end(&self, error: Option<&CallError>) {
        const EXPECTED: [ErrorCode; 6] = [
            ErrorCode::Cancelled,
            ErrorCode::DeadlineExceeded,
            ErrorCode::PluginLost,
            ErrorCode::Unavailable,
            ErrorCode::WouldDeadlock,
            ErrorCode::Overloaded,
        ];
        let name = error.map_or("result", |error| {
            if EXPECTED.contains(&error.code) { error.code.name() } else { panic!("{error}") }
        });
        *self.ended.lock().unwrap().entry(name).or_default() += 1;
    }

    fn results(&self) -> u64 {
        self.ended.lock().unwrap().get("result").copied().unwrap_or(0)
    }

    fn ended(&self) -> u64 {
        self.ended.lock().unwrap().values().sum()
    }
}

fn one_call(plugins: &[PluginHandle], dice: &mut Dice, tally: &Arc<Tally>) {
    let (first, plan) = dice.plan(plugins);
    let timeout = Duration::from_millis(5 + dice.below(200));
    let options = CallOptions::default().timeout(timeout).idempotent(dice.below(3) == 0);
    tally.made.fetch_add(1, Ordering::SeqCst);
    let call = match plugins[first].call_start("work.go", &plan, options) {
        Ok(call) => call,
        Err(error) => return tally.end(Some(&error)),
    };
    match dice.below(4) {
        0 => {
            let ended = call.wait_timeout(Duration::from_micros(dice.below(3000)));
            match ended {
                Ok(end) => tally.end(end.err().as_ref()),
                Err(call) => {
                    drop(call);
                    tally.dropped.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
        1 => {
            let told = Arc::clone(tally);
            call.on_done(move |end| told.end(end.err().as_ref()));
        }
        _ => tally.end(call.wait().err().as_ref()),
    }
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// Children of this process, zombies included.
fn children() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let of =
        |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
    tasks.map(|task| of(task.unwrap()).split_whitespace().count()).sum()
}

fn storm(scene: &Scene, seed: u64, time: Duration) -> (Arc<Tally>, u64) {
    let policy = Policy {
        restart: RestartPolicy::Always,
        restarts_max: 1000,
        backoff_initial: Duration::from_millis(1),
        backoff_max: Duration::from_millis(5),
        ..Launch::default().policy
    };
    let launch =
        |threads, is_reentrant| Launch { threads, is_reentrant, policy: policy.clone(), ..Launch::default() };
    let plugins =
        [scene.up("a", &launch(1, true)), scene.up("b", &launch(3, true)), scene.up("c", &launch(2, false))];
    let (tally, is_over, kills) = (Arc::new(Tally::default()), AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (plugins, tally, is_over) = (&plugins, &tally, &is_over);
            scope.spawn(move || {
                let mut dice = Dice(((seed + number) * 0x9e37_79b9) | 1);
                while !is_over.load(Ordering::SeqCst) {
                    one_call(plugins, &mut dice, tally);
                }
            });
        }
        let (mut dice, begin) = (Dice(seed | 1), Instant::now());
        // On a busy machine it takes longer until enough has happened.
        let is_enough = || kills.load(Ordering::SeqCst) > 0 && tally.results() > RESULTS;
        while (begin.elapsed() < time || !is_enough() && begin.elapsed() < time + SOON)
            && kills.load(Ordering::SeqCst) < 900
        {
            let plugin = &plugins[dice.below(3) as usize];
            // A plugin lives until some calls were made.
            let goal = tally.made.load(Ordering::SeqCst) + 20 + dice.below(300);
            eventually("calls are made", || (tally.made.load(Ordering::SeqCst) > goal).then_some(()));
            if let Some(pid) = plugin.status().unwrap().pid {
                signal(pid, Signal::SIGKILL);
                kills.fetch_add(1, Ordering::SeqCst);
            }
        }
        is_over.store(true, Ordering::SeqCst);
    });
    let is_all = || tally.ended() + tally.dropped.load(Ordering::SeqCst) == tally.made.load(Ordering::SeqCst);
    eventually("every call has ended", || is_all().then_some(()));
    for plugin in &plugins {
        eventually("nothing is in flight", || (plugin.status().unwrap().calls_in_flight == 0).then_some(()));
        // The last SIGKILL may not have reached its process yet.
        let levels: Vec<serde_json::Value> = eventually("all serve on", || {
            plugin.wait_routable(None, SOON).ok()?;
            plugin.call_with("work.go", &Plan::of(&["host", "b"]), CallOptions::default().timeout(SOON)).ok()
        });
        assert_eq!(levels.len(), 3, "all serve on");
    }
    assert!(is_all(), "none has ended twice");
    (tally, kills.load(Ordering::SeqCst))
}

/// `NEST_STORM_MS` says how long, `NEST_STORM_SEED` which.
#[test]
fn a_storm_of_calls_cancels_and_kills_ends_each_call_once_and_leaves_nothing() {
    alone(|| {
        let time = Duration::from_millis(variable("NEST_STORM_MS").unwrap_or(6000));
        let seed = variable("NEST_STORM_SEED").unwrap_or(1);
        let before = (census_without_files("/proc/self/fd"), threads(), children());
        let scene = Scene::with(BODY, |builder| builder.service_threads(4));
        let (tally, kills) = storm(&scene, seed, time);
        drop(scene);
        eventually("descriptors, threads and children are as before", || {
            let now = (census_without_files("/proc/self/fd"), threads(), children());
            (now == before).then_some(())
        });
        let ended = tally.ended.lock().unwrap().clone();
        println!(
            "{} calls in {time:?}, {kills} kills: {} dropped, {:?}",
            tally.made.load(Ordering::SeqCst),
            tally.dropped.load(Ordering::SeqCst),
            ended
        );
        assert!(kills > 0 && tally.results() > RESULTS, "{ended:?}");
    });
}
