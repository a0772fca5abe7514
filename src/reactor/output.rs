//! The pipes that plugins print to: read, and handed on to the record or to the embedding program.
//!
//! What this file deliberately does not do: decide what an event is, or how many there may be;
//! `state::output` does.
//!
//! What always holds: reading never stops, so a plugin never hangs in a print; nobody who takes lines holds
//! anything up; a pipe has at most one timer, and none while nothing waits in it.

use super::{Reactor, Source};
use crate::state::action::Note;
use crate::state::keys::PluginKey;
use crate::state::output::{Capture, Output, Printed, PrintedLine, Stream, Treatment};
use crate::state::time::Time;
use crate::state::wheel::TimerKey;
use mio::Interest;
use rpc_plugin_wire::Generation;
use rpc_plugin_wire::event::{EventKind, Level};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsRawFd, OwnedFd};

/// Reads of one pipe in a turn; then others have theirs.
const PIPE_READS_PER_TURN: usize = 4;
/// Bytes of one pipe that are read at once.
const PIPE_BYTES_PER_READ: usize = 16 * 1024;
/// Reads of a pipe whose process has ended; more is not waited for.
const PIPE_LAST_READS_MAX: usize = 64;

/// One captured stream.
#[derive(Debug)]
pub(super) struct Pipe {
    file: File,
    source: u64,
    stream: Stream,
    capture: Capture,
    timer: Option<TimerKey>,
    /// Lines that the embedding program did not take.
    missed: u64,
}

impl Pipe {
    /// Reads once. `Ok(true)`: there may be more. An error: the stream is over.
    fn read(&mut self, now: Time, out: &mut Vec<Printed>) -> Result<bool, ()> {
        let mut buffer = [0; PIPE_BYTES_PER_READ];
        match self.file.read(&mut buffer) {
            Ok(0) => Err(()),
            Ok(bytes) => {
                self.capture.push(now, buffer.get(..bytes).unwrap_or_default(), out);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(_) => Err(()),
        }
    }
}

impl Reactor {
    /// Begins to capture a stream of a process that was just launched; there is no pipe where it prints to
    /// somewhere else.
    pub(super) fn watch_pipe(
        &mut self,
        key: PluginKey,
        generation: Generation,
        stream: Stream,
        fd: Option<OwnedFd>,
    ) -> io::Result<Option<Pipe>> {
        let Some(fd) = fd else { return Ok(None) };
        let source = match stream {
            Stream::Stdout => Source::Stdout(key, generation),
            Stream::Stderr => Source::Stderr(key, generation),
        };
        let treatment = match self.supervisor.plugin(key).map(|plugin| plugin.config()) {
            Some(config) if !matches!(config.output, Output::Lines(_)) => {
                Treatment::Events { bytes_per_second_max: config.policy.output_bytes_per_second_max }
            }
            _ => Treatment::Lines,
        };
        let source = self.register(fd.as_raw_fd(), source, Interest::READABLE)?;
        let capture = Capture::new(stream, treatment);
        Ok(Some(Pipe { file: File::from(fd), source, stream, capture, timer: None, missed: 0 }))
    }

    /// Reads what a plugin printed, within its turn.
    pub(super) fn read_pipe(&mut self, now: Time, key: PluginKey, generation: Generation, stream: Stream) {
        let Some(mut pipe) = self.take_pipe(key, generation, stream) else { return };
        let (mut printed, mut result) = (Vec::new(), Ok(true));
        for _ in 0..PIPE_READS_PER_TURN {
            result = pipe.read(now, &mut printed);
            if !matches!(result, Ok(true)) {
                break;
            }
        }
        match result {
            Ok(true) => self.unfinished.push_back(pipe.source),
            Ok(false) => {}
            // The process closed it and lives on, or its end is about to be seen. Its tail is kept.
            Err(()) => {
                pipe.capture.finish(now, &mut printed);
                self.unregister(pipe.file.as_raw_fd(), pipe.source);
            }
        }
        self.hand_on(key, generation, &mut pipe, printed);
        self.set_timer(key, generation, &mut pipe);
        self.put_pipe_back(key, pipe);
    }

