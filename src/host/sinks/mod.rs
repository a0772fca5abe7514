//! Sinks of the record, as a host has them: made from what is configured, started, ended.
//!
//! What this folder is for: the targets that need processes, sockets that are asked how much was read, or the
//! host's own plugins; the rest is in `src/eventlog/sinks`. What it deliberately does not do: read the record.
//!
//! What always holds: a plugin that takes events gets none of its own, nor of other plugins that take events, so
//! that handing over does not make something to hand over.

mod command;
mod plugin;
mod stream;

use super::HostError;
use crate::engine::Engine;
use crate::eventlog::sinks::{
    DatagramFormat, DatagramSink, EventTarget, SINKS_MAX, Sink, SinkOptions, SinkTarget, StderrSink,
    Unrecorded,
};
use crate::eventlog::{COMPRESS_FILES_MIN, Disk, EventLog, LogOptions, Packer, StreamWaker};
use crate::reactor::{Reactor, SinkQuestion};
use crate::sys::known_children::KnownChildren;
use crate::sys::launcher::Launcher;
use command::CommandSink;
use plugin::PluginSink;
use rpc_plugin_wire::PluginId;
use rpc_plugin_wire::admin::SinkStatus;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use stream::StreamSink;

/// How long the end of a host waits for its sinks to take what is left; what they did not take is handed over by
/// the next host.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// One sink of the record: what it is given, and where that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSink {
    /// What is handed over, and how patiently.
    pub options: SinkOptions,
    /// Where to.
    pub target: SinkTarget,
}

impl LogSink {
    /// A sink with default options.
    #[must_use]
    pub fn new(name: impl Into<String>, target: SinkTarget) -> LogSink {
        LogSink { options: SinkOptions::new(name), target }
    }
}

/// What sinks and packing need of a host.
pub(super) struct SinkContext<'a> {
    pub(super) runtime_dir: &'a Path,
    pub(super) disk: &'a Arc<dyn Disk>,
    pub(super) log: &'a EventLog,
    pub(super) engine: &'a Arc<Engine<Reactor>>,
    pub(super) children: &'a KnownChildren,
    pub(super) launcher: &'a Arc<Launcher>,
}

/// The sinks of a host, and the thread that packs rotated files.
#[derive(Debug, Default)]
pub(super) struct Sinks {
    sinks: Vec<Sink>,
    packer: Option<Packer>,
}

fn wrong(text: String) -> HostError {
    HostError::Setup(
        "the sinks of the record cannot be made",
        io::Error::new(io::ErrorKind::InvalidInput, text),
    )
}

/// Whether the sinks go together.
pub(super) fn check(sinks: &[LogSink], options: &LogOptions, is_recorded: bool) -> Result<(), HostError> {
    if sinks.len() > SINKS_MAX {
        return Err(wrong(format!("there are {}, at most {SINKS_MAX} are possible", sinks.len())));
    }
    let mut names = BTreeSet::new();
    for LogSink { options, target } in sinks {
        let name = &options.name;
        if name.parse::<PluginId>().is_err() {
            return Err(wrong(format!(
                "{name:?} is no name; expected 1 to 64 letters, digits, '.', '_', '-'"
            )));
        }
        if !names.insert(name) {
            return Err(wrong(format!("two are named {name:?}; the cursor is kept by the name")));
        }
        if let Some(path) = path_of(target).filter(|path| !path.is_absolute()) {
            return Err(wrong(format!("sink {name}: {} is not an absolute path", path.display())));
        }
    }
    if !is_recorded && (!sinks.is_empty() || options.compress) {
        return Err(wrong("there is no record to take events from; switch it on".to_owned()));
    }
    if options.compress && options.files_max < COMPRESS_FILES_MIN {
        return Err(wrong(format!(
            "compression needs files_max of at least {COMPRESS_FILES_MIN}: current, newest rotated, and one being packed"
        )));
    }
    if options.compress && !cfg!(feature = "compress") {
        let text = "rotated files are to be packed (LogOptions::compress), but this program is built without feature \"compress\" of rpc-plugin-system; switch either on or off";
        return Err(wrong(text.to_owned()));
    }
    Ok(())
}

fn path_of(target: &SinkTarget) -> Option<&PathBuf> {
    match target {
        SinkTarget::Stderr(_) | SinkTarget::Plugin(_) => None,
        SinkTarget::Syslog(path, _)
        | SinkTarget::Journald(path)
        | SinkTarget::UnixDatagram(path)
        | SinkTarget::UnixStream(path) => Some(path),
        SinkTarget::Command(command) => Some(&command.program),
    }
}

