//! Figures: taken in rounds, told as median, spread and ratio.

use super::Options;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// One figure with all its samples condensed.
#[derive(Serialize, Deserialize, Clone)]
pub struct Figure {
    pub pass: String,
    pub name: String,
    pub unit: String,
    pub median: f64,
    /// Half the distance between the quartiles, as part of the median.
    pub spread: f64,
    pub samples: usize,
    /// The figure that it is held against.
    pub limit: Option<String>,
    /// Its median over the limit's.
    pub ratio: Option<f64>,
    /// What the ratio, or without a limit the median, should be.
    pub goal: Option<Goal>,
}

#[derive(Serialize, Deserialize, Clone, Copy, PartialEq)]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    fn met(self, value: f64) -> bool {
        match self {
            Goal::AtMost(max) => value <= max,
            Goal::AtLeast(min) => value >= min,
        }
    }

    fn text(self) -> String {
        match self {
            Goal::AtMost(max) => format!("<= {max}"),
            Goal::AtLeast(min) => format!(">= {min}"),
        }
    }
}

struct Entry<'a> {
    name: String,
    unit: &'static str,
    limit: Option<String>,
    goal: Option<Goal>,
    take: Box<dyn FnMut() -> f64 + 'a>,
    samples: Vec<f64>,
}

/// Where figures are entered; groups of them are measured in turn.
pub struct Board {
    pass: String,
    rounds: usize,
    only: Option<String>,
    done: Vec<Figure>,
}

/// Figures that are measured interleaved.
pub struct Group<'a> {
    only: Option<String>,
    entries: Vec<Entry<'a>>,
}

impl Board {
    pub fn new(pass: &str, options: &Options) -> Board {
        Board { pass: pass.to_owned(), rounds: options.rounds, only: options.only.clone(), done: Vec::new() }
    }

    pub fn is_pinned(&self) -> bool {
        self.pass == "pinned"
    }

    pub fn rounds(&self) -> usize {
        self.rounds
    }

    /// Measures a group: every figure once in each round.
    pub fn measure<'a>(&mut self, build: impl FnOnce(&mut Group<'a>)) {
        let mut group = Group { only: self.only.clone(), entries: Vec::new() };
        build(&mut group);
        for round in 0..=self.rounds {
            for entry in &mut group.entries {
                let sample = (entry.take)();
                // The first round warms up.
                if round > 0 {
                    entry.samples.push(sample);
                }
            }
        }
        for entry in group.entries {
            self.enter(&entry.name, entry.unit, entry.samples, entry.limit, entry.goal);
        }
    }

    /// Enters a figure that was measured elsewhere.
    pub fn enter(
        &mut self,
        name: &str,
        unit: &str,
        mut samples: Vec<f64>,
        limit: Option<String>,
        goal: Option<Goal>,
    ) {
        let wanted = |only: &String| name.starts_with("limit") || name.contains(only.as_str());
        if samples.is_empty() || !self.only.as_ref().is_none_or(wanted) {
            return;
        }
        samples.sort_by(f64::total_cmp);
        let at = |part: f64| samples[((samples.len() - 1) as f64 * part).round() as usize];
        let median = at(0.5);
        self.done.push(Figure {
            pass: self.pass.clone(),
            name: name.to_owned(),
            unit: unit.to_owned(),
            median,
            spread: if median == 0.0 { 0.0 } else { (at(0.75) - at(0.25)) / 2.0 / median },
            samples: samples.len(),
            limit,
            ratio: None,
            goal,
        });
    }

    /// All figures, with their ratios.
    pub fn finish(mut self) -> Vec<Figure> {
        let medians: Vec<(String, f64)> =
            self.done.iter().map(|figure| (figure.name.clone(), figure.median)).collect();
        for figure in &mut self.done {
            let limit =
                figure.limit.as_ref().and_then(|limit| medians.iter().find(|(name, _)| name == limit));
            figure.ratio = limit.map(|(_, median)| figure.median / median);
        }
        self.done
    }
}

impl<'a> Group<'a> {
    /// A figure without anything to hold it against.
    pub fn add(&mut self, name: &str, unit: &'static str, take: impl FnMut() -> f64 + 'a) {
        self.push(name, unit, None, None, take);
    }

    /// A figure held against a limit of the same pass.
    pub fn against(
        &mut self,
        name: &str,
        unit: &'static str,
        limit: &str,
        goal: Option<Goal>,
        take: impl FnMut() -> f64 + 'a,
    ) {
        self.push(name, unit, Some(limit.to_owned()), goal, take);
    }

    fn push(
        &mut self,
        name: &str,
        unit: &'static str,
        limit: Option<String>,
        goal: Option<Goal>,
        take: impl FnMut() -> f64 + 'a,
    ) {
        let is_limit = name.starts_with("limit");
        if !is_limit && self.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            return;
        }
        self.entries.push(Entry {
            name: name.to_owned(),
            unit,
            limit,
            goal,
            take: Box::new(take),
            samples: Vec::new(),
        });
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 10_000.0 => format!("{value:.0}"),
        v if v >= 100.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// The figures as people read them; Markdown, so that it can stand in the documentation as it is.
pub fn table(figures: &[Figure]) -> String {
    let mut text = String::new();
    for pass in ["pinned", "free"] {
        let _ = writeln!(
            text,
            "\n### {pass}\n\n| figure | median | unit | spread | ratio | to | goal | |\n|---|---:|---|---:|---:|---|---|---|"
        );
        for figure in figures.iter().filter(|figure| figure.pass == pass) {
            let goal = figure.goal.map_or_else(String::new, Goal::text);
            let verdict = figure.goal.map_or("", |goal| {
                if goal.met(figure.ratio.unwrap_or(figure.median)) { "met" } else { "missed" }
            });
            let _ = writeln!(
                text,
                "| {} | {} | {} | ±{:.0}% | {} | {} | {goal} | {verdict} |",
                figure.name,
                number(figure.median),
                figure.unit,
                figure.spread * 100.0,
                figure.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
                figure.limit.as_deref().unwrap_or(""),
            );
        }
    }
    text
}
