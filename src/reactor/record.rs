//! Where notes go: the event log, and whoever subscribed.
//!
//! What always holds: a subscriber that does not keep up misses events and is told how many; it never
//! holds anything up.

use super::mail::LifecycleEvent;
use crate::eventlog::{Entry, EventLog};
use crate::state::action::Note;
use crate::sys::runtime_dir::{ADMIN_SOCKET, plugin_socket_path};
use crossbeam_channel::{Sender, TrySendError};
use rpc_plugin_wire::event::{Component, EventKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Subscribers at once; a further subscription ends at once.
const SUBSCRIBERS_MAX: usize = 64;

struct Subscriber {
    sender: Sender<LifecycleEvent>,
    missed: u64,
}

/// See the module's text.
pub(super) struct Recorder {
    log: EventLog,
    runtime_dir: PathBuf,
    subscribers: Vec<Subscriber>,
}

impl Recorder {
    pub(super) fn new(log: EventLog, runtime_dir: &Path) -> Recorder {
        Recorder { log, runtime_dir: runtime_dir.to_owned(), subscribers: Vec::new() }
    }

    pub(super) fn subscribe(&mut self, sender: Sender<LifecycleEvent>) {
        if self.subscribers.len() < SUBSCRIBERS_MAX {
            self.subscribers.push(Subscriber { sender, missed: 0 });
        }
    }

    /// Events that could not be written.
    pub(super) fn dropped(&self) -> u64 {
        self.log.dropped()
    }

    pub(super) fn record(&mut self, note: Note) {
        let at = SystemTime::now();
        // What a plugin prints is for the record only.
        if !matches!(note.kind.component(), Component::Stdout | Component::Stderr) {
            self.publish(at, &note);
        }
        let socket_path = self.socket_path(&note);
        let mut entry = Entry::new(note.kind).at(at).message(note.message);
        entry.socket_path = socket_path.map(|path| path.display().to_string());
        entry.level = note.level;
        entry.plugin_id = note.plugin_id;
        entry.generation = note.generation;
        entry.pid = note.pid;
        entry.method = note.method;
        entry.error = note.error;
        entry.reason = note.reason;
        if let Some(details) = &note.details {
            entry = entry.details_of(details);
        }
        self.log.record(entry);
    }

    /// The socket that an event is about: where a generation is awaited, or where operators ask.
    fn socket_path(&self, note: &Note) -> Option<PathBuf> {
        match (note.kind, &note.plugin_id) {
            (EventKind::AdminAction | EventKind::AdminDenied, _) => Some(self.runtime_dir.join(ADMIN_SOCKET)),
            (
                EventKind::LaunchPrepared
                | EventKind::Connected
                | EventKind::ConnectionRefused
                | EventKind::Authenticated
                | EventKind::AuthenticationFailed,
                Some(id),
            ) => Some(plugin_socket_path(&self.runtime_dir, id)),
            _ => None,
        }
    }

    fn publish(&mut self, at: SystemTime, note: &Note) {
        self.subscribers.retain_mut(|subscriber| {
            let event = LifecycleEvent { at, note: note.clone(), missed: subscriber.missed };
            match subscriber.sender.try_send(event) {
                Ok(()) => subscriber.missed = 0,
                Err(TrySendError::Full(_)) => subscriber.missed += 1,
                Err(TrySendError::Disconnected(_)) => return false,
            }
            true
        });
    }
}
