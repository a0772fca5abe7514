//! Calls that could only wait for themselves, told by their chains.
//!
//! What this file is for: the one rule by which host and SDK answer `would_deadlock` (protocol section 5). What it
//! deliberately does not do: count places, or know who waits; pools do.

use rpc_plugin_wire::Chain;
use std::collections::BTreeSet;

/// Whether each of these handlers, all of which wait, waits for a call that led to one of these chains. `waiting`: the
/// calls that they serve, as they stand in chains. Takes time in proportion to the entries of all chains.
#[must_use]
pub fn wait_for_each_other<'a>(
    waiting: impl IntoIterator<Item = &'a str>,
    chains: impl IntoIterator<Item = &'a Chain>,
) -> bool {
    let led_to: BTreeSet<&str> = chains.into_iter().flat_map(Chain::entries).collect();
    waiting.into_iter().all(|entry| led_to.contains(entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_that_waits_has_to_have_led_to_a_chain() {
        let first = Chain::EMPTY.and("a/1/1").unwrap().and("host:a/1/2").unwrap();
        let second = Chain::EMPTY.and("b/1/7").unwrap();
        assert!(wait_for_each_other(["a/1/1"], [&first]));
        assert!(wait_for_each_other(["a/1/1", "host:a/1/2", "b/1/7"], [&first, &second]));
        assert!(!wait_for_each_other(["a/1/1", "b/1/7"], [&first]), "one of them goes on by itself");
        assert!(!wait_for_each_other(["a/1"], [&first, &second]), "whole entries");
        assert!(wait_for_each_other([], [&first]), "nobody goes on who is not there");
    }
}
