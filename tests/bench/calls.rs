//! Calls through the host library: one after the other, many threads, many in flight, large.

use super::figures::{Board, Goal};
use super::limits::{self, TURN, median_us, percentile, rate};
use super::subject::{Echo, World};
use rpc_plugin_system::host::{CallOptions, PluginHandle};
use rpc_plugin_wire::message::params_from;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

pub const SEQUENTIAL_US: &str = "library: sequential call, p50";

/// About the 80 bytes of the raw ping-pong's line, as params.
const SMALL: usize = 16;
const THREADS: usize = 64;
const MIB: usize = 1 << 20;

fn echo(plugin: &PluginHandle, params: &Echo) {
    let answer: Echo = plugin.call("echo", params).unwrap();
    debug_assert_eq!(answer, *params);
}

/// Calls in a second from many threads at once.
fn threads_rate(plugin: &PluginHandle, threads: usize) -> f64 {
    let (stop, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let params = Echo::of_bytes(SMALL);
                let mut own = 0;
                while !stop.load(Ordering::Relaxed) {
                    echo(plugin, &params);
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

/// Calls in a second from one thread that keeps `window` in flight.
pub fn window_rate(plugins: &[PluginHandle], window: usize) -> f64 {
    let mut pending = VecDeque::with_capacity(window);
    let params = Echo::of_bytes(SMALL);
    let mut next = 0;
    let answer_rate = rate(|| {
        while pending.len() < window {
            let raw = params_from(&params).unwrap();
            next = (next + 1) % plugins.len();
            pending.push_back(plugins[next].start_raw("echo", raw, CallOptions::default()).unwrap());
        }
        // Half a window at a time, so that begun calls travel together as they would in a program.
        let half = window.div_ceil(2);
        for call in pending.drain(..half) {
            let _: Echo = call.wait().unwrap().parse().unwrap();
        }
        half
    });
    for call in pending {
        call.wait().unwrap();
    }
    answer_rate
}

/// Processor time of a process so far. Microseconds.
pub fn cpu_us(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    let of_main = |text: &str| text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0);
    // The process's own line counts its first thread only.
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let Ok(tasks) = tasks else { return of_main(&text) / 1000.0 };
    let sum: f64 = tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .map(|text| of_main(&text))
        .sum();
    sum / 1000.0
}

pub fn run(board: &mut Board) {
    let world = World::new();
    let host = world.host("calls");
    let plugin = world.running(&host, "echo");
    let pid = plugin.status().unwrap().pid.unwrap();
    let pinned = board.is_pinned();
    let small = Echo::of_bytes(SMALL);
    let (plugin, small) = (&plugin, &small);
    board.measure(|group| {
        let goal = Goal::AtMost(if pinned { 2.0 } else { 1.0 });
        group.against(SEQUENTIAL_US, "us", limits::PING_US, Some(goal), || median_us(|| echo(plugin, small)));
        group.against("library: sequential call, p99", "us", limits::PING_US, None, || {
            let mut samples = Vec::new();
            let begin = Instant::now();
            while begin.elapsed() < TURN {
                let start = Instant::now();
                echo(plugin, small);
                samples.push(start.elapsed().as_nanos() as f64 / 1000.0);
            }
            percentile(&mut samples, 0.99)
        });
        let goal = pinned.then_some(Goal::AtLeast(0.9));
        group.against("library: 64 threads", "/s", limits::PING_RATE, goal, || threads_rate(plugin, THREADS));
        let goal = pinned.then_some(Goal::AtLeast(250.0 / 390.0));
        group.against("library: one thread, 64 in flight", "/s", limits::ONE_WAY_RATE, goal, || {
            window_rate(std::slice::from_ref(plugin), 64)
        });
        group.against("library: one thread, 1,024 in flight", "/s", limits::ONE_WAY_RATE, None, || {
            window_rate(std::slice::from_ref(plugin), 1024)
        });
        group.add("library: processor time a sequential call, both processes", "us", || {
            const CALLS: usize = 2000;
            let own = std::process::id();
            let before = cpu_us(own) + cpu_us(pid);
            (0..CALLS).for_each(|_| echo(plugin, small));
            (cpu_us(own) + cpu_us(pid) - before) / CALLS as f64
        });
        for (name, bytes) in [("64 B", 64), ("1 KiB", 1 << 10), ("16 KiB", 16 << 10), ("128 KiB", 128 << 10)]
        {
            let params = Echo::of_bytes(bytes);
            group.against(
                &format!("library: {name} each way, p50"),
                "us",
                limits::PING_US,
                None,
                move || median_us(|| echo(plugin, &params)),
            );
        }
        let params = Echo::of_bytes(MIB);
        // The goal is told as throughput: 0.3 of the limit's is at most 1/0.3 of its time.
        let goal = Goal::AtMost(1.0 / 0.3);
        group.against("library: 1 MiB of text each way, p50", "ms", limits::MIB_MS, Some(goal), move || {
            median_us(|| echo(plugin, &params)) / 1000.0
        });
    });
    host.shutdown();
}
