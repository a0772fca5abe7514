//! Driving the event loop: its own thread, or a caller that waits for an answer anyway.
//!
//! What this file is for: [`Engine`], which lends the loop to one thread at a time. Which thread that is decides
//! [`super::driver`]. What it deliberately does not do: know what the loop does; [`EventLoop`] is what it asks of it.
//!
//! What always holds: a caller drives until it has its answer and no longer; where a caller cannot go on, the loop's own
//! thread does.

use super::driver::{Driver, TICK};
use super::queue::{CommandSender, PostError};
use super::reply::{Awaitable, ReplySlot, SlotContent};
use super::thread_wait::ThreadWait;
use crate::state::call::CallEnd;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Answers in a row to one caller that was alone, after which the loop's own thread lets callers drive.
const ALONE_MIN: u32 = 3;

/// Callers that one turn of a loop woke.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Woken {
    /// How many.
    pub(crate) callers: usize,
    /// How many others still slept when the last one was woken.
    pub(crate) still_parked: usize,
}

/// An event loop, as whoever drives it sees it.
pub(crate) trait EventLoop {
    /// What other threads ask of it.
    type Command;

    /// A call that is to be made: what it asks where another thread drives.
    type Call<'c>: Into<Self::Command>;

    /// Waits, and handles what comes. `wait_max` bounds the wait further than what is due does.
    ///
    /// # Errors
    /// The loop itself is broken and cannot go on.
    fn turn(&mut self, wait_max: Option<Duration>) -> io::Result<()>;

    /// Does at once what is asked, after what was asked before.
    fn execute(&mut self, command: Self::Command);

    /// Begins a call at once, after what was asked before. `may_batch`: what is to be written for it may wait for more.
    fn begin(&mut self, call: Self::Call<'_>, may_batch: bool);

    /// Callers that the last turn woke.
    fn woken(&self) -> Woken;

    /// Whether no command waits.
    fn is_queue_empty(&mut self) -> bool;

    /// Whether something waits that is no command and comes with no event.
    fn has_unfinished(&self) -> bool;

    /// Whether its own thread has to go on.
    fn needs_own_thread(&self) -> bool;

    /// Whether it has ended and nothing is left to wait for.
    fn is_over(&self) -> bool;

    /// Puts on record that it cannot go on.
    fn fail(&mut self, error: &io::Error);

    /// Ends what is left. The last that is asked of it.
    fn finish(&mut self);
}

/// An event loop, and the right to drive it.
pub(crate) struct Engine<L: EventLoop> {
    driver: Arc<Driver>,
    commands: CommandSender<L::Command>,
    /// `None` once it has ended.
    event_loop: Mutex<Option<L>>,
    /// How long a caller that drives looks for its answer without sleeping. Zero: not at all.
    spin: Duration,
}

/// The right to drive, of a caller. Dropping it lets the next one drive.
struct Turn<'a, L: EventLoop> {
    driver: &'a Driver,
    event_loop: MutexGuard<'a, Option<L>>,
    failed: bool,
}

/// The loop in the hands of its own thread. A panic there ends it, so that nobody waits for what cannot
/// come; dropping the loop ends its plugins.
struct Own<'a, L: EventLoop>(MutexGuard<'a, Option<L>>);

impl<L: EventLoop> Own<'_, L> {
    fn end(mut self) -> bool {
        if let Some(mut event_loop) = self.0.take() {
            event_loop.finish();
        }
        true
    }
}

impl<L: EventLoop> Drop for Own<'_, L> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            *self.0 = None;
        }
    }
}

impl<L: EventLoop> Engine<L> {
    /// Lends this loop; a thread is to be given to [`Engine::run`]. `driver` is the one that wakes the loop's wait, and
    /// `commands` leads into the loop's queue.
    pub(crate) fn new(
        event_loop: L,
        driver: Arc<Driver>,
        commands: CommandSender<L::Command>,
        spin: Duration,
    ) -> Engine<L> {
        Engine { driver, commands, event_loop: Mutex::new(Some(event_loop)), spin }
    }

