//! `--build`: how long it takes to build from nothing, and how large the programs are. Slow, so on request only.

use super::figures::{Board, Goal};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const PROGRAMS: [&str; 2] = ["rpcplugind", "rpcpluginctl"];

/// What a program of the toolchain prints; `None` if it is not there or fails.
pub fn output(program: &str, words: &[&str]) -> Option<String> {
    // Cargo names itself and its compiler to what it runs.
    let named = std::env::var_os(program.to_uppercase());
    let mut command = Command::new(named.unwrap_or_else(|| program.into()));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(words).stderr(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

fn build(folder: &Path, profile: &str) -> f64 {
    let begin = Instant::now();
    let words = ["build", "--locked", "--offline", "--bins", "--profile", profile, "--target-dir"];
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(words).arg(folder).stdout(Stdio::null());
    assert!(command.status().unwrap().success(), "the {profile} profile does not build");
    begin.elapsed().as_secs_f64()
}

/// Both profiles, each in an empty folder.
pub fn run(board: &mut Board) {
    for profile in ["release", "small"] {
        let world = super::subject::World::new();
        let seconds = build(world.path(), profile);
        board.enter(&format!("build: {profile} profile from nothing"), "s", vec![seconds], None, None);
        for program in PROGRAMS {
            let bytes = std::fs::metadata(world.path().join(profile).join(program)).unwrap().len();
            let goal = (profile == "small").then_some(Goal::AtMost(1.0));
            let name = format!("build: {program} in the {profile} profile, stripped");
            board.enter(&name, "MiB", vec![bytes as f64 / f64::from(1 << 20)], None, goal);
        }
    }
}
