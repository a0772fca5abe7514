//! What the threads share: the requests that are not answered yet, the queue, and who reads from the host.
//!
//! One thread at a time has the *reading role*. It works off the queue itself as long as the calls are
//! quick; before one that may take long it gives the role up and wakes another thread for it. When a call
//! that seemed quick blocks after all, [`Pool::tick`] takes the role from its thread.
//!
//! What it deliberately does not do: run handlers, read, or write; the worker does that.
//!
//! What always holds: the queue is bounded; at most `threads` handlers run, of one thread more, so one is
//! always left to read (what becomes of those that wait is in `places`); an id is in here from the request until just before its answer is sent, so that
//! the host may use it again as soon as it has the answer; while nobody reads, or something is queued that
//! nobody reading works off, a thread is on its way to it, or all are busy; at most one is being woken.

use crate::bell::Bell;
use crate::call::Call;
use crate::error::{End, Error};
use crate::frames::Frames;
use crate::ids::ById;
use crate::places::Waiter;
use crate::source::Source;
use crate::task::{Job, Refusal, Room, Step, Task, Tick};
use crate::watch::{TICK, Watch};
use rpc_plugin_interface::Context;
use rpc_plugin_wire::RequestId;
use std::collections::VecDeque;
use std::mem::{swap, take};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Collected answers, and bytes of them, from which on they are sent before another call is run.
const COLLECTED_MAX: usize = 32;
pub(crate) const COLLECTED_BYTES_MAX: usize = 16 * 1024;
/// Quick calls that would keep the reading thread longer than this, all together, are given to several.
const BACKLOG_NS_MAX: u64 = 2_000_000;
/// Quick calls, each within a tick of the one before, that make the monitor worth its ticks.
const BURST: usize = 3;

/// Who reads from the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Nobody ever again, or not yet.
    Ended,
    /// Whoever comes first.
    Free,
    /// A thread that does so, or deals with what it has read.
    Held,
    /// A thread that runs a call of method number `method`; `run` is never the same again.
    Running { run: u64, method: usize },
}

pub(crate) struct State {
    pub(crate) queue: VecDeque<Job>,
    /// Queued and running calls. Only looked up, never walked to decide anything.
    pub(crate) unanswered: ById<Call>,
    pub(crate) role: Role,
    /// With the thread that reads while it does so, else here.
    source: Option<Source>,
    /// Whether it holds frames that nobody has looked at.
    unparsed: bool,
    /// Answers of the reading thread, not sent yet.
    pub(crate) collected: Frames,
    pub(crate) collected_frames: usize,
    /// Threads that wait for something to do.
    pub(crate) idle: usize,
    /// Whether one of them has been woken and is not there yet.
    waking: bool,
    /// Threads that run a handler or send its answer.
    pub(crate) running: usize,
    /// Threads whose handler waits for a call of its own and has given its place.
    pub(crate) waiting: usize,
    /// These, and those that have kept it.
    pub(crate) waiters: Vec<Waiter>,
    pub(crate) last_waiter: u64,
    /// All threads.
    pub(crate) workers: usize,
    pub(crate) watch: Watch,
    runs: u64,
    /// Quick calls in a row that came soon after the one before, and when the last one came.
    streak: usize,
    last_quick: Option<Instant>,
    end: Option<Result<End, Error>>,
    closed: bool,
}

pub(crate) struct Pool {
    pub(crate) threads: usize,
    queue_max: usize,
    /// Whether a handler that waits gives its place.
    pub(crate) reentrant: bool,
    bell: Arc<Bell>,
    state: Mutex<State>,
    queued: Condvar,
    /// Told when the pool is closed and no worker runs any more.
    all_done: Condvar,
}

impl Pool {
    pub(crate) fn new(threads: usize, queue_max: usize, reentrant: bool, bell: Arc<Bell>) -> Pool {
        let state = State {
            queue: VecDeque::new(),
            unanswered: ById::default(),
            role: Role::Ended,
            source: None,
            unparsed: false,
            collected: Frames::default(),
            collected_frames: 0,
            idle: 0,
            waking: false,
            running: 0,
            waiting: 0,
            waiters: Vec::new(),
            last_waiter: 0,
            workers: threads + 1,
            watch: Watch::default(),
            runs: 0,
            streak: 0,
            last_quick: None,
            end: None,
            closed: false,
        };
        let (queued, all_done) = (Condvar::new(), Condvar::new());
        Pool { threads, queue_max, reentrant, bell, state: Mutex::new(state), queued, all_done }
    }

    /// Lets reading begin.
    pub(crate) fn open(&self, source: Source) {
        let mut state = self.lock();
        (state.source, state.unparsed) = (Some(source), true);
        state.role = Role::Free;
        self.wake_one(state);
    }

