//! Instances: the processes of all plugins, and what was prepared for them.
//!
//! What this file is for: watching, signalling and reaping. What it deliberately does not do: prepare
//! ([`super::preparations`]), launch ([`super::launches`]), read what they print ([`super::captured_output`]), speak with them
//! ([`super::connections`]).
//!
//! What always holds: a process is signalled as one group, and only while it is not reaped; one that was started by hand
//! is never signalled.

use super::captured_output::CapturedOutput;
use super::contract::{how_to_start, variables};
use super::hub::{ACCEPTS_PER_TURN, Hub};
use super::instance::{Instance, InstanceProcess, LaunchedProcess, Prepared, RunningProcess};
use super::launches::{LauncherHandle, failure};
use super::poller::Source;
use crate::state::action::{Note, StopSignal};
use crate::state::closing::Closer;
use crate::state::keys::PluginKey;
use crate::state::output::OutputStream;
use crate::state::plugin::{ExitReport, PeerIdentity, SpawnFailure};
use crate::state::plugin_config::PluginConfig;
use crate::state::time::Time;
use crate::sys::attached::Attached;
use crate::sys::credentials::{effective_uid, peer_credentials};
use crate::sys::known_children::KnownChild;
use crate::sys::launch::PreparedLaunch;
use crate::sys::private_folder::PrivateFolder;
use crate::sys::process::{Child, end_all};
use crate::sys::spawn::Spawned;
use mio::Interest;
use nix::sys::signal::Signal;
use rpc_plugin_wire::Generation;
use rpc_plugin_wire::Token;
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::handshake::ENV_HOST_PID;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

/// How long the end of a host waits for children that SIGKILL has not ended yet, all of them together.
pub(super) const REAP_TIMEOUT: Duration = Duration::from_secs(1);

/// All instances, by plugin.
pub(super) struct Instances {
    by_plugin: BTreeMap<PluginKey, Instance>,
    launcher: LauncherHandle,
    uid: u32,
}

impl Instances {
    pub(super) fn new(launcher: LauncherHandle) -> Instances {
        Instances { by_plugin: BTreeMap::new(), launcher, uid: effective_uid() }
    }

    /// Makes room for a plugin that is taken into care.
    pub(super) fn add(&mut self, key: PluginKey) {
        self.by_plugin.insert(key, Instance::default());
    }

    /// Drops the room of a plugin that is given up.
    pub(super) fn remove(&mut self, hub: &mut Hub, key: PluginKey) {
        self.by_plugin.remove(&key);
        hub.closers.remove(key);
    }

    fn prepared(&self, key: PluginKey, generation: Generation) -> Option<&Prepared> {
        let prepared = self.by_plugin.get(&key)?.prepared.as_ref();
        prepared.filter(|prepared| prepared.generation == generation)
    }

    fn prepared_mut(&mut self, key: PluginKey, generation: Generation) -> Option<&mut Prepared> {
        let prepared = self.by_plugin.get_mut(&key)?.prepared.as_mut();
        prepared.filter(|prepared| prepared.generation == generation)
    }

    /// Takes over what was prepared; its token goes to who checks it.
    pub(super) fn take_prepared(
        &mut self,
        hub: &mut Hub,
        key: PluginKey,
        config: Arc<PluginConfig>,
        launch: PreparedLaunch,
    ) -> Token {
        let (prepared, token) = Prepared::new(config, launch, hub.closers.of_plugin(key));
        if let Some(instance) = self.by_plugin.get_mut(&key) {
            instance.prepared = Some(prepared);
        }
        token
    }

    /// Has what was prepared launched; it comes back as [`super::loop_commands::LaunchReport::Spawned`].
    ///
    /// # Errors
    /// Why there is nothing to launch.
    pub(super) fn launch(&self, key: PluginKey, generation: Generation) -> Result<(), SpawnFailure> {
        let missing = || failure("what was prepared for it is not there any more".into(), None);
        self.launcher.begin(key, self.prepared(key, generation).ok_or_else(missing)?)
    }

