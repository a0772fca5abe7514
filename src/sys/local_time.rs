//! Local time: what a clock on the wall shows at a moment, and the other way round.
//!
//! What it deliberately does not do: read or print a text. What always holds: the zone is that of this process
//! (`TZ`, else `/etc/localtime`; tzset(3)), with its summer time.
#![allow(unsafe_code, reason = "the zone's rules are libc's, and localtime_r and mktime have no safe form")]

use std::mem::MaybeUninit;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A date and a time of day in local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CivilTime {
    /// The year.
    pub year: i32,
    /// The month, from 1.
    pub month: u32,
    /// The day of the month, from 1.
    pub day: u32,
    /// The hour, from 0.
    pub hour: u32,
    /// The minute.
    pub minute: u32,
    /// The second.
    pub second: u32,
}

/// What the clock shows at that moment; `None` for a moment that the system's calendar cannot hold.
#[must_use]
pub fn civil_of(time: SystemTime) -> Option<CivilTime> {
    let seconds = libc::time_t::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()?;
    let mut tm = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are to values that live throughout the call.
    let made = unsafe { libc::localtime_r(&raw const seconds, tm.as_mut_ptr()) };
    if made.is_null() {
        return None;
    }
    // SAFETY: tm is plain data and a pointer, zeroed at creation and filled by the call, which succeeded.
    civil(&unsafe { tm.assume_init() })
}

/// The moment at which the clock shows that. Where it shows it twice (the end of summer time), one of both; where it never
/// does, an hour beside. `None` for a date that there is not, such as 30 February.
#[must_use]
pub fn time_of(wanted: CivilTime) -> Option<SystemTime> {
    let number = |value: u32| libc::c_int::try_from(value).ok();
    // SAFETY: tm is plain data and a pointer that may be null; every field is valid as zero.
    let mut tm = unsafe { MaybeUninit::<libc::tm>::zeroed().assume_init() };
    tm.tm_year = wanted.year.checked_sub(1900)?;
    tm.tm_mon = number(wanted.month)?.checked_sub(1)?;
    tm.tm_mday = number(wanted.day)?;
    tm.tm_hour = number(wanted.hour)?;
    tm.tm_min = number(wanted.minute)?;
    tm.tm_sec = number(wanted.second)?;
    // Whether it is summer time then is the zone's to say.
    tm.tm_isdst = -1;
    // SAFETY: the pointer is to a value that lives throughout the call.
    let seconds = unsafe { libc::mktime(&raw mut tm) };
    // What there is not was made something else.
    let is_same_day = civil(&tm).is_some_and(|seen| (seen.month, seen.day) == (wanted.month, wanted.day));
    let seconds = u64::try_from(seconds).ok().filter(|_| is_same_day)?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn civil(tm: &libc::tm) -> Option<CivilTime> {
    let number = |value: libc::c_int| u32::try_from(value).ok();
    Some(CivilTime {
        year: tm.tm_year.checked_add(1900)?,
        month: number(tm.tm_mon)?.checked_add(1)?,
        day: number(tm.tm_mday)?,
        hour: number(tm.tm_hour)?,
        minute: number(tm.tm_min)?,
        second: number(tm.tm_sec)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_is_the_same_moment() {
        for seconds in [1_000_000_000, 1_769_860_800, 1_796_000_000] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            let civil = civil_of(time).unwrap();
            assert!((2001..=2026).contains(&civil.year), "{civil:?}");
            assert_eq!(time_of(civil), Some(time));
            assert_eq!(time_of(CivilTime { month: 2, day: 30, ..civil }), None);
            assert_eq!(time_of(CivilTime { month: 0, ..civil }), None);
        }
    }
}
