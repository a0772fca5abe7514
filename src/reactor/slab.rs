//! Things that are named by a number for as long as they exist.
//!
//! What always holds: a key of something that was removed is stale for ever (until 2^31 reuses of its
//! place): it finds nothing, also when the place is taken again.

/// Places fit 32 bits, stamps 31: a key is never `usize::MAX`, which the event loop's waker has.
const STAMP_MASK: u64 = (1 << 31) - 1;

/// Values by keys that are never used again.
#[derive(Debug)]
pub(super) struct Slab<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Slab<T> {
        Slab { places: Vec::new(), free: Vec::new() }
    }
}

fn split(key: u64) -> (usize, u32) {
    ((key & u64::from(u32::MAX)) as usize, (key >> 32) as u32)
}

impl<T> Slab<T> {
    /// Puts something in and names it.
    pub(super) fn insert(&mut self, value: T) -> u64 {
        self.insert_with(|_| value)
    }

    /// The same for something that has to know its name.
    pub(super) fn insert_with(&mut self, value: impl FnOnce(u64) -> T) -> u64 {
        let index = self.free.pop().unwrap_or(self.places.len() as u32);
        if let Some((stamp, place)) = self.places.get_mut(index as usize) {
            let key = u64::from(*stamp) << 32 | u64::from(index);
            *place = Some(value(key));
            return key;
        }
        let key = u64::from(index);
        self.places.push((0, Some(value(key))));
        key
    }

    pub(super) fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        let (index, stamp) = split(key);
        self.places.get_mut(index).filter(|place| place.0 == stamp)?.1.as_mut()
    }

    pub(super) fn get(&self, key: u64) -> Option<&T> {
        let (index, stamp) = split(key);
        self.places.get(index).filter(|place| place.0 == stamp)?.1.as_ref()
    }

    pub(super) fn remove(&mut self, key: u64) -> Option<T> {
        let (index, stamp) = split(key);
        let place = self.places.get_mut(index).filter(|place| place.0 == stamp)?;
        let value = place.1.take()?;
        place.0 = ((u64::from(stamp) + 1) & STAMP_MASK) as u32;
        self.free.push(index as u32);
        Some(value)
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(super) fn keys(&self) -> Vec<u64> {
        let taken = self.places.iter().enumerate().filter(|(_, place)| place.1.is_some());
        taken.map(|(index, place)| u64::from(place.0) << 32 | index as u64).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut slab = Slab::default();
        let first = slab.insert('a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert('b');
        assert_ne!(first, second);
        assert!(slab.get(first).is_none() && slab.remove(first).is_none() && slab.get_mut(first).is_none());
        assert_eq!((slab.get(second), slab.len(), slab.keys()), (Some(&'b'), 1, vec![second]));
    }
}
