//! Commands about several plugins at once: which ones a pattern chooses, and how they are asked for.
//!
//! What it deliberately does not do: ask the daemon, or print.

use super::exit::{Exit, Failure};
use rpc_plugin_wire::PluginId;
use rpc_plugin_wire::admin::{METHOD_RESTART, METHOD_STOP};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What came of one plugin: its state, or why not.
pub(super) type PluginOutcome = Result<Box<RawValue>, Failure>;
/// Function that asks for one plugin, and waits for it so long.
type AskOne<'a> = dyn FnMut(&PluginId, Duration) -> PluginOutcome + 'a;

/// Whether an argument names plugins by a pattern.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// Whether a pattern has only what ids have, and `*` and `?`.
pub(super) fn is_sound(pattern: &str) -> bool {
    pattern.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '*' | '?'))
}

/// Whether an id is one of a pattern, in which `*` stands for any characters and `?` for one.
pub(super) fn matches(pattern: &str, id: &str) -> bool {
    let (pattern, id) = (pattern.as_bytes(), id.as_bytes());
    let (mut at, mut of_id) = (0, 0);
    // The last `*`, and how far the id was when it stood for as little as it did.
    let mut star: Option<(usize, usize)> = None;
    while of_id < id.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, of_id));
                at += 1;
            }
            Some(byte) if *byte == b'?' || id.get(of_id) == Some(byte) => {
                at += 1;
                of_id += 1;
            }
            _ => {
                let Some((star_at, taken)) = star else { return false };
                star = Some((star_at, taken + 1));
                (at, of_id) = (star_at + 1, taken + 1);
            }
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

/// Starts, stops or restarts several plugins, each by `ask`, at most so long. Starts and stops go on side by side, so that those
/// which wait for one another come to their end; restarts one after the other, so that not all are down at once.
pub(super) fn act_on(
    method: &str,
    ids: &[PluginId],
    timeout: Duration,
    ask: &mut AskOne<'_>,
) -> BTreeMap<PluginId, PluginOutcome> {
    let mut outcomes = BTreeMap::new();
    if method == METHOD_RESTART {
        outcomes.extend(ids.iter().map(|id| (id.clone(), ask(id, timeout))));
        return outcomes;
    }
    let until = Instant::now() + timeout;
    let mut rest: Vec<&PluginId> = ids.iter().collect();
    while !rest.is_empty() {
        let begun = rest.len();
        rest = side_by_side(ask, method, &rest, until, &mut outcomes);
        // Who was refused because of another one is asked again once that one is down.
        if rest.len() == begun {
            break;
        }
    }
    outcomes
}

/// Asks for all, then waits for each. Gives those that were refused while others need them.
fn side_by_side<'a>(
    ask: &mut AskOne<'_>,
    method: &str,
    ids: &[&'a PluginId],
    until: Instant,
    outcomes: &mut BTreeMap<PluginId, PluginOutcome>,
) -> Vec<&'a PluginId> {
    let mut refused = Vec::new();
    for id in ids {
        let asked = ask(id, Duration::ZERO);
        if method == METHOD_STOP && asked.as_ref().is_err_and(|failure| failure.exit == Exit::NotAvailable) {
            refused.push(*id);
        }
        outcomes.insert((*id).clone(), asked);
    }
    for id in ids.iter().filter(|id| !refused.contains(id)) {
        let left = until.saturating_duration_since(Instant::now());
        if !left.is_zero() && outcomes.get(*id).is_some_and(Result::is_ok) {
            outcomes.insert((*id).clone(), ask(id, left));
        }
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_stands_for_the_ids_that_a_person_expects() {
        let table = [
            ("*", "kv", true),
            ("kv-*", "kv-1", true),
            ("kv-*", "kv-", true),
            ("kv-*", "kv", false),
            ("kv-*", "my-kv-1", false),
            ("*-1", "kv-1-1", true),
            ("*-1", "kv-1-2", false),
            ("k?", "kv", true),
            ("k?", "k", false),
            ("k?", "kvs", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("**", "x", true),
            ("?*", "x", true),
            ("a.b", "aXb", false),
        ];
        for (pattern, id, expected) in table {
            assert_eq!(matches(pattern, id), expected, "{pattern} {id}");
        }
        assert!(is_pattern("kv-?") && !is_pattern("kv-1"));
    }

    /// Against the rule itself, over all short words.
    #[test]
    fn random_patterns_match_as_the_rule_says() {
        fn slow(pattern: &[u8], id: &[u8]) -> bool {
            match (pattern.split_first(), id.split_first()) {
                (None, None) => true,
                (Some((b'*', rest)), _) => {
                    slow(rest, id) || id.split_first().is_some_and(|(_, id)| slow(pattern, id))
                }
                (Some((b'?', pattern)), Some((_, id))) => slow(pattern, id),
                (Some((a, pattern)), Some((b, id))) if a == b => slow(pattern, id),
                _ => false,
            }
        }
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let mut word = |letters: &[char]| -> String {
                (0..rng.usize(0..7)).map(|_| letters[rng.usize(0..letters.len())]).collect()
            };
            let (pattern, id) = (word(&['a', 'b', '*', '?']), word(&['a', 'b']));
            assert_eq!(matches(&pattern, &id), slow(pattern.as_bytes(), id.as_bytes()), "{pattern} {id}");
        }
    }
}
