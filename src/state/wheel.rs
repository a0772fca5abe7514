//! Every deadline of the host: a hierarchical timer wheel.
//!
//! Six levels of 64 slots; a slot of level L is 64^L milliseconds wide, so the wheel spans two years.
//! Inserting and cancelling are O(1); expiring costs each timer at most one move per level.
//! (Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987.)
//!
//! What it deliberately does not do: read a clock, or call anything.
//!
//! What always holds: no timer fires before its time; timers fire in the order of their millisecond;
//! [`Wheel::next_at`] is never later than the first timer.

use super::time::Time;

const LEVELS: usize = 6;
const SLOT_BITS: usize = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const NANOS_PER_TICK: u64 = 1_000_000;
/// How far ahead a timer can be placed: one slot of the top level less than the whole turn, so that
/// it never lands in the slot that is current. A later timer waits there and is moved on.
const SPAN_TICKS: u64 = (SLOTS as u64 - 1) << ((LEVELS - 1) * SLOT_BITS);
const NONE: u32 = u32::MAX;

/// Names one timer; stale once it fired or was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerKey {
    index: u32,
    stamp: u32,
}

#[derive(Debug)]
struct Entry<T> {
    /// `None` while the entry is on the free list.
    value: Option<T>,
    stamp: u32,
    /// Fires at the first moment of this tick.
    tick: u64,
    slot: u16,
    next: u32,
    previous: u32,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    first: u32,
    last: u32,
    /// No timer in this slot is earlier. Exact until the earliest is cancelled.
    earliest_tick: u64,
}

const EMPTY: Slot = Slot { first: NONE, last: NONE, earliest_tick: u64::MAX };

/// A set of timers, each with a value that comes back when it fires.
#[derive(Debug)]
pub struct Wheel<T> {
    entries: Vec<Entry<T>>,
    first_free: u32,
    slots: Vec<Slot>,
    /// One bit a slot, one word a level: which slots hold timers.
    occupied: [u64; LEVELS],
    /// All slots before this tick have been emptied.
    current_tick: u64,
    length: usize,
}

impl<T> Default for Wheel<T> {
    fn default() -> Wheel<T> {
        Wheel {
            entries: Vec::new(),
            first_free: NONE,
            slots: vec![EMPTY; LEVELS * SLOTS],
            occupied: [0; LEVELS],
            current_tick: 0,
            length: 0,
        }
    }
}

// Indices come from the wheel itself and are in range by construction; the lint guards peer input.
#[allow(clippy::indexing_slicing)]
impl<T> Wheel<T> {
    /// How many timers wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether no timer waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds a timer that fires at the first [`Wheel::pop_expired`] whose time is `at` or later.
    pub fn insert(&mut self, at: Time, value: T) -> TimerKey {
        // Rounded up: a timer must not fire early.
        let tick = at.as_nanos().div_ceil(NANOS_PER_TICK);
        let index = self.allocate(value, tick);
        self.link(index);
        self.length += 1;
        TimerKey { index, stamp: self.entries[index as usize].stamp }
    }