    /// Takes over a process that was launched, with its pid and connection. `None`: it is not awaited any more, or cannot be
    /// watched; it is ended off the loop, and then told of as a failure.
    pub(super) fn take_launched(
        &mut self,
        hub: &mut Hub,
        output: &mut CapturedOutput,
        (key, generation): (PluginKey, Generation),
        mut launched: Box<LaunchedProcess>,
    ) -> Option<(u32, Option<UnixStream>)> {
        let plugin = hub.supervisor.plugin(key).filter(|plugin| plugin.awaits_process(generation));
        let failed = if let Some(id) = plugin.map(|plugin| plugin.id().clone()) {
            match self.watch(hub, output, (key, generation), &mut launched) {
                Ok(exit_source) => {
                    let LaunchedProcess { spawned, known, channel } = *launched;
                    hub.watchdog.add(key, &id, generation, &spawned.child);
                    let (pid, process) = (spawned.child.pid(), InstanceProcess::Launched(spawned.child));
                    self.run(key, RunningProcess { generation, process, known: Some(known), exit_source });
                    return Some((pid, channel));
                }
                Err(error) => {
                    // What of it is watched already.
                    let now = hub.latest();
                    output.end(hub, now, (key, generation));
                    failure(format!("its process could not be watched: {error}"), Some(&error))
                }
            }
        } else {
            failure("it was not wanted any more when it was launched".into(), None)
        };
        self.launcher.end((key, generation), launched, failed);
        None
    }

    /// When launches that are on their way are to be looked after again, after this.
    pub(super) fn look_after_launches(&self) -> Option<Duration> {
        self.launcher.look()
    }

    /// Watches a process: its output, its listener, its end, as which it is told. What of it is watched where that fails
    /// ends with the generation.
    fn watch(
        &mut self,
        hub: &mut Hub,
        output: &mut CapturedOutput,
        (key, generation): (PluginKey, Generation),
        launched: &mut LaunchedProcess,
    ) -> io::Result<u64> {
        let Spawned { child, stdout, stderr } = &mut launched.spawned;
        if let Some(prepared) = self.prepared_mut(key, generation) {
            let config = Arc::clone(&prepared.config);
            for (stream, pipe) in
                [(OutputStream::Stdout, stdout.take()), (OutputStream::Stderr, stderr.take())]
            {
                if let Some(pipe) = pipe {
                    output.begin(hub, (key, generation, stream), &config, pipe)?;
                }
            }
            (prepared.executable, prepared.working_folder) = (None, None);
            if let Some(listening) = prepared.listening.as_mut() {
                let (fd, listener) = (listening.listener.as_raw_fd(), Source::Listener(key, generation));
                listening.source = Some(hub.poller.register(fd, listener, Interest::READABLE)?);
            }
        }
        // Last: what fails before leaves it nowhere.
        hub.poller.register(child.as_fd().as_raw_fd(), Source::Exit(key, generation), Interest::READABLE)
    }

    /// The folder of a plugin that has just been launched, once.
    pub(super) fn take_folder(&mut self, key: PluginKey, generation: Generation) -> Option<PrivateFolder> {
        self.prepared_mut(key, generation)?.folder.take()
    }

    /// Lets whoever comes connect, and tells with which variables.
    pub(super) fn begin_to_await(&mut self, hub: &mut Hub, key: PluginKey, generation: Generation) {
        let Some(prepared) = self.prepared_mut(key, generation) else { return };
        let mut env = variables(prepared);
        env.push((ENV_HOST_PID.into(), std::process::id().to_string().into()));
        let mut note = how_to_start(&prepared.config, &env);
        note.plugin_id = Some(prepared.config.id.clone());
        note.generation = Some(generation);
        let Some(listening) = prepared.listening.as_mut() else { return };
        let (fd, source) = (listening.listener.as_raw_fd(), Source::Listener(key, generation));
        match hub.poller.register(fd, source, Interest::READABLE) {
            Ok(source) => {
                listening.source = Some(source);
                hub.recorder.record(note);
            }
            Err(error) => hub.fault("a socket that waits for a plugin could not be watched", &error),
        }
    }

