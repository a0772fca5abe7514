//! Launches that are on their way: what the launcher is handed, and what comes back.
//!
//! What this file is for: a process is made of what was prepared for its generation, on the launcher's thread
//! ([`Launcher`]). What it deliberately does not do: watch a process ([`super::instances`]), or decide whether one is awaited.
//!
//! What always holds: each launch that is begun comes back once; a process that nobody takes is killed and reaped, on the
//! launcher's thread.

use super::confinement::filter_of;
use super::contract::environment;
use super::instance::{LaunchedProcess, Prepared};
use super::loop_commands::{LaunchReport, LoopCommand};
use crate::engine::CommandSender;
use crate::state::keys::PluginKey;
use crate::state::output::Output;
use crate::state::plugin::SpawnFailure;
use crate::state::policy::Transport;
use crate::sys::file_error::is_shortage;
use crate::sys::known_children::KnownChildren;
use crate::sys::launcher::Launcher;
use crate::sys::runtime_dir::RuntimeDir;
use crate::sys::spawn::{Channel, SpawnSpec, spawn};
use nix::errno::Errno;
use rpc_plugin_wire::Generation;
use rpc_plugin_wire::handshake::ENV_LAUNCH;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

/// A failure of a launch, because of an error of the system, if that is why.
pub(super) fn failure(reason: String, error: Option<&io::Error>) -> SpawnFailure {
    let errno = error.and_then(io::Error::raw_os_error).map(Errno::from_raw);
    SpawnFailure { reason, busy: false, shortage: errno.is_some_and(is_shortage), permanent: false }
}

/// The way to the launcher.
pub(super) struct LauncherHandle {
    pub(super) runtime_dir: Arc<RuntimeDir>,
    pub(super) children: KnownChildren,
    pub(super) launcher: Arc<Launcher>,
    /// Where the launcher reports.
    pub(super) commands: CommandSender<LoopCommand>,
}

impl LauncherHandle {
    /// Has the launcher launch what was prepared: the process, and its connection where it was given one. It comes back as
    /// [`LaunchReport::Spawned`].
    ///
    /// # Errors
    /// Why there is nothing to launch.
    pub(super) fn begin(&self, key: PluginKey, prepared: &Prepared) -> Result<(), SpawnFailure> {
        let missing = || failure("its executable is not open any more".into(), None);
        let executable = prepared.executable.clone().ok_or_else(missing)?;
        let generation = prepared.generation;
        let working_folder = prepared.working_folder.clone();
        let config = Arc::clone(&prepared.config);
        let mut env = environment(prepared);
        // What it leaves behind is known by it, to this host and the next.
        let value = self.runtime_dir.host().mark(self.runtime_dir.path(), &config.id, generation);
        let mut mark = OsString::from(format!("{ENV_LAUNCH}="));
        mark.push(&value);
        env.push((ENV_LAUNCH.into(), value));
        let transport = config.policy.transport;
        let pair = match transport {
            Transport::Unix => None,
            Transport::Fd | Transport::Stdio => Some(UnixStream::pair().map_err(|error| {
                failure(format!("its connection could not be made: {error}; raise `ulimit -n`"), Some(&error))
            })?),
        };
        let (channel, theirs) = pair.unzip();
        let (children, commands) = (self.children.clone(), self.commands.clone());
        self.launcher.launch(move |slot| {
            let spec = SpawnSpec {
                executable: &executable,
                arg0: config.executable.as_os_str(),
                args: &config.args,
                env: &env,
                working_folder: working_folder.as_ref().map(AsFd::as_fd),
                inherit_output: matches!(config.output, Output::Inherit),
                filter: filter_of(config.policy.confine),
                channel: match (transport, &theirs) {
                    (Transport::Fd, Some(theirs)) => Channel::Descriptor(theirs.as_fd()),
                    (Transport::Stdio, Some(theirs)) => Channel::Stdio(theirs.as_fd()),
                    _ => Channel::None,
                },
            };
            let launched = children.launch(mark, || spawn(&spec, slot), |spawned| spawned.child.pid());
            let outcome = match launched {
                Ok((spawned, known)) => Ok(Box::new(LaunchedProcess { spawned, known, channel })),
                Err(error) => Err(SpawnFailure {
                    busy: error.is_text_busy(),
                    shortage: error.is_shortage(),
                    permanent: error.is_permanent(),
                    reason: error.to_string(),
                }),
            };
            commands.deliver(LoopCommand::Launch(key, generation, LaunchReport::Spawned(outcome)));
        });
        Ok(())
    }

    /// Has a process ended that is not taken, and then told of as this failure.
    pub(super) fn end(
        &self,
        (key, generation): (PluginKey, Generation),
        launched: Box<LaunchedProcess>,
        failed: SpawnFailure,
    ) {
        let commands = self.commands.clone();
        self.launcher.end(move || {
            drop(launched);
            commands.deliver(LoopCommand::Launch(key, generation, LaunchReport::Spawned(Err(failed))));
        });
    }

    /// Looks after launches that take long; when to look again.
    pub(super) fn look(&self) -> Option<Duration> {
        self.launcher.look()
    }
}
