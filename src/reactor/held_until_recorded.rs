//! Answers that wait until what they tell of is on record: on the disk in mode strict, handed to the kernel in relaxed.
//!
//! What this file is for: an answer to an operator, and the end of a call that was put on record, are held
//! until the event that was handed to the record last before them is in its file. What it deliberately does not do: wait; the
//! record's writer wakes the loop when there is something to release.
//!
//! What always holds: answers leave in the order in which they came; none is held longer than the record's
//! `hold_max`, nor beyond the bounds below. One that leaves earlier than its record is counted, and that is
//! put on record.

use super::admin_connection::{AdminAnswer, AdminTicket};
use super::hub::Hub;
use super::loop_commands::LoopCommand;
use super::recorder::Recorder;
use crate::engine::CommandSender;
use crate::eventlog::{Durability, EventLog, Settled, Ticket};
use crate::state::action::Note;
use crate::state::call::CallEnd;
use crate::state::keys::CallKey;
use crate::state::time::Time;
use rpc_plugin_wire::event::{EventKind, Level};
use rpc_plugin_wire::phrase::count;
use std::collections::VecDeque;
use std::time::Duration;

/// Answers that are held at once; beyond it the oldest is released.
const HELD_MAX: usize = 65_536;
/// Bytes of results that are held at once; beyond it the oldest is released.
const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How often the record says that answers were released early, at most.
const TOLD_INTERVAL: Duration = Duration::from_secs(10);

/// An answer that is held.
pub(super) enum HeldReply {
    /// The end of a call.
    Call(CallKey, Box<CallEnd>),
    /// An answer to an admin connection.
    Admin(AdminTicket, AdminAnswer),
}

impl HeldReply {
    fn bytes(&self) -> usize {
        let (beside, raw) = match self {
            HeldReply::Call(_, end) => (size_of::<CallEnd>(), end.result.as_ref().ok()),
            HeldReply::Admin(_, answer) => (0, answer.as_ref().ok().map(|result| &result.json)),
        };
        size_of::<HeldReply>() + beside + raw.map_or(0, |raw| raw.get().len())
    }
}

/// An answer in the queue, and until when it is held for what.
struct QueuedReply {
    ticket: Ticket,
    until: Time,
    reply: HeldReply,
}

/// The answers that wait for their record.
pub(super) struct HeldReplies {
    /// Whether answers wait for their record at all: not in mode none.
    is_holding: bool,
    /// A request came, or an answer was held, since the writer was last told that what gathers for a moment is awaited.
    is_hurry_due: bool,
    /// What had been recorded by then.
    hurried: Option<Ticket>,
    hold_max: Duration,
    queue: VecDeque<QueuedReply>,
    bytes: usize,
    /// The disk is stuck before this ticket: nothing is held for it again.
    stuck_before: Option<Ticket>,
    /// Answers that left before they were on record.
    early: u64,
    /// How many of them were told.
    early_told: u64,
    /// When they were told last.
    told_at: Option<Time>,
}

