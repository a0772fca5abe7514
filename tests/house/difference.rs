//! How a text differs from what was expected, line by line.

/// The lines that differ, each after `-` where it was expected and `+` where it was seen, with the line before. Empty
/// where there are none.
pub(crate) fn difference(expected: &str, seen: &str) -> String {
    let (old, new) = (lines(expected), lines(seen));
    let same_first = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let most = old.len().min(new.len()) - same_first;
    let same_last = old.iter().rev().zip(new.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
    let (old_end, new_end) = (old.len() - same_last, new.len() - same_last);
    // How many lines are common to what is left of both from there on.
    let mut common = vec![vec![0_usize; new_end + 1]; old_end + 1];
    for at in (same_first..old_end).rev() {
        for to in (same_first..new_end).rev() {
            common[at][to] = match old[at] == new[to] {
                true => common[at + 1][to + 1] + 1,
                false => common[at + 1][to].max(common[at][to + 1]),
            };
        }
    }
    let (mut at, mut to, mut text, mut told) = (same_first, same_first, String::new(), None);
    while at < old_end || to < new_end {
        if at < old_end && to < new_end && old[at] == new[to] {
            (at, to) = (at + 1, to + 1);
            continue;
        }
        if told != Some(at) && at > 0 {
            text += &format!("line {at}\n  {}\n", old[at - 1]);
        }
        let is_missing = at < old_end && (to == new_end || common[at + 1][to] >= common[at][to + 1]);
        if is_missing {
            text += &format!("- {}\n", old[at]);
            at += 1;
        } else {
            text += &format!("+ {}\n", new[to]);
            to += 1;
        }
        told = Some(at);
    }
    text
}

/// Lines, with what follows the last line end as one more.
fn lines(text: &str) -> Vec<&str> {
    text.split('\n').collect()
}

/// Panics with the difference where there is one.
pub(crate) fn assert_same(what: &str, expected: &str, seen: &str) {
    let differs = difference(expected, seen);
    assert!(differs.is_empty(), "{what}; - expected, + seen:\n{differs}");
}

#[test]
fn a_difference_is_the_lines_that_differ_and_where() {
    assert_eq!(difference("a\nb\nc\n", "a\nb\nc\n"), "");
    assert_eq!(difference("a\nb\nc\n", "a\nx\nc\n"), "line 1\n  a\n- b\n+ x\n");
    assert_eq!(difference("a\nb\nc\nd\ne", "a\nc\nd\ny\ne"), "line 1\n  a\n- b\nline 4\n  d\n+ y\n");
    assert_eq!(difference("", "a\n"), "+ a\n");
    assert_eq!(difference("a", "a\n"), "line 1\n  a\n+ \n");
    assert_eq!(difference("a\na\na\n", "a\n"), "line 1\n  a\n- a\n- a\n");
    let told = std::panic::catch_unwind(|| assert_same("a page", "a", "b")).unwrap_err();
    assert_eq!(told.downcast_ref::<String>().unwrap(), "a page; - expected, + seen:\n- a\n+ b\n");
}
