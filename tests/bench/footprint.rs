//! Memory, threads, size and wake-ups of the daemon.

use super::daemon::Daemon;
use super::figures::{Board, Goal};
use super::subject::World;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const EACH: &str = "footprint: each further plugin, proportional";

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

/// Lets time pass while nothing is asked of the daemon: what is measured is that nothing happens.
fn let_pass(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        std::thread::park_timeout(time.saturating_sub(begin.elapsed()));
    }
}

/// Wake-ups in a second while nothing is asked of the daemon.
fn wakeups(pid: u32) -> f64 {
    const LOOK: Duration = Duration::from_secs(5);
    // What starting it has left to do does not count.
    let_pass(Duration::from_millis(1500));
    let before = sleeps(pid);
    let_pass(LOOK);
    (sleeps(pid) - before) as f64 / LOOK.as_secs_f64()
}

pub fn run(board: &mut Board) {
    let world = World::new();
    let mut at = Vec::new();
    for count in [1, 20, 500] {
        let name = |what: &str| format!("footprint: {what}, {count} plugins");
        if !["resident", "proportional", "threads", "wake-ups", "each"]
            .iter()
            .any(|what| board.wants(&name(what)))
            && !board.wants(EACH)
        {
            continue;
        }
        let daemon = Daemon::start(&world, &format!("quiet{count}"), count, &["--heartbeat-interval", "0s"]);
        let pid = daemon.pid();
        let_pass(Duration::from_millis(200));
        let resident = memory_kib(pid, "Rss:");
        let own = memory_kib(pid, "Anonymous:");
        at.push((count as f64, memory_kib(pid, "Pss:")));
        let goal = (count == 20).then_some(Goal::AtMost(4.0));
        board.enter(&name("resident"), "MiB", vec![resident / 1024.0], None, goal);
        board.enter(&name("of it not of files"), "MiB", vec![own / 1024.0], None, None);
        board.enter(&name("proportional"), "MiB", vec![memory_kib(pid, "Pss:") / 1024.0], None, None);
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().count();
        board.enter(&name("threads"), "", vec![threads as f64], None, None);
        let goal = Some(Goal::AtMost(0.0));
        board.enter(&name("wake-ups, heartbeats off"), "/s", vec![wakeups(pid)], None, goal);
        drop(daemon);
        let flags = ["--heartbeat-interval", "1s"];
        let daemon = Daemon::start(&world, &format!("beating{count}"), count, &flags);
        let goal = Some(Goal::AtMost(1.0));
        let name = name("wake-ups, heartbeats each second");
        board.enter(&name, "/s", vec![wakeups(daemon.pid())], None, goal);
    }
    if let [_, (few, low), (many, high)] = at[..] {
        let each = (high - low) / (many - few);
        board.enter(EACH, "KiB", vec![each], None, Some(Goal::AtMost(20.0)));
    }
    crates(board);
}

/// What a reviewer has to read.
fn crates(board: &mut Board) {
    let count = |args: &[&str]| {
        let mut words = vec!["tree", "-e", "normal", "--prefix", "none", "--locked", "--offline"];
        words.extend(args);
        let text = super::build::output("cargo", &words)?;
        let names: BTreeSet<&str> = text.lines().map(|line| line.trim_end_matches(" (*)")).collect();
        Some(vec![names.len() as f64])
    };
    for (name, args) in [
        ("footprint: crates, with the programs", &[][..]),
        ("footprint: crates, embedded", &["--no-default-features"]),
    ] {
        if board.wants(name) {
            board.enter(name, "", count(args).unwrap_or_default(), None, None);
        }
    }
}
