//! Captured output: the pipes that plugins print to, read and handed on to the record or to the embedding program.
//!
//! What it deliberately does not do: decide what an event is, or how many there may be; `state::output` does.
//!
//! What always holds: reading stops for no longer than an interval at once, so a plugin never hangs in a print; nobody
//! who takes lines holds anything up; a pipe has at most one timer, and none while nothing waits in it.

use super::hub::Hub;
use super::poller::Source;
use super::watchdog::Touched;
use crate::state::action::Note;
use crate::state::keys::PluginKey;
use crate::state::output::{Capture, Output, OutputStream, Printed, PrintedLine, Treatment};
use crate::state::plugin_config::PluginConfig;
use crate::state::time::Time;
use crate::state::wheel::{TimerKey, Wheel};
use mio::Interest;
use rpc_plugin_wire::Generation;
use rpc_plugin_wire::event::{EventKind, Level};
use rpc_plugin_wire::phrase::count;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsRawFd, OwnedFd};

/// Reads of one pipe in a turn; then others have theirs.
const PIPE_READS_PER_TURN: usize = 4;
/// Bytes of one pipe that are read at once.
const PIPE_BYTES_PER_READ: usize = 16 * 1024;
/// Reads of a pipe whose process has ended; more is not waited for.
const PIPE_LAST_READS_MAX: usize = 64;

/// Name of one pipe.
pub(super) type PipeName = (PluginKey, Generation, OutputStream);

/// One captured stream.
#[derive(Debug)]
struct Pipe {
    file: File,
    source: u64,
    capture: Capture,
    timer: Option<TimerKey>,
    /// Lines that the embedding program did not take.
    missed: u64,
}

