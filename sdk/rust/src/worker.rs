//! What each worker thread does: hold the reading role, or run calls that another one has read.
//!
//! What it deliberately does not do: decide which of the two; the pool does.
//!
//! What always holds: all frames of one read are dealt with before the next read; the answers of quick
//! calls of one read go out together; a thread with the reading role never waits for the host to take answers.

use crate::calls::Calls;
use crate::error::{End, Error};
use crate::frames::Frames;
use crate::inbox::{Inbox, Taken};
use crate::outbox::{Closed, Outbox, Pushed, Refused};
use crate::pool::Pool;
use crate::seat::{self, Doing};
use crate::service::Service;
use crate::source::Source;
use crate::task::{Job, Step, Task};
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Instant;

/// Parsing this many frames is short beside what it costs to read the clock again.
const FRAMES_UNTIMED_MAX: usize = 4;

/// What all threads of a session share.
pub(crate) struct Shared {
    pub(crate) connection: Arc<UnixStream>,
    pub(crate) service: Service,
    pub(crate) pool: Pool,
    pub(crate) outbox: Outbox,
    pub(crate) calls: Calls,
    pub(crate) me: Weak<Shared>,
}

impl Shared {
    /// Starts one more thread.
    pub(crate) fn start_worker(self: &Arc<Shared>, number: usize) -> io::Result<()> {
        let worker = Worker::new(Arc::clone(self));
        thread::Builder::new().name(format!("plugin-work-{number}")).spawn(move || worker.work()).map(|_| ())
    }

    /// Starts the thread that carries streams in band, where there are some.
    pub(crate) fn start_streams(self: &Arc<Shared>) -> io::Result<()> {
        let Some(streams) = self.service.bulk.streams().map(Arc::clone) else { return Ok(()) };
        let shared = Arc::clone(self);
        let run = move || streams.run(&shared.outbox);
        thread::Builder::new().name("plugin-streams".into()).spawn(run).map(|_| ())
    }

    pub(crate) fn close_streams(&self) {
        if let Some(streams) = self.service.bulk.streams() {
            streams.close();
        }
    }

    /// Nothing more is read: nobody waits for an answer any more.
    fn end(&self, end: Result<End, Error>) {
        if !matches!(end, Ok(End::Shutdown)) {
            self.close_streams();
        }
        self.calls.close();
        self.outbox.nudge();
        self.pool.end(end);
    }
}

pub(crate) struct Worker {
    shared: Arc<Shared>,
    inbox: Inbox,
    /// The answer of the call that is run.
    answer: Frames,
    /// Answers on their way to the outbox.
    sending: Frames,
    /// When the last call ended, as long as nothing was done since.
    now: Option<Instant>,
}

