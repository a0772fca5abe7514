//! Threads for what may block: checking files, launching.
//!
//! What this file is for: a job that hangs in a file system cannot be taken back. So it keeps its thread to itself, and
//! another one goes on with the jobs behind it, up to a bound. What it deliberately does not do: know what a job does, or
//! have a clock of its own: whoever waits for jobs looks after them ([`JobThreads::look`]).
//!
//! What always holds: jobs are taken in the order in which they came, also those that wait when the handle is dropped; a job
//! that panics costs its own result only; a thread ends when nothing can come any more or when there are more of them than are needed, where they may.
#![forbid(unsafe_code)]

use super::pidfd_slot::PidfdSlot;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use rpc_plugin_peer::running_time::LATE_MAX;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One piece of work for a thread. It is told whether it had to wait for one.
pub type Job = Box<dyn FnOnce(bool) + Send>;

/// What the threads are like.
#[derive(Debug, Clone, Copy)]
pub struct JobThreadsKind {
    /// Their name.
    pub name: &'static str,
    /// How many there are beside those whose job hangs.
    pub threads: usize,
    /// How many there are at the most.
    pub threads_max: usize,
    /// A job that takes longer hangs.
    pub hangs_after: Duration,
    /// Threads stay, however few jobs there are: what they launched ends with them.
    pub stay: bool,
}

/// What a job launches.
#[derive(Debug)]
pub struct JobChild {
    /// Where the launch leaves the child's pidfd.
    pub slot: Arc<PidfdSlot>,
    /// A launch that takes longer is ended by killing the child.
    pub kills_after: Duration,
}

struct Queued {
    job: Job,
    waits: bool,
    child: Option<JobChild>,
}

struct RunningJob {
    number: u64,
    since: Instant,
    child: Option<JobChild>,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Queued>,
    running: Vec<RunningJob>,
    threads: usize,
    next_number: u64,
    over: bool,
    /// When the jobs were looked after last, and when that is to be done again.
    looked: Option<(Instant, Instant)>,
}

impl State {
    /// Takes off the age of each job what the process stood still, as a look tells that comes much later than planned. A child
    /// whose launch is over by now was not slow.
    fn leave_standstill_out(&mut self, now: Instant) {
        let Some((at, due)) = self.looked else { return };
        if now.saturating_duration_since(due) > LATE_MAX {
            let length = now.saturating_duration_since(at);
            for job in &mut self.running {
                job.since = job.since.checked_add(length).map_or(now, |since| since.min(now));
            }
        }
    }

    fn hung(&self, now: Instant, after: Duration) -> usize {
        self.running.iter().filter(|job| now.saturating_duration_since(job.since) >= after).count()
    }
}

struct Shared {
    kind: JobThreadsKind,
    state: Mutex<State>,
    changed: Condvar,
    /// Jobs that wait or run.
    unfinished: AtomicUsize,
}

/// The threads, and the jobs that wait for them.
pub struct JobThreads {
    shared: Arc<Shared>,
}

impl fmt::Debug for JobThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobThreads").field("kind", &self.shared.kind).finish_non_exhaustive()
    }
}

impl JobThreads {
    /// Starts the threads.
    ///
    /// # Errors
    /// Those of pthread_create(3).
    pub fn start(kind: JobThreadsKind) -> io::Result<JobThreads> {
        let shared = Shared {
            kind,
            state: Mutex::default(),
            changed: Condvar::new(),
            unfinished: AtomicUsize::new(0),
        };
        let threads = JobThreads { shared: Arc::new(shared) };
        for _ in 0..kind.threads.max(1) {
            threads.shared.start_thread(&mut threads.shared.state())?;
        }
        Ok(threads)
    }

    /// Hands over a job; `child` is what it launches, if it does. Whether a thread takes it at once.
    pub fn submit(&self, job: Job, child: Option<JobChild>) -> bool {
        let mut state = self.shared.state();
        let at_once = state.threads.saturating_sub(state.running.len()) > state.jobs.len();
        state.jobs.push_back(Queued { job, waits: !at_once, child });
        self.shared.unfinished.fetch_add(1, Ordering::SeqCst);
        drop(state);
        self.shared.changed.notify_one();
        at_once
    }

    /// Kills children whose launch takes too long, and has a further thread take the jobs that wait behind what hangs.
    /// When to look again; `None`: not before another job is handed over. Never waits.
    pub fn look(&self) -> Option<Duration> {
        // Asked in each turn of the loop: without a job it costs no more than this.
        if self.shared.unfinished.load(Ordering::SeqCst) == 0 { None } else { self.look_at(Instant::now()) }
    }

    /// Waits for what a job sends, and looks after the jobs meanwhile. `None`: nothing came within `timeout`, or nothing can come.
    pub fn wait_for<T>(&self, sent: &Receiver<T>, timeout: Duration) -> Option<T> {
        let until = Instant::now() + timeout;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let again = self.look().map_or(left, |again| again.min(left));
            match sent.recv_timeout(again) {
                Ok(sent) => return Some(sent),
                Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
                Err(_) => return None,
            }
        }
    }

    fn look_at(&self, now: Instant) -> Option<Duration> {
        let JobThreadsKind { threads, threads_max, hangs_after, .. } = self.shared.kind;
        let mut state = self.shared.state();
        state.leave_standstill_out(now);
        let mut next = None;
        let mut again_after =
            |left: Duration| next = Some(next.map_or(left, |next: Duration| next.min(left)));
        for job in &state.running {
            let age = now.saturating_duration_since(job.since);
            match &job.child {
                Some(child) if age >= child.kills_after => drop(child.slot.kill()),
                Some(child) => again_after(child.kills_after.saturating_sub(age)),
                None => {}
            }
            if age < hangs_after {
                again_after(hangs_after.saturating_sub(age));
            }
        }
        // One that is about to be taken is nobody's yet.
        if !state.jobs.is_empty() {
            again_after(hangs_after);
        }
        let free = state.threads.saturating_sub(state.hung(now, hangs_after));
        if !state.jobs.is_empty() && free < threads && state.threads < threads_max {
            // Without one, the next look tries again.
            let _ = self.shared.start_thread(&mut state);
        }
        state.looked = next.and_then(|next| Some((now, now.checked_add(next)?)));
        next
    }
}

