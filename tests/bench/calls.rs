//! Calls through the host library: one after the other, many threads, many in flight, large.

use super::figures::{Board, Goal};
use super::limits::{self, TURN, median_us, percentile, rate};
use super::subject::{Echo, Subject};
use rpc_plugin_system::host::{CallOptions, PluginHandle};
use std::cell::LazyCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub const SEQUENTIAL_US: &str = "library: sequential call, p50";

/// About the 80 bytes of the raw ping-pong's line, as params.
pub const SMALL: usize = 16;
pub const MIB: usize = 1 << 20;
/// Payloads, in order; the MiB beside them has a limit of its own.
pub const PAYLOADS: [(&str, usize); 4] =
    [("64 B", 64), ("1 KiB", 1 << 10), ("16 KiB", 16 << 10), ("128 KiB", 128 << 10)];
const THREADS: usize = 64;

fn echo(plugin: &PluginHandle, params: &Echo) {
    let answer: Echo = plugin.call("echo", params).unwrap();
    debug_assert_eq!(answer, *params);
}

/// The time that 99 of 100 rounds take at most, over a turn. Microseconds.
pub fn p99_us(mut round: impl FnMut()) -> f64 {
    let (begin, mut samples) = (Instant::now(), Vec::new());
    while begin.elapsed() < TURN {
        let start = Instant::now();
        round();
        samples.push(start.elapsed().as_nanos() as f64 / 1000.0);
    }
    percentile(&mut samples, 0.99)
}

/// Processor time of these processes for each of `count` rounds. Microseconds.
pub fn cpu_each_us(pids: &[u32], count: usize, work: impl FnOnce()) -> f64 {
    let sum = || pids.iter().map(|pid| cpu_us(*pid)).sum::<f64>();
    let before = sum();
    work();
    (sum() - before) / count as f64
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
            next = (next + 1) % plugins.len();
            pending.push_back(plugins[next].call_start("echo", &params, CallOptions::default()).unwrap());
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
fn cpu_us(pid: u32) -> f64 {
    let of_thread = |text: &str| text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0);
    // The process's own line counts its first thread only.
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return 0.0 };
    let sum: f64 = tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .map(|text| of_thread(&text))
        .sum();
    sum / 1000.0
}

pub fn run(board: &mut Board) {
    let pinned = board.is_pinned();
    let small = &Echo::of_bytes(SMALL);
    let (subject, sleeper) =
        (LazyCell::new(|| Subject::start(None)), LazyCell::new(|| Subject::start(Some(Duration::ZERO))));
    let plugin = || &subject.plugin;
    board.measure(|group| {
        let goal = Goal::AtMost(if pinned { 2.0 } else { 1.0 });
        group.against(SEQUENTIAL_US, "us", limits::PING_US, Some(goal), || {
            median_us(|| echo(plugin(), small))
        });
        if !pinned {
            // Pinned nobody spins anyway.
            let name = "library: sequential call without spinning, p50";
            group.against(name, "us", limits::PING_US, None, || median_us(|| echo(&sleeper.plugin, small)));
        }
        group.against("library: sequential call, p99", "us", limits::PING_US, None, || {
            p99_us(|| echo(plugin(), small))
        });
        let goal = pinned.then_some(Goal::AtLeast(0.9));
        group.against("library: 64 threads", "/s", limits::PING_RATE, goal, || {
            threads_rate(plugin(), THREADS)
        });
        let goal = pinned.then_some(Goal::AtLeast(250.0 / 390.0));
        group.against("library: one thread, 64 in flight", "/s", limits::ONE_WAY_RATE, goal, || {
            window_rate(std::slice::from_ref(plugin()), 64)
        });
        group.against("library: one thread, 1,024 in flight", "/s", limits::ONE_WAY_RATE, None, || {
            window_rate(std::slice::from_ref(plugin()), 1024)
        });
    });
    let processor_time = |subject: &Subject| {
        const CALLS: usize = 2000;
        let pids = [std::process::id(), subject.pid()];
        cpu_each_us(&pids, CALLS, || (0..CALLS).for_each(|_| echo(&subject.plugin, small)))
    };
    board.measure(|group| {
        let name = "library: processor time a sequential call, both processes";
        group.add(name, "us", || processor_time(&subject));
        if !pinned {
            let name = "library: processor time a sequential call without spinning, both processes";
            group.add(name, "us", || processor_time(&sleeper));
        }
    });
}

/// Payloads each way.
pub fn run_payloads(board: &mut Board) {
    let subject = LazyCell::new(|| Subject::start(None));
    let subject = &subject;
    board.measure(|group| {
        for (name, bytes) in PAYLOADS {
            let (name, params) = (format!("library: {name} each way, p50"), Echo::of_bytes(bytes));
            group.against(&name, "us", limits::PING_US, None, move || {
                median_us(|| echo(&subject.plugin, &params))
            });
        }
        // The goal is told as throughput: 0.3 of the limit's is at most 1/0.3 of its time.
        let (goal, params) = (Goal::AtMost(1.0 / 0.3), Echo::of_bytes(MIB));
        group.against("library: 1 MiB of text each way, p50", "ms", limits::MIB_MS, Some(goal), move || {
            median_us(|| echo(&subject.plugin, &params)) / 1000.0
        });
    });
}
