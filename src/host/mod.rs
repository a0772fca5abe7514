//! The host library: what an embedding program uses to launch, watch and call plugins.
//!
//! What this folder is for: [`Host`] and [`PluginHandle`], which any thread may use; behind them one
//! event-loop thread does the work. What it deliberately does not do: install signal handlers, print,
//! keep global state, reap children that are not its own. Two hosts in one process work, each with a
//! runtime folder of its own.
//!
//! What always holds: every call returns, with a result or with one error, no later than its
//! deadline; dropping the last handle of a host ends its plugins.

mod admin;
mod builder;
mod call;
mod call_reply;
mod call_set;
mod call_set_metrics;
mod callbacks;
mod cancel_token;
mod capability;
mod checked;
mod describing;
mod descriptions;
mod error;
#[cfg(feature = "package")]
pub mod packages;
mod pending;
mod plugin;
mod record_trouble;
mod services;
mod shared;
mod sinks;
mod subscription;

#[doc(inline)]
pub use crate::eventlog::sinks::{CommandLine, Prefix, SinkOptions, SinkTarget, SyslogFormat};
#[doc(inline)]
pub use crate::eventlog::{Durability, LogOptions};
#[cfg(all(feature = "daemon", feature = "package"))]
pub(crate) use crate::reactor::{AdminAnswer, ClaimedRestarts, DelegatedRequest};
#[doc(inline)]
pub use crate::reactor::{CallCounts, LifecycleEvent};
#[doc(inline)]
pub use crate::state::action::Note;
#[doc(inline)]
pub use crate::state::config_error::{ConfigError, ConfigErrors};
#[doc(inline)]
pub use crate::state::confine::Confine;
#[doc(inline)]
pub use crate::state::output::{LineTaker, Output, OutputStream, PrintedLine};
#[doc(inline)]
pub use crate::state::plugin_config::{LaunchMode, MayCall, PluginConfig};
#[doc(inline)]
pub use crate::state::policy::{Policy, RestartPolicy, RpcAudit, Transport};
#[doc(inline)]
pub use crate::state::start_mode::StartMode;
#[doc(inline)]
pub use crate::sys::file_error::FileError;
#[doc(inline)]
pub use crate::sys::folder::{FolderError, FolderProblem};
#[doc(inline)]
pub use crate::sys::listener::SocketPathError;
#[doc(inline)]
pub use crate::sys::private_folder::PrivateFolderError;
#[doc(inline)]
pub use crate::sys::runtime_dir::RuntimeDirError;
#[doc(inline)]
pub use crate::sys::writable::{WritablePath, WritablePaths};
pub use builder::HostBuilder;
pub use call::{Callee, Watched};
pub use call_reply::{CallReply, CallResult};
pub use call_set::CallSet;
pub use call_set_metrics::CallSetMetrics;
pub use cancel_token::CancelToken;
pub use capability::CapabilityHandle;
pub use error::HostError;
pub use pending::{PendingCall, ProgressAs, ProgressIter, wait_any};
pub use plugin::PluginHandle;
#[doc(inline)]
pub use rpc_plugin_interface::{CallOptions, Description, HandlerError, MethodDescription};
#[doc(inline)]
pub use rpc_plugin_wire::admin::{PluginStatus, SinkStatus};
#[doc(inline)]
pub use rpc_plugin_wire::event::{EventKind, Level};
#[doc(inline)]
pub use rpc_plugin_wire::life::{Desired, PluginState};
#[doc(inline)]
pub use rpc_plugin_wire::{CallError, CancelCause};
#[doc(inline)]
pub use rpc_plugin_wire::{ErrorCode, Generation, Outcome, PluginId};
pub use services::ServiceCall;
pub use sinks::LogSink;
pub use subscription::{EventStream, OutputLines, Subscription};

use crate::reactor::{AdminCommand, DrainCommand, EventFilter, LoopCommand, PluginCommand, is_said};
use crate::sys::generation;
use checked::checked;
use crossbeam_channel::bounded;
use rpc_plugin_record::{Backward, FILE_NAME};
use shared::HostShared;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A supervisor of plugins. Clones are the same host; it ends when the last clone and the last
/// [`PluginHandle`] are dropped, or with [`Host::shutdown`].
#[derive(Clone)]
pub struct Host {
    shared: Arc<HostShared>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("runtime_dir", &self.runtime_dir()).finish_non_exhaustive()
    }
}