    /// As if the loop could not be woken once.
    #[cfg(test)]
    pub(crate) fn go_deaf(&self) {
        self.driver.go_deaf();
        self.driver.call();
    }

    /// The way into its queue.
    pub(crate) fn commands(&self) -> &CommandSender<L::Command> {
        &self.commands
    }

    fn lock(&self) -> MutexGuard<'_, Option<L>> {
        self.event_loop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drives the loop until it has ended, on the thread that is to be its own.
    pub(crate) fn run(&self) {
        self.driver.set_thread(std::thread::current());
        let mut turns = self.driver.turns();
        loop {
            if let Some(called) = self.driver.take_over() {
                let stay = called || turns == self.driver.turns();
                if self.drive_own(stay) {
                    break;
                }
            }
            turns = self.driver.turns();
            std::thread::park_timeout(TICK);
        }
    }

    /// Drives on the loop's own thread: one look, or until a caller had better. Whether the loop has ended.
    fn drive_own(&self, mut stay: bool) -> bool {
        let mut own = Own(self.lock());
        let Some(event_loop) = own.0.as_mut() else { return true };
        if self.event_loop.is_poisoned() {
            event_loop.fail(&io::Error::other("a caller's thread panicked in it"));
            return own.end();
        }
        let mut alone = 0;
        loop {
            let wait_max = if stay { None } else { Some(Duration::ZERO) };
            if let Err(error) = event_loop.turn(wait_max) {
                event_loop.fail(&error);
                return own.end();
            }
            if event_loop.is_over() {
                return own.end();
            }
            stay |= event_loop.needs_own_thread();
            match event_loop.woken() {
                Woken { callers: 0, .. } => {}
                Woken { callers: 1, still_parked: 0 } => alone += 1,
                _ => alone = 0,
            }
            let others_may = alone >= ALONE_MIN && !event_loop.needs_own_thread();
            if !stay || (others_may && event_loop.is_queue_empty()) {
                leave(event_loop, &self.driver, false);
                return false;
            }
        }
    }

