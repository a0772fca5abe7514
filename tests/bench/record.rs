//! The record: events a second in each mode, and what auditing adds to a call.

use super::figures::{Board, Goal};
use super::limits::{SYNCS, TURN, median_us};
use super::subject::{Echo, SOON, World, quiet};
use rpc_plugin_system::eventlog::{Durability, Entry, EventLog, LogOptions, Settled};
use rpc_plugin_system::host::{Host, PluginHandle, Policy};
use rpc_plugin_system::state::policy::RpcAudit;
use rpc_plugin_wire::event::EventKind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// Events handed over before their flush.
const GROUP: usize = 2000;
const THREADS: usize = 64;

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

struct Audited {
    name: &'static str,
    host: Host,
    plugin: PluginHandle,
}

fn audited(world: &World, name: &'static str, durability: Durability, rpc_audit: RpcAudit) -> Audited {
    let host = Host::builder(world.runtime_dir(&name.replace([' ', ','], "-")))
        .log_options(options(durability))
        .start()
        .unwrap();
    let plugin = world.echo(&host, "echo", Policy { rpc_audit, ..quiet() });
    plugin.start().unwrap();
    plugin.wait_routable(None, SOON).unwrap();
    Audited { name, host, plugin }
}

pub fn run(board: &mut Board) {
    if !["record: events", "record: sequential call", "record: 64 threads"]
        .iter()
        .any(|name| board.wants(name))
    {
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
    let hosts = [
        audited(&world, "off", Durability::Relaxed, RpcAudit::Off),
        audited(&world, "failures", Durability::Relaxed, RpcAudit::Failures),
        audited(&world, "all, relaxed", Durability::Relaxed, RpcAudit::All),
        audited(&world, "all, strict", Durability::Strict, RpcAudit::All),
    ];
    let params = &Echo::of_bytes(16);
    board.measure(|group| {
        group.add("record: events, none", "/s", || events_rate(&none));
        group.add("record: events, relaxed", "/s", || events_rate(&relaxed));
        group.add("record: events, relaxed, chained", "/s", || events_rate(&chained));
        group.against("record: events, strict, 64 threads each waiting", "/s", SYNCS, None, || {
            threads_rate(|| {
                let ticket = strict.record(event()).unwrap();
                assert_eq!(strict.wait(ticket, SOON), Settled::Durable);
            })
        });
        for Audited { name, plugin, .. } in &hosts {
            let call = move || {
                let answer: Echo = plugin.call("echo", params).unwrap();
                debug_assert_eq!(answer, *params);
            };
            group.add(&format!("record: sequential call, p50, audit {name}"), "us", move || median_us(call));
            let goal = (*name == "all, strict").then_some(Goal::AtLeast(30.0));
            group.against(&format!("record: 64 threads, audit {name}"), "/s", SYNCS, goal, move || {
                threads_rate(call)
            });
        }
    });
    for Audited { name, host, .. } in hosts {
        // A caller that waits for its record cannot outrun the writer; others can, and then that is counted.
        let dropped = host.events_dropped();
        assert!(name != "all, strict" || dropped == 0, "{dropped} events of {name} were dropped");
        let of = host.events_written() + dropped;
        let percent = 100.0 * dropped as f64 / of.max(1) as f64;
        board.enter(&format!("record: events dropped, audit {name}"), "%", vec![percent], None, None);
        host.shutdown();
    }
}
