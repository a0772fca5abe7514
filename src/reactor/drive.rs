//! Driving the event loop: its own thread, and callers that wait for an answer anyway.
//!
//! What this file is for: [`Engine`], which lends the loop to one thread at a time. Who drives is
//! [`super::gate`]'s matter. What it deliberately does not do: anything of the loop itself.
//!
//! What always holds: plugins are launched on the loop's own thread only; a caller drives until it has its
//! answer and no longer; where a caller cannot go on, the loop's own thread does.

use super::gate::{Gate, TICK};
use super::mail::{Command, NewCall, Port, PostError};
use super::slot::{Awaited, Slot, Taken};
use super::{Reactor, Setup};
use crate::state::action::{CallEnd, Note};
use rpc_plugin_wire::event::EventKind;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of calls begun that may wait for a common write before they go out by themselves.
const GATHER_BYTES_MAX: usize = 16 * 1024;
/// Answers in a row to one caller that was alone, after which the loop's own thread lets callers drive.
const ALONE_MIN: u32 = 3;

/// An event loop, and the right to drive it.
pub(crate) struct Engine {
    gate: Arc<Gate>,
    port: Port,
    /// `None` once it has ended.
    reactor: Mutex<Option<Reactor>>,
    /// How long a caller that drives looks for its answer without sleeping. Zero: not at all.
    spin: Duration,
}

/// The right to drive, of a caller. Dropping it lets the next one drive.
struct Turn<'a> {
    gate: &'a Gate,
    reactor: MutexGuard<'a, Option<Reactor>>,
    failed: bool,
}

/// The loop in the hands of its own thread. A panic there ends it, so that nobody waits for what cannot
/// come; dropping the loop ends its plugins.
struct Own<'a>(MutexGuard<'a, Option<Reactor>>);

impl Own<'_> {
    fn end(mut self) -> bool {
        if let Some(mut reactor) = self.0.take() {
            reactor.finish();
        }
        true
    }
}

impl Drop for Own<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            *self.0 = None;
        }
    }
}

impl Engine {
    /// Makes the loop; a thread is to be given to [`Engine::run`].
    pub(crate) fn new(setup: Setup, spin: Duration) -> io::Result<Engine> {
        let (reactor, port) = Reactor::new(setup)?;
        let gate = Arc::clone(&reactor.gate);
        Ok(Engine { gate, port, reactor: Mutex::new(Some(reactor)), spin })
    }

    /// As if the loop could not be woken once.
    #[cfg(test)]
    pub(crate) fn go_deaf(&self) {
        self.gate.go_deaf();
        self.gate.call();
    }

    pub(crate) fn port(&self) -> &Port {
        &self.port
    }

    fn lock(&self) -> MutexGuard<'_, Option<Reactor>> {
        self.reactor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drives the loop until it has ended, on the thread that is to be its own.
    pub(crate) fn run(&self) {
        self.gate.set_thread(std::thread::current());
        let mut turns = self.gate.turns();
        loop {
            if let Some(called) = self.gate.take_over() {
                let stay = called || turns == self.gate.turns();
                if self.drive_own(stay) {
                    break;
                }
            }
            turns = self.gate.turns();
            std::thread::park_timeout(TICK);
        }
    }

    /// Drives on the loop's own thread: one look, or until a caller had better. Whether the loop has ended.
    fn drive_own(&self, mut stay: bool) -> bool {
        let mut own = Own(self.lock());
        let Some(reactor) = own.0.as_mut() else { return true };
        reactor.on_own_thread = true;
        if self.reactor.is_poisoned() {
            reactor.fail(&io::Error::other("a caller's thread panicked in it"));
            return own.end();
        }
        let mut alone = 0;
        loop {
            let wait_max = if stay { None } else { Some(Duration::ZERO) };
            if let Err(error) = reactor.turn(wait_max) {
                reactor.fail(&error);
                return own.end();
            }
            if reactor.is_over() {
                return own.end();
            }
            stay |= reactor.needs_own_thread();
            match (reactor.woken, reactor.still_parked) {
                (0, _) => {}
                (1, 0) => alone += 1,
                _ => alone = 0,
            }
            if !stay || (alone >= ALONE_MIN && !reactor.needs_own_thread() && reactor.mailbox.is_empty()) {
                reactor.leave(&self.gate, false);
                return false;
            }
        }
    }

