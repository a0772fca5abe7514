//! Times on a command line.
//!
//! What it deliberately does not do: know the zone or the time; both are handed in.
//!
//! What always holds: a text means one moment or none. Without a date, it is the last time that the clock showed that.

use crate::cli::parse_duration;
use crate::sys::local_time::CivilTime;
use std::time::{Duration, SystemTime};

/// How to write a time.
pub(super) const ALLOWED: &str = "write it like 15m, which is before now, or in local time like 22:00, today, yesterday, 2026-01-31 or \
                                  '2026-01-31 22:00', or like 2026-01-31T12:00:00Z";
const DAY: Duration = Duration::from_secs(86_400);

/// A zone: what its clocks show, and when they show it.
pub(super) struct Zone<'a> {
    pub(super) civil_of: &'a dyn Fn(SystemTime) -> Option<CivilTime>,
    pub(super) time_of: &'a dyn Fn(CivilTime) -> Option<SystemTime>,
}

/// A time: a duration before now, a word, a date and time of RFC 3339, or a date, a time of day or both in local time.
pub(super) fn parse(text: &str, now: SystemTime, zone: &Zone<'_>) -> Option<SystemTime> {
    let text = text.trim();
    let today = || {
        let civil = (zone.civil_of)(now)?;
        Some(CivilTime { hour: 0, minute: 0, second: 0, ..civil })
    };
    match &*text.to_ascii_lowercase() {
        "now" => return Some(now),
        "today" => return (zone.time_of)(today()?),
        "yesterday" => return day_before(today()?, zone),
        _ => {}
    }
    if text.get(4..5) != Some("-") && !text.contains(':') {
        let ago = parse_duration(text).ok()?;
        return Some(now.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH));
    }
    if let Some(time) = parse_rfc3339(text) {
        return Some(time);
    }
    let (date, clock) = match text.split_once([' ', 'T', 't']) {
        Some((date, clock)) => (Some(date), Some(clock.trim_start())),
        None if text.contains(':') => (None, Some(text)),
        None => (Some(text), None),
    };
    let day = date.map_or_else(today, date_of)?;
    let (hour, minute, second) = clock.map_or(Some((0, 0, 0)), clock_of)?;
    let at = CivilTime { hour, minute, second, ..day };
    let time = (zone.time_of)(at)?;
    if date.is_some() || time <= now {
        return Some(time);
    }
    // Today it has not been that late yet.
    let before = (zone.civil_of)(day_before(day, zone)?)?;
    (zone.time_of)(CivilTime { hour, minute, second, ..before })
}

/// The beginning of the day before. Days have 23 to 25 hours.
fn day_before(midnight: CivilTime, zone: &Zone<'_>) -> Option<SystemTime> {
    let noon = (zone.time_of)(CivilTime { hour: 12, ..midnight })?;
    let before = (zone.civil_of)(noon.checked_sub(DAY)?)?;
    (zone.time_of)(CivilTime { hour: 0, minute: 0, second: 0, ..before })
}

fn date_of(text: &str) -> Option<CivilTime> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let is_whole = parts.next().is_none() && year.len() == 4;
    let year = i32::try_from(number(year, 9999)?).ok()?;
    let (month, day) = (number(month, 12)?, number(day, 31)?);
    is_whole.then_some(CivilTime { year, month, day, hour: 0, minute: 0, second: 0 })
}

/// `HH:MM` or `HH:MM:SS`.
fn clock_of(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.split(':');
    let (hour, minute) = (number(parts.next()?, 23)?, number(parts.next()?, 59)?);
    let second = parts.next().map_or(Some(0), |second| number(second, 59))?;
    parts.next().is_none().then_some((hour, minute, second))
}

fn number(digits: &str, max: u32) -> Option<u32> {
    let is_plain = !digits.is_empty() && digits.len() <= 4 && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse::<u32>().ok().filter(|number| is_plain && *number <= max)
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
    let two_digits = |digits: &str, max| number(digits, max).filter(|_| digits.len() == 2);
    let minutes = two_digits(hours, 23)? * 60 + two_digits(minutes, 59)?;
    let offset = Duration::from_secs(u64::from(minutes) * 60);
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
    use rpc_plugin_record::format_time;

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
    fn local_times_are_those_of_the_zone() {
        // Clocks one hour ahead of UTC, all the year.
        let hour = Duration::from_secs(3600);
        let civil_of = |time: SystemTime| {
            let text = format_time(time + hour);
            let part = |from: usize, to: usize| text[from..to].parse::<u32>().unwrap();
            let year = text[..4].parse().unwrap();
            let (hour, minute, second) = (part(11, 13), part(14, 16), part(17, 19));
            Some(CivilTime { year, month: part(5, 7), day: part(8, 10), hour, minute, second })
        };
        let time_of = |civil: CivilTime| {
            let CivilTime { year, month, day, hour: hours, minute, second } = civil;
            let text = format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minute:02}:{second:02}Z");
            parse_rfc3339(&text).map(|time| time - hour)
        };
        let zone = Zone { civil_of: &civil_of, time_of: &time_of };
        // 21:30 on the wall.
        let now = parse_rfc3339("2026-03-01T20:30:00Z").unwrap();
        let table = [
            ("15m", Some("2026-03-01T20:15:00.000Z")),
            ("now", Some("2026-03-01T20:30:00.000Z")),
            ("today", Some("2026-02-28T23:00:00.000Z")),
            ("Yesterday", Some("2026-02-27T23:00:00.000Z")),
            ("21:30", Some("2026-03-01T20:30:00.000Z")),
            ("9:05:07", Some("2026-03-01T08:05:07.000Z")),
            ("22:00", Some("2026-02-28T21:00:00.000Z")),
            ("2026-03-01", Some("2026-02-28T23:00:00.000Z")),
            ("2026-03-01 22:00", Some("2026-03-01T21:00:00.000Z")),
            ("2026-03-01T22:00:01", Some("2026-03-01T21:00:01.000Z")),
            ("2026-03-01T22:00:01Z", Some("2026-03-01T22:00:01.000Z")),
            ("24:00", None),
            ("22:60", None),
            ("22:00:00:00", None),
            ("2026-13-01", None),
            ("2026-02-30", None),
            ("2026-3", None),
            ("2026-03-01 22", None),
            ("tomorrow", None),
            ("15", None),
            ("+1:00", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text, now, &zone).map(format_time).as_deref(), expected, "{text}");
        }
    }
}
