//! The table of settings against the policy it fills, and against the documentation.

use super::settings::{DAEMON, Kind, LOG, Limits, LogSettings, POLICY, SINK, Setting, SinkSettings, Value};
use crate::eventlog::Durability;
use crate::state::policy::{DURATION_MAX, Policy, RestartPolicy, RpcAudit, Transport};
use std::collections::BTreeSet;
use std::time::Duration;

fn row(key: &str) -> &'static Setting<Policy> {
    POLICY.iter().find(|setting| setting.key == key).unwrap()
}

fn set(key: &str, text: &str) -> Result<String, String> {
    let mut policy = Policy::default();
    row(key).set(&mut policy, Value::Text(text)).map(|()| row(key).show(&policy))
}

#[test]
fn flags_are_the_keys_with_hyphens_and_no_two_rows_share_one() {
    let rows: Vec<(&str, &str)> =
        POLICY.iter().map(|s| (s.key, s.flag)).chain(DAEMON.iter().map(|s| (s.key, s.flag))).collect();
    for (key, flag) in &rows {
        assert_eq!(*flag, key.replace('_', "-"));
    }
    assert_eq!(rows.iter().collect::<BTreeSet<_>>().len(), rows.len());
    for setting in LOG {
        assert_eq!(setting.flag, format!("log-{}", setting.key.replace('_', "-")));
    }
}

#[test]
fn every_row_reads_back_what_it_shows() {
    for setting in POLICY {
        let shown = setting.show(&Policy::default());
        let mut policy = Policy::default();
        setting.set(&mut policy, Value::Text(&shown)).unwrap();
        assert_eq!(policy, Policy::default(), "{}", setting.key);
    }
    for setting in DAEMON {
        let mut limits = Limits::default();
        let shown = setting.show(&limits);
        setting.set(&mut limits, Value::Text(&shown)).unwrap();
        assert_eq!(limits, Limits::default(), "{}", setting.key);
    }
    for setting in LOG {
        let mut log = LogSettings::default();
        let shown = setting.show(&log);
        setting.set(&mut log, Value::Text(&shown)).unwrap();
        assert_eq!(log, LogSettings::default(), "{}", setting.key);
    }
    assert_eq!(RpcAudit::ALL.map(|(_, name)| set("rpc_audit", name).unwrap()), ["off", "failures", "all"]);
    assert_eq!(Transport::ALL.map(|(_, name)| set("transport", name).unwrap()), ["unix", "fd", "stdio"]);
    let durability = |text| {
        let mut log = LogSettings::default();
        LOG[0].set(&mut log, Value::Text(text)).map(|()| log.durability)
    };
    assert_eq!(Durability::ALL.map(|(mode, name)| durability(name) == Ok(mode)), [true; 3]);
    assert!(durability("Strict").unwrap_err().contains("none of them"));
    let mut log = LogSettings::default();
    let chain = LOG.iter().find(|setting| setting.key == "chain").unwrap();
    assert_eq!((chain.set(&mut log, Value::Switch(true)), log.chain), (Ok(()), true));
    assert!(chain.set(&mut log, Value::Text("yes")).unwrap_err().contains("neither"));
    assert!(chain.set(&mut log, Value::Integer(1)).unwrap_err().contains("a number"));
    assert_eq!(
        RestartPolicy::ALL.map(|(_, name)| set("restart", name).unwrap()),
        ["always", "on-failure", "never"]
    );
}