    /// Accepts who connected to a generation's socket, within its turn. The connection, if it is the one that is
    /// awaited; then nobody else is listened to.
    pub(super) fn accept(
        &mut self,
        hub: &mut Hub,
        now: Time,
        key: PluginKey,
        generation: Generation,
    ) -> Option<UnixStream> {
        for _ in 0..ACCEPTS_PER_TURN {
            let listening = self.prepared(key, generation)?.listening.as_ref()?;
            let stream = match listening.listener.get()?.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    hub.accepted();
                    return None;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    hub.accept_failed(now, listening.source, "a plugin's connection", &error);
                    return None;
                }
            };
            hub.accepted();
            if self.admit(hub, now, key, generation, &stream) {
                self.stop_listening(hub, key, generation);
                return Some(stream);
            }
            hub.closers.of_plugin(key).close(stream);
        }
        let listening = self.prepared(key, generation)?.listening.as_ref()?;
        hub.poller.go_on_later(listening.source);
        None
    }

    /// Whether a connection is the one that is awaited.
    fn admit(
        &mut self,
        hub: &mut Hub,
        now: Time,
        key: PluginKey,
        generation: Generation,
        stream: &UnixStream,
    ) -> bool {
        let peer = match peer_credentials(stream.as_fd()) {
            Ok(peer) => PeerIdentity { pid: peer.pid, uid: peer.uid },
            Err(error) => {
                hub.fault("a connection's peer could not be identified", &error);
                return false;
            }
        };
        let is_by_hand = hub.supervisor.plugin(key).is_some_and(|plugin| plugin.config().is_by_hand());
        // A process that has ended meanwhile is nobody to wait for.
        let attached = match is_by_hand.then(|| Attached::open(peer.pid)).transpose() {
            Ok(attached) => attached,
            Err(error) => {
                hub.fault("whoever connected could not be watched", &error);
                return false;
            }
        };
        let uid = self.uid;
        let taken = hub
            .supervisor
            .with_plugin(now, key, |plugin, step| plugin.handle_connection(step, generation, peer, uid));
        if taken != Some(true) {
            return false;
        }
        let Some(attached) = attached else { return true };
        let exit = Source::Exit(key, generation);
        match hub.poller.register(attached.as_fd().as_raw_fd(), exit, Interest::READABLE) {
            Ok(exit_source) => {
                let process = InstanceProcess::ByHand(attached);
                self.run(key, RunningProcess { generation, process, known: None, exit_source });
            }
            // The end of its connection tells its end.
            Err(error) => hub.fault("a plugin that was started by hand could not be watched", &error),
        }
        true
    }

    fn run(&mut self, key: PluginKey, running: RunningProcess) {
        if let Some(instance) = self.by_plugin.get_mut(&key) {
            instance.running = Some(running);
        }
    }

    fn running(&self, key: PluginKey, generation: Generation) -> Option<&RunningProcess> {
        let running = self.by_plugin.get(&key)?.running.as_ref();
        running.filter(|running| running.generation == generation)
    }

    /// Ends what only the proof needed: its listener, its token's file.
    pub(super) fn trust(&mut self, hub: &mut Hub, key: PluginKey, generation: Generation) {
        self.stop_listening(hub, key, generation);
        if let Some(prepared) = self.prepared_mut(key, generation) {
            prepared.token_file = None;
        }
    }

    /// Closes a generation's listener and removes its socket.
    fn stop_listening(&mut self, hub: &mut Hub, key: PluginKey, generation: Generation) {
        let Some(prepared) = self.prepared_mut(key, generation) else { return };
        if let Some(listening) = prepared.listening.take()
            && let Some(source) = listening.source
        {
            hub.poller.unregister(listening.listener.as_raw_fd(), source);
        }
    }

    /// Drops what is left of a generation.
    pub(super) fn discard(&mut self, hub: &mut Hub, key: PluginKey, generation: Generation) {
        self.stop_listening(hub, key, generation);
        let Some(instance) = self.by_plugin.get_mut(&key) else { return };
        instance.prepared.take_if(|prepared| prepared.generation == generation);
        // A child is let go when it is reaped.
        let is_let_go = |running: &mut RunningProcess| {
            running.generation == generation && matches!(running.process, InstanceProcess::ByHand(_))
        };
        if let Some(running) = instance.running.take_if(is_let_go) {
            hub.poller.unregister(running.process.pidfd().as_raw_fd(), running.exit_source);
        }
    }

    /// Signals a generation's process group.
    pub(super) fn signal(
        &mut self,
        hub: &mut Hub,
        key: PluginKey,
        generation: Generation,
        signal: StopSignal,
    ) {
        let Some(running) = self.running(key, generation) else { return };
        let signal = match signal {
            StopSignal::Term => Signal::SIGTERM,
            StopSignal::Kill => Signal::SIGKILL,
        };
        if let InstanceProcess::Launched(child) = &running.process
            && let Err(error) = child.signal_group(signal)
        {
            hub.fault("a plugin's process group could not be signalled", &error);
        }
    }

    /// Sends SIGKILL to the groups of all plugins, whatever their ladders say. One that was started by hand loses its
    /// connection with the host.
    pub(super) fn kill_all(&mut self, hub: &mut Hub, reason: &str) {
        let running =
            self.by_plugin.iter().filter_map(|(key, instance)| Some((*key, instance.running.as_ref()?)));
        let launched = running.filter(|(_, running)| matches!(running.process, InstanceProcess::Launched(_)));
        let launched = launched.map(|(key, running)| (key, running.generation, running.process.pid()));
        let launched: Vec<_> = launched.collect();
        for (key, generation, pid) in launched {
            let Some(plugin) = hub.supervisor.plugin(key) else { continue };
            let mut note =
                Note::new(EventKind::SignalSent, "SIGKILL was sent to its process group").reason(reason);
            note.plugin_id = Some(plugin.id().clone());
            note.generation = Some(generation);
            note.pid = Some(pid);
            hub.recorder.record(note);
            self.signal(hub, key, generation, StopSignal::Kill);
        }
    }

    /// Takes a process that has ended, if it has: whether it ended well, and how. What is left of its group is killed.
    pub(super) fn take_ended(
        &mut self,
        hub: &mut Hub,
        key: PluginKey,
        generation: Generation,
    ) -> Option<ExitReport> {
        let instance = self.by_plugin.get_mut(&key)?;
        let running = instance.running.as_mut().filter(|running| running.generation == generation)?;
        let end = hub.watchdog.while_reaped(key, || running.process.end())?;
        let running = instance.running.take()?;
        hub.poller.unregister(running.process.pidfd().as_raw_fd(), running.exit_source);
        Some(end)
    }

    /// Whether the process of a generation still runs, as far as the kernel says now.
    pub(super) fn runs(&self, key: PluginKey, generation: Generation) -> bool {
        self.running(key, generation).is_some_and(|running| !running.process.has_ended())
    }

    /// Kills and reaps all that are left, within one second for all of them together. What does not end by then is left
    /// to whoever inherits it.
    pub(super) fn end(&mut self) {
        let instances = std::mem::take(&mut self.by_plugin).into_values();
        let running = instances.filter_map(|instance| instance.running);
        // Known until they are reaped.
        let (children, _known): (Vec<Child>, Vec<Option<KnownChild>>) = running
            .filter_map(|running| match running.process {
                InstanceProcess::Launched(child) => Some((child, running.known)),
                InstanceProcess::ByHand(_) => None,
            })
            .unzip();
        end_all(children, REAP_TIMEOUT);
    }
}