    /// Queues all of `jobs`, in order, for the thread with the reading role, which is to work them off.
    /// Those that find the queue full, or could only wait for themselves, go to `refused`.
    ///
    /// # Errors
    /// The id of a job whose id is in use already; that job and those after it are not queued.
    pub(crate) fn submit(
        &self,
        jobs: &mut Vec<Job>,
        mut refused: impl FnMut(&Call, Refusal),
    ) -> Result<Room, RequestId> {
        let mut state = self.lock();
        for job in jobs.drain(..) {
            if state.unanswered.contains_key(job.call.id()) {
                return Err(job.call.id().clone());
            }
            if self.is_stuck(&state, job.call.chain()) {
                refused(&job.call, Refusal::WouldDeadlock);
                continue;
            }
            if state.queue.len() >= self.queue_max {
                refused(&job.call, Refusal::QueueFull);
                continue;
            }
            state.unanswered.insert(job.call.id().clone(), job.call.clone());
            state.queue.push_back(job);
        }
        let jobs = self.queue_max.saturating_sub(state.queue.len());
        Ok(Room { jobs, worked_off: state.running < self.threads })
    }

    /// Whether a request of that id is not answered yet.
    pub(crate) fn is_unanswered(&self, id: &RequestId) -> bool {
        self.lock().unanswered.contains_key(id)
    }

    /// Whether this very call is not answered yet.
    pub(crate) fn is_unanswered_call(&self, call: &Context) -> bool {
        self.lock().unanswered.get(call.id()).is_some_and(|known| known.context().is_same(call))
    }

    /// The next thing to do; waits for one. A worker passes whether it has just sent the answer of a job
    /// that it ran without the reading role.
    pub(crate) fn next(&self, has_answered: bool) -> Task {
        let mut state = self.lock();
        if has_answered {
            state.running -= 1;
        }
        loop {
            if state.closed {
                if state.running + state.waiting == 0 {
                    self.all_done.notify_all();
                }
                return Task::Stop;
            }
            if state.role == Role::Free {
                state.role = Role::Held;
                return Task::Read;
            }
            if state.running < self.threads
                && let Some(job) = state.queue.pop_front()
            {
                state.running += 1;
                self.wake_one(state);
                return Task::Run(job);
            }
            state.idle += 1;
            state = self.queued.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
            state.waking = false;
        }
    }

    /// What the thread with the reading role is to do next. It passes the number of the call that it has
    /// just run, if so, with the answer, which is collected unless the role is lost; `buffer` is empty and
    /// receives what is to be flushed; `now` is the time where it is known.
    pub(crate) fn step(
        &self,
        done: Option<(u64, &Call)>,
        answer: &mut Frames,
        buffer: &mut Frames,
        now: &mut Option<Instant>,
    ) -> Step {
        let mut state = self.lock();
        if let Some((done, call)) = done {
            state.unanswered.remove(call.id());
            if !matches!(state.role, Role::Running { run, .. } if run == done) {
                return Step::Lost;
            }
            state.role = Role::Held;
            state.running -= 1;
            state.collect(answer, 1);
        }
        if state.closed {
            state.role = Role::Ended;
            return Step::Stop;
        }
        let Some((method, in_place)) = self.consider_first(&mut state, now) else {
            if state.collected.is_empty() {
                return state.give_source(self.queue_max);
            }
            return state.flush_into(buffer);
        };
        let enough = state.collected_frames >= COLLECTED_MAX || state.collected.len() >= COLLECTED_BYTES_MAX;
        if enough || (!in_place && !state.collected.is_empty()) {
            return state.flush_into(buffer);
        }
        let Some(job) = state.queue.pop_front() else { return state.give_source(self.queue_max) };
        state.running += 1;
        if in_place {
            state.runs += 1;
            let run = state.runs;
            state.role = Role::Running { run, method };
            return Step::Run(job, run);
        }
        state.role = Role::Free;
        self.wake_one(state);
        Step::HandedOver(job)
    }

    /// The method of the first job of the queue, if one may run now, and whether the reading thread is to run
    /// it itself.
    fn consider_first(&self, state: &mut State, now: &mut Option<Instant>) -> Option<(usize, bool)> {
        if state.running >= self.threads {
            return None;
        }
        let method = state.queue.front()?.call.inner_method();
        let queued = state.queue.len();
        let backlog = |quick_ns| u64::try_from(queued).unwrap_or(u64::MAX).saturating_mul(quick_ns);
        let quick = method.pace.quick_ns().is_some_and(|quick_ns| backlog(quick_ns) <= BACKLOG_NS_MAX);
        let number = method.number;
        Some((number, quick && self.is_watched(state, queued, now)))
    }

    /// Whether the monitor ticks, so that a call which blocks does not keep the role. It is woken when
    /// quick calls are many; few are not worth the ticks.
    fn is_watched(&self, state: &mut State, queued: usize, now: &mut Option<Instant>) -> bool {
        if state.watch.is_awake() {
            return true;
        }
        let now = *now.get_or_insert_with(Instant::now);
        let soon = state.last_quick.is_some_and(|last| now.saturating_duration_since(last) < TICK);
        state.streak = if soon { state.streak + 1 } else { 0 };
        state.last_quick = Some(now);
        if state.streak + queued <= BURST {
            return false;
        }
        state.watch.wake();
        self.bell.ring();
        true
    }

