//! Answers that wait until what they tell of is on the disk (mode strict of the record).
//!
//! What this file is for: an answer to an operator, and the end of a call that was put on record, are held
//! until the event that was recorded last before them is durable. What it deliberately does not do: wait; the
//! record's writer wakes the loop when there is something to release.
//!
//! What always holds: answers leave in the order in which they came; none is held longer than the record's
//! `hold_max`, nor beyond the bounds below. One that leaves earlier than its record is counted, and that is
//! put on record.

use super::control::Answer;
use super::pending_replies::Ticket as Asker;
use super::{LoopCommand, Reactor};
use crate::engine::CommandSender;
use crate::eventlog::{Durability, EventLog, Settled, Ticket};
use crate::state::action::Note;
use crate::state::call::CallEnd;
use crate::state::keys::CallKey;
use crate::state::time::Time;
use rpc_plugin_wire::event::{EventKind, Level};
use std::collections::VecDeque;
use std::time::Duration;

/// Answers that are held at once; beyond it the oldest is released.
const HELD_MAX: usize = 65_536;
/// Bytes of results that are held at once; beyond it the oldest is released.
const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How often the record says that answers were released early, at most.
const TOLD_INTERVAL: Duration = Duration::from_secs(10);

enum Held {
    Call(CallKey, CallEnd),
    Client(Asker, Answer),
}

impl Held {
    fn bytes(&self) -> usize {
        let raw = match self {
            Held::Call(_, end) => end.result.as_ref().ok(),
            Held::Client(_, answer) => answer.as_ref().ok(),
        };
        size_of::<Held>() + raw.map_or(0, |raw| raw.get().len())
    }
}

struct Waiting {
    ticket: Ticket,
    until: Time,
    held: Held,
}

/// See the module's text.
pub(super) struct HeldReplies {
    is_strict: bool,
    hold_max: Duration,
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// The disk is stuck before this ticket: nothing is held for it again.
    stuck_before: Option<Ticket>,
    /// Answers that left before their record was durable; how many of them were told, and when.
    early: u64,
    early_told: u64,
    told_at: Option<Time>,
}

impl HeldReplies {
    /// `commands` is where the writer wakes the loop.
    pub(super) fn new(log: &EventLog, commands: &CommandSender<LoopCommand>) -> HeldReplies {
        let is_strict = log.durability() == Durability::Strict;
        if is_strict {
            let commands = commands.clone();
            // If the queue is full, the loop is awake and looks by itself.
            log.on_settled(move || {
                let _ = commands.post(LoopCommand::Look);
            });
        }
        HeldReplies {
            is_strict,
            hold_max: log.hold_max(),
            waiting: VecDeque::new(),
            bytes: 0,
            stuck_before: None,
            early: 0,
            early_told: 0,
            told_at: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When the oldest answer leaves at the latest.
    pub(super) fn next_at(&self) -> Option<Time> {
        self.waiting.front().map(|waiting| waiting.until)
    }
}

impl Reactor {
    /// Holds the end of a call, or gives it back to be told at once.
    pub(super) fn hold_call(&mut self, now: Time, call: CallKey, end: CallEnd) -> Option<CallEnd> {
        if !(self.holding.is_strict && end.is_recorded) {
            return Some(end);
        }
        match self.hold(now, Held::Call(call, end)) {
            Some(Held::Call(_, end)) => Some(end),
            _ => None,
        }
    }

    /// Holds an answer to an operator, or gives it back to be told at once.
    pub(super) fn hold_answer(&mut self, asker: &Asker, answer: Answer) -> Option<Answer> {
        if !self.holding.is_strict {
            return Some(answer);
        }
        match self.hold(self.now(), Held::Client(asker.clone(), answer)) {
            Some(Held::Client(_, answer)) => Some(answer),
            _ => None,
        }
    }

    fn hold(&mut self, now: Time, held: Held) -> Option<Held> {
        let Some(ticket) = self.recorder.last_ticket() else { return Some(held) };
        let log = self.recorder.log();
        let holding = &mut self.holding;
        if let Some(stuck) = holding.stuck_before {
            if !log.is_settled_to(stuck) {
                holding.early += 1;
                return Some(held);
            }
            holding.stuck_before = None;
        }
        // Behind others also if it need not wait itself, so that the order stays.
        if holding.waiting.is_empty() && log.settled(ticket) == Settled::Durable {
            return Some(held);
        }
        holding.bytes += held.bytes();
        holding.waiting.push_back(Waiting { ticket, until: now.plus(holding.hold_max), held });
        None
    }

    /// Releases what need not be held any longer.
    pub(super) fn release_held(&mut self, now: Time) {
        if !self.holding.is_strict {
            return;
        }
        while let Some(front) = self.holding.waiting.front() {
            let (ticket, until) = (front.ticket, front.until);
            let log = self.recorder.log();
            if !log.is_settled_to(ticket) {
                let holding = &mut self.holding;
                let is_full = holding.waiting.len() > HELD_MAX || holding.bytes > HELD_BYTES_MAX;
                if until > now && !is_full {
                    log.want_notice();
                    // What was settled just before that gives no notice.
                    if !log.is_settled_to(ticket) {
                        break;
                    }
                    continue;
                }
                if !is_full {
                    holding.stuck_before = Some(ticket);
                }
            }
            let early = u64::from(log.settled(ticket) != Settled::Durable);
            self.holding.early += early;
            let Some(Waiting { held, .. }) = self.holding.waiting.pop_front() else { break };
            self.holding.bytes -= held.bytes();
            self.tell(held);
        }
        self.tell_early(now);
    }

    /// Releases everything: the loop ends.
    pub(super) fn release_all_held(&mut self) {
        while let Some(Waiting { held, .. }) = self.holding.waiting.pop_front() {
            self.tell(held);
        }
    }

    fn tell(&mut self, held: Held) {
        match held {
            Held::Call(call, end) => {
                if let Some((asker, answer)) = self.end_call(self.now(), call, end) {
                    self.answer_client_now(&asker, &answer);
                }
            }
            Held::Client(asker, answer) => self.answer_client_now(&asker, &answer),
        }
    }

    fn tell_early(&mut self, now: Time) {
        let holding = &mut self.holding;
        let told_lately = holding.told_at.is_some_and(|at| now.since(at) < TOLD_INTERVAL);
        if holding.early == holding.early_told || told_lately {
            return;
        }
        let answers = holding.early - holding.early_told;
        (holding.early_told, holding.told_at) = (holding.early, Some(now));
        let total = holding.early;
        let note = Note::new(
            EventKind::RecordGap,
            format!("{answers} answers were given before their record was on the disk"),
        );
        let note = note.level(Level::Error).reason("the disk did not confirm it in time");
        self.recorder.record(
            note.details(serde_json::json!({"answers_early": answers, "answers_early_total": total})),
        );
    }
}