/// The row's range is the policy's own: what the row takes at its ends passes the policy's check of
/// that setting, and one step further the policy refuses as the row does.
#[test]
fn the_rows_ranges_are_those_of_the_policy() {
    type Put = fn(&mut Policy, u64);
    let counts: [(&str, Put); 7] = [
        ("heartbeat_misses_max", |p, n| p.heartbeat_misses_max = n as u32),
        ("backoff_jitter_percent", |p, n| p.backoff_jitter_percent = n as u32),
        ("restarts_max", |p, n| p.restarts_max = n as u32),
        ("calls_in_flight_max", |p, n| p.calls_in_flight_max = n as usize),
        ("outbox_bytes_max", |p, n| p.outbox_bytes_max = n as usize),
        ("frame_bytes_max", |p, n| p.frame_bytes_max = n as usize),
        ("output_bytes_per_second_max", |p, n| p.output_bytes_per_second_max = n as usize),
    ];
    let is_number = |kind| matches!(kind, Kind::Count(..) | Kind::CountOr(..) | Kind::Bytes(..));
    let numeric = POLICY.iter().filter(|setting| is_number(setting.kind)).count();
    assert_eq!(numeric, counts.len(), "a row is missing in this test");
    for (key, put) in counts {
        let (Kind::Count(min, max) | Kind::CountOr(min, max, _) | Kind::Bytes(min, max)) = row(key).kind
        else {
            panic!("{key}")
        };
        let is_refused = |number: u64| {
            let mut policy = Policy::default();
            put(&mut policy, number);
            refusal(&policy, key).is_some_and(|problem| problem.contains(" is too "))
        };
        assert!(!is_refused(min) && !is_refused(max), "{key}");
        assert!(is_refused(max + 1), "{key}");
        assert!(min == 0 || is_refused(min - 1), "{key}");
        assert!(set(key, &min.to_string()).is_ok() && set(key, &max.to_string()).is_ok(), "{key}");
        assert!(set(key, &(max + 1).to_string()).unwrap_err().contains("too large"), "{key}");
        assert!(min == 0 || set(key, &(min - 1).to_string()).unwrap_err().contains("too small"), "{key}");
    }
    for setting in POLICY {
        let Kind::Duration { zero } = setting.kind else { continue };
        for (text, allowed) in
            [("0s", zero.is_some()), ("999us", false), ("1ms", true), ("1day", true), ("86401s", false)]
        {
            assert_eq!(set(setting.key, text).is_ok(), allowed, "{} {text}", setting.key);
            // The same value put into the policy past the row.
            let mut policy = Policy::default();
            let duration = humantime::parse_duration(text).unwrap();
            put_unchecked(setting.key, &mut policy, duration);
            let refused = refusal(&policy, setting.key).is_some_and(|problem| {
                ["longer than a day", "shorter than 1ms"].iter().any(|end| problem.ends_with(end))
            });
            assert_eq!(refused, !allowed, "{} {text}", setting.key);
        }
    }
}

/// What the policy's check finds wrong with that setting.
fn refusal(policy: &Policy, setting: &str) -> Option<String> {
    let errors = policy.check().err()?.errors;
    errors.into_iter().find(|error| error.place == setting).map(|error| error.problem)
}

fn put_unchecked(key: &str, policy: &mut Policy, value: Duration) {
    let field = match key {
        "prepare_timeout" => &mut policy.prepare_timeout,
        "connect_timeout" => &mut policy.connect_timeout,
        "hello_timeout" => &mut policy.hello_timeout,
        "ready_timeout" => &mut policy.ready_timeout,
        "heartbeat_interval" => &mut policy.heartbeat_interval,
        "heartbeat_timeout" => &mut policy.heartbeat_timeout,
        "shutdown_grace" => &mut policy.shutdown_grace,
        "term_grace" => &mut policy.term_grace,
        "backoff_initial" => &mut policy.backoff_initial,
        "backoff_max" => &mut policy.backoff_max,
        "healthy_stretch" => &mut policy.healthy_stretch,
        "restart_window" => &mut policy.restart_window,
        "call_timeout" => &mut policy.call_timeout,
        "cancel_grace" => &mut policy.cancel_grace,
        other => panic!("a row is missing in this test: {other}"),
    };
    *field = value;
}

