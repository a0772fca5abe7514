//! Processes: preparing, launching, how they end.

use super::instance::{Process, Ready, Running};
use super::{LoopCommand, Reactor, Source};
use crate::state::action::{Note, StopSignal};
use crate::state::keys::PluginKey;
use crate::state::output::{Output, Stream};
use crate::state::plugin::{ExitReport, PrepareFailure, SpawnFailure};
use crate::state::plugin_config::PluginConfig;
use crate::state::policy::Transport;
use crate::state::time::Time;
use crate::sys::launch::{self, Needs, PreparedLaunch};
use crate::sys::orphans::{self, Leader};
use crate::sys::runtime_dir::RuntimeDir;
use crate::sys::spawn::{CHANNEL_FD, Channel, SpawnSpec, Spawned, spawn};
use mio::Interest;
use nix::sys::signal::Signal;
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::handshake::{
    ENV_AUTH_TOKEN_FILE, ENV_LAUNCH, ENV_PLUGIN_FD, ENV_PLUGIN_GENERATION, ENV_PLUGIN_ID, ENV_PLUGIN_SOCKET,
};
use rpc_plugin_wire::{Generation, PluginId};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long the end of a host waits for what plugins left behind.
const ORPHANS_END_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs on a worker.
fn prepare(
    runtime_dir: &RuntimeDir,
    config: &PluginConfig,
    generation: Generation,
) -> Result<PreparedLaunch, PrepareFailure> {
    let folder = runtime_dir.plugin_folder(&config.id).map_err(|error| error.to_string())?;
    let transport = config.policy.transport;
    let needs = Needs {
        // With stdio, the first frame says it: what runs elsewhere cannot read files of this machine.
        token_file: transport != Transport::Stdio,
        listener: transport == Transport::Unix,
        executable: (!config.is_by_hand()).then_some(&config.executable),
    };
    launch::prepare(&folder, &config.id, generation, needs)
        .map_err(|error| PrepareFailure { used: error.used(), reason: error.to_string() })
}

/// The variables of the contract.
pub(super) fn contract(ready: &Ready, runtime_dir: &Path) -> Vec<(OsString, OsString)> {
    let id = &ready.config.id;
    if ready.config.policy.transport == Transport::Stdio {
        return vec![(ENV_LAUNCH.into(), launch_mark(runtime_dir, id, ready.generation))];
    }
    let channel = match &ready.socket_path {
        Some(path) => Some((ENV_PLUGIN_SOCKET.into(), path.clone().into())),
        None => Some((ENV_PLUGIN_FD.into(), CHANNEL_FD.to_string().into())),
    };
    let token_file = ready.token_path.as_ref().map(|path| (ENV_AUTH_TOKEN_FILE.into(), path.clone().into()));
    let identity = [
        (ENV_PLUGIN_ID.into(), id.as_str().into()),
        (ENV_PLUGIN_GENERATION.into(), ready.generation.to_string().into()),
    ];
    channel.into_iter().chain(identity).chain(token_file).collect()
}

/// The value of [`ENV_LAUNCH`]. It lies where a token's file would, so that the next host finds what is left.
fn launch_mark(runtime_dir: &Path, id: &PluginId, generation: Generation) -> OsString {
    runtime_dir.join(id.as_str()).join(generation.to_string()).into()
}

/// The variable that tells one launch's processes from all others.
fn mark_of(env: &[(OsString, OsString)]) -> OsString {
    let is_mark = |name: &OsString| name == ENV_AUTH_TOKEN_FILE || name == ENV_LAUNCH;
    let (name, value) = env.iter().find(|(name, _)| is_mark(name)).cloned().unwrap_or_default();
    let mut mark = name;
    mark.push("=");
    mark.push(value);
    mark
}

