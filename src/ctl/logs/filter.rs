//! Which events are wanted.
//!
//! What it deliberately does not do: read files.
//!
//! What always holds: an event of a level that this version does not know is never hidden by `--level`.

use crate::cli::{Args, UsageError, parse_duration};
use crate::ctl::exit::Failure;
use rpc_plugin_record::format_time;
use rpc_plugin_wire::event::{Level, Record};
use std::time::{Duration, SystemTime};

/// Lines stand in the order in which they were handed to the writer, which may differ a little from that of
/// their times. What is older than `--since` by so much ends the search for newer ones.
const DISORDER_MAX: Duration = Duration::from_secs(60);

/// What the flags ask for.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// This level and above.
    level: Option<Level>,
    /// Any of these; none given: any.
    components: Vec<String>,
    events: Vec<String>,
    methods: Vec<String>,
    /// Times as a record has them: in UTC with a fixed width, so that they compare as text.
    since: Option<String>,
    until: Option<String>,
    /// With what is older, the search ends.
    end: Option<String>,
}

impl Filter {
    pub(super) fn new(args: &Args) -> Result<Filter, Failure> {
        let level = match args.text("level")? {
            None => None,
            Some(name) => Some(Level::named(name).ok_or_else(|| {
                args.wrong("level", name, "it is not a level; one of debug, info, warn or error")
            })?),
        };
        let texts = |name: &str| -> Vec<String> {
            args.all(name).map(|value| value.to_string_lossy().into_owned()).collect()
        };
        let now = SystemTime::now();
        let (since, until) = (time_of(args, "since", now)?, time_of(args, "until", now)?);
        if let (Some(since), Some(until)) = (since, until)
            && since > until
        {
            return Err(args.lacking("--until is before --since").into());
        }
        let end = since.map(|since| since.checked_sub(DISORDER_MAX).unwrap_or(SystemTime::UNIX_EPOCH));
        Ok(Filter {
            level,
            components: texts("component"),
            events: texts("event"),
            methods: texts("method"),
            since: since.map(format_time),
            until: until.map(format_time),
            end: end.map(format_time),
        })
    }

    pub(super) fn has_since(&self) -> bool {
        self.since.is_some()
    }

    pub(super) fn matches(&self, record: &Record) -> bool {
        let is_one_of = |wanted: &[String], seen: Option<&str>| {
            wanted.is_empty() || seen.is_some_and(|seen| wanted.iter().any(|wanted| wanted == seen))
        };
        self.level.is_none_or(|least| Level::named(&record.level).is_none_or(|level| level >= least))
            && is_one_of(&self.components, Some(&record.component))
            && is_one_of(&self.events, Some(&record.event))
            && is_one_of(&self.methods, record.method.as_deref())
            && self.since.as_ref().is_none_or(|since| record.time >= *since)
            && self.until.as_ref().is_none_or(|until| record.time <= *until)
    }

    /// Whether what stands before this record is too old.
    pub(super) fn ends_at(&self, record: &Record) -> bool {
        self.end.as_ref().is_some_and(|end| record.time < *end)
    }
}

/// A time on the command line: a duration before now, or a time of RFC 3339.
fn time_of(args: &Args, name: &str, now: SystemTime) -> Result<Option<SystemTime>, UsageError> {
    let Some(text) = args.text(name)? else { return Ok(None) };
    let is_time = text.get(4..5) == Some("-");
    let time = if is_time {
        parse_rfc3339(text)
    } else {
        parse_duration(text).ok().map(|ago| now.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH))
    };
    let why = "write it like 15m, which is before now, or 2026-01-31T12:00:00Z";
    time.map(Some).ok_or_else(|| args.wrong(name, text, why))
}

/// RFC 3339 with any fraction and offset (section 5.6).
fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    let upper = text.to_ascii_uppercase();
    if let Some(local) = upper.strip_suffix('Z') {
        return humantime::parse_rfc3339(&format!("{local}Z")).ok();
    }
    let (local, offset) = upper.split_at_checked(upper.len().checked_sub(6)?)?;
    let sign = offset.get(..1)?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let number = |digits: &str, below: u64| {
        let is_plain = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse::<u64>().ok().filter(|number| is_plain && *number < below)
    };
    let offset = Duration::from_secs(number(hours, 24)? * 3600 + number(minutes, 60)? * 60);
    let local = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    match sign {
        "+" => local.checked_sub(offset),
        "-" => local.checked_add(offset),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_rfc_3339_are_read_with_their_offsets() {
        let table = [
            ("2026-01-31T12:00:00Z", Some("2026-01-31T12:00:00.000Z")),
            ("2026-01-31t12:00:00.25z", Some("2026-01-31T12:00:00.250Z")),
            ("2026-01-31T12:00:00+02:30", Some("2026-01-31T09:30:00.000Z")),
            ("2026-01-31T23:30:00.123456-01:00", Some("2026-02-01T00:30:00.123Z")),
            ("2026-01-31", None),
            ("2026-01-31T12:00:00", None),
            ("2026-01-31T12:00:00+2:00", None),
            ("2026-01-31T12:00:00+24:00", None),
            ("2026-13-31T12:00:00Z", None),
            ("2026-01-31T12:00:00€00", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_rfc3339(text).map(format_time).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_level_hides_what_is_below_it_and_nothing_unknown() {
        let filter = Filter { level: Some(Level::Warn), ..Filter::default() };
        let seen = ["debug", "info", "warn", "error", "fatal"].map(|level| {
            let record = Record { level: level.to_owned(), ..Record::default() };
            filter.matches(&record)
        });
        assert_eq!(seen, [false, false, true, true, true]);
    }
}
