//! What comes from a plugin and is of no use to anybody: how much of it is read in an interval.
//!
//! What this file is for: frames that the host only drops or refuses, and printed lines beyond their rate, cost the host
//! time and the plugin nothing. Beyond a bound, the source that they come from is not read for the rest of the interval: it
//! fills, and its plugin waits. What it deliberately does not do: count what was asked for (answers, streams, calls that are
//! made), however much that is; stop reading, which whoever reads does.
//!
//! What always holds: a source is left alone for no longer than an interval at once.

use super::time::Time;
use rpc_plugin_wire::Message;
use serde_json::value::RawValue;
use std::time::Duration;

/// The time over which it is counted, from the first that comes.
pub const INTERVAL: Duration = Duration::from_millis(100);
/// Frames of no use in an interval, beyond which no more is read in it.
pub const ITEMS_MAX: usize = 1024;
/// The same in bytes.
pub const BYTES_MAX: usize = 256 * 1024;
/// Printed lines beyond their rate in an interval, beyond which no more is read in it. They cost less than frames, and a
/// plugin that prints much before it fails must not be taken for one that hangs. Fewer than the shortest lines of one read,
/// so that of these no second read is made.
pub const PRINTED_LINES_MAX: usize = 8000;
/// The same in bytes.
pub const PRINTED_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of a frame beside its params or result that are never held to be of no use.
const ENVELOPE_BYTES: usize = 1024;
/// How often it is told that a source is not read.
pub const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// What came from one source in an interval that was of no use.
#[derive(Debug, Clone, Copy)]
pub struct Unasked {
    /// So many items, beyond which the source is not read for the rest of the interval.
    items_max: usize,
    /// So many bytes, beyond which it is not.
    bytes_max: usize,
    /// End of the interval.
    until: Time,
    items: usize,
    bytes: usize,
    /// Frames of no use since the last [`Unasked::pause_after`].
    frames: usize,
    /// Bytes of the others.
    useful_bytes: usize,
    /// Of these, those of the frame that came last.
    last_bytes: usize,
    /// When it may be told again that the source is not read.
    tell_at: Time,
}

impl Unasked {
    /// Nothing came yet; of frames, or of printed lines.
    fn new(items_max: usize, bytes_max: usize) -> Unasked {
        Unasked {
            items_max,
            bytes_max,
            until: Time::ZERO,
            items: 0,
            bytes: 0,
            frames: 0,
            useful_bytes: 0,
            last_bytes: 0,
            tell_at: Time::ZERO,
        }
    }

    /// What came as frames: nothing yet.
    #[must_use]
    pub fn of_frames() -> Unasked {
        Unasked::new(ITEMS_MAX, BYTES_MAX)
    }

    /// What was printed: nothing yet.
    #[must_use]
    pub fn of_lines() -> Unasked {
        Unasked::new(PRINTED_LINES_MAX, PRINTED_BYTES_MAX)
    }

    /// Takes in a frame that is of use, as far as is known yet, with so many [bytes of use](useful_bytes).
    pub fn frame(&mut self, bytes: usize) {
        self.last_bytes = bytes + ENVELOPE_BYTES;
        self.useful_bytes += self.last_bytes;
    }

    /// Takes back that the frame that came last was of use.
    pub fn was_useless(&mut self) {
        self.frames += 1;
        self.useful_bytes -= std::mem::take(&mut self.last_bytes);
    }

    /// Counts what seemed to be of use, or was printed, and was refused.
    pub fn refused(&mut self, now: Time, items: usize, bytes: usize) {
        if now >= self.until {
            (self.until, self.items, self.bytes) = (now.plus(INTERVAL), 0, 0);
        }
        self.items += items;
        self.bytes += bytes;
    }

    /// Counts the frames that came since this was called last, of so many bytes in all. Until when the source is not to be
    /// read, and whether that is to be told; `None`: it may be.
    pub fn pause_after(&mut self, now: Time, bytes: usize) -> Option<(Time, bool)> {
        let useless_bytes = bytes.saturating_sub(std::mem::take(&mut self.useful_bytes));
        let frames = std::mem::take(&mut self.frames);
        self.last_bytes = 0;
        if frames > 0 || useless_bytes > 0 {
            self.refused(now, frames, useless_bytes);
        }
        let is_over = self.items > self.items_max || self.bytes > self.bytes_max;
        if !is_over || now >= self.until {
            return None;
        }
        let tells = now >= self.tell_at;
        if tells {
            self.tell_at = now.plus(TELL_INTERVAL);
        }
        Some((self.until, tells))
    }
}

