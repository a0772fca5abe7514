//! Preparations of launches, on the workers: what of a launch may block on a file system.
//!
//! What always holds: at most one preparation of a plugin is under way or waits; one that hangs has a thread to itself.

use super::confinement;
use super::hub::Hub;
use super::loop_commands::{LaunchReport, LoopCommand};
use super::runtime_folder::{AdminFiles, look_after};
use crate::engine::CommandSender;
use crate::state::action::Note;
use crate::state::keys::PluginKey;
use crate::state::launch_failure::LaunchFiles;
use crate::state::plugin::{PrepareFailure, Use, found_files, handle_looked, handle_use};
use crate::state::plugin_config::PluginConfig;
use crate::state::policy::Transport;
use crate::state::time::Time;
use crate::sys::executable_digest::{DigestCache, ExpectedDigest};
use crate::sys::file_error::is_shortage;
use crate::sys::folder_watch::FolderWatch;
use crate::sys::host_identity::ProcessIdentity;
use crate::sys::job_threads::{JobThreads, JobThreadsKind};
use crate::sys::launch::{self, Executes, Needs, PreparedLaunch};
use crate::sys::launch_files;
use crate::sys::private_folder::PrivateFolder;
use crate::sys::process_use::ProcessUse;
use crate::sys::runtime_dir::RuntimeDir;
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::{Generation, Token};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Runs on a worker.
fn prepare(
    runtime_dir: &RuntimeDir,
    config: &PluginConfig,
    generation: Generation,
    digests: &DigestCache,
) -> (Option<LaunchFiles>, Result<PreparedLaunch, PrepareFailure>) {
    let folder = match runtime_dir.plugin_folder(&config.id) {
        Ok(folder) => folder,
        Err(error) => {
            let shortage = error.errno().is_some_and(is_shortage);
            let failure = PrepareFailure { shortage, ..PrepareFailure::from(error.to_string()) };
            return (None, Err(failure));
        }
    };
    let transport = config.policy.transport;
    let needs = Needs {
        // With stdio, the first frame says it: what runs elsewhere cannot read files of this machine.
        token_file: transport != Transport::Stdio,
        listener: transport == Transport::Unix,
        executable: (!config.is_by_hand()).then(|| executes(config, digests)),
    };
    let outcome = launch::prepare(&folder, &config.id, generation, needs);
    let files = launch_files::of_preparation(&outcome).map(LaunchFiles);
    let executable = outcome.as_ref().ok().and_then(|launch| launch.executable.as_ref());
    if let Err(reason) = executable.map_or(Ok(()), |executable| confinement::check(config, executable)) {
        return (files, Err(PrepareFailure { permanent: true, ..PrepareFailure::from(reason) }));
    }
    let outcome = outcome.map_err(|error| PrepareFailure {
        used: error.used(),
        shortage: error.errno().is_some_and(is_shortage),
        permanent: error.is_permanent(),
        reason: error.to_string(),
    });
    (files, outcome)
}

/// What a launch of a plugin executes.
fn executes<'a>(config: &'a PluginConfig, cache: &'a DigestCache) -> Executes<'a> {
    let digest = ExpectedDigest::of(config.sha256.as_deref(), config.sha256_file.as_deref());
    Executes { path: &config.executable, working_folder: &config.working_folder, digest, cache }
}

/// What there is to tell of a program with file capabilities, whoever this host runs as, and confined or not: prctl(2) makes no
/// exception.
fn capabilities_of(config: &PluginConfig, launch: &PreparedLaunch) -> Option<Note> {
    launch.executable.as_ref().filter(|executable| executable.has_capabilities())?;
    let text = "its executable, or the interpreter of that, has file capabilities (capabilities(7)), so the kernel clears its \
                parent-death signal (prctl(2)): it may outlive a host that is killed";
    let mut note = Note::new(EventKind::ExecutableHasCapabilities, text);
    (note.plugin_id, note.generation) = (Some(config.id.clone()), Some(launch.generation));
    Some(note)
}

/// Tells the plugin what came of a preparation, and which files it found.
pub(super) fn prepared(
    hub: &mut Hub,
    now: Time,
    (key, generation): (PluginKey, Generation),
    files: Option<LaunchFiles>,
    outcome: Result<Token, PrepareFailure>,
) {
    hub.supervisor.with_plugin(now, key, |plugin, step| {
        found_files(plugin, generation, files);
        plugin.handle_prepared(step, generation, outcome);
    });
}

/// Tells a plugin that failed what its files are now.
pub(super) fn looked(
    hub: &mut Hub,
    now: Time,
    (key, generation): (PluginKey, Generation),
    files: LaunchFiles,
) {
    hub.supervisor.with_plugin(now, key, |plugin, step| handle_looked(plugin, step, generation, files));
}

/// Tells a plugin who uses its process.
pub(super) fn seen_use(
    hub: &mut Hub,
    now: Time,
    (key, generation): (PluginKey, Generation),
    seen: Option<Use>,
) {
    hub.supervisor.with_plugin(now, key, |plugin, step| handle_use(plugin, step, generation, seen));
}

/// Leaders that wait to be written down, beside preparations.
const LEADERS_MAX: usize = 1024;
/// Threads for what may block, beside those whose job hangs.
const THREADS: usize = 2;
/// Such threads at the most.
const THREADS_MAX: usize = 16;
/// Time after which a job counts as hanging, and another thread takes those behind it.
const HANGS_AFTER: Duration = Duration::from_secs(1);

