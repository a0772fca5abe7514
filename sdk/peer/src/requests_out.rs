//! Requests of ours that wait for an answer.
//!
//! What it deliberately does not do: write frames, arm timers, or bound how many calls there are; its shell does.
//!
//! What always holds: ids are never used twice on a connection; an entry leaves the table exactly once, by its answer, by
//! the withdrawal of its frame or by the end of the connection; whoever waits is told of one end.

use crate::send_queue::Span;
use crate::time::Time;
use crate::violation::Violation;
use rpc_plugin_wire::brief::brief;
use rpc_plugin_wire::life::METHOD_PROGRESS;
use rpc_plugin_wire::{RequestId, Response};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

/// Requests that are kept by their distance from the oldest one; older ones are searched for.
const RECENT_MAX: usize = 1024;
/// Requests of this side itself that may wait at once: heartbeats that were missed, one by one, between others that were
/// answered. A peer that leaves more unanswered has lost count.
pub const OWN_MAX: usize = 256;

/// What is asked.
#[derive(Debug, Clone)]
pub struct NewRequest {
    /// The method, for records.
    pub method: Cow<'static, str>,
    /// Whether it is a call, and not a request of this side itself. A call that is not answered even after `rpc.cancel`
    /// is a fault of the peer.
    pub is_call: bool,
    /// Whether whoever waits wants to know how far it is.
    pub wants_progress: bool,
}

/// A request of ours that has no answer.
#[derive(Debug)]
pub struct Unanswered<W> {
    /// Its id.
    pub id: u64,
    /// What was asked.
    pub asked: NewRequest,
    /// What the shell keeps of it: who waits.
    pub waiter: W,
    /// When it was made.
    pub made_at: Time,
    /// Where its frame lies; `None` until it is in the queue.
    frame: Option<Span>,
    /// Whether whoever waited has been told of an end.
    pub is_over: bool,
    /// Whether it is a call whose deadline has passed; the peer still has some time to answer.
    pub is_late: bool,
}

/// What became of a request that nobody waits for any more.
#[derive(Debug)]
pub enum GivenUp<'t, W> {
    /// No byte of it was written, and none will be.
    Unsent(Unanswered<W>),
    /// The peer is to be told by `rpc.cancel`, and its answer will be dropped.
    Sent(&'t mut Unanswered<W>),
}

