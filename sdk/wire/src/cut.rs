//! Texts of a peer, cut before they are kept, formatted or shown.
//!
//! What it deliberately does not do: cut what is passed on as it came, such as the error that a caller gets. What always
//! holds: a text is cut between characters, and says how much is gone.

use crate::limits::ERROR_MESSAGE_BYTES_MAX;
use std::borrow::Cow;

/// Bytes of the longest [`cut_mark`].
const MARK_BYTES_MAX: usize = 36;

/// Cuts a text to `bytes_max` bytes, which are 36 at the least, with a mark at its end that says how much is gone.
pub fn cut(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        let kept = kept(text, bytes_max).len();
        let mark = cut_mark(text.len() - kept);
        text.truncate(kept);
        text.push_str(&mark);
    }
}

/// Cuts the beginning of a text, so that `bytes_max` bytes, which are 36 at the least, are left of it with a mark that says
/// how much is gone.
pub fn cut_front(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        let mut gone = text.len() - bytes_max.saturating_sub(MARK_BYTES_MAX);
        while !text.is_char_boundary(gone) {
            gone += 1;
        }
        text.replace_range(..gone, &format!("[{gone} bytes cut] ..."));
    }
}

/// The text as [`cut`] leaves it.
#[must_use]
pub fn shown(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    let kept = kept(text, bytes_max);
    Cow::Owned(format!("{kept}{}", cut_mark(text.len() - kept.len())))
}

/// Cuts a message at [`ERROR_MESSAGE_BYTES_MAX`]. serde quotes what it refuses, so that an error about a long text is as
/// long.
pub(crate) fn cut_message(message: &mut String) {
    cut(message, ERROR_MESSAGE_BYTES_MAX);
}

/// A message within [`ERROR_MESSAGE_BYTES_MAX`].
pub(crate) fn bounded(mut message: Cow<'static, str>) -> Cow<'static, str> {
    if message.len() > ERROR_MESSAGE_BYTES_MAX {
        cut_message(message.to_mut());
    }
    message
}

/// What stands in place of so many bytes.
#[must_use]
pub fn cut_mark(bytes: usize) -> String {
    format!("... [{bytes} bytes cut]")
}

/// The beginning of a text: whole characters of at most `bytes_max` bytes, without a mark.
#[must_use]
pub fn beginning(text: &str, bytes_max: usize) -> &str {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// The beginning of a text that leaves room for a mark within `bytes_max` bytes.
fn kept(text: &str, bytes_max: usize) -> &str {
    beginning(text, bytes_max.saturating_sub(MARK_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_text_is_kept_where_its_beginning_is_cut() {
        for length in 0..300 {
            for unit in ["x", "é", "😀"] {
                let whole = unit.repeat(length);
                let mut text = whole.clone();
                cut_front(&mut text, 100);
                let Some((mark, kept)) = text.split_once("...") else {
                    assert_eq!(text, whole);
                    continue;
                };
                assert!(whole.len() > 100 && text.len() <= 100 && whole.ends_with(kept), "{text}");
                assert_eq!(mark, format!("[{} bytes cut] ", whole.len() - kept.len()));
            }
        }
    }

    #[test]
    fn a_text_is_cut_between_characters_and_says_how_much_is_gone() {
        assert!(cut_mark(usize::MAX).len() <= MARK_BYTES_MAX);
        for length in 0..300 {
            for unit in ["x", "é", "😀"] {
                let whole = unit.repeat(length);
                let (mut text, shown) = (whole.clone(), shown(&whole, 100));
                cut(&mut text, 100);
                assert_eq!(text, shown);
                let Some((kept, mark)) = text.split_once("...") else {
                    assert_eq!(text, whole);
                    continue;
                };
                assert!(whole.len() > 100 && text.len() <= 100 && whole.starts_with(kept), "{text}");
                assert_eq!(mark, format!(" [{} bytes cut]", whole.len() - kept.len()));
            }
        }
    }
}