impl Sinks {
    /// Starts a thread for each, and has them told what is written.
    pub(super) fn start(
        context: &SinkContext<'_>,
        sinks: Vec<LogSink>,
        options: &LogOptions,
    ) -> io::Result<Sinks> {
        let takers: Vec<PluginId> =
            sinks.iter().filter_map(|sink| plugin_of(&sink.target).cloned()).collect();
        let mut started = Sinks::default();
        for LogSink { mut options, target } in sinks {
            if plugin_of(&target).is_some() {
                options.except.extend(takers.iter().cloned());
            }
            let (kind, target) = (target.kind(), make(context, &options.name, target));
            started.sinks.push(Sink::start(context.runtime_dir, options, kind, target, context.log.clone())?);
        }
        if options.compress {
            let (disk, log) = (Arc::clone(context.disk), context.log.clone());
            started.packer = Some(Packer::start(context.runtime_dir, options, disk, log)?);
        }
        let packs = started.packer.as_ref().map(|packer| Arc::clone(packer.waker()));
        let sinks: Vec<Arc<StreamWaker>> =
            started.sinks.iter().map(|sink| Arc::clone(sink.waker())).collect();
        let wakers: Vec<Arc<StreamWaker>> = sinks.iter().chain(&packs).cloned().collect();
        if !wakers.is_empty() {
            context.log.on_written(move |written| {
                let wakes = if written.was_rotated { packs.as_ref() } else { None };
                sinks.iter().chain(wakes).for_each(|waker| waker.notify(written.owner, written.seq));
            });
            // What was written before that, which is the host's own, was perhaps not seen.
            wakers.iter().for_each(|waker| waker.notify(None, 0));
        }
        Ok(started)
    }

    /// What asks each how it does.
    pub(super) fn questions(&self) -> Vec<SinkQuestion> {
        let question = |sink: &Sink| {
            let (status, waker) = (Arc::clone(sink.status()), Arc::clone(sink.waker()));
            Box::new(move || status.shown(&waker)) as SinkQuestion
        };
        self.sinks.iter().map(question).collect()
    }

    /// Where each is handed what is not on record.
    pub(super) fn unrecorded(&self) -> Vec<Unrecorded> {
        self.sinks.iter().map(|sink| sink.unrecorded().clone()).collect()
    }

    /// How each does.
    pub(super) fn shown(&self) -> Vec<SinkStatus> {
        self.sinks.iter().map(|sink| sink.status().shown(sink.waker())).collect()
    }

    /// Hands over what is left, and ends the threads, within a bound.
    pub(super) fn end(&mut self) {
        let deadline = Instant::now() + END_TIMEOUT;
        self.sinks.iter().for_each(|sink| sink.begin_end(deadline));
        if let Some(packer) = self.packer.take() {
            packer.end(deadline);
        }
        // A moment more, in which a thread that gave up at the deadline ends its program.
        self.sinks.iter_mut().for_each(|sink| sink.wait_end(deadline + END_TIMEOUT / 2));
        self.sinks.clear();
    }
}

fn plugin_of(target: &SinkTarget) -> Option<&PluginId> {
    if let SinkTarget::Plugin(id) = target { Some(id) } else { None }
}

fn make(context: &SinkContext<'_>, name: &str, target: SinkTarget) -> Box<dyn EventTarget> {
    match target {
        SinkTarget::Stderr(prefix) => Box::new(StderrSink::new(prefix)),
        SinkTarget::Syslog(path, format) => {
            Box::new(DatagramSink::new(&path, DatagramFormat::Syslog(format)))
        }
        SinkTarget::Journald(path) => Box::new(DatagramSink::new(&path, DatagramFormat::Journald)),
        SinkTarget::UnixDatagram(path) => Box::new(DatagramSink::new(&path, DatagramFormat::Json)),
        SinkTarget::UnixStream(path) => Box::new(StreamSink::new(path)),
        SinkTarget::Command(line) => {
            Box::new(CommandSink::new(name, line, context.children.clone(), Arc::clone(context.launcher)))
        }
        SinkTarget::Plugin(id) => Box::new(PluginSink::new(name, id, Arc::clone(context.engine))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_is_refused_by_a_program_that_is_built_without_it() {
        let options = LogOptions { compress: true, ..LogOptions::default() };
        let refused = check(&[], &options, true).err().map(|error| error.to_string()).unwrap_or_default();
        let expected = "built without feature \"compress\" of rpc-plugin-system";
        assert_eq!(refused.contains(expected), !cfg!(feature = "compress"), "{refused}");
        assert_eq!(refused.is_empty(), cfg!(feature = "compress"));
    }
}