/// What a deadline that has passed comes to.
#[derive(Debug)]
pub enum Expired<'t, W> {
    /// No byte of the request was written, and none will be.
    Unsent(Unanswered<W>),
    /// The peer has the request. Whoever waits is to be told, and the peer by `rpc.cancel`.
    Late(&'t mut Unanswered<W>),
    /// It was cancelled before, and both have been told.
    Cancelled(&'t mut Unanswered<W>),
    /// The peer did not answer this method even after it was cancelled: its connection is to end.
    Poisoned(Cow<'static, str>),
}

/// The requests of one side. Answers mostly come for recent ones, so those are found by their distance from the oldest,
/// without a search.
#[derive(Debug)]
pub struct RequestsOut<W> {
    /// The requests from `first_recent` on, with gaps where they have left. The first is none.
    recent: VecDeque<Option<Unanswered<W>>>,
    first_recent: u64,
    /// Those that have waited so long that many others came after them.
    old: BTreeMap<u64, Unanswered<W>>,
    /// How many wait.
    len: usize,
    /// How many of them are calls.
    calls: usize,
}

impl<W> RequestsOut<W> {
    /// An empty table, whose first request has that id.
    #[must_use]
    pub fn new(first_id: u64) -> RequestsOut<W> {
        let (recent, old) = (VecDeque::new(), BTreeMap::new());
        RequestsOut { recent, first_recent: first_id, old, len: 0, calls: 0 }
    }

    /// The id that the next request will have.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.first_recent + self.recent.len() as u64
    }

    /// Enters a request; its id, [`RequestsOut::next_id`].
    pub fn open(&mut self, asked: NewRequest, waiter: W, made_at: Time) -> u64 {
        let id = self.next_id();
        self.len += 1;
        self.calls += usize::from(asked.is_call);
        if self.recent.len() >= RECENT_MAX {
            if let Some(Some(oldest)) = self.recent.pop_front() {
                self.old.insert(self.first_recent, oldest);
            }
            self.first_recent += 1;
            self.close_gap();
        }
        let (frame, is_over, is_late) = (None, false, false);
        self.recent.push_back(Some(Unanswered { id, asked, waiter, made_at, frame, is_over, is_late }));
        id
    }

    /// The frame of a request lies at `frame` in the queue. Whether anybody still waits for it.
    pub fn sent(&mut self, id: u64, frame: Span) -> bool {
        let Some(request) = self.get_mut(id) else { return false };
        request.frame = Some(frame);
        !request.is_over
    }

    /// Takes the request out that the peer answered, of which a byte is among the first `begun`
    /// ([`crate::SendQueue::begun`]). Nobody waits for it where it [is over](Unanswered::is_over).
    ///
    /// # Errors
    /// No such request has been asked, or it is answered already.
    pub fn answer(&mut self, response: &Response<'_>, begun: u64) -> Result<Unanswered<W>, Violation> {
        let id = match &response.id {
            Some(RequestId::Number(id)) => *id,
            Some(id) => return Err(Violation::invalid(format!("an answer to unknown id {id}"))),
            None => {
                let error = response.result.as_ref().err().map(brief);
                let error = error.as_ref().map(ToString::to_string).unwrap_or_default();
                return Err(Violation::invalid(format!("it could not read a frame: {error}")));
            }
        };
        // An answer to what has not been asked yet is a guess, and must not pass for the answer.
        let is_asked = self.get(id).map(|request| request.has_begun(begun));
        let why = match is_asked {
            Some(true) => return self.remove(id).ok_or_else(|| Violation::invalid("")),
            Some(false) => "has not been asked yet",
            None if id >= self.next_id() => "was never asked",
            None => "does not wait any more: it was answered before, or withdrawn before it was sent",
        };
        Err(Violation::invalid(format!("an answer to unknown id {id}, which {why}")))
    }

    /// Who is to be told how far a request is; `None` where nobody wants to know. The peer may speak of requests of which
    /// a byte is among the first `begun`.
    ///
    /// # Errors
    /// No such request has been asked.
    pub fn progress(&mut self, id: &RequestId, begun: u64) -> Result<Option<&mut W>, Violation> {
        let next_id = self.next_id();
        let known = match id {
            RequestId::Number(id) if *id < next_id => self.get_mut(*id),
            _ => {
                let why = format!("{METHOD_PROGRESS} names request {id}, which was never made");
                return Err(Violation::invalid(why));
            }
        };
        if known.as_ref().is_some_and(|request| !request.has_begun(begun)) {
            let why = format!("{METHOD_PROGRESS} names request {id}, which has not been asked yet");
            return Err(Violation::invalid(why));
        }
        let wanted = known.filter(|request| request.asked.wants_progress && !request.is_over);
        Ok(wanted.map(|request| &mut request.waiter))
    }

    /// Gives up a request for which nobody waits any more. `withdrawn` says that its frame was taken back, or never was in
    /// the queue. `None` where it has ended.
    pub fn cancel(&mut self, id: u64, withdrawn: bool) -> Option<GivenUp<'_, W>> {
        if self.get(id)?.is_over {
            return None;
        }
        if withdrawn {
            return self.remove(id).map(GivenUp::Unsent);
        }
        let request = self.get_mut(id)?;
        request.is_over = true;
        Some(GivenUp::Sent(request))
    }

    /// Says what is due as the deadline of a request passes, or the time to answer that the peer had after it. `withdrawn`
    /// says that its frame was taken back, or never was in the queue. `None` where it has ended.
    pub fn expire(&mut self, id: u64, withdrawn: bool) -> Option<Expired<'_, W>> {
        if withdrawn {
            return self.remove(id).map(Expired::Unsent);
        }
        let has_lost_count = self.own() > OWN_MAX;
        let request = self.get_mut(id)?;
        if request.is_late || (!request.asked.is_call && has_lost_count) {
            return Some(Expired::Poisoned(request.asked.method.clone()));
        }
        request.is_late = request.asked.is_call;
        if std::mem::replace(&mut request.is_over, true) {
            return Some(Expired::Cancelled(request));
        }
        Some(Expired::Late(request))
    }

    /// Takes the oldest request out: at the end of the connection, until there is none.
    pub fn pop(&mut self) -> Option<Unanswered<W>> {
        let id = self.iter().next()?.id;
        self.remove(id)
    }

    /// Takes a request out.
    pub fn remove(&mut self, id: u64) -> Option<Unanswered<W>> {
        // Counted first, so that the request is moved once.
        let is_call = self.get(id)?.asked.is_call;
        self.len -= 1;
        self.calls -= usize::from(is_call);
        match self.distance(id) {
            // The oldest, mostly.
            Some(0) => {
                self.first_recent += 1;
                let oldest = self.recent.pop_front();
                self.close_gap();
                oldest?
            }
            Some(distance) => self.recent.get_mut(distance)?.take(),
            None => self.old.remove(&id),
        }
    }

    /// The request with that id, if it waits.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<&Unanswered<W>> {
        match self.distance(id) {
            Some(distance) => self.recent.get(distance)?.as_ref(),
            None => self.old.get(&id),
        }
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, id: u64) -> Option<&mut Unanswered<W>> {
        match self.distance(id) {
            Some(distance) => self.recent.get_mut(distance)?.as_mut(),
            None => self.old.get_mut(&id),
        }
    }

    /// All that wait, the oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Unanswered<W>> {
        self.old.values().chain(self.recent.iter().flatten())
    }

    /// The same, to change them.
    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Unanswered<W>> {
        self.old.values_mut().chain(self.recent.iter_mut().flatten())
    }

    /// How many calls wait, those included for which nobody waits any more.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// How many requests of this side itself wait.
    #[must_use]
    pub fn own(&self) -> usize {
        self.len - self.calls
    }

    /// Lets the recent ones begin with one that waits.
    fn close_gap(&mut self) {
        while let Some(None) = self.recent.front() {
            self.recent.pop_front();
            self.first_recent += 1;
        }
    }

    fn distance(&self, id: u64) -> Option<usize> {
        usize::try_from(id.checked_sub(self.first_recent)?).ok()
    }
}

impl<W> Unanswered<W> {
    /// Where its frame lies; `None` until it is in the queue.
    #[must_use]
    pub fn frame(&self) -> Option<Span> {
        self.frame
    }

    fn has_begun(&self, begun: u64) -> bool {
        self.frame.is_some_and(|frame| frame.has_begun(begun))
    }
}

#[cfg(test)]
#[path = "requests_out_tests.rs"]
mod tests;
