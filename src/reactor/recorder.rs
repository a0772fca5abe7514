//! Where notes go: the event log, and whoever subscribed.
//!
//! What always holds: a subscriber that does not keep up misses events and is told how many; it never
//! holds anything up.

use crate::eventlog::{Correlation, Durability, Entry, EventLog, Ticket};
use crate::state::action::{CallRecord, Note};
use crate::state::plugin::PeerIdentity;
use crate::sys::runtime_dir::{ADMIN_SOCKET, plugin_socket_path};
use crossbeam_channel::{Sender, TrySendError};
use rpc_plugin_peer::Party;
use rpc_plugin_wire::event::{Component, EventKind, Level};
use rpc_plugin_wire::{CallError, ErrorCode, Outcome, PluginId};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
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

/// A call that an operator asked for. There may be many: no [`Note`] is made that nobody reads, and it is not told which
/// command asks, which its connection tells.
pub(crate) struct CallAsked {
    /// The request, in the record.
    pub(crate) operation_id: String,
    /// Plugin that is to be called, where it was named.
    pub(crate) plugin_id: Option<PluginId>,
    /// Capability that is to be called, where no plugin was named.
    pub(crate) capability: Option<String>,
    pub(crate) method: String,
    /// Process that asks.
    pub(crate) peer: PeerIdentity,
}

/// What [`CallAsked`] says beside the members that every event has.
#[derive(Serialize)]
struct CallAskedDetails {
    action: &'static str,
    peer_pid: u32,
    peer_uid: u32,
}

impl CallAsked {
    const MESSAGE: &str = "an operator asked for call";

    fn details(&self) -> CallAskedDetails {
        CallAskedDetails { action: "call", peer_pid: self.peer.pid, peer_uid: self.peer.uid }
    }

    fn reason(&self) -> Option<String> {
        self.capability.as_ref().map(|name| format!("capability {name}"))
    }

    /// For who subscribed to it.
    fn note(&self) -> Note {
        let mut note = Note::new(EventKind::AdminAction, CallAsked::MESSAGE).level(Level::Debug);
        note = note.method(&self.method).by(Party::Client(self.peer.pid));
        (note.plugin_id, note.operation_id) = (self.plugin_id.clone(), Some(self.operation_id.clone()));
        (note.reason, note.details) = (self.reason(), serde_json::to_value(self.details()).ok());
        note
    }
}

/// The event log, and those who subscribed to what happens.
pub(super) struct Recorder {
    log: EventLog,
    runtime_dir: PathBuf,
    /// The path of the admin socket, as it is told.
    admin_socket: String,
    /// The details of the call that was asked for last: mostly the next one is from there too.
    call_details: Option<(PeerIdentity, Box<RawValue>)>,
    subscribers: Vec<Subscriber>,
    /// Ticket of what was recorded last.
    last_ticket: Option<Ticket>,
}

impl Recorder {
    pub(super) fn new(log: EventLog, runtime_dir: &Path) -> Recorder {
        let admin_socket = runtime_dir.join(ADMIN_SOCKET).display().to_string();
        let runtime_dir = runtime_dir.to_owned();
        Recorder {
            log,
            runtime_dir,
            admin_socket,
            call_details: None,
            subscribers: Vec::new(),
            last_ticket: None,
        }
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

    /// Puts on record that an operator asked for a call.
    pub(super) fn asked(&mut self, call: CallAsked) {
        let at = SystemTime::now();
        self.publish(at, (EventKind::AdminAction, Level::Debug), || call.note());
        let (party, reason) = (Party::Client(call.peer.pid), call.reason());
        if self.call_details.as_ref().is_none_or(|(peer, _)| *peer != call.peer) {
            self.call_details = to_raw_value(&call.details()).ok().map(|details| (call.peer, details));
        }
        let details = self.call_details.as_ref().map(|(_, details)| details.clone());
        let entry = Entry::new(EventKind::AdminAction)
            .at(at)
            .level(Level::Debug)
            .message(CallAsked::MESSAGE)
            .socket_path(self.admin_socket.clone())
            .with(details, Entry::details)
            .with(call.plugin_id, Entry::plugin)
            .with(reason, Entry::reason)
            .operation_id(call.operation_id)
            .method(call.method);
        self.last_ticket = self.log.record_of(&party, entry).or(self.last_ticket);
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
    fn socket_path(&self, note: &Note) -> Option<String> {
        match (note.kind, &note.plugin_id) {
            (EventKind::AdminAction | EventKind::AdminDenied, _) => Some(self.admin_socket.clone()),
            (
                EventKind::LaunchPrepared
                | EventKind::ConnectionAwaited
                | EventKind::Connected
                | EventKind::ConnectionRefused
                | EventKind::AuthenticationStarted
                | EventKind::Authenticated
                | EventKind::AuthenticationFailed,
                Some(id),
            ) => Some(plugin_socket_path(&self.runtime_dir, id).display().to_string()),
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

fn entry_of(note: Note, at: SystemTime, socket_path: Option<String>) -> Entry {
    Entry::new(note.kind)
        .at(at)
        .message(note.message)
        .with(note.level, Entry::level)
        .with(note.plugin_id, Entry::plugin)
        .with(note.generation, Entry::generation)
        .with(note.pid, Entry::pid)
        .with(socket_path, Entry::socket_path)
        .with(note.operation_id, Entry::operation_id)
        .with(note.method, Entry::method)
        .with(note.error, Entry::error)
        .with(note.reason, Entry::reason)
        .with(note.details.as_ref(), Entry::details_of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eventlog::LogOptions;
    use crossbeam_channel::bounded;
    use std::time::Duration;

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

    #[test]
    fn a_call_of_an_operator_is_on_record_as_its_note_would_be_and_no_note_is_made_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let log = EventLog::start(folder.path(), &LogOptions::default()).unwrap();
        let mut recorder = Recorder::new(log, folder.path());
        let call = |pid, plugin: Option<&str>| CallAsked {
            operation_id: "7.1".to_owned(),
            plugin_id: plugin.map(|id| id.parse().unwrap()),
            capability: plugin.is_none().then(|| "kv".to_owned()),
            method: "kv.get \"x\"".to_owned(),
            peer: PeerIdentity { pid, uid: 1000 },
        };
        let calls = [(1, None), (1, None), (2, None), (1, Some("p")), (2, Some("p"))];
        let mut notes = Vec::new();
        for (pid, plugin) in calls {
            notes.push(call(pid, plugin).note());
            recorder.asked(call(pid, plugin));
        }
        for note in notes {
            recorder.record(note);
        }
        assert!(recorder.log().flush(Duration::from_secs(60)));
        for (owner, lines) in [(".", 6), ("p", 4)] {
            let text = std::fs::read_to_string(folder.path().join(owner).join("events.jsonl")).unwrap();
            let without_number = |line: &str| {
                let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
                let members = line.as_object_mut().unwrap();
                assert!(members.remove("time").is_some() && members.remove("seq").is_some());
                line.to_string()
            };
            let read: Vec<String> = text.lines().map(without_number).collect();
            assert_eq!(read.len(), lines, "{text}");
            let (asked, noted) = read.split_at(lines / 2);
            assert_eq!(asked, noted);
            assert!(read[0].contains("admin.sock") && read[0].contains("\"peer_pid\":1"), "{text}");
        }
        // Who does not want events of its level has none made.
        let (sender, events) = bounded(1);
        recorder.subscribe(sender, |_, level| level > Level::Debug);
        recorder.asked(call(1, None));
        assert!(events.is_empty());
    }
}
