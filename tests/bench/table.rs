//! The figures as people read them, and the machine that they hold for.

use super::figures::{Figure, Goal};
use nix::sched::{CpuSet, sched_getaffinity};
use serde::Serialize;
use std::fmt::Write as _;
use std::time::SystemTime;

/// What figures are of no use without.
#[derive(Serialize)]
pub struct Machine {
    pub date: String,
    pub processor: String,
    pub cores: usize,
    pub kernel: String,
    pub compiler: String,
    pub rounds: usize,
}

impl Machine {
    pub fn look(rounds: usize) -> Machine {
        let all = sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap();
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let date = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        Machine {
            date: date.chars().take(10).collect(),
            processor: model.map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned()),
            cores: (0..CpuSet::count()).filter(|core| all.is_set(*core).unwrap_or(false)).count(),
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            compiler: super::build::output("rustc", &["--version"]).unwrap_or_default().trim().to_owned(),
            rounds,
        }
    }

    fn line(&self) -> String {
        let Machine { date, processor, cores, kernel, compiler, rounds } = self;
        format!("{date}, {cores} cores ({processor}), Linux {kernel}, {compiler}, {rounds} rounds.")
    }
}

/// At most three digits that count, and whole thousands as they are.
fn short(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 || v == 0.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    if digits == 0 { text } else { text.trim_end_matches('0').trim_end_matches('.').to_owned() }
}

fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 100.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

fn goal(goal: Goal) -> String {
    match goal {
        Goal::AtMost(max) => format!("<= {}", short(max)),
        Goal::AtLeast(min) => format!(">= {}", short(min)),
    }
}

/// Markdown, so that it can stand in the documentation as it is.
pub fn table(machine: &Machine, figures: &[Figure]) -> String {
    let mut text = machine.line();
    text.push('\n');
    for pass in ["pinned", "free", "build"] {
        let of_pass: Vec<&Figure> = figures.iter().filter(|figure| figure.pass == pass).collect();
        if of_pass.is_empty() {
            continue;
        }
        let _ = writeln!(
            text,
            "\n### {pass}\n\n| figure | median | unit | spread | ratio | to | goal | |\n|---|---:|---|---:|---:|---|---|---|"
        );
        for figure in of_pass {
            let spread =
                if figure.samples > 1 { format!("±{:.0}%", figure.spread * 100.0) } else { String::new() };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {spread} | {} | {} | {} | {} |",
                figure.name,
                number(figure.median),
                figure.unit,
                figure.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
                figure.limit.as_deref().map_or("", |limit| limit.trim_start_matches(super::figures::LIMIT)),
                figure.goal.map_or_else(String::new, goal),
                figure.met.map_or("", |met| if met { "met" } else { "missed" }),
            );
        }
    }
    text
}
