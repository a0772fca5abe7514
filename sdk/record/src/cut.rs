//! Texts cut so that they fit a line, with a marker that says how much is gone.

use rpc_plugin_wire::cut::cut_mark;
use std::borrow::Cow;

/// One byte of text is at most this many bytes of JSON: `\u001b`.
pub(crate) const ESCAPE_FACTOR: usize = 6;
/// Longest marker that says how much was cut. Bytes.
const MARKER_BYTES: usize = 64;

/// What a character takes inside a JSON string as serde_json writes it. Bytes.
fn escaped_char_len(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => ESCAPE_FACTOR,
        c => c.len_utf8(),
    }
}

/// What a text takes inside a JSON string. Bytes.
pub(crate) fn escaped_len(text: &str) -> usize {
    text.chars().map(escaped_char_len).sum()
}

/// Cuts `text` to at most `bytes_max` bytes of JSON, with a marker that says how much is gone.
pub(crate) fn cut(text: &mut Cow<'static, str>, bytes_max: usize) {
    if text.len() <= bytes_max && escaped_len(text) <= bytes_max {
        return;
    }
    let whole = text.len();
    let mut left = bytes_max.saturating_sub(MARKER_BYTES);
    let end = text.char_indices().find_map(|(at, c)| match left.checked_sub(escaped_char_len(c)) {
        Some(rest) => {
            left = rest;
            None
        }
        None => Some(at),
    });
    let kept = text.get(..end.unwrap_or(whole)).unwrap_or_default();
    *text = Cow::Owned(format!("{kept}{}", cut_mark(whole - kept.len())));
}