    /// Removes a timer and gives its value back; `None` if it fired or was cancelled before.
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let entry = self.entries.get(key.index as usize)?;
        if entry.stamp != key.stamp || entry.value.is_none() {
            return None;
        }
        self.unlink(key.index);
        self.free(key.index)
    }

    /// The next timer that is due at `now`; call until `None`.
    pub fn pop_expired(&mut self, now: Time) -> Option<T> {
        let now_tick = now.as_nanos() / NANOS_PER_TICK;
        loop {
            let Some((level, slot, start_tick)) = self.first_slot() else {
                self.current_tick = self.current_tick.max(now_tick);
                return None;
            };
            if start_tick > now_tick {
                self.current_tick = self.current_tick.max(now_tick);
                return None;
            }
            self.current_tick = self.current_tick.max(start_tick);
            if level == 0 {
                let index = self.slots[slot].first;
                self.unlink(index);
                return self.free(index);
            }
            self.cascade(slot);
        }
    }

    /// A moment that is not later than the first timer, and no earlier than needed to keep that
    /// promise: when the event loop should look again.
    #[must_use]
    pub fn next_at(&self) -> Option<Time> {
        let (_, slot, start_tick) = self.first_slot()?;
        let tick = self.slots[slot].earliest_tick.max(start_tick);
        Some(Time::from_nanos(tick.saturating_mul(NANOS_PER_TICK)))
    }

    /// The occupied slot that begins first: level, index into `slots`, and its first tick.
    fn first_slot(&self) -> Option<(usize, usize, u64)> {
        // A timer of a lower level is always earlier than one of a higher level, see `place`.
        let level = (0..LEVELS).find(|level| self.occupied[*level] != 0)?;
        let shift = level * SLOT_BITS;
        let here = (self.current_tick >> shift) as usize % SLOTS;
        let ahead = self.occupied[level].rotate_right(here as u32).trailing_zeros() as usize;
        let slot = (here + ahead) % SLOTS;
        let start_tick = ((self.current_tick >> shift) + ahead as u64) << shift;
        Some((level, level * SLOTS + slot, start_tick.max(self.current_tick)))
    }

    /// Where a tick belongs: the level of the highest bit in which it differs from the current tick.
    fn place(&self, tick: u64) -> usize {
        let differs = (tick ^ self.current_tick) | (SLOTS as u64 - 1);
        let level = ((63 - differs.leading_zeros()) as usize / SLOT_BITS).min(LEVELS - 1);
        level * SLOTS + (tick >> (level * SLOT_BITS)) as usize % SLOTS
    }

    fn link(&mut self, index: u32) {
        let tick = self.entries[index as usize].tick;
        // One that lies beyond the span waits, as if it were due, where it can be moved on.
        let tick = tick.max(self.current_tick).min(self.current_tick.saturating_add(SPAN_TICKS));
        let at = self.place(tick);
        let last = self.slots[at].last;
        {
            let entry = &mut self.entries[index as usize];
            entry.slot = at as u16;
            entry.previous = last;
            entry.next = NONE;
        }
        if last == NONE {
            self.slots[at].first = index;
            self.occupied[at / SLOTS] |= 1 << (at % SLOTS);
        } else {
            self.entries[last as usize].next = index;
        }
        self.slots[at].last = index;
        self.slots[at].earliest_tick = self.slots[at].earliest_tick.min(tick);
    }

    fn unlink(&mut self, index: u32) {
        let (at, previous, next) = {
            let entry = &self.entries[index as usize];
            (entry.slot as usize, entry.previous, entry.next)
        };
        match previous {
            NONE => self.slots[at].first = next,
            _ => self.entries[previous as usize].next = next,
        }
        match next {
            NONE => self.slots[at].last = previous,
            _ => self.entries[next as usize].previous = previous,
        }
        if self.slots[at].first == NONE {
            self.slots[at] = EMPTY;
            self.occupied[at / SLOTS] &= !(1 << (at % SLOTS));
        }
    }

    /// Moves the timers of a slot whose time has come to the levels below.
    fn cascade(&mut self, slot: usize) {
        let mut index = self.slots[slot].first;
        self.slots[slot] = EMPTY;
        self.occupied[slot / SLOTS] &= !(1 << (slot % SLOTS));
        while index != NONE {
            let next = self.entries[index as usize].next;
            self.link(index);
            index = next;
        }
    }

    fn allocate(&mut self, value: T, tick: u64) -> u32 {
        if self.first_free != NONE {
            let index = self.first_free;
            let entry = &mut self.entries[index as usize];
            self.first_free = entry.next;
            entry.value = Some(value);
            entry.tick = tick;
            return index;
        }
        let index = self.entries.len() as u32;
        let entry = Entry { value: Some(value), stamp: 0, tick, slot: 0, next: NONE, previous: NONE };
        self.entries.push(entry);
        index
    }

    fn free(&mut self, index: u32) -> Option<T> {
        let entry = &mut self.entries[index as usize];
        entry.stamp = entry.stamp.wrapping_add(1);
        entry.next = self.first_free;
        self.first_free = index;
        self.length -= 1;
        entry.value.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn at_ms(ms: u64) -> Time {
        Time::from_nanos(ms * NANOS_PER_TICK)
    }

    #[test]
    fn a_timer_never_fires_early_even_within_a_millisecond() {
        let mut wheel = Wheel::default();
        wheel.insert(Time::from_nanos(1), 'a');
        assert_eq!(wheel.pop_expired(Time::from_nanos(999_999)), None);
        assert_eq!(wheel.pop_expired(at_ms(1)), Some('a'));
        assert!(wheel.is_empty());
    }

    #[test]
    fn a_stale_key_cancels_nothing() {
        let mut wheel = Wheel::default();
        let first = wheel.insert(at_ms(5), 1);
        assert_eq!(wheel.cancel(first), Some(1));
        let second = wheel.insert(at_ms(5), 2);
        assert_eq!(wheel.cancel(first), None, "the entry is used again, the key is not");
        assert_eq!(wheel.cancel(second), Some(2));
        assert_eq!(wheel.next_at(), None);
    }

    #[test]
    fn the_next_wake_up_is_exact_for_a_lone_timer() {
        for ms in [1, 63, 64, 65, 2_000, 4_096, 30_000, 86_400_000] {
            let mut wheel = Wheel::default();
            wheel.insert(at_ms(ms), ());
            assert_eq!(wheel.next_at(), Some(at_ms(ms)), "one wake-up for a timer in {ms} ms");
        }
    }

    #[test]
    fn timers_beyond_the_span_are_kept_and_fire_in_time() {
        let mut wheel = Wheel::default();
        let far = SPAN_TICKS * 2 + 77;
        wheel.insert(at_ms(far), 'x');
        let mut wakes = 0;
        while let Some(next) = wheel.next_at().filter(|next| *next < at_ms(far)) {
            assert_eq!(wheel.pop_expired(next), None);
            wakes += 1;
            assert!(wakes < 1000, "stuck at {next:?}");
        }
        assert_eq!(wheel.pop_expired(at_ms(far - 1)), None);
        assert_eq!(wheel.pop_expired(at_ms(far)), Some('x'));
    }

    #[test]
    fn a_timer_beyond_the_span_does_not_hide_a_nearer_one() {
        let mut wheel = Wheel::default();
        let slot_ticks = 1 << ((LEVELS - 1) * SLOT_BITS);
        wheel.insert(at_ms(SPAN_TICKS * 3), "far");
        assert_eq!(wheel.pop_expired(at_ms(10 * slot_ticks)), None);
        wheel.insert(at_ms(70 * slot_ticks), "near");
        assert!(wheel.next_at().is_some_and(|at| at <= at_ms(70 * slot_ticks)));
    }

    /// The wheel against a sorted map, over random operations.
    #[test]
    fn behaves_as_a_sorted_map() {
        for seed in 0..60 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut wheel = Wheel::default();
            let mut model: BTreeMap<u64, (u64, TimerKey)> = BTreeMap::new();
            let (mut now_ns, mut number) = (0u64, 0u64);
            for _ in 0..3000 {
                match rng.u32(0..10) {
                    0..=4 => {
                        let range = [1_000, 70, 5_000, 300_000, 90_000_000][rng.usize(0..5)];
                        let at = now_ns + rng.u64(0..range) * 1_000_000 + rng.u64(0..1_000_000);
                        number += 1;
                        let key = wheel.insert(Time::from_nanos(at), number);
                        model.insert(number, (at, key));
                    }
                    5..=6 if !model.is_empty() => {
                        let pick = rng.usize(0..model.len());
                        let number = *model.keys().nth(pick).unwrap();
                        let (_, key) = model.remove(&number).unwrap();
                        assert_eq!(wheel.cancel(key), Some(number));
                        assert_eq!(wheel.cancel(key), None);
                    }
                    _ => {
                        let first = model.values().map(|(at, _)| *at).min();
                        let next = wheel.next_at().map(Time::as_nanos);
                        assert_eq!(first.is_some(), next.is_some());
                        if let (Some(first), Some(next)) = (first, next) {
                            assert!(next <= first.div_ceil(1_000_000) * 1_000_000, "would wake too late");
                        }
                        let range = [100, 10_000, 1_000_000][rng.usize(0..3)];
                        now_ns += rng.u64(0..range) * 500_000;
                        let mut last_tick = 0;
                        while let Some(number) = wheel.pop_expired(Time::from_nanos(now_ns)) {
                            let (at, _) = model.remove(&number).expect("fires once");
                            assert!(at <= now_ns, "fired early");
                            let tick = at.div_ceil(1_000_000);
                            assert!(tick >= last_tick, "out of order");
                            last_tick = tick;
                        }
                        let due = now_ns / 1_000_000;
                        assert!(model.values().all(|(at, _)| at.div_ceil(1_000_000) > due), "missed one");
                        assert_eq!(wheel.len(), model.len());
                    }
                }
            }
        }
    }
}
