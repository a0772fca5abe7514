//! Times as they stand in a record: RFC 3339 in UTC with milliseconds, always 24 bytes.
//!
//! What it deliberately does not do: other precisions, offsets or leap seconds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 9999-12-31T23:59:59.999Z: RFC 3339 has four digits for the year.
const LAST_MS: u64 = 253_402_300_799_999;
const DAY_MS: u64 = 86_400_000;

/// The time as text. What has no name in RFC 3339 becomes the nearest that has.
#[must_use]
pub fn format_time(at: SystemTime) -> String {
    let mut out = Vec::with_capacity(24);
    write_time(at, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

pub(crate) fn write_time(at: SystemTime, out: &mut Vec<u8>) {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let ms = u64::try_from(since.as_millis()).unwrap_or(LAST_MS).min(LAST_MS);
    let (year, month, day) = date_of(ms / DAY_MS);
    let of_day = ms % DAY_MS;
    digits(out, year, 4);
    out.push(b'-');
    digits(out, month, 2);
    out.push(b'-');
    digits(out, day, 2);
    out.push(b'T');
    digits(out, of_day / 3_600_000, 2);
    out.push(b':');
    digits(out, of_day / 60_000 % 60, 2);
    out.push(b':');
    digits(out, of_day / 1000 % 60, 2);
    out.push(b'.');
    digits(out, of_day % 1000, 3);
    out.push(b'Z');
}

fn digits(out: &mut Vec<u8>, number: u64, count: u32) {
    for place in (0..count).rev() {
        // One decimal digit always fits.
        out.push(b'0' + (number / 10_u64.pow(place) % 10) as u8);
    }
}

/// Reads what [`format_time`] writes; `None` for any other text.
#[must_use]
pub fn parse_time(text: &str) -> Option<SystemTime> {
    let bytes = text.as_bytes();
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (23, b'Z')];
    if bytes.len() != 24 || marks.iter().any(|(at, mark)| bytes.get(*at) != Some(mark)) {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<u64> {
        let part = text.get(from..to)?;
        if part.bytes().all(|b| b.is_ascii_digit()) { part.parse().ok() } else { None }
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second, ms) = (number(11, 13)?, number(14, 16)?, number(17, 19)?, number(20, 23)?);
    let days = days_of(year, month, day)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let of_day = ((hour * 60 + minute) * 60 + second) * 1000 + ms;
    UNIX_EPOCH.checked_add(Duration::from_millis(days * DAY_MS + of_day))
}

/// The date of a day since 1970-01-01 (H. Hinnant, "chrono-compatible low-level date algorithms").
fn date_of(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The day since 1970-01-01 of a date that exists.
fn days_of(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let year_shifted = year - u64::from(month <= 2);
    let (era, year_of_era) = (year_shifted / 400, year_shifted % 400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    let days = (era * 146_097 + of_era).checked_sub(719_468)?;
    // A day that its month does not have comes back as another date.
    (date_of(days) == (year, month, day)).then_some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times_are_written_and_read_back() {
        let table = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_763_769_570_007, "2025-11-21T23:59:30.007Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (LAST_MS, "9999-12-31T23:59:59.999Z"),
        ];
        for (ms, text) in table {
            let at = UNIX_EPOCH + Duration::from_millis(ms);
            assert_eq!(format_time(at), text);
            assert_eq!(parse_time(text), Some(at), "{text}");
        }
        assert_eq!(format_time(UNIX_EPOCH - Duration::from_secs(1)), table[0].1);
        assert_eq!(format_time(UNIX_EPOCH + Duration::from_millis(LAST_MS + 1)), table[5].1);
        for day in 0..3000 * 366 {
            let (year, month, date) = date_of(day);
            assert_eq!(days_of(year, month, date), Some(day));
        }
    }

    #[test]
    fn what_is_no_such_time_is_refused() {
        for text in [
            "",
            "1970-01-01T00:00:00Z",
            "1969-12-31T23:59:59.999Z",
            "2025-02-29T00:00:00.000Z",
            "2025-13-01T00:00:00.000Z",
            "2025-00-01T00:00:00.000Z",
            "2025-01-00T00:00:00.000Z",
            "2025-01-01T24:00:00.000Z",
            "2025-01-01T00:60:00.000Z",
            "2025-01-01T00:00:60.000Z",
            "2025-01-01 00:00:00.000Z",
            "+025-01-01T00:00:00.000Z",
            "2025-01-01T00:00:00.000z",
            "€025-01-01T00:00:00.00Z",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}
