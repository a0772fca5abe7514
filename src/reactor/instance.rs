//! One generation of a plugin outside: what was prepared for it, and its process.
//!
//! What always holds: everything here belongs to one generation, and is closed, removed or reaped when it is dropped.

use super::closers::OwnerCloser;
use super::exits;
use crate::state::closing::Passed;
use crate::state::plugin::ExitReport;
use crate::state::plugin_config::PluginConfig;
use crate::sys::attached::Attached;
use crate::sys::executable::Executable;
use crate::sys::known_children::KnownChild;
use crate::sys::launch::PreparedLaunch;
use crate::sys::private_file::PrivateFile;
use crate::sys::private_folder::PrivateFolder;
use crate::sys::process::Child;
use crate::sys::spawn::Spawned;
use rpc_plugin_wire::{Generation, Token};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;

/// A process, and what may be done to it.
#[derive(Debug)]
pub(super) enum InstanceProcess {
    /// A child.
    Launched(Child),
    /// A process that a person started by hand.
    ByHand(Attached),
}

impl InstanceProcess {
    pub(super) fn pid(&self) -> u32 {
        match self {
            InstanceProcess::Launched(child) => child.pid(),
            InstanceProcess::ByHand(attached) => attached.pid(),
        }
    }

    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        match self {
            InstanceProcess::Launched(child) => child.as_fd(),
            InstanceProcess::ByHand(attached) => attached.as_fd(),
        }
    }

    /// Whether it has ended, seen or not. One that cannot be asked has.
    pub(super) fn has_ended(&self) -> bool {
        match self {
            InstanceProcess::Launched(child) => !matches!(child.peek_exit(), Ok(None)),
            InstanceProcess::ByHand(attached) => attached.has_ended().unwrap_or(true),
        }
    }

    /// Whether it ended well, and how, once it has ended. A child is reaped.
    pub(super) fn end(&mut self) -> Option<ExitReport> {
        match self {
            InstanceProcess::Launched(child) => match child.reap() {
                Ok(None) => None,
                Ok(Some(status)) => Some(exits::report_of(status)),
                Err(error) => Some(exits::unread(&error)),
            },
            InstanceProcess::ByHand(attached) => {
                let has_ended = attached.has_ended().unwrap_or(true);
                has_ended.then(exits::of_stranger)
            }
        }
    }
}

/// A process that the launcher launched, and nobody watches yet. It is killed and reaped where it is dropped.
#[derive(Debug)]
pub(crate) struct LaunchedProcess {
    pub(super) spawned: Spawned,
    /// Dropped after the child is reaped.
    pub(super) known: KnownChild,
    /// Its connection, where it was given one.
    pub(super) channel: Option<UnixStream>,
}

/// A process that runs, or has ended and is not reaped.
#[derive(Debug)]
pub(super) struct RunningProcess {
    pub(super) generation: Generation,
    pub(super) process: InstanceProcess,
    /// A child is known until it is reaped, so this is dropped after it. `None`: somebody else's.
    pub(super) known: Option<KnownChild>,
    pub(super) exit_source: u64,
}

/// Files, socket and executable that were prepared for a generation.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) generation: Generation,
    /// The configuration that its launch is made from.
    pub(super) config: Arc<PluginConfig>,
    /// Until the proof.
    pub(super) token_file: Option<PrivateFile>,
    pub(super) token_path: Option<PathBuf>,
    pub(super) socket_path: Option<PathBuf>,
    /// Until somebody is taken.
    pub(super) listening: Option<Listening>,
    /// Until it runs; the launcher has it meanwhile.
    pub(super) executable: Option<Arc<Executable>>,
    pub(super) working_folder: Option<Arc<OwnedFd>>,
    /// Until it runs, where it is launched.
    pub(super) folder: Option<PrivateFolder>,
}

/// A generation's socket. Dropping it closes and removes it.
#[derive(Debug)]
pub(super) struct Listening {
    /// The listener. Clients may send descriptors before they are accepted.
    pub(super) listener: Passed<UnixListener>,
    _file: PrivateFile,
    /// Once the process runs.
    pub(super) source: Option<u64>,
}

impl Prepared {
    /// Takes over a preparation; its token goes to who checks it. `closer` closes its listener.
    pub(super) fn new(
        config: Arc<PluginConfig>,
        launch: PreparedLaunch,
        closer: &Arc<OwnerCloser>,
    ) -> (Prepared, Token) {
        let PreparedLaunch { generation, token, token_file, listener, executable, folder, working_folder } =
            launch;
        let prepared = Prepared {
            generation,
            config,
            token_path: token_file.as_ref().map(|file| file.path().to_owned()),
            socket_path: listener.as_ref().map(|(_, file)| file.path().to_owned()),
            token_file,
            listening: listener.map(|(listener, file)| {
                let listener = closer.guard(listener);
                Listening { listener, _file: file, source: None }
            }),
            folder: executable.is_some().then_some(folder),
            executable: executable.map(Arc::new),
            working_folder: working_folder.map(Arc::new),
        };
        (prepared, token)
    }
}

/// What exists outside for one plugin.
#[derive(Debug, Default)]
pub(super) struct Instance {
    pub(super) prepared: Option<Prepared>,
    pub(super) running: Option<RunningProcess>,
}