impl Host {
    /// Sets up a host with a runtime folder: private, its own, made if only its last part is missing.
    #[must_use]
    pub fn builder(runtime_dir: impl AsRef<Path>) -> HostBuilder {
        HostBuilder::new(Some(runtime_dir.as_ref()))
    }

    /// Sets up a host whose runtime folder is a new one in the folder for temporary files, and is removed with the
    /// host: for programs that need neither the record nor the control socket once they have ended. One that is
    /// killed leaves the folder behind.
    #[must_use]
    pub fn temporary() -> HostBuilder {
        HostBuilder::new(None)
    }

    /// The runtime folder, without symbolic links.
    #[must_use]
    pub fn runtime_dir(&self) -> &Path {
        self.shared.runtime_dir.path()
    }

    /// Takes a plugin into care. It is down until it is started. Variables that it lets through are looked up now.
    ///
    /// # Errors
    /// The configuration contradicts itself, the id is taken, its socket's path is too long, or the host has ended. A
    /// folder of the plugin that is damaged fails its launches, and nothing else.
    pub fn add(&self, config: PluginConfig) -> Result<PluginHandle, HostError> {
        let config = checked(config)?;
        let id = config.id.clone();
        self.shared.runtime_dir.check_plugin(&id).map_err(|error| HostError::folder(&id, error))?;
        let last = self.last_generation(&id);
        let added = self.shared.ask_about(|reply| PluginCommand::Add(config, last, reply))?;
        added.map_err(|refusal| HostError::refused(&id, refusal))?;
        Ok(PluginHandle::new(Arc::clone(&self.shared), id))
    }

    /// The last generation that was ever used, by the number in the plugin's folder, or by its record where that number is
    /// lost. What cannot be read is told when a launch needs it.
    fn last_generation(&self, id: &PluginId) -> Option<Generation> {
        let folder = self.shared.runtime_dir.plugin_folder(id).ok()?;
        let persisted = generation::read(&folder).ok().flatten();
        let recorded = last_recorded_generation(folder.path()).filter(|recorded| Some(*recorded) > persisted);
        // A number is in its file before anything is on record: the file was lost, and so may the last events be.
        recorded.map(|recorded| (0..UNRECORDED_MAX).fold(recorded, |last, _| last.next())).or(persisted)
    }

    /// Takes a plugin into care, starts it, and waits until it takes calls: [`Host::add`], [`PluginHandle::start`] and
    /// [`PluginHandle::wait_routable`] in one.
    ///
    /// # Errors
    /// As those three. Where it is added and does not take calls within `timeout`, it stays in care as its policy
    /// says, and [`Host::plugin`] gives it.
    pub fn launch(&self, config: PluginConfig, timeout: Duration) -> Result<PluginHandle, HostError> {
        let plugin = self.add(config)?;
        plugin.start()?;
        plugin.wait_routable(None, timeout)?;
        Ok(plugin)
    }

    /// Removes a stopped plugin from supervision.
    ///
    /// # Errors
    /// There is no such plugin, or it is up, or the host has ended.
    pub fn remove(&self, id: &PluginId) -> Result<(), HostError> {
        self.shared.ask_about(|reply| PluginCommand::Remove(id.clone(), reply))?.map_err(HostError::Call)
    }

    /// A plugin in care.
    ///
    /// # Errors
    /// There is no such plugin, or the host has ended.
    pub fn plugin(&self, id: &PluginId) -> Result<PluginHandle, HostError> {
        let handle = PluginHandle::new(Arc::clone(&self.shared), id.clone());
        handle.status().map(|_| handle)
    }

    /// A capability, whichever plugins serve it: now, or once they do.
    #[must_use]
    pub fn capability(&self, name: &str) -> CapabilityHandle {
        CapabilityHandle::new(Arc::clone(&self.shared), name)
    }

