//! What the threads share: the requests that are not answered yet, the queue, and who reads from the host.
//!
//! One thread at a time has the *reading role*. It runs calls itself as long as they are quick: one that it has just read
//! directly, those that came with it from the queue, where others find them should it be kept. Before a call that may take
//! long it gives the role up and wakes another thread for it. When a call that seemed quick blocks after all,
//! [`Pool::tick`] takes the role from its thread.
//!
//! A handler that waits for a request of its own gives its place, and the reading role if it has that, to another thread;
//! one more is started where there would be none left. Where it keeps its place instead, a call that could only wait for
//! itself is found.
//!
//! What it deliberately does not do: run handlers, read, write, wait for a handler, or start threads.
//!
//! What always holds: the queue is bounded; at most `threads` handlers run, of one thread more, so one is always left to
//! read; there is a further thread for each handler that waits without a place, which goes on at once, so that for a moment
//! more than `threads` may run; an id is in here from the request until just before its answer is sent, so that the host may
//! use it again as soon as it has the answer; while nobody reads, or something is queued that nobody reading works off, a
//! thread is on its way to it, or all are busy; at most one is being woken.

use crate::attachments::Frames;
use crate::call::Call;
use crate::connection::Input;
use crate::error::{End, Error};
use crate::monitor::{Monitor, TICK};
use crate::reply_slot::ReplySlot;
use crate::suspension::{WAITING_MAX, Waiters};
use crate::task::{AfterSuspend, Job, Refusal, Room, Step, Task, Tick};
use crate::wake_pipe::WakePipe;
use rpc_plugin_interface::Context;
use rpc_plugin_peer::{NotEntered, RequestsIn, Role, Violation};
use rpc_plugin_wire::{CancelCause, Chain, RequestId};
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
pub(crate) enum ReadingRole {
    /// No thread: reading has not begun, or is over.
    Ended,
    /// The first thread that asks for work.
    Free,
    /// A thread that does so, or deals with what it has read.
    Held,
    /// A thread that runs a call of method number `method`; `run` is never the same again.
    Running { run: u64, method: usize },
}

pub(crate) struct PoolState {
    queue: VecDeque<Job>,
    /// Queued and running calls. Only looked up, never walked to decide anything.
    unanswered: RequestsIn<Call>,
    role: ReadingRole,
    /// With the thread that reads while it does so, else here.
    input: Option<Box<Input>>,
    /// Answers of the reading thread, not sent yet.
    collected: Frames,
    collected_frames: usize,
    /// Threads that wait for something to do.
    idle: usize,
    /// Whether one of them has been woken and is not there yet.
    waking: bool,
    /// Threads that run a handler or send its answer.
    running: usize,
    /// Threads whose handler waits for a request of its own and has given its place.
    waiting: usize,
    /// These, and those that have kept it.
    waiters: Waiters,
    /// All threads.
    workers: usize,
    monitor: Monitor,
    runs: u64,
    /// Quick calls in a row that came soon after the one before, and when the last one came.
    streak: usize,
    last_quick: Option<Instant>,
    end: Option<Result<End, Error>>,
    closed: bool,
}

pub(crate) struct Pool {
    threads: usize,
    queue_max: usize,
    /// Whether a handler that waits gives its place.
    reentrant: bool,
    wake_pipe: Arc<WakePipe>,
    state: Mutex<PoolState>,
    queued: Condvar,
    /// Notified when the pool is closed and no worker runs any more.
    all_done: Condvar,
}

impl Pool {
    /// `threads` is how many handlers run at once; one thread more belongs to it.
    pub(crate) fn new(threads: usize, queue_max: usize, reentrant: bool, wake_pipe: Arc<WakePipe>) -> Pool {
        let state = PoolState {
            queue: VecDeque::new(),
            unanswered: RequestsIn::new(Role::Plugin, usize::MAX, usize::MAX),
            role: ReadingRole::Ended,
            input: None,
            collected: Frames::default(),
            collected_frames: 0,
            idle: 0,
            waking: false,
            running: 0,
            waiting: 0,
            waiters: Waiters::default(),
            workers: threads + 1,
            monitor: Monitor::default(),
            runs: 0,
            streak: 0,
            last_quick: None,
            end: None,
            closed: false,
        };
        let (queued, all_done) = (Condvar::new(), Condvar::new());
        Pool { threads, queue_max, reentrant, wake_pipe, state: Mutex::new(state), queued, all_done }
    }

    /// Lets reading begin.
    pub(crate) fn open(&self, input: Box<Input>) {
        let mut state = self.lock();
        state.input = Some(input);
        state.role = ReadingRole::Free;
        self.wake_one(state);
    }

