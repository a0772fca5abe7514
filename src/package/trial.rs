//! A version on trial: whether it is kept, or the version before is launched again.
//!
//! What this file is for: the decision, from what happens to the plugin and when. What it deliberately does not do: launch,
//! read a clock, or know what is stored.
//!
//! What always holds: a trial ends once. While the plugin does not run, no time counts against it; what the host lacks does
//! not either, as nobody reports that as a failure of the plugin.

use super::store::{OnTrial, Record, Stays, VersionKey};
use super::version::Version;
use crate::state::policy::Policy;
use crate::state::time::Time;
use std::fmt;
use std::time::Duration;

/// How long a version is on trial once it is healthy.
pub const PROBATION: Duration = Duration::from_secs(60);

/// What a version has to achieve to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrialTerms {
    /// How long it may take from its launch until it is healthy.
    pub start_timeout: Duration,
    /// How many failures are too few to end the trial.
    pub failures_max: u32,
}

impl TrialTerms {
    /// Those of a plugin with this policy: the deadlines of its start together, and `restarts_max`. Where that is unlimited,
    /// the default counts: a trial has an end.
    #[must_use]
    pub fn of(policy: &Policy) -> TrialTerms {
        let steps =
            [policy.prepare_timeout, policy.connect_timeout, policy.hello_timeout, policy.ready_timeout];
        let failures_max =
            if policy.has_restarts_max() { policy.restarts_max } else { Policy::default().restarts_max };
        TrialTerms {
            start_timeout: steps.iter().fold(Duration::ZERO, |sum, step| sum.saturating_add(*step)),
            failures_max,
        }
    }
}

/// What happens to a plugin whose version is on trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrialEvent {
    /// A launch of it began.
    Launched,
    /// It takes calls.
    Healthy,
    /// It failed, with the reason, and is replaced.
    Failed(String),
    /// It failed, with the reason, and is not replaced.
    GaveUp(String),
    /// It is not to run any more.
    Stopped,
}

/// Why a version is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrialFault {
    /// It was not healthy in time. With the reason of its last failure, if there was one.
    Late(Duration, Option<String>),
    /// It failed so many times; with the last reason.
    Failures(u32, String),
    /// It was not replaced after a failure.
    GaveUp(String),
}

impl fmt::Display for TrialFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrialFault::Late(timeout, last) => {
                write!(
                    f,
                    "it was not healthy within {} of its launch",
                    humantime::format_duration(*timeout)
                )?;
                last.iter().try_for_each(|last| write!(f, "; its last failure: {last}"))
            }
            TrialFault::Failures(count, last) => {
                write!(f, "it failed {count} times before it was healthy for a minute; the last time: {last}")
            }
            TrialFault::GaveUp(last) => write!(f, "it failed and was not replaced: {last}"),
        }
    }
}

/// Why the version before is not launched again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoWayBack {
    /// The operator or its manifest said so.
    Stays(Stays),
    /// No version that is stored was ever healthy.
    NeverHealthy,
    /// The version that was healthy last is below the `minimum` of the configuration.
    BelowMinimum(Box<(VersionKey, Version)>),
    /// An operator has pinned the version.
    Pinned,
}

impl fmt::Display for NoWayBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoWayBack::Stays(Stays::Operator) => f.write_str("it was installed with --no-rollback"),
            NoWayBack::Stays(Stays::Manifest) => f.write_str("its manifest says \"rollback\": false"),
            NoWayBack::NeverHealthy => f.write_str("no version before it was ever healthy"),
            NoWayBack::BelowMinimum(both) => {
                let (key, minimum) = &**both;
                write!(
                    f,
                    "{key}, which was healthy last, is below the minimum {minimum} of the configuration"
                )
            }
            NoWayBack::Pinned => f.write_str("it is pinned"),
        }
    }
}

/// The version to launch where the one on trial is not kept: the one that was healthy last.
///
/// # Errors
/// Why there is none.
pub fn way_back(
    record: &Record,
    on_trial: &OnTrial,
    minimum: Option<&Version>,
) -> Result<VersionKey, NoWayBack> {
    if let Some(stays) = on_trial.stays {
        return Err(NoWayBack::Stays(stays));
    }
    if record.pinned.as_ref() == Some(&on_trial.version) {
        return Err(NoWayBack::Pinned);
    }
    let last = record.last_healthy.as_ref().filter(|key| **key != on_trial.version);
    let last = last.ok_or(NoWayBack::NeverHealthy)?;
    match minimum.filter(|minimum| last.version().precedence(minimum).is_lt()) {
        Some(minimum) => Err(NoWayBack::BelowMinimum(Box::new((last.clone(), minimum.clone())))),
        None => Ok(last.clone()),
    }
}

/// How a trial stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrialState {
    /// It goes on.
    Pending,
    /// The version is kept.
    Kept,
    /// It is not.
    Over(TrialFault),
}

