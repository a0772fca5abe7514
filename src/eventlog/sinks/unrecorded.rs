//! The event that a sink gets although it is not on record: that the record cannot be written.
//!
//! What it deliberately does not do: replace the record; once that is written again, the sink gets what happened from
//! there, with its number.
//!
//! What always holds: one waits at the most, the newest; handing one in never waits.

use super::target::Event;
use crate::eventlog::waker::StreamWaker;
use rpc_plugin_record::format_time;
use rpc_plugin_wire::event::{EventKind, Record};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Where such an event waits for the thread of a sink.
#[derive(Debug, Clone)]
pub struct Unrecorded {
    waiting: Arc<Mutex<Option<Event>>>,
    waker: Arc<StreamWaker>,
}

impl Unrecorded {
    /// Nothing waits. `waker` wakes the thread.
    pub(super) fn new(waker: &Arc<StreamWaker>) -> Unrecorded {
        Unrecorded { waiting: Arc::default(), waker: Arc::clone(waker) }
    }

    /// Hands an event of the host in, without a number.
    pub fn hand_in(&self, kind: EventKind, message: &str, error: &str) {
        let record = Record {
            time: format_time(SystemTime::now()),
            level: kind.level().as_str().into(),
            component: kind.component().as_str().into(),
            event: kind.as_str().into(),
            message: message.into(),
            error: Some(error.into()),
            ..Record::default()
        };
        let text = serde_json::to_string(&record).unwrap_or_default();
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(Event { text, record });
        self.waker.wake_up();
    }

    pub(super) fn take(&self) -> Option<Event> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
