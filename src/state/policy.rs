//! What an operator may decide about a plugin: how long to wait, how often to try, how much to take.
//!
//! What this file is for: the numbers, their defaults, and the refusal of settings that contradict
//! each other. What it deliberately does not do: read files or flags; `daemon/` does.
//!
//! What always holds: a [`Policy`] that passed [`Policy::check`] contains no limit that can never be
//! reached and no wait without an end.

use super::config_error::ConfigErrors;
use super::confine::Confine;
use rpc_plugin_wire::limits::{FRAME_BYTES_MAX_DEFAULT, FRAME_BYTES_MAX_RANGE};
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// When a plugin that ended by itself is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestartPolicy {
    /// Whenever it ended.
    Always,
    /// When it did not end with exit status 0.
    OnFailure,
    /// It is not replaced.
    Never,
}

impl RestartPolicy {
    /// Every policy with its name in configurations.
    pub const ALL: [(RestartPolicy, &'static str); 3] = [
        (RestartPolicy::Always, "always"),
        (RestartPolicy::OnFailure, "on-failure"),
        (RestartPolicy::Never, "never"),
    ];
}

impl FromStr for RestartPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        RestartPolicy::ALL
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(policy, _)| *policy)
            .ok_or_else(|| format!("{text:?} is not a restart policy; one of always, on-failure, never"))
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            RestartPolicy::Always => "always",
            RestartPolicy::OnFailure => "on-failure",
            RestartPolicy::Never => "never",
        })
    }
}

/// Which calls of a plugin are put on record. Never their params or results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RpcAudit {
    /// No call.
    Off,
    /// Those that fail.
    #[default]
    Failures,
    /// Each, when it is sent and when it ends.
    All,
}

impl RpcAudit {
    /// Every choice with its name in configurations.
    pub const ALL: [(RpcAudit, &'static str); 3] =
        [(RpcAudit::Off, "off"), (RpcAudit::Failures, "failures"), (RpcAudit::All, "all")];
}

/// How a plugin is reached (protocol section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Transport {
    /// It connects to a socket of its own in the runtime folder.
    #[default]
    Unix,
    /// It inherits its connection as a descriptor.
    Fd,
    /// Its standard input and output are the connection. It may run elsewhere, behind a command such as ssh.
    Stdio,
}

impl Transport {
    /// Every transport with its name in configurations.
    pub const ALL: [(Transport, &'static str); 3] =
        [(Transport::Unix, "unix"), (Transport::Fd, "fd"), (Transport::Stdio, "stdio")];

    /// Its name in configurations.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Unix => "unix",
            Transport::Fd => "fd",
            Transport::Stdio => "stdio",
        }
    }
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Transport::ALL.iter().find(|(_, name)| *name == text);
        found
            .map(|(transport, _)| *transport)
            .ok_or_else(|| format!("{text:?} is not a transport; one of unix, fd, stdio"))
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Everything an operator may decide about one plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct Policy {
    /// When to replace it.
    pub restart: RestartPolicy,
    /// From when a thread begins with its launch until that is prepared, and then until it is executed.
    pub prepare_timeout: Duration,
    /// From launch until it connected.
    pub connect_timeout: Duration,
    /// From its connection until the whole hello is there.
    pub hello_timeout: Duration,
    /// From its hello until its capabilities and first good heartbeat are there.
    pub ready_timeout: Duration,
    /// Between heartbeats; zero is never.
    pub heartbeat_interval: Duration,
    /// How long one heartbeat may take.
    pub heartbeat_timeout: Duration,
    /// Heartbeats in a row that may be missed, or may report `unhealthy`, before it is replaced.
    pub heartbeat_misses_max: u32,
    /// From the shutdown request until SIGTERM.
    pub shutdown_grace: Duration,
    /// From SIGTERM until SIGKILL.
    pub term_grace: Duration,
    /// The first wait before a replacement that is not immediate; doubles with each failure in a row.
    pub backoff_initial: Duration,
    /// The longest wait.
    pub backoff_max: Duration,
    /// How far a wait may deviate at random, up or down. Percent, 0 to 50.
    pub backoff_jitter_percent: u32,
    /// A generation that was healthy this long ends a row of failures.
    pub healthy_stretch: Duration,
    /// Replacements within `restart_window` before the plugin is given up; [`Policy::RESTARTS_UNLIMITED`]: never.
    pub restarts_max: u32,
    /// See `restarts_max`.
    pub restart_window: Duration,
    /// Deadline of a call that names none.
    pub call_timeout: Duration,
    /// How long an unanswered call may stay so after the longer of its deadline and `call_timeout`, before the connection
    /// counts as poisoned.
    pub cancel_grace: Duration,
    /// Calls that wait for an answer at once; a further one is `overloaded`.
    pub calls_in_flight_max: usize,
    /// Bytes that wait to be written to the plugin; a call that does not fit is `overloaded`.
    pub outbox_bytes_max: usize,
    /// Largest frame. Bytes.
    pub frame_bytes_max: usize,
    /// Which calls are put on record.
    pub rpc_audit: RpcAudit,
    /// How much of what it prints goes on record: bytes per second, of each of its two streams; an event counts
    /// 512 more than its text. What comes faster is dropped and counted.
    pub output_bytes_per_second_max: usize,
    /// How it is reached.
    pub transport: Transport,
    /// How far the kernel confines its process.
    pub confine: Confine,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            restart: RestartPolicy::Always,
            prepare_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            hello_timeout: Duration::from_secs(5),
            ready_timeout: Duration::from_secs(10),
            heartbeat_interval: Duration::from_secs(2),
            heartbeat_timeout: Duration::from_secs(1),
            heartbeat_misses_max: 3,
            shutdown_grace: Duration::from_secs(3),
            term_grace: Duration::from_secs(2),
            backoff_initial: Duration::from_millis(200),
            backoff_max: Duration::from_secs(30),
            backoff_jitter_percent: 20,
            healthy_stretch: Duration::from_secs(10),
            restarts_max: 5,
            restart_window: Duration::from_secs(60),
            call_timeout: Duration::from_secs(30),
            cancel_grace: Duration::from_secs(2),
            calls_in_flight_max: 4096,
            outbox_bytes_max: 16 * 1024 * 1024,
            frame_bytes_max: FRAME_BYTES_MAX_DEFAULT,
            rpc_audit: RpcAudit::Failures,
            output_bytes_per_second_max: 1024 * 1024,
            transport: Transport::Unix,
            confine: Confine::default(),
        }
    }
}