/// Bytes of a message that its receiver may want: its params or result, and the calls that led to it.
#[must_use]
pub fn useful_bytes(message: &Message<'_>) -> usize {
    let of = |raw: Option<&RawValue>| raw.map_or(0, |raw| raw.get().len());
    match message {
        Message::Request(request) => {
            of(request.params) + request.chain.entries().map(str::len).sum::<usize>()
        }
        Message::Notification(notification) => of(notification.params),
        Message::Response(response) => match &response.result {
            Ok(result) => of(Some(result)),
            Err(error) => error.message.len() + of(error.data.as_deref()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(ms: u32) -> Time {
        Time::ZERO.plus(MS * (ms + 1))
    }

    /// So many frames of no use, of so many bytes, and what comes of them.
    fn junk(unasked: &mut Unasked, now: Time, frames: usize, bytes: usize) -> Option<Time> {
        for _ in 0..frames {
            unasked.frame(0);
            unasked.was_useless();
        }
        unasked.pause_after(now, frames * bytes).map(|(until, _)| until)
    }

    #[test]
    fn what_was_asked_for_never_pauses_however_much_it_is() {
        let mut unasked = Unasked::of_frames();
        for read in 0..10_000 {
            (0..1000).for_each(|_| unasked.frame(100));
            assert_eq!(unasked.pause_after(at(0), 1000 * 160), None, "read {read}");
            unasked.frame(4 << 20);
            assert_eq!(unasked.pause_after(at(0), (4 << 20) + 100), None, "read {read}");
        }
    }

    #[test]
    fn too_many_frames_or_bytes_of_no_use_pause_until_the_interval_is_over() {
        for (frames, bytes) in [(ITEMS_MAX + 1, 40), (1, BYTES_MAX + 1)] {
            let mut unasked = Unasked::of_frames();
            assert_eq!(junk(&mut unasked, at(0), 1, 0), None);
            assert_eq!(junk(&mut unasked, at(10), frames, bytes), Some(at(100)));
            assert_eq!(junk(&mut unasked, at(99), 0, 0), Some(at(100)));
            assert_eq!(junk(&mut unasked, at(100), 0, 0), None);
            assert_eq!(junk(&mut unasked, at(120), 1, 40), None, "another interval");
        }
    }

    /// A plugin that prints 50 MB while it fails waits for less than three heartbeats take, and not for half a minute.
    #[test]
    fn a_burst_of_printed_lines_is_read_faster_than_frames() {
        let (mut unasked, mut ms, mut bytes) = (Unasked::of_lines(), 0, 0);
        while bytes < 50_000_000 {
            unasked.refused(at(ms), 540, 64 * 1024);
            bytes += 64 * 1024;
            let pause = unasked.pause_after(at(ms), 0);
            ms += pause.map_or(0, |(until, _)| u32::try_from(until.since(at(ms)).as_millis()).unwrap());
        }
        assert!((4000..6000).contains(&ms), "{ms} ms");
        let mut unasked = Unasked::of_lines();
        unasked.refused(at(0), PRINTED_LINES_MAX, 0);
        assert_eq!(unasked.pause_after(at(0), 0), None);
        unasked.refused(at(0), 1, 0);
        assert!(unasked.pause_after(at(0), 0).is_some());
    }

    /// Frames of no use do not hide behind one that is, nor bytes beside what is of use in it.
    #[test]
    fn what_is_of_use_hides_nothing() {
        let mut unasked = Unasked::of_frames();
        let mut pause = None;
        for _ in 0..=ITEMS_MAX {
            unasked.frame(10);
            pause = junk(&mut unasked, at(0), 1, 200);
        }
        assert!(pause.is_some());
        let mut unasked = Unasked::of_frames();
        unasked.frame(10);
        assert!(unasked.pause_after(at(0), BYTES_MAX + ENVELOPE_BYTES + 11).is_some());
    }

    #[test]
    fn what_is_refused_later_counts_and_it_is_told_once_a_minute() {
        let mut unasked = Unasked::of_frames();
        for _ in 0..=ITEMS_MAX {
            unasked.frame(10);
            assert_eq!(unasked.pause_after(at(0), 60), None);
            unasked.refused(at(0), 1, 10);
        }
        assert_eq!(unasked.pause_after(at(0), 0), Some((at(100), true)));
        assert_eq!(unasked.pause_after(at(1), 0), Some((at(100), false)));
        unasked.refused(at(59_999), ITEMS_MAX + 1, 0);
        assert!(unasked.pause_after(at(59_999), 0).is_some_and(|(_, tells)| !tells));
        assert!(unasked.pause_after(at(60_000), 0).is_some_and(|(_, tells)| tells));
    }

    /// Whatever comes, no more of no use is taken in an interval than its bound and what one read brings.
    #[test]
    fn an_interval_is_bounded_whatever_comes() {
        for seed in 0..100 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut unasked, mut ms) = (Unasked::of_frames(), 0);
            let (mut since, mut items, mut read_max) = (at(0), 0, 0);
            for _ in 0..5000 {
                if at(ms).since(since) >= INTERVAL {
                    (since, items) = (at(ms), 0);
                }
                let frames = rng.usize(1..400);
                read_max = read_max.max(frames);
                items += frames;
                // An interval of this test may lie across two.
                assert!(items <= 2 * (ITEMS_MAX + read_max), "seed {seed}: {items}");
                match junk(&mut unasked, at(ms), frames, 30) {
                    Some(until) => {
                        assert!(until > at(ms) && until.since(at(ms)) <= INTERVAL);
                        ms += u32::try_from(until.since(at(ms)).as_millis()).unwrap();
                    }
                    None => ms += rng.u32(0..5),
                }
            }
        }
    }
}
