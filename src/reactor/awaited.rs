//! Plugins that somebody starts by hand: what they are told, and who they are.
//!
//! What always holds: no value of a variable that an operator configured is told; their processes are watched and
//! nothing else.

use super::children::contract;
use super::instance::{Process, Running};
use super::{Reactor, Source};
use crate::state::action::Note;
use crate::state::keys::PluginKey;
use crate::state::plugin_config::PluginConfig;
use crate::sys::process::Attached;
use mio::Interest;
use rpc_plugin_wire::Generation;
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::handshake::ENV_HOST_PID;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

impl Reactor {
    /// Lets whoever comes connect, and tells with which variables.
    pub(super) fn begin_to_await(&mut self, key: PluginKey, generation: Generation) {
        let ready = self.instances.get(&key).and_then(|instance| instance.ready.as_ref());
        let Some(ready) = ready.filter(|ready| ready.generation == generation) else { return };
        let Some(listening) = ready.listening.as_ref() else { return };
        let fd = listening.listener.as_raw_fd();
        let mut env = contract(ready, self.runtime_dir.path());
        env.push((ENV_HOST_PID.into(), std::process::id().to_string().into()));
        let mut note = how_to_start(&ready.config, &env);
        note.plugin_id = Some(ready.config.id.clone());
        note.generation = Some(generation);
        match self.register(fd, Source::Listener(key, generation), Interest::READABLE) {
            Ok(source) => {
                let ready = self.instances.get_mut(&key).and_then(|instance| instance.ready.as_mut());
                if let Some(listening) = ready.and_then(|ready| ready.listening.as_mut()) {
                    listening.source = Some(source);
                }
                self.recorder.record(note);
            }
            Err(error) => self.fault("a socket that waits for a plugin could not be watched", &error),
        }
    }

    /// Watches the process of whoever was taken.
    pub(super) fn attach(
        &mut self,
        key: PluginKey,
        generation: Generation,
        attached: Attached,
    ) -> io::Result<()> {
        let exit_source =
            self.register(attached.as_fd().as_raw_fd(), Source::Exit(key, generation), Interest::READABLE)?;
        if let Some(instance) = self.instances.get_mut(&key) {
            instance.running = Some(Running {
                generation,
                process: Process::ByHand(attached),
                mark: OsString::new(),
                exit_source,
                stdout: None,
                stderr: None,
            });
        }
        Ok(())
    }
}

fn how_to_start(config: &PluginConfig, env: &[(OsString, OsString)]) -> Note {
    let text = |text: &OsString| text.to_string_lossy().into_owned();
    let environment: serde_json::Map<String, serde_json::Value> =
        env.iter().map(|(name, value)| (text(name), text(value).into())).collect();
    let executable = config.executable.to_string_lossy().into_owned();
    let command: Vec<String> = std::iter::once(executable).chain(config.args.iter().map(text)).collect();
    let names: Vec<String> = config.env.iter().map(|(name, _)| text(name)).collect();
    let folder = config.working_folder.display().to_string();
    let note = Note::new(EventKind::Awaited, "it waits for somebody to start it with these variables");
    note.details(serde_json::json!({
        "environment": environment, "command": command, "working_folder": folder, "also_set": names,
    }))
}
