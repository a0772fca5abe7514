//! What all handles of one host share: its engine, its record, its runtime folder, and its end.
//!
//! What it deliberately does not do: make any of them (the builder does), or make a call.
//!
//! What always holds: the last handle that is dropped ends the plugins and the event loop, and waits for both.

use super::callbacks::Callbacks;
use super::descriptions::Descriptions;
use super::error::HostError;
use super::services::callback_table::CallbackTable;
use super::sinks::Sinks;
use crate::engine::{Engine, PostError, ReplySlot};
use crate::eventlog::EventLog;
use crate::reactor::{EndReason, LoopCommand, PluginCommand, Reactor};
use crate::sys::runtime_dir::RuntimeDir;
use crate::sys::temporary::TemporaryFolder;
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use rpc_plugin_interface::context::CancelHook;
use std::sync::{Arc, Mutex, Once};
use std::thread::{JoinHandle, ThreadId};
use std::time::Duration;

/// How long the end of a host waits for its record to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// The state of one host, which its handles, calls and services keep alive.
pub(super) struct HostShared {
    pub(super) engine: Arc<Engine<Reactor>>,
    pub(super) runtime_dir: Arc<RuntimeDir>,
    pub(super) log: EventLog,
    /// Whether the end of the host has waited for its record: a disk that hangs is waited for once.
    pub(super) flushed: Once,
    pub(super) thread: LoopThread,
    pub(super) ended: EndReason,
    pub(super) sinks: Mutex<Sinks>,
    pub(super) callbacks: Callbacks,
    pub(super) called_back: CallbackTable,
    pub(super) descriptions: Arc<Descriptions>,
    /// Last, so that it is dropped last: everything else may write to it.
    pub(super) _temporary: Option<TemporaryFolder>,
}

/// The thread of the event loop.
pub(super) struct LoopThread {
    pub(super) id: ThreadId,
    /// The loop's thread, for the one thread that joins it; all others wait on `alive`.
    pub(super) handle: Mutex<Option<JoinHandle<()>>>,
    /// Disconnected when the thread is at its end, however it ended; nothing is ever sent.
    pub(super) alive: Receiver<()>,
}

impl LoopThread {
    pub(super) fn has_ended(&self) -> bool {
        self.alive.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Waits for its end, as any number of threads may at once.
    pub(super) fn wait(&self) {
        let _ = self.alive.recv();
        let handle = self.handle.lock().ok().and_then(|mut handle| handle.take());
        if let Some(handle) = handle {
            // A panic in it is a bug that the panic handler has reported; it has dropped its children,
            // which ends them.
            let _ = handle.join();
        }
    }
}

impl HostShared {
    pub(super) fn post(&self, command: LoopCommand) -> Result<(), HostError> {
        self.engine.commands().post(command).map_err(HostError::from)
    }

    /// Asks the event loop and waits for its answer, which it always gives unless it has ended.
    pub(super) fn ask<T>(&self, command: impl FnOnce(Sender<T>) -> LoopCommand) -> Result<T, HostError> {
        let (reply, answer) = bounded(1);
        self.post(command(reply))?;
        answer.recv().map_err(|_| HostError::Ended)
    }

    /// The same, about plugins.
    pub(super) fn ask_about<T>(
        &self,
        command: impl FnOnce(Sender<T>) -> PluginCommand,
    ) -> Result<T, HostError> {
        self.ask(|reply| LoopCommand::Plugin(command(reply)))
    }

    /// The function that cancels the call of a slot, from whichever thread.
    pub(super) fn canceller(self: &Arc<HostShared>, slot: &ReplySlot) -> CancelHook {
        let (host, slot) = (Arc::clone(self), slot.clone());
        Box::new(move |cause| host.engine.execute(LoopCommand::Cancel(vec![slot], cause)))
    }

    /// Ends all plugins and the event loop, and waits for both. The wait is bounded by the ladders of
    /// the plugins.
    pub(super) fn end(&self, reason: &str) {
        self.tell_to_end(|| LoopCommand::End(reason.to_owned()));
        let flush = || {
            let _ = self.log.flush(FLUSH_TIMEOUT);
        };
        // The loop itself cannot wait for its own end.
        if self.thread.id == std::thread::current().id() {
            flush();
        } else {
            self.thread.wait();
            self.flushed.call_once(flush);
        }
        if let Ok(mut sinks) = self.sinks.lock() {
            sinks.end();
        }
    }

    /// Posts what must not get lost. An event loop that has ended needs it no more.
    pub(super) fn tell_to_end(&self, command: impl Fn() -> LoopCommand) {
        // Full: the loop is busy, and has room again within a turn.
        while self.engine.commands().post(command()) == Err(PostError::Full) {
            std::thread::yield_now();
        }
    }
}

impl Drop for HostShared {
    fn drop(&mut self) {
        self.end("its last handle was dropped");
    }
}
