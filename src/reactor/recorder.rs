//! Where notes go: the event log, and whoever subscribed.
//!
//! What always holds: a subscriber that does not keep up misses events and is told how many; it never
//! holds anything up.

use crate::eventlog::{Correlation, Durability, Entry, EventLog, Ticket};
use crate::state::action::{CallRecord, Note};
use crate::sys::runtime_dir::{ADMIN_SOCKET, plugin_socket_path};
use crossbeam_channel::{Sender, TrySendError};
use rpc_plugin_peer::Party;
use rpc_plugin_wire::event::{Component, EventKind, Level};
use rpc_plugin_wire::{CallError, ErrorCode, Outcome};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Subscribers at once; a further subscription ends at once.
const SUBSCRIBERS_MAX: usize = 64;

/// Something that happened, for subscribers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LifecycleEvent {
    /// When it happened.
    pub at: SystemTime,
    /// What happened.
    pub note: Note,
    /// Events before this one that this subscriber missed because it did not keep up.
    pub missed: u64,
}

/// Whether a subscriber wants the events of a kind and level.
pub(crate) type EventFilter = fn(EventKind, Level) -> bool;

struct Subscriber {
    sender: Sender<LifecycleEvent>,
    wants: EventFilter,
    missed: u64,
}

/// The event log, and those who subscribed to what happens.
pub(super) struct Recorder {
    log: EventLog,
    runtime_dir: PathBuf,
    subscribers: Vec<Subscriber>,
    /// Ticket of what was recorded last.
    last_ticket: Option<Ticket>,
}

impl Recorder {
    pub(super) fn new(log: EventLog, runtime_dir: &Path) -> Recorder {
        Recorder { log, runtime_dir: runtime_dir.to_owned(), subscribers: Vec::new(), last_ticket: None }
    }

    pub(super) fn subscribe(&mut self, sender: Sender<LifecycleEvent>, wants: EventFilter) {
        if self.subscribers.len() < SUBSCRIBERS_MAX {
            self.subscribers.push(Subscriber { sender, wants, missed: 0 });
        }
    }

    /// Events that could not be written.
    pub(super) fn dropped(&self) -> u64 {
        self.log.dropped()
    }

    pub(super) fn record(&mut self, note: Note) {
        let at = SystemTime::now();
        let level = note.level.unwrap_or_else(|| note.kind.level());
        self.publish(at, (note.kind, level), || note.clone());
        let socket_path = self.socket_path(&note);
        let of_plugin = note.plugin_id.clone().map_or(Party::Program, Party::Plugin);
        let party = note.by.clone().unwrap_or(of_plugin);
        self.last_ticket = self.log.record_of(&party, entry_of(note, at, socket_path)).or(self.last_ticket);
    }

    /// Puts a step of a call on record. Those that fail are for subscribers too.
    pub(super) fn called(&mut self, record: CallRecord) {
        let at = SystemTime::now();
        let CallRecord { kind, plugin_id, generation, pid, method, request, bytes, took, error, .. } = record;
        let (caller, left_out) = (record.caller, record.left_out);
        let is_started = kind == EventKind::CallStarted;
        if let Some(error) = &error {
            let level = level_of_failure(kind, error);
            self.publish(at, (kind, level), || {
                let mut note = Note::new(kind, said_of(kind)).method(method.clone()).level(level);
                note = note.error(error.message.clone());
                (note.plugin_id, note.generation, note.pid) = (Some(plugin_id.clone()), generation, pid);
                note
            });
        }
        let correlation = generation.zip(request);
        let correlation = correlation.map(|(generation, request)| Correlation { generation, request });
        let mut entry = Entry::new(kind)
            .at(at)
            .plugin(plugin_id)
            .call(method)
            .message(said_of(kind))
            .with(generation, Entry::generation)
            .with(correlation, Entry::correlation)
            .with(pid, Entry::pid);
        if !is_started {
            entry = entry.status(if error.is_some() { "error" } else { "ok" }).duration(took);
        }
        match error {
            Some(error) => {
                let mut details = serde_json::Map::new();
                details.insert("outcome".to_owned(), error.outcome.as_str().into());
                if let Party::Plugin(caller) = &caller {
                    details.insert("caller".to_owned(), caller.as_str().into());
                }
                if left_out > 0 {
                    details.insert("left_out".to_owned(), left_out.into());
                }
                entry = entry.error_class(error.code.name());
                // What a plugin answers is its own business: there may be many, and its text may quote params.
                entry = entry.level(level_of_failure(kind, &error));
                if error.outcome == Outcome::Answered {
                    details.insert("code".to_owned(), error.code.code().into());
                } else {
                    entry = entry.error(error.message);
                }
                entry = entry.details_of(&details.into());
            }
            None => entry = entry.size(if is_started { "params_bytes" } else { "result_bytes" }, bytes),
        }
        // Its caller waits for the record of an end.
        let ticket = if self.log.durability() != Durability::None && !is_started {
            self.log.record_urgent_of(&caller, entry)
        } else {
            self.log.record_of(&caller, entry)
        };
        self.last_ticket = ticket.or(self.last_ticket);
    }

