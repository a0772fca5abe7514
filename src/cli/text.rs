//! Text that is safe to print, and a little colour.
//!
//! What this file is for: whatever a plugin, a peer or a file said goes through [`escape`] before a
//! terminal sees it (CVE-2023-28486: terminal escape codes through logs). JSON goes through
//! [`escape_json`], which keeps its meaning. What it deliberately does not do: write anywhere.

pub use rpc_plugin_record::escape;
pub use rpc_plugin_wire::phrase::{after_colon, count};

use rpc_plugin_record::escape_with;
use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::time::Duration;

/// The same JSON value on one line, unsafe characters as `\uNNNN`.
///
/// `json` is valid JSON, where control characters below U+0020 stand only between tokens (RFC 8259
/// section 7) and become spaces; all others stand only in strings.
#[must_use]
pub fn escape_json(json: &str) -> Cow<'_, str> {
    escape_with(json, |out, c| {
        if c < ' ' {
            out.push(' ');
        } else {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        }
    })
}

/// The text cut to `chars_max` characters, the last of them `...` where something is missing: not every terminal has more
/// than ASCII.
#[must_use]
pub fn shorten(text: &str, chars_max: usize) -> Cow<'_, str> {
    if text.chars().nth(chars_max).is_none() {
        return Cow::Borrowed(text);
    }
    let kept: String = text.chars().take(chars_max.saturating_sub(3)).collect();
    Cow::Owned(kept + "...")
}

/// The text cut to `chars_max` characters at its beginning, the first of them `...` where something is missing: of a chain
/// of causes, the last is kept. It begins with a clause where that costs less than half, and a question at its end, which is
/// advice, goes first.
#[must_use]
pub fn shorten_front(text: &str, chars_max: usize) -> Cow<'_, str> {
    let mut text = text;
    while text.chars().nth(chars_max).is_some()
        && let Some((rest, _)) = text.rsplit_once("; ").filter(|(_, last)| last.ends_with('?'))
    {
        text = rest;
    }
    let chars = text.chars().count();
    if chars <= chars_max {
        return Cow::Borrowed(text);
    }
    let kept = chars_max.saturating_sub(3);
    let start = text.char_indices().nth(chars - kept).map_or(text.len(), |(at, _)| at);
    let ends = |mark: &'static str| text.match_indices(mark).map(move |(at, _)| at + mark.len());
    let clauses = ["; ", ": ", " | "].into_iter().flat_map(ends).filter(|at| *at >= start);
    // A line that ended with a colon is followed by the next one's mark.
    let clauses = clauses.filter(|at| text.get(*at..).is_some_and(|rest| !rest.starts_with("| ")));
    let clause = clauses.min().filter(|at| at - start < (text.len() - start) / 2).unwrap_or(start);
    Cow::Owned(format!("...{}", text.get(clause..).unwrap_or_default()))
}

/// How something is meant to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// As it is.
    #[default]
    Plain,
    /// Headings and names.
    Strong,
    /// All is well.
    Good,
    /// Something is not as it should be.
    Warn,
    /// Something failed.
    Bad,
    /// Of less interest.
    Faint,
}

impl Style {
    /// The escape sequence that begins it (ECMA-48 SGR).
    fn sgr(self) -> &'static str {
        match self {
            Style::Plain => "",
            Style::Strong => "\x1b[1m",
            Style::Good => "\x1b[32m",
            Style::Warn => "\x1b[33m",
            Style::Bad => "\x1b[31m",
            Style::Faint => "\x1b[2m",
        }
    }
}

/// Appends `text`, escaped, in that style if `colour` is wanted.
pub fn paint(out: &mut String, text: &str, style: Style, colour: bool) {
    let sgr = if colour { style.sgr() } else { "" };
    out.push_str(sgr);
    out.push_str(&escape(text));
    if !sgr.is_empty() {
        out.push_str("\x1b[0m");
    }
}

/// Whether to use colour: on a terminal that is not `dumb`, unless the operator set `NO_COLOR`
/// (no-color.org: present and not empty).
#[must_use]
pub fn colour_wanted(is_terminal: bool, env: &dyn Fn(&str) -> Option<OsString>) -> bool {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    is_terminal && set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

/// The lines of a text as one, ` | ` between them, blank ones left out.
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains('\n') {
        return Cow::Borrowed(text);
    }
    let lines: Vec<&str> =
        text.lines().map(str::trim_end).filter(|line| !line.trim_start().is_empty()).collect();
    Cow::Owned(lines.join(" | "))
}

