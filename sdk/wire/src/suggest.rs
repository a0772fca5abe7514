//! The name that was probably meant.
//!
//! What always holds: the work is bounded, whatever was typed ([`TYPED_CHARS_MAX`]).

/// Longer words are not compared: no name is that long. Characters.
const TYPED_CHARS_MAX: usize = 40;

/// The nearest of `names`: within one edit for each three characters typed, or one that begins so. Case, and `-` for
/// `_`, make no difference.
#[must_use]
pub fn nearest<'n>(typed: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let typed: Vec<char> = typed.chars().take(TYPED_CHARS_MAX + 1).map(plain).collect();
    if typed.len() > TYPED_CHARS_MAX {
        return None;
    }
    let edits_max = (typed.len() / 3).max(1);
    names
        .filter_map(|name| {
            let chars: Vec<char> = name.chars().map(plain).collect();
            let edits = match typed.len() >= 3 && chars.starts_with(&typed) {
                true => 0,
                false => distance(&typed, &chars),
            };
            (edits <= edits_max && edits < chars.len()).then_some((edits, name))
        })
        .min()
        .map(|(_, name)| name)
}

fn plain(c: char) -> char {
    if c == '_' { '-' } else { c.to_ascii_lowercase() }
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (optimal string
/// alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_previous: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    let mut last_of_a = None;
    for (row, from) in a.iter().enumerate() {
        let mut current = vec![row + 1];
        let mut last_of_b = None;
        for (column, to) in b.iter().enumerate() {
            let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX - 1);
            let mut best = (at(&previous, column) + usize::from(from != to))
                .min(at(&previous, column + 1) + 1)
                .min(at(&current, column) + 1);
            if last_of_a == Some(to) && last_of_b == Some(from) {
                best = best.min(at(&before_previous, column.saturating_sub(1)) + 1);
            }
            current.push(best);
            last_of_b = Some(to);
        }
        before_previous = std::mem::replace(&mut previous, current);
        last_of_a = Some(from);
    }
    previous.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_textbook() {
        let table = [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("ab", "ba", 1),
            ("status", "statsu", 1),
        ];
        for (a, b, edits) in table {
            let chars = |text: &str| text.chars().collect::<Vec<char>>();
            assert_eq!(distance(&chars(a), &chars(b)), edits, "{a:?} {b:?}");
        }
    }

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["call", "capabilities", "status", "stop", "heartbeat-interval", "x"];
        let table = [
            ("statsu", Some("status")),
            ("cal", Some("call")),
            ("cap", Some("capabilities")),
            ("stopp", Some("stop")),
            ("STATUS", Some("status")),
            ("heartbeat_Interval", Some("heartbeat-interval")),
            ("y", None),
            ("frobnicate", None),
            ("", None),
        ];
        for (typed, meant) in table {
            assert_eq!(nearest(typed, names.into_iter()), meant, "{typed:?}");
        }
        assert_eq!(nearest(&"x".repeat(1 << 20), names.into_iter()), None);
    }
}
