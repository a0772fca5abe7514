//! The whole supervisor in virtual time, from a seed: real state machines, fake kernel, children that
//! crash, hang and lie, links that split, merge, delay and cut.
//!
//! `SIM_SEEDS=n` runs n of them instead of 200.
//!
//! What it deliberately does not do: touch a process, socket, thread of the host, or the clock.
//! What always holds: one seed is one run. `SIM_SEED=n cargo test --test sim -- --nocapture` replays
//! seed n and prints its whole trace. A failure names the seed and the last events before it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stderr, missing_docs, unreachable_pub)]

mod acts;
mod asks;
mod checks;
mod child;
mod coverage;
#[path = "../../fuzz/session.rs"]
mod fuzz_session;
mod herd;
mod kernel;
mod ledger;
mod link;
mod model;
mod nature;
mod operator;
mod peers;
mod policies;
mod story;
mod world;

use coverage::Coverage;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use world::{Tracing, World};

/// Runs in one test run, unless `SIM_SEEDS` says how many.
const SEEDS: u64 = 200;

/// One seed takes a tenth of a second; after this the host runs in circles within one step.
const SEED_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs one seed.
fn run_once(seed: u64, tracing: Tracing) -> Result<Coverage, String> {
    let mut world = World::new(seed, tracing);
    // Not drawn, so that seeds stay what they are.
    world.is_ordered = seed.is_multiple_of(3);
    match catch_unwind(AssertUnwindSafe(|| story::run(&mut world))) {
        Ok(()) => Ok(world.coverage),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_default();
            let trace: Vec<String> = world.trace.into_iter().collect();
            Err(format!("seed {seed}: {text}\nthe last events:\n{}", trace.join("\n")))
        }
    }
}

/// Runs one seed; one that fails runs again, to tell how it came to that.
fn run(seed: u64) -> Result<Coverage, String> {
    run_once(seed, Tracing::Off).or_else(|_| run_once(seed, Tracing::Last))
}

#[test]
fn two_hundred_seeds_hold_every_invariant_and_see_everything() {
    if let Ok(seed) = std::env::var("SIM_SEED") {
        run_once(seed.parse().expect("SIM_SEED is a number"), Tracing::Aloud)
            .unwrap_or_else(|failure| panic!("{failure}"));
        return;
    }
    let seeds = std::env::var("SIM_SEEDS").map_or(SEEDS, |n| n.parse().expect("SIM_SEEDS is a number"));
    // Two halves at once; each seed by itself is one run whatever the threads do.
    let (report, reports) = mpsc::channel();
    for half in 0..2 {
        let report = report.clone();
        std::thread::spawn(move || {
            for seed in (half..seeds).step_by(2) {
                // Nobody listens any more once another seed has failed.
                if report.send((seed, run(seed))).is_err() {
                    return;
                }
            }
        });
    }
    drop(report);
    let mut all = Coverage::default();
    let mut last = Vec::new();
    loop {
        match reports.recv_timeout(SEED_TIMEOUT) {
            Ok((seed, outcome)) => {
                all.merge(&outcome.unwrap_or_else(|failure| panic!("{failure}")));
                last.push(seed);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let last = last.split_off(last.len().saturating_sub(2));
                panic!("a step never ends, in one of the seeds after these: {last:?}");
            }
        }
    }
    assert_eq!(last.len() as u64, seeds, "a thread ended early");
    all.check();
}

#[test]
fn a_seed_is_one_run() {
    let trace = |seed| {
        let mut world = World::new(seed, Tracing::All);
        story::run(&mut world);
        world.trace
    };
    assert!(trace(7) == trace(7), "two runs of one seed differ");
    assert!(trace(7) != trace(8), "two seeds are one run");
}

/// The fuzz target's body on random operations; most begin with a right hello, or nothing would follow.
#[test]
fn a_session_holds_under_any_sequence_of_operations() {
    for seed in 0..1000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut data = if rng.u8(0..8) == 0 { Vec::new() } else { vec![4, 0, 11, 255] };
        let length = rng.usize(0..400);
        data.extend(std::iter::repeat_with(|| rng.u8(..)).take(length));
        // Small arguments name ids and calls that exist.
        let small = rng.bool();
        data.iter_mut().skip(5).step_by(2).filter(|_| small).for_each(|byte| *byte %= 8);
        fuzz_session::session(&data);
    }
}
