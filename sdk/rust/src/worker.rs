//! What each worker thread does: hold the reading role, or run calls that another one has read.
//!
//! What it deliberately does not do: decide which of the two; the pool does.
//!
//! What always holds: all frames of one read are dealt with before the next read; the answers of quick
//! calls of one read go out together; a thread with the reading role never waits for the host to take answers.

use crate::attachments::Frames;
use crate::connection::{Closed, Input, PushError, Pushed};
use crate::current_call::{self, Activity};
use crate::error::{End, Error};
use crate::inbox::{Inbox, Parsed};
use crate::reply_slot::ReplySlot;
use crate::requester::Suspend;
use crate::service::write_failure;
use crate::session::{Session, would_deadlock};
use crate::task::{Job, Step, Task};
use crate::threads::handler_builder;
use rpc_plugin_wire::RequestId;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// Parsing this many frames is short beside what it costs to read the clock again.
const FRAMES_UNTIMED_MAX: usize = 4;

/// A thread of a session.
pub(crate) struct Worker {
    session: Arc<Session>,
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
    /// Starts one more thread of that session.
    pub(crate) fn start(session: &Arc<Session>, number: usize) -> io::Result<()> {
        let session = Arc::clone(session);
        let inbox = Inbox::new(Arc::clone(&session));
        let (answer, sending) = (Frames::default(), Frames::default());
        let worker = Worker { session, inbox, answer, sending, now: None };
        handler_builder(format!("plugin-work-{number}")).spawn(move || worker.work()).map(|_| ())
    }

    /// Works until the pool is closed.
    fn work(mut self) {
        current_call::enter(self.session.requester.session);
        let mut has_answered = false;
        loop {
            has_answered = match self.session.pool.next(has_answered) {
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
                    Left::Ended => return self.session.outbox.flush_handed_over(),
                },
                Task::Stop => return,
            };
        }
    }

    /// Holds the reading role until it is given up, taken away, or over.
    fn read_on(&mut self) -> Left {
        let mut step = self.next_step(None);
        loop {
            step = match step {
                Step::Run(job, run) => {
                    self.run(&job, Some(run));
                    self.next_step(Some((run, &job)))
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
                Step::Flush => match self.flush(&mut None) {
                    Ok(true) => self.next_step(None),
                    Ok(false) => return Left::Answered,
                    Err(error) => return self.end(error.end()),
                },
                Step::Read { input, queue_room } => {
                    let mut input = Some(input);
                    match self.flush(&mut input) {
                        Ok(true) => {}
                        Ok(false) => return Left::Answered,
                        Err(error) => return self.end(error.end()),
                    }
                    let Some(input) = input else { return Left::Done };
                    self.inbox.expect_room(queue_room);
                    match self.read(input) {
                        Ok(step) => step,
                        Err(left) => return left,
                    }
                }
                Step::Stop => return Left::Done,
            }
        }
    }

    /// Asks the pool, after the call of that number if one was run.
    fn next_step(&mut self, done: Option<(u64, &Job)>) -> Step {
        let done = done.map(|(run, job)| (run, &job.call));
        self.session.pool.step(done, &mut self.answer, &mut self.sending, &mut self.now)
    }

    /// Reads, unless there are frames already, and deals with them. Fails when that was the end.
    fn read(&mut self, mut input: Box<Input>) -> Result<Step, Left> {
        self.now = None;
        let ended = if input.unparsed { Ok(None) } else { input.read(&self.session.connection) };
        let parsed = ended.and_then(|end| match end {
            Some(end) => Ok(Parsed::End(end)),
            None => self.inbox.take_in(&mut input),
        });
        let end = match parsed {
            Ok(Parsed::All | Parsed::Full) => {
                if self.inbox.frames <= FRAMES_UNTIMED_MAX {
                    self.now = self.inbox.received;
                }
                match self.inbox.hand_over(input, &mut self.sending, &mut self.now) {
                    Ok(step) => return Ok(step),
                    Err(error) => Err(error),
                }
            }
            Ok(Parsed::End(end)) => Ok(end),
            Err(error) => {
                // What the host asked before it broke the protocol is still answered.
                let _ = self.inbox.submit();
                Err(error)
            }
        };
        // A host that is gone by now gets no answer; the plugin ends in any case.
        let _ = self.session.outbox.push_from_reader(&mut self.inbox.answers);
        Err(self.end(end))
    }

    fn end(&self, end: Result<End, Error>) -> Left {
        self.session.end(end);
        Left::Ended
    }

    /// Sends what was collected. Returns whether this thread still has the reading role: with all that the socket and
    /// the outbox take used up, the role goes to another thread with `input`, and this one waits. Where all are busy,
    /// nothing is run in place any more, so that this happens at most once for each of them before somebody waits.
    fn flush(&mut self, input: &mut Option<Box<Input>>) -> Result<bool, PushError> {
        if self.sending.is_empty() {
            return Ok(true);
        }
        self.now = None;
        let Session { outbox, pool, .. } = &*self.session;
        if outbox.try_push(&mut self.sending).map_err(|Closed| PushError::Closed)? == Pushed::All {
            return Ok(true);
        }
        if pool.leave_to_send(input) {
            if outbox.push(&mut self.sending).is_err() {
                self.sending = Frames::default();
            }
            return Ok(false);
        }
        outbox.push_from_reader(&mut self.sending)?;
        Ok(true)
    }

    /// Runs a handler. `run` is its number where this thread has the reading role meanwhile.
    fn run(&mut self, job: &Job, run: Option<u64>) {
        let begin = self.now.take().unwrap_or_else(Instant::now);
        let Session { service, .. } = &*self.session;
        current_call::set(Activity::Running { id: job.call.id().clone(), run });
        let failure = service.answer(job, &mut self.answer);
        current_call::set(Activity::Reading);
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
        self.session.pool.answered(&job.call);
        self.send_answer();
    }

    fn send_answer(&mut self) {
        self.now = None;
        if self.session.outbox.push(&mut self.answer).is_err() {
            // The host is gone. The reading thread sees it too and ends the session.
            self.answer = Frames::default();
        }
    }
}

/// Gives the places of handlers that wait to other calls of the same session.
pub(crate) struct Places(Weak<Session>);

impl Places {
    pub(crate) fn new(session: Weak<Session>) -> Places {
        Places(session)
    }
}

impl Suspend for Places {
    fn suspend(&self, id: &RequestId, run: Option<u64>, slot: &Arc<ReplySlot>) -> u64 {
        let Some(session) = self.0.upgrade() else { return 0 };
        let Session { service, pool, outbox, .. } = &*session;
        let spawn = |number| Worker::start(&session, number).is_ok();
        let mut after = pool.suspend(run, service.terms.entry_of(id), slot, spawn);
        if let Some(number) = after.method {
            // A change of readers costs more than a thread of its own would have.
            service.blocked(number);
        }
        for job in after.stuck {
            let (id, error) = (job.call.id(), would_deadlock(job.call.chain()));
            write_failure(&mut after.answers, id, service.terms.frame_bytes_max, error);
        }
        outbox.leave(&mut after.answers);
        after.number
    }

    fn resume(&self, number: u64) {
        if let Some(session) = self.0.upgrade() {
            session.pool.resume(number);
        }
    }
}