/// Where a worker stands when it is back from the reading role.
enum Left {
    /// Nothing is open.
    Done,
    /// It counts as running and has sent its answer.
    Answered,
    /// Reading is over, and this thread found out.
    Ended,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>) -> Worker {
        let inbox = Inbox::new(Arc::clone(&shared));
        Worker { shared, inbox, answer: Frames::default(), sending: Frames::default(), now: None }
    }

    /// Works until the pool is closed.
    pub(crate) fn work(mut self) {
        seat::take(Arc::as_ptr(&self.shared).addr());
        let mut has_answered = false;
        loop {
            has_answered = match self.shared.pool.next(has_answered) {
                Task::Run(job) => {
                    self.now = None;
                    self.run_and_send(&job);
                    true
                }
                Task::Read => match self.read_on() {
                    Left::Done => false,
                    Left::Answered => true,
                    // The others do the rest of the calls. This one, with nothing to read any more, stands
                    // in for the main thread, which has the end to do.
                    Left::Ended => return self.shared.outbox.flush_handed_over(),
                },
                Task::Stop => return,
            };
        }
    }

    /// Holds the reading role until it is given up, taken away, or over.
    fn read_on(&mut self) -> Left {
        let shared = Arc::clone(&self.shared);
        let mut ran: Option<(Job, u64)> = None;
        loop {
            let done = ran.as_ref().map(|(job, run)| (*run, &job.call));
            let step = shared.pool.step(done, &mut self.answer, &mut self.sending, &mut self.now);
            ran = None;
            match step {
                Step::Run(job, run) => {
                    self.run(&job, Some(run));
                    ran = Some((job, run));
                }
                Step::HandedOver(job) => {
                    self.now = None;
                    self.run_and_send(&job);
                    return Left::Answered;
                }
                Step::Lost => {
                    self.send_answer();
                    return Left::Answered;
                }
                Step::Flush => match self.flush() {
                    Ok(None) => {}
                    Ok(Some(left)) => return left,
                    Err(refused) => {
                        shared.end(refused.end());
                        return Left::Ended;
                    }
                },
                Step::Read { source, unparsed, queue_room } => {
                    self.inbox.expect_room(queue_room);
                    if self.read(source, unparsed).is_err() {
                        return Left::Ended;
                    }
                }
                Step::Stop => return Left::Done,
            }
        }
    }

    /// Reads, unless there are frames already, and deals with them. Fails when that was the end.
    fn read(&mut self, mut source: Source, unparsed: bool) -> Result<(), ()> {
        self.now = None;
        let taken = if unparsed { Ok(None) } else { source.read(&self.shared.connection) };
        let taken = taken.and_then(|end| match end {
            Some(end) => Ok(Taken::End(end)),
            None => self.inbox.take_in(&mut source),
        });
        let end = match taken {
            Ok(taken @ (Taken::All | Taken::Full)) => {
                if self.inbox.frames <= FRAMES_UNTIMED_MAX {
                    self.now = self.inbox.received;
                }
                let unparsed = matches!(taken, Taken::Full);
                self.shared.pool.give_back(source, unparsed, &mut self.inbox.answers);
                return Ok(());
            }
            Ok(Taken::End(end)) => Ok(end),
            Err(error) => {
                // What the host asked before it broke the protocol is still answered.
                let _ = self.inbox.submit();
                Err(error)
            }
        };
        // A host that is gone by now gets no answer; the plugin ends in any case.
        let _ = self.shared.outbox.push_from_reader(&mut self.inbox.answers);
        self.shared.end(end);
        Err(())
    }

    /// Sends what was collected. With all that the socket and the outbox take used up, the role goes to
    /// another thread, and this one waits. Where all are busy, nothing is run in place any more, so that this
    /// happens at most once for each of them before somebody waits.
    fn flush(&mut self) -> Result<Option<Left>, Refused> {
        self.now = None;
        let Shared { outbox, pool, .. } = &*self.shared;
        if outbox.try_push(&mut self.sending).map_err(|Closed| Refused::Closed)? == Pushed::All {
            return Ok(None);
        }
        if pool.leave_to_send() {
            if outbox.push(&mut self.sending).is_err() {
                self.sending.clear();
            }
            return Ok(Some(Left::Answered));
        }
        outbox.push_from_reader(&mut self.sending)?;
        Ok(None)
    }

    /// Runs a handler. `run` is its number where this thread has the reading role meanwhile.
    fn run(&mut self, job: &Job, run: Option<u64>) {
        let begin = self.now.take().unwrap_or_else(Instant::now);
        let Shared { service, .. } = &*self.shared;
        seat::set(Doing::Running { id: job.call.id().clone(), run });
        let failure = service.answer(job, &mut self.answer);
        seat::set(Doing::Reading);
        let end = Instant::now();
        let took = end.saturating_duration_since(begin);
        service.work.count(failure.is_none(), end);
        job.call.inner_method().pace.took(took);
        service.record_end(job, took, failure.as_deref());
        self.now = Some(end);
    }

    fn run_and_send(&mut self, job: &Job) {
        self.run(job, None);
        self.now = None;
        // The id is free before the host can have the answer.
        self.shared.pool.answered(&job.call);
        self.send_answer();
    }

    fn send_answer(&mut self) {
        self.now = None;
        if self.shared.outbox.push(&mut self.answer).is_err() {
            // The host is gone. The reading thread sees it too and ends the session.
            self.answer.clear();
        }
    }
}