impl Reactor {
    /// Hands preparations to the workers, as far as there is room.
    pub(super) fn submit_postponed(&mut self) {
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

    /// A preparation returned.
    pub(super) fn take_prepared(
        &mut self,
        now: Time,
        key: PluginKey,
        generation: Generation,
        config: Arc<PluginConfig>,
        outcome: Result<Box<PreparedLaunch>, PrepareFailure>,
    ) {
        let outcome = outcome.map(|launch| {
            let (ready, token) = Ready::new(config, *launch);
            if let Some(instance) = self.instances.get_mut(&key) {
                instance.ready = Some(ready);
            }
            token
        });
        self.supervisor.handle_prepared(now, key, generation, outcome);
    }

    /// Launches what was prepared.
    pub(super) fn spawn(&mut self, now: Time, key: PluginKey, generation: Generation) {
        let (outcome, channel) = match self.try_spawn(key, generation) {
            Ok((pid, channel)) => (Ok(pid), channel),
            Err(failure) => (Err(failure), None),
        };
        self.supervisor.handle_spawned(now, key, generation, outcome);
        if let Some(stream) = channel {
            self.take_link(now, key, generation, stream);
        }
    }

    /// The process, and its connection where it was given one.
    fn try_spawn(
        &mut self,
        key: PluginKey,
        generation: Generation,
    ) -> Result<(u32, Option<UnixStream>), SpawnFailure> {
        let failure = |reason: String| SpawnFailure { reason, busy: false };
        let missing = || failure("what was prepared for it is not there any more".into());
        let instance = self.instances.get(&key).ok_or_else(missing)?;
        let ready =
            instance.ready.as_ref().filter(|ready| ready.generation == generation).ok_or_else(missing)?;
        let executable = ready.executable.as_ref().ok_or_else(missing)?;
        let config = &ready.config;
        let transport = config.policy.transport;
        let mut env = contract(ready, self.runtime_dir.path());
        let mark = mark_of(&env);
        env.extend(config.env.iter().cloned());
        let pair = match transport {
            Transport::Unix => None,
            Transport::Fd | Transport::Stdio => Some(UnixStream::pair().map_err(|error| {
                failure(format!("its connection could not be made: {error}; raise `ulimit -n`"))
            })?),
        };
        let (ours, theirs) = pair.unzip();
        let channel = match (transport, &theirs) {
            (Transport::Fd, Some(theirs)) => Channel::Descriptor(theirs.as_fd()),
            (Transport::Stdio, Some(theirs)) => Channel::Stdio(theirs.as_fd()),
            _ => Channel::None,
        };
        let spec = SpawnSpec {
            executable,
            arg0: config.executable.as_os_str(),
            args: &config.args,
            env: &env,
            working_folder: &config.working_folder,
            inherit_output: matches!(config.output, Output::Inherit),
            channel,
        };
        let spawned = spawn(&spec)
            .map_err(|error| SpawnFailure { busy: error.is_text_busy(), reason: error.to_string() })?;
        let pid = spawned.child.pid();
        // Without a watch on it the process would be lost: dropping it kills and reaps it.
        self.watch(key, generation, spawned, mark)
            .map_err(|error| failure(format!("its process could not be watched: {error}")))?;
        Ok((pid, ours))
    }

    fn watch(
        &mut self,
        key: PluginKey,
        generation: Generation,
        spawned: Spawned,
        mark: OsString,
    ) -> io::Result<()> {
        let Spawned { child, stdout, stderr } = spawned;
        let exit_source =
            self.register(child.as_fd().as_raw_fd(), Source::Exit(key, generation), Interest::READABLE)?;
        let stdout = self.watch_pipe(key, generation, Stream::Stdout, stdout)?;
        let stderr = self.watch_pipe(key, generation, Stream::Stderr, stderr)?;
        let listening =
            self.instances.get(&key).and_then(|instance| instance.ready.as_ref()?.listening.as_ref());
        let source = match listening.map(|listening| listening.listener.as_raw_fd()) {
            None => None,
            Some(fd) => Some(self.register(fd, Source::Listener(key, generation), Interest::READABLE)?),
        };
        if let Some(instance) = self.instances.get_mut(&key) {
            if let Some(ready) = instance.ready.as_mut() {
                ready.executable = None;
                if let Some(listening) = ready.listening.as_mut() {
                    listening.source = source;
                }
            }
            instance.running = Some(Running {
                generation,
                process: Process::Launched(child),
                mark,
                exit_source,
                stdout,
                stderr,
            });
        }
        Ok(())
    }

    /// The proof is complete: the token has served.
    pub(super) fn trust(&mut self, key: PluginKey, generation: Generation) {
        self.stop_listening(key, generation);
        if let Some(ready) = self.instances.get_mut(&key).and_then(|instance| instance.ready.as_mut()) {
            ready.token_file = None;
        }
    }

    /// Closes a generation's listener and removes its socket.
    pub(super) fn stop_listening(&mut self, key: PluginKey, generation: Generation) {
        let ready = self.instances.get_mut(&key).and_then(|instance| instance.ready.as_mut());
        let Some(ready) = ready.filter(|ready| ready.generation == generation) else { return };
        if let Some(listening) = ready.listening.take()
            && let Some(source) = listening.source
        {
            self.unregister(listening.listener.as_raw_fd(), source);
        }
    }

    /// Drops what is left of a generation.
    pub(super) fn discard(&mut self, key: PluginKey, generation: Generation) {
        self.stop_listening(key, generation);
        let Some(instance) = self.instances.get_mut(&key) else { return };
        instance.ready.take_if(|ready| ready.generation == generation);
        // A child is let go when it is reaped.
        let is_let_go = |running: &mut Running| {
            running.generation == generation && matches!(running.process, Process::ByHand(_))
        };
        if let Some(running) = instance.running.take_if(is_let_go) {
            self.unregister(running.process.pidfd().as_raw_fd(), running.exit_source);
        }
    }

    pub(super) fn signal(&mut self, key: PluginKey, generation: Generation, signal: StopSignal) {
        let running = self.instances.get(&key).and_then(|instance| instance.running.as_ref());
        let Some(running) = running.filter(|running| running.generation == generation) else { return };
        let signal = match signal {
            StopSignal::Term => Signal::SIGTERM,
            StopSignal::Kill => Signal::SIGKILL,
        };
        if let Process::Launched(child) = &running.process
            && let Err(error) = child.signal_group(signal)
        {
            self.fault("a plugin's process group could not be signalled", &error);
        }
    }

    /// Sends SIGKILL to a plugin's group, whatever its ladder says.
    pub(super) fn kill(&mut self, key: PluginKey, reason: &str) {
        let running = self.instances.get(&key).and_then(|instance| instance.running.as_ref());
        let (Some(running), Some(plugin)) = (running, self.supervisor.plugin(key)) else { return };
        if matches!(running.process, Process::ByHand(_)) {
            // It loses its connection with the host.
            return;
        }
        let generation = running.generation;
        let mut note =
            Note::new(EventKind::SignalSent, "SIGKILL was sent to its process group").reason(reason);
        note.plugin_id = Some(plugin.id().clone());
        note.generation = Some(generation);
        note.pid = Some(running.process.pid());
        self.recorder.record(note);
        self.signal(key, generation, StopSignal::Kill);
    }

    /// A process ended: what it last printed, what is left of its group, its status.
    pub(super) fn handle_exit(&mut self, now: Time, key: PluginKey, generation: Generation) {
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let Some(running) = instance.running.as_mut().filter(|running| running.generation == generation)
        else {
            return;
        };
        let Some((clean, text)) = running.process.end() else { return };
        let Some(mut running) = instance.running.take() else { return };
        self.unregister(running.process.pidfd().as_raw_fd(), running.exit_source);
        self.end_pipe(now, key, generation, running.stdout.take());
        let stderr_tail = self.end_pipe(now, key, generation, running.stderr.take());
        // It may have connected and ended before its connection was taken.
        self.accept(now, key, generation);
        // Frames that it sent before it ended still count.
        self.read_link(now, key, generation, true);
        self.supervisor.handle_exit(now, key, generation, ExitReport { clean, text, stderr_tail });
        if self.subreaper {
            self.sweep_orphans();
        }
    }

    /// The processes of all plugins.
    fn leaders(&self) -> Vec<Leader> {
        let running = self.instances.values().filter_map(|instance| instance.running.as_ref());
        let launched = running.filter(|running| matches!(running.process, Process::Launched(_)));
        launched.map(|running| Leader { pid: running.process.pid(), mark: running.mark.clone() }).collect()
    }

    /// Reaps what has ended, and ends what plugins that are gone left behind. What a living plugin left
    /// behind is spared: it may be at its service.
    pub(super) fn sweep_orphans(&mut self) {
        let mut leaders = self.leaders();
        let swept = self.attendants.sweep(|known| {
            leaders.extend(known);
            orphans::sweep(&leaders)
        });
        // None: one of them is being launched, and asks for this again.
        if let Some(Err(error)) = swept {
            self.fault("what a plugin left behind could not be ended", &error);
        }
    }

    /// Ends and reaps all that any plugin left behind.
    pub(super) fn end_orphans(&mut self) {
        let until = std::time::Instant::now() + ORPHANS_END_TIMEOUT;
        let swept = loop {
            let end = |known: Vec<Leader>| orphans::kill_and_reap_orphans(&known, ORPHANS_END_TIMEOUT);
            match self.attendants.sweep(end) {
                Some(swept) => break swept,
                None if std::time::Instant::now() < until => std::thread::yield_now(),
                None => {
                    break Err(io::Error::other("a program that takes the record is still being launched"));
                }
            }
        };
        match swept {
            Ok((_, left)) if left.is_empty() => {}
            Ok((_, left)) => {
                let text = format!("processes {left:?} do not end");
                self.recorder
                    .record(Note::new(EventKind::HostFault, "plugins left something behind").error(text));
            }
            Err(error) => self.fault("what plugins left behind could not be ended", &error),
        }
    }
}