    /// Reads what is there of a stream whose process has ended; gives its last lines. A grandchild may hold
    /// the other end: its end of file is not waited for.
    pub(super) fn end_pipe(
        &mut self,
        now: Time,
        key: PluginKey,
        generation: Generation,
        pipe: Option<Pipe>,
    ) -> Vec<String> {
        let Some(mut pipe) = pipe else { return Vec::new() };
        let mut printed = Vec::new();
        for _ in 0..PIPE_LAST_READS_MAX {
            if !matches!(pipe.read(now, &mut printed), Ok(true)) {
                break;
            }
        }
        pipe.capture.finish(now, &mut printed);
        self.hand_on(key, generation, &mut pipe, printed);
        self.set_timer(key, generation, &mut pipe);
        self.unregister(pipe.file.as_raw_fd(), pipe.source);
        pipe.capture.take_tail()
    }

    /// Hands on what needs not wait any longer.
    pub(super) fn record_waiting(&mut self, now: Time) {
        while let Some((key, generation, stream)) = self.printing.pop_expired(now) {
            let Some(mut pipe) = self.take_pipe(key, generation, stream) else { continue };
            let mut printed = Vec::new();
            pipe.timer = None;
            pipe.capture.handle_time(now, &mut printed);
            self.hand_on(key, generation, &mut pipe, printed);
            self.set_timer(key, generation, &mut pipe);
            self.put_pipe_back(key, pipe);
        }
    }

    /// A timer while something waits, and none else. One that is early finds out when it fires: a line more
    /// costs no change of timers.
    fn set_timer(&mut self, key: PluginKey, generation: Generation, pipe: &mut Pipe) {
        match (pipe.capture.next_at(), pipe.timer) {
            (Some(at), None) => pipe.timer = Some(self.printing.insert(at, (key, generation, pipe.stream))),
            (None, Some(timer)) => {
                self.printing.cancel(timer);
                pipe.timer = None;
            }
            _ => {}
        }
    }

    fn pipe_slot(&mut self, key: PluginKey, stream: Stream) -> Option<(Generation, &mut Option<Pipe>)> {
        let running = self.instances.get_mut(&key)?.running.as_mut()?;
        let slot = match stream {
            Stream::Stdout => &mut running.stdout,
            Stream::Stderr => &mut running.stderr,
        };
        Some((running.generation, slot))
    }

    fn take_pipe(&mut self, key: PluginKey, generation: Generation, stream: Stream) -> Option<Pipe> {
        let (current, slot) = self.pipe_slot(key, stream)?;
        if current == generation { slot.take() } else { None }
    }

    fn put_pipe_back(&mut self, key: PluginKey, pipe: Pipe) {
        if let Some((_, slot)) = self.pipe_slot(key, pipe.stream) {
            *slot = Some(pipe);
        }
    }

    fn hand_on(&mut self, key: PluginKey, generation: Generation, pipe: &mut Pipe, printed: Vec<Printed>) {
        let Some(plugin) = self.supervisor.plugin(key) else { return };
        let taker = match &plugin.config().output {
            Output::Lines(taker) => Some(taker),
            Output::Record | Output::Inherit => None,
        };
        for printed in printed {
            if let (Some(taker), Printed::Line(text)) = (taker, &printed) {
                let (plugin_id, missed) = (plugin.id().clone(), pipe.missed);
                let line =
                    PrintedLine { plugin_id, generation, stream: pipe.stream, text: text.clone(), missed };
                pipe.missed = if taker.take(line) { 0 } else { missed + 1 };
                continue;
            }
            let mut note = note_of(pipe.stream, printed);
            note.plugin_id = Some(plugin.id().clone());
            note.generation = Some(generation);
            note.pid = plugin.pid();
            self.recorder.record(note);
        }
    }
}

fn note_of(stream: Stream, printed: Printed) -> Note {
    let kind = match stream {
        Stream::Stdout => EventKind::Stdout,
        Stream::Stderr => EventKind::Stderr,
    };
    match printed {
        Printed::Line(text) => Note::new(kind, text),
        Printed::Structured(structured) => {
            let mut note = Note::new(kind, structured.message).level(structured.level);
            note.details = structured.details;
            note
        }
        Printed::Report { kind: report, text, lines } => {
            let details = serde_json::json!({"report": report.as_str(), "lines": lines});
            Note::new(kind, text).level(Level::Error).details(details)
        }
        Printed::Dropped { lines, bytes } => {
            let text = format!("{lines} lines of {stream} came too fast; see output_bytes_per_second_max");
            let details = serde_json::json!({"stream": stream.to_string(), "lines": lines, "bytes": bytes});
            Note::new(EventKind::OutputDropped, text).details(details)
        }
    }
}