/// The trial of one version, from its first launch on.
#[derive(Debug, Clone)]
pub struct Trial {
    terms: TrialTerms,
    /// When the first of the launches that count began. Absent while the plugin does not run.
    launched: Option<Time>,
    /// When it was healthy first.
    healthy: Option<Time>,
    /// Whether it is healthy, as far as anybody has told: one that fails at the end of its minute has yet to come up again.
    is_up: bool,
    failures: u32,
    last_failure: Option<String>,
    state: TrialState,
}

impl Trial {
    /// A trial of a version that was not launched yet.
    #[must_use]
    pub fn new(terms: TrialTerms) -> Trial {
        Trial {
            terms,
            launched: None,
            healthy: None,
            is_up: false,
            failures: 0,
            last_failure: None,
            state: TrialState::Pending,
        }
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self) -> &TrialState {
        &self.state
    }

    /// Whether it was healthy at all by now.
    #[must_use]
    pub fn was_healthy(&self) -> bool {
        self.healthy.is_some()
    }

    /// When [`Trial::tick`] is to be called, if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        if self.state != TrialState::Pending {
            return None;
        }
        match (self.launched, self.healthy) {
            (_, Some(healthy)) => self.is_up.then(|| healthy.plus(PROBATION)),
            (Some(launched), None) => Some(launched.plus(self.terms.start_timeout)),
            (None, None) => None,
        }
    }

    /// Takes note of what happened.
    pub fn happened(&mut self, event: TrialEvent, now: Time) -> &TrialState {
        if self.tick(now) != &TrialState::Pending {
            return &self.state;
        }
        match event {
            TrialEvent::Launched => {
                self.launched.get_or_insert(now);
            }
            TrialEvent::Healthy => {
                self.launched.get_or_insert(now);
                self.healthy.get_or_insert(now);
                self.is_up = true;
                return self.tick(now);
            }
            TrialEvent::Failed(reason) => {
                self.launched.get_or_insert(now);
                self.is_up = false;
                self.failures = self.failures.saturating_add(1);
                if self.failures > self.terms.failures_max {
                    self.state = TrialState::Over(TrialFault::Failures(self.failures, reason));
                } else {
                    self.last_failure = Some(reason);
                }
            }
            TrialEvent::GaveUp(reason) => self.state = TrialState::Over(TrialFault::GaveUp(reason)),
            // Once it was healthy an operator's stop is no reason to doubt it.
            TrialEvent::Stopped if self.healthy.is_some() => self.state = TrialState::Kept,
            TrialEvent::Stopped => *self = Trial::new(self.terms),
        }
        &self.state
    }

    /// Takes note of the time.
    pub fn tick(&mut self, now: Time) -> &TrialState {
        if self.deadline().is_some_and(|deadline| now >= deadline) {
            self.state = match self.healthy {
                Some(_) => TrialState::Kept,
                None => {
                    TrialState::Over(TrialFault::Late(self.terms.start_timeout, self.last_failure.take()))
                }
            };
        }
        &self.state
    }
}

#[cfg(test)]
mod tests {
    use super::TrialEvent::{Failed, GaveUp, Healthy, Launched, Stopped};
    use super::*;

    const TERMS: TrialTerms = TrialTerms { start_timeout: Duration::from_secs(20), failures_max: 2 };

    fn at(seconds: u64) -> Time {
        Time::ZERO.plus(Duration::from_secs(seconds))
    }

    /// How a trial stands after these events, and what its next deadline is.
    fn after(events: &[(u64, TrialEvent)]) -> (TrialState, Option<Time>) {
        let mut trial = Trial::new(TERMS);
        for (seconds, event) in events {
            trial.happened(event.clone(), at(*seconds));
        }
        (trial.state().clone(), trial.deadline())
    }

    fn failed() -> TrialEvent {
        Failed("exit code 1".into())
    }

    #[test]
    fn what_is_healthy_for_a_minute_with_few_failures_is_kept() {
        assert_eq!(after(&[]), (TrialState::Pending, None));
        assert_eq!(after(&[(5, Launched)]), (TrialState::Pending, Some(at(25))));
        let start = [(5, Launched), (9, failed()), (10, Launched), (20, Healthy)];
        assert_eq!(after(&start), (TrialState::Pending, Some(at(80))));
        // What happens at the end of the minute comes too late.
        let mut trial = Trial::new(TERMS);
        for (seconds, event) in start {
            trial.happened(event, at(seconds));
        }
        assert_eq!(*trial.tick(at(79)), TrialState::Pending);
        assert_eq!(*trial.happened(failed(), at(80)), TrialState::Kept);
        assert_eq!(*trial.happened(GaveUp("late".into()), at(81)), TrialState::Kept, "it ends once");
        assert_eq!(trial.deadline(), None);
    }

