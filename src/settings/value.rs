//! Values of settings: which kinds there are, how each is read from a text or number, how it is shown.
//!
//! What it deliberately does not do: know any setting.
//!
//! What always holds: a value that was read is within what its kind allows; an error about a value
//! is short and has no control characters, whatever the value.

use crate::state::config_error::quoted;
use crate::state::policy::DURATION_MAX;
use std::fmt;
use std::time::Duration;

/// What kind of value a setting has, and which values are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A text such as `200ms` or `15m`; 1ms to a day.
    Duration {
        /// What `0s` means, where it is allowed.
        zero: Option<&'static str>,
    },
    /// A whole number from the first to the second.
    Count(u64, u64),
    /// The same, or this word.
    CountOr(u64, u64, &'static str),
    /// A number of bytes from the first to the second, or a text such as `4MiB`.
    Bytes(u64, u64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// True or false.
    Switch,
}

/// Any time but none.
pub(crate) const WAIT: Kind = Kind::Duration { zero: None };
/// The word for a number that the daemon chooses by itself.
pub const AUTO: &str = "auto";
/// The word for a count without a limit.
pub const UNLIMITED: &str = "unlimited";

/// A value as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// A JSON string, or the value of a flag.
    Text(&'a str),
    /// A JSON number.
    Integer(u64),
    /// A JSON `true` or `false`.
    Switch(bool),
}

/// A value that its row allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checked {
    Duration(Duration),
    Number(u64),
    Word(&'static str),
    Switch(bool),
}

/// Longest text that is read as a duration. Bytes.
const DURATION_TEXT_BYTES_MAX: usize = 64;

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Duration { zero } => {
                write!(f, "a duration such as \"200ms\" or \"15m\", 1ms to 1day")?;
                zero.map_or(Ok(()), |meaning| write!(f, ", or 0s: {meaning}"))
            }
            Kind::Count(min, max) => write!(f, "a whole number, {min} to {max}"),
            Kind::CountOr(min, max, word) => write!(f, "a whole number, {min} to {max}, or {word}"),
            Kind::Bytes(min, max) => {
                write!(
                    f,
                    "bytes as a number or such as \"4MiB\", {} to {}",
                    show_bytes(*min),
                    show_bytes(*max)
                )
            }
            Kind::Choice(words) => write!(f, "one of {}", words.join(", ")),
            Kind::Switch => write!(f, "true or false"),
        }
    }
}

impl Kind {
    pub(crate) fn check(self, value: Value<'_>) -> Result<Checked, String> {
        match (self, value) {
            (Kind::Duration { zero }, Value::Text(text)) => check_duration(text, zero.is_some()),
            (Kind::Duration { .. }, Value::Integer(number)) => Err(format!("{number} has no unit")),
            (Kind::CountOr(_, _, word), Value::Text(text)) if text == word => Ok(Checked::Word(word)),
            (Kind::Count(min, max) | Kind::CountOr(min, max, _), Value::Integer(number)) => {
                check_range(number, min, max)
            }
            (Kind::Count(min, max) | Kind::CountOr(min, max, _), Value::Text(text)) => {
                check_range(parse_digits(text)?, min, max)
            }
            (Kind::Bytes(min, max), Value::Integer(number)) => check_range(number, min, max),
            (Kind::Bytes(min, max), Value::Text(text)) => check_range(parse_bytes(text)?, min, max),
            (Kind::Choice(words), Value::Text(text)) => words
                .iter()
                .find(|word| **word == text)
                .map(|word| Checked::Word(word))
                .ok_or_else(|| format!("{} is none of them", quoted(text))),
            (Kind::Switch, Value::Switch(switch)) => Ok(Checked::Switch(switch)),
            (Kind::Switch, Value::Text("true")) => Ok(Checked::Switch(true)),
            (Kind::Switch, Value::Text("false")) => Ok(Checked::Switch(false)),
            (Kind::Switch, Value::Text(text)) => Err(format!("{} is neither", quoted(text))),
            (_, Value::Switch(switch)) => Err(format!("is {switch}")),
            (Kind::Choice(_) | Kind::Switch, Value::Integer(number)) => Err(format!("{number} is a number")),
        }
    }
}

fn check_duration(text: &str, zero_allowed: bool) -> Result<Checked, String> {
    // Its parser quotes what it does not know, however long.
    if text.len() > DURATION_TEXT_BYTES_MAX {
        return Err(format!("{} is too long for a duration", quoted(text)));
    }
    let duration = humantime::parse_duration(text).map_err(|error| format!("{}: {error}", quoted(text)))?;
    if duration > DURATION_MAX {
        return Err(format!("{} is longer than a day", quoted(text)));
    }
    if duration.is_zero() && !zero_allowed {
        return Err(format!("{} is no time at all", quoted(text)));
    }
    if !duration.is_zero() && duration < Duration::from_millis(1) {
        return Err(format!("{} is shorter than 1ms", quoted(text)));
    }
    Ok(Checked::Duration(duration))
}

fn check_range(number: u64, min: u64, max: u64) -> Result<Checked, String> {
    if number < min {
        return Err(format!("{number} is too small"));
    }
    if number > max {
        return Err(format!("{number} is too large"));
    }
    Ok(Checked::Number(number))
}

fn parse_digits(text: &str) -> Result<u64, String> {
    // Digits only: u64's own parser would take a leading '+'.
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("{} is not a whole number", quoted(text)));
    }
    text.parse().map_err(|_| format!("{} is too large", quoted(text)))
}

/// Units of bytes, largest first.
const BYTE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

fn parse_bytes(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end).unwrap_or((text, ""));
    let unit = unit.trim_start_matches(' ');
    let factor = match BYTE_UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => *factor,
        None if unit.is_empty() => 1,
        None => return Err(format!("{}: units of bytes are B, KiB, MiB and GiB", quoted(text))),
    };
    let number = parse_digits(digits).map_err(|_| format!("{} is not a number of bytes", quoted(text)))?;
    number.checked_mul(factor).ok_or_else(|| format!("{} is too large", quoted(text)))
}

pub(crate) fn show_bytes(bytes: u64) -> String {
    let unit = BYTE_UNITS.iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    let (name, factor) = unit.unwrap_or(&("B", 1));
    format!("{}{name}", bytes / factor)
}