    /// The right to drive, if nobody has it.
    fn enter(&self) -> Option<Turn<'_, L>> {
        if !self.driver.enter() {
            return None;
        }
        Some(Turn { driver: &self.driver, event_loop: self.lock(), failed: false })
    }

    /// Has a call begun. It may wait for others, at most a tick, while another call to the same plugin is
    /// unanswered; [`Engine::wait`] sends all that waits.
    pub(crate) fn begin(&self, call: L::Call<'_>) -> Result<(), PostError> {
        match self.enter() {
            None => self.commands.post(call.into()),
            Some(mut turn) => turn.ask(|event_loop| event_loop.begin(call, true)),
        }
    }

    /// Has a call begun and waits for its end. `None`: the loop ended before.
    pub(crate) fn call(
        &self,
        call: L::Call<'_>,
        slot: &ReplySlot,
    ) -> Result<Option<Box<CallEnd>>, PostError> {
        match self.enter() {
            None => self.commands.post(call.into())?,
            Some(mut turn) => {
                turn.ask(|event_loop| event_loop.begin(call, false))?;
                turn.drive(slot, self.spin, None);
            }
        }
        Ok(self.wait(slot))
    }

    /// Waits for the end of a call, by driving where nobody else does. `None`: the loop ended before.
    ///
    /// The loop ends every call by its deadline; if the loop itself ends, so does this wait.
    pub(crate) fn wait(&self, slot: &ReplySlot) -> Option<Box<CallEnd>> {
        loop {
            match slot.take() {
                SlotContent::End(end) => return Some(end),
                SlotContent::Closed => return None,
                SlotContent::Empty => {}
            }
            match self.enter() {
                Some(mut turn) => turn.drive(slot, self.spin, None),
                None => self.park(slot, None),
            };
        }
    }

    /// Waits until there is something to take, for `timeout` at the most, by driving where nobody else does; whether
    /// there is. A standstill of the host does not count, and what came in time is there.
    pub(crate) fn wait_for(&self, awaited: &impl Awaitable, timeout: Option<Duration>) -> bool {
        let mut limit = timeout.map(ThreadWait::new);
        let mut is_over = false;
        loop {
            if awaited.is_done() {
                return true;
            }
            if is_over {
                return false;
            }
            is_over = match self.enter() {
                Some(mut turn) => turn.drive(awaited, self.spin, limit.as_mut()),
                None => self.park(awaited, limit.as_mut()),
            }
        }
    }

    /// Says that what a thread of this host waits for came from elsewhere. `is_woken`: the thread was parked here;
    /// `look`: the command that has the driver look whether what it waits for is there.
    pub(crate) fn ended_elsewhere(&self, is_woken: bool, look: L::Command) {
        if is_woken {
            self.driver.unparked();
        } else {
            // If the queue is full, whoever drives is awake.
            let _ = self.commands.post(look);
        }
    }

    /// Has done what must not be lost, at once where nobody else drives.
    pub(crate) fn execute(&self, command: L::Command) {
        match self.enter() {
            None => self.commands.deliver(command),
            Some(mut turn) => drop(turn.ask(|event_loop| event_loop.execute(command))),
        }
    }

    /// Sleeps until there is something to take, or nobody who could bring it, or the wait is over; whether it is.
    fn park(&self, awaited: &impl Awaitable, limit: Option<&mut ThreadWait>) -> bool {
        let left = limit.map(ThreadWait::left);
        if left.is_some_and(|left| left.is_zero()) {
            return true;
        }
        // First counted, then enlisted: who brings it takes the count back.
        let driven = self.driver.park();
        let enlisted = awaited.enlist();
        if enlisted && driven {
            match left {
                None => std::thread::park(),
                Some(left) => std::thread::park_timeout(left),
            }
        }
        if !enlisted || awaited.withdraw() {
            self.driver.unparked();
        }
        false
    }
}

impl<L: EventLoop> Turn<'_, L> {
    fn ask(&mut self, what: impl FnOnce(&mut L)) -> Result<(), PostError> {
        self.event_loop.as_mut().map(what).ok_or(PostError::Ended)
    }

    /// Drives until there is something to take, or the wait is over, as far as a caller can; whether it is over. Then the
    /// last turn has looked for what came before its end.
    fn drive(
        &mut self,
        awaited: &impl Awaitable,
        spin: Duration,
        mut limit: Option<&mut ThreadWait>,
    ) -> bool {
        let Some(event_loop) = self.event_loop.as_mut() else { return false };
        let begun = (!spin.is_zero()).then(Instant::now);
        while !awaited.is_done() && !event_loop.needs_own_thread() {
            let spins = begun.is_some_and(|begun| begun.elapsed() < spin);
            let left = limit.as_mut().map(|limit| limit.left());
            let wait_max = if spins { Some(Duration::ZERO) } else { left };
            if event_loop.turn(wait_max).is_err() {
                // The loop's own thread finds the same, and ends.
                self.failed = true;
                return false;
            }
            if left.is_some_and(|left| left.is_zero()) {
                return true;
            }
        }
        false
    }
}

impl<L: EventLoop> Drop for Turn<'_, L> {
    fn drop(&mut self) {
        let failed = self.failed || std::thread::panicking();
        match self.event_loop.as_mut() {
            Some(event_loop) => leave(event_loop, self.driver, failed),
            // It has ended; its own thread has nothing to look for, and nobody waits.
            None => self.driver.leave(false, || false),
        }
    }
}

/// Stops driving, and has the loop's own thread go on where something cannot wait.
fn leave<L: EventLoop>(event_loop: &mut L, driver: &Driver, failed: bool) {
    let must_go_on = failed || event_loop.has_unfinished() || event_loop.needs_own_thread();
    driver.leave(must_go_on, || !event_loop.is_queue_empty());
}