    /// Else one that is healthy for a moment, and then hangs as it starts, would be kept for that moment.
    #[test]
    fn one_that_is_down_at_the_end_of_its_minute_is_kept_once_it_is_up_again() {
        let moment = [(0, Launched), (1, Healthy), (2, failed()), (3, Launched)];
        let down = || {
            let mut trial = Trial::new(TERMS);
            for (seconds, event) in moment.clone() {
                trial.happened(event, at(seconds));
            }
            assert_eq!((trial.tick(at(1000)).clone(), trial.deadline()), (TrialState::Pending, None));
            trial
        };
        assert_eq!(*down().happened(Healthy, at(1001)), TrialState::Kept);
        let mut trial = down();
        assert_eq!(*trial.happened(failed(), at(1001)), TrialState::Pending);
        let over = TrialState::Over(TrialFault::Failures(3, "exit code 1".into()));
        assert_eq!(*trial.happened(failed(), at(1002)), over);
        // Before the minute is over it is as it was.
        let mut early = Trial::new(TERMS);
        for (seconds, event) in moment {
            early.happened(event, at(seconds));
        }
        early.happened(Healthy, at(30));
        assert_eq!((early.tick(at(60)).clone(), early.deadline()), (TrialState::Pending, Some(at(61))));
    }

    #[test]
    fn what_is_not_healthy_in_time_is_over_with_the_last_reason() {
        let mut trial = Trial::new(TERMS);
        trial.happened(Launched, at(1));
        trial.happened(failed(), at(2));
        trial.happened(Launched, at(3));
        assert_eq!(*trial.tick(at(20)), TrialState::Pending);
        let TrialState::Over(fault) = trial.tick(at(21)).clone() else { panic!() };
        assert_eq!(
            fault.to_string(),
            "it was not healthy within 20s of its launch; its last failure: exit code 1"
        );
        assert_eq!(*trial.happened(Healthy, at(22)), TrialState::Over(fault), "it ends once");
    }

    #[test]
    fn what_fails_too_often_or_is_given_up_is_over() {
        let many = [(0, Launched), (1, Healthy), (10, failed()), (20, failed()), (30, failed())];
        let (state, _) = after(&many);
        assert_eq!(state, TrialState::Over(TrialFault::Failures(3, "exit code 1".into())));
        let (state, _) = after(&many[..4]);
        assert_eq!(state, TrialState::Pending);
        let (state, _) = after(&[(0, Launched), (1, GaveUp("no such file".into()))]);
        assert_eq!(state, TrialState::Over(TrialFault::GaveUp("no such file".into())));
    }

    #[test]
    fn while_it_does_not_run_no_time_counts() {
        let stopped = [(0, Launched), (1, failed()), (2, Stopped)];
        assert_eq!(after(&stopped), (TrialState::Pending, None));
        let again = [(0, Launched), (1, failed()), (2, Stopped), (1000, Launched)];
        assert_eq!(after(&again), (TrialState::Pending, Some(at(1020))));
        // It was healthy: it is kept, however short that was.
        assert_eq!(after(&[(0, Launched), (1, Healthy), (2, Stopped)]).0, TrialState::Kept);
    }

    #[test]
    fn only_the_version_that_was_healthy_last_is_gone_back_to() {
        let key = |major: u32| -> VersionKey { format!("{major}.0.0@0123456789abcdef").parse().unwrap() };
        let mut record = Record::default();
        let mut trial = OnTrial { version: key(3), was_healthy: false, stays: None };
        assert_eq!(way_back(&record, &trial, None), Err(NoWayBack::NeverHealthy));
        record.last_healthy = Some(key(3));
        assert_eq!(way_back(&record, &trial, None), Err(NoWayBack::NeverHealthy), "it was itself");
        // One between was never healthy.
        [1, 2, 3].iter().for_each(|major| record.advance(&key(*major)));
        record.last_healthy = Some(key(1));
        assert_eq!(way_back(&record, &trial, None), Ok(key(1)));
        assert_eq!(way_back(&record, &trial, Some(&"1.0.0".parse().unwrap())), Ok(key(1)));
        let minimum: Version = "1.0.1".parse().unwrap();
        let below = NoWayBack::BelowMinimum(Box::new((key(1), minimum.clone())));
        assert_eq!(way_back(&record, &trial, Some(&minimum)), Err(below));
        record.pinned = Some(key(3));
        assert_eq!(way_back(&record, &trial, None), Err(NoWayBack::Pinned));
        trial.stays = Some(Stays::Manifest);
        assert_eq!(way_back(&record, &trial, None), Err(NoWayBack::Stays(Stays::Manifest)));
    }

    #[test]
    fn the_terms_are_those_of_the_policy() {
        let policy = Policy::default();
        let terms = TrialTerms::of(&policy);
        let steps =
            policy.prepare_timeout + policy.connect_timeout + policy.hello_timeout + policy.ready_timeout;
        assert_eq!((terms.start_timeout, terms.failures_max), (steps, policy.restarts_max));
        let unlimited = Policy { restarts_max: Policy::RESTARTS_UNLIMITED, ..policy };
        assert_eq!(TrialTerms::of(&unlimited).failures_max, Policy::default().restarts_max);
    }
}