    /// The state of every plugin, ordered by id.
    ///
    /// # Errors
    /// The host has ended.
    pub fn plugins(&self) -> Result<Vec<PluginStatus>, HostError> {
        self.shared.ask_about(PluginCommand::List)
    }

    /// Events that could not be put on record: too many waited, or their file failed for too long.
    #[must_use]
    pub fn events_dropped(&self) -> u64 {
        self.shared.log.dropped()
    }

    /// Events that are in their file.
    #[must_use]
    pub fn events_written(&self) -> u64 {
        self.shared.log.written()
    }

    /// How each sink of the record does, in the order in which they were given.
    #[must_use]
    pub fn log_sinks(&self) -> Vec<SinkStatus> {
        self.shared.sinks.lock().map(|sinks| sinks.shown()).unwrap_or_default()
    }

    /// Everything that happens from now on: launches, proofs, states, exits. `queue_max` events wait for
    /// a subscriber that is slow; further ones are missed, and it is told how many.
    ///
    /// # Errors
    /// The host has ended.
    pub fn subscribe(&self, queue_max: usize) -> Result<EventStream, HostError> {
        self.subscribe_to(queue_max, |kind, _| !is_said(kind))
    }

    /// Subscribes to what [`Host::subscribe`] gives, and to what plugins print and log, where that is put on record (not where a program takes the lines
    /// itself, or they go to where it prints).
    ///
    /// # Errors
    /// The host has ended.
    pub fn subscribe_to_all(&self, queue_max: usize) -> Result<EventStream, HostError> {
        self.subscribe_to(queue_max, |_, _| true)
    }

    /// Subscribes to the events whose kind and level `wants` takes: the loop spends nothing on others.
    pub(crate) fn subscribe_to(
        &self,
        queue_max: usize,
        wants: EventFilter,
    ) -> Result<EventStream, HostError> {
        let (sender, receiver) = bounded(queue_max.max(1));
        // What happens once this has returned is part of it, also what another thread does.
        self.shared.ask(|reply| LoopCommand::Subscribe(sender, wants, reply))?;
        Ok(EventStream::new(receiver))
    }

    /// Ends all plugins at once, each down its ladder, and waits for them. Further calls fail with
    /// [`HostError::Ended`]. Takes no longer than the longest ladder plus ten seconds.
    pub fn shutdown(&self) {
        self.shared.end("its program asked for it");
    }

    /// Takes no more calls: from when this returns, each ends as `unavailable`, not sent, whoever makes it: this program, an
    /// operator, a plugin that calls another one or a service. Those that are under way go on, idempotent ones that wait for
    /// their next try too, and so do the calls that are made for them. There is no way back; the host is to be ended next.
    ///
    /// # Errors
    /// The host has ended, or is too busy to take it.
    pub fn drain(&self) -> Result<(), HostError> {
        self.shared.ask(|reply| LoopCommand::Drain(DrainCommand::Begin(reply)))
    }

    /// The calls that there are now: in flight, to be repeated, and those of plugins that services work on.
    ///
    /// # Errors
    /// The host has ended, or is too busy to take it.
    pub fn call_counts(&self) -> Result<CallCounts, HostError> {
        self.shared.ask(LoopCommand::CountCalls)
    }

    /// Ends the host once no call is left: drains it ([`Host::drain`]), waits at most `timeout` for those under way, and then
    /// ends it as [`Host::shutdown`] does, which breaks off what is left. Whether nothing was. Not for a service: its own
    /// call is one that would be waited for.
    pub fn shutdown_when_done(&self, timeout: Duration) -> bool {
        let (reply, done) = bounded(1);
        let is_asked = self.drain().is_ok()
            && self.shared.post(LoopCommand::Drain(DrainCommand::WhenDone(reply))).is_ok();
        let is_done = is_asked && done.recv_timeout(timeout).is_ok();
        let reason = if is_done { "all calls were done" } else { "calls were not done in time" };
        self.shared.end(&format!("its program asked for it, and {reason}"));
        is_done
    }

    /// Begins to end the host and returns at once; see [`Host::wait_ended`]. The reason goes into its
    /// record; of several, the first counts.
    pub fn begin_shutdown(&self, reason: impl Into<String>) {
        let reason = reason.into();
        self.shared.tell_to_end(|| LoopCommand::End(reason.clone()));
    }

