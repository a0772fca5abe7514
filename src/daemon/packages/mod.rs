//! Packages in a running daemon: one thread that owns them, serves what operators ask of them, and has their plugins run.
//!
//! What this folder is for: acting on the host through its public API, by what `package::set` says. What it deliberately does not
//! do: decide about a package; a change that may not be made is refused there.
//!
//! What always holds: one operation at a time; the plugin of a package runs from the store, as the version that is active; a plugin
//! that is configured with an executable is none of it.

mod answers;
mod changes;
mod package_thread;
mod shown;
mod trials;

use super::config::PackagesConfig;
use super::daemon_error::DaemonError;
use crate::host::{DelegatedRequest, Host, HostError, PluginId};
use crate::package::set::{PackageOptions, PackageSet};
use crossbeam_channel::{Receiver, Sender, bounded};
use package_thread::{OpenSet, PackageThread};
use std::collections::BTreeSet;

/// Requests of operators that wait for the thread.
const REQUESTS_MAX: usize = 64;

/// The packages of a daemon whose host does not run yet.
pub(super) struct Packages {
    set: OpenSet,
    /// Plugins that are configured with an executable.
    plain: BTreeSet<PluginId>,
    requests: Receiver<DelegatedRequest>,
}

impl Packages {
    /// Opens the state folder, if there is one or it was named. Gives where requests about packages go to.
    ///
    /// # Errors
    /// It was named and cannot be used.
    pub(super) fn open(
        config: &PackagesConfig,
        plain: BTreeSet<PluginId>,
    ) -> Result<(Packages, Sender<DelegatedRequest>), DaemonError> {
        let (sender, requests) = bounded(REQUESTS_MAX);
        let set = match &config.state_dir {
            None => OpenSet::Unusable(
                "no state folder is known: HOME is not set; name one with --state-dir DIR".to_owned(),
            ),
            Some(state_dir) => {
                let mut options = PackageOptions::new(state_dir);
                options.verify.clone_from(&config.verify);
                options.minimum.clone_from(&config.minimum);
                let is_named = config.is_state_dir_named;
                if !is_named && !state_dir.is_dir() {
                    OpenSet::Unmade(options)
                } else {
                    match PackageSet::open(options) {
                        Ok(set) => OpenSet::Open(Box::new(set)),
                        Err(error) if is_named => return Err(DaemonError::failed(error.to_string())),
                        Err(error) => OpenSet::Unusable(error.to_string()),
                    }
                }
            }
        };
        Ok((Packages { set, plain, requests }, sender))
    }

    /// Has the plugins of packages run, and serves requests from now on, until the host ends.
    ///
    /// # Errors
    /// The host has ended, or the thread cannot be made.
    pub(super) fn start(self, host: &Host) -> Result<(), DaemonError> {
        let events = host.subscribe_to(package_thread::EVENTS_MAX, package_thread::is_watched)?;
        let mut thread = PackageThread::new(host.clone(), self.set, self.plain);
        thread.start_all();
        let requests = self.requests;
        let no_thread =
            |error| DaemonError::from(HostError::Setup("a thread of the daemon cannot be made", error));
        let body = move || thread.run(&requests, events.receiver());
        crate::threads::builder("daemon-packages").spawn(body).map(drop).map_err(no_thread)
    }
}