/// The workers, and what they are given.
pub(super) struct Preparations {
    workers: JobThreads,
    /// Leaders that wait to be written down. At most [`LEADERS_MAX`].
    leaders: Arc<AtomicUsize>,
    runtime_dir: Arc<RuntimeDir>,
    /// Digests of executables that were read.
    digests: Arc<DigestCache>,
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
        let workers = JobThreads::start(JobThreadsKind {
            name: "rpcplugin-work",
            threads: THREADS,
            threads_max: THREADS_MAX,
            hangs_after: HANGS_AFTER,
            stay: false,
        })?;
        Ok(Preparations { workers, leaders: Arc::default(), runtime_dir, digests: Arc::default(), commands })
    }

    /// Has a generation prepared; it comes back as [`LaunchReport::Prepared`]. Not one of a plugin of which too many
    /// descriptors wait to be closed. Whether that is known at once, or a worker takes it at once; otherwise
    /// [`LaunchReport::Begun`] says when one does.
    pub(super) fn begin(
        &self,
        hub: &mut Hub,
        now: Time,
        (key, generation): (PluginKey, Generation),
        config: Arc<PluginConfig>,
    ) -> bool {
        if let Err(failure) = hub.closers.check(key) {
            hub.supervisor
                .with_plugin(now, key, |plugin, step| plugin.handle_prepared(step, generation, Err(failure)));
            return true;
        }
        let (runtime_dir, commands) = (Arc::clone(&self.runtime_dir), self.commands.clone());
        let digests = Arc::clone(&self.digests);
        let job = move |waited| {
            if waited {
                commands.deliver(LoopCommand::Launch(key, generation, LaunchReport::Begun));
            }
            let (files, outcome) = prepare(&runtime_dir, &config, generation, &digests);
            let launch = outcome.as_ref().ok().filter(|launch| launch.executable.is_some());
            let lack = launch.and_then(|_| confinement::lack_of(&config, generation));
            for note in launch.and_then(|launch| capabilities_of(&config, launch)).into_iter().chain(lack) {
                commands.deliver(LoopCommand::Record(Box::new(note)));
            }
            let report = LaunchReport::Prepared(config, files, outcome.map(Box::new));
            commands.deliver(LoopCommand::Launch(key, generation, report));
        };
        self.workers.submit(Box::new(job), None)
    }

    /// Has the files of a launch that failed looked at; it comes back as [`LaunchReport::Looked`].
    pub(super) fn look_at(&self, hub: &Hub, key: PluginKey, generation: Generation) {
        let Some(plugin) = hub.supervisor.plugin(key) else { return };
        let (config, commands) = (plugin.config().clone(), self.commands.clone());
        let digests = Arc::clone(&self.digests);
        let job = move |_| {
            let files = LaunchFiles(launch_files::look(executes(&config, &digests)));
            commands.deliver(LoopCommand::Launch(key, generation, LaunchReport::Looked(files)));
        };
        self.workers.submit(Box::new(job), None);
    }

    /// Has it seen who uses a plugin's process; it comes back as [`LaunchReport::SeenUse`]. `streams`: those in band that are open.
    pub(super) fn look_at_use(&self, hub: &Hub, (key, generation): (PluginKey, Generation), streams: usize) {
        let pid = hub.supervisor.plugin(key).and_then(|plugin| plugin.pid());
        let commands = self.commands.clone();
        let job = move |_| {
            let seen = pid.and_then(|pid| ProcessUse::of(pid).ok());
            let seen =
                seen.map(|ProcessUse { streams: held, children }| Use { streams: held + streams, children });
            commands.deliver(LoopCommand::Launch(key, generation, LaunchReport::SeenUse(seen)));
        };
        self.workers.submit(Box::new(job), None);
    }

    /// Has who leads a plugin's session written down, for a next host that finds it without a mark.
    pub(super) fn write_leader_down(&self, folder: PrivateFolder, pid: u32) {
        let (runtime_dir, leaders) = (Arc::clone(&self.runtime_dir), Arc::clone(&self.leaders));
        if leaders.fetch_add(1, Ordering::Relaxed) >= LEADERS_MAX {
            leaders.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let job = move |_| {
            leaders.fetch_sub(1, Ordering::Relaxed);
            if let Some(leader) = ProcessIdentity::of(pid) {
                // A full disk: then its mark alone tells of it.
                let _ = runtime_dir.host().write_leader(&folder, leader);
            }
        };
        self.workers.submit(Box::new(job), None);
    }

    /// Has the runtime folder looked after; what was found comes back as [`LoopCommand::FolderLooked`].
    pub(super) fn look_after_folder(&self, watch: Option<Arc<FolderWatch>>, files: AdminFiles) {
        let (runtime_dir, commands) = (Arc::clone(&self.runtime_dir), self.commands.clone());
        let job = move |_| {
            let looked = look_after(&runtime_dir, watch.as_deref(), &files);
            drop(files);
            commands.deliver(LoopCommand::FolderLooked(looked.map(Box::new)));
        };
        self.workers.submit(Box::new(job), None);
    }

    /// Has others take what waits behind a job that hangs; when to look again.
    pub(super) fn look(&self) -> Option<Duration> {
        self.workers.look()
    }
}