/// Side by side: one after the other, each could take as long as all of them may.
impl Drop for Instances {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::CommandQueue;
    use crate::eventlog::EventLog;
    use crate::reactor::loop_commands::{LoopCommand, closers};
    use crate::reactor::poller::Poller;
    use crate::reactor::recorder::Recorder;
    use crate::reactor::watchdog::RunningWatchdog;
    use crate::state::supervisor::Wish;
    use crate::sys::known_children::KnownChildren;
    use crate::sys::launcher::Launcher;
    use crate::sys::process::hung;
    use crate::sys::runtime_dir::RuntimeDir;
    use std::ffi::OsString;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::PermissionsExt;

    fn scene() -> (Instances, Hub, CommandQueue<LoopCommand>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let runtime_dir = RuntimeDir::open(&folder.path().join("run")).unwrap();
        let (poller, waker) = Poller::new().unwrap();
        let (commands, queue) = crate::engine::open(Arc::new(crate::engine::Driver::new(waker)));
        let recorder = || Recorder::new(EventLog::disabled(), folder.path());
        let tick = Duration::from_secs(1);
        let watchdog = RunningWatchdog::start(tick, recorder(), Box::new(|_| ()), None).unwrap();
        let children = KnownChildren::default();
        let hub = Hub::new(poller, recorder(), watchdog, 1, closers(children.clone(), commands.clone()));
        let launcher = LauncherHandle {
            runtime_dir: Arc::new(runtime_dir),
            children,
            launcher: Arc::new(Launcher::start().unwrap()),
            commands,
        };
        (Instances::new(launcher), hub, queue, folder)
    }

