//! What exists outside for one plugin: prepared files, process, pipes, connection.
//!
//! What always holds: everything here belongs to one generation, and is closed, removed or reaped when
//! it is dropped.

use super::output::Pipe;
use crate::state::plugin_config::PluginConfig;
use crate::sys::executable::Executable;
use crate::sys::launch::PreparedLaunch;
use crate::sys::private_file::PrivateFile;
use crate::sys::process::{Attached, Child};
use rpc_plugin_wire::{Generation, Token};
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;

/// A process, and what may be done to it.
#[derive(Debug)]
pub(super) enum Process {
    /// A child.
    Launched(Child),
    /// Somebody else's.
    ByHand(Attached),
}

impl Process {
    pub(super) fn pid(&self) -> u32 {
        match self {
            Process::Launched(child) => child.pid(),
            Process::ByHand(attached) => attached.pid(),
        }
    }

    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        match self {
            Process::Launched(child) => child.as_fd(),
            Process::ByHand(attached) => attached.as_fd(),
        }
    }

    /// Whether it ended well, and how, once it has ended. A child is reaped.
    pub(super) fn end(&mut self) -> Option<(bool, String)> {
        match self {
            Process::Launched(child) => match child.reap() {
                Ok(None) => None,
                Ok(Some(status)) => Some((status.success(), status.to_string())),
                Err(error) => Some((false, format!("a status that could not be read: {error}"))),
            },
            Process::ByHand(attached) => {
                let has_ended = attached.has_ended().unwrap_or(true);
                has_ended.then(|| (true, "a status that only its parent knows".to_owned()))
            }
        }
    }
}

/// A process.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) generation: Generation,
    pub(super) process: Process,
    /// The variable that says which launch it is, as its environment has it: no other launch has the same.
    pub(super) mark: OsString,
    pub(super) exit_source: u64,
    pub(super) stdout: Option<Pipe>,
    pub(super) stderr: Option<Pipe>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) generation: Generation,
    pub(super) stream: UnixStream,
    pub(super) source: u64,
    /// It takes no more bytes for now, and is watched until it does.
    pub(super) full: bool,
}

/// What was prepared for a generation.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) generation: Generation,
    /// What its launch is made from.
    pub(super) config: Arc<PluginConfig>,
    /// Until the proof.
    pub(super) token_file: Option<PrivateFile>,
    pub(super) token_path: Option<PathBuf>,
    pub(super) socket_path: Option<PathBuf>,
    /// Until somebody is taken.
    pub(super) listening: Option<Listening>,
    /// Until it runs.
    pub(super) executable: Option<Executable>,
}

/// A generation's socket. Dropping it closes and removes it.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) listener: UnixListener,
    _file: PrivateFile,
    /// Once the process runs.
    pub(super) source: Option<u64>,
}

impl Ready {
    /// Takes over a preparation; its token goes to who checks it.
    pub(super) fn new(config: Arc<PluginConfig>, launch: PreparedLaunch) -> (Ready, Token) {
        let PreparedLaunch { generation, token, token_file, listener, executable } = launch;
        let ready = Ready {
            generation,
            config,
            token_path: token_file.as_ref().map(|file| file.path().to_owned()),
            socket_path: listener.as_ref().map(|(_, file)| file.path().to_owned()),
            token_file,
            listening: listener.map(|(listener, file)| Listening { listener, _file: file, source: None }),
            executable,
        };
        (ready, token)
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Instance {
    pub(super) ready: Option<Ready>,
    pub(super) running: Option<Running>,
    pub(super) link: Option<Link>,
}
