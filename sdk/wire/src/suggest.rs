//! The name that was probably meant.
//!
//! What always holds: the work is bounded, whatever was typed (`TYPED_CHARS_MAX`) and whatever there is (`CELLS_MAX`).

/// Longer words are not compared: no name is that long. Characters.
const TYPED_CHARS_MAX: usize = 40;
/// Most work on one word: pairs of a character typed and one of a name.
const CELLS_MAX: usize = 16 * 1024;

/// The nearest of `names`: within one edit for each three characters typed, or one that begins so. Case, and `-` for
/// `_`, make no difference. `None` also where so many names are of about that length that it would take too long to compare
/// them.
#[must_use]
pub fn nearest<'n>(typed: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    nearest_within(typed, names, &mut { CELLS_MAX })
}

/// The same for `cells` of work, of which it leaves what it did not need.
fn nearest_within<'n>(
    typed: &str,
    names: impl Iterator<Item = &'n str>,
    cells: &mut usize,
) -> Option<&'n str> {
    let typed: Vec<char> = typed.chars().take(TYPED_CHARS_MAX + 1).map(plain).collect();
    if typed.len() > TYPED_CHARS_MAX {
        return None;
    }
    let edits_max = (typed.len() / 3).max(1);
    let mut nearest = None;
    for name in names {
        let chars_count = name.chars().count();
        let edits = if typed.len() >= 3 && typed.iter().copied().eq(name.chars().map(plain).take(typed.len()))
        {
            0
        } else if chars_count.abs_diff(typed.len()) > edits_max {
            continue;
        } else {
            let chars: Vec<char> = name.chars().map(plain).collect();
            distance(&typed, &chars, cells)?
        };
        if edits <= edits_max && edits < chars_count && nearest.is_none_or(|best| (edits, name) < best) {
            nearest = Some((edits, name));
        }
    }
    nearest.map(|(_, name)| name)
}

fn plain(c: char) -> char {
    if c == '_' { '-' } else { c.to_ascii_lowercase() }
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (optimal string
/// alignment). `None` where that is more work than `cells`.
fn distance(a: &[char], b: &[char], cells: &mut usize) -> Option<usize> {
    let mut before_previous: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    let mut last_of_a = None;
    for (row, from) in a.iter().enumerate() {
        let mut current = vec![row + 1];
        let mut last_of_b = None;
        *cells = cells.checked_sub(b.len())?;
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
    Some(previous.last().copied().unwrap_or(0))
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
            assert_eq!(distance(&chars(a), &chars(b), &mut { CELLS_MAX }), Some(edits), "{a:?} {b:?}");
        }
    }

    #[test]
    fn the_work_is_bounded_by_cells_and_spent_only_on_names_of_about_that_length() {
        let used = |typed: &str, names: &[String]| {
            let mut left = CELLS_MAX;
            let meant = nearest_within(typed, names.iter().map(|name| &**name), &mut left);
            (meant.map(str::to_owned), CELLS_MAX - left)
        };
        let names = |chars: usize| (0..1024).map(|n| format!("{n:0>chars$}")).collect::<Vec<_>>();
        let typed = "x".repeat(TYPED_CHARS_MAX);
        assert_eq!(used(&typed, &names(128)), (None, 0), "too long to be meant");
        let (meant, cells) = used(&typed, &names(53));
        assert_eq!(meant, None);
        assert!(CELLS_MAX - cells < 53, "{cells}");
        // One that is near does not show that none is nearer.
        let many: Vec<String> = ["kv.gett".to_owned()].into_iter().chain(names(7)).collect();
        assert_eq!(used("kv.gte", &many[..300]).0.as_deref(), Some("kv.gett"));
        assert_eq!(used("kv.gte", &many).0, None);
        let mut many = names(60);
        many.push("kv.get".to_owned());
        assert_eq!(used("kv.gte", &many), (Some("kv.get".to_owned()), 36));
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
