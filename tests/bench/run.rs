//! `cargo bench`: what the project does, beside what the machine can do, measured in the same run.
//!
//! Every figure is taken many times in short turns, all figures in turn, so that a noisy moment hits
//! limit and project alike; what counts is the ratio of their medians. Two passes: `pinned`, all
//! processes on one core, and `free`.
//!
//! Usage: `cargo bench -- [--json] [--rounds N] [--only TEXT]`
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod calls;
mod daemon;
mod disk;
mod figures;
mod footprint;
mod grow;
mod limits;
mod record;
mod start;
mod subject;

use figures::{Board, Figure};
use std::process::{Command, ExitCode, Stdio};

/// How the benchmark was asked for.
#[derive(Clone)]
pub struct Options {
    pub json: bool,
    pub rounds: usize,
    pub only: Option<String>,
    /// `pinned` or `free` in the process that measures; none in the one that collects.
    pub pass: Option<String>,
}

fn options() -> Options {
    let mut options = Options { json: false, rounds: 9, only: None, pass: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--json" => options.json = true,
            "--rounds" => options.rounds = words.next().and_then(|n| n.parse().ok()).expect("--rounds N"),
            "--only" => options.only = words.next(),
            "--pass" => options.pass = words.next(),
            // Cargo passes this to every benchmark.
            "--bench" => {}
            other => panic!("unknown argument {other:?}; see the head of tests/bench/run.rs"),
        }
    }
    options
}

fn main() -> ExitCode {
    if let Some(peer) = std::env::var_os("RPS_BENCH_PEER") {
        limits::peer(peer.to_str().unwrap());
        return ExitCode::SUCCESS;
    }
    let options = options();
    match options.pass.clone() {
        Some(pass) => measure(&options, &pass),
        None => collect(&options),
    }
    ExitCode::SUCCESS
}

/// Runs both passes in processes of their own, because a pin holds for all threads made after it.
fn collect(options: &Options) {
    let mut figures = Vec::new();
    for pass in ["pinned", "free"] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--pass", pass, "--rounds", &options.rounds.to_string()]);
        if let Some(only) = &options.only {
            command.args(["--only", only]);
        }
        let output = command.stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "the {pass} pass failed: {}", output.status);
        let part: Vec<Figure> = serde_json::from_slice(&output.stdout).unwrap();
        figures.extend(part);
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&figures).unwrap());
    } else {
        print!("{}", figures::table(&figures));
    }
}

fn measure(options: &Options, pass: &str) {
    if pass == "pinned" {
        limits::pin_to_one_core();
    }
    let mut board = Board::new(pass, options);
    limits::run(&mut board);
    calls::run(&mut board);
    daemon::run(&mut board);
    disk::run(&mut board);
    record::run(&mut board);
    start::run(&mut board);
    if pass == "free" {
        grow::run(&mut board);
        footprint::run(&mut board);
    }
    println!("{}", serde_json::to_string(&board.finish()).unwrap());
}