impl Drop for JobThreads {
    fn drop(&mut self) {
        self.shared.state().over = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in this file panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_thread(self: &Arc<Shared>, state: &mut State) -> io::Result<()> {
        let own = Arc::clone(self);
        crate::threads::builder(self.kind.name).spawn(move || own.run())?;
        state.threads += 1;
        Ok(())
    }

    fn run(&self) {
        while let Some((number, Queued { job, waits, .. })) = self.take() {
            let _ = catch_unwind(AssertUnwindSafe(move || job(waits)));
            let mut state = self.state();
            state.running.retain(|running| running.number != number);
            self.unfinished.fetch_sub(1, Ordering::SeqCst);
            let free = state.threads.saturating_sub(state.hung(Instant::now(), self.kind.hangs_after));
            if !self.kind.stay && free > self.kind.threads {
                state.threads -= 1;
                return;
            }
        }
    }

    fn take(&self) -> Option<(u64, Queued)> {
        let is_idle = |state: &mut State| state.jobs.is_empty() && !state.over;
        let mut state =
            self.changed.wait_while(self.state(), is_idle).unwrap_or_else(PoisonError::into_inner);
        let mut queued = state.jobs.pop_front()?;
        let number = state.next_number;
        state.next_number += 1;
        state.running.push(RunningJob { number, since: Instant::now(), child: queued.child.take() });
        Some((number, queued))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{DEADLINE, eventually};
    use super::*;
    use crossbeam_channel::{Sender, unbounded};

    const KIND: JobThreadsKind = JobThreadsKind {
        name: "test-jobs",
        threads: 1,
        threads_max: 3,
        hangs_after: Duration::from_millis(10),
        stay: false,
    };

    /// A job that hangs until the sender is dropped.
    fn hanging(threads: &JobThreads) -> Sender<()> {
        let (sender, receiver): (Sender<()>, Receiver<()>) = unbounded();
        threads.submit(Box::new(move |_| assert!(receiver.recv().is_err())), None);
        sender
    }

    fn wait(threads: &JobThreads, is_done: &Receiver<bool>) -> bool {
        threads.wait_for(is_done, DEADLINE).expect("a job was not done")
    }

    fn count(threads: &JobThreads) -> usize {
        threads.shared.state().threads
    }

    #[test]
    fn a_job_that_hangs_has_its_thread_to_itself_and_others_go_on_up_to_the_bound() {
        let threads = JobThreads::start(KIND).unwrap();
        assert_eq!(threads.look(), None, "nobody is woken for nothing");
        let mut hung = vec![hanging(&threads), hanging(&threads)];
        let (done, is_done) = unbounded();
        let report = done.clone();
        assert!(!threads.submit(Box::new(move |waits| report.send(waits).unwrap()), None), "it waits");
        assert!(wait(&threads, &is_done), "it had to wait");
        assert_eq!(hung.len(), 2);
        // With as many as may be hanging, those behind wait.
        hung.push(hanging(&threads));
        let report = done.clone();
        threads.submit(Box::new(move |waits| report.send(waits).unwrap()), None);
        eventually("the last thread hangs too", || {
            threads.look();
            threads.shared.state().running.len() == 3
        });
        assert!(count(&threads) == 3 && is_done.try_recv().is_err());
        hung.remove(0);
        assert!(wait(&threads, &is_done), "it had to wait");
        hung.clear();
        eventually("threads that are not needed any more have ended", || count(&threads) == 1);
        threads.submit(Box::new(move |_| done.send(false).unwrap()), None);
        wait(&threads, &is_done);
    }

    #[test]
    fn what_the_process_stood_still_is_no_age_of_a_job() {
        let kind = JobThreadsKind { hangs_after: Duration::from_secs(4), ..KIND };
        let threads = JobThreads::start(kind).unwrap();
        let _hung = hanging(&threads);
        eventually("it is taken", || threads.shared.state().running.len() == 1);
        let begun = Instant::now();
        let secs = Duration::from_secs;
        let look = |at: u64| {
            threads.look_at(begun + secs(at));
            threads.shared.state().hung(begun + secs(at), kind.hangs_after)
        };
        assert_eq!((look(1), look(3)), (0, 0));
        // It is to be looked after at 4 s, and is at 30 s.
        assert_eq!(look(30), 0, "as old as at the last look");
        assert_eq!((look(30), look(31)), (0, 1), "4 s without the standstill");
    }

    #[test]
    fn a_job_that_panics_costs_its_own_result_only_and_the_end_ends_the_threads() {
        let threads = JobThreads::start(KIND).unwrap();
        threads.submit(Box::new(|_| panic!("a job's own")), None);
        let (done, is_done) = unbounded();
        threads.submit(Box::new(move |_| done.send(()).unwrap()), None);
        is_done.recv_timeout(DEADLINE).unwrap();
        let shared = Arc::downgrade(&threads.shared);
        drop(threads);
        eventually("the thread has ended", || shared.upgrade().is_none());
    }
}
