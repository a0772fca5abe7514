//! Memory, threads, size and wake-ups of the daemon.

use super::daemon::Daemon;
use super::figures::{Board, Goal};
use super::subject::World;
use std::time::{Duration, Instant};

/// A line of `/proc/PID/smaps_rollup`. KiB.
fn memory_kib(pid: u32, name: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Voluntary switches of all threads so far: each is one time that a thread went to sleep.
fn sleeps(pid: u32) -> u64 {
    std::fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok())
        .filter_map(|text| {
            let line = text.lines().find(|line| line.starts_with("voluntary_ctxt_switches"))?.to_owned();
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .sum()
}

/// Wake-ups in a second while nothing is asked of the daemon.
fn wakeups(pid: u32) -> f64 {
    const LOOK: Duration = Duration::from_secs(4);
    let (before, begin) = (sleeps(pid), Instant::now());
    // Nothing can be awaited here: what is measured is that nothing happens.
    while begin.elapsed() < LOOK {
        std::thread::park_timeout(LOOK - begin.elapsed());
    }
    (sleeps(pid) - before) as f64 / begin.elapsed().as_secs_f64()
}

pub fn run(board: &mut Board) {
    let world = World::new();
    let mut at = Vec::new();
    for count in [1, 20, 500] {
        let daemon = Daemon::start(&world, &format!("quiet{count}"), count, &["--heartbeat-interval", "0s"]);
        let pid = daemon.pid();
        let name = |what: &str| format!("footprint: {what}, {count} plugins");
        let resident = memory_kib(pid, "Rss:");
        at.push((count as f64, memory_kib(pid, "Pss:")));
        let goal = (count == 20).then_some(Goal::AtMost(4.0));
        board.enter(&name("resident"), "MiB", vec![resident / 1024.0], None, goal);
        board.enter(&name("proportional"), "MiB", vec![memory_kib(pid, "Pss:") / 1024.0], None, None);
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().count();
        board.enter(&name("threads"), "", vec![threads as f64], None, None);
        let goal = Some(Goal::AtMost(0.0));
        board.enter(&name("wake-ups, heartbeats off"), "/s", vec![wakeups(pid)], None, goal);
        drop(daemon);
        let daemon =
            Daemon::start(&world, &format!("beating{count}"), count, &["--heartbeat-interval", "1s"]);
        board.enter(&name("wake-ups, heartbeats each second"), "/s", vec![wakeups(daemon.pid())], None, None);
    }
    if let [_, (few, low), (many, high)] = at[..] {
        let each = (high - low) / (many - few);
        board.enter("footprint: each further plugin", "KiB", vec![each], None, Some(Goal::AtMost(20.0)));
    }
}