    /// The right to drive, if nobody has it.
    fn enter(&self) -> Option<Turn<'_>> {
        if !self.gate.enter() {
            return None;
        }
        Some(Turn { gate: &self.gate, reactor: self.lock(), failed: false })
    }

    /// Begins a call. It may wait for company, at most a tick, while another call to the same plugin is
    /// unanswered; [`Engine::wait`] sends all that waits.
    pub(crate) fn begin(&self, call: NewCall) -> Result<(), PostError> {
        match self.enter() {
            None => self.port.post(Command::Call(Box::new(call))),
            Some(mut turn) => turn.begin(call, true),
        }
    }

    /// Begins a call and waits for its end. `None`: the loop ended before.
    pub(crate) fn call(&self, call: NewCall, slot: &Slot) -> Result<Option<CallEnd>, PostError> {
        match self.enter() {
            None => self.port.post(Command::Call(Box::new(call)))?,
            Some(mut turn) => {
                turn.begin(call, false)?;
                turn.drive(slot, self.spin, None);
            }
        }
        Ok(self.wait(slot))
    }

    /// Waits for the end of a call, by driving where nobody else does. `None`: the loop ended before.
    ///
    /// The loop ends every call by its deadline; if the loop itself ends, so does this wait.
    pub(crate) fn wait(&self, slot: &Slot) -> Option<CallEnd> {
        loop {
            match slot.take() {
                Taken::End(end) => return Some(end),
                Taken::Over => return None,
                Taken::Nothing => {}
            }
            if let Some(mut turn) = self.enter() {
                turn.drive(slot, self.spin, None);
                continue;
            }
            self.park(slot, None);
        }
    }

    /// Waits until there is something to take, or `until` has come, by driving where nobody else does; whether there
    /// is.
    pub(crate) fn wait_for(&self, awaited: &impl Awaited, until: Option<Instant>) -> bool {
        loop {
            if awaited.is_done() {
                return true;
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return false;
            }
            match self.enter() {
                Some(mut turn) => turn.drive(awaited, self.spin, until),
                None => self.park(awaited, until),
            }
        }
    }

    /// A call of another host ended, for which a thread waits that is of this one; `is_woken`: it was parked here.
    pub(crate) fn ended_elsewhere(&self, is_woken: bool) {
        if is_woken {
            self.gate.unparked();
        } else {
            // If the queue is full, whoever drives is awake.
            let _ = self.port.post(Command::Settled);
        }
    }

    /// The callers of these calls have gone.
    pub(crate) fn cancel(&self, slots: Vec<Slot>) {
        match self.enter() {
            None => self.port.deliver(Command::Cancel(slots)),
            Some(mut turn) => turn.cancel(&slots),
        }
    }

    /// Sleeps until there is something to take, or nobody who could bring it, or `until` has come.
    fn park(&self, awaited: &impl Awaited, until: Option<Instant>) {
        // First counted, then enlisted: who brings it takes the count back.
        let driven = self.gate.park();
        let enlisted = awaited.enlist();
        if enlisted && driven {
            match until {
                None => std::thread::park(),
                Some(until) => std::thread::park_timeout(until.saturating_duration_since(Instant::now())),
            }
        }
        if !enlisted || awaited.withdraw() {
            self.gate.unparked();
        }
    }
}

impl Turn<'_> {
    fn begin(&mut self, call: NewCall, gather: bool) -> Result<(), PostError> {
        let Some(reactor) = self.reactor.as_mut() else { return Err(PostError::Ended) };
        // What this thread posted before comes before.
        let now = reactor.take_commands(reactor.now());
        let plugin = reactor.begin_call(now, call).and_then(|key| reactor.supervisor.plugin(key));
        if gather && plugin.is_some_and(|plugin| plugin.has_company(GATHER_BYTES_MAX)) {
            reactor.perform_all(now);
        } else {
            reactor.settle(now);
        }
        Ok(())
    }

    fn cancel(&mut self, slots: &[Slot]) {
        let Some(reactor) = self.reactor.as_mut() else { return };
        // What is to be cancelled may have been posted by another thread.
        let now = reactor.take_commands(reactor.now());
        reactor.cancel_calls(now, slots);
        reactor.settle(now);
    }

    /// Drives until there is something to take, or `until` has come, as far as a caller can.
    fn drive(&mut self, awaited: &impl Awaited, spin: Duration, until: Option<Instant>) {
        let Some(reactor) = self.reactor.as_mut() else { return };
        let begun = (!spin.is_zero()).then(Instant::now);
        while !awaited.is_done() && !reactor.needs_own_thread() {
            let spins = begun.is_some_and(|begun| begun.elapsed() < spin);
            let mut wait_max = spins.then_some(Duration::ZERO);
            if let Some(until) = until {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return;
                }
                wait_max = wait_max.or(Some(left));
            }
            if reactor.turn(wait_max).is_err() {
                // The loop's own thread finds the same, and ends.
                self.failed = true;
                return;
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let failed = self.failed || std::thread::panicking();
        match self.reactor.as_mut() {
            Some(reactor) => reactor.leave(self.gate, failed),
            // It has ended; its own thread has nothing to look for, and nobody waits.
            None => self.gate.leave(false, || false),
        }
    }
}

impl Reactor {
    /// Stops driving, and has the loop's own thread go on where something cannot wait.
    fn leave(&mut self, gate: &Gate, failed: bool) {
        self.on_own_thread = false;
        let must_go_on = failed || !self.unfinished.is_empty() || self.needs_own_thread();
        let mailbox = &mut self.mailbox;
        gate.leave(must_go_on, || !mailbox.is_empty());
    }

    /// The loop itself is broken: only a fault of its epoll descriptor, or a bug, comes here.
    fn fail(&mut self, error: &io::Error) {
        let text = "the event loop cannot go on";
        self.recorder.record(Note::new(EventKind::HostFault, text).error(error.to_string()));
        self.end_reason = Some(format!("{text}: {error}"));
        self.is_broken = true;
    }
}
