//! Preparations of launches, on the workers: what of a launch may block on a file system.
//!
//! What always holds: at most one preparation of a plugin is under way; one that finds no room waits here.

use super::hub::Hub;
use super::loop_commands::LoopCommand;
use super::runtime_folder::look_after;
use super::workers::{WORKERS_DEFAULT, Work, Workers};
use crate::engine::CommandSender;
use crate::state::keys::PluginKey;
use crate::state::plugin::PrepareFailure;
use crate::state::plugin_config::PluginConfig;
use crate::state::policy::Transport;
use crate::state::time::Time;
use crate::sys::file_error::is_shortage;
use crate::sys::folder_watch::FolderWatch;
use crate::sys::host_identity::ProcessIdentity;
use crate::sys::launch::{self, Needs, PreparedLaunch};
use crate::sys::private_file::PrivateFile;
use crate::sys::private_folder::PrivateFolder;
use crate::sys::runtime_dir::RuntimeDir;
use rpc_plugin_wire::Generation;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// Runs on a worker.
fn prepare(
    runtime_dir: &RuntimeDir,
    config: &PluginConfig,
    generation: Generation,
) -> Result<PreparedLaunch, PrepareFailure> {
    let folder = runtime_dir.plugin_folder(&config.id).map_err(|error| PrepareFailure {
        shortage: error.errno().is_some_and(is_shortage),
        ..PrepareFailure::from(error.to_string())
    })?;
    let transport = config.policy.transport;
    let needs = Needs {
        // With stdio, the first frame says it: what runs elsewhere cannot read files of this machine.
        token_file: transport != Transport::Stdio,
        listener: transport == Transport::Unix,
        executable: (!config.is_by_hand()).then_some(&config.executable),
    };
    launch::prepare(&folder, &config.id, generation, needs).map_err(|error| PrepareFailure {
        used: error.used(),
        shortage: error.errno().is_some_and(is_shortage),
        reason: error.to_string(),
    })
}

/// Small jobs that wait for room in the workers' queue, beside preparations.
const JOBS_MAX: usize = 1024;

/// The workers, and what waits for them.
pub(super) struct Preparations {
    workers: Workers,
    /// Preparations that wait for room in the workers' queue. At most one for each plugin.
    postponed: VecDeque<(PluginKey, Generation, Arc<PluginConfig>)>,
    /// Small jobs that wait for the same. At most [`JOBS_MAX`].
    jobs: VecDeque<Work>,
    runtime_dir: Arc<RuntimeDir>,
    /// Where the workers report.
    commands: CommandSender<LoopCommand>,
}

impl Preparations {
    /// Starts the workers.
    ///
    /// # Errors
    /// Those of pthread_create(3).
    pub(super) fn start(
        runtime_dir: Arc<RuntimeDir>,
        commands: CommandSender<LoopCommand>,
    ) -> io::Result<Preparations> {
        let workers = Workers::start(WORKERS_DEFAULT)?;
        Ok(Preparations { workers, postponed: VecDeque::new(), jobs: VecDeque::new(), runtime_dir, commands })
    }

    /// Has a generation prepared; it comes back as [`LoopCommand::Prepared`]. Not one of a plugin of which too many
    /// descriptors wait to be closed.
    pub(super) fn begin(
        &mut self,
        hub: &mut Hub,
        now: Time,
        (key, generation): (PluginKey, Generation),
        config: Arc<PluginConfig>,
    ) {
        if let Err(failure) = hub.closers.check(key) {
            hub.supervisor
                .with_plugin(now, key, |plugin, step| plugin.handle_prepared(step, generation, Err(failure)));
            return;
        }
        self.postponed.push_back((key, generation, config));
        self.submit();
    }

    /// Has who leads a plugin's session written down, for a next host that finds it without a mark.
    pub(super) fn write_leader_down(&mut self, folder: PrivateFolder, pid: u32) {
        let runtime_dir = Arc::clone(&self.runtime_dir);
        let job = move || {
            if let Some(leader) = ProcessIdentity::of(pid) {
                // A full disk: then its mark alone tells of it.
                let _ = runtime_dir.host().write_leader(&folder, leader);
            }
        };
        if self.jobs.len() < JOBS_MAX {
            self.jobs.push_back(Box::new(job));
        }
        self.submit();
    }

    /// Has the runtime folder looked after; what was found comes back as [`LoopCommand::FolderLooked`].
    pub(super) fn look_after_folder(
        &mut self,
        watch: Option<Arc<FolderWatch>>,
        socket: Option<Arc<PrivateFile>>,
    ) {
        let (runtime_dir, commands) = (Arc::clone(&self.runtime_dir), self.commands.clone());
        let job = move || {
            let looked = look_after(&runtime_dir, watch.as_deref(), socket.as_deref());
            drop(socket);
            commands.deliver(LoopCommand::FolderLooked(looked));
        };
        self.jobs.push_back(Box::new(job));
        self.submit();
    }

    /// Hands preparations to the workers, as far as there is room.
    pub(super) fn submit(&mut self) {
        while let Some(job) = self.jobs.pop_front() {
            if let Err(job) = self.workers.submit(job) {
                return self.jobs.push_front(job);
            }
        }
        while let Some((key, generation, config)) = self.postponed.front().cloned() {
            let (runtime_dir, commands) = (Arc::clone(&self.runtime_dir), self.commands.clone());
            let job = move || {
                let outcome = prepare(&runtime_dir, &config, generation).map(Box::new);
                commands.deliver(LoopCommand::Prepared(key, generation, config, outcome));
            };
            if self.workers.submit(Box::new(job)).is_err() {
                return;
            }
            self.postponed.pop_front();
        }
    }

    /// Ends the workers that have nothing to do.
    pub(super) fn end(&mut self) {
        self.workers.end();
    }
}
