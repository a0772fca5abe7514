//! Which events are wanted.
//!
//! What it deliberately does not do: read files.
//!
//! What always holds: an event of a level that this version does not know is never hidden by `--level`.

use super::names;
use super::when::{self, Zone};
use crate::cli::{Args, UsageError};
use crate::ctl::exit::Failure;
use crate::sys::local_time;
use rpc_plugin_record::format_time;
use rpc_plugin_wire::Generation;
use rpc_plugin_wire::event::{Level, Record};
use std::ffi::OsStr;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

/// Lines stand in the order in which they were handed to the writer, which may differ a little from that of
/// their times. What is older than `--since` by so much ends the search for newer ones.
const DISORDER_MAX: Duration = Duration::from_secs(60);

/// A level in any case; `warning` and `err` are what syslog calls two of them.
fn level_of(name: &str) -> Option<Level> {
    match &*name.to_ascii_lowercase() {
        "warning" => Some(Level::Warn),
        "err" => Some(Level::Error),
        name => Level::named(name),
    }
}

/// What the flags ask for.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// This level and above.
    level: Option<Level>,
    /// Any of these; none given: any.
    components: Vec<String>,
    events: Vec<String>,
    methods: Vec<String>,
    generations: Vec<u64>,
    pids: Vec<u32>,
    /// All of these have to be in it.
    needles: Vec<Needle>,
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
            Some(name) => Some(level_of(name).ok_or_else(|| {
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
        let is_plugins_own = args.text("source")? == Some("plugin");
        let (mut components, mut events) = (texts("component"), texts("event"));
        if !is_plugins_own {
            for name in &mut components {
                *name =
                    names::component_of(name).map_err(|why| args.wrong("component", name, &why))?.to_owned();
            }
            let known = |name: &String| names::events_of(name).map_err(|why| args.wrong("event", name, &why));
            let found: Vec<Vec<&str>> = events.iter().map(known).collect::<Result<_, _>>()?;
            events = found.into_iter().flatten().map(str::to_owned).collect();
        }
        Ok(Filter {
            level,
            components,
            events,
            generations: numbers(args, "generation")?,
            pids: numbers(args, "pid")?,
            needles: texts("grep").iter().map(|text| Needle::new(text)).collect(),
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
        self.level.is_none_or(|least| Level::named(&record.level).is_none_or(|level| level >= least))
            && is_none_or_has(&self.components, Some(&record.component))
            && is_none_or_has(&self.events, Some(&record.event))
            && is_none_or_has(&self.methods, record.method.as_ref())
            && is_none_or_has(&self.generations, record.generation_id.map(Generation::get).as_ref())
            && is_none_or_has(&self.pids, record.pid.as_ref())
            && self.needles.iter().all(|needle| needle.is_said_by(record))
            && self.since.as_ref().is_none_or(|since| record.time >= *since)
            && self.until.as_ref().is_none_or(|until| record.time <= *until)
    }

    /// Whether what stands before this record is too old.
    pub(super) fn ends_at(&self, record: &Record) -> bool {
        self.end.as_ref().is_some_and(|end| record.time < *end)
    }
}

fn is_none_or_has<T: PartialEq>(wanted: &[T], seen: Option<&T>) -> bool {
    wanted.is_empty() || seen.is_some_and(|seen| wanted.contains(seen))
}

/// Every value of a flag that takes numbers.
fn numbers<T: FromStr>(args: &Args, name: &str) -> Result<Vec<T>, UsageError> {
    let number = |value: &OsStr| {
        let text = value.to_string_lossy();
        text.parse::<T>().map_err(|_| args.wrong(name, &text, "it is not a number"))
    };
    args.all(name).map(number).collect()
}

/// A time on the command line, in the zone of this process.
fn time_of(args: &Args, name: &str, now: SystemTime) -> Result<Option<SystemTime>, UsageError> {
    let Some(text) = args.text(name)? else { return Ok(None) };
    let zone = Zone { civil_of: &local_time::civil_of, time_of: &local_time::time_of };
    when::parse(text, now, &zone).map(Some).ok_or_else(|| args.wrong(name, text, when::ALLOWED))
}

/// A text that is looked for as it is; where it has no capital letter, whatever the case (as journalctl does).
#[derive(Debug)]
struct Needle {
    text: String,
    ignores_case: bool,
}

impl Needle {
    fn new(text: &str) -> Needle {
        Needle { text: text.to_owned(), ignores_case: !text.chars().any(char::is_uppercase) }
    }

    fn is_in(&self, text: &str) -> bool {
        if self.ignores_case { text.to_lowercase().contains(&self.text) } else { text.contains(&self.text) }
    }

    /// Whether it is in what the record says, not in names of members.
    fn is_said_by(&self, record: &Record) -> bool {
        let texts = [&record.error, &record.reason, &record.method, &record.error_class];
        let details = record.details.as_ref().map(|details| details.get());
        let mut texts = texts.into_iter().flatten().map(String::as_str).chain(details);
        self.is_in(&record.message) || self.is_in(&record.event) || texts.any(|text| self.is_in(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_hides_what_is_below_it_and_nothing_unknown() {
        let filter = Filter { level: Some(Level::Warn), ..Filter::default() };
        let seen = ["debug", "info", "warn", "error", "fatal"].map(|level| {
            let record = Record { level: level.to_owned(), ..Record::default() };
            filter.matches(&record)
        });
        assert_eq!(seen, [false, false, true, true, true]);
    }

    #[test]
    fn a_text_is_looked_for_in_what_is_said() {
        let record = |message: &str, details: &str| Record {
            message: message.to_owned(),
            details: serde_json::value::RawValue::from_string(details.to_owned()).ok(),
            reason: Some("Restart".to_owned()),
            ..Record::default()
        };
        let found = |text: &str, record: &Record| Needle::new(text).is_said_by(record);
        let one = record("It Panicked", r#"{"stderr_tail":["No space left"]}"#);
        for (text, expected) in [
            ("panicked", true),
            ("Panicked", true),
            ("PANICKED", false),
            ("no space", true),
            ("restart", true),
            ("x.z", false),
        ] {
            assert_eq!(found(text, &one), expected, "{text}");
        }
        assert!(
            found("a.b", &record("a.b", "{}")) && !found("a.b", &record("axb", "{}")),
            "it is no pattern"
        );
    }

    #[test]
    fn levels_are_known_in_any_case() {
        let levels = ["WARN", "Warning", "err", "INFO"].map(level_of);
        assert_eq!(levels, [Some(Level::Warn), Some(Level::Warn), Some(Level::Error), Some(Level::Info)]);
        assert_eq!(level_of("loud"), None);
    }
}
