//! Where notes go: the event log, and whoever subscribed.
//!
//! What always holds: a subscriber that does not keep up misses events and is told how many; it never
//! holds anything up.

use super::mail::LifecycleEvent;
use crate::eventlog::{Entry, EventLog};
use crate::state::action::Note;
use crossbeam_channel::{Sender, TrySendError};
use rpc_plugin_wire::event::Component;
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
    subscribers: Vec<Subscriber>,
}

impl Recorder {
    pub(super) fn new(log: EventLog) -> Recorder {
        Recorder { log, subscribers: Vec::new() }
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
        let mut entry = Entry::new(note.kind).at(at).message(note.message);
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