/// What [`Policy::output_bytes_per_second_max`] may be.
pub const OUTPUT_BYTES_RANGE: RangeInclusive<usize> = 1024..=1 << 30;

/// The longest duration a policy may name: a day. Keeps sums of deadlines far from overflow.
pub const DURATION_MAX: Duration = Duration::from_secs(86_400);

impl Policy {
    /// For `restarts_max`: a plugin that fails is replaced for ever, at the pauses of its backoff.
    pub const RESTARTS_UNLIMITED: u32 = u32::MAX;

    /// Changes what differs: `Policy::default().with(|policy| policy.restart = RestartPolicy::Never)`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Policy)) -> Policy {
        change(&mut self);
        self
    }

    /// Refuses settings that are out of range or contradict each other.
    ///
    /// # Errors
    /// Every setting at fault, by its name in [`Policy`].
    pub fn check(&self) -> Result<(), ConfigErrors> {
        let mut errors = ConfigErrors::default();
        self.check_into(&mut errors);
        errors.into_result()
    }

    /// Adds what is wrong. Whether settings contradict each other is looked at only where each is in its range.
    pub(super) fn check_into(&self, errors: &mut ConfigErrors) {
        let before = errors.count();
        self.check_ranges(errors);
        if errors.count() == before {
            self.check_together(errors);
        }
    }

    fn check_ranges(&self, errors: &mut ConfigErrors) {
        let durations = [
            ("prepare_timeout", self.prepare_timeout, false),
            ("connect_timeout", self.connect_timeout, false),
            ("hello_timeout", self.hello_timeout, false),
            ("ready_timeout", self.ready_timeout, false),
            ("heartbeat_interval", self.heartbeat_interval, true),
            ("heartbeat_timeout", self.heartbeat_timeout, false),
            ("shutdown_grace", self.shutdown_grace, true),
            ("term_grace", self.term_grace, true),
            ("backoff_initial", self.backoff_initial, false),
            ("backoff_max", self.backoff_max, false),
            ("healthy_stretch", self.healthy_stretch, false),
            ("restart_window", self.restart_window, false),
            ("call_timeout", self.call_timeout, false),
            ("cancel_grace", self.cancel_grace, false),
        ];
        for (setting, value, zero_allowed) in durations {
            let allowed = if zero_allowed { "1ms to 1day, or 0s" } else { "1ms to 1day" };
            if value > DURATION_MAX {
                errors.add(setting, format!("{value:?} is longer than a day"), allowed);
            }
            if value < Duration::from_millis(1) && !(zero_allowed && value.is_zero()) {
                errors.add(setting, format!("{value:?} is shorter than 1ms"), allowed);
            }
        }
        let counts = [
            ("heartbeat_misses_max", self.heartbeat_misses_max as usize, 1..=1000),
            ("backoff_jitter_percent", self.backoff_jitter_percent as usize, 0..=50),
            ("restarts_max", if self.has_restarts_max() { self.restarts_max as usize } else { 0 }, 0..=1000),
            ("calls_in_flight_max", self.calls_in_flight_max, 1..=1 << 20),
            ("frame_bytes_max", self.frame_bytes_max, FRAME_BYTES_MAX_RANGE),
            ("outbox_bytes_max", self.outbox_bytes_max, 0..=1 << 30),
            ("output_bytes_per_second_max", self.output_bytes_per_second_max, OUTPUT_BYTES_RANGE),
        ];
        for (setting, value, range) in counts {
            if !range.contains(&value) {
                let size = if value < *range.start() { "small" } else { "large" };
                errors.add(
                    setting,
                    format!("{value} is too {size}"),
                    format!("{} to {}", range.start(), range.end()),
                );
            }
        }
    }

    fn check_together(&self, errors: &mut ConfigErrors) {
        if !self.heartbeat_interval.is_zero() && self.heartbeat_timeout > self.heartbeat_interval {
            errors.add_together(
                "heartbeat_timeout",
                &["heartbeat_interval"],
                format!(
                    "{:?} is longer than heartbeat_interval ({:?}); a heartbeat must end before the next",
                    self.heartbeat_timeout, self.heartbeat_interval
                ),
                "heartbeat_timeout not longer than heartbeat_interval, or heartbeat_interval 0s",
            );
        }
        if self.outbox_bytes_max < self.frame_bytes_max + 1 {
            errors.add_together(
                "outbox_bytes_max",
                &["frame_bytes_max"],
                format!(
                    "{} does not hold one frame of frame_bytes_max ({}) and its line end",
                    self.outbox_bytes_max, self.frame_bytes_max
                ),
                "outbox_bytes_max larger than frame_bytes_max",
            );
        }
        if self.backoff_initial > self.backoff_max {
            errors.add_together(
                "backoff_initial",
                &["backoff_max"],
                format!("{:?} is longer than backoff_max ({:?})", self.backoff_initial, self.backoff_max),
                "backoff_initial not longer than backoff_max",
            );
            // The rule about restarts takes these two for granted.
            return;
        }
        let quickest = self.quickest_give_up();
        let has_limit = self.restart != RestartPolicy::Never && self.has_restarts_max();
        if has_limit && quickest >= self.restart_window {
            errors.add_together(
                "restarts_max",
                &["restart_window", "backoff_initial", "backoff_max", "backoff_jitter_percent", "restart"],
                format!(
                    "can never be reached: with this backoff {} restarts take at least {quickest:?}, \
                     and restart_window is {:?}; allow fewer restarts, a shorter backoff or a longer window",
                    self.restarts_max, self.restart_window
                ),
                "restarts_max restarts possible within restart_window, with the waits of backoff_initial, \
                 backoff_max and backoff_jitter_percent",
            );
        }
    }

    /// The wait before the replacement that follows the `failures_in_row`th failure, before jitter.
    /// `was_stable`: the generation that ended had been healthy for `healthy_stretch`.
    #[must_use]
    pub fn backoff(&self, failures_in_row: u32, was_stable: bool) -> Duration {
        if was_stable {
            return Duration::ZERO;
        }
        let doublings = failures_in_row.saturating_sub(1).min(31);
        self.backoff_initial.saturating_mul(1 << doublings).min(self.backoff_max)
    }

    /// The same with jitter: `chance` is uniform in 0..=u32::MAX.
    #[must_use]
    pub fn backoff_jittered(&self, failures_in_row: u32, was_stable: bool, chance: u32) -> Duration {
        let base = self.backoff(failures_in_row, was_stable);
        // From -percent to +percent, in parts per 2^32 of the range.
        let low = base.saturating_mul(100 - self.backoff_jitter_percent.min(100)) / 100;
        let span = base.saturating_mul(2 * self.backoff_jitter_percent) / 100;
        low.saturating_add(span.mul_f64(f64::from(chance) / f64::from(u32::MAX)))
    }

    /// The least time in which `restarts_max` can be exceeded, when every launch fails at once.
    fn quickest_give_up(&self) -> Duration {
        (1..=self.restarts_max.min(1000))
            .map(|failures| self.backoff_jittered(failures, false, 0))
            .fold(Duration::ZERO, Duration::saturating_add)
    }

    /// Whether a plugin is given up after so many replacements.
    #[must_use]
    pub fn has_restarts_max(&self) -> bool {
        self.restarts_max != Policy::RESTARTS_UNLIMITED
    }

    /// From the decision to end a plugin until SIGKILL.
    #[must_use]
    pub fn stop_timeout(&self) -> Duration {
        self.shutdown_grace.saturating_add(self.term_grace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_allowed() {
        Policy::default().check().unwrap();
    }

    #[test]
    fn contradictions_are_refused_by_name() {
        type Change = fn(&mut Policy);
        let table: [(&str, Change); 10] = [
            ("heartbeat_timeout", |p| p.heartbeat_timeout = Duration::from_secs(3)),
            ("backoff_initial", |p| p.backoff_initial = Duration::from_secs(31)),
            ("outbox_bytes_max", |p| p.outbox_bytes_max = 1000),
            ("restarts_max", |p| p.restarts_max = 100),
            ("call_timeout", |p| p.call_timeout = Duration::ZERO),
            ("term_grace", |p| p.term_grace = Duration::from_secs(86_401)),
            ("backoff_jitter_percent", |p| p.backoff_jitter_percent = 51),
            ("frame_bytes_max", |p| p.frame_bytes_max = 1),
            ("heartbeat_misses_max", |p| p.heartbeat_misses_max = 0),
            ("output_bytes_per_second_max", |p| p.output_bytes_per_second_max = 0),
        ];
        for (setting, change) in table {
            let mut policy = Policy::default();
            change(&mut policy);
            let errors = policy.check().unwrap_err();
            let places: Vec<&str> = errors.errors.iter().map(|error| &*error.place).collect();
            assert_eq!(places, [setting], "{errors}");
        }
    }

    #[test]
    fn every_contradiction_is_told_and_names_settings_that_are_there() {
        let policy = Policy {
            heartbeat_interval: Duration::from_millis(10),
            frame_bytes_max: 16 << 20,
            restart_window: Duration::from_secs(1),
            ..Policy::default()
        };
        let errors = policy.check().unwrap_err().errors;
        let places: Vec<&str> = errors.iter().map(|error| &*error.place).collect();
        assert_eq!(places, ["heartbeat_timeout", "outbox_bytes_max", "restarts_max"]);
        let fields = format!("{policy:?}");
        for name in errors.iter().flat_map(|error| error.with) {
            assert!(fields.contains(&format!("{name}: ")), "{name}");
        }
    }

    #[test]
    fn backoff_doubles_up_to_its_cap_and_jitters_within_bounds() {
        let policy = Policy::default();
        let ms = |failures| policy.backoff(failures, false).as_millis();
        assert_eq!((ms(1), ms(2), ms(3), ms(20), ms(u32::MAX)), (200, 400, 800, 30_000, 30_000));
        assert_eq!(policy.backoff(5, true), Duration::ZERO);
        assert_eq!(policy.backoff_jittered(1, false, 0), Duration::from_millis(160));
        assert_eq!(policy.backoff_jittered(1, false, u32::MAX), Duration::from_millis(240));
        assert_eq!(policy.backoff_jittered(9, true, u32::MAX), Duration::ZERO);
    }
}
