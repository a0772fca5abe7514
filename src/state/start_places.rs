//! Places of the generations that are starting: how many start at once, and who is next.
//!
//! What this file is for: a host that launches hundreds of processes at once gives each of them so small a share of the
//! processor that none is up within its deadlines, and what runs already misses its heartbeats. What it deliberately does
//! not do: launch, or know when a plugin has started; who holds a place says so.
//!
//! What always holds: at most `max` places are held; whoever asks waits behind all who asked before, so that a plugin
//! that is launched again and again has its turn when the others had theirs; nobody keeps a place for longer than
//! [`PLACE_MAX`] while another waits.

use super::keys::PluginKey;
use super::time::Time;
use std::collections::VecDeque;
use std::time::Duration;

/// Longest time that a generation keeps its place while others wait. It goes on starting without one.
pub const PLACE_MAX: Duration = Duration::from_secs(5);

/// The places, unless the host says otherwise, at the least.
pub const STARTING_MAX_LEAST: usize = 4;

/// Places for generations that start, and the plugins that wait for one.
#[derive(Debug)]
pub struct StartPlaces {
    max: usize,
    /// Plugins with a place, in the order in which they took it, and until when it is theirs. At most `max`.
    held: VecDeque<(PluginKey, Time)>,
    /// Plugins that wait for a place, in the order in which they are to have it. Each is there once.
    waiting: VecDeque<PluginKey>,
}

impl Default for StartPlaces {
    fn default() -> StartPlaces {
        StartPlaces::new(STARTING_MAX_LEAST)
    }
}

impl StartPlaces {
    /// Free places, as many as this and at least one.
    #[must_use]
    pub fn new(max: usize) -> StartPlaces {
        StartPlaces { max: max.max(1), held: VecDeque::new(), waiting: VecDeque::new() }
    }

    /// Asks for a place for a launch; a place of the same plugin's launch before is given up. Where none is free, the
    /// plugin waits until [`StartPlaces::next`] gives it one.
    ///
    /// # Errors
    /// How many others are starting.
    pub fn ask(&mut self, now: Time, key: PluginKey) -> Result<(), usize> {
        self.leave(key);
        if self.waiting.is_empty() && self.has_free(now) {
            self.take(now, key);
            return Ok(());
        }
        self.waiting.push_back(key);
        Err(self.max)
    }

    /// Gives up the place of a plugin, or its turn: its generation has started, has failed, or is not wanted any more.
    pub fn leave(&mut self, key: PluginKey) {
        self.held.retain(|(held, _)| *held != key);
        self.waiting.retain(|waiting| *waiting != key);
    }

    /// Gives the plugin whose turn it is the place that is free, if there are both.
    pub fn next(&mut self, now: Time) -> Option<PluginKey> {
        if self.waiting.is_empty() || !self.has_free(now) {
            return None;
        }
        let key = self.waiting.pop_front()?;
        self.take(now, key);
        Some(key)
    }

    /// When a place becomes free by itself for somebody who waits.
    #[must_use]
    pub fn next_at(&self) -> Option<Time> {
        self.held.front().filter(|_| !self.waiting.is_empty()).map(|(_, until)| *until)
    }

    fn take(&mut self, now: Time, key: PluginKey) {
        self.held.push_back((key, now.plus(PLACE_MAX)));
    }

    /// Whether a place is free, once those that were held for long enough are.
    fn has_free(&mut self, now: Time) -> bool {
        while self.held.front().is_some_and(|(_, until)| *until <= now) {
            self.held.pop_front();
        }
        self.held.len() < self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn key(number: u32) -> PluginKey {
        PluginKey(number)
    }

    fn at(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn who_came_first_has_the_next_place_and_who_comes_again_is_last() {
        let mut places = StartPlaces::new(2);
        assert_eq!(places.ask(at(0), key(1)), Ok(()));
        assert_eq!(places.ask(at(0), key(2)), Ok(()));
        assert_eq!(places.next_at(), None, "nobody waits, so nobody is woken");
        assert_eq!(places.ask(at(1), key(3)), Err(2));
        assert_eq!(places.ask(at(2), key(4)), Err(2));
        assert_eq!(places.next(at(2)), None);
        // It failed, and is to be launched again.
        assert_eq!(places.ask(at(3), key(1)), Err(2));
        assert_eq!((places.next(at(3)), places.next(at(3))), (Some(key(3)), None));
        places.leave(key(4));
        places.leave(key(2));
        assert_eq!(
            (places.next(at(4)), places.next(at(4))),
            (Some(key(1)), None),
            "4 is not wanted any more"
        );
        assert_eq!(places.next_at(), None);
    }

    #[test]
    fn a_place_that_is_held_for_long_passes_on() {
        let mut places = StartPlaces::new(1);
        assert_eq!(places.ask(at(7), key(1)), Ok(()));
        assert_eq!(places.ask(at(1000), key(2)), Err(1));
        assert_eq!(places.next_at(), Some(at(5007)));
        assert_eq!(places.next(at(5006)), None);
        assert_eq!((places.next(at(5007)), places.next(at(5007))), (Some(key(2)), None));
        // Where nobody waited, it is free for whoever comes.
        assert_eq!(places.ask(at(20_000), key(3)), Ok(()));
        assert_eq!(StartPlaces::new(0).ask(at(0), key(1)), Ok(()), "none at all would start nothing");
    }

    /// Whatever happens in whatever order: no more places than there are, nobody waits while one is free, and nobody
    /// waits for longer than all who stood before need.
    #[test]
    fn no_order_of_events_keeps_anybody_waiting() {
        for seed in 0..200 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let max = rng.usize(1..5);
            let mut places = StartPlaces::new(max);
            let mut waits_since = BTreeMap::new();
            let mut now = at(0);
            for _ in 0..400 {
                now = now.plus(Duration::from_millis(rng.u64(0..900)));
                let plugin = key(rng.u32(0..12));
                if rng.bool() {
                    waits_since.remove(&plugin);
                    if places.ask(now, plugin).is_err() {
                        waits_since.insert(plugin, now);
                    }
                } else {
                    waits_since.remove(&plugin);
                    places.leave(plugin);
                }
                while let Some(next) = places.next(now) {
                    let first = waits_since.iter().min_by_key(|(_, since)| **since).unwrap();
                    assert_eq!(waits_since[&next], *first.1, "seed {seed}: {next:?} overtook {first:?}");
                    waits_since.remove(&next);
                }
                assert!(places.held.len() <= max, "seed {seed}");
                assert!(
                    places.waiting.is_empty() || places.held.len() == max,
                    "seed {seed}: a place lies idle"
                );
                assert_eq!(places.waiting.len(), waits_since.len(), "seed {seed}");
                // Twelve plugins have at most eleven before one.
                let longest = PLACE_MAX.saturating_mul(12);
                assert!(waits_since.values().all(|since| now.since(*since) <= longest), "seed {seed}");
            }
        }
    }
}
