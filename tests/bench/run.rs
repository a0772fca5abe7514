//! `cargo bench`: what the project does, beside what the machine can do, measured in the same run.
//!
//! Every figure is taken many times in short turns, in rounds together with the limits that it is held against, so that
//! a noisy moment hits limit and project alike; what counts is the median of the rounds' ratios. Two passes: `pinned`,
//! all processes on one core, and `free`.
//!
//! Usage: `cargo bench -- [--json] [--rounds N] [--only TEXT] [--build]`. `--build` also builds from nothing, which is
//! slow. For a profiler: `--alone --pass pinned --only TEXT` measures those figures in this process, and nothing else.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod build;
mod calls;
mod daemon;
mod figures;
mod footprint;
mod grow;
mod limits;
mod others;
mod peers;
mod record;
mod start;
mod subject;
mod table;

use figures::{Board, Figure};
use std::process::{Command, ExitCode, Stdio};

/// How the benchmark was asked for.
#[derive(Clone)]
pub struct Options {
    pub json: bool,
    pub rounds: usize,
    pub only: Option<String>,
    /// Without the limits.
    pub alone: bool,
    /// With what building from nothing takes and comes to.
    pub build: bool,
    /// `pinned` or `free` in the process that measures; none in the one that collects.
    pub pass: Option<String>,
}

fn options() -> Options {
    let mut options = Options { json: false, rounds: 9, only: None, alone: false, build: false, pass: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--json" => options.json = true,
            "--rounds" => options.rounds = words.next().and_then(|n| n.parse().ok()).expect("--rounds N"),
            "--only" => options.only = words.next(),
            "--alone" => options.alone = true,
            "--build" => options.build = true,
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
        match peer.to_str().unwrap() {
            others::SERVICE => others::serve(),
            kind => limits::peer(kind),
        }
        return ExitCode::SUCCESS;
    }
    if std::env::args().nth(1).as_deref() == Some(peers::WORD) {
        return peers::serve();
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
    let passes = if options.build { &["pinned", "free", "build"][..] } else { &["pinned", "free"] };
    for pass in passes {
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
    let machine = table::Machine::look(options.rounds);
    if options.json {
        let all = serde_json::json!({ "machine": machine, "figures": figures });
        println!("{}", serde_json::to_string_pretty(&all).unwrap());
    } else {
        print!("{}", table::table(&machine, &figures));
    }
}

fn measure(options: &Options, pass: &str) {
    if pass == "pinned" {
        limits::pin_to_one_core();
    }
    let mut board = Board::new(pass, options);
    if pass == "build" {
        build::run(&mut board);
    } else {
        limits::run(&mut board);
        calls::run(&mut board);
        calls::run_payloads(&mut board);
        peers::run(&mut board);
        daemon::run(&mut board);
        record::run(&mut board);
        start::run(&mut board);
    }
    if pass == "free" {
        others::run(&mut board);
        grow::run(&mut board);
        footprint::run(&mut board);
    }
    println!("{}", serde_json::to_string(&board.finish()).unwrap());
}