/// A duration for people: its two largest units, such as `3m12s`, `2d4h`, `1.2s`, `850ms`, `412us`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large}{large_unit}"),
        small => format!("{large}{large_unit}{small}{small_unit}"),
    };
    match seconds {
        0 if duration.is_zero() => "0s".to_owned(),
        0 if duration.as_millis() == 0 => format!("{}us", duration.as_micros()),
        0 => format!("{}ms", duration.as_millis()),
        1..10 if duration.subsec_millis() >= 100 => format!("{seconds}.{}s", duration.subsec_millis() / 100),
        1..60 => format!("{seconds}s"),
        60..3_600 => two(seconds / 60, "m", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "m"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpc_plugin_record::is_unsafe;

    #[test]
    fn no_unsafe_character_survives_in_json() {
        for number in 0..=0x2fff {
            let Some(c) = char::from_u32(number) else { continue };
            let text = format!("a{c}b");
            let json = escape_json(&text);
            assert!(!json.contains(is_unsafe));
            assert!(is_unsafe(c) || json == text);
        }
    }

    #[test]
    fn json_keeps_its_meaning() {
        let json = "{\"a\u{7f}\u{9b}\":\r\n[\"\u{202e}\", 1]}";
        let safe = escape_json(json);
        assert_eq!(safe, "{\"a\\u007f\\u009b\":  [\"\\u202e\", 1]}");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(json), value(&safe));
    }

    #[test]
    fn a_raw_escape_in_a_string_is_not_json() {
        assert!(serde_json::from_str::<&serde_json::value::RawValue>("{\"a\":\"\x1b[2J\"}").is_err());
    }

    #[test]
    fn colour_needs_a_terminal_that_has_it_and_no_wish_against_it() {
        let wanted = |terminal: bool, variables: &[(&str, &str)]| {
            colour_wanted(terminal, &|name| {
                variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.into())
            })
        };
        assert!(wanted(true, &[]) && wanted(true, &[("TERM", "xterm"), ("NO_COLOR", "")]));
        assert!(
            !wanted(false, &[]) && !wanted(true, &[("TERM", "dumb")]) && !wanted(true, &[("NO_COLOR", "1")])
        );
    }

    #[test]
    fn painted_text_is_escaped_inside_its_colour() {
        let mut out = String::new();
        paint(&mut out, "\x1b[2J", Style::Bad, true);
        paint(&mut out, "x", Style::Plain, true);
        paint(&mut out, "y", Style::Bad, false);
        assert_eq!(out, "\x1b[31m\\x1b[2J\x1b[0mxy");
    }

    #[test]
    fn durations_show_their_two_largest_units() {
        let table = [
            (0, "0s"),
            (412, "412us"),
            (999_999, "999ms"),
            (1_099_999, "1s"),
            (1_250_000, "1.2s"),
            (59_999_999, "59s"),
            (60_000_000, "1m"),
            (192_000_000, "3m12s"),
            (7_500_000_000, "2h5m"),
            (187_200_000_000, "2d4h"),
        ];
        for (micros, expected) in table {
            assert_eq!(duration(Duration::from_micros(micros)), expected);
        }
    }

    #[test]
    fn lines_are_joined_as_those_of_standard_error_are() {
        assert_eq!(one_line("one"), "one");
        assert_eq!(
            one_line("Traceback:\r\n\n  File \"x\"\n\x1b[2J\n"),
            "Traceback: |   File \"x\" | \x1b[2J"
        );
        assert_eq!(one_line("\n"), "");
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        assert_eq!(shorten("häuser", 6), "häuser");
        assert_eq!(shorten("häuser", 5), "hä...");
    }

    #[test]
    fn of_a_chain_of_causes_the_last_is_kept() {
        let chain = "5 restarts within 60s, which is the most; the last failure: the process ended before it connected \
                     (exit status 1); its last words on stderr: Traceback (most recent call last): | import nopé | \
                     ModuleNotFoundError: No module named 'nopé'";
        let cause = "ModuleNotFoundError: No module named 'nopé'";
        assert_eq!(shorten_front(chain, 1000), chain);
        assert_eq!(shorten_front(chain, cause.chars().count() + 4), format!("...{cause}"));
        assert_eq!(shorten_front(chain, 60), format!("...import nopé | {cause}"));
        assert_eq!(shorten_front(chain, 8), "...nopé'");
        let advised =
            "it did not connect within 10s of its launch; does it use the SDK, and does it connect?";
        assert_eq!(shorten_front(advised, 60), "it did not connect within 10s of its launch");
        for chars_max in 0..250 {
            assert!(shorten_front(chain, chars_max).chars().count() <= chars_max.max(3), "{chars_max}");
        }
    }
}
