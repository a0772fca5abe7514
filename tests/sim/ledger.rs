//! Every call and every wait that was ever made, and how each ended: exactly once, honestly, in time.

use crate::child::SPOILT;
use rpc_plugin_system::state::call::CallEnd;
use rpc_plugin_system::state::keys::{CallKey, PluginKey, WaitKey};
use rpc_plugin_system::state::supervisor::Supervisor;
use rpc_plugin_system::state::time::Time;
use rpc_plugin_system::state::waits::Goal;
use rpc_plugin_wire::life::PluginState;
use rpc_plugin_wire::{CallError, ErrorCode, Generation, Outcome, PluginId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A generation of a plugin, and so its process and its connection.
pub type Id = (PluginKey, Generation);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Ending {
    Open,
    Cancelled,
    Ended(Option<Outcome>),
}

/// One call.
#[derive(Debug)]
struct Call {
    /// Its frame's method names it, unless it is a probe.
    is_probe: bool,
    made_at: Time,
    deadline: Time,
    ending: Ending,
    /// The host may send it more than once.
    may_repeat: bool,
    /// The connections to which a byte of its frame was handed, and its id there.
    begun: Vec<(Id, u64)>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Ledger {
    calls: BTreeMap<CallKey, Call>,
    open: BTreeSet<CallKey>,
    waits: BTreeMap<WaitKey, (Time, Goal, PluginId)>,
    ended_waits: BTreeSet<WaitKey>,
    next: u64,
}

impl Ledger {
    pub fn new_call(&mut self, now: Time, timeout: Duration, is_probe: bool) -> CallKey {
        self.next += 1;
        let key = CallKey(self.next);
        let deadline = now.plus(timeout);
        let ending = Ending::Open;
        let call = Call { is_probe, made_at: now, deadline, ending, may_repeat: false, begun: Vec::new() };
        self.calls.insert(key, call);
        self.open.insert(key);
        key
    }

    /// The call is idempotent.
    pub fn may_repeat(&mut self, key: CallKey) {
        self.calls.get_mut(&key).unwrap().may_repeat = true;
    }

    /// How often a byte of it was handed over.
    pub fn times_begun(&self, key: CallKey) -> usize {
        self.calls[&key].begun.len()
    }

    /// Open calls that may be repeated: each may wait for its next try.
    pub fn open_repeats(&self) -> usize {
        self.open.iter().filter(|key| self.calls[key].may_repeat).count()
    }

    pub fn new_wait(&mut self, deadline: Time, id: &PluginId, goal: Goal) -> WaitKey {
        self.next += 1;
        self.waits.insert(WaitKey(self.next), (deadline, goal, id.clone()));
        WaitKey(self.next)
    }

    /// A call that has not ended, if there is one.
    pub fn any_open(&self, rng: &mut fastrand::Rng) -> Option<CallKey> {
        if self.open.is_empty() {
            return None;
        }
        self.open.iter().nth(rng.usize(0..self.open.len())).copied()
    }

    pub fn any_wait(&self) -> Option<WaitKey> {
        self.waits.keys().next().copied()
    }

    pub fn cancel(&mut self, key: CallKey) {
        self.open.remove(&key);
        self.calls.get_mut(&key).unwrap().ending = Ending::Cancelled;
    }

    pub fn forget(&mut self, key: WaitKey) {
        self.waits.remove(&key);
        self.ended_waits.insert(key);
    }

    /// A byte of a call's frame is handed over.
    pub fn begin(&mut self, number: u64, id: Id, wire_id: u64) {
        let call = self.calls.get_mut(&CallKey(number)).expect("only calls that were made are sent");
        assert!(
            call.ending != Ending::Ended(Some(Outcome::NotSent)),
            "call {number} was reported not_sent, and is sent after all"
        );
        assert!(call.ending != Ending::Cancelled, "call {number} was cancelled, and is sent after all");
        assert!(call.begun.is_empty() || call.may_repeat, "call {number} is sent twice");
        let is_new = call.begun.iter().all(|(before, _)| *before != id);
        assert!(is_new, "call {number} is sent twice to {id:?}, which may have executed it");
        call.begun.push((id, wire_id));
    }

    /// A call ends. `answers` are those that the asked generation gave to that id.
    pub fn end(&mut self, now: Time, key: CallKey, end: &CallEnd, answers: impl Fn(Id, u64) -> Vec<String>) {
        let call = self.calls.get_mut(&key).expect("only calls that were made end");
        let CallKey(number) = key;
        assert!(call.ending != Ending::Cancelled, "call {number} ends after its caller has gone");
        assert!(call.ending == Ending::Open, "call {number} ends twice");
        self.open.remove(&key);
        let outcome = end.result.as_ref().err().map(|error| error.outcome);
        call.ending = Ending::Ended(outcome);
        assert!(end.took <= now.since(call.made_at), "call {number} took longer than it exists");
        if call.is_probe {
            return;
        }
        match &end.result {
            Ok(raw) => check_answer(number, call, end.generation, raw.get(), &answers),
            Err(error) if error.outcome == Outcome::Answered => {
                let text = format!("{} {}", error.code.code(), error.message);
                check_answer(number, call, end.generation, &text, &answers);
            }
            Err(error) => {
                let not_sent = error.outcome == Outcome::NotSent;
                assert!(
                    !not_sent || call.begun.is_empty(),
                    "call {number} was sent, and is reported not_sent"
                );
                if error.code == ErrorCode::InvalidResponse {
                    check_answer(number, call, end.generation, SPOILT, &answers);
                }
                let lost = error.code == ErrorCode::PluginLost;
                assert!(!lost || !call.begun.is_empty(), "call {number} is lost and was never sent");
            }
        }
        if error_is(&end.result, ErrorCode::DeadlineExceeded) {
            assert!(now >= call.deadline, "call {number} passed its deadline before it was there");
        }
    }

    /// A connection was poisoned: by a call that its plugin had for as long as it has by itself, whatever its caller's
    /// deadline was. Where probes went is not known here.
    pub fn check_poisoned(&self, now: Time, id: Id, own: Duration) {
        let is_it = |call: &Call| call.is_probe || call.begun.iter().any(|(at, _)| *at == id);
        let is_old = |call: &Call| is_it(call) && call.made_at.plus(own) <= now;
        assert!(
            self.calls.values().any(is_old),
            "{id:?} was poisoned before its own time for a call was over"
        );
    }

    pub fn end_wait<T>(&mut self, now: Time, key: WaitKey, result: &Result<T, CallError>) {
        assert!(!self.ended_waits.contains(&key), "wait {} ends twice or was forgotten", key.0);
        let (deadline, ..) = self.waits.remove(&key).expect("only waits that were made end");
        self.ended_waits.insert(key);
        if error_is(result, ErrorCode::DeadlineExceeded) {
            assert!(now >= deadline, "wait {} passed its deadline before it was there", key.0);
        }
    }

    /// Nothing whose deadline has passed is still open. Called when the timers of `now` have been handled.
    pub fn check_deadlines(&self, now: Time) {
        let tick = now.as_nanos() / 1_000_000;
        for key in &self.open {
            let deadline = self.calls[key].deadline.as_nanos().div_ceil(1_000_000);
            assert!(deadline > tick, "call {} is open after its deadline", key.0);
        }
        for (key, (deadline, ..)) in &self.waits {
            assert!(deadline.as_nanos().div_ceil(1_000_000) > tick, "wait {} is open after its time", key.0);
        }
    }

    /// The first deadline of what is open: the host may not want to sleep beyond it.
    pub fn first_deadline(&self) -> Option<Time> {
        let calls = self.open.iter().map(|key| self.calls[key].deadline);
        calls.chain(self.waits.values().map(|(deadline, ..)| *deadline)).min()
    }

    /// Nobody waits for what is so, unless the process has ended and nobody has seen it: `runs` says whether one does.
    pub fn check_waits(&self, host: &Supervisor, runs: impl Fn(u32) -> bool) {
        for (key, (_, goal, id)) in &self.waits {
            let plugin = host.find(id).and_then(|plugin| host.plugin(plugin));
            let runs = plugin.and_then(|plugin| plugin.pid()).is_none_or(&runs);
            let there = plugin.is_some_and(|plugin| match goal {
                Goal::State(state) => plugin.state() == *state,
                Goal::RoutableAfter(generation) => {
                    plugin.state().is_routable() && plugin.generation() > *generation
                }
            });
            assert!(!(there && runs), "wait {} is open, and {id} is there", key.0);
            let failed = plugin.is_some_and(|plugin| plugin.state() == PluginState::Failed);
            assert!(!failed, "wait {} is open, and {id} has failed", key.0);
        }
    }

    /// The connection to which a call was handed, and its id there.
    pub fn begun(&self, key: CallKey) -> Option<(Id, u64)> {
        self.calls[&key].begun.last().copied()
    }

    pub fn is_open(&self, key: CallKey) -> bool {
        self.open.contains(&key)
    }

    pub fn open_calls(&self) -> usize {
        self.open.len()
    }

    pub fn open_waits(&self) -> usize {
        self.waits.len()
    }
}

fn error_is<T>(result: &Result<T, CallError>, code: ErrorCode) -> bool {
    result.as_ref().is_err_and(|error| error.code == code && error.outcome != Outcome::Answered)
}

fn check_answer(
    number: u64,
    call: &Call,
    generation: Option<Generation>,
    text: &str,
    answers: impl Fn(Id, u64) -> Vec<String>,
) {
    let Some((id, wire_id)) = call.begun.last().copied() else {
        panic!("call {number} has an answer and was never sent")
    };
    assert_eq!(generation, Some(id.1), "call {number} is answered by another generation");
    assert!(
        answers(id, wire_id).iter().any(|answer| answer == text),
        "call {number} ends with {text}, which its plugin never answered to it"
    );
}