impl HeldReplies {
    /// `commands` is where the writer wakes the loop.
    pub(super) fn new(log: &EventLog, commands: &CommandSender<LoopCommand>) -> HeldReplies {
        let is_holding = log.durability() != Durability::None;
        if is_holding {
            let commands = commands.clone();
            // If the queue is full, the loop is awake and looks by itself.
            log.on_settled(move || {
                let _ = commands.post(LoopCommand::Look);
            });
        }
        HeldReplies {
            is_holding,
            is_hurry_due: false,
            hurried: None,
            hold_max: log.hold_max(),
            queue: VecDeque::new(),
            bytes: 0,
            stuck_before: None,
            early: 0,
            early_told: 0,
            told_at: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// When the oldest answer leaves at the latest.
    pub(super) fn next_at(&self) -> Option<Time> {
        self.queue.front().map(|queued| queued.until)
    }

    /// Holds the end of a call, or gives it back to be told at once.
    pub(super) fn hold_call(
        &mut self,
        hub: &Hub,
        now: Time,
        call: CallKey,
        end: Box<CallEnd>,
    ) -> Option<Box<CallEnd>> {
        if !(self.is_holding && end.is_recorded) {
            return Some(end);
        }
        match self.hold(hub, now, HeldReply::Call(call, end)) {
            Some(HeldReply::Call(_, end)) => Some(end),
            _ => None,
        }
    }

    /// Says that an operator asked for something: the answer will wait for what was recorded of it.
    pub(super) fn expect_answer(&mut self) {
        self.is_hurry_due = self.is_holding;
    }

    /// Has what answers wait for written now rather than together with what comes in the next moment. Called at the end of a
    /// turn: once for all of it, for each time the writer may be woken; and after what was asked went out, so that it is
    /// written while the plugin works.
    pub(super) fn hurry(&mut self, recorder: &Recorder) {
        if !std::mem::take(&mut self.is_hurry_due) {
            return;
        }
        let (log, last) = (recorder.log(), recorder.last_ticket());
        if last > self.hurried && last.is_some_and(|ticket| !log.is_settled_to(ticket)) {
            self.hurried = last;
            log.hurry();
        }
    }

    /// Holds an answer to an operator, or gives it back to be told at once.
    pub(super) fn hold_answer(
        &mut self,
        hub: &Hub,
        ticket: &AdminTicket,
        answer: AdminAnswer,
    ) -> Option<AdminAnswer> {
        if !self.is_holding {
            return Some(answer);
        }
        match self.hold(hub, hub.latest(), HeldReply::Admin(ticket.clone(), answer)) {
            Some(HeldReply::Admin(_, answer)) => Some(answer),
            _ => {
                self.is_hurry_due = true;
                None
            }
        }
    }

    fn hold(&mut self, hub: &Hub, now: Time, reply: HeldReply) -> Option<HeldReply> {
        let Some(ticket) = hub.recorder.last_ticket() else { return Some(reply) };
        let log = hub.recorder.log();
        if let Some(stuck) = self.stuck_before {
            if !log.is_settled_to(stuck) {
                self.early += 1;
                return Some(reply);
            }
            self.stuck_before = None;
        }
        // Behind others also if it need not wait itself, so that the order stays.
        if self.queue.is_empty() && log.settled(ticket) == Settled::Recorded {
            return Some(reply);
        }
        self.bytes += reply.bytes();
        self.queue.push_back(QueuedReply { ticket, until: now.plus(self.hold_max), reply });
        None
    }

    /// The next answer that need not be held any longer. Once there is none, what left early is put on record.
    pub(super) fn pop_released(&mut self, hub: &mut Hub, now: Time) -> Option<HeldReply> {
        if self.is_holding { self.pop_settled(hub, now) } else { None }
    }

    fn pop_settled(&mut self, hub: &mut Hub, now: Time) -> Option<HeldReply> {
        while let Some(front) = self.queue.front() {
            let (ticket, until) = (front.ticket, front.until);
            let log = hub.recorder.log();
            if !log.is_settled_to(ticket) {
                let is_full = self.queue.len() > HELD_MAX || self.bytes > HELD_BYTES_MAX;
                if until > now && !is_full {
                    log.want_notice();
                    // What was settled just before that gives no notice.
                    if !log.is_settled_to(ticket) {
                        break;
                    }
                    continue;
                }
                if !is_full {
                    self.stuck_before = Some(ticket);
                }
            }
            self.early += u64::from(log.settled(ticket) != Settled::Recorded);
            return self.pop();
        }
        self.tell_early(hub, now);
        None
    }

    /// The oldest answer, whatever it waits for: the loop ends.
    pub(super) fn pop(&mut self) -> Option<HeldReply> {
        let QueuedReply { reply, .. } = self.queue.pop_front()?;
        self.bytes -= reply.bytes();
        Some(reply)
    }

    fn tell_early(&mut self, hub: &mut Hub, now: Time) {
        let told_lately = self.told_at.is_some_and(|at| now.since(at) < TOLD_INTERVAL);
        if self.early == self.early_told || told_lately {
            return;
        }
        let answers = self.early - self.early_told;
        (self.early_told, self.told_at) = (self.early, Some(now));
        let total = self.early;
        let note = Note::new(
            EventKind::RecordGap,
            format!("{} given before being on record", count(answers, "answer")),
        );
        let note = note.level(Level::Error).reason("the disk did not take or confirm it in time");
        hub.recorder.record(
            note.details(serde_json::json!({"answers_early": answers, "answers_early_total": total})),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Driver, open};
    use std::path::Path;
    use std::sync::Arc;

    #[test]
    fn the_writer_is_hurried_once_a_turn_for_what_an_answer_will_wait_for() {
        let poll = mio::Poll::new().unwrap();
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
        let (commands, _queue) = open(Arc::new(Driver::new(waker)));
        let log = EventLog::stalled(100);
        let mut held = HeldReplies::new(&log, &commands);
        let mut recorder = Recorder::new(log, Path::new("/"));
        let record = |recorder: &mut Recorder| {
            recorder
                .record(Note::new(EventKind::AdminAction, "an operator asked for call").level(Level::Debug));
            recorder.last_ticket()
        };
        let first = record(&mut recorder);
        held.hurry(&recorder);
        assert_eq!(held.hurried, None, "nobody will wait for it: it may gather");
        held.expect_answer();
        held.hurry(&recorder);
        assert!(first.is_some() && held.hurried == first, "before there is an answer to hold");
        let second = record(&mut recorder);
        held.hurry(&recorder);
        assert_eq!(held.hurried, first, "nobody asked since");
        held.expect_answer();
        held.expect_answer();
        held.hurry(&recorder);
        assert_eq!(held.hurried, second);
    }
}