    /// The reading thread gives the source back, with answers of its own. It says whether frames are left.
    pub(crate) fn give_back(&self, source: Source, unparsed: bool, answers: &mut Frames) {
        let mut state = self.lock();
        (state.source, state.unparsed) = (Some(source), unparsed);
        if !answers.is_empty() {
            // Whoever asked for these asked for no handler: they are not kept for more.
            state.collect(answers, COLLECTED_MAX);
        }
    }

    /// The reading thread gives the role up to send answers, for which it may have to wait. Fails when
    /// all others are busy; if not, it is to come back through [`Pool::next`] as having answered.
    pub(crate) fn leave_to_send(&self) -> bool {
        let mut state = self.lock();
        if state.running >= self.threads {
            return false;
        }
        state.running += 1;
        state.role = Role::Free;
        self.wake_one(state);
        true
    }

    /// Nothing more is read.
    pub(crate) fn end(&self, end: Result<End, Error>) {
        let mut state = self.lock();
        state.role = Role::Ended;
        state.end = Some(end);
        self.wake_one(state);
        self.bell.ring();
    }

    /// For the main thread: the end if it is there, and the monitor's work.
    pub(crate) fn tick(&self, now: Instant) -> Tick {
        let mut state = self.lock();
        if let Some(end) = state.end.take() {
            return Tick::End(end);
        }
        let run = match state.role {
            Role::Running { run, .. } => Some(run),
            _ => None,
        };
        let runs = state.runs;
        if state.watch.tick(now, run, runs) {
            let Role::Running { method, .. } = state.role else { return Tick::Watching(TICK) };
            state.role = Role::Free;
            state.collected_frames = 0;
            let answers = take(&mut state.collected);
            self.wake_one(state);
            return Tick::Rescued { answers, method };
        }
        state.watch.left(now).map_or(Tick::Asleep, Tick::Watching)
    }

    /// Says that the answer of `call` is about to be sent.
    pub(crate) fn answered(&self, call: &Call) {
        self.lock().unanswered.remove(call.id());
    }

    /// Cancels a request. When no worker has it yet, it is taken out and returned, to be answered by the
    /// caller. An id that is not in use means that the answer was faster.
    pub(crate) fn cancel(&self, id: &RequestId) -> Option<Call> {
        let mut state = self.lock();
        let call = state.unanswered.get(id).cloned()?;
        let Some(at) = state.queue.iter().position(|job| job.call.id() == id) else {
            drop(state);
            call.cancel();
            return None;
        };
        state.queue.remove(at);
        state.unanswered.remove(id);
        Some(call)
    }

    /// Takes no more jobs, cancels what runs, and returns what was queued, to be answered by the caller.
    pub(crate) fn close(&self) -> Vec<Call> {
        let mut state = self.lock();
        state.closed = true;
        let queued: Vec<Call> = state.queue.drain(..).map(|job| job.call).collect();
        for call in &queued {
            state.unanswered.remove(call.id());
        }
        let running: Vec<Call> = state.unanswered.values().cloned().collect();
        drop(state);
        self.queued.notify_all();
        running.iter().for_each(Call::cancel);
        queued
    }

    /// After [`Pool::close`]: waits until every handler has answered, at most until `deadline`.
    pub(crate) fn wait_all_done(&self, deadline: Instant) {
        let mut state = self.lock();
        while state.running + state.waiting > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.all_done.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes a worker where one is needed. The woken one wakes the next, so nobody wakes more than one.
    /// A notify is a system call in any case, which is why it is avoided here and made without the lock.
    pub(crate) fn wake_one(&self, mut state: MutexGuard<'_, State>) {
        let needed = match state.role {
            Role::Free => true,
            // The thread that has the role works the queue off. But when a handler gave its place while it waits,
            // that thread may be reading.
            Role::Held | Role::Running { .. } => {
                state.waiting > 0 && !state.queue.is_empty() && state.running < self.threads
            }
            Role::Ended => !state.queue.is_empty() && state.running < self.threads,
        };
        if needed && state.idle > 0 && !state.waking {
            state.waking = true;
            drop(state);
            self.queued.notify_one();
        }
    }
}

impl State {
    fn collect(&mut self, answers: &mut Frames, frames: usize) {
        self.collected_frames += frames;
        if self.collected.is_empty() {
            swap(&mut self.collected, answers);
        } else {
            self.collected.append(answers);
        }
    }

    fn flush_into(&mut self, buffer: &mut Frames) -> Step {
        swap(&mut self.collected, buffer);
        self.collected_frames = 0;
        Step::Flush
    }

    fn give_source(&mut self, queue_max: usize) -> Step {
        let queue_room = queue_max.saturating_sub(self.queue.len());
        match self.source.take() {
            Some(source) => Step::Read { source, unparsed: self.unparsed, queue_room },
            None => Step::Stop,
        }
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
