//! Parts that an event loop is made of.

use super::admin_connections::AdminSocket;
use super::launches::LauncherHandle;
use super::loop_commands::LoopCommand;
use super::plugin_requests::Services;
use super::recorder::Recorder;
use super::watchdog::{OnHang, RunningWatchdog};
use crate::engine::CommandSender;
use crate::eventlog::EventLog;
use crate::state::hang::TICK;
use crate::sys::known_children::KnownChildren;
use crate::sys::launcher::Launcher;
use crate::sys::runtime_dir::RuntimeDir;
use std::io;
use std::sync::{Arc, OnceLock};

/// Parts that an event loop is made of.
pub(crate) struct Setup {
    pub(crate) runtime_dir: Arc<RuntimeDir>,
    pub(crate) log: EventLog,
    pub(crate) admin: Option<AdminSocket>,
    /// The services that the embedding program offers its plugins.
    pub(crate) services: Box<dyn Services>,
    /// Generations that may be starting at once.
    pub(crate) starting_max: usize,
    /// Adopt and end what plugins leave behind.
    pub(crate) subreaper: bool,
    /// Children that somebody looks after: plugins, and programs that take the record.
    pub(crate) children: KnownChildren,
    /// The thread that launches them.
    pub(crate) launcher: Arc<Launcher>,
    /// What follows where the event loop hangs for good.
    pub(crate) on_hang: Option<OnHang>,
    pub(crate) ended: EndReason,
}

impl Setup {
    /// Starts the watchdog of the loop. `commands` leads into the loop's queue.
    ///
    /// # Errors
    /// Those of pthread_create(3).
    pub(super) fn watchdog(&mut self, commands: CommandSender<LoopCommand>) -> io::Result<RunningWatchdog> {
        let recorder = Recorder::new(self.log.clone(), self.runtime_dir.path());
        let tell = Box::new(move |note| commands.deliver(LoopCommand::Record(Box::new(note))));
        RunningWatchdog::start(TICK, recorder, tell, self.on_hang.take())
    }

    /// The way to the thread that launches, which reports into the loop's queue.
    pub(super) fn launcher(&self, commands: CommandSender<LoopCommand>) -> LauncherHandle {
        let (runtime_dir, launcher) = (Arc::clone(&self.runtime_dir), Arc::clone(&self.launcher));
        LauncherHandle { runtime_dir, children: self.children.clone(), launcher, commands }
    }
}

/// How a host ended; set when it has.
pub(crate) type EndReason = Arc<OnceLock<HostEnd>>;

/// The end of a host.
#[derive(Debug)]
pub(crate) struct HostEnd {
    pub(crate) reason: String,
    /// Its event loop could not go on. Otherwise somebody asked for it.
    pub(crate) is_fault: bool,
}