    /// A regular file stands for a pipe that cannot be watched: epoll(7) takes none.
    #[test]
    fn a_process_that_can_be_watched_in_part_only_leaves_nothing_that_is_watched() {
        for fails in [OutputStream::Stdout, OutputStream::Stderr] {
            let (mut instances, mut hub, _queue, _folder) = scene();
            let config = Arc::new(PluginConfig::new("echo".parse().unwrap(), "/bin/true"));
            let (generation, now) = (Generation::FIRST, Time::ZERO);
            let key = hub.supervisor.add(Arc::clone(&config), None).unwrap();
            hub.supervisor.wish(now, key, Wish::Start).unwrap();
            let token = Token::from_bytes([0; Token::BYTES]);
            hub.supervisor
                .with_plugin(now, key, |plugin, step| plugin.handle_prepared(step, generation, Ok(token)));
            instances.add(key);
            instances.by_plugin.get_mut(&key).unwrap().prepared = Some(Prepared {
                generation,
                config,
                token_file: None,
                token_path: None,
                socket_path: None,
                listening: None,
                executable: None,
                working_folder: None,
                folder: None,
            });
            let (children, held) = hung(1);
            // Its other end is closed: what is read of it ends.
            let (reader, _) = io::pipe().unwrap();
            let (pipe, file) = (OwnedFd::from(reader), OwnedFd::from(tempfile::tempfile().unwrap()));
            let (stdout, stderr) = if fails == OutputStream::Stdout { (file, pipe) } else { (pipe, file) };
            let child = children.into_iter().next().unwrap();
            let spawned = Spawned { child, stdout: Some(stdout), stderr: Some(stderr) };
            let launch = || Ok::<_, ()>(spawned);
            let (spawned, known) = KnownChildren::default().launch(OsString::new(), launch, |_| 1).unwrap();
            let launched = Box::new(LaunchedProcess { spawned, known, channel: None });
            let mut output = CapturedOutput::default();
            let taken = instances.take_launched(&mut hub, &mut output, (key, generation), launched);
            assert!(taken.is_none(), "{fails} cannot be watched");
            assert_eq!(hub.poller.registered(), 0, "{fails} cannot be watched");
            drop(held);
        }
    }

    #[test]
    fn the_end_of_many_that_hang_takes_as_long_as_that_of_one() {
        let (mut instances, _hub, _queue, _folder) = scene();
        let (children, _held) = hung(100);
        for (number, child) in (0..).zip(children) {
            let generation = Generation::FIRST;
            let process = InstanceProcess::Launched(child);
            let running = Some(RunningProcess { generation, process, known: None, exit_source: 0 });
            instances.by_plugin.insert(PluginKey(number), Instance { prepared: None, running });
        }
        let (done, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            drop(instances);
            done.send(()).unwrap();
        });
        // One after the other they would take five times as long as this.
        ended.recv_timeout(Duration::from_secs(20)).unwrap();
    }
}
