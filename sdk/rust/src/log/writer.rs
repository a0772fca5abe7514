//! The thread that writes a plugin's own record.
//!
//! What always holds: it sleeps while there is nothing to write; a file that cannot be written is told once on
//! stderr, tried again with each batch, and what was lost is told in the file once it takes something.

use super::event::Event;
use super::{Batch, LogOptions, LogQueue};
use crate::attachments::Frames;
use crate::connection::Outbox;
use crate::stderr::say;
use rpc_plugin_record::{Entry, PLUGIN_FILE_NAME, Place, StreamOptions, SystemDisk};
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::life::METHOD_LOG;
use rpc_plugin_wire::message::write_notification;
use rpc_plugin_wire::{Generation, PluginId};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long an event below `warn` waits for the batch to fill, so that the start of a plugin is one write.
const BATCHING: Duration = Duration::from_millis(20);
/// Lines that a file did not take, beyond which further ones are dropped and counted. Bytes.
const PENDING_BYTES_MAX: usize = 1024 * 1024;
/// Longest `host.log`: what is longer goes without its details, or is left out. Bytes.
const HOST_EVENT_BYTES_MAX: usize = 12 * 1024;

/// Where events go.
pub(super) enum Sink {
    File(Box<RecordFile>),
    Host(Arc<Outbox>),
}

/// Rotated files on disk.
pub(super) struct RecordFile {
    stream: rpc_plugin_record::Stream,
    plugin_id: PluginId,
    generation: Generation,
    is_told: bool,
}

pub(super) struct Writer {
    queue: Arc<LogQueue>,
    sink: Sink,
    /// Events that were lost and not told of.
    lost: u64,
}

impl Sink {
    pub(super) fn file(
        folder: PathBuf,
        options: &LogOptions,
        plugin_id: PluginId,
        generation: Generation,
    ) -> Sink {
        let place = Place { base: folder, below: None };
        let LogOptions { file_bytes_max, files_max, .. } = *options;
        let options =
            StreamOptions { file_bytes_max, files_max, is_durable: false, ..StreamOptions::default() };
        let stream = rpc_plugin_record::Stream::new(place, PLUGIN_FILE_NAME, options, Arc::new(SystemDisk));
        Sink::File(Box::new(RecordFile { stream, plugin_id, generation, is_told: false }))
    }
}

impl Writer {
    pub(super) fn new(queue: Arc<LogQueue>, sink: Sink) -> Writer {
        Writer { queue, sink, lost: 0 }
    }

    pub(super) fn run(mut self) {
        while let Some(Batch { events, dropped }) = self.queue.next_batch(BATCHING) {
            self.lost += dropped;
            match &mut self.sink {
                Sink::File(file) => file.write(events, &mut self.lost),
                Sink::Host(outbox) => send(outbox, events, &mut self.lost),
            }
        }
    }
}

impl RecordFile {
    fn write(&mut self, events: Vec<Event>, lost: &mut u64) {
        let pid = std::process::id();
        let mut is_failing = false;
        for event in events {
            if is_failing || self.stream.pending_bytes() > PENDING_BYTES_MAX {
                *lost += 1;
            } else if let Err(error) = self.push(event.into_entry(&self.plugin_id, self.generation, pid)) {
                *lost += 1;
                is_failing = true;
                self.tell(&error);
            }
        }
        match self.stream.write() {
            Err(error) => self.tell(&error),
            Ok(()) => self.report(lost),
        }
    }

    fn push(&mut self, mut entry: Entry) -> io::Result<()> {
        entry.fit();
        self.stream.push(&entry).map(|_| ())
    }

    /// Puts on record what was repaired or lost, once the file takes something.
    fn report(&mut self, lost: &mut u64) {
        let mut entries = Vec::new();
        if let Some(repair) = self.stream.take_repair() {
            let details = serde_json::json!({
                "offset": repair.offset, "torn_bytes": repair.torn_bytes, "torn": repair.torn,
            });
            let text = "the record ended in the middle of a line, which was removed";
            entries.push(Entry::new(EventKind::RecordRepaired).message(text).details_of(&details));
        }
        if *lost > 0 {
            let text = format!("{lost} events were lost before this one");
            entries.push(Entry::new(EventKind::RecordGap).message(text).size("events_dropped", *lost));
        }
        if entries.is_empty() {
            return;
        }
        for entry in entries {
            let entry = entry.plugin(self.plugin_id.clone()).generation(self.generation);
            if self.push(entry.pid(std::process::id())).is_err() {
                return;
            }
        }
        // What is pending now is written with the next batch if not now; it was counted once.
        *lost = 0;
        let _ = self.stream.write();
    }

    fn tell(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.is_told, true) {
            let folder = self.stream.place().path();
            say(&format!(
                "{}: its own record {PLUGIN_FILE_NAME} in {} cannot be written: {error}; it goes on without",
                self.plugin_id,
                folder.display()
            ));
        }
    }
}

/// Sends events to the host. Waits while too much waits for the host already; nobody waits for this thread.
fn send(outbox: &Outbox, events: Vec<Event>, lost: &mut u64) {
    let mut frames = Frames::default();
    for event in events {
        match event.to_params() {
            Some(params) if params.get().len() <= HOST_EVENT_BYTES_MAX => {
                frames.write(|out| write_notification(out, METHOD_LOG, Some(params.get())));
            }
            _ => *lost += 1,
        }
    }
    // A host that is gone needs no record of ours.
    let _ = outbox.push(&mut frames);
}
