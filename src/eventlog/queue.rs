//! Events on their way to the writer: bounded, in one order, handed over all at once.
//!
//! What it deliberately does not do: wait. Who hands an event over never does, but for the moment in which the
//! writer takes all that is there, which is an exchange of two vectors.
//!
//! What always holds: tickets are in the order of the events; at most `max` events and about
//! [`QUEUE_BYTES_MAX`] bytes wait, shared by those who cause them; a quarter is for events of lifecycle and operators
//! alone; the writer is woken only if it sleeps.

use rpc_plugin_peer::{Amount, Party, Shares};
use rpc_plugin_record::Entry;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most bytes of events that wait for the writer, however few they are; more are dropped.
pub const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Part of the queue that only events of lifecycle and operators may use: one in so many.
pub const RESERVED_ONE_IN: usize = 4;
/// Part of the queue that may wait before the writer is woken for it: one in so many. Well below the share of one party.
const PRESSING_ONE_IN: usize = 8;
/// How long the writer lets events gather that are not urgent.
const GATHER: Duration = Duration::from_millis(10);
/// Events as they wait. Boxed, because one takes half a KiB and is moved several times.
#[allow(clippy::vec_box)]
pub(super) type Events = Vec<Box<Entry>>;

/// A vector that was larger is not kept. Events.
const KEPT_MAX: usize = 1024;

#[derive(Debug)]
pub(super) struct EventQueue {
    state: Mutex<QueueState>,
    arrived: Condvar,
    max: usize,
    /// How long events that are not urgent gather.
    gather: Duration,
}

#[derive(Debug)]
struct QueueState {
    events: Events,
    /// Who has how much of what is for all events.
    shares: Shares,
    /// Who has how much of what is for events of lifecycle and operators.
    reserved: Shares,
    /// The ticket that was given last.
    last: u64,
    /// An urgent event waits.
    is_urgent: bool,
    /// Events whose recording is awaited.
    awaited: usize,
    /// Flush now; do not wait for the batch to fill.
    is_pressing: bool,
    /// Threads that asked for everything to be written and synced.
    flushes: u64,
    /// The writer was given events the last time: more are likely to come soon.
    expects_more: bool,
    sleep: Sleep,
    is_closed: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Sleep {
    #[default]
    Awake,
    /// Until anything comes.
    Sound,
    /// Until something urgent comes, or the time is over.
    Gathering,
    /// Until so many events are awaited, or the time is over.
    ForBatch(usize),
}

/// Events that are likely to come soon, and go with those that are there into one write and sync.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Batching {
    /// How many were awaited together the last time: who was told then comes again.
    pub(super) awaited: usize,
    /// How long to wait for as many.
    pub(super) time: Duration,
}

/// What the writer is given.
#[derive(Debug, Default)]
pub(super) struct QueuedEvents {
    pub(super) events: Events,
    /// How many of them are awaited.
    pub(super) awaited: usize,
    /// The ticket of the last of them, or of the last ever.
    pub(super) last: u64,
    /// Flushes asked for so far.
    pub(super) flushes: u64,
    /// Nothing more will come.
    pub(super) is_over: bool,
}

impl EventQueue {
    pub(super) fn new(max: usize) -> EventQueue {
        let all = Amount { count: max.max(1), bytes: QUEUE_BYTES_MAX };
        let reserved = Amount { count: all.count / RESERVED_ONE_IN, bytes: all.bytes / RESERVED_ONE_IN };
        let common = Amount { count: all.count - reserved.count, bytes: all.bytes - reserved.bytes };
        let state = QueueState {
            events: Events::new(),
            shares: Shares::new(common),
            reserved: Shares::new(reserved),
            last: 0,
            is_urgent: false,
            awaited: 0,
            is_pressing: false,
            flushes: 0,
            expects_more: false,
            sleep: Sleep::default(),
            is_closed: false,
        };
        EventQueue { state: Mutex::new(state), arrived: Condvar::new(), max: all.count, gather: GATHER }
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        // Nothing in this file panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands an event over that `party` caused; its ticket, or `None` if there is no room.
    pub(super) fn push(&self, entry: Box<Entry>, party: &Party, is_urgent: bool) -> Option<u64> {
        let amount = Amount { count: 1, bytes: entry.bytes() };
        let mut state = self.state();
        let is_reserved = entry.is_lifecycle() && state.reserved.enter(party, amount).is_ok();
        if !is_reserved && state.shares.enter(party, amount).is_err() {
            return None;
        }
        state.events.push(entry);
        state.last += 1;
        state.awaited += usize::from(is_urgent);
        // Much that waits is a hurry of its own.
        state.is_pressing |= state.events.len() > self.max / PRESSING_ONE_IN;
        state.is_urgent |= is_urgent || state.is_pressing;
        let ticket = state.last;
        self.wake(state);
        Some(ticket)
    }

    /// Asks for everything to be written and synced; the number of this request.
    pub(super) fn flush(&self) -> u64 {
        let mut state = self.state();
        state.flushes += 1;
        (state.is_urgent, state.is_pressing) = (true, true);
        let asked = state.flushes;
        self.wake(state);
        asked
    }

    /// Has the writer look after what it has, and what waits, without waiting for others.
    pub(super) fn hurry(&self) {
        let mut state = self.state();
        state.is_urgent = true;
        self.wake(state);
    }

    pub(super) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        (state.is_urgent, state.is_pressing) = (true, true);
        self.wake(state);
    }

