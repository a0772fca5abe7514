//! What can go wrong in the host library besides a call.

use crate::engine::PostError;
use crate::state::config_error::ConfigErrors;
use crate::state::order::circle_text;
use crate::state::supervisor::{ConfigRefusal, unknown};
use crate::sys::runtime_dir::RuntimeDirError;
use nix::errno::Errno;
use rpc_plugin_wire::{CallError, PluginId};
use std::fmt;

/// Why the host cannot do what it was asked. `Debug` is the same sentence as `Display`, since that is what a `main` that
/// returns it prints.
#[non_exhaustive]
pub enum HostError {
    /// The runtime folder cannot be used.
    RuntimeDir(RuntimeDirError),
    /// A plugin's socket does not fit below the runtime folder: which plugin, and why.
    PluginFolder(PluginId, String),
    /// A plugin's configuration cannot be launched or contradicts itself: which plugin, and everything that is wrong.
    Config(PluginId, ConfigErrors),
    /// There is a plugin of that id already.
    PluginExists(PluginId),
    /// A thread, socket or file that the host needs could not be made: what, and why.
    Setup(&'static str, std::io::Error),
    /// A call or a wait failed.
    Call(CallError),
    /// More is asked of the host at once than it takes; ask again.
    Busy,
    /// The host has ended.
    Ended,
}

impl HostError {
    pub(super) fn folder(id: &PluginId, error: impl fmt::Display) -> HostError {
        HostError::PluginFolder(id.clone(), error.to_string())
    }

    pub(super) fn unknown(id: &PluginId) -> HostError {
        HostError::Call(unknown(id))
    }

    /// A configuration was not taken.
    pub(super) fn refused(id: &PluginId, refusal: ConfigRefusal) -> HostError {
        match refusal {
            ConfigRefusal::Exists => HostError::PluginExists(id.clone()),
            ConfigRefusal::Unknown => HostError::unknown(id),
            ConfigRefusal::Ending => HostError::Ended,
            ConfigRefusal::Circle(circle) => {
                let mut errors = ConfigErrors::default();
                let problem = format!("it would be started after itself: {}", circle_text(&circle));
                errors.add("after", problem, "plugins that are not started after it");
                HostError::Config(id.clone(), errors)
            }
        }
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostError::RuntimeDir(error) => error.fmt(f),
            HostError::PluginFolder(id, why) => write!(f, "plugin {id}: {why}"),
            HostError::Config(id, why) => write!(f, "plugin {id}: {why}"),
            HostError::PluginExists(id) => write!(f, "plugin {id}: there is a plugin of that id already"),
            HostError::Setup(what, error) => {
                write!(f, "{what}: {error}")?;
                match error.raw_os_error().map(Errno::from_raw) {
                    Some(Errno::EAGAIN) => write!(
                        f,
                        "; the limit of processes and threads is reached: raise `ulimit -u`, the service's TasksMax, or the \
                         cgroup's pids.max; or that of address space: `ulimit -v`"
                    ),
                    Some(Errno::EMFILE) => write!(f, "; raise `ulimit -n`"),
                    Some(Errno::ENFILE) => write!(f, "; raise the sysctl fs.file-max"),
                    _ => Ok(()),
                }
            }
            HostError::Call(error) => error.fmt(f),
            HostError::Busy => write!(f, "too much is asked of the host at once; ask again"),
            HostError::Ended => write!(f, "the host has ended"),
        }
    }
}

impl fmt::Debug for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for HostError {}

impl From<CallError> for HostError {
    fn from(error: CallError) -> HostError {
        HostError::Call(error)
    }
}

impl From<PostError> for HostError {
    fn from(error: PostError) -> HostError {
        match error {
            PostError::Full => HostError::Busy,
            PostError::Ended => HostError::Ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_made_is_told_with_what_to_raise() {
        let error = std::io::Error::from_raw_os_error(Errno::EAGAIN as i32);
        let text = HostError::Setup("the event loop's thread cannot be started", error).to_string();
        assert!(text.contains("cannot be started: ") && text.contains("TasksMax"), "{text}");
        let ended: Box<dyn std::error::Error> = HostError::Ended.into();
        assert_eq!(format!("{ended:?}"), "the host has ended", "as `main` prints it");
    }
}
