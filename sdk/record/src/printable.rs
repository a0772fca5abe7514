//! Text that is safe to print, whoever wrote it.
//!
//! What this file is for: what a plugin, a peer or a file said goes through [`escape`] before a terminal or a log
//! sees it (CVE-2023-28486: terminal escape codes through logs).

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character can move the cursor, change the terminal, end a line, turn the order of the text around it,
/// or stand there unseen (C0, DEL, C1, Unicode's line ends, bidirectional controls and byte order mark).
#[must_use]
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || c == '\u{feff}'
}

/// The text with every unsafe character as `\xNN` or `\u{NNNN}`, and so on one line.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    escape_with(text, |out, c| {
        let number = u32::from(c);
        // Writing to memory does not fail.
        let _ =
            if number <= 0xff { write!(out, "\\x{number:02x}") } else { write!(out, "\\u{{{number:x}}}") };
    })
}

/// The text with what `push` writes for each unsafe character.
pub fn escape_with(text: &str, push: impl Fn(&mut String, char)) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) { push(&mut out, c) } else { out.push(c) }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_unsafe_character_survives_and_no_other_is_changed() {
        for number in (0..=0x2fff).chain([0xfeff]) {
            let Some(c) = char::from_u32(number) else { continue };
            let text = format!("a{c}b");
            let escaped = escape(&text);
            if is_unsafe(c) {
                assert!(!escaped.contains(c) && escaped.starts_with("a\\") && escaped.ends_with('b'));
            } else {
                assert_eq!(escaped, text);
            }
        }
        let table = [
            ("\x1b[31m", "\\x1b[31m"),
            ("\u{9b}2J", "\\x9b2J"),
            ("a\r\nb\t\x7f", "a\\x0d\\x0ab\\x09\\x7f"),
            ("\u{202e}exe\u{2066}", "\\u{202e}exe\\u{2066}"),
            ("é→漢字", "é→漢字"),
        ];
        for (text, expected) in table {
            assert_eq!(escape(text), expected);
        }
    }
}
