//! The record: events a second in each mode, and what auditing adds to a call.

use super::figures::{Board, Goal};
use super::limits::{SYNCS, TURN, median_us};
use super::subject::{Echo, SOON, World, quiet};
use rpc_plugin_system::eventlog::{Disk, Durability, Entry, EventLog, LogOptions, Settled, SystemDisk};
use rpc_plugin_system::host::{Host, PluginHandle, Policy};
use rpc_plugin_system::state::policy::RpcAudit;
use rpc_plugin_wire::event::EventKind;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Events handed over before their flush.
const GROUP: usize = 2000;
const THREADS: usize = 64;
const SLOW: &str = "all, strict, a disk of 1,000 syncs/s";

fn options(durability: Durability) -> LogOptions {
    LogOptions { durability, ..LogOptions::default() }
}

fn event() -> Entry {
    Entry::new(EventKind::Exited)
        .plugin("bench".parse().unwrap())
        .pid(4711)
        .message("its process ended with exit status 0")
}

/// Events in a second from one thread, all of them in their file, and synced where the mode does that.
fn events_rate(log: &EventLog) -> f64 {
    let (begin, mut count) = (Instant::now(), 0);
    while begin.elapsed() < TURN {
        (0..GROUP).for_each(|_| assert!(log.record(event()).is_some()));
        assert!(log.flush(SOON));
        count += GROUP;
    }
    count as f64 / begin.elapsed().as_secs_f64()
}

/// Rounds in a second from many threads at once.
fn threads_rate(round: impl Fn() + Sync) -> f64 {
    let (stop, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut own = 0;
                while !stop.load(Ordering::Relaxed) {
                    round();
                    own += 1;
                }
                count.fetch_add(own, Ordering::Relaxed);
            });
        }
        std::thread::park_timeout(TURN * 2);
        stop.store(true, Ordering::Relaxed);
    });
    count.into_inner() as f64 / begin.elapsed().as_secs_f64()
}

/// A disk that does a thousand syncs a second: each takes a millisecond more than the machine's own would at its
/// quickest.
#[derive(Debug)]
struct SlowDisk(AtomicUsize);

impl Disk for SlowDisk {
    fn sync(&self, file: &File) -> std::io::Result<()> {
        let until = Instant::now() + Duration::from_millis(1);
        let done = SystemDisk.sync(file);
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            std::thread::park_timeout(left);
        }
        self.0.fetch_add(1, Ordering::Relaxed);
        done
    }
}

struct Audited {
    name: &'static str,
    host: Host,
    plugin: PluginHandle,
}

fn audited(
    world: &World,
    name: &'static str,
    durability: Durability,
    rpc_audit: RpcAudit,
    disk: Arc<dyn Disk>,
) -> Audited {
    let host = Host::builder(world.runtime_dir(&name.replace([' ', ',', '/'], "-")))
        .log_options(options(durability))
        .log_disk(disk)
        .start()
        .unwrap();
    let plugin = world.echo(&host, "echo", Policy { rpc_audit, ..quiet() });
    plugin.start().unwrap();
    plugin.wait_routable(None, SOON).unwrap();
    Audited { name, host, plugin }
}

const EVENTS: [&str; 4] = [
    "record: events, none",
    "record: events, relaxed",
    "record: events, relaxed, chained",
    "record: events, strict, 64 threads each waiting",
];
const SLOW_SYNCS: &str = "record: syncs of that disk while 64 threads call";

fn sequential(audit: &str) -> String {
    format!("record: sequential call, p50, audit {audit}")
}

fn threaded(audit: &str) -> String {
    format!("record: 64 threads, audit {audit}")
}

pub fn run(board: &mut Board) {
    let audits = ["off", "failures", "all, relaxed", "all, strict", SLOW];
    let of_calls = audits.iter().flat_map(|name| [sequential(name), threaded(name)]);
    let mut names = EVENTS.map(str::to_owned).into_iter().chain(of_calls).chain([SLOW_SYNCS.to_owned()]);
    if !names.any(|name| board.wants(&name)) {
        return;
    }
    let world = World::on_disk();
    let log = |name: &str, durability| {
        let folder = world.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        EventLog::start(&folder, &options(durability)).unwrap()
    };
    let none = log("none", Durability::None);
    let relaxed = log("relaxed", Durability::Relaxed);
    let strict = log("strict", Durability::Strict);
    let folder = world.path().join("chain");
    std::fs::create_dir(&folder).unwrap();
    let chained =
        EventLog::start(&folder, &LogOptions { chain: true, ..options(Durability::Relaxed) }).unwrap();
    let (own, slow) = (Arc::new(SystemDisk), Arc::new(SlowDisk(AtomicUsize::new(0))));
    let hosts = [
        audited(&world, "off", Durability::Relaxed, RpcAudit::Off, own.clone()),
        audited(&world, "failures", Durability::Relaxed, RpcAudit::Failures, own.clone()),
        audited(&world, "all, relaxed", Durability::Relaxed, RpcAudit::All, own.clone()),
        audited(&world, "all, strict", Durability::Strict, RpcAudit::All, own),
        audited(&world, SLOW, Durability::Strict, RpcAudit::All, slow.clone()),
    ];
    let params = &Echo::of_bytes(16);
    board.measure(|group| {
        group.add(EVENTS[0], "/s", || events_rate(&none));
        group.add(EVENTS[1], "/s", || events_rate(&relaxed));
        group.add(EVENTS[2], "/s", || events_rate(&chained));
        group.against(EVENTS[3], "/s", SYNCS, None, || {
            threads_rate(|| {
                let ticket = strict.record(event()).unwrap();
                assert_eq!(strict.wait(ticket, SOON), Settled::Recorded);
            })
        });
        for Audited { name, plugin, .. } in &hosts {
            let call = move || {
                let answer: Echo = plugin.call("echo", params).unwrap();
                debug_assert_eq!(answer, *params);
            };
            group.add(&sequential(name), "us", move || median_us(call));
            let name_of_rate = threaded(name);
            if *name == SLOW {
                let slow = Arc::clone(&slow);
                let goal = Some(Goal::AtLeast(30_000.0));
                group.add_with_goal(&name_of_rate, "/s", goal, move || threads_rate(call));
                group.add(SLOW_SYNCS, "/s", move || {
                    let (before, begin) = (slow.0.load(Ordering::Relaxed), Instant::now());
                    threads_rate(call);
                    (slow.0.load(Ordering::Relaxed) - before) as f64 / begin.elapsed().as_secs_f64()
                });
            } else {
                group.against(&name_of_rate, "/s", SYNCS, None, move || threads_rate(call));
            }
        }
    });
    for Audited { name, host, .. } in hosts {
        // A caller that waits for its record cannot outrun the writer; others can, and then that is counted.
        let dropped = host.events_dropped();
        assert!(!name.contains("strict") || dropped == 0, "{dropped} events of {name} were dropped");
        let of = host.events_written() + dropped;
        let percent = 100.0 * dropped as f64 / of.max(1) as f64;
        board.enter(&format!("record: events dropped, audit {name}"), "%", vec![percent], None, None);
        host.shutdown();
    }
}