    /// Queues all of `jobs`, in order, for the thread with the reading role, which is to work them off.
    /// Those that find the queue full, or could only wait for themselves, go to `refuse`.
    ///
    /// # Errors
    /// The id of a job is in use already; that job and those after it are not queued.
    pub(crate) fn submit(
        &self,
        jobs: &mut Vec<Job>,
        mut refuse: impl FnMut(&Call, Refusal),
    ) -> Result<Room, Violation> {
        let mut state = self.lock();
        for job in jobs.drain(..) {
            if let Some(job) = self.admit(&mut state, job, 0, &mut refuse)? {
                state.queue.push_back(job);
            }
        }
        let jobs = self.queue_max.saturating_sub(state.queue.len());
        Ok(Room { jobs, worked_off: state.running < self.threads })
    }

    /// What the reading thread is to do with what it has read: `jobs`, of which it may run the first one at once, and
    /// answers of its own. The others are queued. `refuse`, `buffer` and `now` as for [`Pool::submit`] and
    /// [`Pool::step`].
    ///
    /// # Errors
    /// As [`Pool::submit`].
    pub(crate) fn take_in(
        &self,
        input: Box<Input>,
        jobs: &mut Vec<Job>,
        answers: &mut Frames,
        buffer: &mut Frames,
        now: &mut Option<Instant>,
        refuse: impl Fn(&mut Frames, &Call, Refusal),
    ) -> Result<Step, Violation> {
        let mut state = self.lock();
        state.input = Some(input);
        let (mut first, mut fault) = (None, None);
        for job in jobs.drain(..) {
            let ahead = usize::from(first.is_some());
            match self.admit(&mut state, job, ahead, &mut |call, why| refuse(answers, call, why)) {
                Ok(Some(job)) if first.is_none() && state.queue.is_empty() => first = Some(job),
                Ok(Some(job)) => state.queue.push_back(job),
                Ok(None) => {}
                Err(violation) => {
                    fault = Some(violation);
                    break;
                }
            }
        }
        if let Some(violation) = fault {
            state.queue_first(first);
            return Err(violation);
        }
        if !answers.is_empty() {
            // Whoever asked for these asked for no handler: they are not kept for more.
            state.collect(answers, COLLECTED_MAX);
        }
        Ok(self.decide(state, first, buffer, now))
    }

    /// Checks a job against the table of unanswered calls and the bounds, with `ahead` more in the queue than there
    /// are. `None`: it was refused.
    fn admit(
        &self,
        state: &mut PoolState,
        job: Job,
        ahead: usize,
        refuse: &mut impl FnMut(&Call, Refusal),
    ) -> Result<Option<Job>, Violation> {
        let refusal = if self.is_stuck(state, job.call.chain()) {
            Some(Refusal::WouldDeadlock)
        } else {
            (state.queue.len() + ahead >= self.queue_max).then_some(Refusal::QueueFull)
        };
        let refusal = match state.unanswered.enter(job.call.id(), 0, job.call.clone()) {
            Ok(()) if refusal.is_none() => return Ok(Some(job)),
            Ok(()) => {
                state.unanswered.leave(job.call.id());
                refusal
            }
            // The queue's bound is lower, so there is room.
            Err(NotEntered::Full(_)) => Some(Refusal::QueueFull),
            Err(NotEntered::Violation(violation)) => return Err(violation),
        };
        refusal.into_iter().for_each(|why| refuse(&job.call, why));
        Ok(None)
    }