    /// The same for somebody who will not wait for any ladder: every plugin is sent SIGKILL at once, also
    /// where the end has begun already.
    pub fn begin_kill(&self, reason: impl Into<String>) {
        let reason = reason.into();
        self.shared.tell_to_end(|| LoopCommand::EndNow(reason.clone()));
    }

    /// Why the host ended. `None` while it lives, and where its event loop panicked, which is a bug.
    #[must_use]
    pub fn end_reason(&self) -> Option<&str> {
        self.shared.ended.get().map(|ended| ended.reason.as_str())
    }

    /// Whether the host ended by itself, because its event loop could not go on: the reason is on record, or a panic was
    /// reported on standard error. False while it lives, and where somebody ended it.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.shared.thread.has_ended() && self.shared.ended.get().is_none_or(|ended| ended.is_fault)
    }

    /// Waits until the host has ended: by [`Host::begin_shutdown`], or by an operator's
    /// `rpcpluginctl shutdown`. There is no deadline, since a host may live for years.
    pub fn wait_ended(&self) {
        self.shared.thread.wait();
    }

    /// Lets operators in who had to wait; see [`HostBuilder::hold_admin_socket`].
    ///
    /// # Errors
    /// The host has ended, or is too busy to take it; ask again.
    pub fn release_admin_socket(&self) -> Result<(), HostError> {
        self.shared.post(LoopCommand::Admin(AdminCommand::Open))
    }

    /// Has the runtime folder looked after: what was removed of folder, lock and admin socket is made again. That happens by
    /// itself where the system tells of it; not where a folder above was renamed.
    ///
    /// # Errors
    /// The host has ended, or is too busy to take it.
    pub fn look_after_runtime_dir(&self) -> Result<(), HostError> {
        self.shared.post(LoopCommand::LookAfterFolder)
    }

    /// Puts an event of the embedding program's own on the host's record.
    pub fn record(&self, note: Note) {
        // A host that has ended, or is too busy, records nothing.
        let _ = self.shared.post(LoopCommand::Record(Box::new(note)));
    }

    /// Waits until everything that has happened so far is in its file, at most `timeout`; whether it is.
    /// Being in the file is not being on the disk.
    #[must_use]
    pub fn flush_events(&self, timeout: Duration) -> bool {
        // An answer from the event loop says that it has handed over what happened before.
        self.plugins().is_ok() && self.shared.log.flush(timeout)
    }

    /// Reaps orphans, and ends those that a plugin which is gone left behind; for a program that set
    /// [`HostBuilder::adopt_orphans`], whenever it gets SIGCHLD. Returns at once.
    ///
    /// # Errors
    /// The host has ended.
    pub fn sweep_orphans(&self) -> Result<(), HostError> {
        self.shared.post(LoopCommand::SweepOrphans)
    }
}

/// Generations that may have been used and are not on record, because their host was killed before it was written.
const UNRECORDED_MAX: u64 = 16;
/// Lines of a record, from its end, that are looked at for a generation. Each has one but those of the record itself.
const RECORD_LINES_MAX: usize = 256;

/// The generation of the newest event that has one. Generations rise, and what happens to an earlier one comes before the
/// next begins.
fn last_recorded_generation(folder: &Path) -> Option<Generation> {
    let mut lines = Backward::new(folder, FILE_NAME);
    let lines = std::iter::from_fn(|| lines.next_line().ok().flatten()).take(RECORD_LINES_MAX);
    lines.filter_map(|line| line.record()?.0.generation_id).next()
}

#[cfg(test)]
mod admin_packages_tests;
#[cfg(test)]
mod launch_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_ends_by_itself_is_told_from_an_end_that_somebody_asked_for() {
        let host = Host::temporary().start().unwrap();
        assert!(!host.has_failed() && host.end_reason().is_none());
        host.shared.engine.go_deaf();
        host.wait_ended();
        let reason = host.end_reason().unwrap();
        assert!(host.has_failed() && reason.contains("it cannot be woken"), "{reason}");
        assert!(matches!(host.plugins(), Err(HostError::Ended)), "nobody waits for it");
    }
}