    fn wake(&self, mut state: MutexGuard<'_, QueueState>) {
        let wakes = match state.sleep {
            Sleep::Awake => false,
            Sleep::Sound => true,
            Sleep::Gathering => state.is_urgent,
            Sleep::ForBatch(awaited) => state.is_pressing || state.awaited >= awaited,
        };
        if wakes {
            state.sleep = Sleep::Awake;
            drop(state);
            self.arrived.notify_one();
        }
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> (usize, usize) {
        let state = self.state();
        (state.events.len(), state.shares.total().bytes + state.reserved.total().bytes)
    }

    /// For the writer: takes all that waits, once something does, or when `until` is there. What is urgent waits
    /// for `batching`.
    pub(super) fn take(&self, until: Option<Instant>, batching: Batching, spare: Events) -> QueuedEvents {
        let mut state = self.await_due(until);
        if (1..batching.awaited).contains(&state.awaited) {
            let until = Instant::now() + batching.time;
            while !state.is_pressing && state.awaited < batching.awaited {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                state.sleep = Sleep::ForBatch(batching.awaited);
                state = self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                state.sleep = Sleep::Awake;
            }
        }
        let spare = if spare.capacity() > KEPT_MAX { Vec::new() } else { spare };
        let events = std::mem::replace(&mut state.events, spare);
        state.expects_more = !events.is_empty();
        let awaited = std::mem::take(&mut state.awaited);
        state.shares.clear();
        state.reserved.clear();
        // A closed queue stays urgent: the writer comes back for nothing but its end.
        let is_over = state.is_closed && events.is_empty();
        (state.is_urgent, state.is_pressing) = (state.is_closed, state.is_closed);
        QueuedEvents { events, awaited, last: state.last, flushes: state.flushes, is_over }
    }

    /// Waits until something is urgent, or its time has come.
    fn await_due(&self, until: Option<Instant>) -> MutexGuard<'_, QueueState> {
        let mut state = self.state();
        // Where events came a moment ago, the next ones need not wake the writer only to have it wait for others.
        let mut gather_until = state.expects_more.then(|| Instant::now() + self.gather);
        loop {
            let now = Instant::now();
            let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            let has_gathered = is_due(gather_until);
            if state.is_urgent || is_due(until) || (has_gathered && !state.events.is_empty()) {
                break;
            }
            gather_until = match state.events.is_empty() {
                true => gather_until.filter(|_| !has_gathered),
                false => gather_until.or(Some(now + self.gather)),
            };
            state.sleep = if gather_until.is_some() { Sleep::Gathering } else { Sleep::Sound };
            let next = [until, gather_until].into_iter().flatten().min();
            state = match next {
                Some(at) => {
                    let left = at.saturating_duration_since(now);
                    self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
            state.sleep = Sleep::Awake;
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpc_plugin_wire::event::EventKind;

    const LONG: Duration = Duration::from_secs(20);

    fn entry() -> Box<Entry> {
        Box::new(Entry::new(EventKind::Exited))
    }

    #[test]
    fn who_hands_over_what_follows_other_events_does_not_wake_the_writer() {
        let queue = EventQueue { gather: LONG, ..EventQueue::new(100) };
        let (taken, _) = take_beside(&queue, Batching::default(), || {
            assert_eq!(queue.state().sleep, Sleep::Sound);
            queue.push(entry(), &Party::Program, true).unwrap();
        });
        assert_eq!(taken.events.len(), 1);
        let (taken, _) = take_beside(&queue, Batching::default(), || {
            assert_eq!(queue.state().sleep, Sleep::Gathering, "more are likely to come");
            queue.push(entry(), &Party::Program, false).unwrap();
            assert_eq!(queue.state().sleep, Sleep::Gathering);
            queue.hurry();
        });
        assert_eq!(taken.events.len(), 1);
        // Nothing has come for as long as events gather.
        let queue = EventQueue { gather: Duration::ZERO, ..queue };
        let (taken, _) = take_beside(&queue, Batching::default(), || {
            assert_eq!(queue.state().sleep, Sleep::Sound);
            queue.push(entry(), &Party::Program, false).unwrap();
        });
        assert_eq!(taken.events.len(), 1);
    }

    /// Takes beside `meanwhile`, which begins when the writer waits.
    fn take_beside(
        queue: &EventQueue,
        batching: Batching,
        meanwhile: impl FnOnce(),
    ) -> (QueuedEvents, Duration) {
        std::thread::scope(|scope| {
            let begin = Instant::now();
            let writer = scope.spawn(|| queue.take(None, batching, Events::new()));
            while queue.state().sleep == Sleep::Awake && !writer.is_finished() {
                std::thread::yield_now();
            }
            meanwhile();
            (writer.join().unwrap(), begin.elapsed())
        })
    }

    #[test]
    fn what_is_awaited_waits_for_as_many_as_the_last_time() {
        let queue = EventQueue::new(100);
        queue.push(entry(), &Party::Program, true).unwrap();
        let batching = Batching { awaited: 3, time: LONG };
        let (taken, took) = take_beside(&queue, batching, || {
            queue.push(entry(), &Party::Program, false).unwrap();
            queue.push(entry(), &Party::Program, true).unwrap();
            queue.push(entry(), &Party::Program, true).unwrap();
        });
        assert_eq!((taken.events.len(), taken.awaited), (4, 3));
        assert!(took < LONG);
        assert_eq!(queue.state().awaited, 0);
    }

    #[test]
    fn it_does_not_wait_longer_than_it_was_told_nor_when_there_is_a_hurry() {
        let queue = EventQueue::new(100);
        let with = |time| Batching { awaited: 3, time };
        queue.push(entry(), &Party::Program, true).unwrap();
        assert_eq!(queue.take(None, with(Duration::from_millis(1)), Events::new()).awaited, 1);
        queue.push(entry(), &Party::Program, true).unwrap();
        let (taken, took) = take_beside(&queue, with(LONG), || {
            queue.flush();
        });
        assert_eq!((taken.awaited, taken.flushes), (1, 1));
        assert!(took < LONG);
        for _ in 0..3 {
            queue.push(entry(), &Party::Program, true).unwrap();
        }
        assert_eq!(queue.take(None, with(LONG), Events::new()).awaited, 3, "all are there");
    }

    fn of(kind: EventKind) -> Box<Entry> {
        Box::new(Entry::new(kind))
    }

    fn plugin(number: usize) -> Party {
        Party::Plugin(format!("p{number}").parse().unwrap())
    }

    /// How many events of that kind a party gets in until one is dropped.
    fn fill(queue: &EventQueue, party: &Party, kind: EventKind) -> usize {
        (0..).take_while(|_| queue.push(of(kind), party, false).is_some()).count()
    }

    #[test]
    fn plugins_that_flood_the_record_leave_room_for_others_and_for_what_happens() {
        let queue = EventQueue::new(128);
        assert_eq!(fill(&queue, &plugin(0), EventKind::Stdout), 48, "half of three quarters");
        for number in 1..5 {
            assert_eq!(fill(&queue, &plugin(number), EventKind::PluginLogged), 12, "an eighth");
        }
        assert_eq!(fill(&queue, &plugin(9), EventKind::Stdout), 0);
        // What happens to each of them, and what an operator does, is on record all the same.
        assert!(queue.push(of(EventKind::Exited), &plugin(0), true).is_some());
        assert!(queue.push(of(EventKind::AdminAction), &Party::Client(7), true).is_some());
        assert_eq!(queue.waiting().0, 98);
        assert_eq!(fill(&queue, &plugin(0), EventKind::StateChanged), 14, "nor is that one party's");
        assert_eq!(fill(&queue, &plugin(1), EventKind::StateChanged), 4);
        assert_eq!(queue.take(None, Batching::default(), Events::new()).events.len(), 116);
        assert_eq!(fill(&queue, &plugin(0), EventKind::Stdout), 48, "all of it is free again");
    }

    #[test]
    fn a_call_of_an_operator_has_no_room_of_its_own_and_a_lifecycle_may_use_all() {
        let queue = EventQueue::new(16);
        let client = Party::Client(7);
        let call =
            || Box::new(Entry::new(EventKind::AdminAction).level(rpc_plugin_wire::event::Level::Debug));
        assert_eq!((0..).take_while(|_| queue.push(call(), &client, false).is_some()).count(), 6);
        assert_eq!(fill(&queue, &plugin(1), EventKind::Exited), 2 + 2);
    }
}