    /// Whether a request of that id is not answered yet.
    pub(crate) fn is_unanswered(&self, id: &RequestId) -> bool {
        self.lock().unanswered.get(id).is_some()
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
            if state.role == ReadingRole::Free {
                state.role = ReadingRole::Held;
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
    /// receives what is to be sent; `now` is the time where it is known.
    pub(crate) fn step(
        &self,
        done: Option<(u64, &Call)>,
        answer: &mut Frames,
        buffer: &mut Frames,
        now: &mut Option<Instant>,
    ) -> Step {
        let mut state = self.lock();
        if let Some((done, call)) = done {
            state.unanswered.leave(call.id());
            if !matches!(state.role, ReadingRole::Running { run, .. } if run == done) {
                return Step::Lost;
            }
            state.role = ReadingRole::Held;
            state.running -= 1;
            state.collect(answer, 1);
        }
        self.decide(state, None, buffer, now)
    }

    /// `first` is a job that comes before those of the queue.
    fn decide(
        &self,
        mut state: MutexGuard<'_, PoolState>,
        first: Option<Job>,
        buffer: &mut Frames,
        now: &mut Option<Instant>,
    ) -> Step {
        if state.closed {
            state.role = ReadingRole::Ended;
            return Step::Stop;
        }
        let queued = state.queue.len() + usize::from(first.is_some());
        let method = first.as_ref().or(state.queue.front()).map(|job| job.call.inner_method());
        let next = method.filter(|_| state.running < self.threads).map(|method| {
            let backlog = |quick_ns| u64::try_from(queued).unwrap_or(u64::MAX).saturating_mul(quick_ns);
            let is_quick = method.pace.quick_ns().is_some_and(|quick_ns| backlog(quick_ns) <= BACKLOG_NS_MAX);
            (method.number, is_quick)
        });
        let Some((method, is_quick)) = next else {
            state.queue_first(first);
            return state.read(buffer, self.queue_max);
        };
        let in_place = is_quick && self.is_watched(&mut state, queued, now);
        let enough =
            state.collected_frames >= COLLECTED_MAX || state.collected.waiting_bytes() >= COLLECTED_BYTES_MAX;
        if enough || (!in_place && !state.collected.is_empty()) {
            state.queue_first(first);
            state.take_collected(buffer);
            return Step::Flush;
        }
        let Some(job) = first.or_else(|| state.queue.pop_front()) else {
            return state.read(buffer, self.queue_max);
        };
        state.running += 1;
        if in_place {
            state.runs += 1;
            let run = state.runs;
            state.role = ReadingRole::Running { run, method };
            return Step::Run(job, run);
        }
        state.role = ReadingRole::Free;
        self.wake_one(state);
        Step::HandedOver(job)
    }

    /// Whether the monitor ticks, so that a call which blocks does not keep the role. It is woken when
    /// quick calls are many; few are not worth the ticks.
    fn is_watched(&self, state: &mut PoolState, queued: usize, now: &mut Option<Instant>) -> bool {
        if state.monitor.is_awake() {
            return true;
        }
        let now = *now.get_or_insert_with(Instant::now);
        let soon = state.last_quick.is_some_and(|last| now.saturating_duration_since(last) < TICK);
        state.streak = if soon { state.streak + 1 } else { 0 };
        state.last_quick = Some(now);
        if state.streak + queued <= BURST {
            return false;
        }
        state.monitor.wake();
        self.wake_pipe.wake();
        true
    }

    /// Gives the reading role up to send answers, for which the thread may have to wait; `input` goes to whoever reads
    /// next. Fails when all others are busy; if not, the thread is to come back through [`Pool::next`] as having
    /// answered.
    pub(crate) fn leave_to_send(&self, input: &mut Option<Box<Input>>) -> bool {
        let mut state = self.lock();
        if state.running >= self.threads {
            return false;
        }
        if let Some(input) = input.take() {
            state.input = Some(input);
        }
        state.running += 1;
        state.role = ReadingRole::Free;
        self.wake_one(state);
        true
    }

    /// Nothing more is read.
    pub(crate) fn end(&self, end: Result<End, Error>) {
        let mut state = self.lock();
        state.role = ReadingRole::Ended;
        state.end = Some(end);
        self.wake_one(state);
        self.wake_pipe.wake();
    }

    /// For the main thread: the end if it is there, and the monitor's work.
    pub(crate) fn tick(&self, now: Instant) -> Tick {
        let mut state = self.lock();
        if let Some(end) = state.end.take() {
            return Tick::End(end);
        }
        let run = match state.role {
            ReadingRole::Running { run, .. } => Some(run),
            _ => None,
        };
        let runs = state.runs;
        if state.monitor.tick(now, run, runs) {
            let ReadingRole::Running { method, .. } = state.role else { return Tick::Watching(TICK) };
            state.role = ReadingRole::Free;
            state.collected_frames = 0;
            let answers = take(&mut state.collected);
            self.wake_one(state);
            return Tick::Rescued { answers, method };
        }
        state.monitor.left(now).map_or(Tick::Asleep, Tick::Watching)
    }

    /// Says that the answer of `call` is about to be sent.
    pub(crate) fn answered(&self, call: &Call) {
        self.lock().unanswered.leave(call.id());
    }

    /// Cancels a request. When no worker has it yet, it is taken out and returned, to be answered by the
    /// caller. An id that is not in use means that the answer was faster.
    pub(crate) fn cancel(&self, id: &RequestId, cause: Option<CancelCause>) -> Option<Call> {
        let mut state = self.lock();
        let call = state.unanswered.get(id).cloned()?;
        let Some(at) = state.queue.iter().position(|job| job.call.id() == id) else {
            drop(state);
            call.cancel(cause);
            return None;
        };
        state.queue.remove(at);
        state.unanswered.leave(id);
        Some(call)
    }

    /// Takes no more jobs, cancels what runs, and returns what was queued, to be answered by the caller.
    pub(crate) fn close(&self) -> Vec<Call> {
        let mut state = self.lock();
        state.closed = true;
        let queued: Vec<Call> = state.queue.drain(..).map(|job| job.call).collect();
        for call in &queued {
            state.unanswered.leave(call.id());
        }
        let running: Vec<Call> = state.unanswered.iter().cloned().collect();
        drop(state);
        self.queued.notify_all();
        running.iter().for_each(|call| call.cancel(Some(CancelCause::ENDING)));
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

    /// Suspends a handler that waits for `slot` from now on. `run` is its number if it may have the reading role; `spawn`
    /// starts one more worker.
    pub(crate) fn suspend(
        &self,
        run: Option<u64>,
        entry: String,
        slot: &Arc<ReplySlot>,
        spawn: impl FnOnce(usize) -> bool,
    ) -> AfterSuspend {
        let mut state = self.lock();
        let gives_place = self.reentrant && state.waiting < WAITING_MAX && {
            let is_enough = state.workers > self.threads + 1 + state.waiting;
            // With the lock held, because there has to be a thread before somebody relies on it. This happens once
            // for each of at most 64.
            let is_there = is_enough || spawn(state.workers);
            state.workers += usize::from(is_there && !is_enough);
            is_there
        };
        if gives_place {
            state.waiting += 1;
            state.running -= 1;
        }
        let number = state.waiters.add(entry, slot, !gives_place);
        let mut after = AfterSuspend { number, ..AfterSuspend::default() };
        if let ReadingRole::Running { run: running, method } = state.role
            && run == Some(running)
        {
            state.role = ReadingRole::Free;
            state.take_collected(&mut after.answers);
            after.method = Some(method);
        }
        if !gives_place {
            after.stuck = self.take_stuck(&mut state);
        }
        self.wake_one(state);
        after
    }

    /// Lets a suspended handler go on.
    pub(crate) fn resume(&self, number: u64) {
        let mut state = self.lock();
        if state.waiters.remove(number) == Some(false) {
            state.waiting -= 1;
            state.running += 1;
        }
    }

    /// Whether every place is taken by a handler that waits, each for a call that led to one of this chain.
    fn is_stuck(&self, state: &PoolState, chain: &Chain) -> bool {
        !chain.is_empty() && state.running >= self.threads && state.waiters.block(chain, state.running)
    }

    fn take_stuck(&self, state: &mut PoolState) -> Vec<Job> {
        let mut stuck = Vec::new();
        while let Some(at) = state.queue.iter().position(|job| self.is_stuck(state, job.call.chain())) {
            if let Some(job) = state.queue.remove(at) {
                state.unanswered.leave(job.call.id());
                stuck.push(job);
            }
        }
        stuck
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes a worker where one is needed. The woken one wakes the next, so nobody wakes more than one.
    /// A notify is a system call in any case, which is why it is avoided here and made without the lock.
    pub(crate) fn wake_one(&self, mut state: MutexGuard<'_, PoolState>) {
        let needed = match state.role {
            ReadingRole::Free => true,
            // The thread that has the role works the queue off. But when a handler gave its place while it waits,
            // that thread may be reading.
            ReadingRole::Held | ReadingRole::Running { .. } => {
                state.waiting > 0 && !state.queue.is_empty() && state.running < self.threads
            }
            ReadingRole::Ended => !state.queue.is_empty() && state.running < self.threads,
        };
        if needed && state.idle > 0 && !state.waking {
            state.waking = true;
            drop(state);
            self.queued.notify_one();
        }
    }
}

impl PoolState {
    fn collect(&mut self, answers: &mut Frames, frames: usize) {
        self.collected_frames += frames;
        self.collected.append(answers);
    }

    /// Moves what was collected into a buffer that is empty.
    fn take_collected(&mut self, buffer: &mut Frames) {
        swap(&mut self.collected, buffer);
        self.collected_frames = 0;
    }

    fn queue_first(&mut self, job: Option<Job>) {
        if let Some(job) = job {
            self.queue.push_front(job);
        }
    }

    fn read(&mut self, buffer: &mut Frames, queue_max: usize) -> Step {
        if !self.collected.is_empty() {
            self.take_collected(buffer);
        }
        let queue_room = queue_max.saturating_sub(self.queue.len());
        self.input.take().map_or(Step::Stop, |input| Step::Read { input, queue_room })
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "suspension_tests.rs"]
mod suspension_tests;