    /// The ticket of what was recorded last.
    pub(super) fn last_ticket(&self) -> Option<Ticket> {
        self.last_ticket
    }

    pub(super) fn log(&self) -> &EventLog {
        &self.log
    }

    /// The socket that an event is about: where a generation is awaited, or where operators ask.
    fn socket_path(&self, note: &Note) -> Option<PathBuf> {
        match (note.kind, &note.plugin_id) {
            (EventKind::AdminAction | EventKind::AdminDenied, _) => Some(self.runtime_dir.join(ADMIN_SOCKET)),
            (
                EventKind::LaunchPrepared
                | EventKind::ConnectionAwaited
                | EventKind::Connected
                | EventKind::ConnectionRefused
                | EventKind::AuthenticationStarted
                | EventKind::Authenticated
                | EventKind::AuthenticationFailed,
                Some(id),
            ) => Some(plugin_socket_path(&self.runtime_dir, id)),
            _ => None,
        }
    }

    /// Hands a note to who wants its kind; it is made for those only.
    fn publish(&mut self, at: SystemTime, (kind, level): (EventKind, Level), note: impl Fn() -> Note) {
        self.subscribers.retain_mut(|subscriber| {
            if !(subscriber.wants)(kind, level) {
                return true;
            }
            if subscriber.sender.is_full() {
                subscriber.missed += 1;
                return true;
            }
            let event = LifecycleEvent { at, note: note(), missed: subscriber.missed };
            match subscriber.sender.try_send(event) {
                Ok(()) => subscriber.missed = 0,
                Err(TrySendError::Full(_)) => subscriber.missed += 1,
                Err(TrySendError::Disconnected(_)) => return false,
            }
            true
        });
    }
}

/// Whether an event tells what a plugin prints or logs. Its own events ([`EventKind::PluginEvent`]) are none of that.
pub(crate) fn is_said(kind: EventKind) -> bool {
    matches!(kind.component(), Component::Stdout | Component::Stderr | Component::Plugin)
        && kind != EventKind::PluginEvent
}

/// How much the failure of a call matters.
fn level_of_failure(kind: EventKind, error: &CallError) -> Level {
    // What a plugin answers is its own business. Who cancelled wanted no answer any more: nothing is wrong.
    let is_well = error.outcome == Outcome::Answered || error.code == ErrorCode::Cancelled;
    if is_well { Level::Info } else { kind.level() }
}

/// What a step of a call says to a person. The method and the rest have members of their own.
fn said_of(kind: EventKind) -> &'static str {
    match kind {
        EventKind::CallStarted => "a call was sent",
        EventKind::CallSucceeded => "a call was answered",
        EventKind::CallTimedOut => "a call passed its deadline",
        _ => "a call failed",
    }
}

fn entry_of(note: Note, at: SystemTime, socket_path: Option<PathBuf>) -> Entry {
    Entry::new(note.kind)
        .at(at)
        .message(note.message)
        .with(note.level, Entry::level)
        .with(note.plugin_id, Entry::plugin)
        .with(note.generation, Entry::generation)
        .with(note.pid, Entry::pid)
        .with(socket_path.map(|path| path.display().to_string()), Entry::socket_path)
        .with(note.operation_id, Entry::operation_id)
        .with(note.method, Entry::method)
        .with(note.error, Entry::error)
        .with(note.reason, Entry::reason)
        .with(note.details.as_ref(), Entry::details_of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::bounded;

    #[test]
    fn a_subscriber_gets_what_it_wants_and_nothing_is_made_of_the_rest() {
        let mut recorder = Recorder::new(EventLog::disabled(), Path::new("/"));
        let (sender, events) = bounded(1);
        recorder.subscribe(sender, |kind, level| kind == EventKind::Awaited && level == Level::Info);
        // More than there is room for.
        for _ in 0..3 {
            recorder.record(Note::new(EventKind::AdminAction, "a call of an operator"));
        }
        let kind = (EventKind::CallFailed, Level::Warn);
        recorder.publish(SystemTime::now(), kind, || panic!("nobody wants it"));
        recorder.record(Note::new(EventKind::Awaited, "it waits"));
        let event = events.try_recv().unwrap();
        assert_eq!((event.note.kind, event.missed), (EventKind::Awaited, 0));
        assert!(events.is_empty());
        // Where there is no room, nothing is made either, and that is counted.
        recorder.record(Note::new(EventKind::Awaited, "it waits again"));
        recorder.publish(SystemTime::now(), (EventKind::Awaited, Level::Info), || panic!("there is no room"));
        assert_eq!(events.try_recv().unwrap().note.message, "it waits again");
        recorder.record(Note::new(EventKind::Awaited, "it waits"));
        assert_eq!(events.try_recv().unwrap().missed, 1);
    }
}