#[test]
fn texts_are_read_as_meant_or_refused_with_a_reason() {
    for (key, text, shown) in [
        ("call_timeout", "200ms", "200ms"),
        ("call_timeout", "15m", "15m"),
        ("call_timeout", "1h 30m", "1h 30m"),
        ("call_timeout", "90s", "1m 30s"),
        ("heartbeat_interval", "0s", "0s"),
        ("outbox_bytes_max", "4MiB", "4MiB"),
        ("outbox_bytes_max", "4 MiB", "4MiB"),
        ("outbox_bytes_max", "4194304", "4MiB"),
        ("outbox_bytes_max", "1025", "1025B"),
        ("outbox_bytes_max", "1025B", "1025B"),
        ("outbox_bytes_max", "0", "0B"),
        ("restarts_max", "7", "7"),
        ("restarts_max", "unlimited", "unlimited"),
    ] {
        assert_eq!(set(key, text).unwrap(), shown, "{key} {text}");
    }
    for (key, text, problem) in [
        ("call_timeout", "", "empty"),
        ("call_timeout", "5", "time unit needed"),
        ("call_timeout", "fast", "expected number"),
        ("call_timeout", "-1s", "expected number"),
        ("call_timeout", "1_s", "invalid character"),
        ("call_timeout", "2d", "longer than a day"),
        ("call_timeout", "99999999999999999999s", "too large"),
        ("call_timeout", &"1s ".repeat(50), "too long"),
        ("outbox_bytes_max", "", "not a number of bytes"),
        ("outbox_bytes_max", "MiB", "not a number of bytes"),
        ("outbox_bytes_max", "-1", "units of bytes"),
        ("outbox_bytes_max", "4MB", "units of bytes"),
        ("outbox_bytes_max", "1.5MiB", "units of bytes"),
        ("outbox_bytes_max", "18446744073709551615GiB", "too large"),
        ("restarts_max", "+7", "not a whole number"),
        ("restarts_max", "Unlimited", "not a whole number"),
        ("restarts_max", "4294967295", "too large"),
        ("restarts_max", "18446744073709551616", "too large"),
        ("restart", "Always", "none of them"),
        ("restart", "\u{1b}[2J", "\\u{1b}"),
    ] {
        let error = set(key, text).unwrap_err();
        assert!(error.contains(problem), "{key} {text:?}: {error}");
    }
    assert!(
        row("call_timeout").set(&mut Policy::default(), Value::Integer(5)).unwrap_err().contains("no unit")
    );
    assert_eq!(DURATION_MAX, Duration::from_secs(86_400), "the table says 1day");
}

/// The rows of the documentation, one a setting.
fn rows<T>(table: &[Setting<T>], defaults: &T) -> Vec<String> {
    let line = |s: &Setting<T>| {
        format!(
            "| `{}` | `--{} {}` | `{}` | {} | {} |",
            s.key,
            s.flag,
            s.placeholder(),
            s.show(defaults),
            s.allowed(),
            s.doc
        )
    };
    table.iter().map(line).collect()
}

#[test]
fn the_documentation_has_every_setting_with_its_default_and_what_is_allowed() {
    let doc = crate::cli::testing::page("docs/configuration.md");
    let mut expected = rows(POLICY, &Policy::default());
    expected.extend(rows(DAEMON, &Limits::default()));
    expected.extend(rows(LOG, &LogSettings::default()));
    // The settings of a sink have no flags.
    let sink = rows(SINK, &SinkSettings::default()).into_iter();
    let with_flags = expected.len();
    expected.extend(sink.map(|row| {
        let (key, rest) = row.split_once(" | `--").unwrap();
        format!("{key} | {}", rest.split_once("` | ").unwrap().1)
    }));
    let missing: Vec<&String> =
        expected.iter().filter(|row| !doc.lines().any(|line| line == row.as_str())).collect();
    let list: Vec<&str> = missing.iter().map(|row| row.as_str()).collect();
    assert!(missing.is_empty(), "docs/configuration.md lacks these lines:\n{}", list.join("\n"));
    let flags = doc.lines().filter(|line| line.starts_with("| `") && line.contains("` | `--")).count();
    assert_eq!(flags, with_flags, "docs/configuration.md has settings that the table lacks");
}
