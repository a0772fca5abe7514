//! Packages in a running daemon: one thread that owns them, serves what operators ask of them, and has their plugins run.
//!
//! What this folder is for: acting on the host through its public API, by what `package::set` says. What it deliberately does not
//! do: decide about a package; a change that may not be made is refused there.
//!
//! What always holds: one operation at a time; the plugin of a package runs from the store, as the version that is active; a plugin
//! that is configured with an executable is none of it.

mod answers;
mod changes;
mod found;
mod package_thread;
mod shown;
mod trials;
mod watching;

use super::config::{Config, OnChange};
use super::daemon_error::DaemonError;
use crate::host::{ClaimedRestarts, DelegatedRequest, Host, HostError, PluginId};
use crate::package::set::{PackageOptions, PackageSet};
use crossbeam_channel::{Receiver, Sender, bounded};
use package_thread::{OpenSet, PackageThread};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Requests of operators that wait for the thread.
const REQUESTS_MAX: usize = 64;

/// Where requests about packages go to, and the plugins whose restarts go there too.
type RequestsLink = (Sender<DelegatedRequest>, Arc<ClaimedRestarts>);

/// The packages of a daemon whose host does not run yet.
pub(super) struct Packages {
    set: OpenSet,
    /// Plugins that are configured with an executable.
    plain: BTreeSet<PluginId>,
    on_change: OnChange,
    restarts: Arc<ClaimedRestarts>,
    requests: Receiver<DelegatedRequest>,
}

impl Packages {
    /// Opens the state folder, if there is one or it was named. Gives where requests about packages go to.
    ///
    /// # Errors
    /// It was named and cannot be used.
    pub(super) fn open(config: &Config) -> Result<(Packages, RequestsLink), DaemonError> {
        let (sender, requests) = bounded(REQUESTS_MAX);
        let plain: BTreeSet<PluginId> =
            config.plugins.iter().map(|plugin| plugin.config.id.clone()).collect();
        let packages = &config.packages;
        let set = match &packages.state_dir {
            None => OpenSet::Unusable(
                "no state folder is known: HOME is not set; name one with --state-dir DIR".to_owned(),
            ),
            Some(state_dir) => {
                let options = PackageOptions {
                    verify: packages.verify.clone(),
                    minimum: packages.minimum.clone(),
                    plugins_dirs: packages.plugins_dirs.clone(),
                    types: packages.types.clone(),
                    configured: plain.clone(),
                    defaults: config.defaults.clone(),
                    overrides: packages.overrides.clone(),
                    ..PackageOptions::new(state_dir)
                };
                let is_named = packages.is_state_dir_named || !packages.plugins_dirs.is_empty();
                if !is_named && !state_dir.is_dir() {
                    OpenSet::Unmade(Box::new(options))
                } else {
                    match PackageSet::open(options) {
                        Ok(set) => OpenSet::Open(Box::new(set)),
                        Err(error) if is_named => return Err(DaemonError::failed(error.to_string())),
                        Err(error) => OpenSet::Unusable(error.to_string()),
                    }
                }
            }
        };
        let restarts = Arc::<ClaimedRestarts>::default();
        let on_change = packages.on_change;
        let to = (sender, Arc::clone(&restarts));
        Ok((Packages { set, plain, on_change, restarts, requests }, to))
    }

    /// Makes the thread, which does nothing until it may begin.
    ///
    /// # Errors
    /// The host has ended, or the thread cannot be made.
    pub(super) fn make_thread(self, host: &Host) -> Result<ReadyPackages, DaemonError> {
        let events = host.subscribe_to(package_thread::EVENTS_MAX, package_thread::is_watched)?;
        let mut thread =
            PackageThread::new(host.clone(), self.set, self.plain, (self.on_change, self.restarts));
        let requests = self.requests;
        let no_thread =
            |error| DaemonError::from(HostError::Setup("a thread of the daemon cannot be made", error));
        let (begin, has_begun) = bounded(1);
        let (tell_started, started) = bounded(1);
        let body = move || {
            if has_begun.recv().is_ok() {
                // Where nobody waits for it any more, the host ends.
                let _ = tell_started.send(thread.start_stored());
                thread.run(&requests, events.receiver());
            }
        };
        crate::threads::builder("daemon-packages").spawn(body).map_err(no_thread)?;
        Ok(ReadyPackages { begin, started })
    }
}

/// The thread of packages, before it begins.
pub(super) struct ReadyPackages {
    /// Dropped before anything is sent, it ends the thread.
    begin: Sender<()>,
    started: Receiver<BTreeSet<PluginId>>,
}

impl ReadyPackages {
    /// Has the plugins of packages run that are stored, which is waited for, and then looks for others and serves requests
    /// until the host ends. Gives those that were started.
    pub(super) fn begin(self) -> BTreeSet<PluginId> {
        let _ = self.begin.send(());
        // A thread that panics is reported, and has started none.
        self.started.recv().unwrap_or_default()
    }
}