impl Pipe {
    /// Reads once. `Ok(true)`: there may be more. An error: the stream is over.
    fn read(
        &mut self,
        hub: &Hub,
        (key, generation, _): PipeName,
        now: Time,
        out: &mut Vec<Printed>,
    ) -> Result<bool, ()> {
        let mut buffer = [0; PIPE_BYTES_PER_READ];
        let read = || self.file.read(&mut buffer);
        match hub.watchdog.during((key, generation), Touched::OutputRead, read) {
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

    /// Hands on what it printed.
    fn hand_on(&mut self, hub: &mut Hub, (key, generation, stream): PipeName, printed: Vec<Printed>) {
        let Some(plugin) = hub.supervisor.plugin(key) else { return };
        let taker = match &plugin.config().output {
            Output::Lines(taker) => Some(taker),
            Output::Record | Output::Inherit => None,
        };
        for printed in printed {
            if let (Some(taker), Printed::Line(text)) = (taker, &printed) {
                let (plugin_id, missed) = (plugin.id().clone(), self.missed);
                let line = PrintedLine { plugin_id, generation, stream, text: text.clone(), missed };
                self.missed = if taker.take(line) { 0 } else { missed + 1 };
                continue;
            }
            let mut note = note_of(stream, printed);
            note.plugin_id = Some(plugin.id().clone());
            note.generation = Some(generation);
            note.pid = plugin.pid();
            hub.recorder.record(note);
        }
    }

    /// Sets a timer while something waits, and none else. One that is early finds out when it fires: a line more
    /// costs no change of timers.
    fn set_timer(&mut self, timers: &mut Wheel<PipeName>, name: PipeName) {
        match (self.capture.next_at(), self.timer) {
            (Some(at), None) => self.timer = Some(timers.insert(at, name)),
            (None, Some(timer)) => {
                timers.cancel(timer);
                self.timer = None;
            }
            _ => {}
        }
    }
}

/// The pipes of all plugins.
#[derive(Default)]
pub(super) struct CapturedOutput {
    pipes: BTreeMap<PipeName, Pipe>,
    /// When to look again at what plugins printed.
    timers: Wheel<PipeName>,
}

impl CapturedOutput {
    /// Begins to capture a stream of a process that was just launched.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub(super) fn begin(
        &mut self,
        hub: &mut Hub,
        name: PipeName,
        config: &PluginConfig,
        fd: OwnedFd,
    ) -> io::Result<()> {
        let treatment = match config.output {
            Output::Lines(_) => Treatment::Lines,
            Output::Record | Output::Inherit => {
                Treatment::Events { bytes_per_second_max: config.policy.output_bytes_per_second_max }
            }
        };
        let (key, generation, stream) = name;
        let source = Source::Pipe(key, generation, stream);
        let source = hub.poller.register(fd.as_raw_fd(), source, Interest::READABLE)?;
        let capture = Capture::new(stream, treatment);
        self.pipes.insert(name, Pipe { file: File::from(fd), source, capture, timer: None, missed: 0 });
        Ok(())
    }

    /// Reads what a plugin printed, within its turn.
    pub(super) fn read(&mut self, hub: &mut Hub, now: Time, name: PipeName) {
        let Some(pipe) = self.pipes.get_mut(&name).filter(|pipe| !hub.is_paused(pipe.source)) else { return };
        let (mut printed, mut result, mut paused) = (Vec::new(), Ok(true), None);
        for _ in 0..PIPE_READS_PER_TURN {
            result = pipe.read(hub, name, now, &mut printed);
            paused = pipe.capture.unasked().pause_after(now, 0);
            if !matches!(result, Ok(true)) || paused.is_some() {
                break;
            }
        }
        match result {
            Ok(_) if let Some((until, tells)) = paused => {
                let stream = name.2.to_string();
                let tells = tells.then_some((name.0, stream.as_str()));
                hub.pause((pipe.file.as_raw_fd(), pipe.source, false), until, tells);
            }
            Ok(true) => hub.poller.go_on_later(Some(pipe.source)),
            Ok(false) => {}
            // The process closed it and lives on, or its end is about to be seen. Its tail is kept.
            Err(()) => {
                pipe.capture.finish(now, &mut printed);
                hub.poller.unregister(pipe.file.as_raw_fd(), pipe.source);
            }
        }
        pipe.hand_on(hub, name, printed);
        pipe.set_timer(&mut self.timers, name);
    }

    /// Reads what is there of the streams of a process that has ended; gives the last lines of its stderr. A grandchild may
    /// hold the other end: its end of file is not waited for.
    pub(super) fn end(
        &mut self,
        hub: &mut Hub,
        now: Time,
        (key, generation): (PluginKey, Generation),
    ) -> Vec<String> {
        self.end_stream(hub, now, (key, generation, OutputStream::Stdout));
        self.end_stream(hub, now, (key, generation, OutputStream::Stderr))
    }

    fn end_stream(&mut self, hub: &mut Hub, now: Time, name: PipeName) -> Vec<String> {
        let Some(mut pipe) = self.pipes.remove(&name) else { return Vec::new() };
        let mut printed = Vec::new();
        for _ in 0..PIPE_LAST_READS_MAX {
            if !matches!(pipe.read(hub, name, now, &mut printed), Ok(true)) {
                break;
            }
        }
        pipe.capture.finish(now, &mut printed);
        pipe.hand_on(hub, name, printed);
        if let Some(timer) = pipe.timer {
            self.timers.cancel(timer);
        }
        hub.poller.unregister(pipe.file.as_raw_fd(), pipe.source);
        pipe.capture.take_tail()
    }

    /// When something of it need not wait any longer.
    pub(super) fn next_at(&self) -> Option<Time> {
        self.timers.next_at()
    }

    /// Hands on what needs not wait any longer.
    pub(super) fn handle_time(&mut self, hub: &mut Hub, now: Time) {
        while let Some(name) = self.timers.pop_expired(now) {
            let Some(pipe) = self.pipes.get_mut(&name) else { continue };
            let mut printed = Vec::new();
            pipe.timer = None;
            pipe.capture.handle_time(now, &mut printed);
            pipe.hand_on(hub, name, printed);
            pipe.set_timer(&mut self.timers, name);
        }
    }
}

fn note_of(stream: OutputStream, printed: Printed) -> Note {
    let kind = match stream {
        OutputStream::Stdout => EventKind::Stdout,
        OutputStream::Stderr => EventKind::Stderr,
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
            let lines_of = count(lines, "line");
            let text = format!("{lines_of} of {stream} came too fast; see output_bytes_per_second_max");
            let details = serde_json::json!({"stream": stream.to_string(), "lines": lines, "bytes": bytes});
            Note::new(EventKind::OutputDropped, text).details(details)
        }
    }
}
