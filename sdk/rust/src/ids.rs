//! Calls by request id: a hash of few instructions, because each call is put in, looked up and taken out.
//!
//! What it deliberately does not do: bound the number of entries; the pool does.
//!
//! What always holds: the hash depends on a number that the process drew at its start, so that a host
//! cannot choose ids that collide.

use rpc_plugin_wire::RequestId;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

/// What is known by request id.
pub(crate) type ById<T> = HashMap<RequestId, T, Keyed>;

/// Makes [`Folding`] hashers that share a drawn key.
pub(crate) struct Keyed {
    start: u64,
    factor: u64,
}

impl Default for Keyed {
    fn default() -> Keyed {
        let random = RandomState::new();
        Keyed { start: random.hash_one(1u8), factor: random.hash_one(2u8) | 1 }
    }
}

impl BuildHasher for Keyed {
    type Hasher = Folding;

    fn build_hasher(&self) -> Folding {
        Folding { state: self.start, factor: self.factor }
    }
}

/// Multiplies 64 by 64 bits and folds the halves of the product together, for each 8 bytes.
pub(crate) struct Folding {
    state: u64,
    factor: u64,
}

impl Hasher for Folding {
    fn write(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(8) {
            let word = piece.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
            self.write_u64(word);
        }
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.factor);
        let (high, low) = ((product >> 64) as u64, product as u64);
        self.state = high ^ low;
    }

    // The kind of the id, before its value.
    fn write_isize(&mut self, kind: isize) {
        self.state = self.state.wrapping_add(kind as u64);
    }

    fn finish(&self) -> u64 {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fullest of 1024 buckets, by the bits that a table takes, when these ids are put in.
    fn fullest(ids: impl Iterator<Item = RequestId>) -> usize {
        let keyed = Keyed::default();
        let mut buckets = [0; 1024];
        for id in ids {
            let hash = keyed.hash_one(&id);
            buckets[usize::try_from(hash & 1023).unwrap()] += 1;
        }
        buckets.into_iter().max().unwrap()
    }

    #[test]
    fn ids_with_a_pattern_are_spread() {
        let numbers = |step: u64| fullest((0..1024).map(move |n| RequestId::Number(n * step)));
        for step in [1, 2, 8, 1000, 1024, 1 << 20, 1 << 40, (1 << 42) + 1] {
            assert!(numbers(step) <= 16, "steps of {step}: {} in one of 1024", numbers(step));
        }
        let texts = fullest((0..1024).map(|n| RequestId::Text(format!("the same start {n:08}").into())));
        assert!(texts <= 16, "{texts} in one of 1024");
    }

    #[test]
    fn two_tables_hash_differently() {
        let id = RequestId::Number(7);
        assert_ne!(Keyed::default().hash_one(&id), Keyed::default().hash_one(&id));
    }
}
