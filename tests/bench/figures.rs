//! Figures: taken in rounds together with the limits that they are held against; told as median, spread and ratio.
//!
//! What always holds: a limit is measured in the same rounds as what is held against it, and a ratio is the median of
//! the rounds' ratios, because the speed of a machine drifts.

use super::{Options, limits};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What begins the name of a limit.
pub const LIMIT: &str = "limit: ";

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
    /// The median, over the rounds, of it over the limit.
    pub ratio: Option<f64>,
    /// What the ratio, or without a limit the median, should be.
    pub goal: Option<Goal>,
    pub met: Option<bool>,
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
    alone: bool,
    done: Vec<Figure>,
    /// Units and samples of the limits, from all groups.
    limits: BTreeMap<String, (&'static str, Vec<f64>)>,
}

/// Figures that are measured interleaved.
pub struct Group<'a> {
    only: Option<String>,
    entries: Vec<Entry<'a>>,
}

impl Board {
    pub fn new(pass: &str, options: &Options) -> Board {
        Board {
            pass: pass.to_owned(),
            rounds: options.rounds,
            only: options.only.clone(),
            alone: options.alone,
            done: Vec::new(),
            limits: BTreeMap::new(),
        }
    }

    pub fn is_pinned(&self) -> bool {
        self.pass == "pinned"
    }

    pub fn rounds(&self) -> usize {
        self.rounds
    }

    /// Whether a figure of that name was asked for.
    pub fn wants(&self, name: &str) -> bool {
        wanted(self.only.as_deref(), name)
    }

    /// Measures a group: every figure once in each round, and the limits that they name.
    pub fn measure<'a>(&mut self, build: impl FnOnce(&mut Group<'a>)) {
        let mut group = Group { only: self.only.clone(), entries: Vec::new() };
        build(&mut group);
        if !self.alone {
            group.add_limits();
        }
        for round in 0..=self.rounds {
            for entry in &mut group.entries {
                let sample = (entry.take)();
                // The first round warms up.
                if round > 0 {
                    entry.samples.push(sample);
                }
            }
        }
        let of_limit = |name: &String| {
            group.entries.iter().find(|entry| entry.name == *name).map(|entry| entry.samples.clone())
        };
        let ratios: Vec<Option<f64>> = group
            .entries
            .iter()
            .map(|entry| {
                let limit = of_limit(entry.limit.as_ref()?)?;
                Some(median(entry.samples.iter().zip(limit).map(|(own, limit)| own / limit).collect()))
            })
            .collect();
        for (entry, ratio) in group.entries.into_iter().zip(ratios) {
            match entry.name.starts_with(LIMIT) {
                true => {
                    let known = self.limits.entry(entry.name).or_insert((entry.unit, Vec::new()));
                    known.1.extend(entry.samples);
                }
                false => self.push(&entry.name, entry.unit, entry.samples, entry.limit, ratio, entry.goal),
            }
        }
    }

    /// Enters a figure that was measured elsewhere.
    pub fn enter(
        &mut self,
        name: &str,
        unit: &str,
        samples: Vec<f64>,
        limit: Option<String>,
        goal: Option<Goal>,
    ) {
        if !samples.is_empty() && self.wants(name) {
            self.push(name, unit, samples, limit, None, goal);
        }
    }

    fn push(
        &mut self,
        name: &str,
        unit: &str,
        mut samples: Vec<f64>,
        limit: Option<String>,
        ratio: Option<f64>,
        goal: Option<Goal>,
    ) {
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
            ratio,
            goal,
            met: None,
        });
    }

    /// All figures, the limits first.
    pub fn finish(mut self) -> Vec<Figure> {
        let figures = std::mem::take(&mut self.done);
        for (name, (unit, samples)) in std::mem::take(&mut self.limits) {
            self.push(&name, unit, samples, None, None, None);
        }
        self.done.extend(figures);
        let medians: BTreeMap<String, f64> =
            self.done.iter().map(|figure| (figure.name.clone(), figure.median)).collect();
        for figure in &mut self.done {
            // Entered from elsewhere: what is left to compare are the medians.
            let limit = figure.limit.as_ref().and_then(|limit| medians.get(limit));
            figure.ratio = figure.ratio.or_else(|| Some(figure.median / limit?));
            let value = if figure.limit.is_some() { figure.ratio } else { Some(figure.median) };
            figure.met = figure.goal.and_then(|goal| Some(goal.met(value?)));
        }
        self.done
    }
}

impl<'a> Group<'a> {
    /// A figure without anything to hold it against.
    pub fn add(&mut self, name: &str, unit: &'static str, take: impl FnMut() -> f64 + 'a) {
        self.push(name, unit, None, None, Box::new(take));
    }

    /// A figure whose goal is a value of its own.
    pub fn add_with_goal(
        &mut self,
        name: &str,
        unit: &'static str,
        goal: Option<Goal>,
        take: impl FnMut() -> f64 + 'a,
    ) {
        self.push(name, unit, None, goal, Box::new(take));
    }

    /// A figure held against a limit, which is measured in the same rounds.
    pub fn against(
        &mut self,
        name: &str,
        unit: &'static str,
        limit: &str,
        goal: Option<Goal>,
        take: impl FnMut() -> f64 + 'a,
    ) {
        self.push(name, unit, Some(limit.to_owned()), goal, Box::new(take));
    }

    fn push(
        &mut self,
        name: &str,
        unit: &'static str,
        limit: Option<String>,
        goal: Option<Goal>,
        take: Box<dyn FnMut() -> f64 + 'a>,
    ) {
        if wanted(self.only.as_deref(), name) {
            self.entries.push(Entry { name: name.to_owned(), unit, limit, goal, take, samples: Vec::new() });
        }
    }

    /// The limits that the figures name, each once, and before them.
    fn add_limits(&mut self) {
        let mut names: Vec<String> = self.entries.iter().filter_map(|entry| entry.limit.clone()).collect();
        names.sort();
        names.dedup();
        names.retain(|name| self.entries.iter().all(|entry| entry.name != *name));
        for name in names {
            let (unit, take) = limits::sampler(&name);
            self.entries.insert(0, Entry { name, unit, limit: None, goal: None, take, samples: Vec::new() });
        }
    }
}

fn wanted(only: Option<&str>, name: &str) -> bool {
    only.is_none_or(|only| name.contains(only))
}

pub fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}
